"""What the end-to-end tests stand on: the real program, run and judged from outside.

A test script defines functions test_*() and ends with e2e.main(), which runs them in order, each in
a directory of its own (e2e.dir()), speaks TAP and ends whatever the test left running. LONGHAUL in
the environment names the program. Time limits here only end what hangs; no check depends on how
fast anything went.
"""
import atexit
import contextlib
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import xxhash

LIB = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.abspath(os.environ.get("LONGHAUL") or os.path.join(LIB, "../../build/longhaul"))
SHORT = bool(os.environ.get("LH_SHORT"))  # under a sanitizer: fewer rounds, smaller files
LIMIT = 300 if SHORT else 120  # seconds after which a step counts as hung
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
BLOCK = 256 * KIB
RANGE = 64 * MIB
OK, INTERNAL, USAGE, SOURCE, DEST, NETWORK, REFUSED, VERIFY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 7, 130

# ---- TAP ---------------------------------------------------------------------------------------

_count = 0
_failed = 0
_base = None
_dir = None
_cleanups = []


class Skip(Exception):
    """Raise it to skip the rest of a test function."""


class Stop(Exception):
    """The rest of a test function makes no sense any more; the failed check says why."""


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def ok(passed, name):
    global _count, _failed
    _count += 1
    name = name.replace("#", "").replace("\n", " ")
    print(("ok " if passed else "not ok ") + "%d - %s" % (_count, name), flush=True)
    if not passed:
        _failed += 1
        frame = sys._getframe(1)
        while frame.f_code.co_filename == __file__ and frame.f_back:
            frame = frame.f_back
        diag("%s:%d" % (frame.f_code.co_filename, frame.f_lineno))
    return bool(passed)


def same(have, want, name):
    passed = ok(have == want, name)
    if not passed:
        diag("have %r, want %r" % (have, want))
    return passed


def need(passed, name):
    """A check without which the test cannot go on."""
    if not ok(passed, name):
        raise Stop(name)


def skip(reason):
    global _count
    _count += 1
    print("ok %d # SKIP %s" % (_count, reason), flush=True)


def cleanup(call, *args):
    """Call it when the current test function ends."""
    _cleanups.append((call, args))


def run_cleanups():
    while _cleanups:
        call, args = _cleanups.pop()
        try:
            call(*args)
        except Exception:  # pylint: disable=broad-except
            diag(traceback.format_exc())


def dir():  # pylint: disable=redefined-builtin
    """The directory of the running test function."""
    return _dir


def room(parent=None):
    """For a program that is no test: what a test function has, in a directory below `parent`."""
    global _base, _dir
    _base = tempfile.mkdtemp(prefix="longhaul-e2e.", dir=parent)
    os.chmod(_base, 0o755)
    _dir = os.path.join(_base, "room")
    os.mkdir(_dir)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    atexit.register(shutil.rmtree, _base, True)
    atexit.register(run_cleanups)


def main():
    global _base, _dir, _failed
    script = sys.modules["__main__"]
    tests = [(n, f) for n, f in vars(script).items() if n.startswith("test_") and callable(f)]
    if len(sys.argv) > 1:
        tests = [(n, f) for n, f in tests if n in sys.argv[1:]]
    elif SHORT:
        tests = [(n, f) for n, f in tests if not getattr(f, "long", False)]
    if not os.access(BIN, os.X_OK):
        print("Bail out! there is no program %s" % BIN)
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _base = tempfile.mkdtemp(prefix="longhaul-e2e.")
    os.chmod(_base, 0o755)
    atexit.register(shutil.rmtree, _base, True)
    atexit.register(run_cleanups)
    for name, function in tests:
        diag(name)
        _dir = os.path.join(_base, name)
        os.mkdir(_dir)
        try:
            function()
        except Skip as why:
            skip(str(why))
        except Stop:
            pass
        except Exception:  # pylint: disable=broad-except
            ok(False, name + " runs to its end")
            diag(traceback.format_exc())
        run_cleanups()
        shutil.rmtree(_dir, ignore_errors=True)
    print("1..%d" % _count, flush=True)
    sys.exit(1 if _failed or not _count else 0)


def long(function):
    """Not under a sanitizer."""
    function.long = True
    return function


