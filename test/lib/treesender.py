"""A sender of one tree by hand, with checks of what it hears. (treewire.py has the frames, and a sender
that leaves the checks to the test.)
"""
import os
import struct

import xxhash

import treewire
from e2e import (ACCEPT, BLOCK, BLOCK_FRAME, ERROR, OFFER, WELCOME, Peer, frame, hello, join, need, ok,
                 token_of)
from treewire import (CONFIRM, DIR, DONE, FAILED, FILE, FILES, FINISH, KEEP_SAME, LAST, MODE, REMOVED, SETTLED,
                      TIMES, TREES, WANTED, text)

MORE_FILES = 8
VOID = 1
TIME = 1600000000


def entry(path, kind=FILE, size=0, mode=0o644, mtime=TIME, link="", xattrs=b"", contents=None):
    digest = b"" if contents is None else xxhash.xxh3_128_digest(contents)
    return treewire.entry(kind, path, size, link, mode, xattrs, mtime, digest)


class Tree:
    """A sender of one tree."""

    def __init__(self, serve, path="t", flags=KEEP_SAME, keep=MODE | TIMES, holder=None, need_=True):
        self.serve = serve
        self.control = Peer(serve.port).send(hello(features=1 | TREES))
        got = self.control.read()
        need(got is not None and got[0] == WELCOME, "a session")
        need(struct.unpack_from("<Q", got[2], 2)[0] & TREES, "that may send trees")
        self.token = token_of(got)
        self.next = 0
        self.packs = 0
        self.settled = set()
        self.failed = {}
        self.stream = None
        identity = struct.pack("<QQQqIqI", 1, 2, 4096, TIME, 0, TIME, 0)
        root = struct.pack("<BIII", DIR, 0o755, 0, 0) + identity + text("")
        self.control.send(frame(OFFER, (holder or os.urandom(16)) + struct.pack("<Q", 0) + bytes(16)
                                + struct.pack("<QHIHI", 0, 1, BLOCK, flags | MORE_FILES, 1)
                                + text(path) + struct.pack("<H", len(root)) + root
                                + struct.pack("<I", keep), transfer=0))
        got = self.control.read_until(ACCEPT, ERROR)
        self.refused = got is None or got[0] == ERROR
        self.code = struct.unpack_from("<H", got[2])[0] if got and got[0] == ERROR else None
        if need_:
            need(not self.refused, "the tree is accepted")
        self.epoch = 0 if self.refused else struct.unpack_from("<Q", got[2])[0]

    def tell(self, kind, entries, last=False):
        first, self.next = self.next, self.next + len(entries)
        self.control.send(frame(kind, treewire.entries(first, entries), flags=LAST if last else 0,
                                transfer=0))
        return first

    def note(self, got):
        """What comes in any order."""
        if got[0] in (SETTLED, REMOVED):
            n = struct.unpack_from("<I", got[2])[0]
            for i in range(n):
                first, count = struct.unpack_from("<QQ", got[2], 4 + 16 * i)
                self.settled.update(range(first, first + count))
        elif got[0] == FAILED:
            index, code = struct.unpack_from("<IH", got[2])
            self.failed[index] = (code, got[2][8:].decode("utf-8", "backslashreplace"))

    def until(self, *kinds):
        return self.control.read_until(*kinds, note=self.note)

    def ask(self, *entries, last=True):
        """FILES; the answers."""
        first = self.tell(FILES, list(entries), last)
        answers = {}
        while len(answers) < len(entries):
            got = self.until(WANTED, ERROR)
            if got is None or got[0] == ERROR:
                return None
            at, n = struct.unpack_from("<II", got[2])
            answers.update({at + i: got[2][8 + i] for i in range(n)})
        return [answers[first + i] for i in range(len(entries))]

    def pack(self, *parts, epoch=None, number=None, damage=False):
        """(entry, offset, contents) each, contents None: VOID."""
        rows = b"".join(struct.pack("<IIQB", i, len(data or b""), at, VOID if data is None else 0)
                        for i, at, data in parts)
        payload = struct.pack("<I", len(parts)) + rows + b"".join(d or b"" for _, _, d in parts)
        return self.send_pack(payload, epoch, number, damage)

    def open_stream(self):
        if self.stream is None:
            self.stream = Peer(self.serve.port).send(join(self.token))
        return self.stream

    def send_pack(self, payload, epoch=None, number=None, damage=False):
        self.open_stream()
        if number is None:
            number, self.packs = self.packs, self.packs + 1
        data = frame(BLOCK_FRAME, payload, transfer=0, offset=number * BLOCK,
                     epoch=self.epoch if epoch is None else epoch)
        self.stream.send(data[:-1] + bytes([data[-1] ^ 1]) if damage else data)
        return data

    def until_settled(self, *indexes):
        """Whether they are, before the session ends."""
        while not self.settled.issuperset(indexes):
            if self.until(SETTLED) is None:
                return False
        return True

    def finish(self):
        identity = struct.pack("<QQQqIqI", 1, 2, 4096, TIME, 0, TIME, 0)
        self.control.send(frame(FINISH, identity + struct.pack("<I", 0o755), transfer=0))
        got = self.until(DONE, ERROR)
        ok(got is not None and got[0] == DONE, "DONE")
        self.control.send(frame(CONFIRM, transfer=0), frame(21))

    def fails(self, code, name):
        """The transfer ends with ERROR."""
        got = self.until(ERROR)
        ok(got is not None and struct.unpack_from("<H", got[2])[0] == code,
           "%s: refused with code %d" % (name, code))
        self.control.socket.close()
        if self.stream is not None:
            self.stream.socket.close()
