/* See ahead.h. */
#include "io/send/ahead.h"

#include "core/pace.h"
#include "core/runs.h"
#include "util/clock.h"

#include <stdlib.h>
#include <string.h>

#define RANGES_MAX 8u /* granted and not yet begun */

struct prep {
    struct lh_job job;
    struct lh_ahead *ahead;
    bool busy;
    uint64_t first;
    unsigned n;
    struct lh_ahead_block made[LH_AHEAD_CHUNK];
    struct lh_err err;
    unsigned seq; /* jobs end in any order; blocks go out in theirs */
    bool ended;
};

struct lh_ahead {
    struct lh_ahead_how how;
    struct lh_run ranges[RANGES_MAX];
    unsigned n_ranges;
    uint64_t unprepared;    /* blocks of the ranges above */
    struct lh_runs dropped; /* others send these: those that are not begun are left out */
    struct prep preps[LH_AHEAD_JOBS];
    unsigned n_preps;
    unsigned next_seq;
    unsigned take_seq;
    struct lh_ahead_block ready[LH_AHEAD_MAX];
    unsigned ready_at;
    unsigned n_ready;
};

struct lh_ahead *lh_ahead_new(const struct lh_ahead_how *how)
{
    struct lh_ahead *a = calloc(1, sizeof(*a));

    if (a == NULL)
        return NULL;
    a->how = *how;
    lh_runs_init(&a->dropped, LH_RUNS_MAX);
    return a;
}

static void give_back(struct lh_ahead *a, struct lh_ahead_block *b)
{
    if (b->buf != NULL)
        lh_pool_put(a->how.blocks->pool, b->buf);
    b->buf = NULL;
}

void lh_ahead_free(struct lh_ahead *a)
{
    for (unsigned i = 0; i < a->n_ready; i++)
        give_back(a, &a->ready[(a->ready_at + i) % LH_AHEAD_MAX]);
    for (unsigned i = 0; i < LH_AHEAD_JOBS; i++)
        for (unsigned k = 0; a->preps[i].busy && k < a->preps[i].n; k++)
            give_back(a, &a->preps[i].made[k]);
    lh_runs_free(&a->dropped);
    free(a);
}

void lh_ahead_add(struct lh_ahead *a, uint64_t first, uint64_t end)
{
    LH_INVARIANT(a->n_ranges < RANGES_MAX);
    if (lh_runs_sub(&a->dropped, first, end) != 0)
        lh_runs_clear(&a->dropped);
    a->ranges[a->n_ranges++] = (struct lh_run){first, end};
    a->unprepared += end - first;
}

void lh_ahead_drop(struct lh_ahead *a, uint64_t first, uint64_t end)
{
    lh_runs_add(&a->dropped, first, end); /* no memory: it is sent twice */
}

/* ---- making ---- */

/* On a prep thread. */
static void prep_run(struct lh_job *job)
{
    struct prep *p = LH_CONTAINER_OF(job, struct prep, job);
    const struct lh_ahead_how *how = &p->ahead->how;
    uint64_t start_us = lh_now_us();

    memset(p->made, 0, sizeof(p->made));
    for (unsigned i = 0; i < p->n; i++)
        p->made[i].block = p->first + i;
    (void)how->blocks->make(how->blocks, p->first, p->n, p->made, &p->err);
    atomic_fetch_add_explicit(how->hashing_us, lh_now_us() - start_us, memory_order_relaxed);
}

static void on_prep(struct lh_job *job)
{
    struct prep *p = LH_CONTAINER_OF(job, struct prep, job);

    p->ended = true;
    p->ahead->how.done(p->ahead->how.user, &p->err);
}

/* What has been made, in the order they were asked for, become ready. */
static void take_chunks(struct lh_ahead *a)
{
    for (unsigned i = 0; i < LH_AHEAD_JOBS; i++) {
        struct prep *p = &a->preps[i];

        if (!p->busy || !p->ended || p->seq != a->take_seq)
            continue;
        for (unsigned k = 0; k < p->n; k++)
            a->ready[(a->ready_at + a->n_ready++) % LH_AHEAD_MAX] = p->made[k];
        p->busy = false;
        a->n_preps--;
        a->take_seq++;
        i = (unsigned)-1; /* the other one may be next in order */
    }
}

static struct prep *idle_prep(struct lh_ahead *a)
{
    for (unsigned i = 0; i < LH_AHEAD_JOBS; i++)
        if (!a->preps[i].busy)
            return &a->preps[i];
    return NULL;
}

static void prepare_more(struct lh_ahead *a, uint64_t rate_Bps)
{
    const struct lh_ahead_blocks *blocks = a->how.blocks;
    uint64_t ahead = lh_pace_ahead(rate_Bps) / blocks->block_bytes;
    struct prep *p;

    if (ahead > blocks->most)
        ahead = blocks->most;
    if (ahead < 2 * blocks->chunk)
        ahead = 2 * blocks->chunk;
    while (a->n_ranges > 0 && (p = idle_prep(a)) != NULL &&
           a->n_ready + (a->n_preps + 1) * blocks->chunk <= ahead) {
        struct lh_run *range = &a->ranges[0];
        uint64_t n = range->end - range->first;

        memset(&p->err, 0, sizeof(p->err));
        p->ahead = a;
        p->busy = true;
        p->ended = false;
        p->first = range->first;
        p->n = n < blocks->chunk ? (unsigned)n : blocks->chunk;
        p->seq = a->next_seq++;
        range->first += p->n;
        a->unprepared -= p->n;
        if (range->first == range->end)
            memmove(range, range + 1, --a->n_ranges * sizeof(*range));
        a->n_preps++;
        lh_worker_submit(a->how.prep, &p->job, prep_run, on_prep, a->how.reply);
    }
}

void lh_ahead_prepare(struct lh_ahead *a, uint64_t rate_Bps)
{
    take_chunks(a);
    prepare_more(a, rate_Bps);
}

/* A job that has ended may still wait for one before it. */
bool lh_ahead_hashing(const struct lh_ahead *a)
{
    for (unsigned i = 0; i < LH_AHEAD_JOBS; i++)
        if (a->preps[i].busy && !a->preps[i].ended)
            return true;
    return false;
}

/* ---- what is there ---- */

bool lh_ahead_next(struct lh_ahead *a, struct lh_ahead_block *out)
{
    if (a->n_ready == 0)
        return false;
    *out = a->ready[a->ready_at];
    a->ready_at = (a->ready_at + 1) % LH_AHEAD_MAX;
    a->n_ready--;
    out->dropped = lh_runs_has(&a->dropped, out->block);
    return true;
}

bool lh_ahead_ready(const struct lh_ahead *a)
{
    return a->n_ready > 0;
}

uint64_t lh_ahead_bytes(const struct lh_ahead *a)
{
    const struct lh_ahead_blocks *blocks = a->how.blocks;

    return (a->unprepared + a->n_ready + (uint64_t)a->n_preps * blocks->chunk) *
           blocks->block_bytes;
}

bool lh_ahead_full(const struct lh_ahead *a)
{
    return a->n_ranges == RANGES_MAX;
}
