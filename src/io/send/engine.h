/* What sends share: stream loops, prep threads, buffers, idle sessions.
 *
 * Happy path: lh_engine_start, or by a send for itself alone -> join and leave by each send ->
 * lh_engine_close: the last one leaves, idle sessions say BYE, threads stop, all is freed. There is
 * no send without an engine. Failures: of start only.
 *
 * Threads: main loop, but for what says otherwise. */
#ifndef LH_IO_ENGINE_H
#define LH_IO_ENGINE_H

#include "io/net/loops.h"
#include "io/net/mbox.h"
#include "io/net/pool.h"
#include "io/net/worker.h"
#include "io/send/park.h"
#include "util/log.h"

#include <longhaul/longhaul.h>
#include <stdatomic.h>

struct lh_engine {
    uv_loop_t *loop;
    struct lh_log log;
    struct lh_mbox mbox; /* any thread posts */
    struct lh_loops loops;
    unsigned next_loop; /* where the next send begins to spread its streams */
    struct lh_worker prep;
    struct lh_pool pool;             /* of the prep threads */
    atomic_uint_fast64_t hashing_us; /* went into hashing jobs; any thread */
    struct lh_park park;
    bool keeps;           /* sessions that are done with: others may want them */
    char congestion[16];  /* that the kernel was asked about last, and */
    int congestion_errno; /* 0, or why it refuses that */
    uint64_t wmem_max;    /* of this host, see lh_sock_limits */
    uint64_t tcp_wmem_max;
    unsigned n_sends;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* One for a single send, which keeps no sessions. Returns 0 or -LH_E_NOMEM. */
int lh_engine_start_private(uv_loop_t *loop, uint32_t loops, const struct lh_log *log,
                            struct lh_engine **engine);

/* A send begins; it has gone, and nothing of it is under way in any thread. */
void lh_engine_join(struct lh_engine *engine);
void lh_engine_leave(struct lh_engine *engine);

/* Whether the kernel lets us use that congestion control: 0 or an errno. What it refuses is logged,
 * once for each name in a row. */
int lh_engine_congestion(struct lh_engine *engine, const char *name, const struct lh_log *log);

#endif
