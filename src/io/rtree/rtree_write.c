/* Packs of a tree on their way into staging files.
 *
 * Thread: stream loops, several at once.
 *
 * Happy path of a part: its file is in the table and the bytes were not taken before -> open the
 * staging file, made by whoever comes first -> pwrite -> the last one sets the attributes, closes,
 * and puts it among those that wait for a commit. A file of one part costs open, write, its
 * attributes, close. In memory, where no sync has to come first, it gets its name here.
 *
 * Failures: of one file (its directory has gone, its name is refused by the file system): it is
 * told of and dropped, and what still comes of it is thrown away. Of the disk, or a part that the
 * protocol does not allow: the tree fails. */
#include "io/rtree/rtree_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOREIGN_OPEN_MAX 256 /* descriptors kept for the sync of files on other file systems */

static int fail_set(struct lh_rtree *t, int status, const char *words, struct lh_err *err)
{
    struct lh_err why;

    lh_err_set(&why, status, "%s: %s", t->shown, words);
    return lh_rtree_fail(t, &why, err);
}

/* Nobody writes to it any more, and nobody begins to: it leaves nothing. */
static void discard(struct lh_rtree *t, struct lh_rfile *f)
{
    lh_rtree_part_remove(t, f);
    pthread_mutex_lock(&t->lock);
    t->n_open -= f->fd >= 0 && t->n_open > 0; /* a commit may have begun anew meanwhile */
    lh_rtree_table_remove(t, f);
    pthread_mutex_unlock(&t->lock);
    lh_rfile_free(f);
}

/* ---- a part ---- */

/* What is kept from part to part of a pack. Most files are of one part, and most lie where the one
 * before does: so the lock is taken once for the end of all of them, and the directory held. */
struct run {
    struct lh_tree_dir *dir; /* of the last part, with a reference; or NULL */
    struct lh_rfile *ended;  /* whole, and nobody knows yet; by `next` */
    struct lh_rfile **end;
};

/* A part on its way. */
struct part {
    struct lh_rfile *f;
    uint64_t offset;
    uint32_t length;
    bool create; /* the staging file is ours to make */
    bool alone;  /* it is the whole file */
    bool loose;  /* enough descriptors are kept for their sync, or it needs none */
    bool unnamed;
    bool exact; /* made with its mode */
    bool hole;  /* zeros that take no room */
    int status; /* when it is refused */
};

/* Whether the bytes are free, and ours now. The caller holds the lock. Returns NULL or what is
 * wrong. */
static const char *take_bytes(struct lh_rtree *t, struct part *p)
{
    struct lh_rfile *f = p->f;
    size_t had;

    if (f->state == LH_RFILE_WHOLE || p->length > f->size || p->offset > f->size - p->length ||
        (p->length == 0 && f->size > 0))
        return "a part lies outside its file, or comes again";
    p->alone = p->length == f->size;
    if (p->alone)
        return f->state == LH_RFILE_WANTED && f->parts == NULL ? NULL : "a part comes again";
    if (f->parts == NULL) {
        p->status = LH_E_LIMIT;
        if (t->n_begun >= LH_RTREE_BEGUN_MAX)
            return "too many files are begun at once";
        p->status = LH_E_NOMEM;
        f->parts = malloc(sizeof(*f->parts));
        if (f->parts == NULL)
            return "out of memory";
        lh_runs_init(f->parts, LH_RTREE_RUNS_MAX);
        t->n_begun++;
    }
    p->status = LH_E_PROTOCOL;
    if (lh_runs_overlaps(f->parts, p->offset, p->offset + p->length))
        return "a part comes again";
    had = f->parts->cap;
    p->status = -lh_runs_add(f->parts, p->offset, p->offset + p->length);
    lh_account_add(&t->runs, (f->parts->cap - had) * sizeof(struct lh_run));
    if (p->status != 0)
        return "too many holes between the parts of a file, or out of memory";
    p->status = LH_E_LIMIT;
    if (!lh_account_room(&t->runs, 0))
        return "too many parts of too many files, for the memory that all trees share";
    return NULL;
}

/* Find the file and take the bytes. p->f is NULL when there is nothing to write: it has failed
 * before, or is void. Returns 0 or -LH_E_PROTOCOL. */
static int take_part(struct lh_rtree *t, const struct lh_part *row, struct part *p,
                     struct lh_err *err)
{
    struct lh_rfile *gone = NULL;
    const char *wrong = NULL;

