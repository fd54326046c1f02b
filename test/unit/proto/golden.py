#!/usr/bin/python3
"""Golden vectors of the wire and the journal, written down from proto/WIRE.md and proto/JOURNAL.md.

    test/unit/proto/golden.py > test/unit/proto/golden.h
    test/unit/proto/golden.py --corpus test/fuzz/corpus

This shares nothing with the C encoders: every field stands here with the offset that the tables give
it, packed by Python's struct and hashed by python3-xxhash. golden.c then asks that the C code makes
exactly these bytes and reads them back. So a table, this script and the code must all three agree.
Run it again only when a table changes, which after a release means a new version of the protocol.
"""
import os
import struct
import sys

import xxhash

NO_TRANSFER = 0xFFFFFFFF
LAST = 1
ZEROS = 2


def table(*rows):
    """Bytes from rows of (offset, struct letter or None for raw bytes, value); offsets are checked."""
    out = b""
    for offset, letter, value in rows:
        assert len(out) == offset, f"field expected at {offset}, but {len(out)} bytes are written"
        out += value if letter is None else struct.pack("<" + letter, value)
    return out


def run_of(start, n):
    """n bytes counting up: a recognisable id."""
    return bytes((start + i) & 0xFF for i in range(n))


def frame(kind, payload, flags=0, transfer=NO_TRANSFER, file=0, raw_length=0, offset=0, epoch=0,
          digest=None):
    head = table(
        (0, None, b"LHF1"),
        (4, "H", kind),
        (6, "H", flags),
        (8, "I", len(payload)),
        (12, "I", transfer),
        (16, "I", file),
        (20, "I", raw_length),
        (24, "Q", offset),
        (32, "Q", epoch),
        (40, None, digest or xxhash.xxh3_128_digest(payload)),
    )
    return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head, seed=0)) + payload


def zeros(length, **fields):
    """A BLOCK that is nothing but a header: so many zeros."""
    return frame(9, b"", flags=ZEROS, raw_length=length, digest=xxhash.xxh3_128_digest(bytes(length)),
                 **fields)


def identity(dev, ino, size, mtime, ctime):
    return table(
        (0, "Q", dev),
        (8, "Q", ino),
        (16, "Q", size),
        (24, "q", mtime[0]),
        (32, "I", mtime[1]),
        (36, "q", ctime[0]),
        (44, "I", ctime[1]),
    )


SOURCE = identity(0x0801, 0x1122334455667788, 5368709121, (1700000000, 123456789), (-2, 999999999))
CONTENTS = b"contents of a block\n"


def entry(kind, mode, uid, gid, ident, path, more=b""):
    body = table(
        (0, "B", kind),
        (1, "I", mode),
        (5, "I", uid),
        (9, "I", gid),
        (13, None, ident),
        (61, "H", len(path)),
        (63, None, path),
    ) + more
    return struct.pack("<H", len(body)) + body


def varint(n):
    out = b""
    while n > 0x7f:
        out += bytes([n & 0x7f | 0x80])
        n >>= 7
    return out + bytes([n])


def tree_entry(kind, mode, uid, gid, size, mtime, path, link=b"", xattrs=b"", digest=b""):
    return dict(kind=kind, who=(mode, uid, gid), size=size, mtime=mtime, path=path, link=link,
                xattrs=xattrs, digest=digest)


def coded(before, e):
    """An entry, by what differs from the one before it in its frame."""
    shared = len(os.path.commonprefix([before["path"], e["path"]]))
    later = e["mtime"][0] - before["mtime"][0]
    out = bytes([e["kind"] | 0x10 * (e["who"] != before["who"]) | 0x20 * (e["mtime"][1] != 0) |
                 0x40 * bool(e["digest"]) | 0x80 * bool(e["xattrs"])])
    if e["who"] != before["who"]:
        out += b"".join(map(varint, e["who"]))
    out += varint(e["size"]) + varint(2 * later if later >= 0 else -2 * later - 1)
    if e["mtime"][1]:
        out += struct.pack("<I", e["mtime"][1])
    out += varint(shared) + varint(len(e["path"]) - shared) + e["path"][shared:]
    if e["link"]:
        out += varint(len(e["link"])) + e["link"]
    if e["xattrs"]:
        out += varint(len(e["xattrs"])) + e["xattrs"]
    return out + e["digest"]


