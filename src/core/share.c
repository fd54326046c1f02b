/* Bounds for the whole and for each stream; what for is told in share.h. */
#include "core/share.h"

#include <string.h>

#define PERIOD_MIN_MS 500u
#define PERIOD_RTTS 4u
#define BUCKET_MS 5000u
#define GAIN_SPAN 5u    /* percent */
#define GAIN_TRIAL 115u /* while more streams are being tried */
#define GAIN_STEP 10u
#define GAIN_FREE 150u /* while no queue stands */
#define GAIN_MAX 200u
#define QUEUE_PERCENT 25u /* less is no queue: round trips vary, */
#define VARY_US 10000u    /* by so much where a host has much to do, however short the path is */
/* The start-up is over when a period brings no more than this of the one before. */
#define SETTLED_PERCENT 125u
#define REACHED_PERCENT 97u
#define USED_PERCENT 75u       /* of the bound: it is what holds them */
#define PART_PERCENT 150u      /* of what a stream used; BBR probes a quarter above */
#define PART_LEAST_PERCENT 25u /* of an even part: it may have been held up by a loss */
#define CREDIT_MS 1000u        /* what was not sent is made up for within about so long, */
#define CREDIT_PERCENT 12u     /* and so much of a limit at most */

void lh_share_init(struct lh_share *s, uint64_t limit_Bps, bool by_path, bool background)
{
    memset(s, 0, sizeof(*s));
    s->limit_Bps = limit_Bps;
    s->by_path = by_path;
    s->background = background;
    s->gain_percent = 100;
    lh_yield_init(&s->yield);
}

/* 0 is none. */
static uint64_t lesser(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0)
        return a > b ? a : b;
    return a < b ? a : b;
}

uint64_t lh_share_first(const struct lh_share *s)
{
    return lesser(s->limit_Bps, s->background ? s->yield.rate_Bps : 0);
}

static uint64_t percent(uint64_t value, unsigned n)
{
    return value / 100 * n;
}

/* ---- path ---- */

/* The most that a period carried in the last 5 to 10 s. */
static uint64_t best(const struct lh_share *s)
{
    return s->best_Bps > s->best_before_Bps ? s->best_Bps : s->best_before_Bps;
}

/* Where a queue stands although the bound is kept, it is others' queue: what was carried before is
 * not forgotten for it, or the bound would fall a little below itself again and again. */
static void note_best(struct lh_share *s, uint64_t rate_Bps, const struct lh_share_sight *sight)
{
    bool bound =
        sight->queue_percent >= QUEUE_PERCENT && rate_Bps >= percent(s->path_Bps, USED_PERCENT);

    if (sight->now_ms - s->bucket_ms >= BUCKET_MS && !bound) {
        s->bucket_ms = sight->now_ms;
        s->best_before_Bps = s->best_Bps;
        s->best_Bps = 0;
    }
    if (rate_Bps > s->best_Bps)
        s->best_Bps = rate_Bps;
}

/* A twentieth above what fits while no queue stands, as much below it when that is as long as the
 * path: it drains, and the path stays full meanwhile. Without one the bound goes up: where it is
 * reached by 10, 20, 40 … %; else by as much as streams may leave of their parts, each being bound
 * by itself while losses hold it up by turns. */
static unsigned gain(const struct lh_share *s, uint64_t rate_Bps,
                     const struct lh_share_sight *sight)
{
    unsigned queue = sight->queue_percent < 100 ? sight->queue_percent : 100;
    unsigned percents = 100 + GAIN_SPAN - 2 * GAIN_SPAN * queue / 100;
    unsigned before = s->gain_percent > 100 ? s->gain_percent : 100;

    if (queue >= QUEUE_PERCENT)
        return percents;
    if (s->path_Bps > 0 && rate_Bps >= percent(s->path_Bps, REACHED_PERCENT))
        percents = before > 100 ? 2 * before - 100 : 100 + GAIN_STEP;
    else if (s->path_Bps > 0)
        percents = before + GAIN_STEP < GAIN_FREE ? before + GAIN_STEP : GAIN_FREE;
    if (sight->free_to_grow && percents < GAIN_TRIAL)
        percents = GAIN_TRIAL;
    return percents < GAIN_MAX ? percents : GAIN_MAX;
}

static void note_period(struct lh_share *s, uint64_t rate_Bps, const struct lh_share_sight *sight)
{
    bool settled = s->path_Bps > 0 ||
                   (s->period_Bps > 0 && rate_Bps <= percent(s->period_Bps, SETTLED_PERCENT));
    uint64_t bound_Bps;

    note_best(s, (rate_Bps + s->period_Bps) / 2, sight);
    s->period_Bps = rate_Bps;
    if (!settled)
        return;
    s->gain_percent = gain(s, rate_Bps, sight);
    bound_Bps = percent(best(s), s->gain_percent);
    /* Senders do not use all that they are bound to. Without a queue that is no reason to bind them
     * further, or the bound would follow what it has made of them, down and down. */
    if (bound_Bps > s->path_Bps || sight->queue_percent >= QUEUE_PERCENT)
        s->path_Bps = bound_Bps;
}

