#!/usr/bin/python3
"""The WAN in the box is what was asked for: delay, rate, loss, bursts, buffer, order, damage, cuts, hosts.

This is the emulator's test; netem.t is that of a line drawn by the kernel. Bounds hold however slow
the machine is: what the emulator delivers late it counts, and that excuses it; what programs wait for is
not in what is measured. Counts lie within five standard deviations (and the emulator's dice have a
fixed seed).
"""
import errno
import os
import random
import re
import socket
import struct
import subprocess
import sys

sys.dont_write_bytecode = True
from wanlib import (A, B, HERE, PORT, STATE, UDP_SEGMENT, WIRE_OVERHEAD, Wan, checksum,  # noqa: E402
                    is_black_hole, is_buffer, is_burst_loss, is_delay, is_line_rate, is_loss, is_rate,
                    is_reorder, is_rtt, one_way, tool, transfer, up, within)
import e2e  # noqa: E402
from e2e import need, ok, same  # noqa: E402


def test_rtt_and_rate():
    wan = Wan("100mbit", "60ms", "0%")
    is_rtt(wan, 0.06)
    is_rate(*wan.tcp(), 100e6, 3, least=0)
    wan.tell("delay 5ms", "rate 20mbit", "ba rate 10mbit")
    is_rtt(wan, 0.01)
    near, far = wan.tcp()
    is_rate(far, near, 10e6, 2, least=0)
    wan.tell("buffer 10MB")
    is_line_rate(wan, 20e6)
    is_line_rate(wan, 10e6, "ba")


def test_jitter():
    """Evenly from nothing to what was asked for, in its direction only."""
    wan = Wan("1gbit", "20ms", "0%", "100MB", "ab jitter 50ms")
    late = wan.stats()["late"]
    ways = one_way(wan, "ab", 40)
    late = wan.stats()["late"] - late
    least, most = ([way[n] * 1e3 for way in ways] for n in (0, 1))
    ok(min(most) >= 10 and max(most) - min(most) > 20, "from %.1f to %.1f ms" % (min(most), max(most)))
    mean = sum(least) / len(least)
    ok(10 + 25 / 2 < sum(most) / len(most) and (late or mean < 10 + 25 * 1.5), "35 ms in the mean (%.1f)" % mean)
    is_delay(wan, "ba", 0.01)
    same(wan.blast(500), list(range(500)), "the order stays")


def test_loss():
    wan = Wan("1gbit", "2ms", "5%", "100MB", "ba loss 0%")
    is_loss(wan, 20000, 0.05)
    is_loss(wan, 3000, 0, "ba")
    wan.tell("ab loss 0%", "ba loss 20%")
    is_loss(wan, 3000, 0)
    is_loss(wan, 3000, 0.2, "ba")


def test_burst_loss():
    is_burst_loss(Wan("1gbit", "2ms", "0%", "100MB", "burst 3% 10"), 40000, 0.03, (7, 13))


