/* The file that is sent; contract in source.h.
 *
 * Owner: the send. Failures: anything that is not a regular file is refused by name before it is
 * read from; opening does not wait for the other end of a FIFO. */
#include "io/source/source.h"

#include "core/sched.h"
#include "io/disk/deep.h"
#include "io/disk/disk.h"
#include "util/buf.h"
#include "util/mutant.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN_SIZE 320

static const char *show(const struct lh_source *src, char out[SHOWN_SIZE])
{
    return lh_text_escape(out, SHOWN_SIZE, src->path, strlen(src->path));
}

static const char *kind_of(uint32_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a FIFO";
    if (S_ISSOCK(mode))
        return "a socket";
    if (S_ISBLK(mode) || S_ISCHR(mode))
        return "a device";
    return "no regular file";
}

static int refuse_kind(const char *shown, uint32_t mode, struct lh_err *err)
{
    return lh_err_set(err, S_ISDIR(mode) ? LH_E_SOURCE_DIR : LH_E_SOURCE_KIND,
                      "%s is %s; only regular files can be sent", shown, kind_of(mode));
}

static int cannot_open(const char *path, const char *shown, int e, struct lh_err *err)
{
    struct lh_disk_stat st;

    if (e == ENOENT)
        return lh_err_set(err, LH_E_SOURCE, "%s: no such file", shown);
    /* Sockets and some devices cannot be opened at all. */
    if (lh_deep_stat(AT_FDCWD, path, true, &st) == 0 && !S_ISREG(st.mode))
        return refuse_kind(shown, st.mode, err);
    if (e == EACCES)
        return lh_err_set(err, LH_E_SOURCE, "%s: no permission to read it", shown);
    return lh_err_sys(err, LH_E_SOURCE, e, "cannot open %s", shown);
}

static struct lh_identity identity_of(const struct lh_disk_stat *st)
{
    return (struct lh_identity){
        .dev = st->dev, .ino = st->ino, .size = st->size, .mtime = st->mtime, .ctime = st->ctime};
}

int lh_source_open(const char *path, struct lh_source *src, struct lh_err *err)
{
    char shown[SHOWN_SIZE];
    struct lh_disk_stat st;
    char *copy;
    int fd;
    int e;

    lh_text_escape(shown, sizeof(shown), path, strlen(path));
    fd = lh_deep_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (fd < 0)
        return cannot_open(path, shown, -fd, err);
    e = lh_disk_stat(fd, "", &st);
    if (e != 0 || !S_ISREG(st.mode)) {
        close(fd);
        if (e != 0)
            return lh_err_sys(err, LH_E_SOURCE, e, "cannot look at %s", shown);
        return refuse_kind(shown, st.mode, err);
    }
    copy = strdup(path);
    if (copy == NULL) {
        close(fd);
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    }
    *src = (struct lh_source){
        .fd = fd, .mode = st.mode & 07777, .identity = identity_of(&st), .path = copy};
    return 0;
}

void lh_source_close(struct lh_source *src)
{
    close(src->fd);
    free(src->path);
    src->fd = -1;
    src->path = NULL;
}

static int changed(const struct lh_source *src, const struct lh_identity *now, struct lh_err *err)
{
    const struct lh_identity *was = &src->identity;
    char shown[SHOWN_SIZE];

    show(src, shown);
    if (now->dev != was->dev || now->ino != was->ino)
        return lh_err_set(err, LH_E_SOURCE_CHANGED, "%s was replaced by another file", shown);
    if (now->size != was->size)
        return lh_err_set(err, LH_E_SOURCE_CHANGED,
                          "%s changed its size from %" PRIu64 " to %" PRIu64 " bytes", shown,
                          was->size, now->size);
    if (!lh_time_same(&now->mtime, &was->mtime))
        return lh_err_set(err, LH_E_SOURCE_CHANGED, "%s was written to (its mtime changed)", shown);
    return lh_err_set(err, LH_E_SOURCE_CHANGED, "%s was changed (its ctime changed)", shown);
}

/* One look, by path or by descriptor. */
static int check_one(const struct lh_source *src, bool by_path, struct lh_err *err)
{
    char shown[SHOWN_SIZE];
    struct lh_disk_stat st;
    struct lh_identity now;
    int e = by_path ? lh_deep_stat(AT_FDCWD, src->path, true, &st) : lh_disk_stat(src->fd, "", &st);

    if (by_path && (e == ENOENT || e == ENOTDIR))
        return lh_err_set(err, LH_E_SOURCE_CHANGED, "%s is gone", show(src, shown));
    if (e != 0)
        return lh_err_sys(err, LH_E_SOURCE, e, "cannot look at %s", show(src, shown));
    now = identity_of(&st);
    return lh_identity_same(&src->identity, &now) ? 0 : changed(src, &now, err);
}

int lh_source_check(const struct lh_source *src, struct lh_err *err)
{
    int r;

    if (lh_mutant("skip-identity"))
        return 0;
    /* The path first: a file that was replaced has a changed ctime too, and "replaced" says more.
     */
    r = check_one(src, true, err);
    return r != 0 ? r : check_one(src, false, err);
}

int lh_source_hash_blocks(const struct lh_source *src, void *buffer, uint32_t block_bytes,
                          uint64_t first, uint32_t n, struct lh_hash *out, bool *zeros,
                          struct lh_err *err)
{
    char shown[SHOWN_SIZE];

    LH_REQUIRE(first + n <= lh_blocks_of(src->identity.size, block_bytes));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t block = first + i;
        uint32_t len = lh_block_length(src->identity.size, block_bytes, block);
        size_t got;
        int e = lh_disk_read(src->fd, buffer, len, block * block_bytes, &got);

        if (e != 0)
            return lh_err_sys(err, LH_E_SOURCE, e, "cannot read %s", show(src, shown));
        if (got < len)
            return lh_err_set(err, LH_E_SOURCE_CHANGED, "%s became shorter", show(src, shown));
        lh_hash_bytes(buffer, len, &out[i]);
        if (zeros != NULL)
            zeros[i] = lh_buf_is_zeros(buffer, len);
    }
    return 0;
}

int lh_source_extents(const struct lh_source *src, struct lh_runs *out, struct lh_err *err)
{
    uint64_t size = src->identity.size;
    uint64_t at = 0;
    int r = 0;

    while (at < size && r == 0) {
        off_t data = lseek(src->fd, (off_t)at, SEEK_DATA);
        off_t hole;

        if (data < 0 && errno == ENXIO) /* nothing but a hole to the end */
            break;
        if (data < 0)
            data = (off_t)at;
        hole = out->n + 1 < out->max ? lseek(src->fd, data, SEEK_HOLE) : -1;
        if (hole < 0 || (uint64_t)hole > size)
            hole = (off_t)size;
        if ((uint64_t)data < size)
            r = lh_runs_add(out, (uint64_t)data, (uint64_t)hole);
        at = (uint64_t)hole;
    }
    return r == 0 ? 0 : lh_err_set(err, LH_E_NOMEM, "out of memory");
}
