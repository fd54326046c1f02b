/* What the sender asks of the sources besides the walk: a file to read, whether a name is there.
 *
 * Thread: any, also several at once: nothing is changed but the note that O_NOATIME is refused.
 *
 * Failures: what was a file when the walk came by may be anything now. A link is not followed, a
 * FIFO not waited for, another kind refused. */
#include "io/source/walk_impl.h"

#include "io/disk/deep.h"
#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

/* Returns a descriptor or -errno. */
static int open_once(const struct lh_walk *w, const struct lh_walk_source *src, const char *path,
                     int flags)
{
    bool follow = w->opts->links == LH_LINKS_FOLLOW || lh_mutant("source-links");
    int root;
    int fd;

    flags |= follow ? 0 : O_NOFOLLOW;
    if (!src->is_dir) /* the source is the file; the way to it is the user's own */
        return lh_deep_open(AT_FDCWD, src->arg, flags, 0);
    root = lh_walk_hold(src);
    if (root < 0)
        return root;
    fd = lh_deep_open(root, lh_walk_rel(src, path), flags,
                      follow ? RESOLVE_NO_MAGICLINKS
                             : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    lh_walk_let_go(src, root);
    return fd;
}

/* Without touching its atime, where that is permitted. */
static int open_quietly(struct lh_walk *w, const struct lh_walk_source *src, const char *path)
{
    int fd;

    if (!atomic_load_explicit(&w->no_noatime, memory_order_relaxed)) {
        fd = open_once(w, src, path, FILE_FLAGS | O_NOATIME);
        if (fd != -EPERM)
            return fd;
        atomic_store_explicit(&w->no_noatime, true, memory_order_relaxed);
    }
    return open_once(w, src, path, FILE_FLAGS);
}

static int cannot_open(const struct lh_walk *w, uint32_t source, const char *path, int sys_errno,
                       struct lh_err *err)
{
    char shown[LH_WALK_SHOWN];

    lh_walk_show(w, source, path, shown);
    switch (sys_errno) {
    case ENOENT:
        return lh_err_set(err, LH_E_SOURCE, "%s: it is gone", shown);
    case EACCES:
        return lh_err_set(err, LH_E_SOURCE, "%s: no permission to read it", shown);
    case ELOOP:
        return lh_err_set(err, LH_E_SOURCE, "%s: it was replaced by a symbolic link", shown);
    case ENOTDIR:
        return lh_err_set(err, LH_E_SOURCE, "%s: the directory that it was in is none any more",
                          shown);
    case ENXIO: /* a socket cannot be opened at all */
        return lh_err_set(err, LH_E_SOURCE_KIND, "%s: it is no regular file any more", shown);
    default:
        return lh_err_sys(err, LH_E_SOURCE, sys_errno, "cannot open %s", shown);
    }
}

int lh_walk_open_file(struct lh_walk *w, uint32_t source, const char *path, int *fd,
                      struct lh_identity *now, struct lh_err *err)
{
    struct lh_disk_stat st;
    char shown[LH_WALK_SHOWN];
    int file;
    int e;

    LH_REQUIRE(source < w->n_sources);
    file = open_quietly(w, &w->sources[source], path);
    if (file < 0)
        return cannot_open(w, source, path, -file, err);
    if (now == NULL) {
        *fd = file;
        return 0;
    }
    e = lh_disk_stat(file, "", &st);
    if (e != 0 || !S_ISREG(st.mode)) {
        close(file);
        lh_walk_show(w, source, path, shown);
        if (e != 0)
            return lh_err_sys(err, LH_E_SOURCE, e, "cannot look at %s", shown);
        return lh_err_set(err, LH_E_SOURCE_KIND, "%s: it is no regular file any more", shown);
    }
    *now = (struct lh_identity){st.dev, st.ino, st.size, st.mtime, st.ctime};
    *fd = file;
    return 0;
}

/* Whether `path` is of that source at all. */
static bool belongs(const struct lh_walk_source *src, const char *path)
{
    return src->name_len == 0 || (strncmp(path, src->name, src->name_len) == 0 &&
                                  (path[src->name_len] == '\0' || path[src->name_len] == '/'));
}

/* What of the source belongs at `path`. Returns 0 when it is there, or an errno. */
static int look(const struct lh_walk_source *src, const char *path, struct lh_disk_stat *st)
{
    const char *rel = lh_walk_rel(src, path);
    int fd;
    int e;

    if (src->sys_errno != 0)
        return src->sys_errno;
    if (rel[0] == '\0') { /* the source itself */
        *st = src->st;
        return 0;
    }
    if (!src->is_dir)
        return ENOENT;
    fd = lh_walk_hold(src);
    if (fd < 0)
        return -fd;
    e = lh_deep_stat(fd, rel, false, st);
    lh_walk_let_go(src, fd);
    return e;
}

int lh_walk_has(struct lh_walk *w, const char *path, bool is_dir, struct lh_err *err)
{
    size_t len = strlen(path);
    char shown[LH_WALK_SHOWN];
    struct lh_disk_stat st;

    if (len > LH_WALK_PATH_MAX)
        return LH_WALK_ABSENT;
    if (!lh_mutant("delete-excluded") && lh_filter_excludes_deep(&w->filter, path, len, is_dir))
        return LH_WALK_EXCLUDED;
    for (size_t i = 0; i < w->n_sources; i++) {
        int e = belongs(&w->sources[i], path) ? look(&w->sources[i], path, &st) : ENOENT;

        if (e == 0)
            return LH_WALK_THERE;
        if (e != ENOENT && e != ENOTDIR && e != ENAMETOOLONG)
            return lh_err_sys(err, LH_E_SOURCE, e, "cannot look whether %s is there",
                              lh_walk_show(w, (uint32_t)i, path, shown));
    }
    return LH_WALK_ABSENT;
}

bool lh_walk_dir_is_elsewhere(const struct lh_walk *w, const struct lh_walk_entry *e)
{
    return w->opts->one_file_system && e->identity.dev != w->sources[e->source].st.dev;
}
