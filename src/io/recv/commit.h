/* The committer: the thread that makes blocks durable, one for each file system.
 *
 * Every commit_ms, or once commit_bytes are written, or at once when somebody has its last block,
 * it syncs the data of every sink with something pending, then appends to and syncs their journals
 * (of a tree: renames and syncs its directories), and tells each owner which blocks became durable.
 * Between commits it runs jobs: whatever else needs a sink's disk to itself (finish, hashes,
 * retract, close), one after the other.
 *
 * Failure: a sink whose commit fails is reported to its owner and left alone from then on. */
#ifndef LH_IO_COMMIT_H
#define LH_IO_COMMIT_H

#include "core/runs.h"
#include "io/disk/store.h"
#include "io/net/mbox.h"
#include "io/net/worker.h"

#include <stdatomic.h>
#include <stdbool.h>

struct lh_committer;

/* A sink or tree on a committer; embedded in its owner. */
struct lh_commit_entry {
    struct lh_store *store;
    struct lh_mbox *reply;
    /* On reply's loop, after each commit that had something, and once when one failed. */
    void (*committed)(struct lh_commit_entry *entry, const struct lh_runs *acked,
                      const struct lh_err *err);
    struct lh_committer *committer;
    struct lh_commit_entry *next; /* the committer's */
    bool begun;
    bool failed;
};

struct lh_committer_stats {
    atomic_uint_fast64_t busy_since_ms; /* a commit is under way since; 0: none */
    atomic_uint_fast32_t last_ms;       /* how long the last one took */
    atomic_uint_fast64_t all_ms;        /* how long all took that have ended */
};

struct lh_committer {
    uint64_t dev;              /* st_dev of its file system */
    struct lh_committer *next; /* the owner's list */
    uint64_t commit_ms;
    uint64_t commit_bytes;
    struct lh_committer_stats stats;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct lh_job *job_head;
    struct lh_job *job_tail;
    struct lh_commit_entry *entries; /* the thread's own */
    uint64_t due_ms;                 /* of the next commit; 0: nothing is written */
    atomic_uint_fast64_t written;    /* bytes since the last commit */
    bool soon;
    bool stop;
};

/* Returns NULL when memory or threads are out. */
struct lh_committer *lh_committer_start(uint64_t dev, uint64_t commit_ms, uint64_t commit_bytes);

/* No entry may be attached and no job queued. Joins; does not block then. */
void lh_committer_stop(struct lh_committer *c);

/* Any thread: bytes were written to one of its sinks. soon: do not wait for the tick. */
void lh_committer_wrote(struct lh_committer *c, uint32_t bytes, bool soon);

/* Any thread. Runs between commits. */
void lh_committer_submit(struct lh_committer *c, struct lh_job *job,
                         void (*run)(struct lh_job *job), void (*done)(struct lh_job *job),
                         struct lh_mbox *reply);

/* From within a job of this committer only. */
void lh_committer_attach(struct lh_committer *c, struct lh_commit_entry *entry);
void lh_committer_detach(struct lh_committer *c, struct lh_commit_entry *entry);

/* From within a job: commit this sink now. 0, or -LH_E_* (reported to nobody else). */
int lh_committer_commit_now(struct lh_commit_entry *entry, struct lh_err *err);

#endif
