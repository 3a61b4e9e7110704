#!/usr/bin/env bash
# `make prove`: the long tests that the documents' claims stand on, in release, one after the other, so that each has the
# machine for itself. All of them have PROVE_SECONDS (default 5400) together, the build aside. Their figures are in what is
# printed.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Only what holds a proof is built.
targets=(--lib)
for file in tests/*.rs; do
  name=$(basename "$file" .rs)
  if grep -rqs 'fn prove_' "$file" "tests/$name"; then targets+=(--test "$name"); fi
done
((${#targets[@]} > 2)) || { echo 'no test is named prove_…' >&2; exit 1; }
nice -n 5 cargo test --locked --release --no-run "${targets[@]}"
start=$SECONDS
result=0
X0_RELAY_PROVE=1 timeout --foreground "${PROVE_SECONDS:-5400}" \
  cargo test --locked --release --no-fail-fast "${targets[@]}" -- --nocapture --test-threads=1 prove_ || result=$?
((result != 124)) || echo 'the proofs were ended before all of them had run' >&2
echo "=== all proofs: $((SECONDS - start)) s, exit code $result"
exit "$result"
