#include "test/loop/desk.h"

#include "test/lib/tap.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANG_MS 120000

static void on_hang(uv_timer_t *timer)
{
    struct desk *d = timer->data;

    bail("%s hangs; last answer: %s; last down: %s", d->worker, d->text, d->why);
}

static void on_up(void *arg)
{
    struct desk *d = arg;

    d->n_up++;
}

static void on_down(void *arg, int status, const char *why)
{
    struct desk *d = arg;

    d->n_down++;
    d->down_status = status;
    snprintf(d->why, sizeof(d->why), "%s", why);
}

static void on_closed(void *arg)
{
    struct desk *d = arg;

    d->closed = true;
}

void desk_turn(struct desk *d)
{
    uv_run(&d->loop, UV_RUN_ONCE);
}

void desk_until_up(struct desk *d, unsigned n)
{
    while (d->n_up < n)
        desk_turn(d);
}

void desk_start(struct desk *d)
{
    struct lh_redis_url url;
    struct lh_err err;
    struct lh_queue_options opts = {.url = &url,
                                    .name = DESK_QUEUE,
                                    .worker = d->worker,
                                    .claim_ms = DESK_CLAIM_MS,
                                    .up = on_up,
                                    .down = on_down,
                                    .arg = d};

    if (lh_redis_url_parse(&url, d->server->url, &err) != 0)
        bail("%s", err.text);
    d->closed = false;
    if (lh_queue_start(&d->loop, &opts, &d->queue) != 0)
        bail("the queue does not start");
    desk_until_up(d, d->n_up + 1);
}

void desk_open(struct desk *d, const struct redis_server *server, const char *worker)
{
    memset(d, 0, sizeof(*d));
    d->server = server;
    d->worker = worker;
    uv_loop_init(&d->loop);
    uv_timer_init(&d->loop, &d->hang);
    d->hang.data = d;
    uv_timer_start(&d->hang, on_hang, HANG_MS, 0);
    desk_start(d);
}

