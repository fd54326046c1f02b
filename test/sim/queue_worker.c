/* A worker: what src/queue's worker and queue do between the duty's decisions and the wire. */
#include "test/sim/queue_world.h"

#include "core/pace.h"
#include "longhaul/status.h"
#include "queue/map.h"
#include "util/err.h"
#include "util/mutant.h"

#include <stdlib.h>
#include <string.h>

#define COMMAND_MS 5000

static int index_of(const struct simq_world *w, const struct simq_worker *k)
{
    return (int)(k - w->workers);
}

static struct simq_job *job_of(struct lh_duty_task *task)
{
    return LH_CONTAINER_OF(task, struct simq_job, duty);
}

/* ---- the line to Redis ---- */

static struct simq_call *call_of(struct simq_world *w, struct simq_worker *k, enum simq_op op)
{
    struct simq_call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        simq_broken(w, "out of memory");
    call->op = op;
    call->worker = index_of(w, k);
    call->life = k->life;
    call->conn = k->conn;
    call->number = ++w->n_calls;
    call->incarnation = k->incarnation;
    return call;
}

static uint64_t to_redis_us(struct simq_world *w, const struct simq_worker *k)
{
    uint64_t us = simq_about(w, w->redis_us) + w->redis.slow_us;

    return w->now < k->cut_until ? us + (k->cut_until - w->now) : us;
}

static void send_call(struct simq_world *w, struct simq_worker *k, struct simq_call *call)
{
    struct simq_event e = {.what = SIMQ_COMMAND,
                           .worker = call->worker,
                           .life = call->life,
                           .gen = w->redis.life,
                           .call = call};
    struct simq_event due = {.what = SIMQ_TIMEOUT,
                             .worker = call->worker,
                             .life = call->life,
                             .gen = call->conn,
                             .status = (int)call->op,
                             .number = call->number};

    k->pending[call->op] = call->number;
    simq_after(w, to_redis_us(w, k), &e);
    simq_after(w, (COMMAND_MS + call->block_ms) * 1000, &due);
}

static void dial_redis(struct simq_world *w, struct simq_worker *k)
{
    struct simq_event e = {
        .what = SIMQ_CONNECT, .worker = index_of(w, k), .life = k->life, .gen = k->conn};
    uint64_t pause_ms = lh_pace_backoff(k->attempt++, (uint32_t)lh_rng_next(&w->rng));

    simq_after(w, pause_ms * 1000, &e);
}

static void say_hello(struct simq_world *w, struct simq_worker *k)
{
    struct simq_call *call = call_of(w, k, SIMQ_HELLO);

    k->link = SIMQ_LINK_HELLO;
    call->incarnation = simq_fresh(w);
    send_call(w, k, call);
}

static void connect_redis(struct simq_world *w, struct simq_worker *k)
{
    if (!w->redis.up || w->now < k->cut_until) {
        k->conn++;
        dial_redis(w, k);
        return;
    }
    say_hello(w, k);
}

/* Whether what was under way was carried out, nobody knows. */
static void answer_lost(struct simq_worker *k, uint64_t now_ms)
{
    bool waits = k->pending[SIMQ_WAIT] != 0 || k->pending[SIMQ_BEGIN] != 0;
    bool takes = k->pending[SIMQ_TAKE] != 0;
    bool reports = k->pending[SIMQ_REPORT] != 0;
    bool tells = k->pending[SIMQ_TELL] != 0;

    memset(k->pending, 0, sizeof(k->pending));
    if (takes)
        lh_duty_took(&k->duty, -LH_E_NETWORK, 0, 0, now_ms);
    if (waits)
        lh_duty_waited(&k->duty, -LH_E_NETWORK, 0, 0, now_ms);
    if (reports)
        lh_duty_reported(&k->duty, -LH_E_NETWORK, NULL, now_ms);
    if (tells)
        lh_duty_finished(&k->duty, -LH_E_NETWORK, NULL, now_ms);
}

void simq_link_lost(struct simq_world *w, struct simq_worker *k)
{
    simq_trace(w, "worker %d loses Redis", index_of(w, k));
    k->conn++;
    k->link = SIMQ_LINK_DOWN;
    answer_lost(k, simq_ms(w));
    lh_duty_down(&k->duty, simq_ms(w));
    dial_redis(w, k);
}

/* ---- the duty's steps ---- */

static uint64_t durable_of(const struct simq_job *job)
{
    if (!job->have_sched)
        return 0;
    if (lh_mutant("record-before-durable")) {
        uint64_t mask = simq_mask_of(&job->sched.durable);

        for (int i = 0; i < LH_SCHED_MAX_STREAMS; i++)
            mask |= simq_mask_of(&job->sched.streams[i].granted);
        return mask;
    }
    return simq_mask_of(&job->sched.durable);
}

