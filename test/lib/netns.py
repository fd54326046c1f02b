"""Two network namespaces, joined by a veth pair. Tests have them from e2e."""
import json
import os
import subprocess

from tap import Skip, cleanup, need_root


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
