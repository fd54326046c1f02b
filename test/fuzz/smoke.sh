#!/usr/bin/env bash
# Run every fuzz target for a while over a copy of its corpus, as TAP; as many at a time as there are
# cores.
#
#   test/fuzz/smoke.sh [BUILD_DIR] [SECONDS]
#
# BUILD_DIR (build-fuzz) is a build with -DLH_FUZZ=ON, so with clang:  cmake --preset fuzz &&
# cmake --build build-fuzz --target fuzzers. What breaks a target is left in BUILD_DIR as crash-*,
# timeout-* or oom-*; fuzz_NAME FILE replays it. What is new and of use goes into corpus/NAME by hand.
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
build=${1:-build-fuzz}
seconds=${2:-20}

build=$(cd "$build" && pwd) || {
    echo "Bail out! There is no build with -DLH_FUZZ=ON."
    exit 1
}
n_at_once=$(nproc)
# shellcheck source=test/lib/checks.sh
. "$(dirname "$0")/../lib/checks.sh"

names=()
for corpus in "$here"/corpus/*/; do
    name=$(basename "$corpus")
    names+=("$name")
    mkdir "$checks_dir/found-$name" # what is new
    check "fuzz_$name for $seconds s" "$build/test/fuzz_$name" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -max_len=70000 -print_final_stats=1 -artifact_prefix="$build/" \
        "$checks_dir/found-$name" "$corpus"
done
checks_done
rc=$?
for i in "${!names[@]}"; do
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$checks_dir/$((i + 1))")
    echo "# fuzz_${names[i]}: ${runs:-?} runs"
done
exit $rc
