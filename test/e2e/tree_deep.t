#!/usr/bin/python3
"""Trees whose paths are longer than one system call takes, at either end."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
import tree
import treecmp
from e2e import MIB, Proxy, done, need, ok, same
from treerun import TreeSend, idle, is_same, names, partial, send_tree, start

SEED = int(os.environ.get("LH_SEED") or random.SystemRandom().randrange(1 << 32))
LEVELS, NAME = 60, 200  # 12 059 bytes
PRESERVE = "mode,times,owner,xattrs,acl,hardlinks"
KEEP = treecmp.ALL - {"devices"}


def level(n, length=NAME):
    return (b"level%d-" % n).ljust(length, b"\xe9")


def path_of(*rest, levels=LEVELS):
    return b"/".join([level(n) for n in range(levels)] + list(rest))


class Deep:
    """The directory at the end of a chain of them below `at`, made where it is missing."""

    def __init__(self, at, levels=LEVELS, each=None):
        os.makedirs(at, exist_ok=True)
        self.fd = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
        for n in range(levels):
            try:
                os.mkdir(level(n), dir_fd=self.fd)
            except FileExistsError:
                pass
            below = os.open(level(n), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
            os.close(self.fd)
            self.fd = below
            if each:
                each(self, n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def file(self, name, contents):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640, dir_fd=self.fd)
        with open(fd, "wb") as f:
            f.write(contents)

    def read(self, name):
        with open(os.open(name, os.O_RDONLY, dir_fd=self.fd), "rb") as f:
            return f.read()

    def dress(self, fd, rng, is_dir):
        os.setxattr(fd, b"user.deep", rng.randbytes(900))
        os.setxattr(fd, "system.posix_acl_access", tree.acl(rng, is_dir))
        if is_dir:
            os.setxattr(fd, "system.posix_acl_default", tree.acl(rng, is_dir))


def make(at, big=True):
    """A chain of directories, something in each tenth, and one of every kind in the deepest."""
    rng = random.Random("deep %s" % SEED)
    e2e.diag("LH_SEED=%d" % SEED)

    def each(deep, n):
        if n % 10 == 3 or n == LEVELS - 1:
            for i in range(3):
                deep.file(b"f%d" % i, rng.randbytes(rng.choice([0, 1, 4096, 100000])))

    with Deep(at, each=each) as deep:
        if big:
            deep.file(b"big", rng.randbytes(32 * MIB + 12345))
            os.link(b"big", b"big too", src_dir_fd=deep.fd, dst_dir_fd=deep.fd)
        os.symlink("f0", b"link", dir_fd=deep.fd)
        os.link(b"f1", b"another name", src_dir_fd=deep.fd, dst_dir_fd=deep.fd)
        os.mkfifo(b"fifo", dir_fd=deep.fd)
        os.mkdir(b"dir", dir_fd=deep.fd)
        for name in (b"f2", b"big") if big else (b"f2",):
            fd = os.open(name, os.O_RDWR, dir_fd=deep.fd)
            deep.dress(fd, rng, False)
            os.close(fd)
        deep.dress(deep.fd, rng, True)
        os.utime(b"dir", ns=(1, 10**18 + 7), dir_fd=deep.fd)
        os.utime(b"link", ns=(1, 10**18 + 8), dir_fd=deep.fd, follow_symlinks=False)
    os.utime(os.path.join(os.fsencode(at), level(0)), ns=(1, 10**18 + 9))
    return at


def test_whole():
    """Sent with all that is kept, again with nothing to do, changed, and cut back."""
    serve, root, src = start()
    make(src)
    dst = os.path.join(root, "t")
    words = ("--preserve", PRESERVE, "--delete")
    sent = send_tree(src + "/", serve.url("t"), *words)
    done(sent, "60 directories of 200 bytes below one another")
    is_same(src, dst, "it is a copy", keep=KEEP, rsync=False)
    for pair in ((b"big", b"big too"), (b"f1", b"another name")):
        told = {path_of(name) for name in pair}
        ok(len(told & sent.paths("sent")) == 1 and len(told & sent.paths("made")) == 1,
           "%r and its other name are named by their whole paths" % pair[0])
    idle(send_tree(src + "/", serve.url("t"), *words), "again")
    with Deep(src) as deep:
        deep.file(b"f2", b"changed")
        os.unlink(b"another name", dir_fd=deep.fd)
    with Deep(dst, LEVELS + 5) as deep:
        deep.file(b"not in the source", b"x")
    sent = send_tree(src + "/", serve.url("t"), *words)
    done(sent, "changed at both ends, with --delete")
    is_same(src, dst, "it is a copy again", keep=KEEP, rsync=False)
    same(sent.last("done")["files_sent"], 1, "one file was sent")
    same(sent.last("done")["removed"], 7, "what the source has not is gone")
    ok(path_of(b"not in the source", levels=LEVELS + 5) in sent.paths("removed"), "and is named")


def test_options():
    """Rules, lists, checksums and dry runs, by paths that long."""
    serve, root, src = start()
    make(src, big=False)
    listed = os.path.join(e2e.dir(), "list")
    sent = send_tree(src + "/", serve.url("dry"), "--dry-run")
    done(sent, "a dry run")
    ok(path_of(b"f2") in sent.paths("sent") and not os.path.exists(os.path.join(root, "dry")), "names, and makes nothing")
    done(send_tree(src + "/", serve.url("t"), "--checksum"), "with --checksum")
    is_same(src, os.path.join(root, "t"), "a copy", rsync=False)
    idle(send_tree(src + "/", serve.url("t"), "--checksum"), "again with --checksum")
    with open(listed, "wb") as f:
        f.write(path_of(b"f2") + b"\n")
    done(send_tree(src, serve.url("l"), "--files-from", listed), "a list of files")
    found = names(os.path.join(root, "l"))
    same((len(found), found[-1]), (LEVELS + 1, path_of(b"f2")), "just that, and the directories it is in")
    rule = b"/" + b"/".join([b"*"] * LEVELS) + b"/f[01]"
    done(send_tree(src + "/", serve.url("x"), "--exclude", rule), "a rule that names what is deepest")
    with Deep(os.path.join(root, "x")) as deep:
        same(sorted(os.fsencode(n) for n in os.listdir(deep.fd)), [b"another name", b"dir", b"f2", b"link"], "leaves it out")
    done(send_tree(src + "/", serve.url("f"), "--links", "follow"), "links followed")
    with Deep(os.path.join(root, "f")) as deep:
        ok(not os.path.islink("/proc/self/fd/%d/link" % deep.fd), "a link is a file there")
        same(deep.read(b"link"), deep.read(b"f0"), "with the contents of what it leads to")


def test_too_long():
    """Over 16 383 bytes an entry fails by name, and the others come."""
    serve, root, src = start()
    with Deep(src, 81) as deep:  # 16 280 bytes
        deep.file(b"a" * 102, b"fits")
        deep.file(b"b" * 103, b"does not")
        os.mkdir(b"d" * 102, dir_fd=deep.fd)
        below = os.open(b"d" * 102, os.O_RDONLY, dir_fd=deep.fd)
        os.close(os.open(b"x", os.O_WRONLY | os.O_CREAT, dir_fd=below))
        os.close(below)
    sent = send_tree(src + "/", serve.url("t"))
    partial(sent, "a tree with paths of more than 16 383 bytes")
    same(len(sent.paths("failed")), 2, "two entries fail")
    ok("longer than 16383 bytes" in sent.err(), "in words") or sent.show()
    with Deep(os.path.join(root, "t"), 81) as deep:
        same(sorted(os.listdir(deep.fd)), ["a" * 102, "d" * 102], "what fits is there")
        same(deep.read(b"a" * 102), b"fits", "with its contents")
    before = names(os.path.join(root, "t"))
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    partial(sent, "with --delete")
    same(names(os.path.join(root, "t")), before, "nothing is removed: not all of the source was read")


def test_too_long_there():
    """What is that deep at the destination, --delete does not get at: it removes nothing, and says so."""
    serve, root, src = start()
    os.makedirs(src)
    e2e.make(os.path.join(src, "f"), 10)
    with Deep(os.path.join(root, "t", "old"), 90) as deep:
        deep.file(b"x", b"x")
    sent = send_tree(src + "/", serve.url("t"), "--delete")
    partial(sent, "a destination that is too deep")
    ok("nothing is removed" in sent.err() and "too long" in sent.err(), "is left alone, in words") or sent.show()
    ok(os.path.exists(os.path.join(root, "t", "f")), "and all else is done")


def test_links_on_the_way():
    """A link in the deep of a destination leads nothing out."""
    serve, root, src = start()
    outside = os.path.join(e2e.dir(), "outside")
    os.mkdir(outside)
    make(src)
    with Deep(os.path.join(root, "t"), LEVELS - 1) as deep:
        os.symlink(outside, level(LEVELS - 1), dir_fd=deep.fd)
    done(send_tree(src + "/", serve.url("t")), "a link where a directory is to be")
    is_same(src, os.path.join(root, "t"), "is replaced by it", rsync=False)
    same(os.listdir(outside), [], "nothing is outside")
    with Deep(os.path.join(root, "u"), LEVELS - 1) as deep:
        os.symlink(outside, level(LEVELS - 1), dir_fd=deep.fd)
    partial(send_tree(src + "/", serve.url("u"), "--existing", "skip"), "one that is to stay")
    same(os.listdir(outside), [], "leads nothing out")


def test_big_resumes():
    """A big file in the deep goes on where it stopped, and what is left of it is found by its path."""
    serve, root, src = start("--commit-interval", "200ms")
    make(src)
    proxy = Proxy(serve.port, rate=8 * MIB)
    sent = TreeSend(src + "/", serve.url("t", proxy.port), "--preserve", PRESERVE, verbose=False)
    need(sent.until_durable(4 * MIB), "it is under way")
    sent.kill()
    sent.wait()
    proxy.close()
    left = e2e.run("partials", "--root", root, "--json")
    ok(left.rc == 0 and "level59" in left.out() and "/big" in left.out(), "what is half done is listed") or left.show()
    sent = send_tree(src + "/", serve.url("t"), "--preserve", PRESERVE)
    done(sent, "the same again")
    ok(sent.last("done")["bytes_sent"] < 32 * MIB, "goes on in the middle of the big file")
    is_same(src, os.path.join(root, "t"), "it is a copy", keep=KEEP, rsync=False)


e2e.main()
