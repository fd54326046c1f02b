#!/usr/bin/python3
"""A tree sent by hand: what a receiver answers, settles, refuses, and what a kill leaves."""
import os
import stat
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

import e2e
import treewire
from e2e import BLOCK, ERROR, Serve, frame, need, ok, same
from treesender import TIME, Tree, entry
from treewire import (ATTRS, CHANGED, DRY_RUN, FAILED, FILES, KEEP_SAME, KEPT, LAST, LIST, MADE, NAMES, NEW, REMOVE,
                      REMOVED, SETTLED, WANTED, text)

# Numbers of proto/WIRE.md.
AGAIN = 11
CHECKSUM = 512
K_FILE, K_DIR, K_SYMLINK, K_FIFO, K_CHAR, K_BLOCK, K_SOCKET, K_HARDLINK, K_THERE = range(1, 10)
ENTRY_FAILED = treewire.IS_FAILED
E_PROTOCOL, E_PATH, E_EXISTS, E_BUSY, E_FENCED, E_DEST_KIND = 1, 4, 5, 6, 7, 11
NONE = 0xFFFFFFFF


def start(*args):
    at = os.path.join(e2e.dir(), "root")
    os.makedirs(at, exist_ok=True)
    if "--holder-timeout" not in args:  # nobody here sends heartbeats
        args = ("--holder-timeout", "1h") + args
    return Serve(at, *args), os.path.join(at, "t")


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def write(data, *path):
    with open(os.path.join(*path), "wb") as f:
        f.write(data)


def nothing_hidden(at, name):
    e2e.wait_until(name, lambda: not e2e.hidden(at))
    ok(True, name)


def test_a_tree():
    serve, at = start()
    t = Tree(serve)
    big = bytes(range(256)) * 1500
    entries = [entry("d", K_DIR, mode=0o750), entry("d/one", size=3, mode=0o600),
               entry("d/empty"), entry("big", size=len(big)),
               entry("d/link", K_SYMLINK, link="../../nowhere"), entry("fifo", K_FIFO),
               entry(b"\xff\n", size=1), entry("d/void", size=9)]
    same(t.ask(*entries), [MADE, NEW, NEW, NEW, MADE, MADE, NEW, NEW], "answers")
    t.pack((1, 0, b"abc"), (2, 0, b""), (3, 0, big[:200000]))
    t.pack((3, 200000, big[200000:]), (6, 0, b"x"), (7, 0, None))
    ok(t.until_settled(0, 1, 2, 3, 4, 5, 6), "all that came is settled")
    ok(7 not in t.settled and not t.failed, "what the sender could not read is not, and not told of")
    same(read(at, "d/one"), b"abc", "a file")
    same(read(at, "d/empty"), b"", "an empty one")
    ok(read(at, "big") == big, "one in two packs")
    same(read(os.fsencode(at), b"\xff\n"), b"x", "one of any name")
    same(os.readlink(at + "/d/link"), "../../nowhere", "a link")
    ok(stat.S_ISFIFO(os.lstat(at + "/fifo").st_mode), "a FIFO")
    st = os.lstat(at + "/d/one")
    same((stat.S_IMODE(st.st_mode), st.st_mtime_ns), (0o600, TIME * 10**9 + 5), "mode and time")
    same(t.ask(entry("hard", K_HARDLINK, link="big")), [MADE], "a hard link")
    ok(t.until_settled(8), "is settled")
    ok(os.path.samefile(at + "/hard", at + "/big"), "and is one")
    t.tell(ATTRS, [entry("d", K_DIR, mode=0o750), entry("", K_DIR, mode=0o711)])
    t.finish()
    same(not t.failed and [(stat.S_IMODE(os.stat(p).st_mode), os.stat(p).st_mtime_ns)
                           for p in (at + "/d", at)],
         [(0o750, TIME * 10**9 + 5), (0o711, TIME * 10**9 + 5)], "directories last")
    nothing_hidden(at, "no staging file is left")

    t = Tree(serve)
    same(t.ask(*entries[:7]), [KEPT] * 7, "the same again is kept")
    t.finish()
    t = Tree(serve, flags=0)
    same(t.ask(entries[1]), [CHANGED], "without a policy it is replaced")
    t.pack((0, 0, b"xyz"))
    ok(t.until_settled(0), "settled")
    same(read(at, "d/one"), b"xyz", "replaced")
    t.finish()
    t = Tree(serve, flags=KEEP_SAME | CHECKSUM)
    same(t.ask(entry("d/one", size=3, mtime=5, contents=b"xyz"),
               entry("big", size=len(big), contents=b"others")), [MADE, CHANGED],
         "by contents: the same gets its time")
    t.control.socket.close()
    ok(serve.alive(), "the receiver lives")


