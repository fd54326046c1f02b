/* What sink*.c share; nobody else includes this. */
#ifndef LH_IO_SINK_IMPL_H
#define LH_IO_SINK_IMPL_H

#include "io/disk/journal.h"
#include "io/disk/sink.h"
#include "io/disk/staging.h"

#include <pthread.h>

#define LH_SINK_SHOWN_SIZE 320 /* leaves room for a reason in an error's sentence */

struct lh_sink {
    struct lh_store store; /* first */
    pthread_mutex_t lock;  /* the ledger, `why` and `retracted`; never held over a system call */
    pthread_cond_t quiet;  /* fenced, and the last write has ended */
    struct lh_ledger ledger;
    struct lh_err why; /* status != 0: failed, for this reason */
    bool retracted;    /* some block was: what is free may have contents from before */

    /* Set by open, not changed afterwards. */
    int dirfd; /* the target's directory */
    int fd;    /* staging file; -1 when it was done before */
    uint64_t dev;
    char name[256]; /* of the target in its directory */
    char shown[LH_SINK_SHOWN_SIZE];
    struct lh_hidden hidden;
    struct lh_identity source;
    uint32_t block_bytes;
    uint64_t n_blocks;
    bool no_clobber;
    bool
        new_made; /* made by this open: of no use if it fails, and zeros where nothing is written */
    bool sparse;  /* space is not taken ahead */

    /* Of the I/O thread that is at it. */
    struct lh_journal *journal;
    struct lh_batch batch; /* between the two halves of a commit */
    bool done;             /* renamed, and the journal says so; or kept */
    bool kept;             /* what was there stays; the journal, if any, is of something else */

    struct lh_runs data; /* blocks with data, when it has holes */
    bool has_holes;
    uint64_t hole_at;   /* block from which holes are still to be made durable */
    uint64_t allocated; /* bytes from the start; of whoever calls preallocate */
};

/* Its first failure is kept and answers everything that comes later. Each returns -LH_E_*, and
 * fills `err` where it is not NULL. */
int lh_sink_fail(struct lh_sink *s, const struct lh_err *why, struct lh_err *err);
int lh_sink_fail_sys(struct lh_sink *s, int e, const char *what, struct lh_err *err);
/* 0, or the failure that there was before. _locked: the caller holds the lock. */
int lh_sink_failed(struct lh_sink *s, struct lh_err *err);
int lh_sink_failed_locked(const struct lh_sink *s, struct lh_err *err);

/* What makes it a store. */
extern const struct lh_store_ops lh_sink_ops;

/* Whether the target's name is free for it: 0, -LH_E_DEST_KIND, -LH_E_EXISTS when somebody's file
 * is there and `no_clobber`, -LH_E_DEST*. */
int lh_sink_check_target(const struct lh_sink *s, struct lh_err *err);

#endif
