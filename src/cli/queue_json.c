/* See queue_json.h. Times are unix ms of Redis's clock; now_ms is that clock now. */
#include "cli/queue_json.h"

#include "cli/json.h"
#include "cli/queue_view.h"

#include <string.h>

static void name(struct lh_json *json, const char *key, const char *text)
{
    lh_json_name(json, key, text, strlen(text));
}

int lh_queue_json_task(const struct lh_task_info *task, uint64_t now_ms, bool detail)
{
    struct lh_json json;

    lh_json_begin(&json, stdout);
    lh_json_text(&json, "event", "task");
    lh_json_text(&json, "task", task->id);
    lh_json_text(&json, "state", lh_task_state_name(task->state));
    lh_json_text(&json, "want", task->want);
    lh_json_text(&json, "priority", lh_priority_name(task->priority));
    name(&json, "source", task->source);
    name(&json, "destination", task->destination);
    lh_json_text(&json, "worker", task->worker);
    lh_json_u64(&json, "claim", task->claim);
    lh_json_u64(&json, "attempts", task->attempts);
    lh_json_u64(&json, "failures", task->failures);
    lh_json_u64(&json, "bytes_total", task->total);
    lh_json_u64(&json, "bytes_durable", task->bytes);
    lh_json_u64(&json, "bytes_sent", task->sent);
    lh_json_u64(&json, "rate_bps", task->rate_bps);
    lh_json_u64(&json, "streams", task->streams);
    lh_json_u64(&json, "now_ms", now_ms);
    lh_json_u64(&json, "submitted_ms", task->submitted_ms);
    lh_json_u64(&json, "taken_ms", task->taken_ms);
    lh_json_u64(&json, "heard_ms", task->heard_ms);
    lh_json_u64(&json, "due_ms", task->due_ms);
    lh_json_u64(&json, "ended_ms", task->ended_ms);
    lh_json_u64(&json, "active_ms", task->active_ms);
    lh_json_text(&json, "status", task->error_status);
    lh_json_text(&json, "message", task->error);
    lh_json_text(&json, "digest", task->digest);
    if (detail) {
        lh_json_text(&json, "workers", task->workers);
        lh_json_text(&json, "map", task->map);
        lh_json_text(&json, "in_flight", task->inflight);
    }
    return lh_json_end(&json);
}

int lh_queue_json_counts(const struct lh_queue_overview *view)
{
    struct lh_json json;

    lh_json_begin(&json, stdout);
    lh_json_text(&json, "event", "queue");
    lh_json_u64(&json, "now_ms", view->now_ms);
    lh_json_u64(&json, "queued_high", view->queued[LH_PRIORITY_HIGH]);
    lh_json_u64(&json, "queued_normal", view->queued[LH_PRIORITY_NORMAL]);
    lh_json_u64(&json, "queued_low", view->queued[LH_PRIORITY_LOW]);
    lh_json_u64(&json, "waited_high_ms", view->oldest_ms[LH_PRIORITY_HIGH]);
    lh_json_u64(&json, "waited_normal_ms", view->oldest_ms[LH_PRIORITY_NORMAL]);
    lh_json_u64(&json, "waited_low_ms", view->oldest_ms[LH_PRIORITY_LOW]);
    lh_json_u64(&json, "active", view->active);
    lh_json_u64(&json, "delayed", view->delayed);
    lh_json_u64(&json, "paused", view->paused);
    lh_json_u64(&json, "dead", view->dead);
    lh_json_u64(&json, "recent_ms", view->recent_ms);
    lh_json_u64(&json, "recent_tasks", view->recent_tasks);
    lh_json_u64(&json, "recent_bytes", view->recent_bytes);
    lh_json_u64(&json, "workers", view->n_workers);
    lh_json_u64(&json, "workers_silent", lh_view_n_silent(view));
    return lh_json_end(&json);
}

int lh_queue_json_worker(const struct lh_worker_info *worker, uint64_t now_ms)
{
    const struct lh_health *health = &worker->health;
    struct lh_json json;

    lh_json_begin(&json, stdout);
    lh_json_text(&json, "event", "worker");
    lh_json_text(&json, "worker", worker->name);
    lh_json_text(&json, "host", health->host);
    lh_json_u64(&json, "pid", health->pid);
    lh_json_text(&json, "version", health->version);
    lh_json_u64(&json, "jobs", health->jobs);
    lh_json_u64(&json, "active", health->active);
    lh_json_u64(&json, "done", health->done);
    lh_json_u64(&json, "failed", health->failed);
    lh_json_u64(&json, "bytes_durable", health->bytes);
    lh_json_u64(&json, "rate_bps", health->rate_bps);
    lh_json_u64(&json, "uptime_ms", health->uptime_ms);
    lh_json_u64(&json, "now_ms", now_ms);
    lh_json_u64(&json, "heard_ms", worker->heard_ms);
    lh_json_u64(&json, "claim_ms", worker->claim_ms);
    lh_json_bool(&json, "silent", lh_view_silent(worker, now_ms));
    return lh_json_end(&json);
}
