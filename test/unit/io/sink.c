/* A sink from offer to done, and everything that may lie there when it is opened. */
#include "io/sink.h"

#include "io/staging.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lh_place *root;
static struct lh_hidden hidden; /* of "t" */
static struct lh_sink_opened opened;
static struct lh_err err;

static struct lh_sink *open_sink(const struct scratch_source *src)
{
    struct lh_sink *sink = NULL;

    memset(&err, 0, sizeof(err));
    memset(&opened, 0, sizeof(opened));
    return lh_sink_open(&src->how, &sink, &opened, &err) == 0 ? sink : NULL;
}

static void send_some(struct lh_sink *sink, const struct scratch_source *src, uint64_t first,
                      uint64_t end)
{
    for (uint64_t b = first; b < end; b++) {
        if (scratch_send(sink, src, opened.epoch, b, &err) != LH_CLAIM_OK)
            bail("block %llu: %s", (unsigned long long)b, err.text);
    }
}

/* A partial with blocks [0, n) durable. */
static void begin(const struct scratch_source *src, uint64_t n)
{
    struct lh_sink *sink;

    scratch_clear();
    sink = open_sink(src);
    if (sink == NULL)
        bail("%s", err.text);
    send_some(sink, src, 0, n);
    if (scratch_commit(sink, NULL, &err) != 0)
        bail("%s", err.text);
    lh_sink_fence(sink);
    lh_sink_close(sink);
}

/* Open, expecting a partial with n durable blocks; complete it and look at the result. */
static void resumes(const struct scratch_source *src, uint64_t n, const char *what)
{
    struct lh_sink *sink = open_sink(src);
    struct lh_runs durable;
    struct stat before, after;

    if (!ok(sink != NULL, "%s: opens%s%s", what, err.text[0] ? ": " : "", err.text))
        return;
    lh_runs_init(&durable, LH_RUNS_MAX);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, n, "  %llu blocks are durable", (unsigned long long)n);
    ok(opened.resumed == (n > 0), "  resumed is said rightly");
    is_i64(scratch_complete(sink, src, opened.epoch, &err), 0, "  completes%s", err.text);
    stat(scratch_dir(), &before);
    lh_sink_forget(sink);
    stat(scratch_dir(), &after);
    ok(memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)) == 0,
       "  and forgets without a trace in the directory's mtime");
    lh_sink_close(sink);
    lh_runs_free(&durable);
    ok(scratch_same("t", src), "  the contents are the source's");
    is_u64(scratch_count(true), 0, "  nothing hidden is left");
}

/* ---- the straight way ------------------------------------------------------------------------ */

static void whole(uint64_t size)
{
    struct scratch_source src;
    struct lh_hash digest = {0};
    struct lh_hash want;
    struct lh_sink *sink;
    struct stat st;

    scratch_clear();
    scratch_source_init(&src, root, "t", size, 1);
    sink = open_sink(&src);
    if (!ok(sink != NULL, "%llu bytes: opened", (unsigned long long)size))
        return;
    ok(opened.epoch == 1 && !opened.resumed && !opened.compare && !opened.dropped && !opened.done,
       "a fresh one");
    stat(scratch_path(hidden.part), &st);
    ok((uint64_t)st.st_size == size && (st.st_mode & 07777) == 0600 && !scratch_exists("t"),
       "staged, hidden, private");
    is_u64(opened.dev, st.st_dev, "its device");
    ok(lh_sink_size(sink) == size && lh_sink_block_bytes(sink) == SCRATCH_BLOCK, "size and grid");
    send_some(sink, &src, 0, src.n_blocks);
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
    sink = open_sink(&src);
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
    sink = open_sink(&src);
    send_some(sink, &src, 1, 2);
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
    sink = open_sink(&src);
    is_str(log, " truncate:part write:journal syncdata:journal sync:dir",
           "a new one: journal, then directory");
    lh_sysfault_log(log, sizeof(log));
    send_some(sink, &src, 0, 2);
    scratch_commit(sink, NULL, &err);
    is_str(log, " write:part write:part syncdata:part write:journal syncdata:journal",
           "a commit: data, then journal");
    lh_sink_close(sink);
    lh_sysfault_log(log, sizeof(log));
    sink = open_sink(&src);
    is_str(log, " syncdata:journal write:journal syncdata:journal sync:dir",
           "resuming: what is read is synced first, then journal, then directory");
    lh_sysfault_log(log, sizeof(log));
    lh_sink_retract(sink, 0, 1, &err);
    is_str(log, " write:journal syncdata:journal", "taking back");
    send_some(sink, &src, 0, 1);
    send_some(sink, &src, 2, 3);
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
    sink = open_sink(&src);
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
    late_sink = open_sink(&src);
    late_src = &src;
    lh_runs_init(&acked, LH_RUNS_MAX);
    send_some(late_sink, &src, 0, 1);
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

/* ---- coming back ------------------------------------------------------------------------------
 */

static void test_resume(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    uint8_t id[16];

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK + 1, 1);
    begin(&src, 3);
    memcpy(id, opened.transfer_id, 16);
    resumes(&src, 3, "the same again");
    is_mem(opened.transfer_id, id, 16, "the same transfer");
    is_u64(opened.epoch, 2, "the next epoch");
    ok(!opened.compare && !opened.dropped, "nothing to compare, nothing dropped");

    begin(&src, 0);
    src.how.source.ino++;
    resumes(&src, 0, "nothing durable, another inode");
    ok(!opened.compare, "nothing to compare");

    begin(&src, 3);
    sink = open_sink(&src);
    send_some(sink, &src, 3, 5);
    lh_sink_close(sink);
    resumes(&src, 3, "what was not committed is not there");
    scratch_source_free(&src);
}

