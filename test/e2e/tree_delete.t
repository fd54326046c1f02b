#!/usr/bin/python3
"""--delete: what the source has not goes, and all that keeps it from doing harm."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
from e2e import Shim, done, need, need_root, ok, same
from treerun import is_same, names, partial, read, rsync, send_tree, start, write

TREE = {"a": "1", "d/b": "2", "d/c": "3", "e": None, "l": "->a"}
EXTRA = {"x": "x", "d/y": "y", "gone/deep/er/z": "z", "gone/w": "w", "emptydir": None, "lx": "->../../precious", "two\nlines": "n",
         ".hidden": "h"}


def both():
    serve, root, src = start()
    write(os.path.join(e2e.dir(), "precious"), {"p": "p"})
    write(src, TREE)
    at = os.path.join(root, "t")
    done(send_tree(src + "/", serve.url("t")), "a copy")
    write(at, EXTRA)
    return serve, at, src


def untouched(at, before, name):
    same(names(at), before, name)


def test_removed():
    serve, at, src = both()
    before = names(at)
    done(send_tree(src + "/", serve.url("t")), "without --delete")
    untouched(at, before, "nothing goes")
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    done(sent, "--delete")
    is_same(src, at, "what the source has not is gone, the rest is there")
    gone = {b"x", b"d/y", b"gone", b"gone/deep", b"gone/deep/er", b"gone/deep/er/z", b"gone/w", b"emptydir", b"lx",
            b"two\nlines", b".hidden"}
    same(sent.paths("removed"), gone, "it says what was removed")
    same(sent.last("done").get("removed"), len(gone), "and how many")
    same(names(os.path.join(e2e.dir(), "precious")), [b"p"], "a link is removed, not what it leads to")


def test_source_without_slash():
    """Only the directories that were sent are looked at."""
    serve, at, src = both()
    sent = send_tree([os.path.join(src, "d")], serve.url("t/"), "--delete")
    done(sent, "--delete with one directory, which comes as itself")
    ok(os.path.exists(os.path.join(at, "x")) and os.path.exists(os.path.join(at, "gone/w")),
       "what is beside it stays")
    ok(not os.path.exists(os.path.join(at, "d/y")), "what is in it goes")


def test_a_file_as_source():
    serve, at, src = both()
    before = names(at)
    sent = send_tree([os.path.join(src, "a")], serve.url("t/"), "--delete")
    done(sent, "--delete with a file as source")
    untouched(at, before, "nothing goes")


def test_excluded_stays():
    serve, at, src = both()
    write(src, {"keep.log": "1", "d/keep.log": "2"})
    write(at, {"keep.log": "theirs", "d/other.log": "theirs", "logs/k.log": "theirs", "cache/x": "theirs"})
    model = os.path.join(e2e.dir(), "model")
    rsync("-a", at + "/", model + "/")
    rules = ["--exclude=*.log", "--exclude=/cache/"]
    rsync("-a", "--delete", *rules, src + "/", model + "/")
    sent = send_tree(src + "/", serve.url("t"), "--delete", *rules)
    done(sent, "--delete with patterns")
    ok({b"keep.log", b"d/other.log", b"cache", b"cache/x", b"logs/k.log"} <= set(names(at)),
       "what is excluded is never removed")
    same(read(at, "keep.log"), b"theirs", "nor replaced")
    same(names(at), names(model), "all as rsync does it")


def test_excluded_in_what_goes():
    """A directory with something excluded in it stays, and nobody says or counts anything else."""
    serve, at, src = both()
    write(at, {"X/sub/deep/keep.o": "k", "X/sub/go": "g", "X/empty": None, "X/more/go": "g"})
    stays = {b"X", b"X/sub", b"X/sub/deep", b"X/sub/deep/keep.o"}
    before = names(at)
    gone = set(before) - set(names(src)) - stays
    more = ["--delete", "--exclude=*.o", "--max-delete"]
    for n, rc in ((len(gone) - 1, 8), (len(gone), 0)):
        sent = send_tree(src + "/", serve.url("t"), "-n", *more, str(n))
        same(sent.rc, rc, "a dry run, of %d at most %d" % (len(gone), n)) or sent.show()
        if rc == 0:
            same(sent.paths("removed"), gone, "it names what would go, and no more")
        untouched(at, before, "nothing goes")
    sent = send_tree(src + "/", serve.url("t"), *more, str(len(gone)))
    done(sent, "the same in earnest")
    same(sent.paths("removed"), gone, "that is what goes")
    same(set(names(at)), set(before) - gone, "and the rest is there")


def test_unreadable_directory():
    need_root()
    serve, at, src = both()
    os.chmod(os.path.join(src, "d"), 0)
    before = names(at)
    sent = send_tree(src + "/", serve.url("t"), "--delete", nobody=True)
    partial(sent, "a directory cannot be read")
    untouched(at, before, "nothing is removed")
    ok("delete" in sent.err() or "remove" in sent.err(), "it says that it did not") or sent.show()


def test_walk_error():
    serve, at, src = both()
    shim = Shim()
    shim.set("getdents64", 5, skip=3, times=1)
    before = names(at)
    sent = send_tree(src + "/", serve.url("t"), "--delete", env=shim.env)
    if not shim.hits("getdents64"):
        raise e2e.Skip("cannot make reading a directory fail here")
    partial(sent, "a directory could not be read to its end")
    untouched(at, before, "nothing is removed")


def test_file_failed():
    need_root()
    serve, at, src = both()
    write(src, {"secret": "s"})
    os.chmod(os.path.join(src, "secret"), 0)
    before = names(at)
    sent = send_tree(src + "/", serve.url("t"), "--delete", nobody=True)
    partial(sent, "a file cannot be read")
    untouched(at, before, "nothing is removed")


def test_empty_source():
    serve, at, src = both()
    before = names(at)
    empty = os.path.join(e2e.dir(), "empty")
    os.mkdir(empty)
    sent = send_tree(empty + "/", serve.url("t"), "--delete")
    partial(sent, "an empty source")
    untouched(at, before, "nothing is removed")
    ok("nothing is removed: a source directory is empty" in sent.err(), "it says why") or sent.show()


def test_no_source():
    serve, at, src = both()
    before = names(at)
    sent = send_tree(os.path.join(e2e.dir(), "not-there/"), serve.url("t"), "--delete")
    ok(sent.rc != 0, "no source at all")
    untouched(at, before, "nothing is removed")
    sent = send_tree([src + "/", os.path.join(e2e.dir(), "not-there/")], serve.url("t"), "--delete")
    ok(sent.rc != 0, "one of two sources is not there")
    untouched(at, before, "nothing is removed")


def test_half_received_at_the_source():
    """A source that is a receiver's root: what is half received there is no part of it."""
    serve, at, src = both()
    hidden = ".longhaul-" + "0" * 32
    write(src, {hidden + ".part": "p", "d/" + hidden + ".journal": "j", ".longhaul": "mine"})
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    done(sent, "--delete")
    ok("2 files of something half received" in sent.err(), "it says what was left out") or sent.show()
    same(set(names(at)), {os.fsencode(p) for p in TREE} | {b"d", b".longhaul"}, "all else is there, and no more")
    write(src, {".longhaul-notes": "mine"})
    partial(send_tree(src + "/", serve.url("t")), "another name that no receiver gives to anything else")


