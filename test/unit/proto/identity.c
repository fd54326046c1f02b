/* Which differences make another version, and which another file. */
#include "proto/identity.h"
#include "test/lib/tap.h"

static const struct lh_identity base = {1, 2, 3, {4, 5}, {6, 7}};

/* Each field changed in turn: what do the two questions say? */
static void comparisons(void)
{
    struct lh_identity other[7] = {base, base, base, base, base, base, base};
    static const char *const what[] = {"dev",        "ino",       "size",      "mtime.sec",
                                       "mtime.nsec", "ctime.sec", "ctime.nsec"};
    static const bool version[] = {true, true, false, false, false, true, true};

    other[0].dev++;
    other[1].ino++;
    other[2].size++;
    other[3].mtime.sec--;
    other[4].mtime.nsec++;
    other[5].ctime.sec--;
    other[6].ctime.nsec++;
    ok(lh_identity_same(&base, &base) && lh_identity_same_version(&base, &base), "itself");
    for (unsigned i = 0; i < 7; i++) {
        ok(!lh_identity_same(&base, &other[i]), "another %s: not the same file", what[i]);
        ok(lh_identity_same_version(&base, &other[i]) == version[i], "another %s: %s version",
           what[i], version[i] ? "same" : "not the same");
    }
}

static bool reads_back(const struct lh_identity *id)
{
    uint8_t bytes[LH_IDENTITY_SIZE];
    struct lh_identity got;
    struct lh_writer w;
    struct lh_reader r;

    lh_writer_init(&w, bytes, sizeof(bytes));
    lh_put_identity(&w, id);
    if (w.failed || w.at != w.end)
        return false;
    lh_reader_init(&r, bytes, sizeof(bytes));
    lh_get_identity(&r, &got);
    return !r.failed && lh_reader_left(&r) == 0 && lh_identity_same(id, &got);
}

static void limits(void)
{
    struct lh_identity id = base;

    ok(reads_back(&id), "an identity is read back");
    id.mtime.nsec = 999999999;
    id.mtime.sec = INT64_MIN;
    id.ctime.sec = -1;
    id.size = INT64_MAX;
    ok(reads_back(&id), "at its limits too");
    id.mtime.nsec = 1000000000;
    ok(!reads_back(&id), "a second of too many nanoseconds is refused: mtime");
    id = base;
    id.ctime.nsec = UINT32_MAX;
    ok(!reads_back(&id), "a second of too many nanoseconds is refused: ctime");
    id = base;
    id.size = (uint64_t)INT64_MAX + 1;
    ok(!reads_back(&id), "a size beyond off_t is refused");
}

int main(void)
{
    comparisons();
    limits();
    return done_testing();
}