static void test_compare(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    struct lh_hash hashes[3];
    struct lh_hash want;

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK, 1);
    begin(&src, 3);
    src.how.source.ctime.nsec++;
    sink = open_sink(&src);
    ok(sink != NULL && opened.compare && opened.resumed, "another ctime: contents are compared");
    lh_sink_close(sink);
    sink = open_sink(&src);
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
    sink = open_sink(&src);
    ok(sink != NULL && !opened.compare, "remembered");
    lh_sink_close(sink);
    resumes(&src, 2, "without the one that was taken back");
    begin(&src, 2);
    src.how.source.dev++;
    sink = open_sink(&src);
    ok(opened.compare, "another device: compared");
    lh_sink_close(sink);
    begin(&src, 2);
    src.how.source.ino++;
    sink = open_sink(&src);
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
    begin(&src, 3);
    resumes(&two, 0, "another version");
    ok(opened.dropped && opened.epoch == 2, "dropped, and the epoch goes on");
    scratch_source_free(&two);
    scratch_source_init(&two, root, "t", 5 * SCRATCH_BLOCK + 1, 1);
    begin(&src, 3);
    resumes(&two, 0, "another size");
    ok(opened.dropped, "dropped");
    begin(&src, 3);
    src.how.restart = true;
    resumes(&src, 0, "told to");
    ok(opened.dropped, "dropped");
    src.how.restart = false;
    begin(&src, 3);
    unlink(scratch_path(hidden.part));
    resumes(&src, 0, "no staging file");
    begin(&src, 3);
    unlink(scratch_path(hidden.journal));
    resumes(&src, 0, "no journal");
    ok(opened.dropped, "dropped");
    begin(&src, 3);
    scratch_write("copy", src.data, 5 * SCRATCH_BLOCK);
    rename(scratch_path("copy"), scratch_path(hidden.part));
    resumes(&src, 0, "another staging file");
    begin(&src, 3);
    ok(truncate(scratch_path(hidden.part), 100) == 0, "a staging file that was cut");
    resumes(&src, 0, "one that was cut");
    begin(&src, 3);
    scratch_write(hidden.journal, "garbage", 7);
    resumes(&src, 0, "a damaged journal");
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
    begin(&other, 4);
    bytes = scratch_read(of_other.journal, &len);
    begin(&src, 2);
    scratch_write(hidden.journal, bytes, len);
    resumes(&src, 0, "another target's journal");
    free(bytes);
    begin(&src, 4);
    bytes = scratch_read(hidden.journal, &len);
    begin(&src, 2);
    scratch_write(hidden.journal, bytes, len);
    resumes(&src, 0, "the journal of an earlier staging file");
    free(bytes);
    scratch_source_free(&src);
    scratch_source_free(&other);
}

static void test_grid(void)
{
    struct scratch_source src;
    struct lh_sink *sink;

    scratch_source_init(&src, root, "t", 5 * SCRATCH_BLOCK, 1);
    begin(&src, 3);
    src.how.block_bytes = 2 * SCRATCH_BLOCK;
    sink = open_sink(&src);
    ok(sink != NULL && opened.dropped && !opened.resumed, "another grid starts over");
    lh_sink_close(sink);
    src.how.block_bytes = 100000;
    ok(open_sink(&src) == NULL && err.status == LH_E_REFUSED, "a grid that is none");
    src.how.block_bytes = SCRATCH_BLOCK;
    src.how.hash = 9;
    ok(open_sink(&src) == NULL && err.status == LH_E_REFUSED, "an unknown hash");
    scratch_source_free(&src);
}

