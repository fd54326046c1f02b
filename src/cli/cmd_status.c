/* longhaul status: the tasks of a queue, or one in detail; once, or each second.
 *
 * Happy path: connected -> overview -> the tasks of one state after the other -> shown. With TASK:
 * connected -> the task -> shown. With --watch each second again: drawn over on a terminal, else a
 * line or an object for each task that has changed. Failures: no such task; Redis away (a watch
 * goes on when it is back). */
#include "cli/cmd.h"
#include "cli/frame.h"
#include "cli/queue_json.h"
#include "cli/queue_run.h"
#include "cli/queue_view.h"
#include "cli/seen.h"
#include "cli/task_view.h"
#include "util/text.h"

#include <stdlib.h>
#include <string.h>

/* In the order in which they are shown, and how many of each to people at one look. */
static const struct {
    enum lh_task_state state;
    size_t max;
} sections[] = {{LH_TASK_ACTIVE, 20}, {LH_TASK_DELAYED, 5}, {LH_TASK_PAUSED, 5},
                {LH_TASK_QUEUED, 5},  {LH_TASK_DONE, 5},    {LH_TASK_DEAD, 5}};

#define N_SECTIONS (sizeof(sections) / sizeof(sections[0]))
#define LOG_MAX 200 /* tasks of each state that a log looks at */

struct status {
    struct lh_queue_run run;
    struct lh_frame frame;
    struct lh_seen seen; /* of a log */
    bool redraw;         /* else lines are appended */
    bool looking;        /* operations of one look are under way */
    size_t section;
    uint64_t counts[LH_N_TASK_STATES]; /* 0 where nobody counts */
    FILE *out;                         /* what is shown next is put together in `text` */
    char *text;
    size_t len;
    char *shown; /* last look, to be drawn again with a remark while Redis is away */
};

static unsigned width(const struct status *status)
{
    /* A log and a pipe get whole lines. */
    return lh_term_is_terminal(stdout) ? lh_term_width(stdout) - 1 : 0;
}

static void begin_text(struct status *status)
{
    status->out = open_memstream(&status->text, &status->len);
    if (status->out == NULL)
        lh_queue_run_end(&status->run, lh_cmd_fail(status->run.term, -LH_E_NOMEM, ""));
}

static void drop_text(struct status *status)
{
    if (status->out == NULL)
        return;
    fclose(status->out);
    free(status->text);
    status->out = NULL;
}

/* Show what was put together, and wait for the next look or end. */
static void end_look(struct status *status, bool over)
{
    struct lh_queue_run *run = &status->run;

    fclose(status->out);
    status->out = NULL;
    if (status->redraw)
        lh_frame_draw(&status->frame, status->text, width(status), lh_term_rows(stdout));
    else
        lh_frame_print(stdout, status->text, run->args->n_operands == 0 ? width(status) : 0);
    free(status->shown);
    status->shown = status->text;
    status->text = NULL;
    status->looking = false;
    run->silent = status->redraw; /* from now on there is a frame to say it in */
    if (!lh_queue_run_flush(run))
        return;
    if (over || !run->args->watch)
        lh_queue_run_end(run, LH_EXIT_OK);
}

/* Whether an operation went well. A watch comes again when Redis could not answer. */
static bool answered(struct status *status, int ret, const char *text)
{
    struct lh_queue_run *run = &status->run;

    if (ret == 0 && !run->ending)
        return true;
    drop_text(status);
    status->looking = false;
    if (!run->args->watch || (ret != -LH_E_NETWORK && ret != -LH_E_BUSY))
        lh_queue_run_fail(run, ret, text);
    return false;
}

/* ---- all tasks ---------------------------------------------------------------------------- */

static void next_section(struct status *status, const char *after);

static void put_tasks(struct status *status, const struct lh_task_list *list)
{
    const struct lh_args *args = status->run.args;
    uint64_t count = status->counts[sections[status->section].state];
    char number[LH_VIEW_COUNT_SIZE];

    for (size_t i = 0; i < list->n; i++) {
        const struct lh_task_info *task = &list->tasks[i];

        if (args->watch && !status->redraw && !lh_seen_changed(&status->seen, task))
            continue;
        if (args->json)
            lh_queue_run_wrote(&status->run, lh_queue_json_task(task, list->now_ms, false));
        else if (args->watch && !status->redraw)
            lh_view_task_line(status->out, task, list->now_ms);
        else
            lh_view_task(status->out, task, list->now_ms, width(status));
    }
    if (!args->json && (status->redraw || !args->watch) && list->n > 0 && count > list->n)
        fprintf(status->out, "%10sand %s more\n", "", lh_view_count(number, count - list->n));
}

static void on_list(void *arg, int ret, const char *text, const struct lh_task_list *list)
{
    struct status *status = arg;

    if (!answered(status, ret, text))
        return;
    put_tasks(status, list);
    /* Programs get all of them, page by page. */
    if (list->more && status->run.args->json && !status->run.args->watch) {
        next_section(status, list->next);
        return;
    }
    status->section++;
    next_section(status, NULL);
}

