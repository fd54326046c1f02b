/* One task at a worker: its send, where it stands, what is told of it.
 *
 * Thread: the loop's. Owner: the worker, until the duty drops it.
 *
 * Happy path: taken -> lh_send with the claim in its offer -> reports, now and then with a record
 * of what is durable -> delivered: the duty has the outcome told -> confirmed -> done. Failures:
 * each ends in `done` with a status, and the duty decides what that means. */
#include "queue/worker_impl.h"
#include "util/mutant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIVE_UP_MS                                                                                 \
    60000u /* a receiver silent for so long is another attempt, not a slot for ever */
#define PROGRESS_MS 1000u

struct lh_work *lh_work_new(struct lh_qworker *worker, struct lh_taken *taken)
{
    struct lh_work *work = calloc(1, sizeof(*work));

    if (work == NULL)
        return NULL;
    work->worker = worker;
    work->claim = taken->claim;
    work->task = taken->task;
    taken->task = NULL;
    work->priority = taken->priority;
    work->attempts = taken->attempts;
    work->reaped = taken->reaped;
    work->bytes = taken->bytes;
    work->total = taken->total;
    work->status = taken->status;
    snprintf(work->text, sizeof(work->text), "%s", taken->text);
    if (work->task != NULL)
        snprintf(work->host, sizeof(work->host), "%s:%u", work->task->url.host,
                 (unsigned)work->task->url.port);
    work->duty.host = work->host;
    work->duty.failures = taken->failures;
    work->duty.retries = work->task != NULL ? work->task->retries : 0;
    work->duty.status = taken->status;
    return work;
}

void lh_work_free(struct lh_work *work)
{
    if (work->task != NULL) {
        lh_task_free(work->task);
        free(work->task);
    }
    free(work->failed);
    free(work->map);
    free(work);
}

void lh_work_event(struct lh_work *work, enum lh_qworker_what what, bool acknowledged)
{
    struct lh_qworker_event event = {
        .what = what,
        .text = work->text,
        .id = work->claim.id,
        .source = work->task != NULL ? work->task->source : "",
        .destination = work->task != NULL ? work->task->destination : "",
        .priority = work->priority,
        .claim = work->claim.number,
        .attempts = work->attempts,
        .reaped = work->reaped,
        .status = work->status,
        .due_ms = work->duty.due_ms,
        .acknowledged = acknowledged,
        .stats = &work->stats,
    };

    if (work->worker->opts.event != NULL)
        work->worker->opts.event(work->worker->opts.arg, &event);
}

/* ---- the send ----------------------------------------------------------------------------- */

void lh_work_seen(struct lh_work *work, const struct lh_send_stats *stats)
{
    work->stats = *stats;
    if (work->ledger)
        work->bytes = stats->bytes_durable;
    if (stats->bytes_total > 0)
        work->total = stats->bytes_total;
    lh_qworker_touch(work->worker);
}

static void on_start(void *arg, const struct lh_send_stats *stats)
{
    struct lh_work *work = arg;

    if (!work->ledger)
        work->bytes_before = stats->bytes_durable;
    work->ledger = true;
    lh_work_seen(work, stats);
    if (lh_mutant("ack-before-rename"))
        lh_duty_delivered(&work->worker->duty, &work->duty, uv_now(work->worker->loop));
}

static void on_progress(void *arg, const struct lh_send_stats *stats)
{
    struct lh_work *work = arg;

    work->progressed = true;
    lh_work_seen(work, stats);
    lh_work_event(work, LH_QWORKER_PROGRESS, false);
}

static void on_delivered(void *arg, const struct lh_send_stats *stats)
{
    struct lh_work *work = arg;
    struct lh_qworker *worker = work->worker;

    lh_work_seen(work, stats);
    work->active_ms = uv_now(worker->loop) - work->started_ms;
    if (work->duty.state == LH_DUTY_MOVING || work->duty.state == LH_DUTY_STOPPING)
        lh_duty_delivered(&worker->duty, &work->duty, uv_now(worker->loop));
    else /* its outcome is told already: nothing to wait for */
        lh_send_confirm(work->send, false);
}

