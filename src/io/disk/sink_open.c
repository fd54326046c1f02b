/* Opening a sink: what lies there, and what becomes of it.
 *
 * Thread: an I/O thread. Owner of what is opened: the caller, through lh_sink_close.
 *
 * Happy path: directory -> journal, locked -> what it says is held against the staging file, the
 * target and the offer:
 *
 *     journal                       staging file, target             becomes
 *     ------------------------------------------------------------------------------------------
 *     none, or damaged              any                              start over
 *     of another version or grid    any                              start over
 *     of this version               staging is the journal's         resume
 *     says FINISH                   target is it, untouched          was renamed: DONE, done
 *     says DONE                     target is it, untouched          done
 *     otherwise                     staging gone or another          start over
 *
 * Where the offer lets what is there stay (core/keep.h) it does, before anything is begun or gone
 * on with: done as well, without a journal. But what is of the same size and time does not stop
 * what was begun already: that was told to be sent, for its contents differ.
 *
 * Starting over empties the journal first, then unlinks the staging file, so that no crash leaves
 * records of one file beside another. All of it happens under the journal's lock.
 *
 * Failures: a new staging file and journal are removed again; those that were there stay. */
#include "io/disk/sink_impl.h"

#include "core/keep.h"
#include "core/sched.h"
#include "proto/frame.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum found { FOUND_NOTHING, FOUND_PARTIAL, FOUND_RENAMED, FOUND_DONE };

static int dest_error(const struct lh_sink *s, int e, const char *what, struct lh_err *err)
{
    return lh_err_sys(err, lh_status_of_write_errno(e), e, "%s: cannot %s", s->shown, what);
}

/* ---- what is there ------------------------------------------------------------------------- */

/* Whether the target stays as it is, and how large that is. */
static int ask_keep(struct lh_sink *s, const struct lh_sink_open *how, enum lh_keep *keep,
                    uint64_t *bytes, struct lh_err *err)
{
    const struct lh_keep_file offered = {how->source.size, how->source.mtime};
    struct lh_keep_file there;
    struct lh_disk_stat st;
    int e;

    *keep = LH_KEEP_REPLACE;
    if (how->keep == 0)
        return 0;
    e = lh_disk_stat(s->dirfd, s->name, &st);
    if (e == ENOENT) {
        /* Nor is replaced at the end what somebody makes meanwhile. */
        s->no_clobber = s->no_clobber || (how->keep & LH_OFFER_KEEP_ANY);
        return 0;
    }
    if (e != 0)
        return dest_error(s, e, "look at the destination", err);
    there = (struct lh_keep_file){S_ISREG(st.mode) ? st.size : UINT64_MAX, st.mtime};
    if (S_ISREG(st.mode) || S_ISLNK(st.mode)) /* all else is refused */
        *keep = lh_keep_decide(how->keep, &there, &offered);
    *bytes = st.size;
    return 0;
}

/* The very file that the journal was begun with. */
static bool is_staging(const struct lh_journal_state *st, const struct lh_disk_stat *file)
{
    return S_ISREG(file->mode) && file->ino == st->head.staging_ino &&
           lh_time_same(&file->btime, &st->head.staging_btime) &&
           file->size == st->head.source.size;
}

/* The target is what the journal's FINISH record was about, and nobody has touched it since. */
static bool target_is_it(const struct lh_sink *s, const struct lh_journal_state *st)
{
    struct lh_disk_stat file;

    return lh_disk_stat(s->dirfd, s->name, &file) == 0 && is_staging(st, &file) &&
           lh_time_same(&file.mtime, &st->finish.mtime);
}

static bool same_offer(const struct lh_sink *s, const struct lh_sink_open *how,
                       const struct lh_journal_state *st)
{
    return st->valid && !how->restart && strcmp(st->name, s->name) == 0 &&
           st->head.hash == how->hash && st->head.block_bytes == how->block_bytes &&
           lh_identity_same_version(&st->head.source, &how->source);
}

/* *part: the staging file, for FOUND_PARTIAL. Returns 0, or an errno when it cannot be told: a disk
 * that fails to answer is no reason to throw anything away. */
static int look(const struct lh_sink *s, const struct lh_sink_open *how,
                const struct lh_journal_state *st, struct lh_disk_stat *part, enum found *found)
{
    int e;

    *found = FOUND_NOTHING;
    if (!same_offer(s, how, st))
        return 0;
    if (st->done) {
        *found = target_is_it(s, st) ? FOUND_DONE : FOUND_NOTHING;
        return 0;
    }
    e = lh_disk_stat(s->dirfd, s->hidden.part, part);
    if ((e == 0 || e == ENOENT) && st->finished && target_is_it(s, st))
        *found = FOUND_RENAMED;
    else if (e == 0 && is_staging(st, part))
        *found = FOUND_PARTIAL;
    return e == ENOENT ? 0 : e;
}

