/* Little-endian fields, a byte at a time.
 *
 * Thread: any, the cursor belongs to its caller. Happy path: init, put or get field after field.
 * Failures: running over the end makes the cursor fail for good: later puts write nothing, later
 * gets return zeros and views NULL, so that one question at the end is enough.
 *
 * Bytes are assembled with shifts: no alignment or byte order of the host is assumed, and compilers
 * make a single load or store of it. */
#include "proto/cursor.h"

#include <string.h>

void lh_writer_init(struct lh_writer *w, void *base, size_t size)
{
    w->at = base;
    w->end = w->at + size;
    w->failed = false;
}

static uint8_t *take(struct lh_writer *w, size_t len)
{
    uint8_t *at = w->at;

    if (w->failed || (size_t)(w->end - at) < len) {
        w->failed = true;
        return NULL;
    }
    w->at = at + len;
    return at;
}

static void put(struct lh_writer *w, uint64_t v, size_t len)
{
    uint8_t *at = take(w, len);

    if (at == NULL)
        return;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

void lh_put_u8(struct lh_writer *w, uint8_t v)
{
    put(w, v, 1);
}

void lh_put_u16(struct lh_writer *w, uint16_t v)
{
    put(w, v, 2);
}

void lh_put_u32(struct lh_writer *w, uint32_t v)
{
    put(w, v, 4);
}

void lh_put_u64(struct lh_writer *w, uint64_t v)
{
    put(w, v, 8);
}

void lh_put_varint(struct lh_writer *w, uint64_t v)
{
    for (; v > 0x7f; v >>= 7)
        put(w, v | 0x80, 1);
    put(w, v, 1);
}

void lh_put_bytes(struct lh_writer *w, const void *data, size_t len)
{
    uint8_t *at = take(w, len);

    /* memcpy wants pointers even for nothing; an empty text may have none. */
    if (at != NULL && len > 0)
        memcpy(at, data, len);
}

void lh_reader_init(struct lh_reader *r, const void *base, size_t size)
{
    r->at = base;
    r->end = size > 0 ? r->at + size : r->at;
    r->failed = false;
}

const uint8_t *lh_get_view(struct lh_reader *r, size_t len)
{
    /* What an empty view of an empty payload points to, whose address may be NULL. */
    static const uint8_t nothing[1];
    const uint8_t *at = r->at;

    if (r->failed || lh_reader_left(r) < len) {
        r->failed = true;
        return NULL;
    }
    if (len == 0)
        return at != NULL ? at : nothing;
    r->at = at + len;
    return at;
}

static uint64_t get(struct lh_reader *r, size_t len)
{
    const uint8_t *at = lh_get_view(r, len);
    uint64_t v = 0;

    if (at == NULL)
        return 0;
    for (size_t i = 0; i < len; i++)
        v |= (uint64_t)at[i] << (8 * i);
    return v;
}

uint8_t lh_get_u8(struct lh_reader *r)
{
    return (uint8_t)get(r, 1);
}

uint16_t lh_get_u16(struct lh_reader *r)
{
    return (uint16_t)get(r, 2);
}

uint32_t lh_get_u32(struct lh_reader *r)
{
    return (uint32_t)get(r, 4);
}

uint64_t lh_get_u64(struct lh_reader *r)
{
    return get(r, 8);
}

uint64_t lh_get_varint(struct lh_reader *r, uint64_t max)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint64_t byte = get(r, 1);
        uint64_t bits = byte & 0x7f;

        if (r->failed || (bits << shift) >> shift != bits)
            break;
        v |= bits << shift;
        if (byte <= 0x7f && v <= max)
            return v;
        if (byte <= 0x7f)
            break;
    }
    r->failed = true;
    return 0;
}

void lh_get_bytes(struct lh_reader *r, void *out, size_t len)
{
    const uint8_t *at = lh_get_view(r, len);

    if (at != NULL && len > 0)
        memcpy(out, at, len);
    else if (len > 0)
        memset(out, 0, len);
}
