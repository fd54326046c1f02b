/* OWNERS: what is read back, every limit and every refusal. (Bytes: golden.c.) */
#include "proto/owners.h"
#include "proto/frame.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <stdlib.h>
#include <string.h>

static uint8_t out[LH_CONTROL_MAX + 64];

/* Of a copy that ends where the payload does, so that a sanitizer sees any read behind it. */
static int decode(size_t len)
{
    struct lh_owners_reader r = {.n = 77};
    const char *why = NULL;
    uint8_t *copy = malloc(len + 1);
    int rc;

    if (copy == NULL)
        bail("out of memory");
    memcpy(copy + 1, out, len);
    rc = lh_owners_decode(copy + 1, len, &r, &why);
    free(copy);
    if (rc != 0 && (why == NULL || r.n != 77))
        return 1; /* a refusal must say why and write nothing */
    return rc;
}

static bool add(struct lh_owners_writer *w, uint8_t kind, uint32_t id, const char *name, size_t len)
{
    return lh_owners_add(w, &(struct lh_owner){kind, id, (const uint8_t *)name, len});
}

static void test_read_back(void)
{
    static char longest[LH_OWNER_NAME_MAX];
    struct lh_owners_writer w;
    struct lh_owners_reader r;
    struct lh_owner o;
    const char *why = NULL;
    size_t refused = 0;
    size_t len;

    memset(longest, 'x', sizeof(longest));
    lh_owners_begin(&w, out);
    ok(add(&w, LH_OWNER_USER, 1000, "alice", 5) &&
           add(&w, LH_OWNER_GROUP, UINT32_MAX, longest, sizeof(longest)) &&
           add(&w, LH_OWNER_GROUP, 0, "\xff", 1),
       "three names");
    len = lh_owners_end(&w);
    if (!ok(lh_owners_decode(out, len, &r, &why) == 0 && r.n == 3, "are decoded"))
        return;
    ok(lh_owners_next(&r, &o) && o.kind == LH_OWNER_USER && o.id == 1000 && o.name_len == 5 &&
           memcmp(o.name, "alice", 5) == 0,
       "the first");
    ok(lh_owners_next(&r, &o) && o.kind == LH_OWNER_GROUP && o.id == UINT32_MAX &&
           o.name_len == LH_OWNER_NAME_MAX,
       "the longest that there may be");
    ok(lh_owners_next(&r, &o) && o.id == 0 && o.name[0] == 0xff, "the last");
    ok(!lh_owners_next(&r, &o), "and no more");
    for (size_t cut = 0; cut < len; cut++)
        refused += decode(cut) == -LH_E_PROTOCOL;
    is_u64(refused, len, "refused at each shorter length");
    is_i64(decode(len + 3), 0, "one that has grown");
    lh_owners_begin(&w, out);
    is_i64(decode(lh_owners_end(&w)), 0, "none at all");
}

static void test_refused(void)
{
    static const char *const names[] = {"", "a:b", "a\nb"};
    struct lh_owners_writer w;
    size_t len;

    for (uint8_t kind = 0; kind < 5; kind++) {
        lh_owners_begin(&w, out);
        add(&w, kind, 1, "x", 1);
        len = lh_owners_end(&w);
        is_i64(decode(len), kind == LH_OWNER_USER || kind == LH_OWNER_GROUP ? 0 : -LH_E_PROTOCOL,
               "kind %u", kind);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        ok(!lh_owner_name_allowed((const uint8_t *)names[i], strlen(names[i])), "no name");
    ok(!lh_owner_name_allowed((const uint8_t *)"a\0b", 3), "nor one with a NUL");
    lh_owners_begin(&w, out);
    add(&w, LH_OWNER_USER, 1, "xyz", 3);
    len = lh_owners_end(&w);
    out[len - 2] = 0;
    is_i64(decode(len), -LH_E_PROTOCOL, "a NUL in a name");
    out[len - 2] = ':';
    is_i64(decode(len), -LH_E_PROTOCOL, "a colon");
    out[len - 2] = 'y';
    memset(out, 0xff, 4);
    is_i64(decode(len), -LH_E_PROTOCOL, "a huge number");
}

static void test_full(void)
{
    static char name[LH_OWNER_NAME_MAX];
    struct lh_owners_writer w;
    uint32_t n = 0;

    memset(name, 'n', sizeof(name));
    lh_owners_begin(&w, out);
    while (add(&w, LH_OWNER_USER, n, name, sizeof(name)))
        n++;
    is_u64(n, (LH_CONTROL_MAX - 4) / (7 + LH_OWNER_NAME_MAX), "as many as a frame may have");
    ok(w.n == n && w.used <= LH_CONTROL_MAX, "and no more");
    is_i64(decode(lh_owners_end(&w)), 0, "are decoded");
}

int main(void)
{
    test_read_back();
    test_refused();
    test_full();
    return done_testing();
}
