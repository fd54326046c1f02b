#!/usr/bin/python3
"""Whole trees: a copy is the same in everything, a rerun costs nothing, what changed goes alone."""
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import tree
import treecmp
from e2e import MIB, SOURCE, done, fails, need_root, ok, same
from treerun import idle, is_same, names, partial, read, send_tree, start, write

SEED = int(os.environ.get("LH_SEED") or random.SystemRandom().randrange(1 << 32))
ROUNDS = int(os.environ.get("LH_ROUNDS") or (1 if e2e.SHORT else 3))
ALL = ["--preserve", "mode,times,owner,xattrs,acl,hardlinks", "--devices"]


def test_seeds():
    e2e.diag("LH_SEED=%d" % SEED)
    serve, root, src = start()
    for n in range(ROUNDS):
        seed, dst = SEED + n, os.path.join(root, "t%d" % n)
        facts = tree.make(src, seed, big=n == 0 and not e2e.SHORT, special=True)
        e2e.diag("seed %d: %s" % (seed, facts))
        sent = send_tree(src + "/", serve.url("t%d" % n))
        done(sent, "seed %d: a tree is sent" % seed)
        is_same(src, dst, "seed %d: and is the same" % seed)
        last = sent.last("done")
        same(last.get("files_sent"), len(facts.files), "seed %d: it says how many files" % seed)
        same(last.get("skipped_special"), len(facts.others), "seed %d: and how many FIFOs were left out" % seed)
        same(last.get("failed"), 0, "seed %d: none failed" % seed)
        idle(send_tree(src + "/", serve.url("t%d" % n)), "seed %d: once more" % seed)
        is_same(src, dst, "seed %d: it is still the same" % seed)
        shutil.rmtree(src)
    same(sorted(os.listdir(root)), ["t%d" % n for n in range(ROUNDS)], "nothing is left beside them")


def test_everything_kept():
    need_root()
    serve, root, src = start()
    for n in range(ROUNDS):
        facts = tree.make(src, SEED + n, special=True, hardlinks=True, xattrs=True, acls=True)
        e2e.diag("seed %d: %s" % (SEED + n, facts))
        dst = "t%d" % n
        done(send_tree(src + "/", serve.url(dst), *ALL), "seed %d: sent" % (SEED + n))
        is_same(src, os.path.join(root, dst), "seed %d: everything is kept" % (SEED + n), treecmp.ALL)
        idle(send_tree(src + "/", serve.url(dst), *ALL), "seed %d: once more" % (SEED + n))
        is_same(src, os.path.join(root, dst), "seed %d: still" % (SEED + n), treecmp.ALL)
        shutil.rmtree(src)


def test_as_nobody():
    """Without privileges owners are those of the receiver, and all else is kept."""
    need_root()
    root, src = os.path.join(e2e.dir(), "root"), os.path.join(e2e.dir(), "src")
    os.mkdir(root)
    shutil.chown(root, "nobody")
    tree.make(src, SEED)
    serve = e2e.Serve(root, nobody=True)
    sent = send_tree(src + "/", serve.url("t"))
    done(sent, "a receiver that may not give files away")
    is_same(src, os.path.join(root, "t"), "modes, times and contents are the same", {"mode", "times"}, rsync=False)


