/* The send of a task: what the engine does of it, on one stream. */
#include "test/sim/queue_world.h"

#include "core/pace.h"
#include "longhaul/status.h"
#include "util/mutant.h"

#include <string.h>

#define SECOND_US 1000000ull
#define GIVE_UP_US (60 * SECOND_US)

static struct simq_event about(const struct simq_world *w, const struct simq_worker *k,
                               const struct simq_job *job, enum simq_what what)
{
    return (struct simq_event){.what = what,
                               .worker = (int)(k - w->workers),
                               .life = k->life,
                               .gen = job->gen,
                               .job = (int)(job - k->jobs),
                               .session = job->session,
                               .task = job->task};
}

static void drop_session(struct simq_world *w, struct simq_job *job)
{
    if (job->session >= 0) {
        w->sessions[job->session].open_s = false;
        simq_cut_session(w, job->session, true);
    }
    job->session = -1;
    if (job->have_sched)
        lh_sched_free(&job->sched);
    job->have_sched = false;
}

void simq_send_forget(struct simq_world *w, struct simq_job *job)
{
    drop_session(w, job);
}

void simq_send_ends(struct simq_world *w, struct simq_worker *k, struct simq_job *job, int status)
{
    struct simq_event ended = about(w, k, job, SIMQ_SEND_ENDED);

    if (job->ending)
        return;
    job->ending = true;
    if (job->have_sched)
        job->recorded = simq_mask_of(&job->sched.durable);
    drop_session(w, job);
    ended.status = job->state == SIMQ_DELIVERED ? 0 : status;
    simq_after(w, simq_about(w, 2000), &ended);
}

/* `delivered` has fired: CONFIRM, or not. */
void simq_send_confirms(struct simq_world *w, struct simq_worker *k, struct simq_job *job,
                        bool forget)
{
    struct simq_event confirm = about(w, k, job, SIMQ_CONFIRM);

    if (forget && job->session >= 0) {
        simq_to_receiver(w, &confirm);
        confirm.what = SIMQ_EOF_AT_RECEIVER; /* in order: it is closed, not cut */
        simq_to_receiver(w, &confirm);
        w->sessions[job->session].open_s = false;
        job->session = -1;
    }
    simq_send_ends(w, k, job, 0);
}

static void dial_later(struct simq_world *w, struct simq_worker *k, struct simq_job *job)
{
    struct simq_event dial = about(w, k, job, SIMQ_DIAL);

    job->state = SIMQ_DIALLING;
    simq_after(w, lh_pace_backoff(job->attempt++, (uint32_t)lh_rng_next(&w->rng)) * 1000, &dial);
}

void simq_send_starts(struct simq_world *w, struct simq_worker *k, struct simq_job *job)
{
    uint64_t claim[2] = {job->incarnation, job->incarnation};

    lh_record_begin(&job->record, simq_ms(w), job->bytes);
    job->contact_at = w->now;
    for (unsigned i = 0; i < LH_HOLD_ID_SIZE; i++)
        job->me.id[i] = (uint8_t)lh_rng_next(&w->rng);
    memcpy(job->me.incarnation, claim, sizeof(job->me.incarnation));
    job->me.claim = job->claim;
    if (w->missing[job->task])
        simq_send_ends(w, k, job, -LH_E_SOURCE);
    else
        dial_later(w, k, job);
}

static void session_lost(struct simq_world *w, struct simq_worker *k, struct simq_job *job)
{
    w->stats->n_sessions_lost++;
    drop_session(w, job);
    if (w->now - job->contact_at > GIVE_UP_US)
        simq_send_ends(w, k, job, -LH_E_TIMEOUT);
    else
        dial_later(w, k, job);
}

static void dial(struct simq_world *w, struct simq_worker *k, struct simq_job *job)
{
    struct simq_event offer;
    struct simq_session *s;

    if (w->receiver_life % 2 == 0) {
        session_lost(w, k, job);
        return;
    }
    if (w->n_sessions == SIMQ_SESSIONS)
        simq_broken(w, "%d sessions and no end", SIMQ_SESSIONS);
    job->session = w->n_sessions++;
    s = &w->sessions[job->session];
    *s = (struct simq_session){.worker = (int)(k - w->workers),
                               .life = k->life,
                               .job = (int)(job - k->jobs),
                               .gen = job->gen,
                               .task = job->task,
                               .receiver_life = w->receiver_life,
                               .open_s = true,
                               .open_r = true};
    job->state = SIMQ_OFFERED;
    offer = about(w, k, job, SIMQ_OFFER);
    offer.asker = job->me;
    simq_to_receiver(w, &offer);
}

/* ---- blocks ---- */

static void delivered(struct simq_world *w, struct simq_worker *k, struct simq_job *job)
{
    if (job->have_sched)
        job->recorded = simq_mask_of(&job->sched.durable);
    job->state = SIMQ_DELIVERED;
    if (job->duty.state == LH_DUTY_MOVING || job->duty.state == LH_DUTY_STOPPING)
        lh_duty_delivered(&k->duty, &job->duty, simq_ms(w));
    else
        simq_send_confirms(w, k, job, false);
}

