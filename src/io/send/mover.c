/* Moving the blocks: grants to streams that ask, acknowledgements in, until all is durable.
 *
 * Thread: main loop.
 *
 * Happy path: dial (while HELLO and OFFER are under way, or in a session that was parked, OFFER
 * alone) -> streams connect, staggered -> join ->
 * start (the ledger is known) -> each asks, is granted a range, asks again before it runs dry ->
 * ACK by ACK everything becomes durable -> lh_offer_finish. Failures: a stream that goes down
 * gives its blocks back at once, is dialled again with jittered backoff if it is in use; AGAIN puts
 * a block back; a source that changed begins again (send_source.c). */
#include "core/pace.h"
#include "io/send/sender.h"

#include <stdlib.h>
#include <string.h>

#define LASTED_MS 5000 /* a stream that lived so long is dialled again without ado */
#define LANE_STAGGER_MS 5
#define SAME_BLOCK_MAX 8 /* failures of one block before verification is given up */

static void out_of_memory(struct lh_send *s)
{
    lh_send_end(s, LH_E_NOMEM, "out of memory");
}

static void start_stream(struct lh_send *s, unsigned number, uint64_t delay_ms)
{
    struct lh_stream_slot *slot = &s->streams[number];
    struct lh_tcp_state control = {0};
    struct lh_sstream_start how = {
        .send = s,
        .loop = &s->engine->loops.v[(s->first_loop + number) % s->engine->loops.n],
        .number = number,
        .generation = slot->generation++,
        .delay_ms = delay_ms,
        .addr = s->session->peer,
        .from = &s->from,
        .counters = &slot->counters,
    };

    how.sndbuf_bytes = lh_pace_sndbuf(s->opts.sndbuf_bytes, 0, s->n_streams, s->engine->wmem_max,
                                      s->engine->tcp_wmem_max, lh_random32());
    lh_sock_state(s->session->ctl.fd, &control);
    how.again_ms = lh_pace_again(control.rtt_us);
    slot->up = slot->wants = false;
    slot->st = lh_sstream_start(&how);
    if (slot->st == NULL) {
        out_of_memory(s);
        return;
    }
    s->n_alive++;
    if (s->phase > LH_PHASE_HELLO)
        lh_sstream_join(slot->st, s->session->token);
}

static void stop_streams_from(struct lh_send *s, unsigned first)
{
    for (unsigned i = first; i < LH_MAX_STREAMS; i++) {
        s->streams[i].up = s->streams[i].wants = false;
        if (s->streams[i].st != NULL)
            lh_sstream_stop(s->streams[i].st);
    }
}

/* No more streams than there are blocks to keep them busy. Before the ledger is known nothing is
 * taken to be there; what was too many is stopped later. */
static unsigned streams_needed(const struct lh_send *s)
{
    bool all = s->accept_flags & LH_ACCEPT_COMPARE; /* durable blocks may turn out to differ */
    uint64_t blocks = lh_blocks_of(s->source.identity.size, s->opts.block_bytes);

    if (s->small != NULL)
        return 0;
    if (s->lane != NULL) /* how many there will be is not known */
        return s->tune.ramp.n;
    if (s->sched_ready && !all)
        blocks -= s->sched.durable.blocks;
    return blocks < s->tune.ramp.n ? (unsigned)blocks : s->tune.ramp.n;
}

/* The first begins at once, the others staggered, those of a tree next to nothing: it is short, and
 * slow starts are most of it. One that was lost is dialled again after a pause. */
static uint64_t pause_ms(const struct lh_send *s, unsigned number)
{
    if (s->streams[number].attempt > 0)
        return lh_pace_backoff(s->streams[number].attempt, lh_random32());
    if (s->lane != NULL && s->opts.stagger_ms > LANE_STAGGER_MS)
        return number == 0 ? 0 : lh_pace_stagger(LANE_STAGGER_MS, lh_random32());
    return number == 0 ? 0 : lh_pace_stagger(s->opts.stagger_ms, lh_random32());
}

void lh_mover_use_streams(struct lh_send *s)
{
    unsigned n = streams_needed(s);

    if (s->n_streams < n)
        s->n_streams = n;
    for (unsigned i = 0; i < n && s->phase != LH_PHASE_ENDING; i++)
        if (s->streams[i].st == NULL)
            start_stream(s, i, pause_ms(s, i));
    lh_mover_feed(s);
}

/* Of those beyond its part. */
static bool may_go(const struct lh_send *s, unsigned number)
{
    const struct lh_stream_slot *slot = &s->streams[number];

    return slot->st != NULL &&
           (!slot->up || (slot->wants && s->sched.streams[number].granted.blocks == 0));
}

static void close_beyond_part(struct lh_send *s)
{
    if (s->most_streams == 0)
        return;
    for (unsigned i = s->most_streams; i < s->n_streams; i++)
        if (may_go(s, i)) {
            s->streams[i].up = s->streams[i].wants = false;
            lh_sstream_stop(s->streams[i].st);
        }
}

