#!/usr/bin/python3
"""The judge of trees is judged: it calls a copy that rsync made the same, and finds each single
difference that is made on purpose, by its own eyes and where rsync can see it by rsync's."""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import tree
import treecmp
from e2e import MIB, Skip, need, need_root, ok, same


def copied(seed, keep, *flags, **want):
    if not shutil.which("rsync"):
        raise Skip("no rsync here")
    src, dst = (os.path.join(e2e.dir(), name) for name in ("src", "dst"))
    facts = tree.make(src, seed, **want)
    e2e.diag(facts)
    # rsync refuses paths of 4095 bytes; what is raced here is the judge, not rsync.
    subprocess.run(["rsync", "-a", "-S", *flags, src + "/", dst + "/"], check=True)
    found = treecmp.compare(src, dst, keep)
    same(found, [], "a copy made by rsync is one")
    return src, dst, facts


def test_same_seed_same_tree():
    a, b = (os.path.join(e2e.dir(), name) for name in "ab")
    tree.make(a, 7, long_paths=False)
    tree.make(b, 7, long_paths=False)
    same(treecmp.compare(a, b), [], "a seed stands for one tree")
    c = os.path.join(e2e.dir(), "c")
    tree.make(c, 8, long_paths=False)
    ok(len(treecmp.compare(a, c)) > 100, "another seed for another")


def difference(src, dst, keep, what, change, rsync_sees=True):
    """`change` is done to the copy and undone; the judge has to name it, and nothing else."""
    undo = change(dst)
    own = treecmp.compare(src, dst, keep, rsync=False)
    ok(0 < len(own) <= 4, what + ": found") or e2e.diag(own)
    if rsync_sees:
        ok(treecmp.rsync_says(src, dst, keep), what + ": rsync sees it, too")
    undo()


def mtime_of(path):
    return os.stat(path, follow_symlinks=False).st_mtime_ns


def test_each_difference():
    need_root()
    src, dst, _ = copied(11, treecmp.ALL, "-HAXD", "--devices", "--specials", long_paths=False, hardlinks=True,
                         special=True, xattrs=True, acls=True, odd_modes=False)

    def with_parents(call):
        """The change, and nothing but: the directory's time is put back."""
        def change(at):
            times = {d: mtime_of(os.path.join(at, d)) for d in ("", "sub", "sub/inner")}

            def back():
                for d, t in times.items():
                    os.utime(os.path.join(at, d), ns=(t, t))
            undo = call(at)
            back()

            def both():
                undo()
                back()
            return both
        return change

    def moved(name, to):
        def change(at):
            os.rename(os.path.join(at, name), os.path.join(at, to))
            return lambda: os.rename(os.path.join(at, to), os.path.join(at, name))
        return with_parents(change)

    def flipped(at):
        path, when = os.path.join(at, "sub/s10"), mtime_of(os.path.join(at, "sub/s10"))

        def flip():
            with open(path, "r+b") as f:
                f.seek(1234)
                byte = f.read(1)
                f.seek(1234)
                f.write(bytes([byte[0] ^ 1]))
            os.utime(path, ns=(when, when))
        flip()
        return flip

    def shorter(at):
        path = os.path.join(at, "sub/s6")
        when = mtime_of(path)
        with open(path, "rb") as f:
            whole = f.read()
        os.truncate(path, len(whole) - 1)
        os.utime(path, ns=(when, when))

        def undo():
            with open(path, "r+b") as f:
                f.write(whole)
            os.utime(path, ns=(when, when))
        return undo

    def time_off(name, by):
        def change(at):
            path = os.path.join(at, name)
            when = mtime_of(path)
            os.utime(path, ns=(when + by, when + by), follow_symlinks=False)
            return lambda: os.utime(path, ns=(when, when), follow_symlinks=False)
        return change

    def mode(name, bit):
        def change(at):
            path = os.path.join(at, name)
            was = os.stat(path).st_mode & 0o7777
            os.chmod(path, was ^ bit)
            return lambda: os.chmod(path, was)
        return change

    def owner(name):
        def change(at):
            path = os.path.join(at, name)
            st = os.stat(path, follow_symlinks=False)
            os.chown(path, st.st_uid, st.st_gid + 1, follow_symlinks=False)

            def undo():
                os.chown(path, st.st_uid, st.st_gid, follow_symlinks=False)
                if not os.path.islink(path):
                    os.chmod(path, st.st_mode & 0o7777)
            return undo
        return change

    def retargeted(at):
        path = os.path.join(at, "to-dir")
        st = os.stat(path, follow_symlinks=False)

        def point(to):
            os.unlink(path)
            os.symlink(to, path)
            os.chown(path, st.st_uid, st.st_gid, follow_symlinks=False)
            os.utime(path, ns=(st.st_mtime_ns,) * 2, follow_symlinks=False)
        point("Sub")
        return lambda: point("sub")

    def xattr(name, key, value=None):
        def change(at):
            path = os.path.join(at, name)
            was = os.getxattr(path, key) if key in os.listxattr(path) else None
            if value is None:
                os.removexattr(path, key)
            else:
                os.setxattr(path, key, value)
            return lambda: os.setxattr(path, key, was) if was is not None else os.removexattr(path, key)
        return change

    def unlinked(at):
        """One of two names becomes a file of its own."""
        groups = treecmp._names_of(treecmp.scan(at))
        path = os.path.join(os.fsencode(at), sorted(groups)[0])
        os.rename(path, path + b"~")
        subprocess.run(["cp", "-a", path + b"~", path], check=True)

        def undo():
            os.rename(path + b"~", path)
        return undo

    def with_all_times(call):
        def change(at):
            times = {p: e.mtime_ns for p, e in treecmp.scan(at).items() if e.kind == "dir"}

            def back():
                for p, t in times.items():
                    os.utime(os.path.join(os.fsencode(at), p), ns=(t, t))
            undo = call(at)
            hidden = [p for p in treecmp.scan(at) if p.endswith(b"~")]
            os.rename(os.path.join(os.fsencode(at), hidden[0]), os.path.join(e2e.dir(), "aside"))
            back()

            def both():
                os.rename(os.path.join(e2e.dir(), "aside"), os.path.join(os.fsencode(at), hidden[0]))
                undo()
                back()
            return both
        return change

    def removed(name):
        return moved(name, "../aside2")

    def extra(at):
        path = os.path.join(at, "sub/.left-behind")
        with open(path, "wb"):
            pass
        return lambda: os.unlink(path)

    have = treecmp.scan(src)
    with_x = next(os.fsdecode(p) for p, e in have.items() if e.kind == "file" and any(
        n.startswith("user.x") for n in e.xattrs))
    with_acl = next(os.fsdecode(p) for p, e in have.items() if e.kind == "dir" and treecmp.ACLS[1] in e.xattrs)
    name_of = {e.kind: os.fsdecode(p) for p, e in have.items()}
    for what, change, seen in [
        ("a missing file", removed("sub/s5"), True),
        ("a file too many", with_parents(extra), True),
        ("another name", moved("sub/s5", "sub/S5"), True),
        ("one bit of contents", flipped, True),
        ("one byte less", shorter, True),
        ("a file's time by 1 ns", time_off("sub/s5", 1), True),
        ("a file's time by 1 s", time_off("sub/s5", 10**9), True),
        ("a directory's time", time_off("sub", 1), True),
        ("a link's time", time_off("to-dir", 1), True),
        ("a FIFO's time", time_off(name_of["fifo"], 10**9), True),
        ("the root's time", time_off("", 1), True),
        ("a file's mode", mode("sub/s5", 0o001), True),
        ("a set-id bit", mode("sub/s5", 0o4000), True),
        ("a directory's sticky bit", mode("sub", 0o1000), True),
        ("a file's group", owner("sub/s5"), True),
        ("a link's group", owner("to-dir"), True),
        ("a link's target", with_parents(retargeted), True),
        ("an extended attribute's value", xattr(with_x, "user.x0", b"another"), True),
        ("one too many", xattr("sub/s5", "user.more", b""), True),
        ("one less", xattr(with_x, "user.x0"), True),
        ("a default access list less", xattr(with_acl, treecmp.ACLS[1]), True),
        ("a hard link that is a copy", with_all_times(unlinked), True),
    ]:
        difference(src, dst, treecmp.ALL, what, change, seen)
        left = treecmp.compare(src, dst, treecmp.ALL, rsync=False)
        e2e.diag("\n".join(left))
        need(not left, what + ": undone")


