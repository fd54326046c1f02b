/* What tree*.c share; nobody else includes this.
 *
 *     walk (prep thread) ─▶ table ── FILES ──▶ receiver
 *                             │ ◀── WANTED ──┘
 *        small: packs ◀───────┼───────▶ big: a send of its own, two at once
 *        on the lane's streams│
 *                             │ ◀── SETTLED, FAILED
 *     all answered ─▶ ATTRS of directories ─▶ FINISH
 *     with --delete before that, all settled: what the source has not (LIST, NAMES, REMOVE)
 *
 * Thread: main loop, but for the jobs, which are the prep threads': of the walk there is one at a
 * time. */
#ifndef LH_IO_TREE_IMPL_H
#define LH_IO_TREE_IMPL_H

#include "core/idmap.h"
#include "core/runs.h"
#include "io/disk/spill.h"
#include "io/send/engine.h"
#include "io/source/packs.h"
#include "io/source/walk.h"
#include "io/tree/lane.h"
#include "proto/owners.h"
#include "proto/tree.h"
#include "util/log.h"

#include <longhaul/tree.h>

#define LH_TREE_BATCH 512u                         /* entries of one job of the walk */
#define LH_TREE_BATCH_BYTES (1024u * 1024)         /* of their paths and attributes, about */
#define LH_TREE_PATHS_MAX (16u * 1024 * 1024)      /* bytes of paths in the table */
#define LH_TREE_BIGS_MAX 1024u                     /* that wait for their turn */
#define LH_TREE_BIGS_AT_ONCE 2u                    /* that are being sent */
#define LH_TREE_LISTS 64u                          /* directories asked for at once */
#define LH_TREE_BRIEF_BYTES (256ull * 1024 * 1024) /* in small packs over a long path */
#define LH_TREE_PACKS_BYTES (32ull * 1024 * 1024)  /* made and not yet sent, about */

enum lh_tree_stage {
    LH_TREE_OPENING,   /* the sources, and the session */
    LH_TREE_MOVING,    /* entries are told of, contents sent */
    LH_TREE_LISTING,   /* what does the destination have that the source has not? */
    LH_TREE_REMOVING,  /* that */
    LH_TREE_DRESSING,  /* ATTRS */
    LH_TREE_FINISHING, /* DONE is awaited */
    LH_TREE_ENDING
};

enum lh_item_state {
    LH_ITEM_ASKED,  /* to be told of, or told, and no answer yet */
    LH_ITEM_PACKED, /* in packs */
    LH_ITEM_MADE    /* no contents; SETTLED is awaited */
};

/* What a job of the walk brings: entries in their order, and what failed. */
struct lh_tree_trouble {
    struct lh_tree_trouble *next;
    int status;
    char text[512];
    char path[];
};

struct lh_tree_batch {
    struct lh_item *first;
    struct lh_item **end; /* where the next one goes */
    unsigned n;
    size_t bytes; /* of their paths, links and attributes */
    struct lh_tree_trouble *troubles;
    struct lh_tree_trouble **troubles_end;
    bool over;         /* there is no more of it */
    struct lh_err err; /* status != 0: the tree cannot go on */
};

/* NAMES that came, with the directory's path. */
struct lh_tree_names {
    struct lh_tree_names *next;
    char *dir;
    size_t dir_len;
    uint64_t doomed; /* as of the list */
    size_t len;
    uint8_t payload[];
};

struct lh_tree_list {
    char *dir;       /* NULL: free */
    uint64_t doomed; /* its place among these; LH_TREE_NOT_DOOMED: a source has it */
    uint32_t tag;
};

#define LH_TREE_NOT_DOOMED UINT64_MAX

/* --delete */
struct lh_tree_prune {
    struct lh_job job;
    bool busy;
    bool begun; /* the walk's directories are being read */
    bool spills;
    bool dirs_over;         /* the job's */
    struct lh_spill doomed; /* what the source has not, parents first */
    struct lh_spill todo;   /* of these the directories that are still to be listed */
    struct lh_runs stay;    /* places of doomed directories with something excluded in them */
    struct lh_spill_reader reader; /* of doomed, from the end */
    bool reading;
    uint64_t n_doomed; /* without those that stay */
    uint64_t n_stay;
    uint64_t n_folded;           /* that may be what was sent, under a name in another case: */
    char *folded;                /* the first of them */
    struct lh_tree_names *names; /* that came meanwhile, */
    struct lh_tree_names **names_end;
    size_t names_bytes;
    struct lh_tree_names *at_work;           /* those of the job */
    struct lh_tree_list dirs[LH_TREE_LISTS]; /* the job's answer: to be listed next, */
    unsigned n_dirs;
    unsigned n_room; /* of so many at most */
    bool over;       /* there will be no more */
    bool given_up;   /* nothing is removed, which is one of the failures */
    struct lh_err err;
    struct lh_tree_list asked[LH_TREE_LISTS];
    unsigned n_asked;
    uint32_t tag;
};

