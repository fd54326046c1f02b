#!/usr/bin/python3
"""Whose the entries of a tree are: by name where both sides know the name, by number otherwise."""
import os
import stat
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import treewire
from e2e import ERROR, MIB, Proxy, Serve, done, need_root, ok, same
from treerun import TreeSend, idle, rsync, send_tree, write

OWNERS = 31
# Name, number at the sender, number at the receiver; None: not known there.
USERS = (("alice", 5001, 7001), ("bob", 5002, None), ("carol", 5003, 5003), ("dave", None, 5002), ("eve", 5004, 0))
GROUPS = (("alice", 6001, 8001), ("staffx", 5001, 8002), ("bobs", 5002, None))
UNNAMED = 5999
TO_USER = {**{a: b if b is not None else a for _, a, b in USERS if a}, 0: 0, UNNAMED: UNNAMED}
TO_GROUP = {**{a: b if b is not None else a for _, a, b in GROUPS if a}, 0: 0, UNNAMED: UNNAMED}


def lives_with(name, side):
    """What a program is started by to see users of its own; side 1: the sender's, 2: the receiver's."""
    need_root()
    passwd = "".join("%s:x:%d:0::/:/bin/sh\n" % (u[0], u[side]) for u in USERS if u[side] is not None)
    group = "".join("%s:x:%d:\n" % (g[0], g[side]) for g in GROUPS if g[side] is not None)
    root = "boss:x:0:0::/:/bin/sh\n" if side == 2 else "root:x:0:0::/:/bin/sh\n"
    at = os.path.join(e2e.dir(), name)
    write(at, {"passwd": root + passwd, "group": "wheel:x:0:\n" + group})
    script = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"'
    wrap = ["unshare", "-m", "sh", "-c", script, at]
    if subprocess.run(wrap + ["true"], check=False, capture_output=True).returncode:
        raise e2e.Skip("cannot mount here")
    return wrap


def start(*args):
    root = os.path.join(e2e.dir(), "root")
    os.mkdir(root)
    receiver = lives_with("receiver", 2)
    return Serve(root, *args, wrap=receiver), root, os.path.join(e2e.dir(), "src"), lives_with("sender", 1)


def make(src):
    """Every kind of entry; each has another pair of owners. Its owners by path."""
    write(src, {"file": "f", "dir/below": "b", "empty/": None, "link": "->nowhere", "hard": "h", "noname": "n",
                "setid": "s", "roots": "r", "big": b""})
    os.link(os.path.join(src, "hard"), os.path.join(src, "hard2"))
    os.mkfifo(os.path.join(src, "fifo"))
    os.truncate(os.path.join(src, "big"), 33 * MIB)
    owners = {"": (5001, 5001), "file": (5001, 6001), "dir": (5002, 5001), "dir/below": (5003, 5002), "empty": (5001, 0),
              "link": (5001, 6001), "hard": (5002, 6001), "noname": (UNNAMED, UNNAMED), "setid": (5001, 5001),
              "roots": (0, 0), "big": (5001, 5001), "fifo": (5004, 6001)}
    for path, (uid, gid) in owners.items():
        os.chown(os.path.join(src, path), uid, gid, follow_symlinks=False)
    owners["hard2"] = owners["hard"]
    os.chmod(os.path.join(src, "setid"), 0o2755)
    return owners


def owners_at(at, paths):
    found = {}
    for path in paths:
        st = os.lstat(os.path.join(at, path))
        found[path] = (st.st_uid, st.st_gid)
    return found


def mapped(owners):
    return {path: (TO_USER[u], TO_GROUP[g]) for path, (u, g) in owners.items()}


ALL = ("--preserve", "mode,times,owner,hardlinks", "--devices")


def test_names():
    serve, root, src, sender = start()
    owners = make(src)
    done(send_tree(src + "/", serve.url("t"), *ALL, wrap=sender), "every kind of entry")
    at = os.path.join(root, "t")
    same(owners_at(at, owners), mapped(owners), "each belongs to whom it should, the directory itself too")
    again = send_tree(src + "/", serve.url("t"), *ALL, wrap=sender)
    idle(again, "the same again")
    same(owners_at(at, owners), mapped(owners), "and it is as it was")
    for path in owners:
        os.chown(os.path.join(at, path), 9, 9, follow_symlinks=False)
    done(send_tree(src + "/", serve.url("t"), *ALL, wrap=sender), "all of it belongs to others meanwhile")
    same(owners_at(at, owners), mapped(owners), "put right")
    done(send_tree(src + "/", serve.url("n"), *ALL, "--numeric-ids", wrap=sender), "--numeric-ids")
    same(owners_at(os.path.join(root, "n"), owners), owners, "keeps numbers")
    st = os.lstat(os.path.join(at, "roots"))
    same((st.st_uid, st.st_gid), (0, 0), "root is root, whatever it is called")


