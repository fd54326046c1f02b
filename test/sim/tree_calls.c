/* See tree_calls.h. */
#include "test/sim/tree_calls.h"

#include "test/lib/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FIRST_FD (1 << 20)
#define FDS 4096

struct calls calls;

/* An open file. The names of a directory are those it had when it was opened. */
static struct open_file {
    struct fs_node *node;
    struct fs_names names;
    size_t at;
    bool is_dir_stream;
    struct dirent64 entry;
} files[FDS];

static bool is_ours(int fd)
{
    return fd >= FIRST_FD && fd < FIRST_FD + FDS;
}

static struct open_file *file_of(int fd)
{
    struct open_file *f = &files[fd - FIRST_FD];

    if (f->node == NULL)
        bail("a descriptor is used that is closed");
    return f;
}

static struct fs_node *node_of(int fd)
{
    return file_of(fd)->node;
}

static int fail(int e)
{
    errno = e;
    return -1;
}

static bool refused(struct fs_node *node, enum fs_call call)
{
    int e = node->disk->enter != NULL ? node->disk->enter(node->disk, call, node) : 0;

    if (e != 0)
        errno = e;
    return e != 0;
}

static int new_fd(struct fs_node *node)
{
    for (int i = 0; i < FDS; i++) {
        if (files[i].node != NULL)
            continue;
        files[i] = (struct open_file){.node = node};
        calls.n_open++;
        return FIRST_FD + i;
    }
    bail("descriptors leak");
}

static void close_file(struct open_file *f)
{
    free(f->names.v);
    *f = (struct open_file){0};
    calls.n_open--;
}

void calls_close_all(const struct fs_disk *disk)
{
    for (int i = 0; i < FDS; i++)
        if (files[i].node != NULL && files[i].node->disk == disk)
            close_file(&files[i]);
}

/* ---- paths ---- */

/* The root of a disk for an absolute path of ours, and what is behind it. */
static struct fs_node *mounted(const char *path, const char **rest)
{
    static const char *const at[] = {CALLS_SOURCE, CALLS_DEST};

    for (int i = 0; i < 2; i++) {
        size_t len = strlen(at[i]);

        if (strncmp(path, at[i], len) != 0 || (path[len] != '/' && path[len] != '\0'))
            continue;
        *rest = path + len;
        return (i == 0 ? calls.source : calls.dest)->root;
    }
    return NULL;
}

/* The node at a path of one name or more; links on the way are an error. NULL: errno says why; the
 * last name may be missing when dir and name are wanted. */
static struct fs_node *resolve(struct fs_node *from, const char *path, struct fs_node **dir,
                               char name[FS_NAME_MAX + 1])
{
    struct fs_node *node = from;

    *dir = NULL;
    while (*path == '/')
        path++;
    while (*path != '\0') {
        size_t len = strcspn(path, "/");

        if (node == NULL || !S_ISDIR(node->seen.mode)) {
            errno = node == NULL ? ENOENT : S_ISLNK(node->seen.mode) ? ELOOP : ENOTDIR;
            *dir = NULL;
            return NULL;
        }
        if (len > FS_NAME_MAX)
            bail("a name that the simulator has no room for");
        snprintf(name, FS_NAME_MAX + 1, "%.*s", (int)len, path);
        if (strcmp(name, "..") == 0) {
            node = node->parent != NULL ? node->parent : node;
        } else if (strcmp(name, ".") != 0) {
            *dir = node;
            node = fs_find(node, name);
        }
        path += len;
        while (*path == '/')
            path++;
    }
    errno = ENOENT;
    return node;
}

static struct fs_node *base_of(int fd, const char **path)
{
    struct fs_node *root = (*path)[0] == '/' ? mounted(*path, path) : NULL;

    return root != NULL ? root : is_ours(fd) ? node_of(fd) : NULL;
}

/* ---- opening ---- */

