#!/usr/bin/python3
"""What is taken, what is kept, what becomes of what is there: --include, --existing, --links, …"""
import os
import random
import shutil
import signal
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import tree
import treecmp
from e2e import USAGE, done, fails, need_root, ok, same, skip
from treerun import TreeSend, is_same, names, partial, read, rsync, send_tree, start, write

SEED = int(os.environ.get("LH_SEED") or random.SystemRandom().randrange(1 << 32))


# ---- filters

FILES = {path: path for path in (
    "a.o", "a.c", "b.o", ".hidden", "dir/a.o", "dir/a.c", "dir/sub/a.o", "dir/sub/b.c", "dir/sub/deep/c.o",
    "other/a.o", "other/sub/x", "build/x", "src/build/y", "src/z", "foo", "dir/foo", "dir/foo.bak",
    "sp ace/x y", "[odd]/x", "st*r/x", "q?/x", "back\\s", "tmp/1", "tmp/2/3", "UPPER", "x1", "x2", "xa")}

RULES = [
    ["--exclude=*.o"],
    ["--exclude=/a.o"],
    ["--exclude=build/"],
    ["--exclude=foo"],
    ["--exclude=/dir/sub"],
    ["--exclude=dir/sub"],
    ["--exclude=sub/a.o"],
    ["--include=a.o", "--exclude=*.o"],
    ["--exclude=*.o", "--include=a.o"],
    ["--include=*/", "--include=*.c", "--exclude=*"],
    ["--include=/dir/", "--include=/dir/sub/", "--include=/dir/sub/**", "--exclude=*"],
    ["--include=/dir/***", "--exclude=/*"],
    ["--exclude=/dir/**"],
    ["--exclude=/dir/*"],
    ["--exclude=**/sub/"],
    ["--exclude=dir/**/c.o"],
    ["--exclude=x[0-9]"],
    ["--exclude=x[!0-9]"],
    ["--exclude=[[:upper:]]*"],
    ["--exclude=?.o"],
    ["--exclude=.*"],
    ["--exclude=st\\*r"],
    ["--exclude=[[]odd]"],
    ["--exclude=q\\?"],
    ["--exclude=sp ace/"],
    ["--exclude=back\\s"],
    ["--exclude=tmp/*", "--include=tmp/2"],
    ["--exclude=foo*"],
    ["--exclude=s**b"],
]


def test_filters():
    """The same rules leave over what rsync leaves over."""
    serve, root, src = start()
    write(src, FILES)
    model = os.path.join(e2e.dir(), "model")
    for n, rules in enumerate(RULES):
        for slash in ("/", ""):
            shutil.rmtree(model, ignore_errors=True)
            os.mkdir(model)
            rsync("-r", *rules, src + slash, model + "/")
            at = "t%d%s" % (n, "s" if slash else "")
            sent = send_tree(src + slash, serve.url(at + "/"), *rules)
            if sent.rc != 0:
                done(sent, " ".join(rules))
                continue
            dst = os.path.join(root, at)
            same(names(dst) if os.path.isdir(dst) else [], names(model), "%s, source with%s a slash" % (
                " ".join(rules), "" if slash else "out"))


def test_exclude_from():
    serve, root, src = start()
    write(src, FILES)
    rules, model = os.path.join(e2e.dir(), "rules"), os.path.join(e2e.dir(), "model")
    with open(rules, "w", encoding="ascii") as f:
        f.write("# a comment\n*.o\n\n; another\n/dir/sub/\n")
    os.mkdir(model)
    rsync("-r", "--exclude-from=" + rules, src + "/", model + "/")
    done(send_tree(src + "/", serve.url("t"), "--exclude-from", rules), "rules from a file")
    same(names(os.path.join(root, "t")), names(model), "leave over what rsync leaves over")
    sent = send_tree(src + "/", serve.url("u"), "--exclude-from", rules + "-not")
    ok(sent.rc in (USAGE, e2e.SOURCE) and "rules-not" in sent.err(), "a file that is not there is named") or \
        sent.show()
    ok(not os.path.exists(os.path.join(root, "u")), "and nothing is sent")


