/* What a stream has yet to send: granted ranges, and of those the next few blocks made ready ahead
 * of the socket: blocks of a file are hashed, which warms the page cache too; packs of a tree are
 * read into buffers and hashed.
 *
 * Happy path: add a range -> prepare: chunks of it are made ready on the prep threads -> done ->
 * prepare again: what has been made is ready, the next chunks go out -> next, block after block, in
 * the order in which they were granted.
 *
 * Thread: the stream's loop, but for new; making is the prep threads'. */
#ifndef LH_IO_AHEAD_H
#define LH_IO_AHEAD_H

#include "io/net/pool.h"
#include "io/net/worker.h"
#include "proto/hash.h"
#include "util/err.h"

#include <stdatomic.h>
#include <stdbool.h>

#define LH_AHEAD_CHUNK 8u /* blocks in a job, at most */
#define LH_AHEAD_JOBS 2u  /* under way for one stream */
#define LH_AHEAD_MAX 64u  /* blocks ready and not yet taken, or being made */

struct lh_ahead;

struct lh_ahead_block {
    uint64_t block;
    struct lh_hash hash;
    uint32_t length;         /* of the contents, bytes; 0: there is nothing of it to send */
    struct lh_pool_buf *buf; /* the contents; NULL: they are read from the file as it is sent */
    bool zeros;              /* it is nothing but zeros: its header tells, and they do not travel */
    bool dropped;            /* leave it out */
};

/* What blocks are. */
struct lh_ahead_blocks {
    /* Any prep thread, also several at once: fill hash, length and buf of n blocks from `first` on.
     * Returns 0 or -LH_E_*, with a sentence. */
    int (*make)(const struct lh_ahead_blocks *blocks, uint64_t first, unsigned n,
                struct lh_ahead_block *out, struct lh_err *err);
    struct lh_pool *pool; /* of the buffers */
    uint32_t block_bytes;
    unsigned chunk; /* blocks in a job: 1 to LH_AHEAD_CHUNK */
    unsigned most;  /* blocks ready or being made: 2 × chunk to LH_AHEAD_MAX */
};

struct lh_ahead_how {
    const struct lh_ahead_blocks *blocks;
    struct lh_worker *prep;
    atomic_uint_fast64_t *hashing_us; /* time that goes into jobs is added here */
    struct lh_mbox *reply;            /* the stream's loop */
    /* On that loop: a job has ended, prepare goes on. err->status is what `make` failed with:
     * prepare no more then. */
    void (*done)(void *user, const struct lh_err *err);
    void *user;
};

/* Any thread. NULL: out of memory. */
struct lh_ahead *lh_ahead_new(const struct lh_ahead_how *how);
/* No job may be under way. */
void lh_ahead_free(struct lh_ahead *a);

/* Blocks [first, end), end > first, behind those that are there; dropped no more. Not while full.
 */
void lh_ahead_add(struct lh_ahead *a, uint64_t first, uint64_t end);
/* Leave these out, until they are added anew; those that `next` has given are not touched. */
void lh_ahead_drop(struct lh_ahead *a, uint64_t first, uint64_t end);

/* Take in what is ready, and have more made, as far ahead as suits so many bytes a second. */
void lh_ahead_prepare(struct lh_ahead *a, uint64_t rate_Bps);

/* Take the next block that is ready; its buffer, if it has one, goes to lh_pool_put. False: none
 * is. */
bool lh_ahead_next(struct lh_ahead *a, struct lh_ahead_block *out);
/* Whether one is, dropped or not. */
bool lh_ahead_ready(const struct lh_ahead *a);

/* Bytes added and not yet taken, in whole blocks; a chunk that is being made counts as a full
 * one. 0 only when there is nothing. */
uint64_t lh_ahead_bytes(const struct lh_ahead *a);
/* There is no room for one more range. */
bool lh_ahead_full(const struct lh_ahead *a);
/* A job is under way: `done` is yet to come. */
bool lh_ahead_hashing(const struct lh_ahead *a);

#endif