def wait_until(what, condition, limit=LIMIT):
    """Poll until condition() is true; returns what it gave. Hanging fails the test."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            ok(False, "%s (waited %d s)" % (what, limit))
            raise Stop(what)
        time.sleep(0.02)


# ---- files -------------------------------------------------------------------------------------

_unit = random.Random(7410).randbytes(64 * KIB)


def make(path, size, seed=1, mode=0o644):
    """A file of `size` bytes in which every 64 KiB differ from all others, of any seed."""
    with open(path, "wb") as f:
        at = 0
        while at < size:
            unit = struct.pack("<QQ", seed, at) + _unit[16:]
            f.write(unit[: size - at])
            at += len(unit)
    os.chmod(path, mode)
    return path


def scribble(path, offset, length, seed=99):
    """Other contents in the middle of a file."""
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(random.Random(seed).randbytes(length))


def digest(path, block=BLOCK):
    """The digest as the documentation defines it, by another implementation."""
    total = xxhash.xxh3_128()
    with open(path, "rb") as f:
        while True:
            data = f.read(block)
            if not data:
                break
            total.update(xxhash.xxh3_128_digest(data))
    return "xxh3-128/%dk:%s" % (block // KIB, total.hexdigest())


def equal(a, b):
    return subprocess.run(["cmp", "-s", a, b], check=False).returncode == 0


def is_copy(source, target, name):
    """`target` holds what `source` holds."""
    if not os.path.exists(target):
        ok(False, name + " (no such file)")
        return False
    return ok(equal(source, target), name)


def visible(root):
    """Every name below root that is not hidden, relative, sorted."""
    found = []
    root = os.fsencode(root)
    for at, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if not d.startswith(b".")]
        for n in names:
            if not n.startswith(b"."):
                found.append(os.path.relpath(os.path.join(at, n), root))
    return sorted(found)


def hidden(root):
    """Every hidden file below root: staging files, journals."""
    found = []
    for at, _, names in os.walk(os.fsencode(root)):
        found += [os.path.join(at, n) for n in names if n.startswith(b".")]
    return sorted(found)


def keep_port(below=65536):
    """A port of 127.0.0.1 that nobody else is given until the test function ends, whether the one that it
    is for listens just then or not. That one has to set SO_REUSEADDR."""
    while True:
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        cleanup(keeper.close)
        if keeper.getsockname()[1] < below:
            return keeper.getsockname()[1]


# ---- processes ---------------------------------------------------------------------------------


def drop_to_nobody():
    entry = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def for_nobody():
    """A copy of the program that everybody may run, wherever the build tree is."""
    copy = os.path.join(_base, "longhaul")
    if not os.path.exists(copy):
        shutil.copy(BIN, copy)
    return copy


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


_serial = 0


class Process:
    """A run of the program, its two outputs in files."""

    def __init__(self, args, env=None, wrap=(), nobody=False, limits=None):
        global _serial
        _serial += 1
        self.out_path = os.path.join(_dir, "out.%d" % _serial)
        self.err_path = os.path.join(_dir, "err.%d" % _serial)
        self.args = list(wrap) + [for_nobody() if nobody else BIN] + list(args)
        self.killed = False

        def before_exec():
            if limits:
                import resource

                for what, value in limits.items():
                    resource.setrlimit(what, (value, value))
            if nobody:
                drop_to_nobody()

        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(
                self.args,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                preexec_fn=before_exec if nobody or limits else None,
            )
        self.pid = self.popen.pid
        self.peak_kib = 0
        cleanup(self.kill)

    @property
    def rc(self):
        return self.popen.poll()

    def alive(self):
        return self.popen.poll() is None

    def kill(self, sig=signal.SIGKILL):
        """kill -9 by its id, and wait for the end."""
        if self.popen.poll() is None:
            self.killed = True
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(sig)
            self.popen.wait()
            Proxy.settle()

    def signal(self, sig):
        self.popen.send_signal(sig)

    def wait(self, limit=LIMIT):
        """Its exit code. A run that hangs fails the test."""
        deadline = time.monotonic() + limit
        while self.popen.poll() is None:
            self.sample()
            if time.monotonic() > deadline:
                diag("hung: %s" % (self.args,))
                self.show()
                self.kill()
                ok(False, "ends within %d s" % limit)
                raise Stop("hung")
            time.sleep(0.01)
        Proxy.settle()
        return self.popen.returncode

    def sample(self):
        with contextlib.suppress(OSError, AttributeError):
            with open("/proc/%d/status" % self.pid, encoding="ascii", errors="replace") as f:
                self.peak_kib = max(
                    self.peak_kib, int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))
                )
        return self.peak_kib

    def out(self):
        with open(self.out_path, "rb") as f:
            return f.read().decode("utf-8", "backslashreplace")

    def err(self):
        with open(self.err_path, "rb") as f:
            return f.read().decode("utf-8", "backslashreplace")

    def show(self):
        diag("command: %s" % " ".join(map(repr, self.args)))
        diag("exit code: %s" % self.popen.returncode)
        diag("\n".join(self.out().splitlines()[-12:]))
        diag("\n".join(self.err().splitlines()[-30:]))


class Serve(Process):
    """A receiver on a free port."""

    READY = re.compile(r"longhaul: receiving into .* on (.*):(\d+)\s*$", re.M)

    def __init__(self, root, *args, listen=None, ready=True, **how):
        self.root = root
        listen = listen or "127.0.0.1:%d" % keep_port()
        super().__init__(["serve", "--root", root, "--listen", listen, *args], **how)
        self.host = self.port = None
        if ready:
            match = wait_until(
                "the receiver says that it is ready",
                lambda: self.READY.search(self.err()) or (not self.alive() and "ended"),
            )
            if match == "ended":
                self.show()
                ok(False, "the receiver starts")
                raise Stop("serve")
            self.host, self.port = match.group(1), int(match.group(2))

    def url(self, path="", port=None, host="127.0.0.1"):
        """The address of a path, whose bytes are taken as they are."""
        path = re.sub(rb"[%?#]", lambda m: b"%%%02X" % m.group()[0], os.fsencode(path))
        return os.fsencode("lh://%s:%d/" % (host, port or self.port)) + path

    def stop(self):
        """Ends it as a service manager does; its exit code."""
        if self.alive():
            self.signal(signal.SIGTERM)
        return self.wait()


class Send(Process):
    """A sender, with --json."""

    def __init__(self, source, url, *args, **how):
        self.source = source
        super().__init__(["send", "--json", *args, source, url], **how)

    def events(self, kind=None):
        found = []
        for line in self.out().split("\n")[:-1]:
            event = json.loads(line)
            if kind is None or event["event"] == kind:
                found.append(event)
        return found

    def last(self, kind=None):
        events = self.events(kind)
        return events[-1] if events else {}

    def until_durable(self, n_bytes=1):
        """Wait until that much of the file is acknowledged; False when it ended before."""
        return wait_until(
            "%d bytes become durable" % n_bytes,
            lambda: any(e["bytes_durable"] >= n_bytes for e in self.events())
            and "yes"
            or (not self.alive() and "ended"),
        ) == "yes"


def send(source, url, *args, limit=LIMIT, **how):
    """Run a sender to its end."""
    run = Send(source, url, *args, **how)
    run.wait(limit)
    return run


def run(*args, **how):
    """Run the program with any arguments to its end."""
    process = Process(args, **how)
    process.wait()
    return process


def done(run_, name):
    """It ended well and said so."""
    passed = run_.rc == 0 and bool(run_.last("done"))
    if not ok(passed, name):
        run_.show()
    return passed


def once(last, size, name):
    """So much was sent, and nothing twice but what was given to a second stream on purpose, which
    happens at the end when one has fallen behind."""
    over = last["bytes_sent"] - size
    if not ok(0 <= over <= last["bytes_repeated"], name):
        diag("%d bytes too many, %d repeated" % (over, last["bytes_repeated"]))


def fails(run_, code, words, name):
    """It ended with that code and a line that says why; never with a crash."""
    err = run_.err()
    passed = run_.rc == code and re.search(words, err, re.I) is not None
    if not ok(passed, "%s: exit code %d, says /%s/" % (name, code, words)):
        run_.show()
    return passed


# ---- a network between the two -----------------------------------------------------------------


class Link:
    """One connection through a Proxy."""

    def __init__(self, proxy, index, near, far):
        self.proxy, self.index, self.near, self.far = proxy, index, near, far
        self.kind = None  # "control" or "stream", by its first frame
        self.up_bytes = self.down_bytes = 0
        self.dead = False
        self.hung = False  # passes nothing more on to the receiver, and goes on existing
        self.up_ended = False  # what the sender closed has been closed towards the receiver

    def lags(self):
        """The sender has closed it, and the receiver does not know yet."""
        if self.dead or self.hung or self.up_ended:
            return False
        with contextlib.suppress(OSError):
            state = self.near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            return state in (7, 8)  # CLOSE, CLOSE_WAIT
        return False

    def reset(self):
        """Both sides get a reset."""
        self.dead = True
        for s in (self.near, self.far):
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes the pump that reads it without sending a FIN first.
                s.shutdown(socket.SHUT_RD)
            with contextlib.suppress(OSError):
                s.close()

    def close(self):
        self.dead = True
        for s in (self.near, self.far):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                s.close()


class Proxy:
    """A TCP relay: slow, cut, reset, black-holed, or damaging what passes.

    rate: bytes a second, all streams together, towards the receiver; None: no limit.
    narrow: with little room for what it has not passed on; so it is when there is a rate.
    mangle(link, upward, data): may change the bytearray `data`, whole frames' worth of stream not
    guaranteed; see Frames for damage at a place in a frame."""

    def __init__(self, port, rate=None, host="127.0.0.1", mangle=None, narrow=None):
        self.target = (host, port)
        self.rate, self.mangle = rate, mangle
        self.narrow = rate is not None if narrow is None else narrow
        self.links = []
        self.holding = threading.Event()  # set: nothing passes (a black hole)
        self.open = True
        self._lock = threading.Lock()
        self._budget_at = time.monotonic()
        self.port = keep_port()
        self._listen()
        Proxy.all.append(self)
        cleanup(self.close)

    def _listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.holding.is_set():
                self.held = getattr(self, "held", []) + [near]  # accepted, and never answered
                continue
            try:
                far = socket.create_connection(self.target, timeout=20)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.narrow:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * KIB)
            link = Link(self, len(self.links), near, far)
            self.links.append(link)
            for upward in (True, False):
                threading.Thread(target=self._pump, args=(link, upward), daemon=True).start()

    def _pump(self, link, upward):
        source, sink = (link.near, link.far) if upward else (link.far, link.near)
        try:
            while True:
                data = source.recv(64 * KIB)
                while (self.holding.is_set() or (upward and link.hung)) and self.open and not link.dead:
                    time.sleep(0.01)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if upward and link.kind is None:
                    link.kind = Frames.kind(data)
                if upward and self.rate and link.kind == "stream":
                    self._pay(len(data))
                if self.mangle:
                    data = bytearray(data)
                    self.mangle(link, upward, data)
                sink.sendall(data)
                if upward:
                    link.up_bytes += len(data)
                else:
                    link.down_bytes += len(data)
        except OSError:
            if not link.dead:
                link.close()
        finally:
            link.up_ended |= upward

    all = []

    @classmethod
    def settle(cls):
        """On one wire the end of a connection comes before the start of the next; here it may be
        delayed on its way. Wait until every end has got through."""
        for proxy in cls.all:
            while proxy.open and not proxy.holding.is_set() and any(l.lags() for l in proxy.links):
                time.sleep(0.002)

    def _pay(self, n):
        with self._lock:
            now = time.monotonic()
            self._budget_at = max(self._budget_at, now - 0.02) + n / self.rate
            wait = self._budget_at - now
        if wait > 0:
            time.sleep(wait)

    def streams(self):
        return [l for l in self.links if l.kind == "stream" and not l.dead]

    def control(self):
        return [l for l in self.links if l.kind == "control" and not l.dead][-1]

    @property
    def up_bytes(self):
        return sum(l.up_bytes for l in self.links)

    def cut(self):
        """Every connection reset, new ones refused."""
        self.stop_listening()
        for link in self.links:
            link.reset()

    def stop_listening(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def mend(self):
        self._listen()

    def close(self):
        if not self.open:
            return
        self.open = False
        Proxy.all.remove(self)
        self.stop_listening()
        for link in self.links:
            link.close()


# ---- network namespaces ------------------------------------------------------------------------


def ip(*args):
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout


class Net:
    """Two network namespaces and a veth pair: the sender's side `a`, the receiver's side `b`."""

    A, B = "10.74.10.1", "10.74.10.2"

    def __init__(self):
        need_root()
        self.a, self.b = "lh-%d-a" % os.getpid(), "lh-%d-b" % os.getpid()
        try:
            ip("netns", "add", self.a)
        except (OSError, subprocess.CalledProcessError) as why:
            raise Skip("no network namespaces here") from why
        cleanup(ip, "netns", "del", self.a)
        ip("netns", "add", self.b)
        cleanup(ip, "netns", "del", self.b)
        ip("link", "add", "lh0", "netns", self.a, "type", "veth", "peer", "name", "lh0",
           "netns", self.b)
        for ns, address in ((self.a, self.A), (self.b, self.B)):
            ip("-n", ns, "addr", "add", address + "/24", "dev", "lh0")
            ip("-n", ns, "link", "set", "lo", "up")
            ip("-n", ns, "link", "set", "lh0", "up")

    def in_a(self):
        return ["ip", "netns", "exec", self.a]

    def in_b(self):
        return ["ip", "netns", "exec", self.b]

    def sent_bytes(self):
        """Bytes that left the sender's interface, with every header."""
        return json.loads(ip("-n", self.a, "-s", "-j", "link", "show", "lh0"))[0]["stats64"]["tx"][
            "bytes"
        ]

    def up(self, on):
        ip("-n", self.a, "link", "set", "lh0", "up" if on else "down")

    def rate(self, mbit):
        """Limit the sender's side."""
        subprocess.run(
            ["tc", "-n", self.a, "qdisc", "replace", "dev", "lh0", "root", "tbf", "rate",
             "%dmbit" % mbit, "burst", "256kb", "latency", "50ms"], check=True, capture_output=True)

    def throttle(self, port, per_second):
        """Of what the sender sends from that port only so many packets a second get through."""
        out = self.in_a() + ["iptables", "-A", "OUTPUT", "-p", "tcp", "--sport", str(port)]
        for rule in (["-m", "limit", "--limit", "%d/second" % per_second, "-j", "ACCEPT"], ["-j", "DROP"]):
            if subprocess.run(out + rule, capture_output=True, check=False).returncode != 0:
                raise Skip("cannot limit packets here")

    def sockets(self):
        """What the kernel says of the sender's connections."""
        return subprocess.run(self.in_a() + ["ss", "-tinH"], check=True, capture_output=True,
                              text=True).stdout


