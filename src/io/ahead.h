/* What a stream has yet to send: granted ranges, and of those the next few blocks hashed ahead of
 * the socket, which warms the page cache too.
 *
 * Happy path: add a range -> prepare: chunks of it are hashed on the prep threads -> done ->
 * prepare again: what is hashed is ready, the next chunks go out -> next, block after block, in the
 * order in which they were granted.
 *
 * Thread: the stream's loop, but for new; hashing is the prep threads'. */
#ifndef LH_IO_AHEAD_H
#define LH_IO_AHEAD_H

#include "io/pool.h"
#include "io/source.h"
#include "io/worker.h"

struct lh_ahead;

struct lh_ahead_how {
    const struct lh_source *source;
    uint32_t block_bytes;
    struct lh_worker *prep;
    struct lh_pool *pool;             /* a block's buffer for each job */
    atomic_uint_fast64_t *hashing_us; /* time that goes into jobs is added here */
    struct lh_mbox *reply;            /* the stream's loop */
    /* On that loop: a job has ended, prepare goes on. err->status is -LH_E_* of
     * lh_source_hash_blocks, lh_source_check or LH_E_NOMEM when it failed: prepare no more then. */
    void (*done)(void *user, const struct lh_err *err);
    void *user;
};

struct lh_ahead_block {
    uint64_t block;
    struct lh_hash hash;
    bool dropped; /* leave it out */
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

/* Take in what is hashed, and have more hashed, as far ahead as suits so many bytes a second. */
void lh_ahead_prepare(struct lh_ahead *a, uint64_t rate_Bps);

/* Take the next block that is ready. False: none is. */
bool lh_ahead_next(struct lh_ahead *a, struct lh_ahead_block *out);
/* Whether one is, dropped or not. */
bool lh_ahead_ready(const struct lh_ahead *a);

/* Bytes added and not yet taken, in whole blocks; a chunk that is being hashed counts as a full
 * one. 0 only when there is nothing. */
uint64_t lh_ahead_bytes(const struct lh_ahead *a);
/* There is no room for one more range. */
bool lh_ahead_full(const struct lh_ahead *a);
/* A job is under way: `done` is yet to come. */
bool lh_ahead_hashing(const struct lh_ahead *a);

#endif
