#!/usr/bin/env bash
# What longhaul does, in a minute: install what it needs, build it, send a real file, kill the
# transfer halfway, run the same command again, and show that both files are identical.
#
#   deploy/demo.sh            a file of 2 GiB
#   DEMO_MIB=500 deploy/demo.sh
#
# On Debian 12, as root (it installs packages) or as anybody once they are there. Everything it makes
# besides build/ is in one temporary directory that it removes.
set -eu
cd "$(dirname "$0")/.."
. test/lib/packages.sh
size_mib=${DEMO_MIB:-2048}

say() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

die() {
    echo "demo: $*" >&2
    exit 1
}

say "1. What it needs"
need_packages test/packages build
echo "all there"

say "2. Build"
cmake -G Ninja -B build -DLH_TESTS=OFF >/dev/null
ninja -C build | tail -n 1
longhaul=$PWD/build/longhaul

work=$(mktemp -d "${DEMO_DIR:-${TMPDIR:-/tmp}}/longhaul-demo.XXXXXX")
serve_pid=''
send_pid=''
clean_up() {
    [ -z "$send_pid" ] || kill -9 "$send_pid" 2>/dev/null || :
    [ -z "$serve_pid" ] || kill "$serve_pid" 2>/dev/null || :
    wait
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
mkdir "$work/inbox"
free_mib=$(df -Pm "$work" | awk 'NR == 2 {print $4}')
[ "$free_mib" -gt $((2 * size_mib + 512)) ] ||
    die "$work has only $free_mib MiB free; try DEMO_MIB=$((free_mib / 4)) or another DEMO_DIR"

say "3. A file of $size_mib MiB"
head -c "${size_mib}M" /dev/urandom >"$work/big.bin"
ls -l "$work/big.bin"

say "4. A receiver: longhaul serve --root inbox"
"$longhaul" serve --root "$work/inbox" --listen 127.0.0.1:0 --commit-interval 200ms 2>"$work/serve.log" &
serve_pid=$!
until grep -qs 'receiving into' "$work/serve.log"; do
    kill -0 "$serve_pid" 2>/dev/null || die "the receiver did not start: $(cat "$work/serve.log")"
    sleep 0.1
done
cat "$work/serve.log"
port=$(sed -n 's/.*receiving into .*:\([0-9]*\)$/\1/p' "$work/serve.log")
to=lh://127.0.0.1:$port/

# How much of the file is safe, as the sender says.
durable() {
    local n
    n=$(sed -n 's/.*"bytes_durable":\([0-9]*\).*/\1/p' "$work/sent" | tail -n 1)
    echo "${n:-0}"
}

# Slow enough to be killed halfway: eight seconds for all of it.
say "5. Send it, and kill -9 the sender halfway: longhaul send --limit-rate ${size_mib}M big.bin $to"
"$longhaul" send --json --limit-rate "${size_mib}M" "$work/big.bin" "$to" >"$work/sent" &
send_pid=$!
while kill -0 "$send_pid" 2>/dev/null && [ "$(durable)" -lt $((size_mib * 1024 * 1024 / 4)) ]; do
    sleep 0.1
done
kill -9 "$send_pid" 2>/dev/null ||
    die "it was over before it could be killed: try DEMO_MIB=$((size_mib * 4))"
wait "$send_pid" 2>/dev/null || :
send_pid=''
[ ! -e "$work/inbox/big.bin" ] || die "a half-sent file is to be seen under its name"
echo "killed; big.bin is not to be seen in the inbox, but what had arrived is safe there:"
# The receiver makes durable what it still has, then lets go.
until "$longhaul" partials --root "$work/inbox" | tee "$work/partials" | grep -q partial; do
    sleep 0.1
done
cat "$work/partials"

say "6. The same command again"
"$longhaul" send "$work/big.bin" "$to"

say "7. The same contents?"
cmp "$work/big.bin" "$work/inbox/big.bin" && echo "cmp: identical"
"$longhaul" digest "$work/big.bin"
"$longhaul" digest "$work/inbox/big.bin"
[ "$("$longhaul" digest "$work/big.bin")" = "$("$longhaul" digest "$work/inbox/big.bin")" ] ||
    die "the digests differ"
say "Done: sent, killed, resumed, identical."
