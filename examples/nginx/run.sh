#!/usr/bin/env bash
# Runs the chat behind nginx: a relay, and nginx with nginx.conf, as whoever you are. Ctrl-C ends both.
#   examples/nginx/run.sh [OPTION...]     the options are the relay's
# RELAY_PORT and PAGE_PORT say where (8080, or 0 for any free one, and 8081), RELAY_BIN names the relay's binary.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || { echo 'there is no nginx (Debian: apt-get install nginx-light)' >&2; exit 1; }

scratch=$(mktemp -d)
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf -- "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
pids=()

# alive: a moment later, all that was started still runs.
alive() {
  local pid
  sleep 0.1
  for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || { echo 'it has not started: see above' >&2; exit 1; }; done
}

binary=${RELAY_BIN:-$(command -v x0-relay || true)}
if [[ -z $binary ]]; then
  cargo build --locked --release --manifest-path "$root/Cargo.toml" >&2
  binary=${CARGO_TARGET_DIR:-$root/target}/release/x0-relay
fi
"$binary" serve --listen "127.0.0.1:${RELAY_PORT:-8080}" --socket none --trusted-proxies 127.0.0.1 "$@" >"$scratch/said" &
pids+=("$!")
until relay=$(grep -om1 '127\.0\.0\.1:[0-9]*' "$scratch/said"); do alive; done
page=127.0.0.1:${PAGE_PORT:-8081}

sed "s/127\.0\.0\.1:8080/$relay/; s/127\.0\.0\.1:8081/$page/; s#/tmp/x0-relay-nginx#$scratch/nginx#" "$root/examples/nginx/nginx.conf" >"$scratch/nginx.conf"
# Root's nginx would work as nobody, who may not read this tree.
as='' && ((EUID)) || as='user root;'
"$nginx" -p "$root" -c "$scratch/nginx.conf" -e stderr -g "daemon off; $as" &
pids+=("$!")

until curl --silent --fail --output /dev/null "http://$page/relay/readyz"; do alive; done
echo "the page   http://$page/"
echo "the relay  http://$page/relay/"
echo "Ctrl-C ends both."
wait -n "${pids[@]}"