    *p = (struct part){.offset = row->offset,
                       .length = row->length,
                       .hole = row->flags & LH_PART_HOLE,
                       .status = LH_E_PROTOCOL};
    pthread_mutex_lock(&t->lock);
    p->f = lh_rtree_find(t, row->entry);
    if (p->f == NULL && row->entry >= t->told)
        wrong = "a part of an entry that was never told of";
    if (p->f != NULL && p->f->dropped)
        p->f = NULL;
    if (p->f != NULL && (row->flags & LH_PART_VOID)) {
        p->f->dropped = p->f->state != LH_RFILE_WHOLE && !p->f->named;
        if (p->f->dropped && p->f->n_writers == 0)
            gone = p->f;
        p->f = NULL;
    } else if (p->f != NULL) {
        wrong = take_bytes(t, p);
    }
    if (p->f != NULL && wrong == NULL) {
        p->f->n_writers++;
        while (p->f->state == LH_RFILE_CREATING)
            pthread_cond_wait(&t->created, &t->lock);
        p->create = p->f->state == LH_RFILE_WANTED;
        p->loose = p->alone && t->n_open >= LH_TREE_SYNC_FEW;
        if (p->create) /* one part alone has nobody who waits for it */
            p->f->state = p->alone ? LH_RFILE_STAGED : LH_RFILE_CREATING;
    }
    pthread_mutex_unlock(&t->lock);
    if (gone != NULL)
        discard(t, gone);
    return wrong == NULL ? 0 : fail_set(t, p->status, wrong, err);
}

/* The mode to make it with. One that is to be opened again must be writable. */
static mode_t first_mode(const struct lh_rtree *t, struct part *p, bool acl)
{
    mode_t mode = lh_rtree_mode(t, p->f->mode, acl, &p->exact);

    if (p->alone || t->is_root || (mode & ~t->umask & 0600) == 0600)
        return mode;
    p->exact = false;
    return 0600;
}

/* Returns a descriptor or -errno. Only files of several parts are waited for, and reopened. */
static int open_part(struct lh_rtree *t, struct part *p, struct lh_tree_dir *dir)
{
    mode_t mode = first_mode(t, p, dir->acl);
    struct lh_disk_stat st = {0};
    char part[LH_HIDDEN_SIZE] = "";
    int fd;

    p->unnamed = p->alone && lh_rtree_is_unnamed(t, p->f, dir);
    if (!p->unnamed)
        lh_rtree_part_of(t, lh_rfile_name(p->f), part);
    if (!p->create)
        return lh_rtree_part_open(dir, part, p->f->ino);
    fd = lh_rtree_part_make(t, dir, part, mode);
    if (fd == -EMFILE || fd == -ENFILE)
        lh_tree_dirs_forget(&t->dirs);
    if (fd == -EMFILE || fd == -ENFILE || lh_tree_dir_again(&t->dirs, dir, -fd))
        fd = lh_rtree_part_make(t, dir, part, mode);
    if (fd >= 0 && !p->alone) {
        int e = lh_disk_stat(fd, "", &st);

        if (e != 0) {
            unlinkat(dir->fd, part, 0);
            close(fd);
            fd = -e;
        }
    }
    if (p->alone)
        return fd;
    pthread_mutex_lock(&t->lock);
    p->f->state = fd >= 0 ? LH_RFILE_STAGED : LH_RFILE_WANTED;
    p->f->ino = st.ino;
    pthread_cond_broadcast(&t->created);
    pthread_mutex_unlock(&t->lock);
    return fd;
}

/* 0 or an errno. */
static int dress(struct lh_rtree *t, const struct part *p, const struct lh_tree_dir *dir, int fd)
{
    const struct lh_rfile *f = p->f;
    struct lh_rdress d = {.mode = f->mode,
                          .uid = f->uid,
                          .gid = f->gid,
                          .mtime = f->mtime,
                          .xattrs = (const uint8_t *)f->path + f->path_len + 1,
                          .xattrs_len = f->xattrs_len,
                          .mode_set = p->exact,
                          .bare = true,
                          .owner_set = f->uid == t->uid && f->gid == t->gid && dir->gid == t->gid};
    uint64_t not_kept = 0;
    int e = lh_rtree_dress(t, fd, &d, &not_kept);

    lh_rtree_count_not_kept(t, not_kept);
    return e;
}

/* It is whole and dressed. Returns whether the descriptor stays open for its sync; *sync_first: it
 * does not, and the file system's sync does not reach it. The caller holds the lock. */
static bool keep_open(struct lh_rtree *t, bool foreign, bool *sync_first)
{
    unsigned max = foreign ? FOREIGN_OPEN_MAX : LH_TREE_SYNC_FEW;

    if (t->n_open < max) {
        t->n_open++;
        return true;
    }
    *sync_first = foreign || t->dirs.each;
    t->loose = t->loose || !*sync_first;
    return false;
}

