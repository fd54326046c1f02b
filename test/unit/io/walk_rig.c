/* See walk_rig.h. */
#include "walk_rig.h"

#include "scratch.h"
#include "test/lib/tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct rig rig;

static const char *sources[8];

void rig_file(const char *name)
{
    scratch_write(name, "x", 1);
}

void rig_dir(const char *name)
{
    if (mkdir(scratch_path(name), 0755) != 0)
        bail("cannot make %s", name);
}

void rig_make_tree(void)
{
    scratch_clear();
    rig_dir("t");
    rig_dir("t/a");
    rig_dir("t/a/b");
    rig_dir("t/empty");
    rig_file("t/x");
    rig_file("t/a/y");
    rig_file("t/a/b/z");
}

void rig_begin(const char *first, ...)
{
    va_list args;

    rig.opts = (struct lh_tree_options){.sources = sources};
    va_start(args, first);
    for (const char *s = first; s != NULL; s = va_arg(args, const char *)) {
        char *path = NULL;

        free((char *)(uintptr_t)sources[rig.opts.n_sources]);
        if (asprintf(&path, "%s/%s", scratch_dir(), s) < 0)
            bail("no memory");
        sources[rig.opts.n_sources++] = path;
    }
    va_end(args);
}

void rig_open(void)
{
    struct lh_err err;

    lh_walk_close(rig.walk);
    if (lh_walk_open(&rig.opts, &rig.walk, &err) != 0)
        bail("%s", err.text);
}

int rig_next(struct lh_walk_entry *e, struct lh_err *err)
{
    int r;

    while ((r = lh_walk_next(rig.walk, e, err)) == LH_WALK_NOTHING)
        rig.n_nothings++;
    return r;
}

static void note(const struct lh_walk_entry *e, const char *words)
{
    static const char kinds[] = " fdlpcbsh";

    if (rig.n == RIG_ENTRIES)
        bail("more entries than expected");
    snprintf(rig.line[rig.n++], sizeof(rig.line[0]), "%c %s%s%s",
             words != NULL ? '!' : kinds[e->kind], e->path,
             words != NULL     ? ": "
             : e->link_len > 0 ? " -> "
                               : "",
             words != NULL ? words : e->link);
}

int rig_run(void)
{
    struct lh_walk_entry e;
    struct lh_err err = {0};
    int r;

    rig.n = rig.n_dirs = 0;
    memset(rig.line, 0, sizeof(rig.line));
    memset(rig.dir, 0, sizeof(rig.dir));
    memset(&rig.numbers, 0, sizeof(rig.numbers));
    lh_walk_close(rig.walk);
    rig.walk = NULL;
    r = lh_walk_open(&rig.opts, &rig.walk, &err);
    if (r != 0) {
        ok(err.text[0] != '\0', "  says: %s", err.text);
        return r;
    }
    while ((r = rig_next(&e, &err)) == LH_WALK_ENTRY || r == LH_WALK_FAILED) {
        if (strlen(e.path) != e.path_len || (r == LH_WALK_ENTRY && strlen(e.link) != e.link_len))
            ok(false, "lengths are right");
        note(&e, r == LH_WALK_FAILED ? err.text : NULL);
    }
    rig.end = r;
    lh_walk_dirs_start(rig.walk);
    while (lh_walk_dirs_next(rig.walk, &e, &err) == LH_WALK_ENTRY)
        snprintf(rig.dir[rig.n_dirs++], sizeof(rig.dir[0]), "%s", e.path);
    lh_walk_numbers(rig.walk, &rig.numbers);
    return 0;
}

bool rig_has_line(const char *line)
{
    for (size_t i = 0; i < rig.n; i++) {
        if (strcmp(rig.line[i], line) == 0)
            return true;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

void rig_yields(const char *want, const char *what)
{
    static char have[RIG_ENTRIES * 600];
    static char sorted[RIG_ENTRIES][600];
    size_t used = 0;

    if (!is_i64(rig_run(), 0, "%s: opens", what))
        return;
    memcpy(sorted, rig.line, sizeof(sorted));
    for (size_t i = 0; i < rig.n; i++) {
        if (sorted[i][0] == '!')
            *strchrnul(sorted[i], ':') = '\0';
    }
    qsort(sorted, rig.n, sizeof(sorted[0]), compare);
    have[0] = '\0';
    for (size_t i = 0; i < rig.n; i++)
        used +=
            (size_t)snprintf(have + used, sizeof(have) - used, "%s%s", i > 0 ? "|" : "", sorted[i]);
    is_str(have, want, "%s", what);
    is_i64(rig.end, LH_WALK_END, "  and ends");
}

void rig_end(void)
{
    lh_walk_close(rig.walk);
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        free((char *)(uintptr_t)sources[i]);
}
