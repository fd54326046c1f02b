#!/usr/bin/python3
"""A sender of trees that behaves badly, by hand: nothing it says leads out of the root, and nothing
it sends makes the receiver fall."""
import os
import socket
import stat
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import treerun
import treewire
from e2e import need, ok, same
from treerun import names, read, send_tree, start, write
from treewire import (CHAR, CHANGED, DIR, DRY_RUN, FIFO, FILE, HARDLINK, IS_FAILED, KEPT, LINK, MADE, NEW, SOCKET, Sender,
                      entry)


def begin(**how):
    serve, root, src = start("--commit-interval", "50ms")
    outside = write(os.path.join(e2e.dir(), "outside"), {"precious": "p", "d/precious": "q"})
    return serve, root, outside


def unharmed(serve, outside, name):
    same(names(outside), [b"d", b"d/precious", b"precious"], name + ": outside is as it was")
    ok(serve.alive(), name + ": the receiver lives")


def test_an_honest_one():
    """That the rest of this script means something."""
    serve, root, outside = begin()
    peer = Sender(serve.port)
    need(peer.accepted and peer.accepted[0] == e2e.ACCEPT, "a tree is accepted")
    same([a for a, _ in peer.files(entry(DIR, "d", mode=0o755), entry(FILE, "d/f", 10), entry(FILE, "e", 0),
                                   entry(LINK, "l", link="d/f"), entry(FILE, "two", 6))],
         [MADE, NEW, NEW, MADE, NEW], "what becomes of its entries")
    peer.pack((1, 0, b"0123456789"), (2, 0, b""), (4, 3, b"def"))
    peer.pack((4, 0, b"abc"))
    ok({1, 2, 4} <= (peer.settled(1, 2, 4) or set()), "files are settled")
    at = os.path.join(root, "t")
    same((read(at, "d/f"), read(at, "e"), read(at, "two")), (b"0123456789", b"", b"abcdef"), "with their contents")
    same(os.readlink(os.path.join(at, "l")), "d/f", "and the link")
    ok(peer.names("d") not in (None, b""), "names are listed")
    same(peer.remove(entry(FILE, "d/f"), entry(DIR, "d")), {0, 1}, "and removed")
    same(names(at), [b"e", b"l", b"two"], "just those")


BAD_PATHS = ["..", "../x", "d/../../x", "/x", "/etc/x", "d//x", "./x", "d/./x", "d/", ".", "d/..", "x" * 256,
             "d/" + "y" * 300, ".longhaul-" + "0" * 32 + ".part", "d/.longhaul-" + "0" * 32 + ".journal"]


def test_bad_paths():
    for kind in (FILE, DIR, LINK, HARDLINK, FIFO):
        serve, root, outside = begin()
        write(root, {"t/d/f": "f"})
        for path in BAD_PATHS:
            peer = Sender(serve.port, "t")
            need(peer.accepted and peer.accepted[0] == e2e.ACCEPT, "accepted")
            link = {LINK: "anything", HARDLINK: "d/f"}.get(kind, "")
            answers = peer.files(entry(kind, path, 0, link))
            if not ok(answers is None or answers[0][0] == IS_FAILED, "kind %d, path %r is refused" % (kind, path[:40])):
                e2e.diag(answers)
            peer.control.socket.close()
            peer.stream.socket.close()
        unharmed(serve, outside, "kind %d" % kind)
        same(names(os.path.join(root, "t")), [b"d", b"d/f"], "and nothing new is in the tree")
        serve.stop()
        import shutil
        shutil.rmtree(root)
        shutil.rmtree(outside)