static bool is_fenced(const struct lh_sink_open *how, const struct lh_journal_state *st)
{
    struct lh_holder last = {.claim = st->epoch.claim, .epoch = st->epoch.epoch};

    if (!st->valid)
        return lh_hold_reopen(NULL, &how->asker) == LH_HOLD_FENCED;
    memcpy(last.id, st->epoch.holder, sizeof(last.id));
    memcpy(last.incarnation, st->epoch.incarnation, sizeof(last.incarnation));
    return lh_hold_reopen(&last, &how->asker) == LH_HOLD_FENCED;
}

/* ---- what becomes of it -------------------------------------------------------------------- */

static struct lh_journal_epoch epoch_of(const struct lh_sink_open *how, uint64_t epoch,
                                        bool compared)
{
    struct lh_journal_epoch e = {
        .epoch = epoch, .claim = how->asker.claim, .source = how->source, .compared = compared};

    memcpy(e.holder, how->asker.id, sizeof(e.holder));
    memcpy(e.incarnation, how->asker.incarnation, sizeof(e.incarnation));
    return e;
}

static uint64_t space_needed(const struct lh_sink *s)
{
    uint64_t data = s->data.blocks * s->block_bytes;

    if (s->sparse) /* what of it is zeros is not known */
        return 0;
    return s->has_holes && data < s->source.size ? data : s->source.size;
}

/* Journal and staging file from nothing. */
static int make_new(struct lh_sink *s, const struct lh_sink_open *how, uint64_t epoch,
                    struct lh_sink_opened *o, struct lh_err *err)
{
    struct lh_journal_epoch e = epoch_of(how, epoch, true);
    struct lh_journal_head head = {
        .hash = how->hash, .block_bytes = how->block_bytes, .source = how->source};
    struct lh_disk_stat part;
    int sys;
    int r = lh_staging_create(s->dirfd, s->hidden.part, s->source.size, space_needed(s), s->shown,
                              &s->fd, err);

    if (r != 0)
        return r;
    sys = lh_disk_stat(s->fd, "", &part);
    if (sys == 0 && getrandom(head.uuid, sizeof(head.uuid), 0) != sizeof(head.uuid))
        sys = EIO;
    if (sys != 0)
        return dest_error(s, sys, "begin a journal", err);
    memcpy(head.transfer_id, o->transfer_id, sizeof(head.transfer_id));
    head.staging_ino = part.ino;
    head.staging_btime = part.btime;
    head.name = (const uint8_t *)s->name;
    head.name_len = strlen(s->name);
    r = lh_journal_begin(s->journal, &head, &e, err);
    if (r != 0)
        return r;
    o->epoch = epoch;
    return 0;
}

static int start_over(struct lh_sink *s, const struct lh_sink_open *how, struct lh_sink_opened *o,
                      struct lh_err *err)
{
    struct lh_journal_state *st = lh_journal_state(s->journal);
    uint64_t epoch = st->valid ? st->epoch.epoch + 1 : 1;
    bool dropped = st->valid ? !st->done : st->end > 0 || st->torn;
    int r = lh_journal_reset(s->journal, err);

    if (r != 0)
        return r;
    s->new_made = true;
    if (unlinkat(s->dirfd, s->hidden.part, 0) == 0)
        dropped = true;
    else if (errno != ENOENT)
        return dest_error(s, errno, "remove an older staging file", err);
    o->dropped = dropped;
    return make_new(s, how, epoch, o, err);
}

static int restore(struct lh_sink *s, struct lh_journal_state *st, struct lh_err *err)
{
    for (size_t i = 0; i < st->durable.n; i++) {
        int r = lh_ledger_restore(&s->ledger, st->durable.v[i].first, st->durable.v[i].end);

        if (r != 0)
            return lh_err_set(err, -r, "%s: cannot restore what is durable: %s", s->shown,
                              lh_status_text(r));
    }
    lh_runs_free(&st->durable);
    return 0;
}

static int resume(struct lh_sink *s, const struct lh_sink_open *how,
                  const struct lh_disk_stat *part, struct lh_sink_opened *o, struct lh_err *err)
{
    struct lh_journal_state *st = lh_journal_state(s->journal);
    bool some = st->durable.blocks > 0;
    bool compare =
        some && (!lh_identity_same(&st->epoch.source, &how->source) || !st->epoch.compared);
    struct lh_journal_epoch e = epoch_of(how, st->epoch.epoch + 1, !compare);
    int r = lh_staging_open(s->dirfd, s->hidden.part, part, s->shown, &s->fd, err);

    if (r == 0)
        r = restore(s, st, err);
    if (r == 0)
        r = lh_journal_append_epoch(s->journal, &e, err);
    if (r != 0)
        return r;
    o->epoch = e.epoch;
    o->resumed = some;
    o->compare = compare;
    return 0;
}

