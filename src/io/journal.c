/* The journal as a file; what it is for and how it fails is told in journal.h.
 *
 * Owner: the sink (partials only scan). Positions are kept here, not in the descriptor, so that a
 * torn tail is simply written over. */
#include "io/journal.h"

#include "core/sched.h"
#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPEND_BYTES (128u * 1024) /* more than the longest record; a commit is mostly less */
#define BLOCKS_FIXED 12            /* payload of a BLOCKS record before its hashes */
#define LONE_BLOCK_BYTES (LH_RECORD_HEADER_SIZE + 40) /* more than a record of one hash takes */
#define DIGEST_HASHES 4096
#define RACES_MAX 64
#define INDEX_IN_MEMORY (64u * 1024) /* bytes; of 1 GiB at 256 KiB a block */

struct lh_journal {
    int dirfd;
    int fd;
    int index_fd; /* -1: nobody has asked for hashes yet */
    const struct lh_hidden *hidden;
    const char *shown;
    bool dead;
    uint64_t seed;
    struct lh_journal_state state;
};

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

static void drop_index(struct lh_journal *j)
{
    if (j->index_fd >= 0)
        close(j->index_fd);
    j->index_fd = -1;
}

void lh_journal_close(struct lh_journal *j)
{
    if (j == NULL)
        return;
    drop_index(j);
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

/* Cut to `length` bytes, durably. Returns 0 or an errno. */
static int cut(struct lh_journal *j, uint64_t length)
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
    e = j->state.torn ? cut(j, j->state.end) : 0;
    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot mend the journal of %s",
                          j->shown);
    return 0;
}

int lh_journal_reset(struct lh_journal *j, struct lh_err *err)
{
    bool empty = j->state.end == 0 && !j->state.torn;
    int e = empty ? 0 : cut(j, 0);

    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "cannot empty the journal of %s",
                          j->shown);
    drop_index(j);
    lh_journal_state_free(&j->state);
    lh_journal_state_init(&j->state);
    return 0;
}

/* ---- appending ----------------------------------------------------------------------------- */

/* Records on their way to the disk: sealed one behind the other, written when it is full. */
struct appender {
    struct lh_journal *j;
    uint8_t *buf;
    size_t size;
    size_t used;
    uint64_t at; /* where `buf` goes in the file */
    uint64_t seq;
    int sys_errno; /* the first error */
};

static bool appender_start(struct appender *a, struct lh_journal *j, size_t size)
{
    LH_REQUIRE(!j->dead);
    *a = (struct appender){
        .j = j, .buf = malloc(size), .size = size, .at = j->state.end, .seq = j->state.next_seq};
    return a->buf != NULL;
}

static void appender_flush(struct appender *a)
{
    if (a->sys_errno == 0)
        a->sys_errno = lh_disk_write(a->j->fd, a->buf, a->used, a->at);
    a->at += a->used;
    a->used = 0;
}

/* Room for the payload of the next record, at most `len` bytes. */
static uint8_t *appender_room(struct appender *a, size_t len)
{
    size_t most = LH_RECORD_HEADER_SIZE + len + 8;

    LH_REQUIRE(most <= a->size);
    if (a->size - a->used < most)
        appender_flush(a);
    return a->buf + a->used + LH_RECORD_HEADER_SIZE;
}

static void appender_seal(struct appender *a, uint16_t type, size_t len)
{
    uint64_t seed = type == LH_RECORD_HEAD ? 0 : a->j->seed;

    a->used += lh_record_seal(a->buf + a->used, type, 0, a->seq++, (uint32_t)len, seed);
}

/* Write what is left and sync. After an error the tail is anybody's guess: also what a failed sync
 * has left in the page cache, which would read back as if it were on the disk. So it is cut off, as
 * well as that can be done, and the journal is dead. */
static int appender_end(struct appender *a, struct lh_err *err)
{
    struct lh_journal *j = a->j;

    appender_flush(a);
    free(a->buf);
    if (a->sys_errno == 0 && !lh_mutant("drop-journal-sync"))
        a->sys_errno = lh_disk_sync_data(j->fd);
    if (a->sys_errno != 0) {
        j->dead = true;
        (void)cut(j, j->state.end);
        return lh_err_sys(err, lh_status_of_write_errno(a->sys_errno), a->sys_errno,
                          "cannot write the journal of %s", j->shown);
    }
    j->state.end = a->at;
    j->state.next_seq = a->seq;
    return 0;
}

static int no_memory(struct lh_journal *j, struct lh_err *err)
{
    j->dead = true;
    return lh_err_set(err, LH_E_NOMEM, "out of memory while writing the journal of %s", j->shown);
}

