#include "util/buf.h"

#include "util/err.h"

#include <stdlib.h>
#include <string.h>

void lh_buf_init(struct lh_buf *b, size_t max)
{
    memset(b, 0, sizeof(*b));
    b->max = max;
}

void lh_buf_free(struct lh_buf *b)
{
    free(b->base);
    lh_buf_init(b, b->max);
}

static int make_room(struct lh_buf *b, size_t len)
{
    size_t used = lh_buf_len(b);
    size_t cap = b->cap > 0 ? b->cap : 256;
    uint8_t *base;

    if (len > b->max || used > b->max - len)
        return -LH_E_LIMIT;
    if (b->start > 0) {
        memmove(b->base, b->base + b->start, used);
        b->start = 0;
        b->end = used;
    }
    while (cap < used + len)
        cap *= 2;
    if (cap > b->max)
        cap = b->max;
    if (cap == b->cap)
        return 0;
    base = realloc(b->base, cap);
    if (base == NULL)
        return -LH_E_NOMEM;
    b->base = base;
    b->cap = cap;
    return 0;
}

uint8_t *lh_buf_reserve(struct lh_buf *b, size_t len)
{
    if (b->cap - b->end < len && make_room(b, len) != 0)
        return NULL;
    return b->base + b->end;
}

void lh_buf_added(struct lh_buf *b, size_t len)
{
    LH_REQUIRE(len <= b->cap - b->end);
    b->end += len;
}

int lh_buf_append(struct lh_buf *b, const void *data, size_t len)
{
    if (len == 0)
        return 0;
    if (b->cap - b->end < len) {
        int r = make_room(b, len);

        if (r != 0)
            return r;
    }
    memcpy(b->base + b->end, data, len);
    b->end += len;
    return 0;
}

bool lh_buf_is_zeros(const void *data, size_t len)
{
    const uint8_t *at = data;

    return at[0] == 0 && memcmp(at, at + 1, len - 1) == 0;
}

void lh_buf_consume(struct lh_buf *b, size_t len)
{
    LH_REQUIRE(len <= lh_buf_len(b));
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}
