/* Preloaded into a receiver: a trace of what it writes and on whose word, for test/lib/writes.py.
 *
 * WRITESHIM names a directory; each process appends lines to PID in it. Nothing of the receiver's
 * own account is used: what came over a connection is read again here, as frames, and what is
 * written is seen at the system call. Times are CLOCK_MONOTONIC, ns, before and after the call;
 * a file is dev:inode:birth, so that an inode that is used again is another file.
 *
 *   W start end tid file offset length epoch session path    contents
 *   J start end tid file offset path hex                     journal
 *   T start end tid file length path                         cut to that length
 *   R start end tid file path name                           renamed, to that last part of a path
 *
 * Epoch and session (the token of the stream) are those of the BLOCK frame whose payload this
 * thread received last; "-" where that is not what is written.
 *
 * A frame is followed on every TCP connection that is accepted. Failures of the tracing itself end
 * the process: a trace with holes proves nothing. */
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEADER_SIZE 64u
#define JOIN 3
#define BLOCK 9
#define TOKEN_SIZE 16u
#define N_FDS 4096
#define PATH_SIZE 4200
#define HIDDEN ".longhaul-"

struct conn {
    int live;
    unsigned char header[HEADER_SIZE];
    unsigned have;
    uint32_t left; /* of the payload */
    uint16_t type;
    uint32_t length;
    uint64_t offset;
    uint64_t epoch;
    unsigned token_have;
    unsigned char token[TOKEN_SIZE];
};

/* The block whose payload a thread has received last. */
struct block {
    int some;
    uint32_t length;
    uint64_t offset;
    uint64_t epoch;
    unsigned char token[TOKEN_SIZE];
};

/* A connection is read by one thread at a time; handing it over is the program's affair. */
static struct conn conns[N_FDS];
static __thread struct block last;
static int log_fd = -1;
static pthread_once_t opened = PTHREAD_ONCE_INIT;

#define REAL(name)                                                                                 \
    do {                                                                                           \
        if (real == NULL)                                                                          \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
    } while (0)

static void broken(const char *what)
{
    dprintf(2, "writeshim: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void open_log(void)
{
    char path[512];
    const char *dir = getenv("WRITESHIM");

    if (dir == NULL)
        return;
    snprintf(path, sizeof path, "%s/%d", dir, (int)getpid());
    log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0)
        broken(path);
}

static int tracing(void)
{
    pthread_once(&opened, open_log);
    return log_fd >= 0;
}

static void say(const char *text, size_t len)
{
    if (write(log_fd, text, len) != (ssize_t)len)
        broken("cannot write the trace");
}

__attribute__((format(printf, 1, 2))) static void line(const char *format, ...)
{
    char text[2 * PATH_SIZE];
    va_list args;

    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof text)
        broken("a line is too long");
    say(text, (size_t)len);
}

/* Words of a line stand apart by spaces. */
static void one_word(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text <= ' ')
            *text = '?';
    }
}

/* Path and identity of what fd is; 0 when it is no regular file. Spaces in the path become '?'. */
static int identify(int fd, char path[PATH_SIZE], char file[80])
{
    char link[64];
    struct statx st;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_SIZE - 1);
    if (len < 0 || syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st))
        broken("a file that is written");
    path[len] = '\0';
    if (!S_ISREG(st.stx_mode))
        return 0;
    one_word(path);
    snprintf(file, 80, "%x.%x:%llu:%lld.%09u", st.stx_dev_major, st.stx_dev_minor,
             (unsigned long long)st.stx_ino, (long long)st.stx_btime.tv_sec,
             (unsigned)st.stx_btime.tv_nsec);
    return 1;
}

