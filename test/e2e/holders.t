#!/usr/bin/python3
"""Who holds a transfer: one at a time."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import signal

import e2e
from e2e import MIB, REFUSED, Proxy, Send, Serve, done, fails, is_copy, make, need, ok, send

SIZE = 24 * MIB + 1


def start(*args):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, *args), at


def source(name="source", seed=1):
    return make(os.path.join(e2e.dir(), name), SIZE, seed)


def test_two_senders_of_one_target():
    serve, at = start()
    src, other = source(), source("other", 2)
    slow = Proxy(serve.port, rate=8 * MIB)
    first = Send(src, serve.url("t", slow.port))
    need(first.until_durable(), "the first is under way")
    slow.dam.set()  # and stays so
    fails(send(src, serve.url("t")), REFUSED, "another (sender|process)", "a second sender of the same file")
    fails(send(other, serve.url("t")), REFUSED, "another (sender|process)", "a second sender of another file")
    os.symlink(".", os.path.join(at, "same"))
    fails(send(src, serve.url("same/t")), REFUSED, "another (sender|process)", "one that comes through a symbolic link")
    fails(send(src, serve.url(".//t")), REFUSED, "another (sender|process)", "one that writes the path differently")
    done(send(other, serve.url("u")), "another target is free")
    slow.open_dam()
    first.wait()
    done(first, "the first is not disturbed")
    is_copy(src, os.path.join(at, "t"), "its contents are what is there")


def test_two_receivers_of_one_root():
    serve, at = start()
    second = Serve(at)
    src, other = source(), source("other", 2)
    slow = Proxy(serve.port, rate=8 * MIB)
    first = Send(src, serve.url("t", slow.port))
    need(first.until_durable(), "a sender at the first receiver is under way")
    slow.dam.set()
    fails(send(other, second.url("t")), REFUSED, "another (sender|process)", "the same target at the second receiver")
    done(send(other, second.url("u")), "another target at the second receiver")
    slow.open_dam()
    first.wait()
    done(first, "the first is not disturbed")
    is_copy(src, os.path.join(at, "t"), "its contents are what is there")
    is_copy(other, os.path.join(at, "u"), "and the other's likewise")


def test_takeover_of_a_silent_holder():
    serve, at = start("--holder-timeout", "3s")
    src = source()
    slow = Proxy(serve.port, rate=6 * MIB)
    first = Send(src, serve.url("t", slow.port))
    need(first.until_durable(2 * MIB), "the first is under way")
    slow.dam.set()
    fails(send(src, serve.url("t")), REFUSED, "another (sender|process)", "while it lives the second hears busy")
    first.signal(signal.SIGSTOP)
    slow.open_dam()

    def taken():
        got = send(src, serve.url("t"))
        return got if got.rc != REFUSED else None

    second = e2e.wait_until("the silent one is taken over", taken)
    done(second, "the second takes over and ends it")
    ok(second.last("done").get("bytes_skipped", 0) >= 2 * MIB, "from where the first was")
    is_copy(src, os.path.join(at, "t"), "the same contents")
    inode = os.stat(os.path.join(at, "t")).st_ino
    first.signal(signal.SIGCONT)
    first.wait()
    ok(first.rc in (0, REFUSED), "the first, awake again, ends: fenced, or told that it is done")
    ok(os.stat(os.path.join(at, "t")).st_ino == inode, "and writes nothing")
    is_copy(src, os.path.join(at, "t"), "what is there stays right")


def test_fenced_while_the_other_is_at_it():
    serve, at = start("--holder-timeout", "2s")
    src = source()
    first = Send(src, serve.url("t", Proxy(serve.port, rate=6 * MIB).port))
    need(first.until_durable(MIB), "the first is under way")
    first.signal(signal.SIGSTOP)
    slow = Proxy(serve.port, rate=3 * MIB)

    def taken():
        second = Send(src, serve.url("t", slow.port))
        return second if second.until_durable(2 * MIB) else None

    second = e2e.wait_until("the silent one is taken over", taken)
    slow.dam.set()
    first.signal(signal.SIGCONT)
    first.wait()
    fails(first, REFUSED, "taken.*over|another sender|fenced", "the fenced one exits and does not redial")
    slow.open_dam()
    second.wait()
    done(second, "the second is not disturbed")
    is_copy(src, os.path.join(at, "t"), "the same contents")


def test_killed_sender_leaves_at_once():
    """A sender that is killed closes its connections: nobody needs to wait for its silence."""
    serve, at = start("--holder-timeout", "1h")
    src = source()
    first = Send(src, serve.url("t", Proxy(serve.port, rate=8 * MIB).port))
    need(first.until_durable(MIB), "the first is under way")
    first.kill()
    second = send(src, serve.url("t"))
    done(second, "the next one need not wait")
    is_copy(src, os.path.join(at, "t"), "the same contents")


e2e.main()
