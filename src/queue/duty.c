/* What a worker does next; the rules are told in duty.h.
 *
 * Every task is on exactly one list, which its state names. Steps come in the order: what is over,
 * sends to be cancelled or let go, sends to be begun, outcomes, tasks, the report: so that a slot
 * that has just become free is filled from the room first, and outcomes leave before the next take
 * in the same flight. */
#include "queue/duty.h"

#include "queue/outcome.h"
#include "util/err.h"
#include "util/mutant.h"

#include <string.h>

#define REPORT_MAX_MS 5000u
#define FRESH_MS 1000u /* an answer so young shows that Redis is not standing still */
/* So long after Redis is back a worker that lives has said hello and reported at the latest: it may
 * have stood in the longest pause between two tries (lh_pace_backoff). */
#define ALL_BACK_MS 6500u
#define AGAIN_MS 1000u   /* after Redis could not */
#define REFUSED_MS 5000u /* after it would not */
#define DEFER_MS                                                                                   \
    1000u               /* a task without a place is due again so long after, and up to twice that \
                         */
#define CROWDED_MS 250u /* then so long nothing is taken: a queue full of them is not churned */
#define WAIT_MIN_MS 20u
#define WAIT_BATCH 3 /* a wait brings at most one task of each priority */

/* ---- lists -------------------------------------------------------------------------------- */

static struct lh_duty_list *list_of(struct lh_duty *duty, enum lh_duty_state state)
{
    switch (state) {
    case LH_DUTY_WAITING:
        return &duty->waiting;
    case LH_DUTY_MOVING:
    case LH_DUTY_STOPPING:
        return &duty->running;
    case LH_DUTY_HELD:
        return &duty->held;
    case LH_DUTY_TOLD:
        return &duty->told;
    case LH_DUTY_LEAVING:
        return &duty->leaving;
    default:
        return &duty->over;
    }
}

static void append(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_state state)
{
    struct lh_duty_list *list = list_of(duty, state);

    task->state = state;
    task->next = NULL;
    task->prev = list->last;
    if (list->last != NULL)
        list->last->next = task;
    else
        list->first = task;
    list->last = task;
    list->n++;
}

static void unlink_task(struct lh_duty *duty, struct lh_duty_task *task)
{
    struct lh_duty_list *list = list_of(duty, task->state);

    if (task->prev != NULL)
        task->prev->next = task->next;
    else
        list->first = task->next;
    if (task->next != NULL)
        task->next->prev = task->prev;
    else
        list->last = task->prev;
    list->n--;
    if (list == &duty->running)
        duty->stuck = false;
}

static void move(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_state state)
{
    unlink_task(duty, task);
    append(duty, task, state);
}

static size_t total(const struct lh_duty *duty)
{
    return duty->waiting.n + duty->running.n + duty->held.n + duty->told.n + duty->leaving.n +
           duty->over.n;
}

/* ---- chance and contact ------------------------------------------------------------------- */

static uint32_t chance(struct lh_duty *duty)
{
    uint64_t z = duty->rng += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

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
        now_ms - duty->heard_ms > 2 * third + WAIT_MIN_MS)
        break_contact(duty, now_ms);
    if (status == 0)
        duty->heard_ms = now_ms;
}

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

static void answered(struct lh_duty *duty, struct lh_duty_call *call, int status,
                     uint64_t may_take_ms, uint64_t now_ms)
{
    LH_REQUIRE(call->pending);
    call->pending = false;
    heard(duty, call, status, may_take_ms, now_ms);
    if (status != 0 && status != -LH_E_NETWORK)
        call->not_before_ms = now_ms + (status == -LH_E_REFUSED ? REFUSED_MS : AGAIN_MS);
}

static void ask(struct lh_duty_call *call, uint64_t now_ms)
{
    call->pending = true;
    call->asked_ms = now_ms;
}

/* ---- one task ----------------------------------------------------------------------------- */

static void hold(struct lh_duty *duty, struct lh_duty_task *task, enum lh_task_outcome outcome,
                 uint64_t due_ms)
{
    task->outcome = outcome;
    task->due_ms = due_ms;
    move(duty, task, LH_DUTY_HELD);
}

static void put_back(struct lh_duty *duty, struct lh_duty_task *task)
{
    hold(duty, task, LH_OUTCOME_DEFERRED, DEFER_MS + ((uint64_t)DEFER_MS * chance(duty) >> 32));
}

static void ask_send(struct lh_duty *duty, struct lh_duty_task *task, bool *what)
{
    if (!task->cancel && !task->confirm)
        duty->n_acts++;
    *what = true;
}

static void acted(struct lh_duty *duty, struct lh_duty_task *task)
{
    if (task->cancel || task->confirm)
        duty->n_acts--;
    task->cancel = false;
    task->confirm = false;
}

/* Let a delivered send go. Its session is free for the next task then. */
static void let_go(struct lh_duty *duty, struct lh_duty_task *task, bool forget)
{
    if (!task->sending || !task->delivered)
        return;
    task->delivered = false;
    task->forget = forget;
    ask_send(duty, task, &task->confirm);
}

static void cancel(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_asked why)
{
    if (task->state == LH_DUTY_MOVING) {
        task->state = LH_DUTY_STOPPING; /* on the same list */
        ask_send(duty, task, &task->cancel);
    }
    /* Lost outweighs everything; what a user asks for outweighs the end of the worker. */
    if (task->asked == LH_ASKED_NOTHING || task->asked == LH_ASKED_STOPPED || why == LH_ASKED_LOST)
        task->asked = why;
}

