#include "io/net/connect.h"

#include <errno.h>
#include <unistd.h>

/* A non-blocking connect: the descriptor, or -1 with errno. */
static int begin(struct lh_connect *c)
{
    int fd = socket(c->addr.sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    lh_sock_common(fd);
    if (c->opts != NULL)
        lh_sock_stream(fd, c->opts, &c->given);
    if (connect(fd, (const struct sockaddr *)&c->addr.sa, c->addr.len) != 0 &&
        errno != EINPROGRESS) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct lh_connect *c = handle->data;

    if (--c->n_handles == 0)
        c->done(c, c->fd, c->sys_errno);
}

static void close_poll(struct lh_connect_try *try)
{
    uv_poll_stop(&try->poll);
    try->poll.data = try->of;
    uv_close((uv_handle_t *)&try->poll, on_handle_closed);
}

/* fd: the one that is connected, or -1. */
static void finish(struct lh_connect *c, int fd, int sys_errno)
{
    c->over = true;
    c->fd = fd;
    c->sys_errno = sys_errno;
    for (unsigned i = 0; i < c->n_tries; i++) {
        struct lh_connect_try *try = &c->tries[i];

        if (try->fd < 0)
            continue;
        close_poll(try);
        if (try->fd != fd)
            close(try->fd);
    }
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct lh_connect_try *try = poll->data;
    struct lh_connect *c = try->of;
    struct lh_connect_try *other = &c->tries[try == &c->tries[0]];
    int sys_errno = 0;
    socklen_t len = sizeof(sys_errno);

    getsockopt(try->fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len);
    if (sys_errno == 0 && status < 0)
        sys_errno = ECONNRESET;
    if (sys_errno == 0) {
        finish(c, try->fd, 0);
    } else if (other->fd < 0) {
        finish(c, -1, sys_errno);
    } else { /* the other may still get through */
        close_poll(try);
        close(try->fd);
        try->fd = -1;
    }
}

/* False with errno: there will be nothing to wait for. */
static bool try_once(struct lh_connect *c)
{
    struct lh_connect_try *try = &c->tries[c->n_tries];

    try->of = c;
    try->fd = begin(c);
    if (try->fd < 0)
        return false;
    if (uv_poll_init(c->loop, &try->poll, try->fd) != 0) {
        close(try->fd);
        try->fd = -1;
        errno = ENOMEM;
        return false;
    }
    try->poll.data = try;
    c->n_tries++;
    c->n_handles++;
    uv_poll_start(&try->poll, UV_WRITABLE, on_poll);
    return true;
}

static void on_limit(uv_timer_t *timer)
{
    finish(timer->data, -1, ETIMEDOUT);
}

static void on_again(uv_timer_t *timer)
{
    struct lh_connect *c = timer->data;

    try_once(c); /* where it cannot be, the first goes on alone */
    uv_timer_start(&c->timer, on_limit, c->limit_ms - c->again_ms, 0);
}

void lh_connect_start(struct lh_connect *c, uv_loop_t *loop)
{
    c->loop = loop;
    c->n_tries = 0;
    c->over = false;
    c->tries[0].fd = c->tries[1].fd = -1;
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->n_handles = 1;
    if (!try_once(c))
        finish(c, -1, errno);
    else if (c->again_ms > 0 && c->again_ms < c->limit_ms)
        uv_timer_start(&c->timer, on_again, c->again_ms, 0);
    else
        uv_timer_start(&c->timer, on_limit, c->limit_ms, 0);
}

void lh_connect_cancel(struct lh_connect *c)
{
    if (!c->over) {
        finish(c, -1, ECANCELED);
        return;
    }
    if (c->fd >= 0) /* up, and its handles are being closed */
        close(c->fd);
    c->fd = -1;
    c->sys_errno = ECANCELED;
}