static int open_at(struct fs_node *base, const char *path, int flags, mode_t mode)
{
    char name[FS_NAME_MAX + 1];
    struct fs_node *dir;
    struct fs_node *node = resolve(base, path, &dir, name);
    int e = errno;

    /* What leads to the tree may be looked at: whoever may not has not made it either. */
    if (strcmp(path, "..") != 0 && refused(base, flags & O_CREAT ? FS_CHANGES : FS_LOOKS))
        return -1;
    if (node == NULL && (dir == NULL || !(flags & O_CREAT)))
        return fail(e);
    if (node != NULL && (flags & O_CREAT) && (flags & O_EXCL))
        return fail(EEXIST);
    if (node == NULL) {
        node = fs_new(dir->disk, S_IFREG | (mode & 0777 & ~022u));
        fs_name(dir, name, node);
    }
    if (S_ISLNK(node->seen.mode))
        return fail(ELOOP);
    if ((flags & O_DIRECTORY) && !S_ISDIR(node->seen.mode))
        return fail(ENOTDIR);
    return new_fd(node);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
    struct fs_node *base = base_of(-1, &path);
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return base != NULL ? open_at(base, path, flags, mode) : __real_open64(path, flags, mode);
}

int __real_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...)
{
    struct fs_node *base = base_of(fd, &path);
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return base != NULL ? open_at(base, path, flags, mode) : __real_openat64(fd, path, flags, mode);
}

/* openat2 is the only one that comes this way. */
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    const struct open_how *how;
    struct fs_node *base;
    const char *path;
    va_list ap;
    int fd;

    va_start(ap, number);
    fd = (int)va_arg(ap, long);
    path = va_arg(ap, const char *);
    how = va_arg(ap, const struct open_how *);
    va_end(ap);
    base = base_of(fd, &path);
    if (number != SYS_openat2 || base == NULL)
        bail("a system call that is not expected");
    return open_at(base, path, (int)how->flags, (mode_t)how->mode);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    if (!is_ours(fd))
        return __real_close(fd);
    close_file(file_of(fd));
    return 0;
}

/* ---- looking ---- */

static struct statx_timestamp timestamp(const struct timespec *t)
{
    return (struct statx_timestamp){.tv_sec = t->tv_sec, .tv_nsec = (uint32_t)t->tv_nsec};
}

static void fill(const struct fs_node *node, struct statx *st)
{
    *st = (struct statx){.stx_mask = STATX_BASIC_STATS,
                         .stx_nlink = node->n_links,
                         .stx_uid = node->seen.uid,
                         .stx_gid = node->seen.gid,
                         .stx_mode = (uint16_t)node->seen.mode,
                         .stx_ino = node->ino,
                         .stx_size = fs_size(node),
                         .stx_blocks = node->sparse ? 0 : (fs_size(node) + 511) / 512,
                         .stx_ctime = timestamp(&node->ctime),
                         .stx_mtime = timestamp(&node->seen.mtime),
                         .stx_dev_minor = node->disk->dev};
}

int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *st)
{
    struct fs_node *base = base_of(fd, &path);
    char name[FS_NAME_MAX + 1];
    struct fs_node *dir;
    struct fs_node *node;
    int e;

    (void)flags;
    (void)mask;
    if (base == NULL)
        bail("statx of %s", path);
    node = resolve(base, path, &dir, name);
    e = errno;
    if (refused(base, FS_LOOKS))
        return -1;
    if (node == NULL)
        return fail(e);
    fill(node, st);
    return 0;
}

ssize_t __wrap_readlinkat(int fd, const char *path, char *out, size_t size);
ssize_t __wrap_readlinkat(int fd, const char *path, char *out, size_t size)
{
    struct fs_node *base = node_of(fd);
    char name[FS_NAME_MAX + 1];
    struct fs_node *dir;
    struct fs_node *node = resolve(base, path, &dir, name);
    int e = errno;
    size_t len;

    if (refused(base, FS_LOOKS))
        return -1;
    if (node == NULL || node->link == NULL)
        return fail(node == NULL ? e : EINVAL);
    len = strlen(node->link);
    memcpy(out, node->link, len < size ? len : size);
    return (ssize_t)(len < size ? len : size);
}