/* All parts are in. 0 or an errno. */
static int finish_file(struct lh_rtree *t, const struct part *p, const struct lh_tree_dir *dir,
                       int fd, bool *kept)
{
    bool sync_first = false;
    int e = dress(t, p, dir, fd);

    if (e == 0 && p->unnamed)
        e = lh_rtree_unnamed_name(t, dir, fd, p->f);
    if (e != 0 || p->loose)
        return e;
    pthread_mutex_lock(&t->lock);
    *kept = keep_open(t, dir->foreign, &sync_first);
    p->f->fd = *kept ? fd : -1;
    p->f->foreign = dir->foreign;
    p->f->dressed = true;
    pthread_mutex_unlock(&t->lock);
    return sync_first ? lh_disk_sync(fd) : 0;
}

/* One writer less. True: the file was dropped, and it was the last one, who cleans up. The caller
 * holds the lock. */
static bool writer_ended(struct lh_rtree *t, struct lh_rfile *f)
{
    if (--f->n_writers > 0)
        return false;
    if (!f->dropped && f->dressed) {
        t->n_begun -= f->parts != NULL;
        t->n_partial--;
        f->state = LH_RFILE_WHOLE;
        f->next = NULL;
        *t->whole_end = f;
        t->whole_end = &f->next;
        t->n_whole++;
    }
    return f->dropped;
}

/* The part is written, or e says why not. */
static void part_ended(struct lh_rtree *t, struct part *p, int e)
{
    struct lh_rfile *f = p->f;
    bool gone;

    pthread_mutex_lock(&t->lock);
    if (e != 0 && !f->dropped && lh_rtree_drop(t, f, e, "write") != 0 && t->why.status == 0)
        lh_err_set(&t->why, LH_E_NOMEM, "%s: out of memory", t->shown);
    gone = writer_ended(t, f);
    pthread_mutex_unlock(&t->lock);
    if (gone)
        discard(t, f);
}

/* The file is whole, in one part. */
static void add_ended(struct run *run, struct lh_rfile *f)
{
    f->next = NULL;
    *run->end = f;
    run->end = &f->next;
}

/* All files of the run are in: a commit may take them. */
static void end_run(struct lh_rtree *t, struct run *run)
{
    struct lh_rfile *gone = NULL;

    pthread_mutex_lock(&t->lock);
    while (run->ended != NULL) {
        struct lh_rfile *f = run->ended;

        run->ended = f->next;
        f->dressed = true;
        t->loose = t->loose || !f->named;
        if (writer_ended(t, f)) {
            f->next = gone;
            gone = f;
        }
    }
    pthread_mutex_unlock(&t->lock);
    while (gone != NULL) {
        struct lh_rfile *f = gone;

        gone = f->next;
        discard(t, f);
    }
    if (run->dir != NULL)
        lh_tree_dir_put(&t->dirs, run->dir);
}

/* Whether the file has all its bytes now: once. */
static bool written(struct lh_rtree *t, const struct part *p)
{
    bool last;

    pthread_mutex_lock(&t->lock);
    p->f->written += p->length;
    last = !p->f->dropped && p->f->written == p->f->size;
    pthread_mutex_unlock(&t->lock);
    return last;
}

/* 0 or an errno. */
static int put_part(struct lh_rtree *t, struct part *p, struct lh_tree_dir *dir,
                    const uint8_t *contents)
{
    bool kept = false;
    int fd = open_part(t, p, dir);
    int e = fd < 0 ? -fd : 0;

    p->loose = p->loose || p->unnamed;
    if (e == 0 && p->hole) /* its size may be of nothing but this; never less than what is there */
        e = ftruncate(fd, (off_t)p->f->size) == 0 ? 0 : errno;
    else if (e == 0)
        e = lh_disk_write(fd, contents, p->length, p->offset);
    if (e == 0 && (p->loose || written(t, p)))
        e = finish_file(t, p, dir, fd, &kept);
    if (fd >= 0 && !kept && close(fd) != 0 && errno != EINTR && e == 0)
        e = errno; /* where writes fail no sooner */
    return e;
}

/* Nobody makes the staging file now. */
static void give_up_making(struct lh_rtree *t, struct lh_rfile *f)
{
    pthread_mutex_lock(&t->lock);
    f->state = LH_RFILE_WANTED;
    pthread_cond_broadcast(&t->created);
    pthread_mutex_unlock(&t->lock);
}

