/* A worker: takes tasks from a queue, moves their files, and tells the queue what became of them.
 *
 * Thread: the loop's, as everything of the engine. Redis being away or slow never holds up what is
 * being sent; nothing new is taken meanwhile. */
#ifndef LH_QUEUE_WORKER_H
#define LH_QUEUE_WORKER_H

#include "queue/queue.h"
#include "util/log.h"

#include <longhaul/longhaul.h>

struct lh_qworker;

enum lh_qworker_what {
    LH_QWORKER_UP,        /* Redis is there */
    LH_QWORKER_DOWN,      /* or not; `text` says why */
    LH_QWORKER_TAKEN,     /* a task was taken */
    LH_QWORKER_PROGRESS,  /* where one stands that is being sent, once a second */
    LH_QWORKER_DONE,      /* the rest end a task: whole at the receiver */
    LH_QWORKER_RETRY,     /* failed; tried again in due_ms */
    LH_QWORKER_DEAD,      /* failed for good */
    LH_QWORKER_PAUSED,    /* as somebody asked */
    LH_QWORKER_CANCELLED, /* as somebody asked */
    LH_QWORKER_DEFERRED,  /* put back on the queue */
    LH_QWORKER_LOST,      /* another worker has it, or the queue has forgotten it */
    LH_N_QWORKER_WHATS
};

/* Everything dies when the callback returns. */
struct lh_qworker_event {
    enum lh_qworker_what what;
    const char *text; /* a sentence, "" none */
    /* Of a task; id is NULL without one. */
    const char *id;
    const char *source;      /* bytes that anybody may have put there; "" when malformed */
    const char *destination; /* likewise */
    enum lh_priority priority;
    uint64_t claim;
    uint64_t attempts;                 /* this one included */
    bool reaped;                       /* another worker had it before, and fell silent */
    int status;                        /* of a failure: -LH_E_*; else 0 */
    uint64_t due_ms;                   /* retry, deferred: due again so long from now */
    bool acknowledged;                 /* endings: the queue knows the outcome */
    const struct lh_send_stats *stats; /* all zero when nothing was sent */
};

struct lh_qworker_options {
    const struct lh_redis_url *url; /* copied */
    const char *queue;              /* name; NULL: LH_QUEUE_NAME */
    const char *name;               /* of the worker; see lh_task_id_valid */
    unsigned jobs;                  /* tasks at once; at most LH_DUTY_JOBS_MAX */
    unsigned jobs_per_host;         /* to one receiver; 0: as jobs */
    uint64_t claim_ms;              /* at least 1000 */
    struct lh_send_options send; /* what tasks do not say: insecure, congestion, loops, log … */
    void (*event)(void *arg, const struct lh_qworker_event *event);
    void (*closed)(void *arg); /* after lh_qworker_stop; it is freed when this returns */
    void *arg;
};

/* Start on `loop`. Returns 0, or -LH_E_INVAL (a name), -LH_E_NOMEM; then nothing is ever called. */
int lh_qworker_start(uv_loop_t *loop, const struct lh_qworker_options *opts,
                     struct lh_qworker **worker);

/* Take nothing more, stop what is being sent (what is durable stays), put all tasks back on the
 * queue, then `closed`. Redis is waited for at most 5 s; what it does not hear of by then other
 * workers take after the claim time. Calling it twice does no harm. */
void lh_qworker_stop(struct lh_qworker *worker);

#endif
