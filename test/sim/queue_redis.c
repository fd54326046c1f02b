/* Redis, and what the queue's scripts do in it (src/queue/lua). All tasks are of one priority. */
#include "test/sim/queue_world.h"

#include "longhaul/status.h"
#include "queue/map.h"
#include "util/mutant.h"

#include <stdlib.h>
#include <string.h>

static uint64_t clock_ms(const struct simq_world *w)
{
    return 1000000 + w->redis.clock_ahead_ms + w->now / 1000; /* nobody's but Redis's */
}

static void reply(struct simq_world *w, struct simq_call *call)
{
    struct simq_event e = {
        .what = SIMQ_REPLY, .worker = call->worker, .life = call->life, .call = call};

    call->now_ms = clock_ms(w);
    simq_after(w, simq_about(w, w->redis_us) + w->redis.slow_us, &e);
}

static void refuse(struct simq_world *w, struct simq_call *call, int status, bool hello_again)
{
    call->status = status;
    call->hello_again = hello_again;
    call->n_items = 0;
    reply(w, call);
}

static void serve_waits(struct simq_world *w);

/* ---- tasks ---- */

static void acknowledge(struct simq_task *t)
{
    t->entry = 0;
    t->pending = false;
}

static void requeue(struct simq_world *w, struct simq_task *t)
{
    t->state = t->want = LH_TASK_QUEUED;
    t->entry = ++w->redis.db.last_entry;
    t->pending = false;
    serve_waits(w);
}

/* A user's XADD, or submit. */
void simq_redis_submit(struct simq_world *w, int task)
{
    struct simq_task *t = &w->redis.db.tasks[task];

    if (t->known)
        return;
    *t = (struct simq_task){.known = true};
    requeue(w, t);
}

/* It is in no stream and with no worker any more. */
static void settle(struct simq_world *w, struct simq_task *t, enum lh_task_state state)
{
    w->stats->n_settled[state]++;
    simq_check_settled(w, (int)(t - w->redis.db.tasks), state);
    acknowledge(t);
    t->state = state;
    t->want = LH_TASK_QUEUED;
}

/* `task pause`, `cancel` or, with QUEUED, `resume`. */
void simq_redis_control(struct simq_world *w, int task, enum lh_task_state want)
{
    struct simq_task *t = &w->redis.db.tasks[task];

    if (!t->known || t->state == LH_TASK_DONE || t->state == LH_TASK_DEAD ||
        t->state == LH_TASK_CANCELLED)
        return;
    if (t->state == LH_TASK_ACTIVE) {
        if (want == LH_TASK_QUEUED && t->want == LH_TASK_CANCELLED)
            return;
        w->stats->n_asked[want] += t->want != want;
        t->want = want;
    } else if (want != LH_TASK_QUEUED) {
        settle(w, t, want);
    } else if (t->state == LH_TASK_PAUSED) {
        requeue(w, t);
    }
}

static void deliver(struct simq_world *w, struct simq_task *t, int consumer)
{
    t->pending = true;
    t->consumer = consumer;
    t->idle_at_ms = clock_ms(w);
}

/* The oldest entry that nobody was given. */
static struct simq_task *next_entry(struct simq_world *w)
{
    struct simq_task *oldest = NULL;

    for (unsigned i = 0; i < w->n_tasks; i++) {
        struct simq_task *t = &w->redis.db.tasks[i];

        if (t->known && t->entry != 0 && !t->pending &&
            (oldest == NULL || t->entry < oldest->entry))
            oldest = t;
    }
    return oldest;
}

