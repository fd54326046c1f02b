#!/bin/sh
# First program of the guest: mounts the disk, checks it, then receives and sends over loopback.
#
# The host's file system is the root (read-only); $LH_SCRATCH, from the kernel's command line, is the
# host's directory with this boot's job. What is printed goes to the console, which is a pipe to the
# host: a line that arrived there has left the guest. Lines of this script begin with "@lh".
# The host ends the guest by killing it, so there is no way out of here on purpose.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
here=$(dirname "$0")

say() { echo "@lh $*"; }
stop() {
    say "end $*"
    sleep 3600
}

mount -t proc proc /proc
mount -t tmpfs -o size=64m tmpfs /mnt || stop broken: no tmpfs
mkdir /mnt/disk /mnt/host
mount -t hostfs -o "$LH_SCRATCH" none /mnt/host || stop broken: no hostfs
say up
[ -e /mnt/host/job.sh ] || stop nothing to do
# disk_options, volatile, lazy, program, mutant, serve_args, send_args, target, check, final, source, checker, errors
. /mnt/host/job.sh
export TMPDIR=/mnt
ip link set lo up || stop broken: no loopback

# Lazy: nothing reaches the disk unless somebody syncs it. Eager: much does, in an order of its own.
if [ "$lazy" = 1 ]; then
    echo 0 >/proc/sys/vm/dirty_writeback_centisecs
    echo 90 >/proc/sys/vm/dirty_ratio
    echo 80 >/proc/sys/vm/dirty_background_ratio
else
    echo 5 >/proc/sys/vm/dirty_writeback_centisecs
    echo 5 >/proc/sys/vm/dirty_expire_centisecs
    echo 1048576 >/proc/sys/vm/dirty_background_bytes
fi

# The disk. ubd keeps whatever was written to it, flushed or not. A volatile one is a loop device on the
# host's file instead: what ext4 writes to it waits in this guest's page cache until ext4 flushes.
disk=/dev/ubda
if [ "$volatile" = 1 ]; then
    # finit_module(2), for want of an insmod where kmod is not installed
    perl -e 'open F, "<", $ARGV[0] or die; syscall(313, fileno F, my $no = "", 0) == 0 or die "$!"' \
        "/usr/lib/uml/modules/$(uname -r)/kernel/drivers/block/loop.ko" || stop broken: no loop.ko
    disk=$(losetup --find --show /mnt/host/image) || stop broken: no loop device
fi
mount -t ext4 -o "$disk_options" "$disk" /mnt/disk || stop disk does not mount

check() {
    /usr/bin/python3 -B "$here/$checker" --root /mnt/disk/root --target "$target" \
        --scratch /mnt/host "$@" 2>&1
}

if [ "$check" = 1 ]; then
    check || stop check failed
fi
[ -n "$program" ] || stop checked
[ -z "$mutant" ] || export LH_MUTANT="$mutant"

"$program" serve --root /mnt/disk/root --listen 127.0.0.1:7410 $serve_args 2>&1 &
tries=0
until grep -q '0100007F:1CF2 00000000:0000 0A' /proc/net/tcp; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || stop the receiver does not listen
    sleep 0.05
done

say sending
# Through a pipe, because on a terminal there would be a progress bar.
{
    if [ "$errors" = apart ]; then exec 2>/mnt/errors; else exec 2>&1; fi
    "$program" send "/mnt/host/$source" "lh://127.0.0.1:7410/$target" --json -vv $send_args
    echo "@lh exit $?"
} | cat

if [ "$final" = 1 ]; then
    check --final || stop check failed
fi
stop sent
