/* The sender's last blocks: once nothing is left to grant (or the window full), what a slow or
 * hanging stream holds is sent a second time on one that has nothing to do.
 *
 * A block that is sent a second time is from then on granted to the second stream; the first may
 * still bring it. The receiver takes the first verified copy and drops the other, so this costs
 * wire and nothing else, and it is done only where it clearly pays:
 *
 *   slow     what TCP has not brought to the far end would take the stream more than twice as long
 *            as the other one, and half a second: from the back of what it has under way, so that
 *            the two meet in the middle;
 *   held     the same, more patient, where the far end's window is closed: that may be the
 *            receiver's disk, so the receiver must have said since that its disk is free;
 *   hangs    for 5 s nothing moves, and since then the receiver has said that it waits for no disk
 *            and all that it has is durable: what is not durable has not reached it. Only so is
 *            anything sent again that TCP has brought to the far end: else it waits for a commit.
 *
 * Pure: time is an argument, milliseconds of any steady clock, never 0. Main loop only. */
#ifndef LH_CORE_TAIL_H
#define LH_CORE_TAIL_H

#include "core/sched.h"

#define LH_TAIL_MARGIN_MS 500 /* a stream is sampled each 250 ms */
#define LH_TAIL_MORE_MS 2000  /* the same while there may be more to grant soon */
#define LH_TAIL_HANG_MS 5000
#define LH_TAIL_HOPELESS_MS 15000 /* and nobody could take over what it has */
#define LH_TAIL_NEWS_MS 2500      /* how much younger than its cause word of the receiver must be */
#define LH_TAIL_FREE_MS 100       /* a disk that waits no longer is no cause */
#define LH_TAIL_TRY_MS 1000       /* what a block takes a stream whose rate is not known */
#define LH_TAIL_STEP_MS 250       /* of the second stream's rate at once, at most 1 MiB */

/* What the receiver said last. */
struct lh_tail_far {
    uint64_t heard_ms; /* 0: nothing yet */
    uint32_t disk_wait_ms;
    uint64_t undurable_bytes;
};

enum lh_tail_why { LH_TAIL_NOTHING, LH_TAIL_SLOW, LH_TAIL_HELD, LH_TAIL_HANGS };

const char *lh_tail_why_text(enum lh_tail_why why);

/* What TCP says of a stream that is up. */
void lh_tail_seen(struct lh_sched *s, unsigned stream, const struct lh_sched_seen *seen,
                  uint64_t now_ms);

/* Blocks [*first, *end) of stream *from for `stream`, which has nothing to do: they are granted to
 * it now. more: there may be more to grant soon, which must not wait behind repeats: then a stream
 * takes some only when it has nothing on its way, and only of one that is far behind.
 * LH_TAIL_NOTHING: there are none, or it does not pay. */
enum lh_tail_why lh_tail_take(struct lh_sched *s, unsigned stream, const struct lh_tail_far *far,
                              uint64_t now_ms, bool more, unsigned *from, uint64_t *first,
                              uint64_t *end);

/* It has hung for so long, and nobody could take over what it has, that it is better dialled again:
 * it may be the only one. */
bool lh_tail_hopeless(const struct lh_sched *s, unsigned stream, const struct lh_tail_far *far,
                      uint64_t now_ms);

#endif
