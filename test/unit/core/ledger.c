/* core/ledger: each state and its way on, against a model by seed, and short of memory. */
#include "core/ledger.h"

#include "longhaul/status.h"
#include "test/lib/fault.h"
#include "test/lib/rng.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

#define BLOCKS 60
#define MAX_PENDING 20

static struct lh_hash hash_of(uint64_t block)
{
    struct lh_hash h = {{0}};

    memcpy(h.bytes, &block, sizeof(block));
    return h;
}

static void write_block(struct lh_ledger *l, uint64_t block)
{
    struct lh_hash h = hash_of(block);

    is_i64(lh_ledger_claim(l, l->epoch, block), LH_CLAIM_OK, "claim block %d", (int)block);
    is_i64(lh_ledger_wrote(l, block, &h), 0, "block %d is written", (int)block);
}

static void commit(struct lh_ledger *l)
{
    struct lh_batch batch = {0};

    ok(lh_ledger_snapshot(l, &batch), "a snapshot");
    is_i64(lh_ledger_synced(l, &batch), 0, "which is synced");
    lh_batch_free(&batch);
}

static void test_way_of_a_block(void)
{
    struct lh_ledger l;
    struct lh_batch batch = {0};
    struct lh_hash h = hash_of(3);

    lh_ledger_init(&l, 5, 100);
    is_i64(lh_ledger_claim(&l, 0, 3), LH_CLAIM_FENCED, "nobody holds it: no claim");
    lh_ledger_hold(&l, 7);
    is_i64(lh_ledger_claim(&l, 6, 3), LH_CLAIM_FENCED, "an older epoch is fenced");
    is_i64(lh_ledger_claim(&l, 8, 3), LH_CLAIM_FENCED, "so is one that nobody gave");
    is_i64(lh_ledger_claim(&l, 7, 5), LH_CLAIM_BOUNDS, "no block behind the last");
    is_i64(lh_ledger_claim(&l, 7, UINT64_MAX), LH_CLAIM_BOUNDS, "nor far behind it");
    is_i64(lh_ledger_claim(&l, 7, 3), LH_CLAIM_OK, "the first copy is claimed");
    is_i64(lh_ledger_claim(&l, 7, 3), LH_CLAIM_DUPLICATE, "a second one, while it is written: no");
    ok(!lh_ledger_snapshot(&l, &batch), "a block being written is in no snapshot");
    is_i64(lh_ledger_wrote(&l, 3, &h), 0, "it is written");
    is_i64(lh_ledger_claim(&l, 7, 3), LH_CLAIM_DUPLICATE, "a copy while it is pending: no");
    is_i64(lh_ledger_claim(&l, 7, 0), LH_CLAIM_OK, "another block");
    ok(lh_ledger_snapshot(&l, &batch) && batch.n == 1 && batch.v[0].block == 3, "snapshot");
    is_mem(&batch.v[0].hash, &h, sizeof(h), "with its hash");
    is_i64(lh_ledger_claim(&l, 7, 3), LH_CLAIM_DUPLICATE, "a copy during the sync: no");
    is_i64(lh_ledger_wrote(&l, 0, &h), 0, "a write ends during the sync");
    ok(!lh_runs_has(&l.durable, 3), "not durable before the sync has ended");
    is_i64(lh_ledger_synced(&l, &batch), 0, "synced");
    ok(lh_runs_has(&l.durable, 3) && !lh_runs_has(&l.durable, 0),
       "durable; the write that ended during the sync is not");
    is_i64(lh_ledger_claim(&l, 7, 3), LH_CLAIM_DUPLICATE, "a copy of a durable block: no");
    lh_batch_free(&batch);
    commit(&l);
    for (uint64_t b = 1; b < 5; b++)
        if (b != 3)
            write_block(&l, b);
    ok(lh_ledger_all_taken(&l) && !lh_ledger_complete(&l), "all written, not all durable");
    commit(&l);
    ok(lh_ledger_complete(&l), "complete");
    lh_ledger_free(&l);
}

static void test_snapshot_is_sorted(void)
{
    static const uint64_t order[] = {9, 2, 7, 0, 8, 1, 5};
    struct lh_ledger l;
    struct lh_batch batch = {0};
    bool sorted = true;

    lh_ledger_init(&l, 10, 100);
    lh_ledger_hold(&l, 1);
    for (unsigned i = 0; i < 7; i++)
        write_block(&l, order[i]);
    ok(lh_ledger_snapshot(&l, &batch) && batch.n == 7, "snapshot of seven");
    for (size_t i = 0; i < batch.n; i++) {
        struct lh_hash h = hash_of(batch.v[i].block);

        sorted = sorted && (i == 0 || batch.v[i - 1].block < batch.v[i].block) &&
                 memcmp(&h, &batch.v[i].hash, sizeof(h)) == 0;
    }
    ok(sorted, "sorted, each with its own hash");
    lh_ledger_synced(&l, &batch);
    is_u64(l.durable.n, 3, "three runs became durable");
    lh_batch_free(&batch);
    lh_ledger_free(&l);
}

