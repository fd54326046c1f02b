/* The packs of a tree: what each is made of, and making them from the files.
 *
 * Happy path: the tree adds a pack, its number goes out in a range to a stream -> a prep thread
 * makes it: reads the parts of the files into a buffer, looks whether each file is what it was when
 * it was found -> it is acknowledged: what it was made of is let go. Failures: a file that cannot
 * be read, or is another by now, has its part voided, here and in every later pack; `failed` tells
 * who found it so.
 *
 * Threads: make by any prep thread, the rest by the main loop. An item is kept by references: the
 * tree's and those of the packs that it has parts in. */
#ifndef LH_IO_PACKS_H
#define LH_IO_PACKS_H

#include "io/source/item.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LH_PACKS_PARTS 2048u /* in one, at most: rows are made on the stack */

struct lh_packs_part {
    struct lh_item *item;
    uint64_t offset; /* within its file */
    uint32_t length;
};

struct lh_packs_how {
    /* Any prep thread: open the item's file, never waiting for a FIFO's other end. Returns 0 or
     * -LH_E_*, with a sentence. */
    int (*open)(void *user, const struct lh_item *item, int *fd, struct lh_err *err);
    /* Any prep thread: the item is spoilt, for that reason. Once an item. */
    void (*failed)(void *user, struct lh_item *item, const struct lh_err *err);
    void *user;
    bool sparse; /* runs of zeros are holes in every file, not only where it has holes */
};

struct lh_packs;

/* NULL: out of memory. */
struct lh_packs *lh_packs_new(const struct lh_packs_how *how);
void lh_packs_free(struct lh_packs *packs); /* no make may be under way */

/* One more, with the next number; takes a reference on each item. Returns 0 or -LH_E_NOMEM. */
int lh_packs_add(struct lh_packs *packs, const struct lh_packs_part *parts, unsigned n);
/* Those with numbers [first, end) have arrived, and are needed no more. */
void lh_packs_drop(struct lh_packs *packs, uint64_t first, uint64_t end);
/* Bytes of those with numbers [first, end) that are still needed: as made, or as they will be if
 * nothing in them is a hole or void. */
uint64_t lh_packs_bytes(struct lh_packs *packs, uint64_t first, uint64_t end);
/* The same of all, on average; 0: none is needed. */
uint32_t lh_packs_mean(struct lh_packs *packs);
/* Bytes of holes in those that have arrived. */
uint64_t lh_packs_holes(struct lh_packs *packs);
/* All go, and numbers begin at 0 again: a new session. No make may be under way. */
void lh_packs_clear(struct lh_packs *packs);

/* Write pack `number` to `out`, which has room for it. Returns its bytes; 0: it is needed no more.
 */
uint32_t lh_packs_make(struct lh_packs *packs, uint64_t number, uint8_t *out);

#endif
