/* See seeds.h. */
#include "test/sim/seeds.h"

#include "test/lib/tap.h"

#include <stdlib.h>

#define SHOWN 5     /* failing seeds; then it is clear enough */
#define MEANT 1000u /* fewer may well not meet everything */

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

bool seeds_tracing(void)
{
    return from_env("LH_SIM_TRACE", 0) != 0;
}

int seeds_run(const struct seeds *how)
{
    uint64_t n_seeds = from_env("LH_SIM_SEEDS", how->n);
    uint64_t only = from_env("LH_SIM_SEED", 0);
    uint64_t n_failed = 0;
    struct seeds_end end;

    if (only != 0) {
        bool held = how->run(how->world, only, &end);

        ok(held, "seed %llu%s%s", (unsigned long long)only, held ? "" : ": ", held ? "" : end.why);
        return done_testing();
    }
    for (uint64_t seed = 1; seed <= n_seeds && n_failed < SHOWN; seed++) {
        if (how->run(how->world, seed, &end))
            continue;
        n_failed++;
        ok(false, "seed %llu at %.3f s: %s", (unsigned long long)seed, (double)end.now_us / 1e6,
           end.why);
        diag("replay: LH_SIM_SEED=%llu LH_SIM_TRACE=1", (unsigned long long)seed);
    }
    ok(n_failed == 0, "%llu seeds, %llu events", (unsigned long long)n_seeds,
       (unsigned long long)how->n_events(how->world));
    if (n_failed == 0 && n_seeds >= MEANT)
        how->check_met(how->world);
    return done_testing();
}
