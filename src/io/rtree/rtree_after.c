/* What comes after the contents of a tree: attributes of what is there, lists, removal.
 *
 * Thread: attrs and remove on the committer, list on an opener.
 *
 * Happy path: ATTRS sets modes, times, owners of directories in the order told, deepest first, when
 * nothing more is put into them. LIST reads a directory; our own hidden names are not told. REMOVE
 * unlinks what it names and syncs before it says so. Failures: of one entry, told; of the disk, the
 * tree's. */
#include "io/rtree/rtree_impl.h"

#include "io/disk/partials.h"
#include "proto/frame.h"
#include "util/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEING_RECEIVED EINPROGRESS /* no system call here fails with it */

/* ---- attributes ---- */

static int dress_dir(struct lh_rtree *t, const struct lh_tree_entry *entry, const char *path,
                     uint64_t *not_kept)
{
    struct lh_rdress d = lh_rdress_of(t, entry);
    struct lh_tree_dir *dir;
    int e = lh_tree_dir_get(&t->dirs, path, entry->path_len, false, &dir);

    if (e != 0)
        return e;
    e = lh_rtree_dress(t, dir->fd, &d, not_kept);
    if (e == 0) {
        lh_tree_dir_dressed(&t->dirs, dir);
        e = lh_tree_dir_touch(&t->dirs, dir);
    }
    lh_tree_dir_put(&t->dirs, dir);
    return e;
}

/* ---- entries of ATTRS and REMOVE ---- */

static const char *wrong_path(const struct lh_tree_entry *e, bool root_allowed)
{
    if (e->path_len == 0 && root_allowed)
        return NULL;
    return lh_tree_path_wrong(e->path, e->path_len);
}

static const char *words_of(int e)
{
    return e == BEING_RECEIVED ? "something in it is being received" : strerror(e);
}

/* Told when it is of the entry: 0. Else the tree has failed: -LH_E_*. */
static int entry_failed(struct lh_rtree *t, const struct lh_tree_entry *entry, uint32_t index,
                        int e, const char *what, struct lh_rtree_trouble **troubles,
                        struct lh_err *err)
{
    if (lh_rtree_fatal(e))
        return lh_rtree_fail_sys(t, e, what, err);
    if (lh_rtree_trouble(troubles, index, lh_status_of_write_errno(e), (const char *)entry->path,
                         entry->path_len, "cannot %s: %s", what, words_of(e)) != 0)
        return lh_rtree_fail_sys(t, ENOMEM, what, err);
    return 0;
}

static int path_failed(struct lh_rtree *t, const struct lh_tree_entry *entry, uint32_t index,
                       const char *why, struct lh_rtree_trouble **troubles, struct lh_err *err)
{
    if (lh_rtree_trouble(troubles, index, LH_E_PATH, (const char *)entry->path, entry->path_len,
                         "%s", why) != 0)
        return lh_rtree_fail_sys(t, ENOMEM, "answer", err);
    return 0;
}

static void path_of(const struct lh_tree_entry *entry, char path[LH_TREE_PATH_MAX])
{
    memcpy(path, entry->path, entry->path_len);
    path[entry->path_len] = '\0';
}

static int decode(struct lh_rtree *t, const uint8_t *payload, size_t len,
                  struct lh_files_reader *reader, struct lh_err *err)
{
    const char *why = NULL;
    int r = lh_rtree_check(t, err);

    if (r == 0 && lh_files_decode(payload, len, reader, &why) != 0)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s", why);
    return r;
}

/* A directory that could not be made was told of then. */
static bool failed_before(struct lh_rtree *t, int e)
{
    bool before;

    pthread_mutex_lock(&t->lock);
    before = t->stats.failed > 0;
    pthread_mutex_unlock(&t->lock);
    return before && (e == ENOENT || e == ENOTDIR || e == ELOOP);
}

int lh_rtree_attrs(struct lh_rtree *t, const uint8_t *payload, size_t len,
                   struct lh_rtree_trouble **troubles, struct lh_err *err)
{
    struct lh_files_reader reader;
    struct lh_tree_entry entry;
    uint64_t not_kept = 0;
    char path[LH_TREE_PATH_MAX];
    int r = decode(t, payload, len, &reader, err);

