/* core/ramp on a made-up link: what it carries is the lesser of its rate and what the streams can
 * hold. */
#include "core/ramp.h"

#include "test/lib/tap.h"

#include <string.h>

#define TICK_MS 250
#define MB 1000000ull

struct link {
    uint64_t rate_Bps;
    uint64_t stream_Bps; /* what one stream carries by itself */
    unsigned crowd;      /* more streams than this carry 5 % less in all; 0: any number is fine */
    unsigned queue_percent; /* when it is full */
};

struct run {
    struct lh_ramp ramp;
    uint64_t now_ms;
    uint64_t bytes;
    unsigned most; /* streams, ever */
    unsigned changes;
};

static uint64_t carries(const struct link *link, unsigned n)
{
    uint64_t sum = n * link->stream_Bps;

    if (sum > link->rate_Bps)
        sum = link->rate_Bps;
    return link->crowd > 0 && n > link->crowd ? sum - sum / 20 : sum;
}

static bool look(struct run *run, const struct link *link, bool held)
{
    uint64_t sum = carries(link, run->ramp.n);
    struct lh_ramp_sight sight = {.held = held};

    run->now_ms += TICK_MS;
    run->bytes += sum * TICK_MS / 1000;
    if (run->ramp.n * link->stream_Bps > link->rate_Bps)
        sight.queue_percent = link->queue_percent;
    sight.now_ms = run->now_ms;
    sight.delivered_bytes = run->bytes;
    if (!lh_ramp_look(&run->ramp, &sight))
        return false;
    run->changes++;
    if (run->ramp.n > run->most)
        run->most = run->ramp.n;
    return true;
}

static void go(struct run *run, const struct link *link, unsigned seconds)
{
    for (unsigned i = 0; i < seconds * 1000 / TICK_MS; i++)
        look(run, link, false);
}

static struct run begin(unsigned min, unsigned max, uint32_t rtt_us, uint64_t hold_bytes, bool bbr)
{
    struct run run = {.now_ms = 1000};

    lh_ramp_init(&run.ramp, (struct lh_ramp_bounds){min, max},
                 (struct lh_ramp_path){rtt_us, hold_bytes, bbr});
    run.most = run.ramp.n;
    return run;
}

static void test_start(void)
{
    is_u64(lh_ramp_hold(4194304), 2796202, "two thirds of what autotuning reaches");
    is_u64(lh_ramp_first(&(struct lh_ramp_path){100000, 2796202, true}), 8, "by its path: 100 ms");
    is_u64(lh_ramp_first(&(struct lh_ramp_path){300000, 2796202, true}), 26,
           "300 ms: more than 16");
    is_u64(lh_ramp_first(&(struct lh_ramp_path){300000, 44739242, true}), 4,
           "but with large buffers");
    is_u64(begin(1, 16, 100000, 2796202, true).ramp.n, 8, "100 ms, stock buffers: 8 to begin with");
    is_u64(begin(1, 16, 300000, 2796202, true).ramp.n, 16, "300 ms: as many as allowed");
    is_u64(begin(1, 32, 300000, 2796202, true).ramp.n, 26, "and more, where more are");
    is_u64(begin(1, 16, 100000, 44739242, true).ramp.n, 4, "large buffers: few");
    is_u64(begin(1, 16, 50, 2796202, true).ramp.n, 4, "a short path: few");
    is_u64(begin(1, 16, 0, 0, true).ramp.n, 4, "nothing known: few");
    is_u64(begin(1, 2, 100000, 2796202, true).ramp.n, 2, "never more than allowed");
    is_u64(begin(1, 16, 100000, 2796202, false).ramp.n, 16, "without BBR: all that are allowed");
    is_u64(begin(1, 128, 100000, 2796202, false).ramp.n, 32, "where so many are: 32 to begin with");
}

