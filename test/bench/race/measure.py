"""One run of one contestant, and what it showed."""
import os
import shutil
import socket
import subprocess
import threading
import time

from .line import inside
from .programs import (MEMORY_LEFT, Program, Sampler, available_memory, await_port,
                       machine_busy_s)
from .text import PAYLOAD_SHARE, middle
from .tools import Job

GB = 1e9
WARM_UP_S = 2.0    # what "steady" leaves out
CEILING_S = 12.0   # how long a tool without a file runs, once it does
CEILING_BEGINS = 1 << 20  # bytes that have arrived by then
MARK = b"longhaul marks: "
MARK_EVERY = 512   # so each packet holds one
MARKED_MAX = 128 << 20


def touch_memory(directory, most):
    """Write to free memory once, but leave 4 GiB for everybody else: a virtual machine may be given
    its memory lazily."""
    with open("/proc/meminfo", encoding="ascii") as f:
        free = {row.split(":")[0]: int(row.split()[1]) << 10 for row in f}["MemFree"]
    path = os.path.join(directory, "touch")
    page = b"x" * (1 << 20)
    with open(path, "wb") as f:
        for _ in range(max(0, min(free - (4 << 30), most)) >> 20):
            f.write(page)
    os.unlink(path)


class Room:
    """Source and targets in tmpfs, and what the servers need."""

    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.size = None
        self.source = os.path.join(directory, "src", "f")
        os.mkdir(os.path.dirname(self.source))
        self.n_jobs = 0

    def make_source(self, size):
        if self.size == size:
            return
        if os.path.exists(self.source):
            os.unlink(self.source)
        with open(self.source, "wb") as f:
            left = size
            while left > 0:
                piece = bytearray(os.urandom(min(left, 1 << 20)))
                if size <= MARKED_MAX:
                    for at in range(0, len(piece) - len(MARK), MARK_EVERY):
                        piece[at:at + len(MARK)] = MARK
                f.write(piece)
                left -= len(piece)
        self.size = size

    def job(self, line, port=7400):
        self.n_jobs += 1
        made = []
        for kind in ("dst", "work"):
            path = os.path.join(self.directory, f"{kind}-{self.n_jobs}")
            os.mkdir(path)
            os.chmod(path, 0o777)  # some servers run as nobody
            made.append(path)
        return Job(self.args, line, self.source, made[0], made[1], port)

    @staticmethod
    def clear(job):
        shutil.rmtree(job.directory, ignore_errors=True)
        shutil.rmtree(job.work, ignore_errors=True)


class Running:
    """The programs of one transfer. Servers are up when it is made; go() starts the client."""

    def __init__(self, setting, job):
        self.setting, self.job = setting, job
        self.programs = []
        self.client = None
        self.plan = setting.plan(job)
        try:
            for words, port in self.plan.servers:
                self.programs.append(Program(job.line, **words))
                await_port(self.programs[-1], port)
        except BaseException:
            self.stop()
            raise

    def go(self):
        self.client = Program(self.job.line, **self.plan.client)
        self.programs.append(self.client)

    def finish(self):
        """The client has ended: so do the servers that end by themselves. What went wrong, or None."""
        if self.client.child.returncode != 0:
            return self.client.why()
        if self.plan.ends:
            for server in self.programs[:-1]:
                if not server.wait(20):
                    return "the receiver did not end"
        target = self.job.target
        if self.setting.has_file and (not os.path.exists(target) or
                                      os.path.getsize(target) != os.path.getsize(self.job.source)):
            return "the target is not there, or has another size"
        return None

    def same_contents(self):
        return subprocess.run(["cmp", "-s", self.job.source, self.job.target],
                              check=False).returncode == 0

    def stop(self, grace_s=2.0):
        for program in reversed(self.programs):
            program.stop(grace_s)


def launch_s(line):
    """How long it takes to start a program that does nothing as on such a host."""
    took = []
    for _ in range(5):
        began = time.monotonic()
        program = Program(line, "a", ["true"])
        program.wait(10)
        took.append(time.monotonic() - began)
        program.stop(0)
    return middle(took)


def noise_cpus(line, seconds=1.0):
    """CPUs kept busy while nothing is raced, the emulator left out."""
    sampler = Sampler(line, 0.1, [])
    busy, emulator = machine_busy_s(), line.emulator_cpu_s()
    sampler.start()
    time.sleep(seconds)
    sampler.stop()
    return max(0.0, machine_busy_s() - busy - (line.emulator_cpu_s() - emulator)) / seconds


def at_time(points, when):
    """Bytes at that moment, between two samples in proportion."""
    for (t0, b0), (t1, b1) in zip(points, points[1:]):
        if t0 <= when <= t1:
            return b0 + (b1 - b0) * (when - t0) / (t1 - t0) if t1 > t0 else b1
    return points[-1][1] if points and when > points[-1][0] else 0.0


