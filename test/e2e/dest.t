#!/usr/bin/python3
"""The place to write: missing, read-only, full, failing; and good again afterwards."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import errno
import subprocess
import time

import e2e
from e2e import DEST, MIB, Proxy, Send, Serve, Shim, done, fails, is_copy, make, ok, run, same, send

SIZE = 12 * MIB + 3


def root(name="root"):
    os.mkdir(os.path.join(e2e.dir(), name))
    return os.path.join(e2e.dir(), name)


def source(size=SIZE, seed=1):
    return make(os.path.join(e2e.dir(), "source"), size, seed)


def test_no_root():
    fails(run("serve", "--root", os.path.join(e2e.dir(), "missing"), "--listen", "127.0.0.1:0"), DEST,
          "no such", "a root that is missing")
    make(os.path.join(e2e.dir(), "file"), 1)
    fails(run("serve", "--root", os.path.join(e2e.dir(), "file"), "--listen", "127.0.0.1:0"), DEST,
          "director", "a root that is a file")


def test_root_goes_away():
    at = root()
    serve = Serve(at)
    os.rmdir(at)
    got = send(source(), serve.url("x"))
    fails(got, DEST, "no such|destination|removed|gone", "a root that was removed")
    ok(serve.alive(), "the receiver lives on")


def test_not_allowed():
    e2e.need_root()
    at = root()
    os.chmod(at, 0o555)
    serve = Serve(at, nobody=True)
    fails(send(source(), serve.url("x")), DEST, "permission|written|read-only", "a root that may not be written")
    os.chmod(at, 0o777)
    os.mkdir(os.path.join(at, "sub"), 0o755)
    fails(send(source(), serve.url("sub/x")), DEST, "permission|written|read-only", "a directory likewise")
    fails(send(source(), serve.url("sub/y/x")), DEST, "permission|written|read-only", "one that cannot be made likewise")
    done(send(source(), serve.url("y")), "and beside it all is well")


def test_read_only_mount():
    at = e2e.tmpfs("ro", 32 * MIB)
    serve = Serve(at)
    subprocess.run(["mount", "-o", "remount,ro", at], check=True)
    src = source()
    fails(send(src, serve.url("x")), DEST, "read-only|written", "a read-only file system")
    subprocess.run(["mount", "-o", "remount,rw", at], check=True)
    done(send(src, serve.url("x")), "writable again: the same command sends it")
    is_copy(src, os.path.join(at, "x"), "as it is")


def test_full_from_the_start():
    at = e2e.tmpfs("small", 8 * MIB)
    serve = Serve(at)
    src = source()
    got = send(src, serve.url("x"))
    fails(got, DEST, "space", "a full file system")
    same(got.last().get("bytes_sent"), 0, "known before a byte is sent")
    subprocess.run(["mount", "-o", "remount,size=%d" % (64 * MIB), at], check=True)
    done(send(src, serve.url("x")), "with space again: the same command sends it")
    is_copy(src, os.path.join(at, "x"), "as it is")


def test_full_in_the_middle():
    at = e2e.tmpfs("small", 64 * MIB)
    shim = Shim()
    shim.set("fallocate64", errno.EOPNOTSUPP)
    serve = Serve(at, "--commit-interval", "200ms", env=shim.env)
    src = source()
    proxy = Proxy(serve.port, rate=4 * MIB)
    first = Send(src, serve.url("x", proxy.port))
    e2e.need(first.until_durable(), "a transfer is under way, nothing preallocated")
    proxy.dam.set()
    filler = os.path.join(at, "filler")
    with open(filler, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(MIB))
        except OSError as error:
            same(error.errno, errno.ENOSPC, "somebody else fills the disk")
    proxy.open_dam()
    first.wait()
    fails(first, DEST, "space", "full in the middle")
    same(e2e.visible(at), [b"filler"], "nothing half-made is to be seen")
    os.unlink(filler)
    again = send(src, serve.url("x"))
    done(again, "with space again: the same command sends it")
    ok(again.last("done").get("bytes_skipped", 0) > 0, "from where it stopped")
    is_copy(src, os.path.join(at, "x"), "as it is")


def test_failing_calls():
    for call, number, words in (
        ("fdatasync", errno.ENOSPC, "space"),
        ("fdatasync", errno.EDQUOT, "quota"),
        ("fdatasync", errno.EIO, "input/output|I/O"),
        ("pwrite64", errno.EDQUOT, "quota"),
        ("pwrite64", errno.EIO, "input/output|I/O"),
        ("fallocate64", errno.ENOSPC, "space"),
        ("fallocate64", errno.EDQUOT, "quota"),
    ):
        what = "%s: %s" % (call, errno.errorcode[number])
        at = root(what.replace(": ", "-"))
        shim = Shim()
        serve = Serve(at, "--commit-interval", "200ms", env=shim.env)
        src = source()
        proxy = Proxy(serve.port, rate=8 * MIB)
        sent = Send(src, serve.url("x", proxy.port))
        if call == "fallocate64":
            sent.wait()
            sent = None
            src = source(seed=2)
            shim.set(call, number)
            sent = Send(src, serve.url("x", proxy.port))
        else:
            e2e.need(sent.until_durable(MIB), what + ": under way")
            shim.set(call, number)
        sent.wait()
        fails(sent, DEST, words, what)
        if call != "fallocate64":
            same(e2e.visible(at), [], what + ": nothing half-made is to be seen")
        ok(shim.hits(call) > 0, what + ": it did happen")
        shim.clear(call)
        done(send(src, serve.url("x")), what + ": over, and the same command goes on")
        is_copy(src, os.path.join(at, "x"), what + ": to the same contents")
        serve.stop()


def test_sync_error_takes_back():
    """A failed fdatasync invalidates what came since the last good one: it is sent again."""
    at = root()
    shim = Shim()
    serve = Serve(at, "--commit-interval", "300ms", env=shim.env)
    src = source(32 * MIB)
    proxy = Proxy(serve.port, rate=10 * MIB)
    sent = Send(src, serve.url("x", proxy.port))
    e2e.need(sent.until_durable(4 * MIB), "under way")
    shim.set("fdatasync", errno.EIO, times=1)
    sent.wait()
    durable = max(e["bytes_durable"] for e in sent.events())
    again = send(src, serve.url("x"))
    done(again, "after one failed fdatasync the transfer ends well")
    if sent.rc != 0:
        same(again.last("done")["bytes_skipped"], durable,
             "exactly what was acknowledged is trusted")
    is_copy(src, os.path.join(at, "x"), "the same contents")


def test_slow_fallocate():
    """Taking space changes a file's times: it must be over before they are set."""
    at = root()
    shim = Shim()
    shim.set("fallocate64", stall_ms=1500)
    serve = Serve(at, env=shim.env)
    src = source()
    os.utime(src, (1600000000, 1600000000))
    done(send(src, serve.url("x")), "a file system that takes space slowly")
    ok(shim.hits("fallocate64") > 0, "it did")
    time.sleep(2)
    same(os.stat(os.path.join(at, "x")).st_mtime, 1600000000, "the source's time stays")


