#!/usr/bin/python3
"""What was left half done: listed, removed, aged out; never one that is held."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import json

import e2e
from e2e import MIB, OK, Proxy, Send, Serve, done, fails, is_copy, make, need, ok, run, same, send

SIZE = 24 * MIB + 1


def start(*args):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, "--commit-interval", "200ms", *args), at, make(os.path.join(e2e.dir(), "source"), SIZE)


def listed(at, *args):
    got = run("partials", "--root", at, "--json", *args)
    if not ok(got.rc == OK, "partials runs"):
        got.show()
    return {e["path"]: e for e in map(json.loads, got.out().splitlines()) if "path" in e}


def half(serve, src, name):
    """It stays half done until its dam is opened."""
    proxy = Proxy(serve.port, rate=10 * MIB, dam_at=12 * MIB)
    sent = Send(src, serve.url(name, proxy.port))
    sent.open_dam = proxy.open_dam
    need(sent.until_durable(2 * MIB), name + " is under way")
    return sent


def free(at, name):
    """Wait until the receiver has noticed that the sender of `name` is gone."""
    e2e.wait_until("it is let go", lambda: listed(at)[name]["state"] != "held")


def test_list_and_remove():
    serve, at, src = start()
    same(listed(at), {}, "an empty root has none")
    for name in ("dir/one", "two", "größe\n"):
        half(serve, src, name).kill()
    for name in ("dir/one", "two", "größe\n"):
        free(at, name)
    found = listed(at)
    same(sorted(found), sorted(["dir/one", "two", "größe\n"]), "each is listed by its path")
    ok(all(p["bytes_total"] == SIZE and 2 * MIB <= p["bytes_durable"] < SIZE for p in found.values()),
       "with what is durable of it")
    plain = run("partials", "--root", at)
    ok(plain.rc == OK and "dir/one" in plain.out() and "partial" in plain.out(), "for people too")
    same(run("partials", "--root", at, "--remove", "two").rc, OK, "--remove PATH")
    same(sorted(listed(at)), sorted(["dir/one", "größe\n"]), "it is gone")
    again = send(src, serve.url("dir/one"))
    done(again, "another one resumes")
    ok(again.last("done")["bytes_skipped"] >= 2 * MIB, "from what was listed")
    done(send(src, serve.url("two")), "the removed one starts over")
    is_copy(src, os.path.join(at, "two"), "and arrives")
    same(run("partials", "--root", at, "--remove-all").rc, OK, "--remove-all")
    same([p for p, e in listed(at).items() if e["state"] == "partial"], [], "none is left")
    same(e2e.visible(at), [b"dir/one", b"two"], "what is whole stays")


def test_held():
    serve, at, src = start()
    sent = half(serve, src, "busy")
    same(listed(at)["busy"]["state"], "held", "one that is being received is held")
    run("partials", "--root", at, "--remove", "busy")
    run("partials", "--root", at, "--remove-all")
    sent.open_dam()
    sent.wait()
    done(sent, "it is never removed")
    is_copy(src, os.path.join(at, "busy"), "the same contents")


def test_age():
    serve, at, src = start()
    half(serve, src, "old").kill()
    free(at, "old")
    same(run("partials", "--root", at, "--older-than", "1h", "--remove-all").rc, OK, "--older-than 1h")
    same(list(listed(at)), ["old"], "leaves what is younger")
    serve.stop()
    serve = Serve(at, "--partial-ttl", "1h")
    same(list(listed(at)), ["old"], "--partial-ttl leaves what is younger")
    serve.stop()
    for path in e2e.hidden(at):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    serve = Serve(at, "--partial-ttl", "1h")
    e2e.wait_until("what is old is removed", lambda: not listed(at))
    same(e2e.hidden(at), [], "--partial-ttl leaves nothing of it")
    done(send(src, serve.url("old")), "and it can be sent again")


def test_damaged():
    serve, at, src = start()
    for name, damage in (("torn", "cut"), ("flipped", "flip"), ("zeroed", "zero"), ("empty", "empty"),
                         ("headless", "head")):
        before = set(e2e.hidden(at))
        half(serve, src, name).kill()
        free(at, name)
        journals = [p for p in set(e2e.hidden(at)) - before if os.path.getsize(p) < SIZE]
        same(len(journals), 1, name + ": one journal")
        size = os.path.getsize(journals[0])
        if damage == "cut":
            os.truncate(journals[0], size - 13)
        elif damage == "flip":
            e2e.scribble(journals[0], size * 2 // 3, 3)
        elif damage == "zero":
            e2e.scribble(journals[0], size, 5000)
        elif damage == "empty":
            os.truncate(journals[0], 0)
        elif damage == "head":
            e2e.scribble(journals[0], 4, 60)
        ok(name in listed(at) or any(e["state"] == "damaged" for e in listed(at).values()),
           name + ": listed all the same")
        again = send(src, serve.url(name))
        done(again, "a journal that is %s" % name)
        is_copy(src, os.path.join(at, name), "%s: the same contents" % name)


def test_journal_of_another_file():
    serve, at, src = start()
    half(serve, src, "a").kill()
    free(at, "a")
    files_a = e2e.hidden(at)
    other = make(os.path.join(e2e.dir(), "other"), SIZE, seed=2)
    os.utime(other, ns=(0, os.stat(src).st_mtime_ns))
    half(serve, other, "b").kill()
    free(at, "b")
    files_b = sorted(set(e2e.hidden(at)) - set(files_a))
    serve.stop()
    journal = lambda files: next(f for f in files if os.path.getsize(f) < SIZE)  # noqa: E731
    os.rename(journal(files_a), journal(files_b))
    serve = Serve(at)
    done(send(other, serve.url("b")), "a journal that belongs to another target")
    is_copy(other, os.path.join(at, "b"), "is not trusted")
    done(send(src, serve.url("a")), "and the other, whose journal is gone")
    is_copy(src, os.path.join(at, "a"), "arrives as well")


def test_staging_file_replaced():
    serve, at, src = start()
    half(serve, src, "t").kill()
    free(at, "t")
    staging = next(f for f in e2e.hidden(at) if os.path.getsize(f) >= SIZE)
    make(staging + b".other", SIZE, seed=3)
    os.rename(staging + b".other", staging)
    done(send(src, serve.url("t")), "another file where the staging file was")
    is_copy(src, os.path.join(at, "t"), "is not trusted")


def test_root_that_is_none():
    fails(run("partials", "--root", os.path.join(e2e.dir(), "missing")), e2e.DEST, "no such", "a root that is missing")


e2e.main()