def test_files_from():
    serve, root, src = start()
    write(src, FILES)
    listed = os.path.join(e2e.dir(), "list")
    with open(listed, "wb") as f:
        f.write(b"dir/sub/a.o\n./foo\nother/sub/x\nsp ace/x y\n")
    sent = send_tree(src + "/", serve.url("t"), "--files-from", listed)
    done(sent, "a list of files")
    same(names(os.path.join(root, "t")),
         [b"dir", b"dir/sub", b"dir/sub/a.o", b"foo", b"other", b"other/sub", b"other/sub/x", b"sp ace", b"sp ace/x y"],
         "just these come, and the directories they are in")
    write(src, {b"new\nline": "n"})
    with open(listed, "wb") as f:
        f.write(b"new\nline\0dir/a.c\0")
    sent = send_tree(src + "/", serve.url("u"), "--files-from", listed)
    done(sent, "a list with NULs")
    same(names(os.path.join(root, "u")), [b"dir", b"dir/a.c", b"new\nline"], "takes names with newlines")
    with open(listed, "wb") as f:
        f.write(b"foo\nnot-there\na.c\n")
    sent = send_tree(src + "/", serve.url("v"), "--files-from", listed)
    partial(sent, "a list that names what is not there")
    ok(b"not-there" in sent.paths("failed") or "not-there" in sent.err(), "it is named")
    same(names(os.path.join(root, "v")), [b"a.c", b"foo"], "the others come")
    with open(listed, "wb") as f:
        f.write(b"../src/foo\n/etc/passwd\na.c\n")
    sent = send_tree(src + "/", serve.url("w"), "--files-from", listed)
    ok(sent.rc != 0, "a list with a path that leads out is refused, all or in part") or sent.show()
    have = names(os.path.join(root, "w")) if os.path.isdir(os.path.join(root, "w")) else []
    ok(set(have) <= {b"a.c"}, "and nothing from outside comes") or e2e.diag(have)


def test_files_from_slowly():
    """What a list names is sent while the rest of it is still awaited."""
    serve, root, src = start()
    write(src, {"dir/a": "a", "foo": "f", "new\nline": "n", "last": "l", "c": "c"})
    listed = os.path.join(e2e.dir(), "list")
    os.mkfifo(listed)
    for at, first, there, second, all_of_it in (
            ("t", b"foo\n", b"foo", b"# a comment\n\ndir/a\n", [b"dir", b"dir/a", b"foo", b"last"]),
            ("u", b"new\nline\0", b"new\nline", b"c\0dir/a\0", [b"c", b"dir", b"dir/a", b"last", b"new\nline"])):
        sending = TreeSend(src + "/", serve.url(at), "--files-from", listed)
        with open(listed, "wb", buffering=0) as f:
            f.write(first)
            e2e.wait_until("the first is there", lambda: os.path.exists(os.path.join(os.fsencode(root), os.fsencode(at), there)))
            f.write(second)
            e2e.wait_until("so are others", lambda: os.path.exists(os.path.join(root, at, "dir/a")))
            f.write(b"last")
        sending.wait()
        done(sending, "the list is over")
        same(names(os.path.join(root, at)), all_of_it, "all are there")
    sending = TreeSend(src + "/", serve.url("v"), "--files-from", listed)
    with open(listed, "wb", buffering=0) as f:
        f.write(b"foo\n")
        e2e.wait_until("the first is there", lambda: os.path.exists(os.path.join(root, "v", "foo")))
        f.write(b"c\0dir\nlast\n")
    sending.wait()
    fails(sending, e2e.SOURCE, "must not hold a NUL", "a NUL in a list of lines")
    same(names(os.path.join(root, "v")), [b"foo"], "nothing comes of what came with it")


def test_files_from_twice():
    """A name that a list has twice is sent once, when it is under way and when it is there."""
    serve, root, src = start()
    write(src, {"d/x": "x", "y": "y"})
    e2e.make(os.path.join(src, "big"), 33 * e2e.MIB)
    listed = os.path.join(e2e.dir(), "list")
    with open(listed, "wb") as f:
        f.write(b"big\nd/x\ny\n./big\nd//x\ny\nnothing\nnothing\n")
    for what in ("a list that names all of it twice", "once more"):
        sent = send_tree(src + "/", serve.url("t"), "--files-from", listed, "--existing", "replace")
        partial(sent, what)
        same(sent.err().count("failed: "), 1, what + ": what is not there fails, once")
        same([sent.last("error").get(n) for n in ("files_total", "files_sent")], [3, 3], what + ": each is sent once")
    ok(all(e2e.equal(os.path.join(src, n), os.path.join(root, "t", n)) for n in ("big", "d/x", "y")), "the same")


