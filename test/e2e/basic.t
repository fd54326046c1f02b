#!/usr/bin/python3
"""Sending whole files: sizes, what the target looks like after it, addresses."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import stat
import time

import e2e
from e2e import BLOCK, MIB, RANGE, Serve, done, is_copy, make, ok, once, run, same, send


def root():
    os.mkdir(os.path.join(e2e.dir(), "root"))
    return os.path.join(e2e.dir(), "root")


def source(size, seed=1, name="source"):
    return make(os.path.join(e2e.dir(), name), size, seed)


def test_sizes():
    at = root()
    serve = Serve(at)
    sizes = [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 7 * BLOCK + 12345]
    if not e2e.SHORT:
        sizes += [RANGE - 1, RANGE, RANGE + 1]
    for size in sizes:
        src = source(size, seed=size)
        sent = send(src, serve.url("f%d" % size))
        target = os.path.join(at, "f%d" % size)
        done(sent, "%d bytes are sent" % size)
        is_copy(src, target, "%d bytes arrive as they were" % size)
        last = sent.last("done")
        same(last.get("digest"), e2e.digest(src), "%d bytes: the digest is right" % size)
        same((last.get("bytes_total"), last.get("bytes_durable"), last.get("bytes_skipped")),
             (size, size, 0), "%d bytes: the counts are right" % size)
        once(last, size, "%d bytes: sent once" % size)
        same(last.get("zero_copy_bytes", 0) + last.get("fallback_bytes", 0),
             last.get("bytes_sent"), "%d bytes: each by sendfile or by read and send" % size)
    same(e2e.visible(at), sorted(b"f%d" % s for s in sizes), "nothing else is to be seen")
    same(serve.stop(), 0, "the receiver stops when it is told to")


def test_digest_command():
    for size in (0, 1, BLOCK, 3 * BLOCK + 1):
        src = source(size, seed=size)
        said = run("digest", src)
        same((said.rc, said.out().split()[0]), (0, e2e.digest(src)), "digest of %d bytes" % size)
    src = source(5 * MIB)
    said = run("digest", "--block-size", "1M", src)
    ok(e2e.digest(src, MIB).split(":")[1] in said.out(), "digest on another grid")


def test_grids():
    at = root()
    serve = Serve(at)
    for kib in (64, 1024):
        src = source(9 * MIB + 1, seed=kib)
        sent = send(src, serve.url("g"), "--block-size", "%dK" % kib)
        done(sent, "blocks of %d KiB" % kib)
        is_copy(src, os.path.join(at, "g"), "blocks of %d KiB: the same contents" % kib)
        text = e2e.digest(src, kib << 10).split(":")[1]
        ok(sent.last("done").get("digest", "").endswith(text), "blocks of %d KiB: digest" % kib)


def test_mode_and_times():
    at = root()
    serve = Serve(at)
    src = source(BLOCK + 7)
    os.chmod(src, 0o751)
    os.utime(src, ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))
    done(send(src, serve.url("m")), "sent")
    st = os.stat(os.path.join(at, "m"))
    same(oct(stat.S_IMODE(st.st_mode)), oct(0o751), "permission bits are kept")
    same(st.st_mtime_ns, 1_400_000_000_987_654_321, "the time of change is kept, in ns")
    os.chmod(src, 0o6755)
    done(send(src, serve.url("setid")), "a set-uid file is sent")
    same(oct(stat.S_IMODE(os.stat(os.path.join(at, "setid")).st_mode)), oct(0o755),
         "set-uid and set-gid bits are dropped")


def test_replace_and_no_clobber():
    at = root()
    serve = Serve(at)
    target = os.path.join(at, "there")
    make(target, 3 * BLOCK, seed=5)
    before = os.open(target, os.O_RDONLY)
    old = make(os.path.join(e2e.dir(), "old"), 3 * BLOCK, seed=5)
    src = source(2 * BLOCK + 3, seed=6)
    refused = send(src, serve.url("there"), "--no-clobber")
    e2e.fails(refused, e2e.REFUSED, "exists", "--no-clobber on a file that is there")
    is_copy(old, target, "--no-clobber leaves it alone")
    done(send(src, serve.url("there")), "without it the file is replaced")
    is_copy(src, target, "by the new one")
    ok(e2e.equal("/proc/self/fd/%d" % before, old) or os.pread(before, 64, 0) == open(old, "rb").read(64),
       "whoever had the old one open still reads the old one")
    os.close(before)
    done(send(src, serve.url("fresh"), "--no-clobber"), "--no-clobber where nothing is")
    is_copy(src, os.path.join(at, "fresh"), "--no-clobber sends it")


def test_same_file_again():
    at = root()
    serve = Serve(at)
    src = source(20 * BLOCK + 9)
    done(send(src, serve.url("again")), "sent once")
    os.utime(src, ns=(time.time_ns(), os.stat(src).st_mtime_ns))
    second = send(src, serve.url("again"), "--existing", "replace")
    done(second, "sent again")
    once(second.last("done"), 20 * BLOCK + 9, "all of it")
    is_copy(src, os.path.join(at, "again"), "it is still right")


def test_addresses():
    at = root()
    src = source(BLOCK * 3)
    serve = Serve(at, listen="[::1]:0")
    done(send(src, serve.url("six", host="[::1]")), "IPv6")
    is_copy(src, os.path.join(at, "six"), "IPv6: the same contents")
    serve.stop()
    serve = Serve(at, listen="127.0.0.1:0")
    done(send(src, serve.url("name", host="localhost")), "a name: each address is tried in turn")
    is_copy(src, os.path.join(at, "name"), "a name: the same contents")


def test_read_and_send():
    at = root()
    serve = Serve(at)
    src = source(10 * MIB + 1)
    for how, key in (("off", "fallback"), ("on", "zero_copy")):
        # One stream: nothing goes on a second one at the end, so each block is counted once.
        sent = send(src, serve.url(how), "--zero-copy", how, "--streams", "1")
        done(sent, "--zero-copy " + how)
        is_copy(src, os.path.join(at, how), "--zero-copy %s: the same contents" % how)
        last = sent.last("done")
        same(last.get(key + "_bytes"), 10 * MIB + 1, "--zero-copy %s: counted as such" % how)
        same(last.get(key + "_count"), 41, "--zero-copy %s: blocks counted as such" % how)


def test_streams_and_loops():
    at = root()
    serve = Serve(at, "--loops", "3")
    src = source(40 * MIB + 5)
    for streams, loops in ((1, 1), (2, 2), (64, 4)):
        sent = send(src, serve.url("s%d" % streams), "--streams", str(streams), "--loops", str(loops))
        done(sent, "%d streams on %d loops" % (streams, loops))
        is_copy(src, os.path.join(at, "s%d" % streams), "%d streams: the same contents" % streams)


def test_many_senders():
    at = root()
    serve = Serve(at)
    sources = [source(8 * MIB + i, seed=i, name="s%d" % i) for i in range(6)]
    runs = [e2e.Send(s, serve.url("many/%d" % i)) for i, s in enumerate(sources)]
    for i, sent in enumerate(runs):
        sent.wait()
        done(sent, "sender %d of six at once" % i)
        is_copy(sources[i], os.path.join(at, "many/%d" % i), "sender %d: the same contents" % i)


e2e.main()
