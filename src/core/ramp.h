/* How many streams a transfer uses: found, not guessed.
 *
 * It begins with what a path of 1 Gbit/s of this round trip would need, tries more for as long as
 * the sum gains, and goes back where it does not. Where there are far more than the bandwidth-delay
 * product asks for it also tries fewer. A change is judged only when the sum has settled again,
 * over a whole cycle of BBR's (8 round trips).
 *
 *     SETTLE --grows no more--> MEASURE --> more gained: try more still   --+
 *        ^                              --> more did not: back, or try fewer +--> SETTLE
 *        |                              --> fewer do: try fewer still       --+
 *        |                              --> fewer do not, or bounds: back --> HOLD
 *        +---- 30 s, doubling to 5 min, or the sum fell by a quarter ----------'
 *
 * Pure: the caller looks four times a second and does what lh_ramp_look says. */
#ifndef LH_CORE_RAMP_H
#define LH_CORE_RAMP_H

#include <stdbool.h>
#include <stdint.h>

#define LH_RAMP_TEXT 160

/* What is asked of it. */
struct lh_ramp_bounds {
    unsigned min; /* min == max: nothing is to be found */
    unsigned max;
};

/* What a socket and the path are like. */
struct lh_ramp_path {
    uint32_t rtt_us;     /* the least seen; 0: not known */
    uint64_t hold_bytes; /* that one socket of this host can have under way; 0: not known */
    bool loss_tolerant;  /* BBR; else each loss costs a stream much, and more streams are needed */
};

/* What is to be seen now. */
struct lh_ramp_sight {
    uint64_t now_ms;
    uint64_t delivered_bytes; /* since the beginning, all streams */
    unsigned queue_percent;   /* round trip now, above the least one, in percent of that */
    bool held; /* source, receiver or a limit holds it up: streams would change nothing */
};

enum lh_ramp_phase { LH_RAMP_SETTLE, LH_RAMP_MEASURE, LH_RAMP_HOLD };
enum lh_ramp_trial { LH_RAMP_NONE, LH_RAMP_MORE, LH_RAMP_FEWER };

struct lh_ramp {
    struct lh_ramp_bounds bounds;
    unsigned far_max; /* the other side takes no more; 0: it has not said */
    struct lh_ramp_path path;
    unsigned n;     /* streams to use now */
    unsigned cut_n; /* what there were before bounds made them fewer; 0: they did not */
    enum lh_ramp_phase phase;
    enum lh_ramp_trial trial; /* of n, against `before` */
    unsigned before;
    unsigned needed;   /* fewer than this carried less */
    uint64_t base_Bps; /* the sum before the trial; while holding, the sum to be kept */
    uint64_t since_ms; /* the beginning of the stretch at hand: settling, measuring or holding */
    uint64_t since_bytes;
    uint64_t settle_Bps; /* the sum over the stretch before it; 0: it is the first */
    uint64_t hold_ms;    /* how long the next hold lasts */
    uint64_t held_ms;    /* of the hold at hand */
    unsigned calm_n;     /* in a hurry: what there would be else; 0: it is not, or over */
    unsigned calm_max;   /* and at most */
    uint64_t hurry_ms;   /* when it was looked at first; 0: not yet */
    uint64_t hurry_bytes;
    char why[LH_RAMP_TEXT]; /* of the last change, for the log */
};

/* Bytes that one socket can have under way, from what autotuning reaches (tcp_wmem, third): two
 * thirds of it, as the kernel calls a socket writable only while a third is free
 * (sk_stream_is_writeable). 0 when unknown. */
uint64_t lh_ramp_hold(uint64_t tcp_wmem_max);

/* Streams to begin with where they are loss tolerant, before bounds: what a path of 1 Gbit/s and
 * this round trip needs. */
unsigned lh_ramp_first(const struct lh_ramp_path *path);

void lh_ramp_init(struct lh_ramp *r, struct lh_ramp_bounds bounds, struct lh_ramp_path path);

/* Begin with four times as many, `most` at most: what is sent is over soon, most of it is slow
 * starts. That may be more than bounds.max, which rises to it. Four round trips after something was
 * sent first it goes back to what it was where the path is too thin for so many. Not where a number
 * was asked for. */
void lh_ramp_hurry(struct lh_ramp *r, unsigned most);

/* A round trip was seen, 0: none. The least counts. */
void lh_ramp_round_trip(struct lh_ramp *r, uint32_t rtt_us);

/* The other side takes no more than so many, whatever bounds come later. True: r->n has changed,
 * r->why says why. */
bool lh_ramp_at_most(struct lh_ramp *r, unsigned max);

/* Other bounds from now on, within what the other side takes. Where there is more room it goes back
 * to what there were before they were made fewer, or looks soon whether more help. True: r->n has
 * changed, r->why says why. */
bool lh_ramp_rebound(struct lh_ramp *r, struct lh_ramp_bounds bounds);

/* Look, and perhaps decide. True: r->n has changed, r->why says why. Time must not go back. */
bool lh_ramp_look(struct lh_ramp *r, const struct lh_ramp_sight *sight);

/* True while more streams are being tried: the sum must be free to grow. */
static inline bool lh_ramp_tries_more(const struct lh_ramp *r)
{
    return r->trial == LH_RAMP_MORE;
}

#endif
