/* WANTED, FAILED, packs, LIST and NAMES: what is read back, every limit and every refusal. (Bytes:
 * golden.c. FILES: tree.c.) */
#include "proto/frame.h"
#include "proto/session.h"
#include "proto/tree.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <stdlib.h>
#include <string.h>

static uint8_t out[LH_BLOCK_MAX];
static uint8_t long_path[LH_TREE_PATH_MAX];

/* Decoders of a copy that ends where the payload does, so that a sanitizer sees any read behind it.
 */
static uint8_t *exactly(size_t len)
{
    uint8_t *copy = malloc(len + 1);

    if (copy == NULL)
        bail("out of memory");
    memcpy(copy + 1, out, len);
    return copy;
}

static int wanted_read(size_t len)
{
    const uint8_t *answers = long_path;
    const char *why = NULL;
    uint32_t first = 77;
    uint32_t n = 78;
    uint8_t *copy = exactly(len);
    int rc = lh_wanted_decode(copy + 1, len, &first, &answers, &n, &why);

    free(copy);
    if (rc != 0 && (why == NULL || first != 77 || n != 78 || answers != long_path))
        return 1; /* a refusal must say why and write nothing */
    return rc;
}

static void wanted(void)
{
    static uint8_t most[LH_WANTED_MAX];
    static const uint8_t all[] = {LH_WANTED_KEPT, LH_WANTED_NEW, LH_WANTED_CHANGED, LH_WANTED_MADE,
                                  LH_WANTED_FAILED};
    const uint8_t *answers = NULL;
    const char *why = NULL;
    uint32_t first = 0;
    uint32_t n = 0;
    size_t refused = 0;
    size_t len = lh_wanted_encode(LH_TREE_NO_ENTRY - 5, all, 5, out);

    ok(lh_wanted_decode(out, len, &first, &answers, &n, &why) == 0 &&
           first == LH_TREE_NO_ENTRY - 5 && n == 5 && memcmp(answers, all, 5) == 0,
       "WANTED is read back, up to the last index");
    is_i64(wanted_read(len + 3), 0, "WANTED that has grown");
    for (size_t cut = 0; cut < len; cut++)
        refused += wanted_read(cut) == -LH_E_PROTOCOL;
    is_u64(refused, len, "WANTED: refused at each shorter length");
    out[0]++;
    is_i64(wanted_read(len), -LH_E_PROTOCOL, "WANTED: over the last index");
    lh_wanted_encode(3, all, 5, out);
    out[len - 1]++;
    is_i64(wanted_read(len), -LH_E_PROTOCOL, "WANTED: unknown answer");
    out[4] = 0;
    is_i64(wanted_read(len), -LH_E_PROTOCOL, "WANTED: none");
    memset(out + 4, 0xff, 4);
    is_i64(wanted_read(len), -LH_E_PROTOCOL, "WANTED: a huge number");
    len = lh_wanted_encode(0, most, LH_WANTED_MAX, out);
    is_i64(wanted_read(len), 0, "WANTED: as many as a frame may have");
    out[4]++;
    out[len] = 0;
    is_i64(wanted_read(len + 1), -LH_E_PROTOCOL, "WANTED: one more");
}

static int failed_read(size_t len)
{
    struct lh_tree_failed m = {.entry = 77, .code = 78};
    const char *why = NULL;
    uint8_t *copy = exactly(len);
    int rc = lh_tree_failed_decode(copy + 1, len, &m, &why);

    free(copy);
    if (rc != 0 && (why == NULL || m.entry != 77 || m.code != 78))
        return 1;
    return rc;
}

