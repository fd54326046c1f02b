/* core/tail: what of a slow or hanging stream is sent a second time, by whom, and what is not. */
#include "core/tail.h"

#include "proto/frame.h"
#include "test/lib/tap.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define BLOCK ((uint32_t)(256 * KIB))
#define FRAME (BLOCK + LH_FRAME_HEADER_SIZE)
#define T0 1000000ull

/* Two streams: 0 holds all of a file of n blocks, 1 is through with what it had. */
struct rig {
    struct lh_sched s;
    struct lh_tail_far far;
    uint64_t now_ms;
    unsigned from;
    uint64_t first;
    uint64_t end;
};

static struct lh_sched_seen at(uint64_t rate_Bps, uint64_t brought_frames, uint64_t queued_bytes)
{
    return (struct lh_sched_seen){.rate_Bps = rate_Bps,
                                  .brought_bytes = brought_frames * FRAME,
                                  .queued_bytes = queued_bytes,
                                  .rtt_ms = 100};
}

static void see(struct rig *r, unsigned stream, struct lh_sched_seen seen)
{
    lh_tail_seen(&r->s, stream, &seen, r->now_ms);
}

static void begin(struct rig *r, unsigned blocks, unsigned streams)
{
    uint64_t first;
    uint64_t end;

    *r = (struct rig){.now_ms = T0};
    is_i64(lh_sched_init(&r->s, (uint64_t)blocks * BLOCK, BLOCK, UINT64_MAX / 2), 0, "%u blocks",
           blocks);
    lh_sched_stream_up(&r->s, 0);
    lh_sched_stream_rate(&r->s, 0, 1 << 30);
    while (lh_sched_grant(&r->s, 0, &first, &end))
        ;
    for (unsigned i = 1; i < streams; i++) {
        lh_sched_stream_up(&r->s, i);
        see(r, i, at(10 * MIB, 0, 0));
    }
}

static enum lh_tail_why take(struct rig *r, unsigned stream)
{
    return lh_tail_take(&r->s, stream, &r->far, r->now_ms, false, &r->from, &r->first, &r->end);
}

/* There may be more to grant soon. */
static enum lh_tail_why take_meanwhile(struct rig *r, unsigned stream)
{
    return lh_tail_take(&r->s, stream, &r->far, r->now_ms, true, &r->from, &r->first, &r->end);
}

/* The receiver says it now: its disk waits so long, so much is not durable. */
static void hear(struct rig *r, uint32_t disk_wait_ms, uint64_t undurable_bytes)
{
    r->far = (struct lh_tail_far){r->now_ms, disk_wait_ms, undurable_bytes};
}

static void test_slow(void)
{
    struct rig r;

    begin(&r, 40, 2);
    see(&r, 0, at(12 * MIB, 0, MIB));
    is_u64(take(&r, 1), LH_TAIL_NOTHING,
           "10 MiB at 12 MiB/s, the other has 10 MiB/s: little to gain");
    see(&r, 0, at(1 * MIB, 0, MIB));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "at 1 MiB/s: 10 s, that is worth it");
    ok(r.from == 0 && r.first == 36 && r.end == 40, "from the back, 1 MiB at once");
    ok(lh_runs_covers(&r.s.streams[1].granted, 36, 40) && r.s.streams[0].granted.blocks == 36,
       "the other one answers for it now");
    is_u64(r.s.granted_blocks, 40, "the window counts a block once");
    see(&r, 1, at(10 * MIB, 0, MIB));
    while (take(&r, 1) == LH_TAIL_SLOW)
        ;
    ok(r.s.streams[0].granted.blocks > 4, "not all: what it brings in time it keeps (%d)",
       (int)r.s.streams[0].granted.blocks);
    ok(r.s.streams[0].granted.blocks < 20, "but more than half");
    is_i64(lh_sched_ack(&r.s, 0, 40), 0, "whoever brings it: durable");
    ok(lh_sched_complete(&r.s) && r.s.granted_blocks == 0, "complete");
    lh_sched_free(&r.s);
}

/* Packs of a tree that are smaller than the grid. */
static void test_small_packs(void)
{
    struct rig r;

    begin(&r, 40, 2);
    see(&r, 0, at(4 * MIB, 0, MIB));
    r.s.holds_bytes = 64 * KIB;
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "40 packs of 64 KiB at 4 MiB/s: 0.6 s, little to gain");
    see(&r, 0, at(1 * MIB, 0, MIB));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "at 1 MiB/s: 2.5 s");
    ok(r.first == 24 && r.end == 40, "1 MiB at once are 16 of them");
    lh_sched_free(&r.s);
    begin(&r, 40, 2);
    see(&r, 0, at(4 * MIB, 0, MIB));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "when they are full it is 2.5 s at 4 MiB/s");
    lh_sched_free(&r.s);
}

