/* core/yield on a made-up path that others use too: it takes what they leave, and gives way. */
#include "core/yield.h"

#include "test/lib/tap.h"

#define TICK_MS 250
#define MB 1000000ull
#define KERNEL_FORGETS_MIN 5u

struct path {
    uint64_t rate_Bps;
    uint64_t others_Bps; /* take theirs first */
    uint64_t loss_ppm;
    uint64_t buffer_bytes;
};

struct run {
    struct lh_yield y;
    uint64_t now_ms;
    uint64_t delivered;
    uint64_t resent;
    uint64_t queue_bytes;
    uint32_t path_us;                    /* empty; 0: 100 ms */
    uint32_t kernel[KERNEL_FORGETS_MIN]; /* round trips, the least by minute */
    unsigned ticks;
};

/* What the kernel takes for the least round trip: that of the last five minutes. */
static uint32_t kernel_least(struct run *run, uint32_t rtt_us)
{
    unsigned minute = run->ticks * TICK_MS / 60000;
    uint32_t *now = &run->kernel[minute % KERNEL_FORGETS_MIN];
    uint32_t least = UINT32_MAX;

    if (run->ticks++ * TICK_MS % 60000 == 0 || rtt_us < *now)
        *now = rtt_us;
    for (unsigned i = 0; i <= minute && i < KERNEL_FORGETS_MIN; i++)
        least = run->kernel[i] < least ? run->kernel[i] : least;
    return least;
}

static void go(struct run *run, const struct path *path, unsigned seconds)
{
    for (unsigned t = 0; t < seconds * 1000; t += TICK_MS) {
        uint64_t room = path->rate_Bps * TICK_MS / 1000;
        uint64_t sent = (run->y.rate_Bps + path->others_Bps) * TICK_MS / 1000;
        uint64_t ours = run->y.rate_Bps * TICK_MS / 1000;
        uint64_t dropped = 0;
        uint32_t rtt_us;

        run->queue_bytes += sent;
        run->queue_bytes -= run->queue_bytes < room ? run->queue_bytes : room;
        if (run->queue_bytes > path->buffer_bytes) {
            dropped = run->queue_bytes - path->buffer_bytes;
            run->queue_bytes = path->buffer_bytes;
        }
        dropped = sent > 0 ? dropped * ours / sent : 0; /* each its part */
        run->now_ms += TICK_MS;
        run->delivered += ours - dropped;
        run->resent += dropped + ours * path->loss_ppm / 1000000;
        rtt_us = (run->path_us > 0 ? run->path_us : 100000) +
                 (uint32_t)(run->queue_bytes * 1000000 / path->rate_Bps);
        lh_yield_tick(&run->y, &(struct lh_yield_sight){.now_ms = run->now_ms,
                                                        .delivered_bytes = run->delivered,
                                                        .resent_bytes = run->resent,
                                                        .rtt_us = rtt_us,
                                                        .least_rtt_us = kernel_least(run, rtt_us)});
    }
}

static uint64_t mean_Bps(struct run *run, const struct path *path, unsigned seconds)
{
    uint64_t before = run->delivered;

    go(run, path, seconds);
    return (run->delivered - before) / seconds;
}

static struct run begin(void)
{
    struct run run = {.now_ms = 1000};

    lh_yield_init(&run.y);
    return run;
}

static void test_alone(const struct path *path, const char *what)
{
    struct run run = begin();
    uint64_t mean;

    go(&run, path, 10);
    mean = mean_Bps(&run, path, 60);
    ok(mean >= path->rate_Bps / 100 * 75, "%s, alone: most of it (%llu kB/s)", what,
       (unsigned long long)mean / 1000);
}

static void test_gives_way(void)
{
    struct path path = {100 * MB, 0, 0, 12 * MB};
    struct run run = begin();
    uint64_t mean;

    go(&run, &path, 20);
    path.others_Bps = 101 * MB; /* a flow that keeps the queue full */
    go(&run, &path, 10);
    mean = mean_Bps(&run, &path, 30);
    ok(mean < 2 * MB, "others fill the path: it gives way (%llu kB/s)",
       (unsigned long long)mean / 1000);
    ok(mean > 0, "and goes on all the same");
    path.others_Bps = 0;
    go(&run, &path, 30);
    mean = mean_Bps(&run, &path, 30);
    ok(mean > 70 * MB, "they are gone: it has the path again (%llu kB/s)",
       (unsigned long long)mean / 1000);
}

