/* A sink of a sparse source: holes that are told of before, blocks of zeros as they are found. */
#include "sink_rig.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Blocks 0, 3, 4 and 7 have data, the last one is short; the rest reads as zeros. */
static void sparse_source(struct scratch_source *src, struct lh_runs *data)
{
    scratch_source_init(src, root, "t", 9 * SCRATCH_BLOCK - 5, 1);
    lh_runs_init(data, LH_RUNS_MAX);
    lh_runs_add(data, 0, 1);
    lh_runs_add(data, 3, 5);
    lh_runs_add(data, 7, 8);
    for (uint64_t b = 0; b < src->n_blocks; b++)
        if (!lh_runs_has(data, b))
            memset(src->data + b * SCRATCH_BLOCK, 0, scratch_block_len(src, b));
    src->how.data = data;
}

static void take_all_holes(struct lh_sink *sink)
{
    int r;

    do
        r = lh_sink_holes(sink, &err);
    while (r > 0);
    is_i64(r, 0, "holes are taken");
}

static void test_holes(void)
{
    struct scratch_source src;
    struct lh_runs data, durable;
    struct lh_hash digest, want;
    struct lh_sink *sink;

    scratch_clear();
    sparse_source(&src, &data);
    lh_runs_init(&durable, LH_RUNS_MAX);
    sink = rig_open(&src);
    take_all_holes(sink);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, 5, "durable at once, and nothing else is");
    ok(!lh_runs_overlaps(&durable, 3, 5) && lh_runs_has(&durable, 8), "the right ones");
    while (lh_sink_preallocate(sink, &err) > 0)
        ;
    rig_send(sink, &src, 3, 4);
    scratch_commit(sink, NULL, &err);
    rig_send(sink, &src, 7, 8); /* written, never committed */
    lh_sink_close(sink);

    /* The same version, but this host sees a hole where block 7 lies half done. */
    lh_runs_sub(&data, 7, 8);
    memset(src.data + 7 * SCRATCH_BLOCK, 0, SCRATCH_BLOCK);
    sink = rig_open(&src);
    ok(sink != NULL && opened.resumed, "resumed");
    take_all_holes(sink);
    lh_runs_clear(&durable);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, 7, "one more hole");
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "completes: %s", err.text);
    lh_sink_close(sink);
    ok(scratch_same("t", &src), "what was written there reads as zeros again");

    scratch_clear();
    sink = rig_open(&src);
    take_all_holes(sink);
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, EOPNOTSUPP);
    scratch_complete(sink, &src, opened.epoch, &err);
    lh_sysfault_disarm();
    lh_sink_close(sink);
    ok(scratch_same("t", &src), "where no space can be taken");
    want = scratch_digest(&src);
    src.how.restart = true;
    sink = rig_open(&src);
    take_all_holes(sink);
    for (uint64_t b = 0; b < src.n_blocks; b++)
        scratch_send(sink, &src, opened.epoch, b, &err);
    scratch_commit(sink, NULL, &err);
    is_i64(scratch_finish(sink, &src, &digest, &err), 0, "finished");
    is_mem(&digest, &want, sizeof(want), "the digest is that of the contents, holes or not");
    lh_sink_close(sink);
    lh_runs_free(&durable);
    lh_runs_free(&data);
    scratch_source_free(&src);
}

/* A hole that cannot be punched is left to be sent. */
static void test_holes_unpunched(void)
{
    struct scratch_source src;
    struct lh_runs data, durable;
    struct lh_sink *sink;

    scratch_clear();
    sparse_source(&src, &data);
    sink = rig_open(&src); /* closed before any hole was taken */
    lh_sink_close(sink);
    sink = rig_open(&src);
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, EOPNOTSUPP);
    take_all_holes(sink);
    lh_sysfault_disarm();
    lh_runs_init(&durable, LH_RUNS_MAX);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, 0, "none is durable");
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "all are sent");
    lh_sink_close(sink);
    ok(scratch_same("t", &src), "whole");
    lh_runs_free(&durable);
    lh_runs_free(&data);
    scratch_source_free(&src);
}

/* Write a block as zeros, whatever the source has. */
static int send_zeros(struct lh_sink *sink, const struct scratch_source *src, uint64_t block)
{
    uint32_t len = scratch_block_len(src, block);
    struct lh_hash hash;
    bool soon = false;

    lh_hash_zeros(len, &hash);
    return lh_sink_write(sink, opened.epoch, block * SCRATCH_BLOCK, NULL, len, &hash, &soon, &err);
}

