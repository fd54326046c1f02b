/* Files of a tree in memory: named as soon as they are whole, and no sync for them. */
#include "rtree_rig.h"

#include "io/rtree/rtree_impl.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MASK 027

static struct rig *rig;

static void open_rig(uint16_t flags, uint32_t keep)
{
    if (rig_open(rig, flags, keep) != 0)
        bail("%s", rig->err.text);
}

static void close_rig(void)
{
    rig_close(rig);
    is_u64(rig_hidden(), 0, "no staging file is left");
    scratch_clear();
}

static mode_t mode_of(const char *path)
{
    struct stat st = {0};

    if (lstat(rig_path(path), &st) != 0)
        diag("no %s", path);
    return st.st_mode & 07777;
}

static void test_at_once(void)
{
    static char log[4096];
    uint32_t a, b, void_one;

    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    a = rig_add(rig, LH_KIND_FILE, "d/a", 5000);
    b = rig_add(rig, LH_KIND_FILE, "b", 0);
    void_one = rig_add(rig, LH_KIND_FILE, "void", 10);
    rig_ask(rig);
    rig_part(rig, a, 0, 5000);
    rig_part(rig, b, 0, 0);
    rig_void(rig, void_one);
    lh_sysfault_log(log, sizeof(log));
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a pack");
    lh_sysfault_log(NULL, 0);
    is_str(log, " write:file utimes:file link:dir utimes:file link:dir",
           "contents, times, and the name last");
    ok(rig_holds("d/a", a, 5000) && rig_holds("b", b, 0), "they are there");
    ok(!scratch_exists("t/void"), "what was voided is not");
    is_u64(mode_of("d/a"), 0640, "the mode");
    is_u64(rig_hidden(), 0, "nothing has a hidden name");
    is_u64(rig->settled.blocks, 0, "they are not settled yet");
    lh_sysfault_log(log, sizeof(log));
    is_i64(rig_commit(rig), 0, "a commit");
    lh_sysfault_log(NULL, 0);
    is_str(log, " sync:dir", "has only the directory to sync that another was made in");
    ok(lh_runs_has(&rig->settled, a) && lh_runs_has(&rig->settled, b), "settled");
    is_u64(rig->settled.blocks, 2, "and no more");
    is_u64(rig->acked.blocks, 1, "the pack is acknowledged");
    close_rig();
}

/* A file that is replaced stays until the new one is whole and committed; one of several parts
 * outlives the call that writes the first. */
