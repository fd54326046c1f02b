/* What is there stays or is replaced: every policy against every difference. */
#include "core/keep.h"
#include "proto/transfer.h"
#include "test/lib/tap.h"

#include <stddef.h>

static const struct lh_keep_file offered = {1000, {1700000000, 123456789}};

static enum lh_keep decide(uint16_t flags, uint64_t size, int64_t sec, uint32_t nsec)
{
    struct lh_keep_file there = {size, {sec, nsec}};

    return lh_keep_decide(flags, &there, &offered);
}

static const struct {
    const char *what;
    struct lh_keep_file there;
    enum lh_keep none, same, newer, any, contents;
} cases[] = {
    {"the same",
     {1000, {1700000000, 123456789}},
     LH_KEEP_REPLACE,
     LH_KEEP_SAME,
     LH_KEEP_IT,
     LH_KEEP_IT,
     LH_KEEP_COMPARE},
    {"another size",
     {1001, {1700000000, 123456789}},
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_IT,
     LH_KEEP_IT,
     LH_KEEP_REPLACE},
    {"a nanosecond later",
     {1000, {1700000000, 123456790}},
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_IT,
     LH_KEEP_IT,
     LH_KEEP_COMPARE},
    {"a nanosecond earlier",
     {1000, {1700000000, 123456788}},
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_IT,
     LH_KEEP_COMPARE},
    {"a second later",
     {1000, {1700000001, 0}},
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_IT,
     LH_KEEP_IT,
     LH_KEEP_COMPARE},
    {"a second earlier, with more nanoseconds",
     {1000, {1699999999, 999999999}},
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_IT,
     LH_KEEP_COMPARE},
    {"the second alone",
     {1000, {1700000000, 0}},
     LH_KEEP_REPLACE,
     LH_KEEP_SAME,
     LH_KEEP_IT,
     LH_KEEP_IT,
     LH_KEEP_COMPARE},
    {"no file",
     {UINT64_MAX, {1600000000, 0}},
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_REPLACE,
     LH_KEEP_IT,
     LH_KEEP_REPLACE},
};

static void policies(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct lh_keep_file *there = &cases[i].there;
        const char *what = cases[i].what;

        is_i64(lh_keep_decide(0, there, &offered), cases[i].none, "%s: always replaced", what);
        is_i64(lh_keep_decide(LH_OFFER_NO_CLOBBER, there, &offered), cases[i].none,
               "%s: to refuse is not decided here", what);
        is_i64(lh_keep_decide(LH_OFFER_KEEP_SAME, there, &offered), cases[i].same, "%s: KEEP_SAME",
               what);
        is_i64(lh_keep_decide(LH_OFFER_KEEP_NEWER, there, &offered), cases[i].newer,
               "%s: KEEP_NEWER", what);
        is_i64(lh_keep_decide(LH_OFFER_KEEP_ANY, there, &offered), cases[i].any, "%s: KEEP_ANY",
               what);
        is_i64(lh_keep_decide(LH_OFFER_KEEP_SAME | LH_OFFER_CHECKSUM, there, &offered),
               cases[i].contents, "%s: by contents", what);
    }
}

/* File systems keep whole seconds, or 100 ns, or whatever lies between. */
static void coarse_times(void)
{
    static const uint32_t kept_ns[] = {0, 123000000, 123456000, 123456700, 123456789};
    static const uint32_t other_ns[] = {1, 100000000, 120000000, 123450000, 123456780, 123456800};

    for (size_t i = 0; i < sizeof(kept_ns) / sizeof(kept_ns[0]); i++)
        is_i64(decide(LH_OFFER_KEEP_SAME, 1000, 1700000000, kept_ns[i]), LH_KEEP_SAME,
               "%u ns there are the time that was asked for", kept_ns[i]);
    for (size_t i = 0; i < sizeof(other_ns) / sizeof(other_ns[0]); i++)
        is_i64(decide(LH_OFFER_KEEP_SAME, 1000, 1700000000, other_ns[i]), LH_KEEP_REPLACE,
               "%u ns there are not", other_ns[i]);
    is_i64(decide(LH_OFFER_KEEP_NEWER, 1, 1700000000, 123456000), LH_KEEP_IT,
           "what was rounded down is not older");
    is_i64(decide(LH_OFFER_KEEP_SAME, 1000, 1700000001, 0), LH_KEEP_REPLACE,
           "rounded up to the next second is another time");
}

int main(void)
{
    policies();
    coarse_times();
    return done_testing();
}
