/* A queue: its connections, hello, and the way of every operation.
 *
 * Thread: the loop's. Owner: the caller until `closed`.
 * Happy path: both connections come up -> hello gives the incarnation -> up; an operation is a
 * script whose reply is decoded and handed to the callback. Failures: a lost connection ends what
 * is in flight with -LH_E_NETWORK, and after the next one hello is said again; an incarnation that
 * Redis does not know any more makes that happen at once. */
#include "queue/queue_impl.h"

#include "scripts.h"
#include "util/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define RETRY_MS 1000 /* a hello that was refused */

/* NOPERM inside a script has no code: what Redis says before 7.2, and since. */
#define LACKS "The user executing the script can't"
#define LACKS_LATER "ACL failure in script"
#define LACKS_A_RIGHT "the user of Redis lacks a right; docs/queue.md lists what is needed"

uint64_t lh_queue_clock_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- arguments ---- */

int lh_argv_init(struct lh_argv *a, size_t max)
{
    a->v = malloc(max * sizeof(*a->v));
    a->slots = malloc(max * sizeof(*a->slots));
    a->n = 0;
    a->max = max;
    if (a->v != NULL && a->slots != NULL)
        return 0;
    lh_argv_free(a);
    return -LH_E_NOMEM;
}

void lh_argv_free(struct lh_argv *a)
{
    free(a->v);
    free(a->slots);
    a->v = NULL;
    a->slots = NULL;
}

void lh_argv_bytes(struct lh_argv *a, const void *data, size_t len)
{
    LH_REQUIRE(a->n < a->max);
    a->v[a->n++] = (struct lh_redis_arg){data, len};
}

