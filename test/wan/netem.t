#!/usr/bin/python3
"""A WAN drawn by the kernel's netem is what was asked for, too, and what netem cannot do is said.

Where the kernel has no netem, all this runs in a guest of user-mode-linux, whose kernel has it. Bounds
are wide: delays are at least, rates at most what was asked; counts lie within five standard deviations.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "../crash"))
import uml  # noqa: E402
from wanlib import (STATE, Wan, is_black_hole, is_buffer, is_burst_loss, is_loss, is_rate,  # noqa: E402
                    is_reorder, is_rtt, min_rtt, rtts, tool)
import e2e  # noqa: E402
from e2e import ok, same  # noqa: E402

QUIET_S = 120  # a guest that says nothing for so long hangs


def test_rtt_rate_and_changes():
    wan = Wan("10mbit", "100ms", "0%", engine="netem")
    is_rtt(wan, 0.1)
    near, far = wan.tcp()
    is_rate(near, far, 10e6, 2)
    is_black_hole(wan, near, far)
    wan.tell("delay 5ms", "ba rate 2mbit")
    rtt = min_rtt(wan)
    ok(0.01 <= rtt < 0.1, "the delay was changed while it ran (%.2f ms)" % (rtt * 1e3))
    is_rate(far, near, 2e6, 1)
    wan.tell("jitter 50ms", "rate 10mbit", "buffer 1MB")
    times = rtts(wan)
    ok(max(times) - min(times) > 0.02, "jitter: %.1f to %.1f ms" % (min(times) * 1e3, max(times) * 1e3))
    got = wan.blast(500)
    same(got, list(range(500)), "jitter leaves the order")


def test_loss_bursts_and_order():
    wan = Wan("100mbit", "2ms", "5%", "100MB", "ba loss 0%", engine="netem")
    before = wan.stats()["dropped"]
    is_loss(wan, 4000, 0.05)
    ok(wan.stats()["dropped"] > before, "what is lost is counted")
    same(tool("ctl", wan.name, "loss 0%", "burst 10% 10").returncode, 0, "ctl changes it to bursts")
    is_burst_loss(wan, 8000, 0.1, (5, 20))
    wan.tell("burst 0% 1", "reorder 10% 20ms")
    is_reorder(wan, 2000)
    wan.tell("reorder 0% 0", "rate 1mbit", "buffer 50kB")
    full = 1500 - 28  # netem counts packets, and takes each for a full one
    is_buffer(wan, full, 50000 // 1514, 1e6)


def test_what_netem_cannot():
    wan = Wan("1gbit", "2ms", "0%", engine="netem")
    for line in ("corrupt 1%", "cut reset"):
        told = tool("ctl", wan.name, line)
        ok(told.returncode == 1 and "netem cannot do this, the emulator can" in told.stdout,
           line + " is refused, and who can do it is said")
    told = tool("ctl", wan.name, "stats")
    ok("it does not tell lost, tail_dropped" in told.stdout, "stats say what they do not tell")
    same(tool("ctl", wan.name, "los 1%").stdout, "error: not understood: los\n", "nonsense is refused")
    same(tool("down", wan.name).returncode, 0, "down")
    ok(wan.name not in e2e.ip("netns", "list"), "the namespaces are gone")
    bad = tool("up", "--name", wan.name, "--engine", "netem", "1gbit", "1ms", "0%", "1bdp", "corrupt 1%")
    ok(bad.returncode != 0 and wan.name not in e2e.ip("netns", "list"), "nothing is left when up fails")
    up = tool("up", "--name", wan.name, "1gbit", "1ms", "0%", "1bdp", "burst 3% 10")
    e2e.cleanup(tool, "down", wan.name)
    same((up.returncode, "engine=netem\n" in up.stdout), (0, True), "netem is taken where nobody chooses")
    ok(os.path.exists(os.path.join(STATE, wan.name, "netem")), "and remembers its settings")


def has_netem():
    """Whether this kernel has all that it takes; a kernel without namespaces is left to the tests."""
    probe = "lhprobe-%d" % os.getpid()
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return False
    try:
        return not any(subprocess.run([program, "-n", probe] + words.split(), capture_output=True,
                                      check=False).returncode for program, words in (
            ("ip", "link add probe type ifb"), ("tc", "qdisc add dev probe root netem"),
            ("tc", "qdisc add dev lo ingress"),
            ("tc", "filter add dev lo ingress matchall action mirred egress redirect dev probe")))
    finally:
        e2e.ip("netns", "del", probe)


def in_guest(kernel, scratch):
    """Runs this file in a guest and hands on what it says; returns its exit code."""
    guest = uml.Guest(kernel, scratch, "/dev/null", os.path.join(HERE, "guest.sh"), mem="256M")
    try:
        heard = time.monotonic()
        while not guest.closed and time.monotonic() - heard < QUIET_S:
            for line in guest.lines(1):
                heard = time.monotonic()
                mark, _, text = line.partition(" ")
                if mark == "@end":
                    return int(text)
                if mark == "@lh":
                    print(text, flush=True)
    finally:
        guest.cut()
    e2e.diag("\n".join(guest.log[-20:]))
    e2e.ok(False, "the guest comes to its end")
    return 1


def main():
    if os.environ.get("LH_IN_GUEST") or (os.geteuid() == 0 and has_netem()):
        e2e.main()
    kernel = shutil.which(uml.KERNEL)
    if not kernel:
        print("1..0 # SKIP no %s here (Debian package user-mode-linux)" % uml.KERNEL)
        return 0
    with tempfile.TemporaryDirectory(prefix="longhaul-netem.") as scratch:
        return in_guest(kernel, scratch)


sys.exit(main())
