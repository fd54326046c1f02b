/* The senders: what src/io's mover, streams and comparison decide, in their order.
 *
 * A run is one process: it dials, offers, sends by the schedule, finishes, and is gone. */
#include "test/sim/world.h"

#include "core/pace.h"
#include "proto/frame.h"
#include "util/mutant.h"

#include <string.h>

#define IDLE_US 15000
#define BEAT_MS 2000
#define COMPARE_AT_A_TIME 8

static struct sim_msg about(const struct sim_world *w, const struct sim_sender *s,
                            enum sim_what what)
{
    return (struct sim_msg){
        .what = what, .sender = (int)(s - w->senders), .run = s->run, .session = s->session};
}

static void dial_later(struct sim_world *w, struct sim_sender *s)
{
    struct sim_msg msg = about(w, s, SIM_DIAL);

    s->state = SIM_DIALLING;
    sim_after(w, lh_pace_backoff(s->attempt++, (uint32_t)lh_rng_next(&w->rng)) * 1000, &msg);
}

/* Drop everything of the session; the other end hears of it sooner or later. */
static void forget_session(struct sim_world *w, struct sim_sender *s)
{
    if (s->session >= 0) {
        w->sessions[s->session].open_s = false;
        sim_cut_session(w, s->session, true);
    }
    s->session = -1;
    if (s->have_sched)
        lh_sched_free(&s->sched);
    s->have_sched = false;
    s->comparing = false;
    s->finish_sent = false;
    for (unsigned i = 0; i < SIM_STREAMS; i++) {
        s->streams[i].up = false;
        s->streams[i].gen++;
    }
}

static void run_ends(struct sim_world *w, struct sim_sender *s)
{
    struct sim_msg msg = about(w, s, SIM_RUN);

    forget_session(w, s);
    s->state = SIM_AWAY;
    s->run = ++w->n_runs; /* nothing that is under way is meant for the next one */
    if (msg.sender == 0 || !w->calm)
        sim_after(w, sim_about(w, 1500000), &msg);
}

void sim_sender_dies(struct sim_world *w, int sender)
{
    struct sim_sender *s = &w->senders[sender];

    if (s->state != SIM_AWAY)
        run_ends(w, s);
}

bool sim_sender_active(const struct sim_world *w)
{
    for (int i = 0; i < SIM_SENDERS; i++)
        if (w->senders[i].state != SIM_AWAY)
            return true;
    return false;
}

static void session_lost(struct sim_world *w, struct sim_sender *s)
{
    w->stats->n_sessions_lost++;
    forget_session(w, s);
    dial_later(w, s);
}

static void run_begins(struct sim_world *w, struct sim_sender *s)
{
    if (s->state != SIM_AWAY)
        return;
    memset(s, 0, sizeof(*s));
    s->run = ++w->n_runs;
    s->session = -1;
    s->identity = sim_identity(w, (int)(s - w->senders));
    for (unsigned i = 0; i < LH_HOLD_ID_SIZE; i++)
        s->me.id[i] = (uint8_t)lh_rng_next(&w->rng);
    if (w->queue) {
        memset(s->me.incarnation, 9, sizeof(s->me.incarnation));
        s->me.claim = ++w->n_claims;
    }
    dial_later(w, s);
}

static void dial(struct sim_world *w, struct sim_sender *s)
{
    struct sim_msg offer = about(w, s, SIM_OFFER);
    struct sim_session *session;

    if (w->life % 2 == 0) {
        dial_later(w, s);
        return;
    }
    if (w->n_sessions == SIM_SESSIONS)
        sim_broken(w, "%d sessions and no end", SIM_SESSIONS);
    s->session = offer.session = w->n_sessions;
    session = &w->sessions[w->n_sessions++];
    memset(session, 0, sizeof(*session));
    session->sender = offer.sender;
    session->run = s->run;
    session->life = w->life;
    session->open_s = session->open_r = true;
    s->state = SIM_OFFERED;
    offer.asker = s->me;
    offer.identity = s->identity;
    offer.restart = s->restart;
    sim_to_receiver(w, &offer);
}

