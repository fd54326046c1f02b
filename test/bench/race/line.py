"""What the contestants race over: a WAN of test/wan, or a veth pair with nothing between.

Data always flows from end "a" to end "b".
"""
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WAN_DIR = os.path.join(HERE, "../../wan")
STATE = os.environ.get("LH_WAN_STATE", "/run/longhaul-wan")
ADDRESS = {"a": "198.18.0.1", "b": "198.18.0.2"}
HEADERS = 66  # Ethernet, IP and TCP with timestamps
TICK = os.sysconf("SC_CLK_TCK")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
RATES = {"gbit": 1e9, "mbit": 1e6, "kbit": 1e3}
TIMES = {"s": 1, "ms": 1e-3, "us": 1e-6}
NUMBER = r"[0-9]*\.?[0-9]+"
BUFFER = NUMBER + "(bdp|s|ms|us|MB|kB|B)"


class LineError(RuntimeError):
    """The line cannot be made here; the text says why."""


class Wan:
    """"RATE,RTT,LOSS[,BUFFER]" as test/wan/up takes them; LOSS may be "3%/10", which is 3 % in bursts
    of 10 segments on average. "none": no WAN, a veth pair."""

    def __init__(self, text):
        self.text = text
        self.rate_bps, self.rtt_s = None, 0.0
        if text == "none":
            return
        parts = text.split(",") + ["1bdp"] * (text.count(",") == 2)
        rate, rtt, loss, buffer = (re.fullmatch(pattern, part) for pattern, part in zip(
            (f"({NUMBER})([gmk]bit)", f"({NUMBER})(s|ms|us)", f"({NUMBER}%)(?:/({NUMBER}))?", BUFFER),
            parts if len(parts) == 4 else [""] * 4))
        if not (rate and rtt and loss and buffer):
            raise ValueError(f"not a WAN: '{text}' (RATE,RTT,LOSS[,BUFFER], as 1gbit,100ms,0.1%,1bdp; or none)")
        self.rate_bps = float(rate[1]) * RATES[rate[2]]
        self.rtt_s = float(rtt[1]) * TIMES[rtt[2]]
        self.rate, self.rtt, _, self.buffer = parts
        self.loss, burst = loss.groups()
        self.lines = [f"burst {self.loss} {burst}"] if burst else []

    def up_words(self):
        if self.rate_bps is None:
            return ["none"]
        return [self.rate, self.rtt, "0%" if self.lines else self.loss, self.buffer] + self.lines

    def words(self):
        if self.rate_bps is None:
            return "veth, no WAN"
        loss = {"0%": "no loss"}.get(self.loss, f"{self.loss} loss")
        if self.lines:
            loss += f" in bursts of {self.lines[0].split()[2]}"
        buffer = "" if self.buffer == "1bdp" else f", buffer {self.buffer}"
        return f"{self.rate}, {self.rtt}, {loss}{buffer}"


def inside(namespace, call):
    """What call() returns, called in that network namespace."""
    with open("/proc/thread-self/ns/net", "rb") as back:
        with open(f"/run/netns/{namespace}", "rb") as there:
            if LIBC.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        try:
            return call()
        finally:
            if LIBC.setns(back.fileno(), CLONE_NEWNET):
                os._exit(1)  # nothing may run on in the wrong namespace


