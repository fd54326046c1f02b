/* The dials of a sender: how many streams, and how fast each may send.
 *
 * Thread: main loop. Gathers what the streams' meters say, asks core/ramp and core/share, and does
 * what they say: streams are started or left idle by the mover, a pace goes to the streams by their
 * meters. */
#include "io/send/sender.h"

#include <stdio.h>
#include <string.h>

#define FRESH_MS 500u
#define HURRY_US 20000u /* of a round trip: below it slow starts are over at once */
#define STREAM_LEAST_Bps 65536u
#define STREAM_GOOD_Bps 1000000u
/* Streams that have something to send for less of the time are held up by something else; so are
 * those whose receiver's window is closed for more, while it waits for its disk. */
#define BUSY_PERCENT 60u
#define CLOSED_PERCENT 50u

static bool bbr(const struct lh_send *s)
{
    return strncmp(s->congestion, "bbr", 3) == 0 && s->congestion_errno == 0;
}

/* Below a limit there are no more streams than get something of it each: with less than 64 KiB a
 * second the kernel's pacing lets one segment of a loopback go in seconds, and that would look like
 * a stream that hangs. With BBR a few do as well as many. */
static unsigned most_below_limit(const struct lh_send *s)
{
    uint64_t least_Bps = bbr(s) && s->opts.streams == 0 ? STREAM_GOOD_Bps : STREAM_LEAST_Bps;
    uint64_t n = s->opts.limit_bps / 8 / least_Bps;

    if (s->opts.limit_bps == 0 || n > LH_MAX_STREAMS)
        return LH_MAX_STREAMS;
    return n > 0 ? (unsigned)n : 1;
}

/* Where nothing was asked for. */
static unsigned max_by_host(const struct lh_ramp_path *path)
{
    if (!path->loss_tolerant)
        return LH_DEFAULT_MAX_STREAMS_NO_BBR;
    return lh_ramp_first(path) > LH_DEFAULT_MAX_STREAMS ? LH_DEFAULT_MAX_STREAMS_FAR
                                                        : LH_DEFAULT_MAX_STREAMS;
}

/* A bound of 0 is none. */
static unsigned lesser(unsigned a, unsigned b)
{
    return b > 0 && b < a ? b : a;
}

static struct lh_ramp_bounds bounds(const struct lh_send *s, const struct lh_ramp_path *path)
{
    struct lh_ramp_bounds b = {.min = 1, .max = s->opts.max_streams};
    unsigned most = most_below_limit(s);

    if (b.max == 0)
        b.max = max_by_host(path);
    if (s->opts.streams > 0)
        b.min = b.max = lesser(s->opts.streams, s->opts.max_streams);
    b.max = lesser(b.max < most ? b.max : most, s->most_streams);
    if (b.min > b.max)
        b.min = b.max;
    return b;
}

/* Of a number that was asked for and is not to be had. */
static void say_fewer(struct lh_send *s)
{
    struct lh_ramp *r = &s->tune.ramp;
    bool by_bound = s->opts.max_streams > 0 && r->n >= s->opts.max_streams;

    if (s->opts.streams > r->n)
        snprintf(r->why, sizeof(r->why), "not %u: %s", s->opts.streams,
                 r->n == s->most_streams ? "the rest is for other files of the tree"
                 : by_bound              ? "no more are allowed"
                                         : "the rate limit is too low for more");
}

/* To each stream its part, and an even one to those that may come up. Parts are by what streams
 * deliver: what is acknowledged stands still at each loss. */
static void set_pace(struct lh_send *s, uint64_t total_Bps)
{
    uint64_t rates_Bps[LH_MAX_STREAMS];
    uint64_t parts_Bps[LH_MAX_STREAMS];
    unsigned of[LH_MAX_STREAMS]; /* which slot it is */
    unsigned n = 0;

    for (unsigned i = 0; i < LH_MAX_STREAMS; i++) {
        struct lh_meter_counters *m = &s->streams[i].counters.meter;

        if (i < s->tune.ramp.n && s->streams[i].up) {
            of[n] = i;
            rates_Bps[n++] = lh_meter_get(&m->used_Bps);
        } else {
            atomic_store_explicit(&m->pace_Bps, total_Bps / s->tune.ramp.n, memory_order_relaxed);
        }
    }
    if (n > 0)
        lh_share_parts(total_Bps, rates_Bps, n, parts_Bps);
    for (unsigned k = 0; k < n; k++)
        atomic_store_explicit(&s->streams[of[k]].counters.meter.pace_Bps, parts_Bps[k],
                              memory_order_relaxed);
}