void lh_mover_part(struct lh_send *s, unsigned streams)
{
    if (lh_tune_part(s, streams) && s->phase >= LH_PHASE_HELLO && s->phase <= LH_PHASE_MOVING)
        lh_mover_use_streams(s);
}

bool lh_mover_within_part(const struct lh_send *s)
{
    for (unsigned i = s->most_streams; i < LH_MAX_STREAMS; i++)
        if (s->streams[i].st != NULL)
            return false;
    return true;
}

void lh_mover_dial(struct lh_send *s)
{
    lh_tune_start(s);
    if (s->phase > LH_PHASE_HELLO)
        lh_tune_at_most(s, s->session->max_streams);
    s->n_streams = 0;
    for (unsigned i = 0; i < LH_MAX_STREAMS; i++)
        s->streams[i].attempt = 0;
    lh_mover_use_streams(s);
}

static void keep_streams(struct lh_send *s, unsigned n)
{
    if (n < s->n_streams)
        s->n_streams = n;
    stop_streams_from(s, s->n_streams);
}

void lh_mover_join(struct lh_send *s)
{
    lh_tune_at_most(s, s->session->max_streams);
    keep_streams(s, s->session->max_streams);
    for (unsigned i = 0; i < s->n_streams; i++)
        if (s->streams[i].st != NULL)
            lh_sstream_join(s->streams[i].st, s->session->token);
}

static void put_to_work(struct lh_send *s, unsigned number)
{
    s->streams[number].up_ms = lh_now_ms(); /* it could not show before what it is worth */
    lh_sched_stream_up(&s->sched, number);
}

void lh_mover_start(struct lh_send *s)
{
    s->phase = LH_PHASE_MOVING;
    lh_laggard_start(s);
    keep_streams(s, streams_needed(s));
    lh_limits_start(s);
    for (unsigned i = 0; i < s->n_streams; i++)
        if (s->streams[i].up)
            put_to_work(s, i);
    lh_compare_start(s);
    lh_mover_use_streams(s);
}

static void feed(struct lh_send *s, unsigned number)
{
    struct lh_stream_slot *slot = &s->streams[number];
    uint64_t first, end;

    lh_laggard_see(s, number);
    if (lh_sched_grant(&s->sched, number, &first, &end) ||
        (s->lane != NULL && s->lane->hungry(s->lane) &&
         lh_sched_grant(&s->sched, number, &first, &end)) ||
        lh_laggard_help(s, number, &first, &end)) {
        slot->wants = false;
        lh_sstream_range(slot->st, s->transfer, s->epoch, first, end);
    }
}

void lh_mover_feed(struct lh_send *s)
{
    if (s->phase != LH_PHASE_MOVING)
        return;
    for (unsigned i = 0; i < s->n_streams && i < s->tune.ramp.n; i++)
        if (s->streams[i].up && s->streams[i].wants)
            feed(s, i);
    close_beyond_part(s);
    lh_limits_note(s);
    if (s->lane != NULL) /* its owner says when it is over */
        return;
    if (lh_sched_complete(&s->sched) && lh_compare_settled(s))
        lh_offer_finish(s);
}

void lh_mover_stop_streams(struct lh_send *s)
{
    stop_streams_from(s, 0);
}

void lh_mover_reset(struct lh_send *s)
{
    if (s->sched_ready) {
        lh_runs_free(&s->known);
        s->known = s->sched.durable;
        lh_runs_init(&s->sched.durable, LH_RUNS_MAX);
        lh_sched_free(&s->sched);
    }
    s->sched_ready = false;
    lh_compare_reset(s);
}

/* ---- notes from streams ---- */

void lh_mover_up(struct lh_send *s, unsigned number, const struct lh_stream_given *given)
{
    lh_log(&s->log, LH_LOG_INFO, "stream number=%u congestion=%s sndbuf=%d notsent_lowat=%d",
           number, given->congestion, given->sndbuf_bytes, given->lowat_bytes);
    if (number >= s->n_streams || s->phase < LH_PHASE_HELLO || s->phase > LH_PHASE_MOVING ||
        (s->most_streams > 0 && number >= s->most_streams))
        return; /* it has been stopped meanwhile */
    s->streams[number].up = true;
    s->streams[number].up_ms = lh_now_ms();
    if (s->phase == LH_PHASE_MOVING)
        put_to_work(s, number);
}

void lh_mover_wants(struct lh_send *s, unsigned number)
{
    if (!s->streams[number].up)
        return;
    s->streams[number].wants = true;
    lh_mover_feed(s);
}

static void source_failed(struct lh_send *s, const struct lh_err *err)
{
    if (err->status == LH_E_SOURCE_CHANGED)
        lh_send_restart(s, err->text);
    else
        lh_send_end(s, err->status, "%s", err->text);
}