static void test_without_bbr(void)
{
    struct link lossy = {120 * MB, MB / 4, 0, 0};
    struct link clean = {120 * MB, 28 * MB, 0, 0};
    struct run run = begin(1, 128, 100000, 2796202, false);

    go(&run, &lossy, 10);
    is_u64(run.ramp.n, 128, "without BBR: twice as many each time, within 10 s");
    go(&run, &lossy, 600);
    is_u64(run.ramp.n, 128, "and they stay");
    run = begin(1, 128, 100000, 2796202, false);
    go(&run, &clean, 10);
    is_u64(run.ramp.n, 32, "where nothing is lost there is nothing to gain");
}

/* What large first windows carry is over with the first losses; it is no base to judge by. */
static void test_falls(void)
{
    struct link link = {120 * MB, 2 * MB, 0, 0};
    struct run run = begin(1, 128, 100000, 2796202, false);

    for (unsigned i = 0; i < 6; i++) {
        go(&run, &link, 1);
        link.stream_Bps -= link.stream_Bps / 3;
    }
    is_u64(run.changes, 0, "while the sum falls nothing is tried");
    go(&run, &link, 4);
    is_u64(run.ramp.n, 64, "it has settled: more");
}

static void test_round_trip(void)
{
    struct lh_ramp r = begin(1, 16, 0, 2796202, true).ramp;

    lh_ramp_round_trip(&r, 300000);
    is_u64(r.path.rtt_us, 300000, "a round trip that was not known");
    lh_ramp_round_trip(&r, 100000);
    lh_ramp_round_trip(&r, 200000);
    lh_ramp_round_trip(&r, 0);
    is_u64(r.path.rtt_us, 100000, "the least counts");
}

static void test_asked_for(void)
{
    struct link link = {120 * MB, 5 * MB, 0, 0};
    struct run run = begin(6, 6, 100000, 2796202, true);

    go(&run, &link, 300);
    is_u64(run.ramp.n, 6, "a number that was asked for stays");
    is_u64(run.changes, 0, "untouched");
}

static void test_lossy(void)
{
    struct link link = {120 * MB, 8 * MB, 0, 0};
    struct run run = begin(1, 16, 100000, 2796202, true);

    go(&run, &link, 10);
    is_u64(run.ramp.n, 16, "each stream brings its part: more, in 10 s");
    go(&run, &link, 600);
    ok(run.ramp.n >= 15, "and they stay (%u)", run.ramp.n);
    ok(run.most <= 16, "never more than allowed");
}

static void test_enough(void)
{
    struct link link = {120 * MB, 14 * MB, 0, 0};
    struct run run = begin(1, 32, 100000, 2796202, true);

    go(&run, &link, 20);
    ok(run.ramp.n >= 9 && run.ramp.n <= 10, "as many as fill it: %u", run.ramp.n);
    go(&run, &link, 20);
    ok(run.ramp.n >= 9 && run.ramp.n <= 10, "no fewer: what gained is not given up (%u)",
       run.ramp.n);
    ok(strstr(run.ramp.why, "kB/s") != NULL, "it says why: %s", run.ramp.why);
}

static void test_full(void)
{
    struct link link = {120 * MB, 28 * MB, 0, 80};
    struct run run = begin(1, 16, 100000, 2796202, true);

    go(&run, &link, 600);
    is_u64(run.changes, 0, "a queue stands: nothing to gain, nothing is tried");
}

static void test_too_many(void)
{
    struct link link = {10 * MB, 28 * MB, 4, 0};
    struct run run = begin(1, 16, 200000, 2796202, true);

    is_u64(run.ramp.n, 16, "a path of 1 Gbit/s was thought of");
    go(&run, &link, 40);
    is_u64(run.ramp.n, 4, "it is a hundredth of it: fewer do");
}

static void test_fewer_cost(void)
{
    struct link link = {100 * MB, 6250000, 0, 0};
    struct run run = begin(1, 16, 200000, 2796202, true);

    go(&run, &link, 60);
    is_u64(run.ramp.n, 16, "all are needed: where fewer carried less they are taken back");
}

