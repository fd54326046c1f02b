#!/usr/bin/env bash
# Everything that is checked here: installs what it needs (as root, on Debian 12), builds, tests.
#
#   test/run.sh                 all stages
#   test/run.sh unit e2e        only those
#
# Stages: format unit sim e2e asan tsan fuzz mutants crash. The last two wait more than they compute and
# run beside the others; what they say comes at the end. Build trees are build-*/ beside the sources
# (LH_BUILD_ROOT puts them elsewhere). The last line is "N passed, N failed, N skipped"; the exit code
# is 0 only when nothing failed and every skip is on test/skips.allowed.
set -u
cd "$(dirname "$0")/.." || exit 1
here=$PWD
. test/lib/packages.sh

all_stages="format unit sim e2e asan tsan fuzz mutants crash"
shopt -s extglob
stages=${*:-$all_stages}
for stage in $stages; do
    case " $all_stages " in
    *" $stage "*) ;;
    *)
        echo "test/run.sh: no stage '$stage'; there are: $all_stages" >&2
        exit 2
        ;;
    esac
done

need_packages test/packages build test queue || exit 1

build_root=${LH_BUILD_ROOT:-$here}
jobs=$(nproc)
waiting=$((2 * jobs + 1)) # of tests that wait more than they compute
tmp=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-test.XXXXXX") || exit 1
beside=''
trap '[ -z "$beside" ] || { kill -- "-$beside"; wait; } 2>/dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
touch "$tmp/counts" "$tmp/failures" "$tmp/skips"

wants() {
    case " $stages " in *" $1 "*) return 0 ;; esac
    return 1
}

title() {
    printf '\n== %s\n' "$1"
}

# count PASSED FAILED SKIPPED: written down, as two stages may run at a time.
count() {
    echo "$1 $2 $3" >>"$tmp/counts"
}

# failed NAME [N]
failed() {
    count 0 "${2:-1}" 0
    echo "$1" >>"$tmp/failures"
    echo "FAILED: $1"
}

# check NAME COMMAND...: one check; its output is shown only when it fails.
check() {
    local name=$1 start=$SECONDS log=$tmp/log.$BASHPID
    shift
    if "$@" >"$log" 2>&1; then
        count 1 0 0
        echo "ok: $name ($((SECONDS - start)) s)"
    else
        tail -n 60 "$log"
        failed "$name"
        return 1
    fi
}

