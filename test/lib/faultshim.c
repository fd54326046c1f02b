/* Preloaded into a program under test: system calls that stall or fail, switched while it runs.
 *
 * FAULTSHIM names a directory. A file CALL in it, "errno skip times stall_ms", means: let `skip`
 * calls pass, then make `times` of them (-1: all) stall for stall_ms and, where errno is not 0,
 * fail with it instead of being made. A file that is replaced starts counting anew. Each call that
 * was made to stall or fail adds one byte to CALL.hits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

/* Stalls as told; the errno to fail with, or 0. */
static int apply(struct rule *rule)
{
    const char *dir = getenv("FAULTSHIM");
    char path[512];
    char text[128];
    int error;
    long skip;
    long times;
    long stall_ms;
    long n;

    if (dir == NULL) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s", dir, rule->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    struct stat st;
    ssize_t len = fstat(fd, &st) == 0 ? read(fd, text, sizeof text - 1) : -1;
    close(fd);
    if (len <= 0) {
        return 0;
    }
    text[len] = '\0';
    if (sscanf(text, "%d %ld %ld %ld", &error, &skip, &times, &stall_ms) != 4) {
        return 0;
    }
    pthread_mutex_lock(&rule->lock);
    if (rule->inode != st.st_ino) {
        rule->inode = st.st_ino;
        rule->n_calls = 0;
    }
    n = rule->n_calls++;
    pthread_mutex_unlock(&rule->lock);
    if (n < skip || (times >= 0 && n >= skip + times)) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s.hits", dir, rule->name);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        if (write(fd, ".", 1) != 1) {
            abort();
        }
        close(fd);
    }
    if (stall_ms > 0) {
        struct timespec t = {stall_ms / 1000, stall_ms % 1000 * 1000000};
        while (nanosleep(&t, &t) != 0 && errno == EINTR) {
        }
    }
    return error;
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
REPLACE(ssize_t, pwrite64, (int fd, const void *data, size_t len, off64_t at), (fd, data, len, at))
REPLACE(ssize_t, sendfile64, (int out, int in, off64_t *at, size_t len), (out, in, at, len))
REPLACE(int, fallocate64, (int fd, int mode, off64_t at, off64_t len), (fd, mode, at, len))
REPLACE(int, accept4, (int fd, struct sockaddr *a, socklen_t *len, int flags), (fd, a, len, flags))
REPLACE(int, renameat, (int from, const char *a, int to, const char *b), (from, a, to, b))
REPLACE(int, renameat2, (int from, const char *a, int to, const char *b, unsigned flags),
        (from, a, to, b, flags))

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
