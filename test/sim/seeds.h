/* A simulation under many seeds: which, what is shown of those that fail, how one is played again.
 *
 * LH_SIM_SEEDS=N     how many seeds
 * LH_SIM_SEED=S      only this one
 * LH_SIM_TRACE=1     with what happens in it */
#ifndef LH_TEST_SIM_SEEDS_H
#define LH_TEST_SIM_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

struct seeds_end {
    const char *why; /* when it failed */
    uint64_t now_us; /* of the simulation's clock */
};

struct seeds {
    uint64_t n;  /* unless LH_SIM_SEEDS says otherwise */
    void *world; /* the simulation's own */
    bool (*run)(void *world, uint64_t seed, struct seeds_end *end); /* whether all held */
    uint64_t (*n_events)(void *world);                              /* of all seeds so far */
    void (*check_met)(void *world); /* that many seeds met what they are for */
};

bool seeds_tracing(void);

/* The rest of main: returns what it returns. */
int seeds_run(const struct seeds *how);

#endif
