/* Mode, times, owner and extended attributes of what a tree brings.
 *
 * Thread: stream loops, openers, committer; nothing here is shared but counters of the caller.
 *
 * Happy path: owner (which takes set-id bits and capabilities away) -> extended attributes (which
 * need the right to write: what is ours is given it until its mode is set) -> mode -> times.
 * Failures: what the file system or the kernel does not let us set is counted, not an error; only
 * an errno of the disk is one. */
#include "core/keep.h"
#include "io/rtree/rtree_impl.h"
#include "proto/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL_PREFIX "system.posix_acl_"
#define GROUP 070u
#define USER_PREFIX "user."
#define LIST_BYTES 1024 /* of names; more want memory of their own */

static const char *const acl_names[] = {ACL_PREFIX "access", ACL_PREFIX "default"};

mode_t lh_rtree_mode_mask(const struct lh_rtree *t)
{
    return lh_rtree_owner_kept(t) ? 07777 : 01777;
}

static mode_t wanted_mode(const struct lh_rtree *t, uint16_t mode)
{
    return mode & lh_rtree_mode_mask(t);
}

mode_t lh_rtree_mode(const struct lh_rtree *t, uint16_t mode, bool acl, bool *exact)
{
    mode_t want = wanted_mode(t, mode);

    *exact = !(t->keep & LH_KEEP_MODE) || (!acl && (want & (t->umask | 07000)) == 0);
    return want & 0777;
}

static mode_t final_mode(const struct lh_rtree *t, uint16_t mode)
{
    return t->keep & LH_KEEP_MODE ? wanted_mode(t, mode) : mode & 0777 & ~t->umask;
}

/* Whether it is an error; what may not be set is counted. */
static int counted(int e, uint64_t *not_kept)
{
    if (lh_rtree_fatal(e))
        return e;
    ++*not_kept;
    return 0;
}

/* Full is a word that file systems have for attributes that do not fit beside an inode, too. */
static int counted_xattr(int e, uint64_t *not_kept)
{
    return counted(e == ENOSPC || e == EDQUOT ? E2BIG : e, not_kept);
}

static bool is_users(const char *name)
{
    return strncmp(name, USER_PREFIX, strlen(USER_PREFIX)) == 0;
}

static bool is_kept(const struct lh_rtree *t, const char *name)
{
    if (strncmp(name, ACL_PREFIX, strlen(ACL_PREFIX)) == 0)
        return t->keep & LH_KEEP_ACL;
    return (t->keep & LH_KEEP_XATTRS) &&
           (is_users(name) ||
            ((t->allow & LH_ALLOW_SECURITY) && lh_rtree_is_security(name, strlen(name))));
}

/* With an ACL the group's bits of a mode are the ACL's mask, and more than the group itself may
 * have: without it they are the group's. So it goes only where there is a mode to be set, and while
 * that gives the group nothing: else whom it names, or the group, could for a moment do what they
 * may neither before nor afterwards. */
static bool drops_acls(const struct lh_rtree *t)
{
    return (t->keep & LH_KEEP_ACL) && (t->keep & LH_KEEP_MODE);
}

static bool has_acl_of(int fd)
{
    return fgetxattr(fd, acl_names[0], NULL, 0) > 0;
}

/* The ACL that it has of its directory, or had before, and the source has not. It has its mode
 * then, without the group's bits where the ACL could not be removed: they would be its mask. */
static int drop_acl(const struct lh_rtree *t, int fd, const struct lh_rdress *d, uint64_t *not_kept)
{
    mode_t mode = final_mode(t, d->mode);

    if (fchmod(fd, mode & ~GROUP) != 0)
        return counted(errno, not_kept);
    if (fremovexattr(fd, acl_names[0]) != 0 && errno != ENODATA)
        return counted_xattr(errno, not_kept);
    return fchmod(fd, mode) == 0 ? 0 : counted(errno, not_kept);
}

/* The same of the one for what is made in it. */
static int drop_default_acl(int fd, uint64_t *not_kept)
{
    if (fremovexattr(fd, acl_names[1]) == 0 || errno == ENODATA || errno == EOPNOTSUPP)
        return 0;
    return counted_xattr(errno, not_kept);
}

