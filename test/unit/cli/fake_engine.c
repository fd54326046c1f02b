/* See fake_engine.h. Everything runs on timers of the caller's loop. */
#include "fake_engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct lh_send {
    uv_timer_t timer;
    struct lh_send_callbacks cbs;
    struct lh_send_stats stats;
    long n_ticks;
    long n_sessions;
    int status;
    bool stuck;
};

struct lh_serve {
    uv_timer_t timer;
    struct lh_serve_callbacks cbs;
    bool stuck;
};

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? atol(text) : otherwise;
}

static int wanted_status(void)
{
    const char *name = getenv("FAKE_STATUS");

    for (int i = 1; name != NULL && i < LH_E_MAX; i++) {
        if (strcmp(lh_status_name(i), name) == 0)
            return -i;
    }
    return 0;
}

const char *lh_version(void)
{
    return "9.9.9-fake";
}

void lh_send_options_init(struct lh_send_options *opts)
{
    *opts = (struct lh_send_options){.zero_copy_min = UINT64_MAX, .stagger_ms = 50};
}

void lh_serve_options_init(struct lh_serve_options *opts)
{
    *opts = (struct lh_serve_options){.commit_ms = 1000};
}

static void send_closed(uv_handle_t *handle)
{
    struct lh_send *send = handle->data;

    send->cbs.done(send->cbs.arg, send->status,
                   send->status == 0 ? "" : "the fake engine was told to fail", &send->stats);
    free(send);
}

static void send_end(struct lh_send *send, int status)
{
    if (uv_is_closing((uv_handle_t *)&send->timer))
        return;
    send->status = status;
    if (status == 0) {
        send->stats.bytes_durable = FAKE_TOTAL;
        send->stats.bytes_sent = FAKE_TOTAL - send->stats.bytes_skipped;
        strcpy(send->stats.digest, FAKE_DIGEST);
    }
    uv_close((uv_handle_t *)&send->timer, send_closed);
}

static void send_tick(uv_timer_t *timer)
{
    struct lh_send *send = timer->data;

    if (send->n_sessions > 0) {
        send->n_sessions--;
        send->stats.streams = 8;
        strcpy(send->stats.transfer, "0123456789abcdef0123456789abcdef");
        send->cbs.start(send->cbs.arg, &send->stats);
    } else if (send->n_ticks > 0) {
        send->n_ticks--;
        send->stats.duration_s += 31.0;
        send->stats.rate_bps = 1000000000;
        send->stats.bytes_durable += (FAKE_TOTAL - send->stats.bytes_durable) / 2;
        send->cbs.progress(send->cbs.arg, &send->stats);
    } else {
        send_end(send, wanted_status());
    }
}

int lh_send_start(uv_loop_t *loop, const struct lh_send_options *opts,
                  const struct lh_send_callbacks *cbs, struct lh_send **out)
{
    struct lh_send *send;
    char line[512];

    snprintf(line, sizeof(line),
             "source=%s host=%s port=%u path=%.*s streams=%u loops=%u block=%u zero_copy=%d "
             "no_clobber=%d insecure=%d give_up=%" PRIu64 " progress=%" PRIu64,
             opts->source, opts->host, (unsigned)opts->port, (int)opts->path_len,
             (const char *)opts->path, (unsigned)opts->streams, (unsigned)opts->loops,
             (unsigned)opts->block_bytes, (int)opts->zero_copy, opts->no_clobber, opts->insecure,
             opts->give_up_ms, opts->progress_ms);
    if (opts->log_level >= LH_LOG_DEBUG)
        opts->log(opts->log_arg, LH_LOG_DEBUG, line);
    if (opts->log_level >= LH_LOG_WARN)
        opts->log(opts->log_arg, LH_LOG_WARN, "a warning\033[31m of the engine");
    if (wanted_status() == -LH_E_INVAL)
        return -LH_E_INVAL;
    send = calloc(1, sizeof(*send));
    if (send == NULL)
        return -LH_E_NOMEM;
    send->cbs = *cbs;
    send->n_ticks = number("FAKE_TICKS", 3);
    send->n_sessions = number("FAKE_SESSIONS", 1);
    send->stuck = number("FAKE_STUCK", 0) != 0;
    send->stats.bytes_total = FAKE_TOTAL;
    send->stats.bytes_skipped = (uint64_t)number("FAKE_SKIP", 0);
    send->stats.bytes_durable = send->stats.bytes_skipped;
    send->timer.data = send;
    uv_timer_init(loop, &send->timer);
    uv_timer_start(&send->timer, send_tick, 1, 20);
    *out = send;
    return 0;
}

