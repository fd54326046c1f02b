/* Staging files of a tree: made, opened again, thrown away.
 *
 * Thread: stream loops; removed by the committer too.
 *
 * Happy path: made under a hidden name beside the target, or without a name (rtree_unnamed.c) ->
 * written, in several parts perhaps, for each of which it is opened again -> renamed
 * (rtree_commit.c). Failures: one that was left there by a killed receiver goes first. One that is
 * another than was made is ESTALE. */
#include "io/rtree/rtree_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

const char *lh_rfile_name(const struct lh_rfile *f)
{
    size_t dir_len = lh_tree_dir_len(f->path, f->path_len);

    return f->path + dir_len + (dir_len > 0);
}

int lh_rtree_part_make(const struct lh_rtree *t, const struct lh_tree_dir *dir, const char *part,
                       mode_t mode)
{
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd;

    if (part[0] == '\0')
        return lh_rtree_unnamed_make(t, dir, mode);
    fd = openat(dir->fd, part, flags, mode);
    if (fd < 0 && errno == EEXIST && unlinkat(dir->fd, part, 0) == 0)
        fd = openat(dir->fd, part, flags, mode);
    return fd >= 0 ? fd : -errno;
}

int lh_rtree_part_open(const struct lh_tree_dir *dir, const char *part, uint64_t ino)
{
    int fd = openat(dir->fd, part, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    struct lh_disk_stat st;
    int e;

    if (fd < 0)
        return -errno;
    e = lh_disk_stat(fd, "", &st);
    if (e == 0 && st.ino != ino)
        e = ESTALE;
    if (e == 0)
        return fd;
    close(fd);
    return -e;
}

void lh_rtree_part_remove(struct lh_rtree *t, const struct lh_rfile *f)
{
    size_t dir_len = lh_tree_dir_len(f->path, f->path_len);
    char part[LH_HIDDEN_SIZE];
    struct lh_tree_dir *dir;

    if (f->fd >= 0)
        close(f->fd);
    if (f->state < LH_RFILE_STAGED || f->named ||
        lh_tree_dir_get(&t->dirs, f->path, dir_len, false, &dir) != 0)
        return;
    lh_rtree_part_of(t, lh_rfile_name(f), part);
    unlinkat(dir->fd, part, 0);
    lh_tree_dir_put(&t->dirs, dir);
}
