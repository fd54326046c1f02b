/* A tree being received: opening it, its failures, and what it tells its target.
 *
 * Thread: open on an I/O thread; the rest any.
 *
 * Happy path: the tree's root is opened, and made when it is missing -> entries are asked for
 * (rtree_ask.c), written (rtree_write.c) and committed (rtree_commit.c) -> what is settled is
 * taken. Failures: the first that is the tree's is kept in `why` and answers everything that comes
 * later.
 */
#include "io/rtree/rtree_impl.h"

#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- failing ---- */

bool lh_rtree_fatal(int e)
{
    return e == ENOSPC || e == EDQUOT || e == EROFS || e == EIO || e == EMFILE || e == ENFILE ||
           e == ENOMEM;
}

int lh_rtree_fail(struct lh_rtree *t, const struct lh_err *why, struct lh_err *err)
{
    struct lh_err first;

    pthread_mutex_lock(&t->lock);
    if (t->why.status == 0)
        t->why = *why;
    first = t->why;
    pthread_mutex_unlock(&t->lock);
    if (err != NULL)
        *err = first;
    return -first.status;
}

int lh_rtree_fail_sys(struct lh_rtree *t, int e, const char *what, struct lh_err *err)
{
    struct lh_err why;

    lh_err_sys(&why, lh_status_of_write_errno(e), e, "%s: cannot %s", t->shown, what);
    return lh_rtree_fail(t, &why, err);
}

int lh_rtree_fail_at(struct lh_rtree *t, int e, const char *what, const char *path, size_t path_len,
                     struct lh_err *err)
{
    char shown[LH_RTREE_SHOWN_SIZE];
    struct lh_err why;

    lh_text_escape(shown, sizeof(shown), path, path_len);
    lh_err_sys(&why, lh_status_of_write_errno(e), e, "%s/%s: cannot %s", t->shown, shown, what);
    return lh_rtree_fail(t, &why, err);
}

/* The caller holds the lock. */
static int failed_locked(const struct lh_rtree *t, struct lh_err *err)
{
    if (t->why.status != 0 && err != NULL)
        *err = t->why;
    return -t->why.status;
}

int lh_rtree_check(struct lh_rtree *t, struct lh_err *err)
{
    int r;

    pthread_mutex_lock(&t->lock);
    r = failed_locked(t, err);
    pthread_mutex_unlock(&t->lock);
    return r;
}

int lh_rtree_trouble(struct lh_rtree_trouble **list, uint32_t entry, int status, const char *path,
                     size_t path_len, const char *fmt, ...)
{
    char text[LH_RTREE_SHOWN_SIZE + 160];
    struct lh_rtree_trouble *trouble;
    size_t used;
    va_list ap;

    lh_text_escape(text, LH_RTREE_SHOWN_SIZE, path, path_len);
    used = strlen(text);
    used += (size_t)snprintf(text + used, sizeof(text) - used, ": ");
    va_start(ap, fmt);
    vsnprintf(text + used, sizeof(text) - used, fmt, ap);
    va_end(ap);
    trouble = malloc(sizeof(*trouble) + strlen(text) + 1);
    if (trouble == NULL)
        return -LH_E_NOMEM;
    trouble->entry = entry;
    trouble->status = status;
    memcpy(trouble->text, text, strlen(text) + 1);
    trouble->next = *list;
    *list = trouble;
    return 0;
}

void lh_rtree_troubles_free(struct lh_rtree_trouble *list)
{
    while (list != NULL) {
        struct lh_rtree_trouble *next = list->next;

        free(list);
        list = next;
    }
}

int lh_rtree_drop(struct lh_rtree *t, struct lh_rfile *f, int e, const char *what)
{
    f->dropped = true;
    t->stats.failed++;
    if (e == EEXIST)
        return lh_rtree_trouble(&t->troubles, f->index, LH_E_EXISTS, f->path, f->path_len, "%s",
                                LH_RTREE_TWICE);
    return lh_rtree_trouble(&t->troubles, f->index, lh_status_of_write_errno(e), f->path,
                            f->path_len, "cannot %s: %s", what, strerror(e));
}

/* ---- asked, taken, told ---- */

/* The same for the same root and name, so that a later run finds what a killed one left; another
 * than that of a file sent by itself, or of another tree that overlaps. */
void lh_rtree_part_of(const struct lh_rtree *t, const char *name, char part[LH_HIDDEN_SIZE])
{
    uint8_t salted[LH_HASH_SIZE + NAME_MAX];
    size_t len = strnlen(name, NAME_MAX);

    memcpy(salted, t->salt, LH_HASH_SIZE);
    memcpy(salted + LH_HASH_SIZE, name, len);
    lh_hidden_part_of(salted, LH_HASH_SIZE + len, part);
}

