#!/usr/bin/python3
"""Workers and a queue: what is left half done, anybody finishes; what is done is acknowledged once."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import signal
import time

import e2e
from e2e import KIB, MIB, Serve, Shim, is_copy, need, ok, same
from fleet import Fleet, file_of
from redis import Redis

SLOW = "64M"  # bits a second: 8 MB/s, so that there is something to interrupt
SLOWER = "32M"  # where more comes before that than one look at its progress, of which there is one a second
SIZE = 24 * MIB + 1


def begin(*serve_args, **redis_args):
    redis = Redis(**redis_args)
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at, "--commit-interval", "100ms", *serve_args)
    return Fleet(redis), serve, at


def test_a_plain_entry():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    worker = fleet.worker("a")
    entry = fleet.redis("XADD", fleet.base + "tasks:normal", "*", "v", 1, "source", src,
                        "destination", serve.url("dir/name"))
    task = "n" + entry
    fleet.until(task, "done")
    is_copy(src, os.path.join(at, "dir/name"), "what XADD asked for is there")
    same(fleet.undone(), 0, "acknowledged and removed")
    same(fleet.task(task).get("digest"), e2e.digest(src), "the digest is known")
    same(fleet.task(task).get("bytes"), str(SIZE), "and the size")
    same(fleet.done_times(task), 1, "done, once")
    event = worker.until("done", task)
    ok(event["acknowledged"] and event["bytes_sent"] >= SIZE, "the worker says so")
    ok(worker.last("taken", task)["attempt"] == 1, "and that it was taken")


def test_sparse():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    with open(src, "r+b") as f:
        f.seek(MIB)
        f.write(bytes(16 * MIB))
    fleet.worker("a")
    fleet.add("f", src, serve.url("name"), sparse="1")
    fleet.add("t", os.path.dirname(src) + "/", serve.url("dir"), sparse="1", filter="+ source\n- *")
    for task, name in (("f", "name"), ("t", "dir/source")):
        fleet.until(task, "done")
        is_copy(src, os.path.join(at, name), "%s: the same contents" % name)
        ok(os.stat(os.path.join(at, name)).st_blocks * 512 <= SIZE - 15 * MIB,
           "%s: zeros are holes" % name)


@e2e.long
def test_acknowledged_after_the_rename():
    fleet, _, at = begin()
    shim = Shim()
    shim.set("rename", stall_ms=600000)
    serve = Serve(at, env=shim.env)
    src = file_of("source", MIB)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"))
    e2e.wait_until("the rename", lambda: shim.hits("rename"))
    heard = fleet.worker_line("a")
    e2e.wait_until("the next report", lambda: fleet.worker_line("a") != heard)
    same(fleet.undone(), 1, "before the rename it is not acknowledged")
    same(fleet.state("t"), "active", "nor done")
    ok(not os.path.exists(os.path.join(at, "name")), "the file has no name yet")
    serve.kill()
    serve = Serve(at, listen="127.0.0.1:%d" % serve.port)
    fleet.until("t", "done")
    is_copy(src, os.path.join(at, "name"), "the next receiver finishes it")
    same(fleet.undone(), 0, "then it is acknowledged")
    worker.until("done", "t")


def test_two_workers_share():
    fleet, serve, at = begin()
    src = file_of("source", 8 * MIB)
    workers = [fleet.worker(n, "--jobs", "1") for n in "ab"]
    for worker in workers:
        worker.until("up")
    # Else the one that has ended the first might take the second, too.
    e2e.wait_until("both wait for a task", lambda: fleet.redis.info("clients")["blocked_clients"] == "2")
    for i in range(2):
        fleet.add("big%d" % i, src, serve.url("big%d" % i), limit_rate=SLOW)
    for i in range(40):
        fleet.add("t%d" % i, src if i == 0 else file_of("s%d" % i, 4 * KIB, i), serve.url("t%d" % i))
    names = ["big0", "big1"] + ["t%d" % i for i in range(40)]
    for name in names:
        fleet.until(name, "done")
    same(len(e2e.visible(at)), 42, "all files are there")
    ok(all(fleet.done_times(n) == 1 for n in names), "each was acknowledged once")
    same(sorted(fleet.task("big%d" % i)["worker"] for i in range(2)), ["a", "b"],
         "each worker took what it could start, and no more")
    same(sum(len(w.events("done")) for w in workers), 42, "nothing was done twice")


def test_killed_worker():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    first = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOWER)
    durable = first.until_durable("t", MIB)
    moved = [e for e in first.events("progress", "t") if e["bytes_durable"] > 0][0]
    ok(moved["rate_bps"] > 0, "with the first bytes it is known how fast")
    heard = e2e.wait_until("that is reported", lambda: [t for t in [fleet.task("t")] if t.get("bytes", "0") != "0"])
    ok(int(heard[0]["rate_bps"]) > 0, "and reported")
    second = fleet.worker("b")
    second.until("up")
    first.kill()
    killed = time.monotonic()
    taken = second.until("taken", "t")
    e2e.diag("taken over %.1f s after kill -9; the claim time is 2 s" % (time.monotonic() - killed))
    ok(taken["reaped"] and taken["attempt"] == 2, "another worker takes it over")
    fleet.until("t", "done")
    is_copy(src, os.path.join(at, "name"), "and finishes it")
    done = second.until("done", "t")
    ok(done["bytes_skipped"] >= durable, "from where it was")
    ok(done["bytes_sent"] < SIZE, "not from the beginning")
    same(fleet.task("t")["workers"], "a,b", "both are named")


def test_stopped_worker_is_fenced():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    first = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOW)
    first.until_durable("t", MIB)
    first.signal(signal.SIGSTOP)
    second = fleet.worker("b")
    taken = second.until("taken", "t")
    first.signal(signal.SIGCONT)
    lost = first.until("lost", "t")
    ok(lost["claim"] < taken["claim"], "when it wakes, its claim is the older one: lost")
    fleet.until("t", "done")
    is_copy(src, os.path.join(at, "name"), "the other one finishes it")
    same(fleet.task("t")["worker"], "b", "nor is it stolen back")
    same(fleet.done_times("t"), 1, "it was acknowledged once")
    same(first.events("done", "t"), [], "not by the one that slept")
    second.kill()
    fleet.add("u", src, serve.url("other"))
    fleet.until("u", "done")
    ok(first.until("done", "u")["acknowledged"], "which takes the next task as ever")


def test_two_tasks_with_one_destination():
    fleet, serve, at = begin()
    sources = [file_of("one", SIZE, 1), file_of("two", SIZE, 2)]
    workers = [fleet.worker(name, "--jobs", "2") for name in ("a", "b")]
    for n, src in enumerate(sources):
        fleet.add("t%d" % n, src, serve.url("name"), limit_rate=SLOW)
    for n in 0, 1:
        fleet.until("t%d" % n, "done")
    last = max((0, 1), key=lambda n: int(fleet.task("t%d" % n)["ended_ms"]))
    is_copy(sources[last], os.path.join(at, "name"), "both end; the last one has the name")
    same(sum(len(w.events("lost")) for w in workers), 0, "neither was taken away for the other")


def through_trouble(how, begin_trouble, end_trouble, known):
    """A transfer in the middle of which Redis gets into trouble."""
    fleet, serve, at = begin(appendonly=how == "killed")
    src = file_of("source", SIZE)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOWER)
    worker.until_durable("t", MIB)
    begin_trouble(fleet.redis)
    before = worker.durable("t")
    after = worker.until_durable("t", before + 4 * MIB)
    ok(after > before, "%s: bytes go on being made durable" % how)
    end_trouble(fleet.redis)
    done = worker.until("done", "t")
    is_copy(src, os.path.join(at, "name"), "%s: the file is the same" % how)
    same(done["reconnects"], 0, "%s: the transfer was not disturbed" % how)
    same(done["attempt"], 1, "%s: nor begun again" % how)
    if known:
        fleet.until("t", "done")
        same(fleet.undone(), 0, "%s: acknowledged in the end" % how)
    else:
        ok(not done["acknowledged"], "%s: nobody is left to acknowledge it to" % how)
    # Whatever happened, the queue works.
    fleet.add("next", src, serve.url("next"))
    fleet.until("next", "done")
    is_copy(src, os.path.join(at, "next"), "%s: the next task is done" % how)


def test_redis_stops_for_a_while():
    through_trouble("stopped", lambda r: r.pause(), lambda r: r.resume(), True)


def test_redis_is_killed():
    through_trouble("killed", lambda r: r.kill(), lambda r: r.restart(), True)


def test_redis_is_emptied():
    through_trouble("emptied", lambda r: r.kill(), lambda r: r.empty(), False)


def test_redis_is_full():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOW)
    worker.until_durable("t", MIB)
    fleet.redis("CONFIG", "SET", "maxmemory", 1)
    e2e.wait_until("the file", lambda: os.path.exists(os.path.join(at, "name")))
    is_copy(src, os.path.join(at, "name"), "with Redis full the file comes to its end")
    fleet.redis("CONFIG", "SET", "maxmemory", 0)
    fleet.until("t", "done")
    same(fleet.undone(), 0, "and is acknowledged when there is room")
    same(worker.until("done", "t")["attempt"], 1, "by the same worker")


def test_redis_takes_no_writes():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOWER)
    worker.until_durable("t", MIB)
    fleet.redis("CONFIG", "SET", "min-replicas-to-write", 1)
    e2e.wait_until("the file", lambda: os.path.exists(os.path.join(at, "name")))
    e2e.wait_until("the worker is refused", lambda: "cannot tell outcomes" in worker.err())
    is_copy(src, os.path.join(at, "name"), "with Redis refusing writes the file comes to its end")
    same(fleet.undone(), 1, "which cannot be acknowledged yet")
    fleet.redis("CONFIG", "SET", "min-replicas-to-write", 0)
    fleet.until("t", "done")
    same(fleet.undone(), 0, "but is when they are taken again")
    same(worker.until("done", "t")["attempt"], 1, "by the same worker")


@e2e.long
def test_a_repeat_moves_nothing():
    fleet, _, at = begin()
    shim = Shim()
    shim.set("renamed", stall_ms=600000)
    serve = Serve(at, env=shim.env)
    src = file_of("source", SIZE)
    first = fleet.worker("a")
    fleet.add("t", src, serve.url("name"))
    e2e.wait_until("the rename", lambda: shim.hits("renamed"))
    inode = os.stat(os.path.join(at, "name")).st_ino
    first.kill()
    serve.kill()
    serve = Serve(at, listen="127.0.0.1:%d" % serve.port)
    same(fleet.undone(), 1, "both were killed between rename and acknowledgement")
    second = fleet.worker("b")
    fleet.until("t", "done")
    done = second.until("done", "t")
    same(done["bytes_sent"], 0, "nothing is sent again")
    same(done["digest"], e2e.digest(src), "the receiver's record answers")
    same(os.stat(os.path.join(at, "name")).st_ino, inode, "and the file is left as it is")


def test_what_is_there_stays():
    fleet, serve, at = begin()
    src = file_of("source", MIB)
    target = os.path.join(at, "name")
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"))
    fleet.until("t", "done")
    inode = os.stat(target).st_ino
    fleet.add("again", src, serve.url("name"))
    fleet.until("again", "done")
    same(worker.until("done", "again")["bytes_sent"], 0, "nothing is sent again")
    same(fleet.task("again").get("digest", ""), "", "what was not looked at has no digest")
    same(os.stat(target).st_ino, inode, "and the file is left as it is")
    fleet.add("replace", src, serve.url("name"), existing="replace")
    fleet.until("replace", "done")
    ok(os.stat(target).st_ino != inode, "unless the task says to replace it")
    same(fleet.task("replace").get("digest"), e2e.digest(src), "then there is a digest")


def test_receiver_lost_the_file():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    first = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOWER)
    first.until_durable("t", 8 * MIB)
    e2e.wait_until("that is on record", lambda: int(fleet.task("t").get("bytes", 0)) >= 4 * MIB)
    first.kill()
    serve.kill()
    for name in os.listdir(at):
        os.unlink(os.path.join(at, name))
    serve = Serve(at, "--commit-interval", "100ms", listen="127.0.0.1:%d" % serve.port)
    second = fleet.worker("b")
    fleet.until("t", "done")
    done = second.until("done", "t")
    same(done["bytes_skipped"], 0, "what stands in Redis is nothing to a receiver that has lost it")
    ok(done["bytes_sent"] >= SIZE, "all of it is sent again")
    is_copy(src, os.path.join(at, "name"), "and arrives")


def test_receiver_away():
    fleet, serve, at = begin()
    src = file_of("source", MIB)
    serve.stop()
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"))
    fleet.add("few", src, serve.url("few"), retries=1)
    e2e.wait_until("two attempts have failed", lambda: len(worker.events("retry", "t")) >= 2)
    first, second = worker.events("retry", "t")[:2]
    same(first["status"], "CONNECT", "a receiver that is away is a reason to try again")
    ok(500 <= first["due_ms"] <= 1000 <= second["due_ms"] <= 2000, "later and later")
    fleet.until("few", "dead")
    ok("connect" in fleet.dead()["few"].lower(), "with retries=1 the second failure is the last")
    same(fleet.task("few")["error_status"], "CONNECT", "the dead letter says why")
    serve = Serve(at, listen="127.0.0.1:%d" % serve.port)
    fleet.until("t", "done")
    is_copy(src, os.path.join(at, "name"), "when the receiver is back it is done")
    same(fleet.undone(), 0, "nothing is left on the queue")


def test_hopeless_tasks():
    fleet, serve, at = begin()
    src = file_of("source", MIB)
    fleet.add("missing", "/nowhere/at/all", serve.url("a"))
    fleet.add("outside", src, serve.url("../a"))
    fleet.add("device", "/dev/null", serve.url("a"))
    fleet.add("badrate", src, serve.url("a"), limit_rate="fast")
    fleet.redis("XADD", fleet.base + "tasks:normal", "*", "v", "2", "task", "version",
                "source", src, "destination", serve.url("a"))
    fleet.redis("XADD", fleet.base + "tasks:normal", "*", "v", "1", "task", "nodest", "source", src)
    odd = fleet.redis("XADD", fleet.base + "tasks:normal", "*", "hello", "world")
    fleet.add("good", src, serve.url("good"))
    worker = fleet.worker("a")
    fleet.until("good", "done")
    is_copy(src, os.path.join(at, "good"), "a good task behind them is done")
    why = {"missing": "/nowhere/at/all", "outside": "..", "device": "regular", "badrate": "limit-rate",
           "version": "v", "nodest": "destination", "n" + odd: "v"}
    for task in why:
        fleet.until(task, "dead")
    dead = fleet.dead()
    same(sorted(dead), sorted(why), "seven dead letters")
    for task, words in why.items():
        if not ok(words in dead.get(task, ""), "%s: a dead letter that says why" % task):
            e2e.diag(dead)
    same(fleet.undone(), 0, "none of them stops the queue")
    same(worker.events("retry"), [], "nor is any tried again")


def test_no_receiver_starves():
    fleet, serve, at = begin()
    hung = Serve(at, "--commit-interval", "100ms")
    src = file_of("source", MIB)
    hung.signal(signal.SIGSTOP)
    for i in range(12):
        fleet.add("hung%d" % i, src, hung.url("hung%d" % i), priority="high")
    for i in range(4):
        fleet.add("t%d" % i, src, serve.url("t%d" % i))
    fleet.worker("a", "--jobs", "2", "--jobs-per-host", "1")
    for i in range(4):
        fleet.until("t%d" % i, "done")
    same(sum(fleet.state("hung%d" % i) == "done" for i in range(12)), 0,
         "tasks to another receiver pass those to one that hangs")
    hung.signal(signal.SIGCONT)
    for i in range(12):
        fleet.until("hung%d" % i, "done")
    same(len(e2e.visible(at)), 16, "and those are done when it is back")
    same(fleet.undone(), 0, "all of them")


def test_put_back_at_the_end():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    first = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOWER)
    durable = first.until_durable("t", MIB)
    first.signal(signal.SIGTERM)
    same(first.wait(), 0, "SIGTERM: exit code 0")
    same(fleet.state("t"), "queued", "its task is back on the queue at once")
    same(fleet.claimed(), 0, "and held by nobody")
    same(fleet.task("t")["attempts"], "0", "which is no attempt")
    same(fleet.worker_line("a"), None, "the worker is listed no more")
    second = fleet.worker("b")
    fleet.until("t", "done")
    ok(second.until("done", "t")["bytes_skipped"] >= durable, "another worker goes on from there")
    is_copy(src, os.path.join(at, "name"), "to its end")


def test_asked_to_pause():
    fleet, serve, at = begin()
    src = file_of("source", SIZE)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate=SLOWER)
    worker.until_durable("t", MIB)
    fleet.redis("HSET", fleet.base + "task:t", "want", "paused")
    fleet.until("t", "paused")
    worker.until("paused", "t")
    same(fleet.claimed(), 0, "paused: held by nobody")
    ok(not os.path.exists(os.path.join(at, "name")), "and not done")
    ok(int(fleet.task("t")["bytes"]) >= MIB, "what is durable is on record")


def test_recorded_is_durable():
    fleet, serve, at = begin("--commit-interval", "1h", "--commit-bytes", "1T")
    src = file_of("source", SIZE)
    worker = fleet.worker("a")
    fleet.add("t", src, serve.url("name"), limit_rate="16M")
    e2e.wait_until("a record", lambda: fleet.redis("XLEN", fleet.base + "progress:t"))
    ok(worker.last("progress", "t")["bytes_sent"] > 0, "much has been sent")
    record = fleet.redis.stream(fleet.base + "progress:t")[0][1]
    same((record["ranges"], record["bytes"]), ("", "0"), "on record is only what was committed: nothing")
    same(record["total"], str(SIZE), "and the size")
    ok(fleet.task("t").get("inflight"), "what is in flight is told apart")
    need(worker.alive(), "the worker is well")
    ok(not os.path.exists(os.path.join(at, "name")), "and not done yet")


def test_password_user_and_database():
    redis = Redis(password="sesame", users=("mover on >p%40ss/w:rd ~longhaul:* &* +@all",), tcp=True)
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at)
    src = file_of("source", MIB)
    fleet = Fleet(redis, name="night", url=redis.tcp_url(user="mover", password="p%40ss/w:rd", db=3))
    worker = fleet.worker("a")
    worker.until("up")
    redis("SELECT", 3)
    fleet.add("t", src, serve.url("name"))
    fleet.until("t", "done")
    is_copy(src, os.path.join(at, "name"), "user, password, database and queue are as the URL says")
    wrong = Fleet(redis, url=redis.tcp_url(user="mover", password="wrong")).worker("b")
    down = wrong.until("down")
    ok("wrong" not in down["message"] and "sesame" not in down["message"], "no password is ever shown")
    ok(wrong.alive(), "a worker that is not let in tries again")


def test_cluster():
    nodes = [Redis(cluster=True), Redis(cluster=True)]
    for i, node in enumerate(nodes):
        node("CLUSTER", "ADDSLOTS", *range(8192 * i, 8192 * (i + 1)))
    nodes[0]("CLUSTER", "MEET", "127.0.0.1", nodes[1].port)
    e2e.wait_until("a cluster", lambda: all("cluster_state:ok" in n("CLUSTER", "INFO") for n in nodes))
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    serve = Serve(at)
    src = file_of("source", MIB)
    for name in ("default", "other"):
        home = nodes[0]("CLUSTER", "KEYSLOT", "longhaul:{%s}:meta" % name) // 8192
        fleet = Fleet(nodes[home], name, url=nodes[1 - home].tcp_url())
        worker = fleet.worker("a")
        fleet.add("t", src, serve.url(name))
        fleet.until("t", "done")
        is_copy(src, os.path.join(at, name), "queue %s: its node is found by way of another" % name)
        same((worker.events("down"), worker.err()), ([], ""), "and nothing is said of that")
        got = e2e.run("status", "--queue", name, "--redis", fleet.url)
        ok(got.rc == 0 and "done " in got.out() and got.err() == "", "nor by a command")


def lines_with(worker, words):
    return [line for line in worker.err().splitlines() if words in line]


def test_said_once():
    redis = Redis()
    redis.kill()
    args = ["worker", "--name", "a", "--redis", redis.url()]
    worker = e2e.Process(args + ["-vv"])
    e2e.wait_until("some tries", lambda: len(lines_with(worker, "debug: redis status=CONNECT")) >= 4)
    said = lines_with(worker, "trying again")
    same(len(said), 1, "that there is no Redis is said once, however often it is tried")
    ok(said[0].startswith("longhaul: worker a: cannot connect to Redis at unix://"), said[0])
    redis.restart()
    e2e.wait_until("connected", lambda: lines_with(worker, "worker a: connected"))
    redis("CONFIG", "SET", "requirepass", "sesame")
    redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    e2e.wait_until("the other reason", lambda: lines_with(worker, "wants a password"))
    ok(len(lines_with(worker, "trying again")) > 1, "another reason is said again")
    same(lines_with(worker, "warning:"), [], "in no other line besides")
    events = e2e.Process(["worker", "--json", "--redis", redis.url(password="wrong"), "-vv"])
    e2e.wait_until("some tries", lambda: len(lines_with(events, "debug: redis status=REFUSED")) >= 4)
    same(events.out().count('"down"'), 1, "--json: once as well")


def test_redis_cannot_is_said_once():
    fleet, serve, at = begin()
    worker = fleet.worker("a", "-vv")
    worker.until("up")
    fleet.redis("SET", fleet.base + "delayed", "damaged")
    e2e.wait_until("some tries", lambda: len(lines_with(worker, "cannot take tasks")) >= 3)
    said = lines_with(worker, "warning: queue: cannot take tasks")
    same(len(said), 1, "what keeps it from taking tasks is said once")
    ok("WRONGTYPE" in said[0] and "script" not in said[0], "without what Redis says of scripts")
    fleet.redis("DEL", fleet.base + "delayed")
    src = file_of("source", MIB)
    fleet.add("t", src, serve.url("name"))
    fleet.until("t", "done")
    fleet.redis("FLUSHALL")
    worker.until("down")
    fleet.add("u", src, serve.url("other"))
    fleet.until("u", "done")
    same(len(lines_with(worker, "warning:")), 1, "that Redis was emptied is told as `down` alone")
    ok("forgotten" in worker.last("down")["message"] or "removed" in worker.last("down")["message"],
       worker.last("down")["message"])


e2e.main()
