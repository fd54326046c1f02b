/* The journal as a file: opened, locked, recovered, emptied. What it is for and how it fails is
 * told in journal.h; records are written in journal_append.c, read in journal_read.c, and what is
 * hashed of them in journal_hash.c.
 *
 * Owner: the sink (partials only scan). Positions are kept here, not in the descriptor, so that a
 * torn tail is simply written over. */
#include "io/disk/journal_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RACES_MAX 64

/* ---- opening ------------------------------------------------------------------------------- */

bool lh_journal_held(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Returns a descriptor or -errno; *made: the file is new. */
static int open_or_make(int dirfd, const char *name, bool create, bool *made)
{
    int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    int fd = openat(dirfd, name, flags);

    *made = false;
    if (fd >= 0 || errno != ENOENT || !create)
        return fd >= 0 ? fd : -errno;
    fd = openat(dirfd, name, flags | O_CREAT | O_EXCL, 0600);
    *made = fd >= 0;
    return fd >= 0 ? fd : -errno;
}

/* Lock it and see that it still is what its name leads to. Returns 0, -ESTALE when it is not
 * (whoever had it before may have unlinked it between our open and our lock), or another -errno. */
static int lock_it(int dirfd, const char *name, int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct lh_disk_stat have;
    struct lh_disk_stat named;
    int e;

    if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        return errno == EACCES ? -EAGAIN : -errno;
    e = lh_disk_stat(fd, "", &have);
    if (e != 0)
        return -e;
    if (!S_ISREG(have.mode))
        return -ENOTSUP;
    e = lh_disk_stat(dirfd, name, &named);
    if (e == ENOENT || (e == 0 && (named.ino != have.ino || named.dev != have.dev)))
        return -ESTALE;
    return -e;
}

/* Returns a locked descriptor, -ENOENT, -EAGAIN when somebody else has it, or another -errno. */
static int open_locked(int dirfd, const char *name, bool create)
{
    for (int races = 0; races < RACES_MAX; races++) {
        bool made;
        int fd = open_or_make(dirfd, name, create, &made);
        int r;

        if (fd == -EEXIST || fd == -EINTR)
            continue;
        if (fd < 0)
            return fd;
        r = lock_it(dirfd, name, fd);
        if (r == 0)
            return fd;
        /* A new one that cannot be used is not left behind; one that another has locked is his. */
        if (made && r != -EAGAIN && r != -ESTALE)
            unlinkat(dirfd, name, 0);
        close(fd);
        if (r != -ESTALE && r != -EINTR)
            return r;
    }
    return -EAGAIN;
}

int lh_journal_open(int dirfd, const struct lh_hidden *hidden, const char *shown, bool create,
                    struct lh_journal **journal, struct lh_err *err)
{
    struct lh_journal *j = calloc(1, sizeof(*j));
    int fd;

    if (j == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    fd = open_locked(dirfd, hidden->journal, create);
    if (fd < 0) {
        free(j);
        if (fd == -ENOENT && !create) {
            *journal = NULL;
            return 0;
        }
        if (fd == -EAGAIN)
            return lh_err_set(err, LH_E_BUSY, "%s: another process is receiving it", shown);
        return lh_err_sys(err, lh_status_of_write_errno(-fd), -fd,
                          "cannot open the journal %s of %s", hidden->journal, shown);
    }
    j->dirfd = dirfd;
    j->fd = fd;
    j->index_fd = -1;
    j->hidden = hidden;
    j->shown = shown;
    lh_journal_state_init(&j->state);
    *journal = j;
    return 0;
}

void lh_journal_drop_index(struct lh_journal *j)
{
    if (j->index_fd >= 0)
        close(j->index_fd);
    j->index_fd = -1;
}

void lh_journal_close(struct lh_journal *j)
{
    if (j == NULL)
        return;
    lh_journal_drop_index(j);
    lh_journal_state_free(&j->state);
    close(j->fd);
    free(j);
}

struct lh_journal_state *lh_journal_state(struct lh_journal *j)
{
    return &j->state;
}

bool lh_journal_empty(const struct lh_journal *j)
{
    struct lh_disk_stat st;

    return lh_disk_stat(j->fd, "", &st) == 0 && st.size == 0;
}

int lh_journal_cut(struct lh_journal *j, uint64_t length)
{
    while (ftruncate(j->fd, (off_t)length) != 0) {
        if (errno != EINTR)
            return errno;
    }
    return lh_disk_sync_data(j->fd);
}

int lh_journal_recover(struct lh_journal *j, struct lh_err *err)
{
    off_t size = lseek(j->fd, 0, SEEK_END);
    int e;
    int r;

    if (size == 0) /* new: what it says is what it was initialised to */
        return 0;
    /* What a killed process wrote may be in the page cache alone, and after a failed sync even
     * marked clean: believe only what is read back from the disk. */
    e = size > 0 ? lh_disk_sync_data(j->fd) : 0;
    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot sync the journal of %s",
                          j->shown);
    posix_fadvise(j->fd, 0, 0, POSIX_FADV_DONTNEED);
    r = lh_journal_scan(j->fd, &j->state, err);
    if (r != 0)
        return r;
    j->seed = lh_journal_seed(j->state.head.uuid);
    e = j->state.torn ? lh_journal_cut(j, j->state.end) : 0;
    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot mend the journal of %s",
                          j->shown);
    return 0;
}

int lh_journal_reset(struct lh_journal *j, struct lh_err *err)
{
    bool empty = j->state.end == 0 && !j->state.torn;
    int e = empty ? 0 : lh_journal_cut(j, 0);

    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot empty the journal of %s",
                          j->shown);
    lh_journal_drop_index(j);
    lh_journal_state_free(&j->state);
    lh_journal_state_init(&j->state);
    return 0;
}
