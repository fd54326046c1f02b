/* The number of streams; the rule is told in ramp.h. */
#include "core/ramp.h"

#include <inttypes.h>
#include <stdio.h>

#define FIRST_GUESS_Bps 125000000u /* a path of 1 Gbit/s */
#define TIMES_BDP 2u /* streams that hold so much have some to spare where packets are lost */
#define FEW 4u       /* no fewer by that rule: one lost segment must not halve it all */
/* Without BBR: of streams that each loss halves, to begin with. With no loss they fill as much as
 * BBR's do, and are not too many. */
#define FIRST_NO_BBR 32u
#define HURRY_TIMES 4u
#define HURRY_RTTS 4u      /* then it is seen what came of it */
#define FLIGHT_LEAST 8000u /* bytes a stream and round trip; BBR's least window is 4 segments */
#define SETTLE_MIN_MS 500u
#define SETTLE_RTTS 5u
#define MEASURE_MIN_MS 1000u
#define MEASURE_RTTS 10u
#define SETTLED_PERCENT 12u /* changed by no more: settled */
/* Of the round trip spent in a queue: more in flight only makes it longer. */
#define FULL_PERCENT 25u
#define HOLD_LOOK_MS 3000u
#define HOLD_FIRST_MS 30000u
#define HOLD_MAX_MS 300000u

uint64_t lh_ramp_hold(uint64_t tcp_wmem_max)
{
    return tcp_wmem_max / 3 * 2;
}

/* Streams that hold twice the bandwidth-delay product of a path, not more: all of it would be lost
 * at the start on a buffer of one product; at least FEW. */
static unsigned to_hold(const struct lh_ramp_path *path, uint64_t rate_Bps)
{
    uint64_t bytes = rate_Bps / 1000 * path->rtt_us / 1000 * TIMES_BDP;
    uint64_t n = path->hold_bytes > 0 ? bytes / path->hold_bytes : 0;

    if (n > UINT16_MAX)
        n = UINT16_MAX;
    return n > FEW ? (unsigned)n : FEW;
}

static unsigned within(const struct lh_ramp *r, unsigned n)
{
    if (n > r->bounds.max)
        n = r->bounds.max;
    return n > r->bounds.min ? n : r->bounds.min;
}

unsigned lh_ramp_first(const struct lh_ramp_path *path)
{
    return to_hold(path, FIRST_GUESS_Bps);
}

void lh_ramp_init(struct lh_ramp *r, struct lh_ramp_bounds bounds, struct lh_ramp_path path)
{
    *r = (struct lh_ramp){.bounds = bounds, .path = path, .hold_ms = HOLD_FIRST_MS};
    if (bounds.min == bounds.max) {
        r->n = bounds.max;
        snprintf(r->why, sizeof(r->why), "as asked for");
    } else if (!path.loss_tolerant) {
        r->n = within(r, FIRST_NO_BBR);
        snprintf(r->why, sizeof(r->why), "without BBR each loss halves a stream");
    } else {
        r->n = within(r, lh_ramp_first(&path));
        snprintf(r->why, sizeof(r->why),
                 "twice what fills 1 Gbit/s at %" PRIu32 " ms with %" PRIu64 " kB a socket",
                 path.rtt_us / 1000, path.hold_bytes / 1000);
    }
}

void lh_ramp_hurry(struct lh_ramp *r, unsigned most)
{
    unsigned n = HURRY_TIMES * r->n < most ? HURRY_TIMES * r->n : most;

    if (n <= r->n || r->bounds.min == r->bounds.max)
        return;
    r->calm_n = r->n;
    r->calm_max = r->bounds.max;
    r->n = n;
    if (r->bounds.max < n)
        r->bounds.max = n;
    snprintf(r->why, sizeof(r->why), "more: small files, slow starts are most of it");
}

void lh_ramp_round_trip(struct lh_ramp *r, uint32_t rtt_us)
{
    if (rtt_us > 0 && (r->path.rtt_us == 0 || rtt_us < r->path.rtt_us))
        r->path.rtt_us = rtt_us;
}

static void bound(struct lh_ramp *r, struct lh_ramp_bounds bounds)
{
    r->bounds = bounds;
    if (r->far_max > 0 && bounds.max > r->far_max)
        r->bounds.max = r->far_max;
    if (r->bounds.min > r->bounds.max)
        r->bounds.min = r->bounds.max;
}

bool lh_ramp_at_most(struct lh_ramp *r, unsigned max)
{
    unsigned n = r->n;

    r->far_max = max;
    bound(r, r->bounds);
    r->n = within(r, n);
    if (r->n != n)
        snprintf(r->why, sizeof(r->why), "the receiver takes no more");
    return r->n != n;
}

