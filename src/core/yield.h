/* A rate that takes what others leave (--share background): it falls when the queue or the loss of
 * the path grows, and grows again while it is clean. In purpose like LEDBAT (RFC 6817), but by
 * rate: BBR has no use for a window that somebody else moves.
 *
 * Full is the path when round trips are longer than the least one by 10 ms and a twentieth of it,
 * or when clearly more is lost than this path loses anyway. What a path loses by itself is learnt
 * slowly, so a lossy one is not taken for a full one.
 *
 * Pure. Main loop, a few times a second. Rates are bytes a second. */
#ifndef LH_CORE_YIELD_H
#define LH_CORE_YIELD_H

#include <stdbool.h>
#include <stdint.h>

struct lh_yield_sight {
    uint64_t now_ms;
    uint64_t delivered_bytes; /* since the beginning, all streams */
    uint64_t resent_bytes;
    uint32_t rtt_us;   /* the least seen; 0: not known */
    uint32_t queue_us; /* round trip now, above that */
};

struct lh_yield {
    uint64_t rate_Bps;
    uint64_t full_Bps;  /* what was carried when the path was full last; 0: it never was */
    unsigned clean;     /* periods beyond that since then */
    uint64_t since_ms;  /* the period at hand; 0: none yet */
    uint64_t delivered; /* at its beginning */
    uint64_t resent;
    uint64_t loss_ppm; /* what the path loses by itself, smoothed */
};

/* Begins low. */
void lh_yield_init(struct lh_yield *y);

/* The rate from now on, never 0. */
uint64_t lh_yield_tick(struct lh_yield *y, const struct lh_yield_sight *sight);

#endif
