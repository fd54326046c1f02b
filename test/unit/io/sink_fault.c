/* Every system call and every allocation of a whole transfer fails once; what is acknowledged
 * stays, nothing wrong is left, and the next attempt ends well. */
#include "io/disk/sink.h"

#include "io/disk/staging.h"
#include "scratch.h"
#include "test/lib/fault.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define N_BLOCKS 5

static struct lh_place *root;
static struct lh_hidden hidden;
static struct scratch_source src;
static struct lh_runs acked;

/* A whole transfer in three commits with a block taken back in between. Returns 0 or what failed.
 */
static int transfer(struct lh_err *err)
{
    struct lh_sink_opened opened;
    struct lh_sink *sink;
    struct lh_hash hashes[2];
    struct lh_hash digest;
    int r = lh_sink_open(&src.how, &sink, &opened, err);

    if (r != 0)
        return r;
    if (opened.done) {
        lh_sink_close(sink);
        return 0;
    }
    for (uint64_t b = 0; r == 0 && b < N_BLOCKS; b++) {
        r = scratch_send(sink, &src, opened.epoch, b, err);
        if (r == LH_CLAIM_DUPLICATE)
            r = 0;
        if (r == 0 && b % 2 == 1)
            r = scratch_commit(sink, &acked, err);
        if (r == 0 && b == 3)
            r = lh_sink_hashes(sink, 1, 2, hashes, err);
        if (r == 0 && b == 3) {
            lh_runs_sub(&acked, 1, 2); /* from here on either is right */
            r = lh_sink_retract(sink, 1, 2, err);
        }
    }
    if (r == 0)
        r = scratch_send(sink, &src, opened.epoch, 1, err);
    if (r == 0)
        r = scratch_commit(sink, &acked, err);
    if (r == 0)
        r = scratch_finish(sink, &src, &digest, err);
    lh_sink_fence(sink);
    lh_sink_close(sink);
    return r;
}

/* What can be said of the directory at any time. Returns what is wrong, or NULL. */
static const char *inspect(bool finished)
{
    struct lh_sink_opened opened;
    struct lh_sink *sink;
    struct lh_runs durable;
    struct lh_err err = {0};
    const char *wrong = NULL;
    uint8_t *part = NULL;
    size_t len = 0;

    if (scratch_exists("t") && !scratch_same("t", &src))
        return "something half-made is under the target's name";
    if (finished && !scratch_exists("t"))
        return "finished, and there is no target";
    if (lh_sink_open(&src.how, &sink, &opened, &err) != 0)
        return "it cannot be opened again";
    lh_runs_init(&durable, LH_RUNS_MAX);
    lh_sink_durable(sink, &durable);
    if (!opened.done)
        part = scratch_read(hidden.part, &len);
    for (size_t i = 0; i < acked.n; i++) {
        if (!lh_runs_covers(&durable, acked.v[i].first, acked.v[i].end))
            wrong = "something acknowledged is lost";
    }
    for (uint64_t b = 0; part != NULL && b < N_BLOCKS; b++) {
        if (lh_runs_has(&durable, b) &&
            memcmp(part + b * SCRATCH_BLOCK, src.data + b * SCRATCH_BLOCK,
                   scratch_block_len(&src, b)) != 0)
            wrong = "something durable is wrong";
    }
    if (opened.done && !scratch_exists("t"))
        wrong = "done, and there is no target";
    free(part);
    lh_runs_free(&durable);
    lh_sink_close(sink);
    return wrong;
}

static void one_round(const char *what, unsigned n, int r, bool met)
{
    struct lh_err err = {0};
    const char *wrong = inspect(r == 0);

    if (wrong == NULL && met && r != 0 && scratch_count(true) > 2)
        wrong = "more is left than a staging file and a journal";
    if (wrong == NULL && transfer(&err) != 0)
        wrong = err.text[0] != '\0' ? err.text : "the next attempt fails";
    if (wrong == NULL && (!scratch_same("t", &src) || scratch_count(true) != 1))
        wrong = "the next attempt does not end with the target and its done record";
    if (wrong != NULL)
        ok(false, "%s %u: %s", what, n, wrong);
    scratch_clear();
    lh_runs_clear(&acked);
}

static void each_call(int error, bool for_good, const char *what)
{
    bool met = true;
    unsigned n;

    for (n = 0; met && n < 1000; n++) {
        struct lh_err err = {0};
        int r;

        if (for_good)
            lh_sysfault_arm_for_good(LH_SYS_CHANGES, n, error);
        else
            lh_sysfault_arm(LH_SYS_ALL, n, error);
        r = transfer(&err);
        met = lh_sysfault_disarm();
        if (r != 0 && err.status != -r)
            ok(false, "%s %u: no sentence", what, n);
        one_round(what, n, r, met);
    }
    ok(n > 20 && !met, "%s: each of %u calls has failed", what, n - 1);
}

