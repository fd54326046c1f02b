/* FILES (ATTRS and REMOVE have its form): what is read back, every limit and every refusal. (Bytes:
 * golden.c. The other frames of a tree: tree_lists.c.) */
#include "proto/tree.h"
#include "proto/cursor.h"
#include "proto/frame.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_AT 8 /* of the first entry within the payload: kind, and what it has */

static uint8_t out[LH_CONTROL_MAX];
static uint8_t long_path[LH_TREE_PATH_MAX];
static uint8_t long_xattr[UINT16_MAX];

static struct lh_tree_entry good_entry(void)
{
    struct lh_tree_entry e = {
        .kind = LH_KIND_FILE,
        .mode = 0640,
        .uid = 1,
        .gid = 2,
        .size = 3,
        .mtime = {-4, 5},
        .path = (const uint8_t *)"a/b",
        .path_len = 3,
    };
    return e;
}

/* Of a copy that ends where the payload does, so that a sanitizer sees any read behind it. */
static int files_read(size_t len, struct lh_files_reader *r)
{
    uint8_t *copy = malloc(len + 1);
    const char *why = NULL;
    int rc;

    if (copy == NULL)
        bail("out of memory");
    memset(r, 0x77, sizeof(*r));
    memcpy(copy + 1, out, len);
    rc = lh_files_decode(copy + 1, len, r, &why);
    if (rc != 0 && (why == NULL || r->first != 0x77777777))
        rc = 1; /* a refusal must say why and write nothing */
    free(copy);
    return rc;
}

static size_t files_one(const struct lh_tree_entry *e)
{
    struct lh_files_writer w;

    lh_files_begin(&w, out, 7);
    if (!lh_files_add(&w, e))
        return 0;
    return lh_files_end(&w);
}

static int files_pass(const struct lh_tree_entry *e)
{
    struct lh_files_reader r;

    return files_read(files_one(e), &r);
}

static bool same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool same_entry(const struct lh_tree_entry *a, const struct lh_tree_entry *b)
{
    return a->kind == b->kind && a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
           a->size == b->size && lh_time_same(&a->mtime, &b->mtime) && a->has_hash == b->has_hash &&
           memcmp(&a->hash, &b->hash, sizeof(a->hash)) == 0 &&
           same_bytes(a->path, a->path_len, b->path, b->path_len) &&
           same_bytes(a->link, a->link_len, b->link, b->link_len) &&
           same_bytes(a->xattrs, a->xattrs_len, b->xattrs, b->xattrs_len);
}

static void read_back(void)
{
    static const uint8_t xattrs[] = {6, 0, 'u', 's', 'e', 'r', '.', 'x', 2, 0, 0, 0xff};
    struct lh_tree_entry list[4] = {good_entry(), good_entry(), good_entry(), good_entry()};
    struct lh_files_writer w;
    struct lh_files_reader r;
    struct lh_tree_entry e;
    const char *why = NULL;
    size_t len;

    list[0].has_hash = true;
    memset(list[0].hash.bytes, 0x5a, LH_HASH_SIZE);
    list[0].xattrs = xattrs;
    list[0].xattrs_len = sizeof(xattrs);
    list[1].kind = LH_KIND_SYMLINK;
    list[1].link = (const uint8_t *)"../\xff\n";
    list[1].link_len = 5;
    list[2].kind = LH_KIND_DIR;
    list[2].path_len = 0;
    list[3].kind = LH_KIND_CHAR;
    list[3].size = 0x0501;
    lh_files_begin(&w, out, 0xfffffff0);
    for (unsigned i = 0; i < 4; i++)
        ok(lh_files_add(&w, &list[i]), "entry %u is added", i);
    len = lh_files_end(&w);
    ok(lh_files_decode(out, len, &r, &why) == 0 && r.first == 0xfffffff0 && r.n == 4,
       "four entries are read");
    for (unsigned i = 0; i < 4; i++)
        ok(lh_files_next(&r, &e) && same_entry(&e, &list[i]), "entry %u is read back", i);
    ok(!lh_files_next(&r, &e) && !lh_files_next(&r, &e), "and no fifth");
    memset(out + len, 0xee, 30);
    ok(lh_files_decode(out, len + 30, &r, &why) == 0 && r.n == 4, "a list that has grown is read");

    lh_files_begin(&w, out, 9);
    len = lh_files_end(&w);
    ok(files_read(len, &r) == 0 && r.n == 0 && !lh_files_next(&r, &e), "an empty list is a list");
}

