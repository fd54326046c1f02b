#include "io/net/dial.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static void try_next(struct lh_dial *dial);

static void end(struct lh_dial *dial, int fd)
{
    if (dial->list != NULL)
        uv_freeaddrinfo(dial->list);
    dial->list = NULL;
    dial->done(dial, fd);
}

static void on_connect(struct lh_connect *connect, int fd, int sys_errno)
{
    struct lh_dial *dial = LH_CONTAINER_OF(connect, struct lh_dial, connect);
    char text[LH_ADDR_TEXT];

    dial->connecting = false;
    if (fd >= 0) {
        end(dial, fd);
        return;
    }
    lh_addr_text(&connect->addr, text);
    if (sys_errno == ETIMEDOUT)
        lh_err_set(&dial->err, LH_E_CONNECT,
                   "no answer from %s: is the host up, and does a firewall let port %u through?",
                   text, dial->port);
    else
        lh_err_sys(&dial->err, LH_E_CONNECT, sys_errno, "cannot connect to %s", text);
    lh_log(dial->log, LH_LOG_INFO, "dial error=\"%s\"", dial->err.text);
    try_next(dial);
}

/* False: it is not to be connected to, and dial->err says why. */
static bool try_address(struct lh_dial *dial)
{
    char text[LH_ADDR_TEXT];

    if (dial->loopback_only && !lh_addr_is_loopback(&dial->connect.addr)) {
        lh_err_set(
            &dial->err, LH_E_REFUSED,
            "%s is not this host: nothing is encrypted yet, so that needs --insecure on both "
            "sides",
            lh_addr_text(&dial->connect.addr, text));
        return false;
    }
    dial->connect.opts = NULL;
    dial->connect.again_ms = 0;
    dial->connect.limit_ms = dial->timeout_ms;
    dial->connect.done = on_connect;
    dial->connecting = true;
    lh_connect_start(&dial->connect, dial->loop);
    return true;
}

static void try_next(struct lh_dial *dial)
{
    if (dial->cancelled) {
        lh_err_set(&dial->err, LH_E_CANCELLED, "interrupted");
        end(dial, -1);
        return;
    }
    while (dial->next != NULL) {
        memcpy(&dial->connect.addr.sa, dial->next->ai_addr, dial->next->ai_addrlen);
        dial->connect.addr.len = dial->next->ai_addrlen;
        dial->next = dial->next->ai_next;
        if (try_address(dial))
            return;
    }
    end(dial, -1);
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
    dial->list = dial->next = NULL;
    dial->connecting = dial->cancelled = false;
    memset(&dial->err, 0, sizeof(dial->err));
    snprintf(port, sizeof(port), "%u", dial->port);
    dial->resolve.data = dial;
    r = uv_getaddrinfo(loop, &dial->resolve, on_resolved, dial->host, port, &hints);
    if (r != 0) /* the name cannot even be asked for */
        return lh_err_set(&dial->err, r == UV_ENOMEM ? LH_E_NOMEM : LH_E_RESOLVE,
                          "cannot resolve the host name %s: %s", dial->host, uv_strerror(r));
    dial->resolving = true;
    return 0;
}

void lh_dial_cancel(struct lh_dial *dial)
{
    if (dial->cancelled)
        return;
    dial->cancelled = true;
    if (dial->resolving)
        uv_cancel((uv_req_t *)&dial->resolve); /* done fires from on_resolved either way */
    else if (dial->connecting)
        lh_connect_cancel(&dial->connect);
}