ssize_t __real_pread64(int fd, void *out, size_t len, off64_t at);
ssize_t __wrap_pread64(int fd, void *out, size_t len, off64_t at);
ssize_t __wrap_pread64(int fd, void *out, size_t len, off64_t at)
{
    if (!is_ours(fd))
        return __real_pread64(fd, out, len, at);
    if (refused(node_of(fd), FS_LOOKS))
        return -1;
    return (ssize_t)fs_read(node_of(fd), out, len, (uint64_t)at);
}

ssize_t __wrap_fgetxattr(int fd, const char *name, void *out, size_t size);
ssize_t __wrap_fgetxattr(int fd, const char *name, void *out, size_t size)
{
    (void)fd;
    (void)name;
    (void)out;
    (void)size;
    return fail(ENODATA);
}

/* ---- directories ---- */

static bool next_entry(struct open_file *f, struct dirent64 *out)
{
    const struct fs_entry *e;

    if (f->at == 0 && f->names.v == NULL && f->node->names.n > 0) {
        f->names.v = calloc(f->node->names.n, sizeof(*f->names.v));
        if (f->names.v == NULL)
            bail("out of memory");
        f->names.n = f->node->names.n;
        memcpy(f->names.v, f->node->names.v, f->names.n * sizeof(*f->names.v));
    }
    if (f->at >= f->names.n)
        return false;
    e = &f->names.v[f->at++];
    *out = (struct dirent64){.d_ino = e->node->ino,
                             .d_reclen = sizeof(*out),
                             .d_type = (unsigned char)IFTODT(e->node->seen.mode)};
    memcpy(out->d_name, e->name, strlen(e->name) + 1);
    return true;
}

ssize_t __wrap_getdents64(int fd, void *out, size_t size);
ssize_t __wrap_getdents64(int fd, void *out, size_t size)
{
    struct dirent64 *to = out;
    size_t n = 0;

    if (refused(node_of(fd), FS_LOOKS))
        return -1;
    while ((n + 1) * sizeof(*to) <= size && n < 20 && next_entry(file_of(fd), &to[n]))
        n++;
    return (ssize_t)(n * sizeof(*to));
}

DIR *__wrap_fdopendir(int fd);
DIR *__wrap_fdopendir(int fd)
{
    file_of(fd)->is_dir_stream = true;
    return (DIR *)file_of(fd);
}

struct dirent64 *__wrap_readdir64(DIR *dir);
struct dirent64 *__wrap_readdir64(DIR *dir)
{
    struct open_file *f = (struct open_file *)dir;

    return next_entry(f, &f->entry) ? &f->entry : NULL;
}

int __wrap_dirfd(DIR *dir);
int __wrap_dirfd(DIR *dir)
{
    return (int)((struct open_file *)dir - files) + FIRST_FD;
}

int __wrap_closedir(DIR *dir);
int __wrap_closedir(DIR *dir)
{
    close_file((struct open_file *)dir);
    return 0;
}

/* ---- who we are, and where ---- */

uid_t __wrap_geteuid(void);
uid_t __wrap_geteuid(void)
{
    return calls.is_root ? 0 : 1000;
}

gid_t __wrap_getegid(void);
gid_t __wrap_getegid(void)
{
    return calls.is_root ? 0 : 1000;
}

