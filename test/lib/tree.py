"""Directory trees from a seed, with every kind of entry and name.

make(at, seed) makes one; test/lib/treecmp.py judges a copy. The same seed gives the same tree.
"""
import errno
import os
import random
import socket
import stat
import struct

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 256 * KIB
BIG = 32 * MIB  # files of that size travel by themselves

# Sizes at whose edges something happens: pages, blocks, packs.
SIZES = [0, 0, 1, 2, 511, 4095, 4096, 4097, 65536, BLOCK - 1, BLOCK, BLOCK + 1,
         BLOCK - 21, BLOCK - 20, 2 * BLOCK - 42, 2 * BLOCK, MIB + 3, 3 * MIB + 17]

NAMES = [
    b"plain", b"two\nlines", b"\n", b"\xff\xfe\x80latin-\xe9", b"-rf", b"--delete", b"-", b" ", b" lead",
    b"trail ", b"in between", b"'single'", b'"double"', b"back\\slash", b"\\", b"*", b"?[a-z]*", b"$HOME`id`",
    b".hidden", b"..two-dots", b"...", b"tab\there", b"\x01\x1b[31mred", b"caf\xc3\xa9", b"cafe\xcc\x81",
    b"x" * 255, "ü".encode() * 127 + b"x", b"\xff" * 255, b"#hash#", b"a:b", b"host:path", b"%41%zz", b"~",
    b"CON", b"!", b"{a,b}", b"|pipe;semi&amp", b"lh:", b"Case", b"cASE", b"+", b"@", b"=", b"100%", b"\x7f",
    b".longhaul", b".part", "文件-🙂".encode(),
]

# Seconds and nanoseconds: before 1970, at its edges, now, beyond 32 bits.
TIMES = [(-2**31 + 5, 1), (-1, 999999999), (0, 0), (0, 1), (1000000000, 123456789), (1700000000, 999999999),
         (2**31 - 1, 1), (2**32 + 77, 500000000), (7258118400, 7)]

FILE_MODES = [0o644, 0o600, 0o755, 0o444, 0o666, 0o777, 0o640]
ODD_FILE_MODES = [0o000, 0o4755, 0o2755, 0o6711, 0o1644, 0o200, 0o111]
DIR_MODES = [0o755, 0o700, 0o777, 0o1777, 0o2755, 0o750]
ODD_DIR_MODES = [0o555, 0o500, 0o711]


class Facts:
    """What a tree consists of."""

    def __init__(self):
        self.files = []  # paths, relative, bytes; each inode once
        self.dirs = []
        self.links = []
        self.hardlinks = []  # further names
        self.others = []  # FIFOs, sockets, devices
        self.bytes = 0  # of files' contents

    def __str__(self):
        return "%d files of %d bytes, %d directories, %d links, %d hard links, %d others" % (
            len(self.files), self.bytes, len(self.dirs), len(self.links), len(self.hardlinks),
            len(self.others))


