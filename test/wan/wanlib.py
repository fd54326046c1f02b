"""What the tests of the WAN stand on: a WAN, sockets in its ends, and what is measured with them."""
import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import e2e  # noqa: E402
from e2e import Skip, cleanup, need, need_root, ok, same  # noqa: E402
from netem import Netem  # noqa: E402

STATE = os.environ.get("LH_WAN_STATE", "/run/longhaul-wan")
A, B, B6 = "198.18.0.1", "198.18.0.2", "fd00:6c68::2"
PORT = 9000
IPV4 = socket.AF_INET
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
UDP_SEGMENT = 103
FEW_MS = 3  # the emulator looks at its queue each half a millisecond
WIRE_OVERHEAD = 20 + 8 + 14  # IP, UDP and Ethernet headers
LIBC = ctypes.CDLL(None, use_errno=True)


def tool(name, *args):
    return subprocess.run([os.path.join(HERE, name), *args], capture_output=True, text=True)


MISSING = ("no network namespaces here", "no NFQUEUE here")  # what up says of a host that has not got them


def up(name, *args):
    """A WAN, or two hosts without one, until the test function ends. Only what this host lacks is skipped."""
    need_root()
    made = tool("up", "--name", name, *args)
    for reason in MISSING:
        if reason in made.stderr:
            raise Skip(reason)
    if made.returncode:
        e2e.diag(made.stderr)
    need(made.returncode == 0, "up " + " ".join(args))
    cleanup(tool, "down", name)


def need_emulator():
    """Skips where the emulator cannot run."""
    name = "lhprobe-%d" % os.getpid()
    up(name, "--engine", "emulator", "1gbit", "1ms", "0%")
    tool("down", name)


class Wan:
    n = 0

    def __init__(self, *args, host="plain", engine="emulator"):
        Wan.n += 1
        self.name = "lhwt-%d-%d" % (os.getpid(), Wan.n)
        up(self.name, "--host", host, "--engine", engine, *args)
        self.state = os.path.join(STATE, self.name)
        self.sock = None
        if engine == "emulator":
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(os.path.join(self.state, "control"))
            cleanup(self.sock.close)
            self.answers = self.sock.makefile("r")

    def tell(self, *lines):
        for line in lines:
            answer = self.ask(line)
            if answer != "ok":
                raise ValueError(answer)

    def ask(self, line):
        if not self.sock:
            return Netem(self.name, self.state).tell(line)
        self.sock.sendall(line.encode() + b"\n")
        return self.answers.readline().rstrip("\n")

    def stats(self, direction="ab"):
        return json.loads(self.ask("stats"))[direction]

    def n_taken(self, direction="ab"):
        """Segments that have been put on the line."""
        stats = self.stats(direction)
        return stats["segments"] if self.sock else \
            stats["delivered"] + stats["dropped"] + stats["waiting"]

    def n_gone(self, direction="ab"):
        """Those that have arrived or never will."""
        stats = self.stats(direction)
        keys = ("tail_dropped", "lost", "cut", "refused", "delivered") if self.sock else \
            ("delivered", "dropped")
        return sum(stats[key] for key in keys)

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

    def put(self, sender, first, count, size, direction, burst=500):
        """That many numbered datagrams on the line. The device's queue is never filled, so only the
        line drops."""
        target, padding = (B if direction == "ab" else A, PORT), bytes(size - 4)
        taken = self.n_taken(direction)
        for start in range(0, count, burst):
            many = min(burst, count - start)
            for i in range(first + start, first + start + many):
                sender.sendto(struct.pack("!I", i) + padding, target)
            taken += many
            e2e.wait_until("the line has them", lambda: self.n_taken(direction) >= taken or time.sleep(0.01))

    def blast(self, n, size=100, burst=500, direction="ab"):
        """Numbered datagrams from one end: the numbers that arrived, in that order."""
        sender, receiver = (self.udp(side) for side in direction)
        gone, delivered = self.n_gone(direction), self.stats(direction)["delivered"]
        self.put(sender, 0, n, size, direction, burst)
        e2e.wait_until("all are over", lambda: self.n_gone(direction) >= gone + n or time.sleep(0.01))
        delivered = self.stats(direction)["delivered"] - delivered
        receiver.settimeout(1)  # for what is delivered and no datagram of ours, or damaged
        got = []
        try:
            while len(got) < min(n, delivered):
                got.append(struct.unpack("!I", receiver.recv(2048)[:4])[0])
        except TimeoutError:
            pass
        sender.close()
        receiver.close()
        return got


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def one_way(wan, direction, n=20):
    """(at least, at most) for each of n packets: its seconds on the emulator's line.

    The far kernel answers a ping where the line lets go of it, and the near one stamps the answer
    before the line back has it: no program is waited for, but this one before or after sending."""
    sock = wan.socket(direction[0], socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    found = []
    for i in range(n + 1):
        ping = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, i)
        ping = ping[:2] + struct.pack("!H", checksum(ping)) + ping[4:]
        before = time.time()
        sock.sendto(ping, (B if direction == "ab" else A, 0))
        after = time.time()
        answer = b""
        while answer[20:21] != b"\0" or answer[24:28] != ping[4:]:
            answer, more, _, _ = sock.recvmsg(200, 200)
        stamp = next(struct.unpack("@qq", data) for level, kind, data in more if kind == SO_TIMESTAMPNS)
        stamp = stamp[0] + stamp[1] / 1e9
        if i:  # the first one tells the kernel to stamp
            found.append((stamp - after, stamp - before))
    sock.close()
    return found


def min_rtt(wan):
    return min(rtts(wan))


def rtts(wan, n=20):
    """Some UDP round trips, in seconds."""
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
    return times


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


