/* The receiver: a target for each task, with the program's own answers to who may write. */
#include "test/sim/queue_world.h"

#include "longhaul/status.h"

#include <string.h>

#define POLL_US 1000
#define HOLDER_TIMEOUT_MS 15000

static void later(struct simq_world *w, int task, enum simq_what what, uint64_t delay_us)
{
    struct simq_event e = {.what = what, .task = task, .gen = w->targets[task].number};

    simq_after(w, delay_us, &e);
}

static void say(struct simq_world *w, int session, struct simq_event *e)
{
    const struct simq_session *s = &w->sessions[session];

    e->session = session;
    e->worker = s->worker;
    e->life = s->life;
    e->job = s->job;
    e->gen = s->gen;
    e->task = s->task;
    simq_to_sender(w, e);
}

static void refuse(struct simq_world *w, int session, int status)
{
    struct simq_event e = {.what = SIMQ_REFUSED, .status = status};

    w->stats->n_busy += status == LH_E_BUSY;
    say(w, session, &e);
}

void simq_target_free(struct simq_target *t)
{
    if (t->have_ledger)
        lh_ledger_free(&t->ledger);
    lh_batch_free(&t->batch);
    t->have_ledger = t->open = t->closing = t->finishing = t->committing = t->has_next = false;
    t->number++; /* whatever is still under way is of the past */
}

/* ---- opening ---- */

static void say_done(struct simq_world *w, struct simq_target *t, int session)
{
    struct simq_event done = {.what = SIMQ_DONE};

    t->done = true;
    t->session = session;
    say(w, session, &done);
}

static void sink_open(struct simq_world *w, const struct simq_event *offer)
{
    struct simq_target *t = &w->targets[offer->task];
    struct simq_event accept = {.what = SIMQ_ACCEPT};

    if (t->journal && t->renamed) {
        w->stats->n_done_again++;
        say_done(w, t, offer->session);
        return;
    }
    if (lh_hold_reopen(t->journal ? &t->last : NULL, &offer->asker) == LH_HOLD_FENCED) {
        refuse(w, offer->session, LH_E_FENCED);
        return;
    }
    accept.epoch = t->journal ? t->last.epoch + 1 : 1;
    accept.mask = t->durable;
    t->journal = true;
    t->last = offer->asker;
    t->last.epoch = accept.epoch;
    t->holder = t->last;
    t->session = offer->session;
    t->number++;
    lh_ledger_init(&t->ledger, w->n_blocks, SIMQ_BLOCKS);
    t->have_ledger = t->open = true;
    for (uint64_t b = 0; b < w->n_blocks; b++)
        if ((t->durable & simq_bit(b)) && lh_ledger_restore(&t->ledger, b, b + 1) != 0)
            simq_broken(w, "the ledger refuses what the journal says");
    lh_ledger_hold(&t->ledger, accept.epoch);
    simq_check_opened(w, offer->task, offer->asker.epoch);
    simq_trace(w, "task %d is held by claim %llu of worker %d, epoch %d", offer->task,
               (unsigned long long)offer->asker.claim, offer->worker, (int)accept.epoch);
    say(w, offer->session, &accept);
    later(w, offer->task, SIMQ_COMMIT_TICK, simq_about(w, w->commit_us));
}

static void release(struct simq_world *w, int task)
{
    struct simq_target *t = &w->targets[task];

    if (!t->open || t->closing)
        return;
    t->closing = true;
    lh_ledger_fence(&t->ledger);
    later(w, task, SIMQ_CLOSE_POLL, POLL_US);
}

static uint64_t silence_ms(const struct simq_world *w, int session)
{
    const struct simq_session *s = &w->sessions[session];
    const struct simq_worker *k = &w->workers[s->worker];

    if (!s->open_r)
        return UINT64_MAX;
    if (s->cut)
        return (w->now - s->silent_at) / 1000;
    return k->life == s->life && k->sleeps_until > 0 ? (w->now - k->sleeps_since) / 1000 : 0;
}

static void offer(struct simq_world *w, const struct simq_event *e)
{
    struct simq_target *t = &w->targets[e->task];
    enum lh_hold_answer answer;

    if (!t->open) {
        sink_open(w, e);
        return;
    }
    if (t->closing && t->has_next) {
        bool same = memcmp(t->next.asker.id, e->asker.id, sizeof(e->asker.id)) == 0;

        answer = !same && w->sessions[t->next.session].open_r ? LH_HOLD_BUSY : LH_HOLD_TAKE_OVER;
    } else {
        answer = lh_hold_offer(&t->holder, &e->asker, true, silence_ms(w, t->session),
                               HOLDER_TIMEOUT_MS);
    }
    if (answer == LH_HOLD_BUSY || answer == LH_HOLD_FENCED) {
        refuse(w, e->session, answer == LH_HOLD_BUSY ? LH_E_BUSY : LH_E_FENCED);
        return;
    }
    w->stats->n_takeovers++;
    if (!t->closing)
        refuse(w, t->session, LH_E_FENCED);
    t->next = *e;
    t->has_next = true;
    release(w, e->task);
}

/* ---- blocks ---- */

static void commit_begin(struct simq_world *w, int task)
{
    struct simq_target *t = &w->targets[task];
    bool slow = !w->calm && lh_rng_one_in(&w->rng, 50);

    if (t->committing || t->finishing || !lh_ledger_snapshot(&t->ledger, &t->batch))
        return;
    t->committing = true;
    later(w, task, SIMQ_COMMITTED, simq_about(w, slow ? 4000000 : w->disk_us * 3));
}

