/* Texts and paths within payloads.
 *
 * Thread: any. Happy path and failures: as cursor.h says. */
#include "proto/fields.h"

#include "proto/tree.h"
#include "util/err.h"

#include <longhaul/status.h>
#include <string.h>

int lh_wire_refuse(const char **why, const char *sentence)
{
    *why = sentence;
    return -LH_E_PROTOCOL;
}

void lh_put_text(struct lh_writer *w, const char *text, size_t len)
{
    lh_put_u16(w, (uint16_t)len);
    lh_put_bytes(w, text, len);
}

void lh_put_path(struct lh_writer *w, const uint8_t *path, size_t len)
{
    lh_put_u16(w, (uint16_t)len);
    lh_put_bytes(w, path, len);
}

void lh_get_text(struct lh_reader *r, const char **text, size_t *len, size_t max)
{
    *len = lh_get_u16(r);
    if (*len > max)
        r->failed = true;
    *text = (const char *)lh_get_view(r, *len);
}

void lh_get_path(struct lh_reader *r, const uint8_t **path, size_t *len)
{
    *len = lh_get_u16(r);
    *path = lh_get_view(r, *len);
}

bool lh_path_allowed(const uint8_t *path, size_t len, size_t max)
{
    return len <= max && memchr(path, 0, len) == NULL;
}

size_t lh_text_cut(const char *text, size_t len, size_t max)
{
    if (len <= max)
        return len;
    len = max;
    while (len > 0 && ((uint8_t)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

bool lh_indexes_allowed(uint32_t first, uint32_t n)
{
    return n <= LH_TREE_NO_ENTRY - first;
}

void lh_put_list_head(uint8_t *out, uint32_t first, uint32_t n)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_LIST_HEAD);
    lh_put_u32(&w, first);
    lh_put_u32(&w, n);
    LH_INVARIANT(!w.failed);
}
