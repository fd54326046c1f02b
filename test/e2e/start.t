#!/usr/bin/python3
"""How a session starts: who is dialled when, and what leaves before what has come. The receiver is by
hand, so that each step waits for what must come before it, and no clock decides."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import select
import socket
import struct

import e2e
from e2e import (ACCEPT, ACK, BLOCK, BLOCK_FRAME, ERROR, HELLO, JOIN, OFFER, REFUSED, WELCOME, Peer, Send, done,
                 fails, frame, make, need, ok, same)

LEDGER, FINISH, DONE, CONFIRM, BYE = 8, 16, 17, 18, 21
LAST, ACCEPT_DONE = 1, 8
E_REFUSED, E_BUSY = 3, 6
STREAMS = 4
TOKEN = b"token of a test."


class Receiver:
    """Listens, and says what the test tells it to say."""

    def __init__(self, *args, size=STREAMS * BLOCK, backlog=64):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.listener.settimeout(e2e.LIMIT)
        e2e.cleanup(self.listener.close)
        self.source = make(os.path.join(e2e.dir(), "source"), size)
        self.sent = Send(self.source, "lh://127.0.0.1:%d/t" % self.listener.getsockname()[1],
                         "--streams", str(STREAMS), *args)
        self.control = self.accept()

    def accept(self):
        peer = Peer.__new__(Peer)
        peer.socket, _ = self.listener.accept()
        peer.socket.settimeout(e2e.LIMIT)
        e2e.cleanup(peer.socket.close)
        return peer

    def accept_all(self, n=STREAMS):
        return [self.accept() for _ in range(n)]

    def nobody_else(self):
        """Whether no connection waits; to be asked when the sender has ended."""
        self.listener.setblocking(False)
        try:
            self.listener.accept()
            return False
        except BlockingIOError:
            return True

    def n_unanswered(self):
        """Connections whose SYN the receiver's host has not answered."""
        with open("/proc/net/tcp") as f:
            lines = [line.split() for line in f]
        port = "%04X" % self.listener.getsockname()[1]
        return sum(line[2].endswith(":" + port) and line[3] == "02" for line in lines)

    def hears(self, peer, *kinds):
        """The next frames but heartbeats are of these types; the last of them."""
        got = None
        for kind in kinds:
            got = peer.read_until(*range(1, 19), 20, 21)
            if got is None or got[0] != kind:
                need(False, "frame %d comes, not %s" % (kind, got and got[0]))
        return got

    def welcome(self, streams=64):
        self.control.send(frame(WELCOME, struct.pack("<HQ", 1, 1) + TOKEN
                                + struct.pack("<IHIQ", 4000, streams, 1 << 20, 1 << 30) + bytes(16)
                                + struct.pack("<H", 0)))

    def runs(self, kind, *runs, transfer=1):
        self.control.send(frame(kind, struct.pack("<I", len(runs)) + b"".join(struct.pack("<QQ", *r) for r in runs),
                                flags=LAST if kind == LEDGER else 0, transfer=transfer, epoch=1))

    def accept_offer(self, flags=0, transfer=1):
        self.control.send(frame(ACCEPT, struct.pack("<QHQ", 0 if flags & ACCEPT_DONE else 1, flags, 1 << 30)
                                + bytes(16), transfer=transfer, epoch=1))

    def busy(self, silent_ms, words, transfer=1):
        self.control.send(frame(ERROR, struct.pack("<HIH", E_BUSY, silent_ms, len(words)) + words, transfer=transfer))

    def done(self, transfer=1):
        self.control.send(frame(DONE, bytes(16) + struct.pack("<Q", os.path.getsize(self.source)),
                                transfer=transfer, epoch=1))

    def take(self, streams, transfer=1, n=STREAMS):
        """So many blocks come on these streams; answer to the end."""
        while n > 0:
            for socket_ in select.select([s.socket for s in streams], [], [])[0]:
                got = self.hears(next(s for s in streams if s.socket is socket_), BLOCK_FRAME)
                need(got[1] == transfer, "a block of the transfer comes")
                n -= 1
        self.runs(ACK, (0, STREAMS), transfer=transfer)
        self.hears(self.control, FINISH)
        self.done(transfer)
        self.hears(self.control, CONFIRM, BYE)
        self.control.socket.close()
        self.sent.wait()
        done(self.sent, "the sender ends well")


def joins(receiver, stream):
    return receiver.hears(stream, JOIN)[2][:16] == TOKEN


def unused(stream):
    """It ends, and no contents came: JOIN at most."""
    got = stream.read()
    return got is None or (got[0] == JOIN and stream.read() is None)


def test_one_after_the_other():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    ok(True, "offer and streams do not wait for WELCOME")
    r.welcome()
    ok(all([joins(r, s) for s in streams]), "JOIN does not wait for ACCEPT, and has the token")
    r.accept_offer()
    r.runs(LEDGER)
    r.take(streams)
    ok(r.nobody_else(), "no further connection was made")


def test_small():
    r = Receiver(size=BLOCK)
    r.hears(r.control, HELLO, OFFER, BLOCK_FRAME, FINISH)
    ok(True, "a small file goes with HELLO")
    r.welcome()
    r.accept_offer()
    r.done()
    r.hears(r.control, CONFIRM, BYE)
    r.control.socket.close()
    r.sent.wait()
    done(r.sent, "a small file")
    ok(r.nobody_else(), "on one connection")