static void failed(void)
{
    static char text[LH_ERROR_TEXT_MAX + 2];
    struct lh_tree_failed m = {LH_TREE_NO_ENTRY, 0xffff, "no \xe2\x80\x93 never", 12};
    struct lh_tree_failed got;
    const char *why = NULL;
    size_t refused = 0;
    size_t len = lh_tree_failed_encode(&m, out);

    ok(lh_tree_failed_decode(out, len, &got, &why) == 0 && got.entry == LH_TREE_NO_ENTRY &&
           got.code == 0xffff && got.text_len == 12 && memcmp(got.text, m.text, 12) == 0,
       "FAILED is read back");
    is_i64(failed_read(len + 5), 0, "FAILED that has grown");
    for (size_t cut = 0; cut < len; cut++)
        refused += failed_read(cut) == -LH_E_PROTOCOL;
    is_u64(refused, len, "FAILED: refused at each shorter length");
    m.code = LH_WIRE_OK;
    is_i64(failed_read(lh_tree_failed_encode(&m, out)), -LH_E_PROTOCOL, "FAILED: no error");
    m = (struct lh_tree_failed){0, LH_WIRE_DEST, NULL, 0};
    is_i64(failed_read(lh_tree_failed_encode(&m, out)), 0, "FAILED: no text");

    memset(text, 'x', sizeof(text));
    memcpy(text + LH_ERROR_TEXT_MAX - 1, "\xc3\xa9", 2);
    m.text = text;
    m.text_len = LH_ERROR_TEXT_MAX + 1;
    len = lh_tree_failed_encode(&m, out);
    ok(lh_tree_failed_decode(out, len, &got, &why) == 0 && got.text_len == LH_ERROR_TEXT_MAX - 1,
       "FAILED: a sentence too long is cut before the character that does not fit");
    m.text_len = LH_ERROR_TEXT_MAX;
    len = lh_tree_failed_encode(&m, out);
    is_i64(failed_read(len), 0, "FAILED: the longest text");
    out[6]++;
    is_i64(failed_read(len + 1), -LH_E_PROTOCOL, "FAILED: a longer one");
}

static int pack_read(size_t len)
{
    const char *why = NULL;
    uint8_t *copy = exactly(len);
    int rc = lh_pack_count(copy + 1, len, &why);

    free(copy);
    return rc < 0 && why == NULL ? 1 : rc;
}

static int pack_pass(struct lh_part part)
{
    size_t len = lh_pack_encode(&part, 1, out);

    return pack_read(len + (part.flags & LH_PART_HOLE ? 0 : part.length));
}

static void packs(void)
{
    const struct lh_part parts[] = {
        {5, 0, 0, 0}, {6, 100, 4096, 0}, {7, 0, 9, LH_PART_VOID}, {6, 28, 4196, 0}};
    size_t len = lh_pack_encode(parts, 4, out);
    size_t refused = 0;

    is_u64(len, LH_PACK_HEAD + 4 * LH_PART_SIZE, "a pack's head is as long as it is");
    is_i64(pack_read(len + 128), 4, "a pack's parts are counted");
    for (size_t i = 0; i < 4; i++) {
        struct lh_part got = lh_pack_get(out, i);

        ok(got.entry == parts[i].entry && got.length == parts[i].length &&
               got.offset == parts[i].offset && got.flags == parts[i].flags,
           "part %zu is read back", i);
    }
    for (size_t cut = 0; cut < len + 128; cut++)
        refused += pack_read(cut) == -LH_E_PROTOCOL;
    is_u64(refused, len + 128, "a pack: refused at each shorter length");
    is_i64(pack_read(len + 129), -LH_E_PROTOCOL, "a pack: a byte more than its parts have");
    out[0] = 3;
    is_i64(pack_read(len + 128), -LH_E_PROTOCOL, "a pack: a row taken for contents");
    out[0] = 0;
    is_i64(pack_read(len + 128), -LH_E_PROTOCOL, "a pack: no parts");
    is_i64(pack_read(LH_PACK_HEAD), -LH_E_PROTOCOL, "a pack: nothing");
    memset(out, 0xff, 4);
    is_i64(pack_read(len + 128), -LH_E_PROTOCOL, "a pack: a huge number of parts");
}