static void begin(struct simq_world *w, struct simq_call *call, struct simq_task *t)
{
    struct simq_db *db = &w->redis.db;
    uint64_t now_us = clock_ms(w) * 1000 + w->now % 1000;
    struct simq_item *item;

    if (t->want != LH_TASK_QUEUED) {
        settle(w, t, t->want);
        return;
    }
    item = &call->items[call->n_items++];
    db->last_claim = db->last_claim + 1 > now_us ? db->last_claim + 1 : now_us;
    t->state = LH_TASK_ACTIVE;
    t->claim = db->last_claim;
    t->incarnation = db->incarnation;
    t->worker = call->worker;
    *item = (struct simq_item){.task = (int)(t - db->tasks),
                               .incarnation = db->incarnation,
                               .claim = t->claim,
                               .failures = t->failures,
                               .bytes = (uint64_t)__builtin_popcountll(t->map) * SIMQ_BLOCK_BYTES};
}

/* ---- scripts ---- */

static void hello(struct simq_world *w, struct simq_call *call)
{
    struct simq_redis *r = &w->redis;
    uint64_t run_id = r->tells_run_id ? r->life : 0;

    if (r->db.incarnation == 0 || (run_id != 0 && r->db.run_id != run_id)) {
        r->db.incarnation = call->incarnation;
        r->db.run_id = run_id;
    }
    call->incarnation = r->db.incarnation;
    reply(w, call);
}

static void sooner(struct simq_call *call, uint64_t ms)
{
    ms = ms > 0 ? ms : 1;
    if (call->soonest_ms == 0 || ms < call->soonest_ms)
        call->soonest_ms = ms;
}

static void reap(struct simq_world *w, struct simq_call *call)
{
    uint64_t suspicious_ms = w->claim_ms * 4 / 10;

    sooner(call, w->claim_ms - suspicious_ms);
    for (unsigned i = 0; i < w->n_tasks; i++) {
        struct simq_task *t = &w->redis.db.tasks[i];
        uint64_t idle_ms = clock_ms(w) - t->idle_at_ms;

        if (!t->known || t->entry == 0 || !t->pending || idle_ms < suspicious_ms)
            continue;
        if (idle_ms < w->claim_ms || call->n_items >= call->n) {
            sooner(call, idle_ms < w->claim_ms ? w->claim_ms - idle_ms : 1);
            continue;
        }
        w->stats->n_reaped++;
        simq_trace(w, "worker %d reaps task %u of worker %d", call->worker, i, t->consumer);
        simq_check_reaped(w, (int)i, call->worker);
        deliver(w, t, call->worker);
        begin(w, call, t);
    }
}

static void promote_due(struct simq_world *w, struct simq_call *call)
{
    for (unsigned i = 0; i < w->n_tasks; i++) {
        struct simq_task *t = &w->redis.db.tasks[i];

        if (!t->known || t->state != LH_TASK_DELAYED)
            continue;
        if (t->due_ms <= clock_ms(w))
            requeue(w, t);
        else
            sooner(call, t->due_ms - clock_ms(w));
    }
}

static void take(struct simq_world *w, struct simq_call *call)
{
    struct simq_task *t;

    call->soonest_ms = 0;
    if (call->reap_until_ms >= clock_ms(w))
        reap(w, call);
    else if (call->reap_until_ms > 0) {
        w->stats->n_late_reaps++;
        sooner(call, 1);
    }
    promote_due(w, call);
    while (call->n_items < call->n && (t = next_entry(w)) != NULL) {
        deliver(w, t, call->worker);
        begin(w, call, t);
    }
    reply(w, call);
}

/* Entries that a blocking read has brought. */
static void begin_delivered(struct simq_world *w, struct simq_call *call)
{
    size_t n = call->n_items;

    call->n_items = 0;
    for (size_t i = 0; i < n; i++) {
        struct simq_item item = call->items[i];
        struct simq_task *t = &w->redis.db.tasks[item.task];

        if (t->known && t->entry == item.entry && t->pending && t->consumer == call->worker) {
            deliver(w, t, call->worker);
            begin(w, call, t);
        }
    }
    reply(w, call);
}

static enum lh_duty_answer whose(const struct simq_task *t, const struct simq_item *item)
{
    if (!t->known)
        return LH_DUTY_SAID_GONE;
    return t->state == LH_TASK_ACTIVE && t->incarnation == item->incarnation &&
                   t->claim == item->claim
               ? LH_DUTY_SAID_OK
               : LH_DUTY_SAID_LOST;
}

