"""Programs under the clock: started, watched, timed, ended by their process group."""
import json
import os
import select
import signal
import subprocess
import tempfile
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
MEMORY_LEFT = 1 << 30  # for everybody else; files in tmpfs are memory that nobody can take back


def machine_busy_s():
    """CPU seconds that were not idle, of all cores, since boot."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


def available_memory():
    with open("/proc/meminfo", encoding="ascii") as f:
        return {row.split(":")[0]: int(row.split()[1]) << 10 for row in f}["MemAvailable"]


def read_proc(pid, name):
    """Text of a file in /proc/PID, or nothing when the process has ended."""
    try:
        with open(f"/proc/{pid}/{name}", encoding="ascii", errors="replace") as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(pid):
    """The process and its descendants."""
    found = [pid]
    for parent in found:
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except FileNotFoundError:
            continue
        for thread in threads:
            found += [int(child) for child in read_proc(parent, f"task/{thread}/children").split()]
    return found


def memory_peak(pid):
    for row in read_proc(pid, "status").splitlines():
        if row.startswith("VmHWM:"):
            return int(row.split()[1]) << 10
    return 0


class Program:
    """One program in one end of the line. Its descendants share its process group."""

    def __init__(self, line, end, argv, user=None, environment=(), bare=False, directory=None):
        self.end, self.argv = end, argv
        self.out, self.err = (tempfile.TemporaryFile("w+", errors="replace") for _ in range(2))
        words, env = (line.bare_argv(end, argv), dict(os.environ)) if bare else \
            line.argv(end, argv, user)
        env.update(environment)
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.out,
                                      stderr=self.err, env=env, start_new_session=True,
                                      cwd=directory)
        self.pidfd = os.pidfd_open(self.child.pid)
        self.cpu_s = None  # known when it has ended
        self.peaks = {}

    def wait(self, timeout_s):
        """True when it ended within that time."""
        if self.cpu_s is not None:
            return True
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(max(0.0, timeout_s) * 1000):
            return False
        _pid, status, usage = os.wait4(self.child.pid, 0)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        return True

    def watch(self):
        """Remember the peaks of memory so far."""
        for pid in family(self.child.pid):
            peak = memory_peak(pid)
            if peak:
                self.peaks[pid] = peak

    def memory_bytes(self):
        return sum(self.peaks.values())

    def cpu_so_far_s(self):
        if self.cpu_s is not None:
            return self.cpu_s
        ticks = 0
        for pid in family(self.child.pid):
            words = read_proc(pid, "stat").rpartition(")")[2].split()
            ticks += sum(map(int, words[11:15])) if words else 0
        return ticks / TICK

    def said(self, stream=None):
        stream = stream or self.err
        stream.seek(0)
        return stream.read()

    def last_event(self):
        """The last whole line of JSON on standard output."""
        for row in reversed(self.said(self.out).split("\n")[:-1]):
            try:
                return json.loads(row)
            except ValueError:
                continue
        return {}

    def why(self):
        text = " ".join((self.said() + " " + self.said(self.out)).split())
        return f"exit {self.child.returncode}: {text[-300:]}"

    def stop(self, grace_s=2.0):
        """End it and all it started: politely when it was told how, then for good."""
        if self.cpu_s is None and grace_s > 0:
            self.child.send_signal(signal.SIGTERM)
            self.wait(grace_s)
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait(10)
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.out.close()
            self.err.close()
            self.pidfd = None


def await_port(program, port, timeout_s=30):
    """Until somebody listens there. Looked up, not connected to: some servers would take that for
    their client."""
    want = f":{port:04X} "
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        tables = read_proc(program.child.pid, "net/tcp") + read_proc(program.child.pid, "net/tcp6")
        if any(want in row and " 0A " in row for row in tables.splitlines()):
            return
        if program.wait(0):
            raise RuntimeError(f"{program.argv[0]} did not start: {program.why()}")
        time.sleep(0.005)
    raise RuntimeError(f"{program.argv[0]} does not listen on port {port}")


class Sampler(threading.Thread):
    """Bytes that have arrived, by time, and the programs' memory. Kills them when memory runs short."""

    def __init__(self, line, interval_s, programs):
        super().__init__(daemon=True)
        self.line, self.interval_s, self.programs = line, interval_s, programs
        self.lock = threading.Lock()  # of the line's counters
        self.points = []
        self.ran_short = False
        self.ending = threading.Event()

    def sample(self):
        with self.lock:
            arrived = self.line.arrived()
            self.points.append((time.monotonic(), arrived))

    def watch_memory(self):
        short = available_memory() < MEMORY_LEFT
        for program in list(self.programs):
            program.watch()
            if short and program.cpu_s is None:
                program.child.kill()
        self.ran_short |= short

    def run(self):
        due = time.monotonic()
        n = 0
        while not self.ending.wait(max(0.0, due - time.monotonic())):
            self.sample()
            if n % 3 == 0:
                self.watch_memory()
            n += 1
            due = max(due + self.interval_s, time.monotonic())

    def stop(self):
        self.ending.set()
        self.join()
        self.sample()