def test_done_already():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome()
    r.accept_offer(ACCEPT_DONE)
    ok(all([unused(s) for s in streams]), "the streams are closed before DONE, unused")
    r.done()
    r.hears(r.control, CONFIRM, BYE)
    r.control.socket.close()
    r.sent.wait()
    done(r.sent, "done already")


def test_fewer_allowed():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome(streams=1)
    firsts = [s.read() for s in streams]
    same(sum(f is not None for f in firsts), 1, "one stream joins, as WELCOME says; the others are closed")
    r.accept_offer()
    r.runs(LEDGER)
    r.take([s for s, f in zip(streams, firsts) if f is not None])
    ok(r.nobody_else(), "and stay closed")


def test_little_missing():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome()
    need(all([joins(r, s) for s in streams]), "all join")
    r.accept_offer()
    r.runs(LEDGER, (1, STREAMS - 1))
    blocks = [s.read() for s in streams]
    same(sum(b is not None for b in blocks), 1, "one block is missing: one stream carries it; the others are closed")
    r.take([], n=0)
    ok(r.nobody_else(), "and stay closed")


def test_refused():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.control.send(frame(ERROR, struct.pack("<HIH", E_REFUSED, 0, 2) + b"no"))
    ok(all([s.read() is None for s in streams]), "refused: no stream says a word")
    r.sent.wait()
    fails(r.sent, REFUSED, "no", "and the sender ends with what it was told")


def test_busy_for_a_while():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome()
    r.busy(6000, b"busy")
    need(r.hears(r.control, OFFER)[1] == 2, "offered again")
    r.accept_offer(transfer=2)
    r.runs(LEDGER, transfer=2)
    need(all([joins(r, s) for s in streams]), "the streams have waited")
    r.take(streams, transfer=2)
    ok(r.nobody_else(), "no further connection was made")


def test_streams_that_do_not_last():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    for s in r.accept_all():
        s.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.socket.close()
    r.welcome()
    r.accept_offer()
    r.runs(LEDGER)
    streams = r.accept_all()
    ok(all([joins(r, s) for s in streams]), "streams lost before they were needed are dialled again")
    r.take(streams)


def test_lost_syns():
    r = Receiver(backlog=0)
    r.hears(r.control, HELLO, OFFER)
    # The queue has room for one stream; the host drops the SYNs of the others.
    e2e.wait_until("each that is not answered is tried a second time",
                   lambda: r.n_unanswered() == 2 * (STREAMS - 1) or not r.sent.alive())
    ok(r.sent.alive(), "streams whose SYN is lost are dialled a second time")
    r.sent.kill()


def test_session_lost_before_accept():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome()
    need(all([joins(r, s) for s in streams]), "all join")
    r.control.socket.close()
    ok(all([s.read() is None for s in streams]), "the session is lost: its streams are closed")
    r.control = r.accept()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome()
    r.accept_offer()
    r.runs(LEDGER)
    need(all([joins(r, s) for s in streams]), "the next session has streams of its own")
    r.take(streams)


def begun(*args):
    """A receiver that has taken a transfer, and whose session is lost."""
    r = Receiver(*args)
    r.hears(r.control, HELLO, OFFER)
    r.accept_all()
    r.welcome()
    r.accept_offer()
    r.runs(LEDGER)
    r.control.socket.close()
    return r


def comes_back(r):
    r.control = r.accept()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.welcome()
    return streams


def test_busy_when_it_comes_back():
    r = begun()
    for _ in range(2):
        streams = comes_back(r)
        r.busy(0, b"no place now")
        r.control.closed()
        r.control.socket.close()
        ok(all([unused(s) for s in streams]), "busy: the session is over, with its streams")
    streams = comes_back(r)
    r.accept_offer()
    r.runs(LEDGER)
    need(all([joins(r, s) for s in streams]), "dialled again until there is a place")
    r.take(streams)
    ok("no place now" in r.sent.err() and "dialling again" in r.sent.err(), "which it says") or r.sent.show()


def test_busy_at_first():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    r.accept_all()
    r.welcome()
    r.busy(0, b"no place now")
    r.control.closed()
    r.control.socket.close()
    r.sent.wait()
    fails(r.sent, REFUSED, "no place now", "busy at first contact: the sender ends with what it was told")


def test_busy_for_too_long():
    r = begun("--give-up-after", "1s")
    r.listener.settimeout(0.1)
    while r.sent.alive():  # it is in contact all the time, which must not count
        try:
            peer = r.accept()
        except socket.timeout:
            continue
        if peer.read_until(OFFER, JOIN) is not None:
            r.control = peer
            r.welcome()
            r.busy(0, b"no place now")
    r.sent.wait()
    fails(r.sent, REFUSED, "busy for 1 s, given up", "busy for as long as --give-up-after says")


def test_interrupted_before_welcome():
    r = Receiver()
    r.hears(r.control, HELLO, OFFER)
    streams = r.accept_all()
    r.sent.signal(2)
    ok(all([s.read() is None for s in streams]), "interrupted: no stream says a word")
    r.control.closed()
    r.control.socket.close()
    same(r.sent.wait(), 130, "and the sender ends")


e2e.main()
