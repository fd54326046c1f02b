/* See contents.h. */
#include "io/send/contents.h"

#include "core/sched.h"
#include "io/source/packs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define COPY_BYTES (64u * 1024) /* for read and send */
#define FILE_CHUNK 8u           /* blocks of a file hashed in a job */

/* ---- blocks of zeros ---- */

void lh_zeros_init(struct lh_zeros *z)
{
    pthread_mutex_init(&z->lock, NULL);
    lh_runs_init(&z->blocks, LH_RUNS_MAX);
}

void lh_zeros_free(struct lh_zeros *z)
{
    lh_runs_free(&z->blocks);
    pthread_mutex_destroy(&z->lock);
}

void lh_zeros_clear(struct lh_zeros *z)
{
    pthread_mutex_lock(&z->lock);
    lh_runs_clear(&z->blocks);
    pthread_mutex_unlock(&z->lock);
}

uint64_t lh_zeros_bytes(struct lh_zeros *z, uint64_t size, uint32_t block_bytes)
{
    uint64_t n_blocks = lh_blocks_of(size, block_bytes);
    uint64_t bytes;

    pthread_mutex_lock(&z->lock);
    bytes = z->blocks.blocks * block_bytes;
    if (n_blocks > 0 && lh_runs_has(&z->blocks, n_blocks - 1))
        bytes -= block_bytes - lh_block_length(size, block_bytes, n_blocks - 1);
    pthread_mutex_unlock(&z->lock);
    return bytes;
}

/* Too many runs, or no memory: only the count suffers. */
static void note_zeros(struct lh_zeros *z, uint64_t block)
{
    pthread_mutex_lock(&z->lock);
    lh_runs_add(&z->blocks, block, block + 1);
    pthread_mutex_unlock(&z->lock);
}

/* ---- blocks made ready ---- */

static const struct lh_contents_from *from_of(const struct lh_ahead_blocks *blocks)
{
    return LH_CONTAINER_OF(blocks, struct lh_contents_from, blocks);
}

static int hash_blocks(const struct lh_ahead_blocks *blocks, uint64_t first, unsigned n,
                       struct lh_ahead_block *out, struct lh_err *err)
{
    const struct lh_contents_from *from = from_of(blocks);
    struct lh_pool_buf *buf = lh_pool_get(blocks->pool, blocks->block_bytes);
    struct lh_hash hashes[LH_AHEAD_CHUNK];
    bool zeros[LH_AHEAD_CHUNK] = {false};
    int r;

    if (buf == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    r = lh_source_hash_blocks(from->source, buf->base, blocks->block_bytes, first, n, hashes,
                              from->zeros != NULL ? zeros : NULL, err);
    if (r == 0)
        r = lh_source_check(from->source, err);
    lh_pool_put(blocks->pool, buf);
    for (unsigned i = 0; i < n && r == 0; i++) {
        out[i].hash = hashes[i];
        out[i].zeros = zeros[i];
        if (zeros[i])
            note_zeros(from->zeros, first + i);
        out[i].length = lh_block_length(from->size, blocks->block_bytes, first + i);
    }
    return r;
}

static int make_packs(const struct lh_ahead_blocks *blocks, uint64_t first, unsigned n,
                      struct lh_ahead_block *out, struct lh_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        out[i].buf = lh_pool_get(blocks->pool, blocks->block_bytes);
        if (out[i].buf == NULL)
            return lh_err_set(err, LH_E_NOMEM, "out of memory");
        out[i].length = lh_packs_make(from_of(blocks)->packs, first + i, out[i].buf->base);
        if (out[i].length > 0) {
            lh_hash_bytes(out[i].buf->base, out[i].length, &out[i].hash);
            continue;
        }
        lh_pool_put(blocks->pool, out[i].buf);
        out[i].buf = NULL;
    }
    return 0;
}

struct lh_contents_from lh_contents_of_file(const struct lh_source *source, struct lh_pool *pool,
                                            uint32_t block_bytes)
{
    return (struct lh_contents_from){.blocks = {.make = hash_blocks,
                                                .pool = pool,
                                                .block_bytes = block_bytes,
                                                .chunk = FILE_CHUNK,
                                                .most = LH_AHEAD_MAX},
                                     .source = source,
                                     .size = source->identity.size};
}

