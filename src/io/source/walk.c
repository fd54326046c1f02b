/* What is in the sources of a tree; contract in walk.h.
 *
 * Thread: an I/O thread, one at a time. Owner: the sender of the tree.
 *
 * Happy path: every source is looked at, directories are opened -> for each source: itself, then
 * the directories in `todo`, the last one found first -> the list instead, where there is one ->
 * files with several names -> the end.
 *
 * One directory is open at a time and the names in it are taken as getdents64(2) gives them; those
 * that are directories wait in a stack on disk. So neither depth nor breadth takes memory or
 * descriptors, and every path is resolved from its source's own descriptor: what somebody moves
 * about meanwhile leads nowhere else.
 *
 * Failures: an entry's are told with its name, and the walk goes on. Its own temporary files and
 * memory end it. */
#include "io/source/walk_impl.h"

#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOTHINGS_MAX 4096
#define HELD_MAX 128 /* descriptors of sources; those of more are opened anew each time */

const char *lh_walk_rel(const struct lh_walk_source *src, const char *path)
{
    if (src->name_len == 0)
        return path;
    return path[src->name_len] == '/' ? path + src->name_len + 1 : path + src->name_len;
}

char *lh_walk_show(const struct lh_walk *w, uint32_t source, const char *path,
                   char out[LH_WALK_SHOWN])
{
    const struct lh_walk_source *src = &w->sources[source];
    const char *rel = lh_walk_rel(src, path);
    size_t arg_len = strlen(src->arg);
    bool slash = rel[0] != '\0' && src->arg[arg_len - 1] != '/';

    lh_text_escape(out, LH_WALK_SHOWN, src->arg, arg_len);
    if (slash)
        strncat(out, "/", LH_WALK_SHOWN - strlen(out) - 1);
    lh_text_escape(out + strlen(out), LH_WALK_SHOWN - strlen(out), rel, strlen(rel));
    return out;
}

static int failed(struct lh_walk *w, struct lh_walk_entry *e)
{
    w->path[w->path_len] = '\0';
    *e = (struct lh_walk_entry){
        .source = w->source, .path = w->path, .path_len = w->path_len, .link = ""};
    w->numbers.n_failed++;
    return LH_WALK_FAILED;
}

int lh_walk_fail_words(struct lh_walk *w, struct lh_walk_entry *e, const char *words,
                       struct lh_err *err)
{
    char shown[LH_WALK_SHOWN];
    int r = failed(w, e);

    lh_err_set(err, LH_E_SOURCE, "%s: %s", lh_walk_show(w, w->source, w->path, shown), words);
    return r;
}

int lh_walk_fail(struct lh_walk *w, struct lh_walk_entry *e, int sys_errno, const char *what,
                 struct lh_err *err)
{
    char shown[LH_WALK_SHOWN];

    switch (sys_errno) {
    case ENOENT:
        return lh_walk_fail_words(w, e, "it is not there", err);
    case EACCES:
        return lh_walk_fail_words(w, e, "no permission to read it", err);
    case ELOOP:
        return lh_walk_fail_words(
            w, e, "a symbolic link on the way leads round in circles, or was put there just now",
            err);
    case ENAMETOOLONG:
        return lh_walk_fail_words(w, e, LH_WALK_TOO_LONG, err);
    case E2BIG:
        return lh_walk_fail_words(w, e, "its extended attributes are more than 40 KiB", err);
    default:
        break;
    }
    failed(w, e);
    lh_err_sys(err, LH_E_SOURCE, sys_errno, "cannot %s %s", what,
               lh_walk_show(w, w->source, w->path, shown));
    return LH_WALK_FAILED;
}

int lh_walk_keep(struct lh_spill *s, const struct lh_walk_entry *e, uint64_t *at,
                 struct lh_err *err)
{
    uint8_t record[sizeof(*e) + LH_TREE_PATH_MAX + LH_PATH_MAX + LH_WALK_XATTRS_MAX];
    uint8_t *to = record;

    _Static_assert(sizeof(record) <= LH_SPILL_RECORD_MAX, "any entry is a record");
    memcpy(to, e, sizeof(*e));
    to += sizeof(*e);
    memcpy(to, e->path, e->path_len);
    to += e->path_len;
    *to++ = '\0';
    memcpy(to, e->link, e->link_len); /* of no hard link: those are what is not kept */
    to += e->link_len;
    *to++ = '\0';
    if (e->xattrs_len > 0)
        memcpy(to, e->xattrs, e->xattrs_len);
    to += e->xattrs_len;
    return lh_spill_append(s, record, (size_t)(to - record), at, err);
}

void lh_walk_kept(const void *record, struct lh_walk_entry *e)
{
    const uint8_t *bytes = record;

    memcpy(e, bytes, sizeof(*e));
    e->path = (const char *)bytes + sizeof(*e);
    e->link = e->path + e->path_len + 1;
    e->xattrs = bytes + sizeof(*e) + e->path_len + 1 + e->link_len + 1;
}