# ---- file systems ------------------------------------------------------------------------------


def tmpfs(name, size):
    """A small file system of its own."""
    need_root()
    at = os.path.join(_dir, name)
    os.mkdir(at)
    got = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", at],
                         capture_output=True, check=False)
    if got.returncode != 0:
        raise Skip("cannot mount here")
    cleanup(subprocess.run, ["umount", "-l", at])
    return at


def preload(name):
    """The library test/lib/NAME.c, built once."""
    library = os.path.join(_base, name + ".so")
    if not os.path.exists(library):
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library,
                        os.path.join(LIB, name + ".c"), "-ldl"], check=True)
    return library


class Shim:
    """Failing and stalling system calls in a program, switched while it runs: faultshim.c."""

    def __init__(self):
        self.dir = os.path.join(_dir, "shim.%d" % _serial)
        os.mkdir(self.dir)
        self.env = {"LD_PRELOAD": preload("faultshim"), "FAULTSHIM": self.dir}

    def set(self, call, errno=0, skip=0, times=-1, stall_ms=0):  # pylint: disable=redefined-outer-name
        """From now on: let `skip` calls pass, then `times` (-1: all) stall (below 0: on a core) and fail
        with errno."""
        path = os.path.join(self.dir, call)
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write("%d %d %d %d\n" % (errno, skip, times, stall_ms))
        os.rename(path + ".new", path)

    def clear(self, call):
        os.unlink(os.path.join(self.dir, call))

    def hits(self, call):
        """How many calls have been made to stall or fail so far."""
        try:
            return os.path.getsize(os.path.join(self.dir, call + ".hits"))
        except FileNotFoundError:
            return 0