/* Ranges in memory of their own, *n of them. False: memory is out. */
static bool ranges_of(const struct lh_send *send, enum lh_ranges which, struct lh_range **ranges,
                      size_t *n)
{
    *ranges = NULL;
    *n = lh_send_ranges(send, which, NULL, 0);
    if (*n == 0)
        return true;
    *ranges = malloc(*n * sizeof(**ranges));
    if (*ranges != NULL)
        *n = lh_send_ranges(send, which, *ranges, *n);
    return *ranges != NULL;
}

static char *map_text(struct lh_range *ranges, size_t n, size_t max)
{
    char *text = malloc(max + 1);
    char *fit;
    size_t len;

    if (text == NULL)
        return NULL;
    len = lh_map_write(text, max + 1, ranges, n, NULL);
    fit = realloc(text, len + 1);
    return fit != NULL ? fit : text;
}

/* What is durable, and how much that is. Before the receiver has told its ledger nobody knows. */
static bool durable_of(const struct lh_work *work, struct lh_range **ranges, size_t *n,
                       uint64_t *bytes)
{
    enum lh_ranges which = LH_RANGES_DURABLE;

    if (work->send == NULL || !work->ledger)
        return false;
    if (lh_mutant("record-before-durable"))
        which = LH_RANGES_IN_FLIGHT;
    if (!ranges_of(work->send, which, ranges, n))
        return false;
    *bytes = lh_map_bytes(*ranges, *n);
    return true;
}

/* Why it failed, and what is safe at the receiver all the same. */
static void keep_failure(struct lh_work *work, int status, const char *text)
{
    struct lh_range *ranges;
    uint64_t bytes;
    size_t n;

    /* That it was stopped here is no error of the task. */
    if (work->duty.asked == LH_ASKED_NOTHING) {
        work->status = status;
        snprintf(work->text, sizeof(work->text), "%s",
                 text[0] != '\0' ? text : lh_status_text(status));
        work->worker->health.failed++;
    }
    if (!durable_of(work, &ranges, &n, &bytes))
        return;
    work->bytes = bytes;
    work->map = map_text(ranges, n, LH_MAP_TEXT_MAX);
    free(ranges);
}

void lh_work_ended(struct lh_work *work, int status, const char *text,
                   const struct lh_send_stats *stats)
{
    struct lh_qworker *worker = work->worker;

    lh_work_seen(work, stats);
    work->active_ms = uv_now(worker->loop) - work->started_ms;
    if (status != 0)
        keep_failure(work, status, text);
    else
        worker->health.done++;
    if (stats->bytes_durable > stats->bytes_skipped)
        worker->health.bytes += stats->bytes_durable - stats->bytes_skipped;
    work->send = NULL;
    work->tree = NULL;
    lh_duty_ended(&worker->duty, &work->duty, status, uv_now(worker->loop));
}

/* What the task asks for, and its claim. */
static void fill_options(const struct lh_work *work, struct lh_send_options *opts)
{
    const struct lh_task *task = work->task;

    *opts = work->worker->opts.send;
    opts->engine = work->worker->engine;
    opts->source = task->source;
    opts->host = task->url.host;
    opts->port = task->url.port;
    opts->path = task->url.path;
    opts->path_len = task->url.path_len;
    opts->streams = task->streams;
    opts->max_streams = task->max_streams;
    opts->limit_bps = task->limit_bps;
    opts->share = task->share;
    opts->block_bytes = task->block_bytes;
    opts->existing = task->existing;
    opts->no_clobber = task->no_clobber;
    opts->insecure = opts->insecure || task->insecure;
    opts->sparse = task->sparse;
    if (opts->give_up_ms == 0)
        opts->give_up_ms = GIVE_UP_MS;
    opts->progress_ms = PROGRESS_MS;
    memcpy(opts->incarnation, work->claim.incarnation, sizeof(opts->incarnation));
    opts->claim = work->claim.number;
    opts->hold_confirm = true;
}