def test_changes():
    serve, root, src = start()
    tree.make(src, SEED, n_files=60, deep=5, long_paths=False)
    dst = os.path.join(root, "t")
    done(send_tree(src + "/", serve.url("t")), "first")
    before = treecmp.scan(dst)
    os.chmod(os.path.join(src, "sub"), 0o755)
    write(src, {"sub/s7": b"other contents", "sub/new": b"new", "sub/newdir/x": b"x", "sub/newempty": None})
    os.utime(os.path.join(src, "sub/s9"), ns=(10**18, 10**18 + 1))
    os.unlink(os.path.join(src, "to-dir"))
    os.symlink("elsewhere", os.path.join(src, "to-dir"))
    os.chmod(os.path.join(src, "sub/s10"), 0o640)
    os.utime(os.path.join(src, "self"), ns=(10**18, 10**18), follow_symlinks=False)
    if os.geteuid() == 0:
        os.chown(os.path.join(src, "loop-a"), 77, 78, follow_symlinks=False)
        os.chown(os.path.join(src, "sub/s10"), 77, 78)
    sent = send_tree(src + "/", serve.url("t"))
    done(sent, "after some changes")
    is_same(src, dst, "the copy follows")
    same(sent.paths("sent"), {b"sub/s7", b"sub/new", b"sub/newdir/x", b"sub/s9"},
         "sent are those that changed, and no others")
    after = treecmp.scan(dst)
    same([p for p in before if before[p].kind == "file" and before[p].inode != after[p].inode],
         [b"sub/s7", b"sub/s9"], "the others are the same files as before")


def test_sources():
    serve, root, src = start()
    write(src, {"a/x": "1", "a/sub/y": "2", "b/x": "3", "b/z": "4", "f": "5", "-dash": "6", "e": None})
    cases = [
        ("a directory comes as itself", ["a"], {"a/x": "1", "a/sub/y": "2"}),
        ("with a slash: what is in it", ["a/"], {"x": "1", "sub/y": "2"}),
        ("with a slash and a dot, too", ["a/."], {"x": "1", "sub/y": "2"}),
        ("two directories", ["a", "b"], {"a/x": "1", "a/sub/y": "2", "b/x": "3", "b/z": "4"}),
        ("a directory and a file", ["a", "f"], {"a/x": "1", "a/sub/y": "2", "f": "5"}),
        ("two files", ["f", "-dash"], {"f": "5", "-dash": "6"}),
        ("an empty directory", ["e"], {"e": None}),
    ]
    for n, (what, sources, want) in enumerate(cases):
        sent = send_tree([os.path.join(src, s) for s in sources], serve.url("c%d/" % n))
        done(sent, what)
        dst = os.path.join(root, "c%d" % n)
        model = write(os.path.join(e2e.dir(), "model%d" % n), want)
        same(names(dst) if os.path.isdir(dst) else None, names(model), what + ": these names")
        ok(all(read(dst, p) == c.encode() for p, c in want.items() if c is not None and
               os.path.exists(os.path.join(dst, p))), what + ": these contents")
    sent = send_tree([os.path.join(src, "a"), os.path.join(src, "nothing"), os.path.join(src, "f")],
                     serve.url("c"))
    partial(sent, "one of several sources is not there")
    same(names(os.path.join(root, "c")), [b"a", b"a/sub", b"a/sub/y", b"a/x", b"f"], "the others go")
    ok("nothing" in sent.err(), "and it is named")
    fails(send_tree(os.path.join(src, "nothing/"), serve.url("d")), SOURCE, "nothing", "no source at all")


def test_same_name_twice():
    """The first one stays, this time and every time: a rerun changes nothing."""
    serve, root, src = start()
    write(src, {"a/x": "1", "a/only-a": "a", "a/d/l": "->one", "a/d/y": "1", "b/x": "two", "b/only-b": "b",
                "b/d/l": "->two", "b/d/z": "3", "b/only-a/within": "4"})
    at = os.path.join(root, "t")
    for what in ("two sources with names in common", "once more", "and once more"):
        sent = send_tree([src + "/a/", src + "/b/"], serve.url("t"))
        partial(sent, what)
        same(sent.paths("failed"), {b"x", b"d/l", b"only-a"}, "what would be replaced is named")
        ok("b/x" in sent.err() and "a/x" in sent.err(), "with both names") or sent.show()
        same(names(at), [b"d", b"d/l", b"d/y", b"d/z", b"only-a", b"only-b", b"x"], "what is in both is there once")
        same([read(at, "x"), os.readlink(at + "/d/l")], [b"1", "one"], "it is the first")
    done(send_tree([src + "/a/x", src + "/a/x", src + "/a/"], serve.url("u")), "the very same file twice")
    for n in (0, 1, 2):
        os.mkdir(os.path.join(src, "big%d" % n))
        e2e.make(os.path.join(src, "big%d" % n, "x"), 33 * MIB, seed=n)
    sent = send_tree([src + "/big%d/" % n for n in (0, 1, 2)], serve.url("v"))
    partial(sent, "three big ones of one name")
    ok(e2e.equal(os.path.join(src, "big0/x"), os.path.join(root, "v/x")), "it is the first")


