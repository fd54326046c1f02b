"""Reads a receiver's journal by the table in proto/JOURNAL.md; shares no code with the receiver.

A journal ends at the first record that is cut short or does not check; what is before it counts.
"""

import struct

import xxhash

MAGIC = 0x314A484C
HEADER = struct.Struct("<QIHHIIQ")  # check, magic, type, zero, length, file, seq
RECORD_MAX = 96 * 1024
HEAD, EPOCH, BLOCKS, DROP, FINISH, DONE = range(1, 7)
IDENTITY = struct.Struct("<QQQqIqI")  # dev, ino, size, mtime, ctime
HASH_SIZE = 16


class Journal:
    def __init__(self):
        self.name = None
        self.block_bytes = 0
        self.size = 0
        self.staging_ino = 0
        self.epochs = []
        self.blocks = {}  # number: hash
        self.finish = None  # digest; a BLOCKS or DROP behind it makes it void
        self.done = False
        self.n_records = 0
        self.rest = 0  # bytes behind the last good record


def looks_like_one(data):
    return len(data) >= HEADER.size and HEADER.unpack_from(data)[1] == MAGIC


def read(data):
    """The journal in `data`, or None when not even its head is whole."""
    journal = Journal()
    at = 0
    seed = 0
    while True:
        record = take(data, at, journal.n_records, seed)
        if record is None:
            break
        kind, payload, whole = record
        if kind == HEAD:
            take_head(journal, payload)
            seed = xxhash.xxh3_64_intdigest(payload[:16])
        elif kind == EPOCH:
            journal.epochs.append(struct.unpack_from("<Q", payload)[0])
        elif kind == BLOCKS:
            first, n = struct.unpack_from("<QI", payload)
            for i in range(n):
                where = 12 + i * HASH_SIZE
                journal.blocks[first + i] = payload[where:where + HASH_SIZE]
        elif kind == DROP:
            first, n = struct.unpack_from("<QQ", payload)
            for block in range(first, first + n):
                journal.blocks.pop(block, None)
        if kind in (BLOCKS, DROP):
            journal.finish = None
        elif kind == FINISH:
            journal.finish = payload[:HASH_SIZE]
        elif kind == DONE:
            journal.done = True
        at += whole
        journal.n_records += 1
    journal.rest = len(data) - at
    return journal if journal.n_records else None


def take(data, at, seq, seed):
    """The record at `at` as (kind, payload, whole length), or None."""
    if len(data) - at < HEADER.size:
        return None
    check, magic, kind, zero, length, _, got_seq = HEADER.unpack_from(data, at)
    whole = HEADER.size + (length + 7) // 8 * 8
    if magic != MAGIC or zero != 0 or whole > RECORD_MAX or at + whole > len(data):
        return None
    if got_seq != seq or not HEAD <= kind <= DONE or (kind == HEAD) != (seq == 0):
        return None
    if check != xxhash.xxh3_64_intdigest(data[at + 8:at + whole], seed):
        return None
    if any(data[at + HEADER.size + length:at + whole]):
        return None
    return kind, data[at + HEADER.size:at + HEADER.size + length], whole


def take_head(journal, payload):
    at = 32  # uuid, transfer id
    _, journal.block_bytes = struct.unpack_from("<HI", payload, at)
    at += 6
    journal.size = IDENTITY.unpack_from(payload, at)[2]
    at += IDENTITY.size
    journal.staging_ino, _, _, n = struct.unpack_from("<QqIH", payload, at)
    at += 22
    journal.name = payload[at:at + n]