static void parts(void)
{
    static struct lh_part most[LH_PACK_PARTS];
    const uint64_t end = INT64_MAX;
    size_t len;

    is_i64(pack_pass((struct lh_part){LH_TREE_NO_ENTRY - 1, 10, end - 10, 0}), 1,
           "a part at the very end of what a file can be, of the last entry");
    is_i64(pack_pass((struct lh_part){1, 10, end - 9, 0}), -LH_E_PROTOCOL, "one byte behind that");
    is_i64(pack_pass((struct lh_part){1, 10, UINT64_MAX, 0}), -LH_E_PROTOCOL, "an overflow");
    is_i64(pack_pass((struct lh_part){LH_TREE_NO_ENTRY, 10, 0, 0}), -LH_E_PROTOCOL, "of no entry");
    is_i64(pack_pass((struct lh_part){1, 0, 0, 0}), 1, "an empty file");
    is_i64(pack_pass((struct lh_part){1, 0, 1, 0}), -LH_E_PROTOCOL, "an empty part further on");
    is_i64(pack_pass((struct lh_part){1, 0, 7, LH_PART_VOID}), 1, "a void part");
    is_i64(pack_pass((struct lh_part){1, 1, 0, LH_PART_VOID}), -LH_E_PROTOCOL,
           "a void part with contents");
    is_i64(pack_pass((struct lh_part){1, 0, end + 1, LH_PART_VOID}), -LH_E_PROTOCOL,
           "a void part beyond any file");
    is_i64(pack_pass((struct lh_part){1, 1, 0, 4}), -LH_E_PROTOCOL, "an unknown flag");
    is_i64(pack_pass((struct lh_part){1, 4096, 4096, LH_PART_HOLE}), 1, "a hole, without contents");
    is_i64(pack_pass((struct lh_part){1, 0, 4096, LH_PART_HOLE}), -LH_E_PROTOCOL, "an empty hole");
    is_i64(pack_pass((struct lh_part){1, 0, 0, LH_PART_HOLE | LH_PART_VOID}), -LH_E_PROTOCOL,
           "a hole of an entry that is void");
    is_i64(pack_pass((struct lh_part){1, 0, 0, 0x81}), -LH_E_PROTOCOL, "one beside a known one");
    len = lh_pack_encode(most, LH_PACK_PARTS, out);
    is_i64(pack_read(len), LH_PACK_PARTS, "as many parts as there may be");
    memset(out + len, 0, LH_PART_SIZE);
    out[0]++;
    is_i64(pack_read(len + LH_PART_SIZE), -LH_E_PROTOCOL, "one more");
    for (size_t i = 0; i < LH_PACK_PARTS; i++)
        most[i].length = UINT32_MAX;
    len = lh_pack_encode(most, LH_PACK_PARTS, out);
    is_i64(pack_read(len), -LH_E_PROTOCOL, "lengths whose sum has more than 32 bits");
    most[1].length = 0; /* 2^32 - 1 and 0 and, below, 1: 0 in 32 bits */
    most[2].length = 1;
    len = lh_pack_encode(most, 3, out);
    is_i64(pack_read(len), -LH_E_PROTOCOL, "and whose sum in 32 bits is what is there");
}

static int list_read(size_t len)
{
    const uint8_t *path = long_path;
    const char *why = NULL;
    size_t path_len = 77;
    uint32_t tag = 78;
    uint8_t *copy = exactly(len);
    int rc = lh_list_decode(copy + 1, len, &tag, &path, &path_len, &why);

    free(copy);
    if (rc != 0 && (why == NULL || tag != 78 || path_len != 77 || path != long_path))
        return 1;
    return rc;
}

static void list(void)
{
    const uint8_t *path = NULL;
    const char *why = NULL;
    size_t path_len = 0;
    uint32_t tag = 0;
    size_t refused = 0;
    size_t len = lh_list_encode(UINT32_MAX, (const uint8_t *)"a/\xff", 3, out);

    ok(lh_list_decode(out, len, &tag, &path, &path_len, &why) == 0 && tag == UINT32_MAX &&
           path_len == 3 && memcmp(path, "a/\xff", 3) == 0,
       "LIST is read back");
    is_i64(list_read(len + 2), 0, "LIST that has grown");
    for (size_t cut = 0; cut < len; cut++)
        refused += list_read(cut) == -LH_E_PROTOCOL;
    is_u64(refused, len, "LIST: refused at each shorter length");
    is_i64(list_read(lh_list_encode(0, NULL, 0, out)), 0, "LIST of the root");
    is_i64(list_read(lh_list_encode(0, (const uint8_t *)"a\0b", 3, out)), -LH_E_PROTOCOL,
           "LIST: NUL in the path");
    len = lh_list_encode(0, long_path, LH_TREE_PATH_MAX - 1, out);
    is_i64(list_read(len), 0, "LIST: the longest path");
    out[len] = 'p';
    out[4] = 0;
    out[5] = LH_TREE_PATH_MAX >> 8;
    is_i64(list_read(len + 1), -LH_E_PROTOCOL, "LIST: a longer one");
}

static int names_read(size_t len, struct lh_names_reader *r)
{
    const char *why = NULL;
    uint8_t *copy = exactly(len);
    int rc;

    memset(r, 0x77, sizeof(*r));
    rc = lh_names_decode(copy + 1, len, r, &why);
    free(copy);
    if (rc != 0 && (why == NULL || r->tag != 0x77777777))
        return 1;
    return rc;
}

static size_t one_name(uint8_t kind, const char *name, size_t len)
{
    struct lh_names_writer w;

    lh_names_begin(&w, out, 9);
    ok(lh_names_add(&w, kind, (const uint8_t *)name, len), "a name is added");
    return lh_names_end(&w, LH_NAMES_PLAIN);
}

