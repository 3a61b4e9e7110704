#!/usr/bin/env bash
# The image, built without an engine and run: what is in it, who it runs as, that it relays, says that it is healthy,
# and ends on SIGTERM. Needs root and buildah; without them it says so and skips.
#
#   X0_RELAY_BINARY=FILE          test an image of this static binary, instead of building one
#   X0_RELAY_IMAGE_PROFILE=dev    build with another cargo profile than release
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { echo "SKIPPED tests/image.sh: $1"; exit 0; }
((EUID == 0)) || skip 'buildah run --isolation chroot needs root'
command -v buildah >/dev/null || skip 'no buildah (Debian: apt-get install buildah)'

scratch=$(mktemp -d)
relay_pid=''
log=$scratch/build.log
cleanup() {
  [[ -z $relay_pid ]] || kill -KILL "$relay_pid" 2>/dev/null || true
  rm -rf -- "$scratch"
}
trap cleanup EXIT

ok() { printf 'ok    %s\n' "$1"; }
fail() {
  printf 'FAIL  %s\n' "$1" >&2
  [[ ! -s $log ]] || { echo '--- the last lines of what it logged:'; tail -n 20 "$log"; } >&2
  exit 1
}
equal() { # WHAT EXPECTED ACTUAL
  [[ $3 == "$2" ]] || fail "$1: expected '$2', found '$3'"
  ok "$1: $3"
}

# A store of its own, so that the test neither finds nor leaves anything.
export CONTAINERS_STORAGE_CONF=$scratch/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$scratch" "$scratch" >"$CONTAINERS_STORAGE_CONF"
buildah() { command buildah --storage-driver vfs "$@"; }

# Built.
from=(--profile "${X0_RELAY_IMAGE_PROFILE:-release}")
[[ -z ${X0_RELAY_BINARY:-} ]] || from=(--binary "$X0_RELAY_BINARY")
docker/build.sh --engine buildah --tag x0-relay:test --archive "$scratch/image.tar" "${from[@]}" \
  >"$scratch/built" 2>"$log" || fail 'docker/build.sh'
grep '^image ' "$scratch/built"
tar -xOf "$scratch/image.tar" manifest.json | grep -q 'x0-relay:test"' || fail 'the archive does not name the image'
ok "the archive names the image ($(stat -c %s "$scratch/image.tar") bytes)"

log=/dev/null

# What the image says.
said() { buildah inspect --type image --format "{{$1}}" x0-relay:test; }
equal 'user' 10001:33 "$(said .Docker.Config.User)"
equal 'entry point and command' '[/x0-relay] [serve]' "$(said '.Docker.Config.Entrypoint}} {{.Docker.Config.Cmd')"
equal 'health check' '[CMD /x0-relay health]' "$(said .Docker.Config.Healthcheck.Test)"
equal 'stop signal' SIGTERM "$(said .Docker.Config.StopSignal)"
equal 'port' 'map[8080/tcp:{}]' "$(said .Docker.Config.ExposedPorts)"
[[ $(said .Docker.Config.Env) == *X0_RELAY_AUTH=open* ]] || fail 'the image does not ask for open access by name'
ok 'asks for open access by name'

# What is in it: looked at before anything runs, because running makes mount points.
container=$(buildah from --pull-never x0-relay:test)
root=$(buildah mount "$container")
equal 'everything in it that is no directory' /x0-relay "$(cd "$root" && find . -not -type d -printf '/%P\n')"
equal 'owner of the data directory' 10001:33 "$(stat -c %u:%g "$root/var/lib/x0-relay")"
[[ $(said .Docker.Config.Env) == *X0_RELAY_DATA_DIR=/var/lib/x0-relay* ]] || fail 'the image names no data directory'
ok 'keeps messages in its data directory'
equal 'owner of the directory of the control socket' 10001:33 "$(stat -c %u:%g "$root/var/lib/msgserver")"
if command -v readelf >/dev/null; then
  ! readelf -lW "$root/x0-relay" | grep -q INTERP || fail 'the binary asks for a dynamic loader'
  ok 'the binary asks for no dynamic loader'
fi

# Run. The port is the kernel's choice, read from what serve prints; reading blocks until the line is there.
in_image() { buildah run --isolation chroot "$@"; }
mkfifo "$scratch/out"
log=$scratch/serve.log
in_image --env X0_RELAY_LISTEN=127.0.0.1:0 "$container" -- /x0-relay serve >"$scratch/out" 2>"$log" </dev/null &
run_pid=$!
exec 3<"$scratch/out"
address=''
while [[ -z $address ]] && IFS= read -r -t 30 line <&3; do
  [[ ! $line =~ http://([0-9.]+:[0-9]+) ]] || address=${BASH_REMATCH[1]}
done
[[ -n $address ]] || fail 'serve printed no http:// address'
cat <&3 >"$scratch/rest" & # so that it never writes into a closed pipe
ok "serves on $address"

# The relay itself, below buildah: the descendant that runs /x0-relay.
descendant() { # PID
  local child children
  if [[ $(readlink "/proc/$1/exe") == */x0-relay ]]; then echo "$1"; return; fi
  children=$(cat "/proc/$1"/task/*/children 2>/dev/null) || true
  for child in $children; do descendant "$child"; done
}
relay_pid=$(descendant "$run_pid")
[[ $relay_pid =~ ^[0-9]+$ ]] || fail "no process of the relay below $run_pid ('$relay_pid')"
status() { awk -v key="$1:" '$1 == key { $1 = ""; print substr($0, 2) }' "/proc/$relay_pid/status"; }
equal 'runs as user' '10001 10001 10001 10001' "$(status Uid)"
equal 'runs as group' '33 33 33 33' "$(status Gid)"
equal 'capabilities in force' 0000000000000000 "$(status CapEff)"
socket=$root/var/lib/msgserver/messageserver.socket
[[ -S $socket ]] || fail 'no control socket where the image says'
equal 'owner of the control socket' 10001:33 "$(stat -c %u:%g "$socket")"

health=(in_image --env "X0_RELAY_LISTEN=$address" "$container" -- /x0-relay health)
said=$("${health[@]}") || fail "health inside fails ($?): $said"
ok "health inside: $said"

# Through it: a number that no parser may have touched.
post() { curl --silent --show-error --max-time 20 --data-binary "$2" "http://$address$1"; }
answer=$(post /set '{"session_src":"a","session_dst":"b","payload":{"n":1e400}}')
equal 'SET' '{"messages": null, "status": "ok"}' "$answer"
answer=$(post /get '{"type":"GET","session_src":"b"}')
equal 'GET' '{"messages":[{"n":1e400,"session_src":"a"}]}' "${answer//: [/:[}"

# Ended: PID 1 of a container gets SIGTERM from `docker stop`.
kill -TERM "$relay_pid"
timeout 20 tail --pid="$run_pid" -f /dev/null || fail 'still there 20 s after SIGTERM'
code=0
wait "$run_pid" || code=$?
relay_pid=''
equal 'exit code after SIGTERM' 0 "$code"
code=0
"${health[@]}" >/dev/null 2>&1 || code=$?
equal 'exit code of health when nothing runs' 3 "$code"