def test_through_a_link():
    """A link that the sender itself made is data: it leads nowhere."""
    serve, root, outside = begin()
    peer = Sender(serve.port)
    answers = peer.files(entry(LINK, "out", link=outside), entry(LINK, "up", link="../../outside"))
    same([a for a, _ in answers], [MADE, MADE], "links that lead out are made, as data")
    answers = peer.files(entry(FILE, "out/x", 1), entry(FILE, "up/d/x", 1), entry(DIR, "out/new", mode=0o755),
                         entry(LINK, "up/l", link="x"), entry(HARDLINK, "stolen", link="out/precious"),
                         entry(HARDLINK, "stolen2", link="../outside/precious"), entry(FIFO, "out/fifo"))
    e2e.diag(answers)
    ok(answers is not None, "the session goes on")
    wanted = [i + 2 for i, (a, _) in enumerate(answers or []) if a in (NEW, CHANGED)]
    for i in wanted:
        peer.pack((i, 0, b"!"))
    if wanted:
        peer.settled(*wanted)
    unharmed(serve, outside, "files through links")
    at = os.path.join(root, "t")
    for stolen in ("stolen", "stolen2"):
        ok(not os.path.exists(os.path.join(at, stolen)), "%s: no other name of what is outside" % stolen)
    peer.names("out")
    peer.names("..")
    peer2 = Sender(serve.port, "u")
    gone = peer2.remove(entry(FILE, "../t/out"), entry(FILE, "../../outside/precious"))
    same(gone or set(), set(), "nothing is removed outside")
    os.symlink(outside, os.path.join(root, "u", "out"))
    peer3 = Sender(serve.port, "u/.")
    if peer3.accepted and peer3.accepted[0] == e2e.ACCEPT:
        same(peer3.remove(entry(FILE, "out/precious"), entry(DIR, "out/d")) or set(), set(), "nor through a link")
        ok(b"precious" not in (peer3.names("out") or b""), "nor listed")
    unharmed(serve, outside, "removing through links")


def test_duplicates():
    serve, root, outside = begin()
    peer = Sender(serve.port)
    answers = peer.files(entry(FILE, "same", 3), entry(FILE, "same", 4))
    e2e.diag(answers)
    peer.pack((0, 0, b"one"), (1, 0, b"four"))
    done = peer.settled(0, 1)
    ok(done is None or len(done) <= 1, "of two entries with one name at most one is settled") or e2e.diag(done)
    have = read(root, "t/same") if os.path.exists(os.path.join(root, "t/same")) else None
    ok(have in (None, b"one", b"four"), "and whole")
    ok(serve.alive(), "the receiver lives")


def packs_that_end_it(name, *parts, rows=(("f", 10),)):
    serve, root, outside = begin()
    peer = Sender(serve.port)
    peer.files(*[entry(FILE, path, size) for path, size in rows])
    peer.pack(*parts)
    # What may still become right is waited for, until the sender has been silent for too long.
    got = peer.control.read_until(treewire.SETTLED, e2e.ERROR)
    ok(got is None or got[0] == e2e.ERROR, name + ": is not settled") or e2e.diag(got)
    ok(serve.alive(), name + ": the receiver lives")
    ok(not os.path.exists(os.path.join(root, "t/f")), name + ": nothing is under its name")
    src = write(os.path.join(e2e.dir(), "src"), {"f": "0123456789"})
    peer.control.socket.close()
    peer.stream.socket.close()
    e2e.done(send_tree(src + "/", serve.url("t")), name + ": an honest sender gets through afterwards")
    serve.stop()
    import shutil
    for at in (root, src, outside):
        shutil.rmtree(at)


def test_bad_packs():
    packs_that_end_it("beyond the end of the file", (0, 5, b"0123456789"))
    packs_that_end_it("parts that overlap", (0, 0, b"01234567"), (0, 4, b"456789"))
    packs_that_end_it("far beyond", (0, 1 << 62, b"01"))
    packs_that_end_it("an entry never told of", (77, 0, b"0123456789"))
    packs_that_end_it("a part too short for the file", (0, 0, b"01234"))
    packs_that_end_it("an empty part", (0, 0, b""))
    packs_that_end_it("a part of nothing", (0, 0, b""), (0, 0, b""))


def test_huge_sizes():
    """Sizes that no disk has cost nothing until contents come."""
    serve, root, outside = begin()
    peer = Sender(serve.port)
    answers = peer.files(*[entry(FILE, "h%d" % i, (1 << 63) - 1) for i in range(50)])
    ok(answers is not None, "files of 8 EiB are told of")
    ok(serve.alive(), "the receiver lives")
    peer.control.socket.close()
    other = Sender(serve.port, "u")
    need(other.accepted and other.accepted[0] == e2e.ACCEPT, "and takes others")


