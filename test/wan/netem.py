#!/usr/bin/python3
"""The line between the namespaces of test/wan, drawn by the kernel's netem instead of the emulator.

    netem.py NAME mtu N LINE...     sets it up; what netem cannot do is said, and exits with 1

Each direction is a netem on an ifb device (wan-in) that the receiving host's packets are led through
as they arrive. At the sender it would be no line but that host's own queue: TCP is told of a drop
there, and neither counts it as lost nor sends it again.

up starts it, ctl uses it as a module. The lines are those that test/wan/up --help lists; what differs:
  - the dice cannot be seeded;
  - the buffer is counted in packets of a full MTU, what is on its way among them;
  - what is on its way when a setting changes keeps the old one, also at a cut;
  - no corruption (netem leaves the checksum wrong, so it is just a loss) and no cut that resets;
  - stats: see `stats`.
"""
import json
import os
import re
import subprocess
import sys

RATES = {"gbit": 1e9, "mbit": 1e6, "kbit": 1e3, "bit": 1}  # bits per second
TIMES = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}  # ns
SIZES = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1}
SHARES = {"%": 0.01}
NO_LIMIT_BPS = 1e12  # netem keeps the order only of what it paces
NO_LIMIT_PACKETS = 10**7
TABLE, SIGMA = 10000, 8192  # entries of a distribution, and what stands for its standard deviation
ETHERNET = 14
NEW = {"rate": 0, "delay": 0, "jitter": 0, "loss": 0, "bad_enter": 0, "bad_leave": 0, "bad_loss": 1,
       "good_loss": 0, "buffer": 1e9, "reorder": 0, "hold": 0, "cut": "off"}
NOT_TOLD = ("netem counts together what was lost, cut or found no room (dropped); it does not tell lost, "
            "tail_dropped, cut, held, queue_max_bytes and late apart, nor the CPU time")


class Refused(Exception):
    """The line is not understood, or netem cannot do it."""


def number(text, units):
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)([a-zA-Z%]*)", text)
    if not found or (found[2] not in units and not (found[2] == "" and float(found[1]) == 0)):
        raise Refused("not understood: " + text)
    return float(found[1]) * units.get(found[2], 0)


def share(text):
    value = number(text, SHARES)
    if value > 1:
        raise Refused("not understood: " + text)
    return value


def burst(loss, length):
    """Gilbert-Elliott by mean loss and mean length."""
    loss, length = share(loss), float(length)
    if length < 1 or loss >= 1 or loss / (1 - loss) > length:
        raise Refused("not understood: burst")
    return {"bad_leave": 1 / length, "bad_enter": loss / (1 - loss) / length, "bad_loss": 1,
            "good_loss": 0}


def setting(word):
    """What a line changes, without its direction."""
    key, args = word[0], word[1:]
    units = {"rate": RATES, "delay": TIMES, "jitter": TIMES, "loss": SHARES, "buffer": SIZES}.get(key)
    if units and len(args) == 1:
        return {key: share(args[0]) if units is SHARES else number(args[0], units)}
    if key == "burst" and len(args) == 2:
        return burst(*args)
    if key == "gemodel" and 2 <= len(args) <= 4:
        return dict(zip(("bad_enter", "bad_leave", "bad_loss", "good_loss"),
                        list(map(share, args)) + [1, 0][len(args) - 2:]))
    if key == "reorder" and len(args) == 2:
        return {"reorder": share(args[0]), "hold": number(args[1], TIMES)}
    if key == "cut" and args in (["off"], ["blackhole"]):
        return {"cut": args[0]}
    if key == "corrupt" or word == ["cut", "reset"]:
        raise Refused(f"netem cannot do this, the emulator can: {' '.join(word)}")
    raise Refused("not understood: " + key)


def us(time_ns):
    return f"{time_ns / 1e3:.3f}us"


def netem_words(is_set, mtu):
    """Its settings as tc takes them; all of them, because tc leaves alone what is not named."""
    rate = is_set["rate"] or NO_LIMIT_BPS
    limit = NO_LIMIT_PACKETS
    if is_set["rate"]:
        under_way = rate / 8 * (is_set["delay"] + is_set["jitter"]) / 1e9
        limit = int((is_set["buffer"] + under_way) / (mtu + ETHERNET)) + 1
    words = ["limit", limit, "rate", f"{rate:.0f}bit"]
    half = is_set["jitter"] / 2  # netem's goes both ways
    words += ["delay", us(is_set["delay"] + half), us(half)]
    good, bad = (1 - (1 - is_set[k]) * (1 - is_set["loss"]) for k in ("good_loss", "bad_loss"))
    if is_set["cut"] != "off":
        words += ["loss", "100%"]
    elif is_set["bad_enter"]:
        words += ["loss", "gemodel"] + [f"{100 * p:.7f}%" for p in (
            is_set["bad_enter"], is_set["bad_leave"], bad, good)]
    else:
        words += ["loss", f"{100 * good:.7f}%"]
    return words


