/* Ranges as text: written and read, merged, bounded; a map of a very big file. */
#include "queue/map.h"
#include "test/lib/tap.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

static void writes(void)
{
    char text[64];
    size_t n = 9;
    struct lh_range mixed[] = {{20, 10}, {0, 10}, {10, 5}, {40, 0}, {22, 3}, {UINT64_MAX - 1, 5}};
    struct lh_range last[] = {{UINT64_MAX - 1, 1}};

    is_u64(lh_map_write(text, sizeof(text), NULL, 0, &n), 0, "nothing is no text");
    is_str(text, "", "and an empty string");
    is_u64(n, 0, "of no ranges");
    lh_map_write(text, sizeof(text), mixed, 6, &n);
    is_str(text, "0-15,20-30", "sorted and merged; empty and impossible ones are left out");
    is_u64(n, 2, "two ranges");
    lh_map_write(text, sizeof(text), last, 1, NULL);
    is_str(text, "18446744073709551614-18446744073709551615", "the last byte there can be");
}

static void bounded(void)
{
    char text[8];
    struct lh_range v[] = {{0, 5}, {10, 7}, {20, 6}};
    struct lh_range same[] = {{0, 5}, {10, 5}, {20, 5}};
    struct lh_range wide[] = {{1000000, 7}};

    lh_map_write(text, 6, v, 3, NULL);
    is_str(text, "10-17", "the largest stays when only one has room");
    lh_map_write(text, 5, same, 3, NULL);
    is_str(text, "0-5", "of equals the first");
    is_u64(lh_map_write(text, sizeof(text), wide, 1, NULL), 0,
           "what has no room at all is left out");
    is_u64(lh_map_write(text, 1, wide, 1, NULL), 0, "a text of no room");
}

static void reads(void)
{
    static const char *const bad[] = {"-",
                                      "1",
                                      "1-",
                                      "-1",
                                      "5-5",
                                      "5-4",
                                      "0-5,",
                                      ",0-5",
                                      "0-5,5-6",
                                      "0-5,3-9",
                                      "5-6,0-1",
                                      "a-b",
                                      "0-5;6-7",
                                      " 0-5",
                                      "00-5",
                                      "0-05",
                                      "0-18446744073709551616",
                                      "+0-5",
                                      "0-5 ",
                                      "0-5,,6-7"};
    struct lh_range out[4];

    is_i64(lh_map_read("", 0, out, 4), 0, "no text is nothing");
    is_i64(lh_map_read("0-15,20-30", 10, out, 4), 2, "two ranges");
    is_u64(out[1].offset, 20, "the second begins");
    is_u64(out[1].length, 10, "and is so long");
    is_u64(lh_map_bytes(out, 2), 25, "together");
    is_i64(lh_map_read("0-1,2-3,4-5,6-7", 15, out, 3), -LH_E_LIMIT, "more than there is room for");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        is_i64(lh_map_read(bad[i], strlen(bad[i]), out, 4), -LH_E_INVAL, "refused: '%s'", bad[i]);
    is_i64(lh_map_read("0-5\0", 4, out, 4), -LH_E_INVAL, "refused: a NUL");
}

/* 10 TB with a hole in every GiB: as bad as it gets with ranges that are granted in order. */
static void a_big_file(void)
{
    static struct lh_range v[10240];
    static struct lh_range back[LH_MAP_RANGES_MAX];
    static char text[LH_MAP_TEXT_MAX + 1];
    uint64_t all = 0;
    size_t n;
    size_t len;
    int got;

    for (size_t i = 0; i < 10240; i++) {
        v[i].offset = i * GIB;
        v[i].length = GIB - 4096 * (1 + i % 7);
        all += v[i].length;
    }
    len = lh_map_write(text, sizeof(text), v, 10240, &n);
    ok(len <= LH_MAP_TEXT_MAX, "a map of 10 TiB with 10240 holes is %zu bytes", len);
    ok(len > LH_MAP_TEXT_MAX - 64, "and uses the room there is");
    got = lh_map_read(text, len, back, LH_MAP_RANGES_MAX);
    is_i64(got, (int64_t)n, "it reads back, %zu ranges", n);
    ok(got > 0 && lh_map_bytes(back, (size_t)got) < all, "it lags");
    for (int i = 0; i < got; i++) {
        uint64_t in_gib = back[i].offset % GIB + back[i].length;

        if (back[i].offset % GIB != 0 || in_gib > GIB - 4096) {
            ok(false, "and never leads: range %d", i);
            return;
        }
    }
    ok(true, "and never leads");
    ok(10240 * GIB == 10 * TIB, "10 TiB");
}

int main(void)
{
    writes();
    bounded();
    reads();
    a_big_file();
    return done_testing();
}
