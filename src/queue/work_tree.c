/* A task whose source is a directory, or that has options of trees.
 *
 * Thread: the loop's. Owner: the worker, as of any task.
 *
 * Happy path: lh_tree -> reports with bytes and no map -> done: the duty has the outcome told.
 * There is no record at the receiver to be forgotten: the same task again finds everything there.
 * Failures: of entries: logged by name, and the attempt has failed at its end, with the first of
 * them for a reason; the others are there, and the next attempt sends only what is not. */
#include "queue/worker_impl.h"

#include <inttypes.h>
#include <longhaul/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_start(void *arg, const struct lh_tree_stats *stats)
{
    struct lh_work *work = arg;

    work->ledger = true;
    lh_work_seen(work, &stats->send);
}

static void on_progress(void *arg, const struct lh_tree_stats *stats)
{
    struct lh_work *work = arg;

    work->progressed = true;
    lh_work_seen(work, &stats->send);
    lh_work_event(work, LH_QWORKER_PROGRESS, false);
}

static void on_entry(void *arg, enum lh_tree_what what, const char *path, uint64_t bytes,
                     int status, const char *text)
{
    struct lh_work *work = arg;

    if (what != LH_TREE_FAILED)
        return;
    if (text[0] == '\0')
        text = lh_status_text(status);
    lh_log(&work->worker->log, LH_LOG_WARN, "task %s: %s", work->claim.id, text);
    if (work->failed == NULL)
        work->failed = strdup(text);
}

static void on_done(void *arg, int status, const char *text, const struct lh_tree_stats *stats)
{
    struct lh_work *work = arg;
    char some[LH_QUEUE_TEXT_MAX];

    if (status == -LH_E_PARTIAL && work->failed != NULL) {
        snprintf(some, sizeof(some), "%" PRIu64 " could not be moved, the first: %s", stats->failed,
                 work->failed);
        text = some;
    }
    work->tree = NULL;
    lh_work_ended(work, status, text, &stats->send);
}

int lh_work_start_tree(struct lh_work *work, const struct lh_send_options *opts)
{
    const struct lh_task *task = work->task;
    const char *source = task->source;
    struct lh_tree_options tree;
    struct lh_tree_callbacks cbs = {.start = on_start,
                                    .progress = on_progress,
                                    .entry = on_entry,
                                    .done = on_done,
                                    .arg = work};

    lh_tree_options_init(&tree);
    tree.send = *opts;
    tree.sources = &source;
    tree.n_sources = 1;
    tree.rules = task->rules;
    tree.n_rules = task->n_rules;
    tree.existing = task->existing;
    tree.links = task->links;
    tree.preserve = task->preserve | (task->devices ? LH_PRESERVE_DEVICES : 0);
    tree.numeric_ids = task->numeric_ids;
    tree.checksum = task->checksum;
    tree.one_file_system = task->one_file_system;
    tree.stop_on_error = task->stop_on_error;
    tree.remove = task->remove;
    tree.max_removed = task->max_removed;
    return lh_tree_start(work->worker->loop, &tree, &cbs, &work->tree);
}
