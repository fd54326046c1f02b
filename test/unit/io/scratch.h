/* A directory for one test, and what the tests of this room do with files. */
#ifndef LH_TEST_SCRATCH_H
#define LH_TEST_SCRATCH_H

#include "io/disk/place.h"
#include "io/disk/sink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCRATCH_BLOCK (64u * 1024) /* the smallest grid */

/* Made anew below $TMPDIR or /tmp, removed when the program ends. scratch_path() is that of a name
 * in it, until 8 calls later. */
const char *scratch_dir(void);
const char *scratch_path(const char *name);

/* Empty the directory. */
void scratch_clear(void);

void scratch_write(const char *name, const void *data, size_t len);
/* Whole contents, malloc'ed; NULL when there is none. */
uint8_t *scratch_read(const char *name, size_t *len);
bool scratch_exists(const char *name);
/* Entries of the directory (not below), hidden ones apart. */
size_t scratch_count(bool hidden);

/* Contents of a made-up source: `seed` tells versions apart. */
void scratch_fill(uint8_t *out, size_t len, uint64_t offset, uint32_t seed);

/* A source and how it is offered, sent to `name` in the scratch directory. */
struct scratch_source {
    struct lh_sink_open how;
    uint8_t *data;
    uint64_t n_blocks;
};

void scratch_source_init(struct scratch_source *src, struct lh_place *root, const char *name,
                         uint64_t size, uint32_t seed);
void scratch_source_free(struct scratch_source *src);

uint32_t scratch_block_len(const struct scratch_source *src, uint64_t block);

/* lh_sink_write of one of its blocks. */
int scratch_send(struct lh_sink *sink, const struct scratch_source *src, uint64_t epoch,
                 uint64_t block, struct lh_err *err);

/* Both halves of a commit. acked may be NULL. Returns as they do. */
int scratch_commit(struct lh_sink *sink, struct lh_runs *acked, struct lh_err *err);

/* Send whatever is missing, commit and finish; 0 or what failed. */
int scratch_complete(struct lh_sink *sink, const struct scratch_source *src, uint64_t epoch,
                     struct lh_err *err);
int scratch_finish(struct lh_sink *sink, const struct scratch_source *src, struct lh_hash *digest,
                   struct lh_err *err);

/* Whether `name` holds the source's contents, all of them. */
bool scratch_same(const char *name, const struct scratch_source *src);

/* Digest of the source, from the definition. */
struct lh_hash scratch_digest(const struct scratch_source *src);

#define SCRATCH_NOBODY 65534

/* As who is not root, with the scratch directory as its own. False: it cannot be got at then. Bails
 * out where it cannot be done. */
bool scratch_as_nobody(void);
/* As before. */
void scratch_as_before(void);

#endif
