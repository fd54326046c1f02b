/* Fuzz target: what a tree's peer says, decoded and read to its end.
 *
 * The first byte of the input chooses the payload's kind, the rest is the payload. Promises: a
 * refusal has a reason; of what is accepted every entry, name and part keeps the limits that
 * callers build on and lies within the input; encoding it again gives what was read. */
#include "proto/tree.h"
#include "payload.h"
#include "proto/frame.h"
#include "proto/owners.h"
#include "target.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

static uint8_t out[LH_BLOCK_MAX];
static uint8_t *input;
static size_t input_len;

/* A view of nothing may be anywhere. */
static void within(const uint8_t *at, size_t len)
{
    LH_REQUIRE(len == 0 || (at >= input && at + len <= input + input_len));
}

static void path(const uint8_t *at, size_t len)
{
    LH_REQUIRE(len < LH_TREE_PATH_MAX && memchr(at, 0, len) == NULL);
}

static void entry(const struct lh_tree_entry *e)
{
    bool link = e->kind == LH_KIND_SYMLINK || e->kind == LH_KIND_HARDLINK;
    struct lh_xattr x;
    size_t at = 0;

    LH_REQUIRE(e->kind >= LH_KIND_FILE && e->kind <= LH_KIND_THERE && e->mode <= 07777);
    LH_REQUIRE(e->size <= INT64_MAX && e->mtime.nsec < 1000000000);
    LH_REQUIRE(!e->has_hash || e->kind == LH_KIND_FILE);
    path(e->path, e->path_len); /* put together by the reader */
    if (link)
        path(e->link, e->link_len);
    LH_REQUIRE(e->kind == LH_KIND_HARDLINK || e->link_len < LH_PATH_MAX);
    within(e->link, e->link_len);
    within(e->xattrs, e->xattrs_len);
    LH_REQUIRE((e->path_len > 0 || e->kind == LH_KIND_DIR) && (e->link_len > 0) == link);
    while (lh_xattrs_next(e->xattrs, e->xattrs_len, &at, &x)) {
        within(x.name, x.name_len);
        within(x.value, x.value_len);
        LH_REQUIRE(x.name_len >= 1 && x.name_len <= 255 && memchr(x.name, 0, x.name_len) == NULL);
    }
    LH_REQUIRE(at == e->xattrs_len);
}

static void files(const uint8_t *in, size_t len)
{
    struct lh_files_reader r;
    struct lh_tree_entry e;
    const char *why = NULL;
    uint32_t n = 0;

    if (lh_files_decode(in, len, &r, &why) != 0)
        return;
    LH_REQUIRE(r.n <= LH_TREE_NO_ENTRY - r.first);
    for (; lh_files_next(&r, &e); n++)
        entry(&e);
    LH_REQUIRE(n == r.n);
}

static void names(const uint8_t *in, size_t len)
{
    struct lh_names_reader r;
    const char *why = NULL;
    const uint8_t *name;
    size_t name_len;
    uint8_t kind;
    uint32_t n = 0;

    if (lh_names_decode(in, len, &r, &why) != 0)
        return;
    for (; lh_names_next(&r, &kind, &name, &name_len); n++) {
        LH_REQUIRE(kind >= LH_KIND_FILE && kind <= LH_KIND_SOCKET);
        LH_REQUIRE(name_len >= 1 && name_len <= 255 && memchr(name, '/', name_len) == NULL);
        within(name, name_len);
        path(name, name_len);
    }
    LH_REQUIRE(n == r.n);
}

static void owners(const uint8_t *in, size_t len)
{
    struct lh_owners_reader r;
    struct lh_owner o;
    const char *why = NULL;
    uint32_t n = 0;

    if (lh_owners_decode(in, len, &r, &why) != 0)
        return;
    LH_REQUIRE(r.n <= LH_OWNERS_MAX);
    for (; lh_owners_next(&r, &o); n++) {
        LH_REQUIRE(o.kind == LH_OWNER_USER || o.kind == LH_OWNER_GROUP);
        LH_REQUIRE(o.name_len >= 1 && o.name_len <= LH_OWNER_NAME_MAX);
        path(o.name, o.name_len);
    }
    LH_REQUIRE(n == r.n);
}

static void pack(const uint8_t *in, size_t len)
{
    const char *why = NULL;
    int n = lh_pack_count(in, len, &why);
    size_t at;

    if (n < 0) {
        LH_REQUIRE(n == -LH_E_PROTOCOL && why != NULL);
        return;
    }
    LH_REQUIRE(n >= 1 && n <= LH_PACK_PARTS);
    at = LH_PACK_HEAD + (size_t)n * LH_PART_SIZE;
    for (int i = 0; i < n; i++) {
        struct lh_part part = lh_pack_get(in, (size_t)i);

        LH_REQUIRE(part.entry != LH_TREE_NO_ENTRY &&
                   (part.flags & ~(LH_PART_VOID | LH_PART_HOLE)) == 0);
        LH_REQUIRE(part.offset + part.length <= INT64_MAX);
        LH_REQUIRE(!(part.flags & LH_PART_VOID) || part.length == 0);
        LH_REQUIRE(!(part.flags & LH_PART_HOLE) || part.length > 0);
        within(in + at, lh_part_contents(&part));
        at += lh_part_contents(&part);
    }
    LH_REQUIRE(at == len);
    LH_REQUIRE(pack_again(in, len, out, &at, &why) == 0 && at == len && memcmp(out, in, len) == 0);
}

static void offer(const uint8_t *in, size_t len)
{
    struct lh_offer m;
    const char *why = NULL;
    bool tree;

    if (lh_offer_decode(in, len, &m, &why) != 0)
        return;
    tree = m.flags & LH_OFFER_MORE_FILES;
    LH_REQUIRE(m.file.kind == (tree ? LH_KIND_DIR : LH_KIND_FILE));
    LH_REQUIRE(m.keep == 0 || (tree && m.keep < 32));
}

/* Decoded as a frame's payload, and encoded again. */
static void again(uint16_t type, const uint8_t *in, size_t len)
{
    const char *why = NULL;
    size_t out_len = 0;
    int rc = payload_again(type, in, len, out, &out_len, &why);

    LH_REQUIRE(rc == 0 || (rc == -LH_E_PROTOCOL && why != NULL));
    LH_REQUIRE(rc != 0 || out_len <= len);
}

static void one(uint8_t select, const uint8_t *in, size_t len)
{
    static const uint16_t types[] = {LH_FRAME_OFFER,  LH_FRAME_FILES, LH_FRAME_WANTED,
                                     LH_FRAME_FAILED, LH_FRAME_LIST,  LH_FRAME_NAMES,
                                     LH_FRAME_OWNERS};
    static void (*const promises[])(const uint8_t *, size_t) = {offer, files, NULL,  NULL,
                                                                NULL,  names, owners};

    if (select >= sizeof(types) / sizeof(types[0])) {
        if (len <= LH_BLOCK_MAX)
            pack(in, len);
        return;
    }
    if (len > LH_CONTROL_MAX)
        return;
    again(types[select], in, len);
    if (promises[select] != NULL)
        promises[select](in, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    input_len = size - 1;
    input = malloc(size); /* exactly, but for a byte before: a sanitizer sees any read behind it */
    if (input == NULL)
        return 0;
    memcpy(input, data, size);
    input++;
    one(data[0], input, input_len);
    free(input - 1);
    return 0;
}
