#!/usr/bin/python3
"""The WAN in the box is what was asked for: delay, rate, loss, bursts, buffer, order, damage, cuts, hosts.

Bounds hold however slow the machine is: a delay is at least, a rate at most what was asked, counts
lie within five standard deviations (and the emulator's dice have a fixed seed).
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import ctypes
import errno
import json
import random
import socket
import struct
import subprocess
import threading
import time

import e2e
from e2e import Skip, cleanup, need, need_root, ok, same

STATE = os.environ.get("LH_WAN_STATE", "/run/longhaul-wan")
HERE = os.path.dirname(os.path.abspath(__file__))
A, B, B6 = "198.18.0.1", "198.18.0.2", "fd00:6c68::2"
PORT = 9000
IPV4 = socket.AF_INET
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
UDP_SEGMENT = 103
WIRE_OVERHEAD = 20 + 8 + 14  # IP, UDP and Ethernet headers
LIBC = ctypes.CDLL(None, use_errno=True)


def tool(name, *args):
    return subprocess.run([os.path.join(HERE, name), *args], capture_output=True, text=True)


class Wan:
    n = 0

    def __init__(self, *args, host="plain", engine="emulator"):
        need_root()
        if subprocess.run(["ip", "netns", "list"], capture_output=True).returncode:
            raise Skip("no network namespaces here")
        probe = "lhprobe-%d" % os.getpid()
        if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
            raise Skip("no network namespaces here")
        e2e.ip("netns", "del", probe)
        Wan.n += 1
        self.name = "lhwt-%d-%d" % (os.getpid(), Wan.n)
        up = tool("up", "--name", self.name, "--host", host, "--engine", engine, *args)
        if "no NFQUEUE here" in up.stderr:
            raise Skip("no NFQUEUE here")
        if up.returncode:
            e2e.diag(up.stderr)
        need(up.returncode == 0, "up " + " ".join(args))
        cleanup(tool, "down", self.name)
        self.sock = None
        if engine == "emulator":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(os.path.join(STATE, self.name, "control"))
            cleanup(self.sock.close)
            self.answers = self.sock.makefile("r")

    def tell(self, *lines):
        for line in lines:
            self.sock.sendall(line.encode() + b"\n")
            answer = self.answers.readline()
            if answer != "ok\n":
                raise ValueError(answer)

    def stats(self, direction="ab"):
        self.sock.sendall(b"stats\n")
        return json.loads(self.answers.readline())[direction]

    def socket(self, side, *kind, family=IPV4):
        """A socket in one end."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open("/run/netns/%s-%s" % (self.name, side), os.O_RDONLY)
        try:
            if LIBC.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            sock = socket.socket(family, *kind)
        finally:
            if LIBC.setns(back, CLONE_NEWNET):
                os._exit(1)  # nothing may run in the wrong namespace
            os.close(back)
            os.close(there)
        sock.settimeout(e2e.LIMIT)
        cleanup(sock.close)
        return sock

    def udp(self, side):
        sock = self.socket(side, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        sock.bind((A if side == "a" else B, PORT))
        return sock

    def tcp(self, family=IPV4):
        """A connection: a's end, b's end."""
        address = (B if family == IPV4 else B6, PORT)
        listener = self.socket("b", socket.SOCK_STREAM, family=family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        client = self.socket("a", socket.SOCK_STREAM, family=family)
        client.connect(address)
        server = listener.accept()[0]
        server.settimeout(e2e.LIMIT)
        listener.close()
        cleanup(server.close)
        return client, server

    def blast(self, n, size=100, burst=500, fill=True):
        """Numbered datagrams from a to b: the numbers that arrived, in that order. The device's queue
        is never filled, so only the line drops."""
        sender, receiver = self.udp("a"), self.udp("b")
        padding = bytes(size - 4)
        before = self.stats()
        gone = ("tail_dropped", "lost", "cut", "refused", "delivered")

        def until(keys, count):
            e2e.wait_until("the line has them", lambda: sum(
                self.stats()[k] - before[k] for k in keys) >= count or time.sleep(0.01))

        for first in range(0, n, burst):
            for i in range(first, min(first + burst, n)):
                sender.sendto(struct.pack("!I", i) + padding, (B, PORT))
            if fill:
                until(["segments"], min(first + burst, n))
        until(gone, n)
        receiver.settimeout(1)
        got = []
        try:
            while len(got) < n:
                got.append(struct.unpack("!I", receiver.recv(2048)[:4])[0])
                if receiver.gettimeout():
                    receiver.setblocking(False)
        except (BlockingIOError, TimeoutError):
            pass
        return got


def min_rtt(wan, n=20):
    """The least of some UDP round trips, in seconds."""
    near, far = wan.udp("a"), wan.udp("b")

    def echo():
        try:
            while True:
                data, where = far.recvfrom(100)
                far.sendto(data, where)
                if data == b"last":
                    return
        except OSError:
            pass

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    times = []
    for i in range(n):
        start = time.monotonic()
        near.sendto(b"last" if i == n - 1 else b"next", (B, PORT))
        near.recv(100)
        times.append(time.monotonic() - start)
    thread.join()
    near.close()
    far.close()
    return min(times)


def transfer(source, sink, contents):
    """Sends it all: what arrived, and its bytes per second after the first piece."""
    thread = threading.Thread(target=lambda: source.sendall(contents), daemon=True)
    thread.start()
    got, first, began = bytearray(), 0, None
    while len(got) < len(contents):
        piece = sink.recv(1 << 18)
        if not piece:
            break
        got += piece
        if began is None:
            began, first = time.monotonic(), len(got)
    rate = (len(got) - first) / (time.monotonic() - began)
    thread.join()
    return got, rate


def within(have, n, p, inflate=1.0):
    """Is a binomial count plausible?"""
    return abs(have - n * p) <= 5 * (n * p * (1 - p) * inflate) ** 0.5 + 1


def rtt_and_rate(wan, engine):
    rtt = min_rtt(wan)
    ok(rtt >= 0.06, "%s: a round trip takes at least the 60 ms asked for (%.2f)" % (engine, rtt * 1e3))
    ok(rtt < 0.11, "%s: and not much longer" % engine)
    near, far = wan.tcp()
    contents = bytes(int(100e6 / 8 * 3))
    got, rate = transfer(near, far, contents)
    same(len(got), len(contents), "%s: three seconds' worth arrives" % engine)
    share = rate * 1514 / 1448 * 8 / 100e6
    ok(share <= 1.02, "%s: no faster than 100 Mbit/s (%.3f of it)" % (engine, share))
    ok(share >= 0.5, "%s: nor much slower" % engine)


def test_rtt_and_rate():
    wan = Wan("100mbit", "60ms", "0%")
    rtt_and_rate(wan, "emulator")
    wan.tell("delay 5ms", "ba rate 10mbit")
    rtt = min_rtt(wan)
    ok(0.01 <= rtt < 0.06, "the delay was changed while it ran (%.2f ms)" % (rtt * 1e3))
    near, far = wan.tcp()
    _, rate = transfer(far, near, bytes(int(10e6 / 8 * 2)))
    share = rate * 1514 / 1448 * 8 / 10e6
    ok(share <= 1.02, "one direction's rate was changed (%.3f of it)" % share)


def test_netem():
    probe = "lhprobe-%d" % os.getpid()
    need_root()
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        raise Skip("no network namespaces here")
    has = subprocess.run(["tc", "-n", probe, "qdisc", "add", "dev", "lo", "root", "netem"],
                         capture_output=True).returncode == 0
    e2e.ip("netns", "del", probe)
    if has:
        rtt_and_rate(Wan("100mbit", "60ms", "0%", engine="netem"), "netem")
    else:
        e2e.diag("this kernel has no netem: only the emulator is tested")


def test_loss():
    n = 20000
    got = Wan("1gbit", "2ms", "5%", "100MB").blast(n)
    ok(within(n - len(got), n, 0.05), "5 %% of %d datagrams are lost (%d)" % (n, n - len(got)))
    same(got, sorted(got), "the others keep their order")


def test_burst_loss():
    n = 40000
    wan = Wan("1gbit", "2ms", "0%", "100MB", "burst 3% 10")
    came = set(wan.blast(n))
    runs, length = [], 0
    for i in range(n + 1):
        if i < n and i not in came:
            length += 1
        elif length:
            runs.append(length)
            length = 0
    lost = n - len(came)
    ok(within(lost, n, 0.03, inflate=19), "3 %% are lost in bursts (%d of %d)" % (lost, n))
    mean = lost / max(1, len(runs))
    ok(7 <= mean <= 13, "a burst is ten segments long, in the mean (%.1f of %d)" % (mean, len(runs)))


def test_loss_splits_super_packets():
    wan = Wan("1gbit", "10ms", "1%")
    near, far = wan.tcp()
    contents = random.Random(1).randbytes(30 << 20)
    got, _ = transfer(near, far, contents)
    same(bytes(got) == contents, True, "what arrives around lost segments is right")
    stats = wan.stats()
    ok(stats["segments"] > 1.2 * stats["packets"], "there were super-packets (%d segments in %d packets)"
       % (stats["segments"], stats["packets"]))
    passed = stats["segments"] - stats["tail_dropped"]
    ok(within(stats["lost"], passed, 0.01), "of their segments 1 %% were lost (%d of %d)"
       % (stats["lost"], passed))
    snmp = subprocess.run(["ip", "netns", "exec", wan.name + "-b", "cat", "/proc/net/snmp"],
                          check=True, capture_output=True, text=True).stdout
    keys, values = [line.split() for line in snmp.splitlines() if line.startswith("Tcp:")]
    same(dict(zip(keys, values))["InCsumErrors"], "0", "no checksum was wrong")


def test_buffer():
    wan = Wan("1mbit", "20ms", "0%", "50kB")
    size = 1000
    fit = 50000 // (size + WIRE_OVERHEAD)
    n, start = 300, time.monotonic()
    got = wan.blast(n, size, burst=n)
    most = fit + (time.monotonic() - start) * 1e6 / 8 / (size + WIRE_OVERHEAD) + 1
    ok(fit <= len(got) <= most, "a buffer of 50 kB takes %d datagrams, not all %d" % (len(got), n))
    same(got[:fit], list(range(fit)), "the first ones, for it drops at the tail")
    ok(wan.stats()["queue_max_bytes"] <= 50000, "it was never fuller")


def test_reorder():
    n = 5000
    wan = Wan("1gbit", "2ms", "0%", "100MB", "reorder 10% 20ms")
    got = wan.blast(n)
    same(sorted(got), list(range(n)), "everything arrives")
    late = sum(1 for i, number in enumerate(got) if i and number < max(got[max(0, i - 1000):i]))
    held = wan.stats()["held"]
    ok(within(held, n, 0.1), "a tenth is held back (%d of %d)" % (held, n))
    ok(late > 0, "and comes after what was sent later (%d)" % late)


def flipped(have, want):
    """Bits by which two strings of one length differ."""
    return bin(int.from_bytes(have, "big") ^ int.from_bytes(want, "big")).count("1")


def test_corruption_of_tcp():
    wan = Wan("1gbit", "10ms", "0%", "100MB", "ab corrupt 1%")
    near, far = wan.tcp()
    contents = random.Random(2).randbytes(8 << 20)
    got, _ = transfer(near, far, contents)
    same(len(got), len(contents), "a damaged stream arrives as if nothing were wrong")
    bad, n = flipped(got, contents), wan.stats()["corrupted"]
    ok(0 < bad <= n, "with bits flipped (%d, of %d segments hit)" % (bad, n))
    wan.tell("corrupt 0%", "ab corrupt 100% header")
    before = wan.stats()["corrupted"]
    near.send(b"x" * 100)
    e2e.wait_until("a header is hit", lambda: wan.stats()["corrupted"] > before)
    wan.tell("corrupt 0% header")


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_corruption_mends_checksums():
    """Datagrams whose checksum the sender filled in itself: the receiver's kernel verifies it."""
    wan = Wan("1gbit", "2ms", "0%", "100MB", "ab corrupt 100%")
    raw = wan.socket("a", socket.SOCK_RAW, socket.IPPROTO_UDP)
    far = wan.udp("b")
    far.settimeout(10)
    dice, sent = random.Random(3), []
    for _ in range(200):
        data = dice.randbytes(dice.randrange(2, 1400))
        header = struct.pack("!HHHH", PORT, PORT, 8 + len(data), 0)
        pseudo = socket.inet_aton(A) + socket.inet_aton(B) + struct.pack("!BBH", 0, 17, 8 + len(data))
        header = header[:6] + struct.pack("!H", checksum(pseudo + header + data))
        raw.sendto(header + data, (B, 0))
        sent.append(data)
    try:
        got = [far.recv(2048) for _ in sent]
    except TimeoutError:
        got = []
    need(len(got) == len(sent), "every datagram passes the receiver's checksum")
    same({flipped(g, s) for g, s in zip(got, sent)}, {1}, "and has one bit flipped")


def test_cut():
    wan = Wan("100mbit", "10ms", "0%")
    near, far = wan.tcp()
    wan.tell("cut blackhole")
    near.send(b"hello")
    e2e.wait_until("the cut swallows it", lambda: wan.stats()["cut"] > 0 or time.sleep(0.01))
    far.settimeout(0.3)
    try:
        came = far.recv(100)
    except TimeoutError:
        came = None
    same(came, None, "nothing comes through a black hole")
    wan.tell("cut off")
    far.settimeout(e2e.LIMIT)
    same(far.recv(100), b"hello", "it comes once the cut is mended")
    wan.tell("cut reset")
    resets(near, far, "")


def resets(near, far, what):
    for side, name in ((near, "a"), (far, "b")):
        try:
            side.send(b"x")
            side.recv(100)
            why = 0
        except OSError as error:
            why = error.errno
        same(why, errno.ECONNRESET, "a cut that resets is felt in %s%s" % (name, what))


def test_ipv6():
    wan = Wan("1gbit", "10ms", "1%")
    near, far = wan.tcp(socket.AF_INET6)
    contents = random.Random(4).randbytes(8 << 20)
    same(bytes(transfer(near, far, contents)[0]) == contents, True, "IPv6 arrives around losses")
    ok(wan.stats()["lost"] > 0, "of which there were some")
    wan.tell("cut reset")
    resets(near, far, ", over IPv6")


def test_datagrams_in_one_super_packet():
    wan = Wan("1gbit", "2ms", "0%")
    near, far = wan.udp("a"), wan.udp("b")
    near.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 500)
    near.sendto(bytes(5000), (B, PORT))
    same([len(far.recv(2048)) for _ in range(10)], [500] * 10, "datagrams sent as one packet come as ten")
    ok(wan.stats()["segments"] >= 10, "and are counted as such")


PROBE = """
import socket
with open("/proc/self/status") as f:
    caps = [line.split()[1] for line in f if line.startswith("CapEff")][0]
def congestion(s):
    return s.getsockopt(6, socket.TCP_CONGESTION, 16).rstrip(b"\\0").decode()
def pair(name):
    s = socket.socket()
    try:
        if name: s.setsockopt(6, socket.TCP_CONGESTION, name)
    except OSError as e:
        return e.strerror
    before = congestion(s)
    s.connect(("198.18.0.2", 9000))
    return before + " " + congestion(s)
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10 << 20)
buf = s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
print(int(caps, 16), buf <= 2 * 212992, pair(None), pair(b"bbr"), pair(b"cubic"), sep=",")
"""


def test_hosts():
    with open("/proc/sys/net/ipv4/tcp_available_congestion_control", encoding="ascii") as f:
        bbr = "bbr" in f.read().split()
    for host in ("stock", "stock+bbr"):
        wan = Wan("1gbit", "2ms", "0%", host=host)
        listener = wan.socket("b", socket.SOCK_STREAM)
        listener.bind((B, PORT))
        listener.listen()
        out = tool("run", wan.name, "a", "/usr/bin/python3", "-c", PROBE)
        want = "Operation not permitted" if host == "stock" else "bbr bbr"
        if not bbr:
            want = "No such file or directory" if host != "stock" else want
        same(out.stdout.strip(), "0,True,cubic cubic,%s,cubic cubic" % want,
             "%s: no capabilities, small buffers, CUBIC" % host)
        if out.returncode:
            e2e.diag(out.stderr)


def test_down():
    wan = Wan("100mbit", "10ms", "0%")
    with open(os.path.join(STATE, wan.name, "pid"), encoding="ascii") as f:
        pid = int(f.read())
    ok(os.path.exists("/proc/%d" % pid), "the emulator runs")
    same(tool("down", wan.name).returncode, 0, "down")
    ok(not os.path.exists("/proc/%d" % pid), "the emulator is gone")
    ok(wan.name not in e2e.ip("netns", "list"), "so are the namespaces")
    ok(not os.path.exists(os.path.join(STATE, wan.name)), "and what up wrote down")
    bad = tool("up", "--name", wan.name, "--engine", "emulator", "1gbit", "1ms", "0%", "1bdp", "los 1%")
    ok(bad.returncode != 0 and wan.name not in e2e.ip("netns", "list"),
       "a line that is not understood is refused, and nothing is left")


e2e.main()
