/* The simulation of trees: one source, one destination, and what lies between them.
 *
 * The program's own code runs at both ends: of the sender the tree (io/tree*.c) with walk, packs
 * and schedule; of the receiver targets and trees (io/target*.c, io/rtree*.c). Made up are the
 * disks (tree_fs.h), the network, the lane's session (tree_lane.c) and streams (tree_stream.c), the
 * receiver's sessions and streams (tree_receiver.c) and committers (tree_committer.c), threads and
 * the clock (tree_events.c). Big files have a send of their own, of which only the end is played.
 * One thread; everything follows from one seed.
 *
 * What must hold is checked in tree_check.c while it happens. */
#ifndef LH_SIM_TREE_WORLD_H
#define LH_SIM_TREE_WORLD_H

#include "core/sched.h"
#include "io/recv/recv.h"
#include "io/tree/tree_impl.h"
#include "test/lib/rng.h"
#include "test/sim/tree_calls.h"

#include <stdbool.h>
#include <stdint.h>

#define TW_STREAMS 4
#define TW_GRID LH_BLOCK_MIN
#define TW_BUCKETS 4096u
#define TW_HOLDER_TIMEOUT_MS 15000

/* ---- events ---- */

enum tw_owner { TW_WORLD, TW_SENDER, TW_RECEIVER };

struct tw_event {
    uint64_t at; /* microseconds */
    uint64_t order;
    enum tw_owner owner;
    void (*fn)(void *arg);
    void *arg;
};

/* ---- what the source has, or had ---- */

struct tw_version {
    struct tw_version *next; /* of its bucket */
    uint8_t kind;            /* enum lh_file_kind; another name of a file is a FILE too */
    uint32_t mode;
    struct timespec mtime;
    struct timespec ctime; /* of a file, when it was made */
    uint64_t size;
    uint64_t salt; /* of the contents */
    bool sparse;
    bool settled; /* said to be, once */
    bool was;     /* of the destination before it all began */
    char *link;
    struct fs_node *node; /* at the source; another since, or NULL: it is history */
    char path[];
};

/* ---- a session, as the network has it ---- */

struct tw_frame {
    struct tw_frame *next;
    uint64_t at;
    bool end; /* the connection's: no frame */
    struct lh_frame head;
    uint8_t payload[];
};

struct tw_way { /* in one direction */
    struct tw_frame *head;
    struct tw_frame **tail;
    uint64_t at;    /* when the last one arrives */
    uint64_t bytes; /* that are under way */
};

struct tw_session {
    struct tw_session *next;
    unsigned id;
    bool cut;              /* nothing passes any more */
    bool sender_left;      /* that end is closed */
    bool sender_paused;    /* does not read */
    bool failed_said;      /* of some entry */
    struct lh_rsession *r; /* the receiver's end */
    struct tw_way up;      /* to the receiver */
    struct tw_way down;
    unsigned stream_gen[TW_STREAMS];
    uint64_t stream_at[TW_STREAMS];
};

/* ---- the whole ---- */

struct tw_stats {
    uint64_t n_events, n_runs, n_entries;
    uint64_t n_sessions_lost, n_streams_lost, n_receiver_kills, n_power_cuts, n_sender_kills;
    uint64_t n_kills_inside; /* between two system calls of one piece of work */
    uint64_t n_faults, n_edits, n_settled, n_kept, n_failed, n_voided, n_removed, n_links, n_bigs;
    uint64_t n_damaged, n_doubles, n_resumed, n_partial, n_paused, n_held, n_busy, n_wide, n_done;
    uint64_t n_refused;
};

/* Of a seed: who wants what, and how bad it gets. */
struct tw_plan {
    enum lh_existing existing;
    unsigned preserve;
    bool checksum;
    bool remove;
    bool sparse; /* zeros of dense files do not travel */
    bool wide;
    size_t tree_memory; /* bytes: what all trees at the receiver are remembered by */
    unsigned n_streams;
    uint64_t latency_us;   /* one way, at most */
    uint64_t unsent_max;   /* bytes */
    uint64_t early_max;    /* before ACCEPT */
    unsigned trouble_us;   /* between two troubles, about; 0: none */
    uint64_t calm_at;      /* there are none from then on */
    unsigned fault_one_in; /* of the receiver's calls; 0: none */
    unsigned source_fault_one_in;
    unsigned damage_one_in; /* of packs */
};

