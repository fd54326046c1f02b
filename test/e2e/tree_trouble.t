#!/usr/bin/python3
"""What goes wrong with some of a tree: those are named, the rest goes on. And nothing leads out."""
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import tree
import treecmp
from e2e import DEST, KIB, MIB, Proxy, Serve, Shim, Skip, done, fails, need, need_root, ok, same
from treerun import TreeSend, idle, is_same, names, partial, read, send_tree, start, write

CLOCK_REALTIME_COARSE = 5
SEED = int(os.environ.get("LH_SEED") or random.SystemRandom().randrange(1 << 32))


def test_unreadable():
    need_root()
    serve, root, src = start()
    write(src, {"a": "1", "secret": "s", "d/x": "2", "locked/x": "3", "locked/y": "4", "z": "5"})
    os.chmod(os.path.join(src, "secret"), 0)
    os.chmod(os.path.join(src, "locked"), 0)
    sent = send_tree(src + "/", serve.url("t"), nobody=True)
    partial(sent, "a file and a directory cannot be read")
    same(sent.paths("failed"), {b"secret", b"locked"}, "--json lists them")
    ok(all(e["message"] and e["status"] for e in sent.entries("failed").values()), "with reasons")
    same(sent.last("error").get("failed") or sent.last("done").get("failed"), 2, "and counts them")
    have = set(names(os.path.join(root, "t")))
    same(have - {b"locked"}, {b"a", b"d", b"d/x", b"z"}, "the others have come")
    plain = e2e.run("send", src + "/", serve.url("u"), nobody=True)
    ok(plain.rc == 8 and "secret" in plain.err() and "locked" in plain.err(), "people are told as well") or plain.show()
    os.chmod(os.path.join(src, "secret"), 0o644)
    os.chmod(os.path.join(src, "locked"), 0o755)
    sent = send_tree(src + "/", serve.url("t"), nobody=True)
    done(sent, "once they can be read")
    same(sent.paths("sent"), {b"secret", b"locked/x", b"locked/y"}, "just they are sent")
    is_same(src, os.path.join(root, "t"), "the same now", frozenset(["times", "mode"]))


def slow_start(n=400, size=64 * KIB, **how):
    serve, root, src = start("--commit-interval", "100ms")
    files = {}
    for i in range(n):
        files["d%d/f%d" % (i % 20, i)] = bytes([i % 251]) * size
    write(src, files)
    proxy = Proxy(serve.port, rate=8 * MIB, dam_at=2 * MIB)  # its source is changed meanwhile
    sent = TreeSend(src + "/", serve.url("t", proxy.port), **how)
    sent.open_dam = proxy.open_dam
    e2e.wait_until("bytes pass", lambda: proxy.dam.is_set() or not sent.alive())
    need(sent.alive(), "under way")
    return serve, os.path.join(root, "t"), src, sorted(files), sent


def test_vanished():
    serve, at, src, files, sent = slow_start()
    gone = files[::2]
    for path in gone:
        os.unlink(os.path.join(src, path))
    sent.open_dam()
    sent.wait()
    failed = sent.paths("failed")
    ok(failed and failed <= {os.fsencode(p) for p in gone}, "of the files that vanished some are named (%d)" % len(failed))
    partial(sent, "that is what it says")
    for path in files:
        there = os.path.exists(os.path.join(at, path))
        if there == (os.fsencode(path) in failed):
            ok(False, "%s is %s" % (path, "there and named" if there else "neither there nor named"))
            break
    else:
        ok(True, "every file is there or named")
    ok(all(len(read(at, p)) == 64 * KIB for p in files if os.path.exists(os.path.join(at, p))), "and whole")
    same([n for n in names(at) if os.path.basename(n).startswith(b".")], [], "nothing half-made is left")


