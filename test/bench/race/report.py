"""Results as tables: for the terminal, and as Markdown."""
import os
import platform
import shlex
import shutil
import subprocess
import time

from .text import middle, size_text, spread


def first_line(argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=10, check=False, errors="replace", stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return next((row.strip() for row in done.stdout.splitlines() if row.strip()), "?")


def commit(build):
    """Of the source that the build directory is of: what git calls it now. What was built may be older,
    and that is said; it is the same all the same when no source of the program has changed since."""
    try:
        with open(os.path.join(build, "CMakeCache.txt"), encoding="utf-8") as f:
            source = next(row.strip().partition("=")[2] for row in f
                          if row.startswith("CMAKE_HOME_DIRECTORY:"))
        said = [subprocess.run(["git", "-C", source] + words, timeout=30, capture_output=True, text=True,
                               check=True).stdout.strip()
                for words in (["describe", "--always", "--dirty"], ["log", "-1", "--format=%ct"])]
        is_older = os.stat(os.path.join(build, "longhaul")).st_mtime < int(said[1])
    except (OSError, StopIteration, ValueError, subprocess.SubprocessError):
        return None
    return said[0] + (" (the program was built before it)" if is_older else "")


def machine(args):
    """Where this ran, and with which versions."""
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for row in f:
            if row.startswith("model name"):
                model = row.partition(":")[2].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) << 10
    commands = {"iperf3": ["iperf3", "--version"], "aria2": ["aria2c", "--version"],
                "nginx": ["nginx", "-v"], "rclone": ["rclone", "version"],
                "gridftp": ["globus-url-copy", "-version"], "xrootd": ["xrdcp", "--version"],
                "rsync": ["rsync", "--version"]}
    commands.update({name: [getattr(args, name), word] for name, word in
                     (("wdt", "-version"), ("bbcp", "-#"), ("mscp", "-h")) if getattr(args, name)})
    versions = {name: first_line(argv) for name, argv in commands.items() if shutil.which(argv[0])}
    versions["longhaul"] = first_line([os.path.join(args.build, "longhaul"), "--version"])
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as f:
        congestion = f.read().strip()
    return {"date": time.strftime("%Y-%m-%d"), "kernel": platform.release(), "cpus": os.cpu_count(),
            "cpu_model": model, "memory_bytes": memory, "congestion": congestion,
            "commit": commit(args.build), "versions": versions}


def machine_text(where):
    """Results of older runs lack some of it."""
    out = [f"Measured on {where['date']}: Linux {where['kernel']}, {where['cpus']} CPUs "
           f"({where['cpu_model']}), {where['memory_bytes'] / 2**30:.0f} GiB of memory"]
    if where.get("congestion"):
        out.append(f"default congestion control {where['congestion']}")
    if where.get("commit"):
        out.append(f"longhaul of commit {where['commit']}")
    return ", ".join(out) + "."


def within_rounds(row, other, key):
    """Ratios of a contestant's numbers to another's, each taken within one round."""
    theirs = {run["round"]: run[key] for run in other["runs"]} if other else {}
    return [run[key] / theirs[run["round"]] for run in row["runs"]
            if run[key] is not None and theirs.get(run["round"])]


def notes(row):
    found = []
    cut = sum(run["cut"] for run in row["runs"])
    if cut:
        found.append("cut" if cut == len(row["runs"]) else f"{cut} of {len(row['runs'])} cut")
    if any(run["verified"] for run in row["runs"]):
        found.append("verified")
    elif row.get("verified_small"):
        found.append("verified with 32 MiB")
    said = [run["said"] for run in row["runs"] if run.get("said")]
    if said:
        found.append("/".join(str(event.get("streams", "?")) for event in said) + " streams")
        found += sorted({f"limit: {event['limit']}" for event in said if "limit" in event})
    if row["tool"] == "iperf3":
        found.append("memory only")
    if row["failed"]:
        found.append("failed: " + row["failed"])
    return ", ".join(found)


TRANSFER_HEAD = ["contestant", "setting", "MB/s, whole file", "MB/s, steady", "of payload rate",
                 "of longhaul", "CPU s/GB", "own CPU s/GB", "wire/payload", "sent again", "tail", "memory MiB s/r", ""]


