#!/usr/bin/env bash
# `make fuzz`: runs every fuzz target for FUZZ_SECONDS (default 60). What it learns goes to fuzz/target/corpus, which
# git ignores; the corpus in fuzz/corpus is read, not written.
set -euo pipefail
cd "$(dirname "$0")/../.."

shopt -s nullglob
targets=(fuzz/fuzz_targets/*.rs)
((${#targets[@]})) || { echo 'no targets in fuzz/fuzz_targets' >&2; exit 1; }
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
export RUSTC_BOOTSTRAP=1 # cargo-fuzz asks for the compiler's unstable flags

for file in "${targets[@]}"; do
  target=$(basename "$file" .rs)
  learnt=fuzz/target/corpus/$target
  mkdir -p "$learnt"
  corpora=("$learnt")
  [[ ! -d fuzz/corpus/$target ]] || corpora+=("fuzz/corpus/$target")
  printf '\n=== fuzz %s\n' "$target"
  cargo fuzz run "$target" "${corpora[@]}" -- -max_total_time="${FUZZ_SECONDS:-60}" -rss_limit_mb=2048
done
