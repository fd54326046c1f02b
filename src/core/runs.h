/* A set of blocks kept as sorted, disjoint, non-touching runs.
 *
 * Its memory follows the number of holes, not the size of the file: that is what keeps ledgers
 * small. Not thread-safe; the owner locks. */
#ifndef LH_CORE_RUNS_H
#define LH_CORE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lh_run {
    uint64_t first;
    uint64_t end; /* behind the last block; end > first */
};

struct lh_runs {
    struct lh_run *v;
    size_t n;
    size_t cap;
    size_t max;      /* runs; more is -LH_E_LIMIT */
    uint64_t blocks; /* in the set */
};

#define LH_RUNS_MAX 65536

void lh_runs_init(struct lh_runs *r, size_t max);
void lh_runs_free(struct lh_runs *r);
void lh_runs_clear(struct lh_runs *r);

/* Union and difference with [first, end). Returns 0, -LH_E_NOMEM or -LH_E_LIMIT; then unchanged.
 * Taking away from the inside of a run can fail too: it makes two of one. */
int lh_runs_add(struct lh_runs *r, uint64_t first, uint64_t end);
int lh_runs_sub(struct lh_runs *r, uint64_t first, uint64_t end);

/* Make room for `extra` more runs, so that as many of those additions and differences that make one
 * run more cannot fail. Returns 0, -LH_E_NOMEM or -LH_E_LIMIT. */
int lh_runs_reserve(struct lh_runs *r, size_t extra);

bool lh_runs_has(const struct lh_runs *r, uint64_t block);
bool lh_runs_covers(const struct lh_runs *r, uint64_t first, uint64_t end);   /* all of it */
bool lh_runs_overlaps(const struct lh_runs *r, uint64_t first, uint64_t end); /* any of it */

/* Index of the first run that ends behind `block`; r->n when there is none. */
size_t lh_runs_find(const struct lh_runs *r, uint64_t block);

/* The first gap at or behind `from` and before `limit`: [*first, *end). False when there is none.
 */
bool lh_runs_gap(const struct lh_runs *r, uint64_t from, uint64_t limit, uint64_t *first,
                 uint64_t *end);

#endif