bool lh_ramp_rebound(struct lh_ramp *r, struct lh_ramp_bounds bounds)
{
    unsigned most = r->bounds.max;
    unsigned n = r->n;
    bool freed;

    bound(r, bounds);
    freed = n == most && r->bounds.max > most; /* where fewer did that stands */
    r->n = within(r, freed && r->cut_n > n ? r->cut_n : n);
    if (r->n < n && r->cut_n < n)
        r->cut_n = n;
    if (r->n >= r->cut_n)
        r->cut_n = 0;
    if (r->n == n && !freed)
        return false;
    r->trial = LH_RAMP_NONE;
    r->phase = LH_RAMP_SETTLE;
    r->settle_Bps = 0;
    r->since_ms = 0;
    r->hold_ms = HOLD_FIRST_MS;
    if (r->n == n)
        return false;
    snprintf(r->why, sizeof(r->why), "%s: its part of the tree's is %u",
             r->n < n ? "fewer" : "more", bounds.max);
    return true;
}

/* ---- stretches of time ---- */

static void enter(struct lh_ramp *r, enum lh_ramp_phase phase, const struct lh_ramp_sight *sight)
{
    r->phase = phase;
    r->since_ms = sight->now_ms;
    r->since_bytes = sight->delivered_bytes;
}

static uint64_t sum_of(const struct lh_ramp *r, const struct lh_ramp_sight *sight)
{
    uint64_t span_ms = sight->now_ms - r->since_ms;

    return span_ms > 0 ? (sight->delivered_bytes - r->since_bytes) * 1000 / span_ms : 0;
}

static bool lasted(const struct lh_ramp *r, const struct lh_ramp_sight *sight, uint64_t least_ms,
                   unsigned rtts)
{
    uint64_t ms = (uint64_t)rtts * r->path.rtt_us / 1000;

    return sight->now_ms - r->since_ms >= (ms > least_ms ? ms : least_ms);
}

/* ---- decisions ---- */

static void hold(struct lh_ramp *r, uint64_t sum_Bps, const struct lh_ramp_sight *sight)
{
    r->trial = LH_RAMP_NONE;
    r->base_Bps = sum_Bps;
    r->held_ms = 0;
    enter(r, LH_RAMP_HOLD, sight);
}

/* `n` against what there is, or was: `before`, which carried base_Bps. */
static void try_number(struct lh_ramp *r, unsigned n, enum lh_ramp_trial trial, unsigned before,
                       uint64_t base_Bps, const struct lh_ramp_sight *sight)
{
    r->n = n;
    r->trial = trial;
    r->before = before;
    r->base_Bps = base_Bps;
    r->settle_Bps = 0;
    enter(r, LH_RAMP_SETTLE, sight);
}

/* Fewer than `n`, which carried sum_Bps; n itself where the path may need so many. */
static void try_fewer(struct lh_ramp *r, unsigned n, uint64_t sum_Bps,
                      const struct lh_ramp_sight *sight)
{
    unsigned enough = to_hold(&r->path, sum_Bps);
    unsigned fewer = n - (n >= 4 ? n / 4 : 1);

    if (enough < r->needed)
        enough = r->needed;
    fewer = within(r, fewer > enough ? fewer : enough);
    if (fewer < n && r->path.loss_tolerant) {
        try_number(r, fewer, LH_RAMP_FEWER, n, sum_Bps, sight);
    } else {
        r->n = n;
        hold(r, sum_Bps, sight);
    }
}

static void try_more(struct lh_ramp *r, uint64_t sum_Bps, const struct lh_ramp_sight *sight)
{
    unsigned step = !r->path.loss_tolerant ? r->n : r->n >= 3 ? r->n / 3 : 1;
    unsigned n = within(r, r->n + step);

    if (n > r->n && sight->queue_percent < FULL_PERCENT)
        try_number(r, n, LH_RAMP_MORE, r->n, sum_Bps, sight);
    else
        try_fewer(r, r->n, sum_Bps, sight);
}

/* The least gain worth its streams: a tenth of what so many more bring on a free path, and 2 %. */
static bool gained(const struct lh_ramp *r, uint64_t sum_Bps)
{
    uint64_t tenth = r->base_Bps / 10 * (r->n - r->before) / r->before;
    uint64_t least = r->base_Bps / 50;

    return sum_Bps > r->base_Bps + (tenth > least ? tenth : least);
}

/* The sum with n streams is known. */
static void judge(struct lh_ramp *r, uint64_t sum_Bps, const struct lh_ramp_sight *sight)
{
    if (r->trial == LH_RAMP_NONE) {
        snprintf(r->why, sizeof(r->why), "%u carry %" PRIu64 " kB/s", r->n, sum_Bps / 1000);
        try_more(r, sum_Bps, sight);
        return;
    }
    snprintf(r->why, sizeof(r->why), "%u carry %" PRIu64 " kB/s, %u carried %" PRIu64, r->n,
             sum_Bps / 1000, r->before, r->base_Bps / 1000);
    if (r->trial == LH_RAMP_MORE && gained(r, sum_Bps)) {
        r->hold_ms = HOLD_FIRST_MS;
        r->needed = r->n;
        try_more(r, sum_Bps, sight);
    } else if (r->trial == LH_RAMP_MORE) {
        try_fewer(r, r->before, r->base_Bps, sight);
    } else if (sum_Bps >= r->base_Bps - r->base_Bps / 50) {
        try_fewer(r, r->n, sum_Bps, sight);
    } else {
        r->n = r->needed = r->before;
        hold(r, r->base_Bps, sight);
    }
}

