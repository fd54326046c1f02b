#!/usr/bin/python3
"""What a power cut may and may not have done; runs in the guest, on the remounted disk.

Reads from the scratch directory what the host knows: `hashes` (of the source's blocks, and its size),
`acks` (every block run that the sender reported as acknowledged before any cut so far) and `seen`
(whether it reported "done"). Prints one line, "@lh check …", and exits 1 when a promise was broken.

    nothing half-made    below the target's name is nothing, or the old version whole, or the new one
                         whole; nothing else in its directory has a name that people see
    nothing lost         an acknowledged block is in the journal, or the target is whole
    journal trusted      a block that the journal records is in the staging file, as it is in the
                         source: the next run will not send it again
    done means done      after "done" the target is there, whole
"""

import argparse
import json
import os
import sys

import xxhash

import journal as journals


class Broken(Exception):
    pass


def block_hashes(path, block_bytes):
    with open(path, "rb", buffering=0) as f:
        while True:
            data = f.read(block_bytes)
            while data and len(data) < block_bytes:
                more = f.read(block_bytes - len(data))
                if not more:
                    break
                data += more
            if not data:
                return
            yield xxhash.xxh3_128_digest(data)


def load(scratch, name):
    with open(os.path.join(scratch, name)) as f:
        return json.load(f)


def same(path, known):
    """Whether the file at `path` is the version `known`."""
    if os.stat(path).st_size != known["size"]:
        return False
    mine = b"".join(block_hashes(path, known["block_bytes"]))
    return mine.hex() == known["hashes"]


def target_state(path, source, old):
    try:
        kind = os.lstat(path)
    except FileNotFoundError:
        return "absent"
    if same(path, source):
        return "whole"
    if old and same(path, old):
        return "old"
    raise Broken("half-made: %r has %d bytes and is neither version" % (path, kind.st_size))


def hidden_files(directory, target_name):
    """(journal or None, {inode: path}) of what the receiver keeps beside the target."""
    found = None
    inodes = {}
    if not os.path.isdir(directory):
        return None, inodes
    for name in os.listdir(directory):
        if name == target_name:
            continue
        if not name.startswith("."):
            raise Broken("visible left-over: %r" % name)
        path = os.path.join(directory, name)
        inodes[os.stat(path).st_ino] = path
        with open(path, "rb") as f:
            if not journals.looks_like_one(f.read(journals.HEADER.size)):
                continue
            f.seek(0)
            journal = journals.read(f.read())
        if journal and journal.name == os.fsencode(target_name):
            if found:
                raise Broken("two journals of one target")
            found = journal
    return found, inodes


def digest_of(source):
    return xxhash.xxh3_128_digest(bytes.fromhex(source["hashes"]))


def check_journal(journal, staging, source):
    """Each recorded block is in the staging file, and is the source's."""
    if journal.size != source["size"] or journal.block_bytes != source["block_bytes"]:
        raise Broken("the journal is of another source")
    if not staging:
        if journal.blocks:
            raise Broken("the journal records %d blocks, and there is no staging file" %
                         len(journal.blocks))
        return
    want = bytes.fromhex(source["hashes"])
    wrong = []
    with open(staging, "rb", buffering=0) as f:
        for block, digest in sorted(journal.blocks.items()):
            right = want[block * 16:block * 16 + 16]
            if digest != right:
                raise Broken("block %d has a wrong hash in the journal" % block)
            got = os.pread(f.fileno(), source["block_bytes"], block * source["block_bytes"])
            if xxhash.xxh3_128_digest(got) != right:
                wrong.append(block)
    if wrong:
        raise Broken("the journal records blocks whose contents are not on the disk: %d of %d, "
                     "the first is %d" % (len(wrong), len(journal.blocks), wrong[0]))


def check(args):
    source = load(args.scratch, "hashes")
    acked = {b for first, n in load(args.scratch, "acks") for b in range(first, first + n)}
    seen = load(args.scratch, "seen")
    path = os.path.join(args.root, args.target)
    directory, name = os.path.split(path)
    state = target_state(path, source, source.get("old"))
    journal, inodes = hidden_files(directory, name)
    facts = {"state": state, "journal": bool(journal), "acked": len(acked)}

    if (seen["done"] or args.final) and state != "whole":
        raise Broken("the sender saw \"done\", and the target is %s" % state)
    if source.get("old") and state == "absent":
        raise Broken("the old version is gone, and the new one is not there")
    if journal:
        facts["durable"] = len(journal.blocks)
        facts["cut_record"] = journal.rest
        if journal.finish and journal.finish != digest_of(source):
            raise Broken("the journal's digest is not the source's")
        if state != "whole":
            check_journal(journal, inodes.get(journal.staging_ino), source)
            if journal.done:
                raise Broken("the journal says \"done\", and the target is %s" % state)
    if state != "whole":
        have = journal.blocks if journal else {}
        lost = sorted(acked - set(have))
        if lost:
            raise Broken("acknowledged and lost: %d of %d blocks, the first is %d; the journal %s" %
                         (len(lost), len(acked), lost[0],
                          "records %d" % len(have) if journal else "is not there"))
    if args.final and inodes and not (journal and journal.done and len(inodes) == 1):
        raise Broken("left behind: %r" % sorted(inodes.values()))
    return facts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--final", action="store_true", help="the transfer has ended well")
    args = parser.parse_args()
    try:
        facts = check(args)
    except Broken as e:
        print("@lh check broken: %s" % e, flush=True)
        return 1
    print("@lh check ok %s" % json.dumps(facts), flush=True)
    return 0


sys.exit(main())
