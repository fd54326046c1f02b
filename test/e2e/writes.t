#!/usr/bin/python3
"""The judge of a receiver's writes (test/lib/writes.py): what it must call wrong, on made-up traces,
and what it says of the real receiver, also when a frame of an older epoch comes in."""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import writes
import xxhash
from e2e import BLOCK, MIB, Peer, Proxy, Send, Serve, done, frame, is_copy, join, make, need, ok, same

# ---- made-up traces ----------------------------------------------------------------------------

FILE, JOURNAL = "8.1:100:50.000000007", "8.1:101:50.000000008"
UUID = bytes(range(16))
PART, LOG = "/r/.longhaul-00.part", "/r/.longhaul-00.journal"
A, B = "aa" * 16, "bb" * 16
QUEUE = b"q" * 16


class Made:
    """A trace, line by line; every call takes one tick, or as long as it is told."""

    def __init__(self):
        self.lines = []
        self.now = 0
        self.size = self.seq = 0
        self.head()

    def line(self, kind, *words, at=None, ticks=1):
        start = self.now + 1 if at is None else at
        self.now = max(self.now, start + ticks)
        self.lines.append(" ".join(map(str, (kind, start, start + ticks, 7) + words)))
        return self

    def record(self, kind, payload, **when):
        padded = payload + bytes(-len(payload) % 8)
        rest = struct.pack("<IHHIIQ", writes.journals.MAGIC, kind, 0, len(payload), 0, self.seq) + padded
        seed = 0 if kind == 1 else xxhash.xxh3_64_intdigest(UUID)
        data = struct.pack("<Q", xxhash.xxh3_64_intdigest(rest, seed)) + rest
        self.line("J", JOURNAL, self.size, LOG, data.hex(), **when)
        self.size += len(data)
        self.seq += 1
        return self

    def head(self):
        self.record(1, UUID + bytes(16) + struct.pack("<HI", 1, BLOCK) + bytes(48)
                    + struct.pack("<QqI", 100, 50, 7) + struct.pack("<H", 1) + b"t")

    def epoch(self, number, holder=b"h" * 16, claim=0, **when):
        queue = QUEUE if claim else bytes(16)
        return self.record(2, struct.pack("<Q", number) + holder + queue + struct.pack("<Q", claim)
                           + bytes(48) + b"\1", **when)

    def blocks(self, first, n=1, **when):
        return self.record(3, struct.pack("<QI", first, n) + bytes(16 * n), **when)

    def drop(self, first, n=1):
        return self.record(4, struct.pack("<QQ", first, n))

    def write(self, block, epoch, session=A, path=PART, **when):
        return self.line("W", FILE, block * BLOCK, BLOCK, epoch, session, path, **when)

    def rename(self, **when):
        return self.line("R", FILE, PART, "t", **when)

    def start_over(self):
        self.size = self.seq = 0
        self.line("T", JOURNAL, 0, LOG)
        self.head()
        return self

    def judge(self):
        return writes.Checker().check(writes.read(self.lines))


def good(made, name):
    same(made.judge(), [], name)


def bad(made, words, name):
    faults = made.judge()
    ok(any(words in f for f in faults), name)
    for fault in faults:
        e2e.diag(fault)


def test_what_is_right():
    good(Made().epoch(1).write(0, 1).write(1, 1).blocks(0, 2).write(2, 1).blocks(2).rename(), "one holder")
    good(Made().epoch(1).write(0, 1).blocks(0).write(1, 1).epoch(2, b"i" * 16).write(1, 2, B).blocks(1)
         .rename(), "a takeover: what was not durable is written again")
    good(Made().epoch(1, claim=3).write(0, 1).epoch(2, b"i" * 16, claim=5).write(0, 2, B), "of a queue")
    good(Made().epoch(1).epoch(1).write(0, 1), "compared: the same epoch again")
    good(Made().epoch(1).write(0, 1).blocks(0).drop(0).write(0, 1).blocks(0), "taken back, written again")
    good(Made().epoch(1).write(0, 1).blocks(0).start_over().epoch(2).write(0, 2), "started over")
    good(Made().epoch(1).write(0, "-", "-").blocks(0).rename(), "a block that came with the offer")
    good(Made().epoch(1).write(0, 1, at=100, ticks=9).write(1, 1, at=101, ticks=3).blocks(0, 2),
         "two streams of one session at once")