static void write_map(struct simq_item *item, uint64_t mask)
{
    struct lh_range ranges[SIMQ_BLOCKS];
    size_t n = 0;

    for (uint64_t b = 0; b < SIMQ_BLOCKS; b++)
        if (mask & simq_bit(b))
            ranges[n++] = (struct lh_range){b * SIMQ_BLOCK_BYTES, SIMQ_BLOCK_BYTES};
    item->bytes = n * (uint64_t)SIMQ_BLOCK_BYTES;
    lh_map_write(item->map, sizeof(item->map), ranges, n, NULL);
}

static struct simq_item *add_item(struct simq_call *call, const struct simq_job *job)
{
    struct simq_item *item = &call->items[call->n_items++];

    item->task = job->task;
    item->incarnation = job->incarnation;
    item->claim = job->claim;
    return item;
}

static void report(struct simq_world *w, struct simq_worker *k, const struct lh_duty_step *step)
{
    struct simq_call *call = call_of(w, k, SIMQ_REPORT);
    uint64_t now_ms = simq_ms(w);

    for (size_t i = 0; i < step->n; i++) {
        struct simq_job *job = job_of(step->tasks[i]);
        struct simq_item *item = add_item(call, job);

        job->recording = false;
        if (!job->duty.sending || !job->ledger || !job->have_sched)
            continue;
        write_map(item, durable_of(job));
        job->bytes = item->bytes;
        if (!lh_record_due(&job->record, now_ms, item->bytes))
            continue;
        item->record = job->recording = true;
        job->recording_ms = now_ms;
        job->recording_bytes = item->bytes;
    }
    send_call(w, k, call);
}

static void tell(struct simq_world *w, struct simq_worker *k, const struct lh_duty_step *step)
{
    struct simq_call *call = call_of(w, k, SIMQ_TELL);

    for (size_t i = 0; i < step->n; i++) {
        struct simq_job *job = job_of(step->tasks[i]);
        struct simq_item *item = add_item(call, job);

        w->stats->n_kept_outcomes += job->duty.told_before;
        item->outcome = job->duty.outcome;
        item->due_ms = job->duty.due_ms;
        item->failures = job->duty.failures;
        item->error = job->status;
        item->heard_done = job->heard_done;
        if (item->outcome != LH_OUTCOME_DONE && job->ledger) {
            write_map(item, job->recorded);
            item->record = true;
        }
    }
    send_call(w, k, call);
}

static uint64_t reap_until_ms(const struct simq_world *w, const struct simq_worker *k)
{
    uint64_t grace_ms = w->claim_ms / 3 < 1000 ? w->claim_ms / 3 : 1000;

    return k->redis_ms + (simq_ms(w) - k->heard_ms) + grace_ms;
}

static void take(struct simq_world *w, struct simq_worker *k, const struct lh_duty_step *step)
{
    struct simq_call *call = call_of(w, k, SIMQ_TAKE);

    call->n = step->n < SIMQ_JOBS ? step->n : SIMQ_JOBS;
    if (step->reap)
        call->reap_until_ms = reap_until_ms(w, k);
    send_call(w, k, call);
}

static void drop(struct simq_world *w, struct simq_worker *k, struct lh_duty_task *task)
{
    struct simq_job *job = job_of(task);

    if (task->sending)
        simq_broken(w, "worker %d drops a task that it still sends", index_of(w, k));
    simq_send_forget(w, job);
    job->used = false;
    job->gen++;
}

static void carry_out(struct simq_world *w, struct simq_worker *k, const struct lh_duty_step *step)
{
    struct simq_call *call;

    switch (step->what) {
    case LH_DUTY_START:
        simq_send_starts(w, k, job_of(step->task));
        break;
    case LH_DUTY_CANCEL:
        simq_send_ends(w, k, job_of(step->task), -LH_E_CANCELLED);
        break;
    case LH_DUTY_CONFIRM:
        simq_send_confirms(w, k, job_of(step->task), step->forget);
        break;
    case LH_DUTY_FINISH:
        tell(w, k, step);
        break;
    case LH_DUTY_TAKE:
        take(w, k, step);
        break;
    case LH_DUTY_WAIT:
        call = call_of(w, k, SIMQ_WAIT);
        call->block_ms = step->ms;
        send_call(w, k, call);
        break;
    case LH_DUTY_REPORT:
        report(w, k, step);
        break;
    default:
        drop(w, k, step->task);
        break;
    }
}

