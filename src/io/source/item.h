/* An entry of a tree at its sender, from when it is found until it is over with: one piece of
 * memory, kept by references. The table has one, and each pack that it has a part in.
 *
 * Immutable once it has an index, but for `state` and `next` (the tree's main loop) and what is
 * atomic; a big file, which is in no pack, is told of twice (`there`). */
#ifndef LH_IO_ITEM_H
#define LH_IO_ITEM_H

#include "io/source/walk.h"
#include "proto/hash.h"
#include "proto/identity.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lh_item {
    atomic_uint refs;
    atomic_bool spoilt; /* a part of it was voided */
    uint32_t index;
    uint8_t kind;  /* enum lh_file_kind */
    uint8_t state; /* the tree's */
    uint16_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t source; /* of the walk */
    struct lh_identity identity;
    uint64_t rdev;
    struct lh_hash hash; /* of all contents, when has_hash */
    bool has_hash;
    bool there; /* a big one that was sent: what is left are attributes */
    uint16_t path_len;
    uint16_t link_len;
    uint16_t xattrs_len;
    struct lh_item *next; /* the tree's */
    char path[];          /* path, NUL, link, NUL, xattrs */
};

static inline const char *lh_item_link(const struct lh_item *item)
{
    return item->path + item->path_len + 1;
}

static inline const uint8_t *lh_item_xattrs(const struct lh_item *item)
{
    return (const uint8_t *)item->path + item->path_len + item->link_len + 2;
}

/* With one reference. NULL: out of memory. */
struct lh_item *lh_item_new(const struct lh_walk_entry *e);
/* Any thread; the last reference frees it. */
void lh_item_drop(struct lh_item *item);

#endif