# tap NAME JOBS TEST... [:: ARG...]: programs that speak TAP, run by prove; every check in them is
# counted.
tap() {
    local name=$1 n_jobs=$2 passed bad skipped dump=$tmp/tap/$1 skips=$tmp/skips.$1 rc=0
    shift 2
    if [ ! -e "$1" ]; then
        failed "$name: there are no tests ($1)"
        return 1
    fi
    # The time limit only ends what hangs.
    PERL_TEST_HARNESS_DUMP_TAP=$dump \
        prove --timer -j "$n_jobs" -e 'timeout --foreground -k 10 900' "$@" || rc=1
    : >"$skips"
    # shellcheck disable=SC2046
    read -r passed bad skipped < <(find "$dump" -type f -print0 |
        xargs -0 awk -v skips="$skips" -f test/lib/tally.awk)
    sed "s|^|$name/|" "$skips" >>"$tmp/skips"
    [ $rc -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    count "$passed" 0 "$skipped"
    if [ "$bad" -ne 0 ]; then
        grep -rhA 12 '^not ok' "$dump" | cut -c 1-500 | head -n 200
        failed "$name" "$bad"
    fi
}

# build PRESET [CMAKE-ARG...]: configure and build one tree; of it $targets only, if that is set.
build() {
    local preset=$1
    shift
    check "build $preset" build_tree "$preset" "$@"
}

build_tree() {
    local preset=$1
    shift
    cmake --preset "$preset" -G Ninja -B "$build_root/build-$preset" "$@" || return
    # shellcheck disable=SC2086
    ninja -j "$jobs" -C "$build_root/build-$preset" ${targets:-}
}

# Unit tests of a tree: all but the simulations.
unit_tests() {
    find "$1/test" -name '*.t' -type f ! -name 'sim*.t' | sort
}

sim_tests() {
    find "$1/test" -name 'sim*.t' -type f | sort
}

if wants format; then
    title format
    check "clang-format" sh -c "git ls-files -z '*.c' '*.h' | xargs -0 clang-format --dry-run -Werror"
fi

if wants unit || wants sim || wants e2e || wants crash; then
    title "release build"
    build release -DLH_WERROR=ON || stages=" ${stages//@(unit|sim|e2e|crash)/} "
fi
tree=$build_root/build-release
export LONGHAUL=$tree/longhaul

mutations_and_power_cuts() {
    if wants mutants; then
        title mutants
        build mutants && BUILD=$build_root/build-mutants tap mutants 1 test/mutate.t
    fi
    if wants crash; then
        title crash
        tap crash 1 test/crash/run :: --build "$build_root/build-release" --rounds "${LH_CRASH_ROUNDS:-5}"
    fi
}
if wants mutants || wants crash; then
    set -m # in a process group of its own: what is interrupted ends with all that it has started
    mutations_and_power_cuts >"$tmp/beside" 2>&1 </dev/null &
    beside=$!
    set +m
fi

if wants unit; then
    title unit
    mapfile -t tests < <(unit_tests "$tree")
    tap unit "$waiting" "${tests[@]}"
fi
if wants sim; then
    title sim
    mapfile -t tests < <(sim_tests "$tree")
    tap sim "$jobs" "${tests[@]}"
fi
if wants e2e; then
    title e2e
    # Those that take longest begin first.
    mapfile -t tests < <(printf '%s\n' test/e2e/{verdict,network,tree,tree_kill,queue,mainjob}.t test/wan/{wan,netem}.t \
        test/e2e/*.t test/bench/smoke.t | awk '!seen[$0]++')
    tap e2e "$waiting" "${tests[@]}"
fi

# The sanitizers: every unit test, a part of the simulations and of the end-to-end tests.
sanitized() {
    local name=$1 tests
    title "$name"
    build "$name" || return
    tree=$build_root/build-$name
    # The simulations take longest, so they begin first. They have one thread, without races to be found.
    mapfile -t tests < <([ "$name" = tsan ] || sim_tests "$tree"; unit_tests "$tree")
    LH_SHORT=1 tap "$name-unit" $((jobs + 1)) "${tests[@]}"
    LH_SHORT=1 LONGHAUL=$tree/longhaul tap "$name-e2e" "$waiting" \
        test/e2e/{basic,resume,network,kill,holders,source,dest,sparse,wire,start,names,partials}.t \
        test/e2e/tree{,_delete,_hostile,_kill,_options,_trouble}.t
}
if wants asan; then
    # A shim that is preloaded comes before the sanitizer's own library: let it.
    ASAN_OPTIONS=detect_leaks=1:verify_asan_link_order=0 UBSAN_OPTIONS=print_stacktrace=1 sanitized asan
fi
if wants tsan; then
    TSAN_OPTIONS="halt_on_error=1 suppressions='$here/test/tsan.suppressions'" sanitized tsan
fi

if wants fuzz; then
    title fuzz
    targets="longhaul fuzzers" build fuzz && tap fuzz 1 test/fuzz/smoke.sh :: "$build_root/build-fuzz" 10
fi

if [ -n "$beside" ]; then
    wait "$beside"
    beside=''
    cat "$tmp/beside"
fi

# A skip that nobody has allowed is a failure.
title totals
while IFS=$'\t' read -r test reason; do
    allowed=
    while read -r pattern expected; do
        # shellcheck disable=SC2053
        [[ -n $pattern && $pattern != \#* && ${test##*/} == $pattern && $reason =~ $expected ]] &&
            allowed=1
    done <test/skips.allowed
    [ -n "$allowed" ] || failed "$test skips and test/skips.allowed does not name it: $reason"
done <"$tmp/skips"
sed 's/^/FAILED: /' "$tmp/failures"
read -r n_passed n_failed n_skipped < <(awk '{p += $1; f += $2; s += $3} END {print p + 0, f + 0, s + 0}' "$tmp/counts")
echo "$n_passed passed, $n_failed failed, $n_skipped skipped"
[ "$n_failed" -eq 0 ]
