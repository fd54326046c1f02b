/* What the receiver's time goes into, told to a sender that wants to know what limits it.
 *
 * Thread: main loop. Each STATS tells of the time since the one before: how long stream loops were
 * busy, slept in writes or had nobody to read for, and how long a commit was under way. A loop
 * counts by itself; that its thread ran or waited for a core the kernel says. */
#include "io/recv/recv.h"

#define EVERY_MS 1000
#define SPAN_MIN_MS 20 /* less is no measurement */

/* What ended and what is under way. */
static uint64_t writing_us(struct lh_loop *loop, uint64_t now_us)
{
    uint64_t since_us = 1000 * atomic_load(&loop->writing_since_ms);

    return atomic_load(&loop->writing_us) +
           (since_us != 0 && now_us > since_us ? now_us - since_us : 0);
}

static uint64_t sync_ms(const struct lh_serve *serve, uint64_t now_ms)
{
    uint64_t sum_ms = 0;

    for (struct lh_committer *c = serve->committers; c != NULL; c = c->next) {
        uint64_t since_ms = atomic_load(&c->stats.busy_since_ms);

        sum_ms += atomic_load(&c->stats.all_ms) +
                  (since_ms != 0 && now_ms > since_ms ? now_ms - since_ms : 0);
    }
    return sum_ms;
}

/* A counter goes on; what it gained. One that fell (a write was counted while it ended) gains
 * nothing. */
static uint64_t gain(uint64_t *before, uint64_t now)
{
    uint64_t n = now > *before ? now - *before : 0;

    *before = now;
    return n;
}

static void widen(uint16_t *most, uint64_t part, uint64_t whole)
{
    uint64_t share = part * LH_PERMILLE / whole;

    if (share > LH_PERMILLE)
        share = LH_PERMILLE;
    if (share > *most)
        *most = (uint16_t)share;
}

static void measure(struct lh_rsession *session, uint64_t now_us, struct lh_stats *out)
{
    struct lh_loops *loops = &session->serve->loops;
    struct lh_rstats *st = &session->stats;
    uint64_t span_us = now_us - st->at_us;

    *out = (struct lh_stats){.span_ms = (uint32_t)(span_us / 1000)};
    for (unsigned i = 0; i < loops->n; i++) {
        struct lh_loop *loop = &loops->v[i];
        uint64_t busy = gain(&st->busy_us[i], lh_thread_busy_us(atomic_load(&loop->tid)));
        uint64_t writing = gain(&st->writing_us[i], writing_us(loop, now_us));

        widen(&out->busy, busy, span_us);
        /* A write that copies into memory keeps the thread busy: what is left it slept. */
        widen(&out->write, writing > busy ? writing - busy : 0, span_us);
        widen(&out->pool, gain(&st->pool_us[i], atomic_load(&loop->pool_wait_us)), span_us);
    }
    widen(&out->sync, 1000 * gain(&st->sync_ms, sync_ms(session->serve, now_us / 1000)), span_us);
    st->at_us = now_us;
}

void lh_rstats_begin(struct lh_rsession *session)
{
    struct lh_stats none;

    session->stats.at_us = 0;
    measure(session, lh_now_us(), &none);
}

void lh_rstats_send(struct lh_rsession *session)
{
    uint64_t now_us = lh_now_us();
    struct lh_stats stats;
    uint8_t payload[64];

    if (!session->stats.wanted || session->stats.at_us == 0 ||
        now_us - session->stats.at_us < SPAN_MIN_MS * 1000)
        return;
    measure(session, now_us, &stats);
    lh_rsession_send(session, LH_FRAME_STATS, 0, NULL, payload, lh_stats_encode(&stats, payload));
}

void lh_rstats_tick(struct lh_rsession *session, uint64_t now_ms)
{
    if (session->n_streams > 0 && now_ms - session->stats.at_us / 1000 >= EVERY_MS)
        lh_rstats_send(session);
}