def test_files_from_nobody():
    """A list that nobody writes on holds up no Ctrl-C, nor does one that nobody writes at all."""
    serve, root, src = start()
    write(src, {"foo": "f", "bar": "b"})
    listed = os.path.join(e2e.dir(), "list")
    os.mkfifo(listed)
    sending = TreeSend(src + "/", serve.url("t"), "--files-from", listed)
    with open(listed, "wb", buffering=0) as f:
        f.write(b"foo\nba")
        e2e.wait_until("the first is there", lambda: os.path.exists(os.path.join(root, "t", "foo")))
        sending.signal(signal.SIGINT)
        sending.wait()
        fails(sending, e2e.INTERRUPTED, "interrupted", "a signal in the middle of a name")
    sending = TreeSend(src + "/", serve.url("t"), "--files-from", listed)
    e2e.wait_until("it has begun", lambda: sending.events("start"))
    sending.signal(signal.SIGINT)
    sending.wait()
    fails(sending, e2e.INTERRUPTED, "interrupted", "a signal before anybody has opened the list")
    same(names(os.path.join(root, "t")), [b"foo"], "what was named is there")


def test_files_from_big():
    """A big file in a list is found below the source, however that was written."""
    serve, root, src = start()
    contents = os.urandom(33 << 20)
    write(src, {"d/big": contents, "small": "s"})
    listed = os.path.join(e2e.dir(), "list")
    with open(listed, "wb") as f:
        f.write(b"d/big\nsmall\n")
    for n, source in enumerate((src, src + "/", src + "/.")):
        at = "t%d" % n
        done(send_tree(source, serve.url(at), "--files-from", listed), "a list of " + os.path.basename(source))
        same(names(os.path.join(root, at)), [b"d", b"d/big", b"small"], "right into PATH")
        same(read(root, at, "d/big") if os.path.exists(os.path.join(root, at, "d/big")) else b"", contents, "whole")


# ---- what is there already


def existing(how, *more):
    """Files at the destination: same, newer, older, of another size, same size and time but not
    contents; what is there after a run."""
    serve, root, src = start()
    at = os.path.join(root, "t")
    t = 1_600_000_000
    for d in (src, at):
        write(d, {n: n + " contents" for n in ("same", "newer", "older", "size", "contents")})
        for n in os.listdir(d):
            os.utime(os.path.join(d, n), (t, t))
    write(src, {"absent": "absent"})
    write(at, {"newer": "NEWER contents", "older": "OLDER contents", "size": "longer contents",
               "contents": "CONTENTS contents"})
    os.utime(os.path.join(at, "newer"), (t + 5, t + 5))
    os.utime(os.path.join(at, "older"), (t - 5, t - 5))
    os.utime(os.path.join(at, "size"), (t, t))
    os.utime(os.path.join(at, "contents"), (t, t))
    sent = send_tree(src + "/", serve.url("t"), *how, *more)
    done(sent, " ".join(how + more) or "by default")
    told = sent.paths("sent")
    got = {os.fsencode(n) for n in os.listdir(at) if read(at, n) == read(src, n) and n != "same"}
    same({p for p in told if p != b"same"}, got, "it says just which were sent")
    return got, sent, at


def test_existing_different():
    for how in ((), ("--existing", "different")):
        got, sent, at = existing(how)
        same(got, {b"absent", b"newer", b"older", b"size"}, "whatever differs in size or time is replaced")
        ok(b"same" not in sent.paths("sent"), "the same is not sent")
        shutil.rmtree(os.path.join(e2e.dir(), "root"))
        shutil.rmtree(os.path.join(e2e.dir(), "src"))


def test_existing_skip():
    got, sent, _ = existing(("--existing", "skip"))
    same(got, {b"absent"}, "only what is not there comes")


def test_existing_replace():
    got, sent, _ = existing(("--existing", "replace"))
    same(got, {b"absent", b"newer", b"older", b"size", b"contents"}, "everything comes")
    ok(b"same" in sent.paths("sent"), "even what is the same")


def test_existing_newer():
    got, _, _ = existing(("--existing", "newer"))
    same(got, {b"absent", b"older"}, "only what is newer than what is there comes")


