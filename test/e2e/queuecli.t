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
import socket
import subprocess
import threading

import e2e
from e2e import INTERRUPTED, MIB, NETWORK, OK, REFUSED, SOURCE, USAGE, Process, Proxy, Serve
from e2e import fails, is_copy, make, need, ok, run, same, wait_until
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
        return json.loads(got.out() or "{}")

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


def answer(listener, words):
    try:
        while True:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(words)
    except OSError:
        pass


def test_no_redis():
    got = run("queue", "--redis", "redis://user:%s@127.0.0.1:1/2" % SECRET)
    fails(got, NETWORK, r"cannot connect to Redis at redis://127\.0\.0\.1:1/2: connection refused; given up", "nobody there")
    ok(SECRET not in got.err() and got.out() == "", "the password is not shown")
    ok("hint:" in got.err(), "and there is something to be done")
    with socket.socket() as web:
        web.bind(("127.0.0.1", 0))
        web.listen(8)
        threading.Thread(target=answer, args=(web, b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True).start()
        got = run("queue", "--redis", "redis://127.0.0.1:%d" % web.getsockname()[1])
    fails(got, NETWORK, r"error: what answers at redis://127\.0\.0\.1:\d+ is not a Redis; given up",
          "something else is there")
    redis = Redis(password="right")
    got = run("queue", "--redis", redis.url(password="wrong" + SECRET))
    ok(got.rc in (NETWORK, REFUSED) and "password" in got.err().lower(), "a wrong password")
    ok(SECRET not in got.err(), "which is not shown")
    got = run("queue", "--redis", redis.url())
    ok(got.rc == OK and "right" not in got.out() + got.err(), "the right one, not shown either")
    redis("ACL", "SETUSER", "few", "on", ">few", "~*", "+eval", "+evalsha", "+ping")
    got = run("queue", "--redis", redis.url("few", "few"))
    fails(got, REFUSED, r"the user of Redis lacks a right; docs/queue.md lists what is needed", "no rights")
    ok("script:" not in got.err(), "without what Redis says of scripts")


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
                      "--share", "background", "--block-size", "64K", "--existing", "newer",
                      "--no-clobber", "--insecure", "--sparse")
    finally:
        os.chdir(here)
    event = lines(got)[0]
    same((event["event"], event["source"], event["destination"], event["priority"]),
         ("submitted", src, "lh://a/", "low"), "--json")
    fields = rig.redis.stream(rig.key("tasks:low"))[0][1]
    same({k: fields[k] for k in fields if k not in ("v", "source", "destination")},
         {"retries": "forever", "streams": "3", "max-streams": "4", "limit-rate": "500000000",
          "share": "background", "block-size": "65536", "existing": "newer", "no-clobber": "1",
          "insecure": "1", "sparse": "1"},
         "what a task carries")
    same(fields["source"], src, "a relative name is completed")
    got = rig.run("submit", "/tree/", "lh://t/", "--priority", "high", "--exclude", "*.o",
                  "--include", "a b/", "--links", "skip", "--preserve", "mode,acl", "--devices",
                  "--checksum", "-x", "--numeric-ids", "--stop-on-error", "--delete", "--max-delete", "5")
    same(got.rc, OK, "a tree")
    fields = rig.redis.stream(rig.key("tasks:high"))[0][1]
    same({k: fields[k] for k in fields if k not in ("v", "destination")},
         {"source": "/tree/", "filter": "- *.o\n+ a b/\n", "links": "skip",
          "preserve": "mode,acl", "devices": "1", "checksum": "1", "one-file-system": "1",
          "numeric-ids": "1", "stop-on-error": "1", "delete": "1", "max-delete": "5"}, "what a tree's task carries")
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
    rig.redis("EVAL", "for i = 1, 2460 do redis.call('XADD', KEYS[1], '*', 'v', 1, 'source', '/a', "
              "'destination', 'lh://h/') end", 1, rig.key("tasks:low"))
    events = lines(rig.run("status", "--json"))
    same(len({e["task"] for e in events if e["event"] == "task"}), 2500, "--json: all of very many")


def test_reader_goes():
    """Whoever reads the output may go away: no complaint, and the watch ends."""
    rig = Rig(receiver=False)
    rig.run("submit", "/a", *["lh://h/%d" % i for i in range(40)])
    for args in (["status", "--json"], ["status", "--watch", "--json"], ["status", "--watch"]):
        read, write = os.pipe()
        os.close(read)
        got = subprocess.run([e2e.BIN, *args], stdout=write, stderr=subprocess.PIPE, check=False,
                             env={**os.environ, **rig.env}, timeout=e2e.LIMIT)
        os.close(write)
        same((got.returncode, got.stderr), (INTERRUPTED, b""), " ".join(args))
    with open("/dev/full", "wb") as full:
        got = subprocess.run([e2e.BIN, "status", "--json"], stdout=full, stderr=subprocess.PIPE,
                             check=False, env={**os.environ, **rig.env}, timeout=e2e.LIMIT)
    ok(got.returncode == e2e.INTERNAL and b"No space" in got.stderr, "a full disk is told")


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