/* In percent of the path's round trip, or of what is taken for the least one. */
static unsigned queue_of(const struct lh_share_sight *sight)
{
    if (sight->rtt_us == 0 || sight->rtt_us >= VARY_US)
        return sight->queue_percent;
    return (unsigned)((uint64_t)sight->queue_percent * sight->rtt_us / VARY_US);
}

static uint64_t tick_path(struct lh_share *s, const struct lh_share_sight *sight)
{
    uint64_t span_ms = sight->now_ms - s->period_ms;
    uint64_t period_ms = PERIOD_RTTS * (uint64_t)sight->rtt_us / 1000;

    if (period_ms < PERIOD_MIN_MS)
        period_ms = PERIOD_MIN_MS;
    if (s->period_ms > 0 && !sight->held && span_ms < period_ms)
        return s->path_Bps;
    if (s->period_ms > 0 && !sight->held)
        note_period(s, (sight->delivered_bytes - s->period_bytes) * 1000 / span_ms, sight);
    s->period_ms = sight->now_ms;
    s->period_bytes = sight->delivered_bytes;
    return s->path_Bps;
}

/* ---- limit ---- */

/* What was allowed and not sent is sent over the next seconds, and what was too much is taken off:
 * an integral controller that settles where what is sent is what is allowed. */
static uint64_t tick_limit(struct lh_share *s, const struct lh_share_sight *sight)
{
    int64_t most = (int64_t)(percent(s->limit_Bps, CREDIT_PERCENT) * CREDIT_MS / 1000);
    uint64_t span_ms = s->tick_bytes > 0 ? sight->now_ms - s->tick_ms : 0; /* not before it began */

    if (span_ms > 0)
        s->credit += (int64_t)(s->limit_Bps * span_ms / 1000) -
                     (int64_t)(sight->delivered_bytes - s->tick_bytes);
    s->short_of_limit = s->credit >= most;
    if (s->credit > most)
        s->credit = most;
    if (s->credit < -most)
        s->credit = -most;
    s->tick_ms = sight->now_ms;
    s->tick_bytes = sight->delivered_bytes;
    return s->limit_Bps + (uint64_t)(s->credit * 1000 / (int64_t)CREDIT_MS);
}

static uint64_t tick_yield(struct lh_share *s, const struct lh_share_sight *sight)
{
    struct lh_yield_sight seen = {.now_ms = sight->now_ms,
                                  .delivered_bytes = sight->delivered_bytes,
                                  .resent_bytes = sight->resent_bytes,
                                  .rtt_us = sight->rtt_now_us,
                                  .least_rtt_us = sight->rtt_least_us};

    return lh_yield_tick(&s->yield, &seen);
}

uint64_t lh_share_tick(struct lh_share *s, const struct lh_share_sight *sight)
{
    struct lh_share_sight path = *sight;
    uint64_t bound_Bps = 0;

    path.queue_percent = queue_of(sight);
    if (s->by_path && !s->background) /* which does not try what the path carries */
        bound_Bps = tick_path(s, &path);
    if (s->limit_Bps > 0)
        bound_Bps = lesser(bound_Bps, tick_limit(s, sight));
    if (s->background)
        bound_Bps = lesser(bound_Bps, tick_yield(s, sight));
    return bound_Bps;
}

/* ---- parts ---- */

/* What a stream may come to use before it is looked at again. */
static uint64_t expected(uint64_t rate_Bps, uint64_t even_Bps)
{
    uint64_t most_Bps = rate_Bps > 0 ? percent(rate_Bps, PART_PERCENT) : even_Bps;
    uint64_t least_Bps = percent(even_Bps, PART_LEAST_PERCENT);

    return most_Bps > least_Bps ? most_Bps : least_Bps;
}

/* What parts that are more than the total have to be cut to, so that they make it up. Each round
 * those below what the round before gave count as what they are; n rounds at most, as each takes at
 * least one more out. */
static uint64_t level(uint64_t total_Bps, const uint64_t parts_Bps[], size_t n)
{
    uint64_t part = total_Bps / n;

    for (size_t round = 0; round < n; round++) {
        uint64_t used = 0;
        size_t below = 0;
        uint64_t next;

        for (size_t i = 0; i < n; i++)
            if (parts_Bps[i] < part) {
                used += parts_Bps[i];
                below++;
            }
        next = below < n ? (total_Bps - used) / (n - below) : part;
        if (next <= part)
            break;
        part = next;
    }
    return part;
}

void lh_share_parts(uint64_t total_Bps, const uint64_t rates_Bps[], size_t n, uint64_t parts_Bps[])
{
    uint64_t sum = 0;
    uint64_t most = total_Bps;
    uint64_t more = 0;

    for (size_t i = 0; i < n; i++) {
        parts_Bps[i] = expected(rates_Bps[i], total_Bps / n);
        sum += parts_Bps[i];
    }
    if (sum > total_Bps)
        most = level(total_Bps, parts_Bps, n);
    else
        more = (total_Bps - sum) / n;
    for (size_t i = 0; i < n; i++)
        parts_Bps[i] = (parts_Bps[i] < most ? parts_Bps[i] : most) + more;
}
