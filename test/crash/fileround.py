"""One round of power cuts on a single file: what its seed stands for, and how it is played.

`run` says what a round is; treeround.py plays them with trees."""

import json
import os
import random
import re
import shutil
import subprocess
import time

import uml

HERE = os.path.dirname(os.path.realpath(__file__))
GUEST = os.path.join(HERE, "guest.sh")

MIB = 1 << 20
BLOCK = 256 * 1024
IMAGE_BYTES = 1 << 30
ACKED = re.compile(r"\backed first=(\d+) count=(\d+)\s*$")
KINDS = ["time", "acks", "finish", "done"]  # of cuts; the later ones tend to end the transfer
STALL_S = 60  # a guest that prints nothing for so long, cut or end not reached, has hung
RATE = 40 * MIB  # bytes/s, about what a guest does; only cuts by time go by it


class Red(Exception):
    """A promise was broken, or the program failed."""


class Plan:
    """What a seed stands for."""

    def __init__(self, seed, mutant):
        rng = random.Random("longhaul crash %d" % seed)
        self.seed = seed
        self.rng = rng
        self.size = rng.randrange(24 * MIB, 128 * MIB)
        if rng.random() < 0.1:
            self.size = rng.randrange(1, 3 * MIB)
        self.with_old = rng.random() < 0.4
        self.lazy = rng.random() < 0.65
        self.volatile = rng.random() < 0.5
        self.target = rng.choice(["target.bin", "box/target.bin", "a/b/c/target.bin"])
        self.serve_args = "--commit-interval %dms --commit-bytes %dM" % (
            rng.choice([40, 100, 250, 600]), rng.choice([2, 8, 32, 256]))
        self.send_args = "--streams %d" % rng.choice([1, 2, 4, 8])
        kinds = [KINDS[seed % len(KINDS)]]  # any few seeds in a row have them all
        if rng.random() < 0.33:
            kinds.append(rng.choice(KINDS))
        self.cuts = [self.cut(kind) for kind in sorted(kinds, key=KINDS.index)]
        # Without a journal, ext4's fdatasync(2) leaves out the inode even when the map of the file's
        # blocks has just shrunk into it (seen with Linux 6.1), so there only what fsync(2) has
        # finished is safe: a whole file.
        self.ext4_journal = kinds != ["done"] or rng.random() < 0.5
        # Of a stream of its own, so that a seed's other facts stay what they were.
        self.sparse = not mutant and random.Random("sparse %d" % seed).random() < 0.4
        if self.sparse:
            self.send_args += " --sparse"
        if mutant:
            self.aim(mutant)

    def aim(self, mutant):
        """Cut where the breakage hurts; a file too small to be cut in the middle shows nothing."""
        self.size = self.rng.randrange(40 * MIB, 128 * MIB)
        self.cuts = [("acks", self.rng.uniform(0.2, 0.9))]
        self.ext4_journal = True
        if mutant in ("ack-early", "late-snapshot"):
            # The next commit heals it, so let commits be few and slow.
            self.volatile = True
            self.lazy = True
            self.serve_args = "--commit-interval 300ms --commit-bytes 256M"
        if mutant == "drop-dir-sync":
            # A journal of the file system's would carry the rename along with the done record.
            self.ext4_journal = False
            self.lazy = True
            self.cuts = [("done", 0.0)]

    def cut(self, kind):
        if kind == "time":
            return kind, self.rng.uniform(0, 0.5)  # of the expected duration
        if kind == "acks":
            return kind, self.rng.uniform(0, 1)  # of the file's blocks
        return kind, self.rng.choice([0.0, self.rng.uniform(0, 0.01), self.rng.uniform(0, 0.1)])

    def __str__(self):
        return "seed=%d size=%d fs=%s%s %s%s%s%s cuts=%s" % (
            self.seed, self.size, "ext4" if self.ext4_journal else "ext4-without-journal",
            " volatile-disk" if self.volatile else "", "lazy" if self.lazy else "eager",
            " sparse" if self.sparse else "", " over-old" if self.with_old else "",
            " " + self.target,
            ",".join("%s:%.3f" % c for c in self.cuts))