def test_many_entries():
    """More entries than may be open: its memory stays small, whatever becomes of that sender."""
    serve, root, outside = begin()
    peer = Sender(serve.port)
    peer.control.socket.settimeout(10)
    first = 0
    try:
        for _ in range(1000):
            rows = [entry(FILE, "n%d" % (first + i), 1) for i in range(500)]
            peer.control.socket.sendall(e2e.frame(treewire.FILES, treewire.entries(first, rows), transfer=0,
                                                  epoch=peer.epoch))
            first += len(rows)
        ended = "all is taken"
    except socket.timeout:
        ended = "no more is read"
    except OSError:
        ended = "the session ends"
    ok(ended != "all is taken", "half a million open entries are not taken: " + ended)
    # A sanitizer's own memory comes on top.
    ok(0 < serve.sample() < (512 if e2e.SHORT else 64) * 1024, "the receiver's memory stays below 64 MiB (%.1f)" % (serve.peak_kib / 1024))
    peer.control.socket.close()
    other = Sender(serve.port, "u")
    need(other.accepted and other.accepted[0] == e2e.ACCEPT, "it lives, and takes others")


def test_many_trees():
    """Each tree takes memory at the receiver: a session has only so many."""
    serve, root, outside = begin()
    peer = Sender(serve.port, "t0")
    need(peer.accepted and peer.accepted[0] == e2e.ACCEPT, "the first is accepted")
    for i in range(1, 4):
        peer.control.send(treewire.offer("t%d" % i, transfer=i))
        got = peer.control.read_until(e2e.ACCEPT, e2e.ERROR)
        ok(got and got[0] == e2e.ACCEPT, "number %d is" % i)
    peer.control.send(treewire.offer("t4", transfer=4))
    got = peer.control.read_until(e2e.ACCEPT, e2e.ERROR)
    ok(got and got[0] == e2e.ERROR and b"too many trees" in got[2], "the fifth is refused, in words")
    unharmed(serve, outside, "many trees")


def test_damaged_frames():
    """Payloads cut at every length, and with bytes changed: never a crash."""
    serve, root, outside = begin()
    good = treewire.entries(0, [entry(DIR, "d", mode=0o755), entry(FILE, "d/f", 10)])
    for cut in list(range(0, len(good), 7)) + [len(good) - 1]:
        peer = Sender(serve.port)
        need(peer.accepted and peer.accepted[0] == e2e.ACCEPT, "accepted")
        peer.control.send(e2e.frame(treewire.FILES, good[:cut], transfer=0, epoch=peer.epoch))
        peer.control.read_until(e2e.ERROR)
        peer.control.socket.close()
        peer.stream.socket.close()
    ok(serve.alive(), "FILES cut anywhere: the receiver lives")
    for kind in (treewire.ATTRS, treewire.LIST, treewire.REMOVE, treewire.WANTED, treewire.SETTLED, treewire.NAMES,
                 treewire.FAILED, treewire.REMOVED, 6, 12, 14):
        for payload in (b"", b"\0" * 3, b"\xff" * 40, good):
            peer = Sender(serve.port)
            peer.control.send(e2e.frame(kind, payload, transfer=0, epoch=peer.epoch))
            peer.control.socket.close()
            peer.stream.socket.close()
    ok(serve.alive(), "frames that are not due, empty or nonsense: it lives")
    unharmed(serve, outside, "afterwards")


def test_dry_run():
    serve, root, outside = begin()
    write(root, {"t/old": "old"})
    peer = Sender(serve.port, flags=treewire.KEEP_SAME | DRY_RUN)
    answers = peer.files(entry(FILE, "old", 9), entry(FILE, "new", 1), entry(DIR, "d", mode=0o755))
    same([a for a, _ in answers], [CHANGED, NEW, MADE], "a dry run is told what would be")
    peer.pack((0, 0, b"123456789"), (1, 0, b"x"))
    peer.remove(entry(FILE, "old"))
    same((names(os.path.join(root, "t")), read(root, "t/old")), ([b"old"], b"old"),
         "and nothing is done, whatever the sender sends")


