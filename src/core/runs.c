/* A set of blocks as sorted, disjoint, non-touching runs in one array.
 *
 * Thread: whoever owns the set. Every change first makes sure of the memory it needs, so that a
 * failed one has changed nothing. */
#include "core/runs.h"

#include "util/err.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 8

void lh_runs_init(struct lh_runs *r, size_t max)
{
    *r = (struct lh_runs){.max = max};
}

void lh_runs_free(struct lh_runs *r)
{
    free(r->v);
    lh_runs_init(r, r->max);
}

void lh_runs_clear(struct lh_runs *r)
{
    r->n = 0;
    r->blocks = 0;
}

int lh_runs_reserve(struct lh_runs *r, size_t extra)
{
    size_t need = r->n + extra;
    size_t cap = r->cap ? r->cap : FIRST_CAP;
    struct lh_run *v;

    if (need > r->max)
        return -LH_E_LIMIT;
    if (need <= r->cap)
        return 0;
    while (cap < need)
        cap *= 2;
    if (cap > r->max)
        cap = r->max;
    v = realloc(r->v, cap * sizeof(*v));
    if (v == NULL)
        return -LH_E_NOMEM;
    r->v = v;
    r->cap = cap;
    return 0;
}

size_t lh_runs_find(const struct lh_runs *r, uint64_t block)
{
    size_t lo = 0;
    size_t hi = r->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (r->v[mid].end > block)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Put `with` (n_with of them) in the place of runs [i, j). Room has been reserved. */
static void splice(struct lh_runs *r, size_t i, size_t j, const struct lh_run *with, size_t n_with)
{
    if (j < r->n && i + n_with != j)
        memmove(r->v + i + n_with, r->v + j, (r->n - j) * sizeof(*r->v));
    for (size_t k = 0; k < n_with; k++)
        r->v[i + k] = with[k];
    r->n = r->n - (j - i) + n_with;
}

int lh_runs_add(struct lh_runs *r, uint64_t first, uint64_t end)
{
    struct lh_run run = {first, end};
    uint64_t had = 0;
    size_t i;
    size_t j;

    LH_REQUIRE(first <= end);
    if (first == end)
        return 0;
    /* Runs [i, j) overlap or touch the new one and melt into it. */
    i = first == 0 ? 0 : lh_runs_find(r, first - 1);
    for (j = i; j < r->n && r->v[j].first <= end; j++) {
        had += r->v[j].end - r->v[j].first;
        if (r->v[j].first < run.first)
            run.first = r->v[j].first;
        if (r->v[j].end > run.end)
            run.end = r->v[j].end;
    }
    if (i == j) {
        int rc = lh_runs_reserve(r, 1);

        if (rc < 0)
            return rc;
    }
    splice(r, i, j, &run, 1);
    r->blocks += run.end - run.first - had;
    return 0;
}

int lh_runs_sub(struct lh_runs *r, uint64_t first, uint64_t end)
{
    struct lh_run rest[2];
    size_t n_rest = 0;
    uint64_t had = 0;
    size_t i;
    size_t j;

    LH_REQUIRE(first <= end);
    if (first == end)
        return 0;
    i = lh_runs_find(r, first);
    for (j = i; j < r->n && r->v[j].first < end; j++)
        had += r->v[j].end - r->v[j].first;
    if (i == j)
        return 0;
    if (r->v[i].first < first)
        rest[n_rest++] = (struct lh_run){r->v[i].first, first};
    if (r->v[j - 1].end > end)
        rest[n_rest++] = (struct lh_run){end, r->v[j - 1].end};
    if (n_rest > j - i) {
        int rc = lh_runs_reserve(r, 1);

        if (rc < 0)
            return rc;
    }
    for (size_t k = 0; k < n_rest; k++)
        had -= rest[k].end - rest[k].first;
    splice(r, i, j, rest, n_rest);
    r->blocks -= had;
    return 0;
}

bool lh_runs_has(const struct lh_runs *r, uint64_t block)
{
    size_t i = lh_runs_find(r, block);

    return i < r->n && r->v[i].first <= block;
}

bool lh_runs_covers(const struct lh_runs *r, uint64_t first, uint64_t end)
{
    size_t i;

    if (first >= end)
        return true;
    i = lh_runs_find(r, first);
    return i < r->n && r->v[i].first <= first && r->v[i].end >= end;
}

bool lh_runs_overlaps(const struct lh_runs *r, uint64_t first, uint64_t end)
{
    size_t i;

    if (first >= end)
        return false;
    i = lh_runs_find(r, first);
    return i < r->n && r->v[i].first < end;
}

bool lh_runs_gap(const struct lh_runs *r, uint64_t from, uint64_t limit, uint64_t *first,
                 uint64_t *end)
{
    size_t i = lh_runs_find(r, from);

    if (i < r->n && r->v[i].first <= from)
        from = r->v[i++].end; /* runs do not touch: the gap begins right behind */
    if (from >= limit)
        return false;
    *first = from;
    *end = i < r->n && r->v[i].first < limit ? r->v[i].first : limit;
    return true;
}
