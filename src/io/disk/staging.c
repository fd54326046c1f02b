/* Hidden names and the staging file.
 *
 * Thread: I/O threads. Owner: the sink, and partials for clearing up. Happy path: create (or open
 * again) and hand the descriptor over. Failures: what cannot fit is refused and unlinked again;
 * preallocated size proves nothing about contents, which is the journal's business. */
#include "io/disk/staging.h"

#include "proto/hash.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEX_DIGITS 32

static void names_of(const char hex[HEX_DIGITS + 1], struct lh_hidden *h)
{
    snprintf(h->part, sizeof(h->part), LH_HIDDEN_PREFIX "%s.part", hex);
    snprintf(h->journal, sizeof(h->journal), LH_HIDDEN_PREFIX "%s.journal", hex);
    snprintf(h->index, sizeof(h->index), LH_HIDDEN_PREFIX "%s.index", hex);
}

void lh_hidden_of(const char *target, struct lh_hidden *h)
{
    struct lh_hash hash;
    char hex[HEX_DIGITS + 1];

    lh_hash_bytes(target, strlen(target), &hash);
    lh_text_hex(hex, hash.bytes, LH_HASH_SIZE);
    names_of(hex, h);
}

/* A tree makes these by the thousand: no formatting. */
void lh_hidden_part_of(const void *what, size_t len, char part[LH_HIDDEN_SIZE])
{
    const size_t prefix = strlen(LH_HIDDEN_PREFIX);
    struct lh_hash hash;

    lh_hash_bytes(what, len, &hash);
    memcpy(part, LH_HIDDEN_PREFIX, prefix);
    lh_text_hex(part + prefix, hash.bytes, LH_HASH_SIZE);
    memcpy(part + prefix + HEX_DIGITS, ".part", sizeof(".part"));
}

bool lh_hidden_reserved(const char *name)
{
    return strncmp(name, LH_HIDDEN_PREFIX, strlen(LH_HIDDEN_PREFIX)) == 0;
}

bool lh_hidden_parse(const char *entry, struct lh_hidden *h)
{
    char hex[HEX_DIGITS + 1] = "";
    struct lh_hidden got;

    if (!lh_hidden_reserved(entry))
        return false;
    entry += strlen(LH_HIDDEN_PREFIX);
    if (strspn(entry, "0123456789abcdef") != HEX_DIGITS)
        return false;
    memcpy(hex, entry, HEX_DIGITS);
    names_of(hex, &got);
    entry -= strlen(LH_HIDDEN_PREFIX);
    if (strcmp(entry, got.part) != 0 && strcmp(entry, got.journal) != 0 &&
        strcmp(entry, got.index) != 0)
        return false;
    *h = got;
    return true;
}

int lh_hidden_remove(int dirfd, const struct lh_hidden *h)
{
    const char *const names[] = {h->part, h->index, h->journal};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (unlinkat(dirfd, names[i], 0) != 0 && errno != ENOENT)
            return errno;
    }
    return 0;
}

static bool unsupported(int e)
{
    return e == EOPNOTSUPP || e == ENOSYS || e == EINVAL;
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t length)
{
    while (fallocate(fd, mode, (off_t)offset, (off_t)length) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int lh_staging_allocate(int fd, uint64_t offset, uint64_t length)
{
    int e = allocate(fd, 0, offset, length);

    if (unsupported(e))
        e = allocate(fd, FALLOC_FL_KEEP_SIZE, offset, length);
    return unsupported(e) ? 0 : e;
}

int lh_staging_punch(int fd, uint64_t offset, uint64_t length)
{
    return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

static int set_size(int fd, uint64_t size)
{
    while (ftruncate(fd, (off_t)size) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

/* Refuse at once what cannot fit, rather than after hours. Says nothing about quotas. */
static int check_space(int fd, uint64_t space, const char *shown, struct lh_err *err)
{
    char want[32], have[32];
    struct statvfs fs;
    uint64_t left;

    if (fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0) /* a file system that does not count */
        return 0;
    left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left >= space)
        return 0;
    return lh_err_set(err, LH_E_DEST_SPACE, "cannot take %s of space for %s: %s are free",
                      lh_text_bytes(want, sizeof(want), space), shown,
                      lh_text_bytes(have, sizeof(have), left));
}

int lh_staging_create(int dirfd, const char *part, uint64_t size, uint64_t space, const char *shown,
                      int *fd, struct lh_err *err)
{
    int r;
    int e;
    int f;

    if (size > INT64_MAX)
        return lh_err_set(err, LH_E_DEST_SPACE, "%s: no file system holds a file of that size",
                          shown);
    f = openat(dirfd, part, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f < 0)
        return lh_err_sys(err, lh_status_of_write_errno(errno), errno,
                          "cannot make the staging file %s for %s", part, shown);
    r = check_space(f, space, shown, err);
    e = r == 0 ? set_size(f, size) : 0;
    if (e != 0)
        r = lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot make the staging file for %s",
                       shown);
    if (r != 0) {
        unlinkat(dirfd, part, 0);
        close(f);
        return r;
    }
    *fd = f;
    return 0;
}

int lh_staging_open(int dirfd, const char *part, const struct lh_disk_stat *st, const char *shown,
                    int *fd, struct lh_err *err)
{
    struct lh_disk_stat now;
    int f;
    int e;

    /* One that was about to be renamed has the source's mode already, perhaps without the right to
     * write to it. */
    if ((st->mode & 0777) != 0600 && fchmodat(dirfd, part, 0600, AT_SYMLINK_NOFOLLOW) != 0 &&
        errno != EOPNOTSUPP)
        return lh_err_sys(err, lh_status_of_write_errno(errno), errno,
                          "cannot make the staging file %s for %s writable", part, shown);
    f = openat(dirfd, part, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (f < 0)
        return lh_err_sys(err, lh_status_of_write_errno(errno), errno,
                          "cannot open the staging file %s for %s", part, shown);
    e = lh_disk_stat(f, "", &now);
    if (e == 0 && (now.ino != st->ino || now.dev != st->dev))
        e = ESTALE;
    if (e != 0) {
        close(f);
        return lh_err_sys(err, LH_E_DEST, e, "cannot open the staging file %s for %s", part, shown);
    }
    *fd = f;
    return 0;
}