def test_changed():
    serve, at, src, files, sent = slow_start()
    for path in files:
        with open(os.path.join(src, path), "ab") as f:
            f.write(b"more")
    sent.open_dam()
    sent.wait()
    failed = sent.paths("failed")
    wrong = []
    for path in files:
        i = int(path.rpartition("f")[2])
        full = os.path.join(at, path)
        if not os.path.exists(full):
            if os.fsencode(path) not in failed:
                wrong.append("%s is neither there nor named" % path)
        elif read(full) not in (bytes([i % 251]) * 64 * KIB, bytes([i % 251]) * 64 * KIB + b"more"):
            wrong.append("%s is neither the old nor the new" % path)
    same(wrong[:5], [], "files that grew meanwhile are there, old or new, or named (%d)" % len(failed))
    unnamed = [p for p, e in sent.entries("failed").items() if os.fsdecode(p) + ":" not in e["message"]]
    same(unnamed[:5], [], "the words name them, too")
    ok(sent.rc == (8 if failed else 0), "it ends accordingly") or sent.show()
    done(send_tree(src + "/", serve.url("t")), "the next run")
    is_same(src, at, "puts it right")


def test_replaced_by_other_kinds():
    """Files that become links, directories and FIFOs while they are being sent: never followed,
    nothing hangs."""
    serve, at, src, files, sent = slow_start()
    secret = write(os.path.join(e2e.dir(), "secret"), {"s": "secret" * 1000})
    for n, path in enumerate(files):
        full = os.path.join(src, path)
        os.unlink(full)
        if n % 3 == 0:
            os.symlink(os.path.join(secret, "s"), full)
        elif n % 3 == 1:
            os.mkdir(full)
        else:
            os.mkfifo(full)
    sent.open_dam()
    sent.wait()
    partial(sent, "files that became something else")
    failed = sent.paths("failed")
    bad = [p for p in files if (os.fsencode(p) in failed) == os.path.lexists(os.path.join(at, p))]
    same(bad[:5], [], "each is there as it was, or named")
    ok(not any(b"secret" in read(at, p) for p in files if os.path.isfile(os.path.join(at, p))),
       "no link was followed")


def test_directory_vanishes():
    serve, at, src, files, sent = slow_start()
    for d in range(0, 20, 2):
        shutil.rmtree(os.path.join(src, "d%d" % d))
    sent.open_dam()
    sent.wait()
    partial(sent, "directories that vanish with all that is in them")
    failed = sent.paths("failed")
    bad = [p for p in files if not os.path.exists(os.path.join(at, p)) and os.fsencode(p) not in failed]
    same(bad[:5], [], "every file is there or named")


def four_bigs():
    """Four big files on their way, and one of them whose turn has not come."""
    serve, root, src = start("--commit-interval", "100ms")
    write(src, {"d%d/big%d" % (n, n): b"x" * (33 * MIB) for n in range(4)})
    for n in range(4 if os.geteuid() == 0 else 0):
        os.chown(os.path.join(src, "d%d/big%d" % (n, n)), 12345, 54321)
    proxy = Proxy(serve.port, rate=16 * MIB, dam_at=2 * MIB)
    sent = TreeSend(src + "/", serve.url("t", proxy.port))
    e2e.wait_until("bytes pass", lambda: proxy.dam.is_set() or not sent.alive())
    need(sent.alive(), "under way")
    begun = {p for p in names(os.path.join(root, "t")) if b".part" in p}
    left = [n for n in range(4) if not any(p.startswith(b"d%d/" % n) for p in begun)]
    need(left, "some have not begun")
    return src, os.path.join(root, "t"), proxy, sent, left[-1]


def test_big_swapped_for_a_link():
    """A big file waits for its turn, and meanwhile its directory has become a link that leads elsewhere."""
    secret = write(os.path.join(e2e.dir(), "outside"), {"big": b"s" * (33 * MIB)})
    src, at, proxy, sent, n = four_bigs()
    os.rename(os.path.join(secret, "big"), os.path.join(secret, "big%d" % n))
    os.rename(os.path.join(src, "d%d" % n), os.path.join(src, "was"))
    os.symlink(secret, os.path.join(src, "d%d" % n))
    proxy.open_dam()
    sent.wait()
    partial(sent, "one is not what it was")
    same(sent.paths("failed"), {b"d%d/big%d" % (n, n)}, "it is named")
    ok(not os.path.exists(os.path.join(at, "d%d/big%d" % (n, n))), "and nothing came from where the link leads")


