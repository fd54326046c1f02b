/* The operations of a worker. Each builds the arguments of a script and decodes what comes back. */
#include "queue/queue_impl.h"

#include "scripts.h"
#include "util/mutant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_ARGS (9 + 2 * LH_N_PRIORITIES)
#define REPORT_ARGS 11 /* of each task */
#define FINISH_ARGS 15

/* ---- take ---- */

/* A take that has waited in a Redis that did not run must reap nobody: past this moment of Redis's
 * clock it does not. Nor does that which meets a clock that has jumped ahead. */
static uint64_t reap_until(const struct lh_queue *queue)
{
    uint64_t grace = queue->claim_ms / 3 < 1000 ? queue->claim_ms / 3 : 1000;

    return queue->redis_ms + (lh_queue_clock_ms() - queue->heard_ms) + grace;
}

/* What Redis's clock says. Returns whether it has jumped ahead of ours since it was last heard. */
static bool hear_clock(struct lh_queue *queue, uint64_t now_ms)
{
    bool jumped = now_ms > reap_until(queue);

    queue->redis_ms = now_ms;
    queue->heard_ms = lh_queue_clock_ms();
    return jumped;
}

int lh_queue_take(struct lh_queue *queue, size_t n, bool reap, lh_queue_take_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_TAKE, .fn.take = fn, .arg = arg};
    struct lh_argv argv;

    if (n == 0 || n > LH_QUEUE_TAKE_MAX || queue->worker[0] == '\0')
        return -LH_E_INVAL;
    if (lh_argv_init(&argv, 5) != 0)
        return -LH_E_NOMEM;
    memcpy(op.incarnation, queue->incarnation, sizeof(op.incarnation));
    lh_argv_text(&argv, queue->hex);
    lh_argv_text(&argv, queue->worker);
    lh_argv_number(&argv, n);
    lh_argv_number(&argv, reap ? reap_until(queue) : 0);
    lh_argv_number(&argv, queue->claim_ms);
    return lh_op_start(&op, queue->redis, &lh_script_take, &argv);
}

static void answer_take(const struct lh_op *op, int status, const struct redisReply *reply,
                        struct lh_err *err)
{
    struct lh_taking taking = {.n = 0};
    uint64_t now_ms;

    if (status == 0)
        status = lh_decode_take(reply, op->incarnation, &taking, &now_ms, err);
    if (status == 0)
        taking.jumped = hear_clock(op->queue, now_ms);
    op->fn.take(op->arg, status, err->text, status == 0 ? &taking : NULL);
    lh_taking_free(&taking);
}

/* ---- wait ---- */

/* Some were delivered: begin them, over the same connection. */
static int begin(const struct lh_op *op, const struct lh_delivered *delivered, size_t n)
{
    struct lh_queue *queue = op->queue;
    struct lh_op next = *op;
    struct lh_argv argv;

    if (lh_argv_init(&argv, 2 + 2 * n) != 0)
        return -LH_E_NOMEM;
    memcpy(next.incarnation, queue->incarnation, sizeof(next.incarnation));
    lh_argv_text(&argv, queue->hex);
    lh_argv_text(&argv, queue->worker);
    for (size_t i = 0; i < n; i++) {
        lh_argv_text(&argv, lh_priority_name(delivered[i].priority));
        lh_argv_text(&argv, delivered[i].entry);
    }
    return lh_op_start(&next, queue->blocking, &lh_script_begin, &argv);
}

static void waited(void *arg, const struct redisReply *reply)
{
    struct lh_op *op = arg;
    struct lh_queue *queue = op->queue;
    struct lh_delivered delivered[LH_N_PRIORITIES];
    struct lh_taking none = {.n = 0};
    struct lh_err err = {.text = ""};
    size_t n = 0;
    bool again = lh_redis_error_is(reply, "NOGROUP");
    int status = lh_queue_judge(reply, &err);

    if (status == 0)
        status = lh_decode_wait(reply, delivered, LH_N_PRIORITIES, &n, &err);
    if (status == 0 && n > 0) {
        status = begin(op, delivered, n);
        if (status == 0) {
            free(op);
            return;
        }
        lh_err_set(&err, -status, "the connection to Redis was lost");
    }
    queue->waits = false;
    op->fn.take(op->arg, status, err.text, status == 0 ? &none : NULL);
    free(op);
    if (again) {
        queue->hello = false;
        lh_queue_greet_again(queue, err.text);
    }
}