    if (lh_rtree_dry(t))
        return r;
    for (uint32_t index = r == 0 ? reader.first : 0; r == 0 && lh_files_next(&reader, &entry);
         index++) {
        const char *why = wrong_path(&entry, true);
        int e = 0;

        if (entry.kind != LH_KIND_DIR) /* all else gets its own when it is made */
            continue;
        path_of(&entry, path);
        lh_rtree_own(t, &entry);
        lh_rtree_permit(t, &entry, true);
        if (why != NULL)
            r = path_failed(t, &entry, index, why, troubles, err);
        else
            e = dress_dir(t, &entry, path, &not_kept);
        if (e != 0 && !failed_before(t, e))
            r = entry_failed(t, &entry, index, e, "set its attributes", troubles, err);
    }
    lh_rtree_count_not_kept(t, not_kept);
    return r;
}

/* ---- removal ---- */

/* Hidden files of a target: what a killed run left, or of a file that is sent by itself and may be
 * under way now. */
static int remove_half(int dirfd, const char *name, const struct lh_hidden *h)
{
    struct lh_disk_stat journal;
    struct lh_err err = {0};

    if (lh_disk_stat(dirfd, h->journal, &journal) == ENOENT)
        unlinkat(dirfd, name, 0);
    else if (lh_partials_remove(dirfd, h, &err) == -LH_E_BUSY)
        return BEING_RECEIVED;
    return 0;
}

/* Of a directory that is to go, when nothing else is in it. 0, ENOTEMPTY or BEING_RECEIVED. */
static int remove_hidden(int dirfd)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *d;
    struct lh_hidden h;
    int e = 0;

    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return ENOTEMPTY;
    }
    while (e == 0 && (d = readdir(dir)) != NULL)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            !lh_hidden_parse(d->d_name, &h))
            e = ENOTEMPTY;
    rewinddir(dir);
    while (e == 0 && (d = readdir(dir)) != NULL)
        if (lh_hidden_parse(d->d_name, &h))
            e = remove_half(dirfd, d->d_name, &h);
    closedir(dir);
    return e;
}

