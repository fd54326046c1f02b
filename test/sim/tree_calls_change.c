/* See tree_calls.h. In here: what changes the disks, attributes, and syncs. */
#include "test/sim/tree_calls_impl.h"

#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- changing ---- */

/* A name in a directory, to be changed. NULL: errno is set. */
static struct fs_node *dir_to(int fd, const char *path, char name[FS_NAME_MAX + 1],
                              struct fs_node **node, enum fs_call call)
{
    struct fs_node *dir;

    if (calls_refused(calls_node(fd), call))
        return NULL;
    *node = calls_resolve(calls_node(fd), path, &dir, name);
    return dir;
}

static struct fs_node *dir_for(int fd, const char *path, char name[FS_NAME_MAX + 1],
                               struct fs_node **node)
{
    return dir_to(fd, path, name, node, FS_CHANGES);
}

static int make(int fd, const char *path, struct fs_node *what)
{
    char name[FS_NAME_MAX + 1];
    struct fs_node *node;
    struct fs_node *dir = dir_for(fd, path, name, &node);

    if (dir == NULL)
        return -1;
    if (node != NULL)
        return calls_fail(EEXIST);
    what->seen.uid = geteuid();
    what->seen.gid = getegid();
    fs_name(dir, name, what);
    return 0;
}

int __wrap_mkdirat(int fd, const char *name, mode_t mode);
int __wrap_mkdirat(int fd, const char *name, mode_t mode)
{
    return make(fd, name, fs_new(calls_node(fd)->disk, S_IFDIR | (mode & ~022u)));
}

int __wrap_symlinkat(const char *text, int fd, const char *name);
int __wrap_symlinkat(const char *text, int fd, const char *name)
{
    struct fs_node *node = fs_new(calls_node(fd)->disk, S_IFLNK | 0777);

    node->link = strdup(text);
    return make(fd, name, node);
}

int __wrap_mknodat(int fd, const char *name, mode_t mode, dev_t dev);
int __wrap_mknodat(int fd, const char *name, mode_t mode, dev_t dev)
{
    struct fs_node *node = fs_new(calls_node(fd)->disk, mode & ~022u);

    node->rdev = dev;
    return make(fd, name, node);
}

int __wrap_linkat(int from, const char *a, int fd, const char *b, int flags);
int __wrap_linkat(int from, const char *a, int fd, const char *b, int flags)
{
    char name[FS_NAME_MAX + 1];
    struct fs_node *node, *over;
    struct fs_node *dir = dir_for(from, a, name, &node);

    (void)flags;
    if (dir == NULL)
        return -1;
    if (node == NULL)
        return calls_fail(ENOENT);
    dir = dir_for(fd, b, name, &over);
    if (dir == NULL)
        return -1;
    if (over != NULL)
        return calls_fail(EEXIST);
    fs_name(dir, name, node);
    return 0;
}

static int rename_to(int fd, const char *from, int to, const char *name, bool replace)
{
    char last[FS_NAME_MAX + 1];
    struct fs_node *node, *over;
    struct fs_node *dir = dir_for(fd, from, last, &node);

    if (dir == NULL)
        return -1;
    if (fd != to || strchr(from, '/') != NULL || strchr(name, '/') != NULL)
        bail("a rename from one directory to another");
    over = fs_find(dir, name);
    if (node == NULL)
        return calls_fail(ENOENT);
    if (over != NULL && (!replace || S_ISDIR(over->seen.mode)))
        return calls_fail(!replace ? EEXIST : EISDIR);
    if (over != node)
        fs_rename(dir, from, name);
    return 0;
}

int __wrap_renameat(int fd, const char *from, int to, const char *name);
int __wrap_renameat(int fd, const char *from, int to, const char *name)
{
    return rename_to(fd, from, to, name, true);
}

int __wrap_renameat2(int fd, const char *from, int to, const char *name, unsigned flags);
int __wrap_renameat2(int fd, const char *from, int to, const char *name, unsigned flags)
{
    return rename_to(fd, from, to, name, flags == 0);
}

int __wrap_unlinkat(int fd, const char *path, int flags);
int __wrap_unlinkat(int fd, const char *path, int flags)
{
    char name[FS_NAME_MAX + 1];
    struct fs_node *node;
    struct fs_node *dir = dir_for(fd, path, name, &node);

    if (dir == NULL)
        return -1;
    if (node == NULL)
        return calls_fail(ENOENT);
    if ((flags & AT_REMOVEDIR) != 0 && !S_ISDIR(node->seen.mode))
        return calls_fail(ENOTDIR);
    if ((flags & AT_REMOVEDIR) == 0 && S_ISDIR(node->seen.mode))
        return calls_fail(EISDIR);
    if (S_ISDIR(node->seen.mode) && node->names.n > 0)
        return calls_fail(ENOTEMPTY);
    fs_unname(dir, name);
    return 0;
}

