/* Random numbers of a seed: the same everywhere, so that a failing seed replays (SplitMix64). */
#ifndef LH_TEST_RNG_H
#define LH_TEST_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct lh_rng {
    uint64_t state;
};

static inline uint64_t lh_rng_next(struct lh_rng *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform enough over [0, n); n > 0. */
static inline uint64_t lh_rng_below(struct lh_rng *r, uint64_t n)
{
    return lh_rng_next(r) % n;
}

/* True once in n times. */
static inline bool lh_rng_one_in(struct lh_rng *r, uint64_t n)
{
    return lh_rng_below(r, n) == 0;
}

#endif
