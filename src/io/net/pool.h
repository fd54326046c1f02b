/* One pool of receive buffers a process: what bounds the receiver's memory.
 *
 * A buffer is taken when payload arrives and given back when it is written. Last in, first out, so
 * that the same warm pages go round. Any thread. */
#ifndef LH_IO_POOL_H
#define LH_IO_POOL_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct lh_pool_buf {
    struct lh_pool_buf *next;
    uint8_t *base;
    size_t cap; /* bytes */
};

struct lh_pool {
    pthread_mutex_t lock;
    struct lh_pool_buf *free;
    size_t total; /* bytes, given out or free */
    size_t max;
};

void lh_pool_init(struct lh_pool *pool, size_t max);

/* Every buffer must be back. */
void lh_pool_free(struct lh_pool *pool);

/* A buffer of at least `size` bytes, or NULL: the pool is used up, try again soon. */
struct lh_pool_buf *lh_pool_get(struct lh_pool *pool, size_t size);
void lh_pool_put(struct lh_pool *pool, struct lh_pool_buf *buf);

#endif