class Round:
    SOURCE, CHECKER = "source", "check.py"
    ERRORS = "here"  # what has been acknowledged stands there

    def __init__(self, plan, options, scratch):
        self.plan = plan
        self.options = options
        self.scratch = scratch
        self.image = os.path.join(scratch, "image")
        self.n_blocks = -(-plan.size // BLOCK)
        self.acks = []  # runs, as the sender reported them
        self.acked = set()
        self.n_acks = 0  # blocks, those acknowledged twice counted twice
        self.done = False
        self.start = None  # the last boot's events
        self.end = None
        self.exit = None
        self.at_cuts = []  # blocks acknowledged, for people
        self.notes = []
        self.log = []

    # ---- the host's side of a job

    def prepare(self):
        plan = self.plan
        stuff = random.Random("contents %d" % plan.seed)
        source = os.path.join(self.scratch, "source")
        known = write_source(source, stuff, plan.size, plan.sparse)
        os.utime(source, ns=(10**18, 10**18))
        tree = os.path.join(self.scratch, "tree")
        directory = os.path.join(tree, "root")
        os.makedirs(directory)
        if plan.with_old:
            old = os.path.join(directory, plan.target)
            os.makedirs(os.path.dirname(old), exist_ok=True)
            known["old"] = write_source(old, stuff, stuff.randrange(1, 4 * MIB))
        self.write("hashes", json.dumps(known))
        self.make_image(tree)

    def make_image(self, tree):
        """The disk as it is before the first boot, with what is in `tree`."""
        plan = self.plan
        with open(self.image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        features = [] if plan.ext4_journal else ["-O", "^has_journal"]
        tool(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"] + features +
             ["-d", tree, self.image])
        shutil.rmtree(tree)

    def write(self, name, text):
        with open(os.path.join(self.scratch, name), "w") as f:
            f.write(text)

    def job(self, check, final):
        plan = self.plan
        self.write("acks", json.dumps(self.acks))
        self.write("seen", json.dumps({"done": self.done}))
        options = ["rw"]
        if plan.ext4_journal:
            options.append("commit=%d" % (300 if plan.lazy else 1))
        settings = {
            "disk_options": ",".join(options), "volatile": int(plan.volatile), "lazy": int(plan.lazy),
            "program": self.options.program,
            "mutant": self.options.mutant or "", "serve_args": plan.serve_args,
            "send_args": plan.send_args, "target": plan.target, "check": int(check),
            "final": int(final), "source": self.SOURCE, "checker": self.CHECKER,
            "errors": self.ERRORS}
        self.write("job.sh", "".join("%s='%s'\n" % item for item in settings.items()))

    # ---- one boot

    def boot(self, cut, check):
        """Run the guest until the cut, or, without one, to the end."""
        if check and not self.plan.ext4_journal:
            self.log += tool(["e2fsck", "-fy", self.image], good=(0, 1)).splitlines()
        self.job(check, final=cut is None)
        self.start = self.end = self.exit = None
        self.before = len(self.acked)
        self.acks_before = self.n_acks
        ubd = "/dev/null" if self.plan.volatile else self.image
        guest = uml.Guest(self.options.kernel, self.scratch, ubd, GUEST)
        try:
            self.watch(guest, cut)
        finally:
            for line in guest.cut():
                self.line(line)
            self.log += guest.log + ["---- power cut ----"]
        broken = [line for line in guest.log if line.startswith("@lh check broken")]
        if broken:
            raise Red(broken[0][len("@lh check broken: "):])

    def watch(self, guest, cut):
        due = None  # when to cut
        sending_at = None
        heard = time.monotonic()
        while True:
            now = time.monotonic()
            if due is not None and now >= due:
                return
            if now - heard > STALL_S:
                raise Red("nothing happens any more in the guest; its last words: %s" %
                          (guest.log[-1:] or ["none"])[0])
            wait = STALL_S if due is None else due - now
            lines = guest.lines(min(wait, 1))
            if lines:
                heard = time.monotonic()
            for line in lines:
                self.line(line)
                if line.startswith("@lh sending"):
                    sending_at = heard
                elif line.startswith("@lh end"):
                    self.ended(line)
                    return
            if guest.closed:
                raise Red("the guest is gone: %s" % (guest.log[-1:] or ["no word"])[0])
            if cut and due is None and sending_at is not None:
                due = self.when(cut, sending_at)

    def when(self, cut, sending_at):
        """The moment of the cut as soon as it is known, else None."""
        kind, x = cut
        now = time.monotonic()
        if kind == "time":
            left = (self.n_blocks - self.before) * BLOCK
            return sending_at + x * (0.15 + left / RATE)
        if self.done:
            return now + (x if kind != "acks" else 0)
        if not self.start or kind == "done":
            return None
        # Blocks that this boot has to bring, and those it has brought.
        wanted = -(-(self.plan.size - self.start["bytes_skipped"]) // BLOCK)
        brought = self.n_acks - self.acks_before
        if brought >= (max(1, x * wanted) if kind == "acks" else wanted):
            return now + (x if kind == "finish" else 0)
        return None

    def line(self, line):
        match = ACKED.search(line)
        if match:
            first, count = int(match[1]), int(match[2])
            self.acks.append((first, count))
            self.acked.update(range(first, first + count))
            self.n_acks += count
        elif line.startswith("{"):
            try:
                event = json.loads(line)
            except ValueError:
                return
            if event.get("event") == "start":
                self.start = event
            elif event.get("event") == "done":
                self.end = event
                self.done = True
        elif line.startswith("@lh exit"):
            self.exit = int(line.split()[2])
        elif line.startswith("@lh check ok"):
            self.notes.append(line[len("@lh check ok "):])

    def ended(self, line):
        if line != "@lh end sent" and not line.startswith("@lh end check"):
            raise Red(line[len("@lh end "):])
        if line == "@lh end sent" and self.exit != 0:
            raise Red("send ended with exit code %s" % self.exit)

    # ---- the round

    def cut_by_cut(self):
        """All boots but the last."""
        self.prepare()
        for i, cut in enumerate(self.plan.cuts):
            self.boot(cut, check=i > 0)
            self.at_cuts.append(self.boot_note() + ("+done" if self.done else ""))
            if self.done:
                break

    def boot_note(self):
        return "%d" % len(self.acked)

    def play(self):
        self.cut_by_cut()
        confirmed = self.done  # then the receiver may have forgotten it, and all may be sent again
        acked = len(self.acked)
        self.boot(None, check=True)
        facts = json.loads(self.notes[-2]) if len(self.notes) > 1 else {}
        if self.end is None:
            raise Red("the last send did not say \"done\"")
        if confirmed or (facts.get("state") == "whole" and not facts.get("journal")):
            return
        durable = min(self.plan.size, facts.get("durable", 0) * BLOCK)
        least = max(0, acked * BLOCK - (self.n_blocks * BLOCK - self.plan.size))
        if facts.get("state") == "whole":
            least = self.plan.size
        if self.end["bytes_skipped"] < min(least, self.plan.size):
            raise Red("the next run skipped %d bytes, although %d were acknowledged (%d durable)" %
                      (self.end["bytes_skipped"], least, durable))


    def summary(self):
        found = ", ".join(json.loads(note)["state"] for note in self.notes[:len(self.at_cuts)])
        return "%s; acknowledged %s of %d; found target %s" % (
            self.plan, ", ".join(self.at_cuts) or "none", self.n_blocks, found or "unfit")


def write_source(path, rng, size, zeros=False):
    """Make a file, with runs of zeros or without; returns what check.py wants to know of it."""
    import xxhash
    hashes = []
    run = 0  # blocks of the same kind that are still to come, and
    blank = False  # which
    with open(path, "wb") as f:
        left = size
        while left:
            if zeros and run == 0:
                run, blank = rng.randrange(1, 40), not blank
            run -= 1
            data = bytes(min(BLOCK, left)) if blank else rng.randbytes(min(BLOCK, left))
            f.write(data)
            hashes.append(xxhash.xxh3_128_hexdigest(data))
            left -= len(data)
    return {"size": size, "block_bytes": BLOCK, "hashes": "".join(hashes)}


def tool(args, good=(0,)):
    done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    out = done.stdout.decode("utf-8", "replace")
    if done.returncode not in good:
        raise Red("%s: %s" % (" ".join(args), out.strip()))
    return out