def test_there():
    """A big file that came by itself: the rest of its attributes."""
    serve, at = start()
    os.makedirs(at + "/d")
    for name in ("right", "longer", "later"):
        write(b"x" * (5 + (name == "longer")), at, name)
        os.utime(os.path.join(at, name), ns=(0, (TIME + (name == "later")) * 10**9))
    os.symlink("right", at + "/link")
    t = Tree(serve)
    same(t.ask(*[entry(n, K_THERE, size=5, mtime=TIME, mode=0o751)
                 for n in ("right", "longer", "later", "link", "d", "absent", "no/where")]),
         [KEPT] + [ENTRY_FAILED] * 6, "only what is as it came")
    same({t.failed[i][0] for i in range(1, 7)}, {E_DEST_KIND}, "something else is there")
    same(stat.S_IMODE(os.stat(at + "/right").st_mode), 0o751, "its mode is set")
    same({stat.S_IMODE(os.stat(os.path.join(at, n)).st_mode) for n in ("longer", "later")}, {0o644}, "that of others is not")
    t.finish()


def test_dry_run():
    serve, at = start()
    t = Tree(serve, flags=KEEP_SAME | DRY_RUN)
    same(t.ask(entry("d", K_DIR), entry("d/f", size=5)), [MADE, NEW], "what would be done")
    t.finish()
    ok(not os.path.exists(at), "nothing is")


def test_paths():
    serve, at = start()
    outside = os.path.join(e2e.dir(), "root", "outside")
    os.makedirs(at)
    os.mkdir(outside)
    os.symlink("../outside", at + "/link")
    write(b"", at, "file")
    t = Tree(serve)
    bad = ["../x", "..", "d/../../x", "/etc/x", "link/x", "link/y/z", "file/x", "a//b", "./a",
           ".longhaul-00000000000000000000000000000000.part", "n" * 256]
    same(t.ask(*[entry(p, size=1) for p in bad]), [ENTRY_FAILED] * len(bad), "each fails")
    same({t.failed[i][0] for i in range(4)}, {E_PATH}, "those that lead out: by that name")
    same({t.failed[i][0] for i in range(4, 7)}, {E_DEST_KIND}, "links and files as directories too")
    same(t.ask(entry("h", K_HARDLINK, link="../outside"), entry("h", K_HARDLINK, link="link/x"),
               entry("h", K_HARDLINK, link="nothing"), entry("link/d", K_DIR)), [ENTRY_FAILED] * 4,
         "nor is anything outside linked, or made")
    t.tell(REMOVE, [entry("../outside", K_DIR), entry("link/x"), entry("file")])
    t.until(REMOVED)
    same(t.settled, {t.next - 1}, "nor removed")
    t.tell(ATTRS, [entry("link", K_DIR, mode=0o700, mtime=1), entry("link/x", mode=0o777)])
    t.finish()
    same(os.listdir(outside), [], "outside is nothing")
    ok(stat.S_IMODE(os.stat(outside).st_mode) != 0o700, "and its mode is its own")
    same(sorted(os.listdir(at)), ["link"], "and nothing was made")