# ---- the wire, from the tables in proto/WIRE.md ------------------------------------------------

HEADER_SIZE = 64
MAGIC = 0x3146484C
HELLO, WELCOME, JOIN, OFFER, ACCEPT, BLOCK_FRAME, ACK, HEARTBEAT, ERROR = 1, 2, 3, 4, 7, 9, 10, 19, 20
ZEROS = 2  # a flag of BLOCK_FRAME


def frame(kind, payload=b"", flags=0, transfer=0xFFFFFFFF, offset=0, epoch=0, length=None,
          magic=MAGIC, check=None, raw=None, digest=None):
    """A frame with everything about it right, unless told otherwise."""
    length = len(payload) if length is None else length
    if raw is None:
        raw = length if kind == BLOCK_FRAME else 0
    head = struct.pack("<IHHIIIIQQ", magic, kind, flags, length, transfer, 0, raw, offset, epoch)
    head += xxhash.xxh3_128_digest(payload) if digest is None else digest
    return head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head) if check is None else check) + payload


def zeros(length, **how):
    """A BLOCK of so many zeros: a header alone."""
    how = {"flags": ZEROS, "transfer": 0, "digest": xxhash.xxh3_128_digest(bytes(length)), **how}
    return frame(BLOCK_FRAME, raw=length, **how)


