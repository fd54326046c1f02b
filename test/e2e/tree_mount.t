#!/usr/bin/python3
"""Other file systems within a tree, at the source and at the destination. All of it in a mount
namespace of this script's own."""
import ctypes
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
from e2e import MIB, done, need_root, ok, same
from treerun import idle, is_same, names, partial, read, send_tree, start, write

CLONE_NEWNS = 0x20000


def mount(*args):
    """Goes with the namespace at the latest."""
    if subprocess.run(["mount", *args], check=False, capture_output=True).returncode:
        raise e2e.Skip("cannot mount here")
    e2e.cleanup(subprocess.run, ["umount", "-l", args[-1]])
    return args[-1]


def tmpfs(at):
    os.makedirs(at, exist_ok=True)
    return mount("-t", "tmpfs", "-o", "size=96M", "tmpfs", at)


def bind(what, at):
    return mount("--bind", what, at)


def begin():
    need_root()
    return start("--commit-interval", "50ms")


def tree_with_mounts(src):
    """A file system of its own, a directory and a file of elsewhere, and a mount in a mount."""
    write(src, {"a": "1", "d/b": "2", "disk": None, "bound": None, "file": "under", "link": "->disk/in"})
    elsewhere = write(os.path.join(e2e.dir(), "elsewhere"), {"x": "x", "sub/y": "y", "one": "over"})
    tmpfs(os.path.join(src, "disk"))
    write(os.path.join(src, "disk"), {"in": "3", "deep/er": "4", "again": None})
    tmpfs(os.path.join(src, "disk/again"))
    write(os.path.join(src, "disk/again"), {"z": "5"})
    e2e.make(os.path.join(src, "disk/big"), 33 * MIB)
    bind(elsewhere, os.path.join(src, "bound"))
    bind(os.path.join(elsewhere, "one"), os.path.join(src, "file"))


def test_sources():
    serve, root, src = begin()
    tree_with_mounts(src)
    at = os.path.join(root, "all")
    done(send_tree(src + "/", serve.url("all")), "all that is mounted within a source")
    is_same(src, at, "is taken")
    same(read(at, "file"), b"over", "a file that is mounted over another is the one to be seen")
    idle(send_tree(src + "/", serve.url("all")), "the same again")
    one = os.path.join(root, "one")
    done(send_tree(src + "/", serve.url("one"), "-x"), "--one-file-system")
    same(names(one), sorted([b"a", b"bound", b"bound/one", b"bound/sub", b"bound/sub/y", b"bound/x", b"d", b"d/b", b"disk",
                             b"file", b"link"]), "another file system is left out, but for its place; a part of the same is none")
    idle(send_tree(src + "/", serve.url("one"), "-x"), "the same again")


def test_source_itself():
    """One file system is that of each source, also where a source is a place where one is mounted."""
    serve, root, src = begin()
    tree_with_mounts(src)
    done(send_tree(os.path.join(src, "disk") + "/", serve.url("t"), "-x"), "a source that is mounted")
    same(names(os.path.join(root, "t")), [b"again", b"big", b"deep", b"deep/er", b"in"], "is sent, what is mounted in it is not")
    done(send_tree([os.path.join(src, "disk"), os.path.join(src, "d")], serve.url("u"), "-x"), "two sources")
    same(names(os.path.join(root, "u")), [b"d", b"d/b", b"disk", b"disk/again", b"disk/big", b"disk/deep", b"disk/deep/er", b"disk/in"],
         "each on its own")


def test_delete():
    """What was not looked at is not judged."""
    serve, root, src = begin()
    tree_with_mounts(src)
    at = os.path.join(root, "t")
    write(at, {"gone": "g", "d/gone": "g", "disk/theirs": "t", "disk/in": "of another run", "bound/gone": "g"})
    done(send_tree(src + "/", serve.url("t"), "-x", "--delete"), "--one-file-system and --delete")
    same([n for n in names(at) if b"gone" in n], [], "what the source does not have goes")
    same((read(at, "disk/theirs"), read(at, "disk/in")), (b"t", b"of another run"), "but where another file system is mounted nothing")
    done(send_tree(src + "/", serve.url("t"), "--delete"), "--delete alone")
    is_same(src, at, "there too")


def test_destination():
    """Other file systems below the destination: written to, synced, cleaned up."""
    serve, root, src = begin()
    files = {"d%d/f%d" % (i % 5, i): b"%d" % i * 100 for i in range(500)}
    write(src, {**files, "d1/link": "->f1", "d2/sub/x": "x", "empty": None})
    e2e.make(os.path.join(src, "d1/big"), 33 * MIB)
    os.link(os.path.join(src, "d1/f1"), os.path.join(src, "d1/hard"))
    at = os.path.join(root, "t")
    elsewhere = write(os.path.join(e2e.dir(), "elsewhere"), {"old": "o"})
    os.makedirs(os.path.join(at, "d3"))
    tmpfs(os.path.join(at, "d1"))
    bind(elsewhere, os.path.join(at, "d3"))
    how = ("--preserve", "mode,times,owner,hardlinks")
    done(send_tree(src + "/", serve.url("t"), *how, "--delete"), "into a tree in which others are mounted")
    is_same(src, at, "the same, and nothing left behind")
    same(os.path.exists(os.path.join(elsewhere, "old")), False, "--delete goes there too")
    ok(os.path.ismount(os.path.join(at, "d1")), "what was mounted is mounted")
    idle(send_tree(src + "/", serve.url("t"), *how), "the same again")
    os.link(os.path.join(src, "d1/f1"), os.path.join(src, "d2/hard"))
    got = send_tree(src + "/", serve.url("t"), *how)
    partial(got, "a hard link from one file system to another")
    same(len(got.paths("failed")), 1, "is refused by name") or e2e.diag(got.paths("failed"))
    ok(serve.alive(), "the receiver lives")


def test_in_the_way():
    """A mounted directory is never removed, nor replaced by a file."""
    serve, root, src = begin()
    at = os.path.join(root, "t")
    write(src, {"a": "1", "b": "2"})
    write(at, {"a": None, "c": None})
    tmpfs(os.path.join(at, "a"))
    tmpfs(os.path.join(at, "c"))
    got = send_tree(src + "/", serve.url("t"))
    partial(got, "a file where something is mounted")
    same(got.paths("failed"), {b"a"}, "is refused by name")
    os.unlink(os.path.join(src, "a"))
    os.mkdir(os.path.join(src, "a"))
    got = send_tree(src + "/", serve.url("t"), "--delete")
    partial(got, "a place that the source does not have")
    same(got.paths("failed"), {b"c"}, "cannot go")
    ok(os.path.ismount(os.path.join(at, "c")) and os.path.ismount(os.path.join(at, "a")), "both are as they were")
    same(read(at, "b"), b"2", "the rest is done")


if os.geteuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=False)
e2e.main()