/* Nothing is left to send. The rename may not have reached the disk yet, nor the record of it. */
static int already_done(struct lh_sink *s, const struct lh_sink_open *how, bool recorded,
                        struct lh_sink_opened *o, struct lh_err *err)
{
    struct lh_journal_state *st = lh_journal_state(s->journal);
    int e = lh_disk_sync_dir(s->dirfd);
    int r = 0;

    if (e != 0)
        return dest_error(s, e, "sync the directory", err);
    if (!recorded) {
        /* Still there when the rename was a link, and the unlink did not come to it. */
        unlinkat(s->dirfd, s->hidden.part, 0);
        r = lh_journal_append_done(s->journal, err);
    }
    if (r == 0)
        r = restore(s, st, err);
    if (r != 0)
        return r;
    s->done = true;
    o->done = true;
    o->compare = !lh_identity_same(&st->epoch.source, &how->source);
    o->digest = st->finish.digest;
    o->bytes = how->source.size;
    o->epoch = st->epoch.epoch;
    return 0;
}

/* What is there stays. The ledger stays empty, and takes nothing. */
static int leave_it(struct lh_sink *s, struct lh_sink_opened *o)
{
    lh_ledger_fence(&s->ledger);
    s->done = s->kept = true;
    o->done = o->kept = true;
    return 0;
}

/* The journal is locked and read. */
static int take_up(struct lh_sink *s, const struct lh_sink_open *how, enum lh_keep keep,
                   struct lh_sink_opened *o, struct lh_err *err)
{
    const struct lh_journal_state *st = lh_journal_state(s->journal);
    struct lh_disk_stat part;
    enum found found;
    int e = look(s, how, st, &part, &found);
    int r;

    if (e != 0)
        return dest_error(s, e, "look at what was begun", err);
    /* Done is done, whoever asks. */
    if (found == FOUND_DONE || found == FOUND_RENAMED)
        return already_done(s, how, found == FOUND_DONE, o, err);
    if (keep == LH_KEEP_IT || (keep == LH_KEEP_SAME && found != FOUND_PARTIAL))
        return leave_it(s, o);
    if (is_fenced(how, st))
        return lh_err_set(err, LH_E_FENCED, "%s: another sender has taken it over", s->shown);
    r = lh_sink_check_target(s, err);
    if (r != 0)
        return r;
    r = found == FOUND_PARTIAL ? resume(s, how, &part, o, err) : start_over(s, how, o, err);
    if (r != 0)
        return r;
    /* Both names have to be on the disk before the first acknowledgement; also those that a killed
     * process may have left unsynced. */
    e = lh_disk_sync_dir(s->dirfd);
    if (e != 0)
        return dest_error(s, e, "sync the directory", err);
    lh_ledger_hold(&s->ledger, o->epoch);
    return 0;
}

/* ---- the frame around it ------------------------------------------------------------------- */

/* The same for the same target and version of the source, on whatever host the sender runs. */
static void make_transfer_id(const struct lh_sink *s, const struct lh_disk_stat *dir,
                             uint8_t out[16])
{
    uint8_t buf[512];
    struct lh_writer w;
    struct lh_hash hash;

    lh_writer_init(&w, buf, sizeof(buf));
    lh_put_u64(&w, dir->dev);
    lh_put_u64(&w, dir->ino);
    lh_put_u64(&w, s->source.size);
    lh_put_time(&w, &s->source.mtime);
    lh_put_u32(&w, s->block_bytes);
    lh_put_bytes(&w, s->name, strlen(s->name));
    LH_INVARIANT(!w.failed);
    lh_hash_bytes(buf, (size_t)(w.at - buf), &hash);
    memcpy(out, hash.bytes, 16);
}

static int check_offer(const struct lh_sink_open *how, struct lh_err *err)
{
    if (how->hash != LH_HASH_XXH3_128)
        return lh_err_set(err, LH_E_REFUSED, "unknown hash %u", how->hash);
    if (how->block_bytes < LH_BLOCK_MIN || how->block_bytes > LH_BLOCK_MAX ||
        (how->block_bytes & (how->block_bytes - 1)) != 0)
        return lh_err_set(err, LH_E_REFUSED, "a grid of %u bytes is not allowed", how->block_bytes);
    if (how->data != NULL && how->data->n > 0 &&
        how->data->v[how->data->n - 1].end > lh_blocks_of(how->source.size, how->block_bytes))
        return lh_err_set(err, LH_E_PROTOCOL, "an extent lies outside the file");
    if (how->source.size > INT64_MAX)
        return lh_err_set(err, LH_E_DEST_SPACE, "no file system holds a file of that size");
    return 0;
}

