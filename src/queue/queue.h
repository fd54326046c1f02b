/* Typed operations on a queue: each is one script in Redis, so that it happens whole or not at all,
 * and only while a task is still held by who asks. docs/queue.md has the keys.
 *
 * Thread: the loop's. Owner: the caller, until `closed`. A queue dials, says hello and keeps coming
 * back by itself: `up` and `down` tell. Operations while it is down return -LH_E_NETWORK at once.
 *
 * Every operation: nonzero → the callback never fires; 0 → exactly once, later, never from inside.
 * The callback's status:
 *   0               carried out; `reply` is valid until the callback returns
 *   -LH_E_NETWORK   the connection was lost: whether it was carried out is not known
 *   -LH_E_BUSY      Redis cannot now: full (OOM), loading, read-only, failing over, or it has
 *                   forgotten the queue and hello is said again. Nothing was changed; try again
 * later -LH_E_REFUSED   not permitted (password, ACL), or not such a Redis: trying again will not
 * help -LH_E_PROTOCOL  an answer of the wrong shape -LH_E_NOMEM and `text` is a sentence, "" with
 * 0. */
#ifndef LH_QUEUE_QUEUE_H
#define LH_QUEUE_QUEUE_H

#include "queue/map.h"
#include "queue/redis_url.h"
#include "queue/task.h"

#include <longhaul/log.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct lh_queue;

#define LH_QUEUE_NAME "default"
#define LH_QUEUE_TAKE_MAX 64   /* tasks in one take */
#define LH_QUEUE_BATCH_MAX 256 /* tasks in one report or finish */
#define LH_QUEUE_LIST_MAX 1000 /* tasks in one list */
#define LH_QUEUE_TEXT_MAX 512  /* bytes of an error kept with a task */

struct lh_queue_options {
    const struct lh_redis_url *url; /* copied */
    const char *name;               /* of the queue; NULL: LH_QUEUE_NAME. See lh_task_id_valid */
    const char *worker; /* name of this worker; NULL: a client, which cannot take, wait or report */
    uint64_t claim_ms;  /* a task not heard of for so long may be taken from its worker */
    lh_log_fn log;      /* may be NULL */
    void *log_arg;
    enum lh_log_level log_level;
    /* Connected and said hello: work can be done. May be NULL. */
    void (*up)(void *arg);
    /* Not any more, or not yet: it dials again by itself. status: LH_E_RESOLVE, LH_E_CONNECT,
     * LH_E_TIMEOUT, LH_E_NETWORK, LH_E_BUSY, LH_E_REFUSED (password, rights, version),
     * LH_E_PROTOCOL, LH_E_NOMEM, or 0: it goes where a cluster says that the keys are, which is no
     * failure; why: a sentence without secrets, which dies when the call returns.
     * May come several times without an up between. May be NULL. */
    void (*down)(void *arg, int status, const char *why);
    void *arg;
};

/* Returns 0, -LH_E_INVAL (a name) or -LH_E_NOMEM. */
int lh_queue_start(uv_loop_t *loop, const struct lh_queue_options *opts, struct lh_queue **out);
bool lh_queue_up(const struct lh_queue *queue);

/* Operations under way end with -LH_E_NETWORK before `closed` fires, which is called once, later.
 */
void lh_queue_close(struct lh_queue *queue, void (*closed)(void *arg), void *arg);

/* ---- workers ------------------------------------------------------------------------------ */

/* The right to a task until somebody else gets it. */
struct lh_claim {
    char id[LH_TASK_ID_SIZE];
    uint8_t incarnation[16]; /* of the queue when it was taken */
    uint64_t number;         /* greater than that of any earlier claim of this incarnation */
};

