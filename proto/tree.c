/* Payloads of a tree, but for lists of entries (entries.c).
 *
 * Thread: any. Happy path: answers and names are gathered into a frame until it is full,
 * and read one after another from a payload that was checked as a whole; packs are rows of fixed
 * size, read by index. Failures: decoders refuse what is cut short or breaks a limit, before
 * anything of it is handed out. Whether an index was ever told of or a part lies within its file,
 * is for those who know the tree. */
#include "proto/tree.h"

#include "proto/cursor.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/session.h"
#include "util/err.h"

#include <string.h>

#define NAME_MAX_BYTES 255

/* ---- WANTED ---- */

size_t lh_wanted_encode(uint32_t first, const uint8_t *answers, uint32_t n, uint8_t *out)
{
    LH_REQUIRE(n >= 1 && n <= LH_WANTED_MAX && lh_indexes_allowed(first, n));
    lh_put_list_head(out, first, n);
    memcpy(out + LH_LIST_HEAD, answers, n);
    return LH_LIST_HEAD + n;
}

int lh_wanted_decode(const uint8_t *in, size_t len, uint32_t *first, const uint8_t **answers,
                     uint32_t *n, const char **why)
{
    struct lh_reader r;
    uint32_t got_first;
    uint32_t got_n;
    const uint8_t *view;

    lh_reader_init(&r, in, len);
    got_first = lh_get_u32(&r);
    got_n = lh_get_u32(&r);
    view = lh_get_view(&r, got_n);
    if (r.failed)
        return lh_wire_refuse(why, "WANTED is cut short");
    if (got_n == 0 || got_n > LH_WANTED_MAX || !lh_indexes_allowed(got_first, got_n))
        return lh_wire_refuse(why, "WANTED has none, too many, or runs over the last index");
    for (uint32_t i = 0; i < got_n; i++) {
        if (view[i] > LH_WANTED_FAILED)
            return lh_wire_refuse(why, "WANTED has an unknown answer");
    }
    *first = got_first;
    *answers = view;
    *n = got_n;
    return 0;
}

/* ---- FAILED ---- */