class Line:
    def __init__(self, wan, host, name, engine="emulator"):
        self.wan, self.host, self.name, self.engine = wan, host, name, engine
        self.control = None
        self.files = {}
        self.arrival = "wan"  # b's device that packets come out of when the line is done with them
        self.ahead_s = 0.0    # what is seen on that device is so long ahead of its arrival
        self.emulator_pid = None
        self.is_up = False

    def __enter__(self):
        self.is_up = True
        try:
            self.up()
            for end in "ab":
                for table in ("dev", "snmp"):
                    self.files[end, table] = inside(
                        f"{self.name}-{end}",
                        lambda table=table: open(f"/proc/thread-self/net/{table}", "rb", buffering=0))
                self.write_hosts(end)
        except BaseException:
            self.__exit__()
            raise
        return self

    def up(self):
        engine = ["--engine", self.engine] if self.wan.rate_bps else []
        made = subprocess.run([os.path.join(WAN_DIR, "up"), "--name", self.name, "--host", self.host]
                              + engine + self.wan.up_words(), check=False, text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if made.returncode:
            said = made.stderr.strip() or "it does not say why"
            raise LineError(f"no WAN of {self.wan.text}: {said.splitlines()[-1]}")
        state = os.path.join(STATE, self.name)
        if os.path.exists(os.path.join(state, "control")):
            self.ahead_s = self.wan.rtt_s / 2  # packet sockets see it before NFQUEUE holds it back
            self.control = socket.socket(socket.AF_UNIX)
            self.control.connect(os.path.join(state, "control"))
            self.answers = self.control.makefile("r", encoding="ascii")
            with open(os.path.join(state, "pid"), encoding="ascii") as f:
                self.emulator_pid = int(f.read())
        elif self.wan.rate_bps:
            self.arrival = "wan-in"  # netem's

    def write_hosts(self, end):
        """ip netns exec lays this over /etc/hosts: some tools insist on names, and no name server
        can be reached from there."""
        directory = f"/etc/netns/{self.name}-{end}"
        os.makedirs(directory)
        with open(os.path.join(directory, "hosts"), "w", encoding="ascii") as f:
            f.write("127.0.0.1 localhost\n")
            for other, address in ADDRESS.items():
                own = " " + socket.gethostname() if other == end else ""
                f.write(f"{address} {self.host_name(other)}{own}\n")

    def host_name(self, end):
        return f"{self.name}-{end}"

    def __exit__(self, *_):
        if not self.is_up:
            return
        self.is_up = False
        for f in list(self.files.values()) + ([self.control] if self.control else []):
            f.close()
        for end in "ab":
            shutil.rmtree(f"/etc/netns/{self.name}-{end}", ignore_errors=True)
        if os.path.isdir(os.path.join(STATE, self.name)):
            subprocess.run([os.path.join(WAN_DIR, "down"), self.name], check=False)

    def bare_argv(self, end, argv):
        """argv, run in that end with all privileges."""
        return ["ip", "netns", "exec", f"{self.name}-{end}"] + argv

    def argv(self, end, argv, user=None):
        """argv, run in that end as on such a host; the second result is its environment."""
        environment = dict(os.environ)
        if self.wan.rate_bps or self.host != "plain":  # else "run" would add no more than its start
            if user:
                environment["LH_WAN_USER"] = user
            return [os.path.join(WAN_DIR, "run"), self.name, end] + argv, environment
        if user:
            argv = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups"] + argv
        return self.bare_argv(end, argv), environment

    def permits_bbr(self):
        with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as f:
            return self.host != "stock" and "bbr" in f.read().split()

    def read(self, end, table):
        f = self.files[end, table]
        f.seek(0)
        return f.read(65536).decode()

    def device_counts(self, end, device="wan"):
        """Bytes and packets received, bytes and packets sent; a super-packet counts once."""
        for row in self.read(end, "dev").splitlines():
            name, _, numbers = row.partition(":")
            if name.strip() == device:
                n = [int(word) for word in numbers.split()]
                return n[0], n[1], n[8], n[9]
        raise RuntimeError("the interface has gone away")

    def emulator(self):
        self.control.sendall(b"stats\n")
        return json.loads(self.answers.readline())["ab"]

    def arrived(self):
        """Bytes that have reached b: on the wire where the emulator counts, else as its interface
        counts them."""
        if self.control:
            return self.emulator()["delivered_wire_bytes"]
        return self.device_counts("b", self.arrival)[0]

    def settle(self, most_s=10.0):
        """Wait until nothing arrives any more of what was raced before: what was under way when its
        programs were killed, and what their sockets still send."""
        before, quiet_since = self.arrived(), time.monotonic()
        deadline = quiet_since + most_s
        while time.monotonic() < min(deadline, quiet_since + self.wan.rtt_s + 0.1):
            time.sleep(0.02)
            arrived = self.arrived()
            if arrived != before:
                before, quiet_since = arrived, time.monotonic()

    def emulator_cpu_s(self):
        if self.emulator_pid is None:
            return 0.0
        with open(f"/proc/{self.emulator_pid}/stat", encoding="ascii") as f:
            words = f.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICK

    def counts(self):
        """What a has sent so far, b received, and the line dropped."""
        rows = [row.split() for row in self.read("a", "snmp").splitlines() if row.startswith("Tcp:")]
        tcp = dict(zip(rows[0][1:], map(int, rows[1][1:])))
        out = {"segments": tcp["OutSegs"] + tcp["RetransSegs"], "retransmitted": tcp["RetransSegs"],
               "lost": None, "tail_dropped": None}
        if self.control:
            stats = self.emulator()
            out.update(wire=stats["wire_bytes"], arrived=stats["delivered_wire_bytes"],
                       lost=stats["lost"], tail_dropped=stats["tail_dropped"])
        else:
            sent = self.device_counts("a")
            out["wire"] = sent[2] + (out["segments"] - sent[3]) * HEADERS
            out["arrived"] = self.arrived()
        return out
