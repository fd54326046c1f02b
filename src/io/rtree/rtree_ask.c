/* What becomes of the entries that a sender tells of: kept, made, wanted, failed.
 *
 * Thread: an opener, one job at a time for a tree, in the order told.
 *
 * Happy path of an entry: its path is one that is allowed -> its directory is opened, made when
 * missing -> what is there is looked at -> a file that is to stay is kept; one whose contents are
 * wanted is entered into the table; all else is made at once (rtree_make.c).
 *
 * Failures: of one entry: told, and the next. An index that was used: the protocol is broken. A
 * table that is full, alone or all trees together, or a place in it that is still another's: the
 * rest waits for a commit. (A sender is over with an entry that it has voided before the pack that
 * says so is here.) */
#include "io/rtree/rtree_impl.h"

#include "core/keep.h"
#include "proto/frame.h"
#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (256u * 1024)

/* An entry being answered. */
struct ask {
    struct lh_rtree *t;
    struct lh_tree_entry e;
    uint32_t index;
    char path[LH_TREE_PATH_MAX];
    struct lh_rspot at;
    struct lh_tree_dir *dir; /* of the last one, with a reference; or NULL */
    struct lh_rtree_trouble **troubles;
    struct lh_err *err;
};

static int failed(struct ask *a, int status, const char *words)
{
    if (lh_rtree_trouble(a->troubles, a->index, status, a->path, a->e.path_len, "%s", words) != 0)
        return lh_rtree_fail_sys(a->t, ENOMEM, "answer", a->err);
    return LH_WANTED_FAILED;
}

static int failed_sys(struct ask *a, int e, const char *what)
{
    if (lh_rtree_fatal(e))
        return lh_rtree_fail_at(a->t, e, what, a->path, a->e.path_len, a->err);
    if (lh_rtree_trouble(a->troubles, a->index, lh_status_of_write_errno(e), a->path, a->e.path_len,
                         "cannot %s: %s", what, strerror(e)) != 0)
        return lh_rtree_fail_sys(a->t, ENOMEM, "answer", a->err);
    return LH_WANTED_FAILED;
}

/* ---- what is there ---- */

/* In a dry run a directory is not made where it would be; what is in its way would be no more,
 * unless all that is there stays. */
static bool would_be_made(const struct lh_rtree *t, int e)
{
    bool in_the_way = e == ENOTDIR || e == ELOOP;

    return lh_rtree_dry(t) && (e == ENOENT || (in_the_way && !(t->flags & LH_OFFER_KEEP_ANY)));
}

/* 0 or an errno. */
static int look(struct ask *a)
{
    struct lh_rtree *t = a->t;
    size_t dir_len = lh_tree_dir_len(a->path, a->e.path_len);
    int e = ENOENT;

    a->at = (struct lh_rspot){.name = a->path + dir_len + (dir_len > 0)};
    if (t->root_fd >= 0)
        e = lh_tree_dir_turn(&t->dirs, a->path, dir_len, !lh_rtree_dry(t), &a->dir);
    if (e == 0 && !lh_rtree_dry(t))
        e = lh_tree_dir_know(&t->dirs, a->dir);
    if (e != 0)
        return would_be_made(t, e) ? 0 : e;
    a->at.dir = a->dir;
    if (a->at.dir->fresh && a->e.kind != LH_KIND_DIR && a->e.kind != LH_KIND_THERE)
        return 0; /* a name that comes twice is found when it is made or renamed */
    e = lh_disk_stat(a->at.dir->fd, a->at.name, &a->at.st);
    a->at.there = e == 0;
    return e == ENOENT ? 0 : e;
}

static int hash_of(int fd, struct lh_hash *out)
{
    struct lh_digest *d = lh_digest_new();
    uint8_t *buf = malloc(READ_BYTES);
    uint64_t at = 0;
    size_t n = 0;
    int e = d == NULL || buf == NULL ? ENOMEM : 0;

    while (e == 0) {
        e = lh_disk_read(fd, buf, READ_BYTES, at, &n);
        if (e != 0 || n == 0)
            break;
        lh_digest_bytes(d, buf, n);
        at += n;
    }
    if (e == 0)
        lh_digest_end(d, out);
    lh_digest_free(d);
    free(buf);
    return e;
}

