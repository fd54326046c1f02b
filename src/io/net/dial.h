/* Connect to a host: resolve it, then try each address in turn.
 *
 * Failure: one sentence that names the host, each address being tried in the log only. */
#ifndef LH_IO_DIAL_H
#define LH_IO_DIAL_H

#include "io/net/connect.h"
#include "util/err.h"
#include "util/log.h"

#include <stdbool.h>
#include <uv.h>

struct lh_dial {
    uv_loop_t *loop;
    const struct lh_log *log;
    char host[256];
    uint16_t port;
    bool loopback_only;  /* refuse other addresses: no --insecure */
    uint64_t timeout_ms; /* for each address */
    uv_getaddrinfo_t resolve;
    struct addrinfo *list; /* what was resolved, or NULL */
    struct addrinfo *next;
    struct lh_connect connect; /* its address: that is being tried; once connected, the peer */
    struct lh_err err;         /* of the last try */
    bool resolving;
    bool connecting;
    bool cancelled;
    /* Fires once, later: fd >= 0 connected (the receiver owns it), or -1 with dial->err. All of the
     * dial's handles are closed: its memory may go, or dial again. */
    void (*done)(struct lh_dial *dial, int fd);
};

/* host, port, loopback_only, timeout_ms, log, done are set before. Returns 0, or -LH_E_NOMEM or
 * -LH_E_RESOLVE with a sentence in dial->err; done does not fire then. */
int lh_dial_start(struct lh_dial *dial, uv_loop_t *loop);

/* done still fires, with -1 and LH_E_CANCELLED. */
void lh_dial_cancel(struct lh_dial *dial);

#endif