def hello(version_min=1, version_max=1, streams=1, role=1, features=1):
    agent = b"e2e"
    return frame(HELLO, struct.pack("<HHBQQIH", version_min, version_max, role, features, 0, 2000,
                                    streams)
                 + struct.pack("<H", len(agent)) + agent)


def join(token, stream=0, generation=0):
    return frame(JOIN, token + struct.pack("<HI", stream, generation))


def offer(path, size, flags=0, transfer=0, block=BLOCK, mode=0o644, holder=None, n_files=1):
    now = (1700000000, 0)
    path = os.fsencode(path)
    identity = struct.pack("<QQQqIqI", 1, 2, size, *now, *now)
    entry = struct.pack("<BIII", 1, mode, 0, 0) + identity + struct.pack("<H", 0)
    return frame(OFFER, (holder or os.urandom(16)) + struct.pack("<Q", 0) + bytes(16)
                 + struct.pack("<QHIHI", 0, 1, block, flags, n_files)
                 + struct.pack("<H", len(path)) + path + struct.pack("<H", len(entry)) + entry,
                 transfer=transfer)


def token_of(welcome):
    """By which streams join, of a WELCOME as Peer.read gives it."""
    return welcome[2][10:26]


class Frames:
    """Follows the frames in one direction of one connection."""

    def __init__(self):
        self.head = bytearray()
        self.left = 0  # payload bytes still to come
        self.type = None

    @staticmethod
    def kind(data):
        kind = struct.unpack_from("<H", data, 4)[0] if len(data) >= 6 else 0
        return {HELLO: "control", JOIN: "stream"}.get(kind, "other")

    def scan(self, data):
        """The parts of a chunk: (part, frame type, start, end), part "header" or "payload"."""
        parts, at = [], 0
        while at < len(data):
            if self.left:
                end = min(len(data), at + self.left)
                self.left -= end - at
                parts.append(("payload", self.type, at, end))
            else:
                end = min(len(data), at + HEADER_SIZE - len(self.head))
                self.head += data[at:end]
                if len(self.head) == HEADER_SIZE:
                    self.type, self.left = struct.unpack_from("<H2xI", self.head, 4)
                    self.head.clear()
                    parts.append(("header", self.type, at, end))
            at = end
        return parts


class Peer:
    """A connection of the test's own, speaking the wire by hand."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=LIMIT)
        cleanup(self.socket.close)

    def send(self, *frames):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for f in frames:
                self.socket.sendall(f)
        return self

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            try:
                got = self.socket.recv(n - len(data))
            except ConnectionResetError:
                return None
            if not got:
                return None
            data += got
        return data

    def read(self):
        """The next frame as (type, transfer, payload), or None when the other side closed."""
        head = self._exactly(HEADER_SIZE)
        if head is None:
            return None
        magic, kind, _, length, transfer = struct.unpack_from("<IHHII", head)
        if magic != MAGIC:
            return None
        payload = self._exactly(length) if length else b""
        return None if payload is None else (kind, transfer, payload)

    def read_until(self, *kinds):
        """The first frame of these types; None when the connection ends before."""
        while True:
            got = self.read()
            if got is None or got[0] in kinds:
                return got

    def closed(self):
        """Whether the other side ends the connection; waits for it, reading what still comes."""
        try:
            while self.read() is not None:
                pass
            return True
        except socket.timeout:
            return False