static void full(void)
{
    struct lh_tree_entry e = good_entry();
    struct lh_files_writer w;
    struct lh_files_reader r;
    struct lh_tree_entry got;
    const char *why = NULL;
    unsigned n = 0;
    unsigned back = 0;
    size_t len;

    lh_files_begin(&w, out, 0);
    while (lh_files_add(&w, &e))
        n++;
    len = lh_files_end(&w);
    is_u64(n, 1 + (LH_CONTROL_MAX - 8 - 16) / 9, "a frame is filled, of what repeats once");
    ok(len <= LH_CONTROL_MAX && w.n == n, "and within its limit");
    e.path_len = 0;
    e.kind = LH_KIND_DIR;
    ok(lh_files_decode(out, len, &r, &why) == 0, "a full frame is read");
    while (lh_files_next(&r, &got))
        back += got.path_len == 3;
    is_u64(back, n, "all of it");

    e = good_entry();
    e.kind = LH_KIND_SYMLINK;
    e.path = e.link = long_path;
    e.path_len = LH_TREE_PATH_MAX - 1;
    e.link_len = LH_PATH_MAX - 1;
    e.xattrs_len = 60 * 1024 - (LH_TREE_PATH_MAX - 1) - (LH_PATH_MAX - 1);
    e.xattrs = long_xattr;
    long_xattr[0] = 1; /* one name of a byte, one value of all the rest */
    long_xattr[1] = 0;
    long_xattr[2] = 'x';
    long_xattr[3] = (uint8_t)(e.xattrs_len - 5);
    long_xattr[4] = (uint8_t)((e.xattrs_len - 5) >> 8);
    ok(e.xattrs_len >= 40 * 1024 - 1,
       "as many attributes as a walk reads go with the longest path");
    ok(files_pass(&e) == 0, "the largest entry that is promised a place has one");
    e.kind = LH_KIND_HARDLINK;
    e.link_len = LH_TREE_PATH_MAX - 1;
    e.xattrs_len = 0;
    ok(files_pass(&e) == 0, "so has the longest hard link");
    e.xattrs_len = UINT16_MAX;
    is_u64(files_one(&e), 0, "one that no frame holds is not added");
}

/* The last index is one below "no entry". */
static void last_index(void)
{
    struct lh_tree_entry e = good_entry();
    struct lh_files_writer w;
    struct lh_files_reader r;
    size_t len;

    lh_files_begin(&w, out, LH_TREE_NO_ENTRY - 2);
    lh_files_add(&w, &e);
    lh_files_add(&w, &e);
    len = lh_files_end(&w);
    is_i64(files_read(len, &r), 0, "up to the last index");
    out[0]++;
    is_i64(files_read(len, &r), -LH_E_PROTOCOL, "over it");
    lh_files_begin(&w, out, LH_TREE_NO_ENTRY);
    is_i64(files_read(lh_files_end(&w), &r), 0, "none behind it");
}

static void cuts(void)
{
    struct lh_tree_entry e = good_entry();
    struct lh_files_reader r;
    size_t refused = 0;
    size_t len;

    e.has_hash = true;
    len = files_one(&e);
    for (size_t cut = 0; cut < len; cut++)
        refused += files_read(cut, &r) == -LH_E_PROTOCOL;
    is_u64(refused, len, "refused at each shorter length");
    out[4] = 2;
    is_i64(files_read(len, &r), -LH_E_PROTOCOL, "more entries than there are");
    memset(out + 4, 0xff, 4);
    is_i64(files_read(len, &r), -LH_E_PROTOCOL, "as many as can be said");
    out[0] = out[1] = out[2] = out[3] = 0;
    is_i64(files_read(len, &r), -LH_E_PROTOCOL, "the same from index 0 on");
}

