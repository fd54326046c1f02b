/* longhaul queue: how much waits, who works, what is dead.
 *
 * Happy path: connected -> overview printed. With `dead`: page after page of the dead letters is
 * printed; with --requeue or --drop their ids are gathered first and then dealt with one after the
 * other, so that one that dies again at once is not met a second time. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/queue_json.h"
#include "cli/queue_run.h"
#include "cli/queue_view.h"
#include "cli/task_view.h"
#include "util/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 500

struct viewer {
    struct lh_queue_run run;
    char after[sizeof(((struct lh_task_list *)0)->next)];
    uint64_t n_listed;
    enum lh_queue_verb verb;      /* of --requeue or --drop */
    char (*ids)[LH_TASK_ID_SIZE]; /* owned: what they are for */
    size_t n_ids;
    size_t at;
    uint64_t n_settled;
};

static void on_overview(void *arg, int status, const char *text,
                        const struct lh_queue_overview *view)
{
    struct viewer *viewer = arg;
    struct lh_queue_run *run = &viewer->run;

    if (run->ending)
        return;
    if (status != 0) {
        lh_queue_run_fail(run, status, text);
        return;
    }
    if (run->args->json) {
        lh_queue_run_wrote(run, lh_queue_json_counts(view));
        for (size_t i = 0; i < view->n_workers; i++)
            lh_queue_run_wrote(run, lh_queue_json_worker(&view->workers[i], view->now_ms));
    } else {
        printf("queue %s at %s\n\n", run->name, run->where);
        lh_view_queue(stdout, view);
    }
    if (lh_queue_run_flush(run))
        lh_queue_run_end(run, LH_EXIT_OK);
}

/* ---- dead letters ------------------------------------------------------------------------- */

static void settle_next(struct viewer *viewer);

static void settled_all(struct viewer *viewer)
{
    struct lh_queue_run *run = &viewer->run;
    bool one = viewer->run.args->requeue != NULL ? strcmp(run->args->requeue, "all") != 0
                                                 : strcmp(run->args->drop, "all") != 0;
    struct lh_json json;

    if (run->args->json) {
        lh_json_begin(&json, stdout);
        lh_json_text(&json, "event", viewer->verb == LH_QUEUE_RETRY ? "requeued" : "dropped");
        lh_json_u64(&json, "tasks", viewer->n_settled);
        lh_queue_run_wrote(run, lh_json_end(&json));
        if (!lh_queue_run_flush(run))
            return;
    } else if (!one || viewer->n_settled > 0) {
        lh_term_line(run->term, "%" PRIu64 " dead letter%s %s", viewer->n_settled,
                     viewer->n_settled == 1 ? "" : "s",
                     viewer->verb == LH_QUEUE_RETRY ? "back on the queue" : "dropped");
    }
    lh_queue_run_end(run, one && viewer->n_settled == 0 ? LH_EXIT_USAGE : LH_EXIT_OK);
}

static void not_dead(struct viewer *viewer, const char *id)
{
    char shown[256];

    lh_term_line(viewer->run.term, "error: '%s' is no dead letter of queue %s at %s",
                 lh_text_escape(shown, sizeof(shown), id, strlen(id)), viewer->run.name,
                 viewer->run.where);
}

static void on_settled(void *arg, int status, const char *text, enum lh_queue_effect effect,
                       enum lh_task_state state)
{
    struct viewer *viewer = arg;

    if (viewer->run.ending)
        return;
    if (status != 0) {
        lh_queue_run_fail(&viewer->run, status, text);
        return;
    }
    /* Another one may have been quicker. */
    viewer->n_settled += effect == LH_EFFECT_OK ? 1 : 0;
    viewer->at++;
    settle_next(viewer);
}

static void settle_next(struct viewer *viewer)
{
    int ret;

    if (viewer->at == viewer->n_ids) {
        settled_all(viewer);
        return;
    }
    ret = lh_queue_control(viewer->run.queue, viewer->verb, viewer->ids[viewer->at], on_settled,
                           viewer);
    if (ret != 0)
        lh_queue_run_fail(&viewer->run, ret, "");
}

/* One that was named: what is not dead is left alone. */
static void on_named(void *arg, int status, const char *text, const struct lh_task_detail *detail)
{
    struct viewer *viewer = arg;

    if (viewer->run.ending)
        return;
    if (status != 0) {
        lh_queue_run_fail(&viewer->run, status, text);
    } else if (detail == NULL || detail->task.state != LH_TASK_DEAD) {
        not_dead(viewer, viewer->ids[0]);
        lh_queue_run_end(&viewer->run, LH_EXIT_USAGE);
    } else {
        settle_next(viewer);
    }
}

