/* Streams that lag: what they hold at the end is sent a second time on others, and one that lags
 * for long is dialled again.
 *
 * Thread: main loop. Gathers what the streams' meters and the receiver say, asks core/tail and
 * core/laggard, and does what they say. */
#include "core/laggard.h"
#include "io/send/sender.h"

#include <string.h>

void lh_laggard_start(struct lh_send *s)
{
    memset(&s->far, 0, sizeof(s->far));
    memset(&s->laggards, 0, sizeof(s->laggards));
}

/* While a stream gets faster its smoothed rate lags behind: it would pass for slow. */
static uint64_t rate_of(const struct lh_meter_counters *m)
{
    uint64_t rate_Bps = lh_meter_get(&m->rate_Bps);
    uint64_t last_Bps = lh_meter_get(&m->last_Bps);

    return rate_Bps > 0 && last_Bps > rate_Bps ? last_Bps : rate_Bps;
}

void lh_laggard_see(struct lh_send *s, unsigned number)
{
    const struct lh_meter_counters *m = &s->streams[number].counters.meter;
    struct lh_sched_seen seen = {.rate_Bps = rate_of(m),
                                 .brought_bytes = lh_meter_get(&m->brought_bytes),
                                 .queued_bytes = lh_meter_get(&m->queued_bytes),
                                 .rtt_ms = (uint32_t)lh_meter_get(&m->rtt_us) / 1000,
                                 .held = atomic_load_explicit(&m->held, memory_order_relaxed)};

    lh_tail_seen(&s->sched, number, &seen, lh_now_ms());
}

/* Contents that go a second time. */
static uint64_t bytes_of(const struct lh_send *s, uint64_t first, uint64_t end)
{
    uint64_t bytes = 0;

    if (s->lane != NULL)
        return lh_packs_bytes(s->lane->packs, first, end);
    for (uint64_t b = first; b < end; b++)
        bytes += lh_block_length(s->sched.size, s->sched.block_bytes, b);
    return bytes;
}

bool lh_laggard_help(struct lh_send *s, unsigned number, uint64_t *first, uint64_t *end)
{
    bool more = s->lane != NULL && s->lane->more(s->lane);
    enum lh_tail_why why;
    unsigned from = 0;

    why = lh_tail_take(&s->sched, number, &s->far, lh_now_ms(), more, &from, first, end);
    if (why == LH_TAIL_NOTHING)
        return false;
    lh_sstream_drop(s->streams[from].st, *first, *end);
    s->stats.bytes_repeated += bytes_of(s, *first, *end);
    lh_log(&s->log, LH_LOG_INFO,
           "stream number=%u sends first=%llu count=%llu of stream=%u again, why=\"%s\" "
           "rate_kBps=%llu",
           number, (unsigned long long)*first, (unsigned long long)(*end - *first), from,
           lh_tail_why_text(why), (unsigned long long)s->sched.streams[from].rate_Bps / 1000);
    return true;
}

/* Closing hands what is in the socket to the kernel, which goes on with it; all that is not durable
 * goes to others. */
static void dial_again(struct lh_send *s, unsigned number)
{
    s->streams[number].up = s->streams[number].wants = false;
    lh_sstream_stop(s->streams[number].st);
}

static void redial_hopeless(struct lh_send *s)
{
    for (unsigned i = 0; i < s->n_streams; i++) {
        if (!s->streams[i].up || !lh_tail_hopeless(&s->sched, i, &s->far, lh_now_ms()))
            continue;
        lh_log(&s->log, LH_LOG_INFO, "stream number=%u is dialled again, why=\"%s\"", i,
               lh_tail_why_text(LH_TAIL_HANGS));
        dial_again(s, i);
    }
}

static void redial_laggard(struct lh_send *s)
{
    struct lh_laggard_sight sights[LH_MAX_STREAMS] = {{0}};
    uint64_t median_Bps = 0;
    unsigned slowest = 0;

    for (unsigned i = 0; i < s->n_streams; i++) {
        const struct lh_sched_seen *seen = &s->sched.streams[i].seen;

        sights[i].busy = s->streams[i].up && seen->queued_bytes > 0 && !seen->held;
        sights[i].rate_Bps = lh_meter_get(&s->streams[i].counters.meter.rate_Bps);
        sights[i].up_ms = s->streams[i].up_ms;
    }
    if (!lh_laggard_find(&s->laggards, sights, s->n_streams, lh_now_ms(), &slowest, &median_Bps))
        return;
    lh_log(&s->log, LH_LOG_INFO,
           "stream number=%u is dialled again, why=\"it lags\" rate_kBps=%llu others_kBps=%llu",
           slowest, (unsigned long long)sights[slowest].rate_Bps / 1000,
           (unsigned long long)median_Bps / 1000);
    dial_again(s, slowest);
}

void lh_laggard_tick(struct lh_send *s)
{
    if (s->phase != LH_PHASE_MOVING)
        return;
    if (s->lane != NULL)
        s->sched.holds_bytes = lh_packs_mean(s->lane->packs);
    for (unsigned i = 0; i < s->n_streams; i++)
        if (s->streams[i].up)
            lh_laggard_see(s, i);
    redial_hopeless(s);
    if (s->sched.missing.n > 0)
        redial_laggard(s);
    lh_mover_feed(s);
}
