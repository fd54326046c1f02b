"""What the end-to-end tests stand on: the real program, run and judged from outside.

A test script defines functions test_*() and ends with e2e.main(), which runs them in order, each in
a directory of its own (e2e.dir()), speaks TAP and ends whatever the test left running. LONGHAUL in
the environment names the program. Time limits here only end what hangs; no check depends on how
fast anything went.

In here: files, and the program's processes. The rest is in modules of its own, which tests need not
know: tap, proxy, netns, shim, wire.
"""
import contextlib
import json
import os
import pwd
import random
import re
import shutil
import signal
import struct
import subprocess
import time

import xxhash

import tap
from netns import Net, ip
from proxy import Link, Proxy, keep_port
from shim import Shim, preload
from tap import (BIN, LIB, LIMIT, SHORT, Skip, Stop, cleanup, diag, dir, long, main,  # pylint: disable=redefined-builtin
                 hung, need, need_root, ok, room, run_cleanups, same, skip, wait_until)
from wire import (ACCEPT, ACK, BLOCK, BLOCK_FRAME, ERROR, HEADER_SIZE, HEARTBEAT, HELLO, JOIN, KIB, MAGIC, OFFER,
                  WELCOME, ZEROS, Frames, Peer, frame, hello, join, offer, token_of, zeros)

MIB, GIB = 1 << 20, 1 << 30
RANGE = 64 * MIB
OK, INTERNAL, USAGE, SOURCE, DEST, NETWORK, REFUSED, VERIFY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 7, 130

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


def tmpfs(name, size):
    """A small file system of its own."""
    need_root()
    at = os.path.join(tap.dir(), name)
    os.mkdir(at)
    got = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs", at],
                         capture_output=True, check=False)
    if got.returncode != 0:
        raise Skip("cannot mount here")
    cleanup(subprocess.run, ["umount", "-l", at])
    return at


# ---- processes ---------------------------------------------------------------------------------


def drop_to_nobody():
    entry = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def for_nobody():
    """A copy of the program that everybody may run, wherever the build tree is."""
    copy = os.path.join(tap.shared(), "longhaul")
    if not os.path.exists(copy):
        shutil.copy(BIN, copy)
    return copy


_serial = 0


class Process:
    """A run of the program, its two outputs in files."""

    started = []

    def __init__(self, args, env=None, wrap=(), nobody=False, limits=None):
        global _serial
        _serial += 1
        self.out_path = os.path.join(tap.dir(), "out.%d" % _serial)
        self.err_path = os.path.join(tap.dir(), "err.%d" % _serial)
        self.args = list(wrap) + [for_nobody() if nobody else BIN] + list(args)
        self.what = "longhaul " + " ".join(map(str, args[:1]))
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
        Process.started.append(self)
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
                self.show_all()
                self.kill()
                hung(self.what + " ends", limit)
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

    def show_all(self):
        """What it said, and what those said that live beside it."""
        for process in [self] + [p for p in Process.started if p is not self and p.alive()]:
            process.show()

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
