#!/bin/sh
# First program of a guest of user-mode-linux: runs netem.t with that kernel's netem. The host's file
# system is the root (read-only). Lines of the test begin with "@lh", the last one is "@end CODE".
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TMPDIR=/run/tmp
here=$(dirname "$0")
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o size=128m tmpfs /run
mkdir -m 1777 /run/tmp
for module in drivers/net/veth drivers/net/ifb net/sched/sch_netem net/sched/sch_ingress \
    net/sched/cls_matchall net/sched/act_mirred; do
    # finit_module(2), for want of an insmod where kmod is not installed
    perl -e 'open F, "<", $ARGV[0] or die "$!"; syscall(313, fileno F, my $no = "", 0) == 0 or die "$!"' \
        "/usr/lib/uml/modules/$(uname -r)/kernel/$module.ko" || echo "no $module"
done
ip link set lo up
{
    # The program itself has no part in this.
    LH_IN_GUEST=1 LONGHAUL=/bin/true /usr/bin/python3 "$here/netem.t" 2>&1
    echo "end $?"
} | sed -u 's/^/@lh /; s/^@lh end /@end /'
sleep 3600