void lh_argv_text(struct lh_argv *a, const char *text)
{
    lh_argv_bytes(a, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

void lh_argv_number(struct lh_argv *a, uint64_t number)
{
    LH_REQUIRE(a->n < a->max);
    snprintf(a->slots[a->n], sizeof(a->slots[0]), "%" PRIu64, number);
    lh_argv_text(a, a->slots[a->n]);
}

void lh_argv_hex(struct lh_argv *a, const uint8_t bytes[16])
{
    LH_REQUIRE(a->n < a->max);
    lh_text_hex(a->slots[a->n], bytes, 16);
    lh_argv_text(a, a->slots[a->n]);
}

/* ---- replies ---- */

/* Without " script: DIGEST, on @user_script:LINE.", which says nothing to anybody. */
static size_t words_len(const struct redisReply *error)
{
    static const char tail[] = " script: ";
    const char *at = memmem(error->str, error->len, tail, sizeof(tail) - 1);

    return at != NULL ? (size_t)(at - error->str) : error->len;
}

int lh_queue_judge(const struct redisReply *reply, struct lh_err *err)
{
    static const struct {
        const char *code;
        int status;
        const char *words;
    } known[] = {
        {"LHINCARNATION", LH_E_BUSY,
         "Redis has forgotten the queue or restarted; saying hello again"},
        {"NOGROUP", LH_E_BUSY, "the queue's streams were removed from Redis; saying hello again"},
        {"LHVERSION", LH_E_REFUSED, "the queue was made by another version of longhaul"},
        {"LHINVAL", LH_E_INVAL, "the queue does not take the task"},
        {"OOM", LH_E_BUSY, "Redis is full (maxmemory): nothing was changed"},
        {"MISCONF", LH_E_BUSY, "Redis cannot write its disk and takes no changes"},
        {"NOREPLICAS", LH_E_BUSY, "Redis has too few replicas and takes no changes"},
        {"BUSY", LH_E_BUSY, "Redis is busy with somebody's script"},
        {"UNBLOCKED", LH_E_BUSY, "Redis has ended the wait"},
        {"NOPERM", LH_E_REFUSED, LACKS_A_RIGHT},
        {"NOAUTH", LH_E_REFUSED, "Redis wants a password"},
        {"WRONGTYPE", LH_E_PROTOCOL, "a key of the queue is not what it should be"},
        {"ERR unknown command", LH_E_REFUSED, "this Redis lacks a command: 6.2 or newer is needed"},
    };
    char shown[256];

    if (reply == NULL)
        return lh_err_set(err, LH_E_NETWORK, "the connection to Redis was lost");
    if (reply->type != REDIS_REPLY_ERROR)
        return 0;
    lh_text_escape(shown, sizeof(shown), reply->str, words_len(reply));
    if (memmem(reply->str, reply->len, LACKS, sizeof(LACKS) - 1) != NULL ||
        memmem(reply->str, reply->len, LACKS_LATER, sizeof(LACKS_LATER) - 1) != NULL)
        return lh_err_set(err, LH_E_REFUSED, "%s (%s)", LACKS_A_RIGHT, shown);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (lh_redis_error_is(reply, known[i].code))
            return lh_err_set(err, known[i].status, "%s (%s)", known[i].words, shown);
    }
    return lh_err_set(err, LH_E_PROTOCOL, "Redis answered with an error: %s", shown);
}

static void op_called(void *arg, const struct redisReply *reply)
{
    struct lh_op *op = arg;
    struct lh_queue *queue = op->queue;
    struct lh_err err = {.text = ""};
    int status = lh_queue_judge(reply, &err);
    char why[sizeof(err.text)];
    bool again = lh_redis_error_is(reply, "LHINCARNATION") || lh_redis_error_is(reply, "NOGROUP");

    memcpy(why, err.text, sizeof(why));
    if (again)
        queue->hello = false;
    if (op->kind <= LH_OP_DONE)
        lh_op_answer_worker(op, status, reply, &err);
    else
        lh_op_answer_client(op, status, reply, &err);
    free(op);
    if (again)
        lh_queue_greet_again(queue, why);
}

int lh_op_start(const struct lh_op *op, struct lh_redis *redis, const struct lh_script *script,
                struct lh_argv *argv)
{
    struct lh_op *copy = malloc(sizeof(*copy));
    int ret = -LH_E_NOMEM;

    if (copy != NULL) {
        *copy = *op;
        ret = -LH_E_NETWORK;
        if (op->queue->hello && !op->queue->closing)
            ret = lh_redis_script(redis, script, argv->v, argv->n, op->queue->key, op_called, copy);
    }
    lh_argv_free(argv);
    if (ret != 0)
        free(copy);
    return ret;
}

/* ---- hello ---- */

bool lh_queue_up(const struct lh_queue *queue)
{
    return queue->hello && !queue->closing &&
           (queue->blocking == NULL || lh_redis_up(queue->blocking));
}

static void tell_down(struct lh_queue *queue, int status, const char *why)
{
    queue->told_up = false;
    if (queue->down != NULL && !queue->closing)
        queue->down(queue->arg, status, why);
}

static void tell_up(struct lh_queue *queue)
{
    if (!lh_queue_up(queue) || queue->told_up)
        return;
    queue->told_up = true;
    if (queue->up != NULL)
        queue->up(queue->arg);
}

static void greet(struct lh_queue *queue);

static void retry_fired(uv_timer_t *timer)
{
    greet(timer->data);
}

static void greeted(void *arg, const struct redisReply *reply)
{
    struct lh_queue *queue = arg;
    struct lh_err err;
    int status = lh_queue_judge(reply, &err);
    uint64_t now_ms;

    if (reply == NULL || queue->closing)
        return; /* the connection itself tells */
    if (status == 0)
        status = lh_decode_hello(reply, queue->hex, &now_ms, &err);
    if (status != 0) {
        uv_timer_start(&queue->retry, retry_fired, RETRY_MS, 0);
        tell_down(queue, -status, err.text);
        return;
    }
    for (size_t i = 0; i < 16 && queue->hex[0] != '\0'; i++)
        sscanf(queue->hex + 2 * i, "%2hhx", &queue->incarnation[i]);
    queue->redis_ms = now_ms;
    queue->heard_ms = lh_queue_clock_ms();
    queue->hello = true;
    tell_up(queue);
}

static void greet(struct lh_queue *queue)
{
    struct lh_argv argv;
    uint8_t fresh[16];
    int ret = -LH_E_NOMEM;

    queue->hello = false;
    if (queue->closing || !lh_redis_up(queue->redis))
        return; /* it is said when the connection comes up */
    if (getrandom(fresh, sizeof(fresh), 0) == (ssize_t)sizeof(fresh) &&
        lh_argv_init(&argv, 2) == 0) {
        lh_argv_hex(&argv, fresh);
        lh_argv_text(&argv, queue->worker);
        ret = lh_redis_script(queue->redis, &lh_script_hello, argv.v, argv.n, queue->key, greeted,
                              queue);
        lh_argv_free(&argv);
    }
    if (ret != 0)
        uv_timer_start(&queue->retry, retry_fired, RETRY_MS, 0);
}

void lh_queue_greet_again(struct lh_queue *queue, const char *why)
{
    if (queue->closing)
        return;
    tell_down(queue, LH_E_BUSY, why);
    greet(queue);
}

/* ---- connections ---- */

static void commands_up(void *arg)
{
    greet(arg);
}

static void commands_down(void *arg, int status, const char *why)
{
    struct lh_queue *queue = arg;

    queue->hello = false;
    uv_timer_stop(&queue->retry);
    tell_down(queue, status, why);
}

/* Its number, by which a wait can be ended. */
static void on_client_id(void *arg, const struct redisReply *reply)
{
    struct lh_queue *queue = arg;

    queue->blocking_id = reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
}

static void blocking_up(void *arg)
{
    struct lh_queue *queue = arg;
    const struct lh_redis_arg id[] = {{"CLIENT", 6}, {"ID", 2}};

    queue->blocking_id = 0;
    (void)lh_redis_command(queue->blocking, id, 2, 0, on_client_id, queue);
    tell_up(queue);
}

static void blocking_down(void *arg, int status, const char *why)
{
    tell_down(arg, status, why);
}

/* "longhaul:{NAME}:tasks:high" and so on. */
static int set_names(struct lh_queue *queue, const struct lh_queue_options *opts)
{
    const char *name = opts->name != NULL ? opts->name : LH_QUEUE_NAME;

    if (!lh_task_id_valid(name, strlen(name)))
        return -LH_E_INVAL;
    if (opts->worker != NULL &&
        (!lh_task_id_valid(opts->worker, strlen(opts->worker)) || opts->claim_ms == 0))
        return -LH_E_INVAL;
    snprintf(queue->key, sizeof(queue->key), "longhaul:{%s}:meta", name);
    for (int i = 0; i < LH_N_PRIORITIES; i++)
        snprintf(queue->streams[i], sizeof(queue->streams[i]), "longhaul:{%s}:tasks:%s", name,
                 lh_priority_name((enum lh_priority)i));
    if (opts->worker != NULL)
        snprintf(queue->worker, sizeof(queue->worker), "%s", opts->worker);
    return 0;
}

int lh_queue_start(uv_loop_t *loop, const struct lh_queue_options *opts, struct lh_queue **out)
{
    struct lh_redis_options redis = {.url = opts->url,
                                     .log = {opts->log, opts->log_arg, opts->log_level},
                                     .up = commands_up,
                                     .down = commands_down};
    struct lh_queue *queue = calloc(1, sizeof(*queue));
    int ret;

    if (queue == NULL)
        return -LH_E_NOMEM;
    queue->loop = loop;
    queue->log = redis.log;
    queue->up = opts->up;
    queue->down = opts->down;
    queue->arg = opts->arg;
    queue->claim_ms = opts->claim_ms;
    redis.arg = queue;
    ret = set_names(queue, opts);
    if (ret == 0)
        ret = lh_redis_start(loop, &redis, &queue->redis);
    if (ret == 0 && opts->worker != NULL) {
        redis.up = blocking_up;
        redis.down = blocking_down;
        ret = lh_redis_start(loop, &redis, &queue->blocking);
        if (ret != 0)
            lh_redis_close(queue->redis, NULL, NULL);
    }
    if (ret != 0) {
        free(queue);
        return ret;
    }
    LH_REQUIRE(uv_timer_init(loop, &queue->retry) == 0);
    queue->retry.data = queue;
    *out = queue;
    return 0;
}

static void one_closed(struct lh_queue *queue)
{
    if (--queue->n_open > 0)
        return;
    if (queue->closed != NULL)
        queue->closed(queue->closed_arg);
    free(queue);
}

static void redis_closed(void *arg)
{
    one_closed(arg);
}

static void timer_closed(uv_handle_t *handle)
{
    one_closed(handle->data);
}

void lh_queue_close(struct lh_queue *queue, void (*closed)(void *arg), void *arg)
{
    queue->closing = true;
    queue->closed = closed;
    queue->closed_arg = arg;
    queue->n_open = queue->blocking != NULL ? 3 : 2;
    uv_close((uv_handle_t *)&queue->retry, timer_closed);
    lh_redis_close(queue->redis, redis_closed, queue);
    if (queue->blocking != NULL)
        lh_redis_close(queue->blocking, redis_closed, queue);
}