struct lh_taken {
    struct lh_claim claim;
    enum lh_priority priority;
    uint64_t attempts; /* this one included */
    uint64_t failures; /* of them failed, as lh_ending.failures last said */
    uint64_t bytes;    /* durable, as last recorded: the receiver knows better */
    uint64_t total;    /* size of the file; 0 not known yet */
    bool reaped;       /* another worker had it and was not heard of any more */
    int status;        /* 0, or -LH_E_INVAL: its fields are malformed; finish it as dead */
    char text[LH_QUEUE_TEXT_MAX]; /* the sentence about that */
    struct lh_task *task; /* NULL unless status is 0. Freed (lh_task_free, free) after the callback:
                             to keep it, take the pointer and put NULL here */
};

struct lh_taking {
    struct lh_taken *taken;
    size_t n;
    bool jumped; /* Redis's clock has jumped ahead: who lives may look idle until its next report */
    uint64_t
        soonest_ms; /* so long from now nothing can be had but what is added to the queue: neither
                       a delayed task, nor (with reap) one of another worker; 0: not known */
};

typedef void (*lh_queue_take_fn)(void *arg, int status, const char *text, struct lh_taking *reply);

/* Take up to `n` tasks, at most LH_QUEUE_TAKE_MAX. reap: also such as were not heard of for
 * claim_ms; they come first. Not, though, when this had to wait in a Redis that did not run: nobody
 * could be heard of then. A task that runs here already can come again when this worker was not
 * heard of for so long itself: the older claim is lost then. */
int lh_queue_take(struct lh_queue *queue, size_t n, bool reap, lh_queue_take_fn fn, void *arg);

/* Wait up to `block_ms` until there is a task and take it, on a connection of its own: one at a
 * time. n may be up to one of each priority at once, or 0. -LH_E_BUSY: one is under way. */
int lh_queue_wait(struct lh_queue *queue, uint64_t block_ms, lh_queue_take_fn fn, void *arg);

/* End a wait that is under way, before anything that is asked of the queue after this; its callback
 * comes as ever. A Redis user that may not use CLIENT UNBLOCK has to wait until it is over. */
void lh_queue_wait_no_longer(struct lh_queue *queue);

/* What Redis says of one task. */
enum lh_queue_answer {
    LH_QUEUE_OK,     /* it is still ours */
    LH_QUEUE_LOST,   /* another worker has it, or it was settled without us: nothing was changed */
    LH_QUEUE_GONE,   /* Redis knows no such task: it has forgotten */
    LH_QUEUE_PAUSED, /* still ours, and somebody asks for it to be paused */
    LH_QUEUE_CANCELLED, /* still ours, and somebody asks for it to be cancelled */
    LH_N_QUEUE_ANSWERS
};

struct lh_report {
    struct lh_claim claim;
    uint64_t bytes; /* durable */
    uint64_t total;
    uint64_t sent; /* handed to sockets in this attempt */
    uint64_t rate_bps;
    uint32_t streams;
    const char *inflight; /* map of what is in flight, at most LH_MAP_INFLIGHT_MAX; NULL: none */
    const char *map; /* all that is durable, at most LH_MAP_TEXT_MAX; NULL: leave what is kept */
    bool record;     /* one is due: the map goes into the progress stream, too */
};

/* Health of the worker, told with each report. Times of this host's clock are not compared with
 * anybody's. */
struct lh_health {
    char host[65];
    uint64_t pid;
    char version[16];
    uint64_t jobs;
    uint64_t active;
    uint64_t done;      /* since it started */
    uint64_t failed;    /* attempts that failed, since it started */
    uint64_t bytes;     /* made durable, since it started */
    uint64_t rate_bps;  /* of all its tasks now */
    uint64_t uptime_ms; /* since it started */
};

/* answers[i] is about the i-th task that was given. */
typedef void (*lh_queue_answers_fn)(void *arg, int status, const char *text,
                                    const enum lh_queue_answer *answers, size_t n);

/* Tell that the worker lives and has these tasks (n may be 0), and where they stand: those that are
 * still ours are not taken away for another claim_ms. Everything is copied. At most
 * LH_QUEUE_BATCH_MAX. */