static void committed(struct simq_world *w, int task)
{
    struct simq_target *t = &w->targets[task];
    struct simq_event ack = {.what = SIMQ_ACK};

    if (lh_ledger_synced(&t->ledger, &t->batch) != 0)
        simq_broken(w, "the ledger refuses what became durable");
    for (size_t i = 0; i < t->batch.n; i++)
        ack.mask |= simq_bit(t->batch.v[i].block);
    t->durable |= ack.mask;
    t->ever_durable |= ack.mask;
    lh_batch_free(&t->batch);
    t->committing = false;
    say(w, t->session, &ack);
    if (lh_ledger_all_taken(&t->ledger))
        commit_begin(w, task);
}

static void block(struct simq_world *w, struct simq_event *e)
{
    struct simq_target *t = &w->targets[e->task];
    enum lh_claim claim;

    if (!t->open || (e->session != t->session && e->epoch == t->holder.epoch))
        return;
    claim = lh_ledger_claim(&t->ledger, e->epoch, e->block);
    w->stats->n_fenced_blocks += claim == LH_CLAIM_FENCED;
    if (claim == LH_CLAIM_FULL)
        simq_after(w, simq_about(w, w->commit_us / 4), e);
    if (claim != LH_CLAIM_OK)
        return;
    simq_check_claim(w, e->task, e->epoch);
    e->what = SIMQ_WRITTEN;
    e->gen = t->number;
    simq_after(w, simq_about(w, w->disk_us), e);
}

static void written(struct simq_world *w, const struct simq_event *e)
{
    struct simq_target *t = &w->targets[e->task];
    struct lh_hash hash = {{0}};

    if (lh_ledger_wrote(&t->ledger, e->block, &hash) == 0 && lh_ledger_all_taken(&t->ledger))
        commit_begin(w, e->task);
}

/* ---- the end ---- */

static void finish(struct simq_world *w, const struct simq_event *e)
{
    struct simq_target *t = &w->targets[e->task];

    if (!lh_ledger_complete(&t->ledger) || t->committing) {
        refuse(w, e->session, LH_E_PROTOCOL);
        return;
    }
    t->finishing = true;
    later(w, e->task, SIMQ_RENAMED, simq_about(w, w->disk_us * 2));
}

static void close_sink(struct simq_world *w, int task)
{
    struct simq_target *t = &w->targets[task];
    struct simq_event next = t->next;
    bool has_next = t->has_next;

    simq_target_free(t);
    if (has_next && w->sessions[next.session].open_r)
        sink_open(w, &next);
}

static void close_poll(struct simq_world *w, int task)
{
    struct simq_target *t = &w->targets[task];

    if (lh_ledger_quiet(&t->ledger) && !t->committing && !t->finishing) {
        if (t->ledger.pending.n == 0) {
            close_sink(w, task);
            return;
        }
        commit_begin(w, task);
    }
    later(w, task, SIMQ_CLOSE_POLL, POLL_US + w->disk_us);
}

static void confirm(struct simq_target *t)
{
    t->journal = t->renamed = t->done = false;
    t->durable = t->top.epoch = 0;
}

void simq_receiver_gets(struct simq_world *w, struct simq_event *e)
{
    struct simq_target *t = &w->targets[e->task];

    switch (e->what) {
    case SIMQ_OFFER:
        offer(w, e);
        break;
    case SIMQ_BLOCK:
        block(w, e);
        break;
    case SIMQ_FINISH:
        if (t->open && !t->closing && !t->finishing && t->session == e->session)
            finish(w, e);
        break;
    case SIMQ_CONFIRM:
        if (!t->open && t->done && t->session == e->session)
            confirm(t);
        break;
    default: /* EOF */
        w->sessions[e->session].open_r = false;
        if (t->open && t->session == e->session && lh_rng_one_in(&w->rng, 2))
            release(w, e->task);
        break;
    }
}

void simq_receiver_step(struct simq_world *w, struct simq_event *e)
{
    struct simq_target *t = &w->targets[e->task];

    if (!t->open || t->number != e->gen)
        return;
    switch (e->what) {
    case SIMQ_WRITTEN:
        written(w, e);
        break;
    case SIMQ_COMMIT_TICK:
        commit_begin(w, e->task);
        later(w, e->task, SIMQ_COMMIT_TICK, simq_about(w, w->commit_us));
        break;
    case SIMQ_COMMITTED:
        committed(w, e->task);
        break;
    case SIMQ_RENAMED:
        t->renamed = t->whole = true;
        later(w, e->task, SIMQ_RECORDED, simq_about(w, w->disk_us));
        break;
    case SIMQ_RECORDED:
        say_done(w, t, t->session);
        close_sink(w, e->task);
        break;
    default:
        close_poll(w, e->task);
        break;
    }
}

void simq_receiver_dies(struct simq_world *w)
{
    if (w->receiver_life % 2 == 0)
        return;
    w->receiver_life++;
    for (unsigned i = 0; i < w->n_tasks; i++)
        simq_target_free(&w->targets[i]);
    for (int i = 0; i < w->n_sessions; i++)
        if (w->sessions[i].open_r) {
            w->sessions[i].open_r = false;
            simq_cut_session(w, i, !lh_rng_one_in(&w->rng, 4));
        }
}
