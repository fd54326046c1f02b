/* Writing and committing a sink; the contract is in sink.h. Opening is in sink_open.c, holes are in
 * sink_holes.c, the end in sink_finish.c.
 *
 * The order that everything rests on: claim -> pwrite -> [wrote] -> snapshot -> fdatasync of the
 * data -> journal -> fdatasync of the journal -> durable. The snapshot is taken before the sync
 * begins, so a write that ends during the sync waits for the next one.
 *
 * Failures: the first one is kept in `why` and answers everything that comes later. */
#include "io/disk/sink_impl.h"

#include "core/sched.h"
#include "util/mutant.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* tmpfs keeps writers out while it allocates: 40 ms there, next to nothing elsewhere. */
#define SLICE_BYTES (64ull * 1024 * 1024)

/* The caller holds the lock. */
static void fail_locked(struct lh_sink *s, const struct lh_err *why)
{
    if (s->why.status == 0)
        s->why = *why;
}

int lh_sink_fail(struct lh_sink *s, const struct lh_err *why, struct lh_err *err)
{
    pthread_mutex_lock(&s->lock);
    fail_locked(s, why);
    pthread_mutex_unlock(&s->lock);
    if (err != NULL)
        *err = *why;
    return -why->status;
}

int lh_sink_fail_sys(struct lh_sink *s, int e, const char *what, struct lh_err *err)
{
    struct lh_err why;

    lh_err_sys(&why, lh_status_of_write_errno(e), e, "%s: cannot %s", s->shown, what);
    return lh_sink_fail(s, &why, err);
}

int lh_sink_failed_locked(const struct lh_sink *s, struct lh_err *err)
{
    if (s->why.status != 0 && err != NULL)
        *err = s->why;
    return -s->why.status;
}

