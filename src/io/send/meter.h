/* What the kernel says of a sending stream, sampled, and what is asked of it in return: its
 * low-water mark by its rate, its pacing as the main loop wants it.
 *
 * Thread: the stream's loop; the counters are atomics, which the main loop reads. */
#ifndef LH_IO_METER_H
#define LH_IO_METER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of one stream slot. The sums are over all connections that it had; tcp(7) TCP_INFO. */
struct lh_meter_counters {
    /* Written by the stream's loop. */
    atomic_uint_fast64_t acked_bytes;
    atomic_uint_fast64_t delivered_bytes; /* in order or not: steadier than what is acknowledged */
    atomic_uint_fast64_t resent_bytes;    /* sent again by TCP */
    atomic_uint_fast64_t retransmits;     /* the same in segments */
    atomic_uint_fast64_t busy_us;         /* there was something to send */
    atomic_uint_fast64_t rwnd_limited_us;
    atomic_uint_fast64_t sndbuf_limited_us;
    atomic_uint_fast64_t last_Bps;   /* delivered a second, over the last sample alone */
    atomic_uint_fast64_t sampled_ms; /* when that was */
    atomic_uint_fast64_t rate_Bps;   /* bytes acknowledged a second, smoothed; 0: not known yet */
    atomic_uint_fast64_t used_Bps;   /* the same of bytes delivered */
    atomic_uint_fast64_t rtt_us;     /* smoothed; 0: no connection */
    atomic_uint_fast64_t min_rtt_us;
    /* Of the connection at hand. */
    atomic_uint_fast64_t
        brought_bytes; /* frames of blocks acknowledged by the peer's TCP, or left out */
    atomic_uint_fast64_t queued_bytes; /* in the socket and not acknowledged */
    atomic_bool held;                  /* by the peer's window, most of the last span */
    /* Written by the main loop. */
    atomic_uint_fast64_t pace_Bps; /* at most so fast, bytes a second; 0: as TCP likes */
};

/* A counter as another thread sees it: late by a moment, and in no order with the others. */
static inline uint64_t lh_meter_get(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct lh_tcp_state;

/* One connection's. */
struct lh_meter {
    struct lh_meter_counters *counters;
    int fd;
    uint64_t sampled_ms;
    uint64_t acked_bytes; /* at the last sample, and so on */
    uint32_t delivered;
    uint64_t resent_bytes;
    uint64_t retransmits;
    uint64_t busy_us;
    uint64_t rwnd_limited_us;
    uint64_t sndbuf_limited_us;
    uint64_t rate_Bps;
    uint64_t used_Bps; /* delivered */
    uint64_t pace_Bps; /* as set */
    const char *anew;  /* congestion control that begins anew once, NULL: none, or it has; */
    uint64_t anew_ms;  /* and when, once the stream is paced: its start-up would overrun the path */
    uint32_t lowat_bytes;
    uint64_t written_bytes; /* frames of blocks handed to the socket; the stream counts */
    uint64_t skipped_bytes; /* frames left out, */
    uint64_t skip_at_bytes; /* the last of them behind so many written */
    uint64_t mark_bytes;    /* of them, as of an earlier moment, */
    uint64_t mark_at_bytes; /* the last behind so many: else what is left out again and again would
                               never count */
    uint64_t settled_bytes; /* those that count as brought */
};

/* The connection is up. lowat_bytes: what it was given. */
void lh_meter_start(struct lh_meter *m, int fd, uint32_t lowat_bytes,
                    struct lh_meter_counters *counters);

/* Let BBR begin anew once, after so long (lh_pace_apart). congestion: outlives the meter. */
void lh_meter_anew(struct lh_meter *m, const char *congestion, uint64_t after_ms);

/* A frame of so many bytes is left out: it counts as brought when all before it is. */
void lh_meter_skip(struct lh_meter *m, uint64_t bytes);

/* Sample, and set what follows from it. silent_ms: how long the peer has acknowledged nothing of
 * what is in flight, 0 when nothing is. False when the kernel does not say. */
bool lh_meter_sample(struct lh_meter *m, uint64_t *silent_ms);

#endif
