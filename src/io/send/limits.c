/* What limits a send: where its time goes, summed up for core/verdict.
 *
 * Thread: main loop. The transfer's own time is parted here, at each turn of the schedule and each
 * tick; what a stream spends it counts itself (sstream.c), what TCP says comes by its meter, what
 * threads have, from the kernel; the receiver's part by STATS. Threads that other sends use too are
 * as busy as all of them make them: that is what this one meets. */
#include "io/send/sender.h"

#include <stdio.h>

/* Since when no stream has anything to send; 0: some has, or may soon. A stream that asks has been
 * given nothing; what it still has it shows itself. */
static uint64_t idle_since_us(const struct lh_send *s, bool *connected)
{
    uint64_t last_us = 0;
    bool idle = true;

    *connected = false;
    for (unsigned i = 0; i < s->n_streams; i++) {
        const struct lh_stream_slot *slot = &s->streams[i];
        uint64_t us = lh_meter_get(&slot->counters.idle_since_us);

        if (!slot->up)
            continue;
        *connected = true;
        idle = idle && slot->wants && us != 0;
        last_us = us > last_us ? us : last_us;
    }
    return idle && *connected ? last_us : 0;
}

static enum lh_spent spending_now(const struct lh_send *s, uint64_t *since_us)
{
    bool connected = false;

    *since_us = 0;
    if (s->phase != LH_PHASE_MOVING)
        return LH_SPENT_CUT;
    *since_us = idle_since_us(s, &connected);
    if (!connected)
        return LH_SPENT_CUT;
    if (*since_us == 0)
        return LH_SPENT_WORKING;
    if (s->sched.missing.n > 0)
        return LH_SPENT_WINDOW;
    return s->lane != NULL && s->lane->searching(s->lane) ? LH_SPENT_WALK : LH_SPENT_TAIL;
}

/* The time until now is what it was spent on before, but for the end of it, if the streams have run
 * dry meanwhile. Checking the source and finishing are no part of it. */
void lh_limits_note(struct lh_send *s)
{
    struct lh_limits *l = &s->limits;
    uint64_t now_us = lh_now_us();
    uint64_t change_us;
    enum lh_spent now;

    if (!l->started)
        return;
    if (s->phase >= LH_PHASE_CHECKING && s->phase != LH_PHASE_LOST) {
        l->since_us = now_us;
        return;
    }
    now = spending_now(s, &change_us);
    if (change_us < l->since_us || change_us > now_us || l->spending != LH_SPENT_WORKING)
        change_us = now_us;
    l->us[l->spending] += change_us - l->since_us;
    l->us[now] += now_us - change_us;
    l->spending = now;
    l->since_us = now_us;
}

void lh_limits_start(struct lh_send *s)
{
    struct lh_limits *l = &s->limits;

    if (!l->started) {
        const struct lh_loops *loops = &s->engine->loops;

        for (unsigned i = 0; i < loops->n; i++)
            l->loop_busy_us[i] = lh_thread_busy_us(atomic_load(&loops->v[i].tid));
        l->hash_busy_us = lh_worker_busy_us(&s->engine->prep);
        l->hashing_us = atomic_load(&s->engine->hashing_us);
        l->since_us = lh_now_us();
        l->spending = LH_SPENT_CUT;
        l->started = true;
    }
    lh_limits_note(s);
}

void lh_limits_heard(struct lh_send *s, const struct lh_stats *stats)
{
    struct lh_limits *l = &s->limits;

    l->receiver.span_ms += stats->span_ms;
    l->receiver.busy += (uint64_t)stats->span_ms * stats->busy;
    l->receiver.write += (uint64_t)stats->span_ms * stats->write;
    l->receiver.pool += (uint64_t)stats->span_ms * stats->pool;
    l->receiver.sync += (uint64_t)stats->span_ms * stats->sync;
}

static uint64_t above(uint64_t n, uint64_t start)
{
    return n > start ? n - start : 0;
}