/* Extended attributes have no calls that take a directory and a name in it. */
#define THERE_SIZE (sizeof("/proc/self/fd//") + 3 * sizeof(int) + NAME_MAX)

static const char *there(char path[THERE_SIZE], int dirfd, const char *name)
{
    snprintf(path, THERE_SIZE, "/proc/self/fd/%d/%s", dirfd, name);
    return path;
}

bool lh_rtree_acl_too_many(const struct lh_rtree *t, int dirfd, const char *name)
{
    char path[THERE_SIZE];

    return drops_acls(t) && lgetxattr(there(path, dirfd, name), acl_names[0], NULL, 0) > 0;
}

/* len: of a list of names; negative when there is none. */
static bool has_users(const char *list, ssize_t len)
{
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(list + at) + 1)
        if (is_users(list + at))
            return true;
    return false;
}

bool lh_rtree_xattrs_too_many(const struct lh_rtree *t, int dirfd, const char *name)
{
    char path[THERE_SIZE];
    char few[LIST_BYTES];
    char *many;
    bool has;
    ssize_t len;

    if (!(t->keep & LH_KEEP_XATTRS))
        return false;
    len = llistxattr(there(path, dirfd, name), few, sizeof(few));
    if (len >= 0 || errno != ERANGE)
        return has_users(few, len);
    many = malloc(XATTR_LIST_MAX);
    if (many == NULL)
        return true; /* who drops them looks again */
    has = has_users(many, llistxattr(path, many, XATTR_LIST_MAX));
    free(many);
    return has;
}

