#!/usr/bin/python3
"""A queue in the hands of people: submit, status, pause, resume, cancel, retry, queue; and of
producers who know nothing but its contract."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import json
import pty
import re
import signal
import subprocess

import e2e
from e2e import INTERRUPTED, MIB, NETWORK, OK, REFUSED, USAGE, Process, Serve
from e2e import fails, make, ok, run, same, wait_until
from redis import Redis

EXAMPLES = os.path.join(e2e.LIB, "../../deploy/examples")
SECRET = "opensesame"


class Rig:
    """A Redis, a receiver, a source, and the commands that know the first by the environment."""

    def __init__(self, receiver=True, **how):
        self.redis = Redis(**how)
        self.env = {"LONGHAUL_REDIS": self.redis.url(), "LONGHAUL_QUEUE": "films"}
        self.root = os.path.join(e2e.dir(), "root")
        os.mkdir(self.root)
        self.serve = Serve(self.root) if receiver else None
        self.n_workers = 0

    def run(self, *args, env=None):
        return run(*args, env={**self.env, **(env or {})})

    def start(self, *args):
        return Process(args, env=self.env)

    def worker(self, *args):
        self.n_workers += 1
        return self.start("worker", "--name", "w%d" % self.n_workers, "--claim-time", "2s", *args)

    def url(self, path, port=None):
        return os.fsdecode(self.serve.url(path, port)) if self.serve else "lh://127.0.0.1:1/" + path

    def source(self, name="source", size=3 * MIB):
        return make(os.path.join(e2e.dir(), name), size)

    def submit(self, *args):
        """The id of the one task that it makes."""
        got = self.run("submit", *args)
        if not ok(got.rc == OK and len(got.out().split()) == 1, "submit " + " ".join(args[1:])):
            got.show()
        return got.out().strip()

    def key(self, name):
        return "longhaul:{films}:" + name

    def task(self, id_):
        """What --json says of it."""
        got = self.run("status", "--json", id_)
        events = [e for e in lines(got) if e["event"] == "task"]
        return events[0] if events else {}

    def until(self, id_, *states):
        return wait_until("%s is %s" % (id_, " or ".join(states)),
                          lambda: self.task(id_).get("state") in states)


def lines(got):
    """Its standard output: one JSON object on each line."""
    events = [json.loads(line) for line in got.out().splitlines()]
    ok(all(isinstance(e, dict) and "event" in e for e in events), "each line is a JSON object")
    return events


# ---- without a worker --------------------------------------------------------------------------


def test_usage():
    redis = {"LONGHAUL_REDIS": "redis://:%s@127.0.0.1:1" % SECRET}
    for what, args, env, words in (
        ("no Redis is named", ["status"], {}, "needs --redis"),
        ("an address that is none", ["status", "--redis", "http://:%s@h" % SECRET], {}, "redis://"),
        ("a name of a queue that is none", ["status", "--queue", "a b"], redis, "--queue"),
        ("no destination", ["submit", "/x"], redis, "too few"),
        ("a destination that is none", ["submit", "/x", "lh://h/", "http://h/"], redis, "lh://"),
        ("retries that are none", ["submit", "/x", "lh://h/", "--retries", "some"], redis, "retries"),
        ("a priority that is none", ["submit", "/x", "lh://h/", "--priority", "top"], redis, "high"),
        ("no task", ["pause"], redis, "too few"),
        ("what queue does not show", ["queue", "alive"], redis, "alive"),
        ("both ways", ["queue", "dead", "--requeue", "all", "--drop", "all"], redis, "exclude"),
    ):
        got = run(*args, env=env)
        fails(got, USAGE, words, what)
        ok(got.out() == "" and SECRET not in got.err(), what + ": no output and no password")


def test_no_redis():
    got = run("queue", "--redis", "redis://user:%s@127.0.0.1:1/2" % SECRET)
    fails(got, NETWORK, r"cannot connect to Redis at redis://127\.0\.0\.1:1/2: connection refused; given up", "nobody there")
    ok(SECRET not in got.err() and got.out() == "", "the password is not shown")
    ok("hint:" in got.err(), "and there is something to be done")
    redis = Redis(password="right")
    got = run("queue", "--redis", redis.url(password="wrong" + SECRET))
    ok(got.rc in (NETWORK, REFUSED) and "password" in got.err().lower(), "a wrong password")
    ok(SECRET not in got.err(), "which is not shown")
    got = run("queue", "--redis", redis.url())
    ok(got.rc == OK and "right" not in got.out() + got.err(), "the right one, not shown either")


def test_submit():
    rig = Rig(receiver=False)
    src = rig.source()
    got = rig.run("submit", src, "lh://a/x", "lh://b/", "lh://c:9/y%20z")
    ids = got.out().split()
    same((got.rc, len(ids), got.err()), (OK, 3, ""), "three destinations, three ids")
    entries = rig.redis.stream(rig.key("tasks:normal"))
    same([f["destination"] for _, f in entries], ["lh://a/x", "lh://b/", "lh://c:9/y%20z"],
         "three entries")
    same(set(entries[0][1]), {"v", "source", "destination"}, "what is as usual is left out")
    same(entries[0][1]["source"], src, "the source")
    here = os.getcwd()
    os.chdir(e2e.dir())
    try:
        got = rig.run("submit", "source", "lh://a/", "--json", "--priority", "low", "--retries",
                      "forever", "--streams", "3", "--max-streams", "4", "--limit-rate", "500M",
                      "--share", "background", "--block-size", "64K", "--no-clobber", "--insecure")
    finally:
        os.chdir(here)
    event = lines(got)[0]
    same((event["event"], event["source"], event["destination"], event["priority"]),
         ("submitted", src, "lh://a/", "low"), "--json")
    fields = rig.redis.stream(rig.key("tasks:low"))[0][1]
    same({k: fields[k] for k in fields if k not in ("v", "source", "destination")},
         {"retries": "forever", "streams": "3", "max-streams": "4", "limit-rate": "500000000",
          "share": "background", "block-size": "65536", "no-clobber": "1", "insecure": "1"},
         "what a task carries")
    same(fields["source"], src, "a relative name is completed")
    same(rig.task(event["task"]).get("state"), "queued", "status knows it by its id")
    got = rig.run("submit", src, "lh://a/", "http://b/")
    same((got.rc, got.out()), (USAGE, ""), "one wrong destination")
    same(rig.redis("XLEN", rig.key("tasks:normal")), 3, "and nothing was submitted")


def test_status():
    rig = Rig(receiver=False)
    got = rig.run("status")
    same((got.rc, len(got.out().splitlines())), (OK, 1), "an empty queue")
    ok("0 active, 0 queued" in got.out(), "says so")
    got = rig.run("submit", "/a", *["lh://h/%d" % i for i in range(40)])
    same(got.rc, OK, "forty tasks")
    text = rig.run("status").out()
    ok("40 queued" in text and "and 35 more" in text, "five of them are shown")
    same(len(re.findall(r"^queued ", text, re.M)), 5, "one line each")
    events = lines(rig.run("status", "--json"))
    same((events[0]["event"], events[0]["queued_normal"]), ("queue", 40), "--json: the numbers")
    same(len([e for e in events if e["event"] == "task"]), 40, "--json: all of them")
    id_ = got.out().split()[7]
    text = rig.run("status", id_).out()
    ok(id_ in text and "lh://h/7" in text and "queued" in text, "one in detail")
    fails(rig.run("status", "nobody"), USAGE, "no task 'nobody'", "one that is not there")
    fails(rig.run("status", "no body"), USAGE, "no task", "one that cannot be")
    text = rig.run("queue").out()
    ok(re.search(r"normal +40 +waiting", text) and "no worker" in text, "the queue at one look")
    events = lines(rig.run("queue", "--json"))
    same((events[0]["queued_normal"], events[0]["workers"]), (40, 0), "--json")
    elsewhere = rig.run("status", "--queue", "other")
    ok("0 queued" in elsewhere.out(), "the command line names another queue")


def test_names():
    """Names of any bytes, and what they must not do to a terminal or to JSON."""
    rig = Rig(receiver=False)
    evil = b"/tmp/\x1b[31m\xff\n\"x\""
    id_ = rig.submit(evil, "lh://h/%1B%FF")
    text = rig.run("status").out() + rig.run("status", id_).out()
    ok("\x1b" not in text and "\\x1b[31m\\xff\\x0a" in text, "made harmless for people")
    event = rig.task(id_)
    same(bytes.fromhex(event["source_hex"]), evil, "whole for programs")


def test_controls():
    rig = Rig(receiver=False)
    one = rig.submit("/a", "lh://h/1")
    two = rig.submit("/a", "lh://h/2")
    got = rig.run("pause", one, two)
    same((got.rc, got.out()), (OK, ""), "pause")
    ok("%s is paused" % one in got.err() and "%s is paused" % two in got.err(), "says so of both")
    same(rig.run("pause", one).rc, OK, "once more does no harm")
    same(rig.task(one)["state"], "paused", "it is paused")
    same(rig.run("resume", one).rc, OK, "resume")
    same(rig.task(one)["state"], "queued", "it is queued")
    event = lines(rig.run("cancel", two, "--json"))[0]
    same((event["task"], event["verb"], event["effect"], event["state"]),
         (two, "cancel", "ok", "cancelled"), "cancel --json")
    fails(rig.run("pause", two), REFUSED, "cancelled", "a cancelled one cannot be paused")
    same(rig.run("retry", two).rc, OK, "but retried")
    same(rig.task(two)["state"], "queued", "and is queued again")
    got = rig.run("cancel", "nobody", one)
    fails(got, USAGE, "no task 'nobody'", "one that is not there")
    same(rig.task(one)["state"], "cancelled", "the others have their turn all the same")


def test_redis_goes():
    rig = Rig(receiver=False, appendonly=True)
    rig.submit("/a", "lh://h/1")
    watch = rig.start("status", "--watch")
    wait_until("the first look", lambda: "lh://h/1" in watch.out())
    rig.redis.kill()
    wait_until("it says that Redis is away", lambda: "trying again" in watch.err())
    rig.redis.restart()
    wait_until("and that it is back", lambda: "connected" in watch.err())
    rig.submit("/a", "lh://h/2")
    wait_until("it goes on", lambda: "lh://h/2" in watch.out())
    watch.signal(signal.SIGINT)
    same(watch.wait(), INTERRUPTED, "Ctrl-C ends it")


def test_terminal():
    """On a terminal the watch draws over itself."""
    rig = Rig(receiver=False)
    rig.submit("/a", "lh://h/1")
    master, slave = pty.openpty()
    watch = subprocess.Popen([e2e.BIN, "status", "--watch"], stdin=slave, stdout=slave, stderr=slave,
                             env={**os.environ, **rig.env, "TERM": "xterm"})
    e2e.cleanup(watch.kill)
    os.close(slave)
    seen = b""
    while seen.count(b"lh://h/1") < 3:
        seen += os.read(master, 65536)
    watch.send_signal(signal.SIGINT)
    same(watch.wait(e2e.LIMIT), INTERRUPTED, "Ctrl-C ends it")
    os.close(master)
    ok(b"\x1b[2A\r" in seen and b"\x1b[J" in seen, "each look goes over the last one")


e2e.main()
