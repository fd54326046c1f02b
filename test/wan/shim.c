/* What a host that nobody tuned says to setsockopt(2), where a namespace cannot say it.
 *
 * LD_PRELOADed by test/wan/run; every thread of the program under test goes through it. It reads
 *   LH_WAN_HOST         stock: TCP_CONGESTION takes reno and cubic; stock+bbr: bbr too
 *   LH_WAN_DEFAULT_CC   the host's default, when it is laid on the route because the kernel does
 *                       not let a namespace have it. At connect(2) and accept(2) the kernel puts
 *                       the route's in place of what the socket was given before: here that is
 *                       put back.
 * Socket buffers are cut to 212992 bytes, net.core's stock limits, and nothing is forced past
 * them. All other calls pass. Failures are the kernel's: EPERM. */
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CORE_LIMIT_BYTES = 212992, MAX_FDS = 65536, NAME_BYTES = 16 };

/* By descriptor: the congestion control that the program chose before connecting, 0 none, else
 * index into CHOICES plus 1. */
static _Atomic unsigned char chosen[MAX_FDS];
static const char *const CHOICES[] = {"reno", "cubic", "bbr"};

static void *next(const char *name)
{
    void *sym = dlsym(RTLD_NEXT, name);
    if (!sym)
        abort();
    return sym;
}

static int real_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    static int (*call)(int, int, int, const void *, socklen_t);
    if (!call)
        *(void **)&call = next("setsockopt");
    return call(fd, level, name, value, len);
}

static int real_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    static int (*call)(int, int, int, void *, socklen_t *);
    if (!call)
        *(void **)&call = next("getsockopt");
    return call(fd, level, name, value, len);
}

static bool is_connected(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0;
}

static int choose(int fd, const void *value, socklen_t len)
{
    char name[NAME_BYTES] = "";
    memcpy(name, value, len < NAME_BYTES ? len : NAME_BYTES - 1);
    const char *host = getenv("LH_WAN_HOST"), *fallback = getenv("LH_WAN_DEFAULT_CC");
    unsigned char choice = 0;
    for (unsigned char i = 0; i < 3; i++)
        if (!strcmp(name, CHOICES[i]))
            choice = i + 1;
    if (!choice || (choice == 3 && host && !strcmp(host, "stock"))) {
        errno = choice ? EPERM : ENOENT;
        return -1;
    }
    if (fd < 0 || fd >= MAX_FDS)
        return real_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, value, len);
    if (fallback && !strcmp(name, fallback) && !is_connected(fd)) {
        chosen[fd] = 0; /* the route will give it */
        return 0;
    }
    int rc = real_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, value, len);
    if (rc == 0)
        chosen[fd] = choice;
    return rc;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && (name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE)) {
        errno = EPERM;
        return -1;
    }
    if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF) && len == sizeof(int)) {
        int bytes;
        memcpy(&bytes, value, sizeof(bytes));
        if (bytes > CORE_LIMIT_BYTES)
            bytes = CORE_LIMIT_BYTES;
        return real_setsockopt(fd, level, name, &bytes, sizeof(bytes));
    }
    if (level == IPPROTO_TCP && name == TCP_CONGESTION)
        return choose(fd, value, len);
    return real_setsockopt(fd, level, name, value, len);
}

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
    const char *fallback = getenv("LH_WAN_DEFAULT_CC");
    bool asks = level == IPPROTO_TCP && name == TCP_CONGESTION && fallback;
    if (!asks || fd < 0 || fd >= MAX_FDS || chosen[fd] || is_connected(fd))
        return real_getsockopt(fd, level, name, value, len);
    if (*len > NAME_BYTES)
        *len = NAME_BYTES;
    strncpy(value, fallback, *len);
    return 0;
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    static int (*call)(int, const struct sockaddr *, socklen_t);
    if (!call)
        *(void **)&call = next("connect");
    int rc = call(fd, addr, len), saved = errno;
    if (fd >= 0 && fd < MAX_FDS && chosen[fd] && getenv("LH_WAN_DEFAULT_CC")) {
        const char *name = CHOICES[chosen[fd] - 1];
        real_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    }
    errno = saved;
    return rc;
}

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
    static int (*call)(int, struct sockaddr *, socklen_t *, int);
    if (!call)
        *(void **)&call = next("accept4");
    int client = call(fd, addr, len, flags), saved = errno;
    if (client >= 0 && client < MAX_FDS && fd < MAX_FDS) {
        chosen[client] = chosen[fd];
        if (chosen[client] && getenv("LH_WAN_DEFAULT_CC")) {
            const char *name = CHOICES[chosen[client] - 1];
            real_setsockopt(client, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
        }
    }
    errno = saved;
    return client;
}

int accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict len)
{
    return accept4(fd, addr, len, 0);
}

int close(int fd)
{
    static int (*call)(int);
    if (!call)
        *(void **)&call = next("close");
    if (fd >= 0 && fd < MAX_FDS)
        chosen[fd] = 0;
    return call(fd);
}
