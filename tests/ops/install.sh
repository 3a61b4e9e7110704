#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, from Debian's packages. Elsewhere it only says what is missing;
# the tests that need it then skip, and say so.
set -euo pipefail

packages=()
need() { # COMMAND PACKAGE...
  command -v "$1" >/dev/null || packages+=("${@:2}")
}
need chromium chromium
need buildah buildah
need python3 python3
need shellcheck shellcheck
need curl curl
need openssl openssl
need node nodejs npm
PATH=$PATH:/usr/sbin need nginx nginx-light
docker compose version >/dev/null 2>&1 || need docker-compose docker-compose

((${#packages[@]})) || { echo 'nothing is missing'; exit 0; }
echo "missing: ${packages[*]}"
command -v apt-get >/dev/null || { echo 'this is no Debian: install them by hand'; exit 0; }

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || { echo 'neither root nor sudo: install them by hand'; exit 0; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
# The tests start an nginx of their own; Debian's package would start one as a service, on port 80.
service=()
if [[ " ${packages[*]} " == *' nginx-light '* && -d /run/systemd/system ]]; then
  service=("${as_root[@]}" systemctl)
  "${service[@]}" mask --quiet nginx.service
fi
installed=0
"${as_root[@]}" apt-get update -qq &&
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null && installed=1
if ((${#service[@]})); then
  "${service[@]}" unmask --quiet nginx.service
  "${service[@]}" disable --quiet nginx.service || true
fi
((!installed)) || exit 0
echo "could not install: ${packages[*]}" >&2
# On a person's machine the tests go on and skip what they must; a CI that silently tests less is worth nothing.
[[ ${CI:-} != true ]]