def test_big_that_grew():
    """A big file that is another version when its turn comes goes as it is then, with its owner."""
    src, at, proxy, sent, n = four_bigs()
    with open(os.path.join(src, "d%d/big%d" % (n, n)), "ab") as f:
        f.write(b"more")
    proxy.rate = 1 << 40
    proxy.open_dam()
    sent.wait()
    done(sent, "all are sent")
    is_same(src, at, "the later version, whole and dressed")


def test_disk_full():
    need_root()
    at = e2e.tmpfs("small", 8 * MIB)
    serve = Serve(at)
    src = os.path.join(e2e.dir(), "src")
    write(src, {"d/f%d" % n: os.urandom(64 * KIB) for n in range(300)})
    sent = send_tree(src + "/", serve.url("t"))
    fails(sent, DEST, "No space left|full", "20 MB to a file system of 8")
    ok("d/f" in sent.err(), "it says which file") or sent.show()
    for path in names(os.path.join(at, "t")):
        full = os.path.join(os.fsencode(at), b"t", path)
        if not os.path.basename(path).startswith(b".") and os.path.isfile(full) and os.stat(full).st_size != 64 * KIB:
            ok(False, "%r is there, and not whole" % path)
            break
    else:
        ok(True, "what is to be seen is whole")
    subprocess.run(["mount", "-o", "remount,size=64M", at], check=True)
    done(send_tree(src + "/", serve.url("t")), "with more room the rerun")
    is_same(src, os.path.join(at, "t"), "ends it")


def test_no_inodes():
    need_root()
    at = e2e.tmpfs("few", 64 * MIB)
    subprocess.run(["mount", "-o", "remount,nr_inodes=200", at], check=True)
    serve = Serve(at)
    src = os.path.join(e2e.dir(), "src")
    write(src, {"d/f%d" % n: "x" for n in range(500)})
    sent = send_tree(src + "/", serve.url("t"))
    fails(sent, DEST, "No space left|full|inodes", "500 files to a file system that has room for 200")


def test_unwritable():
    """A directory at the destination into which the receiver may not write."""
    need_root()
    root, src = os.path.join(e2e.dir(), "root"), os.path.join(e2e.dir(), "src")
    write(root, {"t/closed": None})
    os.chmod(os.path.join(root, "t/closed"), 0o555)
    shutil.chown(root, "nobody")
    shutil.chown(os.path.join(root, "t"), "nobody")
    write(src, {"a": "1", "closed/x": "2", "closed/d/y": "3", "z": "4"})
    sent = send_tree(src + "/", Serve(root, nobody=True).url("t"))
    partial(sent, "a directory that may not be written into")
    ok({b"closed/x", b"closed/d"} <= sent.paths("failed"), "what belongs there is named") or \
        e2e.diag(sent.paths("failed"))
    same((read(root, "t/a"), read(root, "t/z")), (b"1", b"4"), "the rest goes")


# ---- names


def folding(name):
    """A file system on which names that differ in case alone are one."""
    need_root()
    if not shutil.which("lowntfs-3g") or not shutil.which("mkntfs") or not os.path.exists("/dev/fuse"):
        raise Skip("no file system here that folds case")
    image, at = os.path.join(e2e.dir(), name + ".img"), os.path.join(e2e.dir(), name)
    with open(image, "wb") as f:
        f.truncate(64 * MIB)
    os.mkdir(at)
    subprocess.run(["mkntfs", "-F", "-q", "-Q", image], check=True, capture_output=True)
    if subprocess.run(["lowntfs-3g", "-o", "ignore_case", image, at], capture_output=True, check=False).returncode:
        raise Skip("no file system here that folds case")
    e2e.cleanup(subprocess.run, ["umount", at])
    return at


def test_folded_names():
    at = folding("fold")
    serve = Serve(at)
    src = write(os.path.join(e2e.dir(), "src"), {"README": "upper", "readme": "lower", "ReadMe": "both", "other": "o",
                                                "Dir/x": "1", "dir/y": "2"})
    sent = send_tree(src + "/", serve.url("t"), "--preserve", "times")
    partial(sent, "names that are one at the destination")
    failed = sent.paths("failed")
    ok(len(failed & {b"README", b"readme", b"ReadMe"}) == 2, "all but one of them are refused") or e2e.diag(failed)
    by_name = {b"README": b"upper", b"readme": b"lower", b"ReadMe": b"both"}
    kept = set(by_name) - failed
    ok(len(kept) == 1 and read(at, "t/readme") == by_name[kept.pop()], "the first is whole, with its own contents")
    same(read(at, "t/other"), b"o", "the rest goes")
    ok(re_words(sent, b"README", b"readme", b"ReadMe"), "in words")


