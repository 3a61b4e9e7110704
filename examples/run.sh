#!/usr/bin/env bash
# Runs an example: a relay, and a server for the pages of this tree. Ctrl-C ends both.
#
#   examples/run.sh chat [OPTION...]     the options are the relay's, such as --data-dir DIR
#
# RELAY_PORT and PAGE_PORT say where (8080 and 8081; 0 is any free port), RELAY=http://… takes a relay that runs already,
# RELAY_BIN names the binary. Without it that is the installed x0-relay, or else the one that cargo makes of this tree.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
example=${1:?the name of an example, such as chat}
shift

pids=()
trap '((!${#pids[@]})) || kill "${pids[@]}" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

binary() {
  if [[ -n ${RELAY_BIN:-} ]]; then echo "$RELAY_BIN"
  elif command -v x0-relay; then return
  else
    cargo build --locked --release --manifest-path "$root/Cargo.toml" >&2
    echo "${CARGO_TARGET_DIR:-$root/target}/release/x0-relay"
  fi
}

# start PATTERN COMMAND...: starts a server, and puts into $said what it prints that matches.
start() {
  local out line
  exec {out}< <(exec "${@:2}")
  pids+=("$!")
  while IFS= read -r line <&"$out"; do
    [[ ! $line =~ $1 ]] || { said=${BASH_REMATCH[0]}; return; }
  done
  echo "${2##*/} has not started: see above" >&2
  exit 1
}

address='http://[0-9.]+:[0-9]+'
relay=${RELAY:-}
if [[ -z $relay ]]; then
  binary=$(binary)
  start "$address" "$binary" serve --listen "127.0.0.1:${RELAY_PORT:-8080}" --socket none "$@"
  relay=$said
fi
start "$address" python3 -u -c '
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()
handler = lambda *args: Handler(*args, directory=sys.argv[2])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler)
print("http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
' "${PAGE_PORT:-8081}" "$root"

echo "the relay  $relay"
echo "the page   $said/examples/$example/?relay=$relay"
echo "Ctrl-C ends both."
wait "${pids[@]}"
