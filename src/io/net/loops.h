/* Stream loops: threads that each run a uv_loop_t of the engine's own, for data connections.
 *
 * A connection is pinned to one loop for life; the main loop talks to it through the mailbox. */
#ifndef LH_IO_LOOPS_H
#define LH_IO_LOOPS_H

#include "io/net/mbox.h"

#include <longhaul/longhaul.h>

#include <stdatomic.h>
#include <stdbool.h>

struct lh_loop {
    uv_loop_t uv;
    struct lh_mbox mbox;
    pthread_t thread;
    struct lh_loops *set;
    struct lh_msg stop_msg;
    struct lh_msg stopped_msg;
    void *user; /* what the owner keeps for each loop; the loop's thread only */
    /* Any thread reads these. */
    atomic_int tid;                        /* of the thread; 0: not running yet */
    atomic_uint_fast64_t writing_since_ms; /* a write to a disk is under way; 0: none */
    atomic_uint_fast64_t writing_us;       /* went into writes that have ended */
    atomic_uint_fast64_t pool_wait_us;     /* some stream waited for a buffer */
};

struct lh_loops {
    unsigned n;
    struct lh_loop *v;
    struct lh_mbox *main; /* of the loop that owns the set */
    unsigned n_running;
    bool failed; /* to start: those that run stop without a word */
    void (*stopped)(struct lh_loops *set);
};

/* n: 0 for one a core, at most 4. Returns 0 or -LH_E_NOMEM. */
int lh_loops_start(struct lh_loops *set, unsigned n, struct lh_mbox *main);

/* Every handle that the owner put on the loops must be closed. `stopped` fires on the main loop,
 * after the threads are joined. Not if start failed. */
void lh_loops_stop(struct lh_loops *set, void (*stopped)(struct lh_loops *set));

#endif
