/* core/share: parts of a total, a bound that follows a made-up path, a limit that is kept. */
#include "core/share.h"

#include "test/lib/tap.h"

#define TICK_MS 250
#define MB 1000000ull

#define N_STREAMS 16

static uint64_t sum_of(const uint64_t values[], size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

static void test_parts(void)
{
    const uint64_t even[] = {100000, 100000, 100000, 100000};
    const uint64_t slow[] = {100000, 100000, 40000, 100000};
    const uint64_t stalled[] = {130000, 130000, 1, 130000};
    const uint64_t idle[] = {40000, 40000, 40000, 40000};
    const uint64_t unknown[] = {0, 0, 0, 0};
    const uint64_t newcomer[] = {130000, 130000, 130000, 0};
    uint64_t parts[4];

    lh_share_parts(400000, even, 4, parts);
    ok(parts[0] == 100000 && parts[3] == 100000, "all alike: an equal part each");
    lh_share_parts(400000, slow, 4, parts);
    is_u64(parts[2], 60000, "a slow one may go up by a half");
    is_u64(parts[0], 113333, "what it leaves goes to the others");
    lh_share_parts(400000, stalled, 4, parts);
    is_u64(parts[2], 25000, "one that is held up keeps a quarter of an equal part");
    is_u64(parts[0], 125000, "and no more, the others have the rest");
    lh_share_parts(400000, idle, 4, parts);
    ok(parts[0] == 100000 && parts[3] == 100000, "what nobody uses is for all");
    lh_share_parts(400000, unknown, 4, parts);
    ok(parts[0] == 100000 && parts[3] == 100000, "no rate known: an equal part each");
    lh_share_parts(400000, newcomer, 4, parts);
    ok(parts[0] == 100000 && parts[3] == 100000, "one that has just begun has an equal part");
    lh_share_parts(0, even, 4, parts);
    is_u64(sum_of(parts, 4), 0, "no bound stays none");
    lh_share_parts(400000, slow, 1, parts);
    is_u64(parts[0], 400000, "one stream has it all");
}

/* A made-up link whose streams lose packets in bursts: each round another quarter of them gets
 * little through, and the rest as much as they may. */
static void test_parts_keep_the_total(void)
{
    const uint64_t total = 10 * MB;
    uint64_t rates[N_STREAMS] = {0};
    uint64_t parts[N_STREAMS];
    uint64_t most = 0;
    uint64_t sent = 0;

    for (unsigned round = 0; round < 100; round++) {
        uint64_t used = 0;

        lh_share_parts(total, rates, N_STREAMS, parts);
        if (sum_of(parts, N_STREAMS) > most)
            most = sum_of(parts, N_STREAMS);
        for (unsigned i = 0; i < N_STREAMS; i++) {
            uint64_t now = i % 4 == round / 2 % 4 ? parts[i] / 5 : parts[i];

            rates[i] = rates[i] > 0 ? (3 * rates[i] + now) / 4 : now;
            used += now;
        }
        sent += used;
    }
    ok(most <= total, "streams that are slow by turns never have more than the total: %llu",
       (unsigned long long)most);
    ok(sent / 100 >= total / 100 * 78, "and use as much of it as they can: %llu",
       (unsigned long long)sent / 100);
}

struct run {
    struct lh_share share;
    uint64_t now_ms;
    uint64_t bytes;
    uint64_t total_Bps;
    uint32_t rtt_us;
};

/* The path carries rate_Bps; senders use `percent` of what they are bound to, as BBR does. */
static void go(struct run *run, unsigned ms, uint64_t rate_Bps, unsigned percent,
               unsigned queue_percent)
{
    for (unsigned t = 0; t < ms; t += TICK_MS) {
        uint64_t sent = run->total_Bps > 0 ? run->total_Bps / 100 * percent : rate_Bps;

        if (sent > rate_Bps)
            sent = rate_Bps;
        run->now_ms += TICK_MS;
        run->bytes += sent * TICK_MS / 1000;
        run->total_Bps =
            lh_share_tick(&run->share, &(struct lh_share_sight){.now_ms = run->now_ms,
                                                                .delivered_bytes = run->bytes,
                                                                .rtt_us = run->rtt_us,
                                                                .queue_percent = queue_percent});
    }
}

static struct run begin(uint64_t limit_Bps, bool by_path)
{
    struct run run = {.now_ms = 1000, .rtt_us = 100000};

    lh_share_init(&run.share, limit_Bps, by_path, false);
    return run;
}

static void test_path(void)
{
    struct run run = begin(0, true);
    uint64_t low;

    go(&run, 500, 1 * MB, 100, 0);
    go(&run, 500, 4 * MB, 100, 0);
    go(&run, 500, 40 * MB, 100, 0);
    is_u64(run.total_Bps, 0, "no bound while it still starts up");
    go(&run, 2000, 100 * MB, 100, 0);
    ok(run.total_Bps >= 100 * MB && run.total_Bps <= 116 * MB,
       "then a little above what fits: %llu", (unsigned long long)run.total_Bps);
    go(&run, 20000, 100 * MB, 100, 80);
    low = run.total_Bps;
    ok(low >= 95 * MB && low < 100 * MB, "a queue stands: a little below, %llu",
       (unsigned long long)low);
    go(&run, 60000, 100 * MB, 100, 80);
    is_u64(run.total_Bps, low, "it is others' queue: no further below");
    go(&run, 20000, 100 * MB, 100, 0);
    go(&run, 10000, 800 * MB, 100, 0);
    ok(run.total_Bps > 700 * MB, "the path is free again: found in 10 s (%llu)",
       (unsigned long long)run.total_Bps);
    go(&run, 20000, 50 * MB, 100, 50);
    ok(run.total_Bps <= 56 * MB, "and less of it too (%llu)", (unsigned long long)run.total_Bps);
}

/* Where the round trip is next to nothing, a host that is busy makes it many times as long. */
static void test_short(void)
{
    struct run run = begin(0, true);

    run.rtt_us = 20;
    go(&run, 20000, 2 * MB, 100, 0);
    go(&run, 20000, 100 * MB, 100, 5000);
    ok(run.total_Bps > 90 * MB, "a millisecond is no queue: the bound goes up (%llu)",
       (unsigned long long)run.total_Bps);
    go(&run, 20000, 10 * MB, 100, 100000);
    ok(run.total_Bps < 11 * MB, "20 ms are one (%llu)", (unsigned long long)run.total_Bps);
}

static void test_unused(void)
{
    struct run run = begin(0, true);
    uint64_t before;

    go(&run, 5000, 100 * MB, 100, 0);
    before = run.total_Bps;
    go(&run, 120000, 100 * MB, 70, 0);
    ok(run.total_Bps >= before, "senders use seven tenths of it: it does not follow them down");
    ok(run.total_Bps >= 135 * MB && run.total_Bps <= 160 * MB,
       "but leaves them what losses take, within bounds (%llu)", (unsigned long long)run.total_Bps);
    go(&run, 120000, 100 * MB, 80, 80);
    ok(run.total_Bps >= 70 * MB, "nor while others' queue stands (%llu)",
       (unsigned long long)run.total_Bps);
}

static void test_held(void)
{
    struct run run = begin(0, true);
    uint64_t before;

    go(&run, 5000, 100 * MB, 100, 0);
    before = run.total_Bps;
    for (int i = 0; i < 100; i++) {
        run.now_ms += TICK_MS;
        run.total_Bps = lh_share_tick(
            &run.share, &(struct lh_share_sight){
                            .now_ms = run.now_ms, .delivered_bytes = run.bytes, .held = true});
    }
    is_u64(run.total_Bps, before, "a disk that stalls says nothing about the path");
}

static void test_limit(unsigned percent)
{
    struct run run = begin(50 * MB, false);
    uint64_t from;

    go(&run, TICK_MS, 400 * MB, percent, 0);
    run.bytes = 0; /* the first tick went by before there was a bound */
    lh_share_init(&run.share, 50 * MB, false, false);
    run.total_Bps = 50 * MB;
    go(&run, 5000, 400 * MB, percent, 0);
    from = run.bytes;
    go(&run, 10000, 400 * MB, percent, 0);
    ok(run.bytes - from >= 490 * MB && run.bytes - from <= 510 * MB,
       "50 MB/s for 10 s of senders that use %u %% of their bound: %llu bytes", percent,
       (unsigned long long)(run.bytes - from));
}

static void test_limit_after_a_stall(void)
{
    struct run run = begin(50 * MB, false);
    uint64_t from;

    run.total_Bps = 50 * MB;
    go(&run, 10000, 400 * MB, 100, 0);
    go(&run, 30000, 1 * MB, 100, 0);
    from = run.bytes;
    go(&run, 10000, 400 * MB, 100, 0);
    ok(run.bytes - from <= 510 * MB, "what a stall left over is not all made up for: %llu in 10 s",
       (unsigned long long)(run.bytes - from));
    ok(run.total_Bps <= 56 * MB, "and never by more than an eighth");
}

static void test_lesser_counts(void)
{
    struct run run = begin(50 * MB, true);

    go(&run, 5000, 100 * MB, 100, 0);
    ok(run.total_Bps <= 56 * MB, "the limit is below the path");
    go(&run, 20000, 10 * MB, 100, 50);
    ok(run.total_Bps <= 12 * MB, "the path is below the limit");
}

static void test_background(void)
{
    struct lh_share share;
    uint64_t first;

    lh_share_init(&share, 0, true, true);
    first = lh_share_first(&share);
    ok(first > 0 && first < 2 * MB, "background begins low (%llu)", (unsigned long long)first);
    lh_share_init(&share, first / 2, true, true);
    is_u64(lh_share_first(&share), first / 2, "a limit below that counts");
    lh_share_init(&share, 0, true, false);
    is_u64(lh_share_first(&share), 0, "else there is no bound to begin with");
}

int main(void)
{
    test_parts();
    test_parts_keep_the_total();
    test_path();
    test_short();
    test_unused();
    test_held();
    test_limit(100);
    test_limit(96);
    test_limit(90);
    test_limit_after_a_stall();
    test_lesser_counts();
    test_background();
    return done_testing();
}
