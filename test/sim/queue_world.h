/* The simulator of the queue: a Redis, some workers, a receiver, and what lies between them.
 *
 * A few tasks, each a file of at most 12 blocks for a target of its own. The decisions are the
 * program's own: queue/duty, record, outcome and map at the workers, core/sched at their sends,
 * core/hold and ledger at the receiver. What the scripts of the queue do is written down here once
 * more, in C (queue_redis.c), and so is what lies between the decisions (the glue of queue/work,
 * of the sessions, of the receiver). The receiver's disk is a simple one here: a commit is made or
 * not; what a power cut does to it is the other simulator's (world.h).
 *
 * Workers are killed and put to sleep for longer than the claim time, Redis stands still, is
 * killed, comes back as it was some seconds before, or empty; lines are cut. Everything follows
 * from one seed. What must hold is checked in queue_check.c, at every step that it is about. */
#ifndef LH_TEST_SIM_QUEUE_WORLD_H
#define LH_TEST_SIM_QUEUE_WORLD_H

#include "core/hold.h"
#include "core/ledger.h"
#include "core/sched.h"
#include "queue/duty.h"
#include "queue/record.h"
#include "test/lib/rng.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIMQ_WORKERS 3
#define SIMQ_TASKS 5
#define SIMQ_BLOCKS 12
#define SIMQ_BLOCK_BYTES (64u << 20)
#define SIMQ_JOBS 32 /* at one worker, with those that Redis has to hear of */
#define SIMQ_SESSIONS 8192
#define SIMQ_EVENTS 8192
#define SIMQ_PAST 24 /* states that Redis may come back with */
#define SIMQ_MAP_SIZE 256

enum simq_what {
    /* frames, to the receiver */
    SIMQ_OFFER,
    SIMQ_BLOCK,
    SIMQ_FINISH,
    SIMQ_CONFIRM,
    SIMQ_EOF_AT_RECEIVER,
    /* frames, to a worker's send */
    SIMQ_ACCEPT,
    SIMQ_ACK,
    SIMQ_REFUSED,
    SIMQ_DONE,
    SIMQ_EOF_AT_SENDER,
    /* a worker's own */
    SIMQ_REPLY, /* of Redis */
    SIMQ_REDIS_LOST,
    SIMQ_TIMEOUT, /* of a command */
    SIMQ_CONNECT,
    SIMQ_WAKE,
    SIMQ_DIAL,
    SIMQ_SEND_BLOCK,
    SIMQ_SEND_ENDED,
    /* what else happens */
    SIMQ_COMMAND,
    SIMQ_WAIT_OVER,
    SIMQ_REDIS_START,
    SIMQ_REMEMBER,
    SIMQ_WORKER_START,
    SIMQ_RECEIVER_START,
    SIMQ_WRITTEN,
    SIMQ_COMMIT_TICK,
    SIMQ_COMMITTED,
    SIMQ_RENAMED,
    SIMQ_RECORDED,
    SIMQ_CLOSE_POLL,
    SIMQ_USER, /* somebody submits again what Redis has forgotten */
    SIMQ_FAULT,
    SIMQ_WHATS
};

enum simq_op { SIMQ_HELLO, SIMQ_TAKE, SIMQ_WAIT, SIMQ_BEGIN, SIMQ_REPORT, SIMQ_TELL, SIMQ_OPS };

/* A task in a command or in its reply. */
struct simq_item {
    int task;
    uint64_t entry;
    uint64_t incarnation;
    uint64_t claim;
    uint64_t failures;
    bool record; /* REPORT: with a map */
    char map[SIMQ_MAP_SIZE];
    uint64_t bytes;
    enum lh_task_outcome outcome; /* TELL */
    uint64_t due_ms;
    int error;
    bool heard_done; /* what the receiver said, whatever the worker makes of it */
    enum lh_duty_answer answer;
};

