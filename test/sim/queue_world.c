/* Clock, network and faults of the simulator of the queue, and the run of one seed. */
#include "test/sim/queue_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 2000000
#define SECOND_US 1000000ull
#define PATIENCE_US (4000 * SECOND_US) /* after the faults, until it has to be over */
#define FAULTS 32                      /* of one seed, about */

void simq_trace(struct simq_world *w, const char *fmt, ...)
{
    va_list ap;

    if (!w->trace)
        return;
    printf("# %11.3f ms  ", (double)w->now / 1000);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

void simq_broken(struct simq_world *w, const char *fmt, ...)
{
    va_list ap;

    w->failed = true;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof(w->why), fmt, ap);
    va_end(ap);
    simq_trace(w, "BROKEN: %s", w->why);
    longjmp(w->stop, 1);
}

uint64_t simq_fresh(struct simq_world *w)
{
    return lh_rng_next(&w->rng) | 1;
}

uint64_t simq_about(struct simq_world *w, uint64_t us)
{
    return us / 2 + lh_rng_below(&w->rng, us + 1);
}

/* ---- clock ---- */

static bool before(const struct simq_event *a, const struct simq_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct simq_world *w, uint64_t at, const struct simq_event *event)
{
    struct simq_event e = *event;
    unsigned i = w->n_events;

    e.at = at;
    e.order = w->order++;
    if (w->n_events == SIMQ_EVENTS)
        simq_broken(w, "more than %d events pending", SIMQ_EVENTS);
    w->n_events++;
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct simq_event pop(struct simq_world *w)
{
    struct simq_event top = w->heap[0];
    const struct simq_event *last = &w->heap[--w->n_events];
    unsigned i = 0;

    for (;;) {
        unsigned c = 2 * i + 1;

        if (c >= w->n_events)
            break;
        if (c + 1 < w->n_events && before(&w->heap[c + 1], &w->heap[c]))
            c++;
        if (!before(&w->heap[c], last))
            break;
        w->heap[i] = w->heap[c];
        i = c;
    }
    w->heap[i] = *last;
    return top;
}

void simq_after(struct simq_world *w, uint64_t delay_us, const struct simq_event *e)
{
    push(w, w->now + delay_us, e);
}

/* ---- network between workers and the receiver ---- */

static uint64_t arrival(struct simq_world *w, const struct simq_event *e, int way)
{
    struct simq_session *s = &w->sessions[e->session];
    uint64_t at = w->now + simq_about(w, w->net_us);

    if (!w->calm && lh_rng_one_in(&w->rng, 50))
        at += simq_about(w, w->net_us * 50);
    if (e->what == SIMQ_BLOCK)
        return at;
    if (at < s->ordered_at[way])
        at = s->ordered_at[way];
    s->ordered_at[way] = at;
    return at;
}

void simq_to_receiver(struct simq_world *w, const struct simq_event *e)
{
    push(w, arrival(w, e, 0), e);
}

void simq_to_sender(struct simq_world *w, const struct simq_event *e)
{
    push(w, arrival(w, e, 1), e);
}

/* From now on hardly anything that is sent arrives. Each end hears of it: soon, or when it misses
 * heartbeats. */
void simq_cut_session(struct simq_world *w, int session, bool noticed)
{
    struct simq_session *s = &w->sessions[session];
    uint64_t delay_us = noticed ? w->net_us : 15 * SECOND_US;
    struct simq_event e = {.session = session,
                           .worker = s->worker,
                           .life = s->life,
                           .job = s->job,
                           .gen = s->gen,
                           .task = s->task};

    if (!s->cut)
        s->silent_at = w->now;
    s->cut = true;
    if (s->open_s) {
        e.what = SIMQ_EOF_AT_SENDER;
        simq_after(w, simq_about(w, delay_us), &e);
    }
    if (s->open_r && (noticed || lh_rng_one_in(&w->rng, 2))) {
        e.what = SIMQ_EOF_AT_RECEIVER;
        simq_after(w, simq_about(w, noticed ? delay_us : 4 * delay_us), &e);
    }
}

/* ---- faults ---- */

static void sleep_worker(struct simq_world *w, int worker)
{
    struct simq_worker *k = &w->workers[worker];

    if (!k->alive || k->sleeps_until > 0)
        return;
    k->sleeps_since = w->now;
    k->sleeps_until = w->now + 100000 + lh_rng_below(&w->rng, 3 * w->claim_ms * 1000);
    if (k->troubled_at < k->sleeps_until)
        k->troubled_at = k->sleeps_until;
    w->stats->n_sleeps++;
    simq_trace(w, "worker %d is stopped until %.3f ms", worker, (double)k->sleeps_until / 1000);
}

static void kill_redis(struct simq_world *w, bool back)
{
    struct simq_redis *r = &w->redis;
    struct simq_event start = {.what = SIMQ_REDIS_START};

    if (!r->up)
        return;
    simq_trace(w, "Redis is killed%s", back ? ", and forgets the last moments" : "");
    simq_redis_dies(w);
    if (back && r->n_past > 0) {
        uint64_t kept = r->n_past < SIMQ_PAST ? r->n_past : SIMQ_PAST;

        w->stats->n_rollbacks++;
        r->db = r->past[(r->n_past - 1 - lh_rng_below(&w->rng, kept)) % SIMQ_PAST];
    } else {
        w->stats->n_redis_kills++;
    }
    simq_after(w, lh_rng_below(&w->rng, 2 * w->claim_ms * 1000), &start);
}

static void trouble_redis(struct simq_world *w, unsigned what)
{
    struct simq_redis *r = &w->redis;
    uint64_t span_us = lh_rng_below(&w->rng, 2 * w->claim_ms * 1000);

    switch (what) {
    case 0:
        kill_redis(w, false);
        break;
    case 1:
        kill_redis(w, true);
        break;
    case 2:
        simq_trace(w, "Redis is emptied");
        w->stats->n_emptied++;
        memset(&r->db, 0, sizeof(r->db));
        r->n_past = 0;
        break;
    case 3:
        simq_trace(w, "Redis stands still for %.3f ms", (double)span_us / 1000);
        w->stats->n_stands++;
        if (r->stands_until < w->now + span_us) /* it serves in the order of arrival */
            r->stands_until = w->now + span_us;
        break;
    case 4:
        r->slow_us = r->slow_us > 0 ? 0 : span_us / 4;
        w->stats->n_slow += r->slow_us > 0;
        simq_trace(w, "Redis takes %.3f ms longer", (double)r->slow_us / 1000);
        break;
    case 5:
        simq_trace(w, "the clock of Redis jumps ahead by %.3f ms", (double)span_us * 2 / 1000);
        w->stats->n_jumps++;
        r->clock_ahead_ms += span_us * 2 / 1000;
        break;
    default:
        simq_trace(w, "Redis takes no writes for %.3f ms", (double)span_us / 1000);
        r->refuses_until = w->now + span_us;
        break;
    }
}

static void cut_line(struct simq_world *w, int worker)
{
    struct simq_worker *k = &w->workers[worker];

    k->cut_until = w->now + lh_rng_below(&w->rng, 2 * w->claim_ms * 1000);
    if (k->troubled_at < k->cut_until)
        k->troubled_at = k->cut_until;
    w->stats->n_cuts++;
    simq_trace(w, "worker %d is cut off from Redis until %.3f ms", worker,
               (double)k->cut_until / 1000);
}

static void kill_receiver(struct simq_world *w)
{
    struct simq_event start = {.what = SIMQ_RECEIVER_START};

    if (w->receiver_life % 2 == 0)
        return;
    simq_trace(w, "the receiver is killed");
    w->stats->n_receiver_kills++;
    simq_receiver_dies(w);
    simq_after(w, simq_about(w, 3 * SECOND_US), &start);
}

static void calm_down(struct simq_world *w)
{
    simq_trace(w, "the faults are over");
    w->calm = true;
    w->redis.slow_us = 0;
    w->redis.refuses_until = 0;
}

static void fault(struct simq_world *w, struct simq_event *again)
{
    int worker = (int)lh_rng_below(&w->rng, SIMQ_WORKERS);

    if (w->now >= w->faults_end) {
        calm_down(w);
        return;
    }
    switch (lh_rng_below(&w->rng, 16)) {
    case 0:
        w->stats->n_worker_kills += w->workers[worker].alive;
        simq_worker_dies(w, worker);
        break;
    case 1:
    case 2:
    case 3:
        sleep_worker(w, worker);
        break;
    case 4:
        if (w->workers[worker].sleeps_until == 0)
            simq_worker_stops(w, worker);
        break;
    case 5:
        kill_receiver(w);
        break;
    case 6:
    case 7:
        cut_line(w, worker);
        break;
    case 8:
    case 9:
        if (w->n_sessions > 0)
            simq_cut_session(
                w, w->n_sessions - 1 - (int)lh_rng_below(&w->rng, w->n_sessions < 4 ? 1 : 4),
                lh_rng_one_in(&w->rng, 2));
        break;
    default:
        if (!lh_rng_one_in(&w->rng, 2))
            trouble_redis(w, (unsigned)lh_rng_below(&w->rng, 7));
        break;
    }
    simq_after(w, simq_about(w, w->faults_end / FAULTS), again);
}

static bool has_ended(const struct simq_task *t)
{
    return t->state == LH_TASK_DONE || t->state == LH_TASK_DEAD || t->state == LH_TASK_CANCELLED;
}

/* Some of what has ended is ordered anew, some of the rest is paused for a while, or cancelled. */
static void change_mind(struct simq_world *w, int task)
{
    struct simq_task *t = &w->redis.db.tasks[task];

    if (t->known && has_ended(t) && lh_rng_one_in(&w->rng, 2)) {
        t->known = false; /* its failures still count: Redis may come back to where it had them */
    } else if (lh_rng_one_in(&w->rng, 8)) {
        simq_redis_control(w, task, LH_TASK_PAUSED);
    } else if (lh_rng_one_in(&w->rng, 12)) {
        w->cancelled[task] = t->known;
        simq_redis_control(w, task, LH_TASK_CANCELLED);
    }
}

/* What Redis has forgotten is submitted again, what was paused is resumed. */
static void user(struct simq_world *w, struct simq_event *again)
{
    bool answers = w->redis.up && w->now >= w->redis.stands_until;

    for (unsigned i = 0; i < w->n_tasks && answers; i++) {
        if (w->calm || lh_rng_one_in(&w->rng, 2))
            simq_redis_control(w, (int)i, LH_TASK_QUEUED);
        if (!w->calm)
            change_mind(w, (int)i);
        simq_redis_submit(w, (int)i);
    }
    simq_after(w, simq_about(w, 10 * SECOND_US), again);
}

/* ---- one seed ---- */

static void draw(struct simq_world *w)
{
    struct lh_rng *r = &w->rng;
    static const uint64_t retries[] = {LH_TASK_FOREVER, 10, 3, 0};

    w->n_tasks = 1 + (unsigned)lh_rng_below(r, SIMQ_TASKS);
    w->n_blocks = 1 + (unsigned)lh_rng_below(r, SIMQ_BLOCKS);
    w->claim_ms = 2000 + lh_rng_below(r, 18000);
    w->jobs = 1 + (unsigned)lh_rng_below(r, 4);
    w->jobs_per_host = (unsigned)lh_rng_below(r, w->jobs + 1);
    w->net_us = 1000 + lh_rng_below(r, 50000);
    w->redis_us = 200 + lh_rng_below(r, 50000);
    w->send_us = 10000 + lh_rng_below(r, 2000000);
    w->disk_us = 1000 + lh_rng_below(r, 50000);
    w->commit_us = 100000 + lh_rng_below(r, 1000000);
    w->faults_end = lh_rng_below(r, 20) * w->claim_ms * 1000;
    w->redis.tells_run_id = !lh_rng_one_in(r, 4);
    w->redis.up = true;
    w->redis.life = 1;
    w->receiver_life = 1;
    for (unsigned i = 0; i < SIMQ_TASKS; i++) {
        w->retries[i] = retries[lh_rng_below(r, 4)];
        w->missing[i] = lh_rng_one_in(r, 12);
    }
}

static bool is_workers(enum simq_what what)
{
    return what >= SIMQ_ACCEPT && what <= SIMQ_SEND_ENDED;
}

/* To a process that is stopped nothing comes before it goes on; then all of it does. */
static void to_worker(struct simq_world *w, struct simq_event *e)
{
    struct simq_worker *k = &w->workers[e->worker];

    if (!k->alive || k->life != e->life)
        return;
    if (w->now < k->sleeps_until) {
        simq_after(w, k->sleeps_until - w->now, e);
        e->call = NULL;
        return;
    }
    k->sleeps_until = 0;
    if (e->what == SIMQ_REPLY && w->now < k->cut_until) {
        simq_after(w, k->cut_until - w->now, e);
        e->call = NULL;
        return;
    }
    if (e->what <= SIMQ_EOF_AT_SENDER) {
        struct simq_session *s = &w->sessions[e->session];

        if (!s->open_s || (e->what != SIMQ_EOF_AT_SENDER && s->cut && lh_rng_one_in(&w->rng, 2)))
            return;
    }
    simq_worker_gets(w, e);
}

static void to_receiver(struct simq_world *w, struct simq_event *e)
{
    const struct simq_session *s = &w->sessions[e->session];

    if (s->receiver_life != w->receiver_life || (!s->open_r && e->what != SIMQ_BLOCK))
        return;
    if (e->what != SIMQ_EOF_AT_RECEIVER && s->cut && lh_rng_one_in(&w->rng, 2))
        return;
    simq_receiver_gets(w, e);
}

static void handle(struct simq_world *w, struct simq_event *e)
{
    if (e->what <= SIMQ_EOF_AT_RECEIVER) {
        to_receiver(w, e);
        return;
    }
    if (is_workers(e->what)) {
        to_worker(w, e);
        return;
    }
    switch (e->what) {
    case SIMQ_COMMAND:
        simq_redis_gets(w, e);
        e->call = NULL;
        break;
    case SIMQ_WAIT_OVER:
        simq_redis_wait_over(w, e);
        break;
    case SIMQ_REDIS_START:
        simq_redis_starts(w);
        break;
    case SIMQ_REMEMBER:
        w->redis.past[w->redis.n_past++ % SIMQ_PAST] = w->redis.db;
        simq_after(w, simq_about(w, SECOND_US / 2), e);
        break;
    case SIMQ_WORKER_START:
        simq_worker_starts(w, e->worker);
        break;
    case SIMQ_RECEIVER_START:
        w->receiver_life += w->receiver_life % 2 == 0;
        break;
    case SIMQ_USER:
        user(w, e);
        break;
    case SIMQ_FAULT:
        fault(w, e);
        break;
    default:
        simq_receiver_step(w, e);
        break;
    }
}

static void steps(struct simq_world *w)
{
    while (!w->calm || !simq_check_over(w)) {
        struct simq_event e;

        if (w->n_events == 0)
            simq_broken(w, "nothing happens any more, and it is not done");
        e = pop(w);
        w->now = e.at;
        if (++w->stats->n_events, w->order > EVENTS_MAX || w->now > w->faults_end + PATIENCE_US)
            simq_broken(w, "it does not end");
        handle(w, &e);
        free(e.call);
    }
    simq_check_end(w);
}

static void free_all(struct simq_world *w)
{
    for (unsigned i = 0; i < w->n_events; i++)
        free(w->heap[i].call);
    for (int i = 0; i < SIMQ_WORKERS; i++) {
        free(w->redis.waits[i].call);
        for (int j = 0; j < SIMQ_JOBS; j++)
            if (w->workers[i].jobs[j].have_sched)
                lh_sched_free(&w->workers[i].jobs[j].sched);
    }
    for (int i = 0; i < SIMQ_TASKS; i++)
        simq_target_free(&w->targets[i]);
}

bool simq_run(struct simq_world *w, uint64_t seed)
{
    struct simq_stats *stats = w->stats;
    struct simq_event remember = {.what = SIMQ_REMEMBER};
    struct simq_event trouble = {.what = SIMQ_FAULT};
    struct simq_event orders = {.what = SIMQ_USER};
    struct simq_event start = {.what = SIMQ_WORKER_START};
    bool trace = w->trace;

    memset(w, 0, offsetof(struct simq_world, heap));
    w->stats = stats;
    w->trace = trace;
    w->rng.state = seed;
    draw(w);
    simq_trace(w, "claims last %d ms", (int)w->claim_ms);
    if (setjmp(w->stop) == 0) {
        for (int i = 0; i < SIMQ_WORKERS; i++) {
            start.worker = i;
            simq_after(w, simq_about(w, SECOND_US), &start);
        }
        simq_after(w, 0, &orders);
        simq_after(w, 0, &remember);
        simq_after(w, simq_about(w, w->faults_end / FAULTS), &trouble);
        steps(w);
    }
    free_all(w);
    return !w->failed;
}
