/* Directories that a receiver that is not root opens up, where others change their modes too. */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define OTHER_GROUP 12345

static struct rig *rig; /* large */

static void open_rig(void)
{
    if (rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_MODE) != 0)
        bail("%s", rig->err.text);
}

static mode_t mode_of(const char *path)
{
    return rig_stat(path).st_mode & 07777;
}

static void set_mode(const char *path, mode_t mode)
{
    if (chmod(rig_path(path), mode) != 0)
        bail("cannot change a mode");
}

static void make_dir(const char *path, mode_t mode)
{
    if (mkdir(rig_path(path), 0700) != 0)
        bail("cannot make a directory");
    set_mode(path, mode);
}

/* The tree is closed: the directory has its mode back. */
static void close_rig(const char *path, mode_t mode)
{
    rig_close(rig);
    is_u64(mode_of(path), mode, "it has its mode");
    set_mode(path, 0700);
    scratch_clear();
}

/* Its group's bit goes for good when its owner changes its mode, and is not of that group. */
static void test_group_of_others(void)
{
    static const gid_t groups[] = {OTHER_GROUP, SCRATCH_NOBODY};

    if (getuid() != 0) {
        skip("only root makes directories of other groups");
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        open_rig();
        if (seteuid(0) != 0 || mkdir(rig_path("d"), 0) != 0 ||
            chown(rig_path("d"), SCRATCH_NOBODY, groups[i]) != 0 ||
            chmod(rig_path("d"), 02555) != 0 || seteuid(SCRATCH_NOBODY) != 0)
            bail("cannot make a directory of that group");
        is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/f", 1), LH_WANTED_NEW, "a file in a directory");
        rig_file(rig, 0, 1);
        is_i64(rig_commit(rig), 0, "a commit");
        is_i64(lh_runs_has(&rig->settled, 0), i == 1, "of another group: none is made there");
        close_rig("d", 02555);
    }
}

/* Another tree had opened it up, and gives its mode back when it ends. */
static void test_taken_back(void)
{
    open_rig();
    make_dir("d", 0755);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/f", 1), LH_WANTED_NEW, "a file");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/g", 1), LH_WANTED_NEW, "and one more");
    set_mode("d", 0555);
    is_i64(rig_file(rig, 0, 1), LH_CLAIM_OK, "where the right to write is taken back, is written");
    is_u64(mode_of("d"), 0755, "it is given again");
    set_mode("d", 0555);
    is_i64(rig_commit(rig), 0, "a commit, when it is taken once more");
    is_u64(mode_of("d"), 0755, "it is given again");
    ok(lh_runs_has(&rig->settled, 0), "the file is settled");
    rig_file(rig, 1, 1);
    is_i64(rig_commit(rig), 0, "a commit");
    ok(lh_runs_has(&rig->settled, 1), "so is the other");
    close_rig("d", 0555);
}

static void test_taken_back_from_makers(void)
{
    struct lh_runs gone;

    open_rig();
    make_dir("d", 0755);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/f", 1), LH_WANTED_NEW, "a file");
    set_mode("d", 0555);
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "d/e", 0), LH_WANTED_MADE, "a directory");
    set_mode("d", 0555);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/new/f", 1), LH_WANTED_NEW, "a file in a missing one");
    rig_file(rig, 2, 1);
    is_i64(rig_commit(rig), 0, "a commit");
    ok(scratch_exists("t/d/new/f"), "it is there");
    set_mode("d", 0555);
    set_mode("d/new", 0555);
    rig_add(rig, LH_KIND_FILE, "d/new/f", 1);
    rig_add(rig, LH_KIND_DIR, "d/e", 0);
    lh_runs_init(&gone, LH_RUNS_MAX);
    is_i64(rig_remove(rig, &gone), 0, "some are to be removed");
    lh_runs_free(&gone);
    ok(!scratch_exists("t/d/new/f") && !scratch_exists("t/d/e"), "they are gone");
    close_rig("d", 0555);
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    if (scratch_as_nobody()) {
        test_group_of_others();
        test_taken_back();
        test_taken_back_from_makers();
    } else {
        skip("who is not root cannot get at the scratch directory");
    }
    free(rig);
    scratch_as_before();
    return done_testing();
}
