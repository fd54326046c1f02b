/* See ahead.h. */
#include "io/ahead.h"

#include "core/pace.h"
#include "io/sock.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BLOCKS 8u /* hashed in one job */
#define READY_MAX 64u   /* blocks hashed and not yet sent */
#define JOBS 2u         /* hashing jobs under way for one stream */
#define RANGES_MAX 8u   /* granted and not yet begun */

struct ready {
    uint64_t block;
    struct lh_hash hash;
};

struct prep {
    struct lh_job job;
    struct lh_ahead *ahead;
    bool busy;
    uint64_t first;
    unsigned n;
    struct lh_hash hashes[CHUNK_BLOCKS];
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
    struct prep preps[JOBS];
    unsigned n_preps;
    unsigned next_seq;
    unsigned take_seq;
    struct ready ready[READY_MAX];
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

void lh_ahead_free(struct lh_ahead *a)
{
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

/* ---- hashing ---- */

/* On a prep thread. */
static void prep_run(struct lh_job *job)
{
    struct prep *p = LH_CONTAINER_OF(job, struct prep, job);
    const struct lh_ahead_how *how = &p->ahead->how;
    struct lh_pool_buf *buf = lh_pool_get(how->pool, how->block_bytes);
    uint64_t start_us = lh_now_us();

    if (buf == NULL) {
        lh_err_set(&p->err, LH_E_NOMEM, "out of memory");
        return;
    }
    if (lh_source_hash_blocks(how->source, buf->base, how->block_bytes, p->first, p->n, p->hashes,
                              &p->err) == 0)
        lh_source_check(how->source, &p->err);
    lh_pool_put(how->pool, buf);
    atomic_fetch_add_explicit(how->hashing_us, lh_now_us() - start_us, memory_order_relaxed);
}

static void on_prep(struct lh_job *job)
{
    struct prep *p = LH_CONTAINER_OF(job, struct prep, job);

    p->ended = true;
    p->ahead->how.done(p->ahead->how.user, &p->err);
}

/* Hashed chunks, in the order they were asked for, become ready. */
static void take_chunks(struct lh_ahead *a)
{
    for (unsigned i = 0; i < JOBS; i++) {
        struct prep *p = &a->preps[i];

        if (!p->busy || !p->ended || p->seq != a->take_seq)
            continue;
        for (unsigned k = 0; k < p->n; k++) {
            struct ready *r = &a->ready[(a->ready_at + a->n_ready++) % READY_MAX];

            r->block = p->first + k;
            r->hash = p->hashes[k];
        }
        p->busy = false;
        a->n_preps--;
        a->take_seq++;
        i = (unsigned)-1; /* the other one may be next in order */
    }
}

static struct prep *idle_prep(struct lh_ahead *a)
{
    for (unsigned i = 0; i < JOBS; i++)
        if (!a->preps[i].busy)
            return &a->preps[i];
    return NULL;
}

static void prepare_more(struct lh_ahead *a, uint64_t rate_Bps)
{
    uint64_t ahead = lh_pace_ahead(rate_Bps) / a->how.block_bytes;
    struct prep *p;

    if (ahead > READY_MAX)
        ahead = READY_MAX;
    if (ahead < 2 * CHUNK_BLOCKS)
        ahead = 2 * CHUNK_BLOCKS;
    while (a->n_ranges > 0 && (p = idle_prep(a)) != NULL &&
           a->n_ready + (a->n_preps + 1) * CHUNK_BLOCKS <= ahead) {
        struct lh_run *range = &a->ranges[0];
        uint64_t n = range->end - range->first;

        memset(&p->err, 0, sizeof(p->err));
        p->ahead = a;
        p->busy = true;
        p->ended = false;
        p->first = range->first;
        p->n = n < CHUNK_BLOCKS ? (unsigned)n : CHUNK_BLOCKS;
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
    for (unsigned i = 0; i < JOBS; i++)
        if (a->preps[i].busy && !a->preps[i].ended)
            return true;
    return false;
}

/* ---- what is there ---- */

bool lh_ahead_next(struct lh_ahead *a, struct lh_ahead_block *out)
{
    const struct ready *r = &a->ready[a->ready_at];

    if (a->n_ready == 0)
        return false;
    a->ready_at = (a->ready_at + 1) % READY_MAX;
    a->n_ready--;
    out->block = r->block;
    out->hash = r->hash;
    out->dropped = lh_runs_has(&a->dropped, r->block);
    return true;
}

bool lh_ahead_ready(const struct lh_ahead *a)
{
    return a->n_ready > 0;
}

uint64_t lh_ahead_bytes(const struct lh_ahead *a)
{
    return (a->unprepared + a->n_ready + (uint64_t)a->n_preps * CHUNK_BLOCKS) * a->how.block_bytes;
}

bool lh_ahead_full(const struct lh_ahead *a)
{
    return a->n_ranges == RANGES_MAX;
}
