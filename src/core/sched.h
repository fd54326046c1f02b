/* The sender's schedule of one file: which blocks still have to go, which stream has which.
 *
 * Streams pull: whoever drains asks for the next range. Ranges are at most 64 MiB and at most 2 s
 * of the stream's rate, and shrink towards the end so that no slow stream holds the tail. Grants do
 * not wait for acknowledgements, within a window of bytes that are granted and not yet durable.
 *
 *     missing --grant--> granted to a stream --ack--> durable
 *        ^                |    |                        |
 *        |                +----+ taken over by another stream (tail.h)
 *        +--stream died, again-+-------retracted--------+
 *
 * Pure: time and rates are arguments. Main loop only. */
#ifndef LH_CORE_SCHED_H
#define LH_CORE_SCHED_H

#include "core/runs.h"

#include <stdbool.h>
#include <stdint.h>

#define LH_SCHED_MAX_STREAMS 128
#define LH_RANGE_MAX_BYTES (64ull * 1024 * 1024)
#define LH_RANGE_FIRST_BYTES (4ull * 1024 * 1024) /* while a stream's rate is not known */
#define LH_RANGE_MAX_MS 2000
#define LH_RANGE_FLOOR_BYTES                                                                       \
    (1024ull * 1024) /* no smaller by shrinking while each can have one                            \
                      */

#define LH_SCHED_WAY_MAX 128 /* ranges; of more the first count as brought */

/* What TCP says of a stream. */
struct lh_sched_seen {
    uint64_t rate_Bps;
    uint64_t brought_bytes; /* frames acknowledged by the far end's TCP since the stream is up */
    uint64_t queued_bytes;  /* in the socket and not acknowledged */
    uint32_t rtt_ms;
    bool held; /* by the far end's window */
};

struct lh_sched_stream {
    bool live;
    uint64_t rate_Bps;      /* bytes per second, 0: not known yet */
    struct lh_runs granted; /* not yet durable */

    /* What TCP has not brought yet, in the order in which it is sent, whoever it is granted to by
     * now; see tail.h. */
    struct lh_run way[LH_SCHED_WAY_MAX];
    unsigned n_way;
    uint64_t passed_bytes; /* frames that have left the way */
    struct lh_sched_seen seen;
    uint64_t moved_ms; /* something was brought last, or nothing was in the socket; 0: not known */
    uint64_t late_ms;  /* held, and what is on the way will take long: since then; 0: not so */
};

struct lh_sched {
    uint64_t size;        /* of the file, bytes */
    uint32_t block_bytes; /* grid */
    uint64_t n_blocks;
    uint32_t holds_bytes;   /* what a block really holds, about, for tail.h; 0: block_bytes */
    uint64_t window;        /* bytes granted and not durable, at most; at least one range goes */
    struct lh_runs missing; /* neither granted nor durable */
    struct lh_runs durable;
    uint64_t granted_blocks; /* over all streams; a block can be granted once at a time */
    uint64_t reached; /* behind the highest block ever granted: lowest first, so all below were */
    struct lh_sched_stream streams[LH_SCHED_MAX_STREAMS];
};

/* Returns 0 or -LH_E_NOMEM. All blocks are missing at first. */
int lh_sched_init(struct lh_sched *s, uint64_t size, uint32_t block_bytes, uint64_t window);
void lh_sched_free(struct lh_sched *s);

/* So many blocks more, all full: for what is cut into blocks while it is sent. Only a schedule that
 * began with a size of whole blocks. Returns 0 or an error of runs; then nothing has changed. */
int lh_sched_grow(struct lh_sched *s, uint64_t n_blocks);

/* These runs are durable from before (LEDGER). Returns 0, -LH_E_NOMEM, -LH_E_LIMIT, or
 * -LH_E_PROTOCOL when outside the file. */
int lh_sched_restore(struct lh_sched *s, uint64_t first, uint64_t end);

/* The stream is connected and has nothing. */
void lh_sched_stream_up(struct lh_sched *s, unsigned stream);
void lh_sched_stream_rate(struct lh_sched *s, unsigned stream, uint64_t rate_Bps);

/* The stream is gone: what it had and is not durable is missing again. Returns 0 or an error of
 * runs (out of memory: the session must be taken up anew). */
int lh_sched_stream_down(struct lh_sched *s, unsigned stream);

/* The next range for a stream: whole blocks [*first, *end). False: nothing to grant now (all is
 * granted or durable, the window is full, or out of memory). */
bool lh_sched_grant(struct lh_sched *s, unsigned stream, uint64_t *first, uint64_t *end);

/* Blocks that are granted to one stream are another's from now on, which sends them too. Returns 0
 * or an error of runs; then nothing has changed. */
int lh_sched_take_over(struct lh_sched *s, unsigned from, unsigned to, uint64_t first,
                       uint64_t end);

/* Became durable, whoever sent it. -LH_E_PROTOCOL outside the file or never granted (a block that
 * is durable already is fine: a repeat; so is one that is missing again because its stream died).
 * -LH_E_NOMEM, -LH_E_LIMIT: the session must be taken up anew. */
int lh_sched_ack(struct lh_sched *s, uint64_t first, uint64_t end);

/* To be sent again: arrived damaged, or lost before it was durable. Only blocks that are granted
 * move; others are ignored. */
int lh_sched_again(struct lh_sched *s, uint64_t first, uint64_t end);

/* RETRACTED: durable blocks are missing again. */
int lh_sched_retracted(struct lh_sched *s, uint64_t first, uint64_t end);

/* The first run of blocks at or behind `from` that are granted and not durable. False: there is
 * none. */
bool lh_sched_in_flight(const struct lh_sched *s, uint64_t from, uint64_t *first, uint64_t *end);

static inline bool lh_sched_complete(const struct lh_sched *s)
{
    return s->durable.blocks == s->n_blocks;
}

/* Nothing is missing, or the window has no room that is worth a range. */
static inline bool lh_sched_nothing_to_grant(const struct lh_sched *s)
{
    return s->missing.n == 0 ||
           s->granted_blocks * s->block_bytes + LH_RANGE_FLOOR_BYTES > s->window;
}

/* Bytes of whole blocks of a set, the last block of the file being shorter. */
uint64_t lh_sched_bytes(const struct lh_sched *s, const struct lh_runs *r);

/* Blocks of a file on a grid; 0 for an empty file. */
static inline uint64_t lh_blocks_of(uint64_t size, uint32_t block_bytes)
{
    return size / block_bytes + (size % block_bytes != 0);
}

/* Bytes of one block: block_bytes, or less for the last. */
static inline uint32_t lh_block_length(uint64_t size, uint32_t block_bytes, uint64_t block)
{
    uint64_t left = size - block * block_bytes;

    return left < block_bytes ? (uint32_t)left : block_bytes;
}

#endif
