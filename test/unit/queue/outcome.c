/* queue/outcome: every status, the limit, the backoff. */
#include "queue/outcome.h"

#include "test/lib/tap.h"

static void test_worth(void)
{
    /* What another attempt cannot mend; everything else is tried again. */
    static const int hopeless[] = {LH_E_INVAL,         LH_E_ADDRESS,     LH_E_LISTEN,
                                   LH_E_SOURCE,        LH_E_SOURCE_KIND, LH_E_SOURCE_DIR,
                                   LH_E_DEST_READONLY, LH_E_DEST_KIND,   LH_E_PATH,
                                   LH_E_EXISTS,        LH_E_REFUSED,     LH_E_VERSION};

    for (int status = 1; status < LH_E_MAX; status++) {
        bool worth = true;

        for (size_t i = 0; i < sizeof(hopeless) / sizeof(hopeless[0]); i++)
            worth = worth && status != hopeless[i];
        ok(lh_outcome_worth(status) == worth && lh_outcome_worth(-status) == worth, "%s: %s",
           lh_status_name(status), worth ? "tried again" : "a dead letter");
        is_u64(lh_outcome_of(-status, 1, LH_TASK_FOREVER),
               worth ? LH_OUTCOME_RETRY : LH_OUTCOME_DEAD, "%s: so is the outcome",
               lh_status_name(status));
    }
}

static void test_limit(void)
{
    is_u64(lh_outcome_of(-LH_E_NETWORK, 3, 3), LH_OUTCOME_RETRY, "the third failure of three");
    is_u64(lh_outcome_of(-LH_E_NETWORK, 4, 3), LH_OUTCOME_DEAD, "one more than is allowed");
    is_u64(lh_outcome_of(-LH_E_NETWORK, 1, 0), LH_OUTCOME_DEAD, "none is allowed");
    is_u64(lh_outcome_of(-LH_E_NETWORK, UINT64_MAX, LH_TASK_FOREVER), LH_OUTCOME_RETRY, "for ever");
}

static void test_backoff(void)
{
    static const struct {
        uint64_t failures;
        uint64_t most_ms;
    } rows[] = {{0, 1000},   {1, 1000},    {2, 2000},    {3, 4000},
                {9, 256000}, {10, 300000}, {64, 300000}, {UINT64_MAX, 300000}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        is_u64(lh_outcome_backoff_ms(rows[i].failures, 0), rows[i].most_ms / 2,
               "after %ju failures at least", (uintmax_t)rows[i].failures);
        is_u64(lh_outcome_backoff_ms(rows[i].failures, UINT32_MAX), rows[i].most_ms, "at most");
    }
}

int main(void)
{
    test_worth();
    test_limit();
    test_backoff();
    return done_testing();
}
