/* Paths confined beneath the root.
 *
 * Thread: I/O threads. Owner: the receiver; immutable after open.
 *
 * Happy path: normalise the path -> openat2 of its directory -> done. When a directory is missing:
 * prefix by prefix from the root, making what is not there and syncing the directory it was made
 * in. Every prefix is resolved from the root anew, not from its parent: a symbolic link within the
 * root may lead up and over ("../other"), which is beneath the root but not beneath its parent.
 *
 * Failures: the kernel says EXDEV when a path leads out. A kernel without openat2 (before 5.6) is
 * refused when the root is opened: there is no second way that is as safe. */
#include "io/disk/place.h"

#include "io/disk/deep.h"
#include "io/disk/disk.h"
#include "proto/transfer.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_BYTES_MAX 255
#define PATH_BYTES_MAX (LH_OFFER_PATH_MAX - 1) /* `dir` has a NUL */
#define SHOWN_SIZE 320

struct lh_place {
    int fd;
};

/* A path on its way through here. */
struct walk {
    char dir[LH_OFFER_PATH_MAX]; /* normalised, without the name; "" for the root itself */
    char name[NAME_BYTES_MAX + 1];
    char shown[SHOWN_SIZE];
};

/* Returns a descriptor or -errno. */
static int open_beneath(const struct lh_place *place, const char *dir)
{
    return lh_deep_open(place->fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                        RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

int lh_place_open(const char *root, struct lh_place **place, struct lh_err *err)
{
    struct lh_place *p = malloc(sizeof(*p));
    int fd;

    if (p == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    p->fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->fd < 0) {
        int e = errno;

        free(p);
        return lh_err_sys(err, LH_E_DEST, e, "cannot open the root directory %s", root);
    }
    fd = open_beneath(p, ".");
    if (fd < 0) {
        lh_place_close(p);
        return lh_err_sys(err, LH_E_DEST, -fd,
                          "cannot confine paths to %s (this needs openat2, Linux 5.6)", root);
    }
    close(fd);
    *place = p;
    return 0;
}

void lh_place_close(struct lh_place *place)
{
    if (place == NULL)
        return;
    close(place->fd);
    free(place);
}

int lh_place_fd(const struct lh_place *place)
{
    return place->fd;
}

/* The next component at *at, which moves behind it; false at the end. */
static bool next_component(const uint8_t *path, size_t len, size_t *at, const uint8_t **part,
                           size_t *n)
{
    while (*at < len && path[*at] == '/')
        ++*at;
    *part = path + *at;
    *n = 0;
    while (*at < len && path[*at] != '/') {
        ++*at;
        ++*n;
    }
    return *n > 0;
}

static bool is(const uint8_t *part, size_t n, const char *word)
{
    return n == strlen(word) && memcmp(part, word, n) == 0;
}

/* Take a path apart. Returns NULL or what is wrong with it. */
static const char *normalise(const uint8_t *path, size_t len, struct walk *w)
{
    const uint8_t *part;
    size_t n;
    size_t at = 0;
    size_t used = 0;
    size_t name_len = 0;
    unsigned depth = 0;

    if (len == 0)
        return "it is empty";
    if (len > PATH_BYTES_MAX)
        return "it is too long";
    if (memchr(path, '\0', len) != NULL)
        return "it holds a NUL byte";
    if (path[0] == '/')
        return "it is absolute; give it relative to the receiver's root";
    if (path[len - 1] == '/')
        return "it ends in a slash";
    while (next_component(path, len, &at, &part, &n)) {
        if (is(part, n, ".."))
            return "it holds \"..\"";
        if (n > NAME_BYTES_MAX)
            return "a name in it is longer than 255 bytes";
        if (is(part, n, ".")) {
            if (at == len)
                return "it names a directory";
            continue;
        }
        /* What was the name so far turns out to be a directory. */
        if (name_len > 0) {
            if (++depth > LH_PLACE_DEPTH_MAX)
                return "it is more than 1024 directories deep";
            if (used > 0)
                w->dir[used++] = '/';
            memcpy(w->dir + used, w->name, name_len);
            used += name_len;
        }
        memcpy(w->name, part, n);
        name_len = n;
    }
    w->dir[used] = '\0';
    w->name[name_len] = '\0';
    return name_len > 0 ? NULL : "it names no file";
}

static int refuse(const struct walk *w, int sys_errno, struct lh_err *err)
{
    switch (sys_errno) {
    case EXDEV:
        return lh_err_set(err, LH_E_PATH, "%s: the path leads out of the receiver's root",
                          w->shown);
    case ELOOP:
    case ENAMETOOLONG:
        return lh_err_sys(err, LH_E_PATH, sys_errno, "%s", w->shown);
    case ENOTDIR:
        return lh_err_set(err, LH_E_DEST_KIND, "%s: a part of the path is not a directory",
                          w->shown);
    default:
        return lh_err_sys(err, lh_status_of_write_errno(sys_errno), sys_errno,
                          "cannot open the directory of %s", w->shown);
    }
}

/* Open `prefix`, making it in `parent` when it is missing. Returns a descriptor or -errno. */
static int open_or_make(const struct lh_place *place, int parent, const char *prefix)
{
    const char *slash = strrchr(prefix, '/');
    int fd = open_beneath(place, prefix);
    int e;

    if (fd != -ENOENT)
        return fd;
    if (mkdirat(parent, slash != NULL ? slash + 1 : prefix, 0777) != 0 && errno != EEXIST)
        return -errno;
    fd = open_beneath(place, prefix);
    if (fd < 0) /* it exists and yet it does not: a symbolic link to nowhere */
        return fd == -ENOENT ? -ENOTDIR : fd;
    /* Also when another thread was faster: that one may not have synced it yet. */
    e = lh_disk_sync_dir(parent);
    if (e != 0) {
        close(fd);
        return -e;
    }
    return fd;
}

/* Make what is missing of w->dir. Returns a descriptor or -errno. */
static int make_dirs(const struct lh_place *place, struct walk *w)
{
    int fd = open_beneath(place, "");

    for (size_t i = 1; fd >= 0; i++) {
        char c = w->dir[i];
        int next;

        if (c != '/' && c != '\0')
            continue;
        w->dir[i] = '\0';
        next = open_or_make(place, fd, w->dir);
        w->dir[i] = c;
        close(fd);
        fd = next;
        if (c == '\0')
            break;
    }
    return fd;
}

int lh_place_dir(const struct lh_place *place, const uint8_t *path, size_t path_len, int *dirfd,
                 char name[256], struct lh_err *err)
{
    struct walk w;
    const char *wrong;
    int fd;

    lh_text_escape(w.shown, sizeof(w.shown), path, path_len);
    wrong = normalise(path, path_len, &w);
    if (wrong != NULL)
        return lh_err_set(err, LH_E_PATH, "the destination path \"%s\" is not allowed: %s", w.shown,
                          wrong);
    fd = open_beneath(place, w.dir);
    if (fd == -ENOENT && w.dir[0] != '\0')
        fd = make_dirs(place, &w);
    if (fd < 0)
        return refuse(&w, -fd, err);
    memcpy(name, w.name, strlen(w.name) + 1);
    *dirfd = fd;
    return 0;
}

int lh_place_tree(const struct lh_place *place, const uint8_t *path, size_t path_len, bool make,
                  int *fd, struct lh_err *err)
{
    uint8_t within[LH_PATH_MAX];
    struct walk w;
    const char *wrong = "it is too long";
    int f;

    lh_text_escape(w.shown, sizeof(w.shown), path, path_len);
    if (path_len + 2 <= sizeof(within)) { /* as the directory of a name in it */
        memcpy(within, path, path_len);
        memcpy(within + path_len, "/-", 2);
        wrong = path_len == 0 ? "it is empty" : normalise(within, path_len + 2, &w);
    }
    if (wrong != NULL)
        return lh_err_set(err, LH_E_PATH, "the destination path \"%s\" is not allowed: %s", w.shown,
                          wrong);
    f = open_beneath(place, w.dir);
    if (f == -ENOENT && w.dir[0] != '\0' && make)
        f = make_dirs(place, &w);
    if (f < 0 && (f != -ENOENT || make))
        return refuse(&w, -f, err);
    *fd = f < 0 ? -1 : f;
    return 0;
}
