#include "io/dial.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void try_next(struct lh_dial *dial);

int lh_dial_socket(const struct lh_addr *addr, const struct lh_stream_options *opts,
                   struct lh_stream_given *given)
{
    int fd = socket(addr->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    lh_sock_common(fd);
    if (opts != NULL)
        lh_sock_stream(fd, opts, given);
    if (connect(fd, (const struct sockaddr *)&addr->sa, addr->len) != 0 && errno != EINPROGRESS) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct lh_dial *dial = handle->data;

    if (dial->fd >= 0 && dial->cancelled) { /* while this timer was being closed */
        close(dial->fd);
        dial->fd = -1;
        lh_err_set(&dial->err, LH_E_CANCELLED, "interrupted");
    }
    dial->done(dial, dial->fd);
}

static void end(struct lh_dial *dial)
{
    if (dial->list != NULL)
        uv_freeaddrinfo(dial->list);
    dial->list = NULL;
    uv_close((uv_handle_t *)&dial->timer, on_timer_closed);
}

/* A poll handle must be closed before the next try can use it. */
static void on_poll_closed(uv_handle_t *handle)
{
    struct lh_dial *dial = handle->data;

    if (dial->fd >= 0 && !dial->cancelled)
        end(dial);
    else
        try_next(dial);
}

/* The try under way ended: sys_errno 0 when it is connected. */
static void tried(struct lh_dial *dial, int sys_errno)
{
    char text[LH_ADDR_TEXT];

    if (sys_errno != 0) {
        close(dial->fd);
        dial->fd = -1;
        lh_addr_text(&dial->addr, text);
        if (sys_errno == ETIMEDOUT)
            lh_err_set(
                &dial->err, LH_E_CONNECT,
                "no answer from %s: is the host up, and does a firewall let port %u through?", text,
                dial->port);
        else
            lh_err_sys(&dial->err, LH_E_CONNECT, sys_errno, "cannot connect to %s", text);
        lh_log(dial->log, LH_LOG_INFO, "dial error=\"%s\"", dial->err.text);
    }
    dial->polling = false;
    uv_timer_stop(&dial->timer);
    uv_poll_stop(&dial->poll);
    uv_close((uv_handle_t *)&dial->poll, on_poll_closed);
}

static void on_connect(uv_poll_t *poll, int status, int events)
{
    struct lh_dial *dial = poll->data;
    int sys_errno = 0;
    socklen_t len = sizeof(sys_errno);

    getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len);
    if (sys_errno == 0 && status < 0)
        sys_errno = ECONNRESET;
    tried(dial, sys_errno);
}

static void on_timeout(uv_timer_t *timer)
{
    tried(timer->data, ETIMEDOUT);
}

/* Start connecting to dial->addr. False: it failed at once, and dial->err says why. */
static bool try_address(struct lh_dial *dial)
{
    char text[LH_ADDR_TEXT];

    lh_addr_text(&dial->addr, text);
    if (dial->loopback_only && !lh_addr_is_loopback(&dial->addr)) {
        lh_err_set(
            &dial->err, LH_E_REFUSED,
            "%s is not this host: nothing is encrypted yet, so that needs --insecure on both "
            "sides",
            text);
        return false;
    }
    dial->fd = lh_dial_socket(&dial->addr, NULL, NULL);
    if (dial->fd < 0) {
        lh_err_sys(&dial->err, LH_E_CONNECT, errno, "cannot connect to %s", text);
        return false;
    }
    if (uv_poll_init(dial->loop, &dial->poll, dial->fd) != 0) {
        close(dial->fd);
        dial->fd = -1;
        lh_err_set(&dial->err, LH_E_NOMEM, "out of memory");
        return false;
    }
    dial->poll.data = dial;
    dial->polling = true;
    uv_poll_start(&dial->poll, UV_WRITABLE, on_connect);
    uv_timer_start(&dial->timer, on_timeout, dial->timeout_ms, 0);
    return true;
}

static void try_next(struct lh_dial *dial)
{
    if (dial->fd >= 0) { /* connected, but cancelled meanwhile */
        close(dial->fd);
        dial->fd = -1;
    }
    if (dial->cancelled) {
        lh_err_set(&dial->err, LH_E_CANCELLED, "interrupted");
        end(dial);
        return;
    }
    while (dial->next != NULL) {
        memcpy(&dial->addr.sa, dial->next->ai_addr, dial->next->ai_addrlen);
        dial->addr.len = dial->next->ai_addrlen;
        dial->next = dial->next->ai_next;
        if (try_address(dial))
            return;
    }
    end(dial);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lh_dial *dial = request->data;

    dial->resolving = false;
    dial->list = dial->next = list;
    if (status != 0)
        lh_err_set(&dial->err, LH_E_RESOLVE, "cannot resolve the host name %s: %s", dial->host,
                   uv_strerror(status));
    try_next(dial);
}

int lh_dial_start(struct lh_dial *dial, uv_loop_t *loop)
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    int r;

    dial->loop = loop;
    dial->fd = -1;
    dial->list = dial->next = NULL;
    dial->polling = dial->cancelled = false;
    memset(&dial->err, 0, sizeof(dial->err));
    snprintf(port, sizeof(port), "%u", dial->port);
    dial->resolve.data = dial;
    r = uv_getaddrinfo(loop, &dial->resolve, on_resolved, dial->host, port, &hints);
    if (r != 0) /* the name cannot even be asked for */
        return lh_err_set(&dial->err, r == UV_ENOMEM ? LH_E_NOMEM : LH_E_RESOLVE,
                          "cannot resolve the host name %s: %s", dial->host, uv_strerror(r));
    dial->resolving = true;
    uv_timer_init(loop, &dial->timer);
    dial->timer.data = dial;
    return 0;
}

void lh_dial_cancel(struct lh_dial *dial)
{
    if (dial->cancelled)
        return;
    dial->cancelled = true;
    if (dial->resolving)
        uv_cancel((uv_req_t *)&dial->resolve); /* done fires from on_resolved either way */
    else if (dial->polling)
        tried(dial, ECANCELED);
}
