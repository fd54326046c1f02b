/* core/sched: sizes and order of ranges, the window, lost streams, repeats; then by seed. */
#include "core/sched.h"

#include "longhaul/status.h"
#include "test/lib/fault.h"
#include "test/lib/rng.h"
#include "test/lib/tap.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define BLOCK ((uint32_t)(256 * KIB))

static struct lh_sched fresh(uint64_t size, uint64_t window, unsigned streams)
{
    struct lh_sched s;

    is_i64(lh_sched_init(&s, size, BLOCK, window), 0, "schedule of %d KiB, %u streams",
           (int)(size / KIB), streams);
    for (unsigned i = 0; i < streams; i++)
        lh_sched_stream_up(&s, i);
    return s;
}

/* Bytes of the next range; 0 when there is none. */
static uint64_t grant(struct lh_sched *s, unsigned stream)
{
    uint64_t first;
    uint64_t end;

    return lh_sched_grant(s, stream, &first, &end) ? (end - first) * s->block_bytes : 0;
}

static void test_sizes(void)
{
    struct lh_sched s = fresh(64 * GIB, UINT64_MAX / 2, 4);

    is_u64(grant(&s, 0), 4 * MIB, "rate not known: 4 MiB");
    lh_sched_stream_rate(&s, 0, 10 * MIB);
    is_u64(grant(&s, 0), 20 * MIB, "2 s of 10 MiB/s");
    lh_sched_stream_rate(&s, 0, 1 * GIB);
    is_u64(grant(&s, 0), 64 * MIB, "a fast stream: never above 64 MiB");
    lh_sched_stream_rate(&s, 0, UINT64_MAX);
    is_u64(grant(&s, 0), 64 * MIB, "however fast");
    lh_sched_stream_rate(&s, 0, 700 * KIB);
    is_u64(grant(&s, 0), 1280 * KIB, "whole blocks within 2 s of 700 KiB/s");
    lh_sched_stream_rate(&s, 0, 10);
    is_u64(grant(&s, 0), BLOCK, "a crawling stream: one block");
    is_u64(grant(&s, 1), 4 * MIB, "each stream by its own rate");
    lh_sched_free(&s);
}

static void test_end_of_file(void)
{
    struct lh_sched s = fresh(256 * MIB, GIB, 4);
    uint64_t last = UINT64_MAX;
    uint64_t biggest_late = 0;
    unsigned n = 0;
    bool shrinks = true;

    for (unsigned i = 0; i < 4; i++)
        lh_sched_stream_rate(&s, i, GIB);
    is_u64(grant(&s, 0), 32 * MIB, "an eighth of 256 MiB for one of four streams");
    while (s.missing.blocks > 0 && shrinks) {
        uint64_t left = s.missing.blocks * BLOCK;
        uint64_t got = grant(&s, n++ % 4);

        shrinks = shrinks && got > 0 && got <= last;
        last = got;
        if (left <= 4 * MIB && got > biggest_late)
            biggest_late = got;
    }
    ok(shrinks, "ranges shrink towards the end");
    ok(biggest_late <= 1 * MIB, "the last 4 MiB go in pieces of at most 1 MiB");
    is_u64(last, BLOCK, "the last range is one block");
    ok(n < 60, "and it does not take very many of them (%u)", n);
    is_u64(grant(&s, 0), 0, "then there is none");
    ok(!lh_sched_complete(&s), "granted is not durable");
    is_i64(lh_sched_ack(&s, 0, s.n_blocks), 0, "all is acknowledged");
    ok(lh_sched_complete(&s) && s.granted_blocks == 0, "complete");
    lh_sched_free(&s);
}

static void test_order(void)
{
    struct lh_sched s = fresh(100ull * BLOCK, GIB, 2);
    uint64_t first = 0;
    uint64_t end = 0;

    is_i64(lh_sched_restore(&s, 0, 3), 0, "blocks durable from before");
    is_i64(lh_sched_restore(&s, 5, 50), 0, "and more of them");
    is_i64(lh_sched_restore(&s, 99, 101), -LH_E_PROTOCOL, "outside the file");
    is_i64(lh_sched_restore(&s, 4, 3), -LH_E_PROTOCOL, "the wrong way round");
    ok(lh_sched_grant(&s, 0, &first, &end) && first == 3 && end == 5, "cut at the run's end");
    ok(lh_sched_grant(&s, 1, &first, &end) && first == 50, "then the next gap");
    is_i64(lh_sched_stream_down(&s, 0), 0, "the first stream dies");
    ok(lh_sched_grant(&s, 1, &first, &end) && first == 3 && end == 5,
       "its range goes to the other, lowest first");
    lh_sched_free(&s);
}