struct lh_contents_from lh_contents_of_packs(struct lh_packs *packs, struct lh_pool *pool,
                                             uint32_t block_bytes, unsigned most)
{
    return (struct lh_contents_from){.blocks = {.make = make_packs,
                                                .pool = pool,
                                                .block_bytes = block_bytes,
                                                .chunk = 1,
                                                .most = most},
                                     .packs = packs,
                                     .size = INT64_MAX};
}

/* ---- the block at hand ---- */

void lh_contents_begin(struct lh_contents *c, const struct lh_ahead_block *block)
{
    c->buf = block->buf;
    c->offset = block->buf != NULL ? 0 : block->block * c->from->blocks.block_bytes;
    c->left = block->zeros ? 0 : block->length;
}

static void give_back(struct lh_contents *c)
{
    if (c->buf != NULL)
        lh_pool_put(c->from->blocks.pool, c->buf);
    c->buf = NULL;
}

void lh_contents_end(struct lh_contents *c)
{
    give_back(c);
    free(c->copy);
    c->copy = NULL;
}

/* Contents by read(2) and send(2): where sendfile cannot, or is not wanted. What a full socket
 * leaves is kept, not read again. */
static ssize_t send_by_copy(struct lh_contents *c, int fd)
{
    ssize_t n;

    if (c->copy == NULL && (c->copy = malloc(COPY_BYTES)) == NULL) {
        errno = ENOMEM;
        return -1;
    }
    if (c->copy_at == c->copy_end) {
        n = pread(c->from->source->fd, c->copy, c->left < COPY_BYTES ? c->left : COPY_BYTES,
                  (off_t)c->offset);
        if (n <= 0)
            return n;
        c->copy_at = 0;
        c->copy_end = (uint32_t)n;
    }
    n = send(fd, c->copy + c->copy_at, c->copy_end - c->copy_at, MSG_NOSIGNAL);
    if (n > 0)
        c->copy_at += (uint32_t)n;
    return n;
}

static ssize_t send_some(struct lh_contents *c, int fd)
{
    off_t offset = (off_t)c->offset;

    c->sent_by_copy = c->buf != NULL || c->by_copy || !c->from->zero_copy;
    if (c->buf != NULL)
        return send(fd, c->buf->base + c->offset, c->left, MSG_NOSIGNAL);
    if (c->sent_by_copy)
        return send_by_copy(c, fd);
    return sendfile(fd, c->from->source->fd, &offset, c->left);
}

static ssize_t failed(const struct lh_contents *c, unsigned stream, int sys_errno,
                      struct lh_err *err)
{
    const struct lh_source *source = c->from->source;

    if (source != NULL && sys_errno == EIO)
        lh_err_sys(err, LH_E_SOURCE, sys_errno, "cannot read %s at byte %llu", source->path,
                   (unsigned long long)c->offset);
    else
        lh_err_sys(err, LH_E_NETWORK, sys_errno, "stream %u", stream);
    return -1;
}

ssize_t lh_contents_send(struct lh_contents *c, int fd, unsigned stream, struct lh_err *err)
{
    ssize_t n = send_some(c, fd);

    if (n > 0) {
        c->offset += (uint64_t)n;
        c->left -= (uint32_t)n;
        if (c->left == 0)
            give_back(c);
        return n;
    }
    if (n == 0) { /* the end of the file where there was none */
        lh_err_set(err, LH_E_SOURCE_CHANGED, "%s got shorter at byte %llu", c->from->source->path,
                   (unsigned long long)c->offset);
        return -1;
    }
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    if (!c->sent_by_copy && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
        if (!c->from->zero_copy_must) {
            c->by_copy = true;
            return lh_contents_send(c, fd, stream, err);
        }
        lh_err_sys(err, LH_E_SOURCE, errno,
                   "%s: sendfile cannot read this file system (use --zero-copy auto)",
                   c->from->source->path);
        return -1;
    }
    return failed(c, stream, errno, err);
}
