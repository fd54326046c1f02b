/* What a worker does next; the rules are told in duty.h.
 *
 * Steps come in the order: what is over, sends to be cancelled or let go, sends to be begun,
 * outcomes, tasks, the report: so that a slot that has just become free is filled from the room
 * first, and outcomes leave before the next take in the same flight. */
#include "queue/duty_impl.h"

#include "util/mutant.h"

#include <string.h>

#define FRESH_MS 1000u /* an answer so young shows that Redis is not standing still */
/* So long after Redis is back a worker that lives has said hello and reported at the latest: it may
 * have stood in the longest pause between two tries (lh_pace_backoff). */
#define ALL_BACK_MS 6500u
/* A task without a place is due again so long after, and up to twice that. */
#define DEFER_MS 1000u
#define CROWDED_MS 250u /* then so long nothing is taken: a queue full of them is not churned */
#define WAIT_BATCH 3    /* a wait brings at most one task of each priority */

/* From when on tasks of others may be taken away, if there is no break until then. */
static uint64_t reap_from_ms(const struct lh_duty *duty)
{
    return duty->contact_ms +
           (duty->opts.claim_ms > ALL_BACK_MS ? duty->opts.claim_ms : ALL_BACK_MS);
}

static bool may_reap(const struct lh_duty *duty, uint64_t now_ms)
{
    if (lh_mutant("reap-at-once"))
        return true;
    return now_ms >= reap_from_ms(duty) && now_ms - duty->heard_ms <= FRESH_MS;
}

static void ask(struct lh_duty_call *call, uint64_t now_ms)
{
    call->pending = true;
    call->asked_ms = now_ms;
}

static void put_back(struct lh_duty *duty, struct lh_duty_task *task)
{
    lh_duty_hold(duty, task, LH_OUTCOME_DEFERRED,
                 DEFER_MS + ((uint64_t)DEFER_MS * lh_duty_chance(duty) >> 32));
}

static bool stop_waited(const struct lh_duty *duty, uint64_t now_ms)
{
    return duty->stopping && now_ms - duty->stop_ms >= LH_DUTY_STOP_MS;
}

static bool step_drop(struct lh_duty *duty, uint64_t now_ms, struct lh_duty_step *step)
{
    struct lh_duty_task *task = duty->over.first;

    if (task == NULL && stop_waited(duty, now_ms) && !duty->finish.pending &&
        (task = duty->held.first) != NULL) {
        /* Whoever takes it next, after a claim time, starts from the receiver's ledger. */
        lh_duty_settle(duty, task, LH_END_UNTOLD, false);
        task = duty->over.first;
    }
    if (task == NULL)
        return false;
    lh_duty_unlink(duty, task);
    if (task->report_at > 0)
        duty->reported[task->report_at - 1] = NULL;
    step->what = LH_DUTY_DROP;
    step->task = task;
    return true;
}

static bool step_act(struct lh_duty *duty, struct lh_duty_step *step)
{
    const struct lh_duty_list *lists[] = {&duty->running, &duty->held, &duty->told, &duty->leaving};

    for (size_t i = 0; i < 4 && duty->n_acts > 0; i++) {
        for (struct lh_duty_task *t = lists[i]->first; t != NULL; t = t->next) {
            if (!t->cancel && !t->confirm)
                continue;
            step->what = t->confirm ? LH_DUTY_CONFIRM : LH_DUTY_CANCEL;
            step->task = t;
            step->forget = t->forget;
            lh_duty_acted(duty, t);
            return true;
        }
    }
    return false;
}

/* Whether one more may be sent to where this one goes. */
static bool has_place(const struct lh_duty *duty, const struct lh_duty_task *task)
{
    unsigned n = 0;

    if (duty->opts.jobs_per_host >= duty->opts.jobs)
        return true;
    for (const struct lh_duty_task *t = duty->running.first; t != NULL; t = t->next)
        n += strcmp(t->host, task->host) == 0;
    return n < duty->opts.jobs_per_host;
}

/* The oldest that has a place. */
static bool step_start(struct lh_duty *duty, struct lh_duty_step *step)
{
    if (duty->stuck || duty->stopping || duty->running.n >= duty->opts.jobs)
        return false;
    for (struct lh_duty_task *t = duty->waiting.first; t != NULL; t = t->next) {
        if (!has_place(duty, t))
            continue;
        lh_duty_move(duty, t, LH_DUTY_MOVING);
        t->sending = true;
        step->what = LH_DUTY_START;
        step->task = t;
        return true;
    }
    duty->stuck = true;
    return false;
}

/* Those that wait without a place go back on the queue: the latest when they are more than slots,
 * so that the oldest gets the next place; and each that has waited for a claim time, since another
 * worker may have a place for it. */
static void clear_room(struct lh_duty *duty, uint64_t now_ms)
{
    while (duty->waiting.n > duty->opts.jobs) {
        put_back(duty, duty->waiting.last);
        duty->take.not_before_ms = now_ms + CROWDED_MS;
    }
    while (duty->waiting.first != NULL &&
           now_ms - duty->waiting.first->since_ms >= duty->opts.claim_ms)
        put_back(duty, duty->waiting.first);
}

