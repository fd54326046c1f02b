/* Extended attributes of an entry, as FILES carries them: n times (u16 length, name, u16 length,
 * value).
 *
 * Thread: as the walk. They are read by name through /proc/self/fd, because a file need not be
 * readable nor be opened for it, and a symbolic link cannot be. Of which there are: user.* always,
 * trusted.* and security.* for root; both kinds of POSIX ACLs are system.posix_acl_*.
 *
 * Failures: a file system without them has none. One that goes away between being listed and being
 * read is none. */
#include "io/source/walk_impl.h"

#include "proto/cursor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LIST_SIZE 65536  /* the kernel's own bounds */
#define VALUE_SIZE 65536 /* a byte more than a length on the wire can say */

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

static bool wanted(const struct lh_walk *w, const char *name)
{
    if (begins(name, "system.posix_acl_"))
        return (w->opts->preserve & LH_PRESERVE_ACL) != 0;
    if ((w->opts->preserve & LH_PRESERVE_XATTRS) == 0)
        return false;
    return begins(name, "user.") ||
           (geteuid() == 0 && (begins(name, "trusted.") || begins(name, "security.")));
}

/* One of them, behind those in w->xattrs. */
static int add(struct lh_walk *w, const char *path, bool follow, const char *name, uint8_t *value)
{
    size_t name_len = strlen(name);
    ssize_t n =
        follow ? getxattr(path, name, value, VALUE_SIZE) : lgetxattr(path, name, value, VALUE_SIZE);
    struct lh_writer out;

    if (n < 0)
        return errno == ENODATA ? 0 : errno;
    if (w->xattrs_len + 4 + name_len + (size_t)n > LH_WALK_XATTRS_MAX)
        return E2BIG;
    lh_writer_init(&out, w->xattrs + w->xattrs_len, 4 + name_len + (size_t)n);
    lh_put_u16(&out, (uint16_t)name_len);
    lh_put_bytes(&out, name, name_len);
    lh_put_u16(&out, (uint16_t)n);
    lh_put_bytes(&out, value, (size_t)n);
    w->xattrs_len += 4 + name_len + (size_t)n;
    return 0;
}

int lh_walk_read_xattrs(struct lh_walk *w, int dirfd, const char *name)
{
    bool follow = w->opts->links == LH_LINKS_FOLLOW || w->path_len == 0;
    char path[LH_PATH_MAX + 64];
    const char *list;
    ssize_t len;
    int e = 0;

    w->xattrs_len = 0;
    /* The attributes, a list of names and a value, one behind the other. */
    if (w->xattrs == NULL &&
        (w->xattrs = malloc(LH_WALK_XATTRS_MAX + LIST_SIZE + VALUE_SIZE)) == NULL)
        return ENOMEM;
    list = (const char *)w->xattrs + LH_WALK_XATTRS_MAX;
    if (dirfd == AT_FDCWD)
        len = snprintf(path, sizeof(path), "%s", name);
    else
        len = snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
    if (len >= (ssize_t)sizeof(path))
        return ENAMETOOLONG;
    len = follow ? listxattr(path, (char *)w->xattrs + LH_WALK_XATTRS_MAX, LIST_SIZE)
                 : llistxattr(path, (char *)w->xattrs + LH_WALK_XATTRS_MAX, LIST_SIZE);
    if (len < 0)
        return errno == ENOTSUP ? 0 : errno;
    for (ssize_t at = 0; at < len && e == 0; at += (ssize_t)strlen(list + at) + 1) {
        if (wanted(w, list + at))
            e = add(w, path, follow, list + at, w->xattrs + LH_WALK_XATTRS_MAX + LIST_SIZE);
    }
    return e;
}