size_t lh_tree_failed_encode(const struct lh_tree_failed *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u32(&w, m->entry);
    lh_put_u16(&w, m->code);
    lh_put_text(&w, m->text, lh_text_cut(m->text, m->text_len, LH_ERROR_TEXT_MAX));
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_tree_failed_decode(const uint8_t *in, size_t len, struct lh_tree_failed *m, const char **why)
{
    struct lh_tree_failed got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.entry = lh_get_u32(&r);
    got.code = lh_get_u16(&r);
    lh_get_text(&r, &got.text, &got.text_len, LH_ERROR_TEXT_MAX);
    if (r.failed)
        return lh_wire_refuse(why, "FAILED is cut short or its text is too long");
    if (got.code == LH_WIRE_OK)
        return lh_wire_refuse(why, "FAILED without an error");
    *m = got;
    return 0;
}

/* ---- packs ---- */

size_t lh_pack_encode(const struct lh_part *parts, uint32_t n, uint8_t *out)
{
    const size_t size = LH_PACK_HEAD + (size_t)n * LH_PART_SIZE;
    struct lh_writer w;

    LH_REQUIRE(n >= 1 && n <= LH_PACK_PARTS);
    lh_writer_init(&w, out, size);
    lh_put_u32(&w, n);
    for (uint32_t i = 0; i < n; i++) {
        lh_put_u32(&w, parts[i].entry);
        lh_put_u32(&w, parts[i].length);
        lh_put_u64(&w, parts[i].offset);
        lh_put_u8(&w, parts[i].flags);
    }
    LH_INVARIANT(!w.failed && w.at == w.end);
    return size;
}

struct lh_part lh_pack_get(const uint8_t *in, size_t index)
{
    struct lh_part part;
    struct lh_reader r;

    lh_reader_init(&r, in + LH_PACK_HEAD + index * LH_PART_SIZE, LH_PART_SIZE);
    part.entry = lh_get_u32(&r);
    part.length = lh_get_u32(&r);
    part.offset = lh_get_u64(&r);
    part.flags = lh_get_u8(&r);
    return part;
}

/* What is wrong, or NULL. */
static const char *part_refusal(const struct lh_part *p)
{
    if (p->entry == LH_TREE_NO_ENTRY)
        return "a pack has a part of no entry";
    if ((p->flags & ~(unsigned)(LH_PART_VOID | LH_PART_HOLE)) != 0)
        return "a pack has a part with unknown flags";
    if ((p->flags & LH_PART_VOID) && (p->length != 0 || (p->flags & LH_PART_HOLE)))
        return "a pack has contents of an entry that is void";
    if ((p->flags & LH_PART_HOLE) && p->length == 0)
        return "a pack has an empty hole";
    if (p->offset > (uint64_t)INT64_MAX - p->length)
        return "a pack has a part beyond the end of any file";
    if (p->length == 0 && p->offset != 0 && !(p->flags & LH_PART_VOID))
        return "a pack has an empty part of a file that is not empty";
    return NULL;
}

int lh_pack_count(const uint8_t *in, size_t len, const char **why)
{
    uint64_t contents = 0;
    struct lh_reader r;
    uint32_t n;

    lh_reader_init(&r, in, len);
    n = lh_get_u32(&r);
    if (r.failed || lh_reader_left(&r) / LH_PART_SIZE < n)
        return lh_wire_refuse(why, "a pack is cut short");
    if (n == 0 || n > LH_PACK_PARTS)
        return lh_wire_refuse(why, "a pack has no parts or too many");
    for (uint32_t i = 0; i < n; i++) {
        const struct lh_part part = lh_pack_get(in, i);
        const char *bad = part_refusal(&part);

        if (bad != NULL)
            return lh_wire_refuse(why, bad);
        contents += lh_part_contents(&part); /* 4096 times 32 bits: no overflow */
    }
    if (contents != lh_reader_left(&r) - (size_t)n * LH_PART_SIZE)
        return lh_wire_refuse(why, "a pack's parts do not add up to its contents");
    return (int)n;
}

/* ---- LIST, NAMES ---- */

size_t lh_list_encode(uint32_t tag, const uint8_t *path, size_t path_len, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(path_len < LH_TREE_PATH_MAX);
    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u32(&w, tag);
    lh_put_path(&w, path, path_len);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_list_decode(const uint8_t *in, size_t len, uint32_t *tag, const uint8_t **path,
                   size_t *path_len, const char **why)
{
    struct lh_reader r;
    uint32_t got_tag;
    const uint8_t *view;
    size_t view_len;

    lh_reader_init(&r, in, len);
    got_tag = lh_get_u32(&r);
    lh_get_path(&r, &view, &view_len);
    if (r.failed)
        return lh_wire_refuse(why, "LIST is cut short");
    if (!lh_path_allowed(view, view_len, LH_TREE_PATH_MAX - 1))
        return lh_wire_refuse(why, "LIST's path is too long or has a NUL in it");
    *tag = got_tag;
    *path = view;
    *path_len = view_len;
    return 0;
}

void lh_names_begin(struct lh_names_writer *w, uint8_t *out, uint32_t tag)
{
    *w = (struct lh_names_writer){.out = out, .used = LH_NAMES_HEAD, .tag = tag};
}

bool lh_names_add(struct lh_names_writer *w, uint8_t kind, const uint8_t *name, size_t name_len)
{
    struct lh_writer to;

    LH_REQUIRE(name_len >= 1 && name_len <= NAME_MAX_BYTES);
    lh_writer_init(&to, w->out + w->used, LH_CONTROL_MAX - w->used);
    lh_put_u8(&to, kind);
    lh_put_path(&to, name, name_len);
    if (to.failed)
        return false;
    w->used = (size_t)(to.at - w->out);
    w->n++;
    return true;
}

size_t lh_names_end(struct lh_names_writer *w, enum lh_names_state state)
{
    lh_put_list_head(w->out, w->tag, w->n);
    w->out[LH_LIST_HEAD] = (uint8_t)state;
    return w->used;
}

/* What a directory's entry can be called. */
static bool name_allowed(const uint8_t *name, size_t len)
{
    if (len == 0 || !lh_path_allowed(name, len, NAME_MAX_BYTES) || memchr(name, '/', len) != NULL)
        return false;
    return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

/* What is wrong, or NULL. */
static const char *get_name(struct lh_reader *r, uint8_t *kind, const uint8_t **name, size_t *len)
{
    *kind = lh_get_u8(r);
    lh_get_path(r, name, len);
    if (r->failed)
        return "NAMES is cut short";
    if (*kind < LH_KIND_FILE || *kind > LH_KIND_SOCKET)
        return "NAMES has something of unknown kind";
    if (!name_allowed(*name, *len))
        return "NAMES has what is no name";
    return NULL;
}

int lh_names_decode(const uint8_t *in, size_t len, struct lh_names_reader *r, const char **why)
{
    struct lh_names_reader got = {0};
    struct lh_reader from;
    const uint8_t *name;
    size_t name_len;
    uint8_t kind;

    lh_reader_init(&from, in, len);
    got.tag = lh_get_u32(&from);
    got.n = lh_get_u32(&from);
    got.state = lh_get_u8(&from);
    if (from.failed)
        return lh_wire_refuse(why, "NAMES is cut short");
    if (got.state > LH_NAMES_UNREAD)
        return lh_wire_refuse(why, "NAMES of a directory in an unknown state");
    got.next = from.at;
    for (uint32_t i = 0; i < got.n; i++) { /* each takes bytes: a huge n ends at the payload's */
        const char *bad = get_name(&from, &kind, &name, &name_len);

        if (bad != NULL)
            return lh_wire_refuse(why, bad);
    }
    got.end = from.at;
    *r = got;
    return 0;
}

bool lh_names_next(struct lh_names_reader *r, uint8_t *kind, const uint8_t **name, size_t *name_len)
{
    struct lh_reader from;

    if (r->at >= r->n)
        return false;
    lh_reader_init(&from, r->next, (size_t)(r->end - r->next));
    LH_INVARIANT(get_name(&from, kind, name, name_len) == NULL);
    r->next = from.at;
    r->at++;
    return true;
}
