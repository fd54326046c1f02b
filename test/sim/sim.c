/* Both sides' decisions under thousands of seeds; what is simulated is told in world.h,
 * what can be set in seeds.h. */
#include "test/lib/tap.h"
#include "test/sim/seeds.h"
#include "test/sim/world.h"

#include <stdlib.h>

/* A simulator that meets no trouble proves nothing. */
static void check_met(void *arg)
{
    const struct sim_world *w = arg;
    const struct sim_stats *t = w->stats;
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

static bool run(void *arg, uint64_t seed, struct seeds_end *end)
{
    struct sim_world *w = arg;
    bool held = sim_run(w, seed);

    *end = (struct seeds_end){.why = w->why, .now_us = w->now};
    return held;
}

static uint64_t n_events(void *arg)
{
    return ((const struct sim_world *)arg)->stats->n_events;
}

int main(void)
{
    struct sim_stats stats = {0};
    struct sim_world *w = calloc(1, sizeof(*w));
    struct seeds how = {
        .n = 5000, .world = w, .run = run, .n_events = n_events, .check_met = check_met};
    int code;

    if (w == NULL)
        bail("out of memory");
    w->stats = &stats;
    w->trace = seeds_tracing();
    code = seeds_run(&how);
    free(w);
    return code;
}
