/* The numbers of a send, and the callbacks that tell them: start, progress, delivered.
 *
 * Thread: main loop. What streams count are atomics, summed up here.
 *
 * Happy path: what is durable already is known -> start -> progress, every progress_ms ->
 * delivered.
 * Failures: none of its own. Between two sessions the numbers stay what they were. */
#include "io/send/sender.h"

#include <string.h>

static uint64_t durable_now(const struct lh_send *s)
{
    if (s->delivered)
        return s->stats.bytes_total;
    if (s->sched_ready)
        return lh_sched_bytes(&s->sched, &s->sched.durable);
    return s->stats.bytes_durable; /* between sessions: what was known last */
}

/* Bits per second made durable over the last few seconds. */
static uint64_t recent_rate(struct lh_send *s, uint64_t now_ms)
{
    unsigned last = s->n_samples < LH_RATE_SAMPLES ? s->n_samples : LH_RATE_SAMPLES - 1;
    uint64_t span_ms, bytes;

    memmove(&s->samples[1], &s->samples[0], last * sizeof(s->samples[0]));
    s->samples[0].ms = now_ms;
    s->samples[0].bytes = s->stats.bytes_durable;
    s->n_samples = last + 1;
    span_ms = now_ms - s->samples[last].ms;
    bytes = s->samples[0].bytes - s->samples[last].bytes;
    if (span_ms == 0 || s->samples[0].bytes < s->samples[last].bytes)
        return 0;
    return bytes * 8 * 1000 / span_ms;
}

uint64_t lh_send_mean_rate(const struct lh_send *s)
{
    uint64_t gained = s->stats.bytes_durable;

    if (gained >= s->durable_before)
        gained -= s->durable_before;
    return s->stats.duration_s > 0 ? (uint64_t)((double)gained * 8 / s->stats.duration_s) : 0;
}

static void sum_streams(struct lh_send *s)
{
    struct lh_send_stats *st = &s->stats;

    st->bytes_sent = st->zero_copy_bytes = st->fallback_bytes = 0;
    st->zero_copy_count = st->fallback_count = st->retransmits = 0;
    for (unsigned i = 0; i < LH_MAX_STREAMS; i++) {
        const struct lh_sstream_counters *c = &s->streams[i].counters;

        st->streams += s->streams[i].up;
        st->bytes_sent += lh_meter_get(&c->bytes_sent);
        st->zero_copy_bytes += lh_meter_get(&c->zero_copy_bytes);
        st->fallback_bytes += lh_meter_get(&c->fallback_bytes);
        st->zero_copy_count += lh_meter_get(&c->zero_copy_count);
        st->fallback_count += lh_meter_get(&c->fallback_count);
        st->retransmits += lh_meter_get(&c->meter.retransmits);
    }
}

void lh_send_refresh(struct lh_send *s)
{
    struct lh_send_stats *st = &s->stats;

    st->bytes_durable = durable_now(s);
    st->duration_s = (double)(lh_now_ms() - s->started_ms) / 1000;
    st->streams = 0;
    if (s->phase == LH_PHASE_OPENING) /* `small` belongs to the job */
        return;
    if (s->small != NULL) {
        st->bytes_sent = st->fallback_bytes;
        return;
    }
    st->bytes_holes =
        s->hole_bytes + lh_zeros_bytes(&s->zeros, s->source.identity.size, s->opts.block_bytes);
    if (s->lane != NULL)
        st->bytes_holes = lh_packs_holes(s->lane->packs);
    sum_streams(s);
}

void lh_send_report_start(struct lh_send *s)
{
    s->stats.bytes_total = s->source.identity.size;
    lh_send_refresh(s);
    if (!s->started) {
        s->durable_before = s->stats.bytes_durable;
        recent_rate(s, lh_now_ms()); /* is counted from here */
    }
    s->started = true;
    if (s->cbs.start != NULL)
        s->cbs.start(s->cbs.arg, &s->stats);
}

void lh_send_report_delivered(struct lh_send *s)
{
    s->delivered = true;
    lh_send_refresh(s);
    lh_limits_report(s);
    s->stats.rate_bps = lh_send_mean_rate(s);
    if (s->cbs.delivered != NULL)
        s->cbs.delivered(s->cbs.arg, &s->stats);
}

void lh_send_report_progress(struct lh_send *s, uint64_t now_ms)
{
    lh_send_refresh(s);
    s->stats.rate_bps = recent_rate(s, now_ms);
    lh_limits_report(s);
    if (s->cbs.progress != NULL)
        s->cbs.progress(s->cbs.arg, &s->stats);
}
