/* Workers of a queue under thousands of seeds; what is simulated is told in queue_world.h.
 *
 * LH_SIM_SEEDS=N     how many seeds (6000)
 * LH_SIM_SEED=S      only this one
 * LH_SIM_TRACE=1     with what happens in it */
#include "test/lib/tap.h"
#include "test/sim/queue_world.h"

#include <stdlib.h>

#define SEEDS 6000
#define SHOWN 5 /* failing seeds; then it is clear enough */

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

/* A simulator that meets no trouble proves nothing. */
static void check_met(const struct simq_stats *t)
{
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

int main(void)
{
    uint64_t n_seeds = from_env("LH_SIM_SEEDS", SEEDS);
    uint64_t only = from_env("LH_SIM_SEED", 0);
    uint64_t n_failed = 0;
    struct simq_stats stats = {0};
    struct simq_world *w = calloc(1, sizeof(*w));

    if (w == NULL)
        bail("out of memory");
    w->stats = &stats;
    w->trace = from_env("LH_SIM_TRACE", 0) != 0;
    if (only != 0) {
        bool held = simq_run(w, only);

        ok(held, "seed %llu%s%s", (unsigned long long)only, held ? "" : ": ", w->why);
        free(w);
        return done_testing();
    }
    for (uint64_t seed = 1; seed <= n_seeds && n_failed < SHOWN; seed++) {
        if (simq_run(w, seed))
            continue;
        n_failed++;
        ok(false, "seed %llu at %.3f s: %s", (unsigned long long)seed, (double)w->now / 1e6,
           w->why);
        diag("replay: LH_SIM_SEED=%llu LH_SIM_TRACE=1", (unsigned long long)seed);
    }
    ok(n_failed == 0, "%llu seeds, %llu events", (unsigned long long)n_seeds,
       (unsigned long long)stats.n_events);
    if (n_failed == 0 && n_seeds >= 1000)
        check_met(&stats);
    free(w);
    return done_testing();
}