static uint64_t mask_of_map(struct simq_world *w, const char *text)
{
    struct lh_range ranges[SIMQ_BLOCKS];
    int n = lh_map_read(text, strlen(text), ranges, SIMQ_BLOCKS);
    uint64_t mask = 0;

    if (n < 0)
        simq_broken(w, "a map that nobody can read: %s", text);
    for (int i = 0; i < n; i++)
        mask |= simq_bit((ranges[i].offset + ranges[i].length) / SIMQ_BLOCK_BYTES) -
                simq_bit(ranges[i].offset / SIMQ_BLOCK_BYTES);
    return mask;
}

static void report(struct simq_world *w, struct simq_call *call)
{
    for (size_t i = 0; i < call->n_items; i++) {
        struct simq_item *item = &call->items[i];
        struct simq_task *t = &w->redis.db.tasks[item->task];

        item->answer = whose(t, item);
        if (lh_mutant("refresh-without-asking") && item->answer == LH_DUTY_SAID_LOST)
            item->answer = LH_DUTY_SAID_OK;
        w->stats->n_lost += item->answer == LH_DUTY_SAID_LOST;
        w->stats->n_gone += item->answer == LH_DUTY_SAID_GONE;
        if (item->answer != LH_DUTY_SAID_OK)
            continue;
        if (t->entry != 0) /* XCLAIM, whoever has it */
            deliver(w, t, call->worker);
        simq_check_reported(w, item);
        if (item->record) {
            t->map = mask_of_map(w, item->map);
            w->stats->n_records++;
            simq_check_record(w, item, t->map);
        }
        if (t->want != LH_TASK_QUEUED)
            item->answer = t->want == LH_TASK_PAUSED ? LH_DUTY_SAID_PAUSED : LH_DUTY_SAID_CANCELLED;
    }
    reply(w, call);
}

/* Put back or tried again at its time; what somebody asked for meanwhile comes first. */
static void again(struct simq_world *w, struct simq_task *t, uint64_t due_ms)
{
    if (t->want != LH_TASK_QUEUED) {
        settle(w, t, t->want);
    } else if (due_ms == 0) {
        requeue(w, t);
    } else {
        t->state = LH_TASK_DELAYED;
        t->due_ms = clock_ms(w) + due_ms;
    }
}

static void take_outcome(struct simq_world *w, struct simq_task *t, const struct simq_item *item)
{
    struct simq_stats *stats = w->stats;

    switch (item->outcome) {
    case LH_OUTCOME_DONE:
        stats->n_done++;
        settle(w, t, LH_TASK_DONE);
        break;
    case LH_OUTCOME_DEAD:
        stats->n_dead++;
        t->failures = item->failures;
        settle(w, t, t->want == LH_TASK_CANCELLED ? LH_TASK_CANCELLED : LH_TASK_DEAD);
        break;
    case LH_OUTCOME_RETRY:
        stats->n_retries++;
        t->failures = item->failures;
        again(w, t, item->due_ms);
        break;
    case LH_OUTCOME_DEFERRED:
        stats->n_deferred++;
        again(w, t, item->due_ms);
        break;
    case LH_OUTCOME_PAUSED:
        if (t->want == LH_TASK_PAUSED)
            settle(w, t, LH_TASK_PAUSED);
        else
            again(w, t, 0); /* somebody has thought better of it */
        break;
    default:
        settle(w, t, LH_TASK_CANCELLED);
        break;
    }
}

static void tell(struct simq_world *w, struct simq_call *call)
{
    for (size_t i = 0; i < call->n_items; i++) {
        struct simq_item *item = &call->items[i];
        struct simq_task *t = &w->redis.db.tasks[item->task];

        item->answer = whose(t, item);
        if (item->answer != LH_DUTY_SAID_OK)
            continue;
        simq_check_told(w, item);
        acknowledge(t);
        if (item->record) {
            t->map = mask_of_map(w, item->map);
            simq_check_record(w, item, t->map);
        }
        t->error = item->error;
        take_outcome(w, t, item);
    }
    reply(w, call);
}

