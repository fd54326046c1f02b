#include "io/net/pool.h"

#include "util/err.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096u

void lh_pool_init(struct lh_pool *pool, size_t max)
{
    memset(pool, 0, sizeof(*pool));
    pool->max = max;
    pthread_mutex_init(&pool->lock, NULL);
}

/* The caller holds the lock, or is alone. */
static void drop_first(struct lh_pool *pool)
{
    struct lh_pool_buf *buf = pool->free;

    pool->free = buf->next;
    pool->total -= buf->cap;
    free(buf->base);
    free(buf);
}

void lh_pool_free(struct lh_pool *pool)
{
    while (pool->free != NULL)
        drop_first(pool);
    LH_INVARIANT(pool->total == 0);
    pthread_mutex_destroy(&pool->lock);
}

static struct lh_pool_buf *make(size_t cap)
{
    struct lh_pool_buf *buf = malloc(sizeof(*buf));
    void *base;

    if (buf == NULL)
        return NULL;
    if (posix_memalign(&base, PAGE, cap) != 0) {
        free(buf);
        return NULL;
    }
    buf->base = base;
    buf->cap = cap;
    return buf;
}

struct lh_pool_buf *lh_pool_get(struct lh_pool *pool, size_t size)
{
    size_t cap = (size + PAGE - 1) / PAGE * PAGE;
    struct lh_pool_buf *buf = NULL;

    pthread_mutex_lock(&pool->lock);
    /* Buffers of one grid are all alike; those of another, smaller one make way. */
    while (pool->free != NULL && pool->free->cap < cap)
        drop_first(pool);
    if (pool->free != NULL) {
        buf = pool->free;
        pool->free = buf->next;
    } else if (pool->total + cap <= pool->max) {
        pool->total += cap;
    } else {
        cap = 0;
    }
    pthread_mutex_unlock(&pool->lock);
    if (buf != NULL || cap == 0)
        return buf;
    buf = make(cap);
    if (buf == NULL) {
        pthread_mutex_lock(&pool->lock);
        pool->total -= cap;
        pthread_mutex_unlock(&pool->lock);
    }
    return buf;
}

void lh_pool_put(struct lh_pool *pool, struct lh_pool_buf *buf)
{
    pthread_mutex_lock(&pool->lock);
    buf->next = pool->free;
    pool->free = buf;
    pthread_mutex_unlock(&pool->lock);
}
