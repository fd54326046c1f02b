/* Finding, listing and removing what was left half done.
 *
 * Thread: the caller's, or an I/O thread; blocking. Owner: nobody, there is no state.
 *
 * Happy path: walk the tree below the root, never through a symbolic link -> at each journal, read
 * what it says without locking or changing it -> at each staging file without a journal, report it
 * as damaged -> ask -> remove under the journal's lock, and only if nobody has touched it
 * meanwhile.
 *
 * Failures: a directory that cannot be opened, or vanishes, is passed over; so is what lies deeper
 * than DEPTH_MAX, where each level costs a descriptor. Of the root itself it is an error. */
#include "io/disk/partials.h"

#include "core/sched.h"
#include "io/disk/journal.h"
#include "io/disk/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <longhaul/longhaul.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 128
#define PATH_SIZE (LH_DESTINATION_MAX + 256)

struct walk {
    int (*each)(void *arg, const struct lh_partial *partial);
    void *arg;
    uint64_t n_removed;
    size_t path_len;      /* of the directory at hand, with a slash behind it; 0 for the root */
    char path[PATH_SIZE]; /* behind it: room for a name */
};

/* Under the lock, so that no receiver is surprised; a journal is made for that when there is none.
 * touched: as it was when it was looked at. */
static bool remove_partial(int dirfd, const struct lh_hidden *h, bool orphan,
                           const struct lh_time *touched)
{
    struct lh_journal *j;
    struct lh_disk_stat st;
    bool gone = false;

    if (lh_journal_open(dirfd, h, h->journal, orphan, &j, NULL) != 0 || j == NULL)
        return false;
    if (orphan ? lh_journal_empty(j)
               : lh_disk_stat(dirfd, h->journal, &st) == 0 && st.mtime.sec == touched->sec &&
                     st.mtime.nsec == touched->nsec) {
        gone = lh_hidden_remove(dirfd, h) == 0;
        (void)lh_disk_sync_dir(dirfd);
    }
    lh_journal_close(j);
    return gone;
}

int lh_partials_remove(int dirfd, const struct lh_hidden *h, struct lh_err *err)
{
    struct lh_journal *j;
    int r = lh_journal_open(dirfd, h, h->journal, false, &j, err);
    int e;

    if (r != 0 || j == NULL)
        return r;
    e = lh_hidden_remove(dirfd, h);
    lh_journal_close(j);
    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot remove %s", h->journal);
    return 0;
}

static void put_name(struct walk *w, const char *name)
{
    snprintf(w->path + w->path_len, sizeof(w->path) - w->path_len, "%s", name);
}

static uint64_t durable_bytes(const struct lh_journal_state *st)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < st->durable.n; i++) {
        uint64_t end = st->durable.v[i].end * st->head.block_bytes;

        bytes += (end < st->head.source.size ? end : st->head.source.size) -
                 st->durable.v[i].first * st->head.block_bytes;
    }
    return bytes;
}

static int visit_journal(struct walk *w, int dirfd, const struct lh_hidden *h)
{
    struct lh_partial partial = {.path = w->path};
    struct lh_journal_state st;
    struct lh_disk_stat file;
    int fd = openat(dirfd, h->journal, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    int r;

    if (fd < 0)
        return 0; /* it went away, or is not ours to read */
    if (lh_disk_stat(fd, "", &file) != 0 || !S_ISREG(file.mode)) {
        close(fd);
        return 0;
    }
    lh_journal_state_init(&st);
    r = lh_journal_scan(fd, &st, NULL);
    partial.touched_s = file.mtime.sec;
    partial.held = lh_journal_held(fd);
    close(fd);
    partial.damaged = r != 0 || !st.valid;
    if (partial.damaged) {
        put_name(w, h->journal);
    } else {
        put_name(w, st.name);
        partial.bytes_total = st.head.source.size;
        partial.bytes_durable = durable_bytes(&st);
        partial.done = st.done;
    }
    lh_journal_state_free(&st);
    if (r == -LH_E_NOMEM)
        return r;
    if (w->each(w->arg, &partial) != 0 && !partial.held &&
        remove_partial(dirfd, h, false, &file.mtime))
        w->n_removed++;
    return 0;
}

/* A staging file, or what is left of an index: worth telling of when no journal speaks for it. */
static void visit_orphan(struct walk *w, int dirfd, const struct lh_hidden *h, const char *name)
{
    struct lh_partial partial = {.path = w->path, .damaged = true};
    struct lh_disk_stat journal;
    struct lh_disk_stat file;

    if (lh_disk_stat(dirfd, h->journal, &journal) != ENOENT ||
        lh_disk_stat(dirfd, name, &file) != 0)
        return;
    put_name(w, name);
    partial.bytes_total = file.size;
    partial.touched_s = file.mtime.sec;
    if (w->each(w->arg, &partial) != 0 && remove_partial(dirfd, h, true, NULL))
        w->n_removed++;
}

static int visit_dir(struct walk *w, int fd, int depth);

static int visit_entry(struct walk *w, int dirfd, const struct dirent *entry, int depth)
{
    const char *name = entry->d_name;
    size_t len = strlen(name);
    struct lh_hidden h;
    int fd;
    int r;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (lh_hidden_parse(name, &h)) {
        if (strcmp(name, h.journal) == 0)
            return visit_journal(w, dirfd, &h);
        visit_orphan(w, dirfd, &h, name);
        return 0;
    }
    if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
        return 0;
    /* Room must be left for a name below it. */
    if (depth >= DEPTH_MAX || w->path_len + len + 1 + 256 > sizeof(w->path))
        return 0;
    fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return 0;
    memcpy(w->path + w->path_len, name, len);
    w->path_len += len;
    w->path[w->path_len++] = '/';
    r = visit_dir(w, fd, depth + 1);
    w->path_len -= len + 1;
    return r;
}

/* Takes over `fd`. Recursion is bounded by DEPTH_MAX. */
static int visit_dir(struct walk *w, int fd, int depth)
{
    const struct dirent *entry;
    DIR *dir = fdopendir(fd);
    int r = 0;

    if (dir == NULL) {
        close(fd);
        return -LH_E_NOMEM;
    }
    while (r == 0 && (entry = readdir(dir)) != NULL)
        r = visit_entry(w, fd, entry, depth);
    closedir(dir);
    return r;
}

static int walk_root(struct walk *w, const char *root, struct lh_err *err)
{
    int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return lh_err_sys(err, LH_E_DEST, errno, "cannot open the root directory %s", root);
    if (visit_dir(w, fd, 0) != 0)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    return 0;
}

int lh_partials_each(const char *root, int (*each)(void *arg, const struct lh_partial *partial),
                     void *arg, uint64_t *n_removed, char *text, size_t text_size)
{
    struct walk w = {.each = each, .arg = arg};
    struct lh_err err = {0};
    int r = walk_root(&w, root, &err);

    if (n_removed != NULL)
        *n_removed = w.n_removed;
    if (text != NULL && text_size > 0)
        snprintf(text, text_size, "%s", err.text);
    return r;
}

static int is_older(void *arg, const struct lh_partial *partial)
{
    const int64_t *before_s = arg;

    return partial->touched_s < *before_s;
}

int lh_partials_expire(const char *root, uint64_t ttl_ms, uint64_t *n_removed, struct lh_err *err)
{
    int64_t before_s = (int64_t)time(NULL) - (int64_t)(ttl_ms / 1000);
    struct walk w = {.each = is_older, .arg = &before_s};
    int r = walk_root(&w, root, err);

    if (n_removed != NULL)
        *n_removed = w.n_removed;
    return r;
}
