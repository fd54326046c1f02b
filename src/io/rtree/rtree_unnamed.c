/* Files of a tree that have no name until they are whole (O_TMPFILE), where nothing is synced.
 *
 * On a disk a name is given by a commit, behind the sync of what it is the name of. What lies in
 * memory alone no sync makes safer: a power cut takes all of it. There a file of one part is made
 * without a name, and gets that as soon as it is whole, from whoever wrote it. What a killed
 * receiver had begun goes with it; nothing half-made is ever under a name, hidden or not.
 *
 * Thread: stream loops; an opener asks what can be done.
 *
 * Happy path: the root's file system is tmpfs or ramfs, and takes such files -> made, written and
 * dressed (rtree_write.c) -> linked. Failures: what cannot be done here is seen when the tree is
 * opened, and all goes by hidden names; so does this file, and all that follow, when the kernel
 * does not let us link it (another's, with fs.protected_hardlinks). EEXIST: nothing that was made
 * meanwhile is replaced. */
#include "io/rtree/rtree_impl.h"

#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <unistd.h>

bool lh_rtree_in_memory(int fd)
{
    struct statfs fs;

    if (lh_mutant("name-early"))
        return true;
    return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static int make(int dirfd, mode_t mode)
{
    int fd = openat(dirfd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, mode);

    return fd >= 0 ? fd : -errno;
}

/* 0 or an errno. */
static int give_name(enum lh_unnamed how, int dirfd, int fd, const char *name)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

    if (how == LH_UNNAMED_FD)
        return linkat(fd, "", dirfd, name, AT_EMPTY_PATH) == 0 ? 0 : errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

enum lh_unnamed lh_rtree_unnamed_how(int dirfd)
{
    enum lh_unnamed how = LH_UNNAMED_NOT;
    int fd = make(dirfd, 0600);

    if (fd < 0)
        return how;
    /* That "." is taken is said only to who may link the file. */
    if (give_name(LH_UNNAMED_FD, dirfd, fd, ".") == EEXIST)
        how = LH_UNNAMED_FD;
    else if (give_name(LH_UNNAMED_PROC, dirfd, fd, ".") == EEXIST)
        how = LH_UNNAMED_PROC;
    close(fd);
    return how;
}

bool lh_rtree_is_unnamed(const struct lh_rtree *t, const struct lh_rfile *f,
                         const struct lh_tree_dir *dir)
{
    return t->unnamed != LH_UNNAMED_NOT && !f->was_there && !dir->foreign && !dir->acl;
}

/* Not every kernel applies the umask to these. */
int lh_rtree_unnamed_make(const struct lh_rtree *t, const struct lh_tree_dir *dir, mode_t mode)
{
    return make(dir->fd, mode & ~(mode_t)t->umask);
}

/* Whether that is what the kernel says to who may not give a name to such a file. It says ENOENT of
 * a directory that somebody removed, too. */
static bool is_refused(int e, int dirfd)
{
    struct lh_disk_stat st;

    if (e == ENOENT)
        return lh_disk_stat(dirfd, "", &st) != 0 || st.n_links > 0;
    return e == EPERM || e == EACCES;
}

/* Whether it is still wanted: then nobody voids it any more. */
static bool claim_name(struct lh_rtree *t, struct lh_rfile *f)
{
    pthread_mutex_lock(&t->lock);
    f->named = !f->dropped;
    pthread_mutex_unlock(&t->lock);
    return f->named;
}

int lh_rtree_unnamed_name(struct lh_rtree *t, const struct lh_tree_dir *dir, int fd,
                          struct lh_rfile *f)
{
    enum lh_unnamed how = t->unnamed;
    int e;

    if (!claim_name(t, f))
        return 0;
    e = how == LH_UNNAMED_NOT ? EPERM : give_name(how, dir->fd, fd, lh_rfile_name(f));
    if (e == 0)
        return 0;
    if (is_refused(e, dir->fd))
        t->unnamed = LH_UNNAMED_NOT;
    pthread_mutex_lock(&t->lock);
    f->named = false;
    pthread_mutex_unlock(&t->lock);
    return e;
}
