#!/usr/bin/env bash
# The tests can fail: each deliberate breakage of test/mutations turns its named tests red, and that
# test is green without it. BUILD is a tree built with -DLH_MUTATIONS=ON.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build-mutants}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
n=0 n_failed=0
declare -A green

ok() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        n_failed=$((n_failed + 1))
        echo "not ok $n - $2"
        tail -n 15 "$log" | sed 's/^/# /'
    fi
}

# red MUTANT COMMAND...: 0 when it failed by its own checks. Not to end, or not to start, is no verdict.
red() {
    LH_MUTANT=$1 timeout -k 5 300 "${@:2}" >"$log" 2>&1
    case $? in
    0 | 124 | 126 | 127 | 137) return 1 ;;
    esac
    return 0
}

while read -r mutant program; do
    if [[ $program = crash || $program = crash-trees ]]; then
        # That one says itself whether its rounds of power cuts went red.
        what=files
        [ "$program" = crash ] || what=trees
        timeout -k 5 600 test/crash/run --what $what --build "$build" --mutant "$mutant" >"$log" 2>&1
        ok $? "$mutant turns crash red"
        continue
    fi
    command=("$build/test/$program.t")
    if [[ $program = e2e:*:* ]]; then
        IFS=: read -r _ file name <<<"$program"
        command=(env LONGHAUL="$PWD/$build/longhaul" "test/e2e/$file.t" "$name")
        [[ $build = /* ]] && command[1]="LONGHAUL=$build/longhaul"
    fi
    if [ -z "${green[$program]:-}" ]; then
        env -u LH_MUTANT timeout -k 5 300 "${command[@]}" >"$log" 2>&1
        ok $? "$program is green as it is"
        green[$program]=1
    fi
    red "$mutant" "${command[@]}"
    ok $? "$mutant turns $program red"
done < <(sed 's/#.*//; /^[[:space:]]*$/d' test/mutations)

# Every breakage that the sources know is on the list, and the other way round.
diff <(grep -rhoE 'lh_mutant\("[a-z-]+"\)' proto src | cut -d'"' -f2 | sort -u) \
    <(sed 's/#.*//; /^[[:space:]]*$/d' test/mutations | awk '{print $1}' | sort -u) >"$log"
ok $? "the list names every breakage that the sources know"
echo "1..$n"
[ "$n_failed" -eq 0 ]
