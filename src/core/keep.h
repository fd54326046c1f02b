/* What becomes of a file that is at the destination already: it stays, or it is replaced.
 *
 * Pure. The policy is what OFFER says: KEEP_ANY, KEEP_NEWER, KEEP_SAME, CHECKSUM; none of them:
 * replaced, always. */
#ifndef LH_CORE_KEEP_H
#define LH_CORE_KEEP_H

#include "proto/identity.h"

#include <stdbool.h>
#include <stdint.h>

/* A regular file; anything else has a size of UINT64_MAX, which is the same as nothing. */
struct lh_keep_file {
    uint64_t size;
    struct lh_time mtime;
};

enum lh_keep {
    LH_KEEP_REPLACE,
    LH_KEEP_IT,     /* whatever it holds: its attributes are none of the sender's either */
    LH_KEEP_SAME,   /* it is the same, as far as size and mtime can tell */
    LH_KEEP_COMPARE /* it is the same if the contents are: the caller compares them */
};

/* flags: enum lh_offer_flag. */
enum lh_keep lh_keep_decide(uint16_t flags, const struct lh_keep_file *there,
                            const struct lh_keep_file *offered);

/* Whether the time of a file there may be the one that was asked for: not every file system keeps
 * nanoseconds. */
bool lh_keep_same_time(const struct lh_time *there, const struct lh_time *offered);

#endif
