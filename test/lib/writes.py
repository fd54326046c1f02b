#!/usr/bin/python3
"""Judges a receiver's trace of writes (writeshim.c): was there ever more than one writer of a file?

    test/lib/writes.py DIRECTORY        of traces; exit 0: nothing wrong, 1: what is wrong, on lines

It believes nothing but the system calls and the frames as they came in. What must hold, for each
staging file:

  in force      contents came in frames of the epoch that the journal named last, from before the
                write began until after it ended: no write reaches into another epoch
  one session   between two writes of one session there is none of another
  once          a block is written once in an epoch
  not again     a block that the journal records as durable is not written again
  forward       epochs go up; an epoch that is recorded twice has the same holder; of one incarnation
                of a queue claims go up
  not behind    nothing is written to a file that has its name, nor to one that was never hidden

A block that the journal takes back (DROP), and one of a journal that starts over, may be written
again. Small files come with the offer, without an epoch of their own (nobody has told their sender
yet): for them the first two say nothing.
"""
import os
import struct
import sys

import xxhash

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../crash"))
import e2e  # noqa: E402
import journal as journals  # noqa: E402


class Event:
    """One line of a trace."""

    def __init__(self, words):
        self.kind = words[0]
        self.start, self.end, self.tid = int(words[1]), int(words[2]), int(words[3])
        self.file = words[4]
        self.epoch = self.session = None
        rest = words[5:]
        if self.kind == "W":
            self.offset, self.length = int(rest[0]), int(rest[1])
            self.epoch = None if rest[2] == "-" else int(rest[2])
            self.session = None if rest[3] == "-" else rest[3]
            self.path = rest[4]
        elif self.kind == "J":
            self.offset, self.path, self.data = int(rest[0]), rest[1], bytes.fromhex(rest[2])
        elif self.kind == "T":
            self.length, self.path = int(rest[0]), rest[1]
        elif self.kind == "R":
            self.path, self.name = rest
        else:
            raise ValueError("a line of kind " + self.kind)

    def device(self):
        return self.file.split(":")[0]


def read(lines):
    """The events in `lines`, in the order in which they began."""
    return sorted((Event(line.split()) for line in lines if line.strip()), key=lambda e: e.start)


def read_directory(directory, whole=True):
    """The traces of all processes. whole=False: while they are written, the last line may be short."""
    lines = []
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), encoding="ascii") as f:
            lines += [line for line in f if whole or line.endswith("\n")]
    return read(lines)


class Staging:
    """What is known of one staging file while the trace is gone through."""

    def __init__(self):
        self.epoch = 0  # in force
        self.since = 0  # its record was written then
        self.holder = None
        self.claim = (None, 0)  # incarnation, number
        self.durable = {}  # block: when the journal recorded it
        self.written = {}  # block: epoch in which it was written last
        self.last_write = None
        self.busy_until = {}  # session: end of its last write
        self.sessions = []  # in the order of their first write
        self.named = None  # renamed then
        self.epochs = 0
        self.claims = 0
        self.name = ""
        self.story = []  # what befell it, for people


class Journal:
    """A journal as its writes make it."""

    def __init__(self):
        self.begin()

    def begin(self):
        self.size = 0
        self.seq = 0
        self.seed = 0
        self.staging = None


