/* A worker's life: what the duty decides is done here, and what happened is told to it.
 *
 * Thread: the loop's. Owner: who started it, until `closed`.
 *
 * Happy path: dial Redis -> take -> send -> tell the outcome -> take … -> stop: sends are
 * cancelled, tasks put back -> leave -> close the queue, then the engine -> closed. Once a turn of
 * the loop, so that all that a turn brought leaves in one flight. Failures: Redis away: the duty
 * keeps what it has to hear; out of memory: a task that was taken comes again, to anybody, after
 * the claim time. */
#include "queue/worker.h"

#include "queue/worker_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert((int)LH_DUTY_SAID_OK == (int)LH_QUEUE_OK &&
                   (int)LH_DUTY_SAID_LOST == (int)LH_QUEUE_LOST &&
                   (int)LH_DUTY_SAID_GONE == (int)LH_QUEUE_GONE &&
                   (int)LH_DUTY_SAID_PAUSED == (int)LH_QUEUE_PAUSED &&
                   (int)LH_DUTY_SAID_CANCELLED == (int)LH_QUEUE_CANCELLED,
               "the duty hears the queue's words");
_Static_assert(LH_DUTY_TAKE_MAX <= LH_QUEUE_TAKE_MAX && LH_DUTY_TASKS_MAX <= LH_QUEUE_BATCH_MAX,
               "what the duty asks for fits into one command");

static struct lh_work *work_of(struct lh_duty_task *task)
{
    return (struct lh_work *)(void *)task;
}

static uint64_t now_of(const struct lh_qworker *worker)
{
    return uv_now(worker->loop);
}

static void tell(struct lh_qworker *worker, enum lh_qworker_what what, const char *text)
{
    struct lh_qworker_event event = {.what = what, .text = text};

    if (worker->opts.event != NULL)
        worker->opts.event(worker->opts.arg, &event);
}

/* Why a command failed that nobody sees the failure of: once until the reason changes. Losing
 * Redis, and that it has forgotten the queue, are told as such. A wait is only a wait: if it was
 * not its time that ended it, the take that follows meets the reason. */
static void log_failure(struct lh_qworker *worker, enum lh_worker_asks what, int status,
                        const char *text)
{
    static const char *const verbs[LH_N_WORKER_ASKS] = {"take tasks", "wait for tasks", "report",
                                                        "tell outcomes"};
    char *told = worker->told[what];
    char why[sizeof(worker->told[0])];
    enum lh_log_level level = LH_LOG_WARN;

    if (status == 0)
        told[0] = '\0';
    if (status == 0 || status == -LH_E_NETWORK)
        return;
    snprintf(why, sizeof(why), "%s",
             text != NULL && text[0] != '\0' ? text : lh_status_text(status));
    if (!lh_queue_up(worker->queue) || (what == LH_ASKS_WAIT && status == -LH_E_BUSY))
        level = LH_LOG_INFO;
    else if (strcmp(why, told) == 0)
        level = LH_LOG_DEBUG;
    else
        memcpy(told, why, sizeof(why));
    lh_log(&worker->log, level, "queue: cannot %s: %s", verbs[what], why);
}

/* ---- answers of the queue ----------------------------------------------------------------- */

static size_t receive(struct lh_qworker *worker, int status, struct lh_taking *reply)
{
    size_t n = status == 0 ? reply->n : 0;

    if (status == 0 && reply->jumped)
        lh_duty_jumped(&worker->duty, now_of(worker));
    for (size_t i = 0; i < n; i++) {
        struct lh_work *work = lh_work_new(worker, &reply->taken[i]);

        if (work == NULL) {
            lh_log(&worker->log, LH_LOG_ERROR, "out of memory: task %s is left to others",
                   reply->taken[i].claim.id);
            continue;
        }
        lh_duty_taken(&worker->duty, &work->duty, now_of(worker));
        lh_work_event(work, LH_QWORKER_TAKEN, true);
    }
    lh_qworker_touch(worker);
    return n;
}

static void on_took(void *arg, int status, const char *text, struct lh_taking *reply)
{
    struct lh_qworker *worker = arg;
    size_t n = receive(worker, status, reply);

    log_failure(worker, LH_ASKS_TAKE, status, text);
    lh_duty_took(&worker->duty, status, n, status == 0 ? reply->soonest_ms : 0, now_of(worker));
}

