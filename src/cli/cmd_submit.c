/* longhaul submit: one task for each destination; with --wait, until all of them have ended.
 *
 * Happy path: every destination is checked -> connected -> submitted one after the other, each id
 * printed -> with --wait each second each of them is looked at -> the worst outcome's exit code.
 * Failures: a field that is wrong, before anything is submitted; Redis, and then the ids that were
 * printed are those of tasks that exist. */
#include "cli/cmd.h"
#include "cli/frame.h"
#include "cli/json.h"
#include "cli/queue_json.h"
#include "cli/queue_run.h"
#include "cli/rules.h"
#include "cli/seen.h"
#include "cli/task_view.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(LH_PRIORITY_HIGH == 0 && LH_PRIORITY_NORMAL == 1 && LH_PRIORITY_LOW == 2,
               "the table's choices of --priority are in this order");

#define MAX_FIELDS 24
#define NUMBER_SIZE 24

struct submitted {
    char id[LH_TASK_ID_SIZE];
    bool ended;
    int code;
};

struct submit {
    struct lh_queue_run run;
    struct lh_frame frame; /* of --wait on a terminal */
    struct lh_seen seen;   /* of --wait elsewhere */
    bool redraw;
    bool looking;
    char *source;            /* owned: the absolute path */
    char *filter;            /* owned: rules, a line each; NULL none */
    struct submitted *tasks; /* owned: one a destination */
    size_t n_tasks;
    size_t n_submitted;
    size_t at; /* that is looked at */
    FILE *out; /* the next frame */
    char *text;
    size_t len;
};

/* ---- fields of a task --------------------------------------------------------------------- */

struct fields {
    struct lh_field v[MAX_FIELDS];
    size_t n;
    char numbers[MAX_FIELDS][NUMBER_SIZE];
    char preserve[LH_TASK_PRESERVE_SIZE];
};

static void add(struct fields *fields, const char *name, const char *value)
{
    LH_REQUIRE(fields->n < MAX_FIELDS);
    fields->v[fields->n++] = (struct lh_field){name, strlen(name), value, strlen(value)};
}

/* What is as by default is left to the worker. */
static void add_number(struct fields *fields, const char *name, uint64_t value, uint64_t usual)
{
    char *text = fields->numbers[fields->n];

    if (value == usual)
        return;
    snprintf(text, NUMBER_SIZE, "%" PRIu64, value);
    add(fields, name, text);
}

static void add_flag(struct fields *fields, const char *name, bool value)
{
    if (value)
        add(fields, name, "1");
}

static void fill_tree_fields(struct fields *fields, const struct submit *submit)
{
    const struct lh_tree_options *tree = &submit->run.args->tree;
    struct lh_tree_options usual;

    lh_tree_options_init(&usual);
    if (submit->filter != NULL)
        add(fields, "filter", submit->filter);
    if (tree->links != usual.links)
        add(fields, "links", lh_task_links_name(tree->links));
    if (tree->preserve != usual.preserve)
        add(fields, "preserve", lh_task_preserve_text(fields->preserve, tree->preserve));
    add_flag(fields, "numeric-ids", tree->numeric_ids);
    add_flag(fields, "devices", submit->run.args->devices);
    add_flag(fields, "checksum", tree->checksum);
    add_flag(fields, "one-file-system", tree->one_file_system);
    add_flag(fields, "stop-on-error", tree->stop_on_error);
    add_flag(fields, "delete", tree->remove);
    add_number(fields, "max-delete", tree->max_removed, usual.max_removed);
}

static void fill_fields(struct fields *fields, const struct submit *submit, size_t at)
{
    const struct lh_args *args = submit->run.args;
    struct lh_send_options usual;

    lh_send_options_init(&usual);
    fields->n = 0;
    add_number(fields, "v", LH_TASK_VERSION, 0);
    add(fields, "source", submit->source);
    add(fields, "destination", args->operands[1 + at]);
    if (args->retries != NULL)
        add(fields, "retries", args->retries);
    add_number(fields, "streams", args->send.streams, usual.streams);
    add_number(fields, "max-streams", args->send.max_streams, usual.max_streams);
    add_number(fields, "limit-rate", args->send.limit_bps, usual.limit_bps);
    add_number(fields, "block-size", args->send.block_bytes, usual.block_bytes);
    if (args->send.share != usual.share)
        add(fields, "share", args->send.share == LH_SHARE_FULL ? "full" : "background");
    if (args->send.existing != usual.existing)
        add(fields, "existing", lh_task_existing_name(args->send.existing));
    add_flag(fields, "no-clobber", args->send.no_clobber);
    add_flag(fields, "insecure", args->send.insecure);
    add_flag(fields, "sparse", args->send.sparse);
    fill_tree_fields(fields, submit);
}