int __wrap_uname(struct utsname *out);
int __wrap_uname(struct utsname *out)
{
    memset(out, 0, sizeof(*out));
    strcpy(out->release, calls.old_kernel ? "5.6.0" : "6.1.0");
    return 0;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    uint64_t us = calls.now_us != NULL ? *calls.now_us : 0;

    *out =
        (struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    if (id == CLOCK_REALTIME_COARSE) /* times of files */
        *out = fs_now(calls.dest);
    return 0;
}

/* ---- changing ---- */

/* A name in a directory, to be changed. NULL: errno is set. */
static struct fs_node *dir_to(int fd, const char *path, char name[FS_NAME_MAX + 1],
                              struct fs_node **node, enum fs_call call)
{
    struct fs_node *dir;

    if (refused(node_of(fd), call))
        return NULL;
    *node = resolve(node_of(fd), path, &dir, name);
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
        return fail(EEXIST);
    what->seen.uid = __wrap_geteuid();
    what->seen.gid = __wrap_getegid();
    fs_name(dir, name, what);
    return 0;
}

int __wrap_mkdirat(int fd, const char *name, mode_t mode);
int __wrap_mkdirat(int fd, const char *name, mode_t mode)
{
    return make(fd, name, fs_new(node_of(fd)->disk, S_IFDIR | (mode & ~022u)));
}

int __wrap_symlinkat(const char *text, int fd, const char *name);
int __wrap_symlinkat(const char *text, int fd, const char *name)
{
    struct fs_node *node = fs_new(node_of(fd)->disk, S_IFLNK | 0777);

    node->link = strdup(text);
    return make(fd, name, node);
}

int __wrap_mknodat(int fd, const char *name, mode_t mode, dev_t dev);
int __wrap_mknodat(int fd, const char *name, mode_t mode, dev_t dev)
{
    struct fs_node *node = fs_new(node_of(fd)->disk, mode & ~022u);

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
        return fail(ENOENT);
    dir = dir_for(fd, b, name, &over);
    if (dir == NULL)
        return -1;
    if (over != NULL)
        return fail(EEXIST);
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
        return fail(ENOENT);
    if (over != NULL && (!replace || S_ISDIR(over->seen.mode)))
        return fail(!replace ? EEXIST : EISDIR);
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
        return fail(ENOENT);
    if ((flags & AT_REMOVEDIR) != 0 && !S_ISDIR(node->seen.mode))
        return fail(ENOTDIR);
    if ((flags & AT_REMOVEDIR) == 0 && S_ISDIR(node->seen.mode))
        return fail(EISDIR);
    if (S_ISDIR(node->seen.mode) && node->names.n > 0)
        return fail(ENOTEMPTY);
    fs_unname(dir, name);
    return 0;
}

ssize_t __real_pwrite64(int fd, const void *in, size_t len, off64_t at);
ssize_t __wrap_pwrite64(int fd, const void *in, size_t len, off64_t at);
ssize_t __wrap_pwrite64(int fd, const void *in, size_t len, off64_t at)
{
    if (!is_ours(fd))
        return __real_pwrite64(fd, in, len, at);
    if (refused(node_of(fd), FS_CHANGES))
        return -1;
    if (calls.short_writes != NULL && len > 1 && lh_rng_one_in(calls.short_writes, 8))
        len = 1 + lh_rng_below(calls.short_writes, len - 1);
    fs_write(node_of(fd), in, len, (uint64_t)at);
    return (ssize_t)len;
}

int __wrap_ftruncate64(int fd, off64_t len);
int __wrap_ftruncate64(int fd, off64_t len)
{
    if (refused(node_of(fd), FS_CHANGES))
        return -1;
    fs_truncate(node_of(fd), (size_t)len);
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
        return fail(EPERM);
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
    return refused(node_of(fd), FS_DRESSES) ? -1 : set_mode(node_of(fd), mode);
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
    return refused(node_of(fd), FS_DRESSES) ? -1 : set_owner(node_of(fd), uid, gid);
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
    return refused(node_of(fd), FS_DRESSES) ? -1 : set_times(node_of(fd), times);
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
    if (refused(node_of(fd), FS_SYNCS))
        return -1;
    fs_sync(node_of(fd));
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
    if (refused(node_of(fd), FS_SYNCS))
        return -1;
    fs_sync_all(node_of(fd)->disk);
    return 0;
}