static void on_waited(void *arg, int status, const char *text, struct lh_taking *reply)
{
    struct lh_qworker *worker = arg;
    size_t n = receive(worker, status, reply);

    log_failure(worker, LH_ASKS_WAIT, status, text);
    lh_duty_waited(&worker->duty, status, n, status == 0 ? reply->soonest_ms : 0, now_of(worker));
}

static void words_of(enum lh_duty_answer words[LH_DUTY_TASKS_MAX],
                     const enum lh_queue_answer *answers, size_t n)
{
    for (size_t i = 0; i < n && i < LH_DUTY_TASKS_MAX; i++)
        words[i] = (enum lh_duty_answer)answers[i];
}

static void on_reported(void *arg, int status, const char *text,
                        const enum lh_queue_answer *answers, size_t n)
{
    struct lh_qworker *worker = arg;
    enum lh_duty_answer words[LH_DUTY_TASKS_MAX];

    log_failure(worker, LH_ASKS_REPORT, status, text);
    if (status == 0)
        words_of(words, answers, n);
    for (size_t i = 0; i < worker->duty.n_reported && status == 0; i++) {
        struct lh_work *work = work_of(worker->duty.reported[i]);

        if (work == NULL || !work->recording)
            continue;
        work->recording = false;
        if (words[i] == LH_DUTY_SAID_OK)
            lh_record_made(&work->record, work->recording_ms, work->recording_bytes);
    }
    lh_duty_reported(&worker->duty, status, words, now_of(worker));
    lh_qworker_touch(worker);
}

static void on_finished(void *arg, int status, const char *text,
                        const enum lh_queue_answer *answers, size_t n)
{
    struct lh_qworker *worker = arg;
    enum lh_duty_answer words[LH_DUTY_TASKS_MAX];

    log_failure(worker, LH_ASKS_FINISH, status, text);
    if (status == 0)
        words_of(words, answers, n);
    lh_duty_finished(&worker->duty, status, words, now_of(worker));
    lh_qworker_touch(worker);
}

static void on_up(void *arg)
{
    struct lh_qworker *worker = arg;

    lh_duty_up(&worker->duty, now_of(worker));
    lh_qworker_touch(worker);
    if (!worker->told_up)
        tell(worker, LH_QWORKER_UP, "");
    worker->told_up = true;
}

static void on_down(void *arg, int status, const char *why)
{
    struct lh_qworker *worker = arg;

    lh_duty_down(&worker->duty, now_of(worker));
    lh_qworker_touch(worker);
    if (status == 0)
        return; /* it will be up in a moment */
    worker->told_up = false;
    tell(worker, LH_QWORKER_DOWN, why);
}

/* ---- steps -------------------------------------------------------------------------------- */

static void health_of(const struct lh_qworker *worker, struct lh_health *health)
{
    const struct lh_duty_task *t;

    *health = worker->health;
    health->active = lh_duty_active(&worker->duty);
    health->uptime_ms = now_of(worker) - worker->started_ms;
    for (t = worker->duty.running.first; t != NULL; t = t->next) {
        const struct lh_work *work = (const struct lh_work *)(const void *)t;

        health->rate_bps += work->stats.rate_bps;
        if (work->stats.bytes_durable > work->stats.bytes_skipped)
            health->bytes += work->stats.bytes_durable - work->stats.bytes_skipped;
    }
}

static void report(struct lh_qworker *worker, const struct lh_duty_step *step)
{
    static struct lh_report none;
    struct lh_report *reports = step->n > 0 ? calloc(step->n, sizeof(*reports)) : &none;
    struct lh_health health;
    int ret = -LH_E_NOMEM;

    health_of(worker, &health);
    for (size_t i = 0; i < step->n && reports != NULL; i++)
        lh_work_report(work_of(step->tasks[i]), &reports[i], now_of(worker));
    if (reports != NULL)
        ret = lh_queue_report(worker->queue, &health, reports, step->n, on_reported, worker);
    if (reports != NULL && reports != &none) {
        for (size_t i = 0; i < step->n; i++)
            lh_work_report_free(&reports[i]);
        free(reports);
    }
    if (ret != 0)
        on_reported(worker, ret, "", NULL, 0);
}

static void finish(struct lh_qworker *worker, const struct lh_duty_step *step)
{
    struct lh_ending *endings = calloc(step->n, sizeof(*endings));
    int ret = -LH_E_NOMEM;

    if (endings != NULL) {
        for (size_t i = 0; i < step->n; i++)
            lh_work_ending(work_of(step->tasks[i]), &endings[i]);
        ret = lh_queue_finish(worker->queue, endings, step->n, on_finished, worker);
    }
    free(endings);
    if (ret != 0)
        on_finished(worker, ret, "", NULL, 0);
}