bool lh_rtree_soon(const struct lh_rtree *t)
{
    /* With long paths or attributes few fill the table, and nothing more is asked for until they
     * are out of it. */
    bool full = t->entries.bytes >= LH_RTREE_BYTES_MAX / 2 && t->n_whole >= t->n_files / 2;

    return t->n_whole >= t->commit_files || (t->n_whole > 0 && full) ||
           (t->waited_for && t->n_partial == 0);
}

bool lh_rtree_awaits(struct lh_rtree *t)
{
    bool awaits;

    pthread_mutex_lock(&t->lock);
    awaits = t->n_files > 0;
    pthread_mutex_unlock(&t->lock);
    return awaits;
}

/* The caller holds the lock. */
static void note_made(struct lh_rtree *t, uint32_t index)
{
    int r = lh_runs_add(&t->made, index, index + 1u);

    if (r != 0 && t->why.status == 0)
        lh_err_set(&t->why, -r, "%s: cannot remember what was made: %s", t->shown,
                   lh_status_text(r));
}

int lh_rtree_asked(struct lh_rtree *t, const struct lh_rtree_answers *answers, bool last)
{
    int due = 0;

    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < answers->n; i++)
        if (answers->v[i] == LH_WANTED_MADE && !lh_rtree_dry(t))
            note_made(t, answers->first + i);
    t->waited_for = last;
    if (t->made.n > 0 || t->n_whole > 0)
        due = lh_rtree_soon(t) ? 2 : 1;
    pthread_mutex_unlock(&t->lock);
    return due;
}

void lh_rtree_take(struct lh_rtree *t, struct lh_runs *settled, struct lh_rtree_trouble **troubles)
{
    pthread_mutex_lock(&t->lock);
    lh_runs_free(settled);
    *settled = t->settled;
    lh_runs_init(&t->settled, LH_RUNS_MAX);
    *troubles = t->troubles;
    t->troubles = NULL;
    pthread_mutex_unlock(&t->lock);
}

void lh_rtree_stats(struct lh_rtree *t, struct lh_rtree_stats *stats)
{
    pthread_mutex_lock(&t->lock);
    *stats = t->stats;
    pthread_mutex_unlock(&t->lock);
}

struct lh_store *lh_rtree_store(struct lh_rtree *t)
{
    return &t->store;
}

/* ---- opening ---- */

/* umask(2) cannot be asked without being set, for all threads. */
static unsigned umask_of_process(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    unsigned mask = 077;
    char line[256];

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "Umask: %o", &mask) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return mask;
}

/* The names of the directories that lead to the root, up to the receiver's own: whoever made them
 * may not have come to sync them. 0 or an errno of the disk. */