/* A command, which becomes its reply. */
struct simq_call {
    enum simq_op op;
    int worker;
    uint32_t life;
    uint32_t conn;
    uint64_t number;
    uint64_t incarnation;
    size_t n;
    uint64_t reap_until_ms;
    uint64_t block_ms;
    int status;
    bool hello_again;
    uint64_t now_ms;
    uint64_t soonest_ms;
    size_t n_items;
    struct simq_item items[SIMQ_JOBS];
};

struct simq_event {
    uint64_t at; /* microseconds */
    uint64_t order;
    enum simq_what what;
    int worker;
    uint32_t life; /* of the worker, the receiver or Redis: stale if other */
    uint32_t gen;  /* of the job, the sink or the connection */
    int job;
    int session;
    int task;
    uint64_t block;
    uint64_t mask;
    uint64_t epoch;
    uint64_t number;
    int status;
    bool forget;
    struct lh_holder asker;
    struct simq_call *call; /* owned */
};

/* ---- Redis ---- */

struct simq_task {
    bool known;
    enum lh_task_state state;
    uint64_t entry;          /* 0: in no stream */
    bool pending;            /* given to a consumer */
    enum lh_task_state want; /* PAUSED or CANCELLED is asked of its worker; QUEUED: nothing */
    int consumer;
    uint64_t idle_at_ms; /* since when it is idle */
    uint64_t claim;
    uint64_t incarnation; /* of that claim */
    int worker;
    uint64_t failures;
    uint64_t due_ms;
    uint64_t map;
    int error;
};

/* What Redis remembers; copied as a whole. */
struct simq_db {
    uint64_t incarnation; /* 0: no hello yet */
    uint64_t run_id;
    uint64_t last_claim;
    uint64_t last_entry;
    struct simq_task tasks[SIMQ_TASKS];
};

struct simq_wait {
    bool waits;
    struct simq_call *call;
};

struct simq_redis {
    bool up;
    uint32_t life;
    bool tells_run_id;     /* INFO is permitted */
    uint64_t stands_until; /* stopped: what arrives is carried out then */
    uint64_t slow_us;      /* more for each way */
    uint64_t clock_ahead_ms;
    uint64_t refuses_until;
    struct simq_db db;
    struct simq_db past[SIMQ_PAST]; /* the latest is at n_past - 1, modulo */
    uint64_t n_past;
    struct simq_wait waits[SIMQ_WORKERS];
};

/* ---- workers ---- */

enum simq_send_state { SIMQ_DIALLING, SIMQ_OFFERED, SIMQ_MOVING, SIMQ_FINISHING, SIMQ_DELIVERED };

/* A task at a worker, with its send. */
struct simq_job {
    struct lh_duty_task duty; /* first */
    bool used;
    uint32_t gen;
    int task;
    uint64_t incarnation;
    uint64_t claim;
    struct lh_record record;
    bool recording;
    uint64_t recording_ms;
    uint64_t recording_bytes;
    uint64_t recorded; /* durable, as known at the end */
    uint64_t bytes;
    bool ledger; /* the receiver has said what it has */
    int status;
    enum simq_send_state state;
    bool ending;     /* SEND_ENDED is on its way */
    bool heard_done; /* the receiver has said that it is whole */
    struct lh_holder me;
    int session; /* -1: none */
    unsigned attempt;
    uint64_t contact_at; /* with the receiver, last */
    struct lh_sched sched;
    bool have_sched;
    uint64_t at; /* the range at hand */
    uint64_t end;
};

enum simq_link { SIMQ_LINK_DOWN, SIMQ_LINK_HELLO, SIMQ_LINK_UP };

struct simq_worker {
    bool alive;
    uint32_t life;
    uint64_t sleeps_until; /* stopped; 0: it runs */
    uint64_t sleeps_since;
    uint64_t troubled_at; /* last moment at which it or its line to Redis was not all right */
    uint64_t cut_until;   /* its line to Redis */
    bool stopping;
    struct lh_duty duty;
    uint64_t wake_number;
    enum simq_link link;
    uint32_t conn;
    unsigned attempt;
    uint64_t incarnation;
    uint64_t redis_ms;          /* Redis's clock as last heard, */
    uint64_t heard_ms;          /* at this moment of ours */
    uint64_t pending[SIMQ_OPS]; /* number of the call under way; 0 none */
    uint64_t due_at[SIMQ_OPS];
    struct simq_job jobs[SIMQ_JOBS];
};

