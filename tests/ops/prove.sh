#!/usr/bin/env bash
# `make prove`: the long tests that the documents' claims stand on, in release, one after the other, so that each has the
# machine for itself; below everything else that runs here. All of them have PROVE_SECONDS (default 5400) together, the
# build aside. Their figures are in what is printed.
set -euo pipefail
cd "$(dirname "$0")/../.."

nice -n 5 cargo test --locked --release --no-run
cargo test --locked --release -- --list prove_ 2>/dev/null | grep ': test$' >/dev/null || { echo 'no test is named prove_…' >&2; exit 1; }
start=$SECONDS
result=0
X0_RELAY_PROVE=1 timeout --foreground "${PROVE_SECONDS:-5400}" nice -n 5 \
  cargo test --locked --release --no-fail-fast -- --nocapture --test-threads=1 prove_ || result=$?
((result != 124)) || echo 'the proofs were ended before all of them had run' >&2
echo "=== all proofs: $((SECONDS - start)) s, exit code $result"
exit "$result"
