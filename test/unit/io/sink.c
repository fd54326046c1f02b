/* A sink from offer to done: what is written and synced when, and what is refused on the way. */
#include "sink_rig.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void whole(uint64_t size)
{
    struct scratch_source src;
    struct lh_hash digest = {0};
    struct lh_hash want;
    struct lh_sink *sink;
    struct stat st;

    scratch_clear();
    scratch_source_init(&src, root, "t", size, 1);
    sink = rig_open(&src);
    if (!ok(sink != NULL, "%llu bytes: opened", (unsigned long long)size))
        return;
    ok(opened.epoch == 1 && !opened.resumed && !opened.compare && !opened.dropped && !opened.done,
       "a fresh one");
    stat(scratch_path(hidden.part), &st);
    ok((uint64_t)st.st_size == size && (st.st_mode & 07777) == 0600 && !scratch_exists("t"),
       "staged, hidden, private");
    is_u64(opened.dev, st.st_dev, "its device");
    ok(lh_sink_size(sink) == size && lh_sink_block_bytes(sink) == SCRATCH_BLOCK, "size and grid");
    rig_send(sink, &src, 0, src.n_blocks);
    is_i64(scratch_commit(sink, NULL, &err), 0, "committed");
    ok(lh_sink_complete(sink), "complete");
    src.how.mode = 06751;
    is_i64(scratch_finish(sink, &src, &digest, &err), 0, "finished%s", err.text);
    want = scratch_digest(&src);
    is_mem(&digest, &want, sizeof(want), "its digest");
    stat(scratch_path("t"), &st);
    is_u64(st.st_mode & 07777, 0751, "mode without set-id bits");
    ok(st.st_mtim.tv_sec == src.how.source.mtime.sec &&
           (uint32_t)st.st_mtim.tv_nsec == src.how.source.mtime.nsec,
       "the source's mtime");
    ok(scratch_same("t", &src), "the source's contents");
    ok(!scratch_exists(hidden.part) && scratch_exists(hidden.journal), "a done record is left");
    memset(&digest, 0, sizeof(digest));
    ok(scratch_finish(sink, &src, &digest, &err) == 0 && !memcmp(&digest, &want, sizeof(want)),
       "finishing again says the same");
    lh_sink_forget(sink);
    lh_sink_close(sink);
    is_u64(scratch_count(true), 0, "nothing hidden is left");
    scratch_source_free(&src);
}

static void test_rules_of_writing(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    struct lh_hash hash = {0};
    uint8_t other[SCRATCH_BLOCK] = {0};
    bool soon = false;

    scratch_clear();
    scratch_source_init(&src, root, "t", 3 * SCRATCH_BLOCK + 10, 1);
    src.how.max_pending = 2;
    sink = rig_open(&src);
    is_i64(scratch_send(sink, &src, opened.epoch + 1, 0, &err), LH_CLAIM_FENCED, "another epoch");
    is_i64(lh_sink_write(sink, 1, 5, other, SCRATCH_BLOCK, &hash, &soon, &err), LH_CLAIM_BOUNDS,
           "off the grid");
    is_i64(lh_sink_write(sink, 1, 0, other, SCRATCH_BLOCK - 1, &hash, &soon, &err), LH_CLAIM_BOUNDS,
           "too short");
    is_i64(lh_sink_write(sink, 1, 3 * SCRATCH_BLOCK, other, 11, &hash, &soon, &err),
           LH_CLAIM_BOUNDS, "too long at the end");
    is_i64(lh_sink_write(sink, 1, 4 * SCRATCH_BLOCK, other, 1, &hash, &soon, &err), LH_CLAIM_BOUNDS,
           "behind the end");
    is_i64(lh_sink_write(sink, 1, UINT64_MAX - SCRATCH_BLOCK + 1, other, SCRATCH_BLOCK, &hash,
                         &soon, &err),
           LH_CLAIM_BOUNDS, "far behind the end");
    ok(lh_sink_wants(sink, 1, 0), "a block is wanted");
    is_i64(scratch_send(sink, &src, 1, 0, &err), LH_CLAIM_OK, "the first copy");
    ok(!lh_sink_wants(sink, 1, 0), "is not wanted again");
    ok(lh_sink_wants(sink, 2, 0), "of another epoch, write has the word");
    is_i64(lh_sink_write(sink, 1, 0, other, SCRATCH_BLOCK, &hash, &soon, &err), LH_CLAIM_DUPLICATE,
           "a second copy is dropped");
    is_u64(lh_sink_pending_bytes(sink), SCRATCH_BLOCK, "pending");
    is_i64(scratch_send(sink, &src, 1, 3, &err), LH_CLAIM_OK, "the short block");
    is_i64(scratch_send(sink, &src, 1, 1, &err), LH_CLAIM_FULL, "more than may be pending");
    is_i64(scratch_commit(sink, NULL, &err), 0, "commit");
    is_u64(lh_sink_pending_bytes(sink), 0, "nothing is pending");
    is_i64(lh_sink_write(sink, 1, 0, other, SCRATCH_BLOCK, &hash, &soon, &err), LH_CLAIM_DUPLICATE,
           "a durable block is never written again");
    is_i64(lh_sink_commit_begin(sink, &err), 0, "nothing to commit");
    is_i64(scratch_finish(sink, &src, &hash, &err), -LH_E_PROTOCOL, "not whole");
    lh_sink_forget(sink);
    ok(scratch_exists(hidden.journal), "what is not done is not forgotten");
    lh_sink_fence(sink);
    is_i64(scratch_send(sink, &src, 1, 1, &err), LH_CLAIM_FENCED, "fenced");
    lh_sink_close(sink);
    sink = rig_open(&src);
    rig_send(sink, &src, 1, 2);
    lh_hash_bytes(src.data + 2 * SCRATCH_BLOCK, SCRATCH_BLOCK, &hash);
    lh_sink_write(sink, opened.epoch, 2 * SCRATCH_BLOCK, src.data + 2 * SCRATCH_BLOCK,
                  SCRATCH_BLOCK, &hash, &soon, &err);
    ok(soon, "with the last block a commit is due");
    scratch_commit(sink, NULL, &err);
    src.how.source.mtime.nsec++;
    is_i64(scratch_finish(sink, &src, &hash, &err), -LH_E_SOURCE_CHANGED,
           "finish of another version is refused");
    lh_sink_close(sink);
    scratch_source_free(&src);
}