int lh_queue_report(struct lh_queue *queue, const struct lh_health *health,
                    const struct lh_report *reports, size_t n, lh_queue_answers_fn fn, void *arg);

struct lh_ending {
    struct lh_claim claim;
    enum lh_task_outcome outcome;
    uint64_t due_ms;    /* retry, deferred: due again so long from now */
    uint64_t failures;  /* retry, dead: how many attempts have failed by now */
    int error;          /* -LH_E_* that ended it; 0 none. Kept with the task by its name */
    const char *text;   /* a sentence; NULL none. Cut to LH_QUEUE_TEXT_MAX - 1 */
    uint64_t bytes;     /* durable */
    uint64_t total;     /* 0: not known */
    uint64_t sent;      /* handed to sockets in this attempt */
    uint64_t active_ms; /* how long this attempt took */
    const char *digest; /* done; NULL none */
    const char *map;    /* what is durable; NULL: leave what is recorded */
};

/* End claims: each that is still ours is settled as a whole; of one that is not nothing is changed.
 * Answers are LH_QUEUE_OK, _LOST or _GONE. To finish the same twice is LH_QUEUE_LOST. Copied. */
int lh_queue_finish(struct lh_queue *queue, const struct lh_ending *endings, size_t n,
                    lh_queue_answers_fn fn, void *arg);

typedef void (*lh_queue_done_fn)(void *arg, int status, const char *text);

/* The worker leaves: it is no longer listed. Its tasks must have been finished before. */
int lh_queue_leave(struct lh_queue *queue, lh_queue_done_fn fn, void *arg);

/* ---- clients ------------------------------------------------------------------------------ */

/* id of the task; status -LH_E_EXISTS: there is one of that id that has not ended. */
typedef void (*lh_queue_submit_fn)(void *arg, int status, const char *text, const char *id);

/* Put a task on the queue. Fields as in the contract: the caller adds `v`; `task` may be among
 * them. They are not checked here (see lh_task_parse). Copied. */
int lh_queue_submit(struct lh_queue *queue, enum lh_priority priority,
                    const struct lh_field *fields, size_t n, lh_queue_submit_fn fn, void *arg);

enum lh_queue_verb {
    LH_QUEUE_PAUSE,  /* queued, delayed, active → paused */
    LH_QUEUE_RESUME, /* paused → queued */
    LH_QUEUE_CANCEL, /* anything that has not ended, dead ones too → cancelled */
    LH_QUEUE_RETRY,  /* dead, cancelled → queued, failures forgotten; delayed → queued now */
    LH_QUEUE_DROP,   /* dead, cancelled, done → forgotten */
    LH_N_QUEUE_VERBS
};

enum lh_queue_effect {
    LH_EFFECT_OK,      /* it is so now */
    LH_EFFECT_ASKED,   /* a worker has it and will hear of it with its next report */
    LH_EFFECT_ALREADY, /* it was so before, or is already asked for */
    LH_EFFECT_REFUSED, /* not possible in the state it is in */
    LH_EFFECT_UNKNOWN, /* no such task */
    LH_N_EFFECTS
};

/* state: the task's after it; meaningless with LH_EFFECT_UNKNOWN. */
typedef void (*lh_queue_control_fn)(void *arg, int status, const char *text,
                                    enum lh_queue_effect effect, enum lh_task_state state);
int lh_queue_control(struct lh_queue *queue, enum lh_queue_verb verb, const char *id,
                     lh_queue_control_fn fn, void *arg);

/* What Redis knows of a task. Strings are bytes that anybody may have put there: escape them
 * (lh_text_escape) before they are shown. Never NULL; "" where nothing is known. Times are unix ms
 * of Redis's clock, 0 where it did not happen; compare them with now_ms. */