def xattr(name, value):
    return struct.pack("<H", len(name)) + name + struct.pack("<H", len(value)) + value


def tree_entries(first, *entries):
    nothing = tree_entry(0, 0, 0, 0, 0, (0, 0), b"")
    rows = b"".join(coded(before, e) for before, e in zip((nothing,) + entries, entries))
    return table((0, "I", first), (4, "I", len(entries)), (8, None, rows))


def pack(*parts):
    """Parts: (entry, offset, flags, contents, or the length of a hole)."""
    out = struct.pack("<I", len(parts))
    for entry, offset, flags, contents in parts:
        length = len(contents) if isinstance(contents, bytes) else contents
        out += table((0, "I", entry), (4, "I", length), (8, "Q", offset), (16, "B", flags))
    return out + b"".join(c for _, _, _, c in parts if isinstance(c, bytes))


def names(tag, state, *rows):
    out = table((0, "I", tag), (4, "I", len(rows)), (8, "B", state))
    for kind, name in rows:
        out += table((0, "B", kind), (1, "H", len(name)), (3, None, name))
    return out


def owners(*rows):
    out = struct.pack("<I", len(rows))
    for kind, number, name in rows:
        out += table((0, "B", kind), (1, "I", number), (5, "H", len(name)), (7, None, name))
    return out


def offer(path, file, flags, n_files):
    return table(
        (0, None, run_of(0x40, 16)),
        (16, "Q", 6),
        (24, None, run_of(0x50, 16)),
        (40, "Q", 0x0102030405060708),
        (48, "H", 1),
        (50, "I", 262144),
        (54, "H", flags),
        (56, "I", n_files),
        (60, "H", len(path)),
        (62, None, path),
        (62 + len(path), None, file),
    )


def runs(*pairs):
    out = struct.pack("<I", len(pairs))
    for first, count in pairs:
        out += struct.pack("<QQ", first, count)
    return out


def hashes(first, *contents):
    out = table((0, "Q", first), (8, "I", len(contents)))
    for c in contents:
        out += xxhash.xxh3_128_digest(c)
    return out


def frames():
    agent = b"longhaul/0.1.0"
    text = "held by another sender \u2013 try later".encode()
    t = dict(transfer=3, file=0, epoch=7)
    return {
        "hello": frame(1, table(
            (0, "H", 1),
            (2, "H", 2),
            (4, "B", 1),
            (5, "Q", 0x0000000000000007),
            (13, "Q", 0x0000000000000001),
            (21, "I", 2000),
            (25, "H", 8),
            (27, "H", len(agent)),
            (29, None, agent),
        )),
        "welcome": frame(2, table(
            (0, "H", 1),
            (2, "Q", 0x0000000000000001),
            (10, None, run_of(0x10, 16)),
            (26, "I", 1500),
            (30, "H", 64),
            (32, "I", 1048576),
            (36, "Q", 0x20000000),
            (44, None, run_of(0x20, 16)),
            (60, "H", len(agent)),
            (62, None, agent),
        )),
        "join": frame(3, table((0, None, run_of(0x10, 16)), (16, "H", 5), (18, "I", 2))),
        "offer": frame(4, offer(b"in/big \xff\nfile", entry(1, 0o640, 1000, 100, SOURCE, b""), 1, 1),
                       transfer=3),
        "extents": frame(6, runs((0, 4096), (1 << 30, 262145)), flags=LAST, transfer=3, file=1),
        "accept": frame(7, table(
            (0, "Q", 7),
            (8, "H", 3),
            (10, "Q", 0x10000000),
            (18, None, run_of(0x60, 16)),
        ), transfer=3, epoch=7),
        "ledger": frame(8, runs((0, 100), (200, 1)), flags=LAST, **t),
        "block": frame(9, CONTENTS, transfer=3, raw_length=len(CONTENTS), offset=5368709120, epoch=7),
        "zeros": zeros(262144, transfer=3, offset=5 * 262144, epoch=7),
        "ack": frame(10, runs((100, 100), (201, 0x123456789)), **t),
        "again": frame(11, runs((17, 1)), **t),
        "hashes_wanted": frame(12, table((0, "Q", 4096), (8, "I", 4000)), **t),
        "hashes": frame(13, hashes(4096, b"one", b"two", CONTENTS), **t),
        "retract": frame(14, runs((4097, 2)), **t),
        "retracted": frame(15, runs((4097, 2)), **t),
        "finish": frame(16, table((0, None, SOURCE), (48, "I", 0o640)), **t),
        "done": frame(17, table((0, None, xxhash.xxh3_128_digest(b"digest")), (16, "Q", 5368709121)),
                      **t),
        "confirm": frame(18, b"", **t),
        "heartbeat": frame(19, table((0, "Q", 77), (8, "I", 20001), (12, "I", 350),
                                     (16, "Q", 0x0FEDCBA9))),
        "error": frame(20, table((0, "H", 6), (2, "I", 4200), (6, "H", len(text)), (8, None, text)),
                       transfer=3),
        "bye": frame(21, b""),
        "stats": frame(22, table((0, "I", 1004), (4, "H", 950), (6, "H", 20), (8, "H", 1), (10, "H", 1000))),
        **tree_frames(),
    }


