/* One bound over what many take; told in quota.h.
 *
 * Thread: any. Happy path: taken in steps when an account runs out of room, given back when two
 * steps of it are not used. Failures: none; there is room or there is none. */
#include "io/disk/quota.h"

#include "util/err.h"

void lh_quota_init(struct lh_quota *q, size_t max)
{
    atomic_init(&q->used, 0);
    q->max = max;
}

bool lh_quota_take(struct lh_quota *q, size_t bytes)
{
    size_t used = atomic_load(&q->used);

    do {
        if (bytes > q->max || used > q->max - bytes)
            return false;
    } while (!atomic_compare_exchange_weak(&q->used, &used, used + bytes));
    return true;
}

void lh_quota_give(struct lh_quota *q, size_t bytes)
{
    LH_REQUIRE(atomic_fetch_sub(&q->used, bytes) >= bytes);
}

void lh_account_init(struct lh_account *a, struct lh_quota *q, size_t own)
{
    *a = (struct lh_account){.quota = q, .own = own, .granted = own};
}

bool lh_account_room(struct lh_account *a, size_t bytes)
{
    while (a->quota != NULL && a->bytes + bytes > a->granted) {
        if (!lh_quota_take(a->quota, LH_QUOTA_STEP))
            return false;
        a->granted += LH_QUOTA_STEP;
    }
    return true;
}

void lh_account_add(struct lh_account *a, size_t bytes)
{
    a->bytes += bytes;
}

void lh_account_sub(struct lh_account *a, size_t bytes)
{
    LH_REQUIRE(bytes <= a->bytes);
    a->bytes -= bytes;
    while (a->granted > a->own && a->bytes + 2 * LH_QUOTA_STEP <= a->granted) {
        lh_quota_give(a->quota, LH_QUOTA_STEP);
        a->granted -= LH_QUOTA_STEP;
    }
}

void lh_account_end(struct lh_account *a)
{
    if (a->granted > a->own)
        lh_quota_give(a->quota, a->granted - a->own);
    a->granted = a->own;
    a->bytes = 0;
}
