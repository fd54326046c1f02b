/* Reading directories, and looking at what is in them; contract in walk_impl.h.
 *
 * Thread: as the walk. Failures: a name that goes away between being read and being looked at fails
 * by name, like one that cannot be looked at. */
#include "io/source/walk_impl.h"

#include "io/disk/deep.h"
#include "io/disk/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_SIZE (128u * 1024)

/* Before the path of a directory that is to be read. */
struct todo {
    uint32_t depth;
    uint32_t shared;
};

static bool follows(const struct lh_walk *w)
{
    return w->opts->links == LH_LINKS_FOLLOW;
}

int lh_walk_open_dir(const struct lh_walk *w, const struct lh_walk_source *src, const char *rel)
{
    int root = lh_walk_hold(src);
    int fd;

    if (root < 0)
        return root;
    fd = lh_deep_open(root, rel, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC,
                      follows(w) ? RESOLVE_NO_MAGICLINKS
                                 : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    lh_walk_let_go(src, root);
    return fd;
}

/* One of the directories that it is in: then a link leads back to it. */
static bool is_ancestor(const struct lh_walk *w, const struct lh_disk_stat *st)
{
    for (size_t i = 0; w->dir_fd >= 0 && i <= w->depth; i++) {
        if (w->ancestors[i].dev == st->dev && w->ancestors[i].ino == st->ino)
            return true;
    }
    return false;
}

/* To be read later. */
static int push(struct lh_walk *w, struct lh_err *err)
{
    struct todo todo = {w->dir_fd >= 0 ? w->depth + 1 : 0, w->entry_shared};
    uint8_t record[sizeof(todo) + LH_TREE_PATH_MAX];

    memcpy(record, &todo, sizeof(todo));
    memcpy(record + sizeof(todo), w->path, w->path_len);
    return lh_spill_append(&w->todo, record, sizeof(todo) + w->path_len, NULL, err);
}

static int take_dir(struct lh_walk *w, const struct lh_disk_stat *st, bool descend,
                    const struct lh_walk_entry *e, struct lh_err *err)
{
    int r = 0;

    /* Of another file system comes the place where it is mounted, empty. */
    if (descend && !lh_walk_dir_is_elsewhere(w, e))
        r = push(w, err);
    if (r == 0)
        r = lh_walk_keep(&w->dirs, e, NULL, err);
    return r == 0 ? LH_WALK_ENTRY : r;
}

static int take_link(struct lh_walk *w, int dirfd, const char *name, struct lh_walk_entry *e,
                     struct lh_err *err)
{
    ssize_t n;

    n = readlinkat(dirfd, name, w->link, sizeof(w->link) - 1);
    if (n <= 0)
        return lh_walk_fail(w, e, n < 0 ? errno : ENOENT, "read the link", err);
    w->link[n] = '\0';
    e->link = w->link;
    e->link_len = (size_t)n;
    return LH_WALK_ENTRY;
}

static int take_kind(struct lh_walk *w, int dirfd, const char *name, bool descend,
                     const struct lh_disk_stat *st, struct lh_walk_entry *e, struct lh_err *err)
{
    int r;

    switch (e->kind) {
    case LH_KIND_FILE:
        if ((w->opts->preserve & LH_PRESERVE_HARDLINKS) == 0 || st->n_links < 2)
            return LH_WALK_ENTRY;
        r = lh_walk_links_add(w, e, err);
        return r == 0 ? LH_WALK_NOTHING : r;
    case LH_KIND_DIR:
        if (descend && follows(w) && is_ancestor(w, st))
            return lh_walk_fail_words(w, e, "it leads back to a directory that it is in", err);
        return take_dir(w, st, descend, e, err);
    case LH_KIND_SYMLINK:
        return take_link(w, dirfd, name, e, err);
    default:
        return LH_WALK_ENTRY;
    }
}

/* Entries of its kind are not asked for, or its place is taken. Else LH_WALK_ENTRY, or as
 * lh_walk_clash. */
static int stays_out(struct lh_walk *w, const struct lh_disk_stat *st, struct lh_walk_entry *e,
                     struct lh_err *err)
{
    if (lh_walk_leaves_out(w, e->kind)) {
        if (e->kind == LH_KIND_SYMLINK)
            w->numbers.n_links++;
        else
            w->numbers.n_specials++;
        return LH_WALK_NOTHING;
    }
    w->entry_shared = w->dir_shared;
    /* "" is the destination itself. */
    return w->path_len > 0 ? lh_walk_clash(w, st, e, err) : LH_WALK_ENTRY;
}

static int cannot_look(struct lh_walk *w, int dirfd, const char *name, int sys_errno,
                       struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_disk_stat st;

    if (sys_errno == ENOENT && follows(w) && lh_disk_stat(dirfd, name, &st) == 0)
        return lh_walk_fail_words(w, e, "it is a symbolic link that leads nowhere", err);
    return lh_walk_fail(w, e, sys_errno, "look at", err);
}

int lh_walk_take(struct lh_walk *w, int dirfd, const char *name, bool descend,
                 struct lh_walk_entry *e, struct lh_err *err)
{
    bool is_root = w->path_len == 0;
    struct lh_disk_stat st;
    int sys_errno = follows(w) || is_root ? lh_disk_stat_target(dirfd, name, &st)
                                          : lh_disk_stat(dirfd, name, &st);
    int r;

    if (sys_errno != 0)
        return cannot_look(w, dirfd, name, sys_errno, e, err);
    *e = (struct lh_walk_entry){
        .kind = lh_disk_kind(st.mode),
        .mode = st.mode & 07777,
        .uid = st.uid,
        .gid = st.gid,
        .identity = {st.dev, st.ino, st.size, st.mtime, st.ctime},
        .rdev = st.rdev,
        .source = w->source,
        .path = w->path,
        .path_len = w->path_len,
        .link = "",
    };
    r = stays_out(w, &st, e, err);
    if (r != LH_WALK_ENTRY)
        return r;
    if ((w->opts->preserve & (LH_PRESERVE_XATTRS | LH_PRESERVE_ACL)) != 0) {
        sys_errno = lh_walk_read_xattrs(w, dirfd, name);
        if (sys_errno != 0)
            return lh_walk_fail(w, e, sys_errno, "read the extended attributes of", err);
        e->xattrs = w->xattrs;
        e->xattrs_len = w->xattrs_len;
    }
    return take_kind(w, dirfd, name, descend, &st, e, err);
}

/* Remember what is being read, at its depth. */
static int note_ancestor(struct lh_walk *w, struct lh_err *err)
{
    struct lh_disk_stat st = {0};

    if (w->depth >= w->n_ancestors) {
        size_t n = w->n_ancestors > 0 ? w->n_ancestors * 2 : 32;
        struct lh_walk_ancestor *a = realloc(w->ancestors, n * sizeof(*a));

        if (a == NULL)
            return lh_err_set(err, LH_E_NOMEM, "out of memory");
        w->ancestors = a;
        w->n_ancestors = n;
    }
    (void)lh_disk_stat(w->dir_fd, "", &st); /* of an open directory it does not fail */
    w->ancestors[w->depth] = (struct lh_walk_ancestor){st.dev, st.ino};
    return 0;
}

int lh_walk_enter(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    const struct lh_walk_source *src = &w->sources[w->source];
    struct todo todo;
    const void *record;
    size_t len;
    int fd;
    int r = lh_spill_pop(&w->todo, &record, &len, err);

    if (r != 0)
        return r;
    if (w->names == NULL && (w->names = malloc(NAMES_SIZE)) == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    memcpy(&todo, record, sizeof(todo));
    w->depth = todo.depth;
    w->dir_shared = todo.shared != 0;
    w->path_len = len - sizeof(todo);
    memcpy(w->path, (const char *)record + sizeof(todo), w->path_len);
    w->path[w->path_len] = '\0';
    fd = lh_walk_open_dir(w, src, lh_walk_rel(src, w->path));
    if (fd < 0)
        return lh_walk_fail(w, e, -fd, "read", err);
    w->dir_fd = fd;
    w->dir_len = w->path_len;
    w->dir_empty = true;
    w->names_at = 0;
    w->names_end = 0;
    r = note_ancestor(w, err);
    return r != 0 ? r : LH_WALK_NOTHING;
}

/* The directory is read, or cannot be read on. */
static void leave(struct lh_walk *w)
{
    if (w->dir_empty && w->depth == 0)
        w->numbers.empty_root = true;
    close(w->dir_fd);
    w->dir_fd = -1;
}

static int fill(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    ssize_t n = getdents64(w->dir_fd, w->names, NAMES_SIZE);

    w->names_at = 0;
    w->names_end = n > 0 ? (size_t)n : 0;
    if (n > 0)
        return LH_WALK_NOTHING;
    w->path_len = w->dir_len;
    w->path[w->path_len] = '\0';
    leave(w);
    return n == 0 ? LH_WALK_NOTHING : lh_walk_fail(w, e, errno, "read on in", err);
}

/* What a rule says of the entry at w->path. A link that is followed may be a directory. */
static bool excluded(struct lh_walk *w, const char *name, unsigned char type)
{
    struct lh_disk_stat st;
    bool is_dir = type == DT_DIR;

    if (w->filter.n == 0)
        return false;
    if (type == DT_UNKNOWN || (type == DT_LNK && follows(w))) {
        int sys_errno = follows(w) ? lh_disk_stat_target(w->dir_fd, name, &st)
                                   : lh_disk_stat(w->dir_fd, name, &st);

        is_dir = sys_errno == 0 && S_ISDIR(st.mode);
    }
    return lh_filter_excludes(&w->filter, w->path, w->path_len, is_dir);
}

int lh_walk_scan(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    const struct dirent64 *d;
    struct lh_hidden hidden;
    const char *name;
    size_t len;

    if (w->names_at == w->names_end)
        return fill(w, e, err);
    d = (const void *)(w->names + w->names_at);
    w->names_at += d->d_reclen;
    name = d->d_name;
    if (name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0')))
        return LH_WALK_NOTHING;
    w->dir_empty = false;
    w->path_len = w->dir_len;
    if (w->dir_len > 0)
        w->path[w->path_len++] = '/';
    len = strnlen(name, LH_WALK_NAME_MAX);
    memcpy(w->path + w->path_len, name, len);
    w->path_len += len;
    w->path[w->path_len] = '\0';
    if (w->path_len > LH_WALK_PATH_MAX) {
        w->path_len = LH_WALK_PATH_MAX; /* what it is called by in the failure */
        return lh_walk_fail(w, e, ENAMETOOLONG, "send", err);
    }
    if (d->d_type != DT_DIR && lh_hidden_parse(name, &hidden)) {
        w->numbers.n_half++;
        return LH_WALK_NOTHING;
    }
    if (excluded(w, name, d->d_type)) {
        w->numbers.n_excluded++;
        return LH_WALK_NOTHING;
    }
    return lh_walk_take(w, w->dir_fd, name, true, e, err);
}