def test_folded_and_deleted():
    """A name that the source does not have may be what was sent, as the destination writes it."""
    at = folding("foldgone")
    src = write(os.path.join(e2e.dir(), "src"), {"README": "new contents", "d/x": "1"})
    write(at, {"t/readme": "old", "t/d/X": "2", "t/gone/A": "3", "t/gone/b": "4"})
    serve = Serve(at)
    more = ("--preserve", "times", "--delete")
    for run in ("that replaces it", "that keeps it"):
        sent = send_tree(src + "/", serve.url("t"), *more)
        partial(sent, "--delete where names are one, a run " + run)
        same(read(at, "t/readme"), b"new contents", "what was sent is there")
        same(read(at, "t/d/x"), b"1", "in a directory, too")
        ok(os.path.exists(os.path.join(at, "t/gone/A")), "what nobody sent stays beside it")
        ok("differ in case" in sent.err(), "in words") or sent.show()
    os.rename(os.path.join(src, "README"), os.path.join(src, "readme"))
    shutil.rmtree(os.path.join(at, "t/gone"))
    done(send_tree(src + "/", serve.url("t"), *more), "where nothing is to go nothing is wrong")


def test_folded_without_a_to_z():
    """Directories whose names have no letters but those of other alphabets."""
    at = folding("foldother")
    src = write(os.path.join(e2e.dir(), "src"), {"1/Фото": "new", "2/É": "new", "3/Ωμέγα": "new"})
    write(at, {"t/1/фото": "old", "t/2/é": "old", "t/3/ωμέγα": "old"})
    partial(send_tree(src + "/", Serve(at).url("t"), "--preserve", "times", "--delete"), "--delete")
    for name in ("1/фото", "2/é", "3/ωμέγα"):
        ok(os.path.exists(os.path.join(at, "t", name)) and read(at, "t", name) == b"new", "what was sent is there")


def test_folded_links():
    """Where something is already, also of links the second of two does not replace the first."""
    at = folding("fold")
    serve = Serve(at, "--commit-interval", "20ms")
    write(at, {"t/there": "", "t/Old": "old", "t/Gone": "->old"})
    src = write(os.path.join(e2e.dir(), "src"), {
        "Link": "->one", "link": "->two", "LINK": "->three", "f1": "1", "f2": "2", "Old": "new", "old": "newer",
        "Gone": "->new", "other": "->other"})
    os.link(os.path.join(src, "f1"), os.path.join(src, "Hard"))
    os.link(os.path.join(src, "f2"), os.path.join(src, "hard"))
    # By the clock of the kernel, which goes in ticks, what is there has to be older than the transfer.
    made = max(os.lstat(os.path.join(at, "t", name)).st_ctime_ns for name in ("Old", "Gone"))
    e2e.wait_until("the clock goes on", lambda: time.clock_gettime_ns(CLOCK_REALTIME_COARSE) > made)
    sent = send_tree(src + "/", serve.url("t"), "--preserve", "times,hardlinks")
    partial(sent, "links that are one at the destination")
    failed = sent.paths("failed")
    first = {b"Link", b"link", b"LINK"} - failed
    ok(len(first) == 1, "all but one of three symbolic links are refused") or e2e.diag(failed)
    same(os.readlink(os.path.join(at, "t/link")), {b"Link": "one", b"link": "two", b"LINK": "three"}[first.pop()],
         "the first is there")
    names_ = sent.paths("sent", "made", "kept")
    ok(len(failed & {b"Old", b"old"}) == 1, "of two files that replace a third one is refused")
    same(read(at, "t/old"), b"new" if b"Old" in names_ else b"newer", "the other one is there")
    # Which of two names is sent, and which one linked, is as the source's directory has them.
    hard = failed & {b"Hard", b"hard", b"f1", b"f2"}
    ok(hard in ({b"Hard"}, {b"hard"}, {b"Hard", b"f1"}, {b"hard", b"f2"}), "of two hard links one is refused") or \
        e2e.diag(hard)
    same(read(at, "t/hard"), b"1" if b"hard" in failed or b"f2" in failed else b"2", "the other one is there")
    same(os.readlink(os.path.join(at, "t/Gone")), "new", "what was there before is replaced")
    same(os.readlink(os.path.join(at, "t/other")), "other", "the rest goes")
    same(len(failed - hard), 3, "no more fails") or e2e.diag(failed)
    ok(re_words(sent, *failed), "in words")