void desk_close(struct desk *d)
{
    lh_queue_close(d->queue, on_closed, d);
    ok(!d->closed, "closed is not called from inside");
    uv_close((uv_handle_t *)&d->hang, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    ok(d->closed, "closed is called");
    is_i64(uv_loop_close(&d->loop), 0, "nothing is left on the loop");
}

/* ---- answers ---- */

static void answered(struct desk *d, int status, const char *text)
{
    if (d->called)
        bail("called twice");
    d->called = true;
    d->status = status;
    snprintf(d->text, sizeof(d->text), "%s", text);
    if ((status == 0) != (text[0] == '\0'))
        ok(false, "a sentence with an error and none without: %d '%s'", status, text);
}

static int await(struct desk *d, int ret)
{
    if (ret != 0) {
        d->status = ret;
        snprintf(d->text, sizeof(d->text), "refused at once");
        return ret;
    }
    if (d->called)
        bail("called from inside");
    while (!d->called)
        desk_turn(d);
    return d->status;
}

static void on_submit(void *arg, int status, const char *text, const char *id)
{
    struct desk *d = arg;

    answered(d, status, text);
    snprintf(d->id, sizeof(d->id), "%s", id);
}

int desk_submit(struct desk *d, enum lh_priority priority, const char *id)
{
    struct lh_field fields[] = {{"v", 1, "1", 1},
                                {"source", 6, id != NULL ? id : "anon", id ? strlen(id) : 4},
                                {"destination", 11, "lh://h/x", 8},
                                {"extra", 5, "a\0b", 3},
                                {"task", 4, id, id != NULL ? strlen(id) : 0}};

    d->called = false;
    return await(d, lh_queue_submit(d->queue, priority, fields, id != NULL ? 5 : 4, on_submit, d));
}

static void on_take(void *arg, int status, const char *text, struct lh_taking *reply)
{
    struct desk *d = arg;

    answered(d, status, text);
    d->n = 0;
    if (status != 0)
        return;
    d->soonest_ms = reply->soonest_ms;
    for (; d->n < reply->n; d->n++) {
        struct lh_taken *t = &reply->taken[d->n];

        d->taken[d->n] = *t;
        snprintf(d->source[d->n], sizeof(d->source[0]), "%s",
                 t->task != NULL ? t->task->source : "");
        if (d->n == 0 && t->task != NULL) { /* one is kept: what is left is freed by the queue */
            lh_task_free(t->task);
            free(t->task);
            t->task = NULL;
        }
        d->taken[d->n].task = NULL;
    }
}

int desk_take(struct desk *d, size_t n, bool reap)
{
    d->called = false;
    return await(d, lh_queue_take(d->queue, n, reap, on_take, d));
}

int desk_wait(struct desk *d, uint64_t block_ms)
{
    d->called = false;
    return await(d, lh_queue_wait(d->queue, block_ms, on_take, d));
}

void desk_take_one(struct desk *d, bool reap, struct lh_taken *out)
{
    do {
        if (desk_take(d, 1, reap) != 0)
            bail("take: %s", d->text);
    } while (d->n == 0);
    *out = d->taken[0];
}

static void on_control(void *arg, int status, const char *text, enum lh_queue_effect effect,
                       enum lh_task_state state)
{
    struct desk *d = arg;

    answered(d, status, text);
    d->effect = effect;
    d->state = state;
}

int desk_control(struct desk *d, enum lh_queue_verb verb, const char *id)
{
    d->called = false;
    return await(d, lh_queue_control(d->queue, verb, id, on_control, d));
}

static void on_get(void *arg, int status, const char *text, const struct lh_task_detail *reply)
{
    struct desk *d = arg;

    answered(d, status, text);
    d->found = reply != NULL;
    if (reply == NULL)
        return;
    d->info = reply->task;
    d->n_records = reply->n_records;
    d->n_fields = reply->n_fields;
    snprintf(d->error, sizeof(d->error), "%s", reply->task.error);
    snprintf(d->error_status, sizeof(d->error_status), "%s", reply->task.error_status);
    snprintf(d->workers, sizeof(d->workers), "%s", reply->task.workers);
    snprintf(d->worker_name, sizeof(d->worker_name), "%s", reply->task.worker);
    snprintf(d->map, sizeof(d->map), "%s", reply->task.map);
}

int desk_get(struct desk *d, const char *id)
{
    d->called = false;
    return await(d, lh_queue_get(d->queue, id, on_get, d));
}

int desk_state(struct desk *d, const char *id)
{
    if (desk_get(d, id) != 0)
        bail("get: %s", d->text);
    return d->found ? (int)d->info.state : -1;
}

static void on_list(void *arg, int status, const char *text, const struct lh_task_list *reply)
{
    struct desk *d = arg;

    answered(d, status, text);
    d->listed[0] = '\0';
    if (status != 0)
        return;
    for (size_t i = 0; i < reply->n; i++) {
        size_t len = strlen(d->listed);

        snprintf(d->listed + len, sizeof(d->listed) - len, "%s%s", len > 0 ? " " : "",
                 reply->tasks[i].id);
    }
    snprintf(d->next, sizeof(d->next), "%s", reply->more ? reply->next : "");
}

int desk_list(struct desk *d, enum lh_task_state state, const char *after, size_t max)
{
    d->called = false;
    return await(d, lh_queue_list(d->queue, state, after, max, on_list, d));
}

static void on_overview(void *arg, int status, const char *text,
                        const struct lh_queue_overview *reply)
{
    struct desk *d = arg;

    answered(d, status, text);
    if (status != 0)
        return;
    d->overview = *reply;
    for (size_t i = 0; i < reply->n_workers && i < 8; i++)
        d->workers_info[i] = reply->workers[i];
}

int desk_overview(struct desk *d)
{
    d->called = false;
    return await(d, lh_queue_overview(d->queue, on_overview, d));
}

static void on_done(void *arg, int status, const char *text)
{
    answered(arg, status, text);
}

int desk_leave(struct desk *d)
{
    d->called = false;
    return await(d, lh_queue_leave(d->queue, on_done, d));
}

static void on_answers(void *arg, int status, const char *text, const enum lh_queue_answer *answers,
                       size_t n)
{
    struct desk *d = arg;

    answered(d, status, text);
    if (status == 0)
        memcpy(d->answers, answers, n * sizeof(*answers));
}

enum lh_queue_answer desk_report(struct desk *d, const struct lh_claim *claim, const char *map)
{
    struct lh_report report = {.claim = *claim,
                               .bytes = map != NULL ? 10 : 0,
                               .total = 100,
                               .sent = 20,
                               .rate_bps = 8000,
                               .streams = 2,
                               .inflight = "50-60",
                               .map = map,
                               .record = map != NULL};
    struct lh_health health = {.host = "a host", .pid = 7, .version = "1", .jobs = 4, .active = 1};

    d->called = false;
    if (await(d, lh_queue_report(d->queue, &health, &report, 1, on_answers, d)) != 0)
        bail("report: %s", d->text);
    return d->answers[0];
}

enum lh_queue_answer desk_finish(struct desk *d, const struct lh_claim *claim,
                                 enum lh_task_outcome outcome, uint64_t due_ms)
{
    bool failed = outcome == LH_OUTCOME_RETRY || outcome == LH_OUTCOME_DEAD;
    struct lh_ending ending = {.claim = *claim,
                               .outcome = outcome,
                               .due_ms = due_ms,
                               .failures = failed ? 1 : 0,
                               .error = failed ? -LH_E_NETWORK : 0,
                               .text = failed ? "no way" : NULL,
                               .bytes = outcome == LH_OUTCOME_DONE ? 100 : 10,
                               .total = 100,
                               .sent = 120,
                               .active_ms = 1000,
                               .digest = outcome == LH_OUTCOME_DONE ? "xxh3" : NULL};

    d->called = false;
    if (await(d, lh_queue_finish(d->queue, &ending, 1, on_answers, d)) != 0)
        bail("finish: %s", d->text);
    return d->answers[0];
}

void desk_silence(struct desk *d, const char *id, uint64_t ms)
{
    char key[128];
    char stream[64];
    redisContext *c = redisConnectUnix(d->server->path);
    redisReply *have;
    redisReply *done;

    snprintf(key, sizeof(key), DESK_KEY "task:%s", id);
    have = redisCommand(c, "HMGET %s priority entry worker", key);
    snprintf(stream, sizeof(stream), DESK_KEY "tasks:%s", have->element[0]->str);
    done = redisCommand(c, "XCLAIM %s workers %s 0 %s IDLE %llu JUSTID", stream,
                        have->element[2]->str, have->element[1]->str, (unsigned long long)ms);
    if (done == NULL || done->type != REDIS_REPLY_ARRAY || done->elements != 1)
        bail("cannot make %s look idle", id);
    freeReplyObject(done);
    freeReplyObject(have);
    redisFree(c);
}
