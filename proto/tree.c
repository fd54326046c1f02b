/* Payloads of a tree.
 *
 * Thread: any. Happy path: entries, answers and names are gathered into a frame until it is full,
 * and read one after another from a payload that was checked as a whole; packs are rows of fixed
 * size, read by index. Failures: decoders refuse what is cut short or breaks a limit, before
 * anything of it is handed out. Whether a path is allowed, an index was ever told of or a part lies
 * within its file, is for those who know the tree. */
#include "proto/tree.h"

#include "proto/cursor.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/session.h"
#include "util/err.h"

#include <string.h>

#define LIST_HEAD 8 /* first index or tag, number of entries */
#define NAME_MAX_BYTES 255

/* The byte that an entry begins with. */
#define ENTRY_KIND 0x0fu
#define ENTRY_WHO 0x10u /* mode and owner follow; else they are those of the entry before */
#define ENTRY_NSEC 0x20u
#define ENTRY_HASH 0x40u
#define ENTRY_XATTRS 0x80u

/* Whether `n` indexes from `first` on are there: the last one is below LH_TREE_NO_ENTRY. */
static bool indexes_allowed(uint32_t first, uint32_t n)
{
    return n <= LH_TREE_NO_ENTRY - first;
}

/* First index or tag, and number, of a list that was gathered behind them. */
static void put_head(uint8_t *out, uint32_t first, uint32_t n)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LIST_HEAD);
    lh_put_u32(&w, first);
    lh_put_u32(&w, n);
    LH_INVARIANT(!w.failed);
}

/* ---- FILES, ATTRS, REMOVE ---- */

/* Before the first entry of a frame. Its bytes need no value. */
static void before_none(struct lh_tree_before *b)
{
    b->mode = 0;
    b->uid = b->gid = 0;
    b->sec = 0;
    b->path_len = 0;
}

bool lh_xattrs_add(uint8_t *out, size_t size, size_t *used, const struct lh_xattr *x)
{
    struct lh_writer w;

    if (x->name_len > UINT16_MAX || x->value_len > UINT16_MAX)
        return false;
    lh_writer_init(&w, out + *used, size - *used);
    lh_put_path(&w, x->name, x->name_len);
    lh_put_path(&w, x->value, x->value_len);
    if (w.failed)
        return false;
    *used = (size_t)(w.at - out);
    return true;
}

/* Reads one; false when it is none that may be sent. */
static bool get_xattr(struct lh_reader *r, struct lh_xattr *x)
{
    lh_get_path(r, &x->name, &x->name_len);
    lh_get_path(r, &x->value, &x->value_len);
    return !r->failed && x->name_len > 0 && lh_path_allowed(x->name, x->name_len, NAME_MAX_BYTES);
}

bool lh_xattrs_next(const uint8_t *xattrs, size_t len, size_t *at, struct lh_xattr *x)
{
    struct lh_reader r;

    if (*at >= len)
        return false;
    lh_reader_init(&r, xattrs + *at, len - *at);
    if (!get_xattr(&r, x))
        return false;
    *at = len - lh_reader_left(&r);
    return true;
}

static bool xattrs_allowed(const uint8_t *xattrs, size_t len)
{
    struct lh_xattr x;
    struct lh_reader r;

    lh_reader_init(&r, xattrs, len);
    while (lh_reader_left(&r) > 0) {
        if (!get_xattr(&r, &x))
            return false;
    }
    return true;
}

void lh_files_begin(struct lh_files_writer *w, uint8_t *out, uint32_t first)
{
    w->out = out;
    w->used = LIST_HEAD;
    w->first = first;
    w->n = 0;
    before_none(&w->before);
}

/* Small for small differences either way. */
static uint64_t zigzag(int64_t from, int64_t to)
{
    uint64_t by = (uint64_t)to - (uint64_t)from;

    return by << 1 ^ (by >> 63 ? UINT64_MAX : 0);
}

static int64_t zigzag_from(int64_t from, uint64_t v)
{
    return (int64_t)((uint64_t)from + (v >> 1 ^ (v & 1 ? UINT64_MAX : 0)));
}

static size_t shared_len(const struct lh_tree_before *b, const struct lh_tree_entry *e)
{
    size_t n = 0;

    while (n < b->path_len && n < e->path_len && b->path[n] == e->path[n])
        n++;
    return n;
}

