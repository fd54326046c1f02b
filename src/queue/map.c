/* Ranges as text. Happy path: sort, merge, and, when the text would be too long, drop the smallest
 * until it is not. */
#include "queue/map.h"

#include "util/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_offset(const void *a, const void *b)
{
    const struct lh_range *x = a;
    const struct lh_range *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Largest first; of two that are as large, the one in front. */
static int by_length(const void *a, const void *b)
{
    const struct lh_range *x = a;
    const struct lh_range *y = b;

    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return by_offset(a, b);
}

static uint64_t end_of(const struct lh_range *r)
{
    return r->offset + r->length;
}

/* Sorted by place, apart from each other, without empty or impossible ones. */
static size_t merge(struct lh_range *v, size_t n)
{
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        if (v[i].length > 0 && v[i].offset <= UINT64_MAX - v[i].length)
            v[used++] = v[i];
    }
    n = used;
    if (n > 1)
        qsort(v, n, sizeof(*v), by_offset);
    used = 0;
    for (size_t i = 0; i < n; i++) {
        if (used > 0 && v[i].offset <= end_of(&v[used - 1])) {
            if (end_of(&v[i]) > end_of(&v[used - 1]))
                v[used - 1].length = end_of(&v[i]) - v[used - 1].offset;
        } else {
            v[used++] = v[i];
        }
    }
    return used;
}

static size_t digits(uint64_t v)
{
    size_t n = 1;

    for (; v >= 10; v /= 10)
        n++;
    return n;
}

/* Bytes it takes with a comma. */
static size_t width(const struct lh_range *r)
{
    return digits(r->offset) + 1 + digits(end_of(r)) + 1;
}

/* Keep the largest that fit into `room` bytes. A smaller one behind one that does not fit is not
 * tried: what is left out is then simply the smallest. */
static size_t fit(struct lh_range *v, size_t n, size_t room)
{
    size_t used = 0;
    size_t keep = 0;

    for (size_t i = 0; i < n; i++)
        used += width(&v[i]);
    if (used <= room)
        return n;
    qsort(v, n, sizeof(*v), by_length);
    for (used = 0; keep < n && used + width(&v[keep]) <= room; keep++)
        used += width(&v[keep]);
    if (keep > 1)
        qsort(v, keep, sizeof(*v), by_offset);
    return keep;
}

size_t lh_map_write(char *text, size_t size, struct lh_range *ranges, size_t n, size_t *n_out)
{
    size_t len = 0;

    LH_REQUIRE(size > 0);
    n = fit(ranges, merge(ranges, n), size); /* the last needs no comma, but a NUL */
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%" PRIu64 "-%" PRIu64, i > 0 ? "," : "",
                                ranges[i].offset, end_of(&ranges[i]));
    text[len] = '\0';
    if (n_out != NULL)
        *n_out = n;
    return len;
}

/* Digits at *at; leading zeros are none of ours. */
static bool read_number(const char *text, size_t len, size_t *at, uint64_t *out)
{
    size_t start = *at;
    uint64_t v = 0;

    for (; *at < len && text[*at] >= '0' && text[*at] <= '9'; (*at)++) {
        uint64_t digit = (uint64_t)(text[*at] - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return *at > start && (text[start] != '0' || *at == start + 1);
}

int lh_map_read(const char *text, size_t len, struct lh_range *out, size_t max)
{
    size_t at = 0;
    size_t n = 0;
    uint64_t last = 0;

    while (at < len) {
        uint64_t first;
        uint64_t end;

        if (n > 0 && text[at++] != ',')
            return -LH_E_INVAL;
        if (!read_number(text, len, &at, &first) || at >= len || text[at++] != '-' ||
            !read_number(text, len, &at, &end))
            return -LH_E_INVAL;
        if (end <= first || (n > 0 && first <= last))
            return -LH_E_INVAL;
        if (n >= max || n >= LH_MAP_RANGES_MAX)
            return -LH_E_LIMIT;
        out[n].offset = first;
        out[n].length = end - first;
        n++;
        last = end;
    }
    return (int)n;
}

uint64_t lh_map_bytes(const struct lh_range *ranges, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += ranges[i].length;
    return sum;
}
