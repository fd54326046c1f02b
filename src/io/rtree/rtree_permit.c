/* What a sender may ask of this receiver for a tree's entries, besides their contents.
 *
 * A receiver that is root can do everything, and whoever reaches its port asks for it. A program
 * that is root's and has the set-user-id bit, a device, a file with capabilities: by each of them a
 * user of this host becomes root. So these are the operator's to permit.
 *
 * Thread: the jobs that take entries, of which a tree has one at a time.
 *
 * Happy path: an entry comes -> what is not permitted is taken out of it and counted -> at the end
 * the sender is told how much that was. A device is not made otherwise: it fails. */
#include "io/rtree/rtree_impl.h"

#include <string.h>

#define SET_ID 06000

bool lh_rtree_device_permitted(const struct lh_rtree *t)
{
    return t->allow & LH_ALLOW_DEVICES;
}

static bool begins(const char *name, size_t len, const char *with)
{
    return len >= strlen(with) && memcmp(name, with, strlen(with)) == 0;
}

bool lh_rtree_is_security(const char *name, size_t len)
{
    return begins(name, len, "security.") || begins(name, len, "trusted.");
}

static uint64_t count_security(const struct lh_tree_entry *e)
{
    struct lh_xattr x;
    uint64_t n = 0;
    size_t at = 0;

    while (lh_xattrs_next(e->xattrs, e->xattrs_len, &at, &x))
        n += lh_rtree_is_security((const char *)x.name, x.name_len);
    return n;
}

void lh_rtree_permit(struct lh_rtree *t, struct lh_tree_entry *e, bool count)
{
    bool owner = (t->keep & LH_KEEP_OWNER) && t->is_root && e->kind != LH_KIND_HARDLINK;
    bool others = false;
    bool set_id = false;
    uint64_t n_security = 0;

    if (owner && !(t->allow & LH_ALLOW_OWNER))
        others = e->uid != t->uid || e->gid != t->gid;
    /* Those of a directory say whose what is made in it will be, and no more. */
    if (owner && !(t->allow & LH_ALLOW_SET_ID) && e->kind != LH_KIND_DIR &&
        e->kind != LH_KIND_SYMLINK) {
        set_id = (t->keep & LH_KEEP_MODE) && (e->mode & SET_ID) != 0;
        e->mode &= (uint16_t)~SET_ID;
    }
    if ((t->keep & LH_KEEP_XATTRS) && !(t->allow & LH_ALLOW_SECURITY) && e->xattrs_len > 0)
        n_security = count_security(e);
    if (!count || !(others || set_id || n_security > 0))
        return;
    pthread_mutex_lock(&t->lock);
    t->stats.n_owners += others;
    t->stats.n_set_id += set_id;
    t->stats.n_security += n_security;
    pthread_mutex_unlock(&t->lock);
}