int lh_queue_wait(struct lh_queue *queue, uint64_t block_ms, lh_queue_take_fn fn, void *arg)
{
    struct lh_op *op;
    struct lh_argv argv;
    int ret = -LH_E_NETWORK;

    if (block_ms == 0 || queue->blocking == NULL)
        return -LH_E_INVAL;
    if (queue->waits)
        return -LH_E_BUSY;
    if (!lh_queue_up(queue))
        return -LH_E_NETWORK;
    op = calloc(1, sizeof(*op));
    if (op == NULL || lh_argv_init(&argv, WAIT_ARGS) != 0) {
        free(op);
        return -LH_E_NOMEM;
    }
    *op = (struct lh_op){.queue = queue, .kind = LH_OP_WAIT, .fn.take = fn, .arg = arg};
    lh_argv_text(&argv, "XREADGROUP");
    lh_argv_text(&argv, "GROUP");
    lh_argv_text(&argv, "workers");
    lh_argv_text(&argv, queue->worker);
    lh_argv_text(&argv, "COUNT");
    lh_argv_text(&argv, "1");
    lh_argv_text(&argv, "BLOCK");
    lh_argv_number(&argv, block_ms);
    lh_argv_text(&argv, "STREAMS");
    for (int i = 0; i < LH_N_PRIORITIES; i++)
        lh_argv_text(&argv, queue->streams[i]);
    for (int i = 0; i < LH_N_PRIORITIES; i++)
        lh_argv_text(&argv, ">"); /* what nobody has been given yet */
    ret = lh_redis_command(queue->blocking, argv.v, argv.n, block_ms, waited, op);
    lh_argv_free(&argv);
    if (ret != 0) {
        free(op);
        return ret;
    }
    queue->waits = true;
    return 0;
}

static void on_unblocked(void *arg, const struct redisReply *reply)
{
}

void lh_queue_wait_no_longer(struct lh_queue *queue)
{
    struct lh_argv argv;
    char id[24];

    if (!queue->waits || queue->blocking_id == 0 || lh_argv_init(&argv, 3) != 0)
        return;
    snprintf(id, sizeof(id), "%lld", queue->blocking_id);
    lh_argv_text(&argv, "CLIENT");
    lh_argv_text(&argv, "UNBLOCK");
    lh_argv_text(&argv, id);
    (void)lh_redis_command(queue->redis, argv.v, argv.n, 0, on_unblocked, queue);
    lh_argv_free(&argv);
}

/* ---- report, finish, leave ---- */

static void add_claim(struct lh_argv *argv, const struct lh_claim *claim)
{
    lh_argv_text(argv, claim->id);
    lh_argv_hex(argv, claim->incarnation);
    lh_argv_number(argv, claim->number);
}

/* A text, cut to `max` bytes, but not inside a character. */
static void add_cut(struct lh_argv *argv, const char *text, size_t max)
{
    size_t len = text != NULL ? strlen(text) : 0;

    if (len > max) {
        len = max;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    lh_argv_bytes(argv, text != NULL ? text : "", len);
}

#ifdef LH_MUTATIONS
/* The script with its question left out: whoever reports is refreshed. */
static const struct lh_script *report_script(void)
{
    static const char question[] = "local asks = true";
    static struct lh_script blind;
    char *text;
    char *at;

    if (!lh_mutant("refresh-without-asking"))
        return &lh_script_report;
    if (blind.text != NULL)
        return &blind;
    text = strdup(lh_script_report.text);
    LH_REQUIRE(text != NULL);
    at = strstr(text, question);
    LH_REQUIRE(at != NULL);
    memcpy(at, "local asks = nil ", sizeof(question) - 1);
    blind = lh_script_report;
    blind.sha1 = "0000000000000000000000000000000000000000"; /* nobody's: always sent in full */
    blind.text = text;
    return &blind;
}
#else
static const struct lh_script *report_script(void)
{
    return &lh_script_report;
}
#endif

static bool too_long(const char *text, size_t max)
{
    return text != NULL && strlen(text) > max;
}

int lh_queue_report(struct lh_queue *queue, const struct lh_health *health,
                    const struct lh_report *reports, size_t n, lh_queue_answers_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_ANSWERS, .fn.answers = fn, .arg = arg, .n = n};
    char text[LH_HEALTH_TEXT];
    struct lh_argv argv;

    if (n > LH_QUEUE_BATCH_MAX || queue->worker[0] == '\0')
        return -LH_E_INVAL;
    for (size_t i = 0; i < n; i++) {
        if (too_long(reports[i].map, LH_MAP_TEXT_MAX) ||
            too_long(reports[i].inflight, LH_MAP_INFLIGHT_MAX))
            return -LH_E_INVAL;
    }
    if (lh_argv_init(&argv, 2 + REPORT_ARGS * n) != 0)
        return -LH_E_NOMEM;
    lh_argv_text(&argv, queue->worker);
    lh_argv_bytes(&argv, text, lh_health_write(text, health, queue->claim_ms));
    for (size_t i = 0; i < n; i++) {
        const struct lh_report *r = &reports[i];

        add_claim(&argv, &r->claim);
        lh_argv_text(&argv, r->record && r->map != NULL ? "1" : "0");
        lh_argv_number(&argv, r->bytes);
        lh_argv_number(&argv, r->total);
        lh_argv_number(&argv, r->sent);
        lh_argv_number(&argv, r->rate_bps);
        lh_argv_number(&argv, r->streams);
        lh_argv_text(&argv, r->inflight);
        lh_argv_text(&argv, r->map);
    }
    return lh_op_start(&op, queue->redis, report_script(), &argv);
}