def test_into_what_is_there():
    serve, root, src = start()
    write(src, {"d/x": "1", "file": "2", "link": "->d", "d2/y": "3"})
    write(os.path.join(root, "t"), {"d": "a file", "file": "old", "link": "a file", "kept/z": "9", "d2": "->kept"})
    sent = send_tree(src + "/", serve.url("t"))
    done(sent, "files where directories and links are to be")
    same(names(os.path.join(root, "t")), [b"d", b"d/x", b"d2", b"d2/y", b"file", b"kept", b"kept/z", b"link"],
         "they are replaced; what the source has not stays")
    same(os.readlink(os.path.join(root, "t", "link")) if os.path.islink(os.path.join(root, "t", "link")) else None,
         "d", "the link, too")
    same(read(root, "t/file"), b"2", "and the file")
    src2 = write(os.path.join(e2e.dir(), "src2"), {"d": "a file now", "x": "1", "more": "2"})
    sent = send_tree(src2 + "/", serve.url("t"))
    partial(sent, "a directory where a file is to be")
    same(sent.paths("failed"), {b"d"}, "is not removed, but named")
    same(read(root, "t/d/x"), b"1", "what is in it stays")
    same(read(root, "t/more"), b"2", "and the rest goes")


def test_long_paths():
    """A path that is longer than the destination's root leaves room for."""
    serve, root, src = start()
    facts = tree.make(src, SEED, n_files=6, deep=1, sparse=False)
    longest = max(facts.files, key=len)
    e2e.diag("%d bytes" % len(longest))
    done(send_tree(src + "/", serve.url("t" * 200)), "paths near 4095 bytes, deeper at the destination")
    is_same(src, os.path.join(root, "t" * 200), "are the same", rsync=False)


def small(process, name):
    """Its memory never was 64 MiB."""
    mib = process.sample() / 1024
    ok(0 < mib < 64, "%s (%.1f MiB)" % (name, mib))


@e2e.long
def test_memory():
    serve, root, src = start()
    tree.many(src, 300, 1000, lambda rng: rng.randrange(2))
    sent = send_tree(src + "/", serve.url("t"), verbose=False, limit=600)
    done(sent, "300 000 files of a byte or none")
    same(sent.last("done").get("files_sent"), 300000, "all of them")
    small(sent, "the sender needs less than 64 MiB")
    small(serve, "the receiver as well")
    is_same(src, os.path.join(root, "t"), "the same")
    again = send_tree(src + "/", serve.url("t"), verbose=False, limit=600)
    idle(again, "once more")
    small(again, "the sender needs less than 64 MiB for that, too")
    small(serve, "and the receiver")


def test_sparse():
    serve, root, src = start()
    os.mkdir(src)
    with open(os.path.join(src, "huge"), "wb") as f:
        f.truncate(20 << 30)
        for at in (0, 7 << 30, (20 << 30) - 5):
            f.seek(at)
            f.write(b"data!")
    sent = send_tree(src + "/", serve.url("t"))
    done(sent, "20 GiB of which three pages are data")
    ok(sent.last("done").get("bytes_sent", 1 << 60) < 4 * MIB, "holes do not travel")
    st = os.stat(os.path.join(root, "t/huge"))
    same(st.st_size, 20 << 30, "its size")
    ok(st.st_blocks * 512 < 4 * MIB, "and it is as sparse")
    for at in (0, 7 << 30, (20 << 30) - 5):
        with open(os.path.join(root, "t/huge"), "rb") as f:
            f.seek(at)
            same(f.read(5), b"data!", "data at %d" % at)


e2e.main()
