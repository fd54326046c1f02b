/* Which version of which file: what a ledger is bound to. */
#ifndef LH_PROTO_IDENTITY_H
#define LH_PROTO_IDENTITY_H

#include "proto/cursor.h"

#include <stdbool.h>
#include <stdint.h>

struct lh_time {
    int64_t sec; /* since 1970 */
    uint32_t nsec;
};

struct lh_identity {
    uint64_t dev;
    uint64_t ino;
    uint64_t size; /* bytes */
    struct lh_time mtime;
    struct lh_time ctime;
};

#define LH_IDENTITY_SIZE 48 /* bytes encoded: dev, ino, size, 2 × (sec i64, nsec u32) */

bool lh_time_same(const struct lh_time *a, const struct lh_time *b);

/* The same version, as far as another run or another host can tell: size and mtime. */
bool lh_identity_same_version(const struct lh_identity *a, const struct lh_identity *b);

/* The very same file, untouched: all five. Within a run nothing less will do; across runs and hosts
 * a difference in dev, ino or ctime means that contents must be compared with the ledger's hashes.
 */
bool lh_identity_same(const struct lh_identity *a, const struct lh_identity *b);

/* The reader fails when nsec > 999999999 or size > INT64_MAX. */
void lh_put_identity(struct lh_writer *w, const struct lh_identity *id);
void lh_get_identity(struct lh_reader *r, struct lh_identity *id);
void lh_put_time(struct lh_writer *w, const struct lh_time *t);
void lh_get_time(struct lh_reader *r, struct lh_time *t);

#endif
