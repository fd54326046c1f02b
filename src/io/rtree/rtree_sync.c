/* Which directories of a tree are to be synced, and syncing them; told in rtree_dirs.h.
 *
 * Thread: touch, know and changed any; sync the committer. Its own lock, never held over a system
 * call.
 *
 * Happy path: an entry of a directory is changed -> the directory is noted, with a reference ->
 * each is synced at the commit, or the whole file system where they are many. Failures: the
 * kernel's word, as an errno, and final. */
#include "io/disk/disk.h"
#include "io/rtree/rtree_dirs.h"
#include "util/mutant.h"

int lh_tree_dir_touch(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    bool now = false;

    pthread_mutex_lock(&d->lock);
    if (!dir->dirty &&
        d->n_dirty < (lh_tree_dir_is_long(dir) ? LH_TREE_DIRS_LONG : LH_TREE_SYNC_FEW)) {
        dir->dirty = true;
        dir->refs++;
        d->dirty[d->n_dirty++] = dir;
    } else if (!dir->dirty) {
        now = dir->foreign || d->each;
        d->many = d->many || !now;
    }
    pthread_mutex_unlock(&d->lock);
    return now ? lh_disk_sync_dir(dir->fd) : 0;
}

void lh_tree_dirs_touch_all(struct lh_tree_dirs *d)
{
    pthread_mutex_lock(&d->lock);
    d->many = true;
    pthread_mutex_unlock(&d->lock);
}

static void note_known(struct lh_tree_dirs *d)
{
    pthread_mutex_lock(&d->lock);
    d->known = true;
    pthread_mutex_unlock(&d->lock);
}

int lh_tree_dirs_know(struct lh_tree_dirs *d)
{
    bool known;
    int e;

    pthread_mutex_lock(&d->lock);
    known = d->known;
    pthread_mutex_unlock(&d->lock);
    e = known || lh_mutant("kept-unsynced") ? 0 : lh_disk_sync_fs(d->know_fd);
    if (e == 0)
        note_known(d);
    return e;
}

/* The caller holds the lock. */
static bool foreign_known(const struct lh_tree_dirs *d, uint64_t dev)
{
    for (unsigned i = 0; i < d->n_foreign; i++)
        if (d->foreign[i] == dev)
            return true;
    return false;
}

int lh_tree_dir_know(struct lh_tree_dirs *d, const struct lh_tree_dir *dir)
{
    bool known;
    int e;

    if (!dir->foreign)
        return 0;
    pthread_mutex_lock(&d->lock);
    known = foreign_known(d, dir->dev);
    pthread_mutex_unlock(&d->lock);
    e = known ? 0 : lh_disk_sync_fs(dir->fd);
    if (known || e != 0)
        return e;
    pthread_mutex_lock(&d->lock);
    if (d->n_foreign < LH_TREE_FOREIGN_KNOWN && !foreign_known(d, dir->dev))
        d->foreign[d->n_foreign++] = dir->dev;
    pthread_mutex_unlock(&d->lock);
    return 0;
}

int lh_tree_dir_changed(struct lh_tree_dirs *d, const struct lh_tree_dir *dir)
{
    if (dir->foreign)
        return lh_disk_sync_fs(dir->fd);
    lh_tree_dirs_touch_all(d);
    return 0;
}

int lh_tree_dirs_sync(struct lh_tree_dirs *d)
{
    struct lh_tree_dir *list[LH_TREE_SYNC_FEW];
    unsigned n;
    bool many;
    int first = 0;

    pthread_mutex_lock(&d->lock);
    many = d->many;
    d->many = false;
    n = d->n_dirty;
    d->n_dirty = 0;
    for (unsigned i = 0; i < n; i++) {
        list[i] = d->dirty[i];
        list[i]->dirty = false;
    }
    pthread_mutex_unlock(&d->lock);
    if (many && !lh_mutant("drop-dir-sync"))
        first = lh_disk_sync_fs(d->root_fd);
    if (many && first == 0)
        note_known(d);
    for (unsigned i = 0; i < n; i++) {
        int e = many && !list[i]->foreign ? 0 : lh_disk_sync_dir(list[i]->fd);

        if (first == 0)
            first = e;
        lh_tree_dir_put(d, list[i]);
    }
    return first;
}