/* Ask the duty until it has nothing more to say. */
void simq_worker_turn(struct simq_world *w, struct simq_worker *k)
{
    struct simq_event wake = {.what = SIMQ_WAKE, .worker = index_of(w, k), .life = k->life};
    struct lh_duty_step step;
    uint64_t wake_ms;
    unsigned n = 0;

    for (;;) {
        lh_duty_next(&k->duty, simq_ms(w), &step);
        if (step.what == LH_DUTY_NOTHING)
            break;
        if (++n > 1000)
            simq_broken(w, "worker %d has ever more to do", index_of(w, k));
        carry_out(w, k, &step);
    }
    if (k->stopping && lh_duty_stopped(&k->duty, simq_ms(w))) {
        simq_worker_dies(w, index_of(w, k));
        return;
    }
    wake_ms = lh_duty_wake_ms(&k->duty, simq_ms(w));
    wake.number = ++k->wake_number;
    if (wake_ms <= simq_ms(w))
        wake_ms = simq_ms(w) + 1;
    if (wake_ms != UINT64_MAX)
        simq_after(w, (wake_ms - simq_ms(w)) * 1000, &wake);
}

/* ---- replies ---- */

static void taken(struct simq_world *w, struct simq_worker *k, const struct simq_item *item)
{
    struct simq_job *job = k->jobs;

    while (job < k->jobs + SIMQ_JOBS && job->used)
        job++;
    if (job == k->jobs + SIMQ_JOBS)
        simq_broken(w, "worker %d has more than %d tasks", index_of(w, k), SIMQ_JOBS);
    *job = (struct simq_job){.used = true,
                             .gen = job->gen + 1,
                             .task = item->task,
                             .incarnation = item->incarnation,
                             .claim = item->claim,
                             .bytes = item->bytes,
                             .session = -1};
    job->duty.host = item->task % 2 == 0 ? "a" : "b";
    job->duty.failures = item->failures;
    job->duty.retries = w->retries[item->task];
    simq_trace(w, "worker %d has task %d, claim %llu", index_of(w, k), item->task,
               (unsigned long long)item->claim);
    lh_duty_taken(&k->duty, &job->duty, simq_ms(w));
}

static void reported(struct simq_world *w, struct simq_worker *k, const struct simq_call *call)
{
    enum lh_duty_answer answers[SIMQ_JOBS];

    for (size_t i = 0; i < call->n_items; i++) {
        struct lh_duty_task *task = k->duty.reported[i];
        struct simq_job *job = task != NULL ? job_of(task) : NULL;

        answers[i] = call->items[i].answer;
        if (job == NULL || !job->recording)
            continue;
        job->recording = false;
        if (answers[i] == LH_DUTY_SAID_OK)
            lh_record_made(&job->record, job->recording_ms, job->recording_bytes);
    }
    lh_duty_reported(&k->duty, call->status, call->status == 0 ? answers : NULL, simq_ms(w));
}

static void told(struct simq_world *w, struct simq_worker *k, const struct simq_call *call)
{
    enum lh_duty_answer answers[SIMQ_JOBS];

    for (size_t i = 0; i < call->n_items; i++)
        answers[i] = call->items[i].answer;
    lh_duty_finished(&k->duty, call->status, call->status == 0 ? answers : NULL, simq_ms(w));
}

static void waited(struct simq_world *w, struct simq_worker *k, struct simq_call *call)
{
    struct simq_call *next;

    if (call->op == SIMQ_WAIT && call->status == 0 && call->n_items > 0 &&
        k->link == SIMQ_LINK_UP) {
        next = call_of(w, k, SIMQ_BEGIN);
        next->n_items = call->n_items;
        memcpy(next->items, call->items, sizeof(call->items));
        send_call(w, k, next);
        return;
    }
    for (size_t i = 0; call->op == SIMQ_BEGIN && i < call->n_items; i++)
        taken(w, k, &call->items[i]);
    lh_duty_waited(&k->duty, call->status, call->op == SIMQ_BEGIN ? call->n_items : 0, 0,
                   simq_ms(w));
}

static void greeted(struct simq_world *w, struct simq_worker *k, const struct simq_call *call)
{
    simq_trace(w, "worker %d has said hello", index_of(w, k));
    k->link = SIMQ_LINK_UP;
    k->attempt = 0;
    k->incarnation = call->incarnation;
    lh_duty_up(&k->duty, simq_ms(w));
}

