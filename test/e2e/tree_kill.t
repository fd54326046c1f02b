#!/usr/bin/python3
"""kill -9 on both sides of a tree, a network that is cut, programs that stand still."""
import os
import random
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import tree
import treecmp
from e2e import KIB, MIB, Proxy, Serve, done, need, ok, same
from treerun import EVERYTHING, TreeSend, idle, is_same, send_tree, start

SEED = int(os.environ.get("LH_SEED") or random.SystemRandom().randrange(1 << 32))
ROUNDS = int(os.environ.get("LH_ROUNDS") or (2 if e2e.SHORT else 4))
RATE = 12 * MIB


def begin(name):
    e2e.diag("LH_SEED=%d" % SEED)
    serve, root, src = start("--commit-interval", "100ms")
    facts = tree.make(src, SEED, n_files=500, deep=8, long_paths=False, big=not e2e.SHORT)
    tree.many(os.path.join(src, "many"), 20, 100, lambda rng: rng.randrange(9000))
    e2e.diag(facts)
    n_bytes = sum(e.blocks * 512 for e in treecmp.scan(src).values() if e.kind == "file")
    return random.Random("%d %s" % (SEED, name)), serve, root, src, n_bytes


def told(sent):
    """What it said is at the destination for good."""
    return {p: e for p, e in sent.entries("sent").items()}


def half_made(src, at, sent, name):
    """Whatever is to be seen is whole, and whatever was told is there."""
    if not os.path.isdir(at):
        return same(sent, {}, name + ": nothing is there, nothing was told")
    a = treecmp.scan(src)
    b = treecmp.scan(at, may_go=lambda path: path not in a)  # a living receiver still clears its hidden names
    wrong = []
    for path, entry in b.items():
        if entry.kind == "file" and not os.path.basename(path).startswith(b".longhaul"):
            if path not in a:
                if not os.path.basename(path).startswith(b"."):
                    wrong.append("%r should not be there" % path)
            elif entry.hash != a[path].hash:
                wrong.append("%r is not whole" % path)
    wrong += ["%r was told and is not there" % p for p in sent if p not in b]
    passed = ok(not wrong, name + ": what is to be seen is whole, what was told is there (%d told)" % len(sent))
    e2e.diag("\n".join(wrong[:8]))
    return passed


def nothing_left(src, at, name):
    """The receiver clears the hidden names of a big file when it is confirmed: maybe after the sender has ended."""
    e2e.wait_until("hidden names are cleared", lambda: not any(
        n.startswith(".longhaul-") for _, dirs, files in os.walk(at) for n in dirs + files))
    is_same(src, at, name + ": the same, and nothing left behind")


def finish(src, serve, at, name):
    dst = os.path.basename(at)
    last = send_tree(src + "/", serve.url(dst), limit=240)
    done(last, name + ": the rerun ends it")
    nothing_left(src, at, name)
    idle(send_tree(src + "/", serve.url(dst)), name + ": then there is nothing to do")


