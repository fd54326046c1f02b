/* The sender's insides: what send, its session, its mover and its streams share.
 *
 *     send ── opens the source ──▶ session ── dials, offers ──▶ mover ── grants ranges ──▶ streams
 *                                     ▲                           │ all durable              │
 *                                     └── lost: dial again        └──▶ check, FINISH, done ◀─┘ ACKs
 *
 * Threads: send, session and mover belong to the main loop; a stream to its stream loop; hashing to
 * the prep threads. What crosses: messages, the source's descriptor, and a stream's counters. */
#ifndef LH_IO_SENDER_H
#define LH_IO_SENDER_H

#include "core/laggard.h"
#include "core/ramp.h"
#include "core/sched.h"
#include "core/share.h"
#include "core/tail.h"
#include "core/verdict.h"
#include "io/net/dial.h"
#include "io/net/sock.h"
#include "io/send/contents.h"
#include "io/send/engine.h"
#include "io/send/meter.h"
#include "io/source/source.h"
#include "io/tree/lane.h"
#include "proto/session.h"
#include "proto/transfer.h"
#include "util/clock.h"
#include "util/log.h"

#include <longhaul/longhaul.h>
#include <stdatomic.h>

#define LH_CONNECT_MS 10000 /* for each address */
#define LH_RATE_SAMPLES 16
#define LH_EXTENTS_MAX 16384 /* what lies behind is sent as data */

/* ---- stream ---- */

struct lh_send;

/* Counters of a stream, written by its loop, read by the main loop. */
struct lh_sstream_counters {
    atomic_uint_fast64_t bytes_sent;
    atomic_uint_fast64_t zero_copy_bytes;
    atomic_uint_fast64_t fallback_bytes;
    atomic_uint_fast64_t zero_copy_count;
    atomic_uint_fast64_t fallback_count;
    /* Time with blocks to send: what it went into. */
    atomic_uint_fast64_t starved_us;    /* none was read and hashed yet */
    atomic_uint_fast64_t sending_us;    /* some were, and went into the socket, or waited for it */
    atomic_uint_fast64_t idle_since_us; /* nothing to send; 0: there is */
    struct lh_meter_counters meter;
};

struct lh_sstream;

struct lh_sstream_start {
    struct lh_send *send;
    struct lh_loop *loop;
    unsigned number;
    uint32_t generation;
    uint64_t delay_ms; /* stagger, or backoff */
    uint64_t again_ms; /* see lh_pace_again */
    struct lh_addr addr;
    const struct lh_contents_from *from;
    uint64_t sndbuf_bytes;
    struct lh_sstream_counters *counters;
};

/* Main loop. It connects; what it may say then, join and range tell. NULL: out of memory. Notes
 * come to lh_mover_*, the last of them is down. */
struct lh_sstream *lh_sstream_start(const struct lh_sstream_start *how);
/* Once, before any range: the session's token, for JOIN. */
void lh_sstream_join(struct lh_sstream *st, const uint8_t token[LH_TOKEN_SIZE]);
/* Blocks of a transfer, which is the same in all of a stream's ranges. */
void lh_sstream_range(struct lh_sstream *st, uint32_t transfer, uint64_t epoch, uint64_t first,
                      uint64_t end);
/* Another stream sends these blocks: leave out what is not begun. Until they come in a range anew.
 */
void lh_sstream_drop(struct lh_sstream *st, uint64_t first, uint64_t end);
void lh_sstream_stop(struct lh_sstream *st);

/* ---- send ---- */

enum lh_phase {
    LH_PHASE_OPENING, /* the source */
    LH_PHASE_DIALING,
    LH_PHASE_HELLO,   /* said, WELCOME is awaited */
    LH_PHASE_OFFERED, /* ACCEPT and LEDGER are awaited */
    LH_PHASE_MOVING,
    LH_PHASE_CHECKING,  /* all durable; the source once more */
    LH_PHASE_FINISHING, /* DONE is awaited */
    LH_PHASE_HELD,      /* delivered: lh_send_confirm is awaited, with a session or without */
    LH_PHASE_LOST,      /* the session's parts are being closed; then the retry timer */
    LH_PHASE_ENDING
};