static void drop(struct lh_work *work)
{
    static const enum lh_qworker_what whats[LH_N_OUTCOMES] = {
        [LH_OUTCOME_DONE] = LH_QWORKER_DONE,           [LH_OUTCOME_RETRY] = LH_QWORKER_RETRY,
        [LH_OUTCOME_DEAD] = LH_QWORKER_DEAD,           [LH_OUTCOME_PAUSED] = LH_QWORKER_PAUSED,
        [LH_OUTCOME_CANCELLED] = LH_QWORKER_CANCELLED, [LH_OUTCOME_DEFERRED] = LH_QWORKER_DEFERRED,
    };
    bool told = work->duty.end == LH_END_SETTLED || work->duty.end == LH_END_UNTOLD;
    bool whole = work->duty.outcome == LH_OUTCOME_DONE && work->status == 0;

    /* What the queue has forgotten may be whole all the same. */
    if (told || (work->duty.end == LH_END_GONE && whole))
        lh_work_event(work, whats[work->duty.outcome], work->duty.end == LH_END_SETTLED);
    else
        lh_work_event(work, LH_QWORKER_LOST, false);
    lh_work_free(work);
}

static void take(struct lh_qworker *worker, const struct lh_duty_step *step)
{
    int ret;

    if (step->what == LH_DUTY_TAKE) {
        ret = lh_queue_take(worker->queue, step->n, step->reap, on_took, worker);
        if (ret != 0)
            on_took(worker, ret, "", NULL);
    } else {
        ret = lh_queue_wait(worker->queue, step->ms, on_waited, worker);
        if (ret != 0)
            on_waited(worker, ret, "", NULL);
    }
}