/* The order of writes and syncs, call by call. */
static void test_order(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    struct lh_hash digest;
    char log[2048];

    scratch_clear();
    scratch_source_init(&src, root, "t", 3 * SCRATCH_BLOCK, 1);
    lh_sysfault_log(log, sizeof(log));
    sink = rig_open(&src);
    is_str(log, " truncate:part write:journal syncdata:journal sync:dir",
           "a new one: journal, then directory");
    lh_sysfault_log(log, sizeof(log));
    rig_send(sink, &src, 0, 2);
    scratch_commit(sink, NULL, &err);
    is_str(log, " write:part write:part syncdata:part write:journal syncdata:journal",
           "a commit: data, then journal");
    lh_sink_close(sink);
    lh_sysfault_log(log, sizeof(log));
    sink = rig_open(&src);
    is_str(log, " syncdata:journal write:journal syncdata:journal sync:dir",
           "resuming: what is read is synced first, then journal, then directory");
    lh_sysfault_log(log, sizeof(log));
    lh_sink_retract(sink, 0, 1, &err);
    is_str(log, " write:journal syncdata:journal", "taking back");
    rig_send(sink, &src, 0, 1);
    rig_send(sink, &src, 2, 3);
    scratch_commit(sink, NULL, &err);
    lh_sysfault_log(log, sizeof(log));
    scratch_finish(sink, &src, &digest, &err);
    is_str(log,
           " write:file write:file write:file chmod:part utimes:part sync:part"
           " write:journal syncdata:journal rename:dir sync:dir write:journal syncdata:journal",
           "finishing: index, mode, times, FINISH, rename, directory, DONE");
    lh_sysfault_log(NULL, 0);
    lh_sink_close(sink);
    src.how.source.size--;
    lh_sysfault_log(log, sizeof(log));
    sink = rig_open(&src);
    is_str(log,
           " syncdata:journal truncate:journal syncdata:journal truncate:part"
           " write:journal syncdata:journal sync:dir",
           "starting over: the old journal is void before anything else");
    lh_sysfault_log(NULL, 0);
    lh_sink_close(sink);
    scratch_source_free(&src);
}

static struct lh_sink *late_sink;
static const struct scratch_source *late_src;

static void write_during_sync(enum lh_sys call, int fd)
{
    struct lh_err e;

    if (call != LH_SYS_SYNC_DATA)
        return;
    lh_sysfault_watch_with(NULL, NULL);
    scratch_send(late_sink, late_src, opened.epoch, 1, &e);
}

