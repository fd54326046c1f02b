/* longhaul send, of directories and several sources: move a tree, showing how it goes.
 *
 * Happy path: rules are read -> start -> start event -> progress, and what becomes of entries:
 * failures always, everything with --dry-run or --verbose -> done: event, summary.
 * A signal cancels; so does a reader of standard output that goes away. Failures: those of entries
 * are named as they come, and at the end the exit code says that there were some. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/rules.h"
#include "cli/stop.h"
#include "util/text.h"
#include "util/url.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_TEXT_SIZE (4 * LH_ENTRY_PATH_MAX + 8)

struct tree_run {
    const struct lh_args *args;
    struct lh_term *term;
    struct lh_url url;
    struct lh_rules rules;
    struct lh_tree *tree; /* NULL when done */
    struct lh_stop stop;
    bool bar;    /* redraw a line */
    bool report; /* or write one now and then */
    bool started;
    bool stdout_failed;
    int stdout_status; /* of the failure */
    double reported_s;
    int code;
    bool changed;     /* something was made or removed */
    char source[512]; /* both safe to show */
    char target[512];
};

/* ---- is it one? --------------------------------------------------------------------------- */

/* Of the command line: what the environment says is for trees, and makes a file none. */
static bool has_tree_options(const struct lh_args *args)
{
    const struct lh_tree_options *o = &args->tree;
    const struct lh_tree_options *usual = &args->usual;

    return args->n_rules > 0 || args->devices != args->usual_devices || o->files_from != NULL ||
           o->links != usual->links || o->preserve != usual->preserve ||
           o->numeric_ids != usual->numeric_ids || o->checksum != usual->checksum ||
           o->one_file_system != usual->one_file_system || o->dry_run ||
           o->stop_on_error != usual->stop_on_error || o->remove;
}

bool lh_cmd_is_tree(const struct lh_args *args)
{
    struct stat st;

    return args->n_operands > 2 || has_tree_options(args) ||
           (stat(args->operands[0], &st) == 0 && S_ISDIR(st.st_mode));
}

/* One file that PATH gives a name to: a tree keeps names, so it has to be the same one. Then the
 * directory is what is left of PATH. (With a list of files the source has to be a directory, which
 * the engine says.) */
static int take_name_off(struct tree_run *t, struct lh_err *err)
{
    const char *source = t->args->operands[0];
    const char *name = strrchr(source, '/');
    const char *last;
    struct stat st;
    size_t len;

    if (t->args->n_operands > 2 || t->args->tree.files_from != NULL ||
        t->url.path[t->url.path_len - 1] == '/' || stat(source, &st) != 0 || S_ISDIR(st.st_mode))
        return 0;
    name = name != NULL ? name + 1 : source;
    last = memrchr(t->url.path, '/', t->url.path_len);
    last = last != NULL ? last + 1 : t->url.path;
    len = t->url.path_len - (size_t)(last - t->url.path);
    if (len != strlen(name) || memcmp(last, name, len) != 0)
        return lh_err_set(err, LH_E_INVAL,
                          "with options of trees a file keeps its name: let the PATH end in /, for "
                          "the directory that it goes to");
    t->url.path_len -= len;
    return 0;
}

/* ---- what is shown ------------------------------------------------------------------------ */

static void stdout_lost(struct tree_run *t, int status)
{
    if (t->stdout_failed)
        return;
    t->stdout_failed = true;
    t->stdout_status = status;
    if (status != -LH_E_CANCELLED)
        lh_term_line(t->term, "error: cannot write to standard output: %s", strerror(errno));
    if (t->tree != NULL)
        lh_tree_cancel(t->tree);
}

/* End an event's line. Standard output that fails ends the transfer: whoever asked for events must
 * not be led to believe that there were none. */
static void end_event(struct tree_run *t, struct lh_json *json)
{
    int ret = lh_json_end(json);

    if (ret != 0)
        stdout_lost(t, ret);
}