/* But for the path. */
static void remember(struct lh_tree_before *b, const struct lh_tree_entry *e)
{
    b->mode = e->mode;
    b->uid = e->uid;
    b->gid = e->gid;
    b->sec = e->mtime.sec;
    b->path_len = e->path_len;
}

static bool is_link(uint8_t kind)
{
    return kind == LH_KIND_SYMLINK || kind == LH_KIND_HARDLINK;
}

static void put_bytes(struct lh_writer *to, const uint8_t *data, size_t len)
{
    lh_put_varint(to, len);
    lh_put_bytes(to, data, len);
}

static void put_entry(struct lh_writer *to, const struct lh_tree_before *b,
                      const struct lh_tree_entry *e, size_t shared)
{
    bool who = e->mode != b->mode || e->uid != b->uid || e->gid != b->gid;

    lh_put_u8(to, (uint8_t)((e->kind & ENTRY_KIND) | (who ? ENTRY_WHO : 0) |
                            (e->mtime.nsec != 0 ? ENTRY_NSEC : 0) | (e->has_hash ? ENTRY_HASH : 0) |
                            (e->xattrs_len > 0 ? ENTRY_XATTRS : 0)));
    if (who) {
        lh_put_varint(to, e->mode);
        lh_put_varint(to, e->uid);
        lh_put_varint(to, e->gid);
    }
    lh_put_varint(to, e->size);
    lh_put_varint(to, zigzag(b->sec, e->mtime.sec));
    if (e->mtime.nsec != 0)
        lh_put_u32(to, e->mtime.nsec);
    lh_put_varint(to, shared);
    put_bytes(to, e->path + shared, e->path_len - shared);
    if (is_link(e->kind))
        put_bytes(to, e->link, e->link_len);
    if (e->xattrs_len > 0)
        put_bytes(to, e->xattrs, e->xattrs_len);
    if (e->has_hash)
        lh_put_bytes(to, e->hash.bytes, LH_HASH_SIZE);
}

bool lh_files_add(struct lh_files_writer *w, const struct lh_tree_entry *e)
{
    struct lh_tree_before *b = &w->before;
    struct lh_writer to;
    size_t shared = shared_len(b, e);

    LH_REQUIRE(e->path_len < LH_PATH_MAX && e->link_len < LH_PATH_MAX);
    LH_REQUIRE(indexes_allowed(w->first, w->n + 1));
    lh_writer_init(&to, w->out + w->used, LH_CONTROL_MAX - w->used);
    put_entry(&to, b, e, shared);
    if (to.failed)
        return false;
    if (e->path_len > shared)
        memcpy(b->path + shared, e->path + shared, e->path_len - shared);
    remember(b, e);
    w->used = (size_t)(to.at - w->out);
    w->n++;
    return true;
}

size_t lh_files_end(struct lh_files_writer *w)
{
    put_head(w->out, w->first, w->n);
    return w->used;
}

/* What is wrong with an entry that could be read, or NULL. */
static const char *entry_refusal(const struct lh_tree_entry *e)
{
    if (e->kind < LH_KIND_FILE || e->kind > LH_KIND_HARDLINK)
        return "an entry of unknown kind";
    if (e->has_hash && e->kind != LH_KIND_FILE)
        return "an entry that is no file has a hash";
    if (!lh_path_allowed(e->path, e->path_len, LH_PATH_MAX - 1) ||
        (e->path_len == 0 && e->kind != LH_KIND_DIR))
        return "an entry's path is empty or has a NUL in it";
    if (is_link(e->kind) &&
        (e->link_len == 0 || !lh_path_allowed(e->link, e->link_len, LH_PATH_MAX - 1)))
        return "an entry's link is missing or has a NUL in it";
    if (!xattrs_allowed(e->xattrs, e->xattrs_len))
        return "an entry's extended attributes are cut short or have no name";
    return NULL;
}

static void get_bytes(struct lh_reader *r, const uint8_t **out, size_t *len, size_t max)
{
    *len = (size_t)lh_get_varint(r, max);
    *out = lh_get_view(r, *len);
}

/* Put together where the one before was. */
static void get_path(struct lh_reader *r, struct lh_tree_before *b, struct lh_tree_entry *e)
{
    size_t shared = (size_t)lh_get_varint(r, b->path_len);
    const uint8_t *rest;
    size_t len;

    get_bytes(r, &rest, &len, LH_PATH_MAX - 1 - shared);
    if (rest != NULL && len > 0)
        memcpy(b->path + shared, rest, len);
    e->path = b->path;
    e->path_len = rest != NULL ? shared + len : 0;
}

