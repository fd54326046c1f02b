/* The receiver's ledger of one file; its states are drawn in ledger.h.
 *
 * Thread: any, under the owner's lock. What is not durable stays known to be bounded by
 * max_pending, and a claim reserves the memory that freeing it again may take (a block in the
 * middle of a run makes two of one): so `failed` and `lost`, which come when things go wrong
 * already, cannot fail. */
#include "core/ledger.h"

#include "util/err.h"
#include "util/mutant.h"

#include <stdlib.h>

#define FIRST_CAP 64

void lh_batch_free(struct lh_batch *b)
{
    free(b->v);
    *b = (struct lh_batch){0};
}

void lh_ledger_init(struct lh_ledger *l, uint64_t n_blocks, size_t max_pending)
{
    *l = (struct lh_ledger){.n_blocks = n_blocks, .max_pending = max_pending, .fenced = true};
    lh_runs_init(&l->durable, LH_RUNS_MAX);
    lh_runs_init(&l->taken, LH_RUNS_MAX + 2 * max_pending + 2);
}

void lh_ledger_free(struct lh_ledger *l)
{
    lh_runs_free(&l->taken);
    lh_runs_free(&l->durable);
    lh_batch_free(&l->pending);
}

int lh_ledger_restore(struct lh_ledger *l, uint64_t first, uint64_t end)
{
    int rc;

    if (first > end || end > l->n_blocks)
        return -LH_E_CORRUPT;
    rc = lh_runs_add(&l->durable, first, end);
    if (rc < 0)
        return rc;
    return lh_runs_add(&l->taken, first, end);
}

void lh_ledger_hold(struct lh_ledger *l, uint64_t epoch)
{
    LH_REQUIRE(l->fenced && epoch > l->epoch);
    LH_REQUIRE(l->n_writing == 0 && l->pending.n == 0 && l->n_syncing == 0);
    l->epoch = epoch;
    l->fenced = false;
    l->failed = false;
}

void lh_ledger_fence(struct lh_ledger *l)
{
    l->fenced = true;
}

static size_t undurable(const struct lh_ledger *l)
{
    return l->n_writing + l->pending.n + l->n_syncing;
}

enum lh_claim lh_ledger_claim(struct lh_ledger *l, uint64_t epoch, uint64_t block)
{
    if ((l->fenced || epoch != l->epoch) && !lh_mutant("ignore-epoch"))
        return LH_CLAIM_FENCED;
    if (block >= l->n_blocks)
        return LH_CLAIM_BOUNDS;
    if (lh_runs_has(&l->taken, block) && !lh_mutant("skip-claim"))
        return LH_CLAIM_DUPLICATE;
    if (undurable(l) >= l->max_pending)
        return LH_CLAIM_FULL;
    /* One run more for this block, and one more for each that may have to be freed again. */
    if (lh_runs_reserve(&l->taken, undurable(l) + 2) < 0)
        return LH_CLAIM_NOMEM;
    LH_INVARIANT(lh_runs_add(&l->taken, block, block + 1) == 0);
    l->n_writing++;
    return LH_CLAIM_OK;
}

/* Claimed and not durable becomes free. */
static void free_run(struct lh_ledger *l, uint64_t first, uint64_t end)
{
    LH_INVARIANT(lh_runs_sub(&l->taken, first, end) == 0);
}

static int batch_append(struct lh_batch *b, uint64_t block, const struct lh_hash *hash)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : FIRST_CAP;
        struct lh_block_hash *v = realloc(b->v, cap * sizeof(*v));

        if (v == NULL)
            return -LH_E_NOMEM;
        b->v = v;
        b->cap = cap;
    }
    b->v[b->n++] = (struct lh_block_hash){.block = block, .hash = *hash};
    return 0;
}