static void test_path_changes(void)
{
    struct link link = {120 * MB, 28 * MB, 0, 80};
    struct run run = begin(1, 16, 100000, 2796202, true);

    go(&run, &link, 10);
    is_u64(run.ramp.n, 8, "a clean path");
    link.stream_Bps = 7 * MB; /* now it loses */
    go(&run, &link, 20);
    is_u64(run.ramp.n, 16, "the sum fell: more are tried at once");
}

static void test_held(void)
{
    struct link link = {120 * MB, 8 * MB, 0, 0};
    struct run run = begin(1, 16, 100000, 2796202, true);
    bool changed = false;

    for (int i = 0; i < 400; i++)
        changed |= look(&run, &link, true);
    ok(!changed, "held up by something else: streams are not the question");
    go(&run, &link, 10);
    is_u64(run.ramp.n, 16, "and are again when it is not");
}

static void test_looks_seldom(void)
{
    struct link link = {120 * MB, 30 * MB, 0, 0};
    struct run run = begin(1, 16, 100, 2796202, true);

    go(&run, &link, 3600);
    ok(run.changes > 4 && run.changes < 60, "an hour on a full path: %u changes", run.changes);
    is_u64(run.ramp.n, 4, "and the number that does");
}

static void test_other_bounds(void)
{
    struct run run = begin(1, 16, 100000, 2796202, true);
    struct link link = {120 * MB, 7 * MB, 0, 0};

    go(&run, &link, 60);
    is_u64(run.ramp.n, 16, "as many as are allowed");
    ok(lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 8}), "fewer are");
    is_u64(run.ramp.n, 8, "so fewer it is");
    ok(strstr(run.ramp.why, "its part") != NULL, "which is told: %s", run.ramp.why);
    go(&run, &link, 10);
    ok(lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 12}), "more are");
    is_u64(run.ramp.n, 12, "so it is as many of what there were");
    lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 32});
    is_u64(run.ramp.n, 16, "and not more than there were");
    ok(lh_ramp_at_most(&run.ramp, 5), "the receiver takes fewer");
    ok(strstr(run.ramp.why, "the receiver takes no more") != NULL, "which is told");
    ok(!lh_ramp_at_most(&run.ramp, 6), "no change, and nothing to be told");
    lh_ramp_at_most(&run.ramp, 5);
    lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 12});
    go(&run, &link, 60);
    is_u64(run.ramp.n, 5, "a larger part does not make the receiver take more");
    lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){9, 9});
    is_u64(run.ramp.n, 5, "nor does a number");
    run = begin(4, 4, 100000, 2796202, true);
    ok(lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){3, 3}) && run.ramp.n == 3, "a number");
    ok(lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){4, 4}) && run.ramp.n == 4, "and back");
}

static void test_more_room(void)
{
    struct run run = begin(1, 8, 100000, 2796202, true);
    struct link link = {120 * MB, 7 * MB, 0, 0};

    go(&run, &link, 600);
    is_u64(run.ramp.n, 8, "all that are allowed, for long");
    ok(!lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 16}), "more are: nothing at once");
    go(&run, &link, 20);
    is_u64(run.ramp.n, 16, "but soon");
    run = begin(1, 16, 100000, 2796202, true);
    link.stream_Bps = 28 * MB;
    link.queue_percent = 80;
    go(&run, &link, 60);
    is_u64(run.ramp.n, 8, "as many as fill it");
    lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 15});
    lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 16});
    is_u64(run.ramp.phase, LH_RAMP_HOLD, "bounds that they are far from are no question");
    lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 7});
    link.rate_Bps = 10 * MB; /* fewer do, and are found */
    link.queue_percent = 0;
    go(&run, &link, 60);
    ok(!lh_ramp_rebound(&run.ramp, (struct lh_ramp_bounds){1, 16}) && run.ramp.n < 7,
       "where fewer did that stands: %u", run.ramp.n);
}