/* The tasks of the state at hand, from `after` on (NULL: the first). */
static void next_section(struct status *status, const char *after)
{
    const struct lh_args *args = status->run.args;
    size_t max;
    int ret;

    if (status->section == N_SECTIONS) {
        end_look(status, false);
        return;
    }
    max = args->json                       ? LH_QUEUE_LIST_MAX
          : args->watch && !status->redraw ? LOG_MAX
                                           : sections[status->section].max;
    ret = lh_queue_list(status->run.queue, sections[status->section].state, after, max, on_list,
                        status);
    if (ret != 0)
        (void)answered(status, ret, "");
}

static void on_overview(void *arg, int ret, const char *text, const struct lh_queue_overview *view)
{
    struct status *status = arg;
    struct lh_queue_run *run = &status->run;

    if (!answered(status, ret, text))
        return;
    status->counts[LH_TASK_ACTIVE] = view->active;
    status->counts[LH_TASK_DELAYED] = view->delayed;
    status->counts[LH_TASK_PAUSED] = view->paused;
    status->counts[LH_TASK_DEAD] = view->dead;
    status->counts[LH_TASK_QUEUED] = 0;
    for (int i = 0; i < LH_N_PRIORITIES; i++)
        status->counts[LH_TASK_QUEUED] += view->queued[i];
    if (run->args->json) {
        lh_queue_run_wrote(&status->run, lh_queue_json_counts(view));
    } else if (status->redraw || !run->args->watch) {
        fprintf(status->out, "queue %s at %s: ", run->name, run->where);
        lh_view_counts(status->out, view);
        putc('\n', status->out);
    }
    status->section = 0;
    next_section(status, NULL);
}

/* ---- one task ----------------------------------------------------------------------------- */

static void no_such_task(struct status *status)
{
    struct lh_queue_run *run = &status->run;
    const char *id = run->args->operands[0];
    char shown[256];

    drop_text(status);
    lh_term_line(run->term, "error: there is no task '%s' in queue %s at %s",
                 lh_text_escape(shown, sizeof(shown), id, strlen(id)), run->name, run->where);
    lh_term_line(run->term, "hint: `longhaul status` lists the tasks; ended ones are kept for some "
                            "days");
    lh_queue_run_end(run, LH_EXIT_USAGE);
}

static void on_task(void *arg, int ret, const char *text, const struct lh_task_detail *detail)
{
    struct status *status = arg;
    const struct lh_args *args = status->run.args;
    bool as_log = args->watch && !status->redraw;
    enum lh_task_state state;

    if (!answered(status, ret, text))
        return;
    if (detail == NULL) {
        no_such_task(status);
        return;
    }
    if (!as_log || lh_seen_changed(&status->seen, &detail->task)) {
        if (args->json)
            lh_queue_run_wrote(&status->run,
                               lh_queue_json_task(&detail->task, detail->now_ms, true));
        else if (as_log)
            lh_view_task_line(status->out, &detail->task, detail->now_ms);
        else
            lh_view_detail(status->out, detail, width(status));
    }
    state = detail->task.state;
    end_look(status, state == LH_TASK_DONE || state == LH_TASK_DEAD || state == LH_TASK_CANCELLED);
}

static void look(struct lh_queue_run *run)
{
    struct status *status = LH_CONTAINER_OF(run, struct status, run);
    const char *id = run->args->n_operands > 0 ? run->args->operands[0] : NULL;
    int ret;

    if (status->looking)
        return;
    if (id != NULL && !lh_task_id_valid(id, strlen(id))) {
        no_such_task(status);
        return;
    }
    begin_text(status);
    if (run->ending)
        return;
    status->looking = true;
    ret = id != NULL ? lh_queue_get(run->queue, id, on_task, status)
                     : lh_queue_overview(run->queue, on_overview, status);
    if (ret != 0)
        (void)answered(status, ret, "");
}

static void tick(struct lh_queue_run *run)
{
    struct status *status = LH_CONTAINER_OF(run, struct status, run);

    if (lh_queue_up(run->queue)) {
        look(run);
        return;
    }
    if (!status->redraw || status->shown == NULL || status->looking)
        return;
    begin_text(status);
    if (run->ending)
        return;
    fprintf(status->out, "%s%s; trying again\n", status->shown, run->away);
    fclose(status->out);
    status->out = NULL;
    lh_frame_draw(&status->frame, status->text, width(status), lh_term_rows(stdout));
    free(status->text);
    status->text = NULL;
}

int lh_cmd_status(const struct lh_args *args, struct lh_term *term)
{
    struct status status = {
        .run = {.args = args, .term = term, .ready = look, .tick = args->watch ? tick : NULL},
        .frame = {.out = stdout},
        .redraw = args->watch && !args->json && lh_term_is_terminal(stdout)};
    int code;

    lh_seen_init(&status.seen);
    code = lh_queue_run(&status.run);
    drop_text(&status);
    free(status.shown);
    lh_seen_free(&status.seen);
    return code;
}