int lh_ledger_wrote(struct lh_ledger *l, uint64_t block, const struct lh_hash *hash)
{
    int rc;

    LH_REQUIRE(l->n_writing > 0 && lh_runs_has(&l->taken, block));
    l->n_writing--;
    rc = l->failed ? -LH_E_DEST : batch_append(&l->pending, block, hash);
    if (rc < 0)
        free_run(l, block, block + 1);
    return rc;
}

void lh_ledger_failed(struct lh_ledger *l, uint64_t block)
{
    LH_REQUIRE(l->n_writing > 0 && lh_runs_has(&l->taken, block));
    l->n_writing--;
    free_run(l, block, block + 1);
}

static int by_block(const void *a, const void *b)
{
    const struct lh_block_hash *x = a;
    const struct lh_block_hash *y = b;

    return (x->block > y->block) - (x->block < y->block);
}

bool lh_ledger_snapshot(struct lh_ledger *l, struct lh_batch *out)
{
    LH_REQUIRE(l->n_syncing == 0 && out->n == 0);
    if (l->pending.n == 0)
        return false;
    lh_batch_free(out);
    *out = l->pending;
    l->pending = (struct lh_batch){0};
    l->n_syncing = out->n;
    qsort(out->v, out->n, sizeof(*out->v), by_block);
    return true;
}

/* The run of consecutive blocks that begins at *at; moves *at behind it. */
static struct lh_run next_run(const struct lh_batch *b, size_t *at)
{
    struct lh_run run = {b->v[*at].block, b->v[*at].block + 1};

    for (++*at; *at < b->n && b->v[*at].block == run.end; ++*at)
        run.end++;
    return run;
}

int lh_ledger_synced(struct lh_ledger *l, const struct lh_batch *batch)
{
    size_t at = 0;

    LH_REQUIRE(l->n_syncing > 0 && l->n_syncing == batch->n);
    while (at < batch->n) {
        size_t before = at;
        struct lh_run run = next_run(batch, &at);
        int rc = lh_runs_add(&l->durable, run.first, run.end);

        if (rc < 0) {
            /* Back through states that all fitted, so this cannot fail. */
            for (size_t undo = 0; undo < before;) {
                run = next_run(batch, &undo);
                LH_INVARIANT(lh_runs_sub(&l->durable, run.first, run.end) == 0);
            }
            return rc;
        }
    }
    l->n_syncing = 0;
    return 0;
}

void lh_ledger_lost(struct lh_ledger *l, const struct lh_batch *batch)
{
    LH_REQUIRE(l->n_syncing == batch->n);
    l->fenced = true;
    l->failed = true;
    l->n_syncing = 0;
    for (size_t at = 0; at < batch->n;) {
        struct lh_run run = next_run(batch, &at);

        free_run(l, run.first, run.end);
    }
    for (size_t at = 0; at < l->pending.n;) {
        struct lh_run run = next_run(&l->pending, &at);

        free_run(l, run.first, run.end);
    }
    l->pending.n = 0;
}

int lh_ledger_retract(struct lh_ledger *l, uint64_t first, uint64_t end)
{
    size_t i = lh_runs_find(&l->durable, first);
    size_t n_cuts = 0;
    int rc;

    LH_REQUIRE(first <= end);
    for (size_t k = i; k < l->durable.n && l->durable.v[k].first < end; k++)
        n_cuts++;
    if (n_cuts == 0)
        return 0;
    rc = lh_runs_reserve(&l->taken, n_cuts + undurable(l));
    if (rc == 0 && n_cuts == 1) /* only then can one run become two */
        rc = lh_runs_reserve(&l->durable, 1);
    if (rc < 0)
        return rc;
    /* Only what is durable: others' claims in between stay theirs. */
    for (size_t k = i; k < i + n_cuts; k++) {
        uint64_t from = l->durable.v[k].first > first ? l->durable.v[k].first : first;
        uint64_t to = l->durable.v[k].end < end ? l->durable.v[k].end : end;

        free_run(l, from, to);
    }
    LH_INVARIANT(lh_runs_sub(&l->durable, first, end) == 0);
    return 0;
}