static void on_done(void *arg, int status, const char *text, const struct lh_send_stats *stats)
{
    struct lh_work *work = arg;

    work->send = NULL;
    /* Looking whether it is a directory is not for this thread: a send has looked. */
    if (status == -LH_E_SOURCE_DIR && !work->task->no_clobber &&
        work->duty.asked == LH_ASKED_NOTHING) {
        struct lh_send_options opts;

        fill_options(work, &opts);
        status = lh_work_start_tree(work, &opts);
        if (status == 0)
            return;
        text = "";
    }
    lh_work_ended(work, status, text, stats);
}

void lh_work_start(struct lh_work *work)
{
    struct lh_qworker *worker = work->worker;
    struct lh_send_options opts;
    struct lh_send_callbacks cbs = {.start = on_start,
                                    .progress = on_progress,
                                    .delivered = on_delivered,
                                    .done = on_done,
                                    .arg = work};
    int ret;

    fill_options(work, &opts);
    work->started_ms = uv_now(worker->loop);
    lh_record_begin(&work->record, work->started_ms, work->bytes);
    if (work->task->tree)
        ret = lh_work_start_tree(work, &opts);
    else
        ret = lh_send_start(worker->loop, &opts, &cbs, &work->send);
    if (ret != 0) {
        work->status = ret;
        snprintf(work->text, sizeof(work->text), "%s", lh_status_text(ret));
        worker->health.failed++;
        lh_duty_ended(&worker->duty, &work->duty, ret, work->started_ms);
    }
}

void lh_work_cancel(struct lh_work *work)
{
    if (work->tree != NULL)
        lh_tree_cancel(work->tree);
    else
        lh_send_cancel(work->send);
}

/* ---- what the queue is told --------------------------------------------------------------- */

void lh_work_report(struct lh_work *work, struct lh_report *report, uint64_t now_ms)
{
    struct lh_range *ranges;
    uint64_t bytes;
    size_t n;

    *report = (struct lh_report){.claim = work->claim,
                                 .bytes = work->bytes,
                                 .total = work->total,
                                 .sent = work->stats.bytes_sent};
    work->recording = false;
    if (work->tree != NULL) { /* which has no ranges */
        report->rate_bps = work->stats.rate_bps;
        report->streams = work->stats.streams;
    }
    if (!durable_of(work, &ranges, &n, &bytes))
        return;
    work->bytes = report->bytes = bytes;
    report->rate_bps = work->stats.rate_bps;
    if (!work->progressed && bytes > work->bytes_before && now_ms > work->started_ms)
        report->rate_bps = (bytes - work->bytes_before) * 8000 / (now_ms - work->started_ms);
    report->streams = work->stats.streams;
    report->map = map_text(ranges, n, LH_MAP_TEXT_MAX);
    if (report->map != NULL && lh_record_due(&work->record, now_ms, bytes)) {
        report->record = work->recording = true;
        work->recording_ms = now_ms;
        work->recording_bytes = bytes;
    }
    free(ranges);
    if (ranges_of(work->send, LH_RANGES_IN_FLIGHT, &ranges, &n) && n > 0)
        report->inflight = map_text(ranges, n, LH_MAP_INFLIGHT_MAX);
    free(ranges);
}

void lh_work_report_free(struct lh_report *report)
{
    free((void *)(uintptr_t)report->map);
    free((void *)(uintptr_t)report->inflight);
}

void lh_work_ending(struct lh_work *work, struct lh_ending *ending)
{
    enum lh_task_outcome outcome = work->duty.outcome;
    bool done = outcome == LH_OUTCOME_DONE;
    bool error = outcome == LH_OUTCOME_RETRY || outcome == LH_OUTCOME_DEAD;

    *ending = (struct lh_ending){
        .claim = work->claim,
        .outcome = outcome,
        .due_ms = work->duty.due_ms,
        .failures = work->duty.failures,
        .error = error ? work->status : 0,
        .text = error ? work->text : NULL,
        .bytes = done ? work->total : work->bytes,
        .total = work->total,
        .sent = work->stats.bytes_sent,
        .active_ms = work->active_ms,
        .digest = done && work->stats.digest[0] != '\0' ? work->stats.digest : NULL,
        .map = done ? NULL : work->map,
    };
}
