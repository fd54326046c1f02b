"""Results as files: written after each case, and read back, several as one."""
import json
import os

from . import report


class Unreadable(Exception):
    """A file that holds no results."""


def save(args, run, cases):
    """`run`: the machine and the arguments. A reader never sees half a file."""
    if args.json:
        with open(args.json + ".new", "w", encoding="utf-8") as f:
            json.dump({**run, "cases": cases}, f)
            f.write("\n")
        os.replace(args.json + ".new", args.json)
    save_tables(args, [run], cases)


def save_tables(args, runs, cases):
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as f:
            f.write(report.markdown(runs, cases))


def identity(case):
    return tuple(case.get(key) for key in ("set", "kind", "words", "wan", "host", "size_bytes"))


def load(paths):
    """The runs of these files, and the cases of all together. Of a case that is in several the later
    one counts, unless it was skipped there."""
    runs, cases = [], {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as f:
                everything = json.load(f)
            run = {key: everything[key] for key in ("machine", "arguments")}
            for case in everything["cases"]:
                report.text(case)  # fails for what has no table
                if "skipped" not in case or identity(case) not in cases:
                    cases[identity(case)] = case
        except OSError as why:
            raise Unreadable(f"{path}: {why.strerror}") from why
        except (ValueError, KeyError, TypeError) as why:
            raise Unreadable(f"{path}: no results of test/bench/run") from why
        runs.append(run)
    return runs, list(cases.values())