/* One that cannot be read is taken for another. */
static bool same_contents(const struct ask *a)
{
    struct lh_hash hash;
    bool same;
    int fd = openat(a->at.dir->fd, a->at.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return false;
    same = a->e.has_hash && hash_of(fd, &hash) == 0 && memcmp(&hash, &a->e.hash, sizeof(hash)) == 0;
    close(fd);
    return same;
}

/* Whether anything that is kept is not as it should be, as far as that costs little to see. */
static bool differs(const struct ask *a)
{
    const struct lh_rtree *t = a->t;
    const struct lh_disk_stat *st = &a->at.st;
    mode_t mask = lh_rtree_mode_mask(t);

    return ((t->keep & LH_KEEP_MODE) && ((st->mode ^ a->e.mode) & mask) != 0) ||
           (lh_rtree_owner_kept(t) && (st->uid != a->e.uid || st->gid != a->e.gid)) ||
           a->e.xattrs_len > 0 ||
           ((t->keep & LH_KEEP_TIMES) && !lh_keep_same_time(&st->mtime, &a->e.mtime)) ||
           lh_rtree_acl_too_many(t, a->at.dir->fd, a->at.name) ||
           lh_rtree_xattrs_too_many(t, a->at.dir->fd, a->at.name);
}

/* The contents are the same; what else is kept of it may not be. *changed: it was not. Returns 0 or
 * an errno. */
static int refresh(struct ask *a, bool *changed)
{
    struct lh_rtree *t = a->t;
    struct lh_rdress d = lh_rdress_of(a->t, &a->e);
    uint64_t not_kept = 0;
    int e = 0;
    int fd;

    if (lh_rtree_dry(t) || !differs(a))
        return 0;
    fd = lh_rtree_open_there(a->at.dir, a->at.name, &d);
    if (fd < 0) {
        not_kept++;
    } else {
        e = lh_rtree_dress(t, fd, &d, &not_kept);
        if (a->at.dir->foreign)
            e = e == 0 ? lh_disk_sync(fd) : e;
        else
            lh_tree_dirs_touch_all(&t->dirs);
        close(fd);
        *changed = true;
    }
    lh_rtree_count_not_kept(t, not_kept);
    return e;
}

/* Whether what is there stays. 1, 0, or -errno. 2: its attributes are set, and not yet synced. */
static int stays(struct ask *a)
{
    bool changed = false;
    bool regular = S_ISREG(a->at.st.mode);
    struct lh_keep_file there = {.size = regular ? a->at.st.size : UINT64_MAX,
                                 .mtime = a->at.st.mtime};
    struct lh_keep_file offered = {.size = a->e.size, .mtime = a->e.mtime};
    enum lh_keep keep = lh_keep_decide(a->t->flags, &there, &offered);

    if (keep == LH_KEEP_IT)
        return 1;
    if (keep == LH_KEEP_SAME || (keep == LH_KEEP_COMPARE && same_contents(a))) {
        int e = refresh(a, &changed);

        return e != 0 ? -e : changed ? 2 : 1;
    }
    return 0;
}

/* ---- files ---- */

static int enter(struct ask *a)
{
    struct lh_rtree *t = a->t;
    struct lh_rfile *f = lh_rfile_new(&a->e, a->index, a->at.there);
    bool twice;

    if (f == NULL)
        return lh_rtree_fail_sys(t, ENOMEM, "remember what is wanted", a->err);
    pthread_mutex_lock(&t->lock);
    twice = lh_rtree_find_path(t, f->path, f->path_len) != NULL;
    if (!twice)
        lh_rtree_table_add(t, f);
    pthread_mutex_unlock(&t->lock);
    if (!twice)
        return 0;
    lh_rfile_free(f);
    return failed(a, LH_E_EXISTS, "this name comes twice in this transfer");
}

/* The directory at path[0..len), or NULL where it may not be opened: nor have we made anything in
 * it. 0 or an errno. */
static int on_way(struct ask *a, size_t len, struct lh_tree_dir **dir)
{
    int e = lh_tree_dir_get(&a->t->dirs, a->path, len, false, dir);

    if (e != 0)
        *dir = NULL;
    return e == EACCES ? 0 : e;
}

/* `above` holds the name of `dir`, which is to be on the disk. Either may be NULL. e: what went
 * wrong before. 0 or an errno. */
static int lead_to(struct ask *a, struct lh_tree_dir *above, struct lh_tree_dir *dir, int e)
{
    if (above != NULL) {
        lh_tree_dir_lasts(&a->t->dirs, above, true);
        if (e == 0 && (dir == NULL || !dir->led_to))
            e = lh_disk_sync_dir(above->fd);
        lh_tree_dir_put(&a->t->dirs, above);
    }
    if (e == 0 && dir != NULL)
        dir->led_to = true;
    return e;
}

/* A big one comes by itself, and is done when it and its own directory are synced, which may be
 * before the next commit of ours: names that lead there must be on the disk by then. From the root
 * down, so that all that leads to one that is led to is there. 0 or an errno. */
static int sync_way(struct ask *a)
{
    size_t len = lh_tree_dir_len(a->path, a->e.path_len);
    struct lh_tree_dir *above = NULL;
    struct lh_tree_dir *dir;
    int e = 0;

    lh_tree_dir_lasts(&a->t->dirs, a->dir, false);
    for (size_t at = 0; e == 0 && at < len && !a->dir->led_to; at++) {
        if (at > 0 && a->path[at] != '/')
            continue;
        e = on_way(a, at, &dir);
        e = lead_to(a, above, dir, e);
        above = dir;
    }
    return lead_to(a, above, a->dir, e);
}

static bool too_deep(const struct ask *a)
{
    unsigned n = 0;

    for (size_t i = 0; i < a->e.path_len; i++)
        n += a->path[i] == '/';
    return n > LH_PLACE_DEPTH_MAX;
}

static int ask_big(struct ask *a)
{
    int e = 0;

    if (too_deep(a))
        return failed(a, LH_E_PATH, "it is too deep for a file of 32 MiB or more");
    if (!lh_rtree_dry(a->t) && !lh_mutant("way-unsynced"))
        e = sync_way(a);
    return e == 0 ? 0 : failed_sys(a, e, "sync what leads to it");
}

static int ask_file(struct ask *a)
{
    int stay = 0;
    int r = 0;

    if (a->at.there && S_ISDIR(a->at.st.mode))
        return failed(a, LH_E_DEST_KIND, LH_RTREE_IN_THE_WAY);
    if (a->at.there)
        stay = stays(a);
    if (stay < 0)
        return failed_sys(a, -stay, "compare it with what is there");
    if (stay > 0)
        return stay > 1 ? LH_WANTED_MADE : LH_WANTED_KEPT;
    if (a->at.there && lh_rtree_made_meanwhile(a->t, a->at.dir, a->at.name, &a->at.st))
        return failed(a, LH_E_EXISTS, LH_RTREE_TWICE);
    if (a->e.size >= LH_TREE_BIG)
        r = ask_big(a);
    else if (!lh_rtree_dry(a->t))
        r = enter(a);
    if (r != 0)
        return r;
    return a->at.there ? LH_WANTED_CHANGED : LH_WANTED_NEW;
}

/* It came by itself, with its mode and times; the rest is set now. */
static int ask_there(struct ask *a)
{
    struct lh_rdress d = lh_rdress_of(a->t, &a->e);
    uint64_t not_kept = 0;
    int e = 0;

    if (!a->at.there || !lh_rtree_is_that(&a->at.st, a->e.size, &a->e.mtime))
        e = EINVAL;
    else if (!lh_rtree_dry(a->t) && differs(a))
        e = lh_rtree_dress_there(a->t, a->at.dir, a->at.name, a->e.size, &d, &not_kept);
    lh_rtree_count_not_kept(a->t, not_kept);
    if (e == EINVAL || e == ELOOP)
        return failed(a, LH_E_DEST_KIND, "it was received, and something else is there by now");
    return e == 0 ? LH_WANTED_KEPT : failed_sys(a, e, "set its attributes");
}

/* ---- entries ---- */

/* Returns enum lh_wanted or -LH_E_*. */
static int ask_one(struct ask *a)
{
    const char *why;
    int answer;
    int e;

    memcpy(a->path, a->e.path, a->e.path_len);
    a->path[a->e.path_len] = '\0';
    if (a->e.path_len == 0)
        return LH_WANTED_KEPT; /* the root was made when it was opened */
    why = lh_tree_path_wrong(a->e.path, a->e.path_len);
    if (why != NULL)
        return failed(a, LH_E_PATH, why);
    e = look(a);
    if (e == ELOOP || e == ENOTDIR)
        answer = failed(a, LH_E_DEST_KIND,
                        "a part of its path at the destination is a file or a symbolic link, "
                        "which is not followed");
    else if (e != 0)
        answer = failed_sys(a, e, "reach its place at the destination");
    else if (a->e.kind == LH_KIND_FILE)
        answer = ask_file(a);
    else if (a->e.kind == LH_KIND_THERE)
        answer = ask_there(a);
    else
        answer = lh_rtree_make(a->t, &a->e, a->index, &a->at, a->troubles, a->err);
    return answer;
}

/* Whether the index is one that may come now: -1 no, 0 not yet, 1 yes. */
static int may_ask(struct lh_rtree *t, uint32_t index, const struct lh_tree_entry *e)
{
    int may = 1;

    pthread_mutex_lock(&t->lock);
    if (index < t->told)
        may = -1;
    else if (t->ring[index % LH_TREE_SPAN] != NULL || t->entries.bytes >= LH_RTREE_BYTES_MAX ||
             !lh_account_room(&t->entries, lh_rtree_bytes_of(e)))
        may = 0;
    else
        t->told = index + 1;
    pthread_mutex_unlock(&t->lock);
    return may;
}

static void count(struct lh_rtree *t, uint8_t kind, int answer)
{
    bool dressed = answer == LH_WANTED_MADE && kind == LH_KIND_FILE;

    pthread_mutex_lock(&t->lock);
    t->stats.kept += (answer == LH_WANTED_KEPT && kind != LH_KIND_THERE) || dressed;
    t->stats.made += answer == LH_WANTED_MADE && !dressed;
    t->stats.failed += answer == LH_WANTED_FAILED;
    pthread_mutex_unlock(&t->lock);
}

/* It is over with what is kept: no power cut may take it. */
static int know_kept(struct lh_rtree *t, const struct lh_rtree_answers *a, struct lh_err *err)
{
    int e;

    if (lh_rtree_dry(t) || a->n == 0 || memchr(a->v, LH_WANTED_KEPT, a->n) == NULL)
        return 0;
    e = lh_tree_dirs_know(&t->dirs);
    return e == 0 ? 0 : lh_rtree_fail_sys(t, e, "sync what was there", err);
}

int lh_rtree_ask(struct lh_rtree *t, const uint8_t *payload, size_t len, uint32_t skip,
                 struct lh_rtree_answers *out, struct lh_err *err)
{
    struct lh_files_reader reader;
    const char *why = NULL;
    struct ask *a;
    int r = lh_rtree_check(t, err);
    int may = 1;

    if (r == 0 && lh_files_decode(payload, len, &reader, &why) != 0)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s", why);
    if (r != 0)
        return r;
    a = malloc(sizeof(*a));
    out->first = reader.first + skip;
    out->v = malloc(reader.n > 0 ? reader.n : 1);
    if (a == NULL || out->v == NULL) {
        free(a);
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    }
    *a = (struct ask){.t = t, .index = reader.first, .troubles = &out->troubles, .err = err};
    for (; r >= 0 && lh_files_next(&reader, &a->e); a->index++) {
        if (a->index < out->first)
            continue;
        may = may_ask(t, a->index, &a->e);
        if (may <= 0)
            break;
        lh_rtree_own(t, &a->e);
        lh_rtree_permit(t, &a->e, a->e.kind != LH_KIND_DIR && a->e.kind != LH_KIND_THERE);
        r = ask_one(a);
        if (r >= 0) {
            count(t, a->e.kind, r);
            out->v[out->n++] = (uint8_t)r;
        }
    }
    if (a->dir != NULL)
        lh_tree_dir_put(&t->dirs, a->dir);
    free(a);
    if (may < 0)
        return lh_err_set(err, LH_E_PROTOCOL, "an index was used twice");
    if (r >= 0)
        r = know_kept(t, out, err);
    if (r < 0)
        out->n = 0; /* it may not be so */
    return r < 0 ? r : may == 0;
}

void lh_rtree_answers_free(struct lh_rtree_answers *a)
{
    free(a->v);
    lh_rtree_troubles_free(a->troubles);
}