/* Nothing more is to be told about it. */
static void settle(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_end end,
                   bool forget)
{
    task->end = end;
    let_go(duty, task, forget);
    move(duty, task, task->sending ? LH_DUTY_LEAVING : LH_DUTY_OVER);
}

/* ---- events ------------------------------------------------------------------------------- */

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
        let_go(duty, t, false);
    for (struct lh_duty_task *t = duty->told.first; t != NULL; t = t->next)
        let_go(duty, t, false);
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
    append(duty, task, LH_DUTY_WAITING);
    duty->stuck = false;
    if (task->status != 0)
        hold(duty, task, LH_OUTCOME_DEAD, 0);
    else if (duty->stopping)
        hold(duty, task, LH_OUTCOME_DEFERRED, 0);
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
                   now_ms + WAIT_MIN_MS >= duty->soonest_ms;
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
            settle(duty, task, task->told_before ? LH_END_SETTLED : LH_END_LOST, false);
        break;
    case LH_DUTY_SAID_GONE:
        if (runs)
            task->orphan = true; /* nobody else has it: it goes on to its end */
        else
            settle(duty, task, LH_END_GONE, false);
        break;
    case LH_DUTY_SAID_PAUSED:
    case LH_DUTY_SAID_CANCELLED:
        if (runs)
            cancel(duty, task,
                   answer == LH_DUTY_SAID_PAUSED ? LH_ASKED_PAUSED : LH_ASKED_CANCELLED);
        else if (waits)
            hold(duty, task,
                 answer == LH_DUTY_SAID_PAUSED ? LH_OUTCOME_PAUSED : LH_OUTCOME_CANCELLED, 0);
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
            let_go(duty, task, false);
            move(duty, task, LH_DUTY_HELD);
        } else if (answers[i] == LH_DUTY_SAID_GONE) {
            settle(duty, task, LH_END_GONE, false);
        } else if (answers[i] == LH_DUTY_SAID_LOST) {
            settle(duty, task, task->told_before ? LH_END_SETTLED : LH_END_LOST, false);
        } else {
            settle(duty, task, LH_END_SETTLED, task->outcome == LH_OUTCOME_DONE);
        }
    }
}

void lh_duty_delivered(struct lh_duty *duty, struct lh_duty_task *task, uint64_t now_ms)
{
    if (task->state != LH_DUTY_MOVING && task->state != LH_DUTY_STOPPING)
        return;
    acted(duty, task);
    task->delivered = true;
    task->outcome = LH_OUTCOME_DONE;
    if (task->orphan || task->asked == LH_ASKED_LOST) {
        settle(duty, task, task->orphan ? LH_END_GONE : LH_END_LOST, false);
        return;
    }
    hold(duty, task, LH_OUTCOME_DONE, 0);
    if (!duty->up)
        let_go(duty, task, false);
}

/* An attempt ended without the file being whole. */
static void failed(struct lh_duty *duty, struct lh_duty_task *task, int status)
{
    if (task->asked == LH_ASKED_LOST || status == -LH_E_FENCED) {
        settle(duty, task, LH_END_LOST, false);
        return;
    }
    if (task->orphan) {
        settle(duty, task, LH_END_GONE, false);
        return;
    }
    switch (task->asked) {
    case LH_ASKED_PAUSED:
        hold(duty, task, LH_OUTCOME_PAUSED, 0);
        break;
    case LH_ASKED_CANCELLED:
        hold(duty, task, LH_OUTCOME_CANCELLED, 0);
        break;
    case LH_ASKED_STOPPED:
        hold(duty, task, LH_OUTCOME_DEFERRED, 0);
        break;
    default:
        task->failures++;
        hold(duty, task, lh_outcome_of(status, task->failures, task->retries), 0);
        if (task->outcome == LH_OUTCOME_RETRY)
            task->due_ms = lh_outcome_backoff_ms(task->failures, chance(duty));
        break;
    }
}

void lh_duty_ended(struct lh_duty *duty, struct lh_duty_task *task, int status, uint64_t now_ms)
{
    bool runs = task->state == LH_DUTY_MOVING || task->state == LH_DUTY_STOPPING;

    if (runs && status == 0)
        lh_duty_delivered(duty, task, now_ms);
    acted(duty, task);
    task->sending = false;
    task->delivered = false;
    if (task->state == LH_DUTY_LEAVING)
        move(duty, task, LH_DUTY_OVER);
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
        hold(duty, duty->waiting.first, LH_OUTCOME_DEFERRED, 0);
    for (struct lh_duty_task *t = duty->running.first; t != NULL; t = t->next)
        cancel(duty, t, LH_ASKED_STOPPED);
}

/* ---- steps -------------------------------------------------------------------------------- */

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
        settle(duty, task, LH_END_UNTOLD, false);
        task = duty->over.first;
    }
    if (task == NULL)
        return false;
    unlink_task(duty, task);
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
            acted(duty, t);
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
        move(duty, t, LH_DUTY_MOVING);
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
        move(duty, duty->held.first, LH_DUTY_TOLD);
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
    size_t have = total(duty);
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
    return until_ms > now_ms + WAIT_MIN_MS ? until_ms - now_ms : WAIT_MIN_MS;
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