/* The source is not what the transfer began with: start over, once. True when it is so. */
static bool changed(struct sim_world *w, struct sim_sender *s)
{
    struct lh_identity now = sim_identity(w, (int)(s - w->senders));

    if (lh_mutant("skip-identity") || lh_identity_same(&now, &s->identity))
        return false;
    if (s->restarted) {
        run_ends(w, s);
        return true;
    }
    w->stats->n_restarts++;
    s->identity = now;
    s->restarted = s->restart = true;
    forget_session(w, s);
    dial_later(w, s);
    return true;
}

static void try_finish(struct sim_world *w, struct sim_sender *s)
{
    struct sim_msg finish = about(w, s, SIM_FINISH);

    if (s->finish_sent || s->comparing || !lh_sched_complete(&s->sched) || changed(w, s))
        return;
    s->finish_sent = true;
    w->source.finishing = true;
    finish.identity = s->identity;
    for (uint64_t b = 0; b < w->n_blocks; b++)
        w->sessions[s->session].promised[b] = sim_contents(w, b);
    sim_to_receiver(w, &finish);
}

/* ---- streams ---- */

static void stream_up(struct sim_world *w, struct sim_sender *s, unsigned stream)
{
    struct sim_msg msg = about(w, s, SIM_STREAM_SEND);
    struct sim_stream *st = &s->streams[stream];

    lh_sched_stream_up(&s->sched, stream);
    *st = (struct sim_stream){.up = true, .gen = st->gen + 1, .send_us = w->send_us};
    if (lh_rng_one_in(&w->rng, 6))
        st->send_us *= 40;
    st->hangs_at = lh_rng_one_in(&w->rng, 6) ? lh_rng_below(&w->rng, 20) : UINT64_MAX;
    st->swallows = lh_rng_one_in(&w->rng, 2);
    msg.stream = stream;
    msg.stream_gen = st->gen;
    sim_after(w, sim_about(w, st->send_us), &msg);
}

/* What TCP_INFO would say. */
static void see(struct sim_world *w, struct sim_sender *s, unsigned stream)
{
    const struct sim_stream *st = &s->streams[stream];
    uint64_t frame = LH_FRAME_HEADER_SIZE + w->grid;
    bool hangs = st->n_sent > st->hangs_at && !st->swallows;
    uint64_t brought = hangs                                  ? st->hangs_at
                       : w->now - st->sent_at > 2 * w->net_us ? st->n_sent
                       : st->n_sent > 0                       ? st->n_sent - 1
                                                              : 0;
    struct lh_sched_seen seen = {.rate_Bps = st->n_sent == 0 ? 0
                                             : hangs         ? 1
                                                             : w->grid * 1000000ull / st->send_us,
                                 .brought_bytes = brought * frame,
                                 .queued_bytes = (st->n_sent - brought) * frame,
                                 .rtt_ms = (uint32_t)(2 * w->net_us / 1000),
                                 .held = hangs};

    lh_tail_seen(&s->sched, stream, &seen, w->now / 1000 + 1);
}

/* HEARTBEAT, which comes now and then. */
static void hear(struct sim_world *w, struct sim_sender *s)
{
    const struct sim_sink *k = &w->sink;
    uint64_t now_ms = w->now / 1000 + 1;

    if (now_ms - s->far.heard_ms < BEAT_MS || !k->open || k->session != s->session)
        return;
    s->far.heard_ms = now_ms;
    s->far.disk_wait_ms = k->commit != SIM_IDLE;
    s->far.undurable_bytes =
        (k->ledger.n_writing + k->ledger.pending.n + k->ledger.n_syncing) * (uint64_t)w->grid;
}

/* The last blocks of another stream, when nothing is left to grant. */
static bool help(struct sim_world *w, struct sim_sender *s, unsigned stream, struct sim_stream *st)
{
    enum lh_tail_why why;
    unsigned from;

    for (unsigned i = 0; i < w->n_streams; i++)
        if (s->streams[i].up)
            see(w, s, i);
    why = lh_tail_take(&s->sched, stream, &s->far, w->now / 1000 + 1, false, &from, &st->at,
                       &st->end);
    if (why == LH_TAIL_NOTHING)
        return false;
    sim_trace(w, "stream %u sends blocks %d to %d of stream %u too: %s", stream, (int)st->at,
              (int)st->end, from, lh_tail_why_text(why));
    w->stats->n_repeated[why]++;
    return true;
}

