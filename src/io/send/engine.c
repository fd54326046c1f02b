/* See engine.h. */
#include "io/send/engine.h"

#include "io/net/sock.h"
#include "proto/frame.h"
#include "util/text.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREP_THREADS 2        /* of one send; */
#define SHARED_PREP_THREADS 4 /* of many: one that waits for its disk must not hold up all */
#define KEEP_MS 30000
#define IDLE_MAX 64

void lh_engine_options_init(struct lh_engine_options *opts)
{
    memset(opts, 0, sizeof(*opts));
    opts->keep_ms = KEEP_MS;
    opts->max_idle = IDLE_MAX;
    opts->log_level = LH_LOG_WARN;
}

/* ---- the end ---- */

static void free_quietly(struct lh_mbox *mbox)
{
    free(LH_CONTAINER_OF(mbox, struct lh_engine, mbox));
}

static void on_mbox_closed(struct lh_mbox *mbox)
{
    struct lh_engine *e = LH_CONTAINER_OF(mbox, struct lh_engine, mbox);
    void (*closed)(void *arg) = e->closed;
    void *arg = e->closed_arg;

    free(e);
    if (closed != NULL)
        closed(arg);
}

static void on_loops_stopped(struct lh_loops *set)
{
    struct lh_engine *e = LH_CONTAINER_OF(set, struct lh_engine, loops);

    lh_worker_stop(&e->prep);
    lh_pool_free(&e->pool);
    lh_mbox_close(&e->mbox, on_mbox_closed);
}

static void on_park_closed(struct lh_park *park)
{
    lh_loops_stop(&LH_CONTAINER_OF(park, struct lh_engine, park)->loops, on_loops_stopped);
}

static void maybe_stop(struct lh_engine *e)
{
    if (e->closing && e->n_sends == 0)
        lh_park_close(&e->park, on_park_closed);
}

void lh_engine_close(struct lh_engine *e, void (*closed)(void *arg), void *arg)
{
    e->closing = true;
    e->closed = closed;
    e->closed_arg = arg;
    maybe_stop(e);
}

/* ---- sends ---- */

void lh_engine_join(struct lh_engine *e)
{
    e->n_sends++;
}

void lh_engine_leave(struct lh_engine *e)
{
    e->n_sends--;
    maybe_stop(e);
}

static void warn_refused(const char *name, const char *fallback, int sys_errno,
                         const struct lh_log *log)
{
    bool bbr = strcmp(name, "bbr") == 0;
    const char *cost = bbr ? ", slower where packets are lost" : "";
    char shown[64];

    lh_text_escape(shown, sizeof(shown), name, strlen(name));
    if (sys_errno == EPERM)
        lh_log(log, LH_LOG_WARN,
               "this host does not permit congestion control %s, so %s it is%s. Permit it: sysctl "
               "-w net.ipv4.tcp_allowed_congestion_control=\"$(sysctl -n "
               "net.ipv4.tcp_allowed_congestion_control) %s\"",
               shown, fallback, cost, shown);
    else if (sys_errno == ENOENT)
        lh_log(log, LH_LOG_WARN,
               "this kernel knows no congestion control %s, or its module is not loaded%s, so %s "
               "it is%s. What there is: sysctl net.ipv4.tcp_available_congestion_control",
               shown, bbr ? " (modprobe tcp_bbr)" : "", fallback, cost);
    else
        lh_log(log, LH_LOG_WARN, "no congestion control %s here (%s), so %s it is%s", shown,
               strerror(sys_errno), fallback, cost);
}

int lh_engine_congestion(struct lh_engine *e, const char *name, const struct lh_log *log)
{
    char fallback[16];

    if (strcmp(name, e->congestion) == 0)
        return e->congestion_errno;
    e->congestion_errno = lh_sock_congestion(name, fallback);
    snprintf(e->congestion, sizeof(e->congestion), "%s", name);
    if (e->congestion_errno != 0)
        warn_refused(name, fallback, e->congestion_errno, log);
    return e->congestion_errno;
}

/* ---- start ---- */

static int start_threads(struct lh_engine *e, uint32_t loops, unsigned prep)
{
    int r = lh_worker_start(&e->prep, prep, "lh-prep");

    if (r != 0)
        return r;
    r = lh_loops_start(&e->loops, loops, &e->mbox);
    if (r != 0)
        lh_worker_stop(&e->prep);
    return r;
}

static int start(uv_loop_t *loop, const struct lh_engine_options *opts, unsigned prep,
                 struct lh_engine **out)
{
    struct lh_engine *e = calloc(1, sizeof(*e));
    int r;

    if (e == NULL)
        return -LH_E_NOMEM;
    e->loop = loop;
    e->log = (struct lh_log){opts->log, opts->log_arg, opts->log_level};
    r = lh_mbox_init(&e->mbox, loop);
    if (r != 0) {
        free(e);
        return r;
    }
    r = start_threads(e, opts->loops, prep);
    if (r != 0) {
        lh_mbox_close(&e->mbox, free_quietly);
        return r;
    }
    /* One buffer for each thread that hashes. */
    lh_pool_init(&e->pool, prep * (size_t)LH_BLOCK_MAX);
    lh_park_init(&e->park, loop, &e->log, opts->max_idle > 0 ? opts->max_idle : IDLE_MAX,
                 opts->keep_ms > 0 ? opts->keep_ms : KEEP_MS);
    lh_sock_limits(&e->wmem_max, &e->tcp_wmem_max);
    *out = e;
    return 0;
}

int lh_engine_start(uv_loop_t *loop, const struct lh_engine_options *opts, struct lh_engine **out)
{
    int r;

    if (opts->loops > LH_MAX_LOOPS)
        return -LH_E_INVAL;
    r = start(loop, opts, SHARED_PREP_THREADS, out);
    if (r == 0)
        (*out)->keeps = true;
    return r;
}

int lh_engine_start_private(uv_loop_t *loop, uint32_t loops, const struct lh_log *log,
                            struct lh_engine **out)
{
    struct lh_engine_options opts = {
        .loops = loops, .log = log->fn, .log_arg = log->arg, .log_level = log->level};

    return start(loop, &opts, PREP_THREADS, out);
}