struct lh_stream_slot {
    struct lh_sstream *st; /* NULL: none */
    bool up;               /* connected */
    bool wants;            /* asked for a range and got none yet */
    unsigned attempt;      /* redials in a row, of streams that did not last */
    uint64_t up_ms;
    uint32_t generation;
    struct lh_sstream_counters counters; /* over all generations */
};

/* How many streams, and how fast. */
struct lh_tune {
    struct lh_ramp ramp;
    bool started;
    bool brief; /* small files over a long path: small packs, so that all streams have some */
    struct lh_share share;
    uint64_t at_ms;
    uint64_t busy_us; /* of all streams, at the last tick, and so on */
    uint64_t closed_us;
    uint64_t delivered_bytes;
};

/* Comparing what an earlier run, or another host, sent with the file at hand. */
struct lh_compare {
    bool begun;   /* what is to be compared is known */
    bool wanted;  /* before FINISH */
    bool waiting; /* for HASHES, RETRACTED or a job */
    bool hashing; /* a job is under way */
    struct lh_runs todo;
    struct lh_job job;
    struct lh_err err;
    uint64_t first;
    uint32_t n;
    uint32_t at;
    struct lh_hash *theirs;
    struct lh_hash ours[64];
    struct lh_runs differ;
    uint64_t n_differ; /* blocks, in all */
};

/* What the transfer's time goes into, for the verdict: limits.c. */
enum lh_spent {
    LH_SPENT_CUT,
    LH_SPENT_WORKING,
    LH_SPENT_WINDOW,
    LH_SPENT_WALK, /* of a tree: nothing was found to send */
    LH_SPENT_TAIL,
    LH_SPENT_KINDS
};

struct lh_limits {
    bool started;
    enum lh_spent spending;
    uint64_t since_us; /* what was before is in `us` */
    uint64_t us[LH_SPENT_KINDS];
    uint64_t loop_busy_us[LH_MAX_LOOPS]; /* of each stream loop, and */
    uint64_t hash_busy_us;               /* of the prep threads, and */
    uint64_t hashing_us;                 /* the time in their hashing jobs: at the start */
    struct {                             /* sums of STATS: span, and share × span in ‰ ms */
        uint64_t span_ms;
        uint64_t busy;
        uint64_t write;
        uint64_t pool;
        uint64_t sync;
    } receiver;
};

struct lh_send {
    uv_loop_t *loop;
    struct lh_engine *engine;
    unsigned first_loop; /* of the engine's: stream 0 goes there, the others follow */
    struct lh_log log;
    struct lh_send_callbacks cbs;
    struct lh_send_options opts; /* engine: NULL when it is this send's own */
    char *source_path;
    uint64_t must_be[2]; /* dev and ino of the source; 0: any file */
    uint8_t *dest;
    size_t dest_len;
    char *congestion;
    struct lh_lane *lane;  /* NULL: it sends a file */
    unsigned most_streams; /* its part of a tree's; 0: only options bound it */
    uint64_t told_bytes;   /* of a lane, in this session */
    bool finish_said;      /* of a lane, in this session: DONE may come while contents move */

    uv_timer_t tick;
    uv_timer_t retry;
    unsigned n_timers;

    enum lh_phase phase;
    int status; /* LH_E_* that it ends with */
    char text[600];

