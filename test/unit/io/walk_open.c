/* What a walk reads of entries: files, opened by their paths; extended attributes; and what may not
 * be read. */
#include "scratch.h"
#include "test/lib/tap.h"
#include "walk_rig.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int open_status(const char *path)
{
    struct lh_identity now;
    struct lh_err err;
    int fd;
    int r = lh_walk_open_file(rig.walk, 0, path, &fd, &now, &err);

    if (r == 0)
        close(fd);
    else
        diag("%s", err.text);
    return r;
}

static void test_open(void)
{
    struct lh_identity now;
    struct lh_err err;
    struct stat st;
    int fd;

    rig_make_tree();
    rig_begin("t", NULL);
    (void)rig_run();
    is_i64(lh_walk_open_file(rig.walk, 0, "t/a/y", &fd, &now, &err), 0, "a file opens");
    fstat(fd, &st);
    ok(st.st_ino == now.ino && st.st_dev == now.dev && st.st_size == 1, "and is told what it is");
    close(fd);
    is_i64(open_status("t/a/none"), -LH_E_SOURCE, "one that is gone");
    is_i64(open_status("t/a"), -LH_E_SOURCE_KIND, "a directory");
    (void)!unlink(scratch_path("t/a/y"));
    (void)!symlink("../x", scratch_path("t/a/y"));
    is_i64(open_status("t/a/y"), -LH_E_SOURCE, "one that became a link");
    (void)!unlink(scratch_path("t/a/y"));
    (void)!mkfifo(scratch_path("t/a/y"), 0600);
    is_i64(open_status("t/a/y"), -LH_E_SOURCE_KIND, "one that became a FIFO does not block");
    (void)!rename(scratch_path("t/a"), scratch_path("t/moved"));
    (void)!symlink("moved", scratch_path("t/a"));
    is_i64(open_status("t/a/b/z"), -LH_E_SOURCE, "one whose directory became a link");
    is_i64(open_status("t/../t/x"), -LH_E_SOURCE, "nothing leads out");
    rig_begin("t/x", NULL);
    (void)rig_run();
    is_i64(open_status("x"), 0, "a source that is a file opens");
    (void)!unlink(scratch_path("t/x"));
    (void)!symlink("moved/b/z", scratch_path("t/x"));
    is_i64(open_status("x"), -LH_E_SOURCE, "unless it became a link");
    rig_begin("t", NULL);
    rig.opts.links = LH_LINKS_FOLLOW;
    (void)rig_run();
    is_i64(open_status("t/a/b/z"), 0, "links that are followed are");
}

static void test_xattrs(void)
{
    static const uint8_t want[] = "\x06\0user.a\x03\0one";
    static char big[45000];
    struct lh_walk_entry e;
    struct lh_err err;
    int r;

    rig_make_tree();
    if (setxattr(scratch_path("t/x"), "user.a", "one", 3, 0) != 0) {
        skip("no extended attributes here");
        return;
    }
    rig_begin("t/x", NULL);
    rig.opts.preserve = LH_PRESERVE_XATTRS;
    rig_open();
    r = rig_next(&e, &err);
    ok(r == LH_WALK_ENTRY && e.xattrs_len == sizeof(want) - 1 &&
           memcmp(e.xattrs, want, e.xattrs_len) == 0,
       "an extended attribute comes");
    (void)setxattr(scratch_path("t/a"), "user.a", "one", 3, 0);
    rig_begin("t/", NULL);
    rig.opts.preserve = LH_PRESERVE_XATTRS | LH_PRESERVE_HARDLINKS;
    (void)!link(scratch_path("t/x"), scratch_path("t/x2"));
    rig_open();
    while (rig_next(&e, &err) == LH_WALK_ENTRY) {
        bool has = (e.kind == LH_KIND_FILE && e.path[0] == 'x') || strcmp(e.path, "a") == 0;

        ok(e.xattrs_len == (has ? sizeof(want) - 1 : 0) &&
               (!has || memcmp(e.xattrs, want, e.xattrs_len) == 0),
           "%s has %s", e.path, has ? "it" : "none");
    }
    lh_walk_dirs_start(rig.walk);
    while (lh_walk_dirs_next(rig.walk, &e, &err) == LH_WALK_ENTRY)
        ok(e.xattrs_len == (strcmp(e.path, "a") == 0 ? sizeof(want) - 1 : 0), "at the end: \"%s\"",
           e.path);
    if (setxattr(scratch_path("t/a/y"), "user.big", big, sizeof(big), 0) != 0) {
        diag("this file system has no attributes of more than 40 KiB, so none is tried");
        return;
    }
    rig_begin("t/a/y", "t/a/b", NULL);
    rig.opts.preserve = LH_PRESERVE_XATTRS;
    (void)rig_run();
    ok(strstr(rig.line[0], "! y: ") != NULL, "too many fail: %s", rig.line[0]);
}

static void test_unreadable(void)
{
    rig_make_tree();
    if (geteuid() == 0 && (chmod(scratch_dir(), 0755) != 0 || seteuid(65534) != 0)) {
        skip("cannot be anybody else");
        return;
    }
    rig_begin("t/", NULL);
    if (geteuid() == 65534) {
        (void)seteuid(0);
        (void)chmod(scratch_path("t/a"), 0700);
        (void)seteuid(65534);
    } else {
        (void)chmod(scratch_path("t/a"), 0);
    }
    is_i64(rig_run(), 0, "a tree with a directory that cannot be read");
    is_u64(rig.numbers.n_failed, 1, "it fails");
    ok(rig_has_line("d a") && rig_has_line("f x"), "the others come");
    is_i64(lh_walk_has(rig.walk, "a/y", false, NULL), -LH_E_SOURCE, "what is in it cannot be told");
    (void)seteuid(0);
    (void)chmod(scratch_path("t/a"), 0755);
}

int main(void)
{
    test_open();
    test_xattrs();
    test_unreadable();
    rig_end();
    return done_testing();
}