def test_checksum():
    got, sent, at = existing((), "--checksum")
    same(got, {b"absent", b"newer", b"older", b"size", b"contents"}, "contents decide")
    ok(b"same" not in sent.paths("sent"), "the same is not sent")
    os.utime(os.path.join(at, "same"), (1, 1))
    serve = e2e.Serve(os.path.dirname(at))
    sent = send_tree(os.path.join(e2e.dir(), "src/"), serve.url("t"), "--checksum")
    same(sent.last("done").get("bytes_sent"), 0, "another time alone moves no contents")
    same(os.stat(os.path.join(at, "same")).st_mtime, 1_600_000_000, "but is put right")


def test_one_file():
    """--existing holds for single files, too."""
    serve, root, src = start()
    big = b"contents" * 300000  # the first bytes of a small one travel before the answer can come
    write(src, {"f": big})
    path, at = os.path.join(src, "f"), os.path.join(root, "f")
    done(e2e.send(path, serve.url("f")), "one file")
    inode = os.stat(at).st_ino
    again = e2e.send(path, serve.url("f"))
    done(again, "once more")
    same(again.last("done").get("bytes_sent"), 0, "nothing travels")
    same(os.stat(at).st_ino, inode, "the file is left alone")
    write(src, {"f": "CONTENTS, and more"})
    done(e2e.send(path, serve.url("f"), "--existing", "skip"), "another one, and skip")
    ok(read(at) == big, "what is there stays")
    done(e2e.send(path, serve.url("f")), "and by default")
    same(read(at), b"CONTENTS, and more", "it is replaced")


# ---- links, and what is kept


def test_links():
    serve, root, src = start()
    outside = write(os.path.join(e2e.dir(), "outside"), {"o": "outside", "d/x": "in a directory"})
    write(src, {"f": "f", "to-f": "->f", "dangling": "->nowhere", "out": "->" + outside + "/o",
                "to-dir": "->" + outside + "/d", "self": "->self", "sub/up": "->../f"})
    done(send_tree(src + "/", serve.url("keep")), "by default links are kept")
    is_same(src, os.path.join(root, "keep"), "as they are")
    done(send_tree(src + "/", serve.url("keep2"), "--links", "keep"), "--links keep")
    is_same(src, os.path.join(root, "keep2"), "is that")
    sent = send_tree(src + "/", serve.url("skip"), "--links", "skip")
    done(sent, "--links skip")
    same(names(os.path.join(root, "skip")), [b"f", b"sub"], "leaves them out")
    sent = send_tree(src + "/", serve.url("follow"), "--links", "follow")
    partial(sent, "--links follow, with links that lead nowhere")
    same(sent.paths("failed"), {b"dangling", b"self"}, "which are named")
    at = os.path.join(root, "follow")
    same(names(at), [b"f", b"out", b"sub", b"sub/up", b"to-dir", b"to-dir/x", b"to-f"], "the others are followed")
    ok(not any(os.path.islink(os.path.join(at, n)) for n in os.listdir(at)), "none is a link")
    same((read(at, "out"), read(at, "to-dir/x")), (b"outside", b"in a directory"), "and have the contents")
    shutil.rmtree(src)
    write(src, {"d/x": "x", "d/loop": "->..", "d/dot": "->."})
    sent = send_tree(src + "/", serve.url("loops"), "--links", "follow")
    partial(sent, "--links follow, with links to where they are in")
    ok({b"d/loop", b"d/dot"} <= sent.paths("failed"), "which are named") or e2e.diag(sent.paths("failed"))
    ok(len(names(os.path.join(root, "loops"))) < 20, "and not followed without end")


