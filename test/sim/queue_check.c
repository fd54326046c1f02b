/* What must hold, each at the step that it is about. */
#include "test/sim/queue_world.h"

#include "longhaul/status.h"

#include <string.h>

#define REDIAL_US 6000000 /* a worker whose own line was cut may try again so late */

/* ---- the receiver: one writer ---- */

/* Somebody was let in: epochs only rise, and of the same incarnation so do claims. Another's cannot
 * be compared. When nothing is left of a transfer, one who had it before must not begin it again:
 * others have finished it. */
void simq_check_opened(struct simq_world *w, int task, uint64_t epoch_before)
{
    struct simq_target *t = &w->targets[task];
    const struct lh_holder *h = &t->holder;
    bool same = memcmp(h->incarnation, t->top.incarnation, sizeof(h->incarnation)) == 0;

    if (h->epoch <= t->top.epoch)
        simq_broken(w, "epoch %d of task %d comes again", (int)h->epoch, task);
    if (t->top.epoch != 0 && same && h->claim < t->top.claim)
        simq_broken(w, "an older claim of task %d is let in again", task);
    if (t->top.epoch == 0 && epoch_before != 0)
        simq_broken(w, "task %d is begun again by one who had it before", task);
    t->top = *h;
}

/* A block is about to be written. */
void simq_check_claim(struct simq_world *w, int task, uint64_t epoch)
{
    const struct simq_target *t = &w->targets[task];

    if (t->closing || epoch != t->holder.epoch || epoch != t->top.epoch)
        simq_broken(w, "task %d is written by one who is not the holder", task);
    if (t->finishing || t->renamed)
        simq_broken(w, "task %d is written after it was finished", task);
}

/* ---- Redis ---- */

/* An active task's entry is with the worker that has the claim: nobody else keeps it alive. */
void simq_check_streams(struct simq_world *w)
{
    for (unsigned i = 0; i < w->n_tasks; i++) {
        const struct simq_task *t = &w->redis.db.tasks[i];

        if (t->known && t->state == LH_TASK_ACTIVE && (!t->pending || t->consumer != t->worker))
            simq_broken(w, "task %u is worker %d's, and worker %d keeps it", i, t->worker,
                        t->consumer);
        if (t->known && t->state == LH_TASK_DONE && !w->targets[i].whole)
            simq_broken(w, "task %u is done, and there is no such file", i);
    }
}

/* How much is durable, as a worker tells it with each report. */
void simq_check_reported(struct simq_world *w, const struct simq_item *item)
{
    unsigned n = (unsigned)__builtin_popcountll(w->targets[item->task].ever_durable);

    if (item->bytes > (uint64_t)n * SIMQ_BLOCK_BYTES)
        simq_broken(w, "more of task %d is reported than is durable", item->task);
}

/* A record, or what is durable at the end of an attempt. */
void simq_check_record(struct simq_world *w, const struct simq_item *item, uint64_t mask)
{
    const struct simq_target *t = &w->targets[item->task];
    const struct simq_task *held = &w->redis.db.tasks[item->task];

    if (held->claim != item->claim || held->incarnation != item->incarnation)
        simq_broken(w, "a record of task %d by one who does not have it", item->task);
    if ((mask & ~t->ever_durable) != 0)
        simq_broken(w, "the record of task %d leads what is durable", item->task);
}

/* An outcome is about to be taken. */
void simq_check_told(struct simq_world *w, const struct simq_item *item)
{
    int task = item->task;

    if (item->outcome == LH_OUTCOME_DONE && (!item->heard_done || !w->targets[task].whole))
        simq_broken(w, "task %d is acknowledged before it is under its name", task);
    if (item->outcome != LH_OUTCOME_DEAD)
        return;
    if (item->error == -LH_E_SOURCE && w->missing[task])
        return;
    if (item->error == 0 || item->failures <= w->retries[task] ||
        w->n_failures[task] < item->failures)
        simq_broken(w, "task %d is dead for no good reason (status %d, %llu failures)", task,
                    item->error, (unsigned long long)item->failures);
}

/* Paused and cancelled is what somebody wanted. */
void simq_check_settled(struct simq_world *w, int task, enum lh_task_state state)
{
    if (state == LH_TASK_CANCELLED && !w->cancelled[task])
        simq_broken(w, "task %d is cancelled, and nobody asked for it", task);
}

static const struct simq_job *job_with(const struct simq_worker *k, const struct simq_task *t,
                                       int task)
{
    for (int i = 0; i < SIMQ_JOBS; i++) {
        const struct simq_job *job = &k->jobs[i];

        if (job->used && job->task == task && job->claim == t->claim &&
            job->incarnation == t->incarnation && job->duty.state <= LH_DUTY_HELD)
            return job;
    }
    return NULL;
}

/* A task is about to be taken from its worker: not from one that lives and has had its line to
 * Redis all the time. That Redis was away, slow or stood still is no excuse. */
void simq_check_reaped(struct simq_world *w, int task, int by)
{
    const struct simq_task *t = &w->redis.db.tasks[task];
    const struct simq_worker *k = &w->workers[t->worker];

    if (t->state != LH_TASK_ACTIVE || !k->alive || k->sleeps_until > 0 ||
        w->now < k->troubled_at + w->claim_ms * 1000 + REDIAL_US || job_with(k, t, task) == NULL)
        return;
    simq_broken(w, "worker %d takes task %d from worker %d, which lives", by, task, t->worker);
}

/* ---- the end ---- */

bool simq_check_over(const struct simq_world *w)
{
    for (unsigned i = 0; i < w->n_tasks; i++) {
        const struct simq_task *t = &w->redis.db.tasks[i];

        if (!t->known ||
            (t->state != LH_TASK_DONE && t->state != LH_TASK_DEAD && t->state != LH_TASK_CANCELLED))
            return false;
    }
    for (int i = 0; i < SIMQ_WORKERS; i++)
        for (int j = 0; j < SIMQ_JOBS; j++)
            if (w->workers[i].jobs[j].used)
                return false;
    return true;
}

void simq_check_end(struct simq_world *w)
{
    for (unsigned i = 0; i < w->n_tasks; i++) {
        const struct simq_task *t = &w->redis.db.tasks[i];

        if (t->state == LH_TASK_DEAD && w->retries[i] == LH_TASK_FOREVER && !w->missing[i])
            simq_broken(w, "task %u was to be tried for ever", i);
        if (t->state == LH_TASK_DONE && w->missing[i])
            simq_broken(w, "task %u has no source, and is done", i);
        if (t->entry != 0 || t->pending)
            simq_broken(w, "task %u is over, and still in the stream", i);
    }
}
