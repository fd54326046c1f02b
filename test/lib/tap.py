"""TAP, and running the test functions of a script: each in a directory of its own (dir()), with what it
left running ended behind it (cleanup()). Tests have all of this from e2e.
"""
import atexit
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

LIB = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.abspath(os.environ.get("LONGHAUL") or os.path.join(LIB, "../../build/longhaul"))
SHORT = bool(os.environ.get("LH_SHORT"))  # under a sanitizer: fewer rounds, smaller files
LIMIT = 300 if SHORT else 120  # seconds after which a step counts as hung
SCRIPT_LIMIT = 840  # for a script: who runs it kills it after 900, and then it cannot say where it hung

_count = 0
_failed = 0
_base = None
_dir = None
_cleanups = []


class Skip(Exception):
    """Raise it to skip the rest of a test function."""


class Stop(Exception):
    """The rest of a test function makes no sense any more; the failed check says why."""


class Hung(Exception):
    """A script takes too long; the traceback says what it was waiting for."""


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def ok(passed, name):
    global _count, _failed
    _count += 1
    name = name.replace("#", "").replace("\n", " ")
    print(("ok " if passed else "not ok ") + "%d - %s" % (_count, name), flush=True)
    if not passed:
        _failed += 1
        frame = sys._getframe(1)
        # The line in the test is told, not that of a library.
        while os.path.dirname(os.path.abspath(frame.f_code.co_filename)) == LIB and frame.f_back:
            frame = frame.f_back
        diag("%s:%d" % (frame.f_code.co_filename, frame.f_lineno))
    return bool(passed)


def same(have, want, name):
    passed = ok(have == want, name)
    if not passed:
        diag("have %r, want %r" % (have, want))
    return passed


def need(passed, name):
    """A check without which the test cannot go on."""
    if not ok(passed, name):
        raise Stop(name)


def hung(what, limit=LIMIT):
    """It has been waited for that for so many seconds."""
    ok(False, "%s (waited %d s)" % (what, limit))
    raise Stop(what)


def skip(reason):
    global _count
    _count += 1
    print("ok %d # SKIP %s" % (_count, reason), flush=True)


def cleanup(call, *args):
    """Call it when the current test function ends."""
    _cleanups.append((call, args))


def run_cleanups():
    while _cleanups:
        call, args = _cleanups.pop()
        try:
            call(*args)
        except Exception:  # pylint: disable=broad-except
            diag(traceback.format_exc())


def dir():  # pylint: disable=redefined-builtin
    """The directory of the running test function."""
    return _dir


def shared():
    """The directory that lasts as long as the script: what is built once."""
    return _base


def room(parent=None):
    """For a program that is no test: what a test function has, in a directory below `parent`."""
    global _base, _dir
    _base = tempfile.mkdtemp(prefix="longhaul-e2e.", dir=parent)
    os.chmod(_base, 0o755)
    _dir = os.path.join(_base, "room")
    os.mkdir(_dir)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    atexit.register(shutil.rmtree, _base, True)
    atexit.register(run_cleanups)


def _on_alarm(*_):
    raise Hung("the script takes more than %d s" % SCRIPT_LIMIT)


def _on_term(_, frame):
    diag("ended from outside, while it was here:\n" + "".join(traceback.format_stack(frame)))
    sys.exit(1)


def main():
    global _base, _dir, _failed
    script = sys.modules["__main__"]
    tests = [(n, f) for n, f in vars(script).items() if n.startswith("test_") and callable(f)]
    if len(sys.argv) > 1:
        tests = [(n, f) for n, f in tests if n in sys.argv[1:]]
    elif SHORT:
        tests = [(n, f) for n, f in tests if not getattr(f, "long", False)]
    if not os.access(BIN, os.X_OK):
        print("Bail out! there is no program %s" % BIN)
        sys.exit(1)
    signal.signal(signal.SIGTERM, _on_term)
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.alarm(SCRIPT_LIMIT)
    deadline = time.monotonic() + SCRIPT_LIMIT
    _base = tempfile.mkdtemp(prefix="longhaul-e2e.")
    os.chmod(_base, 0o755)
    atexit.register(shutil.rmtree, _base, True)
    atexit.register(run_cleanups)
    for name, function in tests:
        diag(name)
        _dir = os.path.join(_base, name)
        os.mkdir(_dir)
        try:
            function()
        except Skip as why:
            skip(str(why))
        except Stop:
            pass
        except Exception:  # pylint: disable=broad-except
            ok(False, name + " runs to its end")
            diag(traceback.format_exc())
        run_cleanups()
        shutil.rmtree(_dir, ignore_errors=True)
        if time.monotonic() >= deadline:
            diag("no more tests are run")
            break
    print("1..%d" % _count, flush=True)
    sys.exit(1 if _failed or not _count else 0)


def long(function):
    """Not under a sanitizer."""
    function.long = True
    return function


def wait_until(what, condition, limit=LIMIT):
    """Poll until condition() is true; returns what it gave. Hanging fails the test."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            hung(what, limit)
        time.sleep(0.02)


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root")
