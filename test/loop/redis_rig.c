#include "redis_rig.h"

#include "test/lib/tap.h"

#include <stdio.h>
#include <string.h>

#define HANG_MS 120000
#define MAX_WORDS 16

static unsigned n_order;

static void on_hang(uv_timer_t *timer)
{
    struct client *c = timer->data;

    bail("it hangs; last down: %s; log: %s", c->why, c->log);
}

static void on_closed(void *arg)
{
    struct client *c = arg;

    c->closed = true;
}

static void close_now(struct client *c)
{
    lh_redis_close(c->redis, on_closed, c);
    ok(!c->closed, "closed is not called from inside the call");
    c->redis = NULL;
}

static void on_up(void *arg)
{
    struct client *c = arg;

    c->n_up++;
    if (c->close_on_up)
        close_now(c);
}

static void on_down(void *arg, int status, const char *why)
{
    struct client *c = arg;

    c->n_down++;
    c->status = status;
    snprintf(c->why, sizeof(c->why), "%s", why);
    if (c->close_on_down)
        close_now(c);
}

static void on_log(void *arg, enum lh_log_level level, const char *line)
{
    struct client *c = arg;
    size_t len = strlen(c->log);

    snprintf(c->log + len, sizeof(c->log) - len, "%d %s\n", (int)level, line);
}

void client_init(struct client *c, const char *url)
{
    struct lh_err err;

    memset(c, 0, sizeof(*c));
    if (lh_redis_url_parse(&c->url, url, &err) != 0)
        bail("%s: %s", url, err.text);
    c->opts = (struct lh_redis_options){
        .url = &c->url, .log = {on_log, c, LH_LOG_DEBUG}, .up = on_up, .down = on_down, .arg = c};
    uv_loop_init(&c->loop);
    uv_timer_init(&c->loop, &c->hang);
    c->hang.data = c;
    uv_timer_start(&c->hang, on_hang, HANG_MS, 0);
    uv_unref((uv_handle_t *)&c->hang);
}

void client_start(struct client *c)
{
    if (lh_redis_start(&c->loop, &c->opts, &c->redis) != 0)
        bail("cannot start");
    ok(c->n_up == 0 && c->n_down == 0, "nothing is called from inside the start");
}

void client_turn(struct client *c)
{
    uv_run(&c->loop, UV_RUN_ONCE);
}

void client_wait(struct client *c, const bool *what)
{
    while (!*what)
        client_turn(c);
}

void client_wait_up(struct client *c, unsigned n)
{
    while (c->n_up < n)
        client_turn(c);
}

void client_wait_down(struct client *c, unsigned n)
{
    while (c->n_down < n)
        client_turn(c);
}

void client_close(struct client *c)
{
    unsigned n_up = c->n_up;
    unsigned n_down = c->n_down;

    close_now(c);
    client_finish(c);
    ok(c->n_up == n_up && c->n_down == n_down, "neither up nor down after the close");
}

void client_finish(struct client *c)
{
    client_wait(c, &c->closed);
    uv_close((uv_handle_t *)&c->hang, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    is_i64(uv_loop_close(&c->loop), 0, "nothing is left on the loop");
}

static void add_text(struct asked *a, const char *text, size_t len)
{
    size_t at = strlen(a->text);

    snprintf(a->text + at, sizeof(a->text) - at, "%s%.*s", at > 0 ? " " : "", (int)len, text);
}

void client_called(void *arg, const struct redisReply *reply)
{
    struct asked *a = arg;

    a->n_called++;
    a->order = ++n_order;
    a->null = reply == NULL;
    if (reply != NULL) {
        a->type = reply->type;
        a->integer = reply->integer;
        if (reply->type != REDIS_REPLY_ARRAY && reply->str != NULL)
            add_text(a, reply->str, reply->len);
        for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
            char number[32];

            snprintf(number, sizeof(number), "%lld", reply->element[i]->integer);
            if (reply->element[i]->type == REDIS_REPLY_STRING)
                add_text(a, reply->element[i]->str, reply->element[i]->len);
            else
                add_text(a, number, strlen(number));
        }
    }
    if (a->close && a->client->redis != NULL)
        close_now(a->client);
}

static size_t split(const char *words, struct lh_redis_arg argv[MAX_WORDS])
{
    size_t n = 0;

    while (*words != '\0' && n < MAX_WORDS) {
        size_t len = strcspn(words, " ");

        argv[n++] = (struct lh_redis_arg){words, len};
        words += len + (words[len] == ' ');
    }
    return n;
}

static int sent(struct client *c, struct asked *a, int ret)
{
    a->client = c;
    a->inside = a->n_called > 0;
    return ret;
}

int client_ask(struct client *c, struct asked *a, uint64_t wait_ms, const char *words)
{
    struct lh_redis_arg argv[MAX_WORDS];
    size_t n = split(words, argv);

    return sent(c, a, lh_redis_command(c->redis, argv, n, wait_ms, client_called, a));
}

int client_script(struct client *c, struct asked *a, const struct lh_script *script,
                  const char *key, const char *words)
{
    struct lh_redis_arg argv[MAX_WORDS];
    size_t n = split(words, argv);

    return sent(c, a, lh_redis_script(c->redis, script, argv, n, key, client_called, a));
}

void client_answered(struct asked *a)
{
    while (a->n_called == 0)
        client_turn(a->client);
    ok(a->n_called == 1 && !a->inside, "called once, and not from inside the call");
}

void client_back(struct client *c, struct asked *a, const char *words)
{
    do {
        while (!lh_redis_up(c->redis))
            client_turn(c);
        memset(a, 0, sizeof(*a));
        client_ask(c, a, 0, words);
        client_answered(a);
    } while (a->null);
}
