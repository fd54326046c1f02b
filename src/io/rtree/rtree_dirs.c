/* Directories of a tree by their paths; told in rtree_dirs.h.
 *
 * Happy path: found among those that are kept -> a reference. Else openat2 -> kept in the place of
 * the one that nobody has used for longest. Missing ones are made from the root on, each synced
 * with the next commit (rtree_sync.c). One of ours into which we may not write is opened up
 * (rtree_opened.c). Failures: the kernel's word, as an errno. */
#include "io/rtree/rtree_dirs.h"

#include "io/disk/deep.h"
#include "io/disk/disk.h"
#include "io/disk/staging.h"
#include "proto/hash.h"
#include "util/err.h"
#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAME_BYTES_MAX 255

/* ---- paths ---- */

static const char *name_wrong(const uint8_t *name, size_t n)
{
    size_t prefix = strlen(LH_HIDDEN_PREFIX);

    if (n == 0)
        return "it holds an empty name";
    if (n > NAME_BYTES_MAX)
        return "a name in it is longer than 255 bytes";
    if (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')))
        return "it holds \".\" or \"..\"";
    if (n >= prefix && memcmp(name, LH_HIDDEN_PREFIX, prefix) == 0)
        return "names that begin with " LH_HIDDEN_PREFIX " are longhaul's own";
    return NULL;
}

const char *lh_tree_path_wrong(const uint8_t *path, size_t len)
{
    const char *why = NULL;
    size_t from = 0;

    if (len == 0)
        return "it is empty";
    if (len >= LH_TREE_PATH_MAX)
        return "it is too long";
    if (memchr(path, '\0', len) != NULL)
        return "it holds a NUL byte";
    if (path[0] == '/')
        return "it is absolute";
    for (size_t at = 0; at <= len && why == NULL; at++)
        if (at == len || path[at] == '/') {
            why = name_wrong(path + from, at - from);
            from = at + 1;
        }
    return why;
}

size_t lh_tree_dir_len(const char *path, size_t len)
{
    while (len > 0 && path[len - 1] != '/')
        len--;
    return len > 0 ? len - 1 : 0;
}

/* ---- opening ---- */

/* What a directory is opened for. */
#define WORK 1u /* to change what is in it */
#define MAKE 2u /* with what is missing of it */
/* It was made just now. The name of another may not be on the disk yet, and what is put into it is
 * not there either until that is. */
#define OURS 4u

int lh_tree_open_beneath(int from_fd, const char *path)
{
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

    return lh_deep_open(from_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                        lh_mutant("follow-links") ? 0 : resolve);
}

/* What tells a directory that was made for this tree when it is opened again. Two that are alike
 * cost an entry its place: what is there is not looked at, and not replaced. */
static uint64_t fresh_mark(uint64_t hash, uint64_t dev, uint64_t ino)
{
    const uint64_t what[] = {hash, dev, ino};

    return lh_check64(what, sizeof(what), 0) | 1;
}

static void destroy(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    if (dir == NULL)
        return;
    if (dir->fd >= 0) {
        lh_tree_dir_give_back(d, dir);
        close(dir->fd);
    }
    free(dir);
}

/* 0 or an errno. */
static int open_it(struct lh_tree_dirs *d, const struct lh_tree_dir *in, unsigned how,
                   struct lh_tree_dir *dir)
{
    const char *name = in == NULL ? dir->path : dir->path + in->path_len + (in->path_len > 0);
    struct lh_disk_stat st;
    bool shut;
    int e;

    dir->fd = lh_tree_open_beneath(in == NULL ? d->root_fd : in->fd, name);
    shut = dir->fd == -EACCES && in != NULL && d->open_up;
    if (shut) {
        dir->fd = lh_tree_dir_open_shut(d, in->fd, name, dir);
        how |= WORK;
    }
    e = dir->fd < 0 ? -dir->fd : lh_disk_stat(dir->fd, "", &st);
    if (e != 0)
        return e;
    if (!shut) {
        dir->dev = st.dev;
        dir->ino = st.ino;
    }
    dir->gid = st.gid;
    dir->mark = fresh_mark(dir->hash, st.dev, st.ino);
    dir->as_is = !(how & WORK);
    if ((how & WORK) || (st.mode & 0500) != 0500) /* what is in it cannot be listed either */
        lh_tree_dir_came(d, dir, &st);
    dir->foreign = st.dev != d->dev;
    dir->acl = fgetxattr(dir->fd, "system.posix_acl_default", NULL, 0) > 0;
    return 0;
}

/* One that is not kept yet, with a reference. in: the directory that it is in, or NULL. */
static int open_dir(struct lh_tree_dirs *d, const struct lh_tree_dir *in, const char *path,
                    size_t len, unsigned how, struct lh_tree_dir **out)
{
    struct lh_tree_dir *dir = malloc(sizeof(*dir) + len + 1);
    int e;

    if (dir == NULL)
        return ENOMEM;
    *dir = (struct lh_tree_dir){.refs = 1, .hash = lh_check64(path, len, 0), .path_len = len};
    memcpy(dir->path, path, len);
    dir->path[len] = '\0';
    e = open_it(d, in, how, dir);
    if (e == 0)
        *out = dir;
    else
        destroy(d, dir);
    return e;
}

/* ---- the kept ones; the caller holds the lock ---- */

static uint64_t *fresh_at(struct lh_tree_dirs *d, const struct lh_tree_dir *dir)
{
    return &d->fresh[dir->mark / 2 % LH_TREE_DIRS_FRESH];
}

static struct lh_tree_dir *find(struct lh_tree_dirs *d, const char *path, size_t len, uint64_t hash)
{
    for (unsigned i = 0; i < LH_TREE_DIRS_KEPT; i++) {
        struct lh_tree_dir *dir = d->kept[i];

        if (dir != NULL && dir->hash == hash && dir->path_len == len &&
            memcmp(dir->path, path, len) == 0) {
            dir->refs++;
            dir->used = ++d->clock;
            return dir;
        }
    }
    return NULL;
}

/* Returns whom it takes the place of, who is nobody's now; NULL: nobody. */
static struct lh_tree_dir *keep(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    struct lh_tree_dir *out;
    unsigned best = LH_TREE_DIRS_KEPT;
    unsigned first = lh_tree_dir_is_long(dir) ? LH_TREE_DIRS_KEPT - LH_TREE_DIRS_LONG : 0;

    for (unsigned i = first; i < LH_TREE_DIRS_KEPT; i++) {
        if (d->kept[i] == NULL) {
            best = i;
            break;
        }
        if (d->kept[i]->refs == 0 &&
            (best == LH_TREE_DIRS_KEPT || d->kept[i]->used < d->kept[best]->used))
            best = i;
    }
    if (best == LH_TREE_DIRS_KEPT)
        return NULL; /* all are in use: it goes when its user has done */
    out = d->kept[best];
    if (out != NULL && out->fresh)
        *fresh_at(d, out) = out->mark;
    d->kept[best] = dir;
    dir->kept = true;
    dir->used = ++d->clock;
    return out;
}

/* True: it is nobody's now. */
static bool unref(struct lh_tree_dir *dir)
{
    return --dir->refs == 0 && !dir->kept;
}

/* ---- getting ---- */

/* in: the directory that it is in, when that is at hand, else NULL. */
static int get(struct lh_tree_dirs *d, const struct lh_tree_dir *in, const char *path, size_t len,
               unsigned how, struct lh_tree_dir **out)
{
    uint64_t hash = lh_check64(path, len, 0);
    struct lh_tree_dir *dir, *other, *gone = NULL;
    int e;

    pthread_mutex_lock(&d->lock);
    dir = find(d, path, len, hash);
    pthread_mutex_unlock(&d->lock);
    if (dir != NULL) {
        if ((how & WORK) && dir->as_is)
            lh_tree_dir_open_up(d, dir);
        *out = dir;
        return 0;
    }
    e = open_dir(d, in, path, len, how, &dir);
    if (e == EMFILE || e == ENFILE) { /* those that are only kept cost others theirs */
        lh_tree_dirs_forget(d);
        e = open_dir(d, in, path, len, how, &dir);
    }
    if (e != 0)
        return e;
    pthread_mutex_lock(&d->lock);
    d->many = d->many || !((how & OURS) || d->known || len == 0);
    other = find(d, path, len, hash);
    if (other == NULL) {
        dir->fresh = *fresh_at(d, dir) == dir->mark;
        gone = keep(d, dir);
    }
    pthread_mutex_unlock(&d->lock);
    if (other != NULL) {
        if ((how & WORK) && other->as_is)
            lh_tree_dir_open_up(d, other);
        destroy(d, dir);
        dir = other;
    }
    destroy(d, gone);
    *out = dir;
    return 0;
}

/* 0 or an errno. */
static int make(struct lh_tree_dirs *d, struct lh_tree_dir *in, const char *name)
{
    int e = mkdirat(in->fd, name, 0777) == 0 ? 0 : errno;

    if (lh_tree_dir_again(d, in, e))
        e = mkdirat(in->fd, name, 0777) == 0 ? 0 : errno;
    return e;
}

/* Prefix by prefix from the root, which is there, each from the one before it. */
static int reach(struct lh_tree_dirs *d, const char *path, size_t len, unsigned how,
                 struct lh_tree_dir **out)
{
    struct lh_tree_dir *dir, *next;
    size_t from = 0;
    int e = get(d, NULL, path, 0, WORK, &dir);

    for (size_t at = 1; e == 0 && at <= len; at++) {
        char name[NAME_BYTES_MAX + 1];
        unsigned to = at < len ? WORK : how & WORK;
        bool made;

        if (at < len && path[at] != '/')
            continue;
        memcpy(name, path + from, at - from);
        name[at - from] = '\0';
        e = get(d, dir, path, at, to, &next);
        if (e == ENOENT && (how & MAKE)) {
            e = make(d, dir, name);
            made = e == 0;
            if (e == EEXIST)
                e = 0;
            if (e == 0)
                e = lh_tree_dir_touch(d, dir);
            if (e == 0)
                e = get(d, dir, path, at, made ? to | OURS : to, &next);
            if (e == 0)
                next->fresh = made;
        }
        lh_tree_dir_put(d, dir);
        if (e != 0)
            return e;
        dir = next;
        from = at + 1;
    }
    if (e == 0)
        *out = dir;
    return e;
}

static int get_as(struct lh_tree_dirs *d, const char *path, size_t len, unsigned how,
                  struct lh_tree_dir **dir)
{
    int e = get(d, NULL, path, len, how, dir);

    if ((e == ENOENT && (how & MAKE)) || (e == EACCES && d->open_up))
        e = reach(d, path, len, how, dir);
    return e;
}

int lh_tree_dir_get(struct lh_tree_dirs *d, const char *path, size_t len, bool make,
                    struct lh_tree_dir **dir)
{
    return get_as(d, path, len, make ? WORK | MAKE : WORK, dir);
}

int lh_tree_dir_look(struct lh_tree_dirs *d, const char *path, size_t len, struct lh_tree_dir **dir)
{
    return get_as(d, path, len, 0, dir);
}

bool lh_tree_dir_is(const struct lh_tree_dir *dir, const char *path, size_t len)
{
    return dir->path_len == len && memcmp(dir->path, path, len) == 0;
}

int lh_tree_dir_turn(struct lh_tree_dirs *d, const char *path, size_t len, bool make,
                     struct lh_tree_dir **dir)
{
    if (*dir != NULL && lh_tree_dir_is(*dir, path, len))
        return 0;
    if (*dir != NULL)
        lh_tree_dir_put(d, *dir);
    *dir = NULL;
    return lh_tree_dir_get(d, path, len, make, dir);
}

void lh_tree_dir_made(struct lh_tree_dirs *d, const struct lh_tree_dir *in, const char *path,
                      size_t len)
{
    struct lh_tree_dir *dir;

    if (get(d, in, path, len, WORK | OURS, &dir) != 0)
        return;
    dir->fresh = true;
    lh_tree_dir_put(d, dir);
}

void lh_tree_dir_put(struct lh_tree_dirs *d, struct lh_tree_dir *dir)
{
    bool gone;

    pthread_mutex_lock(&d->lock);
    gone = unref(dir);
    pthread_mutex_unlock(&d->lock);
    if (gone)
        destroy(d, dir);
}

void lh_tree_dirs_forget(struct lh_tree_dirs *d)
{
    struct lh_tree_dir *gone[LH_TREE_DIRS_KEPT];
    unsigned n = 0;

    pthread_mutex_lock(&d->lock);
    memset(d->fresh, 0, sizeof(d->fresh));
    for (unsigned i = 0; i < LH_TREE_DIRS_KEPT; i++) {
        struct lh_tree_dir *dir = d->kept[i];

        d->kept[i] = NULL;
        if (dir != NULL) {
            dir->kept = false;
            if (dir->refs == 0)
                gone[n++] = dir;
        }
    }
    pthread_mutex_unlock(&d->lock);
    while (n > 0)
        destroy(d, gone[--n]);
}

/* ---- all of them ---- */

/* Since Linux 5.8 it reports what could not be written. */
static bool syncfs_tells(void)
{
    unsigned major = 0, minor = 0;
    struct utsname name;

    if (uname(&name) != 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2)
        return false;
    return major > 5 || (major == 5 && minor >= 8);
}

void lh_tree_dirs_init(struct lh_tree_dirs *d)
{
    memset(d, 0, sizeof(*d)); /* no value of it on the stack: it is large */
    d->root_fd = -1;
    d->know_fd = -1;
    d->each = !syncfs_tells();
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->mode_lock, NULL);
}

int lh_tree_dirs_root(struct lh_tree_dirs *d, int root_fd, uint64_t dev)
{
    d->root_fd = root_fd;
    d->dev = dev;
    lh_tree_dirs_open_root(d);
    d->know_fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->know_fd >= 0 ? 0 : errno;
}

void lh_tree_dirs_free(struct lh_tree_dirs *d)
{
    if (d->know_fd >= 0)
        close(d->know_fd);
    for (unsigned i = 0; i < d->n_dirty; i++)
        lh_tree_dir_put(d, d->dirty[i]);
    d->n_dirty = 0;
    lh_tree_dirs_let_root(d);
    lh_tree_dirs_forget(d);
    pthread_mutex_destroy(&d->mode_lock);
    pthread_mutex_destroy(&d->lock);
}