static void on_start(void *arg, const struct lh_tree_stats *stats)
{
    struct tree_run *t = arg;
    size_t n = t->args->n_operands - 1;
    struct lh_json json;

    t->started = true;
    if (t->args->json && !t->stdout_failed) {
        lh_json_begin(&json, stdout);
        lh_json_tree(&json, "start", stats);
        lh_json_name(&json, "source", t->args->operands[0], strlen(t->args->operands[0]));
        lh_json_u64(&json, "sources", n);
        lh_json_name(&json, "destination", t->args->operands[n], strlen(t->args->operands[n]));
        end_event(t, &json);
    }
    if (t->args->quiet || t->args->json)
        return;
    lh_term_line(t->term, "%s %s to %s", t->args->tree.dry_run ? "comparing" : "sending", t->source,
                 t->target);
}

static void on_progress(void *arg, const struct lh_tree_stats *stats)
{
    struct tree_run *t = arg;
    char text[LH_PROGRESS_TEXT_SIZE];
    struct lh_json json;

    /* A reader that has stopped reading must not hold up the transfer: it misses a line. */
    if (t->args->json && !t->stdout_failed && lh_term_takes_more(stdout)) {
        lh_json_begin(&json, stdout);
        lh_json_tree(&json, "progress", stats);
        end_event(t, &json);
    }
    if (!t->started)
        return;
    if (t->bar) {
        /* The last column stays free: some terminals wrap when it is written. */
        lh_term_bar(t->term, lh_progress_tree_bar(text, stats, lh_term_width(stderr) - 1));
    } else if (t->report && stats->send.duration_s - t->reported_s >= LH_PROGRESS_REPORT_S) {
        t->reported_s = stats->send.duration_s;
        lh_term_line(t->term, "%s: %s", t->source, lh_progress_tree_report(text, stats));
    }
}

static void entry_event(struct tree_run *t, enum lh_tree_what what, const char *path,
                        uint64_t bytes, int status, const char *text)
{
    static const char *const words[] = {[LH_TREE_SENT] = "send",
                                        [LH_TREE_MADE] = "make",
                                        [LH_TREE_KEPT] = "keep",
                                        [LH_TREE_REMOVED] = "remove",
                                        [LH_TREE_FAILED] = "failed"};
    struct lh_json json;

    lh_json_begin(&json, stdout);
    lh_json_text(&json, "event", "entry");
    lh_json_text(&json, "what", words[what]);
    if (path[0] != '\0') /* else only the message says which */
        lh_json_name(&json, "path", path, strlen(path));
    lh_json_u64(&json, "bytes", bytes);
    if (what == LH_TREE_FAILED) {
        lh_json_text(&json, "status", lh_status_name(status));
        lh_json_text(&json, "message", text[0] != '\0' ? text : lh_status_text(status));
    }
    /* There may be a million of them: what shows the progress flushes them, and so does the end. */
    lh_json_end_later(&json);
    if (ferror(stdout))
        stdout_lost(t, errno == EPIPE ? -LH_E_CANCELLED : -LH_E_INTERNAL);
}

/* A line of --dry-run. */
static void would(struct tree_run *t, enum lh_tree_what what, const char *shown, uint64_t bytes)
{
    char size[24];

    if (t->stdout_failed || (what == LH_TREE_KEPT && t->args->verbosity == 0))
        return;
    if (t->bar)
        lh_term_clear_bar(t->term);
    if (what == LH_TREE_SENT)
        printf("send   %s (%s)\n", shown, lh_text_bytes(size, sizeof(size), bytes));
    else
        printf("%s %s\n",
               what == LH_TREE_MADE   ? "make  "
               : what == LH_TREE_KEPT ? "keep  "
                                      : "remove",
               shown);
    if (ferror(stdout))
        stdout_lost(t, errno == EPIPE ? -LH_E_CANCELLED : -LH_E_INTERNAL);
}

