/* A tree being received: what it was told of, its staging files, what is settled.
 *
 * Happy path: open -> ask of each FILES: makes directories, links and special files at once, keeps
 * what is there already, and enters files whose contents are wanted into a table -> write packs:
 * each part goes into a hidden staging file beside its target; a file that is whole gets its
 * attributes -> commit, again and again: sync, rename, sync the directories; only then an entry is
 * settled -> attrs, remove -> finish -> close. There is no journal: what is under its name is
 * whole, and what is not is sent again.
 *
 * Failures: of one entry: it is told of and dropped, the others go on. A full or read-only or
 * failing disk, or a failed sync: the tree is `failed`, nothing since the last good sync is
 * settled, and every later call returns that error.
 *
 * Threads: write (by `store`) on any stream loop, several at once. owners, ask: one I/O thread at
 * a time.
 * Commits, attrs, remove, finish, close: the committer. list: any I/O thread. The tree's lock is
 * never held over a system call. */
#ifndef LH_IO_RTREE_H
#define LH_IO_RTREE_H

#include "core/runs.h"
#include "io/disk/place.h"
#include "io/disk/quota.h"
#include "io/disk/sink.h"
#include "io/disk/store.h"
#include "proto/owners.h"
#include "proto/tree.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lh_rtree;

struct lh_rtree_open {
    const struct lh_place *root;
    const uint8_t *path; /* of the tree's root below it; "." is the root itself */
    size_t path_len;
    uint16_t flags; /* enum lh_offer_flag; with DRY_RUN nothing is changed */
    uint32_t keep;  /* enum lh_tree_keep */
    unsigned allow; /* enum lh_allow */
    uint32_t block_bytes;
    uint64_t epoch;          /* that blocks must name */
    size_t max_pending;      /* packs, see core/ledger.h */
    struct lh_quota *memory; /* that all trees share; NULL: no bound */
};

/* Makes the tree's root and its parents when they are missing. *dev: which committer it belongs to.
 * Returns 0, -LH_E_PATH, -LH_E_DEST_KIND, -LH_E_DEST*, -LH_E_NOMEM, -LH_E_BUSY (not enough left of
 * what all trees share). */
int lh_rtree_open(const struct lh_rtree_open *how, struct lh_rtree **tree, uint64_t *dev,
                  struct lh_err *err);

/* Two trees have the same root exactly when these are equal. Makes it, as open does. */
int lh_rtree_key_of(const struct lh_place *root, const uint8_t *path, size_t path_len,
                    struct lh_sink_key *key, struct lh_err *err);

/* write, commit, close: io/disk/store.h. A block is a pack, its offset the pack's number × grid. */
struct lh_store *lh_rtree_store(struct lh_rtree *tree);

/* Something that failed, of one entry. */
struct lh_rtree_trouble {
    struct lh_rtree_trouble *next;
    uint32_t entry; /* LH_TREE_NO_ENTRY: the text names what */
    int status;     /* LH_E_* */
    char text[];
};
void lh_rtree_troubles_free(struct lh_rtree_trouble *list);

/* What became of the entries of a FILES frame. */
struct lh_rtree_answers {
    uint32_t first; /* index */
    uint32_t n;
    uint8_t *v;                        /* enum lh_wanted; LH_WANTED_MAX at most */
    struct lh_rtree_trouble *troubles; /* of those that are FAILED */
};
void lh_rtree_answers_free(struct lh_rtree_answers *a);

/* Names of owners, from an OWNERS payload: entries that come later get this host's numbers of them.
 * Asks the data base of users, which may take its time. Returns as ask does, never 1. */
int lh_rtree_owners(struct lh_rtree *tree, const uint8_t *payload, size_t len, struct lh_err *err);

/* Answer the entries of a FILES payload from the `skip`-th on. `out` is zeroed before; it is filled
 * in whatever is returned. Returns 0: to the end. 1: the table has no place for the next one;
 * again with what was answered skipped, after a commit. -LH_E_PROTOCOL, -LH_E_NOMEM, -LH_E_DEST*:
 * the tree is of no more use. */
int lh_rtree_ask(struct lh_rtree *tree, const uint8_t *payload, size_t len, uint32_t skip,
                 struct lh_rtree_answers *out, struct lh_err *err);

/* The answers were sent: what was made may be settled from now on. last: the sender waits for what
 * it was told to be settled, and for nothing else. Any thread. Returns whether a commit is due:
 * 0 no, 1 some time, 2 at once. */
int lh_rtree_asked(struct lh_rtree *tree, const struct lh_rtree_answers *answers, bool last);

/* Whether contents that were wanted are still to come, or to be committed. Any thread. */
bool lh_rtree_awaits(struct lh_rtree *tree);

/* What is settled, and what has failed in contents or commits, since the last call. `settled` is
 * initialised by the caller; the list is the caller's. Any thread. */
void lh_rtree_take(struct lh_rtree *tree, struct lh_runs *settled,
                   struct lh_rtree_trouble **troubles);

/* Mode, times, owner, extended attributes of what is there, in the order of an ATTRS payload. */
int lh_rtree_attrs(struct lh_rtree *tree, const uint8_t *payload, size_t len,
                   struct lh_rtree_trouble **troubles, struct lh_err *err);

/* Unlink what a REMOVE payload names, and sync. gone: indexes, initialised by the caller. */
int lh_rtree_remove(struct lh_rtree *tree, const uint8_t *payload, size_t len, struct lh_runs *gone,
                    struct lh_rtree_trouble **troubles, struct lh_err *err);

/* A directory of the tree, read frame by frame. One that is not there has no names; of one that
 * cannot be read NAMES say so. Fails with -LH_E_PATH, -LH_E_NOMEM, -LH_E_DEST*. */
struct lh_rtree_list;
int lh_rtree_list_open(struct lh_rtree *tree, uint32_t tag, const uint8_t *path, size_t path_len,
                       struct lh_rtree_list **list, struct lh_err *err);
/* The next NAMES payload; `out` has LH_CONTROL_MAX bytes. Returns its bytes; *last: there is no
 * more. */
size_t lh_rtree_list_next(struct lh_rtree_list *list, uint8_t *out, bool *last);
void lh_rtree_list_close(struct lh_rtree_list *list);

/* After the last commit: whatever was done is on the disk. 0 or -LH_E_DEST*. */
int lh_rtree_finish(struct lh_rtree *tree, struct lh_err *err);

struct lh_rtree_stats {
    uint64_t files; /* received and settled */
    uint64_t bytes;
    uint64_t made;
    uint64_t kept;
    uint64_t failed;
    uint64_t removed;
    uint64_t not_kept;   /* owners, extended attributes that could not be set */
    uint64_t n_owners;   /* not permitted: entries, */
    uint64_t n_set_id;   /* files, */
    uint64_t n_security; /* attributes */
    uint64_t not_asked;  /* names of owners that the data base of users did not answer for */
};
/* Any thread. */
void lh_rtree_stats(struct lh_rtree *tree, struct lh_rtree_stats *stats);

#endif