def test_bad_packs():
    serve, at = start()
    for what, bad in (
        ("an entry that was never told of", lambda t: t.pack((77, 0, b"x"))),
        ("beyond the end", lambda t: t.pack((1, 8, b"abc"))),
        ("the same part again", lambda t: t.pack((1, 0, b"abc"))),
        ("a part that overlaps", lambda t: t.pack((1, 2, b"abc"))),
        ("a whole file again", lambda t: t.pack((0, 0, b"abc"))),
        ("an offset that overflows", lambda t: t.pack((1, (1 << 63) - 1, b"abc"))),
        ("a part of nothing", lambda t: t.pack((1, 3, b""))),
        ("no parts", lambda t: t.send_pack(struct.pack("<I", 0) + b"x")),
        ("more parts than bytes", lambda t: t.send_pack(struct.pack("<I", 4000) + b"x" * 100)),
        ("too many parts", lambda t: t.send_pack(struct.pack("<I", NONE) + b"x" * 100)),
        ("unknown flags", lambda t: t.send_pack(struct.pack("<IIIQB", 1, 1, 3, 3, 0x80) + b"abc")),
        ("junk", lambda t: t.send_pack(b"\xff" * 3)),
    ):
        t = Tree(serve)
        need(t.ask(entry("a", size=3), entry("b", size=10)) == [NEW, NEW], what + ": asked")
        t.pack((0, 0, b"abc"), (1, 0, b"abc"))
        bad(t)
        t.fails(E_PROTOCOL, what)
        ok(not os.path.exists(at + "/b"), what + ": nothing half-made is there")
        nothing_hidden(at, what + ": nothing is left")
        if os.path.exists(at + "/a"):
            os.unlink(at + "/a")
    for what, bad in (
        ("another epoch", lambda t: t.pack((1, 3, b"abc"), epoch=t.epoch + 1)),
        ("a pack off the window", lambda t: t.pack((1, 3, b"abc"), number=(1 << 45) - 1)),
        ("a pack of zeros", lambda t: t.open_stream().send(e2e.zeros(BLOCK, epoch=t.epoch))),
    ):
        t = Tree(serve)
        need(t.ask(entry("b", size=3), entry("c", size=10)) == [NEW, NEW], what + ": asked")
        bad(t)
        ok(t.stream.closed(), what + ": the stream is closed")
        t.control.socket.close()
    ok(serve.alive(), "the receiver lives")


def test_bad_entries():
    serve, at = start()
    for what, bad in (
        ("an index twice", lambda t: frame(FILES, treewire.entries(0, [entry("x")]), transfer=0)),
        ("an unknown kind", lambda t: frame(FILES, treewire.entries(5, [entry("x", 10)]), transfer=0)),
        ("more than there are",
         lambda t: frame(FILES, struct.pack("<II", 5, 9) + treewire.entries(5, [entry("x")])[8:], transfer=0)),
        ("a path that goes on from nothing",
         lambda t: frame(FILES, struct.pack("<II", 5, 1) + bytes([K_FILE, 0, 0, 3, 1]) + b"x", transfer=0)),
        ("a list outside", lambda t: frame(LIST, struct.pack("<I", 1) + text("../x"), transfer=0)),
        ("junk", lambda t: frame(FILES, b"x", transfer=0)),
    ):
        t = Tree(serve)
        need(t.ask(entry("a", size=3)) == [NEW], what + ": asked")
        t.control.send(bad(t))
        got = t.until(ERROR)
        ok(got is not None, what + ": refused")
        t.control.socket.close()
    t = Tree(serve)
    same(t.ask(entry("a", size=3), entry("a", size=4)), [NEW, ENTRY_FAILED], "a name twice")
    same(t.failed[1][0], E_EXISTS, "by that name")
    t.control.send(frame(12, struct.pack("<QI", 0, 1), transfer=0))
    ok(t.until(ERROR) is not None, "a question that is for files")
    ok(serve.alive(), "the receiver lives")
    same(e2e.visible(at), [], "none of them left anything")