def test_preserve():
    need_root()
    serve, root, src = start()
    tree.make(src, SEED, n_files=40, deep=3, long_paths=False, special=True, hardlinks=True, xattrs=True, acls=True)
    e2e.diag("LH_SEED=%d" % SEED)
    os.umask(0o022)
    for n, keep in enumerate([("times",), ("mode", "times"), ("times", "owner"), ("times", "xattrs"),
                              ("mode", "times", "owner", "acl"), ("times", "hardlinks"), ("mode",)]):
        sent = send_tree(src + "/", serve.url("t%d" % n), "--preserve", ",".join(keep))
        done(sent, "--preserve " + ",".join(keep))
        at = os.path.join(root, "t%d" % n)
        is_same(src, at, "that is kept", frozenset(keep), rsync=False)
        a, b = treecmp.scan(src), treecmp.scan(at)
        both = [(a[p], b[p]) for p in b if p and p in a and a[p].kind in ("file", "dir")]
        for what, of in (("owner", lambda e: e.owner), ("xattrs", lambda e: any(k.startswith("user.") for k in e.xattrs)),
                         ("hardlinks", lambda e: e.kind == "file" and e.n_links > 1)):
            if what not in keep and all(of(x) == of(y) for x, y in both):
                ok(False, "%s is not kept" % what)
    fails(send_tree(src + "/", serve.url("no"), "--preserve", "mode,nonsense"), USAGE, "nonsense",
          "an unknown word")


def test_one_file_system():
    need_root()
    serve, root, src = start()
    write(src, {"a": "1", "d/b": "2", "mounted": None})
    at = e2e.tmpfs("elsewhere", 1 << 20)
    write(at, {"inside": "3"})
    import subprocess
    if subprocess.run(["mount", "--bind", at, os.path.join(src, "mounted")], check=False).returncode:
        raise e2e.Skip("cannot mount here")
    e2e.cleanup(subprocess.run, ["umount", "-l", os.path.join(src, "mounted")])
    done(send_tree(src + "/", serve.url("one"), "--one-file-system"), "--one-file-system")
    same(names(os.path.join(root, "one")), [b"a", b"d", b"d/b", b"mounted"], "stays on it")
    done(send_tree(src + "/", serve.url("all")), "without")
    same(names(os.path.join(root, "all")), [b"a", b"d", b"d/b", b"mounted", b"mounted/inside"], "all is taken")


def test_dry_run_and_skip():
    """What --existing skip leaves in the way of a directory is in the way of what is in it, too."""
    serve, root, src = start()
    write(src, {"d/x": "1", "d/sub/y": "2", "l/z": "3", "a": "4", "new/b": "5"})
    write(os.path.join(root, "t"), {"d": "a file", "l": "->d"})
    for more in (("-n",), ()):
        sent = send_tree(src + "/", serve.url("t"), "--existing", "skip", *more)
        partial(sent, "--existing skip %s" % " ".join(more))
        same(sent.paths("failed"), {b"d", b"d/x", b"d/sub", b"d/sub/y", b"l", b"l/z"}, "what fails")
        same(sent.paths("sent", "made"), {b"a", b"new", b"new/b"}, "and what does not")


def test_dry_run():
    serve, root, src = start()
    tree.make(src, SEED, n_files=40, deep=5, long_paths=False)
    at = os.path.join(root, "t")
    done(send_tree(src + "/", serve.url("t")), "a copy")
    os.chmod(os.path.join(src, "sub"), 0o755)
    write(src, {"sub/s7": b"other contents", "sub/new": b"new", "sub/newdir/x": b"x"})
    write(at, {"sub/extra": "e", "sub/extradir/y": "y"})
    for args in ((), ("--delete",)):
        before = treecmp.scan(at)
        dry = send_tree(src + "/", serve.url("t"), "--dry-run", *args)
        done(dry, "--dry-run " + " ".join(args))
        after = treecmp.scan(at)
        same([p for p in sorted(before.keys() | after.keys()) if p not in before or p not in after or
              vars(before[p]) != vars(after[p])], [], "changes nothing")
        wet = send_tree(src + "/", serve.url("t"), *args)
        done(wet, "a real run")
        for what in ("sent", "made", "removed", "failed"):
            same(dry.paths(what), wet.paths(what), "the dry run told what is %s" % what)
    shown = e2e.run("send", "--dry-run", src + "/", serve.url("fresh"))
    same(shown.rc, 0, "a dry run to where nothing is")
    ok(not os.path.exists(os.path.join(root, "fresh")), "makes nothing")
    ok("sub/new" in shown.out() + shown.err(), "and prints the names for people")


def test_stop_on_error():
    serve, root, src = start()
    write(src, {"d%d/f" % n: "x" for n in range(5)})
    write(os.path.join(root, "t"), {"d2/f/in-the-way": "y"})
    sent = send_tree(src + "/", serve.url("t"), "--stop-on-error")
    ok(sent.rc not in (0, None), "--stop-on-error ends with the error") or sent.show()
    ok("d2/f" in sent.err(), "and names it")
    if os.geteuid() != 0:
        skip("needs root")