/* A write that ends while the sync is under way belongs to the next. */
static void test_write_during_sync(void)
{
    struct scratch_source src;
    struct lh_runs acked;

    scratch_clear();
    scratch_source_init(&src, root, "t", 3 * SCRATCH_BLOCK, 1);
    late_sink = rig_open(&src);
    late_src = &src;
    lh_runs_init(&acked, LH_RUNS_MAX);
    rig_send(late_sink, &src, 0, 1);
    lh_sysfault_watch_with(write_during_sync, NULL);
    is_i64(scratch_commit(late_sink, &acked, &err), 0, "a block comes in while data are synced");
    ok(acked.blocks == 1 && lh_runs_has(&acked, 0), "it is not acknowledged");
    is_u64(lh_sink_pending_bytes(late_sink), SCRATCH_BLOCK, "it is pending");
    lh_runs_clear(&acked);
    scratch_commit(late_sink, &acked, &err);
    ok(acked.blocks == 1 && lh_runs_has(&acked, 1), "but by the next commit");
    lh_runs_free(&acked);
    lh_sink_close(late_sink);
    scratch_source_free(&src);
}

/* A partial that says FINISH, with the source's mode, is opened again by one who is not root. */
static void test_finish_without_rename(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    struct lh_hash digest;

    scratch_clear();
    scratch_source_init(&src, root, "t", 3 * SCRATCH_BLOCK, 1);
    src.how.mode = 0444;
    sink = rig_open(&src);
    rig_send(sink, &src, 0, 3);
    scratch_commit(sink, NULL, &err);
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_RENAME), 0, EBUSY);
    is_i64(scratch_finish(sink, &src, &digest, &err), -LH_E_DEST, "the rename fails");
    lh_sysfault_disarm();
    lh_sink_close(sink);
    sink = rig_open(&src);
    ok(sink != NULL && opened.resumed && lh_sink_complete(sink), "complete when it comes back");
    is_i64(scratch_finish(sink, &src, &digest, &err), 0, "and finishes");
    lh_sink_close(sink);
    scratch_source_free(&src);
}

/* tmpfs of 1 MiB: full at preallocation; and full in the middle where nothing could be reserved. */
static void test_full(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    int r = 0;

    scratch_clear();
    mkdir(scratch_path("small"), 0755);
    if (mount("none", scratch_path("small"), "tmpfs", 0, "size=1m") != 0) {
        skip("a small file system needs root: %s", strerror(errno));
        return;
    }
    scratch_source_init(&src, root, "small/t", 20 * SCRATCH_BLOCK, 1);
    ok(rig_open(&src) == NULL && err.status == LH_E_DEST_SPACE, "at open: %s", err.text);
    ok(rmdir(scratch_path("small")) != 0 && !scratch_exists("small/t"), "no target");
    ok(mount("none", scratch_path("small"), "tmpfs", MS_REMOUNT, "size=4m") == 0, "more space");
    sink = rig_open(&src);
    ok(sink != NULL, "now it starts");
    ok(mount("none", scratch_path("small"), "tmpfs", MS_REMOUNT, "size=1m") == 0, "less again");
    is_i64(lh_sink_preallocate(sink, &err), -LH_E_DEST_SPACE, "at preallocation: %s", err.text);
    for (uint64_t b = 0; sink != NULL && r == 0 && b < 20; b++) {
        r = scratch_send(sink, &src, opened.epoch, b, &err);
        if (r == 0)
            r = scratch_commit(sink, NULL, &err);
    }
    is_i64(r, -LH_E_DEST_SPACE, "and ends in the middle: %s", err.text);
    is_i64(scratch_send(sink, &src, opened.epoch, 19, &err), -LH_E_DEST_SPACE, "for good");
    is_i64(lh_sink_commit_begin(sink, &err), -LH_E_DEST_SPACE, "also for commits");
    lh_sink_close(sink);
    ok(mount("none", scratch_path("small"), "tmpfs", MS_REMOUNT, "size=4m") == 0, "more space");
    sink = rig_open(&src);
    ok(sink != NULL && opened.resumed, "goes on where it stopped");
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "and completes");
    lh_sink_close(sink);
    ok(scratch_same("small/t", &src), "whole");
    umount2(scratch_path("small"), MNT_DETACH);
    scratch_source_free(&src);
}

int main(void)
{
    rig_start();
    whole(0);
    whole(1);
    whole(SCRATCH_BLOCK - 1);
    whole(SCRATCH_BLOCK);
    whole(SCRATCH_BLOCK + 1);
    whole(7 * SCRATCH_BLOCK);
    test_rules_of_writing();
    test_order();
    test_write_during_sync();
    test_finish_without_rename();
    test_full();
    rig_end();
    return done_testing();
}
