#!/usr/bin/env bash
# The files around the binary: scripts that shellcheck passes, two recipes that make one image, a start script that does
# what x0's does and in the right order, and stop timeouts that leave the drain its time.
set -euo pipefail
cd "$(dirname "$0")/../.."

scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
ok() { printf 'ok    %s\n' "$1"; }
fail() { printf 'FAIL  %s\n' "$1" >&2; exit 1; }

mapfile -t scripts < <(find docker tests examples .ci -name node_modules -prune -o -type f \( -name '*.sh' -o -path .ci/run \) -print 2>/dev/null | sort)
((${#scripts[@]} >= 5)) || fail "found only ${#scripts[@]} scripts"
if command -v shellcheck >/dev/null; then
  shellcheck -- "${scripts[@]}" || fail shellcheck
  ok "shellcheck: ${#scripts[@]} scripts"
else
  echo 'SKIPPED tests/ops/scripts.sh: no shellcheck (Debian: apt-get install shellcheck)'
fi

# The instructions from `FROM scratch` on, without what says where files come from.
image() { sed -n '/^FROM scratch/,$p' "$1" | sed 's/--from=build //; s# /out/# #'; }
[[ $(image docker/Dockerfile | grep -c '^[A-Z]') -ge 12 ]] || fail 'docker/Dockerfile has no image part'
diff <(image docker/Dockerfile) <(image docker/Containerfile) || fail 'Dockerfile and Containerfile make different images'
ok 'Dockerfile and Containerfile make the same image'

# The start script, with a docker that writes down what it is asked and knows only what $scratch/exists names.
mkdir "$scratch/bin"
cat >"$scratch/bin/docker" <<'FAKE'
#!/usr/bin/env bash
printf '%s\n' "$*" >>"$SCRATCH/calls"
case $* in
  *\ inspect\ *) grep -qxF -- "$*" "$SCRATCH/exists" ;;
esac
FAKE
chmod +x "$scratch/bin/docker"
start() { # WHAT EXISTS...
  printf '%s\n' "$@" >"$scratch/exists"
  : >"$scratch/calls"
  SCRATCH=$scratch PATH=$scratch/bin:$PATH docker/x0-start-msg-server.sh >"$scratch/said" 2>&1
}
changes() { grep -v ' inspect ' "$scratch/calls" | cut -d ' ' -f 1,2 | sed 's/^run .*/run/; s/^\(stop\|rm\|exec\) .*/\1/' | paste -sd ' '; }
image='image inspect x0-relay:latest' network='network inspect x0-connect' container='container inspect x0-msg-server'

if start "$network" "$container"; then fail 'the start script goes on without an image'; fi
[[ -z $(changes) ]] || fail "without an image the start script changed something: $(changes)"
ok 'start script: without an image it touches nothing'
start "$image"
[[ $(changes) == 'network create run exec' ]] || fail "the first start: $(changes)"
grep -qx 'network create --subnet 172.20.0.0/24 x0-connect' "$scratch/calls" || fail 'the network is not x0-connect, 172.20.0.0/24'
ok 'start script, the first time: network, run'
start "$image" "$network" "$container"
[[ $(changes) == 'stop rm run exec' ]] || fail "a start in the place of another: $(changes)"
run=$(grep '^run ' "$scratch/calls")
for option in -d '--name x0-msg-server' '--network x0-connect' '--ip 172.20.0.100' '--publish 8080:8080' \
  '--volume x0-msg-server:/var/lib/msgserver' '--volume x0-relay-data:/var/lib/x0-relay' '--restart unless-stopped'; do
  [[ $run == *" $option "* ]] || fail "docker run without $option: $run"
done
ok 'start script, in the place of another: stop, remove, run'

# drain-timeout is 8 s unless set; whoever stops the relay must wait longer.
timeouts=$(
  sed -n 's/^stop_timeout=\([0-9]*\)$/\1/p' docker/x0-start-msg-server.sh
  sed -n 's/^ *stop_grace_period: \([0-9]*\)s$/\1/p' docker/compose.yaml docker/compose.split.yaml
  sed -n 's/^TimeoutStopSec=\([0-9]*\)$/\1/p' docker/systemd/x0-relay.service
)
[[ $(wc -w <<<"$timeouts") == 4 ]] || fail "expected four stop timeouts, found: $timeouts"
for timeout in $timeouts; do ((timeout >= 12)) || fail "a stop timeout of $timeout s is too near to drain-timeout"; done
ok 'stop timeouts leave the drain its time'

compose=()
if docker compose version >/dev/null 2>&1; then compose=(docker compose)
elif command -v docker-compose >/dev/null; then compose=(docker-compose)
fi
if ((${#compose[@]})); then
  for file in docker/compose*.yaml; do
    # docker-compose 1.29 (Debian 12) knows the format but for the project's name.
    sed '/^name:/d' "$file" | "${compose[@]}" --project-name x0-relay --file - config --quiet || fail "$file"
  done
  ok 'the compose files are valid'
else
  echo 'SKIPPED tests/ops/scripts.sh, the compose files: no docker compose (Debian: apt-get install docker-compose)'
fi
