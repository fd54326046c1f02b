#include "util/buf.h"

#include "test/lib/fault.h"
#include "test/lib/tap.h"
#include "util/err.h"

#include <string.h>

static void test_limit(void)
{
    struct lh_buf b;
    char data[1000];

    memset(data, 'x', sizeof(data));
    lh_buf_init(&b, 1000);
    is_i64(lh_buf_append(&b, data, 600), 0, "600 of 1000");
    is_i64(lh_buf_append(&b, data, 401), -LH_E_LIMIT, "401 more is too much");
    is_u64(lh_buf_len(&b), 600, "nothing was added");
    is_i64(lh_buf_append(&b, data, 400), 0, "400 more is not");
    ok(lh_buf_reserve(&b, 1) == NULL, "full");
    lh_buf_consume(&b, 1);
    ok(lh_buf_reserve(&b, 1) != NULL, "until some is consumed");
    ok(lh_buf_reserve(&b, SIZE_MAX) == NULL, "never so much");
    is_i64(lh_buf_append(&b, NULL, 0), 0, "nothing is fine");
    lh_buf_free(&b);
    is_i64(lh_buf_append(&b, data, 1000), 0, "as good as new after free");
    lh_buf_free(&b);
}

/* A queue that wraps its bytes around many times keeps their order. */
static void test_order(void)
{
    struct lh_buf b;
    uint8_t in = 0;
    uint8_t out = 0;
    size_t wrong = 0;

    lh_buf_init(&b, 700);
    for (int round = 0; round < 2000; round++) {
        size_t n = (size_t)(round * 7 % 97);
        size_t take;
        uint8_t *at = lh_buf_reserve(&b, n);

        if (at != NULL) {
            for (size_t i = 0; i < n; i++)
                at[i] = in++;
            lh_buf_added(&b, n);
        }
        take = (size_t)(round * 5 % 89);
        if (take > lh_buf_len(&b))
            take = lh_buf_len(&b);
        for (size_t i = 0; i < take; i++)
            wrong += lh_buf_data(&b)[i] != out++;
        lh_buf_consume(&b, take);
    }
    is_u64(wrong, 0, "in order through 2000 rounds");
    ok(b.cap <= 1024, "and it did not grow without need");
    lh_buf_free(&b);
}

static void test_no_memory(void)
{
    struct lh_buf b;
    char data[300] = "kept";

    lh_buf_init(&b, 100000);
    lh_fault_arm(0);
    is_i64(lh_buf_append(&b, data, 5), -LH_E_NOMEM, "no memory at first");
    lh_fault_disarm();
    lh_buf_append(&b, data, 5);
    lh_fault_arm(0);
    is_i64(lh_buf_append(&b, data, 300), -LH_E_NOMEM, "no memory to grow");
    ok(lh_fault_disarm() && lh_buf_len(&b) == 5, "nothing was added");
    is_str((const char *)lh_buf_data(&b), "kept", "and nothing was lost");
    lh_buf_free(&b);
}

static void test_zeros(void)
{
    uint8_t data[70] = {0};
    size_t wrong = 0;

    ok(lh_buf_is_zeros(data, 1) && lh_buf_is_zeros(data, sizeof(data)), "zeros");
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = 1;
        wrong += lh_buf_is_zeros(data, sizeof(data)) || lh_buf_is_zeros(data, i + 1);
        data[i] = 0;
    }
    is_u64(wrong, 0, "one byte that is none, at each place");
}

int main(void)
{
    test_zeros();
    test_limit();
    test_order();
    test_no_memory();
    return done_testing();
}
