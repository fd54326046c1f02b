/* The file that says what of one target is durable. Records: proto/journal.h.
 *
 * Happy path: open (lock) -> recover what it says, or begin a new one -> append, each time with a
 * sync -> close. The lock is held while it is open; a second process hears LH_E_BUSY.
 *
 * Recovery reads records in order and believes them up to the first that is torn, damaged, of
 * another journal, or says something impossible; the rest is cut off and the cut is synced.
 *
 * Failures: after a failed append or sync nothing is known about the tail. The journal cuts itself
 * back to its last good record as well as it can and is dead: further appends fail; close it and
 * open it again.
 *
 * Hashes are not held in memory: they are asked for by rebuilding them from the journal, once, into
 * an unlinked file (the index) in block order, which later commits keep up to date.
 *
 * Threads: I/O threads, one at a time for one journal. */
#ifndef LH_IO_JOURNAL_H
#define LH_IO_JOURNAL_H

#include "core/ledger.h"
#include "core/runs.h"
#include "io/disk/staging.h"
#include "proto/journal.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lh_journal;

/* What a journal says. */
struct lh_journal_state {
    bool valid;                  /* head and first epoch are there; else nothing below counts */
    struct lh_journal_head head; /* its name points to `name` */
    char name[256];              /* NUL-terminated */
    uint64_t n_blocks;
    struct lh_journal_epoch epoch; /* the last one */
    struct lh_runs durable;
    bool finished; /* `finish` counts, and no block was written or dropped since */
    bool done;
    struct lh_journal_finish finish;
    uint64_t end;      /* bytes that are good */
    uint64_t next_seq; /* of the record that goes there */
    bool torn;         /* there is something behind `end` */
};

void lh_journal_state_init(struct lh_journal_state *st);
void lh_journal_state_free(struct lh_journal_state *st);

/* Read what a journal says without changing or locking it. Returns 0, or -LH_E_DEST (cannot be
 * read: that is not the same as damaged), -LH_E_NOMEM. */
int lh_journal_scan(int fd, struct lh_journal_state *st, struct lh_err *err);

/* The same; besides, each block's hash is written to index_fd at block × LH_HASH_SIZE. */
int lh_journal_read(int fd, int index_fd, struct lh_journal_state *st, struct lh_err *err);

/* Whether a process has it locked now. */
bool lh_journal_held(int fd);

/* Open and lock. create: make it when it is missing; else 0 with *journal NULL says so. `shown`
 * names the target in errors and is kept; so are dirfd and `hidden`: they must outlive the journal.
 * Returns 0, -LH_E_BUSY, -LH_E_DEST*, -LH_E_NOMEM. */
int lh_journal_open(int dirfd, const struct lh_hidden *hidden, const char *shown, bool create,
                    struct lh_journal **journal, struct lh_err *err);

/* Unlock and close; the file stays. NULL is fine. */
void lh_journal_close(struct lh_journal *j);

/* Read it into the state and cut off what is no good. Returns as scan does. */
int lh_journal_recover(struct lh_journal *j, struct lh_err *err);

/* Whether the file holds nothing at all; false when that cannot be told. */
bool lh_journal_empty(const struct lh_journal *j);

/* What it says; the caller may take `durable` away. */
struct lh_journal_state *lh_journal_state(struct lh_journal *j);

/* Empty it, durably: whatever it said is void before the staging file goes. */
int lh_journal_reset(struct lh_journal *j, struct lh_err *err);

/* First records of an empty one; synced. The directory entry is the caller's to sync. */
int lh_journal_begin(struct lh_journal *j, const struct lh_journal_head *head,
                     const struct lh_journal_epoch *epoch, struct lh_err *err);

/* Append and sync. 0, or -LH_E_DEST*, -LH_E_NOMEM: dead then. */
int lh_journal_append_epoch(struct lh_journal *j, const struct lh_journal_epoch *epoch,
                            struct lh_err *err);
int lh_journal_append_blocks(struct lh_journal *j, const struct lh_batch *batch,
                             struct lh_err *err);
int lh_journal_append_drop(struct lh_journal *j, uint64_t first, uint64_t end, struct lh_err *err);
int lh_journal_append_finish(struct lh_journal *j, const struct lh_journal_finish *finish,
                             struct lh_err *err);
int lh_journal_append_done(struct lh_journal *j, struct lh_err *err);

/* Hashes of blocks that are durable, in block order. */
int lh_journal_hashes(struct lh_journal *j, uint64_t first, uint32_t n, struct lh_hash *out,
                      struct lh_err *err);

/* Digest over all blocks. -LH_E_CORRUPT when what is on the disk does not cover them all. */
int lh_journal_digest(struct lh_journal *j, struct lh_hash *digest, struct lh_err *err);

#endif
