/* FILES, ATTRS and REMOVE of a tree: entries, each told by what differs from the one before it.
 *
 * Thread: any. Happy path: entries are gathered into a frame until it is full, and read one after
 * another from a payload that was checked as a whole. Every frame stands by itself. Failures: the
 * decoder refuses what is cut short or breaks a limit, before anything of it is handed out. Whether
 * a path is allowed is for those who know the tree. */
#include "proto/cursor.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/session.h"
#include "proto/tree.h"
#include "util/err.h"

#include <string.h>

#define NAME_MAX_BYTES 255 /* of an extended attribute */

/* The byte that an entry begins with. */
#define ENTRY_KIND 0x0fu
#define ENTRY_WHO 0x10u /* mode and owner follow; else they are those of the entry before */
#define ENTRY_NSEC 0x20u
#define ENTRY_HASH 0x40u
#define ENTRY_XATTRS 0x80u

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
    w->used = LH_LIST_HEAD;
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

/* Text of a symbolic link is as long as the kernel takes it. */
static size_t link_max(uint8_t kind)
{
    return (kind == LH_KIND_HARDLINK ? LH_TREE_PATH_MAX : LH_PATH_MAX) - 1;
}

bool lh_files_add(struct lh_files_writer *w, const struct lh_tree_entry *e)
{
    struct lh_tree_before *b = &w->before;
    struct lh_writer to;
    size_t shared = shared_len(b, e);

    LH_REQUIRE(e->path_len < LH_TREE_PATH_MAX && e->link_len <= link_max(e->kind));
    LH_REQUIRE(lh_indexes_allowed(w->first, w->n + 1));
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
    lh_put_list_head(w->out, w->first, w->n);
    return w->used;
}

/* What is wrong with an entry that could be read, or NULL. */
static const char *entry_refusal(const struct lh_tree_entry *e)
{
    if (e->kind < LH_KIND_FILE || e->kind > LH_KIND_THERE)
        return "an entry of unknown kind";
    if (e->has_hash && e->kind != LH_KIND_FILE)
        return "an entry that is no file has a hash";
    if (!lh_path_allowed(e->path, e->path_len, LH_TREE_PATH_MAX - 1) ||
        (e->path_len == 0 && e->kind != LH_KIND_DIR))
        return "an entry's path is empty or has a NUL in it";
    if (is_link(e->kind) &&
        (e->link_len == 0 || !lh_path_allowed(e->link, e->link_len, link_max(e->kind))))
        return "an entry's link is missing, too long or has a NUL in it";
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

    get_bytes(r, &rest, &len, LH_TREE_PATH_MAX - 1 - shared);
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
        get_bytes(r, &e->link, &e->link_len, LH_TREE_PATH_MAX - 1);
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
    if (!lh_indexes_allowed(first, n))
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
