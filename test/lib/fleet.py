"""Workers of a queue, and what a test asks Redis about it.

    fleet = Fleet(redis)
    fleet.add("t1", source, serve.url("name"), limit_rate="80M")
    worker = fleet.worker("a")
    fleet.until("t1", "done")
"""
import json
import os

import e2e


class Worker(e2e.Process):
    """`longhaul worker --json`. Its claim time is short: tests wait for it."""

    def __init__(self, url, name, *args, **how):
        self.name = name
        super().__init__(["worker", "--json", "--redis", url, "--name", name, "--claim-time", "2s",
                          *args], **how)

    def events(self, kind=None, task=None):
        found = []
        for line in self.out().split("\n")[:-1]:
            event = json.loads(line)
            if kind in (None, event["event"]) and task in (None, event.get("task")):
                found.append(event)
        return found

    def last(self, kind, task=None):
        events = self.events(kind, task)
        return events[-1] if events else {}

    def until(self, kind, task=None):
        """Wait for an event and return it."""
        try:
            return e2e.wait_until("worker %s says %s" % (self.name, kind),
                                  lambda: self.last(kind, task))
        except e2e.Stop:
            self.show()
            raise

    def until_durable(self, task, n_bytes=1):
        """Wait until so much of a task is safe at the receiver, and return how much."""
        e2e.wait_until("%d bytes of %s become durable" % (n_bytes, task),
                       lambda: self.durable(task) >= n_bytes)
        return self.durable(task)

    def durable(self, task):
        return max([e["bytes_durable"] for e in self.events("progress", task)] or [0])


class Fleet:
    """The workers of one queue."""

    def __init__(self, redis, name="default", url=None):
        self.redis, self.url = redis, url or redis.url()
        self.base = "longhaul:{%s}:" % name
        self.options = () if name == "default" else ("--queue", name)

    def worker(self, name, *args, **how):
        return Worker(self.url, name, *self.options, *args, **how)

    def add(self, task, source, destination, priority="normal", **fields):
        """As any producer would: a plain XADD."""
        flat = ["v", "1", "task", task, "source", source, "destination", destination]
        for name, value in fields.items():
            flat += [name.replace("_", "-"), value]
        return self.redis("XADD", self.base + "tasks:" + priority, "*", *flat)

    def task(self, task):
        return self.redis.hash(self.base + "task:" + task)

    def state(self, task):
        return self.task(task).get("state")

    def until(self, task, *states):
        """Wait until a task is in one of these states."""
        try:
            e2e.wait_until("%s is %s" % (task, " or ".join(states)),
                           lambda: self.state(task) in states)
        except e2e.Stop:
            e2e.diag(self.task(task))
            raise

    def undone(self):
        """Entries that nobody has acknowledged."""
        return sum(self.redis("XLEN", self.base + "tasks:" + p) for p in ("high", "normal", "low"))

    def claimed(self):
        """Entries that a worker has."""
        return sum(self.redis("XPENDING", self.base + "tasks:" + p, "workers")[0]
                   for p in ("high", "normal", "low"))

    def dead(self):
        """Dead letters: {id: reason}."""
        ids = self.redis("ZRANGE", self.base + "dead", 0, -1)
        return {i: self.task(i).get("error", "") for i in ids}

    def done_times(self, task):
        """How often a task was acknowledged as done."""
        return sum(e.get("task") == task and e.get("state") == "done"
                   for _, e in self.redis.stream(self.base + "done"))

    def worker_line(self, name):
        """What a worker has last told of itself."""
        return self.redis("HGET", self.base + "workers", name)


def file_of(name, size, seed=1):
    return e2e.make(os.path.join(e2e.dir(), name), size, seed)