static void hex(char *out, const unsigned char *in, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static int ends_in(const char *text, const char *end)
{
    size_t len = strlen(text);

    return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

/* An index of hashes: beside its journal, or nameless on the same disk, or in memory. */
static int is_index(const char *path)
{
    return ends_in(path, ".index") || strstr(path, "/#") != NULL ||
           strncmp(path, "/memfd:", strlen("/memfd:")) == 0;
}

static int is_journal(const char *path)
{
    return strncmp(name_of(path), HIDDEN, strlen(HIDDEN)) == 0 && ends_in(path, ".journal");
}

/* ---- what comes in ------------------------------------------------------------------------- */

static uint32_t le32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t le64(const unsigned char *at)
{
    return le32(at) | (uint64_t)le32(at + 4) << 32;
}

static void header_ended(struct conn *c)
{
    c->have = 0;
    c->type = (uint16_t)(c->header[4] | c->header[5] << 8);
    c->length = c->left = le32(c->header + 8);
    c->offset = le64(c->header + 24);
    c->epoch = le64(c->header + 32);
    if (c->type == JOIN)
        c->token_have = 0;
}

static void payload_ended(const struct conn *c)
{
    if (c->type != BLOCK || c->token_have != TOKEN_SIZE)
        return;
    last.some = 1;
    last.length = c->length;
    last.offset = c->offset;
    last.epoch = c->epoch;
    memcpy(last.token, c->token, TOKEN_SIZE);
}

static void feed(struct conn *c, const unsigned char *data, size_t len)
{
    while (len > 0) {
        size_t n = c->left > 0 ? c->left : HEADER_SIZE - c->have;

        n = n < len ? n : len;
        if (c->left > 0) {
            for (size_t i = 0; c->type == JOIN && i < n && c->token_have < TOKEN_SIZE; i++)
                c->token[c->token_have++] = data[i];
            c->left -= (uint32_t)n;
            if (c->left == 0)
                payload_ended(c);
        } else {
            memcpy(c->header + c->have, data, n);
            c->have += (unsigned)n;
            if (c->have == HEADER_SIZE)
                header_ended(c);
        }
        data += n;
        len -= n;
    }
}

static struct conn *conn_of(int fd)
{
    return fd >= 0 && fd < N_FDS && conns[fd].live ? &conns[fd] : NULL;
}

static void received(int fd, const struct iovec *iov, size_t n_iov, ssize_t n)
{
    struct conn *c = conn_of(fd);
    int saved = errno;

    for (size_t i = 0; c != NULL && n > 0 && i < n_iov; i++) {
        size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

        feed(c, iov[i].iov_base, part);
        n -= (ssize_t)part;
    }
    errno = saved;
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    static int (*real)(int, struct sockaddr *, socklen_t *, int);

    REAL(accept4);
    int got = real(fd, address, len, flags);
    if (got >= 0 && tracing()) {
        if (got >= N_FDS)
            broken("too many connections");
        memset(&conns[got], 0, sizeof conns[got]);
        conns[got].live = 1;
    }
    return got;
}

int close(int fd)
{
    static int (*real)(int);

    REAL(close);
    if (fd >= 0 && fd < N_FDS)
        conns[fd].live = 0;
    return real(fd);
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
    static ssize_t (*real)(int, void *, size_t, int);
    struct iovec iov = {data, len};

    REAL(recv);
    ssize_t n = real(fd, data, len, flags);
    if ((flags & MSG_PEEK) == 0)
        received(fd, &iov, 1, n);
    return n;
}

ssize_t __recv_chk(int fd, void *data, size_t len, size_t room, int flags)
{
    if (len > room)
        abort();
    return recv(fd, data, len, flags);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
    static ssize_t (*real)(int, struct msghdr *, int);

    REAL(recvmsg);
    ssize_t n = real(fd, msg, flags);
    if ((flags & MSG_PEEK) == 0)
        received(fd, msg->msg_iov, msg->msg_iovlen, n);
    return n;
}

/* ---- what goes to the disk ----------------------------------------------------------------- */

static void trace_journal(uint64_t start, uint64_t end, const char *file, const char *path,
                          const void *data, size_t len, off64_t at)
{
    size_t room = 2 * len + 2 * PATH_SIZE;
    char *text = malloc(room);

    if (text == NULL)
        broken("no memory");
    int head = snprintf(text, room, "J %llu %llu %d %s %lld %s ", (unsigned long long)start,
                        (unsigned long long)end, (int)gettid(), file, (long long)at, path);
    hex(text + head, data, len);
    text[(size_t)head + 2 * len] = '\n';
    say(text, (size_t)head + 2 * len + 1);
    free(text);
}

static void trace_contents(uint64_t start, uint64_t end, const char *file, const char *path,
                           size_t len, off64_t at)
{
    char epoch[24] = "-";
    char token[2 * TOKEN_SIZE + 1] = "-";

    if (last.some && last.offset == (uint64_t)at && last.length == len) {
        last.some = 0;
        snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)last.epoch);
        hex(token, last.token, TOKEN_SIZE);
    }
    line("W %llu %llu %d %s %lld %zu %s %s %s\n", (unsigned long long)start,
         (unsigned long long)end, (int)gettid(), file, (long long)at, len, epoch, token, path);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    char path[PATH_SIZE], file[80];

    REAL(pwrite64);
    if (!tracing())
        return real(fd, data, len, at);
    uint64_t start = now_ns();
    ssize_t n = real(fd, data, len, at);
    uint64_t end = now_ns();
    int saved = errno;

    if (n > 0 && identify(fd, path, file)) {
        if (is_journal(path))
            trace_journal(start, end, file, path, data, (size_t)n, at);
        else if (!is_index(path))
            trace_contents(start, end, file, path, (size_t)n, at);
    }
    errno = saved;
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return pwrite64(fd, data, len, at);
}

int ftruncate64(int fd, off64_t length)
{
    static int (*real)(int, off64_t);
    char path[PATH_SIZE], file[80];

    REAL(ftruncate64);
    if (!tracing())
        return real(fd, length);
    uint64_t start = now_ns();
    int r = real(fd, length);
    uint64_t end = now_ns();
    int saved = errno;

    if (r == 0 && identify(fd, path, file))
        line("T %llu %llu %d %s %lld %s\n", (unsigned long long)start, (unsigned long long)end,
             (int)gettid(), file, (long long)length, path);
    errno = saved;
    return r;
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int renameat2(int from, const char *a, int to, const char *b, unsigned flags)
{
    char path[PATH_SIZE], file[80], name[256];
    int some = 0;

    if (!tracing())
        return (int)syscall(SYS_renameat2, from, a, to, b, flags);
    int fd = openat(from, a, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        some = identify(fd, path, file);
        close(fd);
    }
    uint64_t start = now_ns();
    int r = (int)syscall(SYS_renameat2, from, a, to, b, flags);
    uint64_t end = now_ns();
    int saved = errno;

    snprintf(name, sizeof name, "%s", name_of(b));
    one_word(name);
    if (r == 0 && some)
        line("R %llu %llu %d %s %s %s\n", (unsigned long long)start, (unsigned long long)end,
             (int)gettid(), file, path, name);
    errno = saved;
    return r;
}

int renameat(int from, const char *a, int to, const char *b)
{
    return renameat2(from, a, to, b, 0);
}

int rename(const char *a, const char *b)
{
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, 0);
}
