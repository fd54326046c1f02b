#!/usr/bin/python3
"""Sparse files: holes are neither sent nor given space."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

import e2e
from e2e import BLOCK, MIB, Serve, done, is_copy, ok, once, same, send

GIB = 1024 * MIB


def sparse(size, places):
    path = os.path.join(e2e.dir(), "source")
    with open(path, "wb") as f:
        f.truncate(size)
        for at in places:
            f.seek(at)
            f.write(os.urandom(3 * BLOCK // 2))
    return path


def used(path):
    return os.stat(path).st_blocks * 512


def start():
    root = os.path.join(e2e.dir(), "root")
    os.mkdir(root)
    return Serve(root), os.path.join(root, "t")


def test_holes():
    serve, target = start()
    src = sparse(1 * GIB + 5, [0, 300 * MIB + 17, 1 * GIB - BLOCK])
    sent = send(src, serve.url("t"))
    done(sent, "a file of 1 GiB with three pieces of data")
    is_copy(src, target, "the same contents")
    last = sent.last("done")
    ok(last["bytes_sent"] <= 12 * BLOCK, "only the data travelled (%d bytes)" % last["bytes_sent"])
    once(last, os.path.getsize(src) - last["bytes_holes"], "the rest is counted as holes")
    same(last["bytes_skipped"], 0, "and not as resumed")
    same(last["digest"], e2e.digest(src), "the digest is that of the contents")
    ok(used(target) <= used(src) + 16 * BLOCK, "the copy is as sparse (%d, %d bytes)" %
       (used(src), used(target)))


def test_nothing_but_a_hole():
    serve, target = start()
    src = sparse(300 * MIB, [])
    sent = send(src, serve.url("t"))
    done(sent, "a file that is one hole")
    is_copy(src, target, "the same contents")
    same(sent.last("done")["bytes_sent"], 0, "nothing travelled")
    ok(used(target) < MIB, "and takes no space")


def test_full_of_holes():
    serve, target = start()
    src = sparse(64 * MIB, [at * MIB for at in range(0, 64, 2)])
    sent = send(src, serve.url("t"), "--streams", "16")
    done(sent, "data and holes in turn")
    is_copy(src, target, "the same contents")


e2e.main()
