/* A connection to one address, dialled a second time when the first try hangs.
 *
 * A lost SYN, or its answer, costs a second: the kernel knows no round trip yet (RFC 6298, 2.1).
 * Who knows one from another connection need not wait so long: the first of two tries to be up
 * wins.
 *
 * Thread: the loop's. */
#ifndef LH_IO_CONNECT_H
#define LH_IO_CONNECT_H

#include "io/net/sock.h"

#include <stdbool.h>
#include <uv.h>

struct lh_connect_try {
    struct lh_connect *of;
    uv_poll_t poll;
    int fd; /* -1: failed, or not begun */
};

struct lh_connect {
    struct lh_addr addr;
    const struct lh_stream_options *opts; /* NULL: none; must last until done */
    uint64_t again_ms;                    /* until the second try; 0: there is none */
    uint64_t limit_ms;                    /* for both */
    /* Fires once, later: fd >= 0 is connected (the receiver owns it), or -1 with an errno, of the
     * last try to fail, ETIMEDOUT or ECANCELED. All handles are closed: the memory may go. */
    void (*done)(struct lh_connect *c, int fd, int sys_errno);

    struct lh_stream_given given; /* what the kernel made of opts */
    uv_loop_t *loop;
    uv_timer_t timer;
    struct lh_connect_try tries[2];
    unsigned n_tries;
    unsigned n_handles;
    bool over;
    int fd;
    int sys_errno;
};

/* addr, opts, again_ms, limit_ms, done are set before. */
void lh_connect_start(struct lh_connect *c, uv_loop_t *loop);

/* done still fires, with ECANCELED. */
void lh_connect_cancel(struct lh_connect *c);

#endif