def transfer_row(row, result, own):
    runs = row["runs"]

    def column(key):
        return [run[key] for run in runs]
    best = [run["steady_rate"] or run["rate"] for run in runs]
    payload = result["payload_rate"]
    memory = [f"{middle([r['memory_bytes'][end] for r in runs]) / 2**20:.0f}" for end in "ab"] if runs else []
    return [row["contestant"], row["setting"], spread(column("rate"), 1, 1e-6),
            spread(column("steady_rate"), 1, 1e-6),
            spread(best, 3, 1 / payload) if payload else "–",
            spread(within_rounds(row, own, "rate"), 2),
            spread(column("cpu_s_per_gb"), 2), spread([middle(column("own_cpu_s_per_gb"))], 2),
            spread([middle(column("wire_per_byte"))], 3),
            spread([middle(column("retransmitted"))], 2, 100) + " %" if runs else "–",
            spread([middle(column("tail"))], 2), "/".join(memory) or "–", notes(row)]


def transfer_table(result):
    rows = result["contestants"]
    own = next((row for row in rows if row["tool"] == "longhaul" and not row["setting"]), None)
    return TRANSFER_HEAD, [transfer_row(row, result, own) for row in rows]


def startup_table(result):
    head = ["contestant", "setting", "first byte, ms", "last byte, ms", ""]
    return head, [[row["contestant"], row["setting"],
                   spread([run["first_s"] for run in row["runs"]], 0, 1000),
                   spread([run["last_s"] for run in row["runs"]], 0, 1000),
                   "failed: " + row["failed"] if row["failed"] else ""]
                  for row in result["contestants"]]


def neighbours_table(result):
    head = ["first", "second", "MB/s of the first", "MB/s of the second", "together", "evenness",
            "sent again", ""]
    rows = []
    for pair in result["pairs"]:
        runs = pair["runs"]
        second = len(pair["who"]) > 1
        rows.append([
            pair["who"][0], pair["who"][1] if second else "",
            spread([run["rates"][0] for run in runs], 1, 1e-6),
            spread([run["rates"][1] for run in runs], 1, 1e-6) if second else "",
            spread([sum(run["rates"]) for run in runs], 1, 1e-6),
            spread([run["evenness"] for run in runs], 2) if second else "",
            spread([run["retransmitted"] for run in runs], 2, 100) + " %" if runs else "–",
            "failed: " + pair["failed"] if pair["failed"] else ""])
    rows += [[row["contestant"], "", "–", "–", "–", "–", "–", "failed: " + row["failed"]]
             for row in result["contestants"] if row["failed"]]
    return head, rows


TABLES = {"transfer": transfer_table, "startup": startup_table, "neighbours": neighbours_table}


def text(result):
    if "skipped" in result:
        return "  skipped: " + result["skipped"]
    head, rows = TABLES[result["kind"]](result)
    widths = [max(len(row[n]) for row in [head] + rows) for n in range(len(head))]
    return "\n".join("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in [head] + rows)


def markdown_case(result):
    out = [f"### {result['words']}, {size_text(result['size_bytes'])} ({result['set']})", ""]
    if "skipped" in result:
        return out + [f"Skipped: {result['skipped']}.", ""]
    head, rows = TABLES[result["kind"]](result)
    out += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if result.get("tried"):
        out += ["", "Tried before, for a few seconds each: " + "; ".join(
            f"{t['contestant']} {t['setting']}: " +
            (f"failed ({t['failed']})" if "failed" in t else
             f"{(t['steady_rate'] or t['rate']) / 1e6:.1f} MB/s") for t in result["tried"]) + "."]
    return out + [""]


def markdown(runs, cases):
    """`runs`: machine and arguments of each."""
    out = []
    for run in runs:
        versions = run["machine"]["versions"]
        out += [machine_text(run["machine"]), "", "    test/bench/run " + shlex.join(run["arguments"]), "",
                "Versions: " + "; ".join(f"{k}: {v}" for k, v in sorted(versions.items())) + ".", ""]
    for result in cases:
        out += markdown_case(result)
    return "\n".join(out)
