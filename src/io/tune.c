/* The dials of a sender: how many streams, and how fast each may send.
 *
 * Thread: main loop. Gathers what the streams' meters say, asks core/ramp and core/share, and does
 * what they say: streams are started or left idle by the mover, a pace goes to the streams by their
 * meters. */
#include "io/sender.h"

#include <string.h>

#define FRESH_MS 500u
#define STREAM_LEAST_Bps 1000000u /* below a limit: no streams that would get less each */
#define BUSY_PERCENT                                                                               \
    60u /* streams that have something to send for less of the time are held up by something else  \
         */

static uint64_t load(const atomic_uint_fast64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static bool bbr(const struct lh_send *s)
{
    return strncmp(s->congestion, "bbr", 3) == 0 && s->congestion_errno == 0;
}

static struct lh_ramp_bounds bounds(const struct lh_send *s)
{
    struct lh_ramp_bounds b = {.min = 1, .max = s->opts.max_streams};
    uint64_t most = s->opts.limit_bps / 8 / STREAM_LEAST_Bps + 1;

    if (s->opts.streams > 0)
        b.min = b.max = s->opts.streams;
    else if (s->opts.limit_bps > 0 && bbr(s) && most < b.max)
        b.max = (unsigned)most;
    return b;
}

/* To each stream its part, also to those that are only coming up. */
static void set_pace(struct lh_send *s, uint64_t total_Bps)
{
    unsigned n = s->tune.ramp.n;
    uint64_t rates_Bps[LH_MAX_STREAMS];
    uint64_t part_Bps;

    for (unsigned i = 0; i < n; i++)
        rates_Bps[i] = s->streams[i].up ? load(&s->streams[i].counters.meter.rate_Bps) : 0;
    part_Bps = lh_share_part(total_Bps, rates_Bps, n);
    for (unsigned i = 0; i < LH_MAX_STREAMS; i++)
        atomic_store_explicit(&s->streams[i].counters.meter.pace_Bps, part_Bps,
                              memory_order_relaxed);
}

void lh_tune_start(struct lh_send *s)
{
    struct lh_ramp_path path = {.hold_bytes = lh_ramp_hold(s->tcp_wmem_max)};
    struct lh_tcp_state tcp;

    if (lh_sock_state(s->ctl.fd, &tcp))
        path.rtt_us = tcp.min_rtt_us;
    path.loss_tolerant = bbr(s);
    memset(&s->tune, 0, sizeof(s->tune));
    lh_ramp_init(&s->tune.ramp, bounds(s), path);
    lh_share_init(&s->tune.share, s->opts.limit_bps / 8, bbr(s),
                  s->opts.share == LH_SHARE_BACKGROUND);
    set_pace(s, lh_share_first(&s->tune.share));
    lh_log(&s->log, LH_LOG_INFO, "streams n=%u why=\"%s\"", s->tune.ramp.n, s->tune.ramp.why);
}

void lh_tune_at_most(struct lh_send *s, unsigned streams)
{
    lh_ramp_at_most(&s->tune.ramp, streams);
}

struct seen {
    uint64_t rtt_us; /* over all */
    uint64_t min_rtt_us;
    uint64_t delivered_bytes;
    uint64_t resent_bytes;
    uint64_t busy_us;
    unsigned n_up;
};

static struct seen look(const struct lh_send *s, uint64_t now_ms)
{
    struct seen seen = {0};

    for (unsigned i = 0; i < s->n_streams; i++) {
        const struct lh_meter_counters *m = &s->streams[i].counters.meter;
        uint64_t delivered = load(&m->delivered_bytes);
        uint64_t age_ms = now_ms - load(&m->sampled_ms);

        /* Streams are sampled each at moments of its own: their sums are brought forward to now. */
        if (s->streams[i].up && age_ms <= FRESH_MS)
            delivered += load(&m->last_Bps) * age_ms / 1000;
        seen.delivered_bytes += delivered;
        seen.resent_bytes += load(&m->resent_bytes);
        if (s->streams[i].up && i < s->tune.ramp.n) {
            seen.rtt_us += atomic_load_explicit(&m->rtt_us, memory_order_relaxed);
            seen.min_rtt_us += atomic_load_explicit(&m->min_rtt_us, memory_order_relaxed);
        }
        seen.busy_us += load(&m->busy_us);
        seen.n_up += s->streams[i].up && i < s->tune.ramp.n;
    }
    return seen;
}

void lh_tune_tick(struct lh_send *s, uint64_t now_ms)
{
    struct lh_tune *t = &s->tune;
    struct seen seen;
    bool held;
    uint64_t total_Bps;
    unsigned queue_percent = 0;

    if (s->phase != LH_PHASE_MOVING)
        return;
    seen = look(s, now_ms);
    held = t->at_ms > 0 && seen.n_up > 0 &&
           (seen.busy_us - t->busy_us) / 10 < (now_ms - t->at_ms) * seen.n_up * BUSY_PERCENT;
    if (seen.rtt_us > seen.min_rtt_us && seen.min_rtt_us > 0)
        queue_percent = (unsigned)((seen.rtt_us - seen.min_rtt_us) * 100 / seen.min_rtt_us);
    t->at_ms = now_ms;
    t->busy_us = seen.busy_us;
    total_Bps = lh_share_tick(
        &t->share, &(struct lh_share_sight){.now_ms = now_ms,
                                            .delivered_bytes = seen.delivered_bytes,
                                            .resent_bytes = seen.resent_bytes,
                                            .rtt_us = t->ramp.path.rtt_us,
                                            .queue_percent = queue_percent,
                                            .held = held,
                                            .free_to_grow = lh_ramp_tries_more(&t->ramp)});
    set_pace(s, total_Bps);
    lh_log(&s->log, LH_LOG_DEBUG,
           "tune ms=%llu bound_kBps=%llu delivered_kB=%llu busy=%llu held=%d queue=%u%%",
           (unsigned long long)(now_ms - s->started_ms), (unsigned long long)total_Bps / 1000,
           (unsigned long long)seen.delivered_bytes / 1000, (unsigned long long)seen.busy_us / 1000,
           held, queue_percent);
    if (lh_ramp_look(&t->ramp, &(struct lh_ramp_sight){.now_ms = now_ms,
                                                       .delivered_bytes = seen.delivered_bytes,
                                                       .queue_percent = queue_percent,
                                                       .held = held || lh_share_limits(&t->share) ||
                                                               t->share.background})) {
        lh_log(&s->log, LH_LOG_INFO, "streams n=%u why=\"%s\"", t->ramp.n, t->ramp.why);
        lh_mover_use_streams(s);
    }
}
