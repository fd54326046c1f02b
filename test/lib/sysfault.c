/* System calls behind the linker's --wrap; what for is told in sysfault.h. */
#include "test/lib/sysfault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static const char *const words[LH_SYS_N] = {
    [LH_SYS_OPEN] = "open",         [LH_SYS_STAT] = "stat",         [LH_SYS_LOCK] = "lock",
    [LH_SYS_MKDIR] = "mkdir",       [LH_SYS_READ] = "read",         [LH_SYS_WRITE] = "write",
    [LH_SYS_TRUNCATE] = "truncate", [LH_SYS_ALLOCATE] = "allocate", [LH_SYS_SYNC_DATA] = "syncdata",
    [LH_SYS_SYNC] = "sync",         [LH_SYS_CHMOD] = "chmod",       [LH_SYS_UTIMES] = "utimes",
    [LH_SYS_RENAME] = "rename",     [LH_SYS_UNLINK] = "unlink",     [LH_SYS_RANDOM] = "random",
    [LH_SYS_SYNC_FS] = "syncfs",    [LH_SYS_LINK] = "link",
};

static struct {
    bool armed;
    bool for_good;
    bool kill;
    bool met;
    unsigned mask;
    unsigned left;
    int error;
    size_t limit;
    bool inside; /* a watcher is running */
    lh_sysfault_watch before;
    lh_sysfault_watch after;
    char *log;
    size_t log_size;
} on;

void lh_sysfault_arm(unsigned mask, unsigned n, int error)
{
    on.armed = true;
    on.for_good = false;
    on.kill = false;
    on.met = false;
    on.mask = mask;
    on.left = n;
    on.error = error;
}

void lh_sysfault_arm_for_good(unsigned mask, unsigned n, int error)
{
    lh_sysfault_arm(mask, n, error);
    on.for_good = true;
}

void lh_sysfault_kill_at(unsigned mask, unsigned n)
{
    lh_sysfault_arm(mask, n, 0);
    on.kill = true;
}

bool lh_sysfault_disarm(void)
{
    on.armed = false;
    return on.met;
}

void lh_sysfault_limit(size_t bytes)
{
    on.limit = bytes;
}

void lh_sysfault_watch_with(lh_sysfault_watch before, lh_sysfault_watch after)
{
    on.before = before;
    on.after = after;
}

void lh_sysfault_log(char *log, size_t size)
{
    on.log = log;
    on.log_size = size;
    if (log != NULL)
        log[0] = '\0';
}

static const char *kind_of(int fd)
{
    char link[64];
    char path[4096];
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return "dir";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return "file";
    path[n] = '\0';
    if (strstr(path, ".part") != NULL)
        return "part";
    return strstr(path, ".journal") != NULL ? "journal" : "file";
}

static void note(enum lh_sys call, int fd)
{
    size_t used = strlen(on.log);

    snprintf(on.log + used, on.log_size - used, " %s:%s", words[call], kind_of(fd));
}

/* Whether the call is not to be made; errno is set. */
static bool enter(enum lh_sys call, int fd)
{
    if (on.inside)
        return false;
    if (on.armed && (on.mask & LH_SYS_BIT(call)) != 0 && on.left-- == 0) {
        on.met = true;
        if (on.kill)
            _exit(LH_SYSFAULT_KILLED);
        on.armed = on.for_good;
        on.left = 0;
        errno = on.error;
        return true;
    }
    if (on.before != NULL) {
        on.inside = true;
        on.before(call, fd);
        on.inside = false;
    }
    return false;
}

static long leave(enum lh_sys call, int fd, long r)
{
    int e = errno;

    if (on.inside || r < 0)
        return r;
    on.inside = true;
    if (on.log != NULL && (LH_SYS_CHANGES & LH_SYS_BIT(call)) != 0)
        note(call, fd);
    if (on.after != NULL)
        on.after(call, fd);
    on.inside = false;
    errno = e;
    return r;
}

