#!/usr/bin/python3
"""What the kernel says: sendfile, copies, BBR, memory, round trips. (System calls: counts.t.)"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import re
import subprocess
import threading
import time

import e2e
from e2e import (BLOCK, BLOCK_FRAME, HELLO, JOIN, MIB, OFFER, Frames, Net, Proxy, Send, Serve, done, is_copy, make, need, ok,
                 same, send)

FINISH, CONFIRM = 16, 18

CALL = re.compile(rb"^\d+ +(?:\d+\.\d+ )?(\w+)\((\d+)<([^>]*)>.*\) += (-?\d+)")
RESUMED = re.compile(rb"^\d+ +(?:\d+\.\d+ )?<\.\.\. (\w+) resumed>.*\) += (-?\d+)")
BEGUN = re.compile(rb"^(\d+) +(?:\d+\.\d+ )?(\w+)\((\d+)<(.*?)>.*<unfinished \.\.\.>")


def trace(log):
    return ["strace", "-f", "-y", "-s", "0", "-qq", "-o", log, "-e",
            "trace=read,pread64,readv,preadv,write,writev,pwrite64,pwritev,sendto,sendmsg,sendmmsg,"
            "sendfile,splice,copy_file_range,recvfrom,recvmsg,mmap,epoll_wait,epoll_pwait,epoll_ctl,"
            "epoll_pwait2,getsockopt,setsockopt,fdatasync,futex"]


def calls(log):
    """(name, path of the descriptor, result) of each call, in the order in which they began."""
    pending, found = {}, []
    with open(log, "rb") as f:
        for line in f:
            match = CALL.match(line)
            if match:
                found.append([match.group(1).decode(), match.group(3), int(match.group(4))])
                continue
            match = BEGUN.match(line)
            if match:
                found.append([match.group(2).decode(), match.group(4), 0])
                pending[match.group(1)] = found[-1]
                continue
            match = RESUMED.match(line)
            if match:
                call = pending.pop(line.split(b" ", 1)[0], None)
                if call:
                    call[2] = int(match.group(2))
    return found


def total(found, names, path):
    return sum(max(0, c[2]) for c in found if c[0] in names and re.search(path, c[1]))


SOCKET = rb"^(TCP|socket|TCPv6):"


@e2e.long
def test_sender_uses_sendfile():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at)
    size = 128 * MIB + 5
    src = make(os.path.join(e2e.dir(), "source"), size)
    log = os.path.join(e2e.dir(), "trace")
    sent = send(src, serve.url("t"), wrap=trace(log))
    done(sent, "sent under strace")
    is_copy(src, os.path.join(at, "t"), "the same contents")
    found = calls(log)
    by_sendfile = total(found, ("sendfile",), SOCKET)
    by_copy = total(found, ("write", "writev", "sendto", "sendmsg", "sendmmsg"), SOCKET)
    last = sent.last("done")
    e2e.once(last, size, "all of it is sent")
    same(by_sendfile, last["bytes_sent"], "every byte of the contents goes by sendfile")
    ok(by_copy < size / 500, "what is written from user space is headers (%d bytes)" % by_copy)
    same(last["zero_copy_bytes"], by_sendfile, "and it says so")
    ok(total(found, ("read", "pread64", "readv", "preadv"), rb"/source$") <=
       (size + last["bytes_repeated"]) * 1.01 + MIB,
       "the source is read once, for hashing")


@e2e.long
def test_receiver_copies_once():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    log = os.path.join(e2e.dir(), "trace")
    serve = Serve(at, wrap=trace(log))
    size = 128 * MIB + 5
    src = make(os.path.join(e2e.dir(), "source"), size)
    done(send(src, serve.url("t")), "received under strace")
    # strace passes the signal to nobody: end the receiver itself.
    child = int(open("/proc/%d/task/%d/children" % (serve.pid, serve.pid)).read().split()[0])
    os.kill(child, 15)
    serve.wait()
    found = calls(log)
    received = total(found, ("read", "readv", "recvfrom", "recvmsg"), SOCKET)
    written = total(found, ("write", "writev", "pwrite64", "pwritev"), rb"/root/")
    ok(size <= received <= size * 1.01 + MIB, "received once (%d bytes)" % received)
    ok(size <= written <= size * 1.01 + MIB, "written once, and a journal (%d bytes)" % written)


@e2e.long
def test_resume_reads_little_first():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at, "--commit-interval", "200ms")
    size = 256 * MIB
    src = make(os.path.join(e2e.dir(), "source"), size)
    first = Send(src, serve.url("t", Proxy(serve.port, rate=60 * MIB).port))
    need(first.until_durable(100 * MIB), "under way")
    first.kill()
    log = os.path.join(e2e.dir(), "trace")
    again = send(src, serve.url("t"), wrap=trace(log))
    done(again, "resumed under strace")
    found = calls(log)
    start = next(i for i, c in enumerate(found) if c[0] == "sendfile")
    before = total(found[:start], ("read", "pread64", "readv", "preadv"), rb"/source$")
    ok(before <= 32 * MIB, "%.1f MiB are read before the first byte flows" % (before / MIB))
    read = total(found, ("read", "pread64", "readv", "preadv"), rb"/source$")
    ok(read <= again.last("done")["bytes_sent"] * 1.01 + MIB, "what is durable is not read at all")


def test_bbr_and_streams():
    net = Net()
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at, "--insecure", listen=net.B + ":0", wrap=net.in_b())
    src = make(os.path.join(e2e.dir(), "source"), 64 * MIB)
    net.rate(200)
    sent = Send(src, serve.url("t", host=net.B), "--insecure", "--streams", "8", wrap=net.in_a())
    need(sent.until_durable(8 * MIB), "under way")

    def carrying():
        return [s for s in re.split(r"\n(?=ESTAB|\S)", net.sockets()) if re.search(r"bytes_sent:\d{6,}", s)]

    streams = e2e.wait_until("eight connections carry data",
                             lambda: [s for s in [carrying()] if len(s) == 8 or not sent.alive()])[0]
    same(len(streams), 8, "eight connections carry data")
    ok(all(" bbr " in s for s in streams), "with BBR, each of them") or e2e.diag("\n".join(streams))
    sent.wait()
    done(sent, "across two namespaces")
    is_copy(src, os.path.join(at, "t"), "the same contents")


def test_memory():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at)
    size = (64 if e2e.SHORT else 192) * MIB
    sources = [make(os.path.join(e2e.dir(), "s%d" % i), size, i) for i in range(4)]
    runs = [Send(s, serve.url("t%d" % i), "--streams", "16") for i, s in enumerate(sources)]
    e2e.wait_until("all end", lambda: [p.sample() for p in runs + [serve]] and not any(r.alive() for r in runs))
    for i, sent in enumerate(runs):
        done(sent, "sender %d of four, 16 streams each" % i)
        is_copy(sources[i], os.path.join(at, "t%d" % i), "sender %d: the same contents" % i)
        ok(0 < sent.peak_kib <= 65536, "sender %d: at most 64 MiB resident (%d KiB)" % (i, sent.peak_kib))
    ok(0 < serve.peak_kib <= 65536, "the receiver: at most 64 MiB resident (%d KiB)" % serve.peak_kib)


def asleep(pid):
    """All its threads wait for something; none is only waiting for a core or a disk."""
    try:
        states = [re.search(r"\) (\S)", open("/proc/%d/task/%s/stat" % (pid, tid)).read()).group(1)
                  for tid in os.listdir("/proc/%d/task" % pid)]
    except OSError:
        return True  # it has ended, or a thread of it just now
    return not set(states) & {"R", "D"}


class Lockstep:
    """Lets one side speak until it has nothing more to say, then the other: counts the turns."""

    QUIET = 1.0

    def __init__(self):
        self.pids = {}  # of the two sides; True: who speaks upward
        self.turn_up = True
        self.turns = 0
        self.said = {}  # type of frame: the turn in which the sender said it first
        self.frames = {}
        self.last = time.monotonic()
        self.spoke = False
        self.lock = threading.Condition()

    def __call__(self, link, upward, data):
        with self.lock:
            while True:
                idle = time.monotonic() - self.last
                if upward == self.turn_up:
                    break
                # The other side's turn ends when it has been silent for a while, and has nothing to do.
                if idle >= self.QUIET and self.turn_up in self.pids and asleep(self.pids[self.turn_up]):
                    self.turn_up = upward
                    self.spoke = False
                    break
                self.lock.wait(max(self.QUIET - idle, 0.05))
            if upward and not self.spoke:
                self.turns += 1
                self.spoke = True
            if upward:
                follow = self.frames.setdefault(link.index, Frames())
                for part, kind, _, _ in follow.scan(data):
                    if part == "header":
                        self.said.setdefault(kind, self.turns)
            self.last = time.monotonic()


def lockstep(serve, src, name):
    count = Lockstep()
    sent = Send(src, serve.url(name, Proxy(serve.port, mangle=count).port))
    count.pids = {True: sent.pid, False: serve.pid}
    sent.wait()
    done(sent, name)
    is_copy(src, os.path.join(serve.root, name), "%s: the same contents" % name)
    return count


def test_round_trips():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at)
    for size in (0, 1, 1000):
        src = make(os.path.join(e2e.dir(), "source"), size, seed=size + 1)
        count = lockstep(serve, src, "%d bytes" % size)
        # A last CONFIRM that nobody waits for is no round trip.
        same((count.said[FINISH], count.said[CONFIRM]), (1, 2), "%d bytes: one turn, after connecting" % size)


def test_round_trips_of_streams():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at)
    src = make(os.path.join(e2e.dir(), "source"), 3 * BLOCK)
    count = lockstep(serve, src, "three blocks")
    same([count.said[k] for k in (HELLO, OFFER, JOIN, BLOCK_FRAME)], [1, 1, 2, 2],
         "what the sender says in its first and second turn")
    os.truncate(src, 5 * BLOCK)
    count = lockstep(serve, src, "a file with a hole")
    same([count.said[k] for k in (HELLO, OFFER, JOIN, BLOCK_FRAME)], [1, 2, 2, 3],
         "its offer waits for WELCOME, which may have no EXTENTS")


e2e.main()
