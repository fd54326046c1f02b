/* Sending a file: options, start, ticks, cancel, the end.
 *
 * Thread: main loop (the caller's).
 *
 * Happy path: start -> the source is opened (send_source.c) -> the session does the rest
 * (session.c, offer.c) -> end -> every part is closed, the session parked for others -> `done`
 * fires, memory goes.
 * Failures: whatever cannot be mended ends it, once, with a status and a sentence; cancel ends it
 * with what is durable kept at the receiver. */
#include "io/send/sender.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 250
#define PROGRESS_MS 500
#define STAGGER_MS 50
#define ZERO_COPY_MIN (256ull * 1024)

_Static_assert(LH_MAX_STREAMS <= LH_SCHED_MAX_STREAMS && LH_MAX_STREAMS <= LH_LAGGARD_STREAMS,
               "there is room for every stream");

void lh_send_options_init(struct lh_send_options *opts)
{
    memset(opts, 0, sizeof(*opts));
    opts->port = LH_DEFAULT_PORT;
    opts->block_bytes = LH_BLOCK_DEFAULT;
    opts->zero_copy_min = ZERO_COPY_MIN;
    opts->congestion = "bbr";
    opts->stagger_ms = STAGGER_MS;
    opts->progress_ms = PROGRESS_MS;
    opts->log_level = LH_LOG_WARN;
}

/* ---- time ---- */

static void on_tick(uv_timer_t *timer)
{
    struct lh_send *s = timer->data;
    uint64_t now_ms = lh_now_ms();

    if (s->phase == LH_PHASE_ENDING)
        return;
    lh_session_tick(s, now_ms);
    lh_laggard_tick(s);
    lh_limits_note(s);
    lh_tune_tick(s, now_ms);
    if (s->phase == LH_PHASE_ENDING || now_ms < s->progress_due_ms)
        return;
    s->progress_due_ms = now_ms + s->opts.progress_ms;
    if (s->started)
        lh_send_report_progress(s, now_ms);
}

/* ---- the end ---- */

static void free_send(struct lh_send *s)
{
    free(s->source_path);
    free(s->dest);
    free(s->congestion);
    free((char *)s->opts.host);
    free(s->small);
    lh_runs_free(&s->extents);
    lh_zeros_free(&s->zeros);
    lh_runs_free(&s->known);
    free(s);
}

static void tell_done(void *arg)
{
    struct lh_send *s = arg;

    s->stats.rate_bps = lh_send_mean_rate(s);
    s->cbs.done(s->cbs.arg, -s->status, s->text, &s->stats);
    free_send(s);
}

/* Nothing of it is under way any more. */
static void finish(struct lh_send *s)
{
    struct lh_engine *engine = s->engine;
    bool own = s->opts.engine == NULL;

    lh_mover_reset(s);
    if (s->source_open)
        lh_source_close(&s->source);
    if (s->session != NULL)
        lh_park_put(&engine->park, s->session);
    if (own)
        lh_engine_close(engine, tell_done, s);
    else
        tell_done(s);
    lh_engine_leave(engine);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct lh_send *s = handle->data;

    s->n_timers--;
    lh_send_maybe_end(s);
}

void lh_send_maybe_end(struct lh_send *s)
{
    if (s->phase != LH_PHASE_ENDING || s->n_alive > 0 || s->dialing || s->source_busy ||
        s->compare.hashing || (s->session != NULL && !s->keep_session))
        return;
    if (!uv_is_closing((uv_handle_t *)&s->tick)) {
        uv_close((uv_handle_t *)&s->tick, on_timer_closed);
        uv_close((uv_handle_t *)&s->retry, on_timer_closed);
    }
    if (s->n_timers == 0)
        finish(s);
}

static void on_end_timer(uv_timer_t *timer)
{
    struct lh_send *s = timer->data;

    if (s->session != NULL && !s->keep_session)
        lh_ctl_close(&s->session->ctl);
    lh_send_maybe_end(s);
}

void lh_send_end(struct lh_send *s, int status, const char *fmt, ...)
{
    bool leaving, linger;
    va_list ap;

    if (s->phase == LH_PHASE_ENDING)
        return;
    lh_send_refresh(s);
    lh_limits_report(s);
    s->status = status;
    va_start(ap, fmt);
    vsnprintf(s->text, sizeof(s->text), fmt, ap);
    va_end(ap);
    s->phase = LH_PHASE_ENDING;
    atomic_store(&s->stop_reading, true);
    if (s->dialing)
        lh_dial_cancel(&s->dial);
    leaving = s->session != NULL && !s->keep_session;
    if (leaving)
        lh_session_bye(s->session);
    lh_mover_stop_streams(s);
    /* That a tree's last words arrive is of no use to anybody: they are not waited for. */
    linger = leaving && !(s->lane != NULL && status == 0);
    /* A caller may still be on its way out of a callback of ours: the rest is for later turns. */
    uv_timer_start(&s->retry, on_end_timer, linger ? LH_GOODBYE_MS : 0, 0);
}

void lh_send_cancel(struct lh_send *s)
{
    if (s->delivered) { /* too late, it is there */
        lh_send_confirm(s, false);
        return;
    }
    lh_send_end(s, LH_E_CANCELLED, "interrupted; the same command resumes");
}

/* ---- start ---- */

