/* The list of --files-from: names, a line each or with a NUL behind each, relative to the source.
 *
 * Thread: as the walk. Happy path: a name -> the directories that it is in, unless the name before
 * it was in them too -> itself. A directory is yielded alone: what is in it has to be listed. A
 * name that comes again is left out.
 *
 * It may come slowly, through a pipe: whether names end with NULs is decided as soon as one has
 * ended. There is a NUL in what has come by then, or it is a list of lines. A NUL that comes later
 * ends the walk: a first name that holds a newline may have come in two pieces, and then what lies
 * between newlines is a part of a name, which may be that of another file. No call waits long for
 * more: who asks may have been told to stop.
 *
 * As with rsync: empty lines and those that begin with '#' or ';' are left out (not of a list with
 * NULs), a '/' at the beginning is of no meaning. Failures: a name with "..", one that is not
 * there, or that is in a directory reached by a symbolic link, fails and the next one is taken. */
#include "io/source/walk_impl.h"

#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES_SIZE (64u * 1024) /* room for a name of any allowed length, many times over */
#define WAIT_MS 100

enum { LINE_END = 0, LINE_THERE = 1, LINE_AWAITED = 2 };

int lh_walk_list_open(struct lh_walk *w, struct lh_err *err)
{
    const char *name = w->opts->files_from;
    bool is_stdin = strcmp(name, "-") == 0;
    char shown[LH_WALK_SHOWN];

    w->list.bytes = malloc(BYTES_SIZE);
    if (w->list.bytes == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    /* Without waiting for who writes a FIFO. */
    w->list.fd = is_stdin ? 0 : open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (w->list.fd < 0)
        return lh_err_sys(err, LH_E_SOURCE, errno, "cannot open the list of files %s",
                          lh_text_escape(shown, sizeof(shown), name, strlen(name)));
    w->list.opened = !is_stdin;
    return 0;
}

void lh_walk_list_close(struct lh_walk *w)
{
    if (w->list.fd >= 0 && w->list.opened)
        close(w->list.fd);
    w->list.fd = -1;
    free(w->list.bytes);
    w->list.bytes = NULL;
}

/* More bytes behind those that are there, moved to the front. Returns LINE_THERE, LINE_AWAITED when
 * none have come for a while, -LH_E_SOURCE (also for a NUL in a list of lines). */
static int read_more(struct lh_walk_list *list, struct lh_err *err)
{
    struct pollfd p = {.fd = list->fd, .events = POLLIN};
    ssize_t n;

    if (poll(&p, 1, WAIT_MS) == 0)
        return LINE_AWAITED;
    memmove(list->bytes, list->bytes + list->at, list->end - list->at);
    list->end -= list->at;
    list->at = 0;
    do {
        n = read(list->fd, list->bytes + list->end, BYTES_SIZE - list->end);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return LINE_AWAITED;
    if (n < 0)
        return lh_err_sys(err, LH_E_SOURCE, errno, "cannot read the list of files");
    if (list->looked && list->separator == '\n' &&
        memchr(list->bytes + list->end, '\0', (size_t)n) != NULL)
        return lh_err_set(err, LH_E_SOURCE,
                          "a list of lines must not hold a NUL, and in one with NULs the first "
                          "name has to come as a whole");
    list->end += (size_t)n;
    list->ended = n == 0;
    return LINE_THERE;
}

/* What ends the next name, or NULL. */
static const char *name_end(const struct lh_walk_list *list)
{
    return memchr(list->bytes + list->at, list->separator, list->end - list->at);
}

bool lh_walk_waits(const struct lh_walk *w)
{
    const struct lh_walk_list *list = &w->list;
    struct pollfd p = {.fd = list->fd, .events = POLLIN};

    if (list->fd < 0 || list->item_len > 0 || list->ended ||
        (list->looked && name_end(list) != NULL))
        return false;
    return poll(&p, 1, 0) == 0;
}

/* The next name as it stands there, without what ends it. Returns LINE_*, or -LH_E_SOURCE. */
static int next_line(struct lh_walk_list *list, const char **line, size_t *len, struct lh_err *err)
{
    const char *end;

    while (!list->looked) {
        int r = read_more(list, err);

        if (r != LINE_THERE)
            return r;
        list->separator = memchr(list->bytes, '\0', list->end) != NULL ? '\0' : '\n';
        list->looked = list->ended || list->end > LH_TREE_PATH_MAX || name_end(list) != NULL;
    }
    for (;;) {
        end = name_end(list);
        if (end == NULL && list->end - list->at > LH_TREE_PATH_MAX) {
            list->cut = true;
            list->at = list->end - LH_TREE_PATH_MAX;
        }
        if (end != NULL || list->ended)
            break;
        int r = read_more(list, err);

        if (r != LINE_THERE)
            return r;
    }
    if (end == NULL && list->at == list->end)
        return LINE_END;
    *line = list->bytes + list->at;
    *len = end != NULL ? (size_t)(end - *line) : list->end - list->at;
    list->at += *len + (end != NULL);
    return LINE_THERE;
}

/* Put a name into list->item without "." and empty parts. Returns NULL, or what is wrong. */
static const char *normalise(struct lh_walk_list *list, const char *line, size_t len)
{
    size_t used = 0;

    list->item_len = 0;
    if (len > LH_WALK_PATH_MAX)
        return LH_WALK_TOO_LONG;
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(line + at, '/', len - at);
        size_t n = slash != NULL ? (size_t)(slash - line) - at : len - at;

        if (n == 2 && line[at] == '.' && line[at + 1] == '.')
            return "a name in a list must not hold \"..\"";
        if (n > 0 && !(n == 1 && line[at] == '.')) {
            if (used > 0)
                list->item[used++] = '/';
            memcpy(list->item + used, line + at, n);
            used += n;
        }
        at += n + 1;
    }
    list->item[used] = '\0';
    list->item_len = used;
    return NULL;
}

static void set_path(struct lh_walk *w, const char *path, size_t len)
{
    memcpy(w->path, path, len);
    w->path[len] = '\0';
    w->path_len = len;
}

/* Open the directory that w->path is in; *name is what it is called there. */
static int open_parent(struct lh_walk *w, const char **name)
{
    char *slash = strrchr(w->path, '/');
    int fd;

    *name = slash != NULL ? slash + 1 : w->path;
    if (slash == NULL)
        return lh_walk_open_dir(w, &w->sources[0], "");
    *slash = '\0';
    fd = lh_walk_open_dir(w, &w->sources[0], w->path);
    *slash = '/';
    return fd;
}

/* The directory that w->path is in cannot be opened. */
static int no_parent(struct lh_walk *w, struct lh_walk_entry *e, int sys_errno, struct lh_err *err)
{
    if (sys_errno == ELOOP && w->opts->links != LH_LINKS_FOLLOW)
        return lh_walk_fail_words(w, e, "it lies behind a symbolic link, which is not followed",
                                  err);
    return lh_walk_fail(w, e, sys_errno, "look at", err);
}

/* Bytes of the item that are directories the one before it was in, or was. */
static size_t common_dirs(const struct lh_walk_list *list)
{
    size_t told = 0;

    for (size_t i = 0; i < list->item_len; i++) {
        if (list->item[i] == '/' && (list->last[i] == '/' || list->last[i] == '\0'))
            told = i;
        if (list->item[i] != list->last[i])
            break;
    }
    return told;
}

/* The item is new: is it there, and does no rule exclude it? */
static int begin_item(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_walk_list *list = &w->list;
    struct lh_disk_stat st;
    const char *name;
    int sys_errno;
    int fd;

    set_path(w, list->item, list->item_len);
    list->item_len = 0;
    fd = open_parent(w, &name);
    if (fd < 0)
        return no_parent(w, e, -fd, err);
    sys_errno = lh_disk_stat(fd, name, &st);
    close(fd);
    if (sys_errno != 0)
        return lh_walk_fail(w, e, sys_errno, "look at", err);
    if (lh_filter_excludes_deep(&w->filter, w->path, w->path_len, S_ISDIR(st.mode))) {
        w->numbers.n_excluded++;
        return LH_WALK_NOTHING;
    }
    list->item_len = w->path_len;
    list->told = common_dirs(list);
    return LH_WALK_NOTHING;
}

static int next_item(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_walk_list *list = &w->list;
    const char *line = NULL;
    const char *wrong;
    size_t len = 0;
    bool cut;
    int r = next_line(list, &line, &len, err);

    if (r == LINE_AWAITED)
        return LH_WALK_NOTHING;
    if (r != LINE_THERE) {
        lh_walk_list_close(w);
        return r == LINE_END ? LH_WALK_NOTHING : r;
    }
    cut = list->cut;
    list->cut = false;
    if (len == 0 || (list->separator == '\n' && (line[0] == '#' || line[0] == ';')))
        return LH_WALK_NOTHING;
    wrong = normalise(list, line, cut ? LH_TREE_PATH_MAX : len);
    if (wrong != NULL) {
        set_path(w, line, len < LH_WALK_PATH_MAX ? len : LH_WALK_PATH_MAX);
        return lh_walk_fail_words(w, e, wrong, err);
    }
    r = list->item_len == 0 ? 1 : lh_known(&list->known, list->item, list->item_len, err);
    if (r != 0) {
        list->item_len = 0;
        return r < 0 ? r : LH_WALK_NOTHING;
    }
    return begin_item(w, e, err);
}

int lh_walk_list_next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_walk_list *list = &w->list;
    const char *slash;
    const char *name;
    int fd;
    int r;

    if (list->item_len == 0)
        return next_item(w, e, err);
    slash = strchr(list->item + list->told + 1, '/');
    set_path(w, list->item, slash != NULL ? (size_t)(slash - list->item) : list->item_len);
    list->told = w->path_len;
    fd = open_parent(w, &name);
    if (fd < 0) {
        list->item_len = 0;
        return no_parent(w, e, -fd, err);
    }
    r = lh_walk_take(w, fd, name, false, e, err);
    close(fd);
    if (slash == NULL)
        memcpy(list->last, list->item, list->item_len + 1);
    if (slash == NULL || r == LH_WALK_FAILED)
        list->item_len = 0;
    return r;
}
