/* The receiver: listen, accept, tick, stop.
 *
 * Thread: main loop (the caller's).
 *
 * Happy path: start binds and starts the engine's threads -> accept -> sessions do the rest ->
 * close stops listening, ends every session, waits for targets to commit and close, stops the
 * threads, and fires `closed`. Failures: out of descriptors: a spare one is given up to accept and
 * drop the connection, and the listener pauses until the next tick, so that the loop does not spin.
 */
#include "io/disk/partials.h"
#include "io/recv/recv.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS 500
#define ACCEPTS_PER_TURN 64
#define OPENER_THREADS 2
#define FDS_KEPT_MIN 8 /* not used for connections: a transfer opens four */
#define FDS_KEPT_MAX 512
#define WARN_EVERY_MS 10000
#define EXPIRE_EVERY_MS (10ull * 60 * 1000)

void lh_serve_options_init(struct lh_serve_options *opts)
{
    memset(opts, 0, sizeof(*opts));
    opts->allow = LH_ALLOW_OWNER;
    opts->commit_ms = 1000;
    opts->commit_bytes = 256ull * 1024 * 1024;
    opts->holder_timeout_ms = 15000;
    opts->pool_bytes = 32ull * 1024 * 1024;
    opts->tree_memory_bytes = 512ull * 1024 * 1024;
    opts->log_level = LH_LOG_WARN;
}

/* ---- accept ---- */

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Connections must leave descriptors for the files that they write. They come lowest first. */
static int connection_fd_max(void)
{
    struct rlimit limit;
    rlim_t keep;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT32_MAX)
        return INT32_MAX;
    keep = limit.rlim_cur / 8;
    if (keep < FDS_KEPT_MIN)
        keep = FDS_KEPT_MIN;
    if (keep > FDS_KEPT_MAX)
        keep = FDS_KEPT_MAX;
    return (int)(limit.rlim_cur - keep);
}

static void warn_descriptors(struct lh_serve *serve)
{
    uint64_t now_ms = lh_now_ms();

    if (now_ms < serve->warn_due_ms)
        return;
    serve->warn_due_ms = now_ms + WARN_EVERY_MS;
    lh_log(&serve->log, LH_LOG_WARN,
           "file descriptors run low: connections are dropped (raise `ulimit -n`)");
}