/* What is wrong, or NULL. */
static const char *get_entry(struct lh_reader *r, struct lh_tree_before *b, struct lh_tree_entry *e)
{
    unsigned what = lh_get_u8(r);
    const char *bad;

    *e = (struct lh_tree_entry){.kind = (uint8_t)(what & ENTRY_KIND),
                                .mode = b->mode,
                                .uid = b->uid,
                                .gid = b->gid,
                                .has_hash = what & ENTRY_HASH};
    if (what & ENTRY_WHO) {
        e->mode = (uint16_t)lh_get_varint(r, 07777);
        e->uid = (uint32_t)lh_get_varint(r, UINT32_MAX);
        e->gid = (uint32_t)lh_get_varint(r, UINT32_MAX);
    }
    e->size = lh_get_varint(r, INT64_MAX);
    e->mtime.sec = zigzag_from(b->sec, lh_get_varint(r, UINT64_MAX));
    if (what & ENTRY_NSEC)
        e->mtime.nsec = lh_get_u32(r);
    get_path(r, b, e);
    if (is_link(e->kind))
        get_bytes(r, &e->link, &e->link_len, LH_PATH_MAX - 1);
    if (what & ENTRY_XATTRS)
        get_bytes(r, &e->xattrs, &e->xattrs_len, LH_CONTROL_MAX);
    if (what & ENTRY_HASH)
        lh_get_bytes(r, e->hash.bytes, LH_HASH_SIZE);
    if (r->failed || e->mtime.nsec > 999999999)
        return "an entry is cut short, or has a number that is too large";
    bad = entry_refusal(e);
    if (bad == NULL)
        remember(b, e);
    return bad;
}

int lh_files_decode(const uint8_t *in, size_t len, struct lh_files_reader *r, const char **why)
{
    struct lh_tree_before before;
    struct lh_tree_entry e;
    struct lh_reader from;
    const uint8_t *next;
    uint32_t first;
    uint32_t n;

    lh_reader_init(&from, in, len);
    first = lh_get_u32(&from);
    n = lh_get_u32(&from);
    if (from.failed)
        return lh_wire_refuse(why, "a list of entries is cut short");
    if (!indexes_allowed(first, n))
        return lh_wire_refuse(why, "a list of entries runs over the last index");
    next = from.at;
    before_none(&before);
    for (uint32_t i = 0; i < n; i++) { /* each takes bytes: a huge n ends at the payload's */
        const char *bad = get_entry(&from, &before, &e);

        if (bad != NULL)
            return lh_wire_refuse(why, bad);
    }
    r->first = first;
    r->n = n;
    r->at = 0;
    r->next = next;
    r->end = from.at;
    before_none(&r->before);
    return 0;
}

bool lh_files_next(struct lh_files_reader *r, struct lh_tree_entry *e)
{
    struct lh_reader from;

    if (r->at >= r->n)
        return false;
    lh_reader_init(&from, r->next, (size_t)(r->end - r->next));
    LH_INVARIANT(get_entry(&from, &r->before, e) == NULL);
    r->next = from.at;
    r->at++;
    return true;
}

/* ---- WANTED ---- */

size_t lh_wanted_encode(uint32_t first, const uint8_t *answers, uint32_t n, uint8_t *out)
{
    LH_REQUIRE(n >= 1 && n <= LH_WANTED_MAX && indexes_allowed(first, n));
    put_head(out, first, n);
    memcpy(out + LIST_HEAD, answers, n);
    return LIST_HEAD + n;
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
    if (got_n == 0 || got_n > LH_WANTED_MAX || !indexes_allowed(got_first, got_n))
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

    LH_REQUIRE(path_len < LH_PATH_MAX);
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
    if (!lh_path_allowed(view, view_len, LH_PATH_MAX - 1))
        return lh_wire_refuse(why, "LIST's path is too long or has a NUL in it");
    *tag = got_tag;
    *path = view;
    *path_len = view_len;
    return 0;
}

void lh_names_begin(struct lh_names_writer *w, uint8_t *out, uint32_t tag)
{
    *w = (struct lh_names_writer){.out = out, .used = LIST_HEAD, .tag = tag};
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

size_t lh_names_end(struct lh_names_writer *w)
{
    put_head(w->out, w->tag, w->n);
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
    if (from.failed)
        return lh_wire_refuse(why, "NAMES is cut short");
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
