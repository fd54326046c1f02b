/* Making files of a tree durable and visible, and the end of one.
 *
 * Thread: the committer of its file system.
 *
 * The order that everything rests on: parts written -> snapshot of what is whole -> contents synced
 * (few files: each; more: the file system) -> renamed -> directories synced -> settled. What was
 * made without contents needs its directory synced alone.
 *
 * Failures: of one rename: told, the staging file goes. Of a sync: all of the commit stays
 * unsettled and the tree fails. */
#include "io/rtree/rtree_impl.h"

#include "util/clock.h"
#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_AT_ONCE 64u /* files, under the lock */

/* ---- begin: snapshot, contents ---- */

/* True when there is something to commit. */
static bool snapshot(struct lh_rtree *t, bool *loose)
{
    bool some;

    pthread_mutex_lock(&t->lock);
    t->batch = t->whole;
    t->whole = NULL;
    t->whole_end = &t->whole;
    t->n_whole = 0;
    t->n_open = 0;
    *loose = t->loose;
    t->loose = false;
    lh_runs_free(&t->batch_runs);
    t->batch_runs = t->made;
    lh_runs_init(&t->made, LH_RUNS_MAX);
    some = lh_ledger_snapshot(&t->ledger, &t->packs);
    some = some || t->batch != NULL || t->batch_runs.n > 0;
    pthread_mutex_unlock(&t->lock);
    return some;
}

/* Nothing since the last good sync counts. */
static void lose_batch(struct lh_rtree *t)
{
    pthread_mutex_lock(&t->lock);
    lh_ledger_lost(&t->ledger, &t->packs);
    pthread_mutex_unlock(&t->lock);
    lh_batch_free(&t->packs);
    lh_runs_clear(&t->batch_runs);
    t->batch = NULL; /* still in the table: close removes what they left */
}

static int lose(struct lh_rtree *t, int e, const char *what, struct lh_err *err)
{
    lose_batch(t);
    return lh_rtree_fail_sys(t, e, what, err);
}

static int sync_contents(struct lh_rtree *t, bool loose)
{
    bool skip = lh_mutant("drop-data-sync");
    int first = loose && !skip ? lh_disk_sync_fs(t->root_fd) : 0;

    for (struct lh_rfile *f = t->batch; f != NULL; f = f->next) {
        if (f->fd < 0)
            continue;
        if (first == 0 && !skip && (f->foreign || !loose))
            first = lh_disk_sync(f->fd);
        close(f->fd);
        f->fd = -1;
    }
    return first;
}

int lh_rtree_commit_begin(struct lh_store *store, struct lh_err *err)
{
    struct lh_rtree *t = (struct lh_rtree *)store;
    bool loose;
    uint64_t start_us;
    int e;
    int r = lh_rtree_check(t, err);

    if (r != 0)
        return r;
    if (!snapshot(t, &loose))
        return 0;
    start_us = lh_now_us();
    e = sync_contents(t, loose);
    t->sync_us = lh_now_us() - start_us;
    return e == 0 ? 1 : lose(t, e, "sync what was written", err);
}

/* ---- end: names ---- */

/* What a file system says that has no hard links. */
static bool cannot_link(int e)
{
    return e == EPERM || e == EOPNOTSUPP || e == ENOSYS;
}

/* 0 or an errno. Nothing was there when it was asked for: nothing is replaced. Where the file
 * system can promise that in no way, it is looked once more. */
static int rename_part(const struct lh_rtree *t, struct lh_tree_dir *dir, const char *part,
                       const char *name, bool was_there)
{
    struct lh_disk_stat st;
    int e;

    if (!was_there) {
        e = lh_disk_rename_new(dir->fd, part, name);
        if (!cannot_link(e))
            return e;
        e = lh_disk_stat(dir->fd, name, &st);
        if (e != ENOENT)
            return e == 0 ? EEXIST : e;
    } else if (lh_disk_stat(dir->fd, name, &st) == 0 &&
               lh_rtree_made_meanwhile(t, dir, name, &st)) {
        return EEXIST;
    }
    return renameat(dir->fd, part, dir->fd, name) == 0 ? 0 : errno;
}

