/* Directories of a tree by their paths; told in rtree_dirs.h.
 *
 * Happy path: found among those that are kept -> a reference. Else openat2 -> kept in the place of
 * the one that nobody has used for longest. Missing ones are made from the root on, each synced
 * with the next commit (rtree_sync.c). One of ours into which we may not write is opened up, as
 * rsync does. Failures: the kernel's word, as an errno. */
#include "io/rtree_dirs.h"

#include "io/deep.h"
#include "io/disk.h"
#include "io/staging.h"
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

/* Returns a descriptor or -errno. */
static int open_beneath(int from_fd, const char *path)
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

/* One that is not kept yet, with a reference. */
static int open_dir(const struct lh_tree_dirs *d, const struct lh_tree_dir *in, const char *path,
                    size_t len, uint64_t hash, struct lh_tree_dir **out)
{
    struct lh_tree_dir *dir = malloc(sizeof(*dir) + len + 1);
    struct lh_disk_stat st;
    int e;

    if (dir == NULL)
        return ENOMEM;
    *dir = (struct lh_tree_dir){.refs = 1, .hash = hash, .path_len = len};
    memcpy(dir->path, path, len);
    dir->path[len] = '\0';
    if (in == NULL)
        dir->fd = open_beneath(d->root_fd, dir->path);
    else
        dir->fd = open_beneath(in->fd, dir->path + in->path_len + (in->path_len > 0));
    e = dir->fd < 0 ? -dir->fd : lh_disk_stat(dir->fd, "", &st);
    if (e != 0) {
        if (dir->fd >= 0)
            close(dir->fd);
        free(dir);
        return e;
    }
    dir->dev = st.dev;
    dir->gid = st.gid;
    dir->mark = fresh_mark(hash, st.dev, st.ino);
    if (d->open_up && (st.mode & 0700) != 0700) /* of somebody else: it stays as it is */
        (void)fchmod(dir->fd, (st.mode & 07777) | 0700);
    dir->foreign = st.dev != d->dev;
    dir->acl = fgetxattr(dir->fd, "system.posix_acl_default", NULL, 0) > 0;
    *out = dir;
    return 0;
}

static void destroy(struct lh_tree_dir *dir)
{
    if (dir == NULL)
        return;
    close(dir->fd);
    free(dir);
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

/* in: the directory that it is in, when that is at hand, else NULL.
 * ours: it was made just now. The name of another may not be on the disk yet, and what is put into
 * it is not there either until that is. */
static int get(struct lh_tree_dirs *d, const struct lh_tree_dir *in, const char *path, size_t len,
               bool ours, struct lh_tree_dir **out)
{
    uint64_t hash = lh_check64(path, len, 0);
    struct lh_tree_dir *dir, *other, *gone = NULL;
    int e;

    pthread_mutex_lock(&d->lock);
    dir = find(d, path, len, hash);
    pthread_mutex_unlock(&d->lock);
    if (dir != NULL) {
        *out = dir;
        return 0;
    }
    e = open_dir(d, in, path, len, hash, &dir);
    if (e == EMFILE || e == ENFILE) { /* those that are only kept cost others theirs */
        lh_tree_dirs_forget(d);
        e = open_dir(d, in, path, len, hash, &dir);
    }
    if (e != 0)
        return e;
    pthread_mutex_lock(&d->lock);
    d->many = d->many || !(ours || d->known || len == 0);
    other = find(d, path, len, hash);
    if (other == NULL) {
        dir->fresh = *fresh_at(d, dir) == dir->mark;
        gone = keep(d, dir);
    }
    pthread_mutex_unlock(&d->lock);
    if (other != NULL) {
        destroy(dir);
        dir = other;
    }
    destroy(gone);
    *out = dir;
    return 0;
}

/* One that may not be opened. False: not by us either. */
static bool open_up(const struct lh_tree_dirs *d, int dirfd, const char *name)
{
    struct lh_disk_stat st;

    return d->open_up && lh_disk_stat(dirfd, name, &st) == 0 && S_ISDIR(st.mode) &&
           (st.mode & 0700) != 0700 &&
           fchmodat(dirfd, name, (st.mode & 07777) | 0700, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Prefix by prefix from the root, which is there, each from the one before it. make: what is
 * missing.
 */
static int reach(struct lh_tree_dirs *d, const char *path, size_t len, bool make,
                 struct lh_tree_dir **out)
{
    struct lh_tree_dir *dir, *next;
    size_t from = 0;
    int e = get(d, NULL, path, 0, false, &dir);

    for (size_t at = 1; e == 0 && at <= len; at++) {
        char name[NAME_BYTES_MAX + 1];
        bool made;

        if (at < len && path[at] != '/')
            continue;
        memcpy(name, path + from, at - from);
        name[at - from] = '\0';
        e = get(d, dir, path, at, false, &next);
        if (e == EACCES && open_up(d, dir->fd, name))
            e = get(d, dir, path, at, false, &next);
        if (e == ENOENT && make) {
            made = mkdirat(dir->fd, name, 0777) == 0;
            e = made || errno == EEXIST ? 0 : errno;
            if (e == 0)
                e = lh_tree_dir_touch(d, dir);
            if (e == 0)
                e = get(d, dir, path, at, made, &next);
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

int lh_tree_dir_get(struct lh_tree_dirs *d, const char *path, size_t len, bool make,
                    struct lh_tree_dir **dir)
{
    int e = get(d, NULL, path, len, false, dir);

    if ((e == ENOENT && make) || (e == EACCES && d->open_up))
        e = reach(d, path, len, make, dir);
    return e;
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

    if (get(d, in, path, len, true, &dir) != 0)
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
        destroy(dir);
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
        destroy(gone[--n]);
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
}

int lh_tree_dirs_root(struct lh_tree_dirs *d, int root_fd, uint64_t dev)
{
    d->root_fd = root_fd;
    d->dev = dev;
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
    lh_tree_dirs_forget(d);
    pthread_mutex_destroy(&d->lock);
}