static int sync_above(const struct lh_rtree *t, const struct lh_place *place)
{
    struct lh_disk_stat top, st;
    int fd = -1;
    int e = lh_disk_stat(lh_place_fd(place), "", &top);

    if (e == 0)
        e = lh_disk_stat(t->root_fd, "", &st);
    while (e == 0 && st.dev == top.dev && st.ino != top.ino) {
        uint64_t below = st.ino;
        int up = openat(fd >= 0 ? fd : t->root_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (up < 0)
            break; /* not ours to see */
        if (fd >= 0)
            close(fd);
        fd = up;
        e = lh_disk_sync_dir(fd);
        if (e == 0)
            e = lh_disk_stat(fd, "", &st);
        if (st.ino == below)
            break;
    }
    if (fd >= 0)
        close(fd);
    return e;
}

static int open_root(struct lh_rtree *t, const struct lh_rtree_open *how, uint64_t *dev,
                     struct lh_err *err)
{
    struct lh_disk_stat st;
    uint64_t id[2];
    struct lh_hash hash;
    int e;
    int r = lh_place_tree(how->root, how->path, how->path_len, !lh_rtree_dry(t), &t->root_fd, err);

    if (r != 0)
        return r;
    e = lh_disk_stat(t->root_fd >= 0 ? t->root_fd : lh_place_fd(how->root), "", &st);
    if (e != 0)
        return lh_err_sys(err, LH_E_DEST, e, "cannot look at %s", t->shown);
    id[0] = st.dev;
    id[1] = st.ino;
    lh_hash_bytes(id, sizeof(id), &hash);
    memcpy(t->salt, hash.bytes, sizeof(t->salt));
    t->dev = *dev = st.dev;
    if (t->root_fd < 0)
        return 0;
    /* Others than root can write only to what they may. */
    t->dirs.open_up = !lh_rtree_dry(t) && !t->is_root && (t->keep & LH_KEEP_MODE);
    e = lh_tree_dirs_root(&t->dirs, t->root_fd, st.dev);
    if (e != 0)
        return lh_err_sys(err, LH_E_DEST, e, "cannot open %s again", t->shown);
    e = lh_rtree_dry(t) ? 0 : sync_above(t, how->root);
    if (e != 0)
        return lh_err_sys(err, LH_E_DEST, e, "cannot sync what leads to %s", t->shown);
    if (!lh_rtree_dry(t) && lh_rtree_in_memory(t->root_fd))
        t->unnamed = lh_rtree_unnamed_how(t->root_fd);
    return 0;
}

#define OWN_BYTES (LH_RTREE_TABLE_BYTES + LH_RTREE_ENTRIES_OWN + LH_RTREE_RUNS_OWN)

static int take_memory(struct lh_rtree *t, struct lh_quota *memory, struct lh_err *err)
{
    if (memory != NULL && !lh_quota_take(memory, OWN_BYTES))
        return lh_err_set(err, LH_E_BUSY,
                          "this receiver has no memory for another tree now (--tree-memory): try "
                          "again when others have ended");
    t->memory = memory;
    lh_account_init(&t->entries, memory, LH_RTREE_ENTRIES_OWN);
    lh_account_init(&t->runs, memory, LH_RTREE_RUNS_OWN);
    return 0;
}

/* All that it holds is freed. */
void lh_rtree_give_memory(struct lh_rtree *t)
{
    if (t->memory == NULL)
        return;
    lh_account_end(&t->entries);
    lh_account_end(&t->runs);
    lh_quota_give(t->memory, OWN_BYTES);
}

static const struct lh_store_ops ops = {
    .write = lh_rtree_write,
    .wants = lh_rtree_wants,
    .pending_bytes = lh_rtree_pending_bytes,
    .commit_begin = lh_rtree_commit_begin,
    .commit_end = lh_rtree_commit_end,
    .fence = lh_rtree_fence,
    .close = lh_rtree_close,
};

int lh_rtree_open(const struct lh_rtree_open *how, struct lh_rtree **tree, uint64_t *dev,
                  struct lh_err *err)
{
    struct lh_rtree *t = calloc(1, sizeof(*t));
    int r;

    if (t == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    t->store = (struct lh_store){.ops = &ops, .block_bytes = how->block_bytes, .shown = t->shown};
    t->flags = how->flags;
    t->keep = how->keep;
    t->allow = how->allow;
    lh_rtree_note_time(t);
    t->root_fd = -1;
    t->umask = umask_of_process();
    t->uid = geteuid();
    t->gid = getegid();
    t->is_root = t->uid == 0;
    t->whole_end = &t->whole;
    t->commit_files = LH_RTREE_COMMIT_LEAST;
    lh_text_escape(t->shown, sizeof(t->shown), how->path, how->path_len);
    lh_idmap_init(&t->owners);
    lh_runs_init(&t->made, LH_RUNS_MAX);
    lh_runs_init(&t->settled, LH_RUNS_MAX);
    lh_runs_init(&t->batch_runs, LH_RUNS_MAX);
    lh_ledger_init(&t->ledger, INT64_MAX / how->block_bytes, how->max_pending);
    lh_ledger_hold(&t->ledger, how->epoch);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->created, NULL);
    pthread_cond_init(&t->quiet, NULL);
    lh_tree_dirs_init(&t->dirs);
    r = take_memory(t, how->memory, err);
    if (r == 0 && (r = lh_rtree_table_init(t)) != 0)
        lh_err_set(err, LH_E_NOMEM, "out of memory");
    if (r == 0)
        r = open_root(t, how, dev, err);
    if (r != 0) {
        lh_rtree_close(&t->store);
        return r;
    }
    *tree = t;
    return 0;
}

int lh_rtree_key_of(const struct lh_place *root, const uint8_t *path, size_t path_len,
                    struct lh_sink_key *key, struct lh_err *err)
{
    struct lh_disk_stat st;
    int fd;
    int e;
    int r = lh_place_tree(root, path, path_len, true, &fd, err);

    if (r != 0)
        return r;
    e = lh_disk_stat(fd, "", &st);
    close(fd);
    if (e != 0)
        return lh_err_sys(err, LH_E_DEST, e, "cannot look at the destination's directory");
    key->dev = st.dev;
    key->ino = st.ino;
    memset(&key->name, 0, sizeof(key->name));
    return 0;
}