static void name(int want, uint8_t kind, const char *bytes, size_t len, const char *what)
{
    struct lh_names_reader r;

    is_i64(names_read(one_name(kind, bytes, len), &r), want, "NAMES: %s", what);
}

static void names(void)
{
    struct lh_names_writer w;
    struct lh_names_reader r;
    const uint8_t *got = NULL;
    const char *why = NULL;
    uint8_t kind = 0;
    unsigned n = 0;
    unsigned back = 0;
    size_t refused = 0;
    size_t got_len = 0;
    size_t len = one_name(LH_KIND_SOCKET, "\xff\n", 2);

    ok(lh_names_decode(out, len, &r, &why) == 0 && r.tag == 9 && r.n == 1 &&
           r.state == LH_NAMES_PLAIN && lh_names_next(&r, &kind, &got, &got_len) &&
           kind == LH_KIND_SOCKET && got_len == 2 && memcmp(got, "\xff\n", 2) == 0 &&
           !lh_names_next(&r, &kind, &got, &got_len),
       "NAMES is read back");
    is_i64(names_read(len + 4, &r), 0, "NAMES that has grown");
    for (size_t cut = 0; cut < len; cut++)
        refused += names_read(cut, &r) == -LH_E_PROTOCOL;
    is_u64(refused, len, "NAMES: refused at each shorter length");
    memset(out + 4, 0xff, 4);
    is_i64(names_read(len, &r), -LH_E_PROTOCOL, "NAMES: a huge number");
    lh_names_begin(&w, out, 0);
    is_i64(names_read(lh_names_end(&w, LH_NAMES_UNREAD), &r), 0, "NAMES: none");
    is_u64(r.state, LH_NAMES_UNREAD, "and why");
    ok(!lh_names_next(&r, &kind, &got, &got_len), "of which none is read");

    lh_names_begin(&w, out, 1);
    while (lh_names_add(&w, LH_KIND_FILE, long_path, 255))
        n++;
    len = lh_names_end(&w, LH_NAMES_FOLD);
    ok(n == (LH_CONTROL_MAX - LH_NAMES_HEAD) / 258 && len <= LH_CONTROL_MAX,
       "NAMES: a frame is filled");
    ok(lh_names_decode(out, len, &r, &why) == 0 && r.state == LH_NAMES_FOLD, "and read");
    while (lh_names_next(&r, &kind, &got, &got_len))
        back += got_len == 255;
    is_u64(back, n, "all of it");
}

static void bad_names(void)
{
    struct lh_names_reader r;
    size_t len;

    name(-LH_E_PROTOCOL, 0, "a", 1, "no kind");
    name(0, LH_KIND_FILE, "a", 1, "the first kind");
    name(-LH_E_PROTOCOL, LH_KIND_HARDLINK, "a", 1, "no kind of a directory's entry");
    name(-LH_E_PROTOCOL, 255, "a", 1, "unknown kind");
    name(-LH_E_PROTOCOL, LH_KIND_FILE, "a\0b", 3, "NUL");
    name(-LH_E_PROTOCOL, LH_KIND_FILE, "a/b", 3, "a slash");
    name(-LH_E_PROTOCOL, LH_KIND_DIR, ".", 1, "the directory itself");
    name(-LH_E_PROTOCOL, LH_KIND_DIR, "..", 2, "the one above");
    name(0, LH_KIND_DIR, "...", 3, "three dots");
    name(0, LH_KIND_DIR, ".a", 2, "a dot and a letter");
    len = one_name(LH_KIND_FILE, "a", 1);
    out[LH_NAMES_HEAD + 1] = 0;
    is_i64(names_read(len - 1, &r), -LH_E_PROTOCOL, "NAMES: an empty name");
    len = one_name(LH_KIND_FILE, (const char *)long_path, 255);
    out[LH_NAMES_HEAD + 1] = 0;
    out[LH_NAMES_HEAD + 2] = 1;
    out[len] = 'p';
    is_i64(names_read(len + 1, &r), -LH_E_PROTOCOL, "NAMES: a name too long");
    len = one_name(LH_KIND_FILE, "a", 1);
    out[8] = LH_NAMES_UNREAD + 1;
    is_i64(names_read(len, &r), -LH_E_PROTOCOL, "NAMES: an unknown state");
}

int main(void)
{
    memset(long_path, 'p', sizeof(long_path));
    wanted();
    failed();
    packs();
    parts();
    list();
    names();
    bad_names();
    return done_testing();
}