static void fields(void)
{
    struct lh_tree_entry e = good_entry();

    e.kind = 0;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "no kind");
    e.kind = LH_KIND_THERE + 1;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "unknown kind");
    e = good_entry();
    e.mode = 07777;
    is_i64(files_pass(&e), 0, "all permission bits");
    e.mode = 010000;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "more than permission bits");
    e = good_entry();
    e.size = INT64_MAX;
    is_i64(files_pass(&e), 0, "the largest size");
    e.size++;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "a larger one");
    e = good_entry();
    e.mtime = (struct lh_time){INT64_MIN, 999999999};
    is_i64(files_pass(&e), 0, "the earliest second there is");
    e.mtime.nsec++;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "impossible time");
    for (uint8_t kind = LH_KIND_FILE; kind <= LH_KIND_HARDLINK; kind++) {
        bool link = kind == LH_KIND_SYMLINK || kind == LH_KIND_HARDLINK;

        e = good_entry();
        e.kind = kind;
        is_i64(files_pass(&e), link ? -LH_E_PROTOCOL : 0, "kind %d without link", kind);
        e.link = (const uint8_t *)"to";
        e.link_len = 2;
        is_i64(files_pass(&e), 0, "kind %d with link, which only links are sent with", kind);
        e.path_len = 0;
        e.link_len = link ? 2 : 0;
        is_i64(files_pass(&e), kind == LH_KIND_DIR ? 0 : -LH_E_PROTOCOL, "kind %d without path",
               kind);
        e.path_len = 3;
        e.has_hash = true;
        is_i64(files_pass(&e), kind == LH_KIND_FILE ? 0 : -LH_E_PROTOCOL, "kind %d with hash",
               kind);
    }
    {
        struct lh_files_reader r;
        size_t len;

        e = good_entry();
        len = files_one(&e);
        out[ENTRY_AT] |= 0x40;
        is_i64(files_read(len, &r), -LH_E_PROTOCOL, "a hash that is announced and missing");
        out[ENTRY_AT] = (uint8_t)((out[ENTRY_AT] & ~0x40) | 0x80);
        is_i64(files_read(len, &r), -LH_E_PROTOCOL, "attributes that are announced and missing");
    }
}

/* Paths and links at their limit, and longer than any encoder writes. */
static void paths(void)
{
    struct lh_tree_entry e = good_entry();
    struct lh_files_reader r;
    size_t len;

    e.path = long_path;
    e.path_len = LH_TREE_PATH_MAX - 1;
    is_i64(files_pass(&e), 0, "the longest path");
    e.path = (const uint8_t *)"a\0b";
    e.path_len = 3;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "NUL in the path");
    e = good_entry();
    e.kind = LH_KIND_SYMLINK;
    e.link = long_path;
    e.link_len = LH_PATH_MAX - 1;
    is_i64(files_pass(&e), 0, "the longest link");
    e.kind = LH_KIND_HARDLINK;
    e.link_len = LH_TREE_PATH_MAX - 1;
    is_i64(files_pass(&e), 0, "of a hard link it is a path");
    e.link_len = LH_PATH_MAX;
    len = files_one(&e);
    out[8] = (uint8_t)((out[8] & 0xf0) | LH_KIND_SYMLINK);
    is_i64(files_read(len, &r), -LH_E_PROTOCOL, "of a symbolic link that is too long");
    e.kind = LH_KIND_SYMLINK;
    e.link = (const uint8_t *)"a\0b";
    e.link_len = 3;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "NUL in the link");
}

/* Entries by hand: a plain file's `what`, size 0, the time of the one before. */
struct hand {
    struct lh_writer w;
    uint32_t n;
};

static void hand_begin(struct hand *h)
{
    lh_writer_init(&h->w, out, sizeof(out));
    lh_put_u64(&h->w, 0);
    h->n = 0;
}

static void hand_add(struct hand *h, uint64_t shared, uint64_t said, size_t len)
{
    lh_put_u8(&h->w, LH_KIND_FILE);
    lh_put_u8(&h->w, 0);
    lh_put_u8(&h->w, 0);
    lh_put_varint(&h->w, shared);
    lh_put_varint(&h->w, said);
    lh_put_bytes(&h->w, long_path, len);
    out[4] = (uint8_t)++h->n;
}

static int hand_read(const struct hand *h)
{
    struct lh_files_reader r;

    return files_read((size_t)(h->w.at - out), &r);
}

/* A path is the beginning of the one before and a rest. */
static void shared_paths(void)
{
    const size_t most = LH_TREE_PATH_MAX - 1;
    struct hand h;

    hand_begin(&h);
    hand_add(&h, 0, most, most);
    is_i64(hand_read(&h), 0, "the longest path");
    hand_add(&h, most, 0, 0);
    is_i64(hand_read(&h), 0, "the same again");
    hand_add(&h, most - 1, 1, 1);
    is_i64(hand_read(&h), 0, "one that differs in its last byte");
    hand_add(&h, most, 1, 1);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "a byte too long with what it shares");
    hand_begin(&h);
    hand_add(&h, 0, most + 1, most + 1);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "a byte too long by itself");
    hand_begin(&h);
    hand_add(&h, 1, 1, 1);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "the first of a frame has nothing to share");
    hand_begin(&h);
    hand_add(&h, 0, 4, 4);
    hand_add(&h, 5, 1, 1);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "more is shared than there is");
    hand_begin(&h);
    hand_add(&h, 0, 4, 4);
    hand_add(&h, UINT64_MAX, 1, 1);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "far more");
    hand_begin(&h);
    hand_add(&h, 0, 5, 4);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "a rest beyond the frame");
    hand_begin(&h);
    hand_add(&h, 0, 1, 1);
    hand_add(&h, 0, 0, 0);
    is_i64(hand_read(&h), -LH_E_PROTOCOL, "a file without a path");
}

