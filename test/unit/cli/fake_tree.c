/* The part of the engine without anything in it that moves trees; see fake_engine.h. */
#include "fake_engine.h"

#include <inttypes.h>
#include <longhaul/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lh_tree {
    uv_timer_t timer;
    struct lh_tree_callbacks cbs;
    struct lh_tree_stats stats;
    long n_ticks;
    int status;
    bool started;
    bool fails;
};

void lh_tree_options_init(struct lh_tree_options *opts)
{
    memset(opts, 0, sizeof(*opts));
    lh_send_options_init(&opts->send);
    opts->preserve = LH_PRESERVE_MODE | LH_PRESERVE_TIMES | LH_PRESERVE_OWNER;
    opts->max_removed = UINT64_MAX;
}

static void closed(uv_handle_t *handle)
{
    struct lh_tree *tree = handle->data;

    tree->cbs.done(tree->cbs.arg, tree->status,
                   tree->status == 0 ? "" : "the fake engine was told to fail", &tree->stats);
    free(tree);
}

static void end(struct lh_tree *tree, int status)
{
    if (uv_is_closing((uv_handle_t *)&tree->timer))
        return;
    tree->status = status;
    uv_close((uv_handle_t *)&tree->timer, closed);
}

/* Of those that cost no data. */
static void some_entries(struct lh_tree *tree, const char *which)
{
    struct lh_tree_stats *s = &tree->stats;
    const struct lh_tree_callbacks *c = &tree->cbs;

    s->files_total = 0;
    if (strcmp(which, "none") == 0)
        return;
    s->files_total = s->files_kept = s->dirs = 1;
    c->entry(c->arg, LH_TREE_KEPT, "d", 0, 0, "");
    c->entry(c->arg, LH_TREE_KEPT, "d/same", 4096, 0, "");
    if (strcmp(which, "made") == 0) {
        s->links = 1;
        c->entry(c->arg, LH_TREE_MADE, "d/link", 0, 0, "");
    } else if (strcmp(which, "removed") == 0) {
        s->removed = 1;
        c->entry(c->arg, LH_TREE_REMOVED, "d/old", 0, 0, "");
    } else if (strcmp(which, "unnamed") == 0) {
        s->failed = 1;
        c->entry(c->arg, LH_TREE_FAILED, "", 0, -LH_E_DEST, "d: cannot set its attributes");
    }
}

/* One entry of each kind. */
static void entries(struct lh_tree *tree)
{
    struct lh_tree_stats *s = &tree->stats;
    const struct lh_tree_callbacks *c = &tree->cbs;
    const char *only = getenv("FAKE_ENTRIES");

    if (only != NULL) {
        some_entries(tree, only);
        return;
    }
    s->files_sent = 1;
    c->entry(c->arg, LH_TREE_SENT, "d/new", 1536, 0, "");
    s->dirs = 1;
    c->entry(c->arg, LH_TREE_MADE, "d", 0, 0, "");
    s->files_kept = 2;
    c->entry(c->arg, LH_TREE_KEPT, "d/same\n\xff", 4096, 0, "");
    s->removed = 1;
    c->entry(c->arg, LH_TREE_REMOVED, "old", 0, 0, "");
    s->send.bytes_skipped = 8192;
    s->send.bytes_durable = 8192 + 1536;
    if (!tree->fails)
        return;
    s->failed = 2;
    c->entry(c->arg, LH_TREE_FAILED, "d/gone", 0, -LH_E_SOURCE, "d/gone: it is not there");
    c->entry(c->arg, LH_TREE_FAILED, "d/odd\n", 0, -LH_E_DEST_KIND, "");
}

static void tick(uv_timer_t *timer)
{
    struct lh_tree *tree = timer->data;
    const char *name = getenv("FAKE_STATUS");

    if (!tree->started) {
        tree->started = true;
        tree->stats.walking = true;
        tree->stats.send.streams = 8;
        tree->stats.send.bytes_total = 4096;
        tree->stats.files_total = 2;
        tree->cbs.start(tree->cbs.arg, &tree->stats);
    } else if (tree->n_ticks > 0) {
        tree->stats.send.duration_s += 31.0;
        tree->stats.send.rate_bps = 8192;
        tree->cbs.progress(tree->cbs.arg, &tree->stats);
        tree->stats.walking = false;
        tree->stats.files_total = 3 + (tree->fails ? 2 : 0);
        tree->stats.send.bytes_total = 8192 + 1536;
        if (--tree->n_ticks == 0)
            entries(tree);
    } else {
        for (int i = 1; name != NULL && i < LH_E_MAX; i++) {
            if (strcmp(lh_status_name(i), name) == 0) {
                end(tree, -i);
                return;
            }
        }
        end(tree, 0);
    }
}

static void tell_options(const struct lh_tree_options *o)
{
    char line[1024];
    int n = snprintf(line, sizeof(line),
                     "tree host=%s port=%u path=%.*s from=%s existing=%d links=%d preserve=%u%s "
                     "checksum=%d one=%d dry=%d stop=%d remove=%d max=%" PRIu64 " sources=",
                     o->send.host, (unsigned)o->send.port, (int)o->send.path_len,
                     (const char *)o->send.path, o->files_from != NULL ? o->files_from : "",
                     (int)o->existing, (int)o->links, o->preserve, o->numeric_ids ? " numeric" : "",
                     o->checksum, o->one_file_system, o->dry_run, o->stop_on_error, o->remove,
                     o->max_removed);

    for (size_t i = 0; i < o->n_sources; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%s,", o->sources[i]);
    n += snprintf(line + n, sizeof(line) - (size_t)n, " rules=");
    for (size_t i = 0; i < o->n_rules; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "%c%s,", o->rules[i].include ? '+' : '-',
                      o->rules[i].pattern);
    if (o->send.log_level >= LH_LOG_DEBUG)
        o->send.log(o->send.log_arg, LH_LOG_DEBUG, line);
}

int lh_tree_start(uv_loop_t *loop, const struct lh_tree_options *opts,
                  const struct lh_tree_callbacks *cbs, struct lh_tree **out)
{
    const char *ticks = getenv("FAKE_TICKS");
    const char *status = getenv("FAKE_STATUS");
    struct lh_tree *tree;

    tell_options(opts);
    if (status != NULL && strcmp(status, "INVAL") == 0)
        return -LH_E_INVAL;
    tree = calloc(1, sizeof(*tree));
    if (tree == NULL)
        return -LH_E_NOMEM;
    tree->cbs = *cbs;
    tree->n_ticks = ticks != NULL ? atol(ticks) : 3;
    tree->fails = status != NULL && strcmp(status, "PARTIAL") == 0;
    tree->timer.data = tree;
    uv_timer_init(loop, &tree->timer);
    uv_timer_start(&tree->timer, tick, 1, 20);
    *out = tree;
    return 0;
}

void lh_tree_cancel(struct lh_tree *tree)
{
    end(tree, -LH_E_CANCELLED);
}
