#!/usr/bin/python3
"""Everything goes wrong at once, again and again, and every task still ends right.

Workers are killed, stopped for longer than the claim time and started again; the receiver stops now
and then; Redis is restarted twice and once forgets everything, after which the producer submits again
what it does not know to be done. At the end every file is there as it was sent, every task is
acknowledged or a dead letter for a true reason, and the trace of the receiver's writes
(test/lib/writes.py) shows that no file ever had two writers.

    LH_STORM_SEED=N   what is random is this again (times are not)
    LH_STORM=full     bigger files, for some minutes; else what takes about one
"""
import json
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import redis
import writes
from e2e import KIB, MIB, Net, Process, Serve, make, ok, same

FULL = os.environ.get("LH_STORM") == "full"
SEED = int(os.environ.get("LH_STORM_SEED") or random.SystemRandom().randrange(1 << 32))
N_WORKERS, N_GOOD = 8, 194
CLAIM_S = 3.0
LIMIT_S = 1200 if FULL else 600  # a storm that hangs
KEYS = "longhaul:{storm}:"
# What makes a dead letter, and the words that must stand there.
BAD = {
    "bad-version": ({"v": "9"}, "INVAL", "9"),
    "bad-streams": ({"streams": "many"}, "INVAL", "streams"),
    "bad-url": ({"destination": "http://x/y"}, "INVAL", "destination|lh://"),
    "bad-source": ({"source": "/nowhere/at/all"}, "SOURCE", "nowhere"),
    "bad-path": ({"destination": "{url}../above"}, "PATH|INVAL", "above|\\.\\."),
    "bad-kind": ({"source": "/dev/null"}, "SOURCE_KIND", "/dev/null"),
}