static void on_entry(void *arg, enum lh_tree_what what, const char *path, uint64_t bytes,
                     int status, const char *text)
{
    static const char *const words[] = {[LH_TREE_SENT] = "sent",
                                        [LH_TREE_MADE] = "made",
                                        [LH_TREE_KEPT] = "kept",
                                        [LH_TREE_REMOVED] = "removed",
                                        [LH_TREE_FAILED] = "failed"};
    struct tree_run *t = arg;
    bool all = t->args->tree.dry_run || t->args->verbosity > 0;
    char shown[PATH_TEXT_SIZE];

    t->changed = t->changed || what == LH_TREE_MADE || what == LH_TREE_REMOVED;
    if (t->args->json && !t->stdout_failed && (what == LH_TREE_FAILED || all))
        entry_event(t, what, path, bytes, status, text);
    if (what == LH_TREE_FAILED && text[0] != '\0') {
        lh_term_line(t->term, "failed: %s", text);
        return;
    }
    if (what != LH_TREE_FAILED && (!all || t->args->json))
        return;
    lh_text_escape(shown, sizeof(shown), path, strlen(path));
    if (what == LH_TREE_FAILED)
        lh_term_line(t->term, "failed: %s: %s", shown, lh_status_text(status));
    else if (!t->args->tree.dry_run)
        lh_term_line(t->term, "%s %s", words[what], shown);
    else
        would(t, what, shown, bytes);
}

static void say_dry(struct tree_run *t, const struct lh_tree_stats *stats)
{
    char size[24];

    lh_term_line(
        t->term,
        "dry run: %" PRIu64 " file%s (%s) would be sent and %" PRIu64 " removed; %" PRIu64
        " of the files %s there already; nothing was changed",
        stats->files_sent, stats->files_sent == 1 ? "" : "s",
        lh_text_bytes(size, sizeof(size), stats->send.bytes_durable - stats->send.bytes_skipped),
        stats->removed, stats->files_kept, stats->files_kept == 1 ? "is" : "are");
}

/* All that was found was at the destination, and nothing else in its way. */
static bool all_there(const struct tree_run *t, const struct lh_tree_stats *stats)
{
    return !t->changed && stats->files_sent == 0 && stats->failed == 0 &&
           stats->files_kept + stats->dirs + stats->links + stats->others > 0;
}

static void say_end(struct tree_run *t, const struct lh_tree_stats *stats)
{
    char text[LH_PROGRESS_TEXT_SIZE];

    if (t->args->quiet || t->args->json)
        return;
    if (t->args->tree.dry_run) {
        say_dry(t, stats);
        return;
    }
    if (all_there(t, stats))
        lh_term_line(t->term, "%s %s at %s already; no file was sent", t->source,
                     t->args->n_operands > 2 ? "are" : "is", t->target);
    else if (stats->files_sent == 0)
        lh_term_line(t->term, "%s: no file was sent", t->source);
    else
        lh_term_line(t->term, "sent %s: %s", t->source, lh_progress_tree_summary(text, stats));
    lh_progress_tree_remarks(text, stats);
    if (text[0] != '\0')
        lh_term_line(t->term, "%s", text);
    if (stats->send.limit[0] != '\0')
        lh_term_line(t->term, "limit: %s (%s)", stats->send.limit, stats->send.limit_reason);
}

static void say_failed(struct tree_run *t, int status, const char *text,
                       const struct lh_tree_stats *stats)
{
    char safe[24];

    if (status != -LH_E_CANCELLED) {
        (void)lh_cmd_fail(t->term, status, text);
        return;
    }
    if (t->stdout_failed || t->args->quiet)
        return;
    if (t->started)
        lh_term_line(t->term,
                     "interrupted: %" PRIu64 " of %" PRIu64 "%s files (%s) are safe at the "
                     "receiver; run the same command to go on",
                     stats->files_sent + stats->files_kept, stats->files_total,
                     stats->walking ? "+" : "",
                     lh_text_bytes(safe, sizeof(safe), stats->send.bytes_durable));
    else
        lh_term_line(t->term, "interrupted before anything was sent; run the same command again");
}

static void end_json(struct tree_run *t, int status, const char *text,
                     const struct lh_tree_stats *stats)
{
    struct lh_json json;

    if (!t->args->json || t->stdout_failed)
        return;
    lh_json_begin(&json, stdout);
    lh_json_tree(&json, status == 0 ? "done" : "error", stats);
    lh_json_outcome(&json, status, text);
    end_event(t, &json);
}