struct lh_task_info {
    char id[LH_TASK_ID_SIZE];
    enum lh_task_state state;
    const char *want; /* "paused" or "cancelled": asked of its worker */
    enum lh_priority priority;
    const char *source;
    const char *destination;
    const char *worker;  /* that has it, or had it last */
    const char *workers; /* that had it: names, comma between, the last 16 */
    uint64_t claim;
    uint64_t attempts;
    uint64_t failures;
    uint64_t submitted_ms;
    uint64_t taken_ms;
    uint64_t heard_ms; /* active: last report */
    uint64_t ended_ms;
    uint64_t due_ms; /* delayed */
    uint64_t total;
    uint64_t bytes;     /* durable */
    uint64_t sent;      /* of the last attempt */
    uint64_t active_ms; /* of the last attempt, once it ended */
    uint64_t rate_bps;
    uint64_t streams;
    const char *error;        /* the last, a sentence */
    const char *error_status; /* its name, such as NETWORK */
    const char *digest;
    const char *map;      /* lh_map_read; "" in lists */
    const char *inflight; /* "" in lists */
};

/* One record of the progress stream. */
struct lh_record_info {
    uint64_t at_ms;
    uint64_t claim;
    const char *worker;
    const char *map;
    uint64_t bytes;
    uint64_t total;
};

struct lh_task_detail {
    uint64_t now_ms;
    struct lh_task_info task;
    struct lh_field *fields; /* of its entry, as they were put in */
    size_t n_fields;
    struct lh_record_info
        *records; /* the last 16, newest first; their maps are "" but the first's */
    size_t n_records;
};

/* reply is NULL with status 0 when there is no such task. */
typedef void (*lh_queue_get_fn)(void *arg, int status, const char *text,
                                const struct lh_task_detail *reply);
int lh_queue_get(struct lh_queue *queue, const char *id, lh_queue_get_fn fn, void *arg);

struct lh_task_list {
    uint64_t now_ms;
    struct lh_task_info *tasks;
    size_t n;
    bool more;      /* there are more: ask again with `next` as `after` */
    char next[128]; /* opaque */
};

typedef void (*lh_queue_list_fn)(void *arg, int status, const char *text,
                                 const struct lh_task_list *reply);

/* Tasks in one state: active by when they were taken, queued in the order in which they are taken,
 * delayed by when they are due, paused by id, dead and done and cancelled newest first. `after`:
 * NULL, or `next` of the reply before. max: at most LH_QUEUE_LIST_MAX. Cancelled ones are listed
 * among the done (LH_TASK_DONE); LH_TASK_CANCELLED is -LH_E_INVAL. */
int lh_queue_list(struct lh_queue *queue, enum lh_task_state state, const char *after, size_t max,
                  lh_queue_list_fn fn, void *arg);

struct lh_worker_info {
    char name[LH_TASK_ID_SIZE];
    uint64_t heard_ms; /* last report, Redis's clock; older than four claim times: likely dead */
    uint64_t claim_ms; /* what it was started with */
    struct lh_health health;
};

struct lh_queue_overview {
    uint64_t now_ms;
    uint8_t incarnation[16];
    uint64_t queued[LH_N_PRIORITIES];
    uint64_t oldest_ms[LH_N_PRIORITIES]; /* how long the first of them has waited; 0 none */
    uint64_t active;
    uint64_t delayed;
    uint64_t paused;
    uint64_t dead;
    /* Done within the last recent_ms: at most 1000 tasks, at most a minute. */
    uint64_t recent_ms;
    uint64_t recent_tasks;
    uint64_t recent_bytes;
    struct lh_worker_info *workers; /* by name */
    size_t n_workers;
};

typedef void (*lh_queue_overview_fn)(void *arg, int status, const char *text,
                                     const struct lh_queue_overview *reply);
int lh_queue_overview(struct lh_queue *queue, lh_queue_overview_fn fn, void *arg);

#endif
