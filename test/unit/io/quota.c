/* One bound over many accounts. */
#include "io/disk/quota.h"
#include "test/lib/rng.h"
#include "test/lib/tap.h"

#define N 8
#define STEP LH_QUOTA_STEP

static void test_quota(void)
{
    struct lh_quota q;

    lh_quota_init(&q, 100);
    ok(lh_quota_take(&q, 60) && !lh_quota_take(&q, 41) && lh_quota_take(&q, 40),
       "as many as there are");
    ok(!lh_quota_take(&q, 1) && !lh_quota_take(&q, (size_t)-1), "and no more");
    lh_quota_give(&q, 100);
    ok(lh_quota_take(&q, 100), "given back, they are there");
}

static void test_own(void)
{
    struct lh_quota q;
    struct lh_account a, b, free_;

    lh_quota_init(&q, STEP);
    lh_account_init(&a, &q, 1000);
    lh_account_init(&b, &q, 1000);
    lh_account_init(&free_, NULL, 0);
    ok(lh_account_room(&a, 1000), "its own");
    lh_account_add(&a, 1000);
    is_u64(q.used, 0, "cost nobody anything");
    ok(lh_account_room(&a, 1), "one more");
    lh_account_add(&a, 1);
    is_u64(q.used, STEP, "is a step");
    ok(lh_account_room(&b, 1000) && !lh_account_room(&b, 1001), "then others have their own alone");
    lh_account_sub(&a, 1001);
    is_u64(q.used, STEP, "a step that may be needed soon is kept");
    lh_account_end(&a);
    is_u64(q.used, 0, "until the end");
    ok(lh_account_room(&b, 1001), "then there is room for others");
    lh_account_end(&b);
    ok(lh_account_room(&free_, 1u << 30), "where there is no bound there is always room");
    lh_account_add(&free_, 1u << 30);
    lh_account_sub(&free_, 1u << 30);
    lh_account_end(&free_);
}

/* Whatever they do: never more than the bound, each has what it is granted, all comes back. */
static void test_random(void)
{
    struct lh_rng rng = {7410};
    struct lh_account a[N];
    struct lh_quota q;
    uint64_t wrong = 0;

    lh_quota_init(&q, 20 * STEP + 77);
    for (unsigned i = 0; i < N; i++)
        lh_account_init(&a[i], &q, STEP / 2);
    for (unsigned i = 0; i < 100000; i++) {
        struct lh_account *one = &a[lh_rng_below(&rng, N)];
        size_t bytes = lh_rng_below(&rng, 50000);
        size_t granted = 0;

        if (lh_rng_below(&rng, 2) == 0 && lh_account_room(one, bytes))
            lh_account_add(one, bytes);
        else
            lh_account_sub(one, one->bytes < bytes ? one->bytes : bytes);
        for (unsigned k = 0; k < N; k++) {
            granted += a[k].granted - a[k].own;
            wrong += a[k].bytes > a[k].granted;
        }
        wrong += granted != q.used || q.used > q.max;
    }
    is_u64(wrong, 0, "never more than the bound, and to each what it has");
    for (unsigned i = 0; i < N; i++)
        lh_account_end(&a[i]);
    is_u64(q.used, 0, "all comes back");
}

int main(void)
{
    test_quota();
    test_own();
    test_random();
    return done_testing();
}
