/* longhaul send: move one file, showing how it goes. (A tree: cmd_tree.c.)
 *
 * Happy path: start -> start event (once for each session) -> progress -> delivered: done event,
 * summary -> done.
 * A signal cancels; done then says "interrupted". When the reader of --json goes away it is
 * cancelled as well, in silence. Failures: the engine's sentence, a hint, and the exit code of the
 * status. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/stop.h"
#include "util/text.h"
#include "util/url.h"

#include <errno.h>
#include <string.h>

struct sender {
    const struct lh_args *args;
    struct lh_term *term;
    struct lh_url url;
    struct lh_send *send; /* NULL when done */
    struct lh_stop stop;
    bool bar;    /* redraw a line */
    bool report; /* or write one now and then */
    bool started;
    bool delivered;
    bool stdout_failed;
    int stdout_status; /* of the failure */
    double reported_s;
    int code;
    char source[512]; /* both safe to show */
    char target[512];
};

/* End an event's line. Standard output that fails ends the transfer: whoever asked for events must
 * not be led to believe that there were none. */
static void end_event(struct sender *s, struct lh_json *json)
{
    int ret = lh_json_end(json);

    if (ret == 0 || s->stdout_failed)
        return;
    s->stdout_failed = true;
    s->stdout_status = ret;
    if (ret != -LH_E_CANCELLED)
        lh_term_line(s->term, "error: cannot write to standard output: %s", strerror(errno));
    if (s->send != NULL)
        lh_send_cancel(s->send);
}

static void on_start(void *arg, const struct lh_send_stats *stats)
{
    struct sender *s = arg;
    struct lh_json json;
    char size[24];
    char there[24];

    if (s->args->json && !s->stdout_failed) {
        lh_json_begin(&json, stdout);
        lh_json_stats(&json, "start", stats);
        lh_json_name(&json, "source", s->args->operands[0], strlen(s->args->operands[0]));
        lh_json_name(&json, "destination", s->args->operands[1], strlen(s->args->operands[1]));
        end_event(s, &json);
    }
    if (!s->args->quiet && !s->args->json) {
        if (s->started)
            lh_term_line(s->term, "connected again: %s of %s are safe at the receiver",
                         lh_text_bytes(there, sizeof(there), stats->bytes_durable),
                         lh_text_bytes(size, sizeof(size), stats->bytes_total));
        else if (stats->kept)
            ; /* said at the end */
        else if (stats->bytes_skipped > 0)
            lh_term_line(s->term, "sending %s (%s) to %s, resumed: %s are there already", s->source,
                         lh_text_bytes(size, sizeof(size), stats->bytes_total), s->target,
                         lh_text_bytes(there, sizeof(there), stats->bytes_skipped));
        else
            lh_term_line(s->term, "sending %s (%s) to %s", s->source,
                         lh_text_bytes(size, sizeof(size), stats->bytes_total), s->target);
    }
    s->started = true;
}

static void on_progress(void *arg, const struct lh_send_stats *stats)
{
    struct sender *s = arg;
    char text[LH_PROGRESS_TEXT_SIZE];
    struct lh_json json;

    /* A reader that has stopped reading must not hold up the transfer: it misses a line. */
    if (s->args->json && !s->stdout_failed && lh_term_takes_more(stdout)) {
        lh_json_begin(&json, stdout);
        lh_json_stats(&json, "progress", stats);
        end_event(s, &json);
    }
    if (!s->started)
        return;
    if (s->bar) {
        /* The last column stays free: some terminals wrap when it is written. */
        lh_term_bar(s->term, lh_progress_bar(text, stats, lh_term_width(stderr) - 1));
    } else if (s->report && stats->duration_s - s->reported_s >= LH_PROGRESS_REPORT_S) {
        s->reported_s = stats->duration_s;
        lh_term_line(s->term, "%s: %s", s->source, lh_progress_report(text, stats));
    }
}

/* What was there stays, as --existing has it. */
static void say_kept(struct sender *s)
{
    static const char *const why[] = {
        [LH_EXISTING_DIFFERENT] = " (same size and time)",
        [LH_EXISTING_SKIP] = "",
        [LH_EXISTING_REPLACE] = "",
        [LH_EXISTING_NEWER] = " (no older)",
    };

    lh_term_line(s->term, "kept: %s is there already%s", s->target, why[s->args->send.existing]);
}

static void say_done(struct sender *s, const struct lh_send_stats *stats)
{
    char text[LH_PROGRESS_TEXT_SIZE];

    if (s->args->quiet || s->args->json)
        return;
    if (stats->kept) {
        say_kept(s);
        return;
    }
    if (stats->bytes_sent == 0 && stats->bytes_skipped > 0)
        lh_term_line(s->term, "%s is at %s already, whole; nothing was sent", s->source, s->target);
    else
        lh_term_line(s->term, "sent %s: %s", s->source, lh_progress_summary(text, stats));
    lh_progress_remarks(text, stats);
    if (text[0] != '\0')
        lh_term_line(s->term, "%s", text);
    if (stats->limit[0] != '\0')
        lh_term_line(s->term, "limit: %s (%s)", stats->limit, stats->limit_reason);
    if (stats->digest[0] != '\0')
        lh_term_line(s->term, "digest %s", stats->digest);
}