def sizes(rng):
    """194 files: empty ones, small ones, ones of one block and a byte, and some that take a while."""
    big = (64, 20) if FULL else (12, 4)
    found = [0, 1, 256 * KIB, 256 * KIB + 1, big[0] * MIB, big[0] * MIB + 1]
    found += [rng.randrange(1, 64 * KIB) for _ in range(80)]
    found += [rng.randrange(64 * KIB, 2 * MIB) for _ in range(N_GOOD - 80 - 6 - 28)]
    found += [rng.randrange(big[1] * MIB // 4, (big[0] if FULL else 3 * big[1]) * MIB // 2) for _ in range(28)]
    rng.shuffle(found)
    return found


class Storm:
    def __init__(self, rng):
        self.rng = rng
        self.at = {name: os.path.join(e2e.dir(), name) for name in ("source", "root")}
        for path in self.at.values():
            os.mkdir(path)
        self.net = self.counted()
        self.redis = redis.Redis(appendonly=True)
        self.trace = writes.Writes()
        where = {"listen": Net.B + ":0", "wrap": self.net.in_b()} if self.net else {}
        self.serve = Serve(self.at["root"], "--holder-timeout", "4s",
                           *(["--insecure"] if self.net else []), env=self.trace.env, **where)
        self.url = self.serve.url(host=Net.B if self.net else "127.0.0.1").decode()
        self.tasks = {}
        self.sizes = {}
        self.known_done = set()
        self.workers = [None] * N_WORKERS
        self.stopped = {}  # process: goes on at
        self.n = {"killed": 0, "stopped": 0, "receiver": 0, "submitted again": 0}
        self.starts = 0

    @staticmethod
    def counted():
        """A pair of network namespaces whose interfaces count bytes; None where that cannot be."""
        try:
            net = Net()
            net.rate(200 if FULL else 60)
            return net
        except e2e.Skip as why:  # the tasks are limited themselves then
            e2e.diag("bytes are not counted: %s" % why)
            return None

    # ---- the producer

    def prepare(self):
        for i, size in enumerate(sizes(self.rng)):
            name = "t%03d" % i
            self.sizes[name] = size
            self.tasks[name] = {"source": make(os.path.join(self.at["source"], name), size, i + 1),
                                "destination": self.url + name}
        for name, (fields, _, _) in BAD.items():
            self.tasks[name] = {"source": self.tasks["t000"]["source"], "destination": self.url + name}
            self.tasks[name].update({k: v.replace("{url}", self.url) for k, v in fields.items()})

    def submit(self, names):
        """As any producer can: a plain XADD for each."""
        for name in names:
            fields = {"v": 1, "task": name, "retries": "forever", "insecure": 1, **self.tasks[name]}
            if not self.net:
                fields["limit-rate"] = "40M" if FULL else "10M"
            priority = self.rng.choice(("high", "normal", "normal", "low"))
            self.redis("XADD", KEYS + "tasks:" + priority, "*", *sum(fields.items(), ()))

    def state(self, name):
        return self.redis("HGET", KEYS + "task:" + name, "state")

    def look(self):
        """Which tasks are settled, as the producer sees it; None while Redis is away."""
        try:
            settled = {name for name in self.tasks if name in self.known_done or self.state(name) in ("done", "dead")}
        except (OSError, redis.Error):
            return None
        self.known_done |= {name for name in settled if name not in BAD}
        return settled

    # ---- what happens

    def start_worker(self, i):
        self.starts += 1
        self.workers[i] = Process(
            ["worker", "--redis", self.redis.url(), "--queue", "storm", "--verbose", "--jobs", "4", "--name", "w%d" % i,
             "--claim-time", "%ds" % CLAIM_S], wrap=self.net.in_a() if self.net else ())

    def running(self):
        return [i for i, w in enumerate(self.workers) if w.alive() and w not in self.stopped]

    def kill_one(self):
        """The one that dies may just have been stopped."""
        i = self.rng.randrange(N_WORKERS)
        self.stopped.pop(self.workers[i], None)
        self.workers[i].kill()
        self.n["killed"] += 1
        self.start_worker(i)

    def stop(self, process, seconds, what):
        process.signal(signal.SIGSTOP)
        self.stopped[process] = time.monotonic() + seconds
        self.n[what] += 1

    def go_on(self):
        for process in [p for p, until in self.stopped.items() if until <= time.monotonic()]:
            del self.stopped[process]
            process.signal(signal.SIGCONT)

    def check_workers(self):
        """None of them ends by itself."""
        for i, worker in enumerate(self.workers):
            if not worker.alive():
                ok(False, "worker %d goes on" % i)
                worker.show()
                self.start_worker(i)

    def forget(self):
        self.redis.empty()
        again = [name for name in self.tasks if name not in self.known_done]
        self.submit(again)
        self.n["submitted again"] = len(again)

    def run(self):
        """Until every task is settled. What befalls Redis comes at shares of the tasks, so that it
        does in any case; the rest comes by the clock."""
        self.prepare()
        self.submit(self.tasks)
        for i in range(N_WORKERS):
            self.start_worker(i)
        plan = [(0.15, self.restart), (0.3, self.pause_receiver), (0.45, self.forget), (0.6, self.pause_receiver),
                (0.75, self.restart_kindly)]
        begun = time.monotonic()
        next_blow = begun + 1
        while time.monotonic() < begun + LIMIT_S:
            settled = self.look()
            if settled is not None and len(settled) == len(self.tasks) and not plan:
                e2e.diag("settled after %.0f s" % (time.monotonic() - begun))
                return
            if plan and settled is not None and len(settled) >= plan[0][0] * len(self.tasks):
                plan.pop(0)[1]()
            self.go_on()
            self.check_workers()
            if time.monotonic() >= next_blow:
                next_blow += 1
                self.kill_one()
                if self.n["killed"] % 2 and len(self.running()) > 3:
                    self.stop(self.workers[self.rng.choice(self.running())], CLAIM_S * 1.5, "stopped")
            time.sleep(0.1)
        ok(False, "every task is settled within %d s" % LIMIT_S)
        self.show_unsettled()
        raise e2e.Stop("storm")

    def restart(self):
        self.redis.kill()
        time.sleep(self.rng.random() * 2)
        self.redis.restart()

    def restart_kindly(self):
        self.redis.stop()
        self.redis.restart()

    def pause_receiver(self):
        self.stop(self.serve, 5, "receiver")

    def show_unsettled(self):
        for name in sorted(set(self.tasks) - self.known_done - set(BAD)):
            e2e.diag("%s: %s" % (name, self.redis.hash(KEYS + "task:" + name)))
        for worker in self.workers:
            worker.show()

    # ---- afterwards

    def calm(self):
        """The sky clears: whoever is stopped goes on, then everybody ends in order."""
        for process in list(self.stopped):
            process.signal(signal.SIGCONT)
        self.stopped.clear()
        for worker in self.workers:  # one that has only just been started does not listen yet
            e2e.wait_until("the worker is there", lambda w=worker: "connected" in w.err())
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        codes = [worker.wait() for worker in self.workers]
        same(codes, [0] * N_WORKERS, "every worker ends when asked")

    def check(self):
        root, source = self.at["root"], self.at["source"]
        names = sorted(self.sizes)
        same(e2e.visible(root), [os.fsencode(n) for n in names], "every file is there, and no other")
        wrong = [n for n in names if not e2e.equal(os.path.join(source, n), os.path.join(root, n))]
        same(wrong, [], "with its contents")
        self.check_redis()
        self.serve.stop()
        judged = self.trace.judge("no file ever had two writers")
        ok(judged.takeovers() > 0, "and files did change hands")
        self.check_left(judged)
        return judged

    def check_redis(self):
        for priority in ("high", "normal", "low"):
            key = KEYS + "tasks:" + priority
            same((self.redis("XLEN", key), self.redis("XPENDING", key, "workers")[0]), (0, 0),
                 "the stream %s is empty, and nothing is pending" % priority)
        for key in ("delayed", "paused", "active"):
            same(self.redis("EXISTS", KEYS + key), 0, "nothing is %s" % key)
        dead = self.redis("ZRANGE", KEYS + "dead", 0, -1)
        same(sorted(dead), sorted(BAD), "the dead letters are those that must be")
        for name, (_, status, words) in BAD.items():
            found = self.redis.hash(KEYS + "task:" + name)
            why = (found.get("error_status", ""), found.get("error", ""))
            if not ok(e2e.re.fullmatch(status, why[0]) and e2e.re.search(words, why[1]), name + ": for its reason"):
                e2e.diag(why)

    def check_left(self, judged):
        """Done records may be left, of files whose sender died before it could say that it knows."""
        got = e2e.run("partials", "--json", "--root", self.at["root"])
        left = [json.loads(line) for line in got.out().splitlines()]
        same([p for p in left if p["state"] != "done"], [], "nothing is left half done")
        for partial in left:
            if partial["state"] != "done":
                e2e.diag("\n".join([partial["path"]] + judged.story(partial["path"])))
        e2e.diag("%d done records are left" % len(left))

    def report(self, judged):
        total = sum(self.sizes.values())
        written = judged.n_bytes
        e2e.diag(", ".join("%s %d" % pair for pair in self.n.items()) + ", workers started %d" % self.starts)
        e2e.diag("contents %.1f MiB, written %.1f MiB: %.1f %% again" % (
            total / MIB, written / MIB, 100 * (written - total) / total))
        if self.net:
            sent = self.net.sent_bytes()
            e2e.diag("the senders' interface sent %.1f MiB, %.1f %% more than the contents, headers included" % (
                sent / MIB, 100 * (sent - total) / total))


def test_storm():
    e2e.diag("LH_STORM_SEED=%d" % SEED)
    storm = Storm(random.Random(SEED))
    storm.run()
    storm.calm()
    storm.report(storm.check())


e2e.main()
