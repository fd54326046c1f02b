/* What a worker is told, and what follows for its tasks; the rules are told in duty.h. */
#include "queue/duty_impl.h"

#include "queue/outcome.h"
#include "util/err.h"

#include <string.h>

#define REPORT_MAX_MS 5000u
#define AGAIN_MS 1000u   /* after Redis could not */
#define REFUSED_MS 5000u /* after it would not */

static uint64_t report_every(const struct lh_duty *duty)
{
    uint64_t third = duty->opts.claim_ms / 3;

    return third < REPORT_MAX_MS ? third : REPORT_MAX_MS;
}

/* Redis was away, or slow, or could not take what workers report, or its clock jumped: their tasks
 * may look idle, and are not. Nothing is reaped for a whole claim time from now. */
static void break_contact(struct lh_duty *duty, uint64_t now_ms)
{
    duty->contact_ms = now_ms;
}

/* A command was answered. */
static void heard(struct lh_duty *duty, const struct lh_duty_call *call, int status,
                  uint64_t may_take_ms, uint64_t now_ms)
{
    uint64_t third = duty->opts.claim_ms / 3;

    if (status != 0 || now_ms - call->asked_ms > third + may_take_ms ||
        now_ms - duty->heard_ms > 2 * third + LH_DUTY_WAIT_MIN_MS)
        break_contact(duty, now_ms);
    if (status == 0)
        duty->heard_ms = now_ms;
}

static void answered(struct lh_duty *duty, struct lh_duty_call *call, int status,
                     uint64_t may_take_ms, uint64_t now_ms)
{
    LH_REQUIRE(call->pending);
    call->pending = false;
    heard(duty, call, status, may_take_ms, now_ms);
    if (status != 0 && status != -LH_E_NETWORK)
        call->not_before_ms = now_ms + (status == -LH_E_REFUSED ? REFUSED_MS : AGAIN_MS);
}

static void cancel(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_asked why)
{
    if (task->state == LH_DUTY_MOVING) {
        task->state = LH_DUTY_STOPPING; /* on the same list */
        lh_duty_ask_send(duty, task, &task->cancel);
    }
    /* Lost outweighs everything; what a user asks for outweighs the end of the worker. */
    if (task->asked == LH_ASKED_NOTHING || task->asked == LH_ASKED_STOPPED || why == LH_ASKED_LOST)
        task->asked = why;
}

void lh_duty_init(struct lh_duty *duty, const struct lh_duty_options *opts, uint64_t now_ms)
{
    LH_REQUIRE(opts->jobs >= 1 && opts->jobs <= LH_DUTY_JOBS_MAX && opts->claim_ms >= 1000);
    memset(duty, 0, sizeof(*duty));
    duty->opts = *opts;
    if (opts->jobs_per_host == 0 || opts->jobs_per_host > opts->jobs)
        duty->opts.jobs_per_host = opts->jobs;
    duty->rng = opts->seed;
    duty->hungry = true;
    duty->contact_ms = now_ms;
}

void lh_duty_up(struct lh_duty *duty, uint64_t now_ms)
{
    duty->up = true;
    duty->hungry = true;
    duty->heard_ms = now_ms;
    duty->report_ms = now_ms;
    break_contact(duty, now_ms);
}

void lh_duty_down(struct lh_duty *duty, uint64_t now_ms)
{
    duty->up = false;
    /* Redis may be away for long: sends must not hold sessions until it is back. The receiver
     * keeps its records that these files are done, and answers a repeat by them. */
    for (struct lh_duty_task *t = duty->held.first; t != NULL; t = t->next)
        lh_duty_let_go(duty, t, false);
    for (struct lh_duty_task *t = duty->told.first; t != NULL; t = t->next)
        lh_duty_let_go(duty, t, false);
}

void lh_duty_jumped(struct lh_duty *duty, uint64_t now_ms)
{
    break_contact(duty, now_ms);
    duty->looked = false;
}