static double ratio(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static void add_streams(const struct lh_send *s, struct lh_verdict_input *in)
{
    uint64_t starved = 0, sending = 0, busy = 0, rwnd = 0, sndbuf = 0, rtt = 0, bytes = 0;
    uint64_t acked = 0, resent = 0;

    for (unsigned i = 0; i < LH_MAX_STREAMS; i++) {
        const struct lh_sstream_counters *c = &s->streams[i].counters;

        if (lh_meter_get(&c->bytes_sent) == 0)
            continue;
        in->streams++;
        bytes += lh_meter_get(&c->bytes_sent);
        starved += lh_meter_get(&c->starved_us);
        sending += lh_meter_get(&c->sending_us);
        acked += lh_meter_get(&c->meter.acked_bytes);
        resent += lh_meter_get(&c->meter.resent_bytes);
        busy += lh_meter_get(&c->meter.busy_us);
        rwnd += lh_meter_get(&c->meter.rwnd_limited_us);
        sndbuf += lh_meter_get(&c->meter.sndbuf_limited_us);
        rtt += lh_meter_get(&c->meter.rtt_us);
    }
    in->starved = ratio(starved, starved + sending);
    in->rwnd = ratio(rwnd, busy);
    in->sndbuf = ratio(sndbuf, busy);
    in->resent = ratio(resent, acked);
    in->rtt_s = ratio(rtt, 1000000ull * in->streams);
    in->rate_Bps = in->seconds > 0 ? (double)bytes / in->seconds : 0;
}

static void add_threads(struct lh_send *s, uint64_t all_us, struct lh_verdict_input *in)
{
    const struct lh_limits *l = &s->limits;
    struct lh_engine *e = s->engine;

    for (unsigned i = 0; i < e->loops.n; i++) {
        uint64_t us = lh_thread_busy_us(atomic_load(&e->loops.v[i].tid));
        double busy = ratio(above(us, l->loop_busy_us[i]), all_us);

        if (busy > in->loop_busy)
            in->loop_busy = busy;
    }
    in->hash_busy = ratio(above(lh_worker_busy_us(&e->prep), l->hash_busy_us),
                          above(lh_meter_get(&e->hashing_us), l->hashing_us));
}

static void add_receiver(const struct lh_limits *l, struct lh_verdict_input *in)
{
    uint64_t whole = LH_PERMILLE * l->receiver.span_ms;

    in->receiver_known = whole > 0;
    in->receiver_loop_busy = ratio(l->receiver.busy, whole);
    in->receiver_write = ratio(l->receiver.write, whole);
    in->receiver_pool = ratio(l->receiver.pool, whole);
    in->receiver_sync = ratio(l->receiver.sync, whole);
}

static void judge(struct lh_send *s, struct lh_verdict *verdict)
{
    const struct lh_limits *l = &s->limits;
    struct lh_verdict_input in = {0};
    uint64_t all_us = 0;

    for (unsigned i = 0; i < LH_SPENT_KINDS; i++)
        all_us += l->us[i];
    in.seconds = (double)all_us / 1e6;
    in.limit_Bps = (double)s->opts.limit_bps / 8;
    in.cut = ratio(l->us[LH_SPENT_CUT], all_us);
    in.window = ratio(l->us[LH_SPENT_WINDOW], all_us);
    in.walk = ratio(l->us[LH_SPENT_WALK], all_us);
    in.tail = ratio(l->us[LH_SPENT_TAIL], all_us);
    add_streams(s, &in);
    add_threads(s, all_us, &in);
    add_receiver(l, &in);
    lh_log(
        &s->log, LH_LOG_DEBUG,
        "limits s=%.3f cut=%.3f window=%.3f walk=%.3f tail=%.3f starved=%.3f rwnd=%.3f sndbuf=%.3f "
        "hash_busy=%.3f loop_busy=%.3f rtt_ms=%.3f streams=%u receiver_ms=%llu "
        "receiver_loop_busy=%.3f write=%.3f sync=%.3f pool=%.3f",
        in.seconds, in.cut, in.window, in.walk, in.tail, in.starved, in.rwnd, in.sndbuf,
        in.hash_busy, in.loop_busy, 1000 * in.rtt_s, in.streams,
        (unsigned long long)l->receiver.span_ms, in.receiver_loop_busy, in.receiver_write,
        in.receiver_sync, in.receiver_pool);
    lh_verdict(&in, verdict);
}

/* Once all is durable it stays as it is. */
void lh_limits_report(struct lh_send *s)
{
    struct lh_verdict verdict = {.limit = LH_LIMIT_NONE};

    lh_limits_note(s);
    if (s->phase >= LH_PHASE_CHECKING && s->phase != LH_PHASE_LOST && s->stats.limit[0] != '\0')
        return;
    if (s->limits.started)
        judge(s, &verdict);
    else if (s->stats.bytes_sent > 0)
        verdict = (struct lh_verdict){.limit = LH_LIMIT_TOO_SHORT, .reason = "it is one block"};
    snprintf(s->stats.limit, sizeof(s->stats.limit), "%s", lh_limit_name(verdict.limit));
    snprintf(s->stats.limit_reason, sizeof(s->stats.limit_reason), "%s", verdict.reason);
}