static void do_step(struct lh_qworker *worker, const struct lh_duty_step *step)
{
    switch (step->what) {
    case LH_DUTY_START:
        lh_work_start(work_of(step->task));
        break;
    case LH_DUTY_CANCEL:
        lh_work_cancel(work_of(step->task));
        break;
    case LH_DUTY_CONFIRM:
        lh_send_confirm(work_of(step->task)->send, step->forget); /* a tree waits for none */
        break;
    case LH_DUTY_FINISH:
        finish(worker, step);
        break;
    case LH_DUTY_TAKE:
    case LH_DUTY_WAIT:
        take(worker, step);
        break;
    case LH_DUTY_REPORT:
        report(worker, step);
        break;
    case LH_DUTY_DROP:
        drop(work_of(step->task));
        break;
    case LH_DUTY_NOTHING:
        break;
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

static void on_handle_closed(uv_handle_t *handle)
{
    struct lh_qworker *worker = handle->data;

    if (--worker->n_handles > 0)
        return;
    if (worker->opts.closed != NULL)
        worker->opts.closed(worker->opts.arg);
    free(worker);
}

static void on_engine_closed(void *arg)
{
    struct lh_qworker *worker = arg;

    uv_close((uv_handle_t *)&worker->turn, on_handle_closed);
    uv_close((uv_handle_t *)&worker->idle, on_handle_closed);
    uv_close((uv_handle_t *)&worker->wake, on_handle_closed);
}

static void steps(struct lh_qworker *worker)
{
    struct lh_duty_step step;

    worker->dirty = false;
    for (;;) {
        lh_duty_next(&worker->duty, now_of(worker), &step);
        if (step.what == LH_DUTY_NOTHING)
            break;
        do_step(worker, &step);
    }
}

static void on_queue_closed(void *arg)
{
    struct lh_qworker *worker = arg;

    worker->queue = NULL;
    steps(worker); /* what Redis never answered is dropped */
    lh_engine_close(worker->engine, on_engine_closed, worker);
}

static void close_queue(struct lh_qworker *worker)
{
    lh_duty_down(&worker->duty, now_of(worker));
    lh_queue_close(worker->queue, on_queue_closed, worker);
}

static void on_left(void *arg, int status, const char *text)
{
    close_queue(arg);
}

static void leave(struct lh_qworker *worker)
{
    worker->leaving = true;
    if (lh_queue_leave(worker->queue, on_left, worker) != 0)
        close_queue(worker);
}

static void on_wake(uv_timer_t *timer)
{
    lh_qworker_touch(timer->data);
}

/* Keeps the loop from waiting. */
static void on_idle(uv_idle_t *idle)
{
}

void lh_qworker_touch(struct lh_qworker *worker)
{
    worker->dirty = true;
    uv_idle_start(&worker->idle, on_idle);
}

/* Once a turn, after all that it brought. Not before the loop waits: what is sent to Redis from
 * there would wait, too. */
static void on_turn(uv_check_t *turn)
{
    struct lh_qworker *worker = turn->data;
    uint64_t wake_ms;

    if (!worker->dirty)
        return;
    uv_idle_stop(&worker->idle);
    if (worker->queue == NULL)
        return;
    steps(worker);
    if (!worker->leaving && lh_duty_stopped(&worker->duty, now_of(worker)))
        leave(worker);
    wake_ms = worker->leaving ? UINT64_MAX : lh_duty_wake_ms(&worker->duty, now_of(worker));
    if (wake_ms == UINT64_MAX)
        uv_timer_stop(&worker->wake);
    else
        uv_timer_start(&worker->wake, on_wake, wake_ms - now_of(worker), 0);
}

void lh_qworker_stop(struct lh_qworker *worker)
{
    if (worker->queue == NULL)
        return;
    lh_queue_wait_no_longer(worker->queue);
    lh_duty_stop(&worker->duty, now_of(worker));
    lh_qworker_touch(worker);
}

/* ---- the start ---------------------------------------------------------------------------- */

static uint64_t seed_of(const struct lh_qworker *worker)
{
    /* Workers of one host, and of many, that meet the same failure must not come back together. */
    uint64_t seed = (uint64_t)getpid() << 32 ^ uv_hrtime();

    for (const char *p = worker->opts.name; *p != '\0'; p++)
        seed = seed * 31 + (unsigned char)*p;
    return seed;
}

static int start_queue(struct lh_qworker *worker)
{
    struct lh_queue_options opts = {
        .url = worker->opts.url,
        .name = worker->opts.queue,
        .worker = worker->opts.name,
        .claim_ms = worker->opts.claim_ms,
        .log = worker->opts.send.log,
        .log_arg = worker->opts.send.log_arg,
        .log_level = worker->opts.send.log_level,
        .up = on_up,
        .down = on_down,
        .arg = worker,
    };

    return lh_queue_start(worker->loop, &opts, &worker->queue);
}

static int start_engine(struct lh_qworker *worker)
{
    struct lh_engine_options opts;

    lh_engine_options_init(&opts);
    opts.loops = worker->opts.send.loops;
    opts.log = worker->opts.send.log;
    opts.log_arg = worker->opts.send.log_arg;
    opts.log_level = worker->opts.send.log_level;
    return lh_engine_start(worker->loop, &opts, &worker->engine);
}

static void init(struct lh_qworker *worker, uv_loop_t *loop, const struct lh_qworker_options *opts)
{
    struct lh_duty_options duty = {
        .jobs = opts->jobs, .jobs_per_host = opts->jobs_per_host, .claim_ms = opts->claim_ms};

    worker->loop = loop;
    worker->opts = *opts;
    worker->log = (struct lh_log){
        .fn = opts->send.log, .arg = opts->send.log_arg, .level = opts->send.log_level};
    worker->started_ms = uv_now(loop);
    duty.seed = seed_of(worker);
    lh_duty_init(&worker->duty, &duty, worker->started_ms);
    if (gethostname(worker->health.host, sizeof(worker->health.host) - 1) != 0)
        worker->health.host[0] = '\0';
    worker->health.pid = (uint64_t)getpid();
    worker->health.jobs = opts->jobs;
    strncpy(worker->health.version, lh_version(), sizeof(worker->health.version) - 1);
}

int lh_qworker_start(uv_loop_t *loop, const struct lh_qworker_options *opts,
                     struct lh_qworker **out)
{
    struct lh_qworker *worker = calloc(1, sizeof(*worker));
    int ret;

    if (worker == NULL)
        return -LH_E_NOMEM;
    init(worker, loop, opts);
    ret = start_queue(worker);
    if (ret == 0) {
        ret = start_engine(worker);
        if (ret != 0)
            lh_queue_close(worker->queue, NULL, NULL); /* nothing was called yet, nor will be */
    }
    if (ret != 0) {
        free(worker);
        return ret;
    }
    /* None of these can fail. */
    LH_INVARIANT(uv_check_init(loop, &worker->turn) == 0);
    LH_INVARIANT(uv_idle_init(loop, &worker->idle) == 0);
    LH_INVARIANT(uv_timer_init(loop, &worker->wake) == 0);
    worker->n_handles = 3;
    worker->turn.data = worker->idle.data = worker->wake.data = worker;
    uv_check_start(&worker->turn, on_turn);
    *out = worker;
    return 0;
}
