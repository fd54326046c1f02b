/* What becomes of a file that is there already; told in keep.h. */
#include "core/keep.h"

#include "proto/transfer.h"
#include "util/mutant.h"

#include <stddef.h>

bool lh_keep_same_time(const struct lh_time *there, const struct lh_time *offered)
{
    static const uint32_t units_ns[] = {1, 100, 1000, 1000000, 1000000000};

    if (there->sec != offered->sec)
        return false;
    for (size_t i = 0; i < sizeof(units_ns) / sizeof(units_ns[0]); i++)
        if (there->nsec == offered->nsec - offered->nsec % units_ns[i])
            return true;
    return false;
}

static bool is_older(const struct lh_time *a, const struct lh_time *b)
{
    return a->sec != b->sec ? a->sec < b->sec : a->nsec < b->nsec;
}

enum lh_keep lh_keep_decide(uint16_t flags, const struct lh_keep_file *there,
                            const struct lh_keep_file *offered)
{
    bool same_time = lh_keep_same_time(&there->mtime, &offered->mtime);

    if (flags & LH_OFFER_KEEP_ANY)
        return LH_KEEP_IT;
    if ((flags & LH_OFFER_KEEP_NEWER) && (same_time || !is_older(&there->mtime, &offered->mtime)))
        return LH_KEEP_IT;
    if (!(flags & LH_OFFER_KEEP_SAME) || there->size != offered->size)
        return LH_KEEP_REPLACE;
    if (flags & LH_OFFER_CHECKSUM)
        return LH_KEEP_COMPARE;
    return same_time || lh_mutant("keep-by-size") ? LH_KEEP_SAME : LH_KEEP_REPLACE;
}
