#!/usr/bin/env bash
# Builds fuzz targets with the pinned stable compiler: it has LLVM's coverage instrumentation, which
# is all that libFuzzer needs. `cargo fuzz` asks for a nightly one, for sanitizers that are of
# little use where unsafe code is forbidden. Prints where the programs are. What the package has come
# to depend on since is added to the lock file.
set -euo pipefail
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
# The host is named so that build scripts are left alone.
RUSTFLAGS="-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --release --target "$host" "$@" >&2
echo "$PWD/target/$host/release"
