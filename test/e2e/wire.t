#!/usr/bin/python3
"""Strangers and broken peers on the port: refused, and nobody else is disturbed."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import contextlib
import socket
import struct
import threading

import e2e
from e2e import (ACCEPT, BLOCK, BLOCK_FRAME, ERROR, MIB, NETWORK, REFUSED, WELCOME, Peer, Proxy, Send,
                 Serve, done, fails, frame, hello, is_copy, join, make, need, offer, ok, same, send,
                 zeros)

# Codes of ERROR, proto/WIRE.md.
E_VERSION, E_PATH, E_EXISTS, E_DEST_SPACE = 2, 4, 5, 9
ACK, AGAIN, FINISH, DONE, STATS = 10, 11, 16, 17, 22
F_STATS = 1 << 7
INLINE, SPARSE = 2, 2048  # flags of OFFER


def start(*args):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, *args), at, make(os.path.join(e2e.dir(), "source"), 3 * BLOCK)


def well(serve, at, src, what):
    """The receiver lives and receives."""
    ok(serve.alive(), what + ": the receiver lives")
    sent = send(src, serve.url("well"))
    done(sent, what + ": and receives")
    is_copy(src, os.path.join(at, "well"), what + ": what it should")


def runs(got):
    """(first block, count) of each run in ACK or AGAIN."""
    n = struct.unpack_from("<I", got[2])[0]
    return [struct.unpack_from("<QQ", got[2], 4 + 16 * i) for i in range(n)]


def session(serve):
    """A session of our own: the peer and its token."""
    peer = Peer(serve.port).send(hello())
    got = peer.read()
    need(got is not None and got[0] == WELCOME, "a session of our own")
    return peer, e2e.token_of(got)


def test_garbage():
    serve, at, src = start()
    rubbish = {
        "nothing": b"",
        "a byte": b"\0",
        "zeroes": bytes(100000),
        "noise": bytes(range(256)) * 400,
        "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10,
        "TLS": b"\x16\x03\x01\x02\x00\x01" + bytes(600),
        "a header without its payload": hello()[:64],
        "half a header": hello()[:30],
        "a damaged header": hello()[:20] + b"\xff" + hello()[21:],
        "a damaged payload": hello()[:-1] + b"\xff",
        "another magic": frame(1, b"x" * 40, magic=0x3247484C),
        "an over-long HELLO": frame(1, b"", length=1 << 20),
        "a frame of 4 GiB": frame(9, b"", length=0xFFFFFFFF),
        "an unknown type": frame(99, b"x"),
        "unknown flags": frame(1, b"x" * 40, flags=0x8000),
        "an empty HELLO": frame(1, b""),
        "a block before anything": frame(BLOCK_FRAME, b"x" * BLOCK, transfer=0),
        "an offer before HELLO": offer("x", 5),
    }
    for what, data in rubbish.items():
        peer = Peer(serve.port).send(data)
        with contextlib.suppress(OSError):
            peer.socket.shutdown(socket.SHUT_WR)
        ok(peer.closed(), what + ": the connection is closed")
    same(e2e.visible(at), [], "none of it left anything")
    well(serve, at, src, "garbage on the port")


def test_silence():
    serve, at, src = start()
    peers = [Peer(serve.port) for _ in range(50)]
    well(serve, at, src, "fifty connections that say nothing")
    ok(all(p.closed() for p in peers), "they are closed in time")


def test_versions():
    serve, at, src = start()
    peer = Peer(serve.port).send(hello(version_min=200, version_max=300))
    got = peer.read()
    ok(got is not None and got[0] == ERROR and struct.unpack_from("<H", got[2])[0] == E_VERSION,
       "a version that it does not speak is refused by that name")
    ok(peer.closed(), "and the connection closed")
    peer = Peer(serve.port).send(hello(version_min=1, version_max=300))
    ok((peer.read() or [0])[0] == WELCOME, "a range that includes its own is welcome")
    peer = Peer(serve.port).send(hello(version_min=3, version_max=2))
    ok(peer.closed(), "a range that is none")
    well(serve, at, src, "versions")


def test_offer_behind_hello():
    serve, at, src = start()
    peer = Peer(serve.port).send(hello() + offer("x", 3 * BLOCK))
    same([(peer.read() or [0])[0] for _ in range(2)], [WELCOME, ACCEPT],
         "an offer that does not wait for WELCOME is answered behind it")
    peer = Peer(serve.port).send(hello(version_min=200, version_max=300) + offer("y", 5, flags=2)
                                 + frame(BLOCK_FRAME, b"12345", transfer=0))
    got = peer.read()
    ok(got is not None and got[0] == ERROR and struct.unpack_from("<H", got[2])[0] == E_VERSION,
       "a refused HELLO is refused by its name, whatever came with it")
    same(peer.read(), None, "once, and then the connection is closed")
    well(serve, at, src, "offers behind HELLO")
    same(e2e.visible(at), [b"well"], "nothing of what was refused is there")


def test_join():
    serve, at, src = start()
    peer = Peer(serve.port).send(join(os.urandom(16)))
    ok(peer.closed(), "a stream with an unknown token")
    control, token = session(serve)
    peer = Peer(serve.port).send(join(token), frame(BLOCK_FRAME, b"x" * 1000, transfer=0))
    ok(peer.closed(), "a block of a transfer that nobody offered")
    control.send(frame(20, struct.pack("<HIH", 1, 0, 0)))
    well(serve, at, src, "streams")


def test_offers():
    serve, at, src = start()
    os.mkdir(os.path.join(at, "dir"))
    for what, data, code in (
        ("..", offer("../x", 5), E_PATH),
        ("an absolute path", offer("/x", 5), E_PATH),
        ("a trailing slash", offer("x/", 5), E_PATH),
        ("a name of 256 bytes", offer("n" * 256, 5), E_PATH),
        ("8 EiB", offer("huge", (1 << 63) - 1), None),
        ("1 PiB", offer("big", 1 << 50), None),
    ):
        peer, _ = session(serve)
        got = peer.send(data).read_until(ERROR, ACCEPT)
        ok(got is not None and got[0] == ERROR, "an offer of %s is refused" % what)
        if got and code:
            same(struct.unpack_from("<H", got[2])[0], code, "an offer of %s: by that name" % what)
    for what, data in (
        ("an empty path", offer("", 5)),
        ("a path of 5000 bytes", offer("d/" * 2500, 5)),
        ("no files", offer("x", 5, n_files=0)),
        ("a grid that is none", offer("x", 5, block=3)),
        ("a grid of 2 GiB", offer("x", 5, block=1 << 31)),
        ("a size that is negative", offer("x", 1 << 63)),
        ("unknown flags", offer("x", 5, flags=0x8000)),
        ("flags that exclude each other", offer("x", 5, flags=1 | 64)),
        ("a tree's flags", offer("x", 5, flags=1024)),
    ):
        peer, _ = session(serve)
        got = peer.send(data).read_until(ERROR, ACCEPT)
        ok(got is None or got[0] == ERROR, "an offer with %s is refused" % what)
    same(e2e.visible(at), [], "none of them left anything")
    well(serve, at, src, "offers")


def test_blocks():
    serve, at, src = start("--commit-interval", "100ms")
    size = 2 * BLOCK + 100
    right = open(make(os.path.join(e2e.dir(), "right"), size, 9), "rb").read()

    def begin(name):
        control, token = session(serve)
        control.send(offer(name, size))
        got = control.read_until(ACCEPT, ERROR)
        need(got is not None and got[0] == ACCEPT, name + ": accepted")
        return control, token, struct.unpack_from("<Q", got[2])[0]

    def block(at_, epoch, data=None, end=None):
        data = right[at_ : end or min(at_ + BLOCK, size)] if data is None else data
        return frame(BLOCK_FRAME, data, transfer=0, offset=at_, epoch=epoch)

    for what, make_bad in (
        ("an offset off the grid", lambda e: block(1000, e, right[1000 : 1000 + BLOCK])),
        ("an offset beyond the end", lambda e: block(64 * BLOCK, e, b"x" * BLOCK)),
        ("an offset beyond every end", lambda e: block((1 << 63) - BLOCK, e, b"x" * BLOCK)),
        ("an offset that overflows", lambda e: block((1 << 64) - BLOCK, e, b"x" * BLOCK)),
        ("a block longer than the file", lambda e: block(2 * BLOCK, e, b"x" * BLOCK)),
        ("a block that is too short", lambda e: block(0, e, right[:1000])),
        ("two blocks in one", lambda e: block(0, e, right[: 2 * BLOCK])),
    ):
        control, token, epoch = begin(what.replace(" ", "-"))
        peer = Peer(serve.port).send(join(token), make_bad(epoch))
        ok(peer.closed(), what + ": the stream is closed")
        control.socket.close()

    control, token, epoch = begin("wrong-hash")
    good = block(0, epoch)
    peer = Peer(serve.port).send(join(token), good[:64] + b"\0" * BLOCK)
    got = control.read_until(AGAIN, ACK)
    ok(got is not None and got[0] == AGAIN, "contents that do not match their hash are asked for again")
    peer.send(good)
    got = control.read_until(ACK)
    ok(got is not None and runs(got) == [(0, 1)], "sent again they are taken")
    peer.send(block(0, epoch, b"y" * BLOCK), block(BLOCK, epoch), block(2 * BLOCK, epoch))
    n = 1
    while n < 3:
        got = control.read_until(ACK)
        need(got is not None, "the rest is taken")
        n += sum(count for _, count in runs(got))
    now = struct.pack("<qI", 1700000000, 0)
    control.send(frame(FINISH, struct.pack("<QQQ", 1, 2, size) + now + now + struct.pack("<I", 0o644),
                       transfer=0, epoch=epoch))
    got = control.read_until(DONE, ERROR)
    ok(got is not None and got[0] == DONE, "and the file finished")
    is_copy(os.path.join(e2e.dir(), "right"), os.path.join(at, "wrong-hash"),
            "a second copy of a block, with other contents, came too late: the first stays")

    control, token, epoch = begin("old-epoch")
    peer = Peer(serve.port).send(join(token), block(0, epoch - 1), block(0, epoch + 1), block(BLOCK, epoch))
    got = control.read_until(ACK)
    ok(got is None or all(first != 0 for first, _ in runs(got)), "blocks of another epoch are not taken")
    well(serve, at, src, "blocks")


def finish(control, size, epoch=0, before=b""):
    """The answer to FINISH, which goes in one piece with what belongs before it: a receiver that refuses
    that does not wait for more for long, and a reset takes its last words along."""
    now = struct.pack("<qI", 1700000000, 0)
    control.send(before + frame(FINISH, struct.pack("<QQQ", 1, 2, size) + now + now + struct.pack("<I", 0o644),
                                transfer=0, epoch=epoch))
    return control.read_until(DONE, ERROR)


def test_zeros():
    """Blocks of zeros by hand: refused where anything about them is wrong."""
    serve, at, src = start("--commit-interval", "100ms")
    size = 3 * BLOCK + 100
    right = open(make(os.path.join(e2e.dir(), "right"), BLOCK, 9), "rb").read()

    def begin(name, flags=SPARSE):
        control, token = session(serve)
        got = control.send(offer(name, size, flags)).read_until(ACCEPT, ERROR)
        need(got is not None and got[0] == ACCEPT, name + ": accepted")
        return control, token, struct.unpack_from("<Q", got[2])[0]

    for what, flags, make_bad in (
        ("where the offer has not announced them", 0, lambda e: zeros(BLOCK, epoch=e)),
        ("with a payload", SPARSE, lambda e: zeros(BLOCK, epoch=e, payload=bytes(BLOCK))),
        ("with a byte of payload", SPARSE, lambda e: zeros(BLOCK, epoch=e, payload=b"\0")),
        ("that are none", SPARSE, lambda e: zeros(0, epoch=e)),
        ("longer than a block", SPARSE, lambda e: zeros(BLOCK + 1, epoch=e)),
        ("of two blocks", SPARSE, lambda e: zeros(2 * BLOCK, epoch=e)),
        ("longer than any block", SPARSE, lambda e: zeros(4 * MIB, epoch=e)),
        ("shorter than a block", SPARSE, lambda e: zeros(100, epoch=e)),
        ("off the grid", SPARSE, lambda e: zeros(BLOCK, epoch=e, offset=1000)),
        ("beyond the end", SPARSE, lambda e: zeros(BLOCK, epoch=e, offset=3 * BLOCK)),
        ("far beyond the end", SPARSE, lambda e: zeros(BLOCK, epoch=e, offset=1 << 50)),
        ("of another epoch", SPARSE, lambda e: zeros(BLOCK, epoch=e + 1)),
        ("with an unknown flag", SPARSE, lambda e: zeros(BLOCK, epoch=e, flags=2 | 4)),
    ):
        control, token, epoch = begin(what.replace(" ", "-"), flags)
        peer = Peer(serve.port).send(join(token), make_bad(epoch))
        ok(peer.closed(), "zeros %s: the stream is closed" % what)
        control.socket.close()
    # A hash takes longer than a header: it is not looked at where no block is due. Their hash is wrong,
    # so whoever had looked would have said something else.
    wrong = {"digest": bytes(16)}
    for what, bad in (("shorter than a block", {"length": 100}), ("longer than the last block", {"offset": 3 * BLOCK}),
                      ("beyond the end", {"offset": 4 * BLOCK}), ("off the grid", {"offset": 1000})):
        control, token, epoch = begin("unhashed-" + what.replace(" ", "-"))
        peer = Peer(serve.port).send(join(token), zeros(bad.pop("length", BLOCK), epoch=epoch, **wrong, **bad))
        ok(peer.closed(), "zeros %s, of a wrong hash: the stream is closed" % what)
        control.send(frame(AGAIN, transfer=0, epoch=epoch))
        got = control.read_until(AGAIN, ERROR)
        ok(got is not None and got[0] == ERROR, "zeros %s, of a wrong hash: not asked for again" % what)
    got = Peer(serve.port).send(zeros(MIB, **wrong)).read_until(ERROR)
    ok(got is not None and b"first frame" in got[2], "zeros before HELLO are not hashed")
    control, _ = session(serve)
    got = control.send(zeros(MIB, transfer=7, **wrong)).read_until(ERROR)
    ok(got is not None and b"never offered" in got[2], "zeros of no transfer are not hashed")

    control, _ = session(serve)
    control.send(frame(19, bytes(24), flags=2))
    ok(control.closed(), "their flag on another frame ends the session")

    control, token, epoch = begin("t")
    peer = Peer(serve.port).send(join(token), zeros(BLOCK, epoch=epoch, digest=bytes(16)))
    got = control.read_until(AGAIN, ACK)
    ok(got is not None and got[0] == AGAIN, "zeros with another hash than theirs are asked for again")
    peer.send(zeros(BLOCK, epoch=epoch))
    got = control.read_until(ACK)
    ok(got is not None and runs(got) == [(0, 1)], "with their hash they are taken")
    peer.send(frame(BLOCK_FRAME, right, transfer=0, epoch=epoch),  # too late, and read to its end
              frame(BLOCK_FRAME, right, transfer=0, offset=BLOCK, epoch=epoch),
              zeros(BLOCK, offset=BLOCK, epoch=epoch),  # too late
              zeros(BLOCK, offset=2 * BLOCK, epoch=epoch), zeros(100, offset=3 * BLOCK, epoch=epoch))
    n = 1
    while n < 4:
        got = control.read_until(ACK)
        need(got is not None, "the rest is taken")
        n += sum(count for _, count in runs(got))
    got = finish(control, size, epoch)
    ok(got is not None and got[0] == DONE, "and the file finished")
    with open(os.path.join(at, "t"), "rb") as f:
        ok(f.read() == bytes(BLOCK) + right + bytes(BLOCK + 100), "of copies the first counts")

    # Each has a name of its own: none waits for another's holder to be silent for long enough.
    for name, flags, size, want in (("small", INLINE | SPARSE, 1000, DONE), ("plain", INLINE, 1000, ERROR),
                                    ("short", INLINE | SPARSE, 1001, ERROR)):
        control, _ = session(serve)
        got = finish(control, size, before=offer(name, size, flags) + zeros(1000))
        same(got and got[0], want, "zeros behind an offer of %d bytes with flags %d" % (size, flags))
        if want == ERROR and got:
            ok(got[2][8:], "are refused in words: %s" % got[2][8:].decode())
    control, _ = session(serve)
    control.send(offer("wrong", 1000, INLINE | SPARSE), zeros(1000, **wrong))
    ok(control.closed(), "zeros behind an offer, of a wrong hash: the session is over")
    with open(os.path.join(at, "small"), "rb") as f:
        ok(f.read() == bytes(1000), "a small file of zeros")
    well(serve, at, src, "zeros")


def test_stats():
    """Only who asks for STATS gets them: one before each ACK."""
    serve, _, _ = start("--commit-interval", "200ms")
    for wanted in (True, False):
        control = Peer(serve.port).send(hello(features=1 | (F_STATS if wanted else 0)),
                                        offer("stats%d" % wanted, 2 * BLOCK))
        token = control.read_until(WELCOME)[2][10:26]
        epoch = struct.unpack_from("<Q", control.read_until(ACCEPT)[2])[0]
        Peer(serve.port).send(join(token), frame(BLOCK_FRAME, bytes(BLOCK), transfer=0, epoch=epoch))
        kind, _, payload = control.read_until(STATS, ACK)
        same(kind, STATS if wanted else ACK, "asked for" if wanted else "not asked for")
        if wanted:
            span_ms, *shares = struct.unpack("<IHHHH", payload)
            ok(span_ms > 0 and max(shares) <= 1000, "STATS tells of shares of some time")
            same(control.read_until(STATS, ACK)[0], ACK, "then comes the ACK")


def test_finish_too_early():
    serve, at, src = start()
    control, _ = session(serve)
    control.send(offer("early", 5 * BLOCK))
    got = control.read_until(ACCEPT)
    epoch = struct.unpack_from("<Q", got[2])[0]
    now = struct.pack("<qI", 1700000000, 0)
    control.send(frame(FINISH, struct.pack("<QQQ", 1, 2, 5 * BLOCK) + now + now + struct.pack("<I", 0o644),
                       transfer=0, epoch=epoch))
    got = control.read_until(DONE)
    ok(got is None or got[0] != DONE, "FINISH before the contents is refused")
    same(e2e.visible(at), [], "and nothing is to be seen")
    well(serve, at, src, "an early FINISH")


def test_port_scan():
    serve, at, _ = start()
    src = make(os.path.join(e2e.dir(), "big"), 24 * MIB)
    sent = Send(src, serve.url("t", Proxy(serve.port, rate=12 * MIB).port))
    need(sent.until_durable(), "a transfer is under way")
    for i in range(300):
        with socket.create_connection(("127.0.0.1", serve.port)) as s:
            if i % 3 == 0:
                s.sendall(b"\r\n\r\n")
            elif i % 3 == 1:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sent.wait()
    done(sent, "a port scan during a transfer")
    same(sent.last("done").get("reconnects"), 0, "does not disturb it")
    is_copy(src, os.path.join(at, "t"), "the same contents")
    ok(len(serve.err().splitlines()) < 100, "and does not flood the log")


def fake(answer):
    """A receiver that answers whatever comes with `answer`, then closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    e2e.cleanup(listener.close)

    def serve():
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            with s:
                s.settimeout(5)
                try:
                    s.recv(4096)
                    s.sendall(answer)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
                except OSError:
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def welcome(version=1, heartbeat=2000, window=1 << 28, max_block=MIB, features=1):
    return frame(WELCOME, struct.pack("<HQ", version, features) + bytes(16)
                 + struct.pack("<IHIQ", heartbeat, 64, max_block, window) + bytes(16)
                 + struct.pack("<H", 0))