static void test_window(void)
{
    struct lh_sched s = fresh(GIB, 10 * MIB, 3);

    is_u64(grant(&s, 0), 4 * MIB, "within the window");
    is_u64(grant(&s, 1), 4 * MIB, "a second range");
    is_u64(grant(&s, 2), 2 * MIB, "the third one is cut to the window");
    is_u64(grant(&s, 0), 0, "the window is full");
    is_i64(lh_sched_ack(&s, 0, 2), 0, "512 KiB are durable");
    is_u64(grant(&s, 0), 0, "a sliver of a window is not handed out");
    is_i64(lh_sched_ack(&s, 2, 16), 0, "4 MiB are durable");
    is_u64(grant(&s, 0), 4 * MIB, "an acknowledgement opens it");
    is_i64(lh_sched_again(&s, 16, 24), 0, "2 MiB arrived damaged");
    is_u64(grant(&s, 1), 2 * MIB, "what has to be sent again leaves and enters the window");
    lh_sched_free(&s);

    s = fresh(GIB, 1000, 1);
    is_u64(grant(&s, 0), BLOCK, "a window smaller than a block: one block goes");
    is_u64(grant(&s, 0), 0, "and one only");
    lh_sched_free(&s);
}

/* Grants must not wait for acknowledgements: a stream that drains gets the next range at once. */
static void test_no_stop_and_wait(void)
{
    struct lh_sched s = fresh(GIB, 64 * MIB, 2);
    unsigned n = 0;

    while (grant(&s, n % 2) > 0)
        n++;
    is_u64(n, 16, "without any acknowledgement the whole window is granted");
    is_u64(s.granted_blocks * BLOCK, 64 * MIB, "to the last byte");
    lh_sched_free(&s);
}

static void test_acks(void)
{
    struct lh_sched s = fresh(100ull * BLOCK, GIB, 2);
    uint64_t first;
    uint64_t end;

    lh_sched_grant(&s, 0, &first, &end);
    is_u64(end, 16, "4 MiB are granted");
    is_i64(lh_sched_ack(&s, 15, 17), -LH_E_PROTOCOL, "an acknowledgement of what never went");
    is_i64(lh_sched_ack(&s, 99, 101), -LH_E_PROTOCOL, "or of what is not there");
    is_i64(lh_sched_ack(&s, 5, 4), -LH_E_PROTOCOL, "or the wrong way round");
    is_u64(s.durable.blocks, 0, "changes nothing");
    is_i64(lh_sched_ack(&s, 4, 8), 0, "some of a range is durable");
    is_i64(lh_sched_ack(&s, 4, 8), 0, "told twice does no harm");
    lh_sched_stream_down(&s, 0);
    is_u64(s.missing.blocks, 96, "the stream dies: all the rest is missing");
    is_i64(lh_sched_ack(&s, 0, 4), 0, "what it had sent may still become durable");
    ok(lh_sched_grant(&s, 1, &first, &end) && first == 8, "and is not granted again");
    is_i64(lh_sched_again(&s, 0, 8), 0, "again, for durable blocks");
    is_u64(s.durable.blocks, 8, "moves nothing");
    is_i64(lh_sched_retracted(&s, 2, 10), 0, "retracted");
    ok(s.durable.blocks == 2 && lh_runs_has(&s.missing, 2), "durable blocks are missing again");
    ok(lh_runs_has(&s.streams[1].granted, 8), "granted ones stay granted");
    is_i64(lh_sched_retracted(&s, 99, 101), -LH_E_PROTOCOL, "retracted outside the file");
    is_i64(lh_sched_again(&s, 99, 101), -LH_E_PROTOCOL, "again outside the file");
    lh_sched_free(&s);
}

