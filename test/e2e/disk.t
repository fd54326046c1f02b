#!/usr/bin/python3
"""A disk that stalls, file descriptors that run out, a clock that jumps."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import errno
import resource
import struct

import e2e
from e2e import (ACCEPT, BLOCK, BLOCK_FRAME, HEARTBEAT, MIB, WELCOME, Peer, Proxy, Send, Serve, Shim, done,
                 frame, hello, is_copy, join, make, need, offer, ok, once, same, send)

SIZE = 24 * MIB + 1


def start(*args, **how):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, *args, **how), os.path.join(at, "t"), make(os.path.join(e2e.dir(), "source"), SIZE)


def stalled(call, ms, times):
    shim = Shim()
    serve, target, src = start("--commit-interval", "300ms", "--holder-timeout", "5s", env=shim.env)
    proxy = Proxy(serve.port, rate=12 * MIB)
    sent = Send(src, serve.url("t", proxy.port), "-v")
    need(sent.until_durable(2 * MIB), "under way")
    shim.set(call, times=times, stall_ms=ms)
    sent.wait(300)
    done(sent, "%s stalls for %d s" % (call, ms / 1000))
    same(shim.hits(call), times, "it did")
    last = sent.last("done")
    ok("it hangs" not in sent.err(), "no stream passes for one that hangs") or sent.show()
    once(last, SIZE, "nothing is sent again")  # but what a slow machine relieves a slow stream of at the end
    same(last["reconnects"], 0, "and no session was lost")
    is_copy(src, target, "the same contents")


@e2e.long
def test_sync_stalls():
    stalled("fdatasync", 30000, 1)


@e2e.long
def test_write_stalls():
    stalled("pwrite64", 25000, 1)


def test_a_stalled_write_is_told():
    """By HEARTBEAT a sender tells a disk that stalls from a stream that hangs."""
    shim = Shim()
    serve, _, _ = start("--commit-interval", "100ms", "--holder-timeout", "60s", env=shim.env)
    control = Peer(serve.port).send(hello(), offer("told", 2 * BLOCK))
    token = control.read_until(WELCOME)[2][10:26]
    epoch = struct.unpack_from("<Q", control.read_until(ACCEPT)[2])[0]

    def beat(wanted):
        for _ in range(20):
            _, _, payload = control.read_until(HEARTBEAT)
            wait_ms, _, undurable = struct.unpack_from("<IIQ", payload, 8)
            if wanted(wait_ms, undurable):
                return True
        return False

    ok(beat(lambda wait_ms, undurable: wait_ms == 0 and undurable == 0), "nothing to wait for")
    shim.set("pwrite64", times=1, stall_ms=9000)
    Peer(serve.port).send(join(token), frame(BLOCK_FRAME, bytes(BLOCK), transfer=0, epoch=epoch))
    ok(beat(lambda wait_ms, undurable: wait_ms >= 2000 and undurable == BLOCK),
       "a write that stalls on a stream's loop: for how long, and that its block is not durable")
    ok(beat(lambda wait_ms, undurable: wait_ms == 0 and undurable == 0), "and when it is over")


def test_accept_fails():
    shim = Shim()
    serve, target, src = start(env=shim.env)
    slow = Proxy(serve.port, rate=8 * MIB)
    first = Send(src, serve.url("t", slow.port))
    need(first.until_durable(), "a transfer is under way")
    shim.set("accept4", errno.EMFILE, times=20)
    second = Send(src, serve.url("u"))
    e2e.wait_until("accept fails", lambda: shim.hits("accept4") >= 20 or not second.alive())
    second.wait()
    done(second, "EMFILE at accept: a new sender gets in when it is over")
    first.wait()
    done(first, "and the one under way is not disturbed")
    is_copy(src, target, "the same contents")
    ok(len(serve.err().splitlines()) < 60, "the log is not flooded")


def test_few_descriptors():
    serve, target, src = start(limits={resource.RLIMIT_NOFILE: 40})
    sent = send(src, serve.url("t"), "--streams", "64", limit=240)
    done(sent, "64 streams to a receiver that has 40 descriptors")
    is_copy(src, target, "the same contents")
    ok(serve.alive(), "the receiver lives")
    done(send(src, serve.url("u")), "and receives again")


def test_clock_jumps():
    shim = Shim()
    serve, target, src = start("--commit-interval", "300ms", "--partial-ttl", "1h", env=shim.env)
    for jump in (86400 * 365, -86400 * 365, 0):
        proxy = Proxy(serve.port, rate=12 * MIB)
        sent = Send(src, serve.url("t", proxy.port), env=shim.env)
        need(sent.until_durable(2 * MIB), "under way")
        shim.set("clock", stall_ms=jump)
        sent.wait()
        done(sent, "the clock jumps by %d days" % (jump / 86400))
        is_copy(src, target, "the same contents")
        same(sent.last("done")["reconnects"], 0, "no session was lost")
        ok(0 <= sent.last("done")["duration_s"] < 86400, "durations are not of that clock")


e2e.main()
