"""A guest of user-mode-linux with one disk, whose power can be cut.

The guest's page cache lives in its memory and dies with it; what it has written to its disk is in
the host's page cache and stays. So kill -9 of all its processes loses what a power cut loses, except
that such a disk (ubd) forgets nothing: its driver in Linux 6.1 even drops the guest's flushes on the
floor (the guest counts them, the host never sees a sync). guest.sh therefore has another way to mount
the image, in which what was not flushed is lost, too.
"""

import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.realpath(__file__))
KERNEL = "linux.uml"
PRCTL = ctypes.CDLL(None).prctl


def die_with_parent():
    PRCTL(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no guest outlives a harness that is killed


def shim(scratch):
    """What the kernel needs put before it on newer CPUs."""
    path = os.path.join(scratch, "xstate.so")
    if not os.path.exists(path):
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC",
                        "-o", path, os.path.join(HERE, "xstate.c"), "-ldl"], check=True)
    return path


class Guest:
    def __init__(self, kernel, scratch, image, init, mem="768M"):
        env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": scratch, "TMPDIR": scratch,
               "LD_PRELOAD": shim(scratch)}
        # A process namespace of its own: whatever ends its first process ends them all.
        args = [] if os.geteuid() else ["unshare", "--pid", "--fork", "--kill-child=KILL"]
        args += [kernel, "rootfstype=hostfs", "rootflags=/", "ro", "mem=" + mem,
                "ubd0=" + image, "uml_dir=" + scratch, "umid=guest",
                "con=null", "con0=null,fd:1", "quiet", "loglevel=4",
                "init=" + init, "LH_SCRATCH=" + scratch]
        shutil.rmtree(os.path.join(scratch, "guest"), ignore_errors=True)
        self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, env=env, cwd=scratch,
                                        start_new_session=True, preexec_fn=die_with_parent)
        self.fd = self.process.stdout.fileno()
        os.set_blocking(self.fd, False)
        self.buffer = b""
        self.log = []
        self.closed = False

    def lines(self, timeout):
        """Whole lines that have arrived, after at most `timeout` seconds; [] when none has."""
        if self.closed:
            return []
        if not select.select([self.fd], [], [], max(0, timeout))[0]:
            return []
        return self._read()

    def _read(self):
        out = []
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                break
            if not data:
                self.closed = True
                break
            self.buffer += data
        *whole, self.buffer = self.buffer.split(b"\n")
        for line in whole:
            text = line.decode("utf-8", "backslashreplace").rstrip("\r")
            self.log.append(text)
            out.append(text)
        return out

    def cut(self):
        """Cut the power. Returns the lines that had left the guest and were not yet read."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        # The driver's own thread is a process by itself: not one write may come after this.
        deadline = time.monotonic() + 30
        while session_alive(self.process.pid):
            if time.monotonic() > deadline:
                raise RuntimeError("the guest's processes do not die")
            time.sleep(0.01)
        rest = self._read() if not self.closed else []
        self.process.stdout.close()
        self.closed = True
        return rest


def session_alive(session):
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            return True
    return False


def why_not(scratch, init):
    """None when a guest runs here; else a sentence."""
    kernel = shutil.which(KERNEL)
    if not kernel:
        return "no %s here (Debian package user-mode-linux)" % KERNEL
    if os.geteuid() != 0 and not os.access("/dev/null", os.R_OK):
        return "no /dev/null"
    guest = None
    try:
        guest = Guest(kernel, scratch, "/dev/null", init)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not guest.closed:
            for line in guest.lines(0.5):
                if re.match("@lh ", line):
                    return None
    except OSError as e:
        return "%s does not start: %s" % (KERNEL, e)
    finally:
        if guest:
            guest.cut()
    last = [line for line in guest.log if line.strip()][-1:] or ["it says nothing"]
    return "%s does not boot: %s" % (KERNEL, last[0])
