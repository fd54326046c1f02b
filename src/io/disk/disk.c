/* Whole reads, writes and syncs; conventions in disk.h.
 *
 * Thread: any. Owner: nobody, there is no state. Failures: EINTR is retried; everything else is the
 * caller's to tell. */
#include "io/disk/disk.h"

#include "proto/transfer.h"
#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int lh_disk_write(int fd, const void *data, size_t len, uint64_t offset)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, at, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        if (n == 0) /* no regular file does this; a loop that never ends would be worse */
            return EIO;
        at += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int lh_disk_read(int fd, void *out, size_t len, uint64_t offset, size_t *n)
{
    uint8_t *at = out;
    size_t got = 0;

    while (got < len) {
        ssize_t r = pread(fd, at + got, len - got, (off_t)(offset + got));

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return errno;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    *n = got;
    return 0;
}

int lh_disk_sync_data(int fd)
{
    while (fdatasync(fd) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int lh_disk_sync(int fd)
{
    while (fsync(fd) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int lh_disk_sync_dir(int dirfd)
{
    int e;

    if (lh_mutant("drop-dir-sync"))
        return 0;
    e = lh_disk_sync(dirfd);
    /* File systems without entries to sync (some network and FUSE ones) answer so. */
    return e == EINVAL ? 0 : e;
}

int lh_disk_sync_fs(int fd)
{
    while (syncfs(fd) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return 0;
}

int lh_disk_rename_new(int dirfd, const char *from, const char *to)
{
    if (renameat2(dirfd, from, dirfd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    /* The file system cannot; a hard link fails just as well when somebody was faster. */
    if (linkat(dirfd, from, dirfd, to, 0) != 0)
        return errno;
    return unlinkat(dirfd, from, 0) == 0 ? 0 : errno;
}

static struct lh_time time_of(const struct statx_timestamp *t)
{
    return (struct lh_time){.sec = t->tv_sec, .nsec = t->tv_nsec};
}

static int stat_at(int dirfd, const char *name, int flags, struct lh_disk_stat *out)
{
    struct statx stx;

    memset(&stx, 0, sizeof(stx));
    if (statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, &stx) != 0)
        return errno;
    *out = (struct lh_disk_stat){
        .dev = makedev(stx.stx_dev_major, stx.stx_dev_minor),
        .ino = stx.stx_ino,
        .size = stx.stx_size,
        .room = stx.stx_blocks * 512,
        .mode = stx.stx_mode,
        .uid = stx.stx_uid,
        .gid = stx.stx_gid,
        .n_links = stx.stx_nlink,
        .rdev = makedev(stx.stx_rdev_major, stx.stx_rdev_minor),
        .mtime = time_of(&stx.stx_mtime),
        .ctime = time_of(&stx.stx_ctime),
    };
    if ((stx.stx_mask & STATX_BTIME) != 0)
        out->btime = time_of(&stx.stx_btime);
    return 0;
}

uint8_t lh_disk_kind(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return LH_KIND_FILE;
    case S_IFDIR:
        return LH_KIND_DIR;
    case S_IFLNK:
        return LH_KIND_SYMLINK;
    case S_IFIFO:
        return LH_KIND_FIFO;
    case S_IFCHR:
        return LH_KIND_CHAR;
    case S_IFBLK:
        return LH_KIND_BLOCK;
    default:
        return LH_KIND_SOCKET;
    }
}

int lh_disk_stat(int dirfd, const char *name, struct lh_disk_stat *out)
{
    return stat_at(dirfd, name, AT_SYMLINK_NOFOLLOW | (name[0] == '\0' ? AT_EMPTY_PATH : 0), out);
}

int lh_disk_stat_target(int dirfd, const char *name, struct lh_disk_stat *out)
{
    return stat_at(dirfd, name, 0, out);
}
