/* The receiver's insides: what serve, session, target and stream share.
 *
 *     serve ── listens, accepts, ticks ──▶ session ── OFFER ──▶ target ── open, commit, finish ──▶
 * disk └── JOIN ──▶ stream (on a stream loop) ── blocks ──┘
 *
 * Threads: serve, session and target belong to the main loop; a stream to its stream loop. What
 * crosses: lh_rshared (a session's table of transfers, under its lock), reference counts, the sink
 * (its own lock), and messages. */
#ifndef LH_IO_RECV_H
#define LH_IO_RECV_H

#include "core/hold.h"
#include "io/disk/place.h"
#include "io/disk/sink.h"
#include "io/net/ctl.h"
#include "io/net/loops.h"
#include "io/net/pool.h"
#include "io/net/sock.h"
#include "io/net/worker.h"
#include "io/recv/commit.h"
#include "io/rtree/rtree.h"
#include "proto/session.h"
#include "proto/transfer.h"
#include "util/clock.h"
#include "util/log.h"

#include <longhaul/longhaul.h>
#include <stdatomic.h>

#define LH_HEARTBEAT_MS 4000
#define LH_HANDSHAKE_MS 10000
#define LH_SESSIONS_MAX 1024
#define LH_SESSION_TRANSFERS 64
#define LH_SESSION_TREES 4                      /* each has a table of its own */
#define LH_WINDOW_BYTES (1024ull * 1024 * 1024) /* sent and not yet durable, a transfer */

struct lh_serve;
struct lh_rsession;
struct lh_target;

/* ---- what a session's streams look up, under the lock ---- */

struct lh_rshared {
    atomic_uint refs; /* the session, and each of its streams */
    pthread_mutex_t lock;
    bool closed;      /* the session is over: streams end */
    uint32_t offered; /* transfer numbers below it have been offered */
    unsigned n;
    struct {
        uint32_t transfer;
        struct lh_target *target;
    } entries[LH_SESSION_TRANSFERS];
    struct lh_rsession *session; /* main loop only; NULL when it is gone */
};

enum lh_lookup { LH_LOOKUP_FOUND, LH_LOOKUP_ENDED, LH_LOOKUP_UNKNOWN, LH_LOOKUP_CLOSED };

/* Any thread. Found: *target comes with a reference, see lh_target_unref. */
enum lh_lookup lh_rshared_lookup(struct lh_rshared *shared, uint32_t transfer,
                                 struct lh_target **target);
/* Main loop. OFFER has seen to it that there is room. */
void lh_rshared_add(struct lh_rshared *shared, struct lh_target *t);
void lh_rshared_remove(struct lh_rshared *shared, struct lh_target *t);
void lh_rshared_unref(struct lh_rshared *shared);

/* ---- target: one transfer's file, or tree, being received ---- */

enum lh_target_state {
    LH_TARGET_KEY,     /* its path is being resolved */
    LH_TARGET_WAITING, /* an older holder of the same file is being closed */
    LH_TARGET_OPENING, /* journal and staging file are being opened */
    LH_TARGET_OPEN,    /* blocks come in */
    LH_TARGET_CLOSING, /* taken off the session; waits for references, then commits and closes */
};

