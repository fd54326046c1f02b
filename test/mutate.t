#!/usr/bin/env bash
# The tests can fail: each deliberate breakage of test/mutations turns its named tests red, and that
# test is green without it. BUILD is a tree built with -DLH_MUTATIONS=ON. Most of the time is waiting,
# so there are more at a time than cores.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$(cd "${BUILD:-build-mutants}" && pwd) || exit 1
n_at_once=$((2 * $(nproc) + 1))
. test/lib/checks.sh
declare -A green

while read -r mutant program; do
    case $program in
    crash | crash-trees)
        # That one says itself whether its rounds of power cuts went red.
        what=files
        [ "$program" = crash ] || what=trees
        check "$mutant turns $program red" \
            timeout -k 5 600 test/crash/run --what $what --build "$build" --mutant "$mutant"
        continue
        ;;
    e2e:*:*)
        IFS=: read -r _ file name <<<"$program"
        command=(env LONGHAUL="$build/longhaul" "test/e2e/$file.t" "$name")
        ;;
    *)
        command=("$build/test/$program.t")
        ;;
    esac
    [ -n "${green[$program]:-}" ] ||
        check "$program is green as it is" env -u LH_MUTANT timeout -k 5 300 "${command[@]}"
    green[$program]=1
    check_red "$mutant turns $program red" env LH_MUTANT="$mutant" timeout -k 5 300 "${command[@]}"
done < <(sed 's/#.*//; /^[[:space:]]*$/d' test/mutations)

# Every breakage that the sources know is on the list, and the other way round.
same_list() {
    diff <(grep -rhoE 'lh_mutant\("[a-z-]+"\)' proto src | cut -d'"' -f2 | sort -u) \
        <(sed 's/#.*//; /^[[:space:]]*$/d' test/mutations | awk '{print $1}' | sort -u)
}
check "the list names every breakage that the sources know" same_list
checks_done
