/* Hashes of durable blocks in block order, by an index that is made when it is first asked for, and
 * the digest of them all.
 *
 * Owner: the sink. */
#include "io/disk/journal_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DIGEST_HASHES 4096
#define INDEX_IN_MEMORY (64u * 1024) /* bytes; of 1 GiB at 256 KiB a block */

/* A file without a name, in the same directory: it is there that space is expected. For a small
 * one, memory: making a file costs a file system more than all that is in it. */
static int open_index(struct lh_journal *j)
{
    const char *name = j->hidden->index;
    int fd = -1;

    if (j->state.n_blocks * LH_HASH_SIZE <= INDEX_IN_MEMORY)
        fd = memfd_create("longhaul-hashes", MFD_CLOEXEC);
    if (fd < 0)
        fd = openat(j->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL))
        return fd >= 0 ? fd : -errno;
    if (unlinkat(j->dirfd, name, 0) != 0 && errno != ENOENT)
        return -errno;
    fd = openat(j->dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    unlinkat(j->dirfd, name, 0);
    return fd;
}

/* Read the journal once more and lay its hashes out. *n_durable: blocks that they are of. */
static int build_index(struct lh_journal *j, uint64_t *n_durable, struct lh_err *err)
{
    struct lh_journal_state st;
    int fd = open_index(j);
    int r;

    if (fd < 0)
        return lh_err_sys(err, lh_status_of_write_errno(-fd), -fd,
                          "cannot make a temporary file for the hashes of %s", j->shown);
    lh_journal_state_init(&st);
    r = lh_journal_read(j->fd, fd, &st, err);
    if (r == 0 && st.end != j->state.end)
        r = lh_err_set(err, LH_E_CORRUPT, "the journal of %s does not read back", j->shown);
    if (r == 0) {
        lh_journal_drop_index(j);
        j->index_fd = fd;
        *n_durable = st.durable.blocks;
    } else {
        close(fd);
    }
    lh_journal_state_free(&st);
    return r;
}

static int read_hashes(struct lh_journal *j, uint64_t first, size_t n, struct lh_hash *out,
                       struct lh_err *err)
{
    size_t got;
    int e = lh_disk_read(j->index_fd, out, n * LH_HASH_SIZE, first * LH_HASH_SIZE, &got);

    if (e != 0)
        return lh_err_sys(err, LH_E_DEST, e, "cannot read the hashes of %s", j->shown);
    if (got != n * LH_HASH_SIZE)
        return lh_err_set(err, LH_E_CORRUPT, "the journal of %s lacks hashes", j->shown);
    return 0;
}

int lh_journal_hashes(struct lh_journal *j, uint64_t first, uint32_t n, struct lh_hash *out,
                      struct lh_err *err)
{
    uint64_t n_durable;
    int r = j->index_fd >= 0 ? 0 : build_index(j, &n_durable, err);

    return r != 0 ? r : read_hashes(j, first, n, out, err);
}

int lh_journal_digest(struct lh_journal *j, struct lh_hash *digest, struct lh_err *err)
{
    uint64_t n_durable = 0;
    struct lh_digest *d;
    struct lh_hash *some;
    int r = build_index(j, &n_durable, err);

    if (r == 0 && n_durable != j->state.n_blocks)
        r = lh_err_set(err, LH_E_CORRUPT, "the journal of %s lacks blocks", j->shown);
    if (r != 0)
        return r;
    d = lh_digest_new();
    some = malloc(DIGEST_HASHES * sizeof(*some));
    if (d == NULL || some == NULL)
        r = lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (uint64_t at = 0; r == 0 && at < n_durable;) {
        uint64_t left = n_durable - at;
        size_t n = left < DIGEST_HASHES ? (size_t)left : DIGEST_HASHES;

        r = read_hashes(j, at, n, some, err);
        if (r == 0)
            lh_digest_add(d, some, n);
        at += n;
    }
    if (r == 0)
        lh_digest_end(d, digest);
    free(some);
    lh_digest_free(d);
    return r;
}