static struct lh_sink *sink_new(const struct lh_sink_open *how)
{
    struct lh_sink *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->quiet, NULL);
    s->store =
        (struct lh_store){.ops = &lh_sink_ops, .block_bytes = how->block_bytes, .shown = s->shown};
    s->dirfd = -1;
    s->fd = -1;
    s->source = how->source;
    s->block_bytes = how->block_bytes;
    s->n_blocks = lh_blocks_of(how->source.size, how->block_bytes);
    s->no_clobber = how->no_clobber;
    s->sparse = how->sparse;
    lh_ledger_init(&s->ledger, s->n_blocks, how->max_pending);
    lh_runs_init(&s->data, LH_RUNS_MAX);
    lh_text_escape(s->shown, sizeof(s->shown), how->path, how->path_len);
    return s;
}

static int copy_data(struct lh_sink *s, const struct lh_runs *data, struct lh_err *err)
{
    s->has_holes = data != NULL;
    for (size_t i = 0; s->has_holes && i < data->n; i++)
        if (lh_runs_add(&s->data, data->v[i].first, data->v[i].end) != 0)
            return lh_err_set(err, LH_E_NOMEM, "out of memory");
    return 0;
}

/* Find the directory and the hidden names in it. */
static int find_place(struct lh_sink *s, const struct lh_sink_open *how, struct lh_sink_opened *o,
                      struct lh_err *err)
{
    struct lh_disk_stat dir;
    int e;
    int r = lh_place_dir(how->root, how->path, how->path_len, &s->dirfd, s->name, err);

    if (r != 0)
        return r;
    if (lh_hidden_reserved(s->name))
        return lh_err_set(err, LH_E_PATH, "%s: names that begin with %s are longhaul's own",
                          s->shown, LH_HIDDEN_PREFIX);
    lh_hidden_of(s->name, &s->hidden);
    e = lh_disk_stat(s->dirfd, "", &dir);
    if (e != 0)
        return dest_error(s, e, "look at its directory", err);
    s->dev = dir.dev;
    o->dev = dir.dev;
    make_transfer_id(s, &dir, o->transfer_id);
    return 0;
}

/* What refuses to be replaced refuses before a journal is made for it, and what stays needs none;
 * one that is there already may still say that the target is its own work. */
static int open_journal(struct lh_sink *s, bool stays, struct lh_err *err)
{
    struct lh_err refusal = {0};
    int r = lh_sink_check_target(s, &refusal);
    bool taken = r == -LH_E_EXISTS;

    if (r == 0 || taken)
        r = lh_journal_open(s->dirfd, &s->hidden, s->shown, !taken && !stays, &s->journal, err);
    else
        return lh_err_set(err, refusal.status, "%s", refusal.text);
    if (r == 0 && s->journal == NULL && !stays)
        return lh_err_set(err, LH_E_EXISTS, "%s", refusal.text);
    return r != 0 || s->journal == NULL ? r : lh_journal_recover(s->journal, err);
}

int lh_sink_open(const struct lh_sink_open *how, struct lh_sink **sink,
                 struct lh_sink_opened *opened, struct lh_err *err)
{
    struct lh_sink_opened o = {0};
    enum lh_keep keep = LH_KEEP_REPLACE;
    struct lh_sink *s;
    int r = check_offer(how, err);

    if (r != 0)
        return r;
    s = sink_new(how);
    if (s == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    r = copy_data(s, how->data, err);
    if (r == 0)
        r = find_place(s, how, &o, err);
    if (r == 0)
        r = ask_keep(s, how, &keep, &o.bytes, err);
    if (r == 0)
        r = open_journal(s, keep != LH_KEEP_REPLACE, err);
    if (r == 0)
        r = s->journal != NULL ? take_up(s, how, keep, &o, err) : leave_it(s, &o);
    if (r != 0) {
        /* Under the lock still. An empty journal is one that was made for this, or of no use. */
        if (s->new_made || (s->journal != NULL && lh_journal_empty(s->journal)))
            lh_hidden_remove(s->dirfd, &s->hidden);
        lh_sink_close(s);
        return r;
    }
    *sink = s;
    *opened = o;
    return 0;
}

int lh_sink_key_of(const struct lh_place *root, const uint8_t *path, size_t path_len,
                   struct lh_sink_key *key, struct lh_err *err)
{
    char name[256];
    struct lh_disk_stat dir;
    int dirfd;
    int e;
    int r = lh_place_dir(root, path, path_len, &dirfd, name, err);

    if (r != 0)
        return r;
    e = lh_disk_stat(dirfd, "", &dir);
    close(dirfd);
    if (e != 0)
        return lh_err_sys(err, LH_E_DEST, e, "cannot look at the destination's directory");
    key->dev = dir.dev;
    key->ino = dir.ino;
    lh_hash_bytes(name, strlen(name), &key->name);
    return 0;
}