static void each_allocation(void)
{
    bool met = true;
    unsigned n;

    for (n = 0; met && n < 1000; n++) {
        struct lh_err err = {0};
        int r;

        lh_fault_arm(n);
        r = transfer(&err);
        met = lh_fault_disarm();
        if (r != 0 && r != -LH_E_NOMEM)
            ok(false, "allocation %u: %d %s", n, r, err.text);
        one_round("allocation", n, r, met);
    }
    ok(n > 5 && !met, "each of %u allocations has failed", n - 1);
}

/* A failed open leaves nothing when there was nothing. */
static void each_call_of_open(void)
{
    bool met = true;
    size_t wrong = 0;
    unsigned n;

    for (n = 0; met && n < 200; n++) {
        struct lh_sink_opened opened;
        struct lh_sink *sink = NULL;
        struct lh_err err = {0};
        int r;

        scratch_clear();
        lh_sysfault_arm(LH_SYS_ALL & ~LH_SYS_BIT(LH_SYS_UNLINK), n, ENOSPC);
        r = lh_sink_open(&src.how, &sink, &opened, &err);
        met = lh_sysfault_disarm();
        wrong += r != 0 && scratch_count(true) + scratch_count(false) > 0;
        if (r != 0 && scratch_count(true) > 0)
            diag("call %u: %s", n, err.text);
        wrong += r == 0 && sink == NULL;
        lh_sink_close(sink);
    }
    is_u64(wrong, 0, "an open that fails leaves nothing (%u calls)", n - 1);
    ok(n > 8 && !met, "and each has failed");
    scratch_clear();
}

/* After a failed sync nothing more is taken, and what was pending is sent again. */
static void test_failed_sync(void)
{
    struct lh_sink_opened opened;
    struct lh_sink *sink;
    struct lh_err err = {0};
    struct lh_hash digest;

    for (int journal = 0; journal < 2; journal++) {
        scratch_clear();
        lh_runs_clear(&acked);
        lh_sink_open(&src.how, &sink, &opened, &err);
        scratch_send(sink, &src, 1, 0, &err);
        scratch_commit(sink, &acked, &err);
        scratch_send(sink, &src, 1, 1, &err);
        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_SYNC_DATA), (unsigned)journal, EDQUOT);
        is_i64(scratch_commit(sink, &acked, &err), -LH_E_DEST_SPACE, "a sync over quota: %s",
               err.text);
        lh_sysfault_disarm();
        is_u64(acked.blocks, 1, "nothing of it is acknowledged");
        is_i64(scratch_send(sink, &src, 1, 2, &err), -LH_E_DEST_SPACE, "no more blocks");
        is_i64(lh_sink_commit_begin(sink, &err), -LH_E_DEST_SPACE, "no more commits");
        is_i64(scratch_finish(sink, &src, &digest, &err), -LH_E_DEST_SPACE, "no finish");
        is_i64(lh_sink_compared(sink, &err), -LH_E_DEST_SPACE, "nothing else either");
        lh_sink_fence(sink);
        lh_sink_close(sink);
        lh_sink_open(&src.how, &sink, &opened, &err);
        is_i64(scratch_send(sink, &src, opened.epoch, 0, &err), LH_CLAIM_DUPLICATE, "durable");
        is_i64(scratch_send(sink, &src, opened.epoch, 1, &err), LH_CLAIM_OK, "taken back");
        lh_sink_close(sink);
    }
    scratch_clear();
    lh_runs_clear(&acked);
}

int main(void)
{
    struct lh_err err = {0};

    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    lh_hidden_of("t", &hidden);
    scratch_source_init(&src, root, "t", (N_BLOCKS - 1) * SCRATCH_BLOCK + 100, 1);
    lh_runs_init(&acked, LH_RUNS_MAX);
    each_call(EIO, false, "EIO at call");
    each_call(ENOSPC, false, "ENOSPC at call");
    each_call(EIO, true, "a disk that fails from call");
    each_call(EINTR, false, "interrupted at call");
    lh_sysfault_limit(10000);
    each_call(EIO, false, "with short writes, EIO at call");
    lh_sysfault_limit(0);
    each_allocation();
    each_call_of_open();
    test_failed_sync();
    scratch_source_free(&src);
    lh_runs_free(&acked);
    lh_place_close(root);
    return done_testing();
}
