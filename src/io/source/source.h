/* The file that is sent.
 *
 * Happy path: open (what it is, which version) -> hash blocks, which also warms the page cache ->
 * check, when a range is granted, after it was sent, and before the end -> close.
 *
 * Threads: immutable after open; any thread may read and check, also several at once. Blocking: I/O
 * threads. */
#ifndef LH_IO_SOURCE_H
#define LH_IO_SOURCE_H

#include "core/runs.h"
#include "proto/hash.h"
#include "proto/identity.h"
#include "util/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct lh_source {
    int fd;
    uint32_t mode; /* permission bits, 07777 */
    struct lh_identity identity;
    char *path; /* as it was given */
};

/* Returns 0, -LH_E_SOURCE, -LH_E_SOURCE_KIND, -LH_E_SOURCE_DIR or -LH_E_NOMEM. */
int lh_source_open(const char *path, struct lh_source *src, struct lh_err *err);
void lh_source_close(struct lh_source *src);

/* Whether it still is what it was at open: the open file, and the one that the path names now.
 * Returns 0, -LH_E_SOURCE_CHANGED with what differs, or -LH_E_SOURCE when it cannot be told. */
int lh_source_check(const struct lh_source *src, struct lh_err *err);

/* Hash blocks [first, first + n) of the grid. `buffer` holds block_bytes. zeros, unless NULL:
 * whether each is nothing but zeros. Returns 0, -LH_E_SOURCE_CHANGED when the file ends too early,
 * or -LH_E_SOURCE. */
int lh_source_hash_blocks(const struct lh_source *src, void *buffer, uint32_t block_bytes,
                          uint64_t first, uint32_t n, struct lh_hash *out, bool *zeros,
                          struct lh_err *err);

/* Where it has data: runs of bytes, as lseek(2) SEEK_DATA and SEEK_HOLE tell; where the file system
 * cannot tell, all of it. `out` is initialised by the caller; with more runs than it may have, the
 * last one reaches to the end. Returns 0 or -LH_E_NOMEM. */
int lh_source_extents(const struct lh_source *src, struct lh_runs *out, struct lh_err *err);

/* Add blocks [first, first + n) to a digest, and check the source once more. `buffer` holds
 * block_bytes. Once *stop (may be NULL) is set it ends with -LH_E_CANCELLED. Returns 0, or what
 * hash_blocks and check return. */
int lh_source_digest_part(const struct lh_source *src, uint32_t block_bytes, uint64_t first,
                          uint64_t n, const atomic_bool *stop, void *buffer, struct lh_digest *d,
                          struct lh_err *err);

#endif
