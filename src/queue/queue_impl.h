/* Shared by queue.c (connections, hello), queue_worker.c and queue_client.c (operations). */
#ifndef LH_QUEUE_QUEUE_IMPL_H
#define LH_QUEUE_QUEUE_IMPL_H

#include "queue/decode.h"
#include "queue/queue.h"
#include "queue/redis.h"

#include <hiredis/hiredis.h>

#define LH_QUEUE_KEY_SIZE 128

struct lh_queue {
    uv_loop_t *loop;
    struct lh_log log;
    void (*up)(void *arg);
    void (*down)(void *arg, int status, const char *why);
    void *arg;
    char key[LH_QUEUE_KEY_SIZE];                      /* longhaul:{NAME}:meta */
    char streams[LH_N_PRIORITIES][LH_QUEUE_KEY_SIZE]; /* longhaul:{NAME}:tasks:PRIORITY */
    char worker[LH_TASK_ID_SIZE];                     /* "" of a client */
    uint64_t claim_ms;
    struct lh_redis *redis;    /* commands */
    struct lh_redis *blocking; /* XREADGROUP with BLOCK; NULL of a client */
    long long blocking_id;     /* of that connection, as Redis counts; 0 not known */
    uv_timer_t retry;          /* says hello once more */
    bool hello;                /* was answered on the present connection */
    bool told_up;
    bool waits; /* a lh_queue_wait is under way */
    bool closing;
    unsigned n_open; /* handles not closed yet */
    void (*closed)(void *arg);
    void *closed_arg;
    char hex[33]; /* the incarnation */
    uint8_t incarnation[16];
    uint64_t redis_ms; /* Redis's clock as last told, … */
    uint64_t heard_ms; /* … and ours at that moment */
};

enum lh_op_kind {
    LH_OP_TAKE,
    LH_OP_WAIT,
    LH_OP_ANSWERS,
    LH_OP_DONE,
    LH_OP_SUBMIT,
    LH_OP_CONTROL,
    LH_OP_GET,
    LH_OP_LIST,
    LH_OP_OVERVIEW
};

/* An operation under way. */
struct lh_op {
    struct lh_queue *queue;
    enum lh_op_kind kind;
    union {
        lh_queue_take_fn take;
        lh_queue_answers_fn answers;
        lh_queue_done_fn done;
        lh_queue_submit_fn submit;
        lh_queue_control_fn control;
        lh_queue_get_fn get;
        lh_queue_list_fn list;
        lh_queue_overview_fn overview;
    } fn;
    void *arg;
    size_t n;                 /* answers that are due */
    char id[LH_TASK_ID_SIZE]; /* get */
    uint8_t incarnation[16];  /* take: that the tasks will be claimed under */
};

/* Arguments of a script: a list that knows how long it will be at most. */
struct lh_argv {
    struct lh_redis_arg *v;
    size_t n;
    size_t max;
    char (*slots)[40]; /* numbers as text, one for each argument */
};

/* Returns 0 or -LH_E_NOMEM. Freed by lh_op_start, or lh_argv_free. */
int lh_argv_init(struct lh_argv *a, size_t max);
void lh_argv_free(struct lh_argv *a);
void lh_argv_bytes(struct lh_argv *a, const void *data, size_t len); /* not copied */
void lh_argv_text(struct lh_argv *a, const char *text);              /* not copied; NULL is "" */
void lh_argv_number(struct lh_argv *a, uint64_t number);
void lh_argv_hex(struct lh_argv *a, const uint8_t bytes[16]);

/* Run a script for a copy of `op` over `redis`; frees `argv` in any case. The answer goes to
 * lh_op_answer. Returns 0 or -LH_E_*, then nothing will be called. */
int lh_op_start(const struct lh_op *op, struct lh_redis *redis, const struct lh_script *script,
                struct lh_argv *argv);

/* What a reply that cannot be decoded means: -LH_E_* and a sentence; 0 when it is no error. */
int lh_queue_judge(const struct redisReply *reply, struct lh_err *err);

/* Redis has forgotten this incarnation: say hello again. */
void lh_queue_greet_again(struct lh_queue *queue, const char *why);

/* Decode the reply and call back. queue_worker.c and queue_client.c have a part each. */
void lh_op_answer_worker(const struct lh_op *op, int status, const struct redisReply *reply,
                         struct lh_err *err);
void lh_op_answer_client(const struct lh_op *op, int status, const struct redisReply *reply,
                         struct lh_err *err);

uint64_t lh_queue_clock_ms(void);

#endif