def test_directory_in_the_way():
    """Where a file or link is to be: it is not for --delete to replace it."""
    serve, at, src = both()
    for name in ("w", "lw"):
        write(at, {name + "/inner": "i"})
    write(src, {"w": "now a file", "lw": "->now a link"})
    before = names(at)
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    partial(sent, "--delete with directories in the way")
    same(sent.paths("failed") - {b""}, {b"w", b"lw"}, "they are named")
    same(sent.err().count("move it away"), 2, "and what is to be done") or sent.show()
    untouched(at, before, "nothing goes")
    for name in ("w", "lw"):
        os.rename(os.path.join(at, name), os.path.join(e2e.dir(), "aside-" + name))
    done(send_tree(src + "/", serve.url("t"), "--delete"), "when that is done")
    is_same(src, at, "it is as the source")


def test_many_names():
    """More names than the sender takes at once."""
    serve, at, src = both()
    write(at, {"d/%s%d" % ("long" * 25, n): "" for n in range(30000)})
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    done(sent, "--delete with 3 MB of names")
    is_same(src, at, "they are gone")
    same(sent.last("done").get("removed"), 30000 + 11, "each is counted")


def test_max_delete():
    serve, at, src = both()
    before = names(at)
    sent = send_tree(src + "/", serve.url("t"), "--delete", "--max-delete", "10")
    ok(sent.rc != 0, "more than --max-delete: it does not end well") or sent.show()
    untouched(at, before, "and nothing is removed")
    ok("at most 10" in sent.err(), "it says why") or sent.show()
    ok("is there, but nothing was removed" in sent.err(), "and what became of the rest") or sent.show()
    sent = send_tree(src + "/", serve.url("t"), "--delete", "--max-delete", "11")
    done(sent, "just as many as --max-delete")
    is_same(src, at, "they are gone")