/* Small files over a long path: slow starts are most of it. */
static void hurry(struct lh_send *s)
{
    unsigned most = lesser(most_below_limit(s), s->most_streams);

    s->tune.brief = true;
    if (s->opts.share == LH_SHARE_BACKGROUND)
        return;
    lh_ramp_hurry(&s->tune.ramp, most < s->lane->max_streams ? most : s->lane->max_streams);
}

static void say_number(const struct lh_send *s)
{
    lh_log(&s->log, LH_LOG_INFO, "streams n=%u why=\"%s\"", s->tune.ramp.n, s->tune.ramp.why);
}

void lh_tune_start(struct lh_send *s)
{
    struct lh_ramp_path path = {.hold_bytes = lh_ramp_hold(s->engine->tcp_wmem_max)};
    struct lh_tcp_state tcp;

    if (lh_sock_state(s->session->ctl.fd, &tcp))
        path.rtt_us = tcp.min_rtt_us;
    path.loss_tolerant = bbr(s);
    memset(&s->tune, 0, sizeof(s->tune));
    lh_ramp_init(&s->tune.ramp, bounds(s, &path), path);
    say_fewer(s);
    if (s->lane != NULL && path.loss_tolerant && path.rtt_us >= HURRY_US)
        hurry(s);
    lh_share_init(&s->tune.share, s->opts.limit_bps / 8, bbr(s),
                  s->opts.share == LH_SHARE_BACKGROUND);
    set_pace(s, lh_share_first(&s->tune.share));
    say_number(s);
    s->tune.started = true;
}

void lh_tune_at_most(struct lh_send *s, unsigned streams)
{
    if (lh_ramp_at_most(&s->tune.ramp, streams))
        say_number(s);
}

bool lh_tune_part(struct lh_send *s, unsigned streams)
{
    struct lh_ramp *r = &s->tune.ramp;

    if (s->most_streams == streams)
        return false;
    s->most_streams = streams;
    if (!s->tune.started || !lh_ramp_rebound(r, bounds(s, &r->path)))
        return false;
    say_number(s);
    return true;
}

/* Over all streams; what is of now, over those in use. */
struct seen {
    uint64_t delivered_bytes;
    uint64_t resent_bytes;
    uint64_t busy_us;
    uint64_t closed_us; /* the far end's window was */
    uint64_t rtt_us;
    uint64_t min_rtt_us;
    uint32_t least_rtt_us; /* of any; 0: not known */
    unsigned n_up;
    unsigned n_rtt; /* of them those of which it is known */
};

static struct seen look(const struct lh_send *s, uint64_t now_ms)
{
    struct seen seen = {0};

    for (unsigned i = 0; i < s->n_streams; i++) {
        const struct lh_meter_counters *m = &s->streams[i].counters.meter;
        uint64_t age_ms = now_ms - lh_meter_get(&m->sampled_ms);
        uint64_t rtt_us = lh_meter_get(&m->rtt_us);
        uint32_t min_rtt_us = (uint32_t)lh_meter_get(&m->min_rtt_us);

        seen.delivered_bytes += lh_meter_get(&m->delivered_bytes);
        seen.resent_bytes += lh_meter_get(&m->resent_bytes);
        seen.busy_us += lh_meter_get(&m->busy_us);
        seen.closed_us += lh_meter_get(&m->rwnd_limited_us);
        if (!s->streams[i].up)
            continue;
        /* Streams are sampled each at moments of its own: their sums are brought forward to now. */
        if (age_ms <= FRESH_MS)
            seen.delivered_bytes += lh_meter_get(&m->last_Bps) * age_ms / 1000;
        if (i < s->tune.ramp.n) {
            seen.n_up++;
            if (rtt_us == 0 || min_rtt_us == 0) /* not sampled yet */
                continue;
            seen.n_rtt++;
            seen.rtt_us += rtt_us;
            seen.min_rtt_us += min_rtt_us;
            if (seen.least_rtt_us == 0 || min_rtt_us < seen.least_rtt_us)
                seen.least_rtt_us = min_rtt_us;
        }
    }
    /* One that has just gone down was brought forward too far. */
    if (seen.delivered_bytes < s->tune.delivered_bytes)
        seen.delivered_bytes = s->tune.delivered_bytes;
    return seen;
}

