#!/usr/bin/python3
"""A receiver that is not root, and what its mode keeps it from: directories that it may not write to are opened up for
its own work, and get their modes back; files of its own get the modes that they should have."""
import os
import shutil
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

import e2e
import treesender
import treewire
from e2e import Serve, done, need, ok, same
from treerun import partial, read, send_tree, write
from treesender import entry as told_of
from treewire import CHANGED, DIR, FILE, KEPT, MADE, NEW, Sender, entry


def begin():
    """A receiver, and where its tree will be."""
    e2e.need_root()
    os.chmod(e2e.dir(), 0o777)
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    os.chmod(at, 0o777)
    return Serve(at, "--holder-timeout", "1h", nobody=True), os.path.join(at, "t")


def make(serve, modes):
    """Directories of these modes, the deepest told first, as a sender leaves them."""
    sender = Sender(serve.port)
    rows = [entry(DIR, path, mode=0o755) for path in reversed(modes) if path]
    same([a for a, _ in sender.files(*rows)], [MADE] * len(rows), "directories")
    need(sender.settled(*range(len(rows))) is not None, "they are made")
    sender.attrs(*[entry(DIR, path, mode=mode) for path, mode in modes.items()])
    need(sender.finish(), "and have their modes")


def modes_of(at, modes):
    return {path: stat.S_IMODE(os.lstat(os.path.join(at, path)).st_mode) for path in modes}


def send(sender, *paths):
    """Files of one byte."""
    first = sender.next
    got = sender.files(*[entry(FILE, p, size=1) for p in paths])
    need(got is not None, "asked")
    same({a for a, _ in got} <= {NEW, CHANGED}, True, "%d files are wanted" % len(paths))
    for at in range(0, len(paths), 50):
        sender.pack(*[(first + i, 0, b"x") for i in range(at, min(at + 50, len(paths)))])
    same(len(sender.settled(*range(first, first + len(paths))) or ()), len(paths), "settled")


def test_not_root():
    """Directories and files that their owner may not write to, received by somebody who must obey."""
    serve, at = begin()
    directories = [told_of("d", DIR, mode=0o555), told_of("", DIR, mode=0o500)]
    t = treesender.Tree(serve)
    same(t.ask(told_of("d", DIR, mode=0o555), told_of("d/f", size=6, mode=0o400),
               told_of("d/zero", mode=0)), [MADE, NEW, NEW], "asked")
    t.pack((1, 0, b"abc"))
    t.pack((1, 3, b"def"), (2, 0, b""))
    ok(t.until_settled(0, 1, 2), "settled")
    t.tell(treewire.ATTRS, directories)
    t.finish()
    modes = [stat.S_IMODE(os.stat(p).st_mode) for p in (at, at + "/d", at + "/d/f", at + "/d/zero")]
    same(modes, [0o500, 0o555, 0o400, 0], "all modes are as they were told")
    t = treesender.Tree(serve)
    same(t.ask(told_of("d", DIR, mode=0o555), told_of("d/f", size=6, mode=0o400), told_of("d/new", size=1),
               told_of("new", size=1)), [KEPT, KEPT, NEW, NEW], "more for the same directories")
    t.pack((2, 0, b"x"), (3, 0, b"y"))
    ok(t.until_settled(2, 3), "settled")
    t.tell(treewire.ATTRS, directories)
    t.finish()
    same([stat.S_IMODE(os.stat(p).st_mode) for p in (at, at + "/d")], [0o500, 0o555], "modes again")
    same([read(at, "d/f"), read(at, "d/new"), read(at, "new")], [b"abcdef", b"x", b"y"], "contents")


def test_not_root_again():
    """A session that is lost when the directories have their modes, and the sender does not know yet that all is
    settled: it tells of the files again, and of no directory."""
    serve, at = begin()
    holder = os.urandom(16)
    modes = {"d/shut/in": 0o311, "d/shut": 0, "d": 0o555, "": 0o500}
    directories = [told_of(path, DIR, mode=mode) for path, mode in modes.items()]

    def now():
        return {path: stat.S_IMODE(os.lstat(os.path.join(at, path)).st_mode) for path in modes}

    def over(t, *indexes):
        while not (t.settled | set(t.failed)).issuperset(indexes):
            need(t.until(treewire.SETTLED, treewire.FAILED) is not None, "the session goes on")
        same((t.failed, t.settled.issuperset(indexes)), ({}, True), "all is settled")

    t = treesender.Tree(serve, flags=0, holder=holder)
    same(t.ask(told_of("d", DIR, mode=0o555), told_of("d/f", size=6), told_of("d/shut", DIR, mode=0),
               told_of("d/shut/in", DIR, mode=0o311), told_of("d/shut/in/g", size=1), told_of("d/shut/h", size=1)),
         [MADE, NEW, MADE, MADE, NEW, NEW], "asked")
    t.pack((1, 0, b"abcdef"), (4, 0, b"g"), (5, 0, b"h"))
    over(t, 0, 1, 2, 3, 4, 5)
    t.tell(treewire.ATTRS, directories)
    e2e.wait_until("the directories get their modes", lambda: now() == modes)
    t.control.socket.close()
    t = treesender.Tree(serve, flags=0, holder=holder)
    for index, path, data in ((1, "d/f", b"ABCDEF"), (4, "d/shut/in/g", b"G"), (5, "d/shut/h", b"H")):
        t.next = index
        same(t.ask(told_of(path, size=len(data))), [CHANGED], path + " is asked for again")
        t.pack((index, 0, data))
    over(t, 1, 4, 5)
    t.next = 6
    t.tell(treewire.ATTRS, directories)
    t.finish()
    same(now(), modes, "the directories have their modes again")
    same([read(at, p) for p in ("d/f", "d/shut/in/g", "d/shut/h")], [b"ABCDEF", b"G", b"H"], "contents")


