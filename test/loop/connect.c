/* A connection that is tried twice: who wins, what is told, and that nothing is left. Addresses are
 * handed to connect(2) in turn by this program: one that listens, one that refuses, one that drops
 * every SYN because its queue is full. */
#include "io/net/connect.h"
#include "test/lib/tap.h"
#include "test/loop/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SOON_MS 20
#define LIMIT_MS 200
#define LONG_MS 60000

enum where { LISTENS, REFUSES, DROPS };

static struct sockaddr_in places[3];
static enum where order[2];
static unsigned n_connects;

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    (void)addr;
    (void)len;
    return __real_connect(fd, (struct sockaddr *)&places[order[n_connects++]], sizeof(places[0]));
}

/* A socket on a free port of 127.0.0.1. backlog < 0: it does not listen. */
static int place(enum where where, int backlog)
{
    struct sockaddr_in *addr = &places[where];
    socklen_t len = sizeof(*addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr->sin_family = AF_INET;
    addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)addr, len) != 0 ||
        getsockname(fd, (struct sockaddr *)addr, &len) != 0 ||
        (backlog >= 0 && listen(fd, backlog) != 0))
        bail("no place: %s", strerror(errno));
    return fd;
}

static struct {
    unsigned n_done;
    int fd;
    int sys_errno;
} result;

/* The loop comes here after it has polled, and before it closes handles. */
static void cancel_when_over(uv_check_t *check)
{
    struct lh_connect *c = check->data;

    if (c->over && result.n_done == 0)
        lh_connect_cancel(c);
}

static void cancel(uv_timer_t *timer)
{
    lh_connect_cancel(timer->data);
}

static void on_done(struct lh_connect *c, int fd, int sys_errno)
{
    result.n_done++;
    result.fd = fd;
    result.sys_errno = sys_errno;
}

static void run_this(uv_loop_t *loop, struct lh_connect *c, enum where first, enum where second)
{
    c->done = on_done;
    c->addr.sa.ss_family = AF_INET;
    order[0] = first;
    order[1] = second;
    n_connects = result.n_done = 0;
    lh_connect_start(c, loop);
    while (result.n_done == 0)
        uv_run(loop, UV_RUN_ONCE);
    is_u64(result.n_done, 1, "done fires once");
}

static void run(uv_loop_t *loop, enum where first, enum where second, uint64_t again_ms,
                uint64_t limit_ms)
{
    struct lh_connect c = {.again_ms = again_ms, .limit_ms = limit_ms};

    run_this(loop, &c, first, second);
}

static void expect(int sys_errno, unsigned n_tries, const char *what)
{
    struct sockaddr_in peer = {0};
    socklen_t len = sizeof(peer);

    is_i64(result.sys_errno, sys_errno, "%s: %s", what,
           sys_errno == 0 ? "connected" : strerror(sys_errno));
    is_u64(n_connects, n_tries, "%s: %u tries", what, n_tries);
    if (sys_errno != 0) {
        is_i64(result.fd, -1, "%s: no descriptor", what);
        return;
    }
    ok(getpeername(result.fd, (struct sockaddr *)&peer, &len) == 0 &&
           peer.sin_port == places[LISTENS].sin_port,
       "%s: with the one that listens", what);
    close(result.fd);
}

int main(void)
{
    int fds[] = {place(LISTENS, 64), place(REFUSES, -1), place(DROPS, 0)};
    int filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct lh_connect c = {.limit_ms = LONG_MS};
    uv_loop_t loop;
    uv_check_t check;
    uv_timer_t timer;
    unsigned before;

    /* A queue for none takes one. */
    if (__real_connect(filler, (struct sockaddr *)&places[DROPS], sizeof(places[0])) != 0)
        bail("no filler: %s", strerror(errno));
    uv_loop_init(&loop);
    before = rig_fds();

    run(&loop, LISTENS, REFUSES, LONG_MS, 2 * LONG_MS);
    expect(0, 1, "up at once");
    run(&loop, DROPS, LISTENS, SOON_MS, LONG_MS);
    expect(0, 2, "the first hangs");
    run(&loop, REFUSES, LISTENS, LONG_MS, 2 * LONG_MS);
    expect(ECONNREFUSED, 1, "refused");
    run(&loop, DROPS, REFUSES, SOON_MS, LIMIT_MS);
    expect(ETIMEDOUT, 2, "the second is refused: the first is waited for");
    run(&loop, DROPS, DROPS, SOON_MS, LIMIT_MS);
    expect(ETIMEDOUT, 2, "both hang");
    run(&loop, DROPS, LISTENS, 0, LIMIT_MS);
    expect(ETIMEDOUT, 1, "no second try is wanted");
    uv_check_init(&loop, &check);
    check.data = &c;
    uv_check_start(&check, cancel_when_over);
    run_this(&loop, &c, LISTENS, REFUSES);
    expect(ECANCELED, 1, "cancelled when it is up already");
    uv_close((uv_handle_t *)&check, NULL);
    uv_timer_init(&loop, &timer);
    timer.data = &c;
    uv_timer_start(&timer, cancel, 0, 0);
    run_this(&loop, &c, DROPS, REFUSES);
    expect(ECANCELED, 1, "cancelled while it hangs");
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);

    is_u64(rig_fds(), before, "no descriptor is left");
    is_i64(uv_loop_close(&loop), 0, "and no handle");
    close(filler);
    for (unsigned i = 0; i < 3; i++)
        close(fds[i]);
    return done_testing();
}