/* ---- done ------------------------------------------------------------------------------------ */

static void finish_it(const struct scratch_source *src)
{
    struct lh_sink *sink;

    scratch_clear();
    sink = open_sink(src);
    if (sink == NULL || scratch_complete(sink, src, opened.epoch, &err) != 0)
        bail("%s", err.text);
    lh_sink_close(sink);
}

static void says_done(const struct scratch_source *src, const char *what)
{
    struct lh_hash want = scratch_digest(src);
    struct lh_hash again;
    struct lh_sink *sink = open_sink(src);

    if (!ok(sink != NULL && opened.done, "%s: done%s", what, err.text))
        return;
    is_mem(&opened.digest, &want, sizeof(want), "  with the digest");
    ok(lh_sink_complete(sink), "  complete");
    ok(src->n_blocks == 0 || scratch_send(sink, src, opened.epoch, 0, &err) == LH_CLAIM_FENCED,
       "  takes no block");
    is_i64(lh_sink_commit_begin(sink, &err), 0, "  nothing to commit");
    ok(scratch_finish(sink, src, &again, &err) == 0 && !memcmp(&again, &want, sizeof(want)),
       "  finish says the same");
    ok(lh_sink_retract(sink, 0, 1, &err) != 0, "  nothing is taken back");
    lh_sink_fence(sink);
    lh_sink_close(sink);
}

static void test_done(void)
{
    struct scratch_source src;
    struct lh_sink *sink;
    struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};

    scratch_source_init(&src, root, "t", 2 * SCRATCH_BLOCK + 1, 1);
    finish_it(&src);
    says_done(&src, "the same again");
    src.how.no_clobber = true;
    says_done(&src, "also with no-clobber");
    src.how.source.ino++;
    src.how.asker.id[0]++;
    says_done(&src, "also for a takeover from another host");
    src.how.no_clobber = false;
    src.how.restart = true;
    resumes(&src, 0, "not when told to start over");
    src.how.restart = false;
    finish_it(&src);
    unlink(scratch_path("t"));
    resumes(&src, 0, "not when the target is gone");
    ok(!opened.dropped, "and nothing half done was dropped");
    finish_it(&src);
    scratch_write("other", src.data, src.how.source.size);
    rename(scratch_path("other"), scratch_path("t"));
    resumes(&src, 0, "not when the target is another file");
    finish_it(&src);
    utimensat(AT_FDCWD, scratch_path("t"), now, 0);
    resumes(&src, 0, "not when somebody wrote to the target");
    finish_it(&src);
    src.how.source.mtime.sec++;
    resumes(&src, 0, "not for another version");
    finish_it(&src);
    sink = open_sink(&src);
    lh_sink_forget(sink);
    lh_sink_close(sink);
    is_u64(scratch_count(true), 0, "forgotten");
    scratch_source_free(&src);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refused(const struct scratch_source *src, int status, const char *what)
{
    size_t before = scratch_count(true);
    struct lh_sink *sink = open_sink(src);

    ok(sink == NULL && err.status == status, "%s: %s", what, err.text);
    is_u64(scratch_count(true), before, "  nothing hidden is made or lost");
    lh_sink_close(sink);
}

static void test_targets(void)
{
    struct scratch_source src;

    scratch_source_init(&src, root, "t", 100, 1);
    scratch_clear();
    mkdir(scratch_path("t"), 0755);
    refused(&src, LH_E_DEST_KIND, "a directory of that name");
    scratch_clear();
    mkfifo(scratch_path("t"), 0644);
    refused(&src, LH_E_DEST_KIND, "a FIFO of that name");
    scratch_clear();
    scratch_write("t", "old", 3);
    src.how.no_clobber = true;
    refused(&src, LH_E_EXISTS, "no-clobber and a file");
    begin(&src, 0);
    scratch_write("t", "old", 3);
    refused(&src, LH_E_EXISTS, "the same with a partial");
    scratch_clear();
    ok(symlink("nowhere", scratch_path("t")) == 0, "a dangling link");
    refused(&src, LH_E_EXISTS, "no-clobber and a link");
    src.how.no_clobber = false;
    scratch_clear();
    scratch_write("elsewhere", "mine", 4);
    ok(symlink("elsewhere", scratch_path("t")) == 0, "a link");
    resumes(&src, 0, "a link is replaced");
    ok(scratch_exists("elsewhere"), "what it led to is left alone");
    scratch_clear();
    scratch_write("t", "old contents", 12);
    resumes(&src, 0, "a file is replaced");
    src.how.path = (const uint8_t *)hidden.part;
    src.how.path_len = strlen(hidden.part);
    scratch_clear();
    refused(&src, LH_E_PATH, "a hidden name");
    src.how.path = (const uint8_t *)"../t";
    src.how.path_len = 4;
    refused(&src, LH_E_PATH, "a path that leads out");
    scratch_source_free(&src);
}

