/* Trees of many files under thousands of seeds; what is simulated is told in tree_world.h, what can
 * be set in seeds.h. */
#include "test/lib/tap.h"
#include "test/sim/seeds.h"
#include "test/sim/tree_world.h"

#include <sys/stat.h>

/* A simulator that meets no trouble proves nothing. */
static void check_met(void *arg)
{
    const struct tw_stats *t = ((const struct tw *)arg)->stats;
    const struct {
        const char *what;
        uint64_t n;
    } met[] = {{"power cuts", t->n_power_cuts},
               {"kills of the receiver", t->n_receiver_kills},
               {"ends between two system calls", t->n_kills_inside},
               {"kills of the sender", t->n_sender_kills},
               {"lost sessions", t->n_sessions_lost},
               {"lost streams", t->n_streams_lost},
               {"system calls that failed", t->n_faults},
               {"entries that failed", t->n_failed},
               {"runs in which some failed", t->n_partial},
               {"changes of the source", t->n_edits},
               {"entries that were settled", t->n_settled},
               {"entries that were kept", t->n_kept},
               {"entries that were removed", t->n_removed},
               {"names of files with several", t->n_links},
               {"big files", t->n_bigs},
               {"damaged packs", t->n_damaged},
               {"packs sent twice", t->n_doubles},
               {"times that the receiver did not read", t->n_paused},
               {"times that the sender had to wait", t->n_held},
               {"answers that a run is busy", t->n_busy},
               {"trees of thousands", t->n_wide},
               {"runs that were left in peace and did it", t->n_done}};

    for (unsigned i = 0; i < sizeof(met) / sizeof(met[0]); i++)
        ok(met[i].n > 0, "the seeds met %llu %s", (unsigned long long)met[i].n, met[i].what);
}

static bool run(void *arg, uint64_t seed, struct seeds_end *end)
{
    bool held = tw_run(seed);

    (void)arg;
    *end = (struct seeds_end){.why = tw.why, .now_us = tw.now};
    return held;
}

static uint64_t n_events(void *arg)
{
    return ((const struct tw *)arg)->stats->n_events;
}

int main(void)
{
    static struct tw_stats stats;
    struct seeds how = {
        .n = 1200, .world = &tw, .run = run, .n_events = n_events, .check_met = check_met};
    int code;

    umask(022);
    tw.stats = &stats;
    tw.trace = seeds_tracing();
    code = seeds_run(&how);
    tw_free();
    return code;
}