def test_redis_full():
    rig = Rig()
    tasks = [rig.submit(rig.source(), rig.url("%d" % i), "--limit-rate", "1M") for i in range(2)]
    rig.worker("--jobs", "2")
    for task in tasks:
        rig.until(task, "active")
    plain = "n" + rig.redis("XADD", rig.key("tasks:normal"), "*", "v", 1, "source", "/a",
                            "destination", "lh://h/1", "retries", 0)
    tasks.append(plain)
    rig.redis("CONFIG", "SET", "maxmemory", 1)
    fails(rig.run("submit", "/a", "lh://h/1"), REFUSED, r"Redis is full \(maxmemory\): nothing was changed",
          "a full Redis takes no new task")
    for verb, task, state in (("pause", tasks[0], "paused"), ("cancel", tasks[1], "cancelled"),
                              ("cancel", plain, "cancelled")):
        same(rig.run(verb, task).rc, OK, "but lets one %s" % verb)
        rig.until(task, state)
    rig.redis("CONFIG", "SET", "maxmemory", 0)


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


# ---- with a worker -----------------------------------------------------------------------------


def test_wait():
    rig = Rig()
    src = rig.source()
    rig.worker()
    got = rig.run("submit", "--wait", src, rig.url("a"), rig.url("b"))
    same((got.rc, len(got.out().split())), (OK, 2), "submit --wait")
    is_copy(src, os.path.join(rig.root, "a"), "the first is there when it ends")
    is_copy(src, os.path.join(rig.root, "b"), "and the second")
    id_ = got.out().split()[0]
    ok("done %s" % id_ in got.err(), "it says that it is done")
    task = rig.task(id_)
    same((task["state"], task["digest"], task["bytes_total"], task["worker"]),
         ("done", e2e.digest(src), 3 * MIB, "w1"), "status knows how it went")
    text = rig.run("status", id_).out()
    ok(e2e.digest(src) in text and "w1" in text, "in detail too")
    text = rig.run("queue").out()
    ok(re.search(r"^  done +2 ", text, re.M), "queue: two were done")
    ok(re.search(r"^  w1 .*0 of 4 ", text, re.M), "queue: the worker")
    events = lines(rig.run("queue", "--json"))
    same([e["worker"] for e in events if e["event"] == "worker"], ["w1"], "queue --json")
    got = rig.run("submit", "--wait", "--json", src, rig.url("c"))
    events = lines(got)
    same((got.rc, events[0]["event"], events[-1]["state"]), (OK, "submitted", "done"),
         "submit --wait --json")
    fails(rig.run("cancel", id_), REFUSED, "done", "what is done cannot be cancelled")


def test_dead():
    rig = Rig()
    rig.worker()
    src = os.path.join(e2e.dir(), "missing")
    got = rig.run("submit", "--wait", src, rig.url("a"))
    fails(got, SOURCE, "SOURCE", "no such source: exit code of the reason")
    id_ = got.out().strip()
    got = rig.run("queue", "dead")
    ok(got.rc == OK and id_ in got.out() and "SOURCE" in got.out(), "queue dead says why")
    event = lines(rig.run("queue", "dead", "--json"))[0]
    same((event["task"], event["state"], event["status"]), (id_, "dead", "SOURCE"),
         "queue dead --json")
    ok("1 dead" in rig.run("status").out(), "status counts it")
    make(src, MIB)
    same(rig.run("queue", "dead", "--requeue", id_).rc, OK, "back on the queue")
    rig.until(id_, "done")
    is_copy(src, os.path.join(rig.root, "a"), "and now it works")
    fails(rig.run("queue", "dead", "--drop", id_), USAGE, "no dead letter",
          "what is not dead is not dropped")
    same(rig.task(id_)["state"], "done", "and stays")
    os.unlink(src)
    ids = rig.run("submit", src, *[rig.url("d%d" % i) for i in range(3)]).out().split()
    for one in ids:
        rig.until(one, "dead")
    got = rig.run("retry", ids[0])
    same(got.rc, OK, "retry is for one of them")
    rig.until(ids[0], "dead")
    got = rig.run("queue", "dead", "--drop", "all", "--json")
    same((got.rc, lines(got)[-1].get("tasks")), (OK, 3), "all are dropped")
    got = rig.run("queue", "dead")
    same((got.rc, got.out()), (OK, ""), "none is left")
    fails(rig.run("status", ids[0]), USAGE, "no task", "they are forgotten")
    entry = rig.redis("XADD", rig.key("tasks:high"), "*", "v", 9, "sauce", "/a")
    rig.until("h" + entry, "dead")
    ok("'v'" in rig.run("queue", "dead").out(), "a malformed one says which field is wrong")