/* Longer than the kernel remembers what the path is like without. */
static void test_standing_queue(void)
{
    struct path path = {100 * MB, 0, 0, 12 * MB};
    struct run run = begin();
    uint64_t mean;

    go(&run, &path, 30);
    path.others_Bps = 101 * MB;
    go(&run, &path, 20 * 60);
    mean = mean_Bps(&run, &path, 5 * 60);
    ok(mean < 2 * MB, "a queue stands for 25 minutes: it gives way all the time (%llu kB/s)",
       (unsigned long long)mean / 1000);
    path.others_Bps = 0;
    go(&run, &path, 60);
    mean = mean_Bps(&run, &path, 30);
    ok(mean > 70 * MB, "it is gone: it has the path (%llu kB/s)", (unsigned long long)mean / 1000);
}

static void test_longer_route(void)
{
    struct path path = {100 * MB, 0, 0, 12 * MB};
    struct run run = begin();
    uint64_t mean;

    go(&run, &path, 60);
    run.path_us = 150000;
    go(&run, &path, 10 * 60);
    mean = mean_Bps(&run, &path, 60);
    ok(mean < 2 * MB, "another route, longer: taken for a queue (%llu kB/s)",
       (unsigned long long)mean / 1000);
    go(&run, &path, (LH_YIELD_MINUTES - 10) * 60 + KERNEL_FORGETS_MIN * 60);
    mean = mean_Bps(&run, &path, 60);
    ok(mean > 70 * MB, "but not for ever (%llu kB/s)", (unsigned long long)mean / 1000);
}

static void test_takes_the_rest(void)
{
    struct path path = {100 * MB, 60 * MB, 0, 12 * MB};
    struct run run = begin();
    uint64_t mean;

    go(&run, &path, 20);
    mean = mean_Bps(&run, &path, 60);
    ok(mean > 28 * MB && mean <= 41 * MB, "others leave 40 MB/s: it takes most of that (%llu kB/s)",
       (unsigned long long)mean / 1000);
}

static void test_shallow(void)
{
    struct path path = {100 * MB, 0, 0, 200000};
    struct run run = begin();
    uint64_t mean, resent;

    go(&run, &path, 20);
    resent = run.resent;
    mean = mean_Bps(&run, &path, 60);
    resent = run.resent - resent;
    ok(mean > 60 * MB, "hardly any buffer: loss tells (%llu kB/s)",
       (unsigned long long)mean / 1000);
    ok(resent < 60 * mean / 20, "and is kept low: below 5 %% (%llu kB of %llu)",
       (unsigned long long)resent / 1000, (unsigned long long)mean * 60 / 1000);
}

static void test_unused(void)
{
    struct run run = begin();
    uint64_t before = run.y.rate_Bps;

    for (int i = 0; i < 100; i++) {
        run.now_ms += TICK_MS;
        run.delivered += before / 10;
        lh_yield_tick(&run.y, &(struct lh_yield_sight){.now_ms = run.now_ms,
                                                       .delivered_bytes = run.delivered,
                                                       .rtt_us = 100000,
                                                       .least_rtt_us = 100000});
    }
    is_u64(run.y.rate_Bps, before, "a rate that the source does not use does not grow");
}

static void test_stall(void)
{
    struct run run = begin();
    uint64_t before;

    go(&run, &(struct path){100 * MB, 0, 0, 12 * MB}, 10);
    before = run.y.rate_Bps;
    for (int i = 0; i < 4; i++) {
        run.now_ms += 500;
        run.resent += 100000;
        lh_yield_tick(&run.y, &(struct lh_yield_sight){.now_ms = run.now_ms,
                                                       .delivered_bytes = run.delivered,
                                                       .resent_bytes = run.resent,
                                                       .rtt_us = 100000,
                                                       .least_rtt_us = 100000});
    }
    ok(run.y.rate_Bps < before / 10, "nothing arrives and much is sent again: it gives way");
}

int main(void)
{
    test_alone(&(struct path){100 * MB, 0, 0, 12 * MB}, "a clean path");
    test_alone(&(struct path){100 * MB, 0, 10000, 12 * MB}, "a path that loses 1 %");
    test_gives_way();
    test_standing_queue();
    test_longer_route();
    test_takes_the_rest();
    test_shallow();
    test_unused();
    test_stall();
    return done_testing();
}
