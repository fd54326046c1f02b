/* Records that spill to a file, and keys that are sorted there. */
#include "io/disk/spill.h"
#include "io/disk/known.h"
#include "io/disk/sorter.h"

#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t record[LH_SPILL_RECORD_MAX];

/* Record i: a length and contents that follow from i. */
static size_t make(uint32_t i)
{
    size_t len = i % 1000 == 0 ? LH_SPILL_RECORD_MAX : (size_t)(i * 7919u) % 300;

    for (size_t k = 0; k < len; k++)
        record[k] = (uint8_t)(i + k * 31);
    return len;
}

static bool is_record(uint32_t i, const void *have, size_t len)
{
    return len == make(i) && (len == 0 || memcmp(have, record, len) == 0);
}

static void append(struct lh_spill *s, uint32_t i, uint64_t *at)
{
    size_t len = make(i);

    if (lh_spill_append(s, record, len, at, NULL) != 0)
        bail("cannot append");
}

static void test_stack(void)
{
    struct lh_spill s;
    const void *got;
    size_t len;
    uint32_t n = 0;
    unsigned seed = 7;
    bool same = true;

    lh_spill_init(&s);
    ok(lh_spill_empty(&s), "a new spill is empty");
    for (int round = 0; round < 60; round++) {
        uint32_t up = (uint32_t)rand_r(&seed) % 3000;
        uint32_t down = (uint32_t)rand_r(&seed) % 2500;

        for (; up > 0; up--)
            append(&s, n++, NULL);
        for (; down > 0 && n > 0; down--) {
            if (lh_spill_pop(&s, &got, &len, NULL) != 0)
                bail("cannot pop");
            same = same && is_record(--n, got, len);
        }
    }
    ok(s.fd >= 0, "it has grown into a file");
    while (n > 0 && lh_spill_pop(&s, &got, &len, NULL) == 0)
        same = same && is_record(--n, got, len);
    ok(same, "what is popped is what was appended last, all the way");
    ok(lh_spill_empty(&s), "and then it is empty");
    lh_spill_free(&s);
}

static void test_small(void)
{
    struct lh_spill s;
    const void *got;
    size_t len;

    lh_spill_init(&s);
    for (uint32_t i = 1; i < 500; i++)
        append(&s, i, NULL);
    ok(s.fd < 0, "few records make no file");
    ok(lh_spill_pop(&s, &got, &len, NULL) == 0 && is_record(499, got, len),
       "the last one is first");
    lh_spill_free(&s);
}

static void test_places(void)
{
    enum { N = 20000 };
    static uint64_t at[N];
    static uint8_t out[LH_SPILL_RECORD_MAX];
    struct lh_spill s;
    struct lh_spill_reader r;
    const void *got;
    size_t len;
    bool same = true;
    uint32_t n = 0;

    lh_spill_init(&s);
    lh_spill_reader_init(&r, &s);
    is_i64(lh_spill_read(&r, &got, &len, NULL), 0, "an empty spill has nothing to read");
    for (uint32_t i = 0; i < N; i++)
        append(&s, i, &at[i]);
    for (uint32_t i = 0; i < N; i += 37)
        same = same && lh_spill_get(&s, at[i], out, &len, NULL) == 0 && is_record(i, out, len);
    ok(same, "each record is at its place");
    for (int round = 0; round < 2; round++) {
        lh_spill_reader_init(&r, &s);
        for (n = N, same = true; lh_spill_read(&r, &got, &len, NULL) == 1; n--)
            same = same && n > 0 && is_record(n - 1, got, len);
        ok(same && n == 0, "a reader sees all of them from the last to the first, round %d", round);
        lh_spill_reader_free(&r);
    }
    lh_spill_free(&s);
}

