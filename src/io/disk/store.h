/* What the blocks of a transfer go into: the sink of a file, or a tree.
 *
 * Streams, committers and targets know no more of either than this. The first member of both;
 * immutable. */
#ifndef LH_IO_STORE_H
#define LH_IO_STORE_H

#include "core/runs.h"
#include "proto/hash.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lh_store;

/* Each as sink.h and rtree.h tell. write: LH_CLAIM_* or -LH_E_*; data NULL: zeros, for a sink that
 * was opened sparse alone. */
struct lh_store_ops {
    int (*write)(struct lh_store *store, uint64_t epoch, uint64_t offset, const void *data,
                 uint32_t len, const struct lh_hash *hash, bool *commit_soon, struct lh_err *err);
    bool (*wants)(struct lh_store *store, uint64_t epoch, uint64_t offset);
    uint64_t (*pending_bytes)(struct lh_store *store);
    int (*commit_begin)(struct lh_store *store, struct lh_err *err);
    int (*commit_end)(struct lh_store *store, struct lh_runs *acked, struct lh_err *err);
    void (*fence)(struct lh_store *store);
    void (*close)(struct lh_store *store);
};

struct lh_store {
    const struct lh_store_ops *ops;
    uint32_t block_bytes;
    const char *shown; /* escaped path, for people */
};

#endif
