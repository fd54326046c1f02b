/* Preloaded into a program under test: system calls that stall or fail, switched while it runs.
 *
 * FAULTSHIM names a directory. A file CALL in it, "errno skip times stall_ms", means: let `skip`
 * calls pass, then make `times` of them (-1: all) stall for stall_ms (below 0: keep a core busy for
 * so long) and, where errno is not 0, fail with it instead of being made. A file that is replaced
 * starts counting anew. Each call that was made to stall or fail adds one byte to CALL.hits. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct rule {
    const char *name;
    pthread_mutex_t lock;
    ino_t inode; /* of the file that the count belongs to */
    long n_calls;
};

#define RULE(call) static struct rule call##_rule = {#call, PTHREAD_MUTEX_INITIALIZER, 0, 0}

struct order {
    int error;
    long skip;
    long times;
    long stall_ms;
    ino_t inode;
};

/* What the file of that name says; false where there is none. */
static int read_order(const char *name, struct order *order)
{
    const char *dir = getenv("FAULTSHIM");
    char path[512];
    char text[128];
    struct stat st;

    if (dir == NULL) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t len = fstat(fd, &st) == 0 ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    if (len <= 0) {
        return 0;
    }
    text[len] = '\0';
    order->inode = st.st_ino;
    return sscanf(text, "%d %ld %ld %ld", &order->error, &order->skip, &order->times,
                  &order->stall_ms) == 4;
}

static void count_hit(const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s.hits", getenv("FAULTSHIM"), name);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, ".", 1) != 1) {
        abort();
    }
    close(fd);
}

/* This thread's time on a core. */
static long ran_ms(void)
{
    struct rusage use;

    getrusage(RUSAGE_THREAD, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000 +
           (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1000;
}

/* Stalls as told; the errno to fail with, or 0. Leaves errno alone. */
static int apply(struct rule *rule)
{
    int saved = errno;
    struct order order;
    long n;

    if (!read_order(rule->name, &order)) {
        errno = saved;
        return 0;
    }
    pthread_mutex_lock(&rule->lock);
    if (rule->inode != order.inode) {
        rule->inode = order.inode;
        rule->n_calls = 0;
    }
    n = rule->n_calls++;
    pthread_mutex_unlock(&rule->lock);
    if (n < order.skip || (order.times >= 0 && n >= order.skip + order.times)) {
        errno = saved;
        return 0;
    }
    count_hit(rule->name);
    if (order.stall_ms < 0) {
        for (long end_ms = ran_ms() - order.stall_ms; ran_ms() < end_ms;) {
        }
    }
    if (order.stall_ms > 0) {
        struct timespec t = {order.stall_ms / 1000, order.stall_ms % 1000 * 1000000};
        while (nanosleep(&t, &t) != 0 && errno == EINTR) {
        }
    }
    errno = saved;
    return order.error;
}

/* One replacement: the call's own failure value is -1 throughout. */
#define REPLACE(type, call, params, args)                                                          \
    RULE(call);                                                                                    \
    type call params;                                                                              \
    type call params                                                                               \
    {                                                                                              \
        static type(*real) params;                                                                 \
        int error = apply(&call##_rule);                                                           \
        if (error != 0) {                                                                          \
            errno = error;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        if (real == NULL) {                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #call);                                             \
        }                                                                                          \
        return real args;                                                                          \
    }

REPLACE(int, fdatasync, (int fd), (fd))
REPLACE(int, fsync, (int fd), (fd))
REPLACE(int, syncfs, (int fd), (fd))
REPLACE(ssize_t, getdents64, (int fd, void *data, size_t len), (fd, data, len))
REPLACE(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
REPLACE(ssize_t, pread64, (int fd, void *data, size_t len, off64_t at), (fd, data, len, at))
REPLACE(ssize_t, pwrite64, (int fd, const void *data, size_t len, off64_t at), (fd, data, len, at))
REPLACE(ssize_t, sendfile64, (int out, int in, off64_t *at, size_t len), (out, in, at, len))
REPLACE(int, fallocate64, (int fd, int mode, off64_t at, off64_t len), (fd, mode, at, len))
REPLACE(int, accept4, (int fd, struct sockaddr *a, socklen_t *len, int flags), (fd, a, len, flags))
/* Every way to rename: "rename" before it is done, "renamed" after (its errno means nothing). */
static struct rule rename_rule = {"rename", PTHREAD_MUTEX_INITIALIZER, 0, 0};
static struct rule renamed_rule = {"renamed", PTHREAD_MUTEX_INITIALIZER, 0, 0};

int renameat2(int from, const char *a, int to, const char *b, unsigned flags)
{
    int error = apply(&rename_rule);

    if (error != 0) {
        errno = error;
        return -1;
    }
    int ret = (int)syscall(SYS_renameat2, from, a, to, b, flags);
    int saved = errno;
    if (ret == 0) {
        apply(&renamed_rule);
    }
    errno = saved;
    return ret;
}

int renameat(int from, const char *a, int to, const char *b)
{
    return renameat2(from, a, to, b, 0);
}

int rename(const char *a, const char *b)
{
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, 0);
}

RULE(congestion);
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    static int (*real)(int, int, int, const void *, socklen_t);
    int error = level == 6 && name == 13 ? apply(&congestion_rule) : 0; /* TCP_CONGESTION */

    if (error != 0) {
        errno = error;
        return -1;
    }
    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "setsockopt");
    }
    return real(fd, level, name, value, len);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);
    struct order order;

    if (real == NULL) {
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    }
    int ret = real(id, ts);
    if (ret == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) &&
        read_order("clock", &order)) {
        ts->tv_sec += order.stall_ms;
    }
    return ret;
}

time_t time(time_t *out)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (out != NULL) {
        *out = ts.tv_sec;
    }
    return ts.tv_sec;
}

int gettimeofday(struct timeval *tv, void *zone)
{
    struct timespec ts;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}