struct lh_tree_big {
    struct lh_tree *tree;
    struct lh_send *send; /* NULL: free */
    struct lh_item *item;
    struct lh_send_stats stats; /* while it is under way */
};

/* Names of owners: an OWNERS frame. */
struct lh_tree_owners_frame {
    struct lh_tree_owners_frame *next;
    size_t len;
    uint8_t payload[];
};

struct lh_tree_owners {
    bool on;
    /* The job's that is under way: */
    struct lh_idmap seen; /* looked up already */
    uint32_t last_uid, last_gid;
    uint8_t *scratch;
    struct lh_owners_writer writer;
    struct lh_tree_owners_frame *noted;
    struct lh_tree_owners_frame **noted_end;
    bool too_many;
    /* The main loop's: */
    struct lh_tree_owners_frame *frames; /* all, for a new session */
    struct lh_tree_owners_frame **frames_end;
    struct lh_tree_owners_frame *due; /* the next to be told */
    bool said;
};

struct lh_tree {
    uv_loop_t *loop;
    struct lh_engine *engine;
    struct lh_tree_options opts; /* strings of its own; send.engine NULL: the engine too */
    struct lh_tree_callbacks cbs;
    struct lh_log log;
    char **strings; /* all that were copied */
    size_t n_strings;

    enum lh_tree_stage stage;
    int status; /* LH_E_* that it ends with, so far */
    char text[600];
    bool started; /* the callback was called */
    bool closing;
    uv_timer_t end_timer;

    struct lh_walk *walk;
    struct lh_job walk_job;
    bool walk_busy;
    bool walk_over;
    struct lh_tree_batch batch;
    struct lh_walk_numbers numbers; /* when it is over */

    struct lh_tree_owners owners;
    struct lh_lane lane;
    struct lh_send *send; /* the lane's; NULL: not begun */
    struct lh_pool pool;
    bool pool_open;

    /* Entries that are not over with: by index, LH_TREE_SPAN. */
    struct lh_item **ring;
    uint32_t base; /* those below are over with */
    uint32_t next; /* index of the next one */
    uint32_t told; /* in this session: those below it */
    uint32_t n_items;
    uint32_t n_asked;    /* of them without an answer */
    uint32_t n_contents; /* of them those that hard links wait for */
    uint64_t path_bytes;
    atomic_uint n_notes; /* of spoilt items, on their way to the main loop */
    atomic_bool ending;  /* the stage is ENDING: jobs may stop where they are */
    bool said_last; /* that nothing follows which waits for an answer, and so far nothing did */
    uint8_t *frame; /* LH_CONTROL_MAX, scratch of the main loop */

    struct lh_packs_part parts[LH_PACKS_PARTS]; /* the pack that is being filled */
    unsigned n_parts;
    uint32_t part_bytes;   /* rows and contents */
    uint64_t packed_bytes; /* contents, in all packs so far */

    struct lh_item *bigs; /* that wait */
    struct lh_item **bigs_end;
    unsigned n_bigs;
    bool bigs_pause; /* none begins until the lane's next progress */
    struct lh_tree_big big[LH_TREE_BIGS_AT_ONCE];
    struct lh_item *sent_bigs; /* that are there, on their way back into the table */
    uint64_t bytes_there;      /* of those, and of such that are in it again */
    uint32_t big_max_streams;  /* as it was asked for; 0: by the host */
    unsigned lane_part;        /* streams of the bound that the lane has; 0: all */
    unsigned part_ticks;       /* of progress, for which the lane keeps to half of the bound */
    bool lane_rests;           /* there is nothing left for it: the big files have the bound */

    struct lh_tree_prune prune;

    struct lh_job attrs_job;
    bool attrs_busy;
    bool attrs_begun; /* the walk reads its directories */
    bool attrs_over;
    uint8_t *attrs; /* the job's frame, */
    size_t attrs_len;
    uint32_t attrs_n;          /* with so many entries */
    struct lh_item *attrs_dir; /* did not fit into the last frame */
    bool attrs_anew;           /* when the job has ended */
    uint32_t attrs_from;       /* index: FAILED from here on is of an attribute */
    bool done_heard;           /* but not yet believed */
    struct lh_err attrs_err;

    struct lh_tree_stats stats;
    struct lh_send_stats lane_stats;
    uint64_t bytes_found;
    uint64_t bytes_settled;
    uint64_t bytes_kept;
    struct lh_send_stats bigs_ended; /* big files' that have ended: sums */
    struct lh_send_stats biggest;    /* of those the one that sent the most */
    uint64_t started_ms;
    struct {
        uint64_t ms;
        uint64_t bytes;
    } samples[8];
    unsigned n_samples;
};

