/* Contents of blocks on their way into a stream's socket: of a file, by sendfile(2) or by read and
 * send; of a pack, from the buffer that it was made in.
 *
 * Happy path: begin with a block that is ready -> send, until nothing is left -> begin with the
 * next. Failures: send says which; a source that cannot be read or got shorter is told as such.
 *
 * Thread: the stream's loop, but for the blocks' `make` (prep threads) and lh_contents_of_*. */
#ifndef LH_IO_CONTENTS_H
#define LH_IO_CONTENTS_H

#include "core/runs.h"
#include "io/send/ahead.h"
#include "io/source/source.h"

#include <pthread.h>
#include <sys/types.h>

/* Blocks of a file that turned out to be nothing but zeros. Any thread. */
struct lh_zeros {
    pthread_mutex_t lock;
    struct lh_runs blocks;
};

void lh_zeros_init(struct lh_zeros *z);
void lh_zeros_free(struct lh_zeros *z);
void lh_zeros_clear(struct lh_zeros *z);
/* Bytes of them, each once, in a file of that size. */
uint64_t lh_zeros_bytes(struct lh_zeros *z, uint64_t size, uint32_t block_bytes);

/* Where contents come from. What it points to outlives the stream. */
struct lh_contents_from {
    struct lh_ahead_blocks blocks;
    const struct lh_source *source; /* a file; */
    struct lh_packs *packs;         /* or packs */
    uint64_t size;                  /* of all blocks, bytes; of packs: no end */
    struct lh_zeros *zeros;         /* blocks of zeros of a file do not travel; NULL: they do */
    bool zero_copy;
    bool zero_copy_must;
};

/* Blocks of a file: zeros, zero_copy and zero_copy_must are the caller's to set. pool: a buffer for
 * each prep thread. */
struct lh_contents_from lh_contents_of_file(const struct lh_source *source, struct lh_pool *pool,
                                            uint32_t block_bytes);
/* Packs (io/source/packs.h): a stream has at most `most` of them in memory, and the one at hand. */
struct lh_contents_from lh_contents_of_packs(struct lh_packs *packs, struct lh_pool *pool,
                                             uint32_t block_bytes, unsigned most);

/* The block at hand; zero it before use. */
struct lh_contents {
    const struct lh_contents_from *from;
    uint64_t offset; /* of what is left, in the file or in the buffer */
    uint32_t left;
    bool sent_by_copy; /* the last piece was */
    bool by_copy;      /* the file system wants it so */
    uint8_t *copy;     /* once it is needed */
    uint32_t copy_at;
    uint32_t copy_end;
    struct lh_pool_buf *buf;
};

/* Its buffer is given back when all of it is sent, or by end. */
void lh_contents_begin(struct lh_contents *c, const struct lh_ahead_block *block);
/* Some of it. Bytes; 0: the socket is full; -1: failed, err->status -LH_E_NETWORK or the source's.
 * name: of the stream, for err. */
ssize_t lh_contents_send(struct lh_contents *c, int fd, unsigned stream, struct lh_err *err);
/* Nothing more is to be sent. */
void lh_contents_end(struct lh_contents *c);

#endif