static void is_in_flight(const struct lh_sched *s, uint64_t from, uint64_t first, uint64_t end)
{
    uint64_t a = 0;
    uint64_t b = 0;

    ok(lh_sched_in_flight(s, from, &a, &b), "something is in flight behind %d", (int)from);
    is_u64(a, first, "from block %d on", (int)first);
    is_u64(b, end, "to block %d", (int)end);
}

static void test_in_flight(void)
{
    struct lh_sched s = fresh(100ull * BLOCK, GIB, 2);
    uint64_t first;
    uint64_t end;

    ok(!lh_sched_in_flight(&s, 0, &first, &end), "nothing is in flight at first");
    lh_sched_restore(&s, 0, 10);
    is_u64(grant(&s, 0), 4 * MIB, "16 blocks for one");
    is_in_flight(&s, 0, 10, 26);
    is_u64(grant(&s, 1), 4 * MIB, "16 for the other");
    is_in_flight(&s, 0, 10, 42);
    is_in_flight(&s, 15, 15, 42);
    lh_sched_ack(&s, 12, 14);
    lh_sched_again(&s, 20, 21);
    is_in_flight(&s, 0, 10, 12);
    is_in_flight(&s, 12, 14, 20);
    is_in_flight(&s, 20, 21, 42);
    ok(!lh_sched_in_flight(&s, 42, &first, &end), "and no more");
    lh_sched_free(&s);
}

static void test_grow(void)
{
    struct lh_sched s = fresh(0, 64 * MIB, 2);
    uint64_t first, end;

    ok(lh_sched_complete(&s), "begun with nothing: complete");
    is_u64(grant(&s, 0), 0, "nothing to grant");
    is_i64(lh_sched_ack(&s, 0, 1), -LH_E_PROTOCOL, "a block that is not yet cannot be durable");
    is_i64(lh_sched_grow(&s, 3), 0, "three blocks more");
    ok(!lh_sched_complete(&s) && s.n_blocks == 3 && s.size == 3 * BLOCK, "which are missing");
    ok(lh_sched_grant(&s, 0, &first, &end) && first == 0, "the first is granted");
    is_i64(lh_sched_grow(&s, 5), 0, "and five");
    is_u64(s.missing.n, 1, "what is missing is one run");
    while (lh_sched_grant(&s, 1, &first, &end))
        ;
    is_u64(end, 8, "all are granted");
    is_i64(lh_sched_ack(&s, 0, 8), 0, "and durable");
    ok(lh_sched_complete(&s), "complete again");
    is_u64(lh_sched_bytes(&s, &s.durable), 8 * (uint64_t)BLOCK, "all of them full");
    is_i64(lh_sched_grow(&s, 1), 0, "one more");
    is_i64(lh_sched_stream_down(&s, 0), 0, "a stream goes");
    ok(lh_sched_grant(&s, 1, &first, &end) && first == 8 && end == 9, "the other has it");
    lh_sched_free(&s);
}

static void test_empty_and_odd(void)
{
    struct lh_sched s = fresh(0, GIB, 1);

    ok(lh_sched_complete(&s) && grant(&s, 0) == 0, "an empty file is complete");
    is_i64(lh_sched_ack(&s, 0, 1), -LH_E_PROTOCOL, "and has no block to acknowledge");
    is_u64(lh_sched_bytes(&s, &s.durable), 0, "nor bytes");
    lh_sched_free(&s);

    s = fresh(BLOCK + 1, GIB, 1);
    is_u64(s.n_blocks, 2, "a block and a byte are two blocks");
    is_u64(lh_block_length(s.size, BLOCK, 1), 1, "the last of one byte");
    is_u64(lh_sched_bytes(&s, &s.missing), BLOCK + 1, "bytes of all");
    lh_sched_restore(&s, 0, 1);
    is_u64(lh_sched_bytes(&s, &s.missing), 1, "bytes of the last");
    is_u64(lh_sched_bytes(&s, &s.durable), BLOCK, "bytes of the first");
    lh_sched_free(&s);
    is_u64(lh_blocks_of(UINT64_MAX, BLOCK), UINT64_MAX / BLOCK + 1, "the largest size");
}