/* tree.c: the end, and what becomes of entries. */
void lh_tree_end(struct lh_tree *t, int status, const char *text); /* status: LH_E_* */
void lh_tree_maybe_end(struct lh_tree *t);
/* Something became of an entry: counted and told. path: NULL: none in particular. */
void lh_tree_became(struct lh_tree *t, enum lh_tree_what what, const struct lh_item *item);
void lh_tree_failed(struct lh_tree *t, const char *path, uint64_t bytes, int status,
                    const char *text);
void lh_tree_opened(struct lh_job *job); /* the walk, or not */
/* Whatever may be done next is begun. */
void lh_tree_step(struct lh_tree *t);

/* tree_stats.c: into t->stats what is known now. */
void lh_tree_refresh(struct lh_tree *t);
/* Bits per second made durable over the last few seconds; after a refresh. */
uint64_t lh_tree_recent_rate(struct lh_tree *t);
void lh_tree_big_ended(struct lh_tree *t, const struct lh_send_stats *stats);

/* tree_options.c. Returns 0 or -LH_E_*. */
int lh_tree_copy_options(struct lh_tree *t, const struct lh_tree_options *opts);
void lh_tree_free_options(struct lh_tree *t);

/* tree_walk.c: jobs that bring entries into the table. */
void lh_tree_walk_open(struct lh_tree *t);
void lh_tree_walk_more(struct lh_tree *t);
void lh_tree_batch_init(struct lh_tree_batch *b);
struct lh_item *lh_tree_batch_add(struct lh_tree_batch *b, const struct lh_walk_entry *e);
/* Enough for one job. */
bool lh_tree_batch_full(const struct lh_tree_batch *b);
void lh_tree_batch_free(struct lh_tree_batch *b);
void lh_tree_batch_take(struct lh_tree *t); /* a job has ended: main loop */

/* tree_table.c: what is told, and the answers. */
void lh_tree_table_put(struct lh_tree *t, struct lh_item *item); /* takes the reference */
/* No more in the table; the reference is the caller's. */
void lh_tree_table_take(struct lh_tree *t, struct lh_item *item);
/* The next n indexes are told, of nothing that is settled. */
void lh_tree_table_skip(struct lh_tree *t, uint32_t n);
struct lh_item *lh_tree_table_get(const struct lh_tree *t, uint32_t index);
bool lh_tree_table_room(const struct lh_tree *t, uint32_t n);
void lh_tree_tell(struct lh_tree *t);
void lh_tree_told_anew(struct lh_tree *t); /* a new session */
void lh_tree_frame(struct lh_tree *t, const struct lh_frame *frame, const uint8_t *payload);
void lh_tree_entry_of(const struct lh_item *item, struct lh_tree_entry *e);

/* tree_pack.c: contents of small files. */
void lh_tree_pack(struct lh_tree *t, struct lh_item *item);
bool lh_tree_flush(struct lh_tree *t); /* what there is makes a pack; false: there is nothing */
void lh_tree_pack_reset(struct lh_tree *t);
extern const struct lh_packs_how lh_tree_packs; /* without its user */

/* tree_big.c: big files. The item's reference is taken. */
void lh_tree_big_add(struct lh_tree *t, struct lh_item *item);
void lh_tree_big_start(struct lh_tree *t);
/* Big files and small ones are not under way at the same time. */
bool lh_tree_in_turns(const struct lh_tree *t);
unsigned lh_tree_big_running(const struct lh_tree *t);
bool lh_tree_big_left(const struct lh_tree *t); /* waiting, running, or sent and not in the table */
void lh_tree_big_back(struct lh_tree *t);       /* sent ones into the table, while it has room */
void lh_tree_big_stop(struct lh_tree *t);
void lh_tree_big_free(struct lh_tree *t);

/* tree_prune.c: --delete. */
void lh_tree_prune_start(struct lh_tree *t);
void lh_tree_prune_step(struct lh_tree *t);
const char *lh_tree_prune_names(struct lh_tree *t, const struct lh_frame *frame,
                                const uint8_t *payload); /* what is wrong, or NULL */
void lh_tree_prune_anew(struct lh_tree *t);              /* a new session */
void lh_tree_prune_free(struct lh_tree *t);

/* tree_owner.c: names of owners. */
void lh_tree_owners_init(struct lh_tree_owners *o, bool on);
void lh_tree_owners_free(struct lh_tree_owners *o);
int lh_tree_owners_note(struct lh_tree_owners *o, uint32_t uid, uint32_t gid); /* 0, -LH_E_NOMEM */
int lh_tree_owners_take(struct lh_tree *t);  /* a job has ended. 0 or -LH_E_NOMEM */
bool lh_tree_owners_tell(struct lh_tree *t); /* a frame; false: all are told */
void lh_tree_owners_anew(struct lh_tree *t); /* a new session */

/* tree_dress.c: ATTRS, then FINISH. */
void lh_tree_dress_start(struct lh_tree *t);
void lh_tree_dress_step(struct lh_tree *t);

#endif