int lh_journal_begin(struct lh_journal *j, const struct lh_journal_head *head,
                     const struct lh_journal_epoch *epoch, struct lh_err *err)
{
    struct appender a;
    size_t len;
    int r;

    LH_REQUIRE(j->state.end == 0 && head->name_len < sizeof(j->state.name));
    if (!appender_start(&a, j, 1024))
        return no_memory(j, err);
    j->seed = lh_journal_seed(head->uuid);
    len = lh_journal_head_encode(head, appender_room(&a, 512));
    appender_seal(&a, LH_RECORD_HEAD, len);
    len = lh_journal_epoch_encode(epoch, appender_room(&a, 256));
    appender_seal(&a, LH_RECORD_EPOCH, len);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    memcpy(j->state.name, head->name, head->name_len);
    j->state.name[head->name_len] = '\0';
    j->state.head = *head;
    j->state.head.name = (const uint8_t *)j->state.name;
    j->state.n_blocks = lh_blocks_of(head->source.size, head->block_bytes);
    j->state.epoch = *epoch;
    j->state.valid = true;
    return 0;
}

int lh_journal_append_epoch(struct lh_journal *j, const struct lh_journal_epoch *epoch,
                            struct lh_err *err)
{
    struct appender a;
    size_t len;
    int r;

    if (!appender_start(&a, j, 512))
        return no_memory(j, err);
    len = lh_journal_epoch_encode(epoch, appender_room(&a, 256));
    appender_seal(&a, LH_RECORD_EPOCH, len);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    j->state.epoch = *epoch;
    return 0;
}

/* Length of the run of blocks that starts at b->v[at], as far as one record takes it. */
static uint32_t run_at(const struct lh_batch *b, size_t at)
{
    uint32_t n = 1;

    while (n < LH_RECORD_HASHES_MAX && at + n < b->n && b->v[at + n].block == b->v[at].block + n)
        n++;
    return n;
}

int lh_journal_append_blocks(struct lh_journal *j, const struct lh_batch *batch, struct lh_err *err)
{
    size_t most =
        batch->n < APPEND_BYTES / LONE_BLOCK_BYTES ? batch->n * LONE_BLOCK_BYTES : APPEND_BYTES;
    struct appender a;
    struct lh_hash *hashes;
    size_t at = 0;

    if (!appender_start(&a, j, most))
        return no_memory(j, err);
    hashes = malloc((batch->n < LH_RECORD_HASHES_MAX ? batch->n : LH_RECORD_HASHES_MAX) *
                    sizeof(*hashes));
    if (hashes == NULL) {
        free(a.buf);
        return no_memory(j, err);
    }
    while (at < batch->n) {
        uint32_t n = run_at(batch, at);
        uint64_t first = batch->v[at].block;
        uint8_t *room = appender_room(&a, BLOCKS_FIXED + (size_t)n * LH_HASH_SIZE);

        for (uint32_t i = 0; i < n; i++)
            hashes[i] = batch->v[at + i].hash;
        appender_seal(&a, LH_RECORD_BLOCKS, lh_journal_blocks_encode(first, hashes, n, room));
        /* An index that cannot be kept up is given up; it is made anew when it is needed. */
        if (j->index_fd >= 0 &&
            lh_disk_write(j->index_fd, hashes, (size_t)n * LH_HASH_SIZE, first * LH_HASH_SIZE) != 0)
            drop_index(j);
        at += n;
    }
    free(hashes);
    j->state.finished = false;
    return appender_end(&a, err);
}

int lh_journal_append_drop(struct lh_journal *j, uint64_t first, uint64_t end, struct lh_err *err)
{
    struct lh_block_run run = {.first = first, .count = end - first};
    struct appender a;
    size_t len;

    if (!appender_start(&a, j, 256))
        return no_memory(j, err);
    len = lh_journal_drop_encode(&run, appender_room(&a, 64));
    appender_seal(&a, LH_RECORD_DROP, len);
    j->state.finished = false;
    return appender_end(&a, err);
}

int lh_journal_append_finish(struct lh_journal *j, const struct lh_journal_finish *finish,
                             struct lh_err *err)
{
    struct appender a;
    size_t len;
    int r;

    if (!appender_start(&a, j, 256))
        return no_memory(j, err);
    len = lh_journal_finish_encode(finish, appender_room(&a, 64));
    appender_seal(&a, LH_RECORD_FINISH, len);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    j->state.finish = *finish;
    j->state.finished = true;
    return 0;
}

int lh_journal_append_done(struct lh_journal *j, struct lh_err *err)
{
    struct appender a;
    int r;

    LH_REQUIRE(j->state.finished);
    if (!appender_start(&a, j, 256))
        return no_memory(j, err);
    (void)appender_room(&a, 0);
    appender_seal(&a, LH_RECORD_DONE, 0);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    j->state.done = true;
    return 0;
}

/* ---- hashes in block order ------------------------------------------------------------------ */

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
        drop_index(j);
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