def test_as_rsync():
    """The reference, between a sender and a receiver of the same users."""
    serve, root, src, sender = start()
    owners = make(src)
    done(send_tree(src + "/", serve.url("t"), *ALL, wrap=sender), "sent")
    config = write(os.path.join(e2e.dir(), "daemon"), {
        "conf": "uid = 0\ngid = 0\nuse chroot = no\n[m]\npath = %s\nread only = no\n" % root})
    rsync("--version")
    port = e2e.keep_port()
    daemon = subprocess.Popen(lives_with("receiver2", 2) + [
        "rsync", "--daemon", "--no-detach", "--address=127.0.0.1", "--port=%d" % port,
        "--config=" + os.path.join(config, "conf")])
    e2e.cleanup(daemon.wait)
    e2e.cleanup(daemon.kill)
    e2e.wait_until("rsync's daemon listens", lambda: subprocess.run(
        ["rsync", "rsync://127.0.0.1:%d/" % port], check=False, capture_output=True).returncode == 0)
    subprocess.run(sender + ["rsync", "-aHD", src + "/", "rsync://127.0.0.1:%d/m/r" % port], check=True)
    same(owners_at(os.path.join(root, "t"), owners), owners_at(os.path.join(root, "r"), owners), "as rsync does it")


def test_cut_off():
    """Names are told again in each session."""
    serve, root, src, sender = start("--commit-interval", "100ms")
    write(src, {"d%d/f%d" % (i % 20, i): os.urandom(40000) for i in range(400)})
    for i in range(400):
        os.chown(os.path.join(src, "d%d/f%d" % (i % 20, i)), 5001 + i % 4, 6001 if i % 3 else 5001)
    for i in range(20):
        os.chown(os.path.join(src, "d%d" % i), 5001, 5001)
    proxy = Proxy(serve.port, rate=4 * MIB)
    sent = TreeSend(src + "/", serve.url("t", proxy.port), wrap=sender)
    for _ in range(3):
        goal = proxy.up_bytes + 3 * MIB
        e2e.wait_until("bytes pass", lambda: proxy.up_bytes >= goal or not sent.alive())
        proxy.cut()
        proxy.mend()
    sent.wait()
    done(sent, "cut off three times")
    ok(sent.last("done").get("reconnects", 0) > 0, "sessions were lost")
    wrong = []
    for i in range(400):
        st = os.lstat(os.path.join(root, "t", "d%d/f%d" % (i % 20, i)))
        want = (TO_USER[5001 + i % 4], TO_GROUP[6001 if i % 3 else 5001])
        if (st.st_uid, st.st_gid) != want:
            wrong.append((i, st.st_uid, st.st_gid, want))
    same(wrong, [], "each file belongs to whom it should")
    same({owners_at(os.path.join(root, "t"), ["d%d" % i])["d%d" % i] for i in range(20)},
         {(TO_USER[5001], TO_GROUP[5001])}, "each directory too")


def test_many():
    """More users than a frame has names of."""
    need_root()
    n = 3000 if e2e.SHORT else 9000
    at = os.path.join(e2e.dir(), "users")
    longer = "n" * 20
    write(os.path.join(at, "s"), {"passwd": "".join("%s%d:x:%d:0::/:/\n" % (longer, i, 100000 + i) for i in range(n)),
                                  "group": "g:x:0:\n"})
    write(os.path.join(at, "r"), {"passwd": "".join("%s%d:x:%d:0::/:/\n" % (longer, i, 200000 + i) for i in range(n)),
                                  "group": "g:x:0:\n"})
    script = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"'
    wrap = ["unshare", "-m", "sh", "-c", script]
    if subprocess.run(wrap + [os.path.join(at, "s"), "true"], check=False, capture_output=True).returncode:
        raise e2e.Skip("cannot mount here")
    root, src = os.path.join(e2e.dir(), "root"), os.path.join(e2e.dir(), "src")
    os.mkdir(root)
    serve = Serve(root, wrap=wrap + [os.path.join(at, "r")])
    write(src, {"f%d" % i: "" for i in range(n)})
    for i in range(n):
        os.chown(os.path.join(src, "f%d" % i), 100000 + i, 0)
    done(send_tree(src + "/", serve.url("t"), verbose=False, wrap=wrap + [os.path.join(at, "s")]), "%d users" % n)
    same([i for i in range(n) if os.lstat(os.path.join(root, "t", "f%d" % i)).st_uid != 200000 + i], [],
         "each file belongs to its own")


def warnings(sent):
    return [line for line in sent.err().splitlines() if "--allow" in line and "failed:" not in line]