def is_rtt(wan, asked):
    """A round trip takes at least what was asked for, and not much longer (seconds)."""
    rtt = min_rtt(wan)
    if not wan.sock:
        ok(asked <= rtt < asked * 2, "a round trip takes the %g ms asked for (%.2f)" % (asked * 1e3, rtt * 1e3))
        return
    ok(asked <= rtt, "a round trip takes at least the %g ms asked for (%.2f)" % (asked * 1e3, rtt * 1e3))
    for direction in ("ab", "ba"):
        is_delay(wan, direction, asked / 2)


def is_delay(wan, direction, asked):
    """The emulator's line takes what was asked for one way, to FEW_MS; unless it says that it was late."""
    late = wan.stats(direction)["late"]
    ways = one_way(wan, direction)
    late = wan.stats(direction)["late"] - late
    least, most = (min(way[n] for way in ways) * 1e3 for n in (0, 1))
    ok(most >= asked * 1e3 and (late or least <= asked * 1e3 + FEW_MS),
       "%s takes the %g ms asked for, and no more (at least %.2f)" % (direction, asked * 1e3, least))


def is_line_rate(wan, bps, direction="ab"):
    """While the emulator's line has something to carry it is neither slower nor faster than asked for.
    The time between two readings is known to lie between bounds, however slow this program is. Where
    the line ran dry meanwhile, or says that it was late, it is tried again."""
    sender, receiver = (wan.udp(side) for side in direction)
    n, size = int(1.5 * bps / 8 / (1400 + WIRE_OVERHEAD)), 1400

    def reading():
        before = time.monotonic()
        return before, wan.stats(direction), time.monotonic()

    for _ in range(5):
        wan.put(sender, 0, n, size, direction)
        first = reading()
        time.sleep(0.5)
        last = reading()
        all_of_them = wan.n_taken(direction)
        is_dry = wan.n_gone(direction) >= all_of_them
        e2e.wait_until("all are over", lambda: wan.n_gone(direction) >= all_of_them or time.sleep(0.01))
        if not is_dry and first[1]["late"] == last[1]["late"]:
            break
    sender.close()
    receiver.close()
    if is_dry or first[1]["late"] != last[1]["late"]:
        e2e.diag("%s: no rate: this machine was too slow" % direction)
        return
    bits = 8 * (last[1]["delivered_wire_bytes"] - first[1]["delivered_wire_bytes"])
    fastest, slowest = bits / bps / (last[0] - first[2]), bits / bps / (last[2] - first[0])
    ok(fastest >= 0.95 and slowest <= 1.02,
       "%s carries the %g Mbit/s asked for (%.3f)" % (direction, bps / 1e6, fastest))


def is_rate(source, sink, bps, seconds, least=0.5):
    """So many seconds' worth goes no faster than asked for, nor much slower."""
    contents = bytes(int(bps / 8 * seconds))
    got, rate = transfer(source, sink, contents)
    same(len(got), len(contents), "%g seconds' worth arrives" % seconds)
    share = rate * 1514 / 1448 * 8 / bps
    ok(least <= share <= 1.02, "%.3f of the %g Mbit/s asked for" % (share, bps / 1e6))


def is_loss(wan, n, p, direction="ab"):
    got = wan.blast(n, direction=direction)
    ok(within(n - len(got), n, p), "%s: %g %% of %d datagrams are lost (%d)" % (direction, p * 100, n, n - len(got))) or \
        e2e.diag(wan.stats(direction))
    same(got, sorted(got), "the others keep their order")


def is_burst_loss(wan, n, p, lengths):
    """Bursts of ten; their mean length lies between these two."""
    came = set(wan.blast(n))
    runs, length = [], 0
    for i in range(n + 1):
        if i < n and i not in came:
            length += 1
        elif length:
            runs.append(length)
            length = 0
    lost = n - len(came)
    ok(within(lost, n, p, inflate=19), "%g %% are lost in bursts (%d of %d)" % (p * 100, lost, n))
    mean = lost / max(1, len(runs))
    ok(lengths[0] <= mean <= lengths[1],
       "a burst is ten segments long, in the mean (%.1f of %d)" % (mean, len(runs)))


def is_buffer(wan, size, fit, bps):
    """So many datagrams of that size find room; of more, those that leave meanwhile make room."""
    n, start = 300, time.monotonic()
    got = wan.blast(n, size, burst=n)
    most = fit + (time.monotonic() - start) * bps / 8 / (size + WIRE_OVERHEAD) + 1
    ok(fit <= len(got) <= most, "the buffer takes %d datagrams, not all %d" % (len(got), n))
    same(got[:fit], list(range(fit)), "the first ones, for it drops at the tail")


def is_reorder(wan, n):
    got = wan.blast(n)
    same(sorted(got), list(range(n)), "everything arrives")
    late = sum(1 for i, number in enumerate(got) if i and number < max(got[max(0, i - 1000):i]))
    ok(late > 0, "some after what was sent later (%d)" % late)
    ok(late <= n * 0.1 + 5 * (n * 0.09) ** 0.5, "and no more than a tenth")


def is_black_hole(wan, near, far):
    """A cut swallows what is sent; mended, it is sent again."""
    wan.tell("cut blackhole")
    gone = wan.stats()["cut" if wan.sock else "dropped"]
    near.send(b"hello")
    e2e.wait_until("the cut swallows it", lambda: wan.stats()["cut" if wan.sock else "dropped"] > gone or
                   time.sleep(0.01))
    far.settimeout(0.3)
    try:
        came = far.recv(100)
    except TimeoutError:
        came = None
    same(came, None, "nothing comes through a black hole")
    wan.tell("cut off")
    far.settimeout(e2e.LIMIT)
    same(far.recv(100), b"hello", "it comes once the cut is mended")
