#!/usr/bin/python3
"""What becomes of a file that is at the destination already: --existing."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
from e2e import BLOCK, OK, REFUSED, Serve, Shim, done, fails, is_copy, make, ok, run, same, send

SMALL, LARGE = 4096, 5 * BLOCK + 7  # one rides with its offer, the other one takes streams
TIME_NS = 1_600_000_000_123_456_789


def begin():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return at, Serve(at)


def source(size, seed=1, name="source", time_ns=TIME_NS):
    path = make(os.path.join(e2e.dir(), name), size, seed)
    os.utime(path, ns=(time_ns, time_ns))
    return path


def put(path, size, seed, time_ns=TIME_NS):
    make(path, size, seed)
    os.utime(path, ns=(time_ns, time_ns))
    return os.stat(path).st_ino


def kept(sent, name):
    """A success that moved nothing and says so."""
    last = sent.last("done")
    passed = done(sent, name)
    same((last.get("kept"), last.get("digest")), (True, ""), name + ": kept, without a digest")
    ok(last.get("zero_copy_bytes") == 0 and last.get("bytes_sent", BLOCK) <= SMALL,
       name + ": nothing is sent but what rides with the offer")
    return passed


def was_sent(sent, src, target, name):
    done(sent, name)
    last = sent.last("done")
    same((last.get("kept"), last.get("digest")), (False, e2e.digest(src)), name + ": it is sent")
    is_copy(src, target, name + ": it arrives")


def test_different():
    """As it is when nothing is said."""
    at, serve = begin()
    for size in 0, SMALL, LARGE:
        name = "d%d" % size
        target = os.path.join(at, name)
        src = source(size)
        was_sent(send(src, serve.url(name)), src, target, "%d bytes" % size)
        inode = os.stat(target).st_ino
        kept(send(src, serve.url(name)), "%d bytes, the same again" % size)
        same(os.stat(target).st_ino, inode, "%d bytes: it is left alone" % size)
        same(e2e.hidden(at), [], "%d bytes: nothing hidden is left" % size)
        if size == 0:
            continue
        put(target, size, seed=2, time_ns=TIME_NS + 1)
        was_sent(send(src, serve.url(name)), src, target, "%d bytes, a nanosecond later" % size)
        put(target, size - 1, seed=2)
        was_sent(send(src, serve.url(name)), src, target, "%d bytes, another size" % size)
        put(target, size, seed=2, time_ns=TIME_NS // 10**9 * 10**9)
        kept(send(src, serve.url(name)), "%d bytes, where whole seconds are kept" % size)
        put(target, size, seed=2)
        kept(send(src, serve.url(name), "--existing", "different"), "%d bytes, said aloud" % size)
        ok(not e2e.equal(src, target), "%d bytes: contents are not looked at" % size)


def test_replace():
    at, serve = begin()
    for size in SMALL, LARGE:
        target = os.path.join(at, "r%d" % size)
        src = source(size)
        inode = put(target, size, seed=2)
        was_sent(send(src, serve.url("r%d" % size), "--existing", "replace"), src, target,
                 "%d bytes" % size)
        ok(os.stat(target).st_ino != inode, "%d bytes: by a new file" % size)


def test_skip():
    at, serve = begin()
    for size in SMALL, LARGE:
        target = os.path.join(at, "s%d" % size)
        src = source(size)
        was_sent(send(src, serve.url("s%d" % size), "--existing", "skip"), src, target,
                 "%d bytes, where nothing is" % size)
        inode = put(target, 5, seed=2, time_ns=1)
        kept(send(src, serve.url("s%d" % size), "--existing", "skip"), "%d bytes" % size)
        same((os.stat(target).st_ino, os.stat(target).st_size), (inode, 5),
             "%d bytes: what is there is left alone" % size)
    os.symlink("nowhere", os.path.join(at, "link"))
    kept(send(src, serve.url("link"), "--existing", "skip"), "a link")
    same(os.readlink(os.path.join(at, "link")), "nowhere", "which is not followed")
    os.mkdir(os.path.join(at, "dir"))
    fails(send(src, serve.url("dir"), "--existing", "skip"), e2e.DEST, "directory", "a directory")


def test_newer():
    at, serve = begin()
    for size in SMALL, LARGE:
        target = os.path.join(at, "n%d" % size)
        src = source(size)
        put(target, 5, seed=2, time_ns=TIME_NS - 1)
        was_sent(send(src, serve.url("n%d" % size), "--existing", "newer"), src, target,
                 "%d bytes, an older one" % size)
        kept(send(src, serve.url("n%d" % size), "--existing", "newer"), "%d bytes, the same" % size)
        inode = put(target, 5, seed=2, time_ns=TIME_NS + 1)
        kept(send(src, serve.url("n%d" % size), "--existing", "newer"), "%d bytes, a newer" % size)
        same(os.stat(target).st_ino, inode, "%d bytes: it is left alone" % size)


def test_no_clobber_wins():
    at, serve = begin()
    src = source(SMALL)
    put(os.path.join(at, "there"), SMALL, seed=1)
    for existing in "different", "skip", "replace", "newer":
        fails(send(src, serve.url("there"), "--no-clobber", "--existing", existing), REFUSED,
              "exists", "--no-clobber and --existing " + existing)


def test_words():
    at, serve = begin()
    src = source(LARGE)
    done(send(src, serve.url("name")), "sent")
    for args, words in (([], r"kept: lh://\S+/name is there already \(same size and time\)"),
                        (["--existing", "skip"], r"kept: lh://\S+/name is there already$"),
                        (["--existing", "newer"], r"kept: lh://\S+/name is there already \(no older\)")):
        got = run("send", *args, src, serve.url("name"))
        same(got.rc, OK, "%s: a success" % args)
        ok(e2e.re.search(words, got.err(), e2e.re.M) is not None, "%s: says why" % args)
        ok("sending" not in got.err() and "digest" not in got.err(), "%s: and nothing else" % args)
    done(send(src, serve.url("images/")), "sent into a directory")
    got = run("send", src, serve.url("images/"))
    ok(e2e.re.search(r"kept: lh://\S+/images/%s is there already" % e2e.re.escape(os.path.basename(src)), got.err(), e2e.re.M)
       is not None, "a file in a directory is named, not the directory") or e2e.diag(got.err())
    got = run("send", "--quiet", src, serve.url("name"))
    same((got.rc, got.err()), (OK, ""), "--quiet says nothing")
    fails(run("send", "--existing", "keep", src, serve.url("name")), e2e.USAGE,
          "different|skip|replace|newer", "another word")


@e2e.long
def test_begun_before():
    """What was begun goes on, whatever the target is by then; but what is there is not touched
    where the policy says so."""
    at, serve = begin()
    size = 40 * BLOCK
    src = source(size)
    sender = e2e.Send(src, serve.url("name"), "--limit-rate", "16M")
    if not ok(sender.until_durable(), "something is durable"):
        return
    sender.kill()
    target = os.path.join(at, "name")
    inode = put(target, 5, seed=2, time_ns=TIME_NS + 10**9)
    e2e.wait_until("the receiver lets go", lambda: send(
        src, serve.url("name"), "--existing", "skip").rc == OK)
    kept(send(src, serve.url("name"), "--existing", "newer"), "a newer one beside a part")
    same(os.stat(target).st_ino, inode, "it is left alone")
    last = send(src, serve.url("name"))
    was_sent(last, src, target, "a different one")
    ok(last.last("done")["bytes_skipped"] > 0, "from where it had stopped")
    same(e2e.hidden(at), [], "nothing hidden is left")


@e2e.long
def test_made_meanwhile():
    """With skip, what somebody makes while the file is sent stays as well."""
    at, _ = begin()
    shim = Shim()
    shim.set("rename", stall_ms=600000)
    serve = Serve(at, env=shim.env)
    src = source(LARGE)
    sender = e2e.Send(src, serve.url("name"), "--existing", "skip")
    e2e.wait_until("the rename", lambda: shim.hits("rename"))
    inode = put(os.path.join(at, "name"), 5, seed=2)
    serve.kill()
    serve = Serve(at, listen="127.0.0.1:%d" % serve.port)
    sender.wait()
    done(sender, "made before the rename")
    same((sender.last("done").get("kept"), sender.last("done").get("digest")), (True, ""),
         "it was sent for nothing: kept")
    same(os.stat(os.path.join(at, "name")).st_ino, inode, "it is left alone")


e2e.main()