class Maker:
    def __init__(self, at, seed, **want):
        self.at = os.fsencode(at)
        self.rng = random.Random("tree %s" % seed)
        self.want = want
        self.root = os.geteuid() == 0
        self.facts = Facts()
        self.attrs = []  # (path, mode, time, uid, gid), set last, children before parents

    def path(self, name):
        return os.path.join(self.at, name)

    # ---- entries

    def take(self, parent, name):
        """The path of a new entry; None when there is such a name."""
        path = os.path.join(parent, name)
        return None if os.path.lexists(self.path(path)) else path

    def attributes(self, path, modes, odd):
        rng = self.rng
        mode = rng.choice(odd if odd and rng.random() < 0.25 else modes)
        when = rng.choice(TIMES) if rng.random() < 0.5 else (rng.randrange(10**9, 17 * 10**8),
                                                            rng.randrange(10**9))
        owner = rng.choice([(0, 0), (1, 1), (65534, 65534), (12345, 54321)]) if self.root else None
        self.attrs.append((path, mode, when, owner))

    def contents(self, path, size):
        rng = self.rng
        with open(self.path(path), "wb") as f:
            f.write(rng.randbytes(size))
        self.facts.files.append(path)
        self.facts.bytes += size

    def file(self, parent, name, size):
        path = self.take(parent, name)
        if path is None:
            return
        self.contents(path, size)
        self.xattrs(path, False)
        self.attributes(path, FILE_MODES, ODD_FILE_MODES if self.want["odd_modes"] else None)

    def sparse(self, parent, name, size, pieces):
        """Pieces are (offset, length) of data; all else is a hole."""
        path = self.take(parent, name)
        if path is None:
            return
        with open(self.path(path), "wb") as f:
            f.truncate(size)
            for offset, length in pieces:
                f.seek(offset)
                f.write(self.rng.randbytes(length))
        self.facts.files.append(path)
        self.facts.bytes += size
        self.attributes(path, FILE_MODES, None)

    def dir(self, parent, name):
        path = self.take(parent, name)
        if path is None:
            return None
        os.mkdir(self.path(path))
        self.facts.dirs.append(path)
        self.xattrs(path, True)
        self.attributes(path, DIR_MODES, ODD_DIR_MODES if self.want["odd_modes"] else None)
        return path

    def link(self, parent, name, target):
        path = self.take(parent, name)
        if path is None:
            return
        os.symlink(target, self.path(path))
        self.facts.links.append(path)
        self.attributes(path, [None], None)

    def hardlink(self, parent, name, first):
        path = self.take(parent, name)
        if path is None:
            return
        os.link(self.path(first), self.path(path))
        self.facts.hardlinks.append(path)

    def special(self, parent, name, kind):
        path = self.take(parent, name)
        if path is None:
            return
        if kind == "fifo":
            os.mkfifo(self.path(path))
        elif kind == "socket":
            self.socket(parent, name)
        elif self.root:
            try:
                os.mknod(self.path(path), 0o600 | (stat.S_IFCHR if kind == "char" else stat.S_IFBLK),
                         os.makedev(250, 3))
            except PermissionError:
                return
        else:
            return
        # From its directory it has got an access list, which is none of what is promised.
        if "system.posix_acl_access" in os.listxattr(self.path(path), follow_symlinks=False):
            os.removexattr(self.path(path), "system.posix_acl_access", follow_symlinks=False)
        self.facts.others.append(path)
        self.attributes(path, [0o600, 0o644], None)

    def socket(self, parent, name):
        """Its address is short, so bind it from its own directory."""
        back = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.chdir(self.path(parent))
            s = socket.socket(socket.AF_UNIX)
            s.bind(name)
            s.close()
        finally:
            os.fchdir(back)
            os.close(back)

    def xattrs(self, path, is_dir):
        rng = self.rng
        try:
            if self.want["xattrs"] and rng.random() < 0.5:
                for n in range(rng.randrange(1, 4)):
                    os.setxattr(self.path(path), b"user.x%d" % n, rng.randbytes(rng.choice([0, 1, 40, 900])))
            if self.want["acl"] and rng.random() < 0.5:
                os.setxattr(self.path(path), "system.posix_acl_access", acl(rng, is_dir))
                if is_dir:
                    os.setxattr(self.path(path), "system.posix_acl_default", acl(rng, is_dir))
        except OSError as why:
            if why.errno != errno.ENOTSUP:
                raise

    # ---- the tree

    def fill(self, parent, n, names):
        """Files in one directory, of all sizes."""
        rng = self.rng
        for i in range(n):
            name = names.pop() if names and rng.random() < 0.6 else b"f%d" % i
            size = rng.choice(SIZES[:10]) if rng.random() < 0.5 else int(rng.paretovariate(0.6) * 300) % 200000
            self.file(parent, name, size)

    def all(self):
        rng, want = self.rng, self.want
        os.makedirs(self.at, exist_ok=True)
        names = NAMES[:]
        rng.shuffle(names)
        tops = [b""]
        for name in (b"sub", b"-dir", b"dir\nline", b"\xfe\xffdir", b".dot"):
            tops.append(self.dir(b"", name))
            tops.append(self.dir(tops[-1], b"inner"))
        for _ in range(3):
            self.dir(rng.choice(tops), b"empty%d" % rng.randrange(100))
        for i, size in enumerate(SIZES):
            self.file(b"sub", b"s%d" % i, size)
        for parent in tops:
            self.fill(parent, max(1, want["n_files"] // len(tops)), names)
        for name in names:  # those left
            self.file(b"sub/inner", name, rng.randrange(100))
        deep = b""
        for i in range(want["deep"]):
            deep = self.dir(deep, b"deep%d" % i)
        self.file(deep, b"bottom", 77)
        if want["long_paths"]:
            self.long_path()
        if want["sparse"]:
            self.sparse(b"sub", b"sparse", 8 * MIB + 5, [(0, 100), (3 * MIB + 1, 70000), (8 * MIB, 5)])
            self.sparse(b"sub", b"all hole", 5 * MIB + 1, [])
            self.sparse(b"sub", b"hole first", 2 * MIB + 9, [(2 * MIB, 9)])
        if want["big"]:
            self.contents(b"big", BIG + 12345)
            self.attributes(b"big", FILE_MODES, None)
            self.sparse(b"", b"big sparse", 3 * BIG + 1, [(BIG, 300 * KIB), (2 * BIG + 5, 1)])
        if want["links"]:
            self.symlinks(tops)
        if want["hardlinks"]:
            for i in range(8):
                self.hardlink(rng.choice(tops), b"hard%d" % i, rng.choice(self.facts.files[:40]))
        if want["special"]:
            for i, kind in enumerate(("fifo", "socket", "char", "block", "fifo")):
                self.special(rng.choice(tops), b"special%d" % i, kind)
        self.attributes(b"", [0o755, 0o750], None)
        self.finish()
        return self.facts

    def long_path(self):
        """Names of 255 bytes below one another, until a path of 4095 bytes is not far."""
        at = b""
        while len(at) + 256 + 200 < 4095 - len(self.at):
            at = self.dir(at, (b"long%d-" % len(at)).ljust(255, b"l"))
        rest = 4095 - 1 - len(self.at) - 1 - len(at) - 1
        if rest > 255:
            at = self.dir(at, b"d" * (rest - 201))
            rest = 200
        self.file(at, b"e" * rest, 500)

    def symlinks(self, tops):
        rng = self.rng
        targets = [b"plain", b"../sub", b".", b"..", b"nothing at all", b"/etc/passwd", b"/nonexistent/\xff",
                   b"two\nlines", b"self", b"x" * 3000, b"sub/inner/../s1", b"/nonexistent"]
        for i, target in enumerate(targets):
            self.link(rng.choice(tops), b"link%d" % i, target)
        self.link(b"", b"self", b"self")
        self.link(b"", b"loop-a", b"loop-b")
        self.link(b"", b"loop-b", b"loop-a")
        self.link(b"", b"to-dir", b"sub")
        self.link(b"sub", b"to-file", b"s1")

    def finish(self):
        """Owners, then modes (a change of owner clears set-id bits), then times; deepest first."""
        for path, mode, when, owner in sorted(self.attrs, key=lambda a: a[0].count(b"/"), reverse=True):
            full = self.path(path) if path else self.at
            if owner:
                os.chown(full, *owner, follow_symlinks=False)
            if mode is not None and path:
                has_acl = self.want["acl"] and not os.path.islink(full) and \
                    "system.posix_acl_access" in os.listxattr(full)
                if not has_acl:  # else its mask and the mode are one and the same
                    os.chmod(full, mode)
            os.utime(full, ns=(when[0] * 10**9 + when[1],) * 2, follow_symlinks=False)
        # Directories' times again: entries' modes do not touch them, but the root's own came first.
        for path in [b""]:
            when = (1234567890, 987654321)
            os.utime(self.at, ns=(when[0] * 10**9 + when[1],) * 2)


def acl(rng, is_dir):
    """An access list as the kernel keeps it: owner, a user, the group, a group, mask, others."""
    rows = [(1, 7 if is_dir else 6, 0xFFFFFFFF), (2, rng.randrange(8), 1000 + rng.randrange(9)),
            (4, 5, 0xFFFFFFFF), (8, rng.randrange(8), 2000 + rng.randrange(9)), (16, 7, 0xFFFFFFFF),
            (32, rng.choice([0, 4, 5]), 0xFFFFFFFF)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)


def make(at, seed, n_files=110, deep=40, long_paths=True, sparse=True, big=False, links=True,
         hardlinks=False, special=False, xattrs=False, acls=False, odd_modes=True):
    """Make the tree of that seed in the directory `at`, which may be there. Returns its Facts."""
    return Maker(at, seed, n_files=n_files, deep=deep, long_paths=long_paths, sparse=sparse, big=big,
                 links=links, hardlinks=hardlinks, special=special, xattrs=xattrs, acl=acls,
                 odd_modes=odd_modes).all()


def many(at, n_dirs, n_files, size=0, seed=1):
    """n_dirs directories with n_files files each, of `size` bytes (a callable: of its result)."""
    rng = random.Random(seed)
    os.makedirs(at, exist_ok=True)
    for d in range(n_dirs):
        where = os.path.join(at, "d%04d" % d)
        os.mkdir(where)
        fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
        for i in range(n_files):
            f = os.open("f%05d" % i, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            n_bytes = size(rng) if callable(size) else size
            if n_bytes:
                os.write(f, rng.randbytes(n_bytes))
            os.close(f)
        os.close(fd)