static int remove_dir(struct lh_rtree *t, const struct lh_tree_dir *dir, const char *path,
                      size_t len, const char *name)
{
    struct lh_tree_dir *it;
    int e;

    if (unlinkat(dir->fd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return errno;
    if (lh_tree_dir_get(&t->dirs, path, len, false, &it) != 0)
        return ENOTEMPTY;
    e = remove_hidden(it->fd);
    lh_tree_dir_put(&t->dirs, it);
    if (e != 0)
        return e;
    return unlinkat(dir->fd, name, AT_REMOVEDIR) == 0 ? 0 : errno;
}

/* 0 or an errno. */
static int remove_in(struct lh_rtree *t, const struct lh_tree_dir *dir,
                     const struct lh_tree_entry *entry, const char *path, const char *name)
{
    if (entry->kind == LH_KIND_DIR)
        return remove_dir(t, dir, path, entry->path_len, name);
    return unlinkat(dir->fd, name, 0) == 0 ? 0 : errno;
}

/* 0 or an errno; what is not there is gone. */
static int remove_entry(struct lh_rtree *t, const struct lh_tree_entry *entry, const char *path)
{
    size_t dir_len = lh_tree_dir_len(path, entry->path_len);
    const char *name = path + dir_len + (dir_len > 0);
    struct lh_tree_dir *dir;
    int e = lh_tree_dir_get(&t->dirs, path, dir_len, false, &dir);

    if (e != 0)
        return e == ENOENT ? 0 : e;
    e = remove_in(t, dir, entry, path, name);
    if (lh_tree_dir_again(&t->dirs, dir, e))
        e = remove_in(t, dir, entry, path, name);
    if (e == 0)
        e = lh_tree_dir_touch(&t->dirs, dir);
    lh_tree_dir_put(&t->dirs, dir);
    return e == ENOENT ? 0 : e;
}

int lh_rtree_remove(struct lh_rtree *t, const uint8_t *payload, size_t len, struct lh_runs *gone,
                    struct lh_rtree_trouble **troubles, struct lh_err *err)
{
    struct lh_files_reader reader;
    struct lh_tree_entry entry;
    char path[LH_TREE_PATH_MAX];
    uint64_t removed = 0;
    int r = decode(t, payload, len, &reader, err);
    int e;

    for (uint32_t index = r == 0 ? reader.first : 0; r == 0 && lh_files_next(&reader, &entry);
         index++) {
        const char *why = wrong_path(&entry, false);

        path_of(&entry, path);
        e = why == NULL && !lh_rtree_dry(t) ? remove_entry(t, &entry, path) : 0;
        if (why != NULL)
            r = path_failed(t, &entry, index, why, troubles, err);
        else if (e != 0)
            r = entry_failed(t, &entry, index, e, "remove it", troubles, err);
        else if (lh_runs_add(gone, index, index + 1u) != 0)
            r = lh_rtree_fail_sys(t, ENOMEM, "answer", err);
        else
            removed++;
    }
    lh_tree_dirs_forget(&t->dirs);
    e = r == 0 && !lh_rtree_dry(t) ? lh_tree_dirs_sync(&t->dirs) : 0;
    if (e != 0)
        r = lh_rtree_fail_sys(t, e, "sync what was removed", err);
    pthread_mutex_lock(&t->lock);
    t->stats.removed += removed;
    pthread_mutex_unlock(&t->lock);
    return r;
}

/* ---- lists ---- */

struct lh_rtree_list {
    uint32_t tag;
    enum lh_names_state state;
    DIR *dir;                 /* NULL: it is not there, or not to be read */
    const struct dirent *due; /* did not fit into the last frame */
};

int lh_rtree_list_open(struct lh_rtree *t, uint32_t tag, const uint8_t *path, size_t path_len,
                       struct lh_rtree_list **out, struct lh_err *err)
{
    const char *why = path_len == 0 ? NULL : lh_tree_path_wrong(path, path_len);
    struct lh_rtree_list *list;
    struct lh_tree_dir *dir;
    char text[LH_TREE_PATH_MAX];
    int fd = -1;
    int e = ENOENT;

    if (why != NULL)
        return lh_err_set(err, LH_E_PATH, "LIST of a path that is not allowed: %s", why);
    memcpy(text, path, path_len);
    if (t->root_fd >= 0)
        e = lh_tree_dir_look(&t->dirs, text, path_len, &dir);
    if (e == 0) {
        fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        e = fd < 0 ? errno : 0;
        lh_tree_dir_put(&t->dirs, dir);
    }
    if (lh_rtree_fatal(e))
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "%s: cannot list a directory",
                          t->shown);
    list = calloc(1, sizeof(*list));
    if (list != NULL && fd >= 0)
        list->dir = fdopendir(fd);
    if (list == NULL || (fd >= 0 && list->dir == NULL)) {
        if (fd >= 0)
            close(fd);
        free(list);
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    }
    list->tag = tag;
    if (e != 0 && e != ENOENT && e != ENOTDIR && e != ELOOP)
        list->state = LH_NAMES_UNREAD;
    if (list->dir != NULL && lh_rtree_folds(list->dir))
        list->state = LH_NAMES_FOLD;
    *out = list;
    return 0;
}

/* 0: it is not to be told of. */
static uint8_t kind_of(DIR *dir, const struct dirent *d)
{
    struct lh_disk_stat st;

    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0 ||
        lh_hidden_reserved(d->d_name))
        return 0;
    if (d->d_type != DT_UNKNOWN)
        return lh_disk_kind(DTTOIF(d->d_type));
    return lh_disk_stat(dirfd(dir), d->d_name, &st) == 0 ? lh_disk_kind(st.mode) : 0;
}

size_t lh_rtree_list_next(struct lh_rtree_list *list, uint8_t *out, bool *last)
{
    struct lh_names_writer w;

    lh_names_begin(&w, out, list->tag);
    *last = true;
    while (list->dir != NULL) {
        const struct dirent *d = list->due;
        uint8_t kind;

        errno = 0;
        if (d == NULL)
            d = readdir(list->dir);
        list->due = NULL;
        if (d == NULL) {
            if (errno != 0)
                list->state = LH_NAMES_UNREAD;
            break;
        }
        kind = kind_of(list->dir, d);
        if (kind != 0 && !lh_names_add(&w, kind, (const uint8_t *)d->d_name, strlen(d->d_name))) {
            list->due = d; /* stays until the next is read */
            *last = false;
            break;
        }
    }
    return lh_names_end(&w, list->state);
}

void lh_rtree_list_close(struct lh_rtree_list *list)
{
    if (list == NULL)
        return;
    if (list->dir != NULL)
        closedir(list->dir);
    free(list);
}