struct lh_target {
    struct lh_target *next; /* serve's list */
    struct lh_serve *serve;
    struct lh_rsession *session; /* NULL: the session is gone, or has given it up */
    enum lh_target_state state;
    uint32_t transfer; /* number within the session */
    atomic_uint refs;  /* the session's table, blocks under way, jobs under way */
    struct lh_msg idle_msg;
    struct lh_job job;          /* key, open, attach, close: one after the other */
    struct lh_job allocate_job; /* beside the others */
    bool allocating;
    int allocate_more;
    struct lh_err allocate_err;
    struct lh_offer offer;
    uint8_t *path; /* that offer.path points to */
    struct lh_holder holder;
    struct lh_sink_key key;
    struct lh_sink *sink;        /* of a file */
    struct lh_target_tree *tree; /* of a tree */
    struct lh_store *store;      /* what blocks go into: of either; NULL until it is open */
    struct lh_sink_opened opened;
    struct lh_runs durable; /* at the start, for LEDGER */
    struct lh_runs data;    /* blocks that the source has data in, when the offer has extents */
    bool extents_due;       /* EXTENTS up to the last must come before it is opened */
    bool key_known;
    int more_holes;
    struct lh_committer *committer;
    struct lh_commit_entry entry;
    struct lh_err err;       /* of the job at hand */
    struct lh_finish finish; /* inline: came behind the offer */
    bool have_finish;
    bool finishing; /* the job that does it was begun */
    uint8_t *inline_data;
    uint32_t inline_len;
    struct lh_hash inline_hash;
    struct lh_hash digest;
    bool done; /* renamed; the sender has not confirmed yet */
    bool confirmed;
    unsigned n_side_jobs; /* hashes and retracts under way */
};

/* target_tree.c: what a target of a tree has besides. Main loop, but for `open` and `finish`, which
 * run on I/O threads. */
bool lh_target_tree_new(struct lh_target *t);
void lh_target_tree_free(struct lh_target *t);
void lh_target_tree_open(struct lh_target *t);
void lh_target_tree_frame(struct lh_target *t, const struct lh_frame *frame,
                          const uint8_t *payload);
void lh_target_tree_opened(struct lh_target *t);
void lh_target_tree_committed(struct lh_target *t);
/* Nothing that was asked is unanswered, and no contents are to come. */
bool lh_target_tree_idle(const struct lh_target *t);
void lh_target_tree_let_go(struct lh_target *t, struct lh_rsession *session);
void lh_target_tree_tick(struct lh_target *t);
int lh_target_tree_finish(struct lh_target *t, struct lh_err *err);
void lh_target_tree_send_done(struct lh_target *t);

/* target_open.c. start: the path is known: it is opened, or waits for whoever has it. Main loop. */
void lh_target_offer(struct lh_rsession *session, uint32_t transfer, const struct lh_offer *offer);
void lh_target_extents(struct lh_target *t, const struct lh_block_run *runs, size_t n, bool last);
void lh_target_start(struct lh_target *t);

/* target.c. Main loop. */
void lh_target_committed(struct lh_commit_entry *entry, const struct lh_runs *acked,
                         const struct lh_err *err);
void lh_target_send_done(struct lh_target *t);
void lh_target_maybe_finish(struct lh_target *t);
void lh_target_inline(struct lh_target *t, const struct lh_frame *frame, const uint8_t *payload);
void lh_target_finish(struct lh_target *t, const struct lh_finish *finish);
void lh_target_hashes(struct lh_target *t, const struct lh_hashes_wanted *wanted);
void lh_target_retract(struct lh_target *t, const struct lh_block_run *runs, size_t n, bool last);
void lh_target_confirm(struct lh_target *t);
/* The session has no more to do with it: it commits and closes by itself. */
void lh_target_let_go(struct lh_target *t);
/* Tell the sender, let go. code: LH_WIRE_*; silent_ms: of whoever has it, with BUSY. */
void lh_target_refuse(struct lh_target *t, uint16_t code, uint32_t silent_ms, const char *text);
void lh_target_fail(struct lh_target *t, const struct lh_err *err);
struct lh_target *lh_target_find(struct lh_rsession *session, uint32_t transfer);
unsigned lh_target_count(const struct lh_rsession *session);

/* Any thread. */
void lh_target_unref(struct lh_target *t);

/* ---- session: a sender's control connection ---- */

/* What the receiver's time goes into, for the sender's verdict: counters at the last STATS. */
struct lh_rstats {
    bool wanted;    /* by the sender */
    uint64_t at_us; /* 0: nothing is moving yet */
    uint64_t busy_us[LH_MAX_LOOPS];
    uint64_t writing_us[LH_MAX_LOOPS];
    uint64_t pool_us[LH_MAX_LOOPS];
    uint64_t sync_ms;
};