/* These replies tell it. */
static void hear_clock(struct simq_world *w, struct simq_worker *k, const struct simq_call *call)
{
    if (call->op != SIMQ_HELLO && call->op != SIMQ_TAKE && call->op != SIMQ_BEGIN)
        return;
    if (call->op != SIMQ_HELLO && call->now_ms > reap_until_ms(w, k))
        lh_duty_jumped(&k->duty, simq_ms(w));
    k->redis_ms = call->now_ms;
    k->heard_ms = simq_ms(w);
}

static void replied(struct simq_world *w, struct simq_worker *k, struct simq_call *call)
{
    if (k->pending[call->op] != call->number)
        return; /* of a connection that is gone */
    k->pending[call->op] = 0;
    if (call->status == 0)
        hear_clock(w, k, call);
    switch (call->op) {
    case SIMQ_HELLO:
        greeted(w, k, call);
        break;
    case SIMQ_TAKE:
        for (size_t i = 0; i < call->n_items; i++)
            taken(w, k, &call->items[i]);
        lh_duty_took(&k->duty, call->status, call->n_items, call->soonest_ms, simq_ms(w));
        break;
    case SIMQ_REPORT:
        reported(w, k, call);
        break;
    case SIMQ_TELL:
        told(w, k, call);
        break;
    default:
        waited(w, k, call);
        break;
    }
    if (call->hello_again && k->link == SIMQ_LINK_UP) {
        lh_duty_down(&k->duty, simq_ms(w));
        say_hello(w, k);
    }
}

/* ---- the process ---- */

void simq_worker_starts(struct simq_world *w, int worker)
{
    struct simq_worker *k = &w->workers[worker];
    struct lh_duty_options opts = {.jobs = w->jobs,
                                   .jobs_per_host = w->jobs_per_host,
                                   .claim_ms = w->claim_ms,
                                   .seed = lh_rng_next(&w->rng)};

    if (k->alive)
        return;
    simq_trace(w, "worker %d starts", worker);
    k->alive = true;
    k->life++;
    k->troubled_at = w->now;
    k->attempt = 0;
    lh_duty_init(&k->duty, &opts, simq_ms(w));
    dial_redis(w, k);
}

void simq_worker_dies(struct simq_world *w, int worker)
{
    struct simq_worker *k = &w->workers[worker];
    struct simq_event start = {.what = SIMQ_WORKER_START, .worker = worker};
    struct simq_wait *wait = &w->redis.waits[worker];

    if (!k->alive)
        return;
    simq_trace(w, "worker %d is gone", worker);
    for (int i = 0; i < SIMQ_JOBS; i++) {
        if (!k->jobs[i].used)
            continue;
        simq_send_forget(w, &k->jobs[i]);
        k->jobs[i].used = false;
        k->jobs[i].gen++;
    }
    if (wait->waits && lh_rng_one_in(&w->rng, 2)) {
        free(wait->call); /* Redis sees it; else the line was cut as well */
        *wait = (struct simq_wait){.waits = false};
    }
    k->alive = k->stopping = false;
    k->sleeps_until = 0;
    k->life++;
    k->conn++;
    k->link = SIMQ_LINK_DOWN;
    memset(k->pending, 0, sizeof(k->pending));
    simq_after(w, simq_about(w, w->claim_ms * 1000), &start);
}

void simq_worker_stops(struct simq_world *w, int worker)
{
    struct simq_worker *k = &w->workers[worker];

    if (!k->alive || k->stopping)
        return;
    simq_trace(w, "worker %d is asked to end", worker);
    w->stats->n_stops++;
    k->stopping = true;
    lh_duty_stop(&k->duty, simq_ms(w));
    simq_worker_turn(w, k);
}

void simq_worker_gets(struct simq_world *w, struct simq_event *e)
{
    struct simq_worker *k = &w->workers[e->worker];

    switch (e->what) {
    case SIMQ_REPLY:
        if (e->call->conn == k->conn)
            replied(w, k, e->call);
        break;
    case SIMQ_REDIS_LOST:
        if (e->gen == k->conn && k->link != SIMQ_LINK_DOWN)
            simq_link_lost(w, k);
        break;
    case SIMQ_TIMEOUT:
        if (e->gen == k->conn && k->pending[e->status] == e->number)
            simq_link_lost(w, k);
        break;
    case SIMQ_CONNECT:
        if (e->gen == k->conn && k->link == SIMQ_LINK_DOWN)
            connect_redis(w, k);
        break;
    case SIMQ_WAKE:
        if (e->number != k->wake_number)
            return;
        break;
    default:
        simq_send_gets(w, k, e);
        break;
    }
    simq_worker_turn(w, k);
}
