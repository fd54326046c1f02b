# shellcheck shell=bash
# Sourced by tests that are made of commands: some of them run at a time, told of in TAP in their order.
#
#   check NAME COMMAND...       start it, once fewer than $n_at_once run; its exit code is the verdict
#   check_red NAME COMMAND...   the same, but it has to fail by its own checks: not to end, or not to
#                               start, is no verdict
#   checks_done                 wait for all, end the TAP; 0 when all went well
#
# What one wrote is shown when it fails; until the end it is in $checks_dir/N, N counted from 1.
n_at_once=${n_at_once:-2}
checks_dir=$(mktemp -d "${TMPDIR:-/tmp}/longhaul-checks.XXXXXX") || exit 1
checks_names=()
checks_told=0
checks_failed=0

# Whoever ends early takes with him what he has started.
checks_clean_up() {
    local running
    mapfile -t running < <(jobs -rp)
    [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null
    wait
    rm -rf "$checks_dir"
}
trap checks_clean_up EXIT
trap 'exit 130' INT TERM

# Those that have ended, up to the first that has not.
checks_tell() {
    local rc n=$((checks_told + 1))
    while [ -s "$checks_dir/$n.rc" ]; do
        rc=$(cat "$checks_dir/$n.rc")
        checks_told=$n
        if [ "$rc" -eq 0 ]; then
            echo "ok $n - ${checks_names[n - 1]}"
        else
            checks_failed=$((checks_failed + 1))
            echo "not ok $n - ${checks_names[n - 1]}"
            tail -n 60 "$checks_dir/$n" | sed 's/^/# /'
        fi
        n=$((n + 1))
    done
}

checks_start() {
    local want=$1 n
    while [ "$(jobs -rp | wc -l)" -ge "$n_at_once" ]; do
        wait -n
        checks_tell
    done
    checks_names+=("$2")
    n=${#checks_names[@]}
    checks_run "$want" "$checks_dir/$n.rc" "${@:3}" >"$checks_dir/$n" 2>&1 </dev/null &
}

checks_run() {
    local want=$1 file=$2 rc
    trap 'kill $!; wait $!; exit 130' TERM
    "${@:3}" &
    wait $!
    rc=$?
    if [ "$want" = red ]; then
        echo "exit code $rc"
        case $rc in
        0 | 124 | 126 | 127 | 137) rc=1 ;;
        *) rc=0 ;;
        esac
    fi
    echo $rc >"$file"
}

check() {
    checks_start green "$@"
}

check_red() {
    checks_start red "$@"
}

checks_done() {
    wait
    checks_tell
    echo "1..${#checks_names[@]}"
    [ "$checks_failed" -eq 0 ] && [ "$checks_told" -eq ${#checks_names[@]} ]
}
