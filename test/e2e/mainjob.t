#!/usr/bin/python3
"""The main job: a file of several GiB, killed on both sides on the way, identical at the end."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import random

import e2e
from e2e import GIB, MIB, Net, Send, Serve, done, is_copy, make, ok, same, send

SIZE = int(os.environ.get("LH_MAINJOB_BYTES") or 2 * GIB) + 12345


def job(start_serve, start_send, target, src):
    rng = random.Random(SIZE)
    serve = start_serve(0)
    acknowledged = 0
    kills = {"sender": 0, "receiver": 0}
    for victim in ("sender", "receiver", "sender", "receiver"):
        sent = start_send(serve)
        goal = acknowledged + rng.randrange(SIZE // 16, SIZE // 8)
        e2e.wait_until("it gets on", lambda: not sent.alive()
                       or any(e["bytes_durable"] >= goal for e in sent.events()))
        if victim == "receiver":
            serve.kill()
            kills["receiver"] += sent.alive()
            serve = start_serve(serve.port)
            # The sender goes on by itself; let it, for a while.
            more = goal + SIZE // 16
            e2e.wait_until("it goes on", lambda: not sent.alive()
                           or any(e["bytes_durable"] >= more for e in sent.events()))
        sent.kill()
        kills["sender"] += sent.killed
        acknowledged = max([acknowledged] + [e["bytes_durable"] for e in sent.events()])
    last = start_send(serve)
    last.wait(600)
    done(last, "%d sender kills and %d receiver kills later it ends well" % (kills["sender"], kills["receiver"]))
    ok(kills["sender"] >= 2 and kills["receiver"] >= 1, "the kills hit something that ran")
    ok(last.last("done").get("bytes_skipped", 0) >= acknowledged, "nothing acknowledged is sent again")
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
    job(lambda port: Serve(at, "--insecure", listen="%s:%d" % (net.B, port), wrap=net.in_b()),
        lambda serve: Send(src, serve.url("t", host=net.B), "--insecure", wrap=net.in_a()),
        os.path.join(at, "t"), src)


@e2e.long
def test_over_loopback():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    src = make(os.path.join(e2e.dir(), "source"), SIZE)
    job(lambda port: Serve(at, listen="127.0.0.1:%d" % port),
        lambda serve: Send(src, serve.url("t")), os.path.join(at, "t"), src)


e2e.main()