static void say_failed(struct sender *s, int status, const char *text,
                       const struct lh_send_stats *stats)
{
    char safe[24];

    if (status != -LH_E_CANCELLED) {
        (void)lh_cmd_fail(s->term, status, text);
        return;
    }
    if (s->stdout_failed || s->args->quiet)
        return;
    if (s->started)
        lh_term_line(s->term,
                     "interrupted: %s are safe at the receiver; run the same command to go on",
                     lh_text_bytes(safe, sizeof(safe), stats->bytes_durable));
    else
        lh_term_line(s->term, "interrupted before anything was sent; run the same command again");
}

static void end_json(struct sender *s, int status, const char *text,
                     const struct lh_send_stats *stats)
{
    struct lh_json json;

    if (!s->args->json || s->stdout_failed)
        return;
    lh_json_begin(&json, stdout);
    lh_json_stats(&json, status == 0 ? "done" : "error", stats);
    lh_json_outcome(&json, status, text);
    end_event(s, &json);
}

/* Told before the receiver forgets the transfer: killed any earlier, the same command hears "done"
 * from the receiver's record. */
static void on_delivered(void *arg, const struct lh_send_stats *stats)
{
    struct sender *s = arg;

    s->delivered = true;
    lh_term_clear_bar(s->term);
    end_json(s, 0, "", stats);
    say_done(s, stats);
}

static void on_done(void *arg, int status, const char *text, const struct lh_send_stats *stats)
{
    struct sender *s = arg;

    s->send = NULL;
    lh_stop_close(&s->stop);
    lh_term_clear_bar(s->term);
    if (status == 0 && !s->delivered)
        on_delivered(s, stats);
    if (status != 0) {
        end_json(s, status, text, stats);
        say_failed(s, status, text, stats);
    }
    s->code = status == 0 ? LH_EXIT_OK : (int)lh_status_exit(status);
    if (s->stdout_failed && (status == 0 || status == -LH_E_CANCELLED))
        s->code = (int)lh_status_exit(s->stdout_status);
}

static void on_stop(void *arg, int signum)
{
    struct sender *s = arg;

    if (!s->args->quiet)
        lh_term_line(s->term, "stopping; a second signal stops at once");
    if (s->send != NULL)
        lh_send_cancel(s->send);
}

static int start(struct sender *s, uv_loop_t *loop)
{
    struct lh_send_options opts = lh_cmd_send_options(s->args, &s->url, s->bar, s->term);
    struct lh_send_callbacks cbs = {.start = on_start,
                                    .progress = on_progress,
                                    .delivered = on_delivered,
                                    .done = on_done,
                                    .arg = s};
    struct lh_send_stats none = {.transfer = ""};
    int ret;

    opts.source = s->args->operands[0];
    if (lh_stop_init(&s->stop, loop, on_stop, s) != 0)
        return lh_cmd_fail(s->term, -LH_E_INTERNAL, "cannot watch for signals");
    ret = lh_send_start(loop, &opts, &cbs, &s->send);
    if (ret != 0) {
        lh_stop_close(&s->stop);
        end_json(s, ret, "", &none);
        return lh_cmd_fail(s->term, ret, "");
    }
    return 0;
}

/* The address, and behind a slash the name that the file gets there. */
static void show_target(struct sender *s)
{
    const char *address = s->args->operands[1];
    const char *source = s->args->operands[0];
    const char *name = strrchr(source, '/');
    size_t used;

    lh_text_escape(s->target, sizeof(s->target), address, strlen(address));
    if (s->url.path[s->url.path_len - 1] != '/')
        return;
    used = strlen(s->target);
    if (used + 1 < sizeof(s->target) && s->target[used - 1] != '/') /* of lh://host alone */
        s->target[used++] = '/';
    name = name != NULL ? name + 1 : source;
    lh_text_escape(s->target + used, sizeof(s->target) - used, name, strlen(name));
}

int lh_cmd_send(const struct lh_args *args, struct lh_term *term)
{
    struct sender s = {.args = args, .term = term};
    struct lh_err err;
    uv_loop_t loop;
    int ret;

    if (lh_cmd_is_tree(args))
        return lh_cmd_tree(args, term);
    ret = lh_url_parse(&s.url, args->operands[1], &err);
    if (ret != 0)
        return lh_cmd_fail(term, ret, err.text);
    if (uv_loop_init(&loop) != 0) {
        lh_url_free(&s.url);
        return lh_cmd_fail(term, -LH_E_INTERNAL, "cannot set up an event loop");
    }
    lh_text_escape(s.source, sizeof(s.source), args->operands[0], strlen(args->operands[0]));
    show_target(&s);
    s.bar = !args->quiet && !args->json && lh_term_is_terminal(stderr);
    s.report = !args->quiet && !args->json && !s.bar;
    ret = start(&s, &loop);
    uv_run(&loop, UV_RUN_DEFAULT);
    LH_INVARIANT(uv_loop_close(&loop) == 0);
    lh_url_free(&s.url);
    return ret != 0 ? ret : s.code;
}