static void try_finish(struct simq_world *w, struct simq_worker *k, struct simq_job *job)
{
    struct simq_event finish = about(w, k, job, SIMQ_FINISH);

    if (job->state != SIMQ_MOVING || !lh_sched_complete(&job->sched))
        return;
    job->state = SIMQ_FINISHING;
    simq_to_receiver(w, &finish);
    if (lh_mutant("ack-before-rename"))
        delivered(w, k, job);
}

static void send_block(struct simq_world *w, struct simq_worker *k, struct simq_job *job,
                       struct simq_event *e)
{
    struct simq_event block = about(w, k, job, SIMQ_BLOCK);

    if (job->at == job->end && !lh_sched_grant(&job->sched, 0, &job->at, &job->end)) {
        simq_after(w, simq_about(w, w->send_us), e);
        return;
    }
    block.epoch = job->me.epoch;
    block.block = job->at++;
    if (!w->calm && lh_rng_one_in(&w->rng, 2000)) {
        simq_send_ends(w, k, job, -LH_E_DEST);
        return;
    }
    simq_to_receiver(w, &block);
    simq_after(w, simq_about(w, w->send_us), e);
}

static void accepted(struct simq_world *w, struct simq_worker *k, struct simq_job *job,
                     const struct simq_event *e)
{
    struct simq_event go = about(w, k, job, SIMQ_SEND_BLOCK);

    job->attempt = 0;
    job->me.epoch = e->epoch;
    job->state = SIMQ_MOVING;
    if (lh_sched_init(&job->sched, (uint64_t)w->n_blocks * SIMQ_BLOCK_BYTES, SIMQ_BLOCK_BYTES,
                      UINT64_MAX / 2) != 0)
        simq_broken(w, "no schedule");
    job->have_sched = job->ledger = true;
    job->at = job->end = 0;
    for (uint64_t b = 0; b < w->n_blocks; b++)
        if ((e->mask & simq_bit(b)) && lh_sched_restore(&job->sched, b, b + 1) != 0)
            simq_broken(w, "the schedule refuses the receiver's ledger");
    w->stats->n_resumed += e->mask != 0;
    lh_sched_stream_up(&job->sched, 0);
    simq_after(w, simq_about(w, w->send_us), &go);
    try_finish(w, k, job);
}

/* ---- frames ---- */

static void refused(struct simq_world *w, struct simq_worker *k, struct simq_job *job, int status)
{
    w->stats->n_fenced_runs += status == LH_E_FENCED;
    if (status == LH_E_FENCED || status == LH_E_BUSY)
        simq_send_ends(w, k, job, -status);
    else
        session_lost(w, k, job);
}

static void got_frame(struct simq_world *w, struct simq_worker *k, struct simq_job *job,
                      const struct simq_event *e)
{
    job->contact_at = w->now;
    switch (e->what) {
    case SIMQ_ACCEPT:
        if (job->state == SIMQ_OFFERED)
            accepted(w, k, job, e);
        break;
    case SIMQ_ACK:
        if (!job->have_sched)
            return;
        for (uint64_t b = 0; b < w->n_blocks; b++)
            if ((e->mask & simq_bit(b)) && lh_sched_ack(&job->sched, b, b + 1) != 0)
                simq_broken(w, "the schedule refuses an acknowledgement");
        try_finish(w, k, job);
        break;
    case SIMQ_DONE:
        job->heard_done = true;
        if (job->state != SIMQ_DELIVERED)
            delivered(w, k, job);
        break;
    default:
        refused(w, k, job, e->status);
        break;
    }
}

void simq_send_gets(struct simq_world *w, struct simq_worker *k, struct simq_event *e)
{
    struct simq_job *job = &k->jobs[e->job];

    if (!job->used || job->gen != e->gen)
        return;
    if (e->what == SIMQ_SEND_ENDED) {
        if (e->status != 0 && job->duty.asked == LH_ASKED_NOTHING) {
            job->status = e->status;
            w->n_failures[job->task] += e->status != -LH_E_FENCED;
        }
        lh_duty_ended(&k->duty, &job->duty, e->status, simq_ms(w));
        return;
    }
    if (job->ending)
        return;
    if (e->what == SIMQ_DIAL) {
        if (job->state == SIMQ_DIALLING)
            dial(w, k, job);
        return;
    }
    if (job->session != e->session)
        return;
    if (e->what == SIMQ_SEND_BLOCK) {
        if (job->state == SIMQ_MOVING)
            send_block(w, k, job, e);
    } else if (e->what == SIMQ_EOF_AT_SENDER) {
        if (job->state != SIMQ_DELIVERED)
            session_lost(w, k, job);
    } else {
        got_frame(w, k, job, e);
    }
}
