"""What is raced: the sets that are built in."""
from .line import Wan
from .text import size_of

AIMS_WANS = [  # WAN, hosts, size
    ("1gbit,100ms,0%", ("stock+bbr", "tuned"), "4G"),
    ("1gbit,100ms,0.1%", ("stock+bbr",), "4G"),
    ("1gbit,100ms,1%", ("stock+bbr",), "4G"),
    ("1gbit,300ms,0.5%,0.1bdp", ("stock+bbr",), "4G"),
    ("100mbit,200ms,3%/10", ("stock+bbr",), "512M"),
    ("1gbit,100ms,0.1%", ("stock",), "4G"),
    ("1gbit,100ms,1%", ("stock",), "4G"),
    ("1gbit,300ms,0.5%,0.1bdp", ("stock",), "4G"),
    ("100mbit,200ms,3%/10", ("stock",), "512M"),
    ("10gbit,50ms,0%", ("tuned",), "4G"),
    ("none", ("plain",), "4G"),
]
LOSSES = ("0%", "0.01%", "0.1%", "0.3%", "1%", "2%", "5%")
RTTS = ("10ms", "50ms", "100ms", "200ms", "300ms")
STREAMS = (1, 2, 4, 8, 16, 32)
START_SIZES = ("1kB", "1MB", "100MB")


class Case:
    """One comparison: contestants over one WAN, on one kind of host, with one size."""

    def __init__(self, set_name, wan, host, size, kind="transfer", **more):
        self.set_name, self.wan, self.host, self.kind = set_name, Wan(wan), host, kind
        self.size = size_of(size) if isinstance(size, str) else size
        self.limit_s = more.get("limit_s", 60)
        self.slow_s = more.get("slow_s", 20)
        self.streams = more.get("streams")  # so many each, instead of the best setting
        self.interval_s = more.get("interval_s", 0.1)
        self.lead_s, self.seconds = more.get("lead_s", 5), more.get("seconds", 15)
        self.only = more.get("only")  # contestants, where all of them would take too long
        self.engine = "emulator"

    def words(self):
        drawn = ", drawn by netem" if self.engine == "netem" and self.wan.rate_bps else ""
        return f"{self.wan.words()}, host {self.host}{drawn}"


def built_in(name):
    """The cases of a set."""
    if name == "aims":
        return [Case(name, wan, host, size) for wan, hosts, size in AIMS_WANS for host in hosts]
    short = {"limit_s": 20, "slow_s": 10}
    if name == "loss":
        return [Case(name, f"1gbit,100ms,{loss}", "stock+bbr", "1G", **short) for loss in LOSSES]
    if name == "rtt":
        return [Case(name, f"1gbit,{rtt},0.1%", "stock+bbr", "1G", **short) for rtt in RTTS]
    if name == "streams":
        return [Case(name, "1gbit,100ms,0.1%", "stock+bbr", "1G", streams=STREAMS, **short)]
    if name == "startup":
        return [Case(name, "1gbit,100ms,0%", "stock+bbr", size, kind="startup") for size in START_SIZES]
    if name == "tail":
        return [Case(name, wan, "stock+bbr", size, interval_s=0.02)
                for wan, size in (("1gbit,100ms,0%", "1G"), ("1gbit,100ms,0.1%", "1G"),
                                  ("1gbit,100ms,1%", "1G"), ("100mbit,200ms,3%/10", "256M"))]
    if name == "neighbours":
        return [Case(name, "1gbit,20ms,0%", host, "4G", kind="neighbours",
                     only=("longhaul", "fair", "aria2", "gridftp", "wdt"))
                for host in ("stock+bbr", "stock")]
    raise ValueError(f"no set '{name}'")


def quick():
    """A small sample of all."""
    few = {"limit_s": 10, "slow_s": 5}
    return [
        Case("quick", "1gbit,20ms,0%", "stock+bbr", "64M", **few),
        Case("quick", "1gbit,20ms,0.1%", "stock", "64M", **few),
        Case("quick", "100mbit,20ms,3%/10", "stock+bbr", "64M", interval_s=0.02, **few),
        Case("quick", "none", "plain", "64M", **few),
        Case("quick", "1gbit,20ms,0.1%", "stock+bbr", "64M", streams=(1, 4), **few),
        Case("quick", "1gbit,20ms,0%", "stock+bbr", "1MB", kind="startup"),
        Case("quick", "100mbit,20ms,0%", "stock+bbr", "128M", kind="neighbours", lead_s=0.5,
             seconds=1.5),
    ]


SETS = ("aims", "loss", "rtt", "streams", "startup", "tail", "neighbours")
