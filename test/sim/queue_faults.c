/* What goes wrong in the simulator of the queue, until all is calm; and the one who orders, who may
 * change their mind. */
#include "test/sim/queue_world.h"

#include <string.h>

#define SECOND_US 1000000ull
#define FAULTS 32 /* of one seed, about */

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

void simq_next_fault(struct simq_world *w, const struct simq_event *e)
{
    simq_after(w, simq_about(w, w->faults_end / FAULTS), e);
}

void simq_fault(struct simq_world *w, struct simq_event *again)
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
    simq_next_fault(w, again);
}

/* ---- who orders ---- */

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

void simq_user(struct simq_world *w, struct simq_event *again)
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
