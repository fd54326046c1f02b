/* See queue_run.h. */
#include "cli/queue_run.h"

#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LIMIT_MS 10000 /* until Redis has to be there */
#define TICK_MS 1000

static const char *hint_for(int status, bool was_up)
{
    switch (status < 0 ? -status : status) {
    case LH_E_NETWORK:
    case LH_E_CONNECT:
    case LH_E_TIMEOUT:
        return was_up ? "whether it was carried out is not known: `longhaul status` shows it"
                      : "is Redis running there, and is the way open?";
    case LH_E_RESOLVE:
        return "check the spelling of --redis, or give the address itself";
    case LH_E_BUSY:
        return "nothing was changed; the same command works when Redis takes writes again";
    case LH_E_REFUSED:
        return "check user, password and database of --redis, and that it is Redis 6.2 or newer";
    default:
        return NULL;
    }
}

void lh_queue_run_end(struct lh_queue_run *run, int code)
{
    if (run->ending)
        return;
    run->ending = true;
    run->code = code;
    uv_close((uv_handle_t *)&run->limit, NULL);
    uv_close((uv_handle_t *)&run->ticker, NULL);
    lh_stop_close(&run->stop);
    if (run->queue != NULL)
        lh_queue_close(run->queue, NULL, NULL);
    run->queue = NULL;
}

static void fail(struct lh_queue_run *run, int status, const char *sentence)
{
    const char *hint = hint_for(status, run->was_up);

    lh_term_line(run->term, "error: %s", sentence);
    if (hint != NULL)
        lh_term_line(run->term, "hint: %s", hint);
    lh_queue_run_end(run, (int)lh_status_exit(status));
}

void lh_queue_run_fail(struct lh_queue_run *run, int status, const char *text)
{
    char sentence[1024];

    if (run->ending)
        return;
    snprintf(sentence, sizeof(sentence), "queue %s at %s: %s", run->name, run->where,
             text[0] != '\0' ? text : lh_status_text(status));
    fail(run, status, sentence);
}

void lh_queue_run_wrote(struct lh_queue_run *run, int status)
{
    if (status == 0 || run->out_status != 0)
        return;
    run->out_status = status;
    run->out_errno = errno;
}

bool lh_queue_run_flush(struct lh_queue_run *run)
{
    int code =
        run->out_status == 0 ? lh_cmd_flush(run->term) : (int)lh_status_exit(run->out_status);

    if (run->out_status == -LH_E_INTERNAL)
        lh_term_line(run->term, "error: cannot write to standard output: %s",
                     strerror(run->out_errno));
    if (code != 0)
        lh_queue_run_end(run, code);
    return code == 0;
}

static void on_up(void *arg)
{
    struct lh_queue_run *run = arg;

    if (run->ending)
        return;
    if (run->away[0] != '\0' && !run->silent)
        lh_term_line(run->term, "connected to %s", run->where);
    run->away[0] = '\0';
    uv_timer_stop(&run->limit);
    if (!run->was_up) {
        run->was_up = true;
        run->ready(run);
    }
}

static void on_down(void *arg, int status, const char *why)
{
    struct lh_queue_run *run = arg;
    bool first = run->away[0] == '\0';

    if (run->ending || status == 0)
        return;
    snprintf(run->away, sizeof(run->away), "%s", why[0] != '\0' ? why : lh_status_text(status));
    run->away_status = status;
    /* A password that is wrong stays wrong. */
    if (status == LH_E_REFUSED && !run->was_up) {
        fail(run, status, run->away);
        return;
    }
    /* What a single operation loses it says itself. */
    if (first && !run->silent && (!run->was_up || run->tick != NULL))
        lh_term_line(run->term, "%s; trying again", run->away);
}

static void on_limit(uv_timer_t *timer)
{
    struct lh_queue_run *run = timer->data;
    char text[640];

    if (run->away[0] != '\0')
        snprintf(text, sizeof(text), "%s; given up after %d s", run->away, LIMIT_MS / 1000);
    else
        snprintf(text, sizeof(text), "no answer from Redis at %s within %d s", run->where,
                 LIMIT_MS / 1000);
    fail(run, run->away_status != 0 ? run->away_status : LH_E_TIMEOUT, text);
}

static void on_tick(uv_timer_t *timer)
{
    struct lh_queue_run *run = timer->data;

    if (run->was_up)
        run->tick(run);
}

static void on_stop(void *arg, int signum)
{
    struct lh_queue_run *run = arg;

    if (run->asked_to_stop != NULL)
        run->asked_to_stop(run);
    lh_queue_run_end(run, LH_EXIT_INTERRUPTED);
}

static int start(struct lh_queue_run *run, const struct lh_redis_url *url)
{
    struct lh_queue_options opts = {.url = url,
                                    .name = run->name,
                                    .log = lh_term_log,
                                    .log_arg = run->term,
                                    .log_level = LH_LOG_ERROR,
                                    .up = on_up,
                                    .down = on_down,
                                    .arg = run};
    int ret;

    if (lh_stop_init(&run->stop, &run->loop, on_stop, run) != 0)
        return lh_cmd_fail(run->term, -LH_E_INTERNAL, "cannot watch for signals");
    uv_timer_init(&run->loop, &run->limit);
    uv_timer_init(&run->loop, &run->ticker);
    run->limit.data = run->ticker.data = run;
    uv_timer_start(&run->limit, on_limit, LIMIT_MS, 0);
    if (run->tick != NULL)
        uv_timer_start(&run->ticker, on_tick, TICK_MS, TICK_MS);
    ret = lh_queue_start(&run->loop, &opts, &run->queue);
    if (ret != 0) {
        run->queue = NULL;
        lh_queue_run_end(run, lh_cmd_fail(run->term, ret,
                                          ret == -LH_E_INVAL
                                              ? "--queue: letters, digits, '.', '_' and '-' alone, "
                                                "64 at most"
                                              : ""));
    }
    return 0;
}

int lh_queue_run(struct lh_queue_run *run)
{
    struct lh_redis_url url;
    struct lh_err err;
    int ret = lh_redis_url_parse(&url, run->args->redis, &err);

    if (ret != 0)
        return lh_cmd_fail(run->term, ret, err.text);
    run->name = run->args->queue != NULL ? run->args->queue : LH_QUEUE_NAME;
    lh_redis_url_text(&url, run->where);
    if (uv_loop_init(&run->loop) != 0)
        return lh_cmd_fail(run->term, -LH_E_INTERNAL, "cannot set up an event loop");
    ret = start(run, &url);
    uv_run(&run->loop, UV_RUN_DEFAULT);
    LH_INVARIANT(uv_loop_close(&run->loop) == 0);
    return ret != 0 ? ret : run->code;
}
