/* core/runs: against a plain bitmap by seed, at its limits, and short of memory. */
#include "core/runs.h"

#include "longhaul/status.h"
#include "test/lib/fault.h"
#include "test/lib/rng.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

#define BITS 200

static bool well_formed(const struct lh_runs *r)
{
    uint64_t blocks = 0;

    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].first >= r->v[i].end)
            return false;
        if (i > 0 && r->v[i - 1].end >= r->v[i].first)
            return false;
        blocks += r->v[i].end - r->v[i].first;
    }
    return blocks == r->blocks && r->n <= r->max && r->n <= r->cap;
}

static bool same_as(const struct lh_runs *r, const bool *bits)
{
    for (uint64_t b = 0; b < BITS; b++)
        if (lh_runs_has(r, b) != bits[b])
            return false;
    return true;
}

/* Every question about [a, b), answered by counting. */
static bool answers_agree(const struct lh_runs *r, const bool *bits, uint64_t a, uint64_t b)
{
    uint64_t in = 0;
    uint64_t gap_first = a;
    uint64_t gap_end;
    uint64_t first = 0;
    uint64_t end = 0;
    size_t i = lh_runs_find(r, a);

    for (uint64_t k = a; k < b; k++)
        in += bits[k];
    if (lh_runs_covers(r, a, b) != (in == b - a) || lh_runs_overlaps(r, a, b) != (in > 0))
        return false;
    while (gap_first < b && bits[gap_first])
        gap_first++;
    gap_end = gap_first;
    while (gap_end < b && !bits[gap_end])
        gap_end++;
    if (lh_runs_gap(r, a, b, &first, &end) != (gap_first < b))
        return false;
    if (gap_first < b && (first != gap_first || end != gap_end))
        return false;
    return (i == r->n || r->v[i].end > a) && (i == 0 || r->v[i - 1].end <= a);
}

static bool against_bitmap(uint64_t seed)
{
    struct lh_rng rng = {seed};
    struct lh_runs r;
    bool bits[BITS] = {false};
    bool good = true;

    lh_runs_init(&r, LH_RUNS_MAX);
    for (unsigned step = 0; good && step < 300; step++) {
        uint64_t a = lh_rng_below(&rng, BITS + 1);
        uint64_t most = lh_rng_one_in(&rng, 4) ? BITS : 8;
        uint64_t b = a + lh_rng_below(&rng, most);
        bool add = lh_rng_one_in(&rng, 2);

        if (b > BITS)
            b = BITS;
        if ((add ? lh_runs_add(&r, a, b) : lh_runs_sub(&r, a, b)) != 0)
            good = false;
        for (uint64_t k = a; k < b; k++)
            bits[k] = add;
        a = lh_rng_below(&rng, BITS);
        b = a + lh_rng_below(&rng, BITS + 1 - a);
        good = good && well_formed(&r) && same_as(&r, bits) && answers_agree(&r, bits, a, b);
        if (!good)
            diag("seed %llu, step %u", (unsigned long long)seed, step);
    }
    lh_runs_free(&r);
    return good;
}

static void test_edges(void)
{
    struct lh_runs r;
    uint64_t first;
    uint64_t end;

    lh_runs_init(&r, 16);
    ok(lh_runs_add(&r, 5, 5) == 0 && r.n == 0 && r.v == NULL, "an empty run adds nothing");
    ok(lh_runs_sub(&r, 0, UINT64_MAX) == 0 && r.n == 0, "nothing to take from an empty set");
    ok(lh_runs_covers(&r, 7, 7) && !lh_runs_overlaps(&r, 7, 7), "no block: all of it, none of it");
    ok(lh_runs_gap(&r, 3, 9, &first, &end) && first == 3 && end == 9, "an empty set is one gap");
    ok(!lh_runs_gap(&r, 9, 9, &first, &end), "no gap in nothing");
    lh_runs_add(&r, UINT64_MAX - 2, UINT64_MAX);
    lh_runs_add(&r, 0, 1);
    ok(lh_runs_has(&r, UINT64_MAX - 1) && !lh_runs_has(&r, UINT64_MAX - 3), "far end of the range");
    lh_runs_add(&r, 1, UINT64_MAX - 2);
    ok(r.n == 1 && r.blocks == UINT64_MAX, "the gap between two runs closes: one is left");
    lh_runs_clear(&r);
    ok(r.n == 0 && r.blocks == 0 && r.cap > 0, "clear keeps the memory");
    lh_runs_free(&r);
    ok(r.v == NULL && r.cap == 0 && r.max == 16, "free keeps the limit");
}

static void test_limit(void)
{
    struct lh_runs r;

    lh_runs_init(&r, 3);
    ok(lh_runs_add(&r, 0, 4) == 0 && lh_runs_add(&r, 10, 14) == 0 && lh_runs_add(&r, 20, 24) == 0,
       "as many runs as the limit says");
    is_i64(lh_runs_add(&r, 30, 31), -LH_E_LIMIT, "one more run is refused");
    is_i64(lh_runs_sub(&r, 1, 2), -LH_E_LIMIT, "so is cutting one in two");
    is_i64(lh_runs_reserve(&r, 1), -LH_E_LIMIT, "and a reservation beyond it");
    ok(well_formed(&r) && r.blocks == 12 && r.n == 3, "a refusal changes nothing");
    ok(lh_runs_add(&r, 4, 6) == 0 && lh_runs_sub(&r, 0, 2) == 0, "a run may still grow and shrink");
    ok(lh_runs_add(&r, 6, 10) == 0 && r.n == 2, "and melt with the next");
    ok(lh_runs_add(&r, 30, 31) == 0, "then there is room again");
    lh_runs_free(&r);
}

static void set_up(struct lh_runs *r)
{
    lh_runs_init(r, LH_RUNS_MAX);
    for (uint64_t i = 0; i < 8; i++) /* just full: the next one has to grow */
        lh_runs_add(r, i * 10, i * 10 + 5);
}

static void test_no_memory(void)
{
    struct lh_runs r;
    struct lh_run before[8];

    set_up(&r);
    is_u64(r.n, r.cap, "the array is full");
    memcpy(before, r.v, sizeof(before));
    lh_fault_arm(0);
    is_i64(lh_runs_add(&r, 200, 201), -LH_E_NOMEM, "add: out of memory");
    ok(lh_fault_disarm(), "the fault was met");
    lh_fault_arm(0);
    is_i64(lh_runs_sub(&r, 2, 3), -LH_E_NOMEM, "sub from the inside of a run: out of memory");
    ok(lh_fault_disarm(), "the fault was met");
    ok(r.n == 8 && r.blocks == 40, "nothing has changed");
    is_mem(r.v, before, sizeof(before), "no run has");
    is_i64(lh_runs_reserve(&r, 2), 0, "two more runs are reserved");
    lh_fault_arm(0);
    ok(lh_runs_add(&r, 200, 201) == 0 && lh_runs_sub(&r, 2, 3) == 0, "then both work");
    ok(!lh_fault_disarm(), "without allocating");
    ok(well_formed(&r) && r.n == 10 && r.blocks == 40, "and are right");
    lh_runs_free(&r);
}

int main(void)
{
    uint64_t bad = 0;

    for (uint64_t seed = 1; seed <= 300; seed++)
        bad += !against_bitmap(seed);
    is_u64(bad, 0, "300 seeds of 300 steps agree with a bitmap");
    test_edges();
    test_limit();
    test_no_memory();
    return done_testing();
}