def test_gilbert_elliott():
    """In netem's words: into the bad state, out of it, loss in the bad one and in the good one."""
    wan = Wan("1gbit", "2ms", "0%", "100MB", "ab gemodel 0.309% 10%")
    is_burst_loss(wan, 40000, 0.03, (7, 13))
    wan.tell("ab gemodel 2% 20% 50% 1%")
    n, bad = 20000, 2 / 22
    came = set(wan.blast(n))
    lost = [i for i in range(n) if i not in came]
    p = bad * 0.5 + (1 - bad) * 0.01
    ok(within(len(lost), n, p, inflate=4), "%.2f %% are lost (%d of %d)" % (p * 100, len(lost), n))
    both = p * p + 0.49 ** 2 * bad * (1 - bad) * (1 - 0.02 - 0.2)  # of one and the next
    after = sum(i - 1 not in came for i in lost if i)
    ok(within(after, len(lost), both / p, inflate=2), "%.0f %% of those behind a lost one (%d of %d)"
       % (100 * both / p, after, len(lost)))


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
    is_buffer(wan, 1000, 50000 // (1000 + WIRE_OVERHEAD), 1e6)
    ok(wan.stats()["queue_max_bytes"] <= 50000, "it was never fuller")


def test_reorder():
    n = 5000
    wan = Wan("1gbit", "2ms", "0%", "100MB", "reorder 10% 20ms")
    is_reorder(wan, n)
    held = wan.stats()["held"]
    ok(within(held, n, 0.1), "a tenth is held back (%d of %d)" % (held, n))


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
    is_black_hole(wan, near, far)
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
STOCK = {"tcp_rmem": "4096 131072 6291456", "tcp_wmem": "4096 16384 4194304"}


def advised():
    """Buffers of a tuned host, as its page says."""
    with open(os.path.join(HERE, "../../docs/tuning.md"), encoding="utf-8") as f:
        return dict(re.findall(r'^    sysctl -w net\.ipv4\.(tcp_[rw]mem)="([0-9 ]+)"$', f.read(), re.M))


def has_buffers(wan, want, host):
    have = {}
    for key in want:
        for end in "ab":
            out = tool("run", wan.name, end, "cat", "/proc/sys/net/ipv4/" + key)
            have.setdefault(key, set()).add(" ".join(out.stdout.split()))
    same(have, {key: {value} for key, value in want.items()}, "%s: buffers" % host)


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
        has_buffers(wan, STOCK, host)


def test_hosts_without_a_wan():
    """Two hosts on a veth pair are of their kind, too."""
    name = "lhwt-%d-none" % os.getpid()
    up(name, "--host", "stock", "none")
    probe = "import socket; socket.socket().setsockopt(6, socket.TCP_CONGESTION, b'bbr')"
    out = tool("run", name, "a", "/usr/bin/python3", "-c", probe)
    ok(out.returncode and "not permitted" in out.stderr, "BBR is refused") or e2e.diag(out.stderr)
    out = tool("run", name, "b", "cat", "/proc/sys/net/ipv4/tcp_rmem")
    same(" ".join(out.stdout.split()), STOCK["tcp_rmem"], "stock buffers")
    told = tool("ctl", name, "loss 1%")
    ok(told.returncode == 1 and "no line" in told.stderr, "there is no line to change")
    same(tool("down", name).returncode, 0, "down")
    ok(name not in e2e.ip("netns", "list"), "nothing is left")


def test_tuned_host():
    want = advised()
    same(sorted(want), ["tcp_rmem", "tcp_wmem"], "docs/tuning.md says which buffers a tuned host has")
    wan = Wan("1gbit", "2ms", "0%", host="tuned")
    has_buffers(wan, want, "tuned")
    out = tool("run", wan.name, "a", "sh", "-c", "grep CapEff /proc/self/status")
    same(out.stdout.split(), ["CapEff:", "0" * 16], "tuned: no capabilities")


def test_wrong_words():
    """What is wrong is named, in one line."""
    for words, named in ((("1gbit", "10", "0%"), "'10'"), (("fast", "10ms", "0%"), "'fast'"), (("1gbit",), "none"),
                         (("--host", "odd", "none"), "'odd'"), (("--mtu",), "--mtu"), (("--fast", "none"), "'--fast'"),
                         (("1gbit", "10ms", "0%", "much"), "'much'")):
        told = tool("up", *words)
        ok(told.returncode == 2 and named in told.stderr and told.stderr.count("\n") == 1, "up " + " ".join(words)) or \
            e2e.diag(told.stderr)
    told = tool("up", "--help")
    ok(told.returncode == 0 and "burst 3% 10" in told.stdout, "up --help lists the lines")
    told = tool("run", "nowhere", "a", "true")
    same(told.stderr, "test/wan/run: there is no 'nowhere'\n", "run in no WAN")


def test_down():
    wan = Wan("100mbit", "10ms", "0%")
    with open(os.path.join(STATE, wan.name, "pid"), encoding="ascii") as f:
        pid = int(f.read())
    ok(os.path.exists("/proc/%d" % pid), "the emulator runs")
    again = tool("up", "--name", wan.name, "none")
    ok(again.returncode and "already" in again.stderr, "there is no second one of that name")
    same(tool("down", wan.name).returncode, 0, "down")
    ok(not os.path.exists("/proc/%d" % pid), "the emulator is gone")
    ok(wan.name not in e2e.ip("netns", "list"), "so are the namespaces")
    ok(not os.path.exists(os.path.join(STATE, wan.name)), "and what up wrote down")
    bad = tool("up", "--name", wan.name, "--engine", "emulator", "1gbit", "1ms", "0%", "1bdp", "los 1%")
    ok(bad.returncode != 0 and wan.name not in e2e.ip("netns", "list"),
       "a line that is not understood is refused, and nothing is left")


e2e.main()