struct tw {
    struct tw_stats *stats;
    bool trace;
    struct lh_rng rng;
    uint64_t now;
    struct tw_event *heap;
    size_t n_heap;
    size_t cap_heap;
    uint64_t order;
    uint64_t n_events;
    bool broken;
    char why[400];

    struct tw_plan plan;
    struct fs_disk source;
    struct fs_disk dest;
    struct tw_version *versions[TW_BUCKETS];
    struct tw_version **list; /* all, in their order */
    size_t n_versions;
    size_t cap_versions;
    unsigned n_names;
    uint64_t next_salt;
    struct tw_session *sessions;
    unsigned n_sessions;
    unsigned n_dials;
    bool dest_synced; /* what was there before it all began */

    /* the sender */
    struct lh_tree *tree; /* NULL: no run */
    unsigned run;
    bool abandoned;  /* its process was killed: what it still says is not heard */
    bool edited;     /* the source, since the run began */
    bool run_calm;   /* began when all was calm */
    unsigned n_calm; /* runs that did */
    bool ended;      /* the last run */
    bool over;       /* the seed: nothing new begins */

    /* the receiver */
    struct lh_serve *serve; /* NULL: it does not run */
    bool dead;              /* killed: what it still does has no effect */
    bool power_cut;         /* and the power went */
    uint64_t kill_in;       /* so many system calls from now; 0: no */
    uint64_t mbox_at;
};

extern struct tw tw;

/* tree_world.c */
bool tw_run(uint64_t seed); /* whether all held; else tw.why */
void tw_free(void);
void tw_broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void tw_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
uint64_t tw_below(uint64_t n);
bool tw_one_in(uint64_t n);
uint64_t tw_latency(void);
bool tw_is_calm(void);

/* tree_events.c */
void tw_at(enum tw_owner owner, uint64_t delay_us, void (*fn)(void *arg), void *arg);
struct tw_event tw_next(void); /* the first; there must be one */
/* All that an owner has to do, whatever the time. */
void tw_drain(enum tw_owner owner);

/* tree_source.c */
void tw_make_source(void);
void tw_make_dest(void);
void tw_edit_source(void);
struct tw_version *tw_versions_of(const char *path);
const struct tw_version *tw_now_at(const char *path); /* NULL: the source has none of that name */
/* What such a file has at `at`. */
void tw_contents(uint64_t salt, bool sparse, uint64_t at, uint8_t *out, size_t len);
bool tw_contents_are(const struct fs_blob *blob, const struct tw_version *v);

/* tree_lane.c: the sender's end */
void tw_lane_heard(struct tw_session *s, const struct tw_frame *frame);
void tw_lane_lost(struct tw_session *s);
void tw_lane_cut(bool silently); /* the session at hand, if there is one */
void tw_lane_kill(void);         /* its process */

/* tree_stream.c */
void tw_lane_stream_lost(void);

/* tree_session.c: the network */
struct tw_session *tw_session_new(void);
void tw_session_say(struct tw_session *s, struct tw_way *way, const struct lh_frame *head,
                    const void *payload);
void tw_session_end(struct tw_session *s, struct tw_way *way); /* behind what was said */
void tw_session_go_on(struct tw_session *s);                   /* somebody reads again */
void tw_session_cut(struct tw_session *s, bool silently);      /* nothing passes from now on */
void tw_sessions_free(void);

/* tree_receiver.c: the other end */
void tw_receiver_start(void *arg);
void tw_receiver_kill(bool power); /* at once, or inside of what it does next */
void tw_receiver_maybe_dead(void); /* after an event: was it? */
void tw_receiver_stop(void);       /* at the end */
bool tw_receiver_accept(struct tw_session *s);
void tw_receiver_heard(struct tw_session *s, const struct tw_frame *frame);
void tw_receiver_lost(struct tw_session *s);
void tw_receiver_block(struct tw_session *s, uint32_t transfer, uint64_t epoch, uint64_t number,
                       const uint8_t *data, uint32_t len, const struct lh_hash *hash);

/* tree_check.c */
void tw_check_init(void);
void tw_check_said(struct tw_session *s, const struct lh_frame *head, const uint8_t *payload);
void tw_check_entry(enum lh_tree_what what, const char *path, const char *text);
void tw_check_told(const uint8_t *payload, size_t len);
void tw_check_after_cut(void);
void tw_check_end(void);
void tw_check_run_begins(void);
void tw_check_free(void);

#endif
