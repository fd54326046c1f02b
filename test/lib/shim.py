"""Failing and stalling system calls in a program that runs. Tests have them from e2e."""
import os
import subprocess

import tap

_serial = 0


def preload(name):
    """The library test/lib/NAME.c, built once."""
    library = os.path.join(tap.shared(), name + ".so")
    if not os.path.exists(library):
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library,
                        os.path.join(tap.LIB, name + ".c"), "-ldl"], check=True)
    return library


class Shim:
    """Failing and stalling system calls in a program, switched while it runs: faultshim.c."""

    def __init__(self):
        global _serial
        _serial += 1
        self.dir = os.path.join(tap.dir(), "shim.%d" % _serial)
        os.mkdir(self.dir)
        self.env = {"LD_PRELOAD": preload("faultshim"), "FAULTSHIM": self.dir}

    def set(self, call, errno=0, skip=0, times=-1, stall_ms=0):  # pylint: disable=redefined-outer-name
        """From now on: let `skip` calls pass, then `times` (-1: all) stall (below 0: on a core) and fail
        with errno."""
        path = os.path.join(self.dir, call)
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write("%d %d %d %d\n" % (errno, skip, times, stall_ms))
        os.rename(path + ".new", path)

    def clear(self, call):
        os.unlink(os.path.join(self.dir, call))

    def hits(self, call):
        """How many calls have been made to stall or fail so far."""
        try:
            return os.path.getsize(os.path.join(self.dir, call + ".hits"))
        except FileNotFoundError:
            return 0
