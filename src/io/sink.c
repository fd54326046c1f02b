/* Writing, committing and finishing a sink; opening is in sink_open.c, the contract in sink.h.
 *
 * The order that everything rests on: claim -> pwrite -> [wrote] -> snapshot -> fdatasync of the
 * data
 * -> journal -> fdatasync of the journal -> durable. The snapshot is taken before the sync begins,
 * so a write that ends during the sync waits for the next one.
 *
 * Failures: the first one is kept in `why` and answers everything that comes later. */
#include "io/sink_impl.h"

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
#define HOLES_A_TURN 4096u /* blocks, in one commit */

/* The caller holds the lock. */
static void fail_locked(struct lh_sink *s, const struct lh_err *why)
{
    if (s->why.status == 0)
        s->why = *why;
}

static int fail(struct lh_sink *s, const struct lh_err *why, struct lh_err *err)
{
    pthread_mutex_lock(&s->lock);
    fail_locked(s, why);
    pthread_mutex_unlock(&s->lock);
    if (err != NULL)
        *err = *why;
    return -why->status;
}

static int fail_sys(struct lh_sink *s, int e, const char *what, struct lh_err *err)
{
    struct lh_err why;

    lh_err_sys(&why, lh_status_of_write_errno(e), e, "%s: cannot %s", s->shown, what);
    return fail(s, &why, err);
}

/* 0, or the failure that there was before. The caller holds the lock. */
static int failed_locked(const struct lh_sink *s, struct lh_err *err)
{
    if (s->why.status != 0 && err != NULL)
        *err = s->why;
    return -s->why.status;
}

static int check_failed(struct lh_sink *s, struct lh_err *err)
{
    int r;

    pthread_mutex_lock(&s->lock);
    r = failed_locked(s, err);
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
    return failed_locked(s, err);
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
    r = failed_locked(s, err);
    claim = r == 0 ? lh_ledger_claim(&s->ledger, epoch, block) : LH_CLAIM_FENCED;
    blank = s->new_made && !s->retracted;
    pthread_mutex_unlock(&s->lock);
    if (r != 0)
        return r;
    if (claim == LH_CLAIM_NOMEM) {
        struct lh_err why;

        lh_err_set(&why, LH_E_NOMEM, "%s: too many holes, or out of memory", s->shown);
        return fail(s, &why, err);
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
    r = failed_locked(s, err);
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
    return fail(s, &why, err);
}

/* ---- finishing ----------------------------------------------------------------------------- */

/* Mode, times, and both on the disk. */
static int dress(struct lh_sink *s, const struct lh_finish *f, struct lh_err *err)
{
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)f->identity.mtime.sec, .tv_nsec = (long)f->identity.mtime.nsec}};
    int e;

    /* Set-id and sticky bits belong to an owner, and that is not kept. The file is ours, so EPERM
     * means a file system that has no modes. */
    if (fchmod(s->fd, f->mode & 0777) != 0 && errno != EPERM && errno != EOPNOTSUPP)
        return fail_sys(s, errno, "set its mode", err);
    if (futimens(s->fd, times) != 0)
        return fail_sys(s, errno, "set its times", err);
    e = lh_mutant("drop-data-sync") ? 0 : lh_disk_sync(s->fd);
    return e == 0 ? 0 : fail_sys(s, e, "sync it", err);
}

static int rename_it(struct lh_sink *s, struct lh_err *err)
{
    int e = 0;
    int r = lh_sink_check_target(s, err);

    if (r != 0)
        return r;
    if (s->no_clobber)
        e = lh_disk_rename_new(s->dirfd, s->hidden.part, s->name);
    else if (renameat(s->dirfd, s->hidden.part, s->dirfd, s->name) != 0)
        e = errno;
    if (e == EEXIST && s->no_clobber)
        return lh_err_set(err, LH_E_EXISTS, "%s: somebody else made it meanwhile", s->shown);
    if (e != 0) /* nothing is lost: the same again may work, here or after a restart */
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "%s: cannot rename", s->shown);
    e = lh_disk_sync_dir(s->dirfd);
    return e == 0 ? 0 : fail_sys(s, e, "sync the directory", err);
}

static int check_whole(struct lh_sink *s, const struct lh_finish *f, struct lh_err *err)
{
    bool whole;
    int r;

    pthread_mutex_lock(&s->lock);
    r = failed_locked(s, err);
    whole = lh_ledger_complete(&s->ledger);
    pthread_mutex_unlock(&s->lock);
    if (r != 0)
        return r;
    if (!whole)
        return lh_err_set(err, LH_E_PROTOCOL, "%s: it is not whole yet", s->shown);
    if (!lh_identity_same_version(&f->identity, &s->source))
        return lh_err_set(err, LH_E_SOURCE_CHANGED,
                          "%s: the source is not the version that was received", s->shown);
    return 0;
}

int lh_sink_finish(struct lh_sink *s, const struct lh_finish *f, struct lh_hash *digest,
                   struct lh_err *err)
{
    struct lh_journal_finish record = {.mode = f->mode & 0777, .mtime = f->identity.mtime};
    struct lh_err why;
    int r = check_whole(s, f, err);

    if (r != 0)
        return r;
    if (s->done) {
        *digest = lh_journal_state(s->journal)->finish.digest;
        return 0;
    }
    if (lh_journal_digest(s->journal, &record.digest, &why) != 0)
        return fail(s, &why, err);
    r = dress(s, f, err);
    if (r != 0)
        return r;
    if (lh_journal_append_finish(s->journal, &record, &why) != 0)
        return fail(s, &why, err);
    r = rename_it(s, err);
    if (r != 0)
        return r;
    if (lh_journal_append_done(s->journal, &why) != 0)
        return fail(s, &why, err);
    s->done = true;
    *digest = record.digest;
    return 0;
}