/* ---- against a model ------------------------------------------------------------------------ */

#define BLOCKS 150
#define STREAMS 5
#define MISSING (-1)
#define DURABLE (-2)

struct model {
    struct lh_sched s;
    struct lh_rng rng;
    int of[BLOCKS];   /* stream that has it, MISSING or DURABLE */
    uint64_t reached; /* lowest first: every block before it was granted, or durable */
    bool live[STREAMS];
};

static bool agrees(const struct model *m)
{
    uint64_t granted = 0;

    for (uint64_t b = 0; b < BLOCKS; b++) {
        if (lh_runs_has(&m->s.missing, b) != (m->of[b] == MISSING) ||
            lh_runs_has(&m->s.durable, b) != (m->of[b] == DURABLE))
            return false;
        for (int i = 0; i < STREAMS; i++)
            if (lh_runs_has(&m->s.streams[i].granted, b) != (m->of[b] == i))
                return false;
        granted += m->of[b] >= 0;
    }
    return m->s.granted_blocks == granted;
}

static bool step_grant(struct model *m, unsigned i)
{
    uint64_t lowest = 0;
    uint64_t first;
    uint64_t end;
    uint64_t before = m->s.granted_blocks;

    if (!m->live[i])
        return true;
    while (lowest < BLOCKS && m->of[lowest] != MISSING)
        lowest++;
    if (!lh_sched_grant(&m->s, i, &first, &end)) {
        uint64_t room = m->s.window - before * BLOCK;

        return lowest == BLOCKS || (before > 0 && room < 1 * MIB);
    }
    if (first != lowest || end <= first || end > BLOCKS)
        return false;
    for (uint64_t b = first; b < end; b++) {
        if (m->of[b] != MISSING)
            return false;
        m->of[b] = (int)i;
    }
    if (end > m->reached)
        m->reached = end;
    return m->s.granted_blocks * BLOCK <= m->s.window;
}

static bool step_ack(struct model *m, uint64_t a, uint64_t b)
{
    bool due = true;
    int rc = lh_sched_ack(&m->s, a, b);

    for (uint64_t k = a; k < b; k++)
        due = due && (k < m->reached || m->of[k] == DURABLE);
    for (uint64_t k = a; due && k < b; k++)
        m->of[k] = DURABLE;
    return rc == (due ? 0 : -LH_E_PROTOCOL);
}

static bool step(struct model *m)
{
    unsigned i = (unsigned)lh_rng_below(&m->rng, STREAMS);
    uint64_t a = lh_rng_below(&m->rng, BLOCKS);
    uint64_t b = a + 1 + lh_rng_below(&m->rng, 6);
    uint64_t what = lh_rng_below(&m->rng, 100);

    if (b > BLOCKS)
        b = BLOCKS;
    if (what < 40)
        return step_grant(m, i);
    if (what < 70)
        return step_ack(m, a, b);
    if (what < 80) {
        for (uint64_t k = a; k < b; k++)
            m->of[k] = m->of[k] >= 0 ? MISSING : m->of[k];
        return lh_sched_again(&m->s, a, b) == 0;
    }
    if (what < 83) {
        for (uint64_t k = a; k < b; k++)
            m->of[k] = m->of[k] == DURABLE ? MISSING : m->of[k];
        return lh_sched_retracted(&m->s, a, b) == 0;
    }
    if (what < 90) {
        for (unsigned k = 0; k < BLOCKS; k++)
            m->of[k] = m->of[k] == (int)i ? MISSING : m->of[k];
        m->live[i] = false;
        return lh_sched_stream_down(&m->s, i) == 0;
    }
    if (!m->live[i]) {
        lh_sched_stream_up(&m->s, i);
        m->live[i] = true;
    }
    lh_sched_stream_rate(&m->s, i, lh_rng_below(&m->rng, 4 * MIB));
    return true;
}