static uint64_t used(const char *name)
{
    struct stat st;

    return stat(scratch_path(name), &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
}

/* Data in block 0, 3, 4 and 7; the rest is zeros that are told of as such. */
static void complete_with_zeros(struct lh_sink *sink, const struct scratch_source *src,
                                const struct lh_runs *data, const char *what)
{
    struct lh_hash digest, want = scratch_digest(src);

    for (uint64_t b = 0; b < src->n_blocks; b++) {
        int r = lh_runs_has(data, b) ? scratch_send(sink, src, opened.epoch, b, &err)
                                     : send_zeros(sink, src, b);

        if (r != LH_CLAIM_OK && r != LH_CLAIM_DUPLICATE)
            bail("%s: block %llu: %d %s", what, (unsigned long long)b, r, err.text);
    }
    is_i64(scratch_commit(sink, NULL, &err), 0, "%s: committed", what);
    is_i64(scratch_finish(sink, src, &digest, &err), 0, "%s: finished%s", what, err.text);
    is_mem(&digest, &want, sizeof(want), "%s: the digest is that of the contents", what);
    lh_sink_forget(sink);
    lh_sink_close(sink);
    ok(scratch_same("t", src), "%s: the contents are the source's", what);
}

/* All of it written and never committed, as a killed receiver leaves it. */
static void leave_data(struct scratch_source *src)
{
    uint8_t *zeros = src->data;
    struct lh_sink *sink;

    src->data = malloc(src->how.source.size);
    memset(src->data, 0x55, src->how.source.size);
    scratch_clear();
    sink = rig_open(src);
    rig_send(sink, src, 0, src->n_blocks);
    lh_sink_close(sink);
    free(src->data);
    src->data = zeros;
}

static void test_zeros(void)
{
    struct scratch_source src;
    struct lh_runs data;
    struct lh_sink *sink;

    scratch_clear();
    sparse_source(&src, &data);
    src.how.data = NULL;
    src.how.sparse = true;
    sink = rig_open(&src);
    is_i64(lh_sink_preallocate(sink, &err), 0, "no space is taken ahead");
    is_u64(used(hidden.part), 0, "none at all");
    is_i64(send_zeros(sink, &src, 9), LH_CLAIM_BOUNDS, "zeros behind the end");
    is_i64(send_zeros(sink, &src, 1), LH_CLAIM_OK, "zeros are a block");
    is_i64(send_zeros(sink, &src, 1), LH_CLAIM_DUPLICATE, "of which the first copy counts");
    is_i64(scratch_send(sink, &src, 1, 1, &err), LH_CLAIM_DUPLICATE, "also over contents");
    is_i64(scratch_send(sink, &src, 1, 0, &err), LH_CLAIM_OK, "contents");
    is_i64(send_zeros(sink, &src, 0), LH_CLAIM_DUPLICATE, "count before zeros that come later");
    complete_with_zeros(sink, &src, &data, "a new file");
    ok(used("t") <= 4 * SCRATCH_BLOCK, "a new file: takes space for data alone (%llu bytes)",
       (unsigned long long)used("t"));

    leave_data(&src);
    sink = rig_open(&src);
    ok(sink != NULL && !opened.resumed && used(hidden.part) > 8 * SCRATCH_BLOCK, "one left there");
    complete_with_zeros(sink, &src, &data, "one left there");
    ok(used("t") <= 5 * SCRATCH_BLOCK, "one left there: what was written is punched (%llu bytes)",
       (unsigned long long)used("t"));

    leave_data(&src);
    sink = rig_open(&src);
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, EOPNOTSUPP);
    complete_with_zeros(sink, &src, &data, "where holes cannot be");
    lh_sysfault_disarm();

    leave_data(&src);
    sink = rig_open(&src);
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE) | LH_SYS_BIT(LH_SYS_WRITE), 0, EIO);
    is_i64(send_zeros(sink, &src, 1), -LH_E_DEST, "neither holes nor writes");
    lh_sysfault_disarm();
    is_i64(send_zeros(sink, &src, 2), -LH_E_DEST, "and then nothing more");
    lh_sink_close(sink);
    lh_runs_free(&data);
    scratch_source_free(&src);
}

/* In a file that is new, but where a block had other contents once. */
static void test_zeros_retracted(void)
{
    struct scratch_source src;
    struct lh_runs data;
    struct lh_sink *sink;

    scratch_clear();
    sparse_source(&src, &data);
    src.how.data = NULL;
    src.how.sparse = true;
    sink = rig_open(&src);
    memset(src.data + SCRATCH_BLOCK, 0x55, SCRATCH_BLOCK);
    rig_send(sink, &src, 0, 2);
    memset(src.data + SCRATCH_BLOCK, 0, SCRATCH_BLOCK);
    scratch_commit(sink, NULL, &err);
    is_i64(lh_sink_retract(sink, 1, 2, &err), 0, "a block is retracted");
    complete_with_zeros(sink, &src, &data, "retracted");
    lh_runs_free(&data);
    scratch_source_free(&src);
}

int main(void)
{
    rig_start();
    test_holes();
    test_holes_unpunched();
    test_zeros();
    test_zeros_retracted();
    rig_end();
    return done_testing();
}
