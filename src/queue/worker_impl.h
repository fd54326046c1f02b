/* What worker.c and work.c share. */
#ifndef LH_QUEUE_WORKER_IMPL_H
#define LH_QUEUE_WORKER_IMPL_H

#include "queue/duty.h"
#include "queue/record.h"
#include "queue/worker.h"
#include "util/address.h"

/* What a worker asks of the queue, as far as it may fail unseen. */
enum lh_worker_asks {
    LH_ASKS_TAKE,
    LH_ASKS_WAIT,
    LH_ASKS_REPORT,
    LH_ASKS_FINISH,
    LH_N_WORKER_ASKS
};

struct lh_qworker {
    uv_loop_t *loop;
    struct lh_qworker_options opts; /* its strings are not kept */
    struct lh_log log;
    char told[LH_N_WORKER_ASKS][256]; /* failures that were logged; "" none since it went well */
    struct lh_duty duty;
    struct lh_queue *queue;
    struct lh_engine *engine;
    uv_check_t turn; /* after each turn of the loop: what it brought is answered at once */
    uv_idle_t idle;  /* active while the duty has not been asked */
    uv_timer_t wake;
    unsigned n_handles;
    bool dirty;   /* duty may have a step */
    bool told_up; /* that Redis is there */
    bool leaving;
    uint64_t started_ms;
    struct lh_health health; /* what does not change, and sums of what has ended */
};

/* A task that this worker has. */
struct lh_work {
    struct lh_duty_task duty; /* first */
    struct lh_qworker *worker;
    struct lh_claim claim;
    struct lh_task *task; /* NULL when malformed */
    enum lh_priority priority;
    uint64_t attempts;
    bool reaped;
    struct lh_send *send;  /* NULL when there is none */
    struct lh_tree *tree;  /* the same of a tree */
    char *failed;          /* of a tree: what is said of the first entry that failed; NULL none */
    bool ledger;           /* the receiver has told what it has */
    bool progressed;       /* the send has told how fast it is */
    uint64_t bytes_before; /* were durable at the start */
    struct lh_send_stats stats;
    uint64_t started_ms;
    uint64_t active_ms;
    struct lh_record record;
    bool recording; /* the report that is under way has a record of it */
    uint64_t recording_ms;
    uint64_t recording_bytes;
    uint64_t bytes; /* durable, as last seen */
    uint64_t total;
    char *map;  /* what was durable at the end; NULL none */
    int status; /* of a failure */
    char text[LH_QUEUE_TEXT_MAX];
    char host[LH_HOST_SIZE + 8];
};

/* Something has happened: ask the duty before the loop waits. */
void lh_qworker_touch(struct lh_qworker *worker);

/* Takes over taken->task. Returns NULL when memory is out: then another worker gets the task after
 * the claim time. */
struct lh_work *lh_work_new(struct lh_qworker *worker, struct lh_taken *taken);
void lh_work_free(struct lh_work *work);

/* Begin to send; the duty hears of the end, in any case. */
void lh_work_start(struct lh_work *work);
void lh_work_cancel(struct lh_work *work);

/* work_tree.c: the same of a tree. opts: as for a file. Returns 0 or what kept it from starting. */
int lh_work_start_tree(struct lh_work *work, const struct lh_send_options *opts);

/* What work_tree.c tells: where it stands; that it has ended. */
void lh_work_seen(struct lh_work *work, const struct lh_send_stats *stats);
void lh_work_ended(struct lh_work *work, int status, const char *text,
                   const struct lh_send_stats *stats);

/* Where it stands. With a record due, or in flight, `report` gets texts that lh_work_reported_free
 * frees. */
void lh_work_report(struct lh_work *work, struct lh_report *report, uint64_t now_ms);
void lh_work_report_free(struct lh_report *report);
void lh_work_ending(struct lh_work *work, struct lh_ending *ending);

void lh_work_event(struct lh_work *work, enum lh_qworker_what what, bool acknowledged);

#endif
