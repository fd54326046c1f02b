/* One target being received: its staging file, its journal, its ledger.
 *
 * Happy path: open (resolve the path beneath the root, lock and recover the journal, make or check
 * the staging file, write the epoch, sync) -> preallocate, slice by slice, beside the rest -> write
 * blocks, from any stream loop -> commit, again and again -> finish (digest, mode, times, sync,
 * rename, sync the directory, done record)
 * -> close. After any kill or power cut open() starts from the journal and trusts nothing else.
 *
 * Failure: any failed sync or journal write takes back every block since the last good one and
 * makes the sink `failed`: all later writes, commits and finishes return that error; close and open
 * again.
 *
 * Threads: open, commit, finish, retract, hashes, seal and close block on the disk: I/O threads
 * only, one of them at a time for one sink. write: any stream loop. The sink's lock covers the
 * ledger; it is never held over a system call. */
#ifndef LH_IO_SINK_H
#define LH_IO_SINK_H

#include "core/hold.h"
#include "core/ledger.h"
#include "io/disk/place.h"
#include "io/disk/store.h"
#include "proto/transfer.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lh_sink;

struct lh_sink_open {
    const struct lh_place *root; /* place.h: the root directory */
    const uint8_t *path;         /* of the target, relative to the root */
    size_t path_len;
    bool no_clobber;
    uint16_t keep; /* what is there may stay: LH_OFFER_KEEP_*, see core/keep.h; 0: never */
    bool restart;  /* the source changed: drop what is there */
    uint16_t hash; /* enum lh_hash_id */
    uint32_t block_bytes;
    struct lh_identity source;
    uint32_t mode; /* permission bits wanted at the end; set-id bits are dropped */
    struct lh_holder asker;
    size_t max_pending;         /* blocks, see core/ledger.h */
    const struct lh_runs *data; /* blocks with data, the rest are holes; NULL: all. Copied */
    bool sparse;                /* space is not taken ahead, only by what is written */
};

struct lh_sink_opened {
    uint64_t epoch; /* of the new holder */
    bool resumed;   /* the ledger is not empty */
    bool compare;   /* durable contents must be compared with the hashes first */
    bool dropped;   /* a partial of another version, or a damaged one, was removed */
    bool done;      /* nothing to do: digest and bytes are filled in, the sink is in its
                       done state; only forget and close make sense */
    bool kept;      /* done, because what is there stays: there is no digest */
    uint64_t bytes; /* done: size of what is there */
    struct lh_hash digest;
    uint8_t transfer_id[16]; /* the same for the same target and version of the source */
    uint64_t dev;            /* of the file system: which committer it belongs to */
};

/* Returns 0 with *sink set, or -LH_E_PATH, -LH_E_EXISTS, -LH_E_DEST_KIND, -LH_E_DEST_SPACE,
 * -LH_E_DEST_READONLY, -LH_E_DEST, -LH_E_BUSY (another process holds the journal), -LH_E_FENCED,
 * -LH_E_NOMEM, with a sentence in err. */
int lh_sink_open(const struct lh_sink_open *how, struct lh_sink **sink,
                 struct lh_sink_opened *opened, struct lh_err *err);

/* What streams, committers and targets know it by: write, commit, fence, close. */
struct lh_store *lh_sink_store(struct lh_sink *sink);

/* Make the next few thousand blocks that are holes durable, as the zeros that they read as: the
 * journal gets their hashes, the disk no contents. In a staging file that was there before they are
 * punched; where that cannot be done they are left to be sent. Blocking, like commit; before any
 * write. Returns 1 when there are more, 0 at the end, -LH_E_*. */
int lh_sink_holes(struct lh_sink *sink, struct lh_err *err);

/* Take space for the next slice of the file, so that a full disk shows early and extents are long.
 * Blocking; an I/O thread, beside whatever else is done to the sink but finish, whose times it
 * would change. Whole, it could take seconds before the first byte flows; in slices it runs ahead
 * of the writes.
 * Returns 1 when there is more to take, 0 at the end, -LH_E_DEST*. */
