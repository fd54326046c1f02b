"""A redis-server of the test's own, and a client that asks it.

    redis = Redis(appendonly=True)
    redis("XADD", "key", "*", "field", "value")     # bytes or str or numbers in; str, int, list or None out
    redis.kill(); redis.restart(); redis.pause(); redis.resume(); redis.empty()

It lives in the directory of the running test function and ends with it.
"""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from urllib.parse import quote

import e2e


class Error(Exception):
    """Redis answered with an error; the text begins with its code."""


class Client:
    """One connection that speaks RESP. Strings come back as str; bytes that are no UTF-8 survive as
    surrogates (os.fsencode gives them back)."""

    def __init__(self, path, user=None, password=None):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(e2e.LIMIT)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")
        if password is not None:
            self("AUTH", *([user] if user else []), password)

    def send(self, *args):
        parts = [a if isinstance(a, bytes) else os.fsencode(str(a)) for a in args]
        self.sock.sendall(
            b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
        )

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("redis-server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return os.fsdecode(rest)
        if kind == b"-":
            return Error(os.fsdecode(rest))
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        data = self.file.read(int(rest) + 2)
        return os.fsdecode(data[:-2])

    def __call__(self, *args):
        self.send(*args)
        reply = self.read()
        if isinstance(reply, Error):
            raise reply
        return reply

    def close(self):
        self.file.close()
        self.sock.close()


class Redis:
    """appendonly: it remembers each command (appendfsync always). password: of the default user.
    users: rules of ACL users, such as "worker on >secret ~* +@all". maxmemory: bytes, writes are
    refused beyond. tcp: also on a free port of 127.0.0.1. cluster: a node without slots, with tcp.
    options: more of redis-server's."""

    def __init__(self, appendonly=False, password=None, users=(), maxmemory=None, tcp=False,
                 cluster=False, options=()):
        self.dir = tempfile.mkdtemp(prefix="redis.", dir=e2e.dir())
        self.path = os.path.join(self.dir, "sock")
        self.password = password
        self.port = e2e.keep_port(65536 - 10000 if cluster else 65536) if tcp or cluster else 0
        self.args = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        self.args += ["--unixsocket", self.path, "--unixsocketperm", "777", "--dir", self.dir]
        self.args += ["--save", "", "--logfile", "log", "--appendonly", "yes" if appendonly else "no"]
        self.args += ["--appendfsync", "always"]
        if password is not None:
            self.args += ["--requirepass", password]
        for rule in users:
            self.args += ["--user", *rule.split()]
        if maxmemory is not None:
            self.args += ["--maxmemory", str(maxmemory)]
        if cluster: # its nodes talk at that port and 10000
            self.args += ["--cluster-enabled", "yes"]
        self.args += list(options)
        self.popen = None
        self.client = None
        os.chmod(self.dir, 0o777)
        e2e.cleanup(self.kill)
        self.restart()

    @property
    def pid(self):
        return self.popen.pid

    def url(self, user="", password=None, db=0):
        """By the socket, with the default user's password where it has one and no other is given."""
        return "unix://%s%s%s" % (self._login(user, password), self.path, "?db=%d" % db if db else "")

    def tcp_url(self, user="", password=None, db=0, host="127.0.0.1"):
        login = self._login(user, password)
        return "redis://%s%s:%d%s" % (login, host, self.port, "/%d" % db if db else "")

    def _login(self, user, password):
        password = self.password if password is None else password
        if not user and password is None:
            return ""
        return "%s:%s@" % (quote(user, safe=""), quote(password or "", safe=""))

    def __call__(self, *args):
        """One command by the default user. An error reply is raised."""
        if self.client is None:
            self.client = Client(self.path, password=self.password)
        try:
            return self.client(*args)
        except OSError:
            self._hang_up()
            raise

    def hash(self, key):
        """HGETALL as a dict."""
        flat = self("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2]))

    def stream(self, key):
        """XRANGE, all of it: [(id, {field: value})]."""
        return [(id_, dict(zip(flat[::2], flat[1::2]))) for id_, flat in self("XRANGE", key, "-", "+")]

    def info(self, section):
        """INFO of a section as a dict of strings."""
        lines = self("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def commands(self):
        """How many it has carried out since it started. Redis counts a script as one command and
        each that it calls as another; `calls` tells them apart."""
        return int(self.info("stats")["total_commands_processed"])

    def calls(self):
        """How often each has been called since it started: {"evalsha": 3, …}."""
        stats = self.info("commandstats")
        return {k[len("cmdstat_"):]: int(v.split(",")[0].split("=")[1]) for k, v in stats.items()}

    def kill(self):
        """kill -9; what is on its disk stays."""
        self._hang_up()
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def stop(self):
        """SIGTERM, as an administrator would."""
        self._hang_up()
        self.resume()
        self.popen.terminate()
        self.popen.wait(e2e.LIMIT)

    def restart(self):
        """Start it where it was; with appendonly it remembers, else it has forgotten everything."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        with open(os.path.join(self.dir, "out"), "ab") as out:
            self.popen = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        e2e.wait_until("redis-server answers", self._answers)

    def empty(self):
        """It loses its data and its identity, as after a disk that broke."""
        self.kill()
        for name in os.listdir(self.dir):
            if name.startswith("appendonly") or name.endswith(".rdb"):
                at = os.path.join(self.dir, name)
                shutil.rmtree(at) if os.path.isdir(at) else os.unlink(at)
        self.restart()

    def pause(self):
        """SIGSTOP: connected, but silent."""
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self):
        self.popen.send_signal(signal.SIGCONT)

    def _hang_up(self):
        if self.client is not None:
            self.client.close()
            self.client = None

    def _answers(self):
        if self.popen.poll() is not None:
            with open(os.path.join(self.dir, "out"), encoding="utf-8", errors="replace") as f:
                e2e.diag(f.read())
            raise e2e.Stop("redis-server ended at once")
        try:
            return self("PING") == "PONG"  # an error while it loads its data
        except (OSError, Error):
            self._hang_up()
            return False