def test_permitted():
    """What a receiver that is root lets a sender set."""
    need_root()
    root, src = os.path.join(e2e.dir(), "root"), os.path.join(e2e.dir(), "src")
    os.mkdir(root)
    write(src, {"prog": "p", "plain": "f", "team/x": "x"})
    os.chown(os.path.join(src, "prog"), 5001, 6001)
    os.chown(os.path.join(src, "team"), 5001, 6001)
    os.chmod(os.path.join(src, "prog"), 0o6755)
    os.chmod(os.path.join(src, "team"), 0o2775)
    os.mkfifo(os.path.join(src, "fifo"))
    os.mknod(os.path.join(src, "null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with_xattrs = True
    try:
        os.setxattr(os.path.join(src, "plain"), "trusted.x", b"1")
        os.setxattr(os.path.join(src, "plain"), "user.x", b"1")
    except OSError:
        with_xattrs = False
    for name, allow in (("usual", None), ("none", "none"), ("all", "owner,set-id,devices,security")):
        serve = Serve(root, *(("--allow", allow) if allow else ()))
        sent = send_tree(src + "/", serve.url(name), "--preserve", "mode,times,owner,xattrs", "--devices", verbose=False)
        at = os.path.join(root, name)
        said = "\n".join(warnings(sent))
        all_ = name == "all"
        owner = name != "none"
        same(sent.rc, 0 if all_ else 8, "%s: exit code" % name)
        same(sent.paths("failed"), set() if all_ else {b"null"}, "%s: a device fails by name, or is made" % name)
        ok(all_ or "--allow devices" in sent.entries("failed")[b"null"]["message"], "%s: in words" % name)
        same(os.path.exists(os.path.join(at, "null")), all_, "%s: the device" % name)
        ok(stat.S_ISFIFO(os.lstat(os.path.join(at, "fifo")).st_mode), "%s: a FIFO is made" % name)
        st = os.lstat(os.path.join(at, "prog"))
        same((st.st_uid, st.st_gid), (5001, 6001) if owner else (0, 0), "%s: owners" % name)
        same(stat.S_IMODE(st.st_mode), 0o6755 if all_ else 0o755, "%s: set-id bits of a file" % name)
        same(stat.S_IMODE(os.lstat(os.path.join(at, "team")).st_mode), 0o2775 if owner else 0o775,
             "%s: of a directory they go with its owner" % name)
        same(said.count("--allow set-id"), 0 if all_ else 1, "%s: said once, or nothing to say" % name) or e2e.diag(said)
        same(said.count("--allow owner"), 0 if owner else 1, "%s: of owners" % name)
        if with_xattrs:
            same(sorted(n for n in os.listxattr(os.path.join(at, "plain")) if n.endswith(".x")),
                 ["trusted.x", "user.x"] if all_ else ["user.x"], "%s: extended attributes" % name)
            same(said.count("--allow security"), 0 if all_ else 1, "%s: of them" % name)
        again = send_tree(src + "/", serve.url(name), "--preserve", "mode,times,owner,xattrs", "--devices", verbose=False)
        same(again.last().get("files_sent"), 0, "%s: the same again sends nothing" % name)
        same(warnings(again), warnings(sent), "%s: and says the same" % name)
        os.mkdir(os.path.join(root, "had-" + name))
        node = os.path.join(root, "had-" + name, "null")
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        os.chmod(os.path.join(src, "null"), 0o640)
        os.chown(os.path.join(src, "null"), 5001, 6001)
        send_tree(src + "/", serve.url("had-" + name), "--preserve", "mode,times,owner", "--devices", verbose=False)
        same((stat.S_IMODE(os.lstat(node).st_mode), os.lstat(node).st_uid), (0o640, 5001) if all_ else (0o600, 0),
             "%s: a device that was there is given away only where one may be made" % name)
        os.chown(os.path.join(src, "null"), 0, 0)
        serve.stop()


def test_hostile():
    serve, root, _, _ = start()
    for name, payload in (("cut short", struct.pack("<IBIH", 1, 1, 5, 9) + b"ab"),
                          ("of unknown kind", struct.pack("<IBIH", 1, 3, 5, 1) + b"a"),
                          ("without a name", struct.pack("<IBIH", 1, 1, 5, 0)),
                          ("with a huge number", struct.pack("<I", 0xFFFFFFFF))):
        t = treewire.Sender(serve.port, keep=treewire.MODE | treewire.OWNER)
        t.control.send(e2e.frame(OWNERS, payload, transfer=0, epoch=t.epoch))
        got = t.control.read_until(ERROR)
        ok(got is not None and struct.unpack_from("<H", got[2])[0] == 1, "OWNERS %s: PROTOCOL" % name)
    t = treewire.Sender(serve.port, keep=treewire.MODE | treewire.OWNER)
    row = struct.pack("<BIH", 1, 5001, 5) + b"alice"
    for _ in range(13):  # 13 × 5400 are more than 65 536
        t.control.send(e2e.frame(OWNERS, struct.pack("<I", 5400) + row * 5400, transfer=0, epoch=t.epoch))
    got = t.control.read_until(ERROR)
    ok(got is not None and struct.unpack_from("<H", got[2])[0] == 1, "too many of them: PROTOCOL")
    t = treewire.Sender(serve.port, path="u", keep=treewire.MODE | treewire.OWNER)
    t.control.send(e2e.frame(OWNERS, struct.pack("<I", 1) + struct.pack("<BIH", 1, 0, 5) + b"alice", transfer=0,
                             epoch=t.epoch))
    same(t.files(treewire.entry(treewire.DIR, "d")), [(treewire.MADE, None)], "root under a name of somebody else")
    t.settled(0)
    same(os.lstat(os.path.join(root, "u/d")).st_uid, 0, "is root")
    ok(serve.alive(), "the receiver lives")


e2e.main()
