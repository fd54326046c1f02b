/* See tree_calls.h. In here: descriptors and paths, what opens and what looks, who and when we are.
 */
#include "test/sim/tree_calls_impl.h"

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

bool calls_is_ours(int fd)
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

struct fs_node *calls_node(int fd)
{
    return file_of(fd)->node;
}

int calls_fail(int e)
{
    errno = e;
    return -1;
}

bool calls_refused(struct fs_node *node, enum fs_call call)
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

struct fs_node *calls_resolve(struct fs_node *from, const char *path, struct fs_node **dir,
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

    return root != NULL ? root : calls_is_ours(fd) ? calls_node(fd) : NULL;
}

/* ---- opening ---- */

static int open_at(struct fs_node *base, const char *path, int flags, mode_t mode)
{
    char name[FS_NAME_MAX + 1];
    struct fs_node *dir;
    struct fs_node *node = calls_resolve(base, path, &dir, name);
    int e = errno;

    /* What leads to the tree may be looked at: whoever may not has not made it either. */
    if (strcmp(path, "..") != 0 && calls_refused(base, flags & O_CREAT ? FS_CHANGES : FS_LOOKS))
        return -1;
    if (node == NULL && (dir == NULL || !(flags & O_CREAT)))
        return calls_fail(e);
    if (node != NULL && (flags & O_CREAT) && (flags & O_EXCL))
        return calls_fail(EEXIST);
    if (node == NULL) {
        node = fs_new(dir->disk, S_IFREG | (mode & 0777 & ~022u));
        fs_name(dir, name, node);
    }
    if (S_ISLNK(node->seen.mode))
        return calls_fail(ELOOP);
    if ((flags & O_DIRECTORY) && !S_ISDIR(node->seen.mode))
        return calls_fail(ENOTDIR);
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
    if (!calls_is_ours(fd))
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
    node = calls_resolve(base, path, &dir, name);
    e = errno;
    if (calls_refused(base, FS_LOOKS))
        return -1;
    if (node == NULL)
        return calls_fail(e);
    fill(node, st);
    return 0;
}

ssize_t __wrap_readlinkat(int fd, const char *path, char *out, size_t size);
ssize_t __wrap_readlinkat(int fd, const char *path, char *out, size_t size)
{
    struct fs_node *base = calls_node(fd);
    char name[FS_NAME_MAX + 1];
    struct fs_node *dir;
    struct fs_node *node = calls_resolve(base, path, &dir, name);
    int e = errno;
    size_t len;

    if (calls_refused(base, FS_LOOKS))
        return -1;
    if (node == NULL || node->link == NULL)
        return calls_fail(node == NULL ? e : EINVAL);
    len = strlen(node->link);
    memcpy(out, node->link, len < size ? len : size);
    return (ssize_t)(len < size ? len : size);
}

ssize_t __real_pread64(int fd, void *out, size_t len, off64_t at);
ssize_t __wrap_pread64(int fd, void *out, size_t len, off64_t at);
ssize_t __wrap_pread64(int fd, void *out, size_t len, off64_t at)
{
    if (!calls_is_ours(fd))
        return __real_pread64(fd, out, len, at);
    if (calls_refused(calls_node(fd), FS_LOOKS))
        return -1;
    return (ssize_t)fs_read(calls_node(fd), out, len, (uint64_t)at);
}

ssize_t __wrap_fgetxattr(int fd, const char *name, void *out, size_t size);
ssize_t __wrap_fgetxattr(int fd, const char *name, void *out, size_t size)
{
    (void)fd;
    (void)name;
    (void)out;
    (void)size;
    return calls_fail(ENODATA);
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

    if (calls_refused(calls_node(fd), FS_LOOKS))
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

void __wrap_rewinddir(DIR *dir);
void __wrap_rewinddir(DIR *dir)
{
    ((struct open_file *)dir)->at = 0;
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
