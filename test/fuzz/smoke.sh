#!/bin/sh
# Run every fuzz target for a while over a copy of its corpus, as TAP.
#
#   test/fuzz/smoke.sh [BUILD_DIR] [SECONDS]
#
# BUILD_DIR (build-fuzz) is a build with -DLH_FUZZ=ON, so with clang:  cmake --preset fuzz &&
# cmake --build build-fuzz. What breaks a target is left in BUILD_DIR as crash-*, timeout-* or oom-*;
# fuzz_NAME FILE replays it. What is new and of use goes into corpus/NAME by hand.
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
build=${1:-build-fuzz}
seconds=${2:-20}

build=$(cd "$build" && pwd) || {
    echo "Bail out! There is no build with -DLH_FUZZ=ON."
    exit 1
}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

n=0
failed=0
for corpus in "$here"/corpus/*/; do
    name=$(basename "$corpus")
    program=$build/test/fuzz_$name
    n=$((n + 1))
    mkdir "$work/$name"
    if [ -x "$program" ] && "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -max_len=70000 -print_final_stats=1 -artifact_prefix="$build/" \
        "$work/$name" "$corpus" >"$work/log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
        echo "ok $n - fuzz_$name for $seconds s, ${runs:-?} runs"
    else
        echo "not ok $n - fuzz_$name"
        failed=1
        [ -x "$program" ] || echo "#   there is no $program"
        [ -f "$work/log" ] && tail -n 60 "$work/log" | sed 's/^/#   /'
    fi
done
echo "1..$n"
exit $failed