/* Where files are being renamed: most lie where the one before does. */
struct renames {
    struct lh_tree_dir *dir; /* with a reference; or NULL */
    bool touched;            /* something in it was renamed */
};

/* 0 or the errno of a disk that fails. */
static int leave(struct lh_rtree *t, struct renames *at)
{
    int e = at->touched ? lh_tree_dir_touch(&t->dirs, at->dir) : 0;

    at->touched = false;
    return e;
}

static bool is_elsewhere(const struct renames *at, const struct lh_rfile *f, size_t dir_len)
{
    return at->dir == NULL || !lh_tree_dir_is(at->dir, f->path, dir_len);
}

/* 0 or the errno of a disk that fails; other failures are told. */
static int rename_file(struct lh_rtree *t, struct lh_rfile *f, struct renames *at)
{
    size_t dir_len = lh_tree_dir_len(f->path, f->path_len);
    const char *name = f->path + dir_len + (dir_len > 0);
    char part[LH_HIDDEN_SIZE];
    int e = 0;
    int r;

    if (is_elsewhere(at, f, dir_len)) {
        r = leave(t, at);
        if (r != 0)
            return r;
        e = lh_tree_dir_turn(&t->dirs, f->path, dir_len, false, &at->dir);
    }
    if (e == 0) {
        lh_rtree_part_of(t, name, part);
        e = rename_part(t, at->dir, part, name, f->was_there);
        if (lh_tree_dir_again(&t->dirs, at->dir, e))
            e = rename_part(t, at->dir, part, name, f->was_there);
        at->touched = at->touched || e == 0;
        if (e == 0)
            return 0;
        if (!lh_rtree_fatal(e))
            unlinkat(at->dir->fd, part, 0);
    }
    if (lh_rtree_fatal(e))
        return e;
    pthread_mutex_lock(&t->lock);
    r = lh_rtree_drop(t, f, e, "rename") == 0 ? 0 : ENOMEM;
    pthread_mutex_unlock(&t->lock);
    return r;
}

static int rename_all(struct lh_rtree *t)
{
    struct renames at = {0};
    int e = 0;
    int last;

    for (struct lh_rfile *f = t->batch; f != NULL && e == 0; f = f->next)
        e = f->named ? 0 : rename_file(t, f, &at);
    last = leave(t, &at);
    if (at.dir != NULL)
        lh_tree_dir_put(&t->dirs, at.dir);
    return e != 0 ? e : last;
}

/* A file of the batch is settled. The caller holds the lock. */
static int settle_file(struct lh_rtree *t, struct lh_rfile *f)
{
    int r = f->dropped ? 0 : lh_runs_add(&t->settled, f->index, f->index + 1u);

    if (r != 0)
        return r;
    if (!f->dropped) {
        t->stats.files++;
        t->stats.bytes += f->size;
    }
    lh_rtree_table_remove(t, f);
    return 0;
}

/* The files of the batch, a few at a time: streams want the lock too. */
static int settle_files(struct lh_rtree *t)
{
    int r = 0;

    while (r == 0 && t->batch != NULL) {
        struct lh_rfile *over = t->batch;
        struct lh_rfile *f = over;

        pthread_mutex_lock(&t->lock);
        for (unsigned n = 0; r == 0 && f != NULL && n < SETTLE_AT_ONCE; n++) {
            r = settle_file(t, f);
            f = r == 0 ? f->next : f;
        }
        pthread_mutex_unlock(&t->lock);
        t->batch = f;
        while (over != f) {
            struct lh_rfile *next = over->next;

            lh_rfile_free(over);
            over = next;
        }
    }
    return r;
}

/* What was made without contents. The caller holds the lock. */
static int settle_made(struct lh_rtree *t)
{
    int r = 0;

    for (size_t i = 0; i < t->batch_runs.n && r == 0; i++)
        r = lh_runs_add(&t->settled, t->batch_runs.v[i].first, t->batch_runs.v[i].end);
    return r;
}