MODES = {"d/shut/in": 0o311, "d/shut": 0, "d/read": 0o444, "d": 0o555, "": 0o500}
FILES = ("f", "d/f", "d/read/f", "d/shut/f", "d/shut/in/f")


def test_no_list():
    """--delete where a directory may not be read: nothing is removed, and all else is as without it."""
    serve, at = begin()
    src = write(os.path.join(e2e.dir(), "src"), {"a": "1", "d": None, "e/f": "2"})
    os.chmod(os.path.join(src, "e"), 0o750)
    write(at, {"d": None, "extra": "x", "e/extra": "x"})
    os.chmod(os.path.join(at, "d"), 0o700)
    for path in (at, os.path.join(at, "e")):
        shutil.chown(path, "nobody")
    for more in (("-n",), ()):
        sent = send_tree(src + "/", serve.url("t"), "--delete", "--preserve", "mode", *more)
        partial(sent, "a directory that may not be read %s" % (more,))
        ok("nothing is removed: d cannot be read" in sent.err(), "it is named") or sent.show()
        same((read(at, "extra"), read(at, "e/extra")), (b"x", b"x"), "nothing is removed")
    same((read(at, "a"), read(at, "e/f")), (b"1", b"2"), "what is sent is there")
    same(modes_of(at, ("e",)), {"e": 0o750}, "directories have their modes")


def test_given_back():
    """What ATTRS do not come to."""
    serve, at = begin()
    make(serve, MODES)
    same(modes_of(at, MODES), MODES, "as they were told")
    sender = Sender(serve.port)
    send(sender, *FILES)
    ok(sender.finish(), "it ends with no ATTRS")
    same(modes_of(at, MODES), MODES, "the modes are given back")


def test_broken_off():
    serve, at = begin()
    make(serve, MODES)
    holder = os.urandom(16)
    sender = Sender(serve.port, holder=holder)
    send(sender, *FILES)
    sender.control.socket.close()
    sender = Sender(serve.port, holder=holder, keep=treewire.TIMES)
    need(sender.accepted is not None and sender.accepted[0] == e2e.ACCEPT, "the same sender comes again")
    same(modes_of(at, MODES), MODES, "what the session before had opened up is given back")


def test_told():
    """ATTRS say what it is to be, also where that is what it was opened up to."""
    serve, at = begin()
    make(serve, MODES)
    new = {"d/shut/in": 0o711, "d/shut": 0o700, "d/read": 0o744, "d": 0o755, "": 0o700}
    sender = Sender(serve.port)
    send(sender, *FILES)
    sender.attrs(*[entry(DIR, path, mode=mode) for path, mode in new.items()])
    ok(sender.finish(), "with ATTRS")
    same(modes_of(at, MODES), new, "their modes stay")


def test_looked_at():
    serve, at = begin()
    make(serve, MODES)
    sender = Sender(serve.port)
    same(sender.names("") is not None and sender.names("d") is not None, True, "two that may be read")
    same(modes_of(at, ["d"]), {"d": 0o555}, "are read as they are")
    ok(b"in" in sender.names("d/shut"), "one that may not be read is told of, too")
    ok(sender.names("d/read") is not None, "and one that may not be searched")
    same(sender.remove(entry(DIR, "d/shut/in")), {0}, "and so are some removed")
    left = {path: mode for path, mode in MODES.items() if path != "d/shut/in"}
    ok(sender.finish(), "it ends with no ATTRS")
    same(modes_of(at, left), left, "the modes are given back")


def test_many():
    """More of them than are kept open, and in use again and again."""
    serve, at = begin()
    modes = {"d%d" % i: 0o555 for i in range(150)}
    modes[""] = 0o555
    make(serve, modes)
    sender = Sender(serve.port)
    send(sender, *["d%d/f%d" % (i, k) for k in range(3) for i in range(150)])
    same(sorted(set(modes_of(at, modes).values()) - {0o555, 0o755}), [], "no other modes than these")
    ok(sender.finish(), "it ends")
    same(modes_of(at, modes), modes, "the modes are given back")