static void test_full(void)
{
    struct lh_ledger l;
    struct lh_batch batch = {0};
    struct lh_hash h = hash_of(0);

    lh_ledger_init(&l, 10, 3);
    lh_ledger_hold(&l, 1);
    write_block(&l, 0);
    lh_ledger_snapshot(&l, &batch);
    write_block(&l, 1);
    lh_ledger_claim(&l, 1, 2);
    is_i64(lh_ledger_claim(&l, 1, 3), LH_CLAIM_FULL, "syncing, pending and writing count as full");
    is_i64(lh_ledger_claim(&l, 1, 2), LH_CLAIM_DUPLICATE, "a copy is still told as one");
    lh_ledger_synced(&l, &batch);
    lh_batch_free(&batch);
    is_i64(lh_ledger_claim(&l, 1, 3), LH_CLAIM_OK, "the commit makes room");
    is_i64(lh_ledger_claim(&l, 1, 4), LH_CLAIM_FULL, "for as many as became durable");
    lh_ledger_failed(&l, 3);
    is_i64(lh_ledger_claim(&l, 1, 4), LH_CLAIM_OK, "so does a failed write");
    lh_ledger_wrote(&l, 2, &h);
    lh_ledger_wrote(&l, 4, &h);
    lh_ledger_free(&l);
}

static void test_failed_sync(void)
{
    struct lh_ledger l;
    struct lh_batch batch = {0};
    struct lh_hash h = hash_of(1);

    lh_ledger_init(&l, 10, 100);
    lh_ledger_hold(&l, 1);
    write_block(&l, 0);
    commit(&l);
    write_block(&l, 1);
    write_block(&l, 3);
    lh_ledger_snapshot(&l, &batch);
    write_block(&l, 2);
    lh_ledger_claim(&l, 1, 4);
    lh_ledger_lost(&l, &batch);
    lh_batch_free(&batch);
    is_u64(l.taken.blocks, 2, "what was syncing or pending is free; durable and writing are not");
    is_i64(lh_ledger_claim(&l, 1, 5), LH_CLAIM_FENCED, "nobody may write");
    is_i64(lh_ledger_wrote(&l, 4, &h), -LH_E_DEST, "a write from before counts for nothing");
    is_u64(l.taken.blocks, 1, "and its block is free");
    ok(!lh_ledger_snapshot(&l, &batch), "nothing is left to commit");
    ok(lh_ledger_quiet(&l), "quiet");
    lh_ledger_hold(&l, 2);
    write_block(&l, 1);
    commit(&l);
    is_u64(l.durable.blocks, 2, "held anew, it goes on from what is durable");
    lh_ledger_free(&l);
}

static void test_fence(void)
{
    struct lh_ledger l;
    struct lh_hash h = hash_of(1);

    lh_ledger_init(&l, 10, 100);
    lh_ledger_hold(&l, 1);
    lh_ledger_claim(&l, 1, 1);
    lh_ledger_fence(&l);
    is_i64(lh_ledger_claim(&l, 1, 2), LH_CLAIM_FENCED, "fenced: no claim, even of its own epoch");
    ok(!lh_ledger_quiet(&l), "a write is under way: not quiet");
    is_i64(lh_ledger_wrote(&l, 1, &h), 0, "it may end, and counts");
    ok(lh_ledger_quiet(&l), "quiet");
    commit(&l);
    lh_ledger_hold(&l, 2);
    is_i64(lh_ledger_claim(&l, 1, 2), LH_CLAIM_FENCED, "the old epoch stays out");
    is_i64(lh_ledger_claim(&l, 2, 1), LH_CLAIM_DUPLICATE, "the new one finds what was committed");
    is_i64(lh_ledger_claim(&l, 2, 2), LH_CLAIM_OK, "and may write");
    lh_ledger_failed(&l, 2);
    lh_ledger_free(&l);
}

