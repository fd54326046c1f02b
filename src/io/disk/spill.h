/* Records in an unlinked file in $TMPDIR, for what grows with a tree and has no place in memory.
 *
 * Appended at the end; read from the end, taking them away (a stack) or leaving them (a reader);
 * or by the place that append told. The last ones are in memory, and as long as they are few there
 * is no file at all.
 *
 * Threads: one at a time. Blocking: I/O threads. */
#ifndef LH_IO_SPILL_H
#define LH_IO_SPILL_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_SPILL_RECORD_MAX (64u * 1024) /* bytes */

struct lh_spill {
    int fd;         /* -1: none yet */
    uint8_t *tail;  /* the last bytes; NULL until there are any */
    size_t used;    /* of it */
    uint64_t start; /* bytes before it, in the file */
};

void lh_spill_init(struct lh_spill *s);
void lh_spill_free(struct lh_spill *s);

/* A new file without a name in $TMPDIR or /tmp. Returns 0 with *fd, or -LH_E_INTERNAL. */
int lh_spill_file(int *fd, struct lh_err *err);

bool lh_spill_empty(const struct lh_spill *s);

/* Append a record of at most LH_SPILL_RECORD_MAX bytes. *at (may be NULL): its place. Returns 0,
 * -LH_E_NOMEM or -LH_E_INTERNAL with a sentence. */
int lh_spill_append(struct lh_spill *s, const void *record, size_t len, uint64_t *at,
                    struct lh_err *err);

/* Take the last record away; it holds until the next call. There must be one. Returns as append. */
int lh_spill_pop(struct lh_spill *s, const void **record, size_t *len, struct lh_err *err);

/* Copy the record at a place that append told to `out`, of LH_SPILL_RECORD_MAX bytes. Nothing has
 * been popped. Returns 0 or -LH_E_INTERNAL. */
int lh_spill_get(const struct lh_spill *s, uint64_t at, void *out, size_t *len, struct lh_err *err);

/* From the last record to the first, while none is appended or popped. */
struct lh_spill_reader {
    const struct lh_spill *spill;
    uint64_t at;    /* records behind it were read */
    uint8_t *bytes; /* of the spill, from `start`; NULL until needed */
    uint64_t start;
};

void lh_spill_reader_init(struct lh_spill_reader *r, const struct lh_spill *s);
void lh_spill_reader_free(struct lh_spill_reader *r);

/* The next record, which holds until the next call. Returns 1, 0 when there is none left,
 * -LH_E_NOMEM or -LH_E_INTERNAL. */
int lh_spill_read(struct lh_spill_reader *r, const void **record, size_t *len, struct lh_err *err);

#endif
