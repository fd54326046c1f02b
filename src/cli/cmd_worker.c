/* longhaul worker: take tasks from a queue and move them until a signal.
 *
 * Happy path: start -> Redis is there -> a line for each end that is no success, a summary now and
 * then, with --json an event for everything -> signal -> tasks put back -> exit 0: stopping is how
 * a worker ends. Failures: a name that is none, an address that is none. Redis being away is no
 * failure: it is waited for. When the reader of --json goes away the worker stops. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "queue/worker.h"
#include "util/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define SUMMARY_MS 30000

struct hand {
    const struct lh_args *args;
    struct lh_term *term;
    struct lh_qworker *worker; /* NULL when closed */
    struct lh_stop stop;
    uv_timer_t summary;
    char name[LH_TASK_ID_SIZE];
    char where[LH_REDIS_URL_TEXT];
    char away[512];  /* why there is no Redis, as was said; "" while there is one */
    uint64_t n_done; /* since the last summary */
    uint64_t n_bad;
    uint64_t bytes;
    bool stdout_failed;
    int code;
};

static const char *const words[LH_N_QWORKER_WHATS] = {
    [LH_QWORKER_UP] = "up",
    [LH_QWORKER_DOWN] = "down",
    [LH_QWORKER_TAKEN] = "taken",
    [LH_QWORKER_PROGRESS] = "progress",
    [LH_QWORKER_DONE] = "done",
    [LH_QWORKER_RETRY] = "retry",
    [LH_QWORKER_DEAD] = "dead",
    [LH_QWORKER_PAUSED] = "paused",
    [LH_QWORKER_CANCELLED] = "cancelled",
    [LH_QWORKER_DEFERRED] = "deferred",
    [LH_QWORKER_LOST] = "lost",
};

static void stop(struct hand *h)
{
    if (h->worker != NULL)
        lh_qworker_stop(h->worker);
}

static void say_json(struct hand *h, const struct lh_qworker_event *event)
{
    struct lh_json json;

    if (h->stdout_failed || (event->what == LH_QWORKER_PROGRESS && !lh_term_takes_more(stdout)))
        return;
    lh_json_begin(&json, stdout);
    if (event->stats != NULL && event->what != LH_QWORKER_TAKEN)
        lh_json_stats(&json, words[event->what], event->stats);
    else
        lh_json_text(&json, "event", words[event->what]);
    lh_json_text(&json, "worker", h->name);
    if (event->id != NULL) {
        lh_json_text(&json, "task", event->id);
        lh_json_name(&json, "source", event->source, strlen(event->source));
        lh_json_name(&json, "destination", event->destination, strlen(event->destination));
        lh_json_text(&json, "priority", lh_priority_name(event->priority));
        lh_json_u64(&json, "claim", event->claim);
        lh_json_u64(&json, "attempt", event->attempts);
        lh_json_bool(&json, "reaped", event->reaped);
    }
    if (event->what >= LH_QWORKER_DONE)
        lh_json_bool(&json, "acknowledged", event->acknowledged);
    if (event->what == LH_QWORKER_RETRY || event->what == LH_QWORKER_DEFERRED)
        lh_json_u64(&json, "due_ms", event->due_ms);
    if (event->status != 0)
        lh_json_text(&json, "status", lh_status_name(event->status));
    if (event->text[0] != '\0')
        lh_json_text(&json, "message", event->text);
    if (lh_json_end(&json) != 0) {
        h->stdout_failed = true;
        if (errno != EPIPE)
            lh_term_line(h->term, "error: cannot write to standard output: %s", strerror(errno));
        h->code = errno == EPIPE ? LH_EXIT_INTERRUPTED : LH_EXIT_INTERNAL;
        stop(h);
    }
}

static void say_connection(struct hand *h, const struct lh_qworker_event *event)
{
    if (event->what == LH_QWORKER_UP) {
        lh_term_line(h->term, "worker %s: connected to %s, queue %s", h->name, h->where,
                     h->args->queue != NULL ? h->args->queue : LH_QUEUE_NAME);
        return;
    }
    lh_term_line(h->term, "worker %s: %s; trying again, what is being sent goes on", h->name,
                 event->text);
}

/* Whether there is something new about the connection: it is said once until the reason changes. */
static bool is_news(struct hand *h, const struct lh_qworker_event *event)
{
    char why[sizeof(h->away)];

    snprintf(why, sizeof(why), "%s", event->text);
    if (event->what == LH_QWORKER_DOWN && strcmp(why, h->away) == 0)
        return false;
    memcpy(h->away, why, sizeof(why));
    return true;
}

static void say_task(struct hand *h, const struct lh_qworker_event *event)
{
    char source[256];
    char due[24];
    char text[LH_PROGRESS_TEXT_SIZE];

    lh_text_escape(source, sizeof(source), event->source, strlen(event->source));
    switch (event->what) {
    case LH_QWORKER_TAKEN:
        if (h->args->verbosity > 0)
            lh_term_line(h->term, "task %s: taken%s, attempt %" PRIu64 ": %s", event->id,
                         event->reaped ? " over from a worker that fell silent" : "",
                         event->attempts, source);
        break;
    case LH_QWORKER_DONE:
        if (h->args->verbosity > 0)
            lh_term_line(h->term, "task %s: done: %s: %s", event->id, source,
                         event->stats->kept ? "kept, it was there already"
                                            : lh_progress_summary(text, event->stats));
        break;
    case LH_QWORKER_RETRY:
        lh_term_line(h->term, "task %s: attempt %" PRIu64 " failed, again in %s: %s", event->id,
                     event->attempts,
                     lh_text_duration(due, sizeof(due), (event->due_ms + 999) / 1000), event->text);
        break;
    case LH_QWORKER_DEAD:
        lh_term_line(h->term, "task %s: given up after attempt %" PRIu64 ": %s", event->id,
                     event->attempts, event->text);
        break;
    case LH_QWORKER_LOST:
        lh_term_line(h->term, "task %s: another worker has it, or the queue has forgotten it",
                     event->id);
        break;
    case LH_QWORKER_PAUSED:
    case LH_QWORKER_CANCELLED:
        lh_term_line(h->term, "task %s: %s, as asked", event->id, words[event->what]);
        break;
    default:
        break;
    }
}

