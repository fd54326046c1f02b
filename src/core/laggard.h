/* Which stream lags so far behind the others, and for so long, that a new connection may do better:
 * where paths are chosen by a hash of addresses and ports (ECMP), it takes another one.
 *
 * Pure: time is an argument. Main loop only. */
#ifndef LH_CORE_LAGGARD_H
#define LH_CORE_LAGGARD_H

#include <stdbool.h>
#include <stdint.h>

#define LH_LAGGARD_STREAMS 128
#define LH_LAGGARD_TIMES 4u        /* slower than the median of the others */
#define LH_LAGGARD_OTHERS 2u       /* to be compared with, at least */
#define LH_LAGGARD_MS 5000u        /* all the time for so long */
#define LH_LAGGARD_YOUNG_MS 10000u /* a connection that is no older may still find its rate */
#define LH_LAGGARD_PAUSE_MS 60000u /* between two redials of a stream */

/* What is seen of a stream now. */
struct lh_laggard_sight {
    bool busy;         /* up, something in its socket, not held up by the far end's window */
    uint64_t rate_Bps; /* 0: not known */
    uint64_t up_ms;    /* since when it is up */
};

/* All zeros at first. */
struct lh_laggards {
    uint64_t since_ms[LH_LAGGARD_STREAMS];     /* it lags; 0: it does not */
    uint64_t redialled_ms[LH_LAGGARD_STREAMS]; /* 0: never */
};

/* True: that stream is to be closed and dialled again; counted as done. *median_Bps: of the others.
 * One at a time: the slowest. */
bool lh_laggard_find(struct lh_laggards *l, const struct lh_laggard_sight *v, unsigned n,
                     uint64_t now_ms, unsigned *stream, uint64_t *median_Bps);

#endif