def test_broken_receivers():
    src = make(os.path.join(e2e.dir(), "source"), 3 * BLOCK)
    kept = (frame(ACCEPT, struct.pack("<QHQ", 0, 8 | 16, 0) + bytes(16), transfer=1)
            + frame(DONE, bytes(16) + struct.pack("<Q", 3 * BLOCK), transfer=1))
    for what, answer, codes in (
        ("keeps what it was to replace", welcome() + kept, (NETWORK,)),
        ("closes at once", b"", (NETWORK,)),
        ("speaks HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, (NETWORK,)),
        ("speaks noise", bytes(range(256)) * 10, (NETWORK,)),
        ("has a damaged header", b"LHF1" + bytes(60), (NETWORK,)),
        ("speaks another version", welcome(version=7), (REFUSED, NETWORK)),
        ("refuses the version", frame(ERROR, struct.pack("<HIH", E_VERSION, 0, 3) + b"old"), (REFUSED,)),
        ("refuses", frame(ERROR, struct.pack("<HIH", 3, 0, 2) + b"no"), (REFUSED,)),
        ("sends a 4 GiB frame", frame(WELCOME, b"", length=0xFFFFFFFF), (NETWORK,)),
        ("welcomes with an empty window", welcome(window=0), (NETWORK,)),
        ("sends STATS unasked", welcome() + frame(STATS, struct.pack("<IHHHH", 1, 0, 0, 0, 0)), (NETWORK,)),
        ("sends STATS of no time", welcome(features=1 | F_STATS)
         + frame(STATS, struct.pack("<IHHHH", 0, 0, 0, 0, 0)), (NETWORK,)),
    ):
        got = send(src, "lh://127.0.0.1:%d/x" % fake(answer), "--existing", "replace")
        ok(got.rc in codes and got.err().strip(), "a receiver that %s: exit code and a line" % what) or got.show()
    same(send(src, "lh://127.0.0.1:%d/x" % fake(welcome() + kept)).rc, e2e.OK,
         "a receiver that keeps what may be kept is believed")


e2e.main()
