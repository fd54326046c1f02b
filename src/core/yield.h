/* A rate that takes what others leave (--share background): it falls when the queue or the loss of
 * the path grows, and grows again while it is clean. In purpose like LEDBAT (RFC 6817), but by
 * rate: BBR has no use for a window that somebody else moves.
 *
 * Full is the path when round trips are longer than the least one by 10 ms and a twentieth of it,
 * or when clearly more is lost than this path loses anyway. What a path loses by itself is learnt
 * slowly, so a lossy one is not taken for a full one.
 *
 * The least round trip is that of the last half hour in which anything was seen (RFC 6817's base
 * delay history, which is to be 10 minutes or longer), or since lh_yield_init: each session of a
 * file begins anew. The kernel forgets its least after 5 minutes (net.ipv4.tcp_min_rtt_wlen):
 * beside a flow that keeps a queue standing for longer it would take the queue for the path. A path
 * that has become longer for good is taken for a full one as long.
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
    uint32_t rtt_us;       /* now, of the streams' the mean; 0: not known */
    uint32_t least_rtt_us; /* as the kernel has it, the mean as well */
};

#define LH_YIELD_MINUTES 30

struct lh_yield {
    uint64_t rate_Bps;
    uint64_t full_Bps;  /* what was carried when the path was full last; 0: it never was */
    unsigned clean;     /* periods beyond that since then */
    uint64_t since_ms;  /* the period at hand; 0: none yet */
    uint64_t delivered; /* at its beginning */
    uint64_t resent;
    uint32_t least_us[LH_YIELD_MINUTES]; /* round trip by minute, 0: none seen, */
    unsigned minute;                     /* this one, */
    uint64_t minute_ms;                  /* begun then; 0: none yet */
    uint32_t queue_us;                   /* round trip above the least, at the last tick */
    uint64_t loss_ppm;                   /* what the path loses by itself, smoothed */
};

/* Begins low. */
void lh_yield_init(struct lh_yield *y);

/* The rate from now on, never 0. */
uint64_t lh_yield_tick(struct lh_yield *y, const struct lh_yield_sight *sight);

#endif