def test_active():
    """Pause, resume and cancel of what a worker is sending."""
    rig = Rig()
    src = rig.source(size=64 * MIB)
    slow = Proxy(rig.serve.port, rate=8 * MIB)
    rig.worker()
    id_ = rig.submit(src, rig.url("a", slow.port))
    watch = rig.start("status", "--watch", "--json", id_)
    wait_until("some of it is safe", lambda: rig.task(id_).get("bytes_durable", 0) > 0)
    text = rig.run("status", id_).out()
    ok(re.search(r"progress +\[.*\] +\d+%", text) and re.search(r"map +[#+>.]+$", text, re.M),
       "in detail: a bar and a map")
    ok("w1, heard of" in text and re.search(r"streams +\d", text), "worker and streams")
    ok(re.search(r"^active +%s.*\n +\[=*>" % re.escape(id_), rig.run("status").out(), re.M),
       "in the list: a line and a bar")
    got = rig.run("pause", id_)
    ok(got.rc == OK and "told" in got.err(), "the worker is told to pause")
    rig.until(id_, "paused")
    held = rig.task(id_)
    ok(0 < held["bytes_durable"] < 64 * MIB, "paused in the middle")
    wait_until("the watch has seen that", lambda: '"state":"paused"' in watch.out())
    same(rig.run("resume", id_).rc, OK, "resume")
    rig.until(id_, "done")
    is_copy(src, os.path.join(rig.root, "a"), "the same contents")
    same(watch.wait(), OK, "the watch of one task ends with it")
    states = [e["state"] for e in lines(watch)]
    ok("active" in states and "paused" in states and states[-1] == "done", "and saw it all")
    waiting = rig.start("submit", "--wait", src, rig.url("b", slow.port))
    id_ = wait_until("an id", lambda: waiting.out().strip())
    rig.until(id_, "active")
    same(rig.run("cancel", id_).rc, OK, "cancel")
    same(waiting.wait(), INTERRUPTED, "submit --wait: cancelled by somebody")
    same(rig.task(id_)["state"], "cancelled", "it is cancelled")
    waiting = rig.start("submit", "--wait", src, rig.url("c", slow.port))
    id_ = wait_until("an id", lambda: waiting.out().strip())
    waiting.signal(signal.SIGINT)
    same(waiting.wait(), INTERRUPTED, "Ctrl-C ends the waiting")
    ok("go on" in waiting.err(), "and says that the task goes on")
    ok(rig.task(id_)["state"] in ("queued", "active"), "so it does")


def test_producers():
    """The contract, used by a shell script with redis-cli and by a program in C with hiredis."""
    rig = Rig(tcp=True)
    src = rig.source()
    rig.worker()
    got = subprocess.run([os.path.join(EXAMPLES, "producer.sh"), src, rig.url("shell"), "high"],
                         env={**os.environ, "REDIS": rig.redis.tcp_url(), "QUEUE": "films"},
                         capture_output=True, check=False, text=True)
    need(got.returncode == 0, "redis-cli alone: " + got.stderr)
    rig.until(got.stdout.strip(), "done")
    is_copy(src, os.path.join(rig.root, "shell"), "a task of the shell's is done")
    program = os.path.join(e2e.dir(), "producer")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "hiredis"], capture_output=True,
                           check=True, text=True).stdout.split()
    got = subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", program,
                          os.path.join(EXAMPLES, "producer.c"), *flags],
                         capture_output=True, check=False, text=True)
    need(got.returncode == 0, "the example in C compiles: " + got.stderr)
    got = subprocess.run([program, "127.0.0.1", str(rig.redis.port), "films", src, rig.url("c")],
                         capture_output=True, check=False, text=True)
    need(got.returncode == 0, "and runs: " + got.stderr)
    rig.until(got.stdout.strip(), "done")
    is_copy(src, os.path.join(rig.root, "c"), "a task of the C program's is done")
    for args, words in (([], "usage"), (["/a", "lh://h/", "high", "more"], "usage")):
        got = subprocess.run([os.path.join(EXAMPLES, "producer.sh"), *args], capture_output=True,
                             check=False, text=True)
        ok(got.returncode == 2 and words in got.stderr, "producer.sh: usage")


e2e.main()
