/* A sink whose offer lets what is there stay: when it does, when it does not, and that nothing else
 * is touched then. (Which sizes and times are the same: test/unit/core/keep.c.) */
#include "io/disk/sink.h"

#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (2 * SCRATCH_BLOCK + 1)

static struct lh_place *root;
static struct scratch_source src; /* of SIZE bytes, to "t" */
static struct lh_sink_opened opened;
static struct lh_err err;

static struct lh_sink *open_with(uint16_t keep)
{
    struct lh_sink *sink = NULL;

    memset(&err, 0, sizeof(err));
    memset(&opened, 0, sizeof(opened));
    src.how.keep = keep;
    return lh_sink_open(&src.how, &sink, &opened, &err) == 0 ? sink : NULL;
}

/* A file of that size and time under the target's name. */
static void put(size_t size, int64_t sec, uint32_t nsec)
{
    static const uint8_t zeros[SIZE];
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = sec, .tv_nsec = nsec}};

    scratch_write("t", zeros, size);
    utimensat(AT_FDCWD, scratch_path("t"), times, 0);
}

static void put_same(void)
{
    put(SIZE, src.how.source.mtime.sec, src.how.source.mtime.nsec);
}

/* A partial with its first block durable. */
static void begin(void)
{
    struct lh_sink *sink = open_with(0);

    if (sink == NULL || scratch_send(sink, &src, opened.epoch, 0, &err) != LH_CLAIM_OK ||
        scratch_commit(sink, NULL, &err) != 0)
        bail("%s", err.text);
    lh_sink_fence(sink);
    lh_sink_close(sink);
}

/* Whole at the receiver, with its done record. */
static void finish(void)
{
    struct lh_sink *sink = open_with(0);

    if (sink == NULL || scratch_complete(sink, &src, opened.epoch, &err) != 0)
        bail("%s", err.text);
    lh_sink_close(sink);
}

/* It is done, without a digest; nothing hidden is made or lost, whatever is asked of it. */
static void stays(uint16_t keep, uint64_t bytes, const char *what)
{
    size_t before = scratch_count(true);
    struct lh_sink *sink = open_with(keep);
    static const struct lh_hash none;
    struct lh_hash digest;

    if (!ok(sink != NULL && opened.done && opened.kept, "%s: it stays%s", what, err.text))
        return;
    is_u64(opened.bytes, bytes, "  as large as it is");
    is_mem(&opened.digest, &none, sizeof(none), "  without a digest");
    ok(scratch_send(sink, &src, 0, 0, &err) == LH_CLAIM_FENCED, "  takes no block");
    ok(lh_sink_holes(sink, &err) == 0 && lh_sink_commit_begin(sink, &err) == 0,
       "  nothing to commit");
    ok(scratch_finish(sink, &src, &digest, &err) != 0, "  nothing to finish");
    lh_sink_fence(sink);
    lh_sink_forget(sink);
    lh_sink_close(sink);
    is_u64(scratch_count(true), before, "  nothing hidden is made or lost");
}

/* It is sent, n blocks being durable from before, and ends as the source. */
static void is_sent(uint16_t keep, uint64_t n, const char *what)
{
    struct lh_sink *sink = open_with(keep);
    struct lh_runs durable;

    if (!ok(sink != NULL && !opened.done && !opened.kept, "%s: it is sent%s", what, err.text))
        return;
    lh_runs_init(&durable, LH_RUNS_MAX);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, n, "  %llu blocks are durable", (unsigned long long)n);
    lh_runs_free(&durable);
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "  completes%s", err.text);
    lh_sink_forget(sink);
    lh_sink_close(sink);
    ok(scratch_same("t", &src), "  the contents are the source's");
    is_u64(scratch_count(true), 0, "  nothing hidden is left");
}

static void says_done(uint16_t keep, const char *what)
{
    struct lh_sink *sink = open_with(keep);
    struct lh_hash want = scratch_digest(&src);

    ok(sink != NULL && opened.done && !opened.kept && opened.bytes == SIZE, "%s: done%s", what,
       err.text);
    is_mem(&opened.digest, &want, sizeof(want), "  with the digest");
    lh_sink_close(sink);
}

static void test_same(void)
{
    struct lh_time mtime = src.how.source.mtime;

    scratch_clear();
    is_sent(LH_OFFER_KEEP_SAME, 0, "KEEP_SAME and nothing there");
    stays(LH_OFFER_KEEP_SAME, SIZE, "what was just sent");
    put_same();
    stays(LH_OFFER_KEEP_SAME, SIZE, "the same size and time");
    is_sent(0, 0, "without a KEEP");
    put(SIZE - 1, mtime.sec, mtime.nsec);
    is_sent(LH_OFFER_KEEP_SAME, 0, "another size");
    put(SIZE, mtime.sec + 1, mtime.nsec);
    is_sent(LH_OFFER_KEEP_SAME, 0, "another time");
    unlink(scratch_path("t"));
    ok(symlink("elsewhere", scratch_path("t")) == 0, "a link");
    is_sent(LH_OFFER_KEEP_SAME, 0, "which is no such file");
    scratch_clear();
}