def tree_frames():
    """Those of a tree; `pack` is a BLOCK, `offer_tree` an OFFER."""
    t = dict(transfer=3, file=0, epoch=1)
    text = "a directory is in the way of \u201ca/b\u201d".encode()
    contents = pack((70000, 0, 0, b"first"), (70001, 0, 0, b""), (70002, 0, 1, b""),
                    (69999, 65536, 2, 196464), (69999, 262000, 0, CONTENTS))
    return {
        "offer_tree": frame(4, offer(b"in/tree", entry(2, 0o2755, 1000, 100, SOURCE, b""),
                                     8 | 64 | 512 | 1024, 1) + struct.pack("<I", 1 | 2 | 16),
                            transfer=3),
        "files": frame(5, tree_entries(
            70000,
            tree_entry(1, 0o640, 1000, 100, 5, (1700000000, 123456789), b"a/\xff\n",
                       xattrs=xattr(b"user.a", b"\0\xff") + xattr(b"user.b", b""),
                       digest=xxhash.xxh3_128_digest(b"first")),
            tree_entry(3, 0o777, 0, 0, 3, (-2, 999999999), b"link", link=b"a/b"),
            tree_entry(6, 0o660, 0, 6, 0x0801, (0, 0), b"dev/sda1"),
            tree_entry(8, 0o640, 1000, 100, 5, (1700000000, 1), b"second", link=b"a/\xff\n"),
        ), flags=LAST, transfer=3),
        "wanted": frame(23, table((0, "I", 70000), (4, "I", 5), (8, None, bytes([1, 3, 4, 0, 2]))), **t),
        "settled": frame(24, runs((0, 70000), (70001, 1)), **t),
        "failed": frame(25, table((0, "I", 70002), (4, "H", 11), (6, "H", len(text)), (8, None, text)),
                        **t),
        "attrs": frame(26, tree_entries(
            80000,
            tree_entry(2, 0o755, 0, 0, 4096, (1700000000, 123456789), b"a"),
            tree_entry(2, 0o2755, 0, 0, 4096, (1700000001, 0), b""),
        ), **t),
        "list": frame(27, table((0, "I", 17), (4, "H", 4), (6, None, b"a/\xffb")), **t),
        "names": frame(28, names(17, 1, (1, b"\xff\n"), (2, b"..."), (7, b"s")), flags=LAST, **t),
        "remove": frame(29, tree_entries(
            80002,
            tree_entry(1, 0, 0, 0, 0, (0, 0), b"old/link"),
            tree_entry(2, 0, 0, 0, 0, (0, 0), b"old"),
        ), **t),
        "removed": frame(30, runs((80002, 2)), **t),
        "owners": frame(31, owners((1, 1000, b"alice"), (2, 1000, b"\xffx"), (1, 4294967295, b"a b")), **t),
        "pack": frame(9, contents, raw_length=len(contents), offset=5 * 262144, **t),
    }