static void test_hidden_names(void)
{
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_TIMES);
    mkdir(rig_path("d"), 0755);
    scratch_write("t/d/old", "old", 3);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/old", 10), LH_WANTED_CHANGED, "one is there");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/big", 70000), LH_WANTED_NEW, "one is large");
    rig_file(rig, 0, 10);
    rig_part(rig, 1, 0, 40000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a part of it");
    is_u64(rig_hidden(), 2, "both have hidden names");
    ok(!rig_holds("d/old", 0, 10), "what was there is still there");
    rig_part(rig, 1, 40000, 30000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the rest");
    is_i64(rig_commit(rig), 0, "a commit");
    ok(rig_holds("d/old", 0, 10) && rig_holds("d/big", 1, 70000), "both are there");
    is_u64(rig->settled.blocks, 2, "and settled");
    close_rig();
}

/* What somebody else makes of a name that was free stays. */
static void test_somebody_faster(void)
{
    static const enum lh_unnamed ways[] = {LH_UNNAMED_FD, LH_UNNAMED_PROC};

    for (int i = 0; i < 2; i++) {
        uint8_t *data;
        size_t len = 0;

        open_rig(LH_OFFER_KEEP_SAME, 0);
        if (ways[i] == LH_UNNAMED_FD && rig->tree->unnamed == LH_UNNAMED_PROC) {
            skip("only root links a descriptor on this kernel");
            close_rig();
            continue;
        }
        rig->tree->unnamed = ways[i];
        rig_ask_one(rig, LH_KIND_FILE, "f", 10);
        rig_ask_one(rig, LH_KIND_FILE, "g", 10);
        scratch_write("t/f", "mine", 4);
        rig_part(rig, 0, 0, 10);
        rig_part(rig, 1, 0, 10);
        is_i64(rig_pack(rig), LH_CLAIM_OK, "the pack is taken");
        is_i64(rig_commit(rig), 0, "a commit");
        ok(strstr(rig_trouble(rig->troubles, 0), LH_RTREE_TWICE) != NULL, "told: %s",
           rig_trouble(rig->troubles, 0));
        ok(!lh_runs_has(&rig->settled, 0) && lh_runs_has(&rig->settled, 1), "one is settled");
        data = scratch_read("t/f", &len);
        ok(len == 4 && memcmp(data, "mine", 4) == 0, "that file is untouched");
        free(data);
        ok(rig_holds("g", 1, 10), "the other is there");
        close_rig();
    }
}

/* The kernel may refuse at any file what it allowed when it was asked: another's, say. */
static void test_refused(void)
{
    static const int errors[] = {EPERM, EACCES, ENOENT};

    for (int i = 0; i < 3; i++) {
        open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
        rig_add(rig, LH_KIND_FILE, "d/a", 5000);
        rig_add(rig, LH_KIND_FILE, "d/b", 10);
        rig_add(rig, LH_KIND_FILE, "c", 0);
        rig_ask(rig);
        rig_part(rig, 0, 0, 5000);
        rig_part(rig, 1, 0, 10);
        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_LINK), 1, errors[i]);
        is_i64(rig_pack(rig), LH_CLAIM_OK, "a pack, of which a file may not be linked: %s",
               strerror(errors[i]));
        ok(lh_sysfault_disarm(), "so it was");
        ok(rig_holds("d/a", 0, 5000) && !scratch_exists("t/d/b"), "the one before it is there");
        rig_file(rig, 2, 0);
        is_u64(rig_hidden(), 2, "it and those that follow have hidden names");
        is_i64(rig_commit(rig), 0, "a commit");
        ok(rig->troubles == NULL, "no trouble: %s", rig_trouble(rig->troubles, 1));
        is_u64(rig->settled.blocks, 3, "all are settled");
        ok(rig_holds("d/b", 1, 10) && rig_holds("c", 2, 0), "and there");
        is_u64(mode_of("d/b"), 0640, "with its mode");
        close_rig();
    }
}

static void remove_d(enum lh_sys call, int fd)
{
    (void)fd;
    if (call == LH_SYS_UTIMES && rmdir(rig_path("d")) != 0)
        diag("cannot remove the directory");
}

/* One who removes a directory does not keep us from files without a name elsewhere. */
static void test_directory_goes(void)
{
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_TIMES);
    rig_ask_one(rig, LH_KIND_DIR, "d", 0);
    rig_ask_one(rig, LH_KIND_FILE, "d/f", 10);
    rig_ask_one(rig, LH_KIND_FILE, "g", 10);
    rig_part(rig, 1, 0, 10);
    lh_sysfault_watch_with(remove_d, NULL);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a file, whose directory is removed meanwhile");
    lh_sysfault_watch_with(NULL, NULL);
    ok(rig->tree->unnamed != LH_UNNAMED_NOT, "it is no word of files elsewhere");
    rig_file(rig, 2, 10);
    is_i64(rig_commit(rig), 0, "a commit");
    ok(!lh_runs_has(&rig->settled, 1) && lh_runs_has(&rig->settled, 2), "the other is settled");
    ok(rig_trouble(rig->troubles, 1)[0] != '\0', "that one has failed: %s",
       rig_trouble(rig->troubles, 1));
    close_rig();
}

/* A pack with nothing but the word that entry 0 is void. */
static void void_it(enum lh_sys call, int fd)
{
    struct lh_part part = {.entry = 0, .flags = LH_PART_VOID};
    uint8_t payload[64];
    struct lh_hash hash;
    size_t len;
    bool soon;

    (void)fd;
    if (call != LH_SYS_UTIMES)
        return;
    len = lh_pack_encode(&part, 1, payload);
    lh_hash_bytes(payload, len, &hash);
    is_i64(rig->store->ops->write(rig->store, RIG_EPOCH, rig->pack++ * RIG_GRID, payload,
                                  (uint32_t)len, &hash, &soon, &rig->err),
           LH_CLAIM_OK, "it is voided meanwhile");
}

