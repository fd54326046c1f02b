/* A sink that comes back: what is gone on with, what is compared, what starts over. */
#include "sink_rig.h"
#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_resume(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    uint8_t id[16];

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK + 1, 1);
    rig_begin(&src, 3);
    memcpy(id, opened.transfer_id, 16);
    rig_resumes(&src, 3, "the same again");
    is_mem(opened.transfer_id, id, 16, "the same transfer");
    is_u64(opened.epoch, 2, "the next epoch");
    ok(!opened.compare && !opened.dropped, "nothing to compare, nothing dropped");

    rig_begin(&src, 0);
    src.how.source.ino++;
    rig_resumes(&src, 0, "nothing durable, another inode");
    ok(!opened.compare, "nothing to compare");

    rig_begin(&src, 3);
    sink = rig_open(&src);
    rig_send(sink, &src, 3, 5);
    lh_sink_close(sink);
    rig_resumes(&src, 3, "what was not committed is not there");
    scratch_source_free(&src);
}

static void test_compare(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    struct lh_hash hashes[3];
    struct lh_hash want;

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK, 1);
    rig_begin(&src, 3);
    src.how.source.ctime.nsec++;
    sink = rig_open(&src);
    ok(sink != NULL && opened.compare && opened.resumed, "another ctime: contents are compared");
    lh_sink_close(sink);
    sink = rig_open(&src);
    ok(sink != NULL && opened.compare, "and again when that was not done");
    is_i64(lh_sink_hashes(sink, 0, 3, hashes, &err), 0, "hashes");
    lh_hash_bytes(src.data + 2 * SCRATCH_BLOCK, SCRATCH_BLOCK, &want);
    is_mem(&hashes[2], &want, sizeof(want), "are the contents'");
    is_i64(lh_sink_hashes(sink, 1, 3, hashes, &err), -LH_E_PROTOCOL, "not of what is missing");
    is_i64(lh_sink_hashes(sink, UINT64_MAX, 2, hashes, &err), -LH_E_PROTOCOL, "nor out of bounds");
    is_i64(lh_sink_retract(sink, 1, 2, &err), 0, "one is taken back");
    is_i64(lh_sink_retract(sink, 1, 2, &err), -LH_E_PROTOCOL, "not twice");
    is_i64(lh_sink_compared(sink, &err), 0, "compared");
    lh_sink_close(sink);
    sink = rig_open(&src);
    ok(sink != NULL && !opened.compare, "remembered");
    lh_sink_close(sink);
    rig_resumes(&src, 2, "without the one that was taken back");
    rig_begin(&src, 2);
    src.how.source.dev++;
    sink = rig_open(&src);
    ok(opened.compare, "another device: compared");
    lh_sink_close(sink);
    rig_begin(&src, 2);
    src.how.source.ino++;
    sink = rig_open(&src);
    ok(opened.compare, "another inode: compared");
    lh_sink_close(sink);
    scratch_source_free(&src);
}

static void test_start_over(void)
{
    struct scratch_source src;
    struct scratch_source two;

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK, 1);
    scratch_source_init(&two, root, "t", 5 * SCRATCH_BLOCK, 2);
    rig_begin(&src, 3);
    rig_resumes(&two, 0, "another version");
    ok(opened.dropped && opened.epoch == 2, "dropped, and the epoch goes on");
    scratch_source_free(&two);
    scratch_source_init(&two, root, "t", 5 * SCRATCH_BLOCK + 1, 1);
    rig_begin(&src, 3);
    rig_resumes(&two, 0, "another size");
    ok(opened.dropped, "dropped");
    rig_begin(&src, 3);
    src.how.restart = true;
    rig_resumes(&src, 0, "told to");
    ok(opened.dropped, "dropped");
    src.how.restart = false;
    rig_begin(&src, 3);
    unlink(scratch_path(hidden.part));
    rig_resumes(&src, 0, "no staging file");
    rig_begin(&src, 3);
    unlink(scratch_path(hidden.journal));
    rig_resumes(&src, 0, "no journal");
    ok(opened.dropped, "dropped");
    rig_begin(&src, 3);
    scratch_write("copy", src.data, 5 * SCRATCH_BLOCK);
    rename(scratch_path("copy"), scratch_path(hidden.part));
    rig_resumes(&src, 0, "another staging file");
    rig_begin(&src, 3);
    ok(truncate(scratch_path(hidden.part), 100) == 0, "a staging file that was cut");
    rig_resumes(&src, 0, "one that was cut");
    rig_begin(&src, 3);
    scratch_write(hidden.journal, "garbage", 7);
    rig_resumes(&src, 0, "a damaged journal");
    ok(opened.dropped, "dropped");
    scratch_source_free(&src);
    scratch_source_free(&two);
}

/* A journal that belongs to another target, or to the same name in another directory. */
static void test_foreign_journal(void)
{
    struct scratch_source src;
    struct scratch_source other;
    struct lh_hidden of_other;
    uint8_t *bytes;
    size_t len;

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK, 1);
    scratch_source_init(&other, root, "u", 5 * SCRATCH_BLOCK, 1);
    lh_hidden_of("u", &of_other);
    rig_begin(&other, 4);
    bytes = scratch_read(of_other.journal, &len);
    rig_begin(&src, 2);
    scratch_write(hidden.journal, bytes, len);
    rig_resumes(&src, 0, "another target's journal");
    free(bytes);
    rig_begin(&src, 4);
    bytes = scratch_read(hidden.journal, &len);
    rig_begin(&src, 2);
    scratch_write(hidden.journal, bytes, len);
    rig_resumes(&src, 0, "the journal of an earlier staging file");
    free(bytes);
    scratch_source_free(&src);
    scratch_source_free(&other);
}

static void test_grid(void)
{
    struct scratch_source src;
    struct lh_sink *sink;

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK, 1);
    rig_begin(&src, 3);
    src.how.block_bytes = 2 * SCRATCH_BLOCK;
    sink = rig_open(&src);
    ok(sink != NULL && opened.dropped && !opened.resumed, "another grid starts over");
    lh_sink_close(sink);
    src.how.block_bytes = 100000;
    ok(rig_open(&src) == NULL && err.status == LH_E_REFUSED, "a grid that is none");
    src.how.block_bytes = SCRATCH_BLOCK;
    src.how.hash = 9;
    ok(rig_open(&src) == NULL && err.status == LH_E_REFUSED, "an unknown hash");
    scratch_source_free(&src);
}

int main(void)
{
    rig_start();
    test_resume();
    test_compare();
    test_start_over();
    test_foreign_journal();
    test_grid();
    rig_end();
    return done_testing();
}
