/* Both sides' decisions under thousands of seeds; what is simulated is told in world.h.
 *
 * LH_SIM_SEEDS=N     how many seeds (5000)
 * LH_SIM_SEED=S      only this one
 * LH_SIM_TRACE=1     with what happens in it */
#include "test/lib/tap.h"
#include "test/sim/world.h"

#include <stdlib.h>

#define SEEDS 5000
#define SHOWN 5 /* failing seeds; then it is clear enough */

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

/* A simulator that meets no trouble proves nothing. */
static void check_met(const struct sim_stats *t)
{
    const struct {
        const char *what;
        uint64_t n;
    } met[] = {{"power cuts", t->n_power_cuts},
               {"kills of the receiver", t->n_receiver_kills},
               {"kills of a sender", t->n_sender_kills},
               {"ends between two operations of the disk", t->n_stopped},
               {"takeovers", t->n_takeovers},
               {"busy answers", t->n_busy},
               {"fenced senders", t->n_fenced_runs},
               {"fenced blocks", t->n_fenced_blocks},
               {"damaged blocks", t->n_again},
               {"duplicate blocks", t->n_duplicates},
               {"blocks of slow streams sent twice", t->n_repeated[LH_TAIL_SLOW]},
               {"blocks of hanging streams sent twice", t->n_repeated[LH_TAIL_HANGS]},
               {"streams that hung with nobody to help", t->n_hopeless},
               {"claims that had to wait for a commit", t->n_full},
               {"retracted blocks", t->n_retracted},
               {"sources that changed on the way", t->n_restarts},
               {"resumed ledgers", t->n_resumed},
               {"failed syncs", t->n_failed_syncs},
               {"lost streams", t->n_streams_lost},
               {"lost sessions", t->n_sessions_lost},
               {"finished transfers", t->n_finished},
               {"transfers that were done already", t->n_done_again},
               {"torn journals", t->n_torn}};

    for (unsigned i = 0; i < sizeof(met) / sizeof(met[0]); i++)
        ok(met[i].n > 0, "the seeds met %llu %s", (unsigned long long)met[i].n, met[i].what);
}

int main(void)
{
    uint64_t n_seeds = from_env("LH_SIM_SEEDS", SEEDS);
    uint64_t only = from_env("LH_SIM_SEED", 0);
    uint64_t n_failed = 0;
    struct sim_stats stats = {0};
    struct sim_world *w = calloc(1, sizeof(*w));

    if (w == NULL)
        bail("out of memory");
    w->stats = &stats;
    w->trace = from_env("LH_SIM_TRACE", 0) != 0;
    if (only != 0) {
        bool held = sim_run(w, only);

        ok(held, "seed %llu%s%s", (unsigned long long)only, held ? "" : ": ", w->why);
        free(w);
        return done_testing();
    }
    for (uint64_t seed = 1; seed <= n_seeds && n_failed < SHOWN; seed++) {
        if (sim_run(w, seed))
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