void lh_sink_forget(struct lh_sink *s)
{
    struct stat st;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

    if (!s->done || s->kept)
        return;
    /* The directory keeps its mtime: of a tree it may have been set already. Not synced: a done
     * record that a power cut brings back does no harm, and ages out. */
    if (fstat(s->dirfd, &st) == 0)
        times[1] = st.st_mtim;
    unlinkat(s->dirfd, s->hidden.journal, 0);
    futimens(s->dirfd, times);
}

/* ---- comparing ----------------------------------------------------------------------------- */

int lh_sink_compared(struct lh_sink *s, struct lh_err *err)
{
    struct lh_journal_epoch epoch = lh_journal_state(s->journal)->epoch;
    struct lh_err why;
    int r = check_failed(s, err);

    if (r != 0 || epoch.compared || s->done)
        return r;
    epoch.compared = 1;
    if (lh_journal_append_epoch(s->journal, &epoch, &why) != 0)
        return fail(s, &why, err);
    return 0;
}

/* 0, or -LH_E_PROTOCOL when not all of it is durable. */
static int check_durable(struct lh_sink *s, uint64_t first, uint64_t end, struct lh_err *err)
{
    bool covered;
    int r;

    pthread_mutex_lock(&s->lock);
    r = failed_locked(s, err);
    covered = first < end && lh_runs_covers(&s->ledger.durable, first, end);
    pthread_mutex_unlock(&s->lock);
    if (r == 0 && !covered)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s: not all of these blocks are durable", s->shown);
    return r;
}

int lh_sink_hashes(struct lh_sink *s, uint64_t first, uint32_t n, struct lh_hash *out,
                   struct lh_err *err)
{
    int r = check_durable(s, first, first + n, err);

    return r != 0 ? r : lh_journal_hashes(s->journal, first, n, out, err);
}

int lh_sink_retract(struct lh_sink *s, uint64_t first, uint64_t end, struct lh_err *err)
{
    struct lh_err why;
    int r = check_durable(s, first, end, err);

    if (r == 0 && s->done)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s: it is done", s->shown);
    if (r != 0)
        return r;
    if (lh_journal_append_drop(s->journal, first, end, &why) != 0)
        return fail(s, &why, err);
    pthread_mutex_lock(&s->lock);
    r = lh_ledger_retract(&s->ledger, first, end);
    s->retracted = true;
    pthread_mutex_unlock(&s->lock);
    if (r == 0)
        return 0;
    lh_err_set(&why, -r, "%s: too many holes, or out of memory", s->shown);
    return fail(s, &why, err);
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

/* ---- holes ---- */

static uint32_t length_of(const struct lh_sink *s, uint64_t block)
{
    return lh_block_length(s->source.size, s->block_bytes, block);
}

/* Blocks that nobody has had, in a staging file that reads as zeros there. */
static int pend_zeros(struct lh_sink *s, uint64_t first, uint64_t end)
{
    struct lh_hash full, last;
    int r = 0;

    lh_hash_zeros(s->block_bytes, &full);
    lh_hash_zeros(length_of(s, s->n_blocks - 1), &last);
    pthread_mutex_lock(&s->lock);
    for (uint64_t block = first; block < end && r == 0; block++) {
        if (lh_ledger_claim(&s->ledger, s->ledger.epoch, block) != LH_CLAIM_OK)
            r = -LH_E_NOMEM; /* nothing else is under way that it could clash with */
        else
            r = lh_ledger_wrote(&s->ledger, block, block + 1 == s->n_blocks ? &last : &full);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* The holes among [first, end): those not durable yet become pending. */
static int take_holes(struct lh_sink *s, uint64_t first, uint64_t end)
{
    uint64_t from, to;
    int r = 0;

    while (r == 0 && first < end && lh_runs_gap(&s->ledger.taken, first, end, &from, &to)) {
        uint64_t bytes = (to - from - 1) * s->block_bytes + length_of(s, to - 1);

        if (s->new_made || lh_staging_punch(s->fd, from * s->block_bytes, bytes) == 0)
            r = pend_zeros(s, from, to);
        first = to;
    }
    return r;
}

int lh_sink_holes(struct lh_sink *s, struct lh_err *err)
{
    struct lh_runs acked;
    uint64_t turn = s->ledger.max_pending < HOLES_A_TURN ? s->ledger.max_pending : HOLES_A_TURN;
    uint64_t n = 0, first, end;
    int r = 0;

    if (!s->has_holes || s->done)
        return 0;
    while (r == 0 && n < turn && lh_runs_gap(&s->data, s->hole_at, s->n_blocks, &first, &end)) {
        if (end - first > turn - n)
            end = first + turn - n;
        r = take_holes(s, first, end);
        s->hole_at = end;
        n += end - first;
    }
    if (r != 0)
        return lh_err_set(err, -r, "%s: %s", s->shown, lh_status_text(r));
    if (n == 0)
        return 0;
    lh_runs_init(&acked, LH_RUNS_MAX);
    r = lh_sink_commit_begin(s, err);
    if (r > 0)
        r = lh_sink_commit_end(s, &acked, err);
    lh_runs_free(&acked);
    return r < 0 ? r : 1;
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