static void on_done(void *arg, int status, const char *text, const struct lh_tree_stats *stats)
{
    struct tree_run *t = arg;

    t->tree = NULL;
    lh_stop_close(&t->stop);
    lh_term_clear_bar(t->term);
    end_json(t, status, text, stats);
    if (status == 0 || status == -LH_E_PARTIAL)
        say_end(t, stats);
    if (status != 0)
        say_failed(t, status, text, stats);
    t->code = (int)lh_status_exit(status);
    if (t->stdout_failed && (status == 0 || status == -LH_E_CANCELLED))
        t->code = (int)lh_status_exit(t->stdout_status);
}

static void on_stop(void *arg, int signum)
{
    struct tree_run *t = arg;

    if (!t->args->quiet)
        lh_term_line(t->term, "stopping; a second signal stops at once");
    if (t->tree != NULL)
        lh_tree_cancel(t->tree);
}

/* ---- the run ------------------------------------------------------------------------------ */

static int start(struct tree_run *t, uv_loop_t *loop)
{
    struct lh_tree_options opts = t->args->tree;
    struct lh_tree_callbacks cbs = {
        .start = on_start, .progress = on_progress, .entry = on_entry, .done = on_done, .arg = t};
    struct lh_tree_stats none = {.send = {.transfer = ""}};
    int ret;

    opts.send = lh_cmd_send_options(t->args, &t->url, t->bar, t->term);
    opts.existing = t->args->send.existing;
    opts.sources = t->args->operands;
    opts.n_sources = t->args->n_operands - 1;
    opts.rules = t->rules.v;
    opts.n_rules = t->rules.n;
    if (t->args->devices)
        opts.preserve |= LH_PRESERVE_DEVICES;
    if (lh_stop_init(&t->stop, loop, on_stop, t) != 0)
        return lh_cmd_fail(t->term, -LH_E_INTERNAL, "cannot watch for signals");
    ret = lh_tree_start(loop, &opts, &cbs, &t->tree);
    if (ret != 0) {
        lh_stop_close(&t->stop);
        end_json(t, ret, "", &none);
        return lh_cmd_fail(t->term, ret, "");
    }
    return 0;
}

static void show_sources(struct tree_run *t)
{
    const char *first = t->args->operands[0];
    char shown[sizeof(t->source) - 40];

    lh_text_escape(shown, sizeof(shown), first, strlen(first));
    if (t->args->n_operands > 2)
        snprintf(t->source, sizeof(t->source), "%s and %zu more", shown, t->args->n_operands - 2);
    else
        snprintf(t->source, sizeof(t->source), "%s", shown);
}

/* The address and the rules. Returns 0, or a status with its sentence. */
static int prepare(struct tree_run *t, struct lh_err *err)
{
    const char *address = t->args->operands[t->args->n_operands - 1];
    int ret;

    if (t->args->send.no_clobber)
        return lh_err_set(err, LH_E_INVAL,
                          "--no-clobber is for a single file; of a tree --existing skip keeps what "
                          "is there");
    ret = lh_url_parse(&t->url, address, err);
    if (ret != 0)
        return ret;
    ret = take_name_off(t, err);
    if (ret == 0)
        ret = lh_rules_load(&t->rules, t->args, err);
    if (ret != 0)
        lh_url_free(&t->url);
    return ret;
}

int lh_cmd_tree(const struct lh_args *args, struct lh_term *term)
{
    const char *address = args->operands[args->n_operands - 1];
    struct tree_run t = {.args = args, .term = term};
    struct lh_err err;
    uv_loop_t loop;
    int ret = prepare(&t, &err);

    if (ret != 0)
        return lh_cmd_fail(term, ret, err.text);
    show_sources(&t);
    lh_text_escape(t.target, sizeof(t.target), address, strlen(address));
    t.bar = !args->quiet && !args->json && lh_term_is_terminal(stderr);
    t.report = !args->quiet && !args->json && !t.bar;
    if (uv_loop_init(&loop) != 0) {
        ret = lh_cmd_fail(term, -LH_E_INTERNAL, "cannot set up an event loop");
    } else {
        ret = start(&t, &loop);
        uv_run(&loop, UV_RUN_DEFAULT);
        LH_INVARIANT(uv_loop_close(&loop) == 0);
    }
    lh_rules_free(&t.rules);
    lh_url_free(&t.url);
    if (ret == 0)
        ret = t.code != 0 ? t.code : lh_cmd_flush(term);
    return ret;
}
