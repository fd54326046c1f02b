#!/usr/bin/python3
"""What a power cut may and may not have done to a tree; runs in the guest, on the remounted disk.

Reads from the scratch directory `told` (the paths of which the sender said that they are there, before any cut
so far), `seen` (whether it said "done"), and the trees `source` and `old`. Prints one line, "@lh check …",
and exits 1 when a promise was broken.

    nothing half-made    each file below the target is whole: the source's, with its attributes, or the old one
    nothing lost         what was told is there as the source has it
    done means done      after "done" the target is the source's copy, and no hidden file is left but journals
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../lib"))

import tree  # noqa: E402
import treecmp  # noqa: E402

KEEP = frozenset(["mode", "times", "owner"])
BIG_KEEP = KEEP - {"owner"}  # a big file gets its owner after its name, and only then it is told of


class Broken(Exception):
    pass


def load(scratch, name):
    with open(os.path.join(scratch, name), encoding="ascii") as f:
        return json.load(f)


def contents(entry):
    return (entry.kind, entry.hash, entry.target)


def is_new(entry, wanted, told=False):
    """It is as the source has it. Of a directory only that it is one: its attributes come last."""
    if wanted is None or contents(entry) != contents(wanted):
        return False
    keep = BIG_KEEP if entry.size >= tree.BIG and not told else KEEP
    return entry.kind == "dir" or treecmp._kept(entry, keep) == treecmp._kept(wanted, keep)


def check(args):
    source = os.path.join(args.scratch, "source")
    old = os.path.join(args.scratch, "old")
    target = os.path.join(args.root, args.target)
    new = treecmp.scan(source)
    was = treecmp.scan(old) if os.path.isdir(old) else {}
    have = treecmp.scan(target) if os.path.isdir(target) else {}
    hidden = [p for p in have if os.path.basename(p).startswith(b".longhaul-")]
    for path in have.keys() - set(hidden):
        entry = have[path]
        if path not in new and path not in was:
            raise Broken("%r should not be there" % path)
        if not is_new(entry, new.get(path)) and (path not in was or contents(entry) != contents(was[path])):
            raise Broken("half-made: %r is neither version (%s)" % (path, treecmp._kept(entry, KEEP)))
    for path in was.keys() - have.keys():
        raise Broken("the old %r is gone, and the new one is not there" % path)
    for path in map(bytes.fromhex, load(args.scratch, "told")):
        if path not in have:
            raise Broken("told and lost: %r" % path)
        if not is_new(have[path], new.get(path), told=True):
            raise Broken("told, and not as the source has it: %r" % path)
    if load(args.scratch, "seen")["done"] or args.final:
        # To forget a big file's journal is not synced: a cut may bring it back, and it does no harm.
        back = {"%r should not be there" % path for path in hidden if path.endswith(b".journal")}
        found = [f for f in treecmp.compare(source, target, KEEP, sparse=False, rsync=False) if f not in back]
        if found:
            raise Broken("the sender saw \"done\": " + found[0])
    return {"entries": len(have), "hidden": len(hidden)}


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