static void test_restore_and_retract(void)
{
    struct lh_ledger l;

    lh_ledger_init(&l, 20, 100);
    is_i64(lh_ledger_restore(&l, 2, 8), 0, "restore");
    is_i64(lh_ledger_restore(&l, 10, 14), 0, "restore");
    is_i64(lh_ledger_restore(&l, 18, 21), -LH_E_CORRUPT, "behind the end of the file");
    is_i64(lh_ledger_restore(&l, 9, 8), -LH_E_CORRUPT, "the wrong way round");
    is_i64(lh_ledger_restore(&l, 0, UINT64_MAX), -LH_E_CORRUPT, "more than all");
    lh_ledger_hold(&l, 1);
    is_i64(lh_ledger_claim(&l, 1, 3), LH_CLAIM_DUPLICATE, "restored blocks are durable");
    write_block(&l, 8);
    lh_ledger_claim(&l, 1, 9);
    is_i64(lh_ledger_retract(&l, 4, 12), 0, "retract across pending and writing ones");
    is_u64(l.durable.blocks, 4, "durable: 2, 3, 12, 13");
    is_u64(l.taken.blocks, 6, "taken: the pending and the writing one stay");
    is_i64(lh_ledger_claim(&l, 1, 5), LH_CLAIM_OK, "a retracted block can be claimed again");
    is_i64(lh_ledger_claim(&l, 1, 8), LH_CLAIM_DUPLICATE, "the pending one cannot");
    is_i64(lh_ledger_retract(&l, 14, 20), 0, "nothing durable there: nothing happens");
    is_u64(l.durable.blocks, 4, "as it was");
    lh_ledger_failed(&l, 9);
    lh_ledger_failed(&l, 5);
    lh_ledger_free(&l);
}

static void test_empty_file(void)
{
    struct lh_ledger l;

    lh_ledger_init(&l, 0, 10);
    lh_ledger_hold(&l, 1);
    ok(lh_ledger_complete(&l) && lh_ledger_all_taken(&l), "an empty file is complete");
    is_i64(lh_ledger_claim(&l, 1, 0), LH_CLAIM_BOUNDS, "and has no block to claim");
    lh_ledger_free(&l);
}

/* ---- against a model ------------------------------------------------------------------------ */

enum state { FREE, WRITING, PENDING, SYNCING, DURABLE };

struct model {
    struct lh_ledger l;
    struct lh_rng rng;
    enum state of[BLOCKS];
    struct lh_batch batch;
    bool fenced;
    bool failed;
};

static unsigned count(const struct model *m, enum state s)
{
    unsigned n = 0;

    for (unsigned b = 0; b < BLOCKS; b++)
        n += m->of[b] == s;
    return n;
}

static void turn(struct model *m, enum state from, enum state to)
{
    for (unsigned b = 0; b < BLOCKS; b++)
        if (m->of[b] == from)
            m->of[b] = to;
}

static bool agrees(const struct model *m)
{
    for (uint64_t b = 0; b < BLOCKS; b++) {
        if (lh_runs_has(&m->l.taken, b) != (m->of[b] != FREE))
            return false;
        if (lh_runs_has(&m->l.durable, b) != (m->of[b] == DURABLE))
            return false;
    }
    return m->l.n_writing == count(m, WRITING) && m->l.pending.n == count(m, PENDING) &&
           m->l.n_syncing == count(m, SYNCING) &&
           lh_ledger_complete(&m->l) == (count(m, DURABLE) == BLOCKS) &&
           lh_ledger_quiet(&m->l) == (m->fenced && count(m, WRITING) == 0);
}

static bool step_claim(struct model *m, uint64_t b)
{
    uint64_t epoch = m->l.epoch + (lh_rng_one_in(&m->rng, 10) ? 1 : 0);
    bool faulty = lh_rng_one_in(&m->rng, 8);
    enum lh_claim got;
    enum lh_claim want = LH_CLAIM_OK;

    if (faulty)
        lh_fault_arm(0);
    got = lh_ledger_claim(&m->l, epoch, b);
    faulty = lh_fault_disarm() && faulty;
    if (m->fenced || epoch != m->l.epoch)
        want = LH_CLAIM_FENCED;
    else if (m->of[b] != FREE)
        want = LH_CLAIM_DUPLICATE;
    else if (count(m, WRITING) + count(m, PENDING) + count(m, SYNCING) >= MAX_PENDING)
        want = LH_CLAIM_FULL;
    else if (faulty)
        want = LH_CLAIM_NOMEM;
    if (got == LH_CLAIM_OK)
        m->of[b] = WRITING;
    return got == want;
}

static bool step_write_ends(struct model *m, uint64_t b)
{
    struct lh_hash h = hash_of(b);
    bool faulty = lh_rng_one_in(&m->rng, 4);
    int rc;

    if (m->of[b] != WRITING)
        return true;
    if (lh_rng_one_in(&m->rng, 5)) {
        lh_fault_arm(0); /* must do without */
        lh_ledger_failed(&m->l, b);
        m->of[b] = FREE;
        return !lh_fault_disarm();
    }
    if (faulty)
        lh_fault_arm(0);
    rc = lh_ledger_wrote(&m->l, b, &h);
    faulty = lh_fault_disarm() && faulty;
    m->of[b] = rc == 0 ? PENDING : FREE;
    return rc == (m->failed ? -LH_E_DEST : faulty ? -LH_E_NOMEM : 0);
}