/* Rules as the text of a field. Returns 0, or an exit code after saying why. */
static int write_filter(struct submit *submit)
{
    const struct lh_args *args = submit->run.args;
    struct lh_rules rules;
    struct lh_err err = {0};
    size_t size;
    FILE *out;
    int ret = lh_rules_load(&rules, args, &err);

    if (ret == 0 && rules.n > 0) {
        out = open_memstream(&submit->filter, &size);
        if (out == NULL)
            ret = lh_err_set(&err, LH_E_NOMEM, "out of memory");
        for (size_t i = 0; i < rules.n && ret == 0; i++) {
            if (strchr(rules.v[i].pattern, '\n') != NULL)
                ret = lh_err_set(&err, LH_E_INVAL, "a pattern of a task has no newline in it");
            fprintf(out, "%c %s\n", rules.v[i].include ? '+' : '-', rules.v[i].pattern);
        }
        if (out != NULL && fclose(out) != 0 && ret == 0)
            ret = lh_err_set(&err, LH_E_NOMEM, "out of memory");
    }
    lh_rules_free(&rules);
    return ret != 0 ? lh_cmd_fail(submit->run.term, ret, err.text) : 0;
}

/* The worker has another directory: names go there whole. */
static char *absolute(const char *source)
{
    char *directory;
    char *path;
    size_t size;

    if (source[0] == '/')
        return strdup(source);
    directory = getcwd(NULL, 0);
    if (directory == NULL)
        return NULL;
    size = strlen(directory) + 1 + strlen(source) + 1;
    path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, source);
    free(directory);
    return path;
}

/* Returns 0, or an exit code after saying why. */
static int check(const struct submit *submit)
{
    for (size_t i = 0; i < submit->n_tasks; i++) {
        struct fields fields;
        struct lh_task task;
        struct lh_err err;
        int ret;

        fill_fields(&fields, submit, i);
        ret = lh_task_parse(&task, fields.v, fields.n, &err);
        if (ret != 0)
            return lh_cmd_fail(submit->run.term, ret, err.text);
        lh_task_free(&task);
    }
    return 0;
}

/* ---- waiting ------------------------------------------------------------------------------ */

static int status_of_name(const char *name)
{
    for (int i = 1; i < LH_E_MAX; i++) {
        if (strcmp(lh_status_name(i), name) == 0)
            return i;
    }
    return LH_E_INTERNAL;
}

static int code_of(const struct lh_task_info *task)
{
    if (task->state == LH_TASK_DONE)
        return LH_EXIT_OK;
    if (task->state == LH_TASK_CANCELLED)
        return LH_EXIT_INTERRUPTED;
    return (int)lh_status_exit(status_of_name(task->error_status));
}

/* A dead one is worse than one that somebody cancelled. */
static int worst_code(const struct submit *submit)
{
    int worst = LH_EXIT_OK;

    for (size_t i = 0; i < submit->n_tasks; i++) {
        int code = submit->tasks[i].code;

        if (code != LH_EXIT_OK && (worst == LH_EXIT_OK || worst == LH_EXIT_INTERRUPTED))
            worst = code;
    }
    return worst;
}

static void look_at_next(struct submit *submit);

static void drop_text(struct submit *submit)
{
    if (submit->out == NULL)
        return;
    fclose(submit->out);
    free(submit->text);
    submit->out = NULL;
}

static void show(struct submit *submit, const struct lh_task_info *task, uint64_t now_ms)
{
    if (submit->redraw) {
        lh_view_task(submit->out, task, now_ms, lh_term_width(stderr) - 1);
        return;
    }
    if (!lh_seen_changed(&submit->seen, task))
        return;
    if (submit->run.args->json)
        lh_queue_run_wrote(&submit->run, lh_queue_json_task(task, now_ms, false));
    else
        lh_view_task_line(stderr, task, now_ms);
}

static void look_over(struct submit *submit)
{
    bool ended = true;

    fclose(submit->out);
    submit->out = NULL;
    if (submit->redraw)
        lh_frame_draw(&submit->frame, submit->text, lh_term_width(stderr) - 1,
                      lh_term_rows(stderr));
    free(submit->text);
    submit->looking = false;
    if (!lh_queue_run_flush(&submit->run))
        return;
    for (size_t i = 0; i < submit->n_tasks; i++)
        ended &= submit->tasks[i].ended;
    if (ended)
        lh_queue_run_end(&submit->run, worst_code(submit));
}

static void on_task(void *arg, int status, const char *text, const struct lh_task_detail *detail)
{
    struct submit *submit = arg;
    struct submitted *task = &submit->tasks[submit->at];

    if (submit->run.ending)
        return;
    if (status == -LH_E_NETWORK || status == -LH_E_BUSY) { /* the next tick looks again */
        drop_text(submit);
        submit->looking = false;
        return;
    }
    if (status != 0) {
        lh_queue_run_fail(&submit->run, status, text);
        return;
    }
    if (detail == NULL) {
        if (!task->ended)
            lh_term_line(submit->run.term,
                         "error: the queue has forgotten %s: whether it was done is not known",
                         task->id);
        task->code = task->ended ? task->code : LH_EXIT_NETWORK;
        task->ended = true;
    } else {
        enum lh_task_state state = detail->task.state;

        show(submit, &detail->task, detail->now_ms);
        task->ended = state == LH_TASK_DONE || state == LH_TASK_DEAD || state == LH_TASK_CANCELLED;
        task->code = task->ended ? code_of(&detail->task) : LH_EXIT_OK;
    }
    submit->at++;
    look_at_next(submit);
}