def test_holes():
    src, dst, _ = copied(3, treecmp.DEFAULT, long_paths=False, n_files=1)
    path = os.path.join(dst, "sub/all hole")
    st = os.stat(path)
    with open(path, "r+b") as f:
        f.write(bytes(2 * MIB))
    os.utime(path, ns=(st.st_mtime_ns,) * 2)
    found = treecmp.compare(src, dst)
    ok(len(found) == 1 and "sectors" in found[0], "zeroes in place of a hole are found")


def test_what_was_not_to_be_kept():
    src, dst, facts = copied(5, {"times"}, "--no-p", "--no-o", "--no-g", long_paths=False)
    same(treecmp.compare(src, dst, {"times"}), [], "modes and owners do not count unless they are to be kept")
    ok(treecmp.compare(src, dst, {"times", "mode"}), "and count when they are")
    path = facts.files[3]
    os.unlink(os.path.join(os.fsencode(dst), path))
    same([d for d in treecmp.compare(src, dst, {"times"}, leave_out={path}) if "mtime" not in d], [],
         "what is to be left out is not missed")


def test_every_kind_is_made():
    need_root()
    src = os.path.join(e2e.dir(), "src")
    facts = tree.make(src, 21, special=True, hardlinks=True, xattrs=True, acls=True, big=True)
    found = treecmp.scan(src)
    kinds = {e.kind for e in found.values()}
    same(kinds, {"file", "dir", "link", "fifo", "socket", "char", "block"}, "every kind")
    ok(all(name in {os.path.basename(p) for p in found} for name in tree.NAMES), "every name")
    sizes = {e.size for e in found.values() if e.kind == "file"}
    ok(set(tree.SIZES) <= sizes and max(sizes) > tree.BIG, "every size")
    longest = max(len(os.path.join(os.fsencode(src), p)) for p in found)
    ok(4000 < longest < 4096, "a path of %d bytes" % longest)
    ok(any(e.mtime_ns < 0 for e in found.values()) and any(e.mtime_ns > 2**32 * 10**9 for e in found.values()),
       "times before 1970 and beyond 32 bits")
    same(len([p for p in found if found[p].kind == "file"]), len(facts.files) + len(facts.hardlinks),
         "and as many files as it says")


e2e.main()