def test_damaged_pack():
    serve, at = start()
    t = Tree(serve)
    t.ask(entry("a", size=3))
    good = t.pack((0, 0, b"abc"), damage=True)
    got = t.until(AGAIN, SETTLED)
    ok(got is not None and got[0] == AGAIN, "a damaged pack is asked for again")
    ok(not os.path.exists(at + "/a"), "and nothing of it is there")
    t.stream.send(good)
    ok(t.until_settled(0), "sent again it is settled")
    same(read(at, "a"), b"abc", "and right")
    t.stream.send(good)
    t.finish()


def test_lists():
    serve, at = start()
    os.makedirs(at + "/d")
    names = [b"name %d \xff" % i for i in range(5000)]
    for n in names:
        write(b"", os.fsencode(at), b"d", n)
    write(b"", at, "d/.longhaul-00000000000000000000000000000000.part")
    t = Tree(serve)

    def names_of(path):
        t.control.send(frame(LIST, struct.pack("<I", 7) + text(path), transfer=0))
        found = []
        while True:
            kind, _, payload, = t.until(NAMES)
            tag, n = struct.unpack_from("<II", payload)
            at_ = 9
            for _ in range(n):
                kind, length = struct.unpack_from("<BH", payload, at_)
                found.append((kind, payload[at_ + 3 : at_ + 3 + length]))
                at_ += 3 + length
            if tag != 7 or n == 0 or len(found) >= 5000 or len(payload) < 60000:
                return found

    same(names_of(""), [(K_DIR, b"d")], "the root")
    same(sorted(n for _, n in names_of("d")), sorted(names), "a directory of many names, not ours")
    same(names_of("not there"), [], "one that is not there")
    t.tell(REMOVE, [entry(b"d/" + n) for n in names[:300]] + [entry("d", K_DIR)])
    t.until(REMOVED)
    same(t.settled, set(range(300)), "files are removed, a directory that is not empty is not")
    same(len(os.listdir(at + "/d")), 4701, "they are gone; what was left half done there stays as the directory does")
    t.tell(REMOVE, [entry(b"d/" + n) for n in names[300:600]])
    for i in range(600, 5000, 400):
        t.tell(REMOVE, [entry(b"d/" + n) for n in names[i : i + 400]])
    t.tell(REMOVE, [entry("d", K_DIR)])
    t.finish()
    same(os.listdir(at), [], "and at last the directory")


def test_holding():
    serve, at = start()
    first = Tree(serve)
    first.ask(entry("a", size=3))
    other = Tree(serve, need_=False)
    same(other.code, E_BUSY, "somebody else waits while the first is there")
    holder = os.urandom(16)
    first.control.socket.close()
    second = Tree(serve, holder=holder)
    same(second.ask(entry("a", size=3), entry("b", size=6)), [NEW, NEW], "and has it then")
    second.pack((0, 0, b"abc"), (1, 0, b"abc"))
    ok(second.until_settled(0), "settled")
    third = Tree(serve, holder=holder)
    same(third.ask(entry("a", size=3), entry("b", size=6)), [KEPT, NEW],
         "the same sender takes over from its dead session")
    ok(second.control.closed(), "which is ended")
    third.pack((1, 0, b"abcdef"))
    ok(third.until_settled(1), "settled")
    same(read(at, "b"), b"abcdef", "right")
    third.finish()
    nothing_hidden(at, "nothing is left of either")