void lh_send_cancel(struct lh_send *send)
{
    if (!send->stuck)
        send_end(send, -LH_E_CANCELLED);
}

/* Nobody works off a queue here: there is no engine for many sends. */
void lh_engine_options_init(struct lh_engine_options *opts)
{
    memset(opts, 0, sizeof(*opts));
}

int lh_engine_start(uv_loop_t *loop, const struct lh_engine_options *opts,
                    struct lh_engine **engine)
{
    return -LH_E_NOMEM;
}

void lh_engine_close(struct lh_engine *engine, void (*closed)(void *arg), void *arg)
{
}

void lh_send_confirm(struct lh_send *send, bool forget)
{
}

size_t lh_send_ranges(const struct lh_send *send, enum lh_ranges which, struct lh_range *out,
                      size_t max)
{
    return 0;
}

static void serve_closed(uv_handle_t *handle)
{
    struct lh_serve *serve = handle->data;

    serve->cbs.closed(serve->cbs.arg);
    free(serve);
}

static void serve_tick(uv_timer_t *timer)
{
    struct lh_serve *serve = timer->data;

    serve->cbs.received(serve->cbs.arg, "dir/na\\x0ame", 1536, FAKE_DIGEST);
}

int lh_serve_start(uv_loop_t *loop, const struct lh_serve_options *opts,
                   const struct lh_serve_callbacks *cbs, struct lh_serve **out, char *text,
                   size_t text_size)
{
    struct lh_serve *serve;

    if (wanted_status() != 0) {
        snprintf(text, text_size, "the fake engine cannot listen");
        return wanted_status();
    }
    serve = calloc(1, sizeof(*serve));
    if (serve == NULL)
        return -LH_E_NOMEM;
    serve->cbs = *cbs;
    serve->stuck = number("FAKE_STUCK", 0) != 0;
    serve->timer.data = serve;
    uv_timer_init(loop, &serve->timer);
    uv_timer_start(&serve->timer, serve_tick, 20, 0);
    /* A receiver stays also while nothing is to be done. */
    uv_timer_set_repeat(&serve->timer, 60000);
    *out = serve;
    return 0;
}

uint16_t lh_serve_port(const struct lh_serve *serve)
{
    return 45678;
}

void lh_serve_close(struct lh_serve *serve)
{
    if (!serve->stuck && !uv_is_closing((uv_handle_t *)&serve->timer))
        uv_close((uv_handle_t *)&serve->timer, serve_closed);
}

int lh_digest_file(const char *path, uint32_t block_bytes, char out[64], char *text,
                   size_t text_size)
{
    if (strcmp(path, "missing") == 0) {
        snprintf(text, text_size, "cannot open missing");
        return -LH_E_SOURCE;
    }
    snprintf(out, 64, "%s", FAKE_DIGEST);
    return 0;
}

int lh_partials_each(const char *root, int (*each)(void *arg, const struct lh_partial *partial),
                     void *arg, uint64_t *n_removed, char *text, size_t text_size)
{
    int64_t now = (int64_t)time(NULL);
    const struct lh_partial all[] = {
        {.path = "young", .bytes_total = 4096, .bytes_durable = 1024, .touched_s = now - 60},
        {.path = "old\xff", .bytes_total = 1 << 20, .touched_s = now - 10 * 86400},
        {.path = "held", .bytes_total = 4096, .touched_s = now - 10 * 86400, .held = true},
        {.path = "done", .bytes_total = 4096, .touched_s = now - 10 * 86400, .done = true},
        {.path = "broken", .touched_s = now - 10 * 86400, .damaged = true},
    };

    if (strcmp(root, "missing") == 0) {
        snprintf(text, text_size, "cannot open missing");
        return -LH_E_DEST;
    }
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (each(arg, &all[i]) != 0 && !all[i].held)
            ++*n_removed;
    }
    return 0;
}