void sim_stream_lost(struct sim_world *w, int sender, unsigned stream)
{
    struct sim_sender *s = &w->senders[sender];
    struct sim_stream *st = &s->streams[stream];
    struct sim_msg msg = about(w, s, SIM_STREAM_UP);

    if (s->state != SIM_MOVING || !st->up)
        return;
    w->stats->n_streams_lost++;
    st->up = false;
    st->gen++;
    if (lh_sched_stream_down(&s->sched, stream) != 0)
        sim_broken(w, "the schedule refuses to take back a stream's ranges");
    msg.stream = stream;
    msg.stream_gen = st->gen;
    sim_after(w, lh_pace_backoff(0, (uint32_t)lh_rng_next(&w->rng)) * 1000, &msg);
}

/* Streams must not idle while there is something to send and the window is open. */
static void check_idle(struct sim_world *w, const struct sim_sender *s)
{
    uint64_t granted = s->sched.granted_blocks * w->grid;

    if (s->sched.missing.n > 0 && granted + LH_RANGE_FLOOR_BYTES <= w->window)
        sim_broken(w, "a stream idles while blocks are missing and the window is open");
}

static void stream_send(struct sim_world *w, struct sim_sender *s, struct sim_msg *msg)
{
    struct sim_stream *st = &s->streams[msg->stream];
    struct sim_msg out = about(w, s, SIM_BLOCK);

    if (st->at == st->end) {
        if (changed(w, s)) /* when a range is granted, and after it was sent */
            return;
        hear(w, s);
        see(w, s, msg->stream);
        if (!lh_sched_grant(&s->sched, msg->stream, &st->at, &st->end) &&
            !help(w, s, msg->stream, st)) {
            check_idle(w, s);
            if (lh_tail_hopeless(&s->sched, msg->stream, &s->far, w->now / 1000 + 1)) {
                w->stats->n_hopeless++;
                sim_stream_lost(w, msg->sender, msg->stream);
                return;
            }
            sim_after(w, sim_about(w, IDLE_US), msg);
            return;
        }
        if (st->at >= st->end || st->end > w->n_blocks)
            sim_broken(w, "a range that is none was granted");
    }
    out.stream = msg->stream;
    out.stream_gen = msg->stream_gen;
    out.epoch = s->me.epoch;
    out.block = st->at++;
    out.contents = sim_contents(w, out.block);
    out.hash = sim_hash(&out.contents);
    if (w->corrupt > 0 && lh_rng_one_in(&w->rng, w->corrupt))
        out.contents.sector[lh_rng_below(&w->rng, SIM_SECTORS)] ^= 1u << 30;
    st->sent_at = w->now;
    if (++st->n_sent <= st->hangs_at)
        sim_to_receiver(w, &out);
    sim_after(w, sim_about(w, st->send_us), msg);
}

/* ---- frames ---- */

static void compare_some(struct sim_world *w, struct sim_sender *s)
{
    struct sim_msg msg = about(w, s, SIM_HASHES_WANTED);
    unsigned n = 0;

    for (uint64_t b = 0; b < w->n_blocks && n < COMPARE_AT_A_TIME; b++)
        if (s->to_compare & sim_bit(b)) {
            msg.mask |= sim_bit(b);
            n++;
        }
    s->to_compare &= ~msg.mask;
    sim_to_receiver(w, &msg);
}

static void accepted(struct sim_world *w, struct sim_sender *s, const struct sim_msg *msg)
{
    struct sim_msg up = about(w, s, SIM_STREAM_UP);
    uint64_t first;
    uint64_t end;

    s->attempt = 0;
    s->far = (struct lh_tail_far){0};
    s->restart = false;
    s->me.epoch = msg->epoch;
    s->state = SIM_MOVING;
    if (lh_sched_init(&s->sched, (uint64_t)w->n_blocks * w->grid, w->grid, w->window) != 0)
        sim_broken(w, "no schedule");
    s->have_sched = true;
    if (msg->done)
        return;
    for (uint64_t at = 0; sim_next_run(msg->mask, &at, &first, &end);)
        if (lh_sched_restore(&s->sched, first, end) != 0)
            sim_broken(w, "the schedule refuses the receiver's ledger");
    for (unsigned i = 0; i < w->n_streams; i++) {
        up.stream = i;
        up.stream_gen = s->streams[i].gen;
        sim_after(w, lh_pace_stagger(50, (uint32_t)lh_rng_next(&w->rng)) * 1000, &up);
    }
    s->comparing = msg->compare;
    s->to_compare = msg->mask;
    if (s->comparing)
        compare_some(w, s);
    else
        try_finish(w, s);
}