def time_of(points, n_bytes):
    """When so many bytes had arrived."""
    for (t0, b0), (t1, b1) in zip(points, points[1:]):
        if b0 < n_bytes <= b1:
            return t0 + (t1 - t0) * (n_bytes - b0) / (b1 - b0)
    return points[-1][0] if points else 0.0


def payload_share(line, moved):
    """Of the bytes that arrived, how many were contents, when nobody knows better: frames less their
    headers and less what arrived twice."""
    if moved["lost"] is None or not moved["segments"]:
        return 1.0
    twice = max(0, moved["retransmitted"] - moved["lost"] - moved["tail_dropped"])
    return PAYLOAD_SHARE * (1 - twice / moved["segments"]) if line.wan.rate_bps else 1.0


class Snapshot:
    def __init__(self, line, programs):
        self.counts = line.counts()
        self.busy = machine_busy_s()
        self.emulator = line.emulator_cpu_s()
        self.own = sum(program.cpu_so_far_s() for program in programs)


def numbers(line, running, before, after, points, seconds, whole, noise):
    """What a run showed. `points`: seconds since the client's start, and the counter of arrivals."""
    moved = {key: after.counts[key] - before.counts[key] if after.counts[key] is not None else None
             for key in after.counts}
    has_size = whole and running.setting.has_file
    n_bytes = os.path.getsize(running.job.source) if has_size else \
        moved["arrived"] * payload_share(line, moved)
    scale = n_bytes / moved["arrived"] if moved["arrived"] else 0.0
    series = [(t, (count - before.counts["arrived"]) * scale) for t, count in points]
    gb = n_bytes / GB or 1e-9
    found = {
        "seconds": seconds, "bytes": round(n_bytes), "rate": n_bytes / seconds,
        "steady_rate": None, "tail": None, "cut": not whole and running.setting.has_file,
        "cpu_s_per_gb": (after.busy - before.busy - (after.emulator - before.emulator)
                         - noise * seconds) / gb,
        "own_cpu_s_per_gb": (after.own - before.own) / gb,
        "wire_per_byte": moved["wire"] / n_bytes if n_bytes else None,
        "retransmitted": moved["retransmitted"] / max(1, moved["segments"]),
        "lost": moved["lost"], "tail_dropped": moved["tail_dropped"],
        "memory_bytes": {end: sum(p.memory_bytes() for p in running.programs if p.end == end)
                         for end in "ab"},
        "series": [[round(t, 3), round(b)] for t, b in series if t >= 0],
    }
    if seconds >= 2 * WARM_UP_S:
        found["steady_rate"] = (n_bytes - at_time(series, WARM_UP_S)) / (seconds - WARM_UP_S)
    if has_size:
        found["tail"] = (seconds - time_of(series, 0.95 * n_bytes)) / (0.05 * seconds)
    return found


def await_client(running, sampler, before, began, limit_s, slow_s):
    """True when the client ended in time. One that will not make it within the limit at the rate so
    far is not waited for."""
    if running.client.wait(min(slow_s, limit_s)):
        return True
    elapsed = time.monotonic() - began
    with sampler.lock:
        so_far = running.job.line.arrived() - before.counts["arrived"]
    if so_far * limit_s / elapsed < os.path.getsize(running.job.source):
        return False
    return running.client.wait(limit_s - elapsed)


def await_ceiling(running, sampler, before, limit_s):
    """A tool without a file opens its connections first, one after the other: let it run from when
    contents flow. When that was, and how things were then."""
    began = time.monotonic()
    while not running.client.wait(0.05) and time.monotonic() < began + 60:
        with sampler.lock:
            if running.job.line.arrived() - before.counts["arrived"] >= CEILING_BEGINS:
                break
    with sampler.lock:
        began, before = time.monotonic(), Snapshot(running.job.line, running.programs)
    if running.client.wait(min(CEILING_S, limit_s)):
        raise RuntimeError(running.client.why())
    return began, before


def transfer(room, line, setting, limit_s, slow_s, verify, noise=0.0, interval_s=0.1):
    """One transfer of the room's source. Its numbers; or {"failed": why}."""
    if setting.has_file and available_memory() < room.size + 2 * MEMORY_LEFT:
        return {"failed": "no memory for the target"}
    job = room.job(line)
    running = sampler = None
    grace = 2.0
    try:
        line.settle()
        running = Running(setting, job)
        sampler = Sampler(line, interval_s, running.programs)
        before = Snapshot(line, running.programs)
        began = time.monotonic()
        sampler.start()
        running.go()
        if setting.has_file:
            whole = await_client(running, sampler, before, began, limit_s, slow_s)
        else:
            whole = False
            began, before = await_ceiling(running, sampler, before, limit_s)
        seconds = time.monotonic() - began
        sampler.stop()
        failed = "memory ran short" if sampler.ran_short else running.finish() if whole else None
        if failed:
            return {"failed": failed}
        after = Snapshot(line, running.programs)
        points = [(t - began, count) for t, count in sampler.points]
        found = numbers(line, running, before, after, points, seconds, whole, noise)
        if setting.tool == "longhaul":
            found["said"] = running.client.last_event()
        found["verified"] = None
        if verify and whole and setting.has_file:
            found["verified"] = running.same_contents()
            if not found["verified"]:
                return {"failed": "the contents differ"}
        grace = 2.0 if whole else 0.0
        return found
    except (RuntimeError, OSError) as error:
        return {"failed": str(error)}
    finally:
        if sampler and sampler.is_alive():
            sampler.stop()
        if running:
            running.stop(grace)
        room.clear(job)