int lh_queue_finish(struct lh_queue *queue, const struct lh_ending *endings, size_t n,
                    lh_queue_answers_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_ANSWERS, .fn.answers = fn, .arg = arg, .n = n};
    struct lh_argv argv;

    if (n == 0 || n > LH_QUEUE_BATCH_MAX || queue->worker[0] == '\0')
        return -LH_E_INVAL;
    for (size_t i = 0; i < n; i++) {
        if (too_long(endings[i].map, LH_MAP_TEXT_MAX))
            return -LH_E_INVAL;
    }
    if (lh_argv_init(&argv, 1 + FINISH_ARGS * n) != 0)
        return -LH_E_NOMEM;
    lh_argv_text(&argv, queue->worker);
    for (size_t i = 0; i < n; i++) {
        const struct lh_ending *e = &endings[i];

        add_claim(&argv, &e->claim);
        lh_argv_text(&argv, lh_task_outcome_name(e->outcome));
        lh_argv_number(&argv, e->due_ms);
        lh_argv_number(&argv, e->failures);
        lh_argv_text(&argv, e->error != 0 ? lh_status_name(e->error) : "");
        add_cut(&argv, e->text, LH_QUEUE_TEXT_MAX - 1);
        lh_argv_number(&argv, e->bytes);
        lh_argv_number(&argv, e->total);
        lh_argv_number(&argv, e->sent);
        lh_argv_number(&argv, e->active_ms);
        lh_argv_text(&argv, e->digest);
        lh_argv_text(&argv, e->map != NULL ? "1" : "0");
        lh_argv_text(&argv, e->map);
    }
    return lh_op_start(&op, queue->redis, &lh_script_finish, &argv);
}

static void answer_answers(const struct lh_op *op, int status, const struct redisReply *reply,
                           struct lh_err *err)
{
    enum lh_queue_answer answers[LH_QUEUE_BATCH_MAX];

    if (status == 0)
        status = lh_decode_answers(reply, answers, op->n, err);
    op->fn.answers(op->arg, status, err->text, answers, status == 0 ? op->n : 0);
}

int lh_queue_leave(struct lh_queue *queue, lh_queue_done_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_DONE, .fn.done = fn, .arg = arg};
    struct lh_argv argv;

    if (queue->worker[0] == '\0')
        return -LH_E_INVAL;
    if (lh_argv_init(&argv, 1) != 0)
        return -LH_E_NOMEM;
    lh_argv_text(&argv, queue->worker);
    return lh_op_start(&op, queue->redis, &lh_script_leave, &argv);
}

void lh_op_answer_worker(const struct lh_op *op, int status, const struct redisReply *reply,
                         struct lh_err *err)
{
    switch (op->kind) {
    case LH_OP_WAIT:
        op->queue->waits = false;
        answer_take(op, status, reply, err);
        break;
    case LH_OP_TAKE:
        answer_take(op, status, reply, err);
        break;
    case LH_OP_ANSWERS:
        answer_answers(op, status, reply, err);
        break;
    default:
        op->fn.done(op->arg, status, err->text);
        break;
    }
}
