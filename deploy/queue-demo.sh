#!/usr/bin/env bash
# Work from a queue, in a minute or two: install what it needs, build it, start a redis-server, a
# receiver and three workers on this host, submit six files, kill -9 a worker in the middle of one,
# and watch the others end what it left half done.
#
#   deploy/queue-demo.sh            six files of 256 MiB
#   DEMO_MIB=64 deploy/queue-demo.sh
#
# On Debian 12, as root (it installs packages) or as anybody once they are there. Everything it makes
# besides build/ is in one temporary directory that it removes; everything it starts it ends.
set -eu
cd "$(dirname "$0")/.."
. test/lib/packages.sh
size_mib=${DEMO_MIB:-256}
n_files=6

say() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

die() {
    echo "demo: $*" >&2
    exit 1
}

say "1. What it needs"
need_packages test/packages build queue
echo "all there"

say "2. Build"
cmake -G Ninja -B build -DLH_TESTS=OFF >/dev/null
ninja -C build | tail -n 1
longhaul=$PWD/build/longhaul

work=$(mktemp -d "${DEMO_DIR:-${TMPDIR:-/tmp}}/longhaul-demo.XXXXXX")
pids=()
clean_up() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || :
    wait
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
mkdir "$work/inbox" "$work/outbox"
free_mib=$(df -Pm "$work" | awk 'NR == 2 {print $4}')
[ "$free_mib" -gt $((2 * n_files * size_mib + 512)) ] ||
    die "$work has only $free_mib MiB free; try DEMO_MIB=$((free_mib / 4 / n_files)) or another DEMO_DIR"

# until_said FILE WORDS PID: wait until a program that was started has written that.
until_said() {
    until grep -qs "$2" "$1"; do
        kill -0 "$3" 2>/dev/null || die "it did not start: $(cat "$1")"
        sleep 0.1
    done
}

say "3. A Redis, a receiver and three workers, one task each at a time"
redis-server --port 0 --unixsocket "$work/redis.sock" --dir "$work" --save '' >"$work/redis.log" &
pids+=($!)
until_said "$work/redis.log" 'eady to accept connections' $!
export LONGHAUL_REDIS=unix://$work/redis.sock
"$longhaul" serve --root "$work/inbox" --listen 127.0.0.1:0 2>"$work/serve.log" &
pids+=($!)
until_said "$work/serve.log" 'receiving into' $!
port=$(sed -n 's/.*receiving into .*:\([0-9]*\)$/\1/p' "$work/serve.log")
to=lh://127.0.0.1:$port/
for name in w1 w2 w3; do
    "$longhaul" worker --name "$name" --jobs 1 --claim-time 4s 2>"$work/$name.log" &
    pids+=($!)
    if [ "$name" = w1 ]; then
        victim=$!
        disown "$victim" # or the shell would report its death in the middle of what is shown
    fi
done
echo "redis-server on a socket, longhaul serve on port $port, longhaul worker w1, w2, w3"

say "4. $n_files files of $size_mib MiB"
for i in $(seq "$n_files"); do
    head -c "${size_mib}M" /dev/urandom >"$work/outbox/film$i.bin"
done
ls -l "$work/outbox"

# Slow enough to be watched, and for a worker to be killed in the middle: eight seconds each.
say "5. longhaul submit --limit-rate ${size_mib}M film*.bin $to"
ids=()
for i in $(seq "$n_files"); do
    ids+=("$("$longhaul" submit --limit-rate "${size_mib}M" "$work/outbox/film$i.bin" "$to")")
    echo "${ids[-1]}"
done

# state_of TASK
state_of() {
    "$longhaul" status --json "$1" | sed -n 's/.*"state":"\([a-z]*\)".*/\1/p'
}

# w1 has made some of a file durable, and not yet half of it.
in_the_middle() {
    local durable
    durable=$("$longhaul" status --json |
        sed -n 's/.*"state":"active".*"worker":"w1".*"bytes_durable":\([0-9]*\).*/\1/p')
    [ "${durable:-0}" -gt 0 ] && [ "$durable" -lt $((size_mib * 1024 * 1024 / 2)) ]
}

# While somebody watches: kill the first worker in the middle of a file, and end the watch when there
# is nothing left to see.
meanwhile() {
    local id
    sleep 2
    until in_the_middle; do
        sleep 0.2
    done
    kill -9 "$victim"
    for id in "${ids[@]}"; do
        until [ "$(state_of "$id")" = "done" ]; do
            sleep 0.5
        done
    done
    sleep 1.5
    kill -INT "$1"
}

say "6. longhaul status --watch; w1 is killed (kill -9) in the middle"
"$longhaul" status --watch &
watcher=$!
pids+=("$watcher")
meanwhile "$watcher" &
pids+=($!)
wait "$watcher" || [ $? -eq 130 ] || die "the watch ended early"

say "7. longhaul queue: w1 is silent, nothing is left to do"
"$longhaul" queue

say "8. The same contents?"
for i in $(seq "$n_files"); do
    cmp "$work/outbox/film$i.bin" "$work/inbox/film$i.bin" || die "film$i.bin differs"
done
echo "cmp: all identical"
taken_over=0
for id in "${ids[@]}"; do
    if "$longhaul" status --json "$id" | grep -q '"workers":"w1,'; then
        taken_over=$((taken_over + 1))
        "$longhaul" status "$id"
    fi
done
[ "$taken_over" -gt 0 ] || die "no task went from w1 to another worker"
say "Done: submitted, a worker killed, its task ended by another, identical."