void lh_duty_taken(struct lh_duty *duty, struct lh_duty_task *task, uint64_t now_ms)
{
    task->asked = LH_ASKED_NOTHING;
    task->sending = task->delivered = task->orphan = task->told_before = false;
    task->cancel = task->confirm = task->forget = false;
    task->since_ms = now_ms;
    task->due_ms = 0;
    task->report_at = 0;
    lh_duty_append(duty, task, LH_DUTY_WAITING);
    duty->stuck = false;
    if (task->status != 0)
        lh_duty_hold(duty, task, LH_OUTCOME_DEAD, 0);
    else if (duty->stopping)
        lh_duty_hold(duty, task, LH_OUTCOME_DEFERRED, 0);
}

void lh_duty_took(struct lh_duty *duty, int status, size_t n, uint64_t soonest_ms, uint64_t now_ms)
{
    answered(duty, &duty->take, status, 0, now_ms);
    duty->hungry = status != 0 || n >= duty->asked_n;
    duty->soonest_ms = status == 0 && soonest_ms > 0 ? now_ms + soonest_ms : 0;
}

void lh_duty_waited(struct lh_duty *duty, int status, size_t n, uint64_t soonest_ms,
                    uint64_t now_ms)
{
    answered(duty, &duty->wait, status, duty->wait_ms, now_ms);
    /* The wait would have brought what is in the streams. What else there is, a take that looked
     * for it has said. */
    duty->hungry = status != 0 || n > 0 || !duty->looked || duty->soonest_ms == 0 ||
                   now_ms + LH_DUTY_WAIT_MIN_MS >= duty->soonest_ms;
    if (duty->wait.not_before_ms > duty->take.not_before_ms)
        duty->take.not_before_ms = duty->wait.not_before_ms;
}

static void report_answer(struct lh_duty *duty, struct lh_duty_task *task,
                          enum lh_duty_answer answer)
{
    bool waits = task->state == LH_DUTY_WAITING;
    bool runs = task->state == LH_DUTY_MOVING || task->state == LH_DUTY_STOPPING;

    if (!waits && !runs && task->state != LH_DUTY_HELD)
        return; /* an answer about its outcome is on the way, or was there */
    switch (answer) {
    case LH_DUTY_SAID_LOST:
        if (runs)
            cancel(duty, task, LH_ASKED_LOST);
        else /* what was told without an answer was heard */
            lh_duty_settle(duty, task, task->told_before ? LH_END_SETTLED : LH_END_LOST, false);
        break;
    case LH_DUTY_SAID_GONE:
        if (runs)
            task->orphan = true; /* nobody else has it: it goes on to its end */
        else
            lh_duty_settle(duty, task, LH_END_GONE, false);
        break;
    case LH_DUTY_SAID_PAUSED:
    case LH_DUTY_SAID_CANCELLED:
        if (runs)
            cancel(duty, task,
                   answer == LH_DUTY_SAID_PAUSED ? LH_ASKED_PAUSED : LH_ASKED_CANCELLED);
        else if (waits)
            lh_duty_hold(duty, task,
                         answer == LH_DUTY_SAID_PAUSED ? LH_OUTCOME_PAUSED : LH_OUTCOME_CANCELLED,
                         0);
        break;
    default:
        break;
    }
}

void lh_duty_reported(struct lh_duty *duty, int status, const enum lh_duty_answer *answers,
                      uint64_t now_ms)
{
    answered(duty, &duty->report, status, 0, now_ms);
    /* Counted from when the last one left, not from its answer: a slow Redis hears as often. */
    duty->report_ms = duty->report.asked_ms + report_every(duty);
    for (size_t i = 0; i < duty->n_reported; i++) {
        struct lh_duty_task *task = duty->reported[i];

        if (task == NULL)
            continue;
        task->report_at = 0;
        if (status == 0)
            report_answer(duty, task, answers[i]);
    }
    duty->n_reported = 0;
}

/* It was put where it waits for its time: nobody need look for it sooner, nor much later. */
static void due_again(struct lh_duty *duty, const struct lh_duty_task *task, uint64_t now_ms)
{
    if (task->due_ms > 0 && (duty->soonest_ms == 0 || now_ms + task->due_ms < duty->soonest_ms))
        duty->soonest_ms = now_ms + task->due_ms;
}

