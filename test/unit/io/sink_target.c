/* A sink and what lies under its target's name: its own done record, others' files; who holds it.
 */
#include "sink_rig.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- done ---- */

static void finish_it(const struct scratch_source *src)
{
    struct lh_sink *sink;

    scratch_clear();
    sink = rig_open(src);
    if (sink == NULL || scratch_complete(sink, src, opened.epoch, &err) != 0)
        bail("%s", err.text);
    lh_sink_close(sink);
}

static void says_done(const struct scratch_source *src, const char *what)
{
    struct lh_hash want = scratch_digest(src);
    struct lh_hash again;
    struct lh_sink *sink = rig_open(src);

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
    rig_resumes(&src, 0, "not when told to start over");
    src.how.restart = false;
    finish_it(&src);
    unlink(scratch_path("t"));
    rig_resumes(&src, 0, "not when the target is gone");
    ok(!opened.dropped, "and nothing half done was dropped");
    finish_it(&src);
    scratch_write("other", src.data, src.how.source.size);
    rename(scratch_path("other"), scratch_path("t"));
    rig_resumes(&src, 0, "not when the target is another file");
    finish_it(&src);
    utimensat(AT_FDCWD, scratch_path("t"), now, 0);
    rig_resumes(&src, 0, "not when somebody wrote to the target");
    finish_it(&src);
    src.how.source.mtime.sec++;
    rig_resumes(&src, 0, "not for another version");
    finish_it(&src);
    sink = rig_open(&src);
    lh_sink_forget(sink);
    lh_sink_close(sink);
    is_u64(scratch_count(true), 0, "forgotten");
    scratch_source_free(&src);
}

/* ---- refusals ---- */

static void refused(const struct scratch_source *src, int status, const char *what)
{
    size_t before = scratch_count(true);
    struct lh_sink *sink = rig_open(src);

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
    rig_begin(&src, 0);
    scratch_write("t", "old", 3);
    refused(&src, LH_E_EXISTS, "the same with a partial");
    scratch_clear();
    ok(symlink("nowhere", scratch_path("t")) == 0, "a dangling link");
    refused(&src, LH_E_EXISTS, "no-clobber and a link");
    src.how.no_clobber = false;
    scratch_clear();
    scratch_write("elsewhere", "mine", 4);
    ok(symlink("elsewhere", scratch_path("t")) == 0, "a link");
    rig_resumes(&src, 0, "a link is replaced");
    ok(scratch_exists("elsewhere"), "what it led to is left alone");
    scratch_clear();
    scratch_write("t", "old contents", 12);
    rig_resumes(&src, 0, "a file is replaced");
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
        sink = rig_open(&src);
        rig_send(sink, &src, 0, 1);
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
    sink = rig_open(&src);
    refused(&src, LH_E_BUSY, "held by another");
    ok(strstr(err.text, "t:") != NULL, "and named");
    lh_sink_close(sink);
    src.how.asker.id[0] = 50;
    src.how.asker.epoch = 1;
    refused(&src, LH_E_FENCED, "one that held it before somebody else did");
    src.how.asker.epoch = 0;
    rig_resumes(&src, 0, "a newcomer");
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

int main(void)
{
    rig_start();
    test_done();
    test_targets();
    test_clobber_at_the_end();
    test_hold();
    test_key();
    rig_end();
    return done_testing();
}