static void hashes(struct sim_world *w, struct sim_sender *s, const struct sim_msg *msg)
{
    struct sim_msg out = about(w, s, SIM_RETRACT);

    for (uint64_t b = 0; b < w->n_blocks; b++) {
        struct sim_block mine = sim_contents(w, b);
        struct lh_hash hash = sim_hash(&mine);

        if ((msg->mask & sim_bit(b)) &&
            memcmp(&hash, &w->sessions[s->session].hashes[b], sizeof(hash)) != 0)
            out.mask |= sim_bit(b);
    }
    out.last = s->to_compare == 0;
    if (out.mask == 0 && !out.last)
        compare_some(w, s);
    else
        sim_to_receiver(w, &out);
}

static void for_runs(struct sim_world *w, struct sim_sender *s, uint64_t mask,
                     int (*apply)(struct lh_sched *, uint64_t, uint64_t))
{
    uint64_t first;
    uint64_t end;

    for (uint64_t at = 0; sim_next_run(mask, &at, &first, &end);)
        if (apply(&s->sched, first, end) != 0)
            sim_broken(w, "the schedule refuses blocks %d to %d", (int)first, (int)end);
}

static void done(struct sim_world *w, struct sim_sender *s)
{
    struct sim_msg confirm = about(w, s, SIM_CONFIRM);
    struct lh_identity now = sim_identity(w, confirm.sender);

    sim_check_done(w, s);
    if (w->calm && lh_identity_same(&now, &s->identity))
        w->success = true;
    if (!lh_rng_one_in(&w->rng, 4))
        sim_to_receiver(w, &confirm);
    run_ends(w, s);
}

static void refused(struct sim_world *w, struct sim_sender *s, int status)
{
    if (status == LH_E_FENCED)
        w->stats->n_fenced_runs++;
    if (status == LH_E_FENCED || status == LH_E_BUSY)
        run_ends(w, s);
    else
        session_lost(w, s);
}

void sim_sender_gets(struct sim_world *w, struct sim_msg *msg)
{
    struct sim_sender *s = &w->senders[w->sessions[msg->session].sender];

    if (s->state == SIM_AWAY || s->session != msg->session)
        return;
    if (msg->what == SIM_REFUSED) {
        refused(w, s, msg->status);
        return;
    }
    if (msg->what == SIM_ACCEPT && s->state == SIM_OFFERED) {
        accepted(w, s, msg);
        return;
    }
    if (s->state != SIM_MOVING)
        return;
    switch (msg->what) {
    case SIM_ACK:
        for_runs(w, s, msg->mask, lh_sched_ack);
        try_finish(w, s);
        break;
    case SIM_AGAIN:
        for_runs(w, s, msg->mask, lh_sched_again);
        break;
    case SIM_HASHES:
        hashes(w, s, msg);
        break;
    case SIM_RETRACTED:
        for_runs(w, s, msg->mask, lh_sched_retracted);
        s->comparing = !msg->last;
        if (s->comparing)
            compare_some(w, s);
        else
            try_finish(w, s);
        break;
    default:
        done(w, s);
        break;
    }
}

void sim_sender_step(struct sim_world *w, struct sim_msg *msg)
{
    struct sim_sender *s = &w->senders[msg->sender];
    bool stream_ok;

    if (msg->what == SIM_RUN) {
        run_begins(w, s);
        return;
    }
    if (s->state == SIM_AWAY || msg->run != s->run)
        return;
    stream_ok = s->state == SIM_MOVING && s->session == msg->session &&
                s->streams[msg->stream].gen == msg->stream_gen;
    switch (msg->what) {
    case SIM_EOF_AT_SENDER:
        if (s->session == msg->session)
            session_lost(w, s);
        break;
    case SIM_DIAL:
        if (s->state == SIM_DIALLING)
            dial(w, s);
        break;
    case SIM_STREAM_UP:
        if (stream_ok && !s->streams[msg->stream].up)
            stream_up(w, s, msg->stream);
        break;
    default:
        if (stream_ok)
            stream_send(w, s, msg);
        break;
    }
}
