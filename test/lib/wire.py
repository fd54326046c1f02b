"""The wire, from the tables in proto/WIRE.md: frames, and a connection that speaks it by hand. Tests have
it from e2e.
"""
import contextlib
import os
import socket
import struct
import time

import xxhash

from tap import LIMIT, cleanup, diag, hung

KIB = 1 << 10
BLOCK = 256 * KIB

HEADER_SIZE = 64
MAGIC = 0x3146484C
HELLO, WELCOME, JOIN, OFFER, ACCEPT, BLOCK_FRAME, ACK, HEARTBEAT, ERROR = 1, 2, 3, 4, 7, 9, 10, 19, 20
ZEROS = 2  # a flag of BLOCK_FRAME


def frame(kind, payload=b"", flags=0, transfer=0xFFFFFFFF, offset=0, epoch=0, length=None,
          magic=MAGIC, check=None, raw=None, digest=None):
    """A frame with everything about it right, unless told otherwise."""
    length = len(payload) if length is None else length
    if raw is None:
        raw = length if kind == BLOCK_FRAME else 0
    head = struct.pack("<IHHIIIIQQ", magic, kind, flags, length, transfer, 0, raw, offset, epoch)
    head += xxhash.xxh3_128_digest(payload) if digest is None else digest
    return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head) if check is None else check) + payload


def zeros(length, **how):
    """A BLOCK of so many zeros: a header alone."""
    how = {"flags": ZEROS, "transfer": 0, "digest": xxhash.xxh3_128_digest(bytes(length)), **how}
    return frame(BLOCK_FRAME, raw=length, **how)


def hello(version_min=1, version_max=1, streams=1, role=1, features=1):
    agent = b"e2e"
    return frame(HELLO, struct.pack("<HHBQQIH", version_min, version_max, role, features, 0, 2000,
                                    streams)
                 + struct.pack("<H", len(agent)) + agent)


def join(token, stream=0, generation=0):
    return frame(JOIN, token + struct.pack("<HI", stream, generation))


def offer(path, size, flags=0, transfer=0, block=BLOCK, mode=0o644, holder=None, n_files=1):
    now = (1700000000, 0)
    path = os.fsencode(path)
    identity = struct.pack("<QQQqIqI", 1, 2, size, *now, *now)
    entry = struct.pack("<BIII", 1, mode, 0, 0) + identity + struct.pack("<H", 0)
    return frame(OFFER, (holder or os.urandom(16)) + struct.pack("<Q", 0) + bytes(16)
                 + struct.pack("<QHIHI", 0, 1, block, flags, n_files)
                 + struct.pack("<H", len(path)) + path + struct.pack("<H", len(entry)) + entry,
                 transfer=transfer)


def token_of(welcome):
    """By which streams join, of a WELCOME as Peer.read gives it."""
    return welcome[2][10:26]


class Frames:
    """Follows the frames in one direction of one connection."""

    def __init__(self):
        self.head = bytearray()
        self.left = 0  # payload bytes still to come
        self.type = None

    @staticmethod
    def kind(data):
        kind = struct.unpack_from("<H", data, 4)[0] if len(data) >= 6 else 0
        return {HELLO: "control", JOIN: "stream"}.get(kind, "other")

    def scan(self, data):
        """The parts of a chunk: (part, frame type, start, end), part "header" or "payload"."""
        parts, at = [], 0
        while at < len(data):
            if self.left:
                end = min(len(data), at + self.left)
                self.left -= end - at
                parts.append(("payload", self.type, at, end))
            else:
                end = min(len(data), at + HEADER_SIZE - len(self.head))
                self.head += data[at:end]
                if len(self.head) == HEADER_SIZE:
                    self.type, self.left = struct.unpack_from("<H2xI", self.head, 4)
                    self.head.clear()
                    parts.append(("header", self.type, at, end))
            at = end
        return parts


class Peer:
    """A connection of the test's own, speaking the wire by hand."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=LIMIT)
        cleanup(self.socket.close)

    def send(self, *frames):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for f in frames:
                self.socket.sendall(f)
        return self

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            try:
                got = self.socket.recv(n - len(data))
            except ConnectionResetError:
                return None
            if not got:
                return None
            data += got
        return data

    def _read(self):
        head = self._exactly(HEADER_SIZE)
        if head is None:
            return None
        magic, kind, _, length, transfer = struct.unpack_from("<IHHII", head)
        if magic != MAGIC:
            return None
        payload = self._exactly(length) if length else b""
        return None if payload is None else (kind, transfer, payload)

    def read(self):
        """The next frame as (type, transfer, payload), or None when the other side closed."""
        try:
            return self._read()
        except socket.timeout:
            return hung("a frame comes")

    def read_until(self, *kinds, note=None):
        """The first frame of these types; None when the connection ends before. note(frame) sees each.
        Heartbeats do not count: a wait for something else ends all the same."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            got = self.read()
            if got is not None and note is not None:
                note(got)
            if got is None or got[0] in kinds:
                return got
        return hung("a frame of type %s comes" % " or ".join(map(str, kinds)))

    def closed(self):
        """Whether the other side ends the connection; waits for it, reading what still comes."""
        deadline = time.monotonic() + LIMIT
        with contextlib.suppress(socket.timeout):
            while time.monotonic() < deadline:
                if self._read() is None:
                    return True
        diag("it is open after %d s" % LIMIT)
        return False