/* What does not change costs nothing, whatever it is, and each frame stands by itself. */
static void differences(void)
{
    static const int64_t secs[] = {0, INT64_MIN, INT64_MAX, INT64_MIN, -1,        1,
                                   0, 64,        INT64_MAX, 0,         INT64_MIN, 5};
    struct lh_tree_entry e = good_entry();
    struct lh_files_writer w;
    struct lh_files_reader r;
    struct lh_tree_entry got;
    unsigned same = 0;

    lh_files_begin(&w, out, 0);
    for (size_t i = 0; i < sizeof(secs) / sizeof(secs[0]); i++) {
        e.mtime = (struct lh_time){secs[i], i % 3 == 0 ? 0 : 999999999};
        e.uid = i / 2 % 2 ? UINT32_MAX : 0;
        e.mode = i % 5 == 0 ? 0 : 07777;
        e.path_len = 1 + i % 3;
        lh_files_add(&w, &e);
    }
    is_i64(files_read(lh_files_end(&w), &r), 0, "a frame of all kinds of differences");
    lh_files_decode(out, w.used, &r, &(const char *){NULL});
    for (size_t i = 0; lh_files_next(&r, &got); i++)
        same += got.mtime.sec == secs[i] && got.mtime.nsec == (i % 3 == 0 ? 0 : 999999999) &&
                got.uid == (i / 2 % 2 ? UINT32_MAX : 0) && got.gid == e.gid &&
                got.mode == (i % 5 == 0 ? 0 : 07777) &&
                same_bytes(got.path, got.path_len, e.path, 1 + i % 3);
    is_u64(same, sizeof(secs) / sizeof(secs[0]), "each is read back");
    e = good_entry();
    is_u64(files_one(&e), 8 + 16, "the first of the next frame is told in full");
}

static void xattrs(void)
{
    uint8_t list[700];
    size_t used = 0;
    size_t at = 0;
    size_t refused = 0;
    struct lh_xattr x = {(const uint8_t *)"user.a", 6, (const uint8_t *)"\0\xff", 2};
    struct lh_xattr name = {long_path, 255, NULL, 0};
    struct lh_tree_entry e = good_entry();

    ok(lh_xattrs_add(list, sizeof(list), &used, &x), "an attribute is added");
    ok(lh_xattrs_add(list, sizeof(list), &used, &name), "another, whose name is the longest");
    is_u64(used, 4 + 6 + 2 + 4 + 255, "as long as they are");
    ok(!lh_xattrs_add(list, used + 258, &used, &name) && used == 271, "no room for a third");
    ok(lh_xattrs_next(list, used, &at, &x) &&
           same_bytes(x.name, x.name_len, (const uint8_t *)"user.a", 6) &&
           same_bytes(x.value, x.value_len, (const uint8_t *)"\0\xff", 2),
       "the first is read back");
    ok(lh_xattrs_next(list, used, &at, &x) && same_bytes(x.name, x.name_len, long_path, 255) &&
           x.value_len == 0,
       "the second too");
    ok(!lh_xattrs_next(list, used, &at, &x), "and no third");
    e.xattrs = list;
    e.xattrs_len = used;
    is_i64(files_pass(&e), 0, "both in an entry");
    for (e.xattrs_len = 1; e.xattrs_len < used; e.xattrs_len++)
        refused += e.xattrs_len != 12 && files_pass(&e) == -LH_E_PROTOCOL;
    is_u64(refused, used - 2, "cut anywhere but between them they are refused");
    e.xattrs_len = used;
    list[2] = 0;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "NUL in a name");
    used = 0;
    name.name_len = 256;
    lh_xattrs_add(list, sizeof(list), &used, &name);
    e.xattrs_len = used;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "a name too long");
    used = 0;
    name.name_len = 0;
    lh_xattrs_add(list, sizeof(list), &used, &name);
    e.xattrs_len = used;
    is_i64(files_pass(&e), -LH_E_PROTOCOL, "no name");
    x.value = long_xattr;
    x.value_len = UINT16_MAX + (size_t)1;
    used = 0;
    ok(!lh_xattrs_add(out, sizeof(out), &used, &x) && used == 0,
       "a value longer than can be said is not added");
}

int main(void)
{
    memset(long_path, 'p', sizeof(long_path));
    read_back();
    full();
    last_index();
    cuts();
    fields();
    paths();
    shared_paths();
    differences();
    xattrs();
    return done_testing();
}