    struct lh_source source;
    bool source_open;
    struct lh_job source_job; /* open, read, check: one after the other */
    bool source_busy;
    struct lh_err source_err;
    struct lh_contents_from from;
    struct lh_runs extents; /* bytes that are data, when it has holes */
    bool has_holes;
    uint64_t hole_bytes;   /* that the receiver had made durable when this run began */
    struct lh_zeros zeros; /* with opts.sparse; of this version of the source */
    uint8_t *small;        /* contents of a small file */
    struct lh_hash small_hash;
    bool small_zeros;             /* it is nothing but zeros, and they are not to travel */
    struct lh_hash digest;        /* the receiver's */
    struct lh_digest *own_digest; /* where that is in doubt: of so many blocks so far; the job's */
    uint64_t digest_at;
    atomic_bool stop_reading;
    unsigned n_restarts;
    bool drop_there; /* until the receiver has taken that offer */
    bool reopen;     /* the source changed: open it anew before dialling */

    struct lh_dial dial;
    bool dialing;
    struct lh_session *session; /* NULL: none, or all of it is closed */
    bool untried;      /* it was parked, and nothing was heard of this transfer on it yet */
    bool keep_session; /* when it ends: others may use it */
    bool dial_anew;    /* one was lost: those that are parked may be as dead */
    bool said_hello;   /* a receiver has answered once */
    bool accepted;     /* and has taken this transfer */
    unsigned attempt;
    unsigned n_protocol_errors; /* in a row */
    uint64_t contact_ms;
    uint64_t busy_since_ms; /* the receiver, that had taken it before; 0: it is not */
    uint8_t holder[LH_HOLDER_SIZE];
    uint32_t transfer; /* number in the session */
    uint64_t epoch;
    uint64_t prev_epoch;
    uint16_t accept_flags;
    bool delivered; /* it is there, and the caller knows */
    bool told_busy;
    int congestion_errno; /* 0, or why the kernel refuses the one that is asked for */

    bool sched_ready;
    struct lh_runs known; /* blocks durable when the last schedule went: between sessions */
    struct lh_stream_slot streams[LH_MAX_STREAMS];
    struct lh_tune tune;
    unsigned n_streams; /* slots in use; those beyond tune.ramp.n get no more ranges */
    unsigned n_alive;   /* slots with a stream, up or not */
    struct lh_tail_far far;
    struct lh_laggards laggards;
    struct lh_compare compare;
    uint64_t bad_block;
    unsigned bad_block_times;

    struct lh_limits limits;
    struct lh_send_stats stats;
    uint64_t started_ms;
    uint64_t progress_due_ms;
    uint64_t durable_before; /* bytes durable when this run began */
    bool started;            /* durable_before and bytes_skipped are known */
    struct {
        uint64_t ms;
        uint64_t bytes;
    } samples[LH_RATE_SAMPLES];
    unsigned n_samples;

    struct lh_sched sched; /* when sched_ready. Last: it is large, and not zeroed before that */
};