void lh_duty_finished(struct lh_duty *duty, int status, const enum lh_duty_answer *answers,
                      uint64_t now_ms)
{
    size_t n = duty->n_telling;

    answered(duty, &duty->finish, status, 0, now_ms);
    duty->n_telling = 0;
    for (size_t i = 0; i < n; i++) {
        struct lh_duty_task *task = duty->telling[i];

        if (status != 0) {
            task->told_before = task->told_before || status == -LH_E_NETWORK;
            lh_duty_let_go(duty, task, false);
            lh_duty_move(duty, task, LH_DUTY_HELD);
        } else if (answers[i] == LH_DUTY_SAID_GONE) {
            lh_duty_settle(duty, task, LH_END_GONE, false);
        } else if (answers[i] == LH_DUTY_SAID_LOST) {
            lh_duty_settle(duty, task, task->told_before ? LH_END_SETTLED : LH_END_LOST, false);
        } else {
            due_again(duty, task, now_ms);
            lh_duty_settle(duty, task, LH_END_SETTLED, task->outcome == LH_OUTCOME_DONE);
        }
    }
}

void lh_duty_delivered(struct lh_duty *duty, struct lh_duty_task *task, uint64_t now_ms)
{
    if (task->state != LH_DUTY_MOVING && task->state != LH_DUTY_STOPPING)
        return;
    lh_duty_acted(duty, task);
    task->delivered = true;
    task->outcome = LH_OUTCOME_DONE;
    if (task->orphan || task->asked == LH_ASKED_LOST) {
        lh_duty_settle(duty, task, task->orphan ? LH_END_GONE : LH_END_LOST, false);
        return;
    }
    lh_duty_hold(duty, task, LH_OUTCOME_DONE, 0);
    if (!duty->up)
        lh_duty_let_go(duty, task, false);
}

/* An attempt ended without the file being whole. */
static void failed(struct lh_duty *duty, struct lh_duty_task *task, int status)
{
    if (task->asked == LH_ASKED_LOST || status == -LH_E_FENCED) {
        lh_duty_settle(duty, task, LH_END_LOST, false);
        return;
    }
    if (task->orphan) {
        lh_duty_settle(duty, task, LH_END_GONE, false);
        return;
    }
    switch (task->asked) {
    case LH_ASKED_PAUSED:
        lh_duty_hold(duty, task, LH_OUTCOME_PAUSED, 0);
        break;
    case LH_ASKED_CANCELLED:
        lh_duty_hold(duty, task, LH_OUTCOME_CANCELLED, 0);
        break;
    case LH_ASKED_STOPPED:
        lh_duty_hold(duty, task, LH_OUTCOME_DEFERRED, 0);
        break;
    default:
        task->failures++;
        lh_duty_hold(duty, task, lh_outcome_of(status, task->failures, task->retries), 0);
        if (task->outcome == LH_OUTCOME_RETRY)
            task->due_ms = lh_outcome_backoff_ms(task->failures, lh_duty_chance(duty));
        break;
    }
}

void lh_duty_ended(struct lh_duty *duty, struct lh_duty_task *task, int status, uint64_t now_ms)
{
    bool runs = task->state == LH_DUTY_MOVING || task->state == LH_DUTY_STOPPING;

    if (runs && status == 0)
        lh_duty_delivered(duty, task, now_ms);
    lh_duty_acted(duty, task);
    task->sending = false;
    task->delivered = false;
    if (task->state == LH_DUTY_LEAVING)
        lh_duty_move(duty, task, LH_DUTY_OVER);
    else if (runs && status != 0)
        failed(duty, task, status);
}

void lh_duty_stop(struct lh_duty *duty, uint64_t now_ms)
{
    if (duty->stopping)
        return;
    duty->stopping = true;
    duty->stop_ms = now_ms;
    while (duty->waiting.first != NULL)
        lh_duty_hold(duty, duty->waiting.first, LH_OUTCOME_DEFERRED, 0);
    for (struct lh_duty_task *t = duty->running.first; t != NULL; t = t->next)
        cancel(duty, t, LH_ASKED_STOPPED);
}