void lh_mover_down(struct lh_send *s, unsigned number, const struct lh_err *err)
{
    struct lh_stream_slot *slot = &s->streams[number];
    int r;

    slot->attempt = slot->up && lh_now_ms() - slot->up_ms > LASTED_MS ? 0 : slot->attempt + 1;
    slot->st = NULL;
    slot->up = slot->wants = false;
    s->n_alive--;
    if (s->phase == LH_PHASE_LOST || s->phase == LH_PHASE_ENDING) {
        lh_session_maybe_quiet(s);
        lh_send_maybe_end(s);
        return;
    }
    lh_log(&s->log, LH_LOG_INFO, "stream number=%u down=\"%s\"", number,
           err->status == 0 ? "closed here" : err->text);
    if (s->phase != LH_PHASE_MOVING || number >= s->n_streams)
        return; /* what is needed is dialled again by start */
    r = lh_sched_stream_down(&s->sched, number);
    if (r != 0) {
        out_of_memory(s);
        return;
    }
    if (err->status != LH_E_NETWORK && err->status != 0) { /* 0: we closed it */
        source_failed(s, err);
        return;
    }
    if (number < s->tune.ramp.n &&
        (s->lane != NULL || !lh_sched_complete(&s->sched) || !lh_compare_settled(s)))
        start_stream(s, number, lh_pace_backoff(slot->attempt, lh_random32()));
    lh_mover_feed(s);
}

/* ---- frames ---- */

static void note_progress(struct lh_send *s)
{
    s->attempt = 0;
    s->n_protocol_errors = 0;
}

/* A damaged block: is it the wire, or did the source change under us? */
static void on_check_after_damage(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    s->source_busy = false;
    if (s->phase == LH_PHASE_MOVING && s->source_err.status != 0)
        source_failed(s, &s->source_err);
    lh_mover_feed(s); /* it may all be durable by now, and have waited for this */
    lh_session_maybe_quiet(s);
    lh_send_maybe_end(s);
}

static void on_damaged(struct lh_send *s, const struct lh_run *run)
{
    s->stats.verification_failures += run->end - run->first;
    lh_log(&s->log, LH_LOG_WARN, "block number=%llu arrived damaged: it is sent again",
           (unsigned long long)run->first);
    s->bad_block_times = run->first == s->bad_block ? s->bad_block_times + 1 : 1;
    s->bad_block = run->first;
    if (s->bad_block_times >= SAME_BLOCK_MAX) {
        lh_send_end(s, LH_E_VERIFY,
                    "block %llu arrived damaged %u times: memory, a disk or the network is broken",
                    (unsigned long long)run->first, s->bad_block_times);
        return;
    }
    if (!s->source_busy && s->lane == NULL)
        lh_send_check_source(s, on_check_after_damage);
}

static int acked(struct lh_send *s, const struct lh_run *run)
{
    int r;

    lh_log(&s->log, LH_LOG_DEBUG, "acked first=%llu count=%llu", (unsigned long long)run->first,
           (unsigned long long)(run->end - run->first));
    r = lh_sched_ack(&s->sched, run->first, run->end);
    if (r == 0 && s->lane != NULL)
        lh_packs_drop(s->lane->packs, run->first, run->end);
    return r;
}

static int apply_run(struct lh_send *s, uint16_t type, const struct lh_run *run)
{
    int r;

    switch (type) {
    case LH_FRAME_LEDGER:
        return lh_sched_restore(&s->sched, run->first, run->end);
    case LH_FRAME_ACK:
        return acked(s, run);
    case LH_FRAME_RETRACTED:
        return lh_sched_retracted(&s->sched, run->first, run->end);
    default: /* AGAIN */
        r = lh_sched_again(&s->sched, run->first, run->end);
        if (r == 0)
            on_damaged(s, run);
        return r;
    }
}

void lh_mover_frame(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_err err = {0};
    const char *why = NULL;
    int n = lh_block_runs_count(payload, frame->length, &why);
    int r = n < 0 ? n : 0;

    for (int i = 0; i < n && r == 0; i++) {
        struct lh_block_run b = lh_block_runs_get(payload, (size_t)i);
        struct lh_run run = {b.first, b.first + b.count};

        r = apply_run(s, frame->type, &run);
        if (s->phase == LH_PHASE_ENDING || s->phase == LH_PHASE_LOST)
            return;
    }
    if (r != 0) {
        lh_err_set(&err, -r, "%s: %s", lh_frame_name(frame->type),
                   why != NULL ? why : lh_status_text(r));
        lh_session_lost(s, &err);
        return;
    }
    if (frame->type == LH_FRAME_ACK)
        note_progress(s);
    if (frame->type == LH_FRAME_RETRACTED)
        lh_compare_retracted(s, frame->flags & LH_FRAME_LAST);
    lh_mover_feed(s);
}
