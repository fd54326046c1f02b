#!/usr/bin/python3
"""The file to send: kinds, changes while it is sent and between two runs."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import shutil

import e2e
from e2e import BLOCK, MIB, SOURCE, Proxy, Send, Serve, done, fails, is_copy, make, ok, same, send

SIZE = 24 * MIB + 77


def start():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, "--commit-interval", "200ms"), at


def source(size=SIZE, seed=1, name="source"):
    return make(os.path.join(e2e.dir(), name), size, seed)


def halfway(serve, src, name="t"):
    """A sender that has made 4 MiB durable and has more to do."""
    proxy = Proxy(serve.port, rate=10 * MIB)
    sent = Send(src, serve.url(name, proxy.port))
    e2e.need(sent.until_durable(4 * MIB), "it is under way")
    return sent


def test_kinds():
    serve, at = start()
    here = e2e.dir()
    os.mkfifo(os.path.join(here, "fifo"))
    os.symlink("nowhere", os.path.join(here, "dangling"))
    for what, path, words in (
        ("no such file", os.path.join(here, "missing"), "no such file|not found|exist"),
        ("a dangling link", os.path.join(here, "dangling"), "no such file|not found|exist"),
        ("a FIFO", os.path.join(here, "fifo"), "regular|fifo"),
        ("a device", "/dev/zero", "regular|device"),
        ("the empty name", "", "no such file|empty|exist|usage"),
    ):
        got = send(path, serve.url("x"))
        if what == "the empty name":
            ok(got.rc in (SOURCE, e2e.USAGE), what)
        else:
            fails(got, SOURCE, words, what)
    same(e2e.visible(at), [], "none of them left anything")
    src = source(BLOCK)
    os.symlink("source", os.path.join(here, "link"))
    done(send(os.path.join(here, "link"), serve.url("l")), "a symbolic link to a file is followed")
    is_copy(src, os.path.join(at, "l"), "and its file sent")


def test_unreadable():
    e2e.need_root()
    serve, _ = start()
    src = source(BLOCK)
    os.chmod(src, 0o600)
    os.chmod(e2e.dir(), 0o755)
    fails(send(src, serve.url("x"), nobody=True), SOURCE, "permission", "unreadable")


def change(how, src):
    """Returns the file that the target must equal afterwards."""
    before = os.stat(src)
    if how == "truncated":
        os.truncate(src, SIZE - 3 * MIB)
    elif how == "truncated to nothing":
        os.truncate(src, 0)
    elif how == "grown":
        with open(src, "ab") as f:
            f.write(b"more" * 100000)
    elif how == "rewritten":
        e2e.scribble(src, 0, SIZE)
    elif how == "rewritten with its mtime put back":
        e2e.scribble(src, MIB, 3 * MIB)
        os.utime(src, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "rewritten at its end with its mtime put back":
        e2e.scribble(src, SIZE - MIB, MIB)
        os.utime(src, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "replaced":
        os.rename(make(src + ".new", SIZE + 5, seed=2), src)
    elif how == "replaced with its size and mtime":
        os.rename(make(src + ".new", SIZE, seed=2), src)
        os.utime(src, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = (
    "truncated", "truncated to nothing", "grown", "rewritten", "rewritten with its mtime put back",
    "rewritten at its end with its mtime put back", "replaced", "replaced with its size and mtime",
)


def test_changed_while_sending():
    serve, at = start()
    for i, how in enumerate(CHANGES):
        src = source(name="s%d" % i)
        sent = halfway(serve, src, "t%d" % i)
        change(how, src)
        sent.wait()
        done(sent, how + " while it is sent: starts over")
        ok(sent.last("done").get("restarted") is True, how + " while it is sent: says so")
        is_copy(src, os.path.join(at, "t%d" % i), how + " while it is sent: the new version, whole")


def test_changed_twice():
    serve, at = start()
    src = source()
    sent = halfway(serve, src)
    e2e.scribble(src, 0, MIB, seed=1)
    e2e.wait_until("it starts over", lambda: any(e["restarted"] for e in sent.events()) or sent.rc is not None)
    e2e.scribble(src, 0, MIB, seed=2)
    sent.wait()
    fails(sent, SOURCE, "chang", "changed twice while it is sent")
    same(e2e.visible(at), [], "nothing half-made is to be seen")
    done(send(src, serve.url("t")), "and when it rests, the same command sends it")
    is_copy(src, os.path.join(at, "t"), "as it is now")


def test_removed_while_sending():
    serve, at = start()
    src = source()
    sent = halfway(serve, src)
    os.unlink(src)
    sent.wait()
    fails(sent, SOURCE, "chang|no such file|replaced|gone", "removed while it is sent")
    same(e2e.visible(at), [], "nothing half-made is to be seen")


def test_changed_between_runs():
    serve, at = start()
    for i, how in enumerate(CHANGES):
        src = source(name="s%d" % i)
        sent = halfway(serve, src, "t%d" % i)
        sent.kill()
        change(how, src)
        again = send(src, serve.url("t%d" % i))
        done(again, how + " between two runs: sent")
        is_copy(src, os.path.join(at, "t%d" % i), how + " between two runs: the new version, whole")
        same(again.last("done").get("digest"), e2e.digest(src), how + " between two runs: its digest")


def test_put_back_costs_only_what_differs():
    serve, at = start()
    src = source()
    sent = halfway(serve, src)
    sent.kill()
    before = os.stat(src)
    e2e.scribble(src, 5 * BLOCK + 5, 10)
    os.utime(src, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = send(src, serve.url("t"))
    done(again, "one block rewritten, mtime put back: sent")
    is_copy(src, os.path.join(at, "t"), "the new version, whole")
    last = again.last("done")
    ok(last.get("bytes_sent", SIZE) < SIZE, "not from the beginning")


def test_rewritten_when_all_was_durable():
    """Every block is there, and no FINISH was said; then the source is another one, of the same size
    and mtime."""
    serve, at = start()
    src = source()
    target = os.path.join(at, "t")
    sent = Send(src, serve.url("t"), "--limit-rate", "64M")
    e2e.need(sent.until_durable(1), "it is under way")
    os.mkdir(target)  # the rename fails, when all is durable
    sent.wait()
    fails(sent, e2e.DEST, "director", "something is in the way")
    os.rmdir(target)
    before = os.stat(src)
    e2e.scribble(src, 5 * BLOCK + 5, 10)
    os.utime(src, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = send(src, serve.url("t"))
    done(again, "the same command again")
    is_copy(src, target, "the new version, not the one that was there")
    ok(0 < again.last("done")["bytes_sent"] < SIZE, "only what differs was sent")


def test_elsewhere_with_other_inodes():
    serve, at = start()
    src = source()
    sent = halfway(serve, src)
    sent.kill()
    other = os.path.join(e2e.tmpfs("other", 64 * MIB), "source")
    shutil.copy2(src, other)
    again = send(other, serve.url("t"))
    done(again, "the same file on another mount")
    ok(again.last("done").get("bytes_skipped", 0) >= 4 * MIB, "goes on where it stopped")
    is_copy(src, os.path.join(at, "t"), "the same contents")


e2e.main()