/* What a source is called below the destination, and whether only what is in it goes there:
 * "a/", ".", ".." and "/" have no name to keep. */
static int name_of(struct lh_walk_source *src)
{
    size_t len = strlen(src->arg);
    bool contents = len > 0 && src->arg[len - 1] == '/';
    const char *last;

    while (len > 0 && src->arg[len - 1] == '/')
        len--;
    last = memrchr(src->arg, '/', len);
    last = last != NULL ? last + 1 : src->arg;
    len -= (size_t)(last - src->arg);
    contents = contents || len == 0 || (len == 1 && last[0] == '.') ||
               (len == 2 && last[0] == '.' && last[1] == '.');
    /* No name is longer: it cannot be looked at, and this is what it is called by then. */
    if (len > LH_WALK_NAME_MAX)
        len = LH_WALK_NAME_MAX;
    src->name_len = contents ? 0 : len;
    src->name = strndup(last, src->name_len);
    return src->name != NULL ? 0 : -LH_E_NOMEM;
}

int lh_walk_hold(const struct lh_walk_source *src)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC | (src->follow ? 0 : O_NOFOLLOW);
    int fd = src->fd >= 0 ? src->fd : open(src->arg, flags);

    return fd >= 0 ? fd : -errno;
}

void lh_walk_let_go(const struct lh_walk_source *src, int fd)
{
    if (fd != src->fd)
        close(fd);
}

/* Look at a source. What cannot be looked at fails when its turn comes. keep: its descriptor. */
static void look_at(const struct lh_tree_options *opts, struct lh_walk_source *src, bool keep)
{
    int fd;

    src->follow = src->name_len == 0 || opts->links == LH_LINKS_FOLLOW;
    src->sys_errno = src->follow ? lh_disk_stat_target(AT_FDCWD, src->arg, &src->st)
                                 : lh_disk_stat(AT_FDCWD, src->arg, &src->st);
    src->is_dir = src->sys_errno == 0 && S_ISDIR(src->st.mode);
    if (!src->is_dir)
        return;
    fd = lh_walk_hold(src);
    if (fd < 0)
        src->sys_errno = -fd;
    else if (keep)
        src->fd = fd;
    else
        close(fd);
}