static void look_at_next(struct submit *submit)
{
    int ret;

    /* What has ended is still drawn, but no more a subject of lines. */
    while (submit->at < submit->n_tasks && !submit->redraw && submit->tasks[submit->at].ended)
        submit->at++;
    if (submit->at == submit->n_tasks) {
        look_over(submit);
        return;
    }
    ret = lh_queue_get(submit->run.queue, submit->tasks[submit->at].id, on_task, submit);
    if (ret != 0)
        on_task(submit, ret, "", NULL);
}

static void look(struct lh_queue_run *run)
{
    struct submit *submit = LH_CONTAINER_OF(run, struct submit, run);

    if (submit->looking || submit->n_submitted < submit->n_tasks || !lh_queue_up(run->queue))
        return;
    submit->out = open_memstream(&submit->text, &submit->len);
    if (submit->out == NULL) {
        lh_queue_run_end(run, lh_cmd_fail(run->term, -LH_E_NOMEM, ""));
        return;
    }
    submit->looking = true;
    submit->at = 0;
    look_at_next(submit);
}

static void asked_to_stop(struct lh_queue_run *run)
{
    struct submit *submit = LH_CONTAINER_OF(run, struct submit, run);

    if (submit->n_submitted == submit->n_tasks)
        lh_term_line(run->term, "not waiting any longer; the tasks go on (`longhaul status`)");
}

/* ---- submitting --------------------------------------------------------------------------- */

static void submit_next(struct submit *submit);

static void on_submitted(void *arg, int status, const char *text, const char *id)
{
    struct submit *submit = arg;
    const struct lh_args *args = submit->run.args;
    const char *destination = args->operands[1 + submit->n_submitted];
    struct lh_json json;

    if (submit->run.ending)
        return;
    if (status != 0) {
        lh_queue_run_fail(&submit->run, status, text);
        return;
    }
    snprintf(submit->tasks[submit->n_submitted++].id, LH_TASK_ID_SIZE, "%s", id);
    if (args->json) {
        lh_json_begin(&json, stdout);
        lh_json_text(&json, "event", "submitted");
        lh_json_text(&json, "task", id);
        lh_json_name(&json, "source", submit->source, strlen(submit->source));
        lh_json_name(&json, "destination", destination, strlen(destination));
        lh_json_text(&json, "priority", lh_priority_name((enum lh_priority)args->priority));
        lh_queue_run_wrote(&submit->run, lh_json_end(&json));
    } else {
        printf("%s\n", id);
    }
    if (!lh_queue_run_flush(&submit->run))
        return;
    submit_next(submit);
}

static void submit_next(struct submit *submit)
{
    const struct lh_args *args = submit->run.args;
    struct fields fields;
    int ret;

    if (submit->n_submitted == submit->n_tasks) {
        if (args->wait)
            look(&submit->run);
        else
            lh_queue_run_end(&submit->run, LH_EXIT_OK);
        return;
    }
    fill_fields(&fields, submit, submit->n_submitted);
    ret = lh_queue_submit(submit->run.queue, (enum lh_priority)args->priority, fields.v, fields.n,
                          on_submitted, submit);
    if (ret != 0)
        lh_queue_run_fail(&submit->run, ret, "");
}

static void ready(struct lh_queue_run *run)
{
    submit_next(LH_CONTAINER_OF(run, struct submit, run));
}

int lh_cmd_submit(const struct lh_args *args, struct lh_term *term)
{
    struct submit submit = {.run = {.args = args,
                                    .term = term,
                                    .ready = ready,
                                    .tick = args->wait ? look : NULL,
                                    .asked_to_stop = asked_to_stop},
                            .frame = {.out = stderr},
                            .redraw = !args->json && lh_term_is_terminal(stderr),
                            .n_tasks = args->n_operands - 1};
    int code = 0;

    lh_seen_init(&submit.seen);
    submit.source = absolute(args->operands[0]);
    submit.tasks = calloc(submit.n_tasks, sizeof(*submit.tasks));
    if (submit.source == NULL || submit.tasks == NULL)
        code = lh_cmd_fail(term, -LH_E_NOMEM, "");
    if (code == 0)
        code = write_filter(&submit);
    if (code == 0)
        code = check(&submit);
    if (code == 0)
        code = lh_queue_run(&submit.run);
    drop_text(&submit);
    lh_seen_free(&submit.seen);
    free(submit.tasks);
    free(submit.filter);
    free(submit.source);
    return code;
}