def test_killed():
    serve, at = start("--commit-interval", "1h")
    t = Tree(serve)
    same(t.ask(entry("d", K_DIR), entry("d/settled", size=3), entry("d/whole", size=3),
               entry("d/half", size=6), last=False), [MADE, NEW, NEW, NEW], "asked")
    t.pack((1, 0, b"abc"))
    e2e.wait_until("a staging file", lambda: e2e.hidden(at))
    t.pack((2, 0, b"def"), (3, 0, b"abc"))
    e2e.wait_until("three", lambda: len(e2e.hidden(at)) == 3)
    same(e2e.visible(at), [], "nothing is visible before its commit")
    serve.kill()
    same(len(e2e.hidden(at)), 3, "a kill leaves staging files")
    serve, at = start()
    t = Tree(serve)
    same(t.ask(entry("d", K_DIR), entry("d/settled", size=3), entry("d/whole", size=3),
               entry("d/half", size=6)), [KEPT, NEW, NEW, NEW], "asked again")
    t.pack((1, 0, b"abc"), (2, 0, b"def"), (3, 0, b"ab"))
    t.pack((3, 2, b"cdef"))
    ok(t.until_settled(1, 2, 3), "all is settled")
    same([read(at, "d", n) for n in ("settled", "whole", "half")], [b"abc", b"def", b"abcdef"],
         "and right")
    same(e2e.hidden(at), [], "what was left has been used up")
    serve.kill()
    same([read(at, "d", n) for n in ("settled", "whole", "half")], [b"abc", b"def", b"abcdef"],
         "and stays through a kill")


def test_ahead():
    """A sender that tells of more than there is memory for is not read, until it has sent."""
    serve, at = start()
    t = Tree(serve)
    deep = "/".join(["n" * 250] * 15)
    told = []
    t.control.socket.settimeout(3)
    try:
        while len(told) < 100000:
            told.append(t.next)
            t.tell(FILES, [entry("%s/f%d" % (deep, t.next), size=1)])
    except OSError:
        pass
    ok(len(told) < 20000, "it is held back after %d entries" % len(told))
    t.control.socket.close()
    again = Tree(serve)
    ok(not again.refused, "when it goes, that is noticed all the same")
    again.control.socket.settimeout(e2e.LIMIT)
    same(again.ask(entry("f", size=1)), [NEW], "and somebody else has the tree")
    again.control.socket.close()


def test_ahead_and_sent():
    serve, at = start()
    t = Tree(serve)
    deep = "/".join(["n" * 250] * 15)
    frames, n = [], 0
    for _ in range(400):
        entries = [entry("%s/f%d" % (deep, n + i), size=1) for i in range(16)]
        frames.append(frame(FILES, treewire.entries(n, entries), transfer=0))
        n += 16
    frames.append(frame(FILES, struct.pack("<II", n, 0), flags=LAST, transfer=0))
    teller = threading.Thread(target=t.control.send, args=frames, daemon=True)
    teller.start()
    answered = 0
    while answered < n:
        got = t.until(WANTED)
        if got is None:
            need(False, "the session lives")
        first, count = struct.unpack_from("<II", got[2])
        t.pack(*[(first + i, 0, b"x") for i in range(count)])
        answered += count
    ok(t.until_settled(*range(n)), "all are asked for and settled, in turns")
    teller.join()
    t.finish()


def test_many():
    """More frames than the receiver keeps, before any answer is read."""
    serve, at = start()
    t = Tree(serve)
    n = 0
    for i in range(200):
        entries = [entry("d%d" % i, K_DIR)]
        entries += [entry("d%d/%s-%d" % (i, "n" * 100, k), size=2) for k in range(250)]
        t.tell(FILES, entries)
        n += len(entries)
    t.tell(FILES, [], last=True)
    answered, wanted = 0, []
    while answered < n:
        got = t.until(WANTED)
        if got is None:
            need(False, "the session lives")
        first, count = struct.unpack_from("<II", got[2])
        wanted += [first + i for i in range(count) if got[2][8 + i] == NEW]
        answered += count
    same(len(wanted), 200 * 250, "all are answered")
    for i in range(0, len(wanted), 2000):
        t.pack(*[(w, 0, b"ab") for w in wanted[i : i + 2000]])
    ok(t.until_settled(*range(n)), "and settled")
    t.finish()
    same(len(e2e.visible(at)), 200 * 250, "all are there")


if __name__ == "__main__":
    e2e.main()