struct lh_rsession {
    struct lh_rsession *next; /* serve's list */
    struct lh_serve *serve;
    struct lh_ctl ctl;
    struct lh_rshared *shared; /* NULL until HELLO */
    uint8_t token[LH_TOKEN_SIZE];
    char peer[LH_ADDR_TEXT];
    uint64_t started_ms;
    uint64_t ended_ms; /* 0: it lives */
    uint32_t n_streams;
    uint64_t heartbeats;
    uint64_t beat_ms; /* when the last was sent */
    struct lh_rstats stats;
};

/* Takes fd. */
void lh_rsession_accept(struct lh_serve *serve, int fd, const struct lh_addr *peer);
void lh_rsession_tick(struct lh_rsession *session, uint64_t now_ms);
/* It is over. code: LH_WIRE_OK to say nothing (the connection is gone). Once. */
void lh_rsession_end(struct lh_rsession *session, uint16_t code, const char *text);
void lh_rsession_error(struct lh_rsession *session, uint32_t transfer, uint16_t code,
                       uint32_t silent_ms, const char *text);
void lh_rsession_send(struct lh_rsession *session, uint16_t type, uint16_t flags,
                      const struct lh_target *t, const void *payload, size_t length);
/* A list of runs in as many frames as it takes; flags go with the last. */
void lh_rsession_send_runs(struct lh_rsession *session, uint16_t type, uint16_t last_flags,
                           const struct lh_target *t, const struct lh_runs *runs);

/* rstats.c, main loop: contents are about to come; STATS is due (says nothing before that). */
void lh_rstats_begin(struct lh_rsession *session);
void lh_rstats_send(struct lh_rsession *session);
void lh_rstats_tick(struct lh_rsession *session, uint64_t now_ms);

/* ---- stream: a data connection ---- */

/* Main loop: hand a connection that has said JOIN to a stream loop. Takes fd. */
void lh_rstream_adopt(struct lh_serve *serve, struct lh_rsession *session, int fd, uint16_t stream);
/* Main loop: end all streams of a session whose table is closed. */
void lh_rstream_end_all(struct lh_serve *serve, struct lh_rshared *shared);
/* Main loop, before the loops stop: close what each loop keeps. */
void lh_rstream_stop_loops(struct lh_serve *serve);

/* ---- serve ---- */

struct lh_listener {
    struct lh_serve *serve;
    int fd;
    uv_poll_t poll;
    bool paused; /* out of descriptors: until the next tick */
};

struct lh_serve {
    uv_loop_t *loop;
    struct lh_mbox mbox;
    struct lh_log log;
    struct lh_serve_callbacks cbs;
    struct lh_serve_options opts; /* root and listen are not kept */
    char *root_path;
    struct lh_place *root;
    struct lh_loops loops;
    struct lh_worker opener; /* resolves, opens, recovers, preallocates */
    struct lh_pool pool;
    struct lh_quota tree_memory;
    struct lh_committer *committers;
    struct lh_rsession *sessions;
    unsigned n_sessions;
    struct lh_target *targets;
    struct lh_listener listeners[2];
    unsigned n_listeners;
    unsigned n_streams;
    unsigned n_handles;    /* open on the main loop, besides the mailbox */
    int spare_fd;          /* given up to accept and refuse when descriptors run out */
    int connection_fd_max; /* the first that is kept for files */
    uint64_t warn_due_ms;
    uv_timer_t tick;
    uint8_t id[16];
    uint16_t port;
    unsigned next_loop;
    bool closing;
    bool stopping; /* sessions and targets are gone; threads are being stopped */
    bool expiring;
    uint64_t expire_due_ms;
    struct lh_job expire_job;
};

/* A session or target has gone: maybe the end. */
void lh_serve_maybe_stop(struct lh_serve *serve);

#endif