/* ---- receiver ---- */

/* A control connection, and what of it the two ends know. */
struct simq_session {
    int worker;
    uint32_t life;
    int job;
    uint32_t gen;
    int task;
    uint32_t receiver_life;
    bool open_s;
    bool open_r;
    bool cut;
    uint64_t silent_at;
    uint64_t ordered_at[2]; /* frames but blocks keep their order, each way */
};

struct simq_target {
    /* On disk. */
    bool journal;
    uint64_t durable;
    struct lh_holder last; /* the epoch record */
    bool renamed;          /* staging became the target, and the journal is of that */
    bool done;             /* the done record */
    bool whole;            /* a whole file is under the target's name */
    /* In memory. */
    bool open;
    uint32_t number; /* of the sink: each open gets another */
    struct lh_ledger ledger;
    bool have_ledger;
    struct lh_holder holder;
    int session;
    bool closing;
    bool finishing;
    bool committing;
    struct lh_batch batch;
    bool has_next; /* who takes over */
    struct simq_event next;
    /* What the checks remember. */
    struct lh_holder top; /* the last that was let in; epoch 0: nothing is left of it */
    uint64_t ever_durable;
};

struct simq_stats {
    uint64_t n_events;
    uint64_t n_worker_kills;
    uint64_t n_sleeps;
    uint64_t n_stops;
    uint64_t n_receiver_kills;
    uint64_t n_redis_kills;
    uint64_t n_rollbacks;
    uint64_t n_emptied;
    uint64_t n_stands;
    uint64_t n_slow;
    uint64_t n_refusals;
    uint64_t n_jumps;
    uint64_t n_cuts;
    uint64_t n_sessions_lost;
    uint64_t n_reaped;
    uint64_t n_late_reaps; /* a take that came too late to reap */
    uint64_t n_lost;
    uint64_t n_gone;
    uint64_t n_fenced_runs;
    uint64_t n_fenced_blocks;
    uint64_t n_busy;
    uint64_t n_takeovers;
    uint64_t n_resumed;
    uint64_t n_done;
    uint64_t n_done_again;
    uint64_t n_dead;
    uint64_t n_retries;
    uint64_t n_deferred;
    uint64_t n_records;
    uint64_t n_hello_again;
    uint64_t n_kept_outcomes;           /* told a second time */
    uint64_t n_asked[LH_N_TASK_STATES]; /* of a worker, by what */
    uint64_t n_settled[LH_N_TASK_STATES];
};

struct simq_world {
    struct lh_rng rng;
    uint64_t now; /* microseconds */
    uint64_t order;
    unsigned n_events;
    uint64_t n_calls;
    struct simq_redis redis;
    struct simq_worker workers[SIMQ_WORKERS];
    uint32_t receiver_life; /* odd: it runs */
    struct simq_target targets[SIMQ_TASKS];
    int n_sessions;

    /* What the seed has drawn. */
    unsigned n_tasks;
    unsigned n_blocks;
    uint64_t claim_ms;
    unsigned jobs;
    unsigned jobs_per_host;
    uint64_t net_us;
    uint64_t redis_us;
    uint64_t send_us; /* a block */
    uint64_t disk_us;
    uint64_t commit_us;
    uint64_t faults_end;
    uint64_t retries[SIMQ_TASKS];
    bool missing[SIMQ_TASKS]; /* there is no such source */
    bool calm;                /* faults have stopped */

    uint64_t n_failures[SIMQ_TASKS]; /* attempts that failed, whoever made them */
    bool cancelled[SIMQ_TASKS];      /* a user wants it so */

    bool failed;
    char why[256];
    jmp_buf stop;
    bool trace;
    struct simq_stats *stats;

    /* Not cleared between seeds. */
    struct simq_event heap[SIMQ_EVENTS];
    struct simq_session sessions[SIMQ_SESSIONS];
};

