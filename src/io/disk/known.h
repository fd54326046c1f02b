/* Which names have come before, of however many: their hashes in an unlinked file in $TMPDIR.
 *
 * XXH3-128 of each is taken for the name: that two names of a list have the same one will not
 * happen. Memory does not grow with the names. One or two small reads and a write for each.
 *
 * Threads: one at a time. Blocking: I/O threads. */
#ifndef LH_IO_KNOWN_H
#define LH_IO_KNOWN_H

#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

struct lh_known {
    int fd;            /* -1: nothing was seen yet */
    uint64_t n;        /* hashes in it */
    uint64_t n_places; /* places for them: a power of two, at most half of them taken; 0: no file */
};

void lh_known_init(struct lh_known *s);
void lh_known_free(struct lh_known *s);

/* Returns 1 when that name was seen before; else 0, and it is seen from now on. -LH_E_NOMEM,
 * -LH_E_INTERNAL ($TMPDIR is full or failed) with a sentence. */
int lh_known(struct lh_known *s, const void *name, size_t len, struct lh_err *err);

#endif
