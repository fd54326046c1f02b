"""A tree's frames made by hand from the tables in proto/WIRE.md, for a sender that behaves badly."""
import os
import struct

import e2e
from e2e import ACCEPT, BLOCK, BLOCK_FRAME, ERROR, WELCOME, Peer, frame, join, token_of

FILES, FINISH, DONE, CONFIRM = 5, 16, 17, 18
WANTED, SETTLED, FAILED, ATTRS, LIST, NAMES, REMOVE, REMOVED = range(23, 31)
FILE, DIR, LINK, FIFO, CHAR, BLOCKDEV, SOCKET, HARDLINK = range(1, 9)
KEPT, NEW, CHANGED, MADE, IS_FAILED = range(5)
LAST = 1
TREES = 2
MODE, TIMES, OWNER, XATTRS, ACL = 1, 2, 4, 8, 16
KEEP_SAME, DRY_RUN = 64, 1024


def text(data):
    data = os.fsencode(data)
    return struct.pack("<H", len(data)) + data


def hello():
    return frame(e2e.HELLO, struct.pack("<HHBQQIH", 1, 1, 1, 1 | TREES, TREES, 2000, 1) + text("e2e"))


IDENTITY = struct.pack("<QQQqIqI", 1, 2, 0, 1700000000, 0, 1700000000, 0)


def offer(path, flags=KEEP_SAME, keep=MODE | TIMES, transfer=0, holder=None):
    entry = struct.pack("<BIII", DIR, 0o755, 0, 0) + IDENTITY + text("")
    return frame(e2e.OFFER, (holder or os.urandom(16)) + struct.pack("<Q", 0) + bytes(16) +
                 struct.pack("<QHIHI", 0, 1, BLOCK, flags | 8, 1) + text(path) + text(entry) +
                 struct.pack("<I", keep), transfer=transfer)


def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def entry(kind, path, size=0, link="", mode=0o644, xattrs=b"", mtime=1700000000, digest=b""):
    return {"kind": kind, "path": os.fsencode(path), "size": size, "link": os.fsencode(link), "mode": mode,
            "xattrs": xattrs, "mtime": mtime, "digest": digest}


def row(before, e):
    """An entry behind another one in a frame; mode and owner are told each time."""
    shared = len(os.path.commonprefix([before["path"], e["path"]]))
    later = e["mtime"] - before["mtime"]
    out = bytes([e["kind"] | 0x10 | 0x20 | 0x40 * bool(e["digest"]) | 0x80 * bool(e["xattrs"])])
    out += varint(e["mode"]) + varint(0) + varint(0) + varint(e["size"])
    out += varint(2 * later if later >= 0 else -2 * later - 1) + struct.pack("<I", 5)
    out += varint(shared) + varint(len(e["path"]) - shared) + e["path"][shared:]
    if e["kind"] in (LINK, HARDLINK):
        out += varint(len(e["link"])) + e["link"]
    if e["xattrs"]:
        out += varint(len(e["xattrs"])) + e["xattrs"]
    return out + e["digest"]


def entries(first, rows):
    """The payload of FILES, ATTRS, REMOVE."""
    out, before = struct.pack("<II", first, len(rows)), entry(0, "", mtime=0)
    for e in rows:
        out += row(before, e)
        before = e
    return out


def pack(number, epoch, *parts):
    """Parts are (entry, offset, contents) or (entry, offset, contents, flags)."""
    rows = b"".join(struct.pack("<IIQB", p[0], len(p[2]), p[1], p[3] if len(p) > 3 else 0) for p in parts)
    payload = struct.pack("<I", len(parts)) + rows + b"".join(p[2] for p in parts)
    return frame(BLOCK_FRAME, payload, transfer=0, offset=number * BLOCK, epoch=epoch)


class Sender:
    """A session with a tree offered, its control connection and one stream."""

    def __init__(self, port, path="t", **how):
        self.control = Peer(port).send(hello(), offer(path, **how))
        welcome = self.control.read_until(WELCOME, ERROR)
        self.accepted = None
        if welcome is None or welcome[0] == ERROR:
            return
        self.accepted = self.control.read_until(ACCEPT, ERROR)
        if self.accepted is None or self.accepted[0] == ERROR:
            return
        self.epoch = struct.unpack_from("<Q", self.accepted[2])[0]
        self.stream = Peer(port).send(join(token_of(welcome)))
        self.next = 0
        self.packs = 0

    def files(self, *rows):
        """Tell of entries; [(answer, text of FAILED or None)] of each, None when the session ended."""
        first, self.next = self.next, self.next + len(rows)
        self.control.send(frame(FILES, entries(first, rows), flags=LAST, transfer=0, epoch=self.epoch))
        answers, why = {}, {}
        while len(answers) < len(rows):
            got = self.control.read_until(WANTED, FAILED, ERROR)
            if got is None or got[0] == ERROR:
                return None
            if got[0] == FAILED:
                index, _, n = struct.unpack_from("<IHH", got[2])
                why[index] = got[2][8:8 + n].decode("utf-8", "replace")
            else:
                at, n = struct.unpack_from("<II", got[2])
                answers.update({at + i: got[2][8 + i] for i in range(n)})
        return [(answers[first + i], why.get(first + i)) for i in range(len(rows))]

    def pack(self, *parts):
        self.stream.send(pack(self.packs, self.epoch, *parts))
        self.packs += 1

    def settled(self, *indexes):
        """Wait until all these are settled or failed; the set of those settled, None when it ended."""
        left, done = set(indexes), set()
        while left:
            got = self.control.read_until(SETTLED, FAILED, ERROR)
            if got is None or got[0] == ERROR:
                return None
            if got[0] == FAILED:
                left.discard(struct.unpack_from("<I", got[2])[0])
                continue
            done.update(runs(got[2]))
            left -= done
        return done

    def remove(self, *rows):
        first, self.next = self.next, self.next + len(rows)
        self.control.send(frame(REMOVE, entries(first, rows), transfer=0, epoch=self.epoch))
        left, gone = set(range(first, first + len(rows))), set()
        while left:
            got = self.control.read_until(REMOVED, FAILED, ERROR)
            if got is None or got[0] == ERROR:
                return None
            if got[0] == FAILED:
                left.discard(struct.unpack_from("<I", got[2])[0])
            else:
                gone.update(runs(got[2]))
                left -= gone
        return {i - first for i in gone}

    def attrs(self, *rows):
        self.control.send(frame(ATTRS, entries(self.next, rows), transfer=0, epoch=self.epoch))
        self.next += len(rows)

    def finish(self):
        """Whether it is done."""
        self.control.send(frame(FINISH, IDENTITY + struct.pack("<I", 0o755), transfer=0))
        got = self.control.read_until(DONE, ERROR)
        if got is None or got[0] == ERROR:
            return False
        self.control.send(frame(CONFIRM, transfer=0), frame(21))
        return True

    def names(self, path):
        """What LIST of that directory brings; None when the session ended."""
        self.control.send(frame(LIST, struct.pack("<I", 7) + text(path), transfer=0, epoch=self.epoch))
        got = self.control.read_until(NAMES, FAILED, ERROR)
        if got is None or got[0] == ERROR:
            return None
        return got[2][9:] if got[0] == NAMES else b""


def runs(payload):
    """Indexes of a list of runs: u32 n, n × (u64 first, u64 count)."""
    found = []
    for i in range(struct.unpack_from("<I", payload)[0]):
        first, count = struct.unpack_from("<QQ", payload, 4 + 16 * i)
        found += range(first, first + count)
    return found
