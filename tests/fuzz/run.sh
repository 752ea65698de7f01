#!/usr/bin/env bash
# run.sh TARGET SECONDS: fuzzes one target. What it finds new is kept in target/corpus, what fails
# in target/artifacts; one to keep goes to the corpus by hand, made small.
set -euo pipefail
cd "$(dirname "$0")"
target=$1 seconds=$2

programs=$(./build.sh --bin "$target")
mkdir -p "target/corpus/$target" target/artifacts
exec nice "$programs/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 \
    -artifact_prefix="target/artifacts/$target-" "target/corpus/$target" "corpus/$target"