def test_sender_killed():
    rng, serve, root, src, n_bytes = begin("sender")
    kills = 0
    for i in range(ROUNDS):
        at = os.path.join(root, "t%d" % i)
        so_far = {}
        for _ in range(rng.randrange(1, 4)):
            goal = rng.randrange(n_bytes // 4)  # three such leave something to do
            proxy = Proxy(serve.port, rate=RATE, dam_at=goal if i == 0 else None)
            sent = TreeSend(src + "/", serve.url("t%d" % i, proxy.port), "--streams", str(rng.randrange(1, 9)))
            e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
            sent.kill()
            kills += sent.killed
            proxy.close()
            now = told(sent)
            again = set(now) & set(so_far)
            ok(not again, "round %d: what was told is not sent again" % i) or e2e.diag(sorted(again)[:5])
            so_far.update(now)
            half_made(src, at, so_far, "round %d, sender killed" % i)
        finish(src, serve, at, "round %d" % i)
        ok(i > 0 or kills > 0, "round %d: %d kills hit a running sender" % (i, kills))


def test_receiver_killed():
    rng, serve, root, src, n_bytes = begin("receiver")
    for i in range(ROUNDS):
        at = os.path.join(root, "t%d" % i)
        proxy = Proxy(serve.port, rate=RATE)
        sent = TreeSend(src + "/", serve.url("t%d" % i, proxy.port), "--streams", str(rng.randrange(1, 9)))
        for _ in range(rng.randrange(1, 4)):
            goal = proxy.up_bytes + rng.randrange(n_bytes // 2)
            e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
            so_far = told(sent)
            serve.kill()
            half_made(src, at, so_far, "round %d, receiver killed" % i)
            serve = Serve(root, "--commit-interval", "100ms", "--allow", EVERYTHING, listen="127.0.0.1:%d" % serve.port)
        sent.wait(240)
        done(sent, "round %d: the sender goes on by itself" % i)
        nothing_left(src, at, "round %d" % i)


def test_both_killed():
    rng, serve, root, src, n_bytes = begin("both")
    for i in range(ROUNDS):
        at = os.path.join(root, "t%d" % i)
        so_far = {}
        for _ in range(rng.randrange(1, 3)):
            proxy = Proxy(serve.port, rate=RATE)
            sent = TreeSend(src + "/", serve.url("t%d" % i, proxy.port))
            goal = rng.randrange(n_bytes // 4)  # three such leave something to do
            e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
            for victim in rng.sample([sent, serve], 2):
                victim.kill()
            proxy.close()
            so_far.update(told(sent))
            half_made(src, at, so_far, "round %d, both killed" % i)
            serve = Serve(root, "--commit-interval", "100ms", "--allow", EVERYTHING, listen="127.0.0.1:%d" % serve.port)
        finish(src, serve, at, "round %d" % i)


def test_streams_cut():
    rng, serve, root, src, n_bytes = begin("cut")
    proxy = Proxy(serve.port, rate=RATE)
    sent = TreeSend(src + "/", serve.url("t", proxy.port), "--streams", "4")
    for n in range(6):
        goal = proxy.up_bytes + n_bytes // 10
        e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
        streams = proxy.streams()
        if streams:
            rng.choice(streams).reset()
    sent.wait(240)
    done(sent, "streams are cut, one after the other")
    is_same(src, os.path.join(root, "t"), "the same")


@e2e.long
def test_a_stream_hangs_while_the_walk_goes_on():
    serve, root, src = start("--commit-interval", "100ms")
    os.mkdir(src)
    names = ["f%04d-%s" % (n, "x" * 30) for n in range(1100)]  # of a short list no name is looked at before its end
    for n, name in enumerate(names):
        e2e.make(os.path.join(src, name), 20 * KIB, n)
    listed = os.path.join(e2e.dir(), "list")
    os.mkfifo(listed)
    fifo = os.open(listed, os.O_RDWR)  # until it is closed more names may come
    e2e.cleanup(lambda: fifo >= 0 and os.close(fifo))
    os.write(fifo, "".join(name + "\n" for name in names).encode())
    proxy = Proxy(serve.port, rate=4 * MIB)
    sent = TreeSend(src + "/", serve.url("t", proxy.port), "--streams", "4", "--files-from", listed)
    e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= 4 * MIB or not sent.alive())
    need(sent.alive(), "under way")
    max(proxy.streams(), key=lambda link: link.up_bytes).hung = True
    got = e2e.wait_until("something is done about it",
                         lambda: re.search(r"(of stream=\d+|is dialled) again, why", sent.err()) or not sent.alive())
    need(sent.alive(), "the walk goes on")
    ok("of stream" in got.group(), "what it has is sent on others") or sent.show()
    os.close(fifo)
    fifo = -1
    sent.wait()
    done(sent, "a stream hangs while the walk goes on")
    is_same(src, os.path.join(root, "t"), "the same", {"mode"}, rsync=False)
    last = sent.last("done")
    ok(0 < last["bytes_repeated"] < 8 * MIB, "%d bytes were given to others" % last["bytes_repeated"])


def test_network_cut():
    rng, serve, root, src, n_bytes = begin("network")
    proxy = Proxy(serve.port, rate=RATE)
    sent = TreeSend(src + "/", serve.url("t", proxy.port))
    for n in range(3):
        goal = proxy.up_bytes + rng.randrange(n_bytes // 3)
        e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
        proxy.cut()
        half_made(src, os.path.join(root, "t"), told(sent), "cut %d" % n)
        proxy.mend()
    sent.wait(240)
    done(sent, "the network is cut three times")
    is_same(src, os.path.join(root, "t"), "the same, and nothing left behind")


def test_control_cut():
    rng, serve, root, src, n_bytes = begin("control")
    proxy = Proxy(serve.port, rate=RATE)
    sent = TreeSend(src + "/", serve.url("t", proxy.port))
    e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= n_bytes // 3 or not sent.alive())
    need(sent.alive(), "under way")
    proxy.control().reset()
    sent.wait(240)
    done(sent, "the control connection is cut")
    is_same(src, os.path.join(root, "t"), "the same, and nothing left behind")


def test_stopped():
    rng, serve, root, src, n_bytes = begin("stopped")
    proxy = Proxy(serve.port, rate=RATE)
    sent = TreeSend(src + "/", serve.url("t", proxy.port))
    for who in (serve, sent, serve):
        goal = proxy.up_bytes + n_bytes // 6
        e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
        if not sent.alive():
            break
        who.signal(signal.SIGSTOP)
        import time
        time.sleep(3)
        who.signal(signal.SIGCONT)
    sent.wait(240)
    done(sent, "each stands still for a while")
    is_same(src, os.path.join(root, "t"), "the same")


def test_interrupted():
    rng, serve, root, src, n_bytes = begin("interrupted")
    proxy = Proxy(serve.port, rate=RATE)
    sent = TreeSend(src + "/", serve.url("t", proxy.port))
    e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= n_bytes // 3 or not sent.alive())
    sent.signal(signal.SIGINT)
    sent.wait()
    same(sent.rc, e2e.INTERRUPTED, "Ctrl-C")
    half_made(src, os.path.join(root, "t"), told(sent), "Ctrl-C")
    finish(src, serve, os.path.join(root, "t"), "Ctrl-C")


def test_damage():
    """Bits that flip on the way are noticed and sent again."""
    rng, serve, root, src, n_bytes = begin("damage")
    hits = [0]
    frames = {}

    def mangle(link, upward, data):
        if not upward or link.kind != "stream":
            return
        for part, kind, first, last in frames.setdefault(link.index, e2e.Frames()).scan(data):
            if part == "payload" and kind == e2e.BLOCK_FRAME and hits[0] < 5 and rng.random() < 0.02:
                data[rng.randrange(first, last)] ^= 1 << rng.randrange(8)
                hits[0] += 1

    proxy = Proxy(serve.port, mangle=mangle)
    sent = TreeSend(src + "/", serve.url("t", proxy.port))
    sent.wait(240)
    done(sent, "%d bits flip on the way" % hits[0])
    ok(hits[0] > 0 and sent.last("done").get("verification_failures", 0) >= 1, "it was noticed")
    is_same(src, os.path.join(root, "t"), "the same")


def test_big_damage():
    """What happens to a big file's blocks is in the tree's numbers."""
    serve, root, src = start()
    os.mkdir(src)
    for name, n_bytes in (("big", 40 << 20), ("small", 100)):
        with open(os.path.join(src, name), "wb") as f:
            f.write(random.Random(name).randbytes(n_bytes))
    frames, hits = {}, []

    def mangle(link, upward, data):
        if not upward or link.kind != "stream":
            return
        for part, kind, first, last in frames.setdefault(link.index, e2e.Frames()).scan(data):
            if part == "payload" and kind == e2e.BLOCK_FRAME and last - first > 1000 and not hits:
                data[last - 1] ^= 1
                hits.append(link.index)

    sent = TreeSend(src + "/", serve.url("t", Proxy(serve.port, mangle=mangle).port))
    sent.wait(240)
    done(sent, "a bit flips on the way")
    last = sent.last("done")
    same(last["verification_failures"], len(hits), "it is in the numbers")
    same(last["zero_copy_count"] + last["fallback_count"] >= 160, True, "so are the blocks of the big file")
    is_same(src, os.path.join(root, "t"), "the same")


e2e.main()