ssize_t __real_pwrite64(int fd, const void *in, size_t len, off64_t at);
ssize_t __wrap_pwrite64(int fd, const void *in, size_t len, off64_t at);
ssize_t __wrap_pwrite64(int fd, const void *in, size_t len, off64_t at)
{
    if (!calls_is_ours(fd))
        return __real_pwrite64(fd, in, len, at);
    if (calls_refused(calls_node(fd), FS_CHANGES))
        return -1;
    if (calls.short_writes != NULL && len > 1 && lh_rng_one_in(calls.short_writes, 8))
        len = 1 + lh_rng_below(calls.short_writes, len - 1);
    fs_write(calls_node(fd), in, len, (uint64_t)at);
    return (ssize_t)len;
}

int __wrap_ftruncate64(int fd, off64_t len);
int __wrap_ftruncate64(int fd, off64_t len)
{
    if (calls_refused(calls_node(fd), FS_CHANGES))
        return -1;
    fs_truncate(calls_node(fd), (size_t)len);
    return 0;
}

/* ---- attributes ---- */

static int set_mode(struct fs_node *node, mode_t mode)
{
    node->seen.mode = (node->seen.mode & S_IFMT) | (mode & 07777);
    fs_touch(node, false);
    return 0;
}

static int set_owner(struct fs_node *node, uid_t uid, gid_t gid)
{
    if (!calls.is_root)
        return calls_fail(EPERM);
    node->seen.uid = uid;
    node->seen.gid = gid;
    fs_touch(node, false);
    return 0;
}

static int set_times(struct fs_node *node, const struct timespec times[2])
{
    node->seen.mtime = times[1];
    fs_touch(node, false);
    return 0;
}

/* An entry of a directory whose attributes are changed. NULL: errno is set. */
static struct fs_node *entry_for(int fd, const char *path)
{
    char name[FS_NAME_MAX + 1];
    struct fs_node *node;
    struct fs_node *dir = dir_to(fd, path, name, &node, FS_DRESSES);

    if (dir != NULL && node == NULL)
        errno = ENOENT;
    return dir != NULL ? node : NULL;
}

int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode)
{
    return calls_refused(calls_node(fd), FS_DRESSES) ? -1 : set_mode(calls_node(fd), mode);
}

int __wrap_fchmodat(int fd, const char *name, mode_t mode, int flags);
int __wrap_fchmodat(int fd, const char *name, mode_t mode, int flags)
{
    struct fs_node *node = entry_for(fd, name);

    (void)flags;
    return node == NULL ? -1 : set_mode(node, mode);
}

int __wrap_fchown(int fd, uid_t uid, gid_t gid);
int __wrap_fchown(int fd, uid_t uid, gid_t gid)
{
    return calls_refused(calls_node(fd), FS_DRESSES) ? -1 : set_owner(calls_node(fd), uid, gid);
}

int __wrap_fchownat(int fd, const char *name, uid_t uid, gid_t gid, int flags);
int __wrap_fchownat(int fd, const char *name, uid_t uid, gid_t gid, int flags)
{
    struct fs_node *node = entry_for(fd, name);

    (void)flags;
    return node == NULL ? -1 : set_owner(node, uid, gid);
}

int __wrap_futimens(int fd, const struct timespec times[2]);
int __wrap_futimens(int fd, const struct timespec times[2])
{
    return calls_refused(calls_node(fd), FS_DRESSES) ? -1 : set_times(calls_node(fd), times);
}

int __wrap_utimensat(int fd, const char *name, const struct timespec times[2], int flags);
int __wrap_utimensat(int fd, const char *name, const struct timespec times[2], int flags)
{
    struct fs_node *node = entry_for(fd, name);

    (void)flags;
    return node == NULL ? -1 : set_times(node, times);
}

/* ---- syncing ---- */

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    if (calls_refused(calls_node(fd), FS_SYNCS))
        return -1;
    fs_sync(calls_node(fd));
    return 0;
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    return __wrap_fsync(fd);
}

int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
    if (calls_refused(calls_node(fd), FS_SYNCS))
        return -1;
    fs_sync_all(calls_node(fd)->disk);
    return 0;
}