static bool against_model(uint64_t seed)
{
    struct model m = {.rng = {seed}};
    uint64_t restored = lh_rng_below(&m.rng, BLOCKS);
    bool good;

    good = lh_sched_init(&m.s, (BLOCKS - 1) * (uint64_t)BLOCK + 1, BLOCK, 8 * MIB) == 0;
    for (unsigned b = 0; b < BLOCKS; b++)
        m.of[b] = MISSING;
    for (uint64_t b = restored; b < BLOCKS && b < restored + 20; b++) {
        good = good && lh_sched_restore(&m.s, b, b + 1) == 0;
        m.of[b] = DURABLE;
    }
    for (unsigned k = 0; good && k < 800; k++) {
        good = step(&m) && agrees(&m);
        if (!good)
            diag("seed %llu, step %u", (unsigned long long)seed, k);
    }
    lh_sched_free(&m.s);
    return good;
}

/* ---- short of memory ------------------------------------------------------------------------ */

/* What each operation does to a schedule with full arrays. */
static int op_init(struct lh_sched *s)
{
    struct lh_sched other;
    int rc = lh_sched_init(&other, GIB, BLOCK, GIB);

    (void)s;
    lh_sched_free(&other);
    return rc;
}

static int op_grant(struct lh_sched *s)
{
    return grant(s, 1) > 0 ? 0 : -LH_E_NOMEM;
}

static int op_ack(struct lh_sched *s)
{
    return lh_sched_ack(s, 36, 37);
}

static int op_again(struct lh_sched *s)
{
    return lh_sched_again(s, 36, 37);
}

static int op_retracted(struct lh_sched *s)
{
    return lh_sched_retracted(s, 1, 2);
}

static int op_down(struct lh_sched *s)
{
    return lh_sched_stream_down(s, 0);
}

static int op_restore(struct lh_sched *s)
{
    return lh_sched_restore(s, 500, 501);
}

/* missing: 8 runs; durable: 8 runs; stream 0: 8 runs. */
static struct lh_sched crowded(void)
{
    struct lh_sched s;

    lh_sched_init(&s, 1000ull * BLOCK, BLOCK, GIB);
    lh_sched_stream_up(&s, 0);
    lh_sched_stream_up(&s, 1);
    while (s.reached < 200 && grant(&s, 0) > 0)
        ;
    for (uint64_t b = 0; b < 8; b++)
        lh_sched_ack(&s, b * 20, b * 20 + 10);
    for (uint64_t b = 1; b < 8; b++)
        lh_sched_again(&s, b * 20 + 12, b * 20 + 14);
    return s;
}

static void test_no_memory(void)
{
    static const struct {
        const char *name;
        int (*run)(struct lh_sched *s);
    } ops[] = {{"init", op_init},          {"grant", op_grant}, {"ack", op_ack},
               {"again", op_again},        {"down", op_down},   {"restore", op_restore},
               {"retracted", op_retracted}};

    for (unsigned k = 0; k < sizeof(ops) / sizeof(ops[0]); k++) {
        unsigned n = 0;
        bool met = true;

        while (met) {
            struct lh_sched s = crowded();
            uint64_t sum = s.missing.blocks + s.durable.blocks + s.granted_blocks;
            uint64_t granted = 0;
            int rc;

            lh_fault_arm(n++);
            rc = ops[k].run(&s);
            met = lh_fault_disarm();
            for (unsigned i = 0; i < 2; i++)
                granted += s.streams[i].granted.blocks;
            if (rc != (met ? -LH_E_NOMEM : 0) || granted != s.granted_blocks)
                ok(false, "%s, allocation %u: status and count", ops[k].name, n);
            if (k != 2 && k != 5 && /* these two end the session */
                s.missing.blocks + s.durable.blocks + s.granted_blocks != sum)
                ok(false, "%s, allocation %u: no block is in two places or none", ops[k].name, n);
            lh_sched_free(&s);
        }
        ok(n >= 2, "%s met %u faults, then passed", ops[k].name, n - 1);
    }
}

int main(void)
{
    uint64_t bad = 0;

    test_sizes();
    test_end_of_file();
    test_order();
    test_window();
    test_no_stop_and_wait();
    test_acks();
    test_in_flight();
    test_grow();
    test_empty_and_odd();
    test_no_memory();
    for (uint64_t seed = 1; seed <= 300; seed++)
        bad += !against_model(seed);
    is_u64(bad, 0, "300 seeds of 800 steps agree with a model");
    return done_testing();
}