/* None left: the peer is better served by a closed connection than by silence. */
static void shed(struct lh_listener *l)
{
    if (l->serve->spare_fd >= 0) {
        int fd;

        close(l->serve->spare_fd);
        fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
    }
    l->serve->spare_fd = open_spare();
    l->paused = true;
    uv_poll_stop(&l->poll);
    warn_descriptors(l->serve);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct lh_listener *l = LH_CONTAINER_OF(poll, struct lh_listener, poll);

    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct lh_addr peer = {.len = sizeof(peer.sa)};
        int fd = accept4(l->fd, (struct sockaddr *)&peer.sa, &peer.len, SOCK_CLOEXEC);

        if (fd >= l->serve->connection_fd_max) {
            close(fd);
            warn_descriptors(l->serve);
        } else if (fd >= 0 && l->serve->n_sessions < LH_SESSIONS_MAX)
            lh_rsession_accept(l->serve, fd, &peer);
        else if (fd >= 0)
            close(fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return shed(l);
        else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void expire_run(struct lh_job *job)
{
    struct lh_serve *serve = LH_CONTAINER_OF(job, struct lh_serve, expire_job);
    uint64_t n_removed = 0;
    struct lh_err err = {0};

    if (lh_partials_expire(serve->root_path, serve->opts.partial_ttl_ms, &n_removed, &err) != 0)
        lh_log(&serve->log, LH_LOG_WARN, "partials error=\"%s\"", err.text);
    else if (n_removed > 0)
        lh_log(&serve->log, LH_LOG_INFO, "partials removed=%llu", (unsigned long long)n_removed);
}

static void on_expired(struct lh_job *job)
{
    struct lh_serve *serve = LH_CONTAINER_OF(job, struct lh_serve, expire_job);

    serve->expiring = false;
    serve->expire_due_ms = lh_now_ms() + EXPIRE_EVERY_MS;
    lh_serve_maybe_stop(serve);
}

static void on_tick(uv_timer_t *timer)
{
    struct lh_serve *serve = LH_CONTAINER_OF(timer, struct lh_serve, tick);
    uint64_t now_ms = lh_now_ms();
    struct lh_rsession *next;

    for (struct lh_rsession *s = serve->sessions; s != NULL; s = next) {
        next = s->next;
        lh_rsession_tick(s, now_ms);
    }
    for (unsigned i = 0; i < serve->n_listeners; i++)
        if (serve->listeners[i].paused) {
            serve->listeners[i].paused = false;
            uv_poll_start(&serve->listeners[i].poll, UV_READABLE, on_connection);
        }
    if (serve->opts.partial_ttl_ms > 0 && !serve->expiring && !serve->closing &&
        now_ms >= serve->expire_due_ms) {
        serve->expiring = true;
        lh_worker_submit(&serve->opener, &serve->expire_job, expire_run, on_expired, &serve->mbox);
    }
}

/* ---- stop ---- */

static void on_mbox_closed(struct lh_mbox *mbox)
{
    struct lh_serve *serve = LH_CONTAINER_OF(mbox, struct lh_serve, mbox);
    struct lh_serve_callbacks cbs = serve->cbs;

    free(serve->root_path);
    free(serve);
    if (cbs.closed != NULL)
        cbs.closed(cbs.arg);
}

static void on_loops_stopped(struct lh_loops *set)
{
    struct lh_serve *serve = LH_CONTAINER_OF(set, struct lh_serve, loops);

    lh_worker_stop(&serve->opener);
    while (serve->committers != NULL) {
        struct lh_committer *c = serve->committers;

        serve->committers = c->next;
        lh_committer_stop(c);
    }
    lh_pool_free(&serve->pool);
    lh_place_close(serve->root);
    if (serve->spare_fd >= 0)
        close(serve->spare_fd);
    lh_mbox_close(&serve->mbox, on_mbox_closed);
}

void lh_serve_maybe_stop(struct lh_serve *serve)
{
    if (!serve->closing || serve->stopping || serve->n_handles > 0 || serve->sessions != NULL ||
        serve->targets != NULL || serve->n_streams > 0 || serve->expiring)
        return;
    serve->stopping = true;
    lh_rstream_stop_loops(serve);
    lh_loops_stop(&serve->loops, on_loops_stopped);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct lh_serve *serve = handle->data;

    serve->n_handles--;
    lh_serve_maybe_stop(serve);
}

void lh_serve_close(struct lh_serve *serve)
{
    if (serve->closing)
        return;
    serve->closing = true;
    for (unsigned i = 0; i < serve->n_listeners; i++) {
        uv_close((uv_handle_t *)&serve->listeners[i].poll, on_handle_closed);
        close(serve->listeners[i].fd);
    }
    for (struct lh_rsession *s = serve->sessions; s != NULL; s = s->next)
        lh_rsession_end(s, LH_WIRE_STOPPING, "the receiver is shutting down");
    uv_close((uv_handle_t *)&serve->tick, on_handle_closed);
    for (struct lh_rsession *s = serve->sessions; s != NULL; s = s->next)
        lh_ctl_close(&s->ctl);
}

/* ---- start ---- */

static int listen_on(struct lh_serve *serve, const struct lh_addr *addr, struct lh_err *err)
{
    struct lh_listener *l = &serve->listeners[serve->n_listeners];
    struct lh_addr bound = {.len = sizeof(bound.sa)};
    char text[LH_ADDR_TEXT];
    int on = 1;
    int fd = socket(addr->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    lh_addr_text(addr, text);
    if (fd < 0)
        return lh_err_sys(err, LH_E_LISTEN, errno, "cannot listen on %s", text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (addr->sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&addr->sa, addr->len) != 0 ||
        listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound.sa, &bound.len) != 0) {
        int saved = errno;

        close(fd);
        return lh_err_sys(err, LH_E_LISTEN, saved, "cannot listen on %s%s", text,
                          saved == EADDRINUSE ? " (is another receiver running there?)" : "");
    }
    if (uv_poll_init(serve->loop, &l->poll, fd) != 0) {
        close(fd);
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    }
    l->serve = serve;
    l->fd = fd;
    l->poll.data = serve;
    serve->n_listeners++;
    serve->n_handles++;
    serve->port = lh_addr_port(&bound);
    uv_poll_start(&l->poll, UV_READABLE, on_connection);
    return 0;
}

static int listen_numeric(struct lh_serve *serve, const char *host, uint16_t port,
                          struct lh_err *err)
{
    struct lh_addr addr;

    if (lh_addr_numeric(host, port, &addr) != 0)
        return lh_err_set(err, LH_E_ADDRESS, "%s: not an address of this host", host);
    return listen_on(serve, &addr, err);
}

/* By default both loopback addresses on one port; a host without IPv6 has one. */
static int listen_loopback(struct lh_serve *serve, uint16_t port, struct lh_err *err)
{
    int r = listen_numeric(serve, "127.0.0.1", port, err);
    struct lh_err ignored;

    if (r == 0)
        listen_numeric(serve, "::1", serve->port, &ignored);
    return r;
}

static int listen_name(struct lh_serve *serve, const char *host, uint16_t port, struct lh_err *err)
{
    static const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                          .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    struct lh_addr addr;
    char service[8];
    int r;

    snprintf(service, sizeof(service), "%u", port);
    r = getaddrinfo(host[0] != '\0' ? host : NULL, service, &hints, &list);
    if (r != 0)
        return lh_err_set(err, LH_E_ADDRESS, "cannot resolve %s: %s", host, gai_strerror(r));
    r = -LH_E_ADDRESS;
    for (struct addrinfo *a = list; a != NULL && serve->n_listeners < 2; a = a->ai_next) {
        memcpy(&addr.sa, a->ai_addr, a->ai_addrlen);
        addr.len = a->ai_addrlen;
        if (!serve->opts.insecure && !lh_addr_is_loopback(&addr)) {
            char text[LH_ADDR_TEXT];

            r = lh_err_set(
                err, LH_E_LISTEN,
                "%s is open to other hosts, and nothing is encrypted yet: add --insecure "
                "if you trust that network",
                lh_addr_text(&addr, text));
            break;
        }
        r = listen_on(serve, &addr, err);
        if (r != 0 && serve->n_listeners == 0)
            break;
    }
    freeaddrinfo(list);
    return serve->n_listeners > 0 && r != 0 ? 0 : r;
}

static int listen_all(struct lh_serve *serve, const char *listen, struct lh_err *err)
{
    char host[256] = "";
    uint16_t port = LH_DEFAULT_PORT;

    if (listen != NULL) {
        int r = lh_addr_split(listen, LH_DEFAULT_PORT, host, &port, err);

        if (r != 0)
            return r;
    }
    if (host[0] == '\0' && !serve->opts.insecure)
        return listen_loopback(serve, port, err);
    return listen_name(serve, host, port, err);
}

static void fill_defaults(struct lh_serve_options *o)
{
    struct lh_serve_options d;

    lh_serve_options_init(&d);
    if (o->commit_ms == 0)
        o->commit_ms = d.commit_ms;
    if (o->commit_bytes == 0)
        o->commit_bytes = d.commit_bytes;
    if (o->holder_timeout_ms == 0)
        o->holder_timeout_ms = d.holder_timeout_ms;
    if (o->tree_memory_bytes == 0)
        o->tree_memory_bytes = d.tree_memory_bytes;
    if (o->pool_bytes < 2 * LH_BLOCK_MAX)
        o->pool_bytes = o->pool_bytes == 0 ? d.pool_bytes : 2 * LH_BLOCK_MAX;
}

static int start_threads(struct lh_serve *serve, struct lh_err *err)
{
    if (lh_worker_start(&serve->opener, OPENER_THREADS, "lh-open") != 0)
        return lh_err_set(err, LH_E_NOMEM, "cannot start threads");
    if (lh_loops_start(&serve->loops, serve->opts.loops, &serve->mbox) != 0) {
        lh_worker_stop(&serve->opener);
        return lh_err_set(err, LH_E_NOMEM, "cannot start threads");
    }
    return 0;
}

static void free_quietly(struct lh_mbox *mbox)
{
    struct lh_serve *serve = LH_CONTAINER_OF(mbox, struct lh_serve, mbox);

    free(serve->root_path);
    free(serve);
}

/* What start has done so far is undone without a callback. */
static void undo_start(struct lh_serve *serve)
{
    serve->cbs.closed = NULL;
    if (serve->root != NULL)
        lh_place_close(serve->root);
    lh_mbox_close(&serve->mbox, free_quietly);
}

static int say(int status, const char *words, char *text, size_t text_size)
{
    if (text != NULL)
        snprintf(text, text_size, "%s", words);
    return status;
}

int lh_serve_start(uv_loop_t *loop, const struct lh_serve_options *opts,
                   const struct lh_serve_callbacks *cbs, struct lh_serve **out, char *text,
                   size_t text_size)
{
    struct lh_serve *serve;
    struct lh_err err = {0};
    int r;

    if (opts->root == NULL)
        return say(-LH_E_INVAL, "no root to write below", text, text_size);
    serve = calloc(1, sizeof(*serve));
    if (serve == NULL)
        return say(-LH_E_NOMEM, "out of memory", text, text_size);
    serve->loop = loop;
    serve->opts = *opts;
    serve->opts.root = serve->opts.listen = NULL;
    fill_defaults(&serve->opts);
    serve->cbs = *cbs;
    serve->log = (struct lh_log){opts->log, opts->log_arg, opts->log_level};
    serve->root_path = strdup(opts->root);
    if (serve->root_path == NULL || lh_mbox_init(&serve->mbox, loop) != 0) {
        free(serve->root_path);
        free(serve);
        return say(-LH_E_NOMEM, "out of memory", text, text_size);
    }
    r = lh_place_open(opts->root, &serve->root, &err);
    if (r == 0)
        r = start_threads(serve, &err);
    if (r != 0) {
        undo_start(serve);
        return say(r, err.text, text, text_size);
    }
    lh_pool_init(&serve->pool, serve->opts.pool_bytes);
    lh_quota_init(&serve->tree_memory, serve->opts.tree_memory_bytes);
    lh_random_bytes(serve->id, sizeof(serve->id));
    serve->spare_fd = open_spare();
    serve->connection_fd_max = connection_fd_max();
    uv_timer_init(loop, &serve->tick);
    serve->tick.data = serve;
    serve->n_handles++;
    uv_timer_start(&serve->tick, on_tick, TICK_MS, TICK_MS);
    r = listen_all(serve, opts->listen, &err);
    if (r != 0) {
        serve->cbs.closed = NULL;
        lh_serve_close(serve);
        return say(r, err.text, text, text_size);
    }
    if (serve->opts.insecure)
        lh_log(&serve->log, LH_LOG_WARN,
               "--insecure: no key, no encryption: whoever reaches port %u can write below %s",
               serve->port, serve->root_path);
    *out = serve;
    return 0;
}

uint16_t lh_serve_port(const struct lh_serve *serve)
{
    return serve->port;
}
