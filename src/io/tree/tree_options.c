/* The options of a tree: defaults, checks, and a copy with strings of its own.
 *
 * Thread: main loop. */
#include "io/tree/tree_impl.h"

#include <stdlib.h>
#include <string.h>

void lh_tree_options_init(struct lh_tree_options *opts)
{
    memset(opts, 0, sizeof(*opts));
    lh_send_options_init(&opts->send);
    opts->existing = LH_EXISTING_DIFFERENT;
    opts->links = LH_LINKS_KEEP;
    opts->preserve = LH_PRESERVE_MODE | LH_PRESERVE_TIMES | LH_PRESERVE_OWNER;
    opts->max_removed = UINT64_MAX;
}

static int check(const struct lh_tree_options *o)
{
    const struct lh_send_options *s = &o->send;
    const unsigned all = LH_PRESERVE_MODE | LH_PRESERVE_TIMES | LH_PRESERVE_OWNER |
                         LH_PRESERVE_XATTRS | LH_PRESERVE_ACL | LH_PRESERVE_HARDLINKS |
                         LH_PRESERVE_DEVICES;

    if (s->host == NULL || o->n_sources == 0 || o->sources == NULL ||
        (s->path == NULL && s->path_len > 0) || (o->rules == NULL && o->n_rules > 0))
        return -LH_E_INVAL;
    for (size_t i = 0; i < o->n_sources; i++)
        if (o->sources[i] == NULL || o->sources[i][0] == '\0')
            return -LH_E_INVAL;
    if (o->existing > LH_EXISTING_NEWER || o->links > LH_LINKS_SKIP || (o->preserve & ~all) != 0)
        return -LH_E_INVAL;
    if (s->streams > LH_MAX_STREAMS || s->max_streams > LH_MAX_STREAMS ||
        s->path_len >= LH_PATH_MAX || !lh_grid_allowed(s->block_bytes))
        return -LH_E_INVAL;
    return 0;
}

/* A copy that goes with the tree. NULL: out of memory. */
static char *keep(struct lh_tree *t, const void *bytes, size_t len)
{
    char **strings = realloc(t->strings, (t->n_strings + 1) * sizeof(*strings));
    char *copy = malloc(len + 1);

    if (strings != NULL)
        t->strings = strings;
    if (strings == NULL || copy == NULL) {
        free(copy);
        return NULL;
    }
    if (len > 0)
        memcpy(copy, bytes, len);
    copy[len] = '\0';
    t->strings[t->n_strings++] = copy;
    return copy;
}

static int keep_string(struct lh_tree *t, const char **string)
{
    if (*string == NULL)
        return 0;
    *string = keep(t, *string, strlen(*string));
    return *string != NULL ? 0 : -LH_E_NOMEM;
}

/* The destination directory; the receiver's root is ".". */
static int keep_path(struct lh_tree *t, const struct lh_send_options *from)
{
    const char *path = from->path;
    size_t len = from->path_len;

    while (len > 0 && path[len - 1] == '/')
        len--;
    t->opts.send.path = len > 0 ? keep(t, path, len) : keep(t, ".", 1);
    t->opts.send.path_len = len > 0 ? len : 1;
    return t->opts.send.path != NULL ? 0 : -LH_E_NOMEM;
}

static int keep_lists(struct lh_tree *t, const struct lh_tree_options *from)
{
    const char **sources = calloc(from->n_sources, sizeof(*sources));
    struct lh_tree_rule *rules = calloc(from->n_rules + 1, sizeof(*rules));
    int r = sources != NULL && rules != NULL ? 0 : -LH_E_NOMEM;

    t->opts.sources = sources;
    t->opts.rules = rules;
    for (size_t i = 0; i < from->n_sources && r == 0; i++) {
        sources[i] = from->sources[i];
        r = keep_string(t, &sources[i]);
    }
    for (size_t i = 0; i < from->n_rules && r == 0; i++) {
        rules[i] = from->rules[i];
        r = keep_string(t, &rules[i].pattern);
    }
    return r;
}

int lh_tree_copy_options(struct lh_tree *t, const struct lh_tree_options *opts)
{
    struct lh_send_options *s = &t->opts.send;
    int r;

    t->opts = *opts;
    t->opts.sources = NULL;
    t->opts.rules = NULL;
    s->source = NULL;
    t->big_max_streams = s->max_streams;
    t->lane.max_streams = s->max_streams > 0 ? s->max_streams : LH_DEFAULT_MAX_STREAMS_FAR;
    if (s->max_streams == 0 && s->streams == 0)
        s->max_streams = LH_DEFAULT_MAX_STREAMS;
    if (s->block_bytes == 0)
        s->block_bytes = LH_BLOCK_DEFAULT;
    r = check(&(struct lh_tree_options){.send = *s,
                                        .sources = opts->sources,
                                        .n_sources = opts->n_sources,
                                        .rules = opts->rules,
                                        .n_rules = opts->n_rules,
                                        .existing = opts->existing,
                                        .links = opts->links,
                                        .preserve = opts->preserve});
    if (r == 0)
        r = keep_lists(t, opts);
    if (r == 0)
        r = keep_path(t, &opts->send);
    if (r == 0)
        r = keep_string(t, &s->host);
    if (r == 0)
        r = keep_string(t, &s->congestion);
    if (r == 0)
        r = keep_string(t, &t->opts.files_from);
    return r;
}

void lh_tree_free_options(struct lh_tree *t)
{
    for (size_t i = 0; i < t->n_strings; i++)
        free(t->strings[i]);
    free(t->strings);
    free((void *)t->opts.sources);
    free((void *)t->opts.rules);
}