static bool gather(struct viewer *viewer, const struct lh_task_list *list)
{
    void *grown = realloc(viewer->ids, (viewer->n_ids + list->n + 1) * sizeof(*viewer->ids));

    if (grown == NULL)
        return false;
    viewer->ids = grown;
    for (size_t i = 0; i < list->n; i++)
        memcpy(viewer->ids[viewer->n_ids++], list->tasks[i].id, LH_TASK_ID_SIZE);
    return true;
}

static void list_dead(struct viewer *viewer);

static void print_dead(struct viewer *viewer, const struct lh_task_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (viewer->run.args->json)
            lh_queue_run_wrote(&viewer->run,
                               lh_queue_json_task(&list->tasks[i], list->now_ms, false));
        else
            lh_view_task(stdout, &list->tasks[i], list->now_ms, 0);
    }
}

static void on_dead(void *arg, int status, const char *text, const struct lh_task_list *list)
{
    struct viewer *viewer = arg;
    struct lh_queue_run *run = &viewer->run;
    bool settling = run->args->requeue != NULL || run->args->drop != NULL;

    if (run->ending)
        return;
    if (status != 0) {
        lh_queue_run_fail(run, status, text);
        return;
    }
    viewer->n_listed += list->n;
    if (settling && !gather(viewer, list)) {
        lh_queue_run_end(run, lh_cmd_fail(run->term, -LH_E_NOMEM, ""));
        return;
    }
    if (!settling) {
        print_dead(viewer, list);
        if (!lh_queue_run_flush(run))
            return;
    }
    if (list->more) {
        memcpy(viewer->after, list->next, sizeof(viewer->after));
        list_dead(viewer);
    } else if (settling) {
        settle_next(viewer);
    } else {
        if (viewer->n_listed == 0 && !run->args->json)
            lh_term_line(run->term, "no dead letters in queue %s at %s", run->name, run->where);
        lh_queue_run_end(run, LH_EXIT_OK);
    }
}

static void list_dead(struct viewer *viewer)
{
    int ret = lh_queue_list(viewer->run.queue, LH_TASK_DEAD,
                            viewer->after[0] != '\0' ? viewer->after : NULL, PAGE, on_dead, viewer);

    if (ret != 0)
        lh_queue_run_fail(&viewer->run, ret, "");
}

static void settle_named(struct viewer *viewer, const char *id)
{
    int ret;

    if (!lh_task_id_valid(id, strlen(id))) {
        not_dead(viewer, id);
        lh_queue_run_end(&viewer->run, LH_EXIT_USAGE);
        return;
    }
    viewer->ids = calloc(1, sizeof(*viewer->ids));
    if (viewer->ids == NULL) {
        lh_queue_run_end(&viewer->run, lh_cmd_fail(viewer->run.term, -LH_E_NOMEM, ""));
        return;
    }
    snprintf(viewer->ids[0], sizeof(viewer->ids[0]), "%s", id);
    viewer->n_ids = 1;
    ret = lh_queue_get(viewer->run.queue, viewer->ids[0], on_named, viewer);
    if (ret != 0)
        lh_queue_run_fail(&viewer->run, ret, "");
}

static void ready(struct lh_queue_run *run)
{
    struct viewer *viewer = LH_CONTAINER_OF(run, struct viewer, run);
    const char *named = run->args->requeue != NULL ? run->args->requeue : run->args->drop;
    int ret;

    viewer->verb = run->args->requeue != NULL ? LH_QUEUE_RETRY : LH_QUEUE_DROP;
    if (run->args->n_operands > 0) {
        if (named != NULL && strcmp(named, "all") != 0)
            settle_named(viewer, named);
        else
            list_dead(viewer);
        return;
    }
    ret = lh_queue_overview(run->queue, on_overview, viewer);
    if (ret != 0)
        lh_queue_run_fail(run, ret, "");
}

int lh_cmd_queue(const struct lh_args *args, struct lh_term *term)
{
    struct viewer viewer = {.run = {.args = args, .term = term, .ready = ready}};
    char shown[128];
    int code;

    if (args->n_operands > 0 && strcmp(args->operands[0], "dead") != 0) {
        lh_term_line(
            term, "error: '%s' is nothing that queue can show",
            lh_text_escape(shown, sizeof(shown), args->operands[0], strlen(args->operands[0])));
        lh_term_line(term, "hint: `longhaul queue`, or `longhaul queue dead`");
        return LH_EXIT_USAGE;
    }
    code = lh_queue_run(&viewer.run);
    free(viewer.ids);
    return code;
}