UUID = run_of(0x80, 16)


def record(kind, seq, payload, file=0):
    behind = table(
        (0, None, b"LHJ1"),  # at 8 of the record: the check comes first
        (4, "H", kind),
        (6, "H", 0),
        (8, "I", len(payload)),
        (12, "I", file),
        (16, "Q", seq),
        (24, None, payload),
    )
    behind += b"\0" * (-len(behind) % 8)
    seed = 0 if kind == 1 else xxhash.xxh3_64_intdigest(UUID, seed=0)
    return struct.pack("<Q", xxhash.xxh3_64_intdigest(behind, seed=seed)) + behind


def journal():
    name = b"big \xff\nfile"
    return {
        "head": record(1, 0, table(
            (0, None, UUID),
            (16, None, run_of(0x60, 16)),
            (32, "H", 1),
            (34, "I", 262144),
            (38, None, SOURCE),
            (86, "Q", 0x8877665544332211),
            (94, "q", 1700000001),
            (102, "I", 5),
            (106, "H", len(name)),
            (108, None, name),
        )),
        "epoch": record(2, 1, table(
            (0, "Q", 7),
            (8, None, run_of(0x40, 16)),
            (24, None, run_of(0x50, 16)),
            (40, "Q", 0x0102030405060708),
            (48, None, SOURCE),
            (96, "B", 1),
        )),
        "blocks": record(3, 2, hashes(4096, b"one", b"two", CONTENTS)),
        "drop": record(4, 3, table((0, "Q", 4097), (8, "Q", 2))),
        "finish": record(5, 4, table(
            (0, None, xxhash.xxh3_128_digest(b"digest")),
            (16, "I", 0o640),
            (20, "q", 1700000000),
            (28, "I", 123456789),
        )),
        "done": record(6, 5, b""),
    }


def array(name, data):
    lines = [f"static const uint8_t {name}[{len(data)}] = {{"]
    for at in range(0, len(data), 16):
        lines.append("    " + " ".join(f"0x{b:02x}," for b in data[at:at + 16]))
    return "\n".join(lines + ["};", ""])


def header():
    print("/* Written by golden.py from the tables of proto/WIRE.md and proto/JOURNAL.md; see there. */")
    print("#ifndef LH_TEST_PROTO_GOLDEN_H\n#define LH_TEST_PROTO_GOLDEN_H\n\n#include <stdint.h>\n")
    print("/* clang-format off */")
    for name, data in frames().items():
        print(array("golden_frame_" + name, data))
    for name, data in journal().items():
        print(array("golden_record_" + name, data))
    print("/* clang-format on */\n\n#endif")


def corpus(top):
    def write(target, name, data):
        os.makedirs(os.path.join(top, target), exist_ok=True)
        with open(os.path.join(top, target, name), "wb") as f:
            f.write(data)

    for name, data in frames().items():
        write("frame", name, data)
    for select, name in enumerate(("offer_tree", "files", "wanted", "failed", "list", "names", "owners", "pack")):
        write("tree", name, bytes([select]) + tree_frames()[name][64:])
    records = journal()
    whole = b"".join(records.values())
    write("journal", "whole", whole)
    write("journal", "head-only", records["head"])
    write("journal", "torn", whole[:-40])
    write("journal", "zero-tail", records["head"] + records["epoch"] + b"\0" * 64)
    flipped = bytearray(whole)
    flipped[len(records["head"]) + 50] ^= 4
    write("journal", "flipped", bytes(flipped))


if len(sys.argv) == 3 and sys.argv[1] == "--corpus":
    corpus(sys.argv[2])
else:
    header()