/* Somebody makes the target between open and finish. */
static void test_clobber_at_the_end(void)
{
    struct scratch_source src;
    struct lh_hash digest;
    struct lh_sink *sink;
    size_t len;
    uint8_t *data;

    for (int old_kernel = 0; old_kernel < 2; old_kernel++) {
        scratch_clear();
        scratch_source_init(&src, root, "t", 100, 1);
        src.how.no_clobber = true;
        sink = open_sink(&src);
        send_some(sink, &src, 0, 1);
        scratch_commit(sink, NULL, &err);
        scratch_write("t", "mine", 4);
        is_i64(scratch_finish(sink, &src, &digest, &err), -LH_E_EXISTS, "somebody was faster");
        data = scratch_read("t", &len);
        ok(len == 4 && memcmp(data, "mine", 4) == 0, "that file is untouched");
        free(data);
        unlink(scratch_path("t"));
        if (old_kernel == 1)
            lh_sysfault_arm(LH_SYS_BIT(LH_SYS_RENAME), 0, EINVAL);
        is_i64(scratch_finish(sink, &src, &digest, &err), 0, "gone again: it finishes");
        lh_sysfault_disarm();
        lh_sink_close(sink);
        ok(scratch_same("t", &src) && !scratch_exists(hidden.part), "whole");
        says_done(&src, "afterwards");
        scratch_source_free(&src);
    }
}

static void test_hold(void)
{
    struct scratch_source src;
    struct lh_sink *sink;

    scratch_source_init(&src, root, "t", 3 * SCRATCH_BLOCK, 1);
    scratch_clear();
    sink = open_sink(&src);
    refused(&src, LH_E_BUSY, "held by another");
    ok(strstr(err.text, "t:") != NULL, "and named");
    lh_sink_close(sink);
    src.how.asker.id[0] = 50;
    src.how.asker.epoch = 1;
    refused(&src, LH_E_FENCED, "one that held it before somebody else did");
    src.how.asker.epoch = 0;
    resumes(&src, 0, "a newcomer");
    is_u64(opened.epoch, 2, "with the next epoch");
    scratch_source_free(&src);
}

