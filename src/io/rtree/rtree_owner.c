/* Whose the entries of a tree are: the sender's numbers, and the receiver's of the same names.
 *
 * Thread: owners on an opener; the map is read by the jobs that answer entries and set attributes,
 * of which a tree has one at a time.
 *
 * Happy path: OWNERS tells names, each once -> looked up here -> where the number is another it is
 * noted -> entries get it in place of the one that they came with. Root is root on every host.
 * Failures: a name that is not known here: the number stays. A data base of users that cannot be
 * asked: the same, counted. */
#include "io/disk/users.h"
#include "io/rtree/rtree_impl.h"

#include <errno.h>
#include <string.h>

bool lh_rtree_owner_kept(const struct lh_rtree *t)
{
    return (t->keep & LH_KEEP_OWNER) && t->is_root && (t->allow & LH_ALLOW_OWNER);
}

/* 0 with *found, or an errno. */
static int look_up(const struct lh_owner *owner, bool *found, uint32_t *id)
{
    char name[LH_OWNER_NAME_MAX + 1];

    memcpy(name, owner->name, owner->name_len);
    name[owner->name_len] = '\0';
    return lh_users_id_of(owner->kind, name, found, id);
}

static int note(struct lh_rtree *t, const struct lh_owner *owner)
{
    bool found = false;
    uint32_t id = 0;
    int e = owner->id != 0 ? look_up(owner, &found, &id) : 0;

    if (e == ENOMEM)
        return -LH_E_NOMEM;
    if (e != 0) {
        pthread_mutex_lock(&t->lock);
        t->stats.not_asked++;
        pthread_mutex_unlock(&t->lock);
    }
    return found && id != owner->id ? lh_idmap_put(&t->owners, owner->kind, owner->id, id) : 0;
}

int lh_rtree_owners(struct lh_rtree *t, const uint8_t *payload, size_t len, struct lh_err *err)
{
    struct lh_owners_reader reader;
    struct lh_owner owner;
    const char *why = NULL;
    int r = lh_rtree_check(t, err);

    if (r == 0 && lh_owners_decode(payload, len, &reader, &why) != 0)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s", why);
    if (r == 0 && reader.n > LH_OWNERS_MAX - t->n_owners_told)
        r = lh_err_set(err, LH_E_PROTOCOL, "more names of owners than a tree may have");
    if (r != 0)
        return r;
    t->n_owners_told += reader.n;
    while (r == 0 && lh_rtree_owner_kept(t) && !lh_rtree_dry(t) && lh_owners_next(&reader, &owner))
        r = note(t, &owner);
    return r == 0 ? 0 : lh_err_set(err, -r, "out of memory");
}

void lh_rtree_own(const struct lh_rtree *t, struct lh_tree_entry *e)
{
    const uint32_t *uid = lh_idmap_get(&t->owners, LH_OWNER_USER, e->uid);
    const uint32_t *gid = lh_idmap_get(&t->owners, LH_OWNER_GROUP, e->gid);

    if (uid != NULL)
        e->uid = *uid;
    if (gid != NULL)
        e->gid = *gid;
}
