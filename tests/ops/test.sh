#!/usr/bin/env bash
# `make test`: every test there is, phase by phase, each with its time. A phase that fails does not keep the others from
# running. What was skipped is repeated at the end: lines that begin with SKIPPED, and what test runners call skipped.
# shellcheck disable=SC2317 # the functions are called through phase
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
[[ ${CI:-} != true ]] || export CARGO_INCREMENTAL=0 # a fresh clone builds once
# npm packages that would fetch a browser of their own: the tests use the installed one.
export PUPPETEER_SKIP_DOWNLOAD=1 PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1

summary=() failed=0
phase() { # NAME COMMAND...
  local start=$SECONDS result=ok
  printf '\n=== %s\n' "$1"
  "${@:2}" </dev/null 2>&1 | tee -a "$log" || { result=FAILED failed=1; }
  summary+=("$(printf '%-9s %4d s  %s' "$result" $((SECONDS - start)) "$1")")
  echo "=== $1: $result after $((SECONDS - start)) s"
}

npm_tests() { # DIRECTORY
  (cd "$1" && npm ci --no-audit --no-fund && npm test)
}

# Against the binary in target/debug, the one that the Rust tests have just driven.
browser_tests() {
  [[ -f tests/browser/package.json ]] || { echo 'SKIPPED the browser tests: no tests/browser/package.json'; return; }
  cargo build --locked && npm_tests tests/browser
}

denied() {
  command -v cargo-deny >/dev/null || {
    echo 'SKIPPED cargo deny: no cargo-deny (cargo install --locked cargo-deny, which takes a while)'
    return
  }
  cargo deny check bans licenses sources
}

phase 'install what is missing' tests/ops/install.sh
phase 'cargo fmt' cargo fmt --check
phase 'cargo clippy' cargo clippy --locked --all-targets -- -D warnings
phase 'cargo deny' denied
# With the output of tests that pass: that is where they say what they measured, or skipped.
# More threads than processors: many tests wait for a relay's clock, and none depends on the machine's speed.
phase 'cargo test' cargo test --locked -- --show-output --test-threads=8
[[ ! -f client-js/package.json ]] || phase 'client-js' npm_tests client-js
phase 'x0 drop-in' node --test client-js/x0/tests/*.test.mjs
phase 'browser' browser_tests
phase 'scripts' tests/ops/scripts.sh
phase 'systemd units' tests/ops/units.sh
phase 'image' tests/image.sh

printf '\n=== all phases, %d s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
if grep -E '^SKIPPED|^test .* \.\.\. ignored|^(ℹ|#) skipped [1-9]| # SKIP' "$log" >"$log.skipped"; then
  printf '\n!!! NOT TESTED:\n'
  sort -u "$log.skipped"
fi
rm -f -- "$log.skipped"
exit "$failed"