static int open_sources(struct lh_walk *w, struct lh_err *err)
{
    const struct lh_tree_options *opts = w->opts;
    size_t n_failed = 0;

    w->sources = calloc(opts->n_sources, sizeof(*w->sources));
    if (w->sources == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (; w->n_sources < opts->n_sources; w->n_sources++) {
        struct lh_walk_source *src = &w->sources[w->n_sources];

        *src = (struct lh_walk_source){.arg = opts->sources[w->n_sources], .fd = -1};
        if (src->arg[0] == '\0')
            return lh_err_set(err, LH_E_INVAL, "the name of a source is empty");
        if (name_of(src) != 0)
            return lh_err_set(err, LH_E_NOMEM, "out of memory");
        look_at(opts, src, w->n_sources < HELD_MAX);
        n_failed += src->sys_errno != 0;
    }
    if (n_failed == w->n_sources) {
        struct lh_walk_entry e;

        (void)lh_walk_fail(w, &e, w->sources[0].sys_errno, "read", err);
        return -LH_E_SOURCE;
    }
    return 0;
}

static int add_rules(struct lh_walk *w, struct lh_err *err)
{
    int r = 0;

    for (size_t i = 0; i < w->opts->n_rules && r == 0; i++)
        r = lh_filter_add(&w->filter, w->opts->rules[i].include, w->opts->rules[i].pattern, err);
    return r;
}

static int open_list(struct lh_walk *w, struct lh_err *err)
{
    char shown[LH_WALK_SHOWN];

    if (w->opts->files_from == NULL)
        return 0;
    if (w->n_sources != 1)
        return lh_err_set(err, LH_E_INVAL, "a list of files goes with one source, not %zu",
                          w->n_sources);
    if (w->sources[0].fd < 0)
        return lh_err_set(
            err, LH_E_INVAL, "%s is no directory, which a list of files is to be relative to",
            lh_text_escape(shown, sizeof(shown), w->sources[0].arg, strlen(w->sources[0].arg)));
    /* Its names are relative to the destination, whether or not the source ends in '/'. */
    w->sources[0].name[0] = '\0';
    w->sources[0].name_len = 0;
    return lh_walk_list_open(w, err);
}

int lh_walk_open(const struct lh_tree_options *opts, struct lh_walk **walk, struct lh_err *err)
{
    struct lh_walk *w = calloc(1, sizeof(*w));
    int r;

    if (w == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    w->opts = opts;
    w->dir_fd = -1;
    w->list.fd = -1;
    lh_filter_init(&w->filter);
    lh_spill_init(&w->todo);
    lh_spill_init(&w->dirs);
    lh_spill_init(&w->linked.entries);
    lh_known_init(&w->list.known);
    lh_known_init(&w->seen);
    lh_sorter_init(&w->linked.keys);
    r = opts->n_sources > 0 ? 0 : lh_err_set(err, LH_E_INVAL, "there is no source");
    if (r == 0)
        r = add_rules(w, err);
    if (r == 0)
        r = open_sources(w, err);
    if (r == 0)
        r = open_list(w, err);
    if (r == 0)
        r = lh_walk_sort_sources(w, err);
    if (r != 0) {
        lh_walk_close(w);
        return r;
    }
    *walk = w;
    return 0;
}

void lh_walk_close(struct lh_walk *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < w->n_sources; i++) {
        if (w->sources[i].fd >= 0)
            close(w->sources[i].fd);
        free(w->sources[i].name);
    }
    free(w->sources);
    free(w->by_name);
    if (w->dir_fd >= 0)
        close(w->dir_fd);
    lh_walk_list_close(w);
    lh_known_free(&w->list.known);
    lh_known_free(&w->seen);
    lh_filter_free(&w->filter);
    lh_spill_free(&w->todo);
    lh_spill_reader_free(&w->dirs_reader);
    lh_spill_free(&w->dirs);
    lh_spill_free(&w->linked.entries);
    lh_sorter_free(&w->linked.keys);
    free(w->linked.record);
    free(w->names);
    free(w->ancestors);
    free(w->xattrs);
    free(w);
}

/* "DIR/": it is not an entry itself, only its attributes are. */
static int start_contents(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    int r = lh_walk_take(w, AT_FDCWD, w->sources[w->source].arg, true, e, err);

    return r == LH_WALK_ENTRY ? LH_WALK_NOTHING : r;
}

static int start_source(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    const struct lh_walk_source *src;

    w->source = (uint32_t)w->next_source++;
    src = &w->sources[w->source];
    w->depth = 0;
    w->dir_shared = w->source > 0;
    w->path_len = src->name_len;
    memcpy(w->path, src->name, src->name_len + 1);
    if (src->name_len == 0 && src->sys_errno == 0 && !src->is_dir)
        return lh_walk_fail_words(w, e, "it is no directory, and its name ends in a slash", err);
    if (src->sys_errno != 0)
        return lh_walk_fail(w, e, src->sys_errno, "read", err);
    if (src->name_len == 0)
        return start_contents(w, e, err);
    if (lh_filter_excludes(&w->filter, w->path, w->path_len, src->is_dir)) {
        w->numbers.n_excluded++;
        return LH_WALK_NOTHING;
    }
    return lh_walk_take(w, AT_FDCWD, src->arg, true, e, err);
}

int lh_walk_next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    unsigned n = 0;
    int r;

    do {
        if (w->dir_fd >= 0)
            r = lh_walk_scan(w, e, err);
        else if (!lh_spill_empty(&w->todo))
            r = lh_walk_enter(w, e, err);
        else if (w->list.fd >= 0)
            r = lh_walk_list_next(w, e, err);
        else if (w->next_source < w->n_sources && w->opts->files_from == NULL)
            r = start_source(w, e, err);
        else
            r = lh_walk_links_next(w, e, err);
    } while (r == LH_WALK_NOTHING && ++n < NOTHINGS_MAX && !lh_walk_waits(w));
    return r;
}

void lh_walk_dirs_start(struct lh_walk *w)
{
    lh_spill_reader_free(&w->dirs_reader);
    lh_spill_reader_init(&w->dirs_reader, &w->dirs);
}

int lh_walk_dirs_next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    const void *record;
    size_t len;
    int r = lh_spill_read(&w->dirs_reader, &record, &len, err);

    if (r == 1)
        lh_walk_kept(record, e);
    return r;
}

void lh_walk_numbers(const struct lh_walk *w, struct lh_walk_numbers *out)
{
    *out = w->numbers;
}

bool lh_walk_root(const struct lh_walk *w, struct lh_walk_entry *e)
{
    for (size_t i = 0; i < w->n_sources && w->opts->files_from == NULL; i++) {
        const struct lh_walk_source *src = &w->sources[i];

        if (src->name_len > 0 || !src->is_dir)
            continue;
        *e = (struct lh_walk_entry){
            .kind = LH_KIND_DIR,
            .mode = src->st.mode & 07777,
            .uid = src->st.uid,
            .gid = src->st.gid,
            .identity = {src->st.dev, src->st.ino, src->st.size, src->st.mtime, src->st.ctime},
            .source = (uint32_t)i,
            .path = "",
            .link = ""};
        return true;
    }
    return false;
}
