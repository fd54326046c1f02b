"""One round of power cuts on a tree: fileround.py's rounds with other contents and other questions.

What is promised of a tree: an entry that the sender was told of as sent (the events of --json) is there after
the cut, whole and with its attributes; whatever else is to be seen is whole, new or old; nothing that was
told is sent a second time; after "done" all is there, and nothing else."""

import json
import os
import random
import shutil
import sys
import time

import fileround
from fileround import MIB, RATE, Red

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../lib"))

import tree  # noqa: E402


class Plan:
    """What a seed stands for."""

    def __init__(self, seed, mutant):
        self.seed = seed
        self.rng = rng = random.Random("longhaul crash of a tree %d" % seed)
        self.n_dirs = rng.randrange(1, 12)
        self.n_files = rng.choice([3, 20, 60])
        self.most_bytes = rng.choice([1, 5000, 60000])
        self.big = rng.random() < 0.25
        self.with_old = rng.random() < 0.4
        self.lazy = rng.random() < 0.65
        self.volatile = rng.random() < 0.5
        self.ext4_journal = True
        self.target = rng.choice(["tree", "box/tree"])
        self.serve_args = "--allow owner,set-id,devices,security --commit-interval %dms --commit-bytes %dM" % (
            rng.choice([40, 100, 250, 600]), rng.choice([2, 8, 32, 256]))
        self.send_args = "--streams %d" % rng.choice([1, 2, 4])
        kinds = [fileround.KINDS[seed // 2 % 4]]  # any few seeds in a row have them all
        if rng.random() < 0.33:
            kinds.append(rng.choice(fileround.KINDS))
        self.cuts = [self.cut(kind) for kind in sorted(kinds, key=fileround.KINDS.index)]
        if mutant:
            # A cut soon after something was told, with nothing that would heal it meanwhile.
            self.big, self.lazy, self.volatile = False, True, True
            self.n_dirs, self.n_files, self.most_bytes = 8, 60, 5000
            self.cuts = [("acks", rng.uniform(0.1, 0.9))]

    def cut(self, kind):
        if kind in ("time", "acks"):
            return kind, self.rng.uniform(0, 0.5 if kind == "time" else 1)
        return kind, self.rng.choice([0.0, self.rng.uniform(0, 0.01), self.rng.uniform(0, 0.1)])

    def __str__(self):
        return "seed=%d tree of %d×%d files up to %d bytes%s%s %s%s %s cuts=%s" % (
            self.seed, self.n_dirs, self.n_files, self.most_bytes, " and a big one" if self.big else "",
            " volatile-disk" if self.volatile else "", "lazy" if self.lazy else "eager",
            " over-old" if self.with_old else "", self.target, ",".join("%s:%.3f" % c for c in self.cuts))


class Round(fileround.Round):
    SOURCE, CHECKER = "source/", "check_tree.py"
    ERRORS = "apart"  # events must not be torn by other lines

    def __init__(self, plan, options, scratch):
        plan.size = 0
        super().__init__(plan, options, scratch)
        self.told = {}  # what the sender said of entries before any cut so far, by the path in hexadecimal
        self.now = set()  # of them, in this boot

    def prepare(self):
        plan = self.plan
        source = os.path.join(self.scratch, "source")
        facts = tree.make(source, plan.seed, n_files=20, deep=4, long_paths=False, odd_modes=False,
                          big=plan.big, sparse=plan.big)
        tree.many(os.path.join(source, "many"), plan.n_dirs, plan.n_files,
                  lambda rng: rng.randrange(plan.most_bytes), plan.seed)
        plan.size = 0
        self.n_wanted = len(facts.files) + plan.n_dirs * plan.n_files
        for at, _, names in os.walk(source):
            plan.size += sum(os.lstat(os.path.join(at, name)).st_size for name in names)
        disk = os.path.join(self.scratch, "tree")
        target = os.path.join(disk, "root", plan.target)
        os.makedirs(target if plan.with_old else os.path.dirname(target))
        if plan.with_old:
            self.make_old(source, target)
        self.make_image(disk)

    def make_old(self, source, target):
        """Some of it is there already, some of that as it was before."""
        rng = random.Random("old %d" % self.plan.seed)
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        for at, _, names in os.walk(target):
            for name in names:
                path = os.path.join(at, name)
                if rng.random() < 0.4:
                    os.unlink(path)
                elif not os.path.islink(path) and rng.random() < 0.6:
                    with open(path, "wb") as f:
                        f.write(rng.randbytes(rng.randrange(9000)))
                    os.utime(path, ns=(10**18, 10**18))
        shutil.copytree(target, os.path.join(self.scratch, "old"), symlinks=True)

    def job(self, check, final):
        super().job(check, final)
        self.write("told", json.dumps(sorted(self.told)))

    def boot(self, cut, check):
        self.now = set()
        super().boot(cut, check)

    def line(self, line):
        if line.startswith("{") and '"entry"' in line:
            try:
                event = json.loads(line)
            except ValueError:
                return
            if event["event"] == "entry":
                self.entry(event)
                return
        super().line(line)

    def entry(self, event):
        path = event.get("path_hex") or event["path"].encode().hex()
        if event["what"] == "failed":
            raise Red("%r failed: %s" % (event["path"], event.get("message")))
        if event["what"] not in ("send", "make"):
            return
        if event["what"] == "send" and path in self.told and path not in self.now and not self.done:
            raise Red("%r was told as sent, and was sent once more" % event["path"])
        self.told[path] = event["what"]
        self.now.add(path)

    def when(self, cut, sending_at):
        kind, x = cut
        now = time.monotonic()
        if kind == "time":
            return sending_at + x * (0.3 + self.plan.size / RATE)
        if self.done:
            return now + (x if kind != "acks" else 0)
        if kind == "done":
            return None
        n = sum(what == "send" for what in self.told.values())
        if n >= (max(1, x * self.n_wanted) if kind == "acks" else self.n_wanted):
            return now + (x if kind == "finish" else 0)
        return None

    def boot_note(self):
        return "%d" % sum(what == "send" for what in self.told.values())

    def play(self):
        self.cut_by_cut()
        self.boot(None, check=True)
        if self.end is None:
            raise Red("the last send did not say \"done\"")

    def summary(self):
        found = ", ".join("%d" % json.loads(note)["entries"] for note in self.notes[:len(self.at_cuts)])
        return "%s; told of %s of %d files; found %s entries" % (
            self.plan, ", ".join(self.at_cuts) or "none", self.n_wanted, found or "no")