/* A path that ends in '/' keeps the source's name. */
static int copy_dest(struct lh_send *s, const struct lh_send_options *opts)
{
    const char *slash = strrchr(opts->source, '/');
    const char *name = slash != NULL ? slash + 1 : opts->source;
    const uint8_t *path = opts->path;
    bool keep = s->lane == NULL && (opts->path_len == 0 || path[opts->path_len - 1] == '/');
    size_t extra = keep ? strlen(name) : 0;

    s->dest_len = opts->path_len + extra;
    s->dest = malloc(s->dest_len + 1);
    if (s->dest == NULL)
        return -LH_E_NOMEM;
    if (opts->path_len > 0)
        memcpy(s->dest, path, opts->path_len);
    memcpy(s->dest + opts->path_len, name, extra);
    return s->dest_len == 0 || s->dest_len > LH_DESTINATION_MAX ? -LH_E_INVAL : 0;
}

static void fill_defaults(struct lh_send_options *o)
{
    struct lh_send_options d;

    lh_send_options_init(&d);
    if (o->port == 0)
        o->port = d.port;
    if (o->block_bytes == 0)
        o->block_bytes = d.block_bytes;
    if (o->zero_copy_min == UINT64_MAX)
        o->zero_copy_min = d.zero_copy_min;
    if (o->stagger_ms == UINT64_MAX)
        o->stagger_ms = d.stagger_ms;
    if (o->progress_ms == 0)
        o->progress_ms = d.progress_ms;
}

static int copy_options(struct lh_send *s, const struct lh_send_options *opts)
{
    s->opts = *opts;
    fill_defaults(&s->opts);
    s->opts.source = NULL;
    s->opts.path = NULL;
    s->opts.host = strdup(opts->host);
    s->source_path = strdup(opts->source);
    s->congestion = strdup(opts->congestion != NULL ? opts->congestion : "bbr");
    s->opts.congestion = s->congestion;
    if (s->opts.host == NULL || s->source_path == NULL || s->congestion == NULL)
        return -LH_E_NOMEM;
    if (s->opts.streams > LH_MAX_STREAMS || s->opts.max_streams > LH_MAX_STREAMS ||
        strlen(opts->host) >= sizeof(s->dial.host) || s->opts.zero_copy > LH_ZERO_COPY_OFF ||
        s->opts.existing > LH_EXISTING_NEWER)
        return -LH_E_INVAL;
    if (s->opts.block_bytes < LH_BLOCK_MIN || s->opts.block_bytes > LH_BLOCK_MAX ||
        (s->opts.block_bytes & (s->opts.block_bytes - 1)) != 0)
        return -LH_E_INVAL;
    return copy_dest(s, opts);
}

/* Threads and sessions: what is given, or its own. */
static int join_engine(struct lh_send *s, uv_loop_t *loop)
{
    int r = 0;

    s->engine = s->opts.engine;
    if (s->engine == NULL)
        r = lh_engine_start_private(loop, s->opts.loops, &s->log, &s->engine);
    else if (s->engine->closing || s->engine->loop != loop)
        r = -LH_E_INVAL;
    if (r != 0)
        return r;
    lh_engine_join(s->engine);
    s->first_loop = s->engine->next_loop++;
    s->congestion_errno = lh_engine_congestion(s->engine, s->congestion, &s->log);
    return 0;
}

int lh_send_start(uv_loop_t *loop, const struct lh_send_options *opts,
                  const struct lh_send_callbacks *cbs, struct lh_send **out)
{
    return lh_send_begin(loop, opts, NULL, NULL, cbs, out);
}

const struct lh_identity *lh_send_identity(const struct lh_send *s)
{
    return &s->source.identity;
}

int lh_send_begin(uv_loop_t *loop, const struct lh_send_options *opts, struct lh_lane *lane,
                  const struct lh_identity *meant, const struct lh_send_callbacks *cbs,
                  struct lh_send **out)
{
    struct lh_send *s;
    int r;

    if (opts->source == NULL || opts->host == NULL || cbs->done == NULL)
        return -LH_E_INVAL;
    s = malloc(sizeof(*s));
    if (s == NULL)
        return -LH_E_NOMEM;
    memset(s, 0, offsetof(struct lh_send, sched));
    lh_zeros_init(&s->zeros);
    s->loop = loop;
    s->lane = lane;
    s->must_be[0] = meant != NULL ? meant->dev : 0;
    s->must_be[1] = meant != NULL ? meant->ino : 0;
    s->cbs = *cbs;
    s->log = (struct lh_log){opts->log, opts->log_arg, opts->log_level};
    r = copy_options(s, opts);
    if (r == 0)
        r = join_engine(s, loop);
    if (r != 0) {
        free_send(s);
        return r;
    }
    lh_runs_init(&s->extents, LH_EXTENTS_MAX);
    lh_runs_init(&s->known, LH_RUNS_MAX);
    lh_random_bytes(s->holder, sizeof(s->holder));
    lh_compare_reset(s);
    s->started_ms = s->contact_ms = lh_now_ms();
    s->progress_due_ms = s->started_ms + s->opts.progress_ms;
    uv_timer_init(loop, &s->tick);
    uv_timer_init(loop, &s->retry);
    s->tick.data = s->retry.data = s;
    s->n_timers = 2;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    lh_send_reopen(s);
    *out = s;
    return 0;
}

const char *lh_version(void)
{
    return LH_VERSION;
}
