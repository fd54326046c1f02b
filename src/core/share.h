/* How fast a transfer may send, and how much of that each stream may.
 *
 * Three things bound the whole; the least counts:
 *
 *   path   what the path was seen to carry, and a little more. Each BBR stream probes for more than
 *          its part, and so many of them overrun a buffer between them that none would alone; bound
 *          to a little above what fits they carry the same and lose nothing there. Where the bound
 *          is reached it goes up, the quicker the longer.
 *   limit  what the user allows, kept over seconds, not only at each moment: BBR stays some per
 *          cent below what its pacing is bounded to.
 *   yield  what others leave, where that is asked for: core/yield.
 *
 * The bound is set stream by stream, in the kernel's pacing, and the parts are never more than the
 * whole. Streams that are slower for reasons of their own leave what they do not use to the others.
 *
 * Pure. Main loop, a few times a second. Rates are bytes a second; 0 means no bound. */
#ifndef LH_CORE_SHARE_H
#define LH_CORE_SHARE_H

#include "core/yield.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lh_share_sight {
    uint64_t now_ms;
    uint64_t delivered_bytes; /* that arrived, since the beginning, all streams */
    uint64_t resent_bytes;
    uint32_t rtt_us;        /* the least seen */
    unsigned queue_percent; /* round trip now, above the least one, in percent of that */
    uint32_t rtt_now_us;    /* the mean of the streams', */
    uint32_t rtt_least_us;  /* and of what is the least of each */
    bool held;              /* source or receiver holds it up */
    bool free_to_grow;      /* more streams are being tried */
};

struct lh_share {
    uint64_t limit_Bps; /* 0: none */
    bool by_path;
    bool background;
    struct lh_yield yield;

    uint64_t period_ms; /* when the period at hand began; 0: never ticked */
    uint64_t period_bytes;
    uint64_t period_Bps; /* of the one before */
    uint64_t bucket_ms;
    uint64_t best_Bps;        /* of the periods since then */
    uint64_t best_before_Bps; /* of the 5 s before */
    unsigned gain_percent;
    uint64_t path_Bps;

    uint64_t tick_ms;
    uint64_t tick_bytes;
    bool short_of_limit; /* it is not reached */
    int64_t credit;      /* limit: bytes allowed and not sent, or sent and not allowed */
};

/* by_path: bound it to what the path carries; meant for BBR. background: to what others leave. */
void lh_share_init(struct lh_share *s, uint64_t limit_Bps, bool by_path, bool background);

/* The bound before anything is seen. */
uint64_t lh_share_first(const struct lh_share *s);

/* The bound of the whole from now on, 0: none. */
uint64_t lh_share_tick(struct lh_share *s, const struct lh_share_sight *sight);

/* True while the limit, and nothing else, holds the transfer. */
static inline bool lh_share_limits(const struct lh_share *s)
{
    return s->limit_Bps > 0 && !s->short_of_limit;
}

/* The parts of `total` (0: no bound) that each of n streams (n > 0) may send: half more than
 * it was seen to send (rates; 0: not known yet, an even part), but not next to nothing; what is
 * left over, evenly. If that is more than the total, the largest are cut. Each has a bound of its
 * own, so that the total is kept whatever they do next: with one bound for all, those that were
 * slow when it was set send more than they then did, and many of them fill a buffer that is not
 * theirs to fill. All 0 for a total of 0. */
void lh_share_parts(uint64_t total_Bps, const uint64_t rates_Bps[], size_t n, uint64_t parts_Bps[]);

#endif