int lh_sink_failed(struct lh_sink *s, struct lh_err *err)
{
    int r;

    pthread_mutex_lock(&s->lock);
    r = lh_sink_failed_locked(s, err);
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* The write of a claimed block has ended with `e`. The caller holds the lock. */
static int write_ended(struct lh_sink *s, uint64_t block, const struct lh_hash *hash, int e,
                       struct lh_err *err)
{
    struct lh_err why;
    int r;

    if (e == 0) {
        r = lh_ledger_wrote(&s->ledger, block, hash);
        if (r == 0)
            return 0;
        lh_err_set(&why, -r, "%s: a block was lost: %s", s->shown, lh_status_text(r));
    } else {
        lh_ledger_failed(&s->ledger, block);
        lh_err_sys(&why, lh_status_of_write_errno(e), e, "%s: cannot write", s->shown);
    }
    fail_locked(s, &why); /* keeps what failed first: that is the reason for what follows */
    return lh_sink_failed_locked(s, err);
}

/* The next part of the file that gets space. False: all of it has. */
static bool next_slice(const struct lh_sink *s, uint64_t *offset, uint64_t *length)
{
    uint64_t end = s->source.size;

    if (s->sparse)
        return false;
    *offset = s->allocated;
    if (s->has_holes) {
        size_t i = lh_runs_find(&s->data, s->allocated / s->block_bytes);

        if (i == s->data.n)
            return false;
        if (s->data.v[i].first * s->block_bytes > *offset)
            *offset = s->data.v[i].first * s->block_bytes;
        if (s->data.v[i].end < s->n_blocks)
            end = s->data.v[i].end * s->block_bytes;
    }
    *length = end - *offset < SLICE_BYTES ? end - *offset : SLICE_BYTES;
    return *offset < end;
}

int lh_sink_preallocate(struct lh_sink *s, struct lh_err *err)
{
    uint64_t offset, length;
    int e;

    if (!next_slice(s, &offset, &length))
        return 0;
    e = lh_staging_allocate(s->fd, offset, length);
    if (e != 0) {
        char text[32];

        return lh_err_sys(err, lh_status_of_write_errno(e), e, "%s: cannot take %s of space",
                          s->shown, lh_text_bytes(text, sizeof(text), s->source.size - offset));
    }
    s->allocated = offset + length;
    return next_slice(s, &offset, &length);
}

/* Zeros at a claimed block. blank: nothing was ever written there, and it reads as zeros. Returns 0
 * or an errno. */
static int write_zeros(struct lh_sink *s, uint32_t len, uint64_t offset, bool blank)
{
    void *zeros;
    int e;

    if (blank || lh_mutant("skip-punch") || lh_staging_punch(s->fd, offset, len) == 0)
        return 0;
    zeros = calloc(1, len); /* a file system without holes */
    if (zeros == NULL)
        return ENOMEM;
    e = lh_disk_write(s->fd, zeros, len, offset);
    free(zeros);
    return e;
}

int lh_sink_write(struct lh_sink *s, uint64_t epoch, uint64_t offset, const void *data,
                  uint32_t len, const struct lh_hash *hash, bool *commit_soon, struct lh_err *err)
{
    uint64_t block = offset / s->block_bytes;
    enum lh_claim claim;
    bool blank;
    int e;
    int r;

    if (offset % s->block_bytes != 0 || block >= s->n_blocks ||
        len != lh_block_length(s->source.size, s->block_bytes, block))
        return LH_CLAIM_BOUNDS;
    pthread_mutex_lock(&s->lock);
    r = lh_sink_failed_locked(s, err);
    claim = r == 0 ? lh_ledger_claim(&s->ledger, epoch, block) : LH_CLAIM_FENCED;
    blank = s->new_made && !s->retracted;
    pthread_mutex_unlock(&s->lock);
    if (r != 0)
        return r;
    if (claim == LH_CLAIM_NOMEM) {
        struct lh_err why;

        lh_err_set(&why, LH_E_NOMEM, "%s: too many holes, or out of memory", s->shown);
        return lh_sink_fail(s, &why, err);
    }
    if (claim != LH_CLAIM_OK)
        return (int)claim;
    e = data != NULL ? lh_disk_write(s->fd, data, len, offset) : write_zeros(s, len, offset, blank);
    pthread_mutex_lock(&s->lock);
    r = write_ended(s, block, hash, e, err);
    if (r == 0)
        *commit_soon = lh_ledger_all_taken(&s->ledger);
    if (lh_ledger_quiet(&s->ledger))
        pthread_cond_broadcast(&s->quiet);
    pthread_mutex_unlock(&s->lock);
    return r == 0 ? LH_CLAIM_OK : r;
}

bool lh_sink_wants(struct lh_sink *s, uint64_t epoch, uint64_t offset)
{
    uint64_t block = offset / s->block_bytes;
    bool taken;

    /* Of the wrong epoch, out of bounds: write says so, with the right word. */
    pthread_mutex_lock(&s->lock);
    taken = !s->ledger.fenced && epoch == s->ledger.epoch && lh_runs_has(&s->ledger.taken, block) &&
            !lh_mutant("skip-claim");
    pthread_mutex_unlock(&s->lock);
    return !taken;
}

void lh_sink_fence(struct lh_sink *s)
{
    pthread_mutex_lock(&s->lock);
    lh_ledger_fence(&s->ledger);
    while (!lh_ledger_quiet(&s->ledger))
        pthread_cond_wait(&s->quiet, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

/* ---- committing ---------------------------------------------------------------------------- */

/* Every block since the last good sync is free again, and so is the batch. */
static int lose(struct lh_sink *s, const struct lh_err *why, struct lh_err *err)
{
    pthread_mutex_lock(&s->lock);
    lh_ledger_lost(&s->ledger, &s->batch);
    fail_locked(s, why);
    pthread_mutex_unlock(&s->lock);
    lh_batch_free(&s->batch);
    if (err != NULL)
        *err = *why;
    return -why->status;
}

static int snapshot(struct lh_sink *s, struct lh_err *err)
{
    int r;

    pthread_mutex_lock(&s->lock);
    r = lh_sink_failed_locked(s, err);
    if (r == 0)
        r = lh_ledger_snapshot(&s->ledger, &s->batch) ? 1 : 0;
    pthread_mutex_unlock(&s->lock);
    return r;
}

int lh_sink_commit_begin(struct lh_sink *s, struct lh_err *err)
{
    bool late = lh_mutant("late-snapshot");
    struct lh_err why;
    int e;
    int r = late ? 1 : snapshot(s, err);

    if (r <= 0)
        return r;
    e = lh_mutant("drop-data-sync") ? 0 : lh_disk_sync_data(s->fd);
    if (late) {
        r = snapshot(s, err);
        if (r <= 0)
            return r;
    }
    if (e == 0)
        return 1;
    lh_err_sys(&why, lh_status_of_write_errno(e), e, "%s: cannot sync what was written", s->shown);
    return lose(s, &why, err);
}

/* The runs of the batch, for the acknowledgement. */
static int add_runs(const struct lh_batch *b, struct lh_runs *acked)
{
    size_t at = 0;

    while (at < b->n) {
        uint64_t first = b->v[at].block;
        uint64_t end = first + 1;
        int r;

        for (at++; at < b->n && b->v[at].block == end; at++)
            end++;
        r = lh_runs_add(acked, first, end);
        if (r != 0)
            return r;
    }
    return 0;
}

int lh_sink_commit_end(struct lh_sink *s, struct lh_runs *acked, struct lh_err *err)
{
    struct lh_err why;
    int r;

    LH_REQUIRE(s->batch.n > 0);
    r = lh_journal_append_blocks(s->journal, &s->batch, &why);
    if (r != 0)
        return lose(s, &why, err);
    pthread_mutex_lock(&s->lock);
    r = lh_ledger_synced(&s->ledger, &s->batch);
    if (lh_mutant("ack-early")) {
        for (size_t i = 0; i < s->ledger.taken.n; i++)
            lh_runs_add(acked, s->ledger.taken.v[i].first, s->ledger.taken.v[i].end);
    }
    pthread_mutex_unlock(&s->lock);
    if (r != 0) {
        lh_err_set(&why, -r, "%s: too many holes, or out of memory", s->shown);
        return lose(s, &why, err);
    }
    r = add_runs(&s->batch, acked);
    lh_batch_free(&s->batch);
    if (r == 0)
        return 0;
    /* Durable, but the sender would never hear of it: it will from the ledger, the next time. */
    lh_err_set(&why, -r, "%s: out of memory", s->shown);
    return lh_sink_fail(s, &why, err);
}

/* ---- asking -------------------------------------------------------------------------------- */

uint64_t lh_sink_pending_bytes(struct lh_sink *s)
{
    uint64_t bytes;

    pthread_mutex_lock(&s->lock);
    bytes = (s->ledger.n_writing + s->ledger.pending.n + s->ledger.n_syncing) *
            (uint64_t)s->block_bytes;
    pthread_mutex_unlock(&s->lock);
    return bytes < s->source.size ? bytes : s->source.size;
}

bool lh_sink_complete(struct lh_sink *s)
{
    bool complete;

    pthread_mutex_lock(&s->lock);
    complete = lh_ledger_complete(&s->ledger);
    pthread_mutex_unlock(&s->lock);
    return complete;
}

int lh_sink_durable(struct lh_sink *s, struct lh_runs *out)
{
    int r = 0;

    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; r == 0 && i < s->ledger.durable.n; i++)
        r = lh_runs_add(out, s->ledger.durable.v[i].first, s->ledger.durable.v[i].end);
    pthread_mutex_unlock(&s->lock);
    return r;
}

uint64_t lh_sink_size(const struct lh_sink *s)
{
    return s->source.size;
}

uint32_t lh_sink_block_bytes(const struct lh_sink *s)
{
    return s->block_bytes;
}

const char *lh_sink_name(const struct lh_sink *s)
{
    return s->shown;
}

void lh_sink_close(struct lh_sink *s)
{
    if (s == NULL)
        return;
    lh_journal_close(s->journal);
    if (s->fd >= 0)
        close(s->fd);
    if (s->dirfd >= 0)
        close(s->dirfd);
    lh_batch_free(&s->batch);
    lh_ledger_free(&s->ledger);
    lh_runs_free(&s->data);
    pthread_cond_destroy(&s->quiet);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- as a store ---- */

static struct lh_sink *sink_of(struct lh_store *store)
{
    return LH_CONTAINER_OF(store, struct lh_sink, store);
}

static int store_write(struct lh_store *store, uint64_t epoch, uint64_t offset, const void *data,
                       uint32_t len, const struct lh_hash *hash, bool *commit_soon,
                       struct lh_err *err)
{
    return lh_sink_write(sink_of(store), epoch, offset, data, len, hash, commit_soon, err);
}

static bool store_wants(struct lh_store *store, uint64_t epoch, uint64_t offset)
{
    return lh_sink_wants(sink_of(store), epoch, offset);
}

static uint64_t store_pending_bytes(struct lh_store *store)
{
    return lh_sink_pending_bytes(sink_of(store));
}

static int store_commit_begin(struct lh_store *store, struct lh_err *err)
{
    return lh_sink_commit_begin(sink_of(store), err);
}

static int store_commit_end(struct lh_store *store, struct lh_runs *acked, struct lh_err *err)
{
    return lh_sink_commit_end(sink_of(store), acked, err);
}

static void store_fence(struct lh_store *store)
{
    lh_sink_fence(sink_of(store));
}

static void store_close(struct lh_store *store)
{
    lh_sink_close(sink_of(store));
}

const struct lh_store_ops lh_sink_ops = {
    .write = store_write,
    .wants = store_wants,
    .pending_bytes = store_pending_bytes,
    .commit_begin = store_commit_begin,
    .commit_end = store_commit_end,
    .fence = store_fence,
    .close = store_close,
};

struct lh_store *lh_sink_store(struct lh_sink *s)
{
    return &s->store;
}