def test_two_writers():
    bad(Made().epoch(1).write(0, 1).epoch(2, b"i" * 16).write(1, 2, B).write(2, 1), "epoch 1 was written while epoch 2",
        "two epochs interleaved")
    bad(Made().epoch(1).write(0, 1).write(1, 1, B).write(2, 1), "writes again after another",
        "two sessions interleaved, in one epoch")
    bad(Made().epoch(1).write(0, 1, at=100, ticks=20).write(1, 1, B, at=110), "two sessions write at once",
        "two sessions at once")
    bad(Made().epoch(1).write(0, 2), "epoch 2 was written while epoch 1", "an epoch that nobody recorded")
    bad(Made().epoch(1).write(0, 1, at=100, ticks=20).epoch(2, b"i" * 16, at=110), "recorded while epoch 1 writes",
        "a takeover that does not wait for a write that is under way")
    bad(Made().epoch(1).epoch(2, at=100, ticks=20).write(0, 2, at=110), "before it is recorded",
        "a write before its epoch is on the disk")


def test_twice():
    bad(Made().epoch(1).write(0, 1).blocks(0).write(0, 1), "written again, recorded as durable",
        "a block that was journalled")
    bad(Made().epoch(1).write(0, 1).blocks(0).epoch(2).write(0, 2, B), "written again, recorded as durable",
        "the same by the next holder")
    bad(Made().epoch(1).write(0, 1).blocks(0).write(0, "-", "-"), "written again, recorded as durable",
        "the same with an offer")
    bad(Made().epoch(1).write(0, 1).write(0, 1), "written twice in epoch 1", "a block claimed twice")
    bad(Made().epoch(1).write(0, 1).blocks(0, at=100, ticks=20).write(0, 1, at=110), "recorded as durable",
        "a write while the journal is written")


def test_order():
    bad(Made().epoch(2).epoch(1), "epoch 1 after epoch 2", "an older epoch is recorded")
    bad(Made().epoch(1).epoch(1, b"i" * 16), "has two holders", "one epoch, two holders")
    bad(Made().epoch(1, claim=5).epoch(2, claim=3), "claim 3 after claim 5", "an older claim")
    bad(Made().epoch(1).write(0, 1).rename().write(1, 1), "after it got its name", "a write after the rename")
    bad(Made().epoch(1).write(0, 1, at=100, ticks=20).rename(at=110), "renamed while it is written",
        "a rename beside a write")
    bad(Made().epoch(1).write(0, 1, path="/r/t"), "not hidden", "contents for a file in the open")


# ---- the real receiver -------------------------------------------------------------------------


def start(*args):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    trace = writes.Writes()
    return Serve(at, *args, env=trace.env), at, trace


def test_receiver():
    """A takeover, as it really is."""
    serve, at, trace = start("--holder-timeout", "2s")
    src = make(os.path.join(e2e.dir(), "source"), 8 * MIB + 5)
    first = Send(src, serve.url("t", Proxy(serve.port, rate=4 * MIB).port))
    need(first.until_durable(MIB), "the first is under way")
    first.kill()
    done(e2e.send(src, serve.url("t")), "the next one ends it")
    is_copy(src, os.path.join(at, "t"), "the same contents")
    small = make(os.path.join(e2e.dir(), "small"), 5000)
    done(e2e.send(small, serve.url("small")), "a small one")
    serve.stop()
    judged = trace.judge("one writer at a time")
    same((judged.renames(), judged.takeovers()), (2, 1), "two files, one takeover: the trace has them")
    ok(judged.n_writes >= 34 and judged.n_inline == 1, "and all writes, with their epochs")


def test_old_epoch():
    """A holder that was taken over and does not know: its block must not be written."""
    serve, _, trace = start()

    def begin(holder, prev_epoch=0):
        peer = Peer(serve.port).send(e2e.hello(), e2e.offer("t", 3 * BLOCK, holder=holder))
        welcome = peer.read_until(e2e.WELCOME)
        got = peer.read_until(e2e.ACCEPT, e2e.ERROR)
        need(got is not None and got[0] == e2e.ACCEPT, "accepted")
        return peer, e2e.token_of(welcome), struct.unpack_from("<Q", got[2])[0]

    def block(n, epoch):
        return frame(e2e.BLOCK_FRAME, b"%d" % n * BLOCK, transfer=0, offset=n * BLOCK, epoch=epoch)

    first, token, old = begin(b"1" * 16)
    Peer(serve.port).send(join(token), block(0, old))
    need(first.read_until(e2e.ACK) is not None, "the first holder's block is taken")
    first.socket.close()
    second, token, new = begin(b"2" * 16)
    need(new > old, "the second holder has a later epoch")
    stream = Peer(serve.port).send(join(token), block(1, new))
    need(second.read_until(e2e.ACK) is not None, "its block is taken")
    stream.send(block(2, old))
    ok(stream.closed(), "a block of the old epoch closes the stream")
    serve.stop()
    trace.judge("and is not written")


e2e.main()
