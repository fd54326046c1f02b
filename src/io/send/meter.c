/* Sampling a sending stream; what for is told in meter.h. */
#include "io/send/meter.h"

#include "core/pace.h"
#include "io/net/sock.h"
#include "util/clock.h"

#include <string.h>

static void set_pace(struct lh_meter *m)
{
    uint64_t pace_Bps = lh_meter_get(&m->counters->pace_Bps);

    if (pace_Bps == m->pace_Bps)
        return;
    m->pace_Bps = pace_Bps;
    lh_sock_pace(m->fd, pace_Bps);
}

void lh_meter_start(struct lh_meter *m, int fd, uint32_t lowat_bytes,
                    struct lh_meter_counters *counters)
{
    memset(m, 0, sizeof(*m));
    m->fd = fd;
    m->lowat_bytes = lowat_bytes;
    m->counters = counters;
    m->sampled_ms = lh_now_ms();
    atomic_store_explicit(&counters->rate_Bps, 0, memory_order_relaxed);
    atomic_store_explicit(&counters->used_Bps, 0, memory_order_relaxed);
    atomic_store_explicit(&counters->brought_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&counters->queued_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&counters->held, false, memory_order_relaxed);
    set_pace(m);
}

void lh_meter_anew(struct lh_meter *m, const char *congestion, uint64_t after_ms)
{
    m->anew = congestion;
    m->anew_ms = m->sampled_ms + after_ms;
}

static void begin_anew(struct lh_meter *m)
{
    if (m->anew == NULL || m->pace_Bps == 0 || m->sampled_ms < m->anew_ms)
        return;
    lh_sock_begin_anew(m->fd, m->anew);
    m->anew = NULL;
}

/* A counter of the connection goes on in the slot's sum. */
static void go_on(atomic_uint_fast64_t *sum, uint64_t *before, uint64_t now)
{
    atomic_fetch_add_explicit(sum, now - *before, memory_order_relaxed);
    *before = now;
}

/* A rate smoothed over some samples. With nothing under way it stays what it was: the stream is
 * idle, not slow. */
static void smooth(uint64_t *rate_Bps, atomic_uint_fast64_t *counter, uint64_t now_Bps,
                   const struct lh_tcp_state *tcp)
{
    if (now_Bps == 0 && (*rate_Bps == 0 || (tcp->unacked == 0 && tcp->notsent_bytes == 0)))
        return;
    *rate_Bps = *rate_Bps == 0 ? now_Bps : (3 * *rate_Bps + now_Bps) / 4;
    if (*rate_Bps == 0)
        *rate_Bps = 1; /* known, and next to nothing */
    atomic_store_explicit(counter, *rate_Bps, memory_order_relaxed);
}

static void note_rate(struct lh_meter *m, const struct lh_tcp_state *tcp, uint64_t span_ms)
{
    uint64_t now_Bps = (tcp->bytes_acked - m->acked_bytes) * 1000 / span_ms;

    smooth(&m->rate_Bps, &m->counters->rate_Bps, now_Bps, tcp);
}

static void note_delivered(struct lh_meter *m, const struct lh_tcp_state *tcp, uint64_t span_ms)
{
    uint64_t bytes = (uint64_t)(tcp->delivered - m->delivered) * tcp->mss_bytes;
    uint64_t now_Bps = bytes * 1000 / span_ms;

    m->delivered = tcp->delivered;
    atomic_fetch_add_explicit(&m->counters->delivered_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&m->counters->last_Bps, now_Bps, memory_order_relaxed);
    smooth(&m->used_Bps, &m->counters->used_Bps, now_Bps, tcp);
}

static void set_lowat(struct lh_meter *m)
{
    uint32_t lowat = lh_pace_lowat(m->rate_Bps, lh_random32());

    if (lowat <= m->lowat_bytes + m->lowat_bytes / 4 && lowat >= m->lowat_bytes / 2)
        return;
    m->lowat_bytes = lowat;
    lh_sock_lowat(m->fd, lowat);
}

/* JOIN went before all frames of blocks, so what is queued is of these first. */
static void note_queue(struct lh_meter *m, const struct lh_tcp_state *tcp, uint64_t span_ms)
{
    struct lh_meter_counters *c = m->counters;
    uint64_t brought =
        m->written_bytes > tcp->queued_bytes ? m->written_bytes - tcp->queued_bytes : 0;
    bool held = (tcp->rwnd_limited_us - m->rwnd_limited_us) / 1000 > span_ms / 2;

    for (int i = 0; i < 2 && brought >= m->mark_at_bytes; i++) {
        m->settled_bytes = m->mark_bytes;
        m->mark_bytes = m->skipped_bytes;
        m->mark_at_bytes = m->skip_at_bytes;
    }
    atomic_store_explicit(&c->brought_bytes, brought + m->settled_bytes, memory_order_relaxed);
    atomic_store_explicit(&c->queued_bytes, tcp->queued_bytes, memory_order_relaxed);
    atomic_store_explicit(&c->held, held, memory_order_relaxed);
}

void lh_meter_skip(struct lh_meter *m, uint64_t bytes)
{
    m->skipped_bytes += bytes;
    m->skip_at_bytes = m->written_bytes;
}

bool lh_meter_sample(struct lh_meter *m, uint64_t *silent_ms)
{
    struct lh_meter_counters *c = m->counters;
    uint64_t now_ms = lh_now_ms();
    struct lh_tcp_state tcp;

    *silent_ms = 0;
    if (now_ms == m->sampled_ms || !lh_sock_state(m->fd, &tcp))
        return false;
    if (tcp.unacked > 0)
        *silent_ms = tcp.last_ack_ms;
    note_rate(m, &tcp, now_ms - m->sampled_ms);
    note_queue(m, &tcp, now_ms - m->sampled_ms);
    note_delivered(m, &tcp, now_ms - m->sampled_ms);
    m->sampled_ms = now_ms;
    atomic_store_explicit(&c->sampled_ms, now_ms, memory_order_relaxed);
    go_on(&c->acked_bytes, &m->acked_bytes, tcp.bytes_acked);
    go_on(&c->resent_bytes, &m->resent_bytes, tcp.bytes_resent);
    go_on(&c->retransmits, &m->retransmits, tcp.retransmits);
    go_on(&c->busy_us, &m->busy_us, tcp.busy_us);
    go_on(&c->rwnd_limited_us, &m->rwnd_limited_us, tcp.rwnd_limited_us);
    go_on(&c->sndbuf_limited_us, &m->sndbuf_limited_us, tcp.sndbuf_limited_us);
    atomic_store_explicit(&c->rtt_us, tcp.rtt_us, memory_order_relaxed);
    atomic_store_explicit(&c->min_rtt_us, tcp.min_rtt_us, memory_order_relaxed);
    set_lowat(m);
    set_pace(m);
    begin_anew(m);
    return true;
}