/* Mode and ACL of what cannot be opened: only a directory has one for others. 0 or an errno. */
static int set_mode_at(const struct lh_rtree *t, int dirfd, const char *name,
                       const struct lh_rdress *d, uint64_t *not_kept)
{
    mode_t mode = final_mode(t, d->mode);
    bool acl = lh_rtree_acl_too_many(t, dirfd, name);
    char path[THERE_SIZE];

    if ((acl || !d->mode_set) &&
        fchmodat(dirfd, name, acl ? mode & ~GROUP : mode, AT_SYMLINK_NOFOLLOW) != 0)
        return counted(errno, not_kept);
    if (!acl)
        return 0;
    if (lremovexattr(there(path, dirfd, name), acl_names[0]) != 0 && errno != ENODATA)
        return counted_xattr(errno, not_kept);
    return fchmodat(dirfd, name, mode, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : counted(errno, not_kept);
}

#define BITS 07777u

/* Attributes of users want the right to write, whatever the descriptor may: what is ours has it
 * until it gets its mode. Whether it had not. */
static bool lift(int fd, struct lh_rdress *d)
{
    struct lh_disk_stat st;

    if (lh_disk_stat(fd, "", &st) != 0 || (st.mode & S_IWUSR) != 0 ||
        fchmod(fd, (st.mode & BITS) | S_IWUSR) != 0)
        return false;
    d->lifted = true;
    d->was = st.mode & BITS;
    return true;
}

/* 0 or an errno of the disk. */
static int set_xattr(int fd, struct lh_rdress *d, const char *name, const void *value, size_t len,
                     uint64_t *not_kept)
{
    int e = fsetxattr(fd, name, value, len, 0) == 0 ? 0 : errno;

    if (e == EACCES && lift(fd, d))
        e = fsetxattr(fd, name, value, len, 0) == 0 ? 0 : errno;
    if (e == 0 && strcmp(name, acl_names[0]) == 0)
        d->lifted = false; /* it says what its owner may */
    return e == 0 ? 0 : counted_xattr(e, not_kept);
}

static int set_xattrs(const struct lh_rtree *t, int fd, struct lh_rdress *d, bool has_acl[2],
                      uint64_t *not_kept)
{
    struct lh_reader r;
    int e = 0;

    lh_reader_init(&r, d->xattrs, d->xattrs_len);
    while (e == 0 && lh_reader_left(&r) > 0) {
        char name[XATTR_NAME_MAX + 1];
        size_t name_len = lh_get_u16(&r);
        const uint8_t *at = lh_get_view(&r, name_len);
        size_t value_len = lh_get_u16(&r);
        const uint8_t *value = lh_get_view(&r, value_len);

        if (r.failed || name_len > XATTR_NAME_MAX) {
            ++*not_kept;
            break;
        }
        memcpy(name, at, name_len);
        name[name_len] = '\0';
        for (size_t i = 0; i < 2; i++)
            has_acl[i] |= strcmp(name, acl_names[i]) == 0;
        if (is_kept(t, name))
            e = set_xattr(fd, d, name, value, value_len, not_kept);
    }
    return e;
}

static bool is_told(const struct lh_rdress *d, const char *name)
{
    size_t len = strlen(name);
    struct lh_xattr x;
    size_t at = 0;

    while (lh_xattrs_next(d->xattrs, d->xattrs_len, &at, &x))
        if (x.name_len == len && memcmp(x.name, name, len) == 0)
            return true;
    return false;
}

/* 0 or an errno of the disk. */
static int drop_xattr(int fd, struct lh_rdress *d, const char *name, uint64_t *not_kept)
{
    int e = fremovexattr(fd, name) == 0 ? 0 : errno;

    if (e == EACCES && lift(fd, d))
        e = fremovexattr(fd, name) == 0 ? 0 : errno;
    return e == 0 || e == ENODATA ? 0 : counted_xattr(e, not_kept);
}

/* Those of users that it had before, and the source has not. All others the system may have given
 * it, and a sender that is not root does not know its own. */
static int drop_xattrs(int fd, struct lh_rdress *d, uint64_t *not_kept)
{
    ssize_t len = flistxattr(fd, NULL, 0);
    char *list = len > 0 ? malloc((size_t)len) : NULL;
    int e = 0;

    if (list == NULL)
        return len > 0 ? ENOMEM : 0;
    len = flistxattr(fd, list, (size_t)len);
    if (len < 0)
        e = counted_xattr(errno, not_kept);
    for (ssize_t at = 0; e == 0 && at < len; at += (ssize_t)strlen(list + at) + 1)
        if (is_users(list + at) && !is_told(d, list + at))
            e = drop_xattr(fd, d, list + at, not_kept);
    free(list);
    return e;
}

struct lh_rdress lh_rdress_of(const struct lh_rtree *t, const struct lh_tree_entry *e)
{
    return (struct lh_rdress){.mode = e->mode,
                              .uid = e->uid,
                              .gid = e->gid,
                              .mtime = e->mtime,
                              .xattrs = e->xattrs,
                              .xattrs_len = e->xattrs_len,
                              .mode_set = !(t->keep & LH_KEEP_MODE)};
}

void lh_rtree_count_not_kept(struct lh_rtree *t, uint64_t n)
{
    if (n == 0)
        return;
    pthread_mutex_lock(&t->lock);
    t->stats.not_kept += n;
    pthread_mutex_unlock(&t->lock);
}

static void times_of(const struct lh_rdress *d, struct timespec times[2])
{
    times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
    times[1] = (struct timespec){.tv_sec = (time_t)d->mtime.sec, .tv_nsec = (long)d->mtime.nsec};
}

/* What was opened up for this has the mode in the end that it had before, where it gets none.
 * e: what went wrong before. 0 or an errno. */
static int set_mode(const struct lh_rtree *t, int fd, const struct lh_rdress *d, int e,
                    uint64_t *not_kept)
{
    bool own = e == 0 && !d->mode_set;

    if ((own || d->lifted) && fchmod(fd, own ? final_mode(t, d->mode) : d->was) != 0 && e == 0)
        e = counted(errno, not_kept);
    return e;
}

int lh_rtree_dress(const struct lh_rtree *t, int fd, const struct lh_rdress *what,
                   uint64_t *not_kept)
{
    struct lh_rdress d = *what;
    struct timespec times[2];
    bool has_acl[2] = {false, false};
    int e = 0;

    if (lh_rtree_owner_kept(t) && !d.owner_set && fchown(fd, d.uid, d.gid) != 0)
        e = counted(errno, not_kept);
    if (e == 0 && d.xattrs_len > 0)
        e = set_xattrs(t, fd, &d, has_acl, not_kept);
    if (e == 0 && (t->keep & LH_KEEP_XATTRS) && !d.bare)
        e = drop_xattrs(fd, &d, not_kept);
    if (e == 0 && drops_acls(t) && !has_acl[0] && has_acl_of(fd))
        e = drop_acl(t, fd, &d, not_kept);
    else
        e = set_mode(t, fd, &d, e, not_kept);
    if (e == 0 && drops_acls(t) && !has_acl[1])
        e = drop_default_acl(fd, not_kept);
    times_of(&d, times);
    if (e == 0 && (t->keep & LH_KEEP_TIMES) && futimens(fd, times) != 0)
        e = counted(errno, not_kept);
    return e;
}

int lh_rtree_dress_at(const struct lh_rtree *t, int dirfd, const char *name, bool link,
                      const struct lh_rdress *d, uint64_t *not_kept)
{
    struct timespec times[2];
    int e = 0;

    if (lh_rtree_owner_kept(t) && fchownat(dirfd, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) != 0)
        e = counted(errno, not_kept);
    /* The name is a hidden one, or was free: what it leads to is ours. A link has no mode. */
    if (e == 0 && !link)
        e = set_mode_at(t, dirfd, name, d, not_kept);
    times_of(d, times);
    if (e == 0 && (t->keep & LH_KEEP_TIMES) &&
        utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) != 0)
        e = counted(errno, not_kept);
    return e;
}

