#!/usr/bin/python3
"""kill -9 on both sides at random points, many rounds."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import random

import e2e
from e2e import MIB, Proxy, Send, Serve, Shim, done, is_copy, make, need, ok, same, send

SEED = int(os.environ.get("LH_SEED") or random.SystemRandom().randrange(1 << 32))
ROUNDS = int(os.environ.get("LH_ROUNDS") or (3 if e2e.SHORT else 8))
SIZE = 32 * MIB + 4321


def begin(name):
    e2e.diag("LH_SEED=%d" % SEED)
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at, "--commit-interval", "150ms")
    src = make(os.path.join(e2e.dir(), "source"), SIZE)
    return random.Random("%d %s" % (SEED, name)), serve, at, src


def acknowledged_after(sent, before):
    """What the next run must not send again. Once it is whole the transfer may be over, and the next
    run a new one."""
    seen = max([before] + [e["bytes_durable"] for e in sent.events()])
    return seen if seen < SIZE else 0


def test_sender_killed():
    rng, serve, at, src = begin("sender")
    total = kills = 0
    for i in range(ROUNDS):
        name = "t%d" % i
        acknowledged = 0
        for _ in range(rng.randrange(1, 4)):
            goal = rng.randrange(SIZE // 2)
            proxy = Proxy(serve.port, rate=40 * MIB, dam_at=goal if i == 0 else None)
            sent = Send(src, serve.url(name, proxy.port), "--streams", str(rng.randrange(1, 17)))
            e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
            sent.kill()
            kills += sent.killed
            acknowledged = acknowledged_after(sent, acknowledged)
            total += proxy.up_bytes
            proxy.close()
        last = send(src, serve.url(name))
        done(last, "round %d: ends well after its kills" % i)
        is_copy(src, os.path.join(at, name), "round %d: the same contents" % i)
        skipped = last.last("done").get("bytes_skipped", 0)
        ok(skipped >= acknowledged, "round %d: nothing acknowledged is sent again" % i) or e2e.diag(
            "acknowledged %d, skipped %d" % (acknowledged, skipped))
        ok(i > 0 or kills > 0, "round %d: %d kills hit a running sender" % (i, kills))
    same(e2e.visible(at), sorted(b"t%d" % i for i in range(ROUNDS)), "nothing half-made is to be seen")


def test_receiver_killed():
    rng, serve, at, src = begin("receiver")
    for i in range(ROUNDS):
        name = "t%d" % i
        proxy = Proxy(serve.port, rate=40 * MIB)
        sent = Send(src, serve.url(name, proxy.port), "--streams", str(rng.randrange(1, 17)))
        for _ in range(rng.randrange(1, 4)):
            goal = proxy.up_bytes + rng.randrange(SIZE // 2)
            e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
            serve.kill()
            serve = Serve(at, "--commit-interval", "150ms", listen="127.0.0.1:%d" % serve.port)
        sent.wait()
        done(sent, "round %d: the sender goes on by itself" % i)
        is_copy(src, os.path.join(at, name), "round %d: the same contents" % i)
        same(sent.last("done").get("digest"), e2e.digest(src), "round %d: and digest" % i)


def test_both_killed():
    rng, serve, at, src = begin("both")
    for i in range(ROUNDS):
        name = "t%d" % i
        acknowledged = 0
        for _ in range(rng.randrange(1, 4)):
            proxy = Proxy(serve.port, rate=40 * MIB)
            sent = Send(src, serve.url(name, proxy.port))
            goal = rng.randrange(SIZE // 2)
            e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
            for victim in rng.sample([sent, serve], 2):
                victim.kill()
            acknowledged = acknowledged_after(sent, acknowledged)
            proxy.close()
            serve = Serve(at, "--commit-interval", "150ms", listen="127.0.0.1:%d" % serve.port)
        last = send(src, serve.url(name))
        done(last, "round %d: ends well after its kills" % i)
        is_copy(src, os.path.join(at, name), "round %d: the same contents" % i)
        ok(last.last("done").get("bytes_skipped", 0) >= acknowledged,
           "round %d: nothing acknowledged is sent again" % i)


def test_killed_around_the_rename():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    src = make(os.path.join(e2e.dir(), "source"), 3 * MIB + 1)
    for when in ("rename", "renamed"):
        shim = Shim()
        shim.set(when, stall_ms=600000)
        serve = Serve(at, env=shim.env)
        target = os.path.join(at, when)
        sent = Send(src, serve.url(when))
        e2e.wait_until("the rename", lambda: shim.hits(when) or not sent.alive())
        same(os.path.exists(target), when == "renamed", "%s: the target is as expected" % when)
        serve.kill()
        sent.kill()
        serve = Serve(at)
        again = send(src, serve.url(when))
        what = "killed right %s the rename" % ("before" if when == "rename" else "after")
        done(again, what + ": the rerun is answered done")
        same(again.last("done").get("bytes_sent"), 0, what + ": not a byte is sent again")
        same(again.last("done").get("digest"), e2e.digest(src), what + ": with the digest")
        is_copy(src, target, what + ": the same contents")
        serve.stop()


e2e.main()
