#!/usr/bin/python3
"""Counts that stand in for time: system calls and user-space bytes per GiB, on each side.

Bounds are about twice what is measured (docs/performance.md): they catch a call too many for every
block, not a few per cent."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import json
import subprocess

import e2e
from e2e import BLOCK, GIB, MIB, need, ok

COUNTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench/counts")
BLOCKS = GIB // BLOCK


def counted(*args):
    """test/bench/counts with these arguments."""
    ran = subprocess.run([sys.executable, COUNTS, "--program", e2e.BIN, "--json"] + list(args),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=3 * e2e.LIMIT,
                         check=False)
    if not ok(ran.returncode == 0, "a transfer is counted " + " ".join(args)):
        e2e.diag(ran.stderr.decode(errors="replace"))
        raise e2e.Stop("counted")
    return json.loads(ran.stdout)


def at_most(have, bound, what):
    ok(have <= bound, "%s: %d of at most %d per GiB" % (what, have, bound))


def calls(side, total, per_block, others, what):
    """Calls for each block: of every kind, of those kinds that a block costs, and of the others."""
    names = side["by_name_per_gib"]
    at_most(side["calls_per_gib"], total * BLOCKS, what + ", all system calls")
    for name, bound in per_block.items():
        at_most(names.get(name, 0), bound * BLOCKS, "%s, %s" % (what, name))
    rest = sum(n for name, n in names.items() if name not in per_block)
    at_most(rest, others * BLOCKS, what + ", others than these")


@e2e.long
def test_zero_copy():
    found = counted()
    send, receive = found["send"], found["receive"]
    once = GIB + found["repeated_bytes_per_gib"]
    for side, names in (("send", send), ("receive", receive)):
        e2e.diag("%s: %s" % (side, names["by_name_per_gib"]))
    need(GIB <= send["sendfile_bytes_per_gib"] <= once, "every byte of the contents goes by sendfile, once")
    at_most(send["file_in_bytes_per_gib"], once + 4 * MIB, "sender, bytes read for hashing")
    at_most(send["socket_out_bytes_per_gib"], 4 * MIB, "sender, bytes sent from user space")
    at_most(receive["socket_in_bytes_per_gib"], once + 4 * MIB, "receiver, bytes received")
    at_most(receive["file_out_bytes_per_gib"], GIB + 4 * MIB, "receiver, bytes written")
    at_most(receive["file_in_bytes_per_gib"], 4 * MIB, "receiver, bytes read back")
    calls(send, 10, {"sendfile": 2.5, "sendto": 1.5, "pread64": 1.5, "futex": 2, "epoll_ctl": 1.5,
                     "epoll_wait": 1.5, "read": 1, "write": 1}, 1.5, "sender")
    calls(receive, 8, {"recvmsg": 4, "pwrite64": 1.5, "epoll_ctl": 1, "epoll_wait": 1.5},
          1, "receiver")


@e2e.long
def test_fallback_copies_once_more():
    found = counted("--send-args=--zero-copy off")
    send, once = found["send"], GIB + found["repeated_bytes_per_gib"]
    ok(send["sendfile_bytes_per_gib"] == 0, "nothing goes by sendfile when that is wanted")
    at_most(send["socket_out_bytes_per_gib"], once + 4 * MIB, "sender, bytes sent from user space")
    at_most(send["file_in_bytes_per_gib"], 2 * once + 4 * MIB, "sender, bytes read")


e2e.main()