def test_big():
    """A big file comes by itself, later: its directory stays as it has to be for that."""
    serve, at = begin()
    modes = {"d": 0o555, "": 0o555}
    make(serve, modes)
    sender = Sender(serve.port)
    same([a for a, _ in sender.files(entry(FILE, "d/big", size=40 << 20))], [NEW], "one is wanted")
    send(sender, *["n%d/f" % i for i in range(100)])
    same(modes_of(at, modes), {"d": 0o755, "": 0o755}, "its directory stays opened up")
    sender.attrs(entry(DIR, "d", mode=0o555))
    ok(sender.finish(), "it ends")
    same(modes_of(at, modes), modes, "and is so no more")


# ---- files


SOME_MODES = (0, 0o111, 0o200, 0o400, 0o044, 0o640)
REFUSED = "could not be set"


def fill(src, modes):
    """Files, with all of which a mode is changed in place."""
    os.makedirs(src, exist_ok=True)
    for name, mode in modes.items():
        at = os.path.join(src, name)
        if not os.path.exists(at):
            with open(at, "wb") as f:
                f.truncate(33 << 20 if name.startswith("big") else len(name))
        os.chmod(at, mode)


def again(serve, src, at, name, *args):
    """The modes at the source have changed, and nothing else."""
    sent = send_tree(src + "/", serve.url("t"), *args)
    done(sent, name)
    same(sent.last("done").get("files_sent"), 0, "%s: nothing is sent" % name)
    ok(REFUSED not in sent.err(), "%s: no word of what could not be set" % name) or sent.show()
    names = os.listdir(src)
    same(modes_of(at, names), modes_of(src, names), "%s: the modes are the same" % name)


def test_modes_of_files():
    """From each to each, also from those by which their owner may neither read nor write."""
    serve, at = begin()
    src = os.path.join(e2e.dir(), "src")
    pairs = {"%o-%o" % (a, b): (a, b) for a in SOME_MODES for b in SOME_MODES}
    pairs.update({"big-0": (0, 0o644), "big-644": (0o644, 0)})
    fill(src, {name: a for name, (a, _) in pairs.items()})
    sent = send_tree(src + "/", serve.url("t"))
    done(sent, "files of many modes")
    ok(REFUSED not in sent.err(), "no word of what could not be set") or sent.show()
    same(modes_of(at, pairs), modes_of(src, pairs), "they have their modes")
    again(serve, src, at, "the same again")
    fill(src, {name: b for name, (_, b) in pairs.items()})
    again(serve, src, at, "with other modes")


def test_file_of_others():
    """One that is somebody else's is told of, and stays as it is."""
    serve, at = begin()
    src = os.path.join(e2e.dir(), "src")
    fill(src, {"f": 0o644, "g": 0o600})
    done(send_tree(src + "/", serve.url("t")), "two files")
    os.chown(os.path.join(at, "f"), 0, 0)
    os.chmod(os.path.join(at, "f"), 0)
    os.chmod(os.path.join(src, "g"), 0o640)
    sent = send_tree(src + "/", serve.url("t"))
    done(sent, "one of them is root's now")
    ok("1 owners, modes or extended attributes " + REFUSED in sent.err(), "that is said") or sent.show()
    same(modes_of(at, ["f", "g"]), {"f": 0, "g": 0o640}, "the other has its mode")


def xattrs_of(at, names):
    """Those of users; names with their values, read by root."""
    found = {}
    for name in names:
        path = os.path.join(at, name)
        found[name] = {k: os.getxattr(path, k) for k in os.listxattr(path) if k.startswith("user.")}
    return found


def give_xattrs(src, names):
    for name in names:
        try:
            os.setxattr(os.path.join(src, name), "user.of", name.encode())
        except OSError as e:
            raise e2e.Skip("no extended attributes here") from e


def test_xattrs():
    """Of what may not be written to, new and there already."""
    serve, at = begin()
    src = os.path.join(e2e.dir(), "src")
    modes = {"read": 0o444, "none": 0, "run": 0o111, "big": 0o400, "parts": 0o444, "dir": 0o555}
    os.makedirs(os.path.join(src, "dir"))
    with open(os.path.join(src, "parts"), "wb") as f:
        f.write(b"p" * 700000)
    fill(src, modes)
    done(send_tree(src + "/", serve.url("there")), "some that are there")
    give_xattrs(src, modes)
    for to in ("new", "there"):
        for keep in ("mode,times,xattrs", "times,xattrs"):
            name = "%s, %s" % (to, keep)
            sent = send_tree(src + "/", serve.url(to), "--preserve", keep)
            done(sent, name)
            ok(REFUSED not in sent.err(), "%s: all could be set" % name) or sent.show()
            now = os.path.join(os.path.dirname(at), to)
            same(xattrs_of(now, modes), xattrs_of(src, modes), "%s: they are the same" % name)
            same(modes_of(now, modes), modes_of(src, modes), "%s: so are the modes" % name)


if __name__ == "__main__":
    e2e.main()