static int write_part(struct lh_rtree *t, struct run *run, const struct lh_part *row,
                      const uint8_t *contents, struct lh_err *err)
{
    struct part p;
    int e;
    int r = take_part(t, row, &p, err);

    if (r != 0 || p.f == NULL)
        return r;
    e = lh_tree_dir_turn(&t->dirs, p.f->path, lh_tree_dir_len(p.f->path, p.f->path_len), false,
                         &run->dir);
    if (e == 0) {
        struct part before;

        p.loose = p.loose && !run->dir->foreign && !t->dirs.each;
        before = p;
        e = put_part(t, &p, run->dir, contents);
        if (e != 0 && p.unnamed && t->unnamed == LH_UNNAMED_NOT) { /* since then */
            p = before;
            e = put_part(t, &p, run->dir, contents);
        }
    } else if (p.create && !p.alone) {
        give_up_making(t, p.f);
    }
    if (e != 0 && lh_rtree_fatal(e))
        r = lh_rtree_fail_at(t, e, "write", p.f->path, p.f->path_len, err);
    if (e == 0 && p.loose)
        add_ended(run, p.f);
    else
        part_ended(t, &p, e);
    return r;
}

/* ---- packs ---- */

static int claim(struct lh_rtree *t, uint64_t epoch, uint64_t pack, struct lh_err *err)
{
    enum lh_claim answer;
    int r;

    pthread_mutex_lock(&t->lock);
    r = -t->why.status;
    if (r != 0 && err != NULL)
        *err = t->why;
    answer = r == 0 ? lh_ledger_claim(&t->ledger, epoch, pack) : LH_CLAIM_FENCED;
    pthread_mutex_unlock(&t->lock);
    if (answer == LH_CLAIM_NOMEM)
        return fail_set(t, LH_E_NOMEM, "out of memory", err);
    return r != 0 ? r : (int)answer;
}

int lh_rtree_write(struct lh_store *store, uint64_t epoch, uint64_t offset, const void *data,
                   uint32_t len, const struct lh_hash *hash, bool *commit_soon, struct lh_err *err)
{
    struct lh_rtree *t = (struct lh_rtree *)store;
    uint64_t pack = offset / store->block_bytes;
    const uint8_t *contents = data;
    const char *why = "a pack off the grid";
    struct run run = {.end = &run.ended};
    int n = offset % store->block_bytes == 0 ? lh_pack_count(data, len, &why) : -LH_E_PROTOCOL;
    int r = n < 0 ? fail_set(t, LH_E_PROTOCOL, why, err) : claim(t, epoch, pack, err);

    if (r != LH_CLAIM_OK)
        return r;
    contents += LH_PACK_HEAD + (size_t)n * LH_PART_SIZE;
    for (int i = 0; i < n && r == 0; i++) {
        struct lh_part row = lh_pack_get(data, (size_t)i);

        r = write_part(t, &run, &row, contents, err);
        contents += lh_part_contents(&row);
    }
    end_run(t, &run);
    pthread_mutex_lock(&t->lock);
    if (r != 0)
        lh_ledger_failed(&t->ledger, pack);
    else
        r = lh_ledger_wrote(&t->ledger, pack, hash);
    *commit_soon = lh_rtree_soon(t);
    if (lh_ledger_quiet(&t->ledger))
        pthread_cond_broadcast(&t->quiet);
    pthread_mutex_unlock(&t->lock);
    if (r == 0)
        return LH_CLAIM_OK;
    return fail_set(t, -r, "a pack was lost", err);
}

bool lh_rtree_wants(struct lh_store *store, uint64_t epoch, uint64_t offset)
{
    struct lh_rtree *t = (struct lh_rtree *)store;
    bool taken;

    pthread_mutex_lock(&t->lock);
    taken = !t->ledger.fenced && epoch == t->ledger.epoch &&
            lh_runs_has(&t->ledger.taken, offset / store->block_bytes);
    pthread_mutex_unlock(&t->lock);
    return !taken;
}

uint64_t lh_rtree_pending_bytes(struct lh_store *store)
{
    struct lh_rtree *t = (struct lh_rtree *)store;
    uint64_t n;

    pthread_mutex_lock(&t->lock);
    n = t->ledger.n_writing + t->ledger.pending.n + t->ledger.n_syncing;
    pthread_mutex_unlock(&t->lock);
    return n * store->block_bytes;
}

void lh_rtree_fence(struct lh_store *store)
{
    struct lh_rtree *t = (struct lh_rtree *)store;

    pthread_mutex_lock(&t->lock);
    lh_ledger_fence(&t->ledger);
    while (!lh_ledger_quiet(&t->ledger))
        pthread_cond_wait(&t->quiet, &t->lock);
    pthread_mutex_unlock(&t->lock);
}
