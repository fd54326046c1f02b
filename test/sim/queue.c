/* Workers of a queue under thousands of seeds; what is simulated is told in queue_world.h,
 * what can be set in seeds.h. */
#include "test/lib/tap.h"
#include "test/sim/queue_world.h"
#include "test/sim/seeds.h"

#include <stdlib.h>

/* A simulator that meets no trouble proves nothing. */
static void check_met(void *arg)
{
    const struct simq_world *w = arg;
    const struct simq_stats *t = w->stats;
    const struct {
        const char *what;
        uint64_t n;
    } met[] = {{"kills of a worker", t->n_worker_kills},
               {"stopped workers that went on", t->n_sleeps},
               {"workers that were asked to end", t->n_stops},
               {"kills of the receiver", t->n_receiver_kills},
               {"kills of Redis", t->n_redis_kills},
               {"Redis that came back as it was before", t->n_rollbacks},
               {"emptied Redis", t->n_emptied},
               {"Redis that stood still", t->n_stands},
               {"slow Redis", t->n_slow},
               {"commands that Redis could not take", t->n_refusals},
               {"jumps of Redis's clock", t->n_jumps},
               {"lines to Redis that were cut", t->n_cuts},
               {"hellos said again", t->n_hello_again},
               {"lost sessions", t->n_sessions_lost},
               {"tasks taken from a silent worker", t->n_reaped},
               {"takes that came too late to take any from others", t->n_late_reaps},
               {"tasks lost to others", t->n_lost},
               {"tasks that Redis had forgotten", t->n_gone},
               {"records", t->n_records},
               {"fenced senders", t->n_fenced_runs},
               {"fenced blocks", t->n_fenced_blocks},
               {"busy answers", t->n_busy},
               {"takeovers", t->n_takeovers},
               {"resumed transfers", t->n_resumed},
               {"finished tasks", t->n_done},
               {"transfers that were done already", t->n_done_again},
               {"outcomes told a second time", t->n_kept_outcomes},
               {"dead tasks", t->n_dead},
               {"retries", t->n_retries},
               {"tasks put back", t->n_deferred},
               {"pauses asked of a worker", t->n_asked[LH_TASK_PAUSED]},
               {"such that were taken back", t->n_asked[LH_TASK_QUEUED]},
               {"cancellations asked of a worker", t->n_asked[LH_TASK_CANCELLED]},
               {"paused tasks", t->n_settled[LH_TASK_PAUSED]},
               {"cancelled tasks", t->n_settled[LH_TASK_CANCELLED]}};

    for (unsigned i = 0; i < sizeof(met) / sizeof(met[0]); i++)
        ok(met[i].n > 0, "the seeds met %llu %s", (unsigned long long)met[i].n, met[i].what);
}

static bool run(void *arg, uint64_t seed, struct seeds_end *end)
{
    struct simq_world *w = arg;
    bool held = simq_run(w, seed);

    *end = (struct seeds_end){.why = w->why, .now_us = w->now};
    return held;
}

static uint64_t n_events(void *arg)
{
    return ((const struct simq_world *)arg)->stats->n_events;
}

int main(void)
{
    struct simq_stats stats = {0};
    struct simq_world *w = calloc(1, sizeof(*w));
    struct seeds how = {
        .n = 6000, .world = w, .run = run, .n_events = n_events, .check_met = check_met};
    int code;

    if (w == NULL)
        bail("out of memory");
    w->stats = &stats;
    w->trace = seeds_tracing();
    code = seeds_run(&how);
    free(w);
    return code;
}