static void test_voided_while_written(void)
{
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_TIMES);
    rig_ask_one(rig, LH_KIND_FILE, "f", 10);
    rig_part(rig, 0, 0, 10);
    lh_sysfault_watch_with(void_it, NULL);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a file");
    lh_sysfault_watch_with(NULL, NULL);
    ok(!scratch_exists("t/f"), "it gets no name");
    is_i64(rig_commit(rig), 0, "a commit");
    is_u64(rig->settled.blocks, 0, "and is not settled");
    ok(!lh_rtree_awaits(rig->tree), "nothing of it is left");
    close_rig();
}

/* The umask holds for modes that are not kept, and not for those that are. */
static void test_modes(void)
{
    for (int kept = 0; kept < 2; kept++) {
        struct lh_tree_entry e;

        open_rig(LH_OFFER_KEEP_SAME, kept ? LH_KEEP_MODE : 0);
        e = rig_entry(rig, LH_KIND_FILE, "f", 10);
        e.mode = 0666;
        rig_add_entry(rig, &e);
        rig_ask(rig);
        rig_file(rig, 0, 10);
        is_u64(mode_of("f"), kept ? 0666u : 0666u & ~MASK, "mode, %s", kept ? "kept" : "not kept");
        close_rig();
    }
}

static void test_what_can_be_done(void)
{
    int fd = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_OPEN), 0, EOPNOTSUPP);
    is_i64(lh_rtree_unnamed_how(fd), LH_UNNAMED_NOT, "no files without a name here");
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_LINK), 0, ENOENT);
    is_i64(lh_rtree_unnamed_how(fd), LH_UNNAMED_PROC, "no right to link a descriptor: by /proc");
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_LINK), 0, ENOENT);
    is_i64(lh_rtree_unnamed_how(fd), LH_UNNAMED_NOT, "and there is no /proc");
    lh_sysfault_disarm();
    ok(!lh_rtree_in_memory(proc), "proc is no memory");
    close(fd);
    close(proc);
    is_u64(scratch_count(true) + scratch_count(false), 0, "asking leaves nothing");
}

/* It is asked when the tree is opened. */
static void test_tmpfs(void)
{
    int shm = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct lh_rtree_open how = {.path = (const uint8_t *)"t",
                                .path_len = 1,
                                .block_bytes = RIG_GRID,
                                .epoch = RIG_EPOCH,
                                .max_pending = 1000};
    struct lh_err err = {0};
    uint64_t dev;

    if (shm < 0 || !lh_rtree_in_memory(shm))
        skip("no tmpfs at /dev/shm");
    else
        is_i64(lh_rtree_unnamed_how(shm) != LH_UNNAMED_NOT, true, "tmpfs has files without a name");
    rig->tree = NULL;
    if (lh_place_open(scratch_dir(), &rig->root, &err) != 0)
        bail("%s", err.text);
    how.root = rig->root;
    if (lh_rtree_open(&how, &rig->tree, &dev, &err) != 0)
        bail("%s", err.text);
    ok(lh_rtree_in_memory(fd) || rig->tree->unnamed == LH_UNNAMED_NOT, "a disk gets none");
    ok(!lh_rtree_in_memory(fd) || rig->tree->unnamed != LH_UNNAMED_NOT, "memory does");
    rig->store = lh_rtree_store(rig->tree);
    close_rig();
    close(fd);
    close(shm);
}

int main(void)
{
    int fd = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (lh_rtree_unnamed_how(fd) == LH_UNNAMED_NOT)
        skip_all("this file system has no files without a name");
    close(fd);
    umask(MASK);
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    rig_in_memory = true;
    test_at_once();
    test_hidden_names();
    test_somebody_faster();
    test_refused();
    test_directory_goes();
    test_voided_while_written();
    test_modes();
    test_what_can_be_done();
    test_tmpfs();
    free(rig);
    return done_testing();
}
