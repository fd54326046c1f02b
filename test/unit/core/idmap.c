/* core/idmap: many numbers of two kinds, and short of memory. */
#include "core/idmap.h"

#include "longhaul/status.h"
#include "test/lib/fault.h"
#include "test/lib/tap.h"

#define MANY 20000u

static uint32_t id_of(uint32_t i)
{
    return i * 2654435761u; /* all different, all over */
}

static void test_many(void)
{
    struct lh_idmap m;
    uint32_t wrong = 0;

    lh_idmap_init(&m);
    ok(lh_idmap_get(&m, 1, 0) == NULL, "nothing is in an empty one");
    for (uint32_t i = 0; i < MANY; i++)
        if (lh_idmap_put(&m, 1 + i % 2, id_of(i), i) != 0)
            bail("out of memory");
    is_u64(m.n, MANY, "all are in");
    for (uint32_t i = 0; i < MANY; i++) {
        const uint32_t *to = lh_idmap_get(&m, 1 + i % 2, id_of(i));

        wrong += to == NULL || *to != i || lh_idmap_get(&m, 2 - i % 2, id_of(i)) != NULL;
    }
    is_u64(wrong, 0, "each is found, of its kind alone");
    ok(lh_idmap_get(&m, 1, id_of(MANY)) == NULL, "what was not put is not");
    ok(lh_idmap_put(&m, 1, id_of(0), 77) == 0 && m.n == MANY &&
           *lh_idmap_get(&m, 1, id_of(0)) == 77,
       "one gets another number");
    ok(lh_idmap_put(&m, 2, UINT32_MAX, 0) == 0 && *lh_idmap_get(&m, 2, UINT32_MAX) == 0,
       "the last number, and zero");
    lh_idmap_free(&m);
    ok(lh_idmap_get(&m, 2, UINT32_MAX) == NULL, "freed, it is empty");
}

static void test_memory(void)
{
    struct lh_idmap m;
    uint32_t n = 1;

    lh_idmap_init(&m);
    lh_fault_arm(0);
    is_i64(lh_idmap_put(&m, 1, n, n), -LH_E_NOMEM, "no memory for the first");
    lh_fault_disarm();
    ok(lh_idmap_get(&m, 1, n) == NULL && m.n == 0, "it is not in");
    if (lh_idmap_put(&m, 1, n, n) != 0)
        bail("out of memory");
    lh_fault_arm(0);
    while (n < MANY && lh_idmap_put(&m, 1, n + 1, n + 1) == 0)
        n++;
    ok(lh_fault_disarm() && n < MANY && m.n == n, "none to grow, with %u in", n);
    ok(*lh_idmap_get(&m, 1, n) == n && lh_idmap_get(&m, 1, n + 1) == NULL, "as it was");
    ok(lh_idmap_put(&m, 1, n + 1, 5) == 0 && *lh_idmap_get(&m, 1, n + 1) == 5,
       "with memory it goes on");
    lh_idmap_free(&m);
}

int main(void)
{
    test_many();
    test_memory();
    return done_testing();
}