static void test_more_to_come(void)
{
    struct rig r;

    begin(&r, 8, 2);
    see(&r, 0, at(1 * MIB, 0, MIB));
    is_u64(take_meanwhile(&r, 1), LH_TAIL_NOTHING,
           "2 s, and there may be more to grant: it is left");
    is_u64(take(&r, 1), LH_TAIL_SLOW, "else it is not");
    lh_sched_free(&r.s);

    begin(&r, 40, 2);
    see(&r, 0, at(1 * MIB, 0, MIB));
    is_u64(take_meanwhile(&r, 1), LH_TAIL_SLOW, "10 s: not for what may come");
    ok(r.first == 36 && r.end == 40, "1 MiB of it");
    see(&r, 1, at(10 * MIB, 3, BLOCK));
    is_u64(take_meanwhile(&r, 1), LH_TAIL_NOTHING, "no more while that is on its way");
    see(&r, 1, at(10 * MIB, 4, 0));
    is_u64(take_meanwhile(&r, 1), LH_TAIL_SLOW, "when it is brought, the next");
    ok(r.first == 32 && r.end == 36, "from the back");
    lh_sched_free(&r.s);

    begin(&r, 8, 2);
    see(&r, 0, at(10 * MIB, 8, 0));
    r.now_ms += 6000;
    hear(&r, 0, 0);
    is_u64(take_meanwhile(&r, 1), LH_TAIL_HANGS, "one that hangs is not waited for");
    lh_sched_free(&r.s);
}

static void test_what_tcp_brought(void)
{
    struct rig r;

    begin(&r, 8, 2);
    see(&r, 0, at(100 * KIB, 7, FRAME));
    r.now_ms += 1000;
    see(&r, 0, at(100 * KIB, 7, FRAME));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "a slow stream that has brought seven of eight");
    ok(r.first == 7 && r.end == 8, "the eighth is sent again");
    see(&r, 1, at(10 * MIB, 0, 0));
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "the seven wait for a commit and are not");
    see(&r, 1, at(10 * MIB, 1, 0));
    r.now_ms += 60000;
    see(&r, 0, at(100 * KIB, 8, 0));
    see(&r, 1, at(10 * MIB, 1, 0));
    hear(&r, 0, 8 * BLOCK);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "however long that takes");
    lh_sched_free(&r.s);
}

static void test_source(void)
{
    struct rig r;

    begin(&r, 40, 2);
    see(&r, 0, at(100 * KIB, 0, 0));
    r.now_ms += 30000;
    see(&r, 0, at(100 * KIB, 0, 0));
    hear(&r, 0, 0);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "nothing in its socket: it waits for the source");
    lh_sched_free(&r.s);

    begin(&r, 40, 2);
    r.now_ms += 60000;
    see(&r, 0, at(10 * MIB, 40, 0));
    is_i64(lh_sched_again(&r.s, 0, 1), 0, "a block arrived damaged");
    ok(lh_sched_grant(&r.s, 0, &r.first, &r.end), "the same stream gets it");
    r.now_ms += 60000;
    hear(&r, 0, 0);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "after a long rest it is given time");
    lh_sched_free(&r.s);
}

static void test_missing_goes_first(void)
{
    struct rig r;

    begin(&r, 40, 2);
    see(&r, 0, at(100 * KIB, 0, MIB));
    is_i64(lh_sched_again(&r.s, 3, 4), 0, "a block is missing");
    is_u64(take(&r, 1), LH_TAIL_NOTHING,
           "as long as there is something to grant nothing is repeated");
    r.s.window = 39ull * BLOCK;
    is_u64(take(&r, 1), LH_TAIL_SLOW, "unless what is under way fills the window");
    lh_sched_free(&r.s);
}

static void test_helpers(void)
{
    struct rig r;

    begin(&r, 40, 3);
    see(&r, 0, at(1 * MIB, 0, MIB));
    see(&r, 1, at(0, 0, 0));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "a stream whose rate is not known may try");
    ok(r.first == 39 && r.end == 40, "a block");
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "and no more before it is known");
    see(&r, 1, at(300 * KIB, 0, BLOCK));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "one that is slower helps too, with the end of a long way");
    ok(r.first == 38 && r.end == 39, "a block at once");
    is_u64(take(&r, 0), LH_TAIL_NOTHING, "but not for what it is sending itself");
    is_u64(take(&r, 2), LH_TAIL_SLOW, "a fast one");
    is_i64(lh_sched_stream_down(&r.s, 2), 0, "dies");
    ok(r.s.missing.blocks == 4, "what it had taken over is missing");
    lh_sched_free(&r.s);
}