/* ---- files that are there ---- */

#define OWNERS 0600u

/* One of our own that its mode lets us neither read nor write has both rights until it is dressed.
 * What is looked at is what gets them, whatever is renamed meanwhile. A descriptor or -errno. */
static int open_shut(const struct lh_tree_dir *dir, const char *name, struct lh_rdress *d)
{
    char path[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    struct lh_disk_stat st;
    int it = openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int fd = -EACCES;

    if (it < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", it);
    if (lh_disk_stat(it, "", &st) == 0 && S_ISREG(st.mode) && (st.mode & OWNERS) != OWNERS &&
        chmod(path, (st.mode & BITS) | OWNERS) == 0) {
        d->lifted = true;
        d->was = st.mode & BITS;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        fd = fd >= 0 ? fd : -errno;
        if (fd < 0)
            (void)chmod(path, d->was);
    }
    close(it);
    return fd;
}

int lh_rtree_open_there(const struct lh_tree_dir *dir, const char *name, struct lh_rdress *d)
{
    int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(dir->fd, name, O_RDONLY | flags);

    if (fd < 0 && errno == EACCES)
        fd = openat(dir->fd, name, O_WRONLY | flags);
    if (fd < 0 && errno == EACCES)
        return open_shut(dir, name, d);
    return fd >= 0 ? fd : -errno;
}

bool lh_rtree_is_that(const struct lh_disk_stat *st, uint64_t size, const struct lh_time *mtime)
{
    return S_ISREG(st->mode) && st->size == size && lh_keep_same_time(&st->mtime, mtime);
}

int lh_rtree_dress_there(const struct lh_rtree *t, const struct lh_tree_dir *dir, const char *name,
                         uint64_t size, const struct lh_rdress *what, uint64_t *not_kept)
{
    struct lh_rdress d = *what;
    struct lh_disk_stat st;
    int fd = lh_rtree_open_there(dir, name, &d);
    int e;

    if (fd < 0)
        return -fd;
    e = lh_disk_stat(fd, "", &st);
    if (e == 0 && !lh_rtree_is_that(&st, size, &d.mtime))
        e = EINVAL;
    if (e == 0)
        e = lh_rtree_dress(t, fd, &d, not_kept);
    else if (d.lifted)
        (void)fchmod(fd, d.was);
    if (e == 0)
        e = lh_disk_sync(fd);
    close(fd);
    return e;
}
