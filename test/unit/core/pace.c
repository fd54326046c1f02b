/* core/pace: bounds and shapes of the numbers, over many random values. */
#include "core/pace.h"

#include "test/lib/rng.h"
#include "test/lib/tap.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define TRIES 20000

struct spread {
    uint64_t min;
    uint64_t max;
};

static struct spread widen(struct spread s, uint64_t v)
{
    if (v < s.min)
        s.min = v;
    if (v > s.max)
        s.max = v;
    return s;
}

static void test_jitter(void)
{
    struct lh_rng rng = {1};
    struct spread s = {UINT64_MAX, 0};

    for (int i = 0; i < TRIES; i++)
        s = widen(s, lh_pace_jitter(1000000, (uint32_t)lh_rng_next(&rng)));
    ok(s.min >= 900000 && s.max <= 1100000, "jitter stays within 10 %%");
    ok(s.min < 901000 && s.max > 1099000, "and makes use of it");
    is_u64(lh_pace_jitter(0, UINT32_MAX), 0, "nothing jitters to nothing");
    is_u64(lh_pace_jitter(1000, 0), 900, "its lowest");
    ok(lh_pace_jitter(UINT64_MAX / 2, UINT32_MAX) > UINT64_MAX / 2, "large values do not overflow");
}

static void test_apart(void)
{
    uint64_t least = UINT64_MAX, first = UINT64_MAX, last = 0;

    for (unsigned i = 0; i < 16; i++) {
        uint64_t at = lh_pace_apart(i);

        first = at < first ? at : first;
        last = at > last ? at : last;
        for (unsigned j = 0; j < i; j++) {
            uint64_t other = lh_pace_apart(j);
            uint64_t gap = at > other ? at - other : other - at;

            least = gap < least ? gap : least;
        }
    }
    ok(first >= 2500 && last < 9750, "after the start-up, before the first 10 s: %llu to %llu ms",
       (unsigned long long)first, (unsigned long long)last);
    ok(least >= 200, "16 streams, no two closer than %llu ms", (unsigned long long)least);
}

static void test_sndbuf(void)
{
    const uint32_t middle = 1u << 31;

    is_u64(lh_pace_sndbuf(0, 0, 8, 64 * MIB, 4 * MIB, middle), 0,
           "path not known: left to autotuning");
    is_u64(lh_pace_sndbuf(0, 64 * MIB, 8, 212992, 4 * MIB, middle), 0,
           "a stock host could only shrink it: left alone");
    is_u64(lh_pace_sndbuf(8 * MIB, 0, 8, 212992, 4 * MIB, middle), 0,
           "the user's figure too, where the kernel would clamp it");
    ok(lh_pace_sndbuf(0, 64 * MIB, 8, 64 * MIB, 4 * MIB, 0) >= 7 * MIB &&
           lh_pace_sndbuf(0, 64 * MIB, 8, 64 * MIB, 4 * MIB, UINT32_MAX) <= 9 * MIB,
       "a share of the path for each stream, jittered");
    is_u64(lh_pace_sndbuf(0, 64 * MIB, 64, 64 * MIB, 4 * MIB, middle), 0,
           "a share that autotuning reaches by itself: left alone");
    ok(lh_pace_sndbuf(16 * MIB, 64 * MIB, 8, 64 * MIB, 4 * MIB, 0) >= 14 * MIB,
       "the user's figure comes first");
    is_u64(lh_pace_sndbuf(512 * MIB, 0, 1, 64 * MIB, 4 * MIB, middle), 64 * MIB,
           "no more than the kernel gives");
    ok(lh_pace_sndbuf(0, 64 * MIB, 0, 64 * MIB, 4 * MIB, middle) > 0, "no stream yet: as for one");
    ok(lh_pace_sndbuf(UINT64_MAX, 0, 1, UINT64_MAX, 4 * MIB, UINT32_MAX) < 0x7fffffff,
       "it fits the option's int");
}

static void test_lowat(void)
{
    const uint64_t rates[] = {0, 1000, 1000000, 100000000, 400000000, 100000000000, UINT64_MAX};
    struct lh_rng rng = {2};
    bool within = true;
    struct spread unknown = {UINT64_MAX, 0};
    struct spread s = {UINT64_MAX, 0};

    for (int i = 0; i < TRIES; i++) {
        for (unsigned k = 0; k < sizeof(rates) / sizeof(rates[0]); k++) {
            uint32_t v = lh_pace_lowat(rates[k], (uint32_t)lh_rng_next(&rng));

            within = within && v >= 128 * KIB && v <= 4 * MIB;
            if (k == 0)
                unknown = widen(unknown, v);
            if (k == 3)
                s = widen(s, v);
        }
    }
    ok(within, "never below 128 KiB nor above 4 MiB");
    ok(unknown.max < 161 * KIB && unknown.max > unknown.min + 10 * KIB,
       "rate not known: the low end, and jittered even so");
    ok(s.min >= 720000 && s.max <= 880000, "8 ms of 100 MB/s is 800 kB, within 10 %%");
    ok(s.min < 730000 && s.max > 870000, "jittered");
}

static void test_queues(void)
{
    is_u64(lh_pace_low(0), 2 * MIB, "rate not known: 2 MiB are kept granted");
    is_u64(lh_pace_low(1000000000), 100000000, "100 ms of 1 GB/s");
    is_u64(lh_pace_low(15000000), 2 * MIB, "2 MiB of 15 MB/s");
    is_u64(lh_pace_low(4000000), 1000000, "a quarter of a second of 4 MB/s");
    is_u64(lh_pace_low(1), 1, "a crawling stream asks when it has none");
    ok(lh_pace_low(UINT64_MAX) > 0, "no overflow");
    is_u64(lh_pace_ahead(0), UINT64_MAX, "rate not known: no bound on what is hashed");
    is_u64(lh_pace_ahead(100000), 100000, "else a second of it");
}

static void test_times(void)
{
    struct lh_rng rng = {3};
    struct spread stagger = {UINT64_MAX, 0};
    uint64_t half_ms = 50;

    for (int i = 0; i < TRIES; i++)
        stagger = widen(stagger, lh_pace_stagger(50, (uint32_t)lh_rng_next(&rng)));
    ok(stagger.min == 0 && stagger.max == 50,
       "stagger: from 0 to what was asked for, both reached");
    is_u64(lh_pace_stagger(0, UINT32_MAX), 0, "no stagger");
    ok(lh_pace_stagger(UINT64_MAX, UINT32_MAX) > UINT64_MAX / 2, "the longest stagger");
    for (unsigned attempt = 0; attempt < 8; attempt++) {
        is_u64(lh_pace_backoff(attempt, 0), half_ms, "redial %u: at least", attempt);
        is_u64(lh_pace_backoff(attempt, UINT32_MAX), half_ms * 2, "redial %u: at most", attempt);
        half_ms = half_ms * 2 > 2500 ? 2500 : half_ms * 2;
    }
    is_u64(lh_pace_backoff(4000000000u, UINT32_MAX), 5000, "after very many it is still 5 s");
    is_u64(lh_pace_again(0), 1000, "a second try, the round trip unknown");
    is_u64(lh_pace_again(50), 200, "a second try on a short path");
    is_u64(lh_pace_again(100000), 300, "a second try at 100 ms");
    is_u64(lh_pace_again(UINT32_MAX), 1000, "a second try at more than an hour");
}

int main(void)
{
    test_jitter();
    test_apart();
    test_sndbuf();
    test_lowat();
    test_queues();
    test_times();
    return done_testing();
}
