#!/usr/bin/python3
"""Tasks whose source is a directory: moved as trees, taken over, asked to stop, failed in part."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))

import e2e
import tree
import treecmp
from e2e import MIB, Serve, ok, same
from fleet import Fleet
from redis import Redis
from treerun import EVERYTHING

SLOW = "32M"  # bits a second: 4 MB/s, so that there is something to interrupt
KEEP = frozenset(["mode", "times"])


def begin():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Fleet(Redis()), Serve(at, "--commit-interval", "100ms", "--allow", EVERYTHING), at


def source(**how):
    src = os.path.join(e2e.dir(), "src")
    facts = tree.make(src, 7, n_files=60, deep=5, long_paths=False, sparse=False, **how)
    return src, facts


def slow_source(n=64):
    src = os.path.join(e2e.dir(), "src")
    for i in range(n):
        os.makedirs(os.path.join(src, "d%d" % (i % 8)), exist_ok=True)
        e2e.make(os.path.join(src, "d%d" % (i % 8), "f%d" % i), MIB // 4 + i, seed=i)
    return src


def test_a_directory():
    fleet, serve, at = begin()
    src, _ = source()
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("dir"))
    fleet.until("t", "done")
    same(treecmp.compare(src, os.path.join(at, "dir/src"), KEEP), [], "a directory is there, with its name")
    same(fleet.undone(), 0, "acknowledged and removed")
    same(fleet.done_times("t"), 1, "done, once")
    ok(worker.until("done", "t")["acknowledged"], "the worker says so")
    fleet.add("u", src + "/", serve.url("other"))
    fleet.until("u", "done")
    same(treecmp.compare(src, os.path.join(at, "other"), KEEP), [], "with a slash what is in it")
    fleet.add("v", src, serve.url("dir"))
    fleet.until("v", "done")
    same(worker.until("done", "v")["bytes_sent"], 0, "what is there is not sent again")


def test_fields():
    fleet, serve, at = begin()
    src = os.path.join(e2e.dir(), "src")
    for name in ("keep.c", "drop.o", "dir/keep.c", "dir/drop.o"):
        os.makedirs(os.path.dirname(os.path.join(src, name)), exist_ok=True)
        e2e.make(os.path.join(src, name), 1000)
    os.symlink("keep.c", os.path.join(src, "link"))
    to = os.path.join(at, "there")
    os.mkdir(to)
    for name in ("old", "old.o"):
        e2e.make(os.path.join(to, name), 1)
    fleet.worker("a")
    fleet.add("t", src + "/", serve.url("there"), filter="# remark\n*.o\n", links="skip", delete="1",
              max_delete="1", preserve="none")
    fleet.until("t", "done")
    same(sorted(os.listdir(to)), ["dir", "keep.c", "old.o"],
         "filter, links and delete are as the task says")
    same(os.listdir(os.path.join(to, "dir")), ["keep.c"], "also further down")
    fleet.add("u", os.path.join(src, "keep.c"), serve.url("one"), checksum="1")
    fleet.until("u", "done")
    e2e.is_copy(os.path.join(src, "keep.c"), os.path.join(at, "one/keep.c"),
                "a file with fields of trees goes to a directory")
    fleet.add("v", src, serve.url("there"), links="copy")
    fleet.until("v", "dead")
    ok("'links'" in fleet.dead()["v"], "what is malformed becomes a dead letter")


def test_failed_in_part():
    fleet, serve, at = begin()
    src, _ = source()
    in_the_way = os.path.join(at, "src/in-the-way")
    os.makedirs(in_the_way)
    e2e.make(os.path.join(src, "in-the-way"), 5)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("./"))
    event = worker.until("retry", "t")
    same(event["status"], "PARTIAL", "what could not be moved fails the attempt")
    ok("in-the-way" in event["message"], "and is named: " + event["message"])
    same(treecmp.compare(src, os.path.join(at, "src"), KEEP, root=False, leave_out=(b"in-the-way",))[1:], [],
         "all others are there")
    os.rmdir(in_the_way)
    fleet.until("t", "done")
    same(treecmp.compare(src, os.path.join(at, "src"), KEEP), [], "the next attempt does the rest")


@e2e.long
def test_taken_over():
    fleet, serve, at = begin()
    src = slow_source()
    first = fleet.worker("a")
    fleet.add("t", src, serve.url("dir"), limit_rate=SLOW)
    first.until_durable("t", MIB)
    first.kill()
    second = fleet.worker("b")
    fleet.until("t", "done")
    event = second.until("done", "t")
    ok(event["bytes_skipped"] >= MIB, "another worker sends only the rest")
    same(treecmp.compare(src, os.path.join(at, "dir/src"), KEEP), [], "to its end")
    same(e2e.hidden(at), [], "and nothing half done is left")
    same(fleet.done_times("t"), 1, "done, once")


def test_asked_to_stop():
    fleet, serve, at = begin()
    src = slow_source()
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("dir"), limit_rate=SLOW)
    worker.until_durable("t", MIB)
    fleet.redis("HSET", fleet.base + "task:t", "want", "paused")
    fleet.until("t", "paused")
    worker.until("paused", "t")
    ok(int(fleet.task("t")["bytes"]) >= MIB, "what is durable is on record")
    ok(treecmp.compare(src, os.path.join(at, "dir/src"), KEEP), "and it is not done")


e2e.main()
