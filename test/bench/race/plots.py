"""Pictures of the results, drawn by gnuplot: SVG and PNG."""
import os
import re
import shutil
import subprocess
import sys

from .text import middle

X_AXES = {"loss": ("loss in %", lambda case: float(re.match(r"[0-9.]+", case["wan"].split(",")[2])[0])),
          "rtt": ("round-trip time in ms", lambda case: float(case["wan"].split(",")[1].rstrip("ms")))}
COLORS = ("#000000", "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00") * 2


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', "'") + '"'


def blocks(curves):
    """Each curve as one block of data: name first, an empty pair of lines between."""
    return "\n\n\n".join(quoted(name) + "\n" + "\n".join(f"{x} {y}" for x, y in points)
                         for name, points in curves) + "\n"


def picture(directory, name, title, x_label, curves, more=(), style="linespoints"):
    """curves: (name, points) each; y in MB/s."""
    data = os.path.join(directory, name + ".dat")
    with open(data, "w", encoding="utf-8") as f:
        f.write(blocks(curves))
    for kind in ("svg size 900,540 background 'white'", "pngcairo size 900,540"):
        path = os.path.join(directory, f"{name}.{kind[:3]}")
        script = [f"set terminal {kind} noenhanced", f"set output {quoted(path)}",
                  f"set title {quoted(title)}", f"set xlabel {quoted(x_label)}", "set ylabel 'MB/s'",
                  "set yrange [0:*]", "set grid", "set key outside right",
                  *(f"set linetype {n} lc rgb '{color}' dt {1 + (n > len(COLORS) // 2)}"
                    for n, color in enumerate(COLORS, 1)), *more,
                  f"plot for [n=0:{len(curves) - 1}] {quoted(data)} index n using 1:2 with {style} "
                  "lw 2 title columnheader(1)"]
        done = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=False,
                              stderr=subprocess.PIPE)
        if done.returncode:
            print(f"gnuplot: {done.stderr.strip()}", file=sys.stderr)


def by_case(results, set_name):
    """Median rates of each contestant, by what the set varies. The steady rate, where there is one:
    sizes are chosen for what a path carries."""
    value = X_AXES[set_name][1]
    curves = {}
    for case in results:
        if case["set"] != set_name or case["kind"] != "transfer":
            continue
        for row in case["contestants"]:
            rate = middle([run["steady_rate"] or run["rate"] for run in row["runs"]])
            if rate is not None:
                curves.setdefault(row["contestant"], []).append((value(case), rate / 1e6))
    return [(name, sorted(points)) for name, points in curves.items()]


def by_streams(case):
    curves = {}
    most = max((row.get("streams") or 1 for row in case["contestants"]), default=1)
    for row in case["contestants"]:
        rate = middle([run["steady_rate"] or run["rate"] for run in row["runs"]])
        if rate is None:
            continue
        if row.get("streams"):
            curves.setdefault(row["contestant"], []).append((row["streams"], rate / 1e6))
        elif row["tool"] == "longhaul":
            curves["longhaul, finding them itself"] = [(1, rate / 1e6), (most, rate / 1e6)]
    return [(name, sorted(points)) for name, points in curves.items()]


def over_time(case):
    """Goodput of each contestant's middle run, in steps of about half a second."""
    curves = []
    for row in case["contestants"]:
        runs = sorted(row["runs"], key=lambda run: run["rate"])
        if not runs:
            continue
        points, last = [], (0.0, 0)
        for t, n_bytes in runs[len(runs) // 2]["series"]:
            if t - last[0] >= 0.5:
                points.append((round(t, 2), (n_bytes - last[1]) / (t - last[0]) / 1e6))
                last = (t, n_bytes)
        if points:
            name, words = row["contestant"], row["setting"]
            curves.append((name if words in name else f"{name} {words}", points))
    return curves


def draw(results, directory):
    if not shutil.which("gnuplot"):
        print("no plots: gnuplot is not installed", file=sys.stderr)
        return
    os.makedirs(directory, exist_ok=True)
    for name, (label, _) in X_AXES.items():
        curves = by_case(results, name)
        more = ["set logscale x", "set xtics (0.01, 0.1, 0.3, 1, 2, 5)"] if name == "loss" else []
        if name == "loss":  # no loss at all has no place on a logarithmic axis
            curves = [(who, [(max(x, 0.001), y) for x, y in points]) for who, points in curves]
            more += ["set xtics add ('none' 0.001)"]
        if curves:
            picture(directory, f"throughput-by-{name}", f"Throughput by {label.split(' in ')[0]}", label,
                    curves, more)
    for n, case in enumerate(results, 1):
        if case["kind"] != "transfer":
            continue
        title = f"{case['words']}"
        streams = by_streams(case) if any(row.get("streams") for row in case["contestants"]
                                          if row["tool"] == "longhaul") else []
        if streams:
            picture(directory, f"throughput-by-streams-{n}", title, "streams", streams,
                    ["set logscale x 2"])
        curves = over_time(case)
        if curves:
            picture(directory, f"goodput-over-time-{n}", title, "seconds", curves, style="lines")