static bool step_finish(struct lh_duty *duty, uint64_t now_ms, struct lh_duty_step *step)
{
    if (!duty->up || duty->finish.pending || duty->held.n == 0 ||
        now_ms < duty->finish.not_before_ms)
        return false;
    duty->n_telling = 0;
    while (duty->held.first != NULL && duty->n_telling < LH_DUTY_TASKS_MAX) {
        duty->telling[duty->n_telling++] = duty->held.first;
        lh_duty_move(duty, duty->held.first, LH_DUTY_TOLD);
    }
    ask(&duty->finish, now_ms);
    step->what = LH_DUTY_FINISH;
    step->tasks = duty->telling;
    step->n = duty->n_telling;
    return true;
}

/* How many more tasks can be started at once. */
static size_t free_slots(const struct lh_duty *duty)
{
    size_t have = lh_duty_total(duty);
    size_t n;

    if (duty->running.n >= duty->opts.jobs || have + WAIT_BATCH >= LH_DUTY_TASKS_MAX)
        return 0;
    n = duty->opts.jobs - duty->running.n;
    if (n > LH_DUTY_TASKS_MAX - have)
        n = LH_DUTY_TASKS_MAX - have;
    return n < LH_DUTY_TAKE_MAX ? n : LH_DUTY_TAKE_MAX;
}

static bool may_take(const struct lh_duty *duty)
{
    return duty->up && !duty->stopping && !duty->take.pending && !duty->wait.pending &&
           free_slots(duty) > 0;
}

/* How long to wait for a task: until one may be had that waits for its time, or for its worker to
 * be heard of; or until this one may reap. */
static uint64_t wait_for(const struct lh_duty *duty, uint64_t now_ms)
{
    uint64_t reap_ms = reap_from_ms(duty);
    uint64_t until_ms = now_ms + LH_DUTY_WAIT_MS;

    if (reap_ms > now_ms && reap_ms < until_ms)
        until_ms = reap_ms;
    if (duty->soonest_ms > 0 && duty->soonest_ms < until_ms)
        until_ms = duty->soonest_ms;
    return until_ms > now_ms + LH_DUTY_WAIT_MIN_MS ? until_ms - now_ms : LH_DUTY_WAIT_MIN_MS;
}

static bool step_take(struct lh_duty *duty, uint64_t now_ms, struct lh_duty_step *step)
{
    if (!may_take(duty) || now_ms < duty->take.not_before_ms)
        return false;
    if (!duty->hungry) {
        duty->wait_ms = wait_for(duty, now_ms);
        ask(&duty->wait, now_ms);
        step->what = LH_DUTY_WAIT;
        step->ms = duty->wait_ms;
        return true;
    }
    duty->asked_n = free_slots(duty);
    ask(&duty->take, now_ms);
    step->what = LH_DUTY_TAKE;
    step->n = duty->asked_n;
    step->reap = duty->looked = may_reap(duty, now_ms);
    return true;
}

static void report_list(struct lh_duty *duty, const struct lh_duty_list *list)
{
    for (struct lh_duty_task *t = list->first; t != NULL; t = t->next) {
        if (duty->n_reported == LH_DUTY_TASKS_MAX)
            return;
        duty->reported[duty->n_reported++] = t;
        t->report_at = duty->n_reported;
    }
}

static bool step_report(struct lh_duty *duty, uint64_t now_ms, struct lh_duty_step *step)
{
    if (!duty->up || duty->report.pending || now_ms < duty->report_ms)
        return false;
    duty->n_reported = 0;
    report_list(duty, &duty->running);
    report_list(duty, &duty->waiting);
    report_list(duty, &duty->held);
    ask(&duty->report, now_ms);
    step->what = LH_DUTY_REPORT;
    step->tasks = duty->reported;
    step->n = duty->n_reported;
    return true;
}

void lh_duty_next(struct lh_duty *duty, uint64_t now_ms, struct lh_duty_step *step)
{
    memset(step, 0, sizeof(*step));
    if (step_drop(duty, now_ms, step) || step_act(duty, step) || step_start(duty, step))
        return;
    clear_room(duty, now_ms);
    if (step_finish(duty, now_ms, step) || step_take(duty, now_ms, step) ||
        step_report(duty, now_ms, step))
        return;
    step->what = LH_DUTY_NOTHING;
}

static void sooner(uint64_t *wake_ms, uint64_t when_ms)
{
    if (when_ms < *wake_ms)
        *wake_ms = when_ms;
}

uint64_t lh_duty_wake_ms(const struct lh_duty *duty, uint64_t now_ms)
{
    uint64_t wake_ms = UINT64_MAX;

    if (duty->waiting.first != NULL)
        sooner(&wake_ms, duty->waiting.first->since_ms + duty->opts.claim_ms);
    if (duty->stopping && !stop_waited(duty, now_ms))
        sooner(&wake_ms, duty->stop_ms + LH_DUTY_STOP_MS);
    if (duty->up && !duty->report.pending)
        sooner(&wake_ms, duty->report_ms);
    if (duty->up && !duty->finish.pending && duty->held.n > 0)
        sooner(&wake_ms, duty->finish.not_before_ms);
    if (may_take(duty))
        sooner(&wake_ms, duty->take.not_before_ms);
    return wake_ms > now_ms ? wake_ms : now_ms;
}

bool lh_duty_stopped(const struct lh_duty *duty, uint64_t now_ms)
{
    bool silent = duty->held.n == 0 && duty->told.n == 0 && !duty->take.pending &&
                  (!duty->wait.pending || !duty->up);

    return duty->stopping && duty->running.n == 0 && duty->leaving.n == 0 && duty->over.n == 0 &&
           (silent || stop_waited(duty, now_ms));
}

unsigned lh_duty_active(const struct lh_duty *duty)
{
    return duty->running.n;
}