def test_shared_directories():
    """What two sources have in common is judged once: --max-delete counts no entry twice."""
    serve, at, src = both()
    other = write(os.path.join(e2e.dir(), "other"), {"d/o": "o", "p": "p"})
    done(send_tree([src + "/", other + "/"], serve.url("t"), "--delete", "--max-delete", "11"), "--delete, two sources")
    have = set(names(at))
    ok({b"a", b"d/b", b"d/o", b"p", b"e"} <= have, "what either has stays") or e2e.diag(have)
    ok(not have & {os.fsencode(p) for p in EXTRA}, "what neither has is gone") or e2e.diag(have)
    write(at, {"x": "x", "d/y": "y"})
    sent = send_tree([src + "/", other + "/"], serve.url("t"), "--delete")
    same(sent.last("done").get("removed"), 2, "each is counted once")


def test_where_links_lead_out():
    """A link at the destination where the source has a directory: what it leads to is not touched."""
    serve, root, src = start()
    outside = write(os.path.join(e2e.dir(), "outside"), {"precious": "p"})
    write(src, {"d/x": "1"})
    write(os.path.join(root, "t"), {"d": "->" + outside})
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    done(sent, "a link is where a directory is to be")
    same(names(outside), [b"precious"], "what is outside stays as it was")
    is_same(src, os.path.join(root, "t"), "the directory is there")


def test_half_received():
    """What is half received in a directory goes with it, once nobody is at it any more."""
    serve, root, src = start("--commit-interval", "200ms")
    write(src, {"a": "1"})
    at = os.path.join(root, "t")
    write(at, {"d/old": "o"})
    big = e2e.make(os.path.join(e2e.dir(), "big"), 24 << 20)
    proxy = e2e.Proxy(serve.port, rate=10 << 20, dam_at=12 << 20)
    sending = e2e.Send(big, serve.url("t/d/e/big", proxy.port))
    need(sending.until_durable(2 << 20), "a file is half received")
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    partial(sent, "--delete of the directory that it is in")
    ok("d/e: cannot remove it: something in it is being received" in sent.err(), "in words") or sent.show()
    ok(not os.path.exists(os.path.join(at, "d/old")), "what else was in there is gone")
    proxy.open_dam()
    sending.wait()
    done(sending, "it comes to its end all the same")
    proxy = e2e.Proxy(serve.port, rate=10 << 20, dam_at=12 << 20)
    sending = e2e.Send(big, serve.url("t/d/e/other", proxy.port))
    need(sending.until_durable(2 << 20), "another one is half received")
    sending.kill()
    proxy.close()
    serve.stop()
    serve = e2e.Serve(root)
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    done(sent, "--delete when nobody is at it")
    same(sorted(os.listdir(at)), ["a"], "nothing of it is left")


def test_cut_before_the_end():
    """Nothing is removed before everything has been sent."""
    serve, at, src = both()
    write(src, {"big%d" % n: os.urandom(3 << 20) for n in range(8)})
    proxy = e2e.Proxy(serve.port, rate=4 << 20)
    from treerun import TreeSend
    sent = TreeSend(src + "/", serve.url("t", proxy.port), "--delete")
    e2e.wait_until("bytes pass", lambda: proxy.up_bytes > 6 << 20 or not sent.alive())
    need(sent.alive(), "it is killed on its way")
    sent.kill()
    proxy.close()
    # Looked for by name: the receiver still clears its staging files away, so a list is no use.
    ok(all(os.path.lexists(os.path.join(at, p)) for p in EXTRA), "nothing has been removed")
    done(send_tree(src + "/", serve.url("t"), "--delete"), "the rerun")
    is_same(src, at, "ends it")


e2e.main()
