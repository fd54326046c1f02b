#!/usr/bin/python3
"""The benchmarks run: a small sample of all they measure, longhaul and the yardsticks alone.

No number is judged, only that there is one, and that files arrive whole. LONGHAUL names the program; the
yardstick lies beside it in the build tree.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../wan")]
import e2e
from e2e import need, ok, same
from wanlib import need_emulator

NUMBERS = ("seconds", "bytes", "rate", "cpu_s_per_gb", "own_cpu_s_per_gb", "wire_per_byte",
           "retransmitted", "memory_bytes", "series", "cut")


def test_quick():
    need_emulator()
    room = os.path.join(e2e.dir(), "room")
    os.mkdir(room)
    out, tables = (os.path.join(e2e.dir(), name) for name in ("r.json", "r.md"))
    bench = subprocess.Popen(
        [os.path.join(HERE, "run"), "--quick", "--rounds", "1", "--only", "longhaul,yardstick",
         "--size", "8M", "--scout", "0", "--touch", "0", "--tmpfs", room, "--json", out,
         "--markdown", tables, "--build", os.path.dirname(e2e.BIN)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    e2e.cleanup(bench.terminate)
    said = bench.communicate()[0]
    if bench.returncode:
        e2e.diag(said)
    need(bench.returncode == 0, "test/bench/run --quick")
    same(os.listdir(room), [], "no file is left behind")
    ok(f"lhrace-{bench.pid}-" not in e2e.ip("netns", "list"), "no namespace is left behind")
    with open(out, encoding="utf-8") as f:
        found = json.load(f)
    ok(found["machine"]["congestion"] and found["machine"]["versions"]["longhaul"], "where it ran is on record")
    kinds = [case["kind"] for case in found["cases"]]
    same(sorted(set(kinds)), ["neighbours", "startup", "transfer"], "every kind of case was run")
    for case in found["cases"]:
        check_case(case)
    with open(tables, encoding="utf-8") as f:
        text = f.read()
    ok(all(case["words"] in text for case in found["cases"]), "there is a table of each")
    check_saved(found, out, text)


def tables_of(*files):
    out = os.path.join(e2e.dir(), "again.md")
    got = subprocess.run([os.path.join(HERE, "run"), "--from", ",".join(files), "--markdown", out],
                         capture_output=True, text=True, check=False)
    if not ok(got.returncode == 0, f"test/bench/run --from, {len(files)} files"):
        e2e.diag(got.stdout + got.stderr)
    with open(out, encoding="utf-8") as f:
        return f.read()


def check_saved(found, out, text):
    same(tables_of(out), text, "the same tables from what was saved")
    first, skipped = (dict(found["cases"][n]) for n in (0, 1))
    first["contestants"] = [{"contestant": "a later one", "tool": "wdt", "setting": "", "failed": "", "runs": []}]
    skipped.update(skipped="for the test", contestants=[])
    later = os.path.join(e2e.dir(), "later.json")
    with open(later, "w", encoding="utf-8") as f:
        json.dump({**found, "cases": [first, skipped]}, f)
    both = tables_of(out, later)
    same(both.count("\n### "), len(found["cases"]), "each case is there once")
    ok("a later one" in both, "the later one where two files have a case")
    ok("for the test" not in both, "but not one that was skipped")
    for name, what in (("no file", "No such file"), (os.path.abspath(__file__), "no results")):
        got = subprocess.run([os.path.join(HERE, "run"), "--from", name], capture_output=True, text=True, check=False)
        ok(got.returncode == 1 and got.stderr.count("\n") == 1 and what in got.stderr, f"one line says: {what}")


def check_case(case):
    words = f"{case['words']}, {case['kind']}"
    rows = case["pairs"] if case["kind"] == "neighbours" else case["contestants"]
    bad = [row for row in rows if row["failed"] or len(row["runs"]) != 1]
    ok(rows and not bad, words + ": everybody ran")
    for row in bad:
        e2e.diag(row["failed"])
    for row in rows:
        for run in row["runs"]:
            if case["kind"] == "transfer":
                lacks = [key for key in NUMBERS if run.get(key) is None]
                same(lacks, [], f"{words}: {row['contestant']} {row['setting']}: every number")
                ok(run["verified"] or run["cut"], "and the same contents, or was too slow")
            elif case["kind"] == "startup":
                ok(0 < run["first_s"] <= run["last_s"], f"{words}: {row['contestant']} begins, then ends")
            else:
                ok(len(run["rates"]) == len(row["who"]) and sum(run["rates"]) > 0,
                   f"{words}: {' + '.join(row['who'])} have their shares")


def test_wrong_words():
    """Each is refused in a line that names it, before anything is made."""
    for option, word in (("--wan", "foo"), ("--wan", "1gbit,100ms"), ("--wan", "1gbit,100,0%"), ("--size", "8Q"),
                         ("--host", "plain,fast"), ("--only", "scp"), ("--set", "loss,all"), ("--case", "x"),
                         ("--slow", "3x")):
        got = subprocess.run([os.path.join(HERE, "run"), option, word], capture_output=True, text=True, check=False)
        last = got.stderr.splitlines()[-1]
        ok(got.returncode == 2 and option in last and word.split(",")[-1] in last, f"{option} {word}") or e2e.diag(last)
    got = subprocess.run([os.path.join(HERE, "run"), "--wan", "none", "--wan", "1gbit,.1s,3%/10", "--host", "tuned,stock",
                          "--plan"], capture_output=True, text=True, check=False)
    same(got.stdout.count("\ncase "), 3, "both WANs with both hosts") or e2e.diag(got.stderr)


def test_queue():
    """One rename for each task is what the benchmark itself insists on."""
    out = os.path.join(e2e.dir(), "r.json")
    for words in (["small", "--tasks", "100", "--rounds", "1", "--workers", "2"], ["memory", "--size", "1M"]):
        got = subprocess.run([os.path.join(HERE, "queue"), *words, "--dir", e2e.dir(), "--json", out],
                             capture_output=True, text=True, check=False)
        if not ok(got.returncode == 0, "test/bench/queue " + " ".join(words)):
            e2e.diag(got.stdout + got.stderr)
    with open(out, encoding="utf-8") as f:
        found = [json.loads(line)["found"] for line in f]
    ok(found[0][0]["tasks_per_s"] > 0 and found[1][0]["progress"] > 0, "there are numbers")
    same([n for n in os.listdir(e2e.dir()) if n != "r.json"], [], "no file is left behind")


def test_trees():
    """That all files arrive with their contents is what the benchmark itself insists on."""
    need_emulator()
    room, out = os.path.join(e2e.dir(), "room"), os.path.join(e2e.dir(), "r.json")
    os.mkdir(room)
    bench = subprocess.run(
        [os.path.join(HERE, "trees"), "--case", "20k,rerun-100k,mixed,sparse", "--scale", "0.01", "--rounds", "1",
         "--only", "longhaul", "--tmpfs", room, "--json", out, "--build", os.path.dirname(e2e.BIN)],
        capture_output=True, text=True, check=False)
    if not ok(bench.returncode == 0, "test/bench/trees"):
        e2e.diag(bench.stdout + bench.stderr)
    with open(out, encoding="utf-8") as f:
        found = json.load(f)["cases"]
    same(len(found), 4, "every case was run")
    for case in found:
        for row in case["contestants"]:
            passed = ok(not row["failed"] and row["runs"][0]["seconds"] > 0, case["title"] + ": there are numbers")
            if not passed:
                e2e.diag(row["failed"])
    same(os.listdir(room), [], "no file is left behind")


e2e.main()
