/* Taking what others leave; the rule is told in yield.h. */
#include "core/yield.h"

#define FIRST_Bps 1250000u /* 10 Mbit/s */
#define LEAST_Bps 62500u   /* 0.5 Mbit/s: it must feel when the path is free again */
#define PERIOD_MIN_MS 500u
#define PERIOD_RTTS 4u
#define QUEUE_MIN_US 10000u
#define QUEUE_PART 20u /* and a twentieth of the round trip */
#define MINUTE_MS 60000u
#define LOSS_MIN_PPM 2000u /* above twice what is usual */
#define LOSS_SLOWNESS 8u   /* periods over which it is learnt what is usual */
#define KEEP_PERCENT 70u   /* when the path is full */
#define USED_PERCENT 80u   /* a rate that is not used does not grow */

static uint64_t percent(uint64_t value, unsigned n)
{
    return value / 100 * n;
}

void lh_yield_init(struct lh_yield *y)
{
    *y = (struct lh_yield){.rate_Bps = FIRST_Bps};
}

static bool loses_more(struct lh_yield *y, uint64_t delivered, uint64_t resent)
{
    uint64_t ppm = delivered + resent > 0 ? resent * 1000000 / (delivered + resent) : 0;
    uint64_t usual = y->loss_ppm;

    y->loss_ppm = (usual * (LOSS_SLOWNESS - 1) + ppm) / LOSS_SLOWNESS;
    return ppm > 2 * usual + LOSS_MIN_PPM;
}

/* Percent that a rate grows by which the path takes: fast up to where it was full last, gently
 * there, and then the faster the longer nothing shows. */
static unsigned growth(const struct lh_yield *y)
{
    unsigned beyond = y->clean / 4;

    if (y->full_Bps == 0)
        return 100;
    if (y->rate_Bps < percent(y->full_Bps, 90) || beyond > 3)
        return 25;
    return 2u << beyond;
}

static void step(struct lh_yield *y, uint64_t carried_Bps, bool full)
{
    if (full) {
        y->full_Bps = carried_Bps;
        y->clean = 0;
        y->rate_Bps = percent(carried_Bps < y->rate_Bps ? carried_Bps : y->rate_Bps, KEEP_PERCENT);
    } else if (carried_Bps >= percent(y->rate_Bps, USED_PERCENT)) {
        y->clean += y->rate_Bps >= percent(y->full_Bps, 90);
        y->rate_Bps += percent(y->rate_Bps, growth(y));
    }
    if (y->rate_Bps < LEAST_Bps)
        y->rate_Bps = LEAST_Bps;
}

/* The least in the history; 0: not known. Minutes in which nothing is seen do not count. */
static uint32_t least_rtt(struct lh_yield *y, const struct lh_yield_sight *sight)
{
    uint32_t now_us = sight->rtt_us < sight->least_rtt_us ? sight->rtt_us : sight->least_rtt_us;
    uint32_t least_us = 0;

    if (now_us > 0 && y->minute_ms == 0)
        y->minute_ms = sight->now_ms;
    if (now_us > 0 && sight->now_ms - y->minute_ms >= MINUTE_MS) {
        y->minute = (y->minute + 1) % LH_YIELD_MINUTES;
        y->least_us[y->minute] = 0;
        y->minute_ms = sight->now_ms;
    }
    if (now_us > 0 && (y->least_us[y->minute] == 0 || now_us < y->least_us[y->minute]))
        y->least_us[y->minute] = now_us;
    for (unsigned i = 0; i < LH_YIELD_MINUTES; i++)
        if (y->least_us[i] > 0 && (least_us == 0 || y->least_us[i] < least_us))
            least_us = y->least_us[i];
    return least_us;
}

uint64_t lh_yield_tick(struct lh_yield *y, const struct lh_yield_sight *sight)
{
    uint64_t span_ms = sight->now_ms - y->since_ms;
    uint32_t rtt_us = least_rtt(y, sight);
    uint64_t period_ms = PERIOD_RTTS * (uint64_t)rtt_us / 1000;
    uint64_t delivered = sight->delivered_bytes - y->delivered;
    uint64_t resent = sight->resent_bytes - y->resent;
    bool full;

    y->queue_us = sight->rtt_us > rtt_us ? sight->rtt_us - rtt_us : 0;
    if (period_ms < PERIOD_MIN_MS)
        period_ms = PERIOD_MIN_MS;
    if (y->since_ms > 0 && span_ms < period_ms)
        return y->rate_Bps;
    if (y->since_ms > 0 && delivered + resent > 0) {
        full = loses_more(y, delivered, resent);
        full = full || y->queue_us > QUEUE_MIN_US + rtt_us / QUEUE_PART;
        step(y, delivered * 1000 / span_ms, full);
    }
    y->since_ms = sight->now_ms;
    y->delivered = sight->delivered_bytes;
    y->resent = sight->resent_bytes;
    return y->rate_Bps;
}
