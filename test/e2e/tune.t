#!/usr/bin/python3
"""How many streams, and how fast: the number within its bounds, a limit set in every stream's pacing,
divided anew when a stream goes. What the kernel was told is read from outside, by ss(8)."""
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../wan")]
sys.dont_write_bytecode = True

import e2e
import wanlib
from e2e import MIB, Proxy, Send, Serve, done, is_copy, make, need, ok, same, wait_until

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def a_transfer(size):
    root = os.path.join(e2e.dir(), "root")
    os.mkdir(root)
    return make(os.path.join(e2e.dir(), "source"), size), root, Serve(root)


def bounds(port):
    """What each stream to `port` may send, bits per second, largest first; the control connection,
    which nothing bounds, is left out."""
    out = subprocess.run(["ss", "-tinHO", "dport", "=", ":%d" % port], stdout=subprocess.PIPE,
                         check=True).stdout.decode()
    found = re.findall(r"pacing_rate [\d.]+[KMG]?bps/([\d.]+)([KMG]?)bps", out)
    return sorted((float(n) * UNITS[unit] for n, unit in found), reverse=True)


def settled(port, streams, limit):
    """True once so many streams share the limit: within the eighth that is made up for."""
    found = bounds(port)
    return len(found) == streams and abs(sum(found) - limit) <= limit * 0.13


def most_bps(sender):
    """The most that was sent in 10 s and more, by the sender's own clock: it reads both at once, so a slow
    machine makes it less, never more. Not of the first second, in which the sockets' buffers are filled."""
    seen = [(e["duration_s"], e["bytes_sent"]) for e in sender.events("progress") if e["duration_s"] >= 1]
    rates = [(sent - before) * 8 / (at - since) for since, before in seen for at, sent in seen if at - since >= 10]
    need(rates, "it is seen for 10 s")
    return max(rates)


def test_limit():
    limit = 40_000_000
    size = 80 * MIB  # 16 s and more
    source, root, serve = a_transfer(size)
    s = Send(source, serve.url("target"), "--limit-rate", "40M", "--streams", "4")
    wait_until("4 streams share 40 Mbit/s", lambda: settled(serve.port, 4, limit))
    ok(True, "4 streams share 40 Mbit/s between them")
    s.wait()
    done(s, "it ends well")
    is_copy(source, os.path.join(root, "target"), "the copy is right")
    most = most_bps(s)
    ok(most <= limit * 1.02, "never more than 1.02 of it in 10 s (%.4f)" % (most / limit))
    same(s.last("done").get("limit"), "rate limit", "and nine tenths and more in all, as the verdict says")


def test_limit_is_divided_anew():
    source, _, serve = a_transfer(256 * MIB)  # minutes: longer than it takes to look
    proxy = Proxy(serve.port)
    s = Send(source, serve.url("target", port=proxy.port), "--limit-rate", "8M", "--streams", "4")
    # A connection is there before the proxy has taken it up and seen what it is.
    wait_until("4 streams share it", lambda: len(proxy.streams()) == 4 and settled(proxy.port, 4, 8e6))
    proxy.stop_listening()
    proxy.streams()[0].reset()
    wait_until("3 streams share it", lambda: settled(proxy.port, 3, 8e6))
    ok(True, "a stream is gone, its part goes to the others")
    proxy.mend()
    wait_until("4 streams share it again", lambda: settled(proxy.port, 4, 8e6))
    ok(True, "it is back, and has its part again")
    s.signal(signal.SIGINT)
    same(s.wait(), 130, "interrupted")


def test_number():
    # The last: so little that a second stream would get next to nothing.
    for args, limit, most in (
        (("--streams", "3"), "8M", 3),
        (("--max-streams", "2"), "40M", 2),
        (("--streams", "9"), "1M", 1),
    ):
        root = os.path.join(e2e.dir(), "root" + args[1])
        os.mkdir(root)
        source = make(os.path.join(e2e.dir(), "source"), 2 * MIB)
        serve = Serve(root)
        s = Send(source, serve.url("target"), "-v", "--limit-rate", limit, *args)
        s.wait()
        done(s, "%s, %s: it ends well" % (" ".join(args), limit))
        ok(max(e["streams"] for e in s.events()) <= most, "%d streams, no more" % most)
        ok(re.search(r"streams n=%d why=\".+\"" % most, s.err()), "how many, and why, is logged")


def test_bound_from_the_environment():
    source, _, serve = a_transfer(2 * MIB)
    os.environ["LONGHAUL_MAX_STREAMS"] = "2"
    try:
        s = Send(source, serve.url("target"), "-v", "--streams", "5",
                 "--limit-rate", "40M")
    finally:
        del os.environ["LONGHAUL_MAX_STREAMS"]
    s.wait()
    done(s, "--streams 5, LONGHAUL_MAX_STREAMS=2: it ends well")
    same(max(e["streams"] for e in s.events()), 2, "2 streams, no more")
    ok('streams n=2 why="not 5: no more are allowed"' in s.err(), "and it says why")


def test_background():
    source, root, serve = a_transfer(12 * MIB)
    s = Send(source, serve.url("target"), "--share", "background", "-vv")
    s.wait()
    done(s, "background: it ends well")
    is_copy(source, os.path.join(root, "target"), "the copy is right")
    first = re.search(r"pace bound_kBps=(\d+)", s.err())
    ok(first is not None and 0 < int(first.group(1)) <= 2500, "it began slowly")


class Bounds:
    """What the log says that background may send, from a moment on."""

    def __init__(self, sender):
        self.sender = sender
        self.now()

    def now(self):
        self.at = len(self.sender.err())

    def wait(self, what, condition):
        def met():
            found = re.findall(r"pace bound_kBps=(\d+)", self.sender.err()[self.at:])
            return [n for n in map(int, found) if condition(n)]

        ok(wait_until(what, met), what)
        self.now()


def test_background_gives_way():
    """On a line of 20 Mbit/s, which carries about 2400 kB/s. What others do to it, the line does: it
    grows longer by a queue, or loses. Slowness of this host can only make it slower to rise."""
    line = wanlib.Wan("20mbit", "40ms", "0%", "100kB")
    ends = [["ip", "netns", "exec", "%s-%s" % (line.name, side)] for side in "ab"]
    root = os.path.join(e2e.dir(), "root")
    os.mkdir(root)
    serve = Serve(root, "--insecure", listen="198.18.0.2:0", wrap=ends[1])
    source = make(os.path.join(e2e.dir(), "source"), 512 * MIB)  # more than it comes to
    s = Send(source, serve.url("target", host="198.18.0.2"), "--share", "background", "--insecure", "-vv",
             wrap=ends[0])
    bounds = Bounds(s)
    bounds.wait("it takes the line", lambda n: n >= 1500)
    line.tell("delay 50ms")
    bounds.now()
    bounds.wait("round trips are longer by 60 ms: it gives way", lambda n: n <= 500)
    line.tell("delay 20ms")
    bounds.now()
    bounds.wait("they are as before: it takes the line again", lambda n: n >= 1500)
    line.tell("ab loss 10%")
    bounds.now()
    bounds.wait("a tenth is lost: it gives way", lambda n: n <= 900)
    line.tell("ab loss 0%")
    bounds.now()
    bounds.wait("nothing is: it takes the line again", lambda n: n >= 1500)
    s.signal(signal.SIGINT)
    same(s.wait(), 130, "interrupted")


e2e.main()
