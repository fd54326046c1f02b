"""The words of test/bench/run: what is raced, who races, how."""
import argparse
import os
import re

from . import cases, tools
from .line import Wan
from .text import seconds_of, size_of

HERE = os.path.dirname(os.path.abspath(__file__))


def typed(parse):
    """As argparse wants it, which does not say what a ValueError says."""
    def typed_parse(text):
        try:
            return parse(text)
        except ValueError as why:
            raise argparse.ArgumentTypeError(str(why)) from why
    return typed_parse


def several(what, allowed):
    """NAME,... of these names."""
    def parse(text):
        for name in text.split(","):
            if name not in allowed:
                raise ValueError(f"no {what} '{name}' (there are {', '.join(allowed)})")
        return text.split(",")
    return typed(parse)


def listed(text):
    return several("contestant", tools.TOOLS)(",".join(
        "fair,bare" if name == "yardstick" else name for name in text.split(",")))


def numbered(text):
    if not re.fullmatch("[0-9]+(,[0-9]+)*", text):
        raise argparse.ArgumentTypeError(f"not numbers of cases: '{text}'")
    return {int(n) for n in text.split(",")}


def wan(text):
    Wan(text)
    return text


def raced(p):
    what = p.add_argument_group("what is raced")
    what.add_argument("--set", action="extend", default=[], type=several("set", cases.SETS), dest="sets",
                      metavar="NAME,...", help="built-in sets, of " + ",".join(cases.SETS))
    what.add_argument("--quick", action="store_true", help="a small sample of all sets")
    what.add_argument("--wan", action="append", default=[], type=typed(wan),
                      metavar="RATE,RTT,LOSS[,BUFFER]|none", help="one; may be given several times")
    what.add_argument("--host", action="extend", default=[], metavar="KIND,...",
                      type=several("host", ("stock+bbr", "stock", "tuned", "plain")),
                      help="kinds of host (stock+bbr), of stock+bbr,stock,tuned,plain; with --set: only these")
    what.add_argument("--size", type=typed(size_of), help="of the file (1G, or the set's): 8M, 4G")
    what.add_argument("--case", type=numbered, metavar="N,...",
                      help="only these cases, as --plan numbers them")


def racers(p):
    who = p.add_argument_group("who races")
    who.add_argument("--only", type=listed, default=tools.TOOLS, metavar="NAME,...",
                     help="of " + ",".join(tools.TOOLS) + " (all); yardstick is fair,bare")
    who.add_argument("--build", default=os.path.join(HERE, "../../../build"),
                     help="build directory with longhaul and test/yardstick (build)")
    who.add_argument("--longhaul-options", default="", metavar="WORDS", help="more for longhaul send")
    who.add_argument("--serve-options", default="", metavar="WORDS", help="more for longhaul serve")
    who.add_argument("--longhaul-also", action="append", default=[], metavar="WORDS",
                     help="longhaul once more, with these options for send")
    who.add_argument("--wdt", metavar="PATH", help="the program; not raced without")
    who.add_argument("--bbcp", metavar="PATH", help="the program; not raced without")
    who.add_argument("--mscp", metavar="PATH", help="the program; not raced without (needs sshd)")


def ways(p):
    how = p.add_argument_group("how")
    how.add_argument("--rounds", type=int, default=3)
    how.add_argument("--peer-rounds", type=int, metavar="N",
                     help="rounds that others than longhaul and the yardsticks take part in (all)")
    how.add_argument("--scout", type=typed(seconds_of), default=6, metavar="TIME",
                     help="for each setting of a tool (6s; 0: the first one races). It warms up, too")
    how.add_argument("--limit", type=typed(seconds_of), metavar="TIME",
                     help="most for a run (60s, or the set's); cut, it counts with what arrived till then")
    how.add_argument("--slow", type=typed(seconds_of), metavar="TIME",
                     help="a run that will not make it within --limit is cut here (20s, or the set's)")
    how.add_argument("--touch", type=typed(size_of), default=1 << 62, metavar="SIZE",
                     help="memory to touch first (all that is free but 4 GiB); 0: none")
    how.add_argument("--engine", choices=("emulator", "netem"), default="emulator",
                     help="draws the WANs (emulator): netem does not tell what was lost from what found "
                          "no room, nor its CPU time")
    how.add_argument("--tmpfs", default="/dev/shm", help="where source and target are made")
    how.add_argument("--plan", action="store_true", help="print the cases and a bound on the time; end")


def written(p):
    out = p.add_argument_group("results")
    out.add_argument("--from", type=lambda t: t.split(","), metavar="FILE,...", dest="saved",
                     help="no race: tables and plots of what --json wrote, all cases together (of one that "
                          "is in several files, the later)")
    out.add_argument("--json", metavar="FILE", help="every number")
    out.add_argument("--markdown", metavar="FILE", help="the tables, for docs/benchmarks.md")
    out.add_argument("--plots", metavar="DIR", help="pictures (gnuplot): SVG and PNG")


def read(description):
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for group in (raced, racers, ways, written):
        group(p)
    args = p.parse_args()
    if args.saved and (args.sets or args.quick or args.wan or args.json):
        p.error("--from goes with --markdown and --plots alone")
    args.build = os.path.abspath(args.build)
    for tool in ("wdt", "bbcp", "mscp"):
        if getattr(args, tool):
            setattr(args, tool, os.path.abspath(getattr(args, tool)))
    if args.peer_rounds is None:
        args.peer_rounds = args.rounds
    return args


def chosen_cases(args):
    found = []
    for name in args.sets:
        found += cases.built_in(name)
    if args.quick:
        found += cases.quick()
    if args.host:
        found = [case for case in found if case.host in args.host]
    for text in args.wan:
        for host in args.host or ["stock+bbr"]:
            found.append(cases.Case("own", text, host, args.size or "1G"))
    for case in found:
        if args.size and case.kind == "transfer":
            case.size = args.size
        case.limit_s = args.limit or case.limit_s
        case.slow_s = min(args.slow or case.slow_s, case.limit_s)
        case.engine = args.engine
    if args.case:
        found = [case for n, case in enumerate(found, 1) if n in args.case]
    return found