/* queue_world.c */
void simq_after(struct simq_world *w, uint64_t delay_us, const struct simq_event *e);
uint64_t simq_about(struct simq_world *w, uint64_t us); /* random, half to one and a half of it */
void simq_to_receiver(struct simq_world *w, const struct simq_event *e);
void simq_to_sender(struct simq_world *w, const struct simq_event *e);
void simq_cut_session(struct simq_world *w, int session, bool noticed);
uint64_t simq_fresh(struct simq_world *w); /* random, not 0 */
void simq_trace(struct simq_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Something that must hold does not: the seed has failed. Does not return. */
_Noreturn void simq_broken(struct simq_world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Runs one seed. Returns whether all held; else `why` is filled. */
bool simq_run(struct simq_world *w, uint64_t seed);

static inline uint64_t simq_ms(const struct simq_world *w)
{
    return w->now / 1000 + 1;
}

static inline uint64_t simq_bit(uint64_t block)
{
    return (uint64_t)1 << block;
}

static inline uint64_t simq_all(const struct simq_world *w)
{
    return simq_bit(w->n_blocks) - 1;
}

static inline uint64_t simq_mask_of(const struct lh_runs *r)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < r->n; i++)
        mask |= simq_bit(r->v[i].end) - simq_bit(r->v[i].first);
    return mask;
}

/* queue_faults.c */
void simq_fault(struct simq_world *w, struct simq_event *again); /* one, or the end of them all */
void simq_next_fault(struct simq_world *w, const struct simq_event *e); /* e comes after a while */
/* What Redis has forgotten is submitted again, what was paused is resumed. */
void simq_user(struct simq_world *w, struct simq_event *again);

/* queue_redis.c */
void simq_redis_gets(struct simq_world *w, struct simq_event *e);
void simq_redis_wait_over(struct simq_world *w, const struct simq_event *e);
void simq_redis_submit(struct simq_world *w, int task);
void simq_redis_control(struct simq_world *w, int task, enum lh_task_state want);
void simq_redis_dies(struct simq_world *w);
void simq_redis_starts(struct simq_world *w);

/* queue_worker.c */
void simq_worker_starts(struct simq_world *w, int worker);
void simq_worker_dies(struct simq_world *w, int worker);
void simq_worker_stops(struct simq_world *w, int worker); /* SIGTERM */
void simq_worker_gets(struct simq_world *w, struct simq_event *e);
void simq_worker_turn(struct simq_world *w, struct simq_worker *k);
void simq_link_lost(struct simq_world *w, struct simq_worker *k);

/* queue_send.c */
void simq_send_starts(struct simq_world *w, struct simq_worker *k, struct simq_job *job);
void simq_send_ends(struct simq_world *w, struct simq_worker *k, struct simq_job *job, int status);
void simq_send_confirms(struct simq_world *w, struct simq_worker *k, struct simq_job *job,
                        bool forget);
void simq_send_gets(struct simq_world *w, struct simq_worker *k, struct simq_event *e);
void simq_send_forget(struct simq_world *w, struct simq_job *job); /* its process is gone */

/* queue_receiver.c */
void simq_receiver_gets(struct simq_world *w, struct simq_event *e);
void simq_receiver_step(struct simq_world *w, struct simq_event *e);
void simq_receiver_dies(struct simq_world *w);
void simq_target_free(struct simq_target *t);

/* queue_check.c */
void simq_check_opened(struct simq_world *w, int task, uint64_t epoch_before);
void simq_check_claim(struct simq_world *w, int task, uint64_t epoch);
void simq_check_streams(struct simq_world *w);
void simq_check_reported(struct simq_world *w, const struct simq_item *item);
void simq_check_record(struct simq_world *w, const struct simq_item *item, uint64_t mask);
void simq_check_told(struct simq_world *w, const struct simq_item *item);
void simq_check_settled(struct simq_world *w, int task, enum lh_task_state state);
void simq_check_reaped(struct simq_world *w, int task, int by);
bool simq_check_over(const struct simq_world *w); /* nothing is left to be done */
void simq_check_end(struct simq_world *w);

#endif
