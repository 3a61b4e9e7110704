#!/usr/bin/env bash
# The systemd units, read by systemd itself. The binary that they name need not be installed for that.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v systemd-analyze >/dev/null || {
  echo 'SKIPPED tests/ops/units.sh: no systemd-analyze (Debian: apt-get install systemd)'
  exit 0
}
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
cp docker/systemd/x0-relay.{service,socket} "$scratch/"
grep -q '^ExecStart=/usr/local/bin/x0-relay serve$' "$scratch/x0-relay.service"
sed -i "s#^ExecStart=[^ ]*#ExecStart=$(command -v true)#" "$scratch/x0-relay.service"

# It says what it finds wrong on stderr, and for most of it exits 0 all the same. About other units of this host it may
# say anything.
systemd-analyze verify --man=no "$scratch/x0-relay.socket" "$scratch/x0-relay.service" 2>"$scratch/said" || {
  cat "$scratch/said" >&2
  exit 1
}
if grep 'x0-relay' "$scratch/said" >&2; then
  echo 'FAIL  systemd-analyze verify has something to say, above' >&2
  exit 1
fi
echo 'ok    systemd-analyze verify'

# 0 is unreachable, 10 is a service with every right.
systemd-analyze security --offline=true --threshold=20 "$scratch/x0-relay.service" >"$scratch/said" 2>&1 || {
  cat "$scratch/said" >&2
  exit 1
}
echo "ok    $(tail -n 1 "$scratch/said" | tr -cd '[:print:]' | sed 's/^[^A-Za-z]*//')"