static void test_newer_and_any(void)
{
    struct lh_time mtime = src.how.source.mtime;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = 0}};

    put(5, mtime.sec + 1, 0);
    stays(LH_OFFER_KEEP_NEWER, 5, "KEEP_NEWER and a later one");
    put(5, mtime.sec - 1, 999999999);
    is_sent(LH_OFFER_KEEP_NEWER, 0, "KEEP_NEWER and an earlier one");
    put(0, 1, 0);
    stays(LH_OFFER_KEEP_ANY, 0, "KEEP_ANY and anything");
    unlink(scratch_path("t"));
    ok(symlink("nowhere", scratch_path("t")) == 0, "a dangling link");
    stays(LH_OFFER_KEEP_ANY, 7, "KEEP_ANY and a link");
    stays(LH_OFFER_KEEP_NEWER, 7, "KEEP_NEWER and a link that was made just now");
    times[1].tv_sec = mtime.sec - 1;
    utimensat(AT_FDCWD, scratch_path("t"), times, AT_SYMLINK_NOFOLLOW);
    is_sent(LH_OFFER_KEEP_NEWER, 0, "KEEP_NEWER and an older link");
    scratch_clear();
    is_sent(LH_OFFER_KEEP_ANY, 0, "KEEP_ANY and nothing there");
    scratch_clear();
    mkdir(scratch_path("t"), 0755);
    ok(open_with(LH_OFFER_KEEP_ANY) == NULL && err.status == LH_E_DEST_KIND,
       "a directory is refused all the same: %s", err.text);
    scratch_clear();
}

/* Beside what was begun before. */
static void test_partials(void)
{
    begin();
    put_same();
    stays(LH_OFFER_KEEP_ANY, SIZE, "KEEP_ANY beside a part of this version");
    stays(LH_OFFER_KEEP_NEWER, SIZE, "KEEP_NEWER too");
    is_sent(LH_OFFER_KEEP_SAME, 1, "KEEP_SAME: what was begun goes on");
    begin();
    src.how.source.mtime.sec++;
    put_same();
    stays(LH_OFFER_KEEP_SAME, SIZE, "but not what was begun of another version");
    src.how.source.mtime.sec--;
    unlink(scratch_path("t"));
    is_sent(LH_OFFER_KEEP_ANY, 1, "KEEP_ANY and only a part");
    scratch_clear();
}

/* Beside a record of what was done. */
static void test_records(void)
{
    finish();
    says_done(LH_OFFER_KEEP_SAME, "a done record goes before KEEP_SAME");
    says_done(LH_OFFER_KEEP_ANY, "and before KEEP_ANY");
    src.how.source.size--;
    stays(LH_OFFER_KEEP_ANY, SIZE, "of another version");
    src.how.source.size++;
    says_done(LH_OFFER_KEEP_NEWER, "and it is still there");
    scratch_clear();
}

/* With KEEP_ANY what somebody makes meanwhile is not replaced either. */
static void test_meanwhile(void)
{
    struct lh_sink *sink = open_with(LH_OFFER_KEEP_ANY);

    put(5, 1, 0);
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), -LH_E_EXISTS,
           "somebody was faster: %s", err.text);
    lh_sink_close(sink);
    stays(LH_OFFER_KEEP_ANY, 5, "and asked again");
    sink = open_with(LH_OFFER_KEEP_NEWER);
    put(5, src.how.source.mtime.sec + 9, 0);
    is_i64(scratch_complete(sink, &src, opened.epoch, &err), 0, "the others replace it%s",
           err.text);
    lh_sink_close(sink);
    scratch_clear();
}

static void test_unanswered(void)
{
    put_same();
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_STAT), 1, EIO);
    ok(open_with(LH_OFFER_KEEP_SAME) == NULL && err.status == LH_E_DEST,
       "a disk that does not say what is there: %s", err.text);
    lh_sysfault_disarm();
    is_u64(scratch_count(true), 0, "nothing hidden is left");
}

int main(void)
{
    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    scratch_source_init(&src, root, "t", SIZE, 1);
    test_same();
    test_newer_and_any();
    test_partials();
    test_records();
    test_meanwhile();
    test_unanswered();
    scratch_source_free(&src);
    lh_place_close(root);
    return done_testing();
}
