/* What the commands of a queue have in common: a loop, a connection to Redis, signals, an end.
 *
 * Happy path: lh_queue_run dials, `ready` is called, operations follow each other, one of their
 * callbacks calls lh_queue_run_end, everything closes, lh_queue_run returns the exit code.
 * Failures: nobody there within a time limit; an operation that fails (lh_queue_run_fail). A
 * command with a `tick` follows what happens, and goes on when Redis is away for a while. Main
 * thread only. */
#ifndef LH_CLI_QUEUE_RUN_H
#define LH_CLI_QUEUE_RUN_H

#include "cli/options.h"
#include "cli/stop.h"
#include "cli/term.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <uv.h>

struct lh_queue_run {
    /* Filled in by the command. */
    const struct lh_args *args;
    struct lh_term *term;
    void (*ready)(struct lh_queue_run *run);         /* connected, the first time */
    void (*tick)(struct lh_queue_run *run);          /* each second while connected; may be NULL */
    void (*asked_to_stop)(struct lh_queue_run *run); /* says so, once; may be NULL */
    bool silent; /* what Redis's absence has to say is not written, only kept in `away` */

    /* For the command to read. */
    struct lh_queue *queue;
    const char *name;              /* of the queue */
    char where[LH_REDIS_URL_TEXT]; /* Redis's address, without secrets */
    char away[512];                /* why there is no connection now; "" while there is one */
    int away_status;               /* LH_E_* of that */

    /* Of queue_run.c. */
    uv_loop_t loop;
    uv_timer_t limit;
    uv_timer_t ticker;
    struct lh_stop stop;
    int out_status; /* of standard output, and the errno that goes with it */
    int out_errno;
    bool was_up;
    bool ending;
    int code;
};

/* Run the command to its end. Returns the exit code. */
int lh_queue_run(struct lh_queue_run *run);

/* Close everything; lh_queue_run returns `code`. A second call does nothing. Operations under way
 * end with -LH_E_NETWORK: look at `ending` in callbacks. */
void lh_queue_run_end(struct lh_queue_run *run, int code);

/* An operation was refused or failed: say why and what to do, and end. */
void lh_queue_run_fail(struct lh_queue_run *run, int status, const char *text);

/* What lh_json_end returned: of several objects the first failure counts. */
void lh_queue_run_wrote(struct lh_queue_run *run, int status);

/* Whether standard output took everything so far; else the reader is gone or the disk full: that is
 * said, and the command ended. */
bool lh_queue_run_flush(struct lh_queue_run *run);

#endif