static bool step_sync(struct model *m)
{
    if (count(m, SYNCING) == 0) {
        bool any = count(m, PENDING) > 0;

        turn(m, PENDING, SYNCING);
        return lh_ledger_snapshot(&m->l, &m->batch) == any;
    }
    if (!lh_rng_one_in(&m->rng, 6)) {
        lh_fault_arm((unsigned)lh_rng_below(&m->rng, 3));
        if (lh_ledger_synced(&m->l, &m->batch) == 0)
            turn(m, SYNCING, DURABLE);
        lh_fault_disarm(); /* failed: agrees() finds the ledger unchanged */
    } else {
        lh_fault_arm(0); /* must do without */
        lh_ledger_lost(&m->l, &m->batch);
        if (lh_fault_disarm())
            return false;
        turn(m, SYNCING, FREE);
        turn(m, PENDING, FREE);
        m->fenced = m->failed = true;
    }
    if (count(m, SYNCING) == 0)
        lh_batch_free(&m->batch);
    return true;
}

static bool step_retract(struct model *m, uint64_t b)
{
    uint64_t end = b + lh_rng_below(&m->rng, BLOCKS + 1 - b);
    bool faulty = lh_rng_one_in(&m->rng, 2);
    int rc;

    if (faulty)
        lh_fault_arm((unsigned)lh_rng_below(&m->rng, 2));
    rc = lh_ledger_retract(&m->l, b, end);
    faulty = lh_fault_disarm() && faulty;
    for (; rc == 0 && b < end; b++)
        if (m->of[b] == DURABLE)
            m->of[b] = FREE;
    return rc == (faulty ? -LH_E_NOMEM : 0);
}

static bool step_holder(struct model *m)
{
    lh_ledger_fence(&m->l);
    m->fenced = true;
    if (count(m, WRITING) + count(m, PENDING) + count(m, SYNCING) == 0) {
        lh_ledger_hold(&m->l, m->l.epoch + 1);
        m->fenced = m->failed = false;
    }
    return true;
}

static bool against_model(uint64_t seed)
{
    struct model m = {.rng = {seed}, .fenced = true};
    bool good = true;

    lh_ledger_init(&m.l, BLOCKS, MAX_PENDING);
    for (unsigned step = 0; good && step < 1500; step++) {
        uint64_t b = lh_rng_below(&m.rng, BLOCKS);
        uint64_t what = lh_rng_below(&m.rng, 100);

        if (what < 40)
            good = step_claim(&m, b);
        else if (what < 80)
            good = step_write_ends(&m, b);
        else if (what < 93)
            good = step_sync(&m);
        else if (what < 95)
            good = step_retract(&m, b);
        else if (m.fenced || what < 96)
            good = step_holder(&m);
        good = good && agrees(&m);
        if (!good)
            diag("seed %llu, step %u", (unsigned long long)seed, step);
    }
    lh_batch_free(&m.batch);
    lh_ledger_free(&m.l);
    return good;
}

/* ---- short of memory ------------------------------------------------------------------------ */

/* Synced is all or nothing: many runs at once, each allocation failing in turn. */
static void test_synced_no_memory(void)
{
    unsigned n = 0;
    bool met;

    do {
        struct lh_ledger l;
        struct lh_batch batch = {0};
        int rc;

        lh_ledger_init(&l, 200, 200);
        lh_ledger_restore(&l, 101, 103);
        lh_ledger_hold(&l, 1);
        for (uint64_t b = 0; b < 200; b += 2) {
            struct lh_hash h = hash_of(b);

            if (b != 102) {
                lh_ledger_claim(&l, 1, b);
                lh_ledger_wrote(&l, b, &h);
            }
        }
        lh_ledger_snapshot(&l, &batch);
        lh_fault_arm(n++);
        rc = lh_ledger_synced(&l, &batch);
        met = lh_fault_disarm();
        if (met) {
            is_i64(rc, -LH_E_NOMEM, "allocation %u of synced fails", n);
            ok(l.durable.blocks == 2 && l.durable.n == 1, "then nothing new is durable");
            lh_ledger_lost(&l, &batch);
            is_u64(l.taken.blocks, 2, "and all of it can be given up");
        } else {
            is_i64(rc, 0, "synced without a fault");
            is_u64(l.durable.blocks, 101, "all is durable");
        }
        lh_batch_free(&batch);
        lh_ledger_free(&l);
    } while (met);
    ok(n >= 3, "synced allocates for so many runs");
}

int main(void)
{
    uint64_t bad = 0;

    test_way_of_a_block();
    test_snapshot_is_sorted();
    test_full();
    test_failed_sync();
    test_fence();
    test_restore_and_retract();
    test_empty_file();
    test_synced_no_memory();
    for (uint64_t seed = 1; seed <= 300; seed++)
        bad += !against_model(seed);
    is_u64(bad, 0, "300 seeds of 1500 steps agree with a model");
    return done_testing();
}