/* The source has nothing to send, or the receiver's disk takes nothing: the path is not the
 * question. */
static bool held_up(const struct lh_send *s, const struct seen *seen, uint64_t now_ms)
{
    const struct lh_tune *t = &s->tune;
    uint64_t percent_us = (now_ms - t->at_ms) * 10 * seen->n_up; /* of the streams' time */

    if (t->at_ms == 0)
        return false;
    return seen->busy_us - t->busy_us < percent_us * BUSY_PERCENT ||
           (seen->closed_us - t->closed_us > percent_us * CLOSED_PERCENT &&
            s->far.disk_wait_ms > 0);
}

static unsigned queue_percent(const struct seen *seen)
{
    if (seen->min_rtt_us == 0 || seen->rtt_us <= seen->min_rtt_us)
        return 0;
    return (unsigned)((seen->rtt_us - seen->min_rtt_us) * 100 / seen->min_rtt_us);
}

static void tune_pace(struct lh_send *s, const struct seen *seen, bool held, uint64_t now_ms)
{
    struct lh_share_sight sight = {.now_ms = now_ms,
                                   .delivered_bytes = seen->delivered_bytes,
                                   .resent_bytes = seen->resent_bytes,
                                   .rtt_us = s->tune.ramp.path.rtt_us,
                                   .queue_percent = queue_percent(seen),
                                   .held = held,
                                   .free_to_grow = lh_ramp_tries_more(&s->tune.ramp)};
    uint64_t total_Bps;

    if (seen->n_rtt > 0) {
        sight.rtt_now_us = (uint32_t)(seen->rtt_us / seen->n_rtt);
        sight.rtt_least_us = (uint32_t)(seen->min_rtt_us / seen->n_rtt);
    }
    total_Bps = lh_share_tick(&s->tune.share, &sight);

    set_pace(s, total_Bps);
    lh_log(&s->log, LH_LOG_DEBUG,
           "pace bound_kBps=%llu delivered_kB=%llu queue=%u%% queue_us=%u held=%d",
           (unsigned long long)total_Bps / 1000, (unsigned long long)seen->delivered_bytes / 1000,
           sight.queue_percent, s->tune.share.yield.queue_us, held);
}

static void tune_number(struct lh_send *s, const struct seen *seen, bool held, uint64_t now_ms)
{
    struct lh_tune *t = &s->tune;
    struct lh_ramp_sight sight = {.now_ms = now_ms,
                                  .delivered_bytes = seen->delivered_bytes,
                                  .queue_percent = queue_percent(seen),
                                  .held =
                                      held || lh_share_limits(&t->share) || t->share.background};

    if (!lh_ramp_look(&t->ramp, &sight))
        return;
    say_number(s);
    lh_mover_use_streams(s);
}

void lh_tune_tick(struct lh_send *s, uint64_t now_ms)
{
    struct lh_tune *t = &s->tune;
    struct seen seen;
    bool held;

    if (s->phase != LH_PHASE_MOVING)
        return;
    seen = look(s, now_ms);
    held = held_up(s, &seen, now_ms);
    lh_ramp_round_trip(&t->ramp, seen.least_rtt_us);
    t->at_ms = now_ms;
    t->busy_us = seen.busy_us;
    t->closed_us = seen.closed_us;
    t->delivered_bytes = seen.delivered_bytes;
    tune_pace(s, &seen, held, now_ms);
    tune_number(s, &seen, held, now_ms);
}