/* ---- waits ---- */

static void serve_waits(struct simq_world *w)
{
    for (int i = 0; i < SIMQ_WORKERS; i++) {
        struct simq_wait *wait = &w->redis.waits[i];
        struct simq_task *t;

        if (!wait->waits || (t = next_entry(w)) == NULL)
            continue;
        deliver(w, t, i);
        wait->call->items[0] =
            (struct simq_item){.task = (int)(t - w->redis.db.tasks), .entry = t->entry};
        wait->call->n_items = 1;
        wait->waits = false;
        reply(w, wait->call);
        wait->call = NULL;
    }
}

static void wait_for_entry(struct simq_world *w, struct simq_call *call)
{
    struct simq_wait *wait = &w->redis.waits[call->worker];
    struct simq_event over = {
        .what = SIMQ_WAIT_OVER, .worker = call->worker, .number = call->number};

    free(wait->call); /* of a connection that is gone */
    wait->waits = true;
    wait->call = call;
    simq_after(w, call->block_ms * 1000, &over);
    serve_waits(w);
}

void simq_redis_wait_over(struct simq_world *w, const struct simq_event *e)
{
    struct simq_wait *wait = &w->redis.waits[e->worker];

    if (!wait->waits || wait->call->number != e->number)
        return;
    if (w->now < w->redis.stands_until) {
        simq_after(w, w->redis.stands_until - w->now, e);
        return;
    }
    wait->waits = false;
    wait->call->n_items = 0;
    reply(w, wait->call);
    wait->call = NULL;
}

/* ---- the process ---- */

void simq_redis_gets(struct simq_world *w, struct simq_event *e)
{
    struct simq_call *call = e->call;
    struct simq_redis *r = &w->redis;

    if (!r->up || e->gen != r->life) { /* it died with that one's sockets */
        free(call);
        return;
    }
    if (w->now < r->stands_until) {
        simq_after(w, r->stands_until - w->now, e);
        return;
    }
    if (call->op != SIMQ_HELLO && call->op != SIMQ_WAIT && w->now < r->refuses_until) {
        w->stats->n_refusals++;
        refuse(w, call, -LH_E_BUSY, false);
        return;
    }
    if ((call->op == SIMQ_TAKE || call->op == SIMQ_BEGIN) &&
        call->incarnation != r->db.incarnation) {
        w->stats->n_hello_again++;
        refuse(w, call, -LH_E_BUSY, true);
        return;
    }
    switch (call->op) {
    case SIMQ_HELLO:
        hello(w, call);
        break;
    case SIMQ_TAKE:
        take(w, call);
        break;
    case SIMQ_WAIT:
        wait_for_entry(w, call);
        break;
    case SIMQ_BEGIN:
        begin_delivered(w, call);
        break;
    case SIMQ_REPORT:
        report(w, call);
        break;
    default:
        tell(w, call);
        break;
    }
    simq_check_streams(w);
}

void simq_redis_dies(struct simq_world *w)
{
    struct simq_event lost = {.what = SIMQ_REDIS_LOST};

    w->redis.up = false;
    w->redis.stands_until = 0;
    for (int i = 0; i < SIMQ_WORKERS; i++) {
        free(w->redis.waits[i].call);
        w->redis.waits[i] = (struct simq_wait){.waits = false};
        if (!w->workers[i].alive)
            continue;
        lost.worker = i;
        lost.life = w->workers[i].life;
        lost.gen = w->workers[i].conn;
        simq_after(w, simq_about(w, w->redis_us), &lost);
    }
}

void simq_redis_starts(struct simq_world *w)
{
    if (w->redis.up)
        return;
    simq_trace(w, "Redis starts");
    w->redis.up = true;
    w->redis.life++;
}