def test_memory():
    """What all trees together may take, taken by senders that never end."""
    serve, root, src = treerun.start("--tree-memory", "24M", "--commit-interval", "100ms", "--holder-timeout", "1h")
    held = []
    for i in range(32):
        peer = Sender(serve.port, path="held%d" % i)
        if peer.accepted is None or peer.accepted[0] == e2e.ERROR:
            break
        held.append(peer)
    ok(3 <= len(held) <= 8, "%d trees at once, and no more" % len(held))
    code, _, n = struct.unpack_from("<HIH", peer.accepted[2])
    ok(code == 6 and b"--tree-memory" in peer.accepted[2][8:8 + n], "the next is refused in words") or e2e.diag(peer.accepted)
    treerun.write(src, {"many/%05d-%s" % (i, "n" * 150): "" for i in range(6000)})
    sent = treerun.send_tree(src + "/", serve.url("t"), verbose=False)
    e2e.fails(sent, e2e.REFUSED, "--tree-memory", "a tree that finds no place")
    held.pop().control.socket.close()
    for k, peer in enumerate(held):  # the others fill what is left with files that never come
        rows = [entry(FILE, "x%d-%d-" % (k, i) + "x" * 200, 5) for i in range(200)]
        for _ in range(20):
            peer.control.send(e2e.frame(treewire.FILES, treewire.entries(peer.next, rows),
                                        transfer=0, epoch=peer.epoch))
            peer.next += len(rows)
    e2e.wait_until("the place is free", lambda: treerun.send_tree(src + "/", serve.url("dry"), "-n", verbose=False).rc == 0)
    sent = treerun.send_tree(src + "/", serve.url("t"), verbose=False)
    e2e.done(sent, "a tree that finds one, and little more")
    treerun.is_same(src, os.path.join(root, "t"), "the same")
    serve.sample()
    ok(serve.peak_kib < 200 * 1024, "the receiver needs no more than %d MiB" % (serve.peak_kib // 1024))


def test_memory_when_it_comes_back():
    """A tree whose session is lost, and whose place others have taken meanwhile."""
    serve, root, src = treerun.start("--tree-memory", "24M", "--commit-interval", "100ms", "--holder-timeout", "1h")
    treerun.write(src, {"f%d" % i: os.urandom(100000) for i in range(100)})
    proxy = e2e.Proxy(serve.port, rate=2 * e2e.MIB)
    sent = treerun.TreeSend(src + "/", serve.url("t", proxy.port), verbose=False)
    e2e.wait_until("under way", lambda: os.path.isdir(os.path.join(root, "t")) and e2e.visible(os.path.join(root, "t"))
                   or not sent.alive())
    ok(sent.alive(), "under way")
    proxy.cut()
    held = []

    def is_full():
        held.append(Sender(serve.port, path="held%d" % len(held)))
        return held[-1].accepted is None or held[-1].accepted[0] == e2e.ERROR

    e2e.wait_until("others have all places", is_full)
    proxy.mend()
    e2e.wait_until("it is told", lambda: "busy" in sent.err() or not sent.alive())
    ok(sent.alive(), "a tree that was taken before waits for a place") or sent.show()
    for peer in held:
        peer.control.socket.close()
    sent.wait()
    e2e.done(sent, "and goes on when there is one")
    treerun.is_same(src, os.path.join(root, "t"), "the same")


def test_devices():
    """Kinds that can do harm are made as asked, and only as asked."""
    serve, root, outside = begin()
    peer = Sender(serve.port, keep=treewire.MODE)
    answers = peer.files(entry(FIFO, "fifo"), entry(SOCKET, "socket"), entry(CHAR, "null", os.makedev(1, 3)))
    e2e.diag(answers)
    ok(answers is not None and serve.alive(), "special files: the receiver lives")
    answers = peer.files(entry(FILE, "suid", 0, mode=0o4755))
    peer.pack((3, 0, b""))
    peer.settled(3)
    path = os.path.join(root, "t/suid")
    ok(os.path.exists(path) and not os.stat(path).st_mode & stat.S_ISUID, "no set-id bit without OWNER")


e2e.main()