class Checker:
    def __init__(self):
        self.faults = []
        self.stagings = {}
        self.all = []  # also such whose inode has been used again since
        self.journals = {}
        self.grids = {}  # staging file: bytes of a block
        self.n_writes = self.n_inline = self.n_bytes = 0

    def fault(self, event, text):
        self.faults.append("%d %s %s: %s" % (event.start, event.path, event.file, text))

    def staging(self, file):
        return self.stagings[file] if file in self.stagings else self.new_staging(file)

    def new_staging(self, file):
        st = self.stagings[file] = Staging()
        self.all.append(st)
        return st

    def check(self, events):
        for event in events:
            {"W": self.write, "J": self.record, "T": self.cut, "R": self.rename}[event.kind](event)
        return self.faults

    # ---- contents

    def write(self, event):
        st = self.staging(event.file)
        self.n_writes += 1
        self.n_bytes += event.length
        name = os.path.basename(event.path)
        if st.named is not None:
            self.fault(event, "written after it got its name at %d" % st.named)
        elif not name.startswith(".longhaul-") and "(deleted)" not in name:
            self.fault(event, "contents for a file that is not hidden")
        if event.session is None:
            self.n_inline += 1
        else:
            self.write_of_session(st, event)
        if event.file in self.grids:
            self.write_of_block(st, event, event.offset // self.grids[event.file])
        st.last_write = event if st.last_write is None or event.end > st.last_write.end else st.last_write

    def write_of_session(self, st, event):
        if event.epoch != st.epoch:
            self.fault(event, "a frame of epoch %d was written while epoch %d was in force" % (
                event.epoch, st.epoch))
        elif event.start < st.since:
            self.fault(event, "epoch %d writes before it is recorded" % event.epoch)
        if event.session not in st.sessions:
            for other in st.sessions:
                if st.busy_until[other] > event.start:
                    self.fault(event, "two sessions write at once")
            st.sessions.append(event.session)
        elif st.sessions[-1] != event.session:
            self.fault(event, "a session writes again after another one has")
        st.busy_until[event.session] = max(st.busy_until.get(event.session, 0), event.end)

    def write_of_block(self, st, event, block):
        if block in st.durable:
            self.fault(event, "block %d is written again, recorded as durable at %d" % (
                block, st.durable[block]))
        # The inline block of an epoch that nobody tells is of the one in force.
        epoch = st.epoch if event.epoch is None else event.epoch
        if st.written.get(block) == epoch:
            self.fault(event, "block %d is written twice in epoch %d" % (block, epoch))
        st.written[block] = epoch

    # ---- journals

    def cut(self, event):
        """Only what empties a journal matters here; that of a staging file gives it its size."""
        j = self.journals.get(event.file)
        if j is None:
            return
        if event.length == 0:
            if j.staging in self.stagings:
                self.stagings[j.staging].durable.clear()
            j.begin()
        elif event.length < j.size:
            self.fault(event, "a journal was cut: this trace was of a receiver that crashed")

    def record(self, event):
        j = self.journals.setdefault(event.file, Journal())
        if event.offset == 0:
            j.begin()
        elif event.offset != j.size:
            self.fault(event, "the journal is written at %d, its end is %d" % (event.offset, j.size))
            return
        j.size += len(event.data)
        at = 0
        while at < len(event.data):
            got = journals.take(event.data, at, j.seq, j.seed)
            if got is None:
                self.fault(event, "not a record, or not whole")
                return
            kind, payload, whole = got
            j.seq += 1
            at += whole
            if kind == journals.HEAD:
                self.head(j, event, payload)
            elif kind == journals.EPOCH:
                self.epoch(self.staging(j.staging), event, payload)
            elif kind == journals.BLOCKS:
                self.blocks(self.staging(j.staging), event, payload)
            elif kind == journals.DROP:
                self.drop(self.staging(j.staging), payload)

    def head(self, j, event, payload):
        j.seed = xxhash.xxh3_64_intdigest(payload[:16])
        inode, birth_s, birth_ns = struct.unpack_from("<QqI", payload, 86)
        j.staging = "%s:%d:%d.%09d" % (event.device(), inode, birth_s, birth_ns)
        self.grids[j.staging] = struct.unpack_from("<I", payload, 34)[0]
        # Made just before: whatever had that inode is gone, with every descriptor on it.
        st = self.new_staging(j.staging)
        (length,) = struct.unpack_from("<H", payload, 106)
        st.name = os.fsdecode(payload[108:108 + length])

    def epoch(self, st, event, payload):
        (epoch,) = struct.unpack_from("<Q", payload)
        holder, incarnation = payload[8:24], payload[24:40]
        (claim,) = struct.unpack_from("<Q", payload, 40)
        if epoch < st.epoch:
            self.fault(event, "epoch %d after epoch %d" % (epoch, st.epoch))
        if epoch == st.epoch and holder != st.holder:
            self.fault(event, "epoch %d has two holders" % epoch)
        if any(incarnation) and st.claim[0] == incarnation and claim < st.claim[1]:
            self.fault(event, "claim %d after claim %d" % (claim, st.claim[1]))
        if epoch != st.epoch:
            st.epochs += 1
            st.claims += any(incarnation) and (incarnation, claim) != st.claim
            if st.last_write is not None and st.last_write.end > event.start:
                self.fault(event, "epoch %d is recorded while epoch %d writes" % (epoch, st.epoch))
            st.story.append("%.3f epoch %d of holder %s, claim %d of %s" % (
                event.start / 1e9, epoch, holder.hex()[:6], claim, incarnation.hex()[:6]))
        st.epoch, st.holder, st.claim, st.since = epoch, holder, (incarnation, claim), event.end

    def blocks(self, st, event, payload):
        first, n = struct.unpack_from("<QI", payload)
        for block in range(first, first + n):
            st.durable[block] = event.start

    def drop(self, st, payload):
        first, n = struct.unpack_from("<QQ", payload)
        for block in range(first, first + n):
            st.durable.pop(block, None)
            st.written.pop(block, None)

    # ---- names

    def rename(self, event):
        st = self.staging(event.file)
        if st.last_write is not None and st.last_write.end > event.start:
            self.fault(event, "renamed while it is written")
        st.named = event.end
        st.story.append("%.3f renamed to %s" % (event.start / 1e9, event.name))

    # ---- sums

    def renames(self):
        return sum(st.named is not None for st in self.all)

    def takeovers(self):
        """How often a file that had got contents or an epoch went on under another epoch."""
        return sum(max(0, st.epochs - 1) for st in self.all)

    def story(self, name):
        """What befell the files that were to get that name, in order."""
        return [line for st in self.all if st.name == name for line in ["a staging file"] + st.story]

    def summary(self):
        return "%d files, %d renamed, %d writes (%d of them with the offer), %d changes of epoch, " \
            "%d of claim, %d changes of session" % (
                len(self.all), self.renames(), self.n_writes, self.n_inline, self.takeovers(),
                sum(max(0, st.claims - 1) for st in self.all),
                sum(max(0, len(st.sessions) - 1) for st in self.all))


class Writes:
    """What receivers write, traced by writeshim.c and judged by writes.py. Start them with `env`."""

    def __init__(self):
        self.dir = os.path.join(e2e.dir(), "writes.%d" % len(os.listdir(e2e.dir())))
        os.mkdir(self.dir)
        self.env = {"LD_PRELOAD": e2e.preload("writeshim"), "WRITESHIM": self.dir}

    def judge(self, name):
        """Check that no file ever had two writers; the judge, with its counts."""
        checker = Checker()
        faults = checker.check(read_directory(self.dir))
        e2e.ok(not faults and checker.n_writes > 0, name)
        e2e.diag("\n".join(faults[:20]))
        e2e.diag(checker.summary())
        return checker


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    checker = Checker()
    faults = checker.check(read_directory(sys.argv[1]))
    for line in faults:
        print(line)
    print(checker.summary())
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
