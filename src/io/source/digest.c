/* Digest of a local file, as `done` prints it.
 *
 * Thread: the caller's; blocking. Happy path: open -> hash block after block -> check that it did
 * not change meanwhile -> digest. Failures: the source's, with a sentence. */
#include "io/source/source.h"
#include "proto/frame.h"

#include "core/sched.h"

#include <longhaul/longhaul.h>
#include <stdio.h>
#include <stdlib.h>

int lh_source_digest_part(const struct lh_source *src, uint32_t block_bytes, uint64_t first,
                          uint64_t n, const atomic_bool *stop, void *buffer, struct lh_digest *d,
                          struct lh_err *err)
{
    for (uint64_t block = first; block < first + n; block++) {
        struct lh_hash hash;
        int r;

        if (stop != NULL && atomic_load_explicit(stop, memory_order_relaxed))
            return lh_err_set(err, LH_E_CANCELLED, "interrupted");
        r = lh_source_hash_blocks(src, buffer, block_bytes, block, 1, &hash, NULL, err);
        if (r != 0)
            return r;
        lh_digest_add(d, &hash, 1);
    }
    return lh_source_check(src, err);
}

static int whole_digest(const struct lh_source *src, uint32_t block_bytes, struct lh_hash *digest,
                        struct lh_err *err)
{
    struct lh_digest *d = lh_digest_new();
    void *buffer = malloc(block_bytes);
    int r;

    if (d == NULL || buffer == NULL)
        r = lh_err_set(err, LH_E_NOMEM, "out of memory");
    else
        r = lh_source_digest_part(src, block_bytes, 0,
                                  lh_blocks_of(src->identity.size, block_bytes), NULL, buffer, d,
                                  err);
    if (r == 0)
        lh_digest_end(d, digest);
    free(buffer);
    lh_digest_free(d);
    return r;
}

static int digest_of(const char *path, uint32_t block_bytes, struct lh_hash *digest,
                     struct lh_err *err)
{
    struct lh_source src;
    int r = lh_source_open(path, &src, err);

    if (r != 0)
        return r;
    r = whole_digest(&src, block_bytes, digest, err);
    lh_source_close(&src);
    return r;
}

int lh_digest_file(const char *path, uint32_t block_bytes, char out[64], char *text,
                   size_t text_size)
{
    struct lh_err err = {0};
    struct lh_hash digest;
    int r;

    if (block_bytes == 0)
        block_bytes = LH_BLOCK_DEFAULT;
    if (block_bytes < LH_BLOCK_MIN || block_bytes > LH_BLOCK_MAX ||
        (block_bytes & (block_bytes - 1)) != 0)
        r = lh_err_set(&err, LH_E_INVAL, "a grid of %u bytes is not allowed", block_bytes);
    else
        r = digest_of(path, block_bytes, &digest, &err);
    if (text != NULL && text_size > 0)
        snprintf(text, text_size, "%s", err.text);
    if (r == 0)
        lh_digest_text(&digest, block_bytes, out);
    return r;
}
