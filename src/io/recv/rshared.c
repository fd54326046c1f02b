/* A session's table of transfers: what its streams look up for every block.
 *
 * Thread: any, under its lock. Owner: whoever holds a reference, the session and each of its
 * streams. An entry holds a reference on its target, and so does whoever has looked one up. */
#include "io/recv/recv.h"

#include <stdlib.h>

enum lh_lookup lh_rshared_lookup(struct lh_rshared *shared, uint32_t transfer,
                                 struct lh_target **target)
{
    enum lh_lookup found = LH_LOOKUP_UNKNOWN;

    *target = NULL;
    pthread_mutex_lock(&shared->lock);
    if (shared->closed)
        found = LH_LOOKUP_CLOSED;
    else if (transfer < shared->offered)
        found = LH_LOOKUP_ENDED;
    for (unsigned i = 0; i < shared->n && found == LH_LOOKUP_ENDED; i++)
        if (shared->entries[i].transfer == transfer) {
            *target = shared->entries[i].target;
            atomic_fetch_add(&(*target)->refs, 1);
            found = LH_LOOKUP_FOUND;
        }
    pthread_mutex_unlock(&shared->lock);
    return found;
}

void lh_rshared_add(struct lh_rshared *shared, struct lh_target *t)
{
    pthread_mutex_lock(&shared->lock);
    LH_INVARIANT(shared->n < LH_SESSION_TRANSFERS);
    shared->entries[shared->n].transfer = t->transfer;
    shared->entries[shared->n++].target = t;
    atomic_fetch_add(&t->refs, 1);
    pthread_mutex_unlock(&shared->lock);
}

void lh_rshared_remove(struct lh_rshared *shared, struct lh_target *t)
{
    bool removed = false;

    pthread_mutex_lock(&shared->lock);
    for (unsigned i = 0; i < shared->n; i++)
        if (shared->entries[i].target == t) {
            shared->entries[i] = shared->entries[--shared->n];
            removed = true;
            break;
        }
    pthread_mutex_unlock(&shared->lock);
    if (removed)
        lh_target_unref(t);
}

void lh_rshared_unref(struct lh_rshared *shared)
{
    if (atomic_fetch_sub(&shared->refs, 1) == 1) {
        pthread_mutex_destroy(&shared->lock);
        free(shared);
    }
}