/* ---- looks ---- */

static void look_settling(struct lh_ramp *r, const struct lh_ramp_sight *sight)
{
    uint64_t sum_Bps = sum_of(r, sight);
    uint64_t slack_Bps = r->settle_Bps / 100 * SETTLED_PERCENT;
    bool grows = r->settle_Bps == 0 || sum_Bps > r->settle_Bps + slack_Bps;
    /* Without BBR the first windows are large, and what they carry says nothing: losses come. */
    bool falls = !r->path.loss_tolerant && sum_Bps < r->settle_Bps - slack_Bps;

    if (!lasted(r, sight, SETTLE_MIN_MS, SETTLE_RTTS))
        return;
    r->settle_Bps = sum_Bps;
    enter(r, grows || falls ? LH_RAMP_SETTLE : LH_RAMP_MEASURE, sight);
}

static void look_holding(struct lh_ramp *r, const struct lh_ramp_sight *sight)
{
    uint64_t sum_Bps = sum_of(r, sight);
    uint64_t span_ms = sight->now_ms - r->since_ms;
    bool fell = sum_Bps < r->base_Bps - r->base_Bps / 4;

    if (!lasted(r, sight, HOLD_LOOK_MS, MEASURE_RTTS))
        return;
    r->held_ms += span_ms;
    if (!fell && r->held_ms < r->hold_ms) {
        enter(r, LH_RAMP_HOLD, sight);
        return;
    }
    if (!fell && r->hold_ms < HOLD_MAX_MS)
        r->hold_ms = r->hold_ms * 2 < HOLD_MAX_MS ? r->hold_ms * 2 : HOLD_MAX_MS;
    if (fell)
        r->needed = 0;
    snprintf(r->why, sizeof(r->why), "%u carry %" PRIu64 " kB/s, %" PRIu64 " before: %s", r->n,
             sum_Bps / 1000, r->base_Bps / 1000, fell ? "the path has changed" : "time to look");
    try_more(r, sum_Bps, sight);
}

/* Of streams that are too many for a path BBR's least windows alone are a queue that stands, or is
 * lost. True: back to what it would have begun with. */
static bool too_thin(struct lh_ramp *r, const struct lh_ramp_sight *sight)
{
    uint64_t span_ms = sight->now_ms - r->hurry_ms;
    uint64_t flight;
    bool thin;

    /* Of what nothing was sent over yet nothing is known: a walk may take its time at first. */
    if (r->hurry_ms == 0 || sight->delivered_bytes <= r->hurry_bytes) {
        r->hurry_ms = sight->now_ms;
        r->hurry_bytes = sight->delivered_bytes;
        return false;
    }
    if (span_ms == 0 || span_ms * 1000 < (uint64_t)HURRY_RTTS * r->path.rtt_us)
        return false;
    flight = (sight->delivered_bytes - r->hurry_bytes) / span_ms * r->path.rtt_us / 1000;
    thin = flight < (uint64_t)r->n * FLIGHT_LEAST;
    if (thin) {
        if (r->bounds.max > r->calm_max)
            r->bounds.max = r->calm_max;
        r->n = within(r, r->calm_n);
        r->cut_n = 0;
        snprintf(r->why, sizeof(r->why), "%" PRIu64 " kB a round trip are thin for so many",
                 flight / 1000);
    }
    r->calm_n = 0;
    return thin;
}

bool lh_ramp_look(struct lh_ramp *r, const struct lh_ramp_sight *sight)
{
    unsigned n = r->n;

    if (r->bounds.min >= r->bounds.max)
        return false;
    if (r->since_ms == 0)
        enter(r, r->phase, sight);
    if (r->calm_n > 0 && too_thin(r, sight)) {
        enter(r, LH_RAMP_SETTLE, sight);
        return true;
    }
    if (sight->held) { /* what is seen now says nothing about the path */
        enter(r, r->phase, sight);
        return false;
    }
    if (r->phase == LH_RAMP_SETTLE)
        look_settling(r, sight);
    else if (r->phase == LH_RAMP_HOLD)
        look_holding(r, sight);
    else if (lasted(r, sight, MEASURE_MIN_MS, MEASURE_RTTS))
        judge(r, sum_of(r, sight), sight);
    return r->n != n;
}