int lh_sink_preallocate(struct lh_sink *sink, struct lh_err *err);

/* Claim a verified block and write it. data NULL: it is zeros, which become a hole where the file
 * system has holes. Returns LH_CLAIM_OK when it is written; LH_CLAIM_DUPLICATE,
 * _FENCED, _BOUNDS, _FULL as the ledger says; -LH_E_* (negative) when the write failed (the sink is
 * then failed). len must be the block's length on the grid, else LH_CLAIM_BOUNDS.
 * *commit_soon is set when a commit is due at once: the last block is in. */
int lh_sink_write(struct lh_sink *sink, uint64_t epoch, uint64_t offset, const void *data,
                  uint32_t len, const struct lh_hash *hash, bool *commit_soon, struct lh_err *err);

/* Whether that block is worth receiving: false when it is taken already (its payload can be read
 * and thrown away without hashing). A hint; write decides. */
bool lh_sink_wants(struct lh_sink *sink, uint64_t epoch, uint64_t offset);

uint64_t lh_sink_pending_bytes(struct lh_sink *sink); /* claimed and not yet durable */
bool lh_sink_complete(struct lh_sink *sink);          /* every block is durable */

/* The two halves of a commit, so that one committer can sync many sinks' data before any journal.
 * begin: snapshot, then fdatasync of the data. Returns 1 when there is something to end, 0 when
 * nothing was pending, -LH_E_*.
 * end: append to the journal, fdatasync it, mark durable; `acked` (initialised by the caller) gets
 * the runs that became durable. 0 or -LH_E_*. */
int lh_sink_commit_begin(struct lh_sink *sink, struct lh_err *err);
int lh_sink_commit_end(struct lh_sink *sink, struct lh_runs *acked, struct lh_err *err);

/* No claim succeeds any more; waits until no write is under way. Then commit once more and close.
 */
void lh_sink_fence(struct lh_sink *sink);

/* Whole: digest, mode, times, sync, FINISH record, rename, directory sync, DONE record. Needs every
 * block durable, else -LH_E_PROTOCOL. -LH_E_EXISTS when no_clobber and somebody was faster. */
int lh_sink_finish(struct lh_sink *sink, const struct lh_finish *finish, struct lh_hash *digest,
                   struct lh_err *err);

/* The sender has confirmed: the done record may go. */
void lh_sink_forget(struct lh_sink *sink);

/* Contents were compared by the sender and found equal (after any retracts): remember it. */
int lh_sink_compared(struct lh_sink *sink, struct lh_err *err);

/* Hashes of durable blocks [first, first + n): 0, or -LH_E_PROTOCOL when not all are durable. */
int lh_sink_hashes(struct lh_sink *sink, uint64_t first, uint32_t n, struct lh_hash *out,
                   struct lh_err *err);

/* Durable blocks whose contents differ: DROP record, sync, free again. */
int lh_sink_retract(struct lh_sink *sink, uint64_t first, uint64_t end, struct lh_err *err);

/* Runs that are durable, copied into `out` (initialised by the caller). 0, -LH_E_NOMEM. */
int lh_sink_durable(struct lh_sink *sink, struct lh_runs *out);

uint64_t lh_sink_size(const struct lh_sink *sink);
uint32_t lh_sink_block_bytes(const struct lh_sink *sink);
const char *lh_sink_name(const struct lh_sink *sink); /* escaped path, for people */

/* Two opens name the same target exactly when these are equal: device and inode of the directory,
 * and the name in it. Resolves the path (making directories); blocking. */
struct lh_sink_key {
    uint64_t dev;
    uint64_t ino;
    struct lh_hash name;
};
int lh_sink_key_of(const struct lh_place *root, const uint8_t *path, size_t path_len,
                   struct lh_sink_key *key, struct lh_err *err);

/* Close, keeping what is durable. The caller has fenced and committed; uncommitted blocks are
 * forgotten. Unlocks the journal. */
void lh_sink_close(struct lh_sink *sink);

#endif
