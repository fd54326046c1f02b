/* Paths in pieces; contract in deep.h.
 *
 * Happy path: the path fits -> one call. Else the longest piece that ends before a slash is opened
 * as a place to go on from (O_PATH), and so on to the last piece, which is opened as was asked.
 * Failures: the kernel's word, of whichever piece; a name that no piece can hold is ENAMETOOLONG.
 *
 * A directory on the way may be moved while its descriptor is held: what is then gone into is what
 * it was when it was reached, as within one call. */
#include "io/disk/deep.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EAGAIN_RETRIES 64

/* Returns a descriptor or -errno. */
static int open_piece(int dirfd, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {.flags = (unsigned)flags, .resolve = resolve};

    if (path[0] == '\0' && dirfd != AT_FDCWD)
        path = ".";
    for (int tries = 0;; tries++) {
        long fd = resolve == 0 ? openat(dirfd, path, flags)
                               : syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        /* EAGAIN: a rename went by and the kernel cannot vouch for a ".." on the way. */
        if (errno != EINTR && (resolve == 0 || errno != EAGAIN || tries >= EAGAIN_RETRIES))
            return -errno;
    }
}

/* Bytes of the longest piece before a slash. 0: there is none. */
static size_t piece_of(const char *path)
{
    size_t len = PATH_MAX - 1;

    while (len > 0 && path[len] != '/')
        len--;
    return len;
}

int lh_deep_open(int dirfd, const char *path, int flags, uint64_t resolve)
{
    char piece[PATH_MAX];
    int at = dirfd;

    while (strnlen(path, PATH_MAX) == PATH_MAX) {
        size_t len = piece_of(path);
        int next = -ENAMETOOLONG;

        if (len > 0) {
            memcpy(piece, path, len);
            piece[len] = '\0';
            next = open_piece(at, piece, O_PATH | O_DIRECTORY | O_CLOEXEC, resolve);
            path += len;
            path += strspn(path, "/");
        }
        if (at != dirfd)
            close(at);
        if (next < 0)
            return next;
        at = next;
    }
    int fd = open_piece(at, path, flags, resolve);

    if (at != dirfd)
        close(at);
    return fd;
}

int lh_deep_stat(int dirfd, const char *path, bool follow, struct lh_disk_stat *out)
{
    int fd;
    int e;

    if (strnlen(path, PATH_MAX) < PATH_MAX)
        return follow ? lh_disk_stat_target(dirfd, path, out) : lh_disk_stat(dirfd, path, out);
    fd = lh_deep_open(dirfd, path, O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), 0);
    if (fd < 0)
        return -fd;
    e = lh_disk_stat(fd, "", out);
    close(fd);
    return e;
}
