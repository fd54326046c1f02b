#!/usr/bin/python3
"""How little is sent again, counted outside the program."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
from e2e import BLOCK, MIB, Net, Proxy, Send, Serve, done, is_copy, make, need, ok, once, same, send

STREAMS = 8
# What the relay and the sockets may hold of what has left the sender: in flight.
IN_FLIGHT = 4 * MIB


def start(size, *args):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, *args), os.path.join(at, "t"), make(os.path.join(e2e.dir(), "source"), size)


def test_sender_killed():
    size = 48 * MIB + 5
    serve, target, src = start(size, "--commit-interval", "3s")
    first = Proxy(serve.port, rate=12 * MIB)
    sent = Send(src, serve.url("t", first.port))
    # Between two commits, so that much has arrived that is not yet durable.
    e2e.wait_until("20 MiB pass", lambda: first.up_bytes >= 20 * MIB or not sent.alive())
    sent.kill()
    second = Proxy(serve.port)
    again = send(src, serve.url("t", second.port))
    done(again, "the same command after kill -9 of the sender")
    is_copy(src, target, "the same contents")
    last = again.last("done")
    total = first.up_bytes + second.up_bytes
    bound = size * 1.01 + STREAMS * BLOCK + IN_FLIGHT
    ok(total <= bound, "at most streams x block and what was in flight is sent again")
    e2e.diag("%.1f MiB in all for %.1f MiB" % (total / MIB, size / MIB))
    once(last, size - last["bytes_skipped"], "skipped and sent make the whole")
    ok(second.up_bytes <= last["bytes_sent"] * 1.01 + MIB, "what it says it sent is what passed")


def test_receiver_killed():
    size = 64 * MIB + 5
    commit = 8 * MIB
    serve, target, src = start(size, "--commit-bytes", "8M")
    proxy = Proxy(serve.port, rate=10 * MIB)
    sent = Send(src, serve.url("t", proxy.port))
    need(sent.until_durable(commit), "it is under way")
    e2e.wait_until("30 MiB pass", lambda: proxy.up_bytes >= 30 * MIB or not sent.alive())
    acknowledged = sent.last()["bytes_durable"]
    passed = proxy.up_bytes
    serve.kill()
    Serve(serve.root, "--commit-bytes", "8M", listen="127.0.0.1:%d" % serve.port)
    sent.wait()
    done(sent, "the sender goes on by itself after kill -9 of the receiver")
    is_copy(src, target, "the same contents")
    bound = size * 1.01 + passed - acknowledged + STREAMS * BLOCK + IN_FLIGHT
    ok(proxy.up_bytes <= bound, "at most what was not is sent again")
    e2e.diag("%.1f MiB in all for %.1f MiB" % (proxy.up_bytes / MIB, size / MIB))


def test_counted_by_the_interface():
    net = Net()
    size = 64 * MIB + 5
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at, "--insecure", listen=net.B + ":0", wrap=net.in_b())
    src = make(os.path.join(e2e.dir(), "source"), size)
    net.rate(200)
    before = net.sent_bytes()
    sent = Send(src, serve.url("t", host=net.B), "--insecure", wrap=net.in_a())
    e2e.wait_until("40 MiB leave", lambda: net.sent_bytes() - before >= 40 * MIB or not sent.alive())
    need(sent.alive(), "the sender is under way")
    sent.kill()
    first = net.sent_bytes() - before
    again = send(src, serve.url("t", host=net.B), "--insecure", wrap=net.in_a())
    done(again, "the same command after kill -9")
    is_copy(src, os.path.join(at, "t"), "the same contents")
    total = net.sent_bytes() - before
    # TCP, IP and Ethernet headers on packets of 1500 bytes, acknowledgements, some retransmission.
    bound = size * 1.08 + STREAMS * BLOCK + 2 * IN_FLIGHT
    ok(total <= bound, "the interface: at most streams x block and what was in flight twice")
    e2e.diag("%.1f MiB at the kill, %.1f MiB in all, %.1f MiB of contents" % (
        first / MIB, total / MIB, size / MIB))


def test_many_interruptions():
    size = 24 * MIB + 5
    serve, target, src = start(size, "--commit-interval", "200ms")
    skipped = []
    total = 0
    for i in range(1, 6):
        proxy = Proxy(serve.port, rate=16 * MIB)
        sent = Send(src, serve.url("t", proxy.port))
        e2e.wait_until("3 MiB pass", lambda: proxy.up_bytes >= 3 * MIB or not sent.alive())
        sent.kill()
        total += proxy.up_bytes
        proxy.close()
        skipped.append(max([e["bytes_skipped"] for e in sent.events()] or [0]))
    again = send(src, serve.url("t"))
    done(again, "five interruptions")
    skipped.append(again.last("done")["bytes_skipped"])
    same(skipped, sorted(skipped), "each run starts at least where the one before did")
    ok(skipped[-1] >= 8 * MIB, "and they add up")
    is_copy(src, target, "the same contents")


e2e.main()
