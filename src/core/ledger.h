/* The receiver's ledger of one file: which blocks are claimed, written, durable, and who may write.
 *
 * The state of a block goes one way:
 *
 *     free --claim--> writing --wrote--> pending --snapshot--> syncing --synced--> durable
 *       ^                |                  |                     |
 *       +----failed------+------------------+------lost-----------+
 *
 * First verified copy wins: claim says so, and a later copy is dropped. A snapshot takes only
 * blocks whose write has ended; a write that ends while a sync is under way waits for the next. A
 * durable block is never claimed again unless it is retracted first.
 *
 * Pure decisions; not thread-safe; the owner locks around every call. Allocates only its own sets.
 */
#ifndef LH_CORE_LEDGER_H
#define LH_CORE_LEDGER_H

#include "core/runs.h"
#include "proto/hash.h"

#include <stdbool.h>
#include <stdint.h>

struct lh_block_hash {
    uint64_t block;
    struct lh_hash hash;
};

/* Blocks of one commit, sorted by number, no block twice. */
struct lh_batch {
    struct lh_block_hash *v;
    size_t n;
    size_t cap;
};

void lh_batch_free(struct lh_batch *b);

struct lh_ledger {
    uint64_t n_blocks;    /* in the file */
    uint64_t epoch;       /* of the holder; a claim with another one is fenced */
    bool fenced;          /* nobody may write: not yet held, takeover, or end */
    bool failed;          /* a sync failed: fenced, and writes under way count for nothing */
    size_t n_writing;     /* claims whose write has not ended */
    size_t max_pending;   /* blocks writing, pending or syncing; one more is LH_CLAIM_FULL */
    struct lh_runs taken; /* writing, pending, syncing or durable */
    struct lh_runs durable;
    struct lh_batch pending; /* unsorted until the snapshot */
    size_t n_syncing;        /* blocks in the snapshot that is out; at most one is */
};

enum lh_claim {
    LH_CLAIM_OK,
    LH_CLAIM_DUPLICATE, /* somebody has or had it: drop this copy */
    LH_CLAIM_FENCED,    /* another epoch, or the ledger is fenced: stop the stream */
    LH_CLAIM_BOUNDS,    /* no such block */
    LH_CLAIM_FULL,      /* too much is not yet durable: wait for the next commit */
    LH_CLAIM_NOMEM      /* out of memory, or the set of runs has reached its limit */
};

void lh_ledger_init(struct lh_ledger *l, uint64_t n_blocks, size_t max_pending);
void lh_ledger_free(struct lh_ledger *l);

/* What the journal says at the start, before the first hold. Returns 0, -LH_E_NOMEM, -LH_E_LIMIT,
 * or -LH_E_CORRUPT when it lies outside the file; then the ledger is good for nothing but free. */
int lh_ledger_restore(struct lh_ledger *l, uint64_t first, uint64_t end);

/* A new holder, with a higher epoch. Needs: fenced or never held, nobody writing, nothing pending
 * or syncing. */
void lh_ledger_hold(struct lh_ledger *l, uint64_t epoch);

/* From now on every claim is LH_CLAIM_FENCED. Quiet once nobody is writing. */
void lh_ledger_fence(struct lh_ledger *l);
static inline bool lh_ledger_quiet(const struct lh_ledger *l)
{
    return l->fenced && l->n_writing == 0;
}

enum lh_claim lh_ledger_claim(struct lh_ledger *l, uint64_t epoch, uint64_t block);

/* The write of a claimed block ended well. Returns 0; -LH_E_NOMEM, or -LH_E_DEST when a sync has
 * failed since the claim (it may have eaten some of the block's pages): then the block is free
 * again. */
int lh_ledger_wrote(struct lh_ledger *l, uint64_t block, const struct lh_hash *hash);

/* The write of a claimed block failed: the block is free again. */
void lh_ledger_failed(struct lh_ledger *l, uint64_t block);

/* Take what is pending into `out` (empty before; takes over its memory), sorted. False when nothing
 * is pending. At most one snapshot at a time; it ends with synced or lost. */
bool lh_ledger_snapshot(struct lh_ledger *l, struct lh_batch *out);

/* Data and journal of the snapshot are synced: its blocks are durable. Returns 0 or -LH_E_NOMEM /
 * -LH_E_LIMIT; then treat it as lost and stop the transfer. */
int lh_ledger_synced(struct lh_ledger *l, const struct lh_batch *batch);

/* The sync failed: everything since the last good one is free again, the pending ones too (the same
 * failed sync may have eaten their pages), and so will be what is being written now. The ledger is
 * fenced until it is held anew. Never fails: claims reserve what it needs. */
void lh_ledger_lost(struct lh_ledger *l, const struct lh_batch *batch);

/* The sender found that contents differ: durable blocks of the run are free again. The journal's
 * DROP record must be durable first. Returns 0, -LH_E_NOMEM, -LH_E_LIMIT. */
int lh_ledger_retract(struct lh_ledger *l, uint64_t first, uint64_t end);

static inline bool lh_ledger_complete(const struct lh_ledger *l)
{
    return l->durable.blocks == l->n_blocks;
}

/* Every block is written, if not yet durable: commit now rather than at the next tick. */
static inline bool lh_ledger_all_taken(const struct lh_ledger *l)
{
    return l->taken.blocks == l->n_blocks && l->n_writing == 0;
}

#endif