/* The runs of the packs, for the acknowledgement. */
static int add_packs(const struct lh_batch *b, struct lh_runs *acked)
{
    int r = 0;

    for (size_t i = 0; i < b->n && r == 0; i++)
        r = lh_runs_add(acked, b->v[i].block, b->v[i].block + 1);
    return r;
}

/* Renames are left to the end of a tree, or run beside its streams: a commit is due after as many
 * files as its syncs took microseconds. At 50 000 files a second that is a twentieth of the time.
 * The caller holds the lock. */
static void set_pace(struct lh_rtree *t)
{
    uint64_t n = t->sync_us;

    if (n < LH_RTREE_COMMIT_LEAST)
        n = LH_RTREE_COMMIT_LEAST;
    t->commit_files = n < LH_RTREE_COMMIT_FILES ? (uint32_t)n : LH_RTREE_COMMIT_FILES;
}

/* An opener may have met the disk's failure that our own sync would have: once the tree has failed
 * nothing of it becomes visible or settled. */
static int check_batch(struct lh_rtree *t, struct lh_err *err)
{
    int r = lh_rtree_check(t, err);

    if (r != 0)
        lose_batch(t);
    return r;
}

int lh_rtree_commit_end(struct lh_store *store, struct lh_runs *acked, struct lh_err *err)
{
    struct lh_rtree *t = (struct lh_rtree *)store;
    uint64_t start_us;
    int e;
    int r = check_batch(t, err);

    if (r != 0)
        return r;
    e = rename_all(t);
    if (e != 0)
        return lose(t, e, "rename what was received", err);
    start_us = lh_now_us();
    e = lh_tree_dirs_sync(&t->dirs);
    t->sync_us += lh_now_us() - start_us;
    if (e != 0)
        return lose(t, e, "sync the directories", err);
    r = check_batch(t, err);
    if (r != 0)
        return r;
    pthread_mutex_lock(&t->lock);
    set_pace(t);
    if (t->packs.n > 0)
        r = lh_ledger_synced(&t->ledger, &t->packs);
    if (r == 0)
        r = settle_made(t);
    pthread_mutex_unlock(&t->lock);
    if (r == 0)
        r = settle_files(t);
    lh_runs_clear(&t->batch_runs);
    if (r == 0)
        r = add_packs(&t->packs, acked);
    lh_batch_free(&t->packs);
    return r == 0 ? 0 : lh_rtree_fail_sys(t, ENOMEM, "note what is settled", err);
}

/* ---- the end ---- */

/* What was there before may be of a process that was killed: it is said to be there, so it must be
 * on the disk. */
int lh_rtree_finish(struct lh_rtree *t, struct lh_err *err)
{
    struct lh_rtree_stats stats;
    int e;
    int r = lh_rtree_check(t, err);

    if (r != 0 || lh_rtree_dry(t))
        return r;
    lh_rtree_stats(t, &stats);
    if (stats.kept > 0)
        lh_tree_dirs_touch_all(&t->dirs);
    e = lh_tree_dirs_end(&t->dirs);
    return e == 0 ? 0 : lh_rtree_fail_sys(t, e, "sync", err);
}

void lh_rtree_close(struct lh_store *store)
{
    struct lh_rtree *t = (struct lh_rtree *)store;

    for (uint32_t i = 0; t->n_files > 0 && i < LH_TREE_SPAN; i++)
        if (t->ring[i] != NULL)
            lh_rtree_part_remove(t, t->ring[i]);
    lh_rtree_table_free(t);
    lh_rtree_give_memory(t);
    lh_tree_dirs_free(&t->dirs);
    if (t->root_fd >= 0)
        close(t->root_fd);
    lh_rtree_troubles_free(t->troubles);
    lh_runs_free(&t->made);
    lh_runs_free(&t->settled);
    lh_runs_free(&t->batch_runs);
    lh_batch_free(&t->packs);
    lh_ledger_free(&t->ledger);
    lh_idmap_free(&t->owners);
    pthread_cond_destroy(&t->quiet);
    pthread_cond_destroy(&t->created);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