def re_words(sent, *paths):
    texts = [sent.entries("failed")[p]["message"] for p in paths if p in sent.entries("failed")]
    e2e.diag(texts[0])
    return all("same" in text or "another name" in text for text in texts)


# ---- nothing leads out


def test_links_at_the_destination():
    serve, root, src = start()
    outside = write(os.path.join(e2e.dir(), "outside"), {"precious": "p", "d/precious": "p"})
    facts = tree.make(src, SEED, n_files=30, deep=3, long_paths=False)
    before = treecmp.scan(outside)
    for how in ("different", "newer", "replace", "skip"):
        at = os.path.join(root, how)
        write(at, {"sub": "->" + outside, "dir\nline": "->../../outside/d", "deep0": "->" + outside + "/d", "plain": "->" + outside + "/precious"})
        sent = send_tree(src + "/", serve.url(how), "--existing", how)
        ok(sent.rc in (0, 8), "--existing %s over links that lead out" % how) or sent.show()
        after = treecmp.scan(outside)
        same([p for p in sorted(before.keys() | after.keys()) if p not in before or p not in after or
              vars(before[p]) != vars(after[p])], [], "what is outside stays as it was")
    e2e.diag(facts)


def test_root_itself_a_link():
    serve, root, src = start()
    outside = write(os.path.join(e2e.dir(), "outside"), {"precious": "p"})
    write(src, {"x": "1"})
    os.symlink(outside, os.path.join(root, "t"))
    sent = send_tree(src + "/", serve.url("t"))
    same(names(outside), [b"precious"], "a destination that is a link out of the root: nothing gets there")
    fails(sent, e2e.REFUSED, "leads out of the receiver's root", "it")
    sent = send_tree(src + "/", serve.url("../outside"))
    fails(sent, e2e.REFUSED, 'is not allowed: it holds ".."', "a path with ..")
    same(names(outside), [b"precious"], "nothing gets there")


def test_swapped():
    """A directory is swapped for a link that leads out, again and again, while it is received."""
    serve, root, src = start("--commit-interval", "50ms")
    outside = os.path.join(e2e.dir(), "outside")
    os.mkdir(outside)
    write(src, {"d/sub%d/f%d" % (n % 3, n): "x" * (n % 5000) for n in range(3000)})
    at = os.path.join(root, "t")
    os.makedirs(os.path.join(at, "d"))
    stop = threading.Event()
    swaps = [0]

    def swap():
        d, aside = os.path.join(at, "d"), os.path.join(e2e.dir(), "aside")
        while not stop.is_set():
            try:
                os.rename(d, aside)
                os.symlink(outside, d)
                time.sleep(0.001)
                os.unlink(d)
            except OSError:
                pass
            try:
                if os.path.isdir(d) and not os.path.islink(d):
                    shutil.rmtree(d)
                elif os.path.lexists(d):
                    os.unlink(d)
                os.rename(aside, d)
            except OSError:
                pass
            swaps[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=swap)
    thread.start()
    codes = []
    try:
        for _ in range(2 if e2e.SHORT else 5):
            codes.append(send_tree(src + "/", serve.url("t")).rc)
            if names(outside):
                break
    finally:
        stop.set()
        thread.join()
    same(names(outside), [], "nothing got out (%d swaps, exit codes %s)" % (swaps[0], codes))
    ok(serve.alive(), "the receiver lives")
    for n in os.listdir(at):
        if os.path.islink(os.path.join(at, n)):
            os.unlink(os.path.join(at, n))
    done(send_tree(src + "/", serve.url("t")), "when it is over, the rerun")
    is_same(src, at, "ends it")


e2e.main()
