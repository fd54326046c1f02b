/* Sorts more keys than memory is to hold: runs of them in an unlinked file, merged.
 *
 * Happy path: init -> add -> finish -> next until 0, rewind, next … -> free. Few keys never leave
 * memory.
 *
 * Threads: one at a time. Blocking: I/O threads. Any failure is $TMPDIR's (-LH_E_INTERNAL) or
 * memory's (-LH_E_NOMEM), with a sentence, and leaves nothing to do but free. */
#ifndef LH_IO_SORTER_H
#define LH_IO_SORTER_H

#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

struct lh_sort_key { /* by dev, then ino, then at */
    uint64_t dev;
    uint64_t ino;
    uint64_t at;
};

struct lh_sorter {
    struct lh_sort_key *keys; /* while adding: a run; after finish: read ahead */
    size_t n;
    size_t cap;
    int fd;         /* sorted runs behind one another; -1: none were written */
    uint64_t *runs; /* where each run begins in the file, in keys; one more for its end */
    size_t n_runs;
    uint64_t next;  /* key that comes next, counted from the first */
    uint64_t first; /* key that keys[0] is */
};

void lh_sorter_init(struct lh_sorter *s);
void lh_sorter_free(struct lh_sorter *s);
int lh_sorter_add(struct lh_sorter *s, const struct lh_sort_key *key, struct lh_err *err);
int lh_sorter_finish(struct lh_sorter *s, struct lh_err *err);
void lh_sorter_rewind(struct lh_sorter *s);
/* Returns 1 with the next key, 0 at the end, or what failed. */
int lh_sorter_next(struct lh_sorter *s, struct lh_sort_key *key, struct lh_err *err);

#endif
