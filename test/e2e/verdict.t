#!/usr/bin/python3
"""The verdict: each side made the limit, and the word for it in --json and in the summary.

What is made slow is ten times slower than all the rest, so the word does not depend on the machine,
nor on what others leave of it: network, window and send buffer were seen to stay right with half of each
core taken away in spells of 50 ms."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../wan")]

import e2e
import wanlib
from e2e import BLOCK, MIB, Net, Process, Send, Serve, Shim, diag, done, make, ok, same, send

STALL_MS = 50


def serve_at(listen="127.0.0.1:0", **how):
    root = os.path.join(e2e.dir(), "root")
    os.mkdir(root)
    return Serve(root, *(("--insecure",) if "wrap" in how else ()), listen=listen, **how)


def limits(serve, size, word, *args, host="127.0.0.1", **how):
    """Two sends side by side, one for programs and one for people."""
    src = make(os.path.join(e2e.dir(), "source"), size)
    more = (*args, "--insecure") if "wrap" in how else args
    machine = Send(src, serve.url("json", host=host), "-vv", *more, **how)
    person = Process(["send", *more, src, serve.url("text", host=host)], **how)
    machine.wait()
    same(person.wait(), 0, "%s: the one for people ends well" % word)
    done(machine, "%s: the one for programs ends well" % word)
    if not same(machine.last("done").get("limit"), word, "%s: --json says so" % word):
        diag("\n".join(re.findall("limits .*", machine.err())[-1:]))
    if not ok(re.search(r"^longhaul: limit: %s \(.+\)$" % word, person.err(), re.M),
              "%s: the summary says so" % word):
        person.show()
    return machine.last("done").get("limit_reason", "")


def slow(call, word, serving, stall_ms=STALL_MS, size=24 * MIB):
    shim = Shim()
    shim.set(call, stall_ms=stall_ms)
    serve = serve_at(env=shim.env if serving else None)
    limits(serve, size, word, env=None if serving else shim.env)
    ok(shim.hits(call) > 0, "%s: it was made slow" % word)


def test_source_disk():
    slow("pread64", "source disk", False)


def test_sender_cpu():
    slow("pread64", "sender cpu", False, -STALL_MS)


def test_receiver_disk_writes():
    slow("pwrite64", "receiver disk", True)


def test_receiver_disk_syncs():
    slow("fdatasync", "receiver disk", True, 4000)


def test_receiver_cpu():
    slow("recvmsg", "receiver cpu", True, -STALL_MS // 2)  # nobody but streams' loops calls it


def test_network():
    net = Net()
    serve = serve_at(Net.B + ":0", wrap=net.in_b())
    net.rate(20)
    limits(serve, 5 * MIB, "network", host=Net.B, wrap=net.in_a())


def test_rate_limit():
    serve = serve_at()
    limits(serve, 8 * MIB, "rate limit", "--limit-rate", "20M")


def wan(narrow, side):
    """A long line, and one host with a small limit for its buffers: a hundredth of what the line
    holds in all of a transfer's streams. What a host that is short of CPU adds to the round trip is small
    against 100 ms; with more than 4 streams the start-up would be much of it."""
    name = "lhv-%d" % os.getpid()
    wanlib.up(name, "1gbit", "100ms", "0%")
    subprocess.run(["ip", "netns", "exec", "%s-%s" % (name, side), "sysctl", "-qw",
                    "net.ipv4.%s=4096 8192 32768" % narrow], check=True)
    return [["ip", "netns", "exec", "%s-%s" % (name, s)] for s in "ab"]


def buffers(narrow, side, word):
    a, b = wan(narrow, side)
    serve = serve_at("198.18.0.2:0", wrap=b)
    reason = limits(serve, 3 * MIB, word, "--streams", "4", host="198.18.0.2", wrap=a)
    ok(narrow in reason, "%s: it names net.ipv4.%s" % (word, narrow))


def test_receiver_window():
    buffers("tcp_rmem", "b", "receiver window")


def test_send_buffer():
    buffers("tcp_wmem", "a", "send buffer")


def test_too_short():
    serve = serve_at()
    for size in (BLOCK, 1):
        sent = send(make(os.path.join(e2e.dir(), "source"), size), serve.url("t"))
        same(sent.last("done").get("limit"), "too short to tell", "%d bytes" % size)
    again = send(os.path.join(e2e.dir(), "source"), serve.url("t"))
    done(again, "the same again")
    same(again.last("done").get("limit"), "too short to tell", "a file of one block, sent again")


def test_nothing_sent():
    serve = serve_at()
    sent = send(make(os.path.join(e2e.dir(), "source"), 0), serve.url("t"))
    done(sent, "an empty file")
    same(sent.last("done").get("limit"), "", "an empty file: no limit")


e2e.main()
