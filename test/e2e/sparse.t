#!/usr/bin/python3
"""Sparse files: holes are neither sent nor given space, and with --sparse zeros are not either."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

import e2e
from e2e import BLOCK, MIB, Proxy, Send, Serve, done, is_copy, need, ok, once, same, send

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
    ok(last["bytes_sent"] - last["bytes_repeated"] <= 12 * BLOCK, "only the data travelled (%d bytes)" % last["bytes_sent"])
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


# ---- --sparse: zeros of dense files --------------------------------------------------------------


def dense(name, size, zeros):
    """A file that has all of its space, and zeros at [from, to)."""
    path = e2e.make(os.path.join(e2e.dir(), name), size)
    with open(path, "r+b") as f:
        for first, end in zeros:
            f.seek(first)
            f.write(bytes(end - first))
        os.fsync(f.fileno())
    need(used(path) >= size, "the source has no holes")
    return path


SIZE = 60 * MIB + 1000
# The first block, a run that begins and ends within blocks, the last two, of which one is short.
ZEROS = [(0, BLOCK), (10 * MIB + 17, 40 * MIB + 17), (60 * MIB - BLOCK, SIZE)]
BLOCKS_OF_ZEROS = BLOCK + 30 * MIB - BLOCK + BLOCK + 1000


def test_zeros():
    serve, target = start()
    src = dense("source", SIZE, ZEROS)
    sent = send(src, serve.url("t"), "--sparse")
    done(sent, "a dense file with zeros, --sparse")
    is_copy(src, target, "the same contents")
    last = sent.last("done")
    same(last["bytes_holes"], BLOCKS_OF_ZEROS, "blocks that are zeros are counted as holes")
    once(last, SIZE - BLOCKS_OF_ZEROS, "all others travelled")
    same(last["bytes_durable"], SIZE, "all is durable")
    same(last["digest"], e2e.digest(src), "the digest is that of the contents")
    ok(used(target) <= SIZE - BLOCKS_OF_ZEROS + MIB, "the copy is sparse (%d bytes)" % used(target))
    os.unlink(target)
    plain = send(src, serve.url("t"))
    done(plain, "the same without --sparse")
    is_copy(src, target, "the same contents")
    last = plain.last("done")
    same(last["bytes_holes"], 0, "no holes")
    once(last, SIZE, "all of it travelled")
    same(last["digest"], sent.last("done")["digest"], "the digest is the same")
    ok(used(target) >= SIZE, "and it has all of its space")
    done(send(src, serve.url("copy"), "--sparse", "--zero-copy", "off", "--block-size", "64K"),
         "with another grid, and read(2)")
    is_copy(src, os.path.join(serve.root, "copy"), "the same contents")


def test_nothing_but_zeros():
    serve, _ = start()
    for size in (1, 1000, BLOCK, BLOCK + 1, 40 * MIB + 5):
        src = dense("zeros", size, [(0, size)])
        name = "z%d" % size
        sent = send(src, serve.url(name), "--sparse")
        done(sent, "%d zeros" % size)
        last = sent.last("done")
        is_copy(src, os.path.join(serve.root, name), "the same contents")
        same((last["bytes_sent"], last["bytes_holes"]), (0, size), "nothing travelled")
        same(last["digest"], e2e.digest(src), "the digest is that of the contents")
        same(used(os.path.join(serve.root, name)), 0, "they take no space")
    src = dense("small", 1000, [(0, 999)])
    last = send(src, serve.url("small"), "--sparse").last("done")
    same((last["bytes_sent"], last["bytes_holes"]), (1000, 0), "999 zeros and a byte travel")


def test_zeros_and_holes():
    serve, target = start()
    src = sparse(SIZE, [0, 20 * MIB])
    with open(src, "r+b") as f:
        f.seek(30 * MIB)
        f.write(bytes(10 * MIB))
    sent = send(src, serve.url("t"), "--sparse")
    done(sent, "a file with holes and zeros")
    is_copy(src, target, "the same contents")
    last = sent.last("done")
    once(last, 4 * BLOCK, "data travelled")
    same(last["bytes_holes"], SIZE - 4 * BLOCK, "the rest is holes")
    ok(used(target) <= 4 * BLOCK + MIB, "at the receiver too")


def test_zeros_killed():
    serve, target = start()
    src = dense("source", SIZE, ZEROS)
    proxy = Proxy(serve.port, rate=8 * MIB)
    sent = Send(src, serve.url("t", proxy.port), "--sparse")
    need(sent.until_durable(4 * MIB), "a sender under way")
    serve.kill()
    sent.kill()
    serve = Serve(serve.root)
    again = send(src, serve.url("t"), "--sparse")
    done(again, "resumed after kill -9 of both")
    is_copy(src, target, "the same contents")
    last = again.last("done")
    ok(last["bytes_skipped"] >= 4 * MIB, "what was durable is not sent again")
    once(last, SIZE - last["bytes_skipped"] - last["bytes_holes"],
         "skipped, sent and zeros make the whole")
    same(last["digest"], e2e.digest(src), "the digest is that of the contents")
    ok(used(target) <= SIZE - BLOCKS_OF_ZEROS + MIB, "the copy is sparse (%d bytes)" % used(target))


def test_zeros_resumed():
    """Over what an earlier run left, of other contents."""
    serve, target = start()
    src = e2e.make(os.path.join(e2e.dir(), "source"), SIZE)
    was = os.stat(src)
    proxy = Proxy(serve.port, rate=8 * MIB)
    sent = Send(src, serve.url("t", proxy.port))
    need(sent.until_durable(8 * MIB), "a sender under way")
    sent.kill()
    serve.stop()
    with open(src, "r+b") as f:
        f.write(bytes(SIZE))
    os.utime(src, ns=(was.st_atime_ns, was.st_mtime_ns))
    serve = Serve(serve.root)
    again = send(src, serve.url("t"), "--sparse")
    done(again, "the same size and time, but all zeros by now")
    is_copy(src, target, "the same contents")
    same(again.last("done")["bytes_sent"], 0, "nothing travelled")
    ok(used(target) <= MIB, "what was written before is punched (%d bytes)" % used(target))


def test_tree_of_zeros():
    serve, target = start()
    src = os.path.join(e2e.dir(), "tree")
    os.makedirs(os.path.join(src, "d"))
    # Pages and blocks of them, in files of packs and in one that goes by itself.
    files = {"big": (40 * MIB + 5, [(MIB, 31 * MIB)]), "d/part": (3 * MIB, [(MIB, 2 * MIB)]),
             "d/all": (10 * BLOCK + 7, [(0, 10 * BLOCK + 7)]), "d/page": (12288, [(4096, 8192)]),
             "d/one": (1, [(0, 1)]), "data": (100000, [])}
    for name, (size, zeros) in files.items():
        dense("tree/" + name, size, zeros)
    total = sum(size for size, _ in files.values())
    n_zeros = sum(end - first for _, zeros in files.values() for first, end in zeros)
    for args, holes in ((("--sparse",), n_zeros), ((), 0)):
        sent = send(src + "/", serve.url("t"), "--existing", "replace", *args)
        done(sent, "a tree %s" % (args or "without --sparse",))
        for name in files:
            is_copy(os.path.join(src, name), os.path.join(target, name), name)
        last = sent.last("done")
        same(last["bytes_holes"], holes, "zeros counted as holes")
        ok(last["bytes_sent"] <= total - holes + 65536 + last["bytes_repeated"], "and not sent")
        there = sum(used(os.path.join(target, name)) for name in files)
        ok(there <= total - holes + MIB, "%d bytes of space taken" % there)
        ok(holes or there >= total, "no less than there are")


e2e.main()