static void on_event(void *arg, const struct lh_qworker_event *event)
{
    struct hand *h = arg;

    if (event->what == LH_QWORKER_DONE) {
        h->n_done++;
        h->bytes += event->stats->bytes_total;
    }
    if (event->id == NULL && !is_news(h, event))
        return;
    h->n_bad += event->what == LH_QWORKER_RETRY || event->what == LH_QWORKER_DEAD;
    if (h->args->json)
        say_json(h, event);
    else if (h->args->quiet)
        return;
    else if (event->id == NULL)
        say_connection(h, event);
    else
        say_task(h, event);
}

static void on_summary(uv_timer_t *timer)
{
    struct hand *h = timer->data;
    char bytes[24];

    if (h->n_done + h->n_bad > 0)
        lh_term_line(h->term, "worker %s: %" PRIu64 " done, %s; %" PRIu64 " failed attempts",
                     h->name, h->n_done, lh_text_bytes(bytes, sizeof(bytes), h->bytes), h->n_bad);
    h->n_done = h->n_bad = h->bytes = 0;
}

static void close_handles(struct hand *h)
{
    lh_stop_close(&h->stop);
    uv_close((uv_handle_t *)&h->summary, NULL);
}

static void on_closed(void *arg)
{
    struct hand *h = arg;

    h->worker = NULL;
    if (!h->args->quiet && !h->args->json)
        on_summary(&h->summary);
    close_handles(h);
}

static void on_stop(void *arg, int signum)
{
    struct hand *h = arg;

    if (!h->args->quiet)
        lh_term_line(h->term, "stopping: tasks are put back on the queue; a second signal stops at "
                              "once");
    stop(h);
}

/* HOST-PID-RANDOM: names of two workers must differ, also in containers that are all alike. */
static void make_name(char out[LH_TASK_ID_SIZE])
{
    char host[41] = "";
    uint16_t random = 0;

    if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof(host), "worker");
    for (char *p = host; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '-')
            *p = '_';
    }
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = 0;
    snprintf(out, LH_TASK_ID_SIZE, "%s-%ld-%04x", host, (long)getpid(), random);
}

static int start(struct hand *h, uv_loop_t *loop, const struct lh_redis_url *url)
{
    struct lh_qworker_options opts = {.url = url,
                                      .queue = h->args->queue,
                                      .name = h->name,
                                      .jobs = h->args->jobs,
                                      .jobs_per_host = h->args->jobs_per_host,
                                      .claim_ms = h->args->claim_ms,
                                      .send = h->args->send,
                                      .event = on_event,
                                      .closed = on_closed,
                                      .arg = h};
    int ret;

    opts.send.log = lh_term_log;
    opts.send.log_arg = h->term;
    opts.send.log_level = lh_cmd_log_level(h->args);
    if (lh_stop_init(&h->stop, loop, on_stop, h) != 0)
        return lh_cmd_fail(h->term, -LH_E_INTERNAL, "cannot watch for signals");
    uv_timer_init(loop, &h->summary);
    h->summary.data = h;
    ret = lh_qworker_start(loop, &opts, &h->worker);
    if (ret != 0) {
        close_handles(h);
        return lh_cmd_fail(h->term, ret,
                           ret == -LH_E_INVAL ? "--name and --queue: letters, digits, '.', '_' and "
                                                "'-' alone, 64 at most"
                                              : "");
    }
    if (!h->args->quiet && !h->args->json)
        uv_timer_start(&h->summary, on_summary, SUMMARY_MS, SUMMARY_MS);
    return 0;
}

int lh_cmd_worker(const struct lh_args *args, struct lh_term *term)
{
    struct hand h = {.args = args, .term = term};
    struct lh_redis_url url;
    struct lh_err err;
    uv_loop_t loop;
    int ret = lh_redis_url_parse(&url, args->redis, &err);

    if (ret != 0)
        return lh_cmd_fail(term, ret, err.text);
    if (uv_loop_init(&loop) != 0)
        return lh_cmd_fail(term, -LH_E_INTERNAL, "cannot set up an event loop");
    lh_redis_url_text(&url, h.where);
    if (args->worker_name == NULL)
        make_name(h.name);
    else
        snprintf(h.name, sizeof(h.name), "%s", args->worker_name);
    ret = args->worker_name != NULL && strlen(args->worker_name) >= sizeof(h.name)
              ? lh_cmd_fail(term, -LH_E_INVAL, "--name: 64 characters at most")
              : start(&h, &loop, &url);
    uv_run(&loop, UV_RUN_DEFAULT);
    LH_INVARIANT(uv_loop_close(&loop) == 0);
    return ret != 0 ? ret : h.code;
}
