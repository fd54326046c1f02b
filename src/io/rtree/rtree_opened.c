/* Directories of a tree that their owner may not read, write or pass, opened up for our own work.
 *
 * Thread: any. Its own lock, which is held over system calls: what mode a directory had before us
 * is to be seen by one at a time. Only a receiver that is not root needs it.
 *
 * Happy path: a directory is opened to work in it, and lacks rights of its owner -> it is given
 * them, and remembered with the mode that it had (another receiver may take them again: they are
 * given anew when something is refused) -> with the last descriptor of it that is kept it gets that
 * back, unless ATTRS gave it one since. Failures: of somebody else, or with the set-group-id bit
 * for a group that we are not of, it stays as it is, and who needs it fails. A receiver that is
 * killed leaves what it has opened up; those that last (lh_tree_dir_lasts) are left so with a lost
 * session too, or when their descriptor goes before the end. */
#include "io/disk/disk.h"
#include "io/rtree/rtree_dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWNERS 0700u
#define BITS 07777u

static bool in_group(gid_t gid)
{
    gid_t *groups = NULL;
    bool in = gid == getegid();
    int n = in ? 0 : getgroups(0, NULL);

    if (n > 0)
        groups = malloc((size_t)n * sizeof(*groups));
    n = groups != NULL ? getgroups(n, groups) : 0;
    for (int i = 0; i < n; i++)
        in = in || groups[i] == gid;
    free(groups);
    return in;
}

/* Whether there are rights to give. Who is not of its group takes the set-group-id bit away with
 * any mode, and could not give it back: such a directory stays as it is. */
static bool lacks(const struct lh_disk_stat *st)
{
    return (st->mode & OWNERS) != OWNERS && (!(st->mode & S_ISGID) || in_group(st->gid));
}

/* ---- those that are opened up; the caller holds the lock ---- */

/* Another descriptor of the same directory, or NULL. */
static struct lh_tree_dir *other_of(const struct lh_tree_dirs *d, const struct lh_tree_dir *dir)
{
    struct lh_tree_dir *other = d->opened;

    while (other != NULL && (other == dir || other->ino != dir->ino || other->dev != dir->dev))
        other = other->next_opened;
    return other;
}

static void enlist(struct lh_tree_dirs *d, struct lh_tree_dir *dir, uint32_t mode, bool lasts)
{
    dir->mode = mode & BITS;
    dir->lasts = lasts;
    dir->opened = true;
    dir->next_opened = d->opened;
    d->opened = dir;
}

static void delist(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    struct lh_tree_dir **at = &d->opened;

    while (*at != dir)
        at = &(*at)->next_opened;
    *at = dir->next_opened;
    dir->opened = false;
}

/* ---- opening up ---- */

/* Before: who sees the mode that we gave it sees that we did. */
static bool give(struct lh_tree_dirs *d, int fd, const struct lh_disk_stat *was)
{
    d->any_opened = true;
    return fchmod(fd, (was->mode & BITS) | OWNERS) == 0;
}

/* The caller holds the lock. */
static bool open_up(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    const struct lh_tree_dir *other = other_of(d, dir);
    struct lh_disk_stat st;
    bool up;

    if (lh_disk_stat(dir->fd, "", &st) != 0)
        return false;
    up = lacks(&st) && give(d, dir->fd, &st);
    if (!dir->opened && other != NULL && (up || !lacks(&st)))
        enlist(d, dir, other->mode, other->lasts);
    else if (!dir->opened && up)
        enlist(d, dir, st.mode, false);
    return up;
}

bool lh_tree_dir_open_up(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    bool up;

    if (!d->open_up)
        return false;
    pthread_mutex_lock(&d->mode_lock);
    up = open_up(d, dir);
    dir->as_is = false;
    pthread_mutex_unlock(&d->mode_lock);
    return up;
}

void lh_tree_dir_came(struct lh_tree_dirs *d, struct lh_tree_dir *dir,
                      const struct lh_disk_stat *st)
{
    if (d->open_up && (d->any_opened || lacks(st)))
        (void)lh_tree_dir_open_up(d, dir);
}

bool lh_tree_dir_again(struct lh_tree_dirs *d, struct lh_tree_dir *dir, int e)
{
    return e == EACCES && lh_tree_dir_open_up(d, dir);
}

