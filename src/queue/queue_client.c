/* The operations of a client: submit, control, and looking. */
#include "queue/queue_impl.h"

#include "scripts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 64

int lh_queue_submit(struct lh_queue *queue, enum lh_priority priority,
                    const struct lh_field *fields, size_t n, lh_queue_submit_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_SUBMIT, .fn.submit = fn, .arg = arg};
    struct lh_argv argv;

    if (n == 0 || n > MAX_FIELDS)
        return -LH_E_INVAL;
    if (lh_argv_init(&argv, 1 + 2 * n) != 0)
        return -LH_E_NOMEM;
    lh_argv_text(&argv, lh_priority_name(priority));
    for (size_t i = 0; i < n; i++) {
        lh_argv_bytes(&argv, fields[i].name, fields[i].name_len);
        lh_argv_bytes(&argv, fields[i].value, fields[i].value_len);
    }
    return lh_op_start(&op, queue->redis, &lh_script_submit, &argv);
}

int lh_queue_control(struct lh_queue *queue, enum lh_queue_verb verb, const char *id,
                     lh_queue_control_fn fn, void *arg)
{
    static const char *const verbs[] = {"pause", "resume", "cancel", "retry", "drop"};
    struct lh_op op = {.queue = queue, .kind = LH_OP_CONTROL, .fn.control = fn, .arg = arg};
    struct lh_argv argv;

    if ((unsigned)verb >= LH_N_QUEUE_VERBS || !lh_task_id_valid(id, strlen(id)))
        return -LH_E_INVAL;
    if (lh_argv_init(&argv, 2) != 0)
        return -LH_E_NOMEM;
    lh_argv_text(&argv, verbs[verb]);
    lh_argv_text(&argv, id);
    return lh_op_start(&op, queue->redis, &lh_script_control, &argv);
}

int lh_queue_get(struct lh_queue *queue, const char *id, lh_queue_get_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_GET, .fn.get = fn, .arg = arg};
    struct lh_argv argv;

    if (!lh_task_id_valid(id, strlen(id)))
        return -LH_E_INVAL;
    if (lh_argv_init(&argv, 1) != 0)
        return -LH_E_NOMEM;
    snprintf(op.id, sizeof(op.id), "%s", id);
    lh_argv_text(&argv, id);
    return lh_op_start(&op, queue->redis, &lh_script_get, &argv);
}

int lh_queue_list(struct lh_queue *queue, enum lh_task_state state, const char *after, size_t max,
                  lh_queue_list_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_LIST, .fn.list = fn, .arg = arg};
    struct lh_argv argv;

    if ((unsigned)state >= LH_TASK_CANCELLED || max == 0 || max > LH_QUEUE_LIST_MAX)
        return -LH_E_INVAL;
    if (lh_argv_init(&argv, 3) != 0)
        return -LH_E_NOMEM;
    lh_argv_text(&argv, lh_task_state_name(state));
    lh_argv_text(&argv, after);
    lh_argv_number(&argv, max);
    return lh_op_start(&op, queue->redis, &lh_script_list, &argv);
}

int lh_queue_overview(struct lh_queue *queue, lh_queue_overview_fn fn, void *arg)
{
    struct lh_op op = {.queue = queue, .kind = LH_OP_OVERVIEW, .fn.overview = fn, .arg = arg};
    struct lh_argv argv;

    if (lh_argv_init(&argv, 1) != 0)
        return -LH_E_NOMEM;
    return lh_op_start(&op, queue->redis, &lh_script_overview, &argv);
}

static void answer_submit(const struct lh_op *op, int status, const struct redisReply *reply,
                          struct lh_err *err)
{
    char id[LH_TASK_ID_SIZE] = "";

    if (status == 0)
        status = lh_decode_submit(reply, id, err);
    if (status == 0 && id[0] == '\0')
        status = lh_err_set(err, LH_E_EXISTS, "there is a task of that id that has not ended");
    op->fn.submit(op->arg, status, err->text, status == 0 ? id : "");
}

static void answer_get(const struct lh_op *op, int status, const struct redisReply *reply,
                       struct lh_err *err)
{
    struct lh_task_detail detail = {.n_fields = 0};
    bool found = false;

    if (status == 0)
        status = lh_decode_get(reply, op->id, &detail, &found, err);
    op->fn.get(op->arg, status, err->text, found ? &detail : NULL);
    lh_detail_free(&detail);
}

void lh_op_answer_client(const struct lh_op *op, int status, const struct redisReply *reply,
                         struct lh_err *err)
{
    enum lh_queue_effect effect = LH_EFFECT_UNKNOWN;
    enum lh_task_state state = LH_TASK_QUEUED;
    struct lh_task_list list = {.n = 0};
    struct lh_queue_overview overview = {.n_workers = 0};

    switch (op->kind) {
    case LH_OP_SUBMIT:
        answer_submit(op, status, reply, err);
        break;
    case LH_OP_CONTROL:
        if (status == 0)
            status = lh_decode_control(reply, &effect, &state, err);
        op->fn.control(op->arg, status, err->text, effect, state);
        break;
    case LH_OP_GET:
        answer_get(op, status, reply, err);
        break;
    case LH_OP_LIST:
        if (status == 0)
            status = lh_decode_list(reply, &list, err);
        op->fn.list(op->arg, status, err->text, status == 0 ? &list : NULL);
        free(list.tasks);
        break;
    default:
        if (status == 0)
            status = lh_decode_overview(reply, &overview, err);
        op->fn.overview(op->arg, status, err->text, status == 0 ? &overview : NULL);
        free(overview.workers);
        break;
    }
}
