/* See queue_view.h. */
#include "cli/queue_view.h"

#include "cli/task_view.h"
#include "util/text.h"

#include <inttypes.h>
#include <string.h>

static uint64_t queued(const struct lh_queue_overview *view)
{
    uint64_t sum = 0;

    for (int i = 0; i < LH_N_PRIORITIES; i++)
        sum += view->queued[i];
    return sum;
}

bool lh_view_silent(const struct lh_worker_info *worker, uint64_t now_ms)
{
    return now_ms > worker->heard_ms && now_ms - worker->heard_ms > worker->claim_ms;
}

size_t lh_view_n_silent(const struct lh_queue_overview *view)
{
    size_t n = 0;

    for (size_t i = 0; i < view->n_workers; i++)
        n += lh_view_silent(&view->workers[i], view->now_ms);
    return n;
}

/* "2 workers", or "2 workers, 1 of them silent" */
static void put_workers(FILE *out, const struct lh_queue_overview *view)
{
    size_t silent = lh_view_n_silent(view);

    fprintf(out, "; %zu worker%s", view->n_workers, view->n_workers == 1 ? "" : "s");
    if (silent > 0 && silent == view->n_workers)
        fprintf(out, ", silent");
    else if (silent > 0)
        fprintf(out, ", %zu of them silent", silent);
}

void lh_view_counts(FILE *out, const struct lh_queue_overview *view)
{
    char count[LH_VIEW_COUNT_SIZE];
    uint64_t sum = queued(view);
    bool first = true;

    fprintf(out, "%s active", lh_view_count(count, view->active));
    if (view->delayed > 0)
        fprintf(out, ", %s delayed", lh_view_count(count, view->delayed));
    if (view->paused > 0)
        fprintf(out, ", %s paused", lh_view_count(count, view->paused));
    fprintf(out, ", %s queued", lh_view_count(count, sum));
    for (int i = 0; i < LH_N_PRIORITIES && sum > view->queued[LH_PRIORITY_NORMAL]; i++) {
        if (view->queued[i] == 0)
            continue;
        fprintf(out, "%s%s %s", first ? " (" : ", ", lh_view_count(count, view->queued[i]),
                lh_priority_name((enum lh_priority)i));
        first = false;
    }
    if (!first)
        putc(')', out);
    if (view->dead > 0)
        fprintf(out, ", %s dead", lh_view_count(count, view->dead));
    put_workers(out, view);
}

static void row(FILE *out, const char *name, uint64_t n, const char *remark)
{
    char count[LH_VIEW_COUNT_SIZE];

    fprintf(out, "  %-8s%10s%s%s\n", name, lh_view_count(count, n), remark[0] != '\0' ? "  " : "",
            remark);
}

static void put_depth(FILE *out, const struct lh_queue_overview *view)
{
    char remark[96];
    char age[LH_VIEW_AGE_SIZE];

    for (int i = 0; i < LH_N_PRIORITIES; i++) {
        remark[0] = '\0';
        if (view->queued[i] > 0)
            snprintf(remark, sizeof(remark), "waiting, the first of them for %s",
                     lh_view_age(age, 0, view->oldest_ms[i]));
        row(out, lh_priority_name((enum lh_priority)i), view->queued[i], remark);
    }
    row(out, "active", view->active, "");
    row(out, "delayed", view->delayed, "");
    row(out, "paused", view->paused, "");
    row(out, "dead", view->dead, view->dead > 0 ? "see: longhaul queue dead" : "");
}

static void put_recent(FILE *out, const struct lh_queue_overview *view)
{
    char remark[128];
    char bytes[24];
    char rate[24];
    char age[LH_VIEW_AGE_SIZE];

    remark[0] = '\0';
    if (view->recent_tasks > 0 && view->recent_ms > 0) {
        double seconds = (double)view->recent_ms / 1000.0;

        snprintf(
            remark, sizeof(remark), "in the last %s: %s, %.1f tasks/s, %s/s",
            lh_view_age(age, 0, view->recent_ms),
            lh_text_bytes(bytes, sizeof(bytes), view->recent_bytes),
            (double)view->recent_tasks / seconds,
            lh_text_bytes(rate, sizeof(rate), (uint64_t)((double)view->recent_bytes / seconds)));
    }
    row(out, "done", view->recent_tasks, remark[0] != '\0' ? remark : "in the last minute");
}

static int longest(const struct lh_queue_overview *view, bool hosts)
{
    size_t max = hosts ? strlen("HOST") : strlen("WORKER");

    for (size_t i = 0; i < view->n_workers; i++) {
        size_t len = strlen(hosts ? view->workers[i].health.host : view->workers[i].name);

        max = len > max ? len : max;
    }
    return (int)max;
}

static void put_worker(FILE *out, const struct lh_worker_info *worker, uint64_t now_ms, int name,
                       int host)
{
    const struct lh_health *health = &worker->health;
    char shown[sizeof(health->host) * 4];
    char tasks[48];
    char rate[32];
    char age[LH_VIEW_AGE_SIZE];

    snprintf(tasks, sizeof(tasks), "%" PRIu64 " of %" PRIu64, health->active, health->jobs);
    lh_text_bytes(rate, sizeof(rate), health->rate_bps / 8);
    fprintf(out, "  %-*s  %-*s  %7" PRIu64 "  %8s  %7" PRIu64 "  %6" PRIu64 "  %9s/s  %s ago%s\n",
            name, worker->name, host,
            lh_text_escape(shown, sizeof(shown), health->host, strlen(health->host)), health->pid,
            tasks, health->done, health->failed, rate, lh_view_age(age, worker->heard_ms, now_ms),
            lh_view_silent(worker, now_ms) ? ", silent" : "");
}

void lh_view_queue(FILE *out, const struct lh_queue_overview *view)
{
    int name = longest(view, false);
    int host = longest(view, true);

    put_depth(out, view);
    put_recent(out, view);
    if (view->n_workers == 0) {
        fprintf(out, "\nno worker: start one with `longhaul worker`\n");
        return;
    }
    fprintf(out, "\n  %-*s  %-*s  %7s  %8s  %7s  %6s  %11s  %s\n", name, "WORKER", host, "HOST",
            "PID", "TASKS", "DONE", "FAILED", "RATE", "HEARD OF");
    for (size_t i = 0; i < view->n_workers; i++)
        put_worker(out, &view->workers[i], view->now_ms, name, host);
}
