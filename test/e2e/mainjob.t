#!/usr/bin/python3
"""The main job: a file of several GiB, killed on both sides on the way, identical at the end."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import random
import re

import e2e
from e2e import GIB, MIB, Net, Send, Serve, done, is_copy, make, ok, same

SIZE = int(os.environ.get("LH_MAINJOB_BYTES") or 2 * GIB) + 12345


def read_bytes(process):
    """What it has read so far, or None when it has ended: how far a sender is with hashing."""
    try:
        with open("/proc/%d/io" % process.pid, encoding="ascii") as f:
            return int(f.readline().split()[1]) if process.alive() else None
    except OSError:
        return None


def acknowledged_by(process):
    """Bytes that it has seen acknowledged, by its log."""
    return sum(int(n) for n in re.findall(r"acked first=\d+ count=(\d+)", process.err())) * e2e.BLOCK


def job(start_serve, start_send, target, src):
    rng = random.Random(SIZE)
    serve = start_serve(0)
    acknowledged = 0
    kills = {"sender": 0, "receiver": 0}
    for victim in ("sender", "receiver", "sender", "receiver", "sender"):
        sent = start_send(serve)

        def gets_on(n_bytes, sent=sent):
            """It moves that much more, or ends."""
            goal = (read_bytes(sent) or 0) + n_bytes
            e2e.wait_until("it gets on", lambda: (read_bytes(sent) or goal) >= goal)

        gets_on(rng.randrange(SIZE // 32, SIZE // 12))
        if victim == "receiver":
            serve.kill()
            kills["receiver"] += sent.alive()
            serve = start_serve(serve.port)
            gets_on(SIZE // 16)  # by itself
        sent.kill()
        if not ok(sent.killed, "the kill of the %s hits something that runs" % victim):
            return
        kills["sender"] += 1
        acknowledged += acknowledged_by(sent)
    last = start_send(serve)
    last.wait(600)
    done(last, "%d sender kills and %d receiver kills later it ends well" % (
        kills["sender"], kills["receiver"]))
    same(kills["receiver"], 2, "every kill hit something that ran")
    ok(last.last("done").get("bytes_skipped", 0) >= acknowledged - e2e.BLOCK,
       "nothing acknowledged is sent again")
    e2e.diag("%d MiB acknowledged before, %d MiB skipped" % (
        acknowledged // MIB, last.last("done").get("bytes_skipped", 0) // MIB))
    same(os.path.getsize(target), SIZE, "the size is right")
    is_copy(src, target, "the contents are the same")
    same(last.last("done").get("digest"), e2e.digest(target), "and so is the digest")


@e2e.long
def test_across_namespaces():
    net = Net()
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    src = make(os.path.join(e2e.dir(), "source"), SIZE)
    net.rate(2500)
    job(lambda port: Serve(at, "--insecure", "--commit-interval", "100ms", listen="%s:%d" % (net.B, port), wrap=net.in_b()),
        lambda serve: Send(src, serve.url("t", host=net.B), "--insecure", "-vv", wrap=net.in_a()),
        os.path.join(at, "t"), src)


@e2e.long
def test_over_loopback():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    src = make(os.path.join(e2e.dir(), "source"), SIZE)
    port = e2e.keep_port()
    job(lambda _: Serve(at, "--commit-interval", "100ms", listen="127.0.0.1:%d" % port),
        lambda serve: Send(src, serve.url("t"), "-vv"), os.path.join(at, "t"), src)


e2e.main()
