/* Names that several sources give to one place at the destination: the first source has it.
 *
 * Without this the later one would silently replace what the earlier one sent, and each run would
 * do so anew. What is asked is the file system, so no memory grows with the tree. There may be many
 * sources of one name (those of "DIR/" have none): the paths at their tops are noted on disk, and
 * one that comes for the first time is not looked for in each of the others.
 *
 * Thread: as the walk; dir_is_shared any.
 *
 * Happy path: an entry of a second or later source, in a directory that an earlier one has too ->
 * the sources whose names may lead there are looked at -> nothing is there: it goes on. Two
 * directories become one. The very same file is left out without a word. Failures: anything else
 * fails by name; what cannot be looked at is taken for not there. The notes' file ends the walk. */
#include "io/source/walk_impl.h"

#include "io/disk/deep.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- sources by their names ---- */

static int compare(const void *a, const void *b)
{
    const struct lh_walk_source *x = *(struct lh_walk_source *const *)a;
    const struct lh_walk_source *y = *(struct lh_walk_source *const *)b;
    int c = strcmp(x->name, y->name);

    return c != 0 ? c : (x > y) - (x < y);
}

int lh_walk_sort_sources(struct lh_walk *w, struct lh_err *err)
{
    w->by_name = malloc(w->n_sources * sizeof(struct lh_walk_source *));
    if (w->by_name == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (size_t i = 0; i < w->n_sources; i++)
        w->by_name[i] = &w->sources[i];
    qsort(w->by_name, w->n_sources, sizeof(struct lh_walk_source *), compare);
    for (size_t i = 1; i < w->n_sources; i++) {
        if (strcmp(w->by_name[i - 1]->name, w->by_name[i]->name) == 0)
            w->by_name[i - 1]->namesake = w->by_name[i]->namesake = true;
    }
    return 0;
}

/* As strcmp, of a source's name and name[0..len). */
static int compare_name(const struct lh_walk_source *src, const char *name, size_t len)
{
    size_t common = src->name_len < len ? src->name_len : len;
    int c = memcmp(src->name, name, common);

    return c != 0 ? c : (src->name_len > len) - (src->name_len < len);
}

/* Where in by_name those begin that are called name[0..len). */
static size_t first_called(const struct lh_walk *w, const char *name, size_t len)
{
    size_t from = 0;
    size_t to = w->n_sources;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (compare_name(w->by_name[middle], name, len) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* ---- what is there ---- */

bool lh_walk_leaves_out(const struct lh_walk *w, uint8_t kind)
{
    switch (kind) {
    case LH_KIND_FILE:
    case LH_KIND_DIR:
        return false;
    case LH_KIND_SYMLINK:
        return w->opts->links == LH_LINKS_SKIP;
    default:
        return (w->opts->preserve & LH_PRESERVE_DEVICES) == 0;
    }
}

/* What of a source that is a directory is at `rel`. No link leads there that is not followed. */
static bool look(const struct lh_walk *w, const struct lh_walk_source *src, const char *rel,
                 struct lh_disk_stat *st)
{
    bool follow = w->opts->links == LH_LINKS_FOLLOW;
    int root = lh_walk_hold(src);
    bool there;
    int fd;

    if (root < 0)
        return false;
    fd = lh_deep_open(root, rel, O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW),
                      follow ? RESOLVE_NO_MAGICLINKS
                             : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    lh_walk_let_go(src, root);
    if (fd < 0)
        return false;
    there = lh_disk_stat(fd, "", st) == 0;
    close(fd);
    return there;
}

/* Whether the source sends something at `path`, which begins with its name. */
static bool sends(const struct lh_walk *w, const struct lh_walk_source *src, const char *path,
                  struct lh_disk_stat *st)
{
    const char *rel = lh_walk_rel(src, path);
    bool is_dir;

    if (src->sys_errno != 0)
        return false;
    if (rel[0] == '\0')
        *st = src->st;
    else if (!src->is_dir || !look(w, src, rel, st))
        return false;
    is_dir = S_ISDIR(st->mode);
    if (!is_dir && w->opts->one_file_system && src->is_dir && st->dev != src->st.dev)
        return false; /* what is in there is not sent */
    return !lh_walk_leaves_out(w, lh_disk_kind(st->mode)) &&
           !lh_filter_excludes(&w->filter, path, strlen(path), is_dir);
}

/* The first source before `before` that sends something at `path`, and what. NULL: none. apart: not
 * those that have the name of `before`. */
static const struct lh_walk_source *earlier(const struct lh_walk *w, const char *path,
                                            uint32_t before, bool apart, struct lh_disk_stat *out)
{
    const struct lh_walk_source *end = &w->sources[before];
    const struct lh_walk_source *found = NULL;
    size_t lens[2] = {0, strcspn(path, "/")}; /* of those without a name, and of that name */
    struct lh_disk_stat st;

    for (size_t k = 0; k < (lens[1] > 0 ? 2 : 1); k++) {
        size_t i = first_called(w, path, lens[k]);

        if (apart && w->sources[before].name_len == lens[k])
            continue;
        for (; i < w->n_sources && compare_name(w->by_name[i], path, lens[k]) == 0; i++) {
            if (w->by_name[i] >= end)
                break;
            if (!sends(w, w->by_name[i], path, &st))
                continue;
            end = found = w->by_name[i];
            *out = st;
            break;
        }
    }
    return found;
}

/* Whether an earlier source of the same name may have w->path, as far as notes tell: 1, 0 (none
 * has, and it is noted from now on), or as lh_known. */
static int may_be_earlier(struct lh_walk *w, struct lh_err *err)
{
    bool at_top = w->dir_fd >= 0 && w->depth == 0;

    if (!at_top || !w->sources[w->source].namesake)
        return 1;
    return lh_known(&w->seen, w->path, w->path_len, err);
}

int lh_walk_clash(struct lh_walk *w, const struct lh_disk_stat *st, struct lh_walk_entry *e,
                  struct lh_err *err)
{
    struct lh_disk_stat there;
    const struct lh_walk_source *src;
    bool is_dir = S_ISDIR(st->mode);
    int may_be = may_be_earlier(w, err);
    char shown[LH_WALK_SHOWN];
    char words[LH_WALK_SHOWN + 64];

    if (may_be < 0)
        return may_be;
    if (!w->dir_shared)
        return LH_WALK_ENTRY;
    src = earlier(w, w->path, w->source, may_be == 0, &there);
    w->entry_shared = false;
    if (src == NULL)
        return LH_WALK_ENTRY;
    if (is_dir && S_ISDIR(there.mode)) {
        w->entry_shared = !w->opts->one_file_system || there.dev == src->st.dev;
        return LH_WALK_ENTRY;
    }
    if (!is_dir && there.dev == st->dev && there.ino == st->ino)
        return LH_WALK_NOTHING;
    lh_walk_show(w, (uint32_t)(src - w->sources), w->path, shown);
    snprintf(words, sizeof(words), "it would take the place of %s, which is sent too", shown);
    return lh_walk_fail_words(w, e, words, err);
}

bool lh_walk_dir_is_shared(const struct lh_walk *w, const struct lh_walk_entry *e)
{
    struct lh_disk_stat st;

    return e->source > 0 && earlier(w, e->path, e->source, false, &st) != NULL && S_ISDIR(st.mode);
}