static size_t cut(size_t len)
{
    return on.limit > 0 && len > on.limit && !on.inside ? on.limit : len;
}

#define WRAP(type, name, params, call, fd, args)                                                   \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        if (enter(call, fd))                                                                       \
            return -1;                                                                             \
        return (type)leave(call, fd, (long)__real_##name args);                                    \
    }

WRAP(int, mkdirat, (int fd, const char *name, mode_t mode), LH_SYS_MKDIR, fd, (fd, name, mode))
WRAP(ssize_t, pread64, (int fd, void *buf, size_t len, off64_t at), LH_SYS_READ, fd,
     (fd, buf, cut(len), at))
WRAP(ssize_t, pwrite64, (int fd, const void *buf, size_t len, off64_t at), LH_SYS_WRITE, fd,
     (fd, buf, cut(len), at))
WRAP(int, ftruncate64, (int fd, off64_t len), LH_SYS_TRUNCATE, fd, (fd, len))
WRAP(int, fallocate64, (int fd, int mode, off64_t at, off64_t len), LH_SYS_ALLOCATE, fd,
     (fd, mode, at, len))
WRAP(int, fdatasync, (int fd), LH_SYS_SYNC_DATA, fd, (fd))
WRAP(int, fsync, (int fd), LH_SYS_SYNC, fd, (fd))
WRAP(int, syncfs, (int fd), LH_SYS_SYNC_FS, fd, (fd))
WRAP(int, linkat, (int from, const char *a, int fd, const char *b, int flags), LH_SYS_LINK, fd,
     (from, a, fd, b, flags))
WRAP(int, symlinkat, (const char *text, int fd, const char *name), LH_SYS_LINK, fd,
     (text, fd, name))
WRAP(int, mknodat, (int fd, const char *name, mode_t mode, dev_t dev), LH_SYS_LINK, fd,
     (fd, name, mode, dev))
WRAP(int, fchmod, (int fd, mode_t mode), LH_SYS_CHMOD, fd, (fd, mode))
WRAP(int, futimens, (int fd, const struct timespec times[2]), LH_SYS_UTIMES, fd, (fd, times))
WRAP(int, renameat, (int fd, const char *a, int to, const char *b), LH_SYS_RENAME, fd,
     (fd, a, to, b))
WRAP(int, renameat2, (int fd, const char *a, int to, const char *b, unsigned flags), LH_SYS_RENAME,
     fd, (fd, a, to, b, flags))
WRAP(int, unlinkat, (int fd, const char *name, int flags), LH_SYS_UNLINK, fd, (fd, name, flags))
WRAP(int, statx, (int fd, const char *name, int flags, unsigned mask, struct statx *st),
     LH_SYS_STAT, fd, (fd, name, flags, mask, st))
WRAP(ssize_t, getrandom, (void *buf, size_t len, unsigned flags), LH_SYS_RANDOM, -1,
     (buf, len, flags))

int __real_openat64(int fd, const char *name, int flags, ...);
int __wrap_openat64(int fd, const char *name, int flags, ...);
int __wrap_openat64(int fd, const char *name, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (enter(LH_SYS_OPEN, fd))
        return -1;
    return (int)leave(LH_SYS_OPEN, fd, __real_openat64(fd, name, flags, mode));
}

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...)
{
    void *arg;
    va_list ap;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (cmd != F_OFD_SETLK)
        return __real_fcntl64(fd, cmd, arg);
    if (enter(LH_SYS_LOCK, fd))
        return -1;
    return (int)leave(LH_SYS_LOCK, fd, __real_fcntl64(fd, cmd, arg));
}

/* openat2 is the only one that comes this way. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[4];
    va_list ap;

    va_start(ap, number);
    for (size_t i = 0; i < 4; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    if (number == SYS_openat2 && enter(LH_SYS_OPEN, (int)a[0]))
        return -1;
    return leave(LH_SYS_OPEN, (int)a[0], __real_syscall(number, a[0], a[1], a[2], a[3]));
}
