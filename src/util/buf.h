/* A growing byte buffer whose maximum is fixed when it is made. */
#ifndef LH_UTIL_BUF_H
#define LH_UTIL_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lh_buf {
    uint8_t *base;
    size_t start; /* first byte not yet consumed */
    size_t end;   /* behind the last byte */
    size_t cap;
    size_t max; /* bytes; never grows beyond */
};

void lh_buf_init(struct lh_buf *b, size_t max);
void lh_buf_free(struct lh_buf *b);

/* Room for `len` more bytes behind the end, contiguous; NULL when that would pass the maximum or
 * memory is out. The caller writes there and calls lh_buf_added. */
uint8_t *lh_buf_reserve(struct lh_buf *b, size_t len);
void lh_buf_added(struct lh_buf *b, size_t len);

/* Append a copy. Returns 0, -LH_E_LIMIT or -LH_E_NOMEM (then nothing was added). */
int lh_buf_append(struct lh_buf *b, const void *data, size_t len);

void lh_buf_consume(struct lh_buf *b, size_t len);

/* Whether that memory, at least a byte, is nothing but zeros. */
bool lh_buf_is_zeros(const void *data, size_t len);

static inline size_t lh_buf_len(const struct lh_buf *b)
{
    return b->end - b->start;
}

static inline const uint8_t *lh_buf_data(const struct lh_buf *b)
{
    return b->base + b->start;
}

#endif
