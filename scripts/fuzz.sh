#!/usr/bin/env bash
# Coverage-guided fuzzing (libFuzzer) of what reads foreign bytes, with the stable compiler and a C++ compiler:
#   events    bin log events, into transactions and rows
#   file      bin log files, plain and compressed
#   ddl       statements, against a catalog
# usage: scripts/fuzz.sh TARGET [SECONDS] [libFuzzer's options...]     (default: 60 seconds)
# What was found stays in fuzz/corpus/TARGET; an input that fails is left in fuzz/artifacts/TARGET. To run one again:
#   scripts/fuzz.sh TARGET 0 fuzz/artifacts/TARGET/crash-...
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:?usage: scripts/fuzz.sh events|file|ddl [SECONDS] [OPTIONS...]}
seconds=${2:-60}
shift $(($# > 2 ? 2 : $#))

build=${CARGO_TARGET_DIR:-target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
# The versions of all other builds.
[ -f fuzz/Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
# With --target the flags are not those of build scripts.
RUSTFLAGS="$coverage" cargo build --release --manifest-path fuzz/Cargo.toml --target-dir "$build" --target "$triple" --bin seeds --bin "$target"
if [ "$seconds" = 0 ]; then
  exec "$build/$triple/release/$target" "$@"
fi
"$build/$triple/release/seeds" fuzz/seeds
mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
exec "$build/$triple/release/$target" "fuzz/corpus/$target" "fuzz/seeds/$target" \
  -artifact_prefix="fuzz/artifacts/$target/" -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=3000 "$@"
