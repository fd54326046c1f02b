"""Running the program on trees, and what it says about them."""
import os
import shutil
import subprocess
import sys

import e2e
import treecmp

PARTIAL = 8  # exit code: some were not moved
WORDS = {"send": "sent", "make": "made", "keep": "kept", "remove": "removed", "failed": "failed"}


class TreeSend(e2e.Send):
    """A sender of one or several sources, with --json. verbose: it tells of each entry."""

    def __init__(self, sources, url, *args, verbose=True, **how):
        if isinstance(sources, (str, bytes)):
            sources = [sources]
        self.source = sources[0]
        words = ["-v"] if verbose else []
        e2e.Process.__init__(self, ["send", "--json", *words, *args, "--", *sources, url], **how)

    def entries(self, what=None):
        """{path: event} of what it says of entries."""
        found = {}
        for event in self.events("entry"):
            if what is None or WORDS[event["what"]] == what:
                found[path_of(event)] = event
        return found

    def paths(self, *whats):
        return {path for what in whats for path in self.entries(what)}


def path_of(event):
    """Empty where only the message says which."""
    return bytes.fromhex(event["path_hex"]) if "path_hex" in event else os.fsencode(event.get("path", ""))


def send_tree(sources, url, *args, limit=e2e.LIMIT, **how):
    """Run a sender to its end."""
    run = TreeSend(sources, url, *args, **how)
    run.wait(limit)
    return run


EVERYTHING = "owner,set-id,devices,security"


def start(*args, **how):
    """A receiver that permits everything, its root, and where a source may be made."""
    root = os.path.join(e2e.dir(), "root")
    os.mkdir(root)
    if "--allow" not in args:
        args += ("--allow", EVERYTHING)
    serve = e2e.Serve(root, *args, **how)
    return serve, root, os.path.join(e2e.dir(), "src")


def is_same(src, dst, name, keep=treecmp.DEFAULT, **how):
    """`dst` is a copy of `src`."""
    if not os.path.isdir(dst):
        return e2e.ok(False, name + " (there is nothing)")
    found = treecmp.compare(src, dst, keep, **how)
    passed = e2e.ok(not found, name)
    for line in found[:12]:
        e2e.diag(line)
    if len(found) > 12:
        e2e.diag("… %d in all" % len(found))
    return passed


def partial(run, name):
    """It ended, and says that some were not moved."""
    passed = run.rc == PARTIAL
    if not e2e.ok(passed, name + ": exit code %d" % PARTIAL):
        run.show()
    return passed


def idle(run, name):
    """A run that had nothing to do, and did nothing."""
    last = run.last("done")
    e2e.done(run, name + ": it ends well")
    e2e.same(last.get("bytes_sent"), 0, name + ": no contents travel")
    e2e.same(last.get("files_sent"), 0, name + ": no file is sent")


def names(at):
    """Every path below `at`, hidden ones too, relative."""
    return sorted(set(treecmp.scan(at)) - {b""})


def write(at, files):
    """Files by their relative paths; None: a directory; a str that begins with "->": a link."""
    for path, contents in files.items():
        full = os.path.join(os.fsencode(at), os.fsencode(path))
        if contents is None:
            os.makedirs(full, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if isinstance(contents, str) and contents.startswith("->"):
            os.symlink(contents[2:], full)
            continue
        with open(full, "wb") as f:
            f.write(contents.encode() if isinstance(contents, str) else contents)
    return at


def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


def rsync(*args):
    """What the reference does."""
    if not shutil.which("rsync"):
        raise e2e.Skip("no rsync here")
    subprocess.run(["rsync", *args], check=True, stdout=subprocess.DEVNULL, stderr=sys.stderr)
