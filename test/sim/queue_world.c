/* Clock and network of the simulator of the queue, and the run of one seed. */
#include "test/sim/queue_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 2000000
#define SECOND_US 1000000ull
#define PATIENCE_US (4000 * SECOND_US) /* after the faults, until it has to be over */

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
        simq_user(w, e);
        break;
    case SIMQ_FAULT:
        simq_fault(w, e);
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
        simq_next_fault(w, &trouble);
        steps(w);
    }
    free_all(w);
    return !w->failed;
}