/* The far end's window is closed. */
static void test_held(void)
{
    struct lh_sched_seen held = at(1 * KIB, 0, MIB);
    struct rig r;

    held.held = true;
    begin(&r, 40, 2);
    see(&r, 0, held);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "a closed window may be the receiver's disk");
    hear(&r, 0, 0);
    for (unsigned i = 0; i < 24; i++) {
        r.now_ms += 250;
        see(&r, 0, held);
        see(&r, 1, at(10 * MIB, 0, 0));
    }
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "6 s later too, while the receiver has not said more");
    hear(&r, 3000, 0);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "it says that its disk stalls");
    hear(&r, 20, 5 * BLOCK);
    is_u64(take(&r, 1), LH_TAIL_HELD,
           "it says that its disk is free, other blocks being committed");
    held.held = false;
    held.rate_Bps = 10 * MIB;
    see(&r, 0, held);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "the window is open again and the stream fast");
    lh_sched_free(&r.s);
}

/* TCP has brought all of it to somebody who is not the receiver. */
static void test_swallowed(void)
{
    struct rig r;

    begin(&r, 8, 3);
    see(&r, 0, at(10 * MIB, 8, 0));
    r.now_ms += 4000;
    see(&r, 0, at(10 * MIB, 8, 0));
    hear(&r, 0, 0);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "brought 4 s ago: a commit may take that");
    r.now_ms += 2000;
    hear(&r, 0, BLOCK);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "6 s, and the receiver has something to commit");
    hear(&r, 1, 0);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "or its disk is at it");
    hear(&r, 0, 0);
    is_u64(take(&r, 1), LH_TAIL_HANGS, "neither: it never got it");
    see(&r, 1, at(10 * MIB, 0, MIB));
    while (take(&r, 1) == LH_TAIL_HANGS)
        ;
    is_u64(r.s.streams[1].granted.blocks, 8, "all eight are sent again");
    see(&r, 1, at(10 * MIB, 8, 0));
    is_u64(take(&r, 2), LH_TAIL_NOTHING, "once");
    r.now_ms += 10000;
    hear(&r, 0, 0);
    is_u64(take(&r, 1), LH_TAIL_NOTHING, "swallowed again: not by the stream that swallowed it");
    is_u64(take(&r, 2), LH_TAIL_HANGS, "but by a third");
    lh_sched_free(&r.s);
}

static void test_hopeless(void)
{
    struct rig r;

    begin(&r, 8, 1);
    see(&r, 0, at(10 * MIB, 8, 0));
    r.now_ms += 14000;
    hear(&r, 0, 0);
    ok(!lh_tail_hopeless(&r.s, 0, &r.far, r.now_ms), "the only stream hangs for 14 s");
    r.now_ms += 1000;
    ok(lh_tail_hopeless(&r.s, 0, &r.far, r.now_ms), "for 15 s: it is dialled again");
    hear(&r, 0, BLOCK);
    ok(!lh_tail_hopeless(&r.s, 0, &r.far, r.now_ms), "not while the receiver commits");
    hear(&r, 0, 0);
    is_i64(lh_sched_ack(&r.s, 0, 8), 0, "all is acknowledged");
    r.now_ms += 60000;
    ok(!lh_tail_hopeless(&r.s, 0, &r.far, r.now_ms), "then it has nothing, and rests");
    lh_sched_free(&r.s);
}

static void test_many_ranges(void)
{
    struct rig r;
    uint64_t n = 0;

    begin(&r, 600, 2);
    is_i64(lh_sched_stream_down(&r.s, 0), 0, "all is missing");
    lh_sched_stream_up(&r.s, 0);
    see(&r, 0, at(1, 0, 0));
    for (uint64_t b = 1; b < 600; b += 2)
        n += (uint64_t)lh_sched_restore(&r.s, b, b + 1); /* every other one is durable */
    is_u64(n, 0, "300 ranges of a block");
    n = 0;
    while (lh_sched_grant(&r.s, 0, &r.first, &r.end))
        n++;
    is_u64(n, 300, "a stream gets more of them than are remembered");
    see(&r, 0, at(1 * KIB, 0, MIB));
    is_u64(take(&r, 1), LH_TAIL_SLOW, "it is slow");
    see(&r, 0, at(10 * MIB, 300, 0));
    is_u64(r.s.streams[0].n_way, 0, "and brings all of them");
    lh_sched_free(&r.s);
}

int main(void)
{
    test_slow();
    test_small_packs();
    test_more_to_come();
    test_what_tcp_brought();
    test_source();
    test_missing_goes_first();
    test_helpers();
    test_held();
    test_swallowed();
    test_hopeless();
    test_many_ranges();
    return done_testing();
}