class Sniffer(threading.Thread):
    """When the first packet with contents came to b's device, which can be ahead of its arrival
    (line.ahead_s)."""

    def __init__(self, line):
        super().__init__(daemon=True)
        every = socket.htons(3)  # ETH_P_ALL
        self.sock = inside(line.host_name("b"), lambda: socket.socket(
            socket.AF_PACKET, socket.SOCK_DGRAM, every))
        self.sock.bind((line.arrival, 3))
        self.sock.settimeout(0.2)
        self.first = None
        self.ending = False
        self.start()

    def run(self):
        while not self.ending and self.first is None:
            try:
                packet = self.sock.recv(1 << 17)
            except TimeoutError:
                continue
            if MARK in packet:
                self.first = time.monotonic()

    def stop(self):
        self.ending = True
        self.join()
        self.sock.close()


def startup(room, line, setting, limit_s):
    """Time from the client's start to the first byte of contents at b, and to the client's end."""
    job = room.job(line)
    running = sniffer = None
    try:
        line.settle()
        running = Running(setting, job)
        sniffer = Sniffer(line)
        began = time.monotonic()
        running.go()
        ended = running.client.wait(limit_s)
        seconds = time.monotonic() - began
        sniffer.stop()
        failed = running.finish() if ended else f"not done within {limit_s:.0f} s"
        if not failed and not running.same_contents():
            failed = "the contents differ"
        if failed:
            return {"failed": failed}
        first = sniffer.first + line.ahead_s - began if sniffer.first else None
        return {"first_s": first, "last_s": seconds}
    except (RuntimeError, OSError) as error:
        return {"failed": str(error)}
    finally:
        if sniffer and sniffer.is_alive():
            sniffer.stop()
        if running:
            running.stop()
        room.clear(job)


class PortCounter:
    """Bytes that b received, by the hundred ports of each transfer; ss(8) shows live connections, so
    each is remembered with the most it was seen with."""

    def __init__(self, line, ports):
        self.line, self.ports = line, ports
        self.seen = {port: {} for port in ports}

    def total(self):
        out = subprocess.run(self.line.bare_argv("b", ["ss", "-tinHO"]), check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        for row in out.splitlines():
            words = row.split()
            got = [int(w.split(":")[1]) for w in words if w.startswith("bytes_received:")]
            if len(words) < 5 or not got:
                continue
            pair = (words[3], words[4])
            for end in pair:
                port = int(end.rpartition(":")[2]) // 100 * 100
                if port in self.seen:
                    self.seen[port][pair] = max(got[0], self.seen[port].get(pair, 0))
        return [sum(self.seen[port].values()) for port in self.ports]


def neighbours(room, line, settings, lead_s, seconds):
    """Transfers side by side: the first begins `lead_s` before the others; then rates of each are taken
    over `seconds`, after another lead."""
    ports = [7400 + 100 * n for n in range(len(settings))]
    jobs, runs = [], []
    try:
        line.settle()
        for setting, port in zip(settings, ports):
            jobs.append(room.job(line, port))
            runs.append(Running(setting, jobs[-1]))
        counter = PortCounter(line, ports)
        runs[0].go()
        time.sleep(lead_s)
        for running in runs[1:]:
            running.go()
        time.sleep(lead_s)
        began, first = time.monotonic(), counter.total()
        before = line.counts()
        while time.monotonic() < began + seconds:
            time.sleep(0.5)
            last = counter.total()
        elapsed = time.monotonic() - began
        after = line.counts()
        for running in runs:
            if running.client.wait(0):
                why = running.client.why() if running.client.child.returncode else "it was over too soon"
                return {"failed": f"{running.setting.label()}: {why}"}
        return {"rates": [(b - a) / elapsed for a, b in zip(first, last)], "seconds": elapsed,
                "retransmitted": (after["retransmitted"] - before["retransmitted"]) /
                max(1, after["segments"] - before["segments"])}
    except (RuntimeError, OSError) as error:
        return {"failed": str(error)}
    finally:
        for running in runs:
            running.stop(0.0)
        for job in jobs:
            room.clear(job)


def mean_share(rates):
    """Jain's index: 1 when all get the same, 1/n when one gets all."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else None