static void test_hurry(void)
{
    struct run run = begin(1, 16, 100000, 2796202, true);
    struct link link = {120 * MB, 30 * MB, 0, 0};
    unsigned n = run.ramp.n;

    lh_ramp_hurry(&run.ramp, 128);
    is_u64(run.ramp.n, 4 * n, "in a hurry: four times as many");
    is_u64(run.ramp.bounds.max, 4 * n, "more than were allowed, and no more than that");
    go(&run, &link, 1);
    is_u64(run.ramp.n, 4 * n, "a path that carries much: they stay at first");
    go(&run, &link, 60);
    ok(run.ramp.n < 16, "and are fewer as soon as fewer do: %u", run.ramp.n);
    run = begin(1, 16, 100000, 2796202, true);
    lh_ramp_hurry(&run.ramp, 20);
    is_u64(run.ramp.n, 20, "as many as are allowed to who is in a hurry");
    run = begin(1, 16, 100000, 2796202, true);
    lh_ramp_hurry(&run.ramp, 3);
    is_u64(run.ramp.n, n, "fewer are no hurry");
    run = begin(3, 3, 100000, 2796202, true);
    lh_ramp_hurry(&run.ramp, 128);
    is_u64(run.ramp.n, 3, "and as many as were asked for");
}

static void test_hurry_with_nothing_to_send(void)
{
    static const struct link nothing = {0};
    struct link good = {120 * MB, 30 * MB, 0, 0};
    struct link thin = {2000000, 30 * MB, 0, 0};

    for (int i = 0; i < 2; i++) {
        struct run run = begin(1, 16, 100000, 2796202, true);
        unsigned n = run.ramp.n;

        lh_ramp_hurry(&run.ramp, 64);
        for (int k = 0; k < 20; k++)
            look(&run, &nothing, true);
        is_u64(run.ramp.n, 4 * n, "5 s with nothing to send say nothing");
        for (int k = 0; k < 4; k++)
            look(&run, i == 0 ? &good : &thin, false);
        is_u64(run.ramp.n, i == 0 ? 4 * n : n, "then it is seen: a %s path",
               i == 0 ? "good" : "thin");
    }
}

static void test_hurry_on_a_thin_path(void)
{
    struct run run = begin(1, 16, 100000, 2796202, true);
    struct link link = {2000000, 30 * MB, 0, 0};
    unsigned n = run.ramp.n;

    lh_ramp_hurry(&run.ramp, 64);
    is_u64(run.ramp.n, 32, "in a hurry, not knowing that the path carries 16 Mbit/s");
    look(&run, &link, true);
    look(&run, &link, true);
    is_u64(run.ramp.n, 32, "nothing is decided within four round trips");
    look(&run, &link, true);
    is_u64(run.ramp.n, n, "then as many as ever, also where it is held up");
    is_u64(run.ramp.bounds.max, 16, "and no more than were allowed");
    go(&run, &link, 10);
    ok(run.ramp.n <= 16, "for good: %u", run.ramp.n);
    run = begin(1, 16, 100000, 2796202, true);
    lh_ramp_hurry(&run.ramp, 64);
    lh_ramp_at_most(&run.ramp, 2);
    for (int i = 0; i < 4; i++)
        look(&run, &link, false);
    ok(run.ramp.n <= 2, "the other side takes two: %u", run.ramp.n);
}

int main(void)
{
    test_start();
    test_other_bounds();
    test_more_room();
    test_hurry();
    test_hurry_with_nothing_to_send();
    test_hurry_on_a_thin_path();
    test_without_bbr();
    test_falls();
    test_round_trip();
    test_asked_for();
    test_lossy();
    test_enough();
    test_full();
    test_too_many();
    test_fewer_cost();
    test_path_changes();
    test_held();
    test_looks_seldom();
    return done_testing();
}