/* send.c: the beginning and the end. status: LH_E_*, 0 for success. */
void lh_send_end(struct lh_send *s, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void lh_send_maybe_end(struct lh_send *s);
/* meant: the source must be the file of that dev and ino; NULL: any that its path leads to. */
int lh_send_begin(uv_loop_t *loop, const struct lh_send_options *opts, struct lh_lane *lane,
                  const struct lh_identity *meant, const struct lh_send_callbacks *cbs,
                  struct lh_send **send);
/* Of the source as it was sent; until `done` has returned. */
const struct lh_identity *lh_send_identity(const struct lh_send *s);

/* send_stats.c: the numbers as of now, into stats, but for rates; bits per second over the whole
 * run; a callback of the caller's with them. */
void lh_send_refresh(struct lh_send *s);
uint64_t lh_send_mean_rate(const struct lh_send *s);
void lh_send_report_start(struct lh_send *s);
void lh_send_report_progress(struct lh_send *s, uint64_t now_ms);
void lh_send_report_delivered(struct lh_send *s);

/* send_source.c: open the source (again), then dial. Nothing may be reading it. */
void lh_send_reopen(struct lh_send *s);
/* Look whether the source is what it was; done: on the main loop, source_err says. source_busy
 * until then, which `done` clears. */
void lh_send_check_source(struct lh_send *s, void (*done)(struct lh_job *job));
/* The source changed: begin again, once. */
void lh_send_restart(struct lh_send *s, const char *what);

/* session.c */
void lh_session_dial(struct lh_send *s);
void lh_session_lost(struct lh_send *s, const struct lh_err *err);
void lh_session_lost_for(struct lh_send *s, int status, const char *why);
bool lh_session_alive(const struct lh_send *s); /* what is sent may arrive */
/* Everything of a lost session is closed: wait, then dial again. */
void lh_session_maybe_quiet(struct lh_send *s);
void lh_session_tick(struct lh_send *s, uint64_t now_ms);
void lh_session_send(struct lh_send *s, uint16_t type, uint16_t flags, const void *payload,
                     size_t length);
/* A list of runs in as many frames as it takes; the flags go with the last. */
void lh_session_send_runs(struct lh_send *s, uint16_t type, uint16_t last_flags,
                          const struct lh_runs *runs);

/* offer.c: the transfer in the session at hand. A frame of it; all is durable. */
void lh_offer_send(struct lh_send *s);
void lh_offer_frame(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload);
void lh_offer_finish(struct lh_send *s);
void lh_offer_done(struct lh_send *s); /* of a lane */

/* mover.c: dial, join and start follow one another in each session. */
void lh_mover_dial(struct lh_send *s);  /* the control connection is up: so soon can streams be */
void lh_mover_join(struct lh_send *s);  /* WELCOME is there */
void lh_mover_start(struct lh_send *s); /* ACCEPT and the ledger are there */
void lh_mover_frame(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload);
void lh_mover_feed(struct lh_send *s);
void lh_mover_stop_streams(struct lh_send *s);
void lh_mover_reset(struct lh_send *s);
/* Notes from streams, on the main loop. */
void lh_mover_up(struct lh_send *s, unsigned number, const struct lh_stream_given *given);
void lh_mover_wants(struct lh_send *s, unsigned number);
void lh_mover_down(struct lh_send *s, unsigned number, const struct lh_err *err);

/* limits.c, main loop: contents begin to move, in this session; something may have changed; the
 * receiver told; the verdict so far, into stats. */
void lh_limits_start(struct lh_send *s);
void lh_limits_note(struct lh_send *s);
void lh_limits_heard(struct lh_send *s, const struct lh_stats *stats);
void lh_limits_report(struct lh_send *s);

/* laggard.c: a session begins to move blocks; what a stream's meter says goes to the schedule;
 * blocks for a stream that has nothing to do, false when there are none; a few times a second. */
void lh_laggard_start(struct lh_send *s);
void lh_laggard_see(struct lh_send *s, unsigned number);
bool lh_laggard_help(struct lh_send *s, unsigned number, uint64_t *first, uint64_t *end);
void lh_laggard_tick(struct lh_send *s);

/* As many streams as s->tune says; those beyond stay connected, idle, until they are wanted again.
 */
void lh_mover_use_streams(struct lh_send *s);
/* As lh_tune_part, and at once: those beyond go when all is durable that they were granted. */
void lh_mover_part(struct lh_send *s, unsigned streams);
/* Whether they are gone. */
bool lh_mover_within_part(const struct lh_send *s);

/* tune.c: a path is known, nothing is of the last one. Then, a few times a second: look at the
 * streams, say how many and how fast. */
void lh_tune_start(struct lh_send *s);
void lh_tune_at_most(struct lh_send *s, unsigned streams);
/* It is a part of a tree, whose streams are bounded: so many are its own. True: it uses another
 * number now, lh_mover_use_streams. */
bool lh_tune_part(struct lh_send *s, unsigned streams);
void lh_tune_tick(struct lh_send *s, uint64_t now_ms);

/* compare.c */
void lh_compare_start(struct lh_send *s);
/* Nothing is left to compare: not before lh_compare_start. */
bool lh_compare_settled(const struct lh_send *s);
void lh_compare_step(struct lh_send *s);
void lh_compare_hashes(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload);
void lh_compare_retracted(struct lh_send *s, bool last);
void lh_compare_reset(struct lh_send *s);

#endif