/* Whether it lacked rights, and has them now. The caller holds the lock. */
static bool open_up_at(struct lh_tree_dirs *d, int in_fd, const char *name,
                       struct lh_disk_stat *was)
{
    if (lh_disk_stat(in_fd, name, was) != 0 || !S_ISDIR(was->mode) || !lacks(was))
        return false;
    d->any_opened = true;
    return fchmodat(in_fd, name, (was->mode & BITS) | OWNERS, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Others see what is enlisted: dev and ino are never written again. The caller holds the lock. */
static int open_shut(struct lh_tree_dirs *d, int in_fd, const char *name, struct lh_tree_dir *dir)
{
    struct lh_disk_stat was, st;
    int fd = lh_tree_open_beneath(in_fd, name); /* somebody may have opened it up meanwhile */
    bool ours = fd == -EACCES && open_up_at(d, in_fd, name, &was);
    int e;

    if (ours)
        fd = lh_tree_open_beneath(in_fd, name);
    e = fd < 0 ? -fd : lh_disk_stat(fd, "", &st);
    if (e == 0) {
        dir->dev = st.dev;
        dir->ino = st.ino;
        if (ours && st.dev == was.dev && st.ino == was.ino)
            enlist(d, dir, was.mode, false);
        return fd;
    }
    if (ours)
        (void)fchmodat(in_fd, name, was.mode & BITS, AT_SYMLINK_NOFOLLOW);
    if (fd >= 0)
        close(fd);
    return -e;
}

int lh_tree_dir_open_shut(struct lh_tree_dirs *d, int in_fd, const char *name,
                          struct lh_tree_dir *dir)
{
    int fd;

    pthread_mutex_lock(&d->mode_lock);
    fd = open_shut(d, in_fd, name, dir);
    pthread_mutex_unlock(&d->mode_lock);
    return fd;
}

/* It may not be opened by its name then. */
void lh_tree_dirs_open_root(struct lh_tree_dirs *d)
{
    struct lh_disk_stat st;

    if (!d->open_up || lh_disk_stat(d->root_fd, "", &st) != 0 || !lacks(&st) ||
        !give(d, d->root_fd, &st))
        return;
    if (lh_tree_dir_get(d, "", 0, false, &d->root) != 0) {
        (void)fchmod(d->root_fd, st.mode & BITS);
        return;
    }
    pthread_mutex_lock(&d->mode_lock);
    enlist(d, d->root, st.mode, false);
    pthread_mutex_unlock(&d->mode_lock);
}

/* ---- and back ---- */

void lh_tree_dir_give_back(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    struct lh_disk_stat st;
    bool given = false;

    if (!d->open_up)
        return;
    pthread_mutex_lock(&d->mode_lock);
    if (dir->opened) {
        delist(d, dir);
        given = other_of(d, dir) == NULL && (d->ended || !dir->lasts) &&
                lh_disk_stat(dir->fd, "", &st) == 0 && (st.mode & BITS) == (dir->mode | OWNERS) &&
                fchmod(dir->fd, dir->mode) == 0;
    }
    pthread_mutex_unlock(&d->mode_lock);
    if (given && dir->foreign)
        (void)lh_disk_sync_dir(dir->fd);
    else if (given)
        lh_tree_dirs_touch_all(d);
}

void lh_tree_dir_dressed(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    struct lh_tree_dir *other;

    if (!d->open_up)
        return;
    pthread_mutex_lock(&d->mode_lock);
    while ((other = other_of(d, dir)) != NULL) {
        delist(d, other);
        other->as_is = true;
    }
    if (dir->opened)
        delist(d, dir);
    dir->as_is = true;
    pthread_mutex_unlock(&d->mode_lock);
}

void lh_tree_dir_lasts(struct lh_tree_dirs *d, struct lh_tree_dir *dir, bool passed)
{
    if (!d->open_up)
        return;
    pthread_mutex_lock(&d->mode_lock);
    for (struct lh_tree_dir *one = d->opened; one != NULL; one = one->next_opened)
        if (one->ino == dir->ino && one->dev == dir->dev && !(passed && (one->mode & S_IXUSR)))
            one->lasts = true;
    pthread_mutex_unlock(&d->mode_lock);
}

void lh_tree_dirs_let_root(struct lh_tree_dirs *d)
{
    if (d->root != NULL)
        lh_tree_dir_put(d, d->root);
    d->root = NULL;
}

int lh_tree_dirs_end(struct lh_tree_dirs *d)
{
    int e = lh_tree_dirs_sync(d);

    if (e != 0 || !d->open_up)
        return e;
    d->ended = true;
    lh_tree_dirs_let_root(d);
    lh_tree_dirs_forget(d);
    return lh_tree_dirs_sync(d);
}