def test_file_systems_without_fallocate():
    at = root()
    shim = Shim()
    shim.set("fallocate64", errno.EOPNOTSUPP)
    serve = Serve(at, env=shim.env)
    src = source()
    done(send(src, serve.url("x")), "a file system without fallocate")
    is_copy(src, os.path.join(at, "x"), "the same contents")


def test_sources_without_sendfile():
    at = root()
    serve = Serve(at)
    shim = Shim()
    shim.set("sendfile64", errno.EINVAL)
    src = source()
    sent = send(src, serve.url("x"), env=shim.env)
    done(sent, "a file system that sendfile cannot read from")
    last = sent.last("done")
    e2e.once(last, SIZE, "all of it")
    same((last["zero_copy_bytes"], last["fallback_bytes"]), (0, last["bytes_sent"]),
         "read and send take over, and are counted")
    is_copy(src, os.path.join(at, "x"), "the same contents")
    sent = send(src, serve.url("y"), "--zero-copy", "on", env=shim.env)
    ok(sent.rc == e2e.SOURCE, "--zero-copy on does not accept that")


def refused_congestion(how, *args, env=None):
    """The one line that is said of it."""
    sent = send(source(), Serve(root(how)).url("x"), *args, env=env)
    done(sent, how)
    lines = [l for l in sent.err().splitlines() if "congestion" in l]
    same(len(lines), 1, "one clear line says so, not one a stream")
    return lines[0] if lines else ""


def test_kernel_without_bbr():
    shim = Shim()
    shim.set("congestion", errno.ENOENT)
    line = refused_congestion("a kernel without BBR", env=shim.env)
    ok("modprobe tcp_bbr" in line and "sysctl -w" not in line, "and what to do about it: %s" % line)
    line = refused_congestion("a misspelt name", "--congestion", "bbbr")
    ok("bbbr" in line and "sysctl net.ipv4.tcp_available_congestion_control" in line,
       "it says which, and how to see what there is: %s" % line)
    ok("modprobe" not in line, "and nothing of BBR's module")


def test_congestion_not_permitted():
    shim = Shim()
    shim.set("congestion", errno.EPERM)
    for name in ("bbr", "cubic"):
        line = refused_congestion("%s is not permitted" % name, "--congestion", name, env=shim.env)
        ok('sysctl -w net.ipv4.tcp_allowed_congestion_control="'
           '$(sysctl -n net.ipv4.tcp_allowed_congestion_control) %s"' % name in line,
           "what permits it keeps what is permitted: %s" % line)
        ok("modprobe" not in line, "its module is there")


e2e.main()