static void test_key(void)
{
    struct lh_sink_key a;
    struct lh_sink_key b;

    scratch_clear();
    mkdir(scratch_path("d"), 0755);
    ok(symlink("d", scratch_path("link")) == 0, "a link");
    is_i64(lh_sink_key_of(root, (const uint8_t *)"d/t", 3, &a, &err), 0, "a key");
    lh_sink_key_of(root, (const uint8_t *)"link//t", 7, &b, &err);
    ok(memcmp(&a, &b, sizeof(a)) == 0, "one target by two ways");
    lh_sink_key_of(root, (const uint8_t *)"d/u", 3, &b, &err);
    ok(memcmp(&a, &b, sizeof(a)) != 0, "another name");
    lh_sink_key_of(root, (const uint8_t *)"t", 1, &b, &err);
    ok(memcmp(&a, &b, sizeof(a)) != 0, "another directory");
    is_i64(lh_sink_key_of(root, (const uint8_t *)"/t", 2, &b, &err), -LH_E_PATH, "a bad path");
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
    sink = open_sink(&src);
    send_some(sink, &src, 0, 3);
    scratch_commit(sink, NULL, &err);
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_RENAME), 0, EBUSY);
    is_i64(scratch_finish(sink, &src, &digest, &err), -LH_E_DEST, "the rename fails");
    lh_sysfault_disarm();
    lh_sink_close(sink);
    sink = open_sink(&src);
    ok(sink != NULL && opened.resumed && lh_sink_complete(sink), "complete when it comes back");
    is_i64(scratch_finish(sink, &src, &digest, &err), 0, "and finishes");
    lh_sink_close(sink);
    scratch_source_free(&src);
}

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
    sink = open_sink(&src);
    take_all_holes(sink);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, 5, "durable at once, and nothing else is");
    ok(!lh_runs_overlaps(&durable, 3, 5) && lh_runs_has(&durable, 8), "the right ones");
    while (lh_sink_preallocate(sink, &err) > 0)
        ;
    send_some(sink, &src, 3, 4);
    scratch_commit(sink, NULL, &err);
    send_some(sink, &src, 7, 8); /* written, never committed */
    lh_sink_close(sink);

    /* The same version, but this host sees a hole where block 7 lies half done. */
    lh_runs_sub(&data, 7, 8);
    memset(src.data + 7 * SCRATCH_BLOCK, 0, SCRATCH_BLOCK);
    sink = open_sink(&src);
    ok(sink != NULL && opened.resumed, "resumed");
    take_all_holes(sink);
    lh_runs_clear(&durable);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, 7, "one more hole");
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "completes: %s", err.text);
    lh_sink_close(sink);
    ok(scratch_same("t", &src), "what was written there reads as zeros again");

    scratch_clear();
    sink = open_sink(&src);
    take_all_holes(sink);
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, EOPNOTSUPP);
    scratch_complete(sink, &src, opened.epoch, &err);
    lh_sysfault_disarm();
    lh_sink_close(sink);
    ok(scratch_same("t", &src), "where no space can be taken");
    want = scratch_digest(&src);
    src.how.restart = true;
    sink = open_sink(&src);
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
    sink = open_sink(&src); /* closed before any hole was taken */
    lh_sink_close(sink);
    sink = open_sink(&src);
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
    sink = open_sink(src);
    send_some(sink, src, 0, src->n_blocks);
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
    sink = open_sink(&src);
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
    sink = open_sink(&src);
    ok(sink != NULL && !opened.resumed && used(hidden.part) > 8 * SCRATCH_BLOCK, "one left there");
    complete_with_zeros(sink, &src, &data, "one left there");
    ok(used("t") <= 5 * SCRATCH_BLOCK, "one left there: what was written is punched (%llu bytes)",
       (unsigned long long)used("t"));

    leave_data(&src);
    sink = open_sink(&src);
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, EOPNOTSUPP);
    complete_with_zeros(sink, &src, &data, "where holes cannot be");
    lh_sysfault_disarm();

    leave_data(&src);
    sink = open_sink(&src);
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
    sink = open_sink(&src);
    memset(src.data + SCRATCH_BLOCK, 0x55, SCRATCH_BLOCK);
    send_some(sink, &src, 0, 2);
    memset(src.data + SCRATCH_BLOCK, 0, SCRATCH_BLOCK);
    scratch_commit(sink, NULL, &err);
    is_i64(lh_sink_retract(sink, 1, 2, &err), 0, "a block is retracted");
    complete_with_zeros(sink, &src, &data, "retracted");
    lh_runs_free(&data);
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
    ok(open_sink(&src) == NULL && err.status == LH_E_DEST_SPACE, "at open: %s", err.text);
    ok(rmdir(scratch_path("small")) != 0 && !scratch_exists("small/t"), "no target");
    ok(mount("none", scratch_path("small"), "tmpfs", MS_REMOUNT, "size=4m") == 0, "more space");
    sink = open_sink(&src);
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
    sink = open_sink(&src);
    ok(sink != NULL && opened.resumed, "goes on where it stopped");
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "and completes");
    lh_sink_close(sink);
    ok(scratch_same("small/t", &src), "whole");
    umount2(scratch_path("small"), MNT_DETACH);
    scratch_source_free(&src);
}

int main(void)
{
    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    lh_hidden_of("t", &hidden);
    whole(0);
    whole(1);
    whole(SCRATCH_BLOCK - 1);
    whole(SCRATCH_BLOCK);
    whole(SCRATCH_BLOCK + 1);
    whole(7 * SCRATCH_BLOCK);
    test_rules_of_writing();
    test_order();
    test_write_during_sync();
    test_resume();
    test_compare();
    test_start_over();
    test_foreign_journal();
    test_grid();
    test_done();
    test_targets();
    test_clobber_at_the_end();
    test_hold();
    test_key();
    test_finish_without_rename();
    test_holes();
    test_holes_unpunched();
    test_zeros();
    test_zeros_retracted();
    test_full();
    lh_place_close(root);
    return done_testing();
}
