/* longhaul pause, resume, cancel, retry: one word to the queue about each task.
 *
 * Happy path: connected -> one task after the other, each answered in a line -> the worst of their
 * exit codes. Failures: a task that is not there, or in a state where that makes no sense: said for
 * each, and the others still have their turn. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/queue_run.h"
#include "util/text.h"

#include <string.h>

struct control {
    struct lh_queue_run run;
    enum lh_queue_verb verb;
    size_t at; /* operand that is asked for */
    int code;
};

static const char *const verbs[LH_N_QUEUE_VERBS] = {
    [LH_QUEUE_PAUSE] = "pause", [LH_QUEUE_RESUME] = "resume", [LH_QUEUE_CANCEL] = "cancel",
    [LH_QUEUE_RETRY] = "retry", [LH_QUEUE_DROP] = "drop",
};
static const char *const effects[LH_N_EFFECTS] = {
    [LH_EFFECT_OK] = "ok",           [LH_EFFECT_ASKED] = "asked",
    [LH_EFFECT_ALREADY] = "already", [LH_EFFECT_REFUSED] = "refused",
    [LH_EFFECT_UNKNOWN] = "unknown",
};

static int exit_of(enum lh_queue_effect effect)
{
    switch (effect) {
    case LH_EFFECT_UNKNOWN:
        return LH_EXIT_USAGE;
    case LH_EFFECT_REFUSED:
        return LH_EXIT_REFUSED;
    default:
        return LH_EXIT_OK;
    }
}

static void say(struct control *control, const char *id, enum lh_queue_effect effect,
                enum lh_task_state state)
{
    struct lh_term *term = control->run.term;
    const char *name = lh_task_state_name(state);

    switch (effect) {
    case LH_EFFECT_OK:
        lh_term_line(term, "%s is %s", id, name);
        break;
    case LH_EFFECT_ASKED:
        lh_term_line(term, "%s is %s: its worker is told with its next report, within seconds", id,
                     name);
        break;
    case LH_EFFECT_ALREADY:
        lh_term_line(term,
                     state == LH_TASK_ACTIVE ? "%s is %s, and has been asked for that already"
                                             : "%s is %s already",
                     id, name);
        break;
    case LH_EFFECT_REFUSED:
        lh_term_line(term, "error: %s is %s: there is nothing to %s", id, name,
                     verbs[control->verb]);
        break;
    default:
        lh_term_line(term, "error: there is no task '%s' in queue %s at %s", id, control->run.name,
                     control->run.where);
        lh_term_line(term, "hint: `longhaul status` lists the tasks; ended ones are kept for some "
                           "days");
        break;
    }
}

static void next(struct control *control);

static void on_control(void *arg, int status, const char *text, enum lh_queue_effect effect,
                       enum lh_task_state state)
{
    struct control *control = arg;
    const char *id = control->run.args->operands[control->at];
    struct lh_json json;
    char shown[256];
    int code;

    if (control->run.ending)
        return;
    if (status != 0) {
        lh_queue_run_fail(&control->run, status, text);
        return;
    }
    lh_text_escape(shown, sizeof(shown), id, strlen(id));
    code = exit_of(effect);
    if (control->run.args->json) {
        lh_json_begin(&json, stdout);
        lh_json_text(&json, "event", "control");
        lh_json_text(&json, "task", id);
        lh_json_text(&json, "verb", verbs[control->verb]);
        lh_json_text(&json, "effect", effects[effect]);
        lh_json_text(&json, "state", effect == LH_EFFECT_UNKNOWN ? "" : lh_task_state_name(state));
        lh_queue_run_wrote(&control->run, lh_json_end(&json));
        if (!lh_queue_run_flush(&control->run))
            return;
    }
    if (!control->run.args->json || code != 0)
        say(control, shown, effect, state);
    control->code = code > control->code ? code : control->code;
    control->at++;
    next(control);
}

static void next(struct control *control)
{
    const char *id;
    int ret;

    if (control->at == control->run.args->n_operands) {
        lh_queue_run_end(&control->run, control->code);
        return;
    }
    id = control->run.args->operands[control->at];
    if (!lh_task_id_valid(id, strlen(id))) {
        on_control(control, 0, "", LH_EFFECT_UNKNOWN, LH_TASK_QUEUED);
        return;
    }
    ret = lh_queue_control(control->run.queue, control->verb, id, on_control, control);
    if (ret != 0)
        lh_queue_run_fail(&control->run, ret, "");
}

static void ready(struct lh_queue_run *run)
{
    next(LH_CONTAINER_OF(run, struct control, run));
}

static int run_verb(const struct lh_args *args, struct lh_term *term, enum lh_queue_verb verb)
{
    struct control control = {.run = {.args = args, .term = term, .ready = ready}, .verb = verb};

    return lh_queue_run(&control.run);
}

int lh_cmd_pause(const struct lh_args *args, struct lh_term *term)
{
    return run_verb(args, term, LH_QUEUE_PAUSE);
}

int lh_cmd_resume(const struct lh_args *args, struct lh_term *term)
{
    return run_verb(args, term, LH_QUEUE_RESUME);
}

int lh_cmd_cancel(const struct lh_args *args, struct lh_term *term)
{
    return run_verb(args, term, LH_QUEUE_CANCEL);
}

int lh_cmd_retry(const struct lh_args *args, struct lh_term *term)
{
    return run_verb(args, term, LH_QUEUE_RETRY);
}