def test_acls_by_default():
    """What a directory at the destination gives by default is not kept where the source has no ACL."""
    serve, root, src = start()
    rng = random.Random(3)
    at = os.path.join(root, "t")
    for path in (src, os.path.join(src, "d"), at, os.path.join(at, "d"), os.path.join(at, "there")):
        os.mkdir(path)
    os.mkdir(os.path.join(src, "new"))
    os.mkdir(os.path.join(src, "there"))
    for path in (at, os.path.join(at, "d"), os.path.join(at, "there")):
        for name in treecmp.ACLS:
            os.setxattr(path, name, tree.acl(rng, True))
    for name, n_bytes in (("a", 100), ("d/b", 300000), ("new/c", 1), ("big", 33 << 20)):
        with open(os.path.join(src, name), "wb") as f:
            f.write(rng.randbytes(n_bytes))
        os.chmod(os.path.join(src, name), 0o640)
    specials = (("fifo", stat.S_IFIFO), ("d/socket", stat.S_IFSOCK))
    for name, kind in specials:
        os.mknod(os.path.join(src, name), kind | 0o640)
    keep = "mode,times,owner,acl"
    same_as = frozenset(keep.split(",") + ["devices"])
    done(send_tree(src + "/", serve.url("t"), "--preserve", keep, "--devices"), "into directories with default ACLs")
    is_same(src, at, "none is kept that the source has not", keep=same_as)
    acl = tree.acl(rng, False)
    for name, _ in specials:
        same(treecmp.ACLS[0] in os.listxattr(os.path.join(at, name)), False, name + " has none")
    for name in ("a", "big", "fifo"):  # with the mode as it is, and the ACL of one from whom we know nothing
        mode = os.stat(os.path.join(at, name)).st_mode
        os.setxattr(os.path.join(at, name), treecmp.ACLS[0], acl)
        os.chmod(os.path.join(at, name), mode & 0o7777)
    done(send_tree(src + "/", serve.url("t"), "--preserve", keep, "--devices"), "again, to files that have one since")
    same(treecmp.ACLS[0] in os.listxattr(os.path.join(at, "fifo")), False, "nor does a FIFO")
    is_same(src, at, "nor is that", keep=same_as)


def test_xattrs_no_more():
    """What the source has no more goes; what is not a user's stays, and all where they are not kept."""
    need_root()
    serve, root, src = start()
    at = os.path.join(root, "t")
    names = ["", "f", "d", "d/g", "big"]
    write(src, {"f": "f", "d/g": "g"})
    with open(os.path.join(src, "big"), "wb") as f:
        f.truncate(33 << 20)
    keep = ("--preserve", "mode,times,owner,xattrs")

    def users():
        return {n: sorted(k for k in os.listxattr(os.path.join(at, n)) if k.startswith("user.")) for n in names}

    try:
        for name in names:
            for key in ("user.one", "user.two"):
                os.setxattr(os.path.join(src, name), key, b"1")
    except OSError as e:
        raise e2e.Skip("no extended attributes here") from e
    done(send_tree(src + "/", serve.url("t"), *keep), "two of each")
    same(users(), {n: ["user.one", "user.two"] for n in names}, "they are there")
    for name in names:
        os.removexattr(os.path.join(src, name), "user.one")
        os.setxattr(os.path.join(at, name), "trusted.here", b"1")
    done(send_tree(src + "/", serve.url("t"), *keep), "one less")
    same(users(), {n: ["user.two"] for n in names}, "it is gone")
    for name in names:
        os.removexattr(os.path.join(src, name), "user.two")
    done(send_tree(src + "/", serve.url("t")), "none, where they are not kept")
    same(users(), {n: ["user.two"] for n in names}, "it stays")
    done(send_tree(src + "/", serve.url("t"), *keep, "--dry-run"), "in a dry run")
    same(users(), {n: ["user.two"] for n in names}, "it stays")
    last = send_tree(src + "/", serve.url("t"), *keep)
    done(last, "none")
    same(last.last("done").get("files_sent"), 0, "nothing is sent for it")
    same(users(), {n: [] for n in names}, "none is left")
    same([n for n in names if "trusted.here" not in os.listxattr(os.path.join(at, n))], [],
         "what is only for root stays")


e2e.main()
