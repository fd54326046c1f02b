"""Whether one tree is a copy of another, by means that share nothing with what made the copy: system
calls through Python, and rsync in a dry run."""
import hashlib
import os
import shutil
import stat
import subprocess

DEFAULT = frozenset(["mode", "times"] + (["owner"] if os.geteuid() == 0 else []))
ALL = DEFAULT | {"xattrs", "acl", "hardlinks", "devices"}
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "char", stat.S_IFBLK: "block"}
ACLS = ("system.posix_acl_access", "system.posix_acl_default")


class Entry:
    """One name in a tree, as the system says it is."""

    def __init__(self, name, fd, path):
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        self.path = path
        self.kind = KINDS[stat.S_IFMT(st.st_mode)]
        self.mode = stat.S_IMODE(st.st_mode)
        self.mtime_ns = st.st_mtime_ns
        self.owner = (st.st_uid, st.st_gid)
        self.inode = (st.st_dev, st.st_ino)
        self.n_links = st.st_nlink
        self.size = st.st_size if self.kind == "file" else 0
        self.blocks = st.st_blocks
        self.device = st.st_rdev
        self.target = os.readlink(name, dir_fd=fd) if self.kind == "link" else None
        self.hash = self.xattrs = None
        if self.kind == "file":
            self._contents(name, fd)
        elif self.kind == "dir":
            self.xattrs = _xattrs("/proc/self/fd/%d/" % fd + os.fsdecode(name))

    def _contents(self, name, fd):
        f = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOATIME * (os.geteuid() == 0), dir_fd=fd)
        try:
            self.xattrs = _xattrs(f)
            total = hashlib.sha1()
            while True:
                data = os.read(f, 1 << 20)
                if not data:
                    break
                total.update(data)
            self.hash = total.hexdigest()
        finally:
            os.close(f)


def _xattrs(what):
    try:
        return {n: os.getxattr(what, n) for n in os.listxattr(what)}
    except OSError:
        return {}


def scan(at, may_go=lambda path: False):
    """Every entry below `at` by its path, the root as b"". Directory by directory, relative to
    handles, so that no path is too long. Where a receiver is still at work, a path that `may_go`
    says yes to may vanish between the listing and the look."""
    found = {}
    root = os.open(at, os.O_RDONLY | os.O_DIRECTORY)
    found[b""] = Entry(b".", root, b"")
    _scan(root, b"", found, may_go)
    return found


def _scan(fd, path, found, may_go):
    try:
        names = sorted(os.fsencode(n) for n in os.listdir(fd))
        for name in names:
            below = os.path.join(path, name)
            try:
                entry = found[below] = Entry(name, fd, below)
            except FileNotFoundError:
                if not may_go(below):
                    raise
                continue
            if entry.kind == "dir":
                _scan(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd), below, found, may_go)
    finally:
        os.close(fd)


def _kept(entry, keep):
    """Of an entry, everything that a copy has to have as well."""
    facts = {"kind": entry.kind}
    if entry.kind == "file":
        facts.update(size=entry.size, contents=entry.hash)
    if entry.kind == "link":
        facts["target"] = entry.target
    if entry.kind in ("char", "block"):
        facts["device"] = entry.device
    if "mode" in keep and entry.kind != "link":
        facts["mode"] = "%04o" % (entry.mode & (0o7777 if "owner" in keep else 0o1777))
    if "times" in keep:
        facts["mtime"] = entry.mtime_ns
    if "owner" in keep:
        facts["owner"] = entry.owner
    if entry.xattrs is not None:
        if "xattrs" in keep:
            facts["xattrs"] = {n: v for n, v in entry.xattrs.items() if n.startswith("user.")}
        if "acl" in keep:
            facts["acl"] = {n: v for n, v in entry.xattrs.items() if n in ACLS}
    return facts


def _names_of(found):
    """Which paths are one file: the set of the others, by path."""
    groups = {}
    for path, entry in found.items():
        if entry.kind != "dir" and entry.n_links > 1:
            groups.setdefault(entry.inode, set()).add(path)
    return {path: group for group in groups.values() if len(group) > 1 for path in group}


def _slack(entry):
    """Sectors that a copy may take more. A big file goes in blocks of 256 KiB, each of which is all data or
    a hole."""
    return 16 if entry.size < 32 << 20 else 4096


def compare(src, dst, keep=DEFAULT, root=True, leave_out=(), sparse=True, rsync=True):
    """What is different, as sentences; [] when `dst` is a copy of `src`.

    keep: what was to be preserved, of ALL. root: the attributes of the two top directories count.
    leave_out: paths (bytes) of the source that are not to be there. sparse: no file may take more
    room than its source. rsync: let rsync judge as well."""
    a, b = scan(src), scan(dst)
    said = []
    specials = () if "devices" in keep else ("fifo", "socket", "char", "block")
    wanted = {p: e for p, e in a.items() if e.kind not in specials and p not in leave_out}
    for path in sorted(wanted.keys() - b.keys()):
        said.append("%r is missing" % path)
    for path in sorted(b.keys() - wanted.keys()):
        said.append("%r should not be there" % path)
    for path in sorted(wanted.keys() & b.keys()):
        if path == b"" and not root:
            continue
        x, y = _kept(wanted[path], keep), _kept(b[path], keep)
        for what in x:
            if x[what] != y.get(what):
                said.append("%r: %s is %r, not %r" % (path, what, y.get(what), x[what]))
        if sparse and wanted[path].kind == "file" and b[path].blocks > wanted[path].blocks + _slack(wanted[path]):
            said.append("%r: takes %d sectors, its source %d" % (path, b[path].blocks, wanted[path].blocks))
    if "hardlinks" in keep:
        x, y = _names_of(wanted), _names_of(b)
        for path in sorted(wanted.keys() & b.keys()):
            if x.get(path) != y.get(path):
                said.append("%r: is one with %r, not with %r" % (path, y.get(path), x.get(path)))
    if rsync and not leave_out:
        said += rsync_says(src, dst, keep, root)
    return said


def rsync_says(src, dst, keep=DEFAULT, root=True):
    """What rsync would do to make `dst` a copy; nothing, when it is one already."""
    if not shutil.which("rsync"):
        return []
    flags = [("mode", "-p"), ("times", "-t"), ("xattrs", "-X"), ("acl", "-A"), ("hardlinks", "-H"),
             ("devices", "-D"), ("owner", "-og")]
    args = ["rsync", "-n", "-i", "-r", "-l", "--checksum", "--delete", "--modify-window=-1", "--8-bit-output",
            "--numeric-ids"] + [flag for what, flag in flags if what in keep]
    if "xattrs" in keep:
        args.append("--filter=-x! user.*")
    got = subprocess.run(args + [os.fsencode(src) + b"/", os.fsencode(dst) + b"/"], capture_output=True,
                         check=False)
    lines = [line for line in got.stdout.split(b"\n") if line]
    if not root:
        lines = [line for line in lines if not line.endswith(b" ./")]
    if "devices" not in keep:
        lines = [line for line in lines if not line.startswith(b"skipping non-regular file")]
    said = ["rsync: %r" % line for line in lines]
    if got.returncode not in (0, 24):
        said.append("rsync: exit code %d: %r" % (got.returncode, got.stderr[-300:]))
    return said