static void test_no_place(void)
{
    struct lh_err err = {0};
    struct lh_spill s;
    int r = 0;

    setenv("TMPDIR", "/proc/nowhere", 1);
    lh_spill_init(&s);
    for (uint32_t i = 0; i < 10000 && r == 0; i++) {
        size_t len = make(i);

        r = lh_spill_append(&s, record, len, NULL, &err);
    }
    is_i64(r, -LH_E_INTERNAL, "where no file can be made it says so");
    ok(strstr(err.text, "/proc/nowhere") != NULL, "with the directory: %s", err.text);
    lh_spill_free(&s);
    unsetenv("TMPDIR");
}

static void test_full(void)
{
    struct lh_err err = {0};
    struct lh_spill s;
    int r = 0;

    lh_spill_init(&s);
    s.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    for (uint32_t i = 0; i < 10000 && r == 0; i++) {
        size_t len = make(i);

        r = lh_spill_append(&s, record, len, NULL, &err);
    }
    is_i64(r, -LH_E_INTERNAL, "a disk that is full is an error");
    is_i64(err.sys_errno, ENOSPC, "of the disk: %s", err.text);
    lh_spill_free(&s);
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

/* n keys in a made-up order come out sorted, none lost, twice. */
static void test_sorter(uint64_t n, bool file)
{
    struct lh_sorter s;
    struct lh_sort_key key;
    struct lh_sort_key last = {0};

    lh_sorter_init(&s);
    for (uint64_t i = 0; i < n; i++) {
        key = (struct lh_sort_key){.dev = mix(i) % 3, .ino = mix(i + n) % (n / 2 + 1), .at = i};
        if (lh_sorter_add(&s, &key, NULL) != 0)
            bail("cannot add");
    }
    is_i64(lh_sorter_finish(&s, NULL), 0, "%zu keys are sorted", (size_t)n);
    ok((s.fd >= 0) == file, "  %s", file ? "in a file" : "in memory");
    for (int round = 0; round < 2; round++) {
        uint64_t count = 0;
        uint64_t sum = 0;
        bool sorted = true;

        for (; lh_sorter_next(&s, &key, NULL) == 1; count++) {
            if (count > 0)
                sorted =
                    sorted && (last.dev < key.dev ||
                               (last.dev == key.dev &&
                                (last.ino < key.ino || (last.ino == key.ino && last.at < key.at))));
            sorted = sorted && key.dev == mix(key.at) % 3;
            sum += key.at;
            last = key;
        }
        ok(sorted, "  they come in order");
        is_u64(count, n, "  all of them");
        is_u64(sum, n == 0 ? 0 : n * (n - 1) / 2, "  each once");
        is_i64(lh_sorter_next(&s, &key, NULL), 0, "  and then none");
        lh_sorter_rewind(&s);
    }
    lh_sorter_free(&s);
}

/* As long as there are few, and when the table has grown several times. */
static void test_known(uint32_t n)
{
    struct lh_known s;
    char name[32];
    uint32_t wrong = 0;

    lh_known_init(&s);
    for (uint32_t i = 0; i < n; i++) {
        size_t len = (size_t)snprintf(name, sizeof(name), "dir/%u", i);

        wrong += lh_known(&s, name, len, NULL) != 0;
        wrong += lh_known(&s, name, len, NULL) != 1;
        len = (size_t)snprintf(name, sizeof(name), "dir/%u", i / 2);
        wrong += lh_known(&s, name, len, NULL) != 1;
    }
    is_u64(wrong, 0, "each of %u names is new once", n);
    is_u64(s.n, n, "and is there once");
    is_i64(lh_known(&s, "", 0, NULL), 0, "the empty one is another");
    is_i64(lh_known(&s, "", 0, NULL), 1, "once");
    lh_known_free(&s);
}

int main(void)
{
    test_known(10);
    test_known(50000);
    test_small();
    test_stack();
    test_places();
    test_no_place();
    test_full();
    test_sorter(0, false);
    test_sorter(1, false);
    test_sorter(5000, false);
    test_sorter(128 * 1024, false);
    test_sorter(128 * 1024 + 1, true);
    test_sorter(3 * 128 * 1024, true);
    return done_testing();
}
