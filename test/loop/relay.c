#include "test/loop/relay.h"

#include "test/lib/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS_MAX 256
#define CHUNK (64u * 1024)
#define TURN_MS 5
#define PASSES_PER_TURN 32 /* of a chunk: so that an unlimited line is fast enough */

/* One direction: what was read and could not be written yet. */
struct way {
    size_t at, len;
    bool ended; /* the end was read, and passed on */
    uint8_t buf[CHUNK];
};

struct pair {
    int sender, receiver;
    struct way up, down;
};

struct relay {
    pthread_t thread;
    int listener;
    uint16_t port;
    atomic_ushort target;
    atomic_uint_fast64_t pace;
    atomic_uint_fast64_t bytes;
    atomic_uint n_taken;
    atomic_uint n_reset;
    atomic_bool reset;
    atomic_bool stop;
    int64_t budget; /* bytes that may go up in this turn */
    unsigned n;
    struct pair *pairs[PAIRS_MAX];
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void hang_up(int fd, bool hard)
{
    struct linger linger = {.l_onoff = 1};

    if (hard)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

static void drop(struct relay *r, unsigned i, bool hard)
{
    hang_up(r->pairs[i]->sender, hard);
    hang_up(r->pairs[i]->receiver, hard);
    free(r->pairs[i]);
    r->pairs[i] = r->pairs[--r->n];
}

static void take(struct relay *r)
{
    struct sockaddr_in addr = loopback(atomic_load(&r->target));
    int from = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
    int to;

    if (from < 0)
        return;
    atomic_fetch_add(&r->n_taken, 1);
    to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Loopback answers at once, also when nobody listens. */
    if (r->n == PAIRS_MAX || connect(to, (struct sockaddr *)&addr, sizeof(addr)) != 0) {
        hang_up(from, true);
        hang_up(to, true);
        return;
    }
    fcntl(from, F_SETFL, O_NONBLOCK);
    fcntl(to, F_SETFL, O_NONBLOCK);
    r->pairs[r->n] = calloc(1, sizeof(struct pair));
    r->pairs[r->n]->sender = from;
    r->pairs[r->n++]->receiver = to;
}

/* Move what can be moved; budget NULL: no limit. False: the connection broke. */
static bool pass(struct way *w, int from, int to, int64_t *budget, atomic_uint_fast64_t *count)
{
    ssize_t n;

    if (w->at == w->len && !w->ended) {
        size_t want = budget == NULL || *budget > (int64_t)CHUNK ? CHUNK
                      : *budget > 0                              ? (size_t)*budget
                                                                 : 0;

        n = want == 0 ? -1 : recv(from, w->buf, want, 0);
        if (n < 0)
            return want == 0 || errno == EAGAIN;
        if (n == 0) {
            w->ended = true;
            shutdown(to, SHUT_WR);
            return true;
        }
        w->at = 0;
        w->len = (size_t)n;
        if (budget != NULL)
            *budget -= n;
        if (count != NULL)
            atomic_fetch_add(count, (uint64_t)n);
    }
    if (w->at == w->len)
        return true;
    n = send(to, w->buf + w->at, w->len - w->at, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN;
    w->at += (size_t)n;
    return true;
}

static void turn(struct relay *r)
{
    uint64_t pace = atomic_load(&r->pace);

    r->budget = (int64_t)(pace * TURN_MS / 1000);
    for (unsigned i = 0; i < r->n;) {
        struct pair *p = r->pairs[i];

        bool whole = true;

        for (int k = 0; k < PASSES_PER_TURN && whole; k++)
            whole = pass(&p->up, p->sender, p->receiver, pace > 0 ? &r->budget : NULL, &r->bytes) &&
                    pass(&p->down, p->receiver, p->sender, NULL, NULL);
        if (!whole)
            drop(r, i, true);
        else if (p->up.ended && p->down.ended && p->up.at == p->up.len && p->down.at == p->down.len)
            drop(r, i, false);
        else
            i++;
    }
}

static void *run(void *arg)
{
    struct relay *r = arg;

    while (!atomic_load(&r->stop)) {
        struct pollfd listener = {.fd = r->listener, .events = POLLIN};

        if (poll(&listener, 1, TURN_MS) > 0)
            take(r);
        if (atomic_exchange(&r->reset, false)) {
            atomic_fetch_add(&r->n_reset, r->n);
            while (r->n > 0)
                drop(r, r->n - 1, true);
        }
        turn(r);
    }
    while (r->n > 0)
        drop(r, r->n - 1, true);
    return NULL;
}

struct relay *relay_start(uint16_t target, uint64_t bytes_per_s)
{
    struct relay *r = calloc(1, sizeof(*r));
    struct sockaddr_in addr = loopback(0);
    socklen_t len = sizeof(addr);

    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(r->listener, (struct sockaddr *)&addr, sizeof(addr)) != 0 ||
        listen(r->listener, SOMAXCONN) != 0 ||
        getsockname(r->listener, (struct sockaddr *)&addr, &len) != 0)
        bail("relay: %s", strerror(errno));
    r->port = ntohs(addr.sin_port);
    atomic_store(&r->target, target);
    atomic_store(&r->pace, bytes_per_s);
    if (pthread_create(&r->thread, NULL, run, r) != 0)
        bail("relay: no thread");
    return r;
}

uint16_t relay_port(const struct relay *r)
{
    return r->port;
}

void relay_set_pace(struct relay *r, uint64_t bytes_per_s)
{
    atomic_store(&r->pace, bytes_per_s);
}

void relay_set_target(struct relay *r, uint16_t target)
{
    atomic_store(&r->target, target);
}

uint64_t relay_bytes(const struct relay *r)
{
    return atomic_load(&r->bytes);
}

void relay_reset(struct relay *r)
{
    atomic_store(&r->reset, true);
}

unsigned relay_n_taken(const struct relay *r)
{
    return atomic_load(&r->n_taken);
}

unsigned relay_n_reset(const struct relay *r)
{
    return atomic_load(&r->n_reset);
}

void relay_stop(struct relay *r)
{
    atomic_store(&r->stop, true);
    pthread_join(r->thread, NULL);
    close(r->listener);
    free(r);
}
