/* queue/record: when a record is due. */
#include "queue/record.h"

#include "test/lib/tap.h"

#define MIB (1024ull * 1024)

static void due(const struct lh_record *r, uint64_t now_ms, uint64_t bytes, bool want,
                const char *what)
{
    ok(lh_record_due(r, now_ms, bytes) == want, "%s: %s", what, want ? "due" : "not due");
}

/* Records that a transfer at one rate makes within a time, asked for once a second. */
static unsigned count(uint64_t rate_Bps, unsigned seconds)
{
    struct lh_record r = {0};
    unsigned n = 0;

    lh_record_begin(&r, 1000, 0);
    for (unsigned s = 1; s <= seconds; s++) {
        if (!lh_record_due(&r, 1000 + 1000ull * s, rate_Bps * s))
            continue;
        lh_record_made(&r, 1000 + 1000ull * s, rate_Bps * s);
        n++;
    }
    return n;
}

int main(void)
{
    struct lh_record r = {0};

    lh_record_begin(&r, 100000, 10 * MIB);
    due(&r, 100000, 10 * MIB, false, "at the start");
    due(&r, 104999, 900 * MIB, false, "much, but before 5 s");
    due(&r, 105000, 10 * MIB, true, "the first, after 5 s");
    due(&r, 100001, 9 * MIB, true, "less than was recorded");
    lh_record_made(&r, 105000, 20 * MIB);
    due(&r, 109999, 900 * MIB, false, "the second, much, before 5 s");
    due(&r, 110000, 20 * MIB + 256 * MIB - 1, false, "5 s, but less than 256 MiB");
    due(&r, 110000, 20 * MIB + 256 * MIB, true, "5 s and 256 MiB");
    due(&r, 164999, 21 * MIB, false, "a little, not quite 60 s");
    due(&r, 165000, 21 * MIB, true, "a little after 60 s");
    due(&r, 900000, 20 * MIB, false, "nothing new, however long");

    is_u64(count(0, 600), 1, "one that stands still makes one record");
    is_u64(count(MIB, 600), 10, "a slow one one a minute, and the first");
    is_u64(count(128 * MIB, 600), 120, "at 128 MiB/s one each 5 s");
    is_u64(count(32 * MIB, 800), 100, "at 32 MiB/s one each 256 MiB");
    return done_testing();
}