class Netem:
    def __init__(self, name, state):
        self.name, self.state, self.path = name, state, os.path.join(state, "netem")
        self.now = {"mtu": 1500, "ab": dict(NEW), "ba": dict(NEW)}
        if os.path.exists(self.path):
            with open(self.path, encoding="ascii") as f:
                self.now = json.load(f)

    def run(self, program, direction, *words, **environment):
        """ip or tc, in the host that receives."""
        host = f"{self.name}-{'b' if direction == 'ab' else 'a'}"
        done = subprocess.run([program, "-n", host] + [str(word) for word in words],
                              capture_output=True, text=True, check=False,
                              env={**os.environ, **environment})
        if done.returncode:
            raise Refused(f"{program} {' '.join(map(str, words))}: {' '.join(done.stderr.split())}")
        return done.stdout

    def apply(self, direction):
        """Tells the kernel; the second netem holds a share of the packets back, all others pass."""
        is_set = self.now[direction]
        qdisc = ["qdisc", "replace", "dev", "wan-in"]
        self.run("tc", direction, *qdisc, "root", "handle", "1:", "netem",
                 *netem_words(is_set, self.now["mtu"]))
        has = "netem 2:" in self.run("tc", direction, "qdisc", "show", "dev", "wan-in")
        if is_set["reorder"] and is_set["hold"]:
            # Of a table of how much later, each packet draws one.
            n_held = max(1, round(is_set["reorder"] * TABLE))
            with open(os.path.join(self.state, "hold.dist"), "w", encoding="ascii") as f:
                f.write(f"{SIGMA} " * n_held + "0 " * (TABLE - n_held))
            self.run("tc", direction, *qdisc, "parent", "1:1", "handle", "2:", "netem", "limit",
                     NO_LIMIT_PACKETS, "delay", "1us", us(is_set["hold"]), "distribution", "hold",
                     TC_LIB_DIR=self.state)
        elif has:
            self.run("tc", direction, "qdisc", "delete", "dev", "wan-in", "parent", "1:1", "handle", "2:")

    def start(self, mtu, lines):
        self.now["mtu"] = mtu
        for line in lines:
            self.change(line)
        for direction, host in (("ab", "b"), ("ba", "a")):
            for words in (["add", "wan-in", "mtu", mtu, "txqueuelen", 1000, "type", "ifb"],
                          # netem counts and drops what it is handed: without this, super-packets
                          ["set", "wan", "gso_max_segs", 1]):
                self.run("ip", direction, "link", *words)
            if os.path.exists("/proc/sys/net/ipv6"):  # or it says things of its own, which count
                self.run("ip", direction, "link", "set", "wan-in", "addrgenmode", "none")
            self.run("ip", direction, "link", "set", "wan-in", "up")
            self.apply(direction)
            self.run("tc", direction, "qdisc", "add", "dev", "wan", "ingress")
            self.run("tc", direction, "filter", "add", "dev", "wan", "ingress", "matchall",
                     "action", "mirred", "egress", "redirect", "dev", "wan-in")
        self.save()

    def undo(self):
        for direction in ("ab", "ba"):
            for program, words in (("tc", "qdisc delete dev wan ingress"), ("ip", "link delete wan-in")):
                try:
                    self.run(program, direction, *words.split())
                except Refused:
                    pass

    def save(self):
        with open(self.path, "w", encoding="ascii") as f:
            json.dump(self.now, f)

    def change(self, line):
        """Takes a line in; returns the directions it was for."""
        word = line.split()
        which = ["ab", "ba"]
        if word and word[0] in which:
            which = [word.pop(0)]
        changed = setting(word or [""])
        for direction in which:
            self.now[direction].update(changed)
        return which

    def stats(self):
        told = {"engine": "netem", "not_told": NOT_TOLD}
        for direction in ("ab", "ba"):
            queues = json.loads(self.run("tc", direction, "-s", "-j", "qdisc", "show", "dev", "wan-in"))
            root = [queue for queue in queues if queue.get("root")][0]
            told[direction] = {"delivered": root["packets"], "delivered_wire_bytes": root["bytes"],
                               "dropped": root["drops"], "waiting": root["qlen"],
                               "waiting_wire_bytes": root["backlog"]}
        return json.dumps(told)

    def tell(self, line):
        """The answer to a line, as the emulator gives it."""
        try:
            if line.split() == ["stats"]:
                return self.stats()
            for direction in self.change(line):
                self.apply(direction)
            self.save()
            return "ok"
        except Refused as why:
            return f"error: {why}"


def main():
    name, _, mtu, *lines = sys.argv[1:]
    netem = Netem(name, os.path.join(os.environ.get("LH_WAN_STATE", "/run/longhaul-wan"), name))
    try:
        netem.start(int(mtu), lines)
    except Refused as why:
        netem.undo()
        sys.exit(f"netem: {why}")


if __name__ == "__main__":
    main()
