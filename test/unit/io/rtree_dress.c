/* Attributes of what is there at a receiver that is not root, also where its mode keeps us from it.
 */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OTHERS 077u

static struct rig *rig; /* large */

/* ---- what modes are set on the way ---- */

static mode_t allowed[2]; /* of others than the owner, one of these */
static unsigned n_set;
static unsigned n_wrong;

static void note(mode_t mode)
{
    n_set++;
    n_wrong += (mode & ~0700u) != (allowed[0] & ~0700u) && (mode & ~0700u) != (allowed[1] & ~0700u);
}

int __real_chmod(const char *path, mode_t mode);
int __wrap_chmod(const char *path, mode_t mode);
int __wrap_chmod(const char *path, mode_t mode)
{
    note(mode);
    return __real_chmod(path, mode);
}

static unsigned n_masks; /* chmods that gave rights to those whom an ACL names */

int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode)
{
    n_masks += (mode & 070) != 0 && fgetxattr(fd, "system.posix_acl_access", NULL, 0) > 0;
    note(mode);
    return __real_fchmod(fd, mode);
}

/* ---- how often a file is asked for its attributes ---- */

static unsigned n_listed;

ssize_t __real_flistxattr(int fd, char *list, size_t size);
ssize_t __wrap_flistxattr(int fd, char *list, size_t size);
ssize_t __wrap_flistxattr(int fd, char *list, size_t size)
{
    n_listed++;
    return __real_flistxattr(fd, list, size);
}

/* ---- attributes that stay ---- */

static int no_removal; /* of ACLs: an errno, or 0 */

static bool stays(const char *name)
{
    errno = no_removal;
    return no_removal != 0 && strcmp(name, "system.posix_acl_access") == 0;
}

int __real_fremovexattr(int fd, const char *name);
int __wrap_fremovexattr(int fd, const char *name);
int __wrap_fremovexattr(int fd, const char *name)
{
    return stays(name) ? -1 : __real_fremovexattr(fd, name);
}

int __real_lremovexattr(const char *path, const char *name);
int __wrap_lremovexattr(const char *path, const char *name);
int __wrap_lremovexattr(const char *path, const char *name)
{
    return stays(name) ? -1 : __real_lremovexattr(path, name);
}

/* ---- entries ---- */

static struct lh_tree_entry file(const char *path, mode_t mode)
{
    struct lh_tree_entry e = rig_entry(rig, LH_KIND_FILE, path, 1);

    e.mode = (uint16_t)mode;
    e.mtime = rig_mtime(0);
    return e;
}

/* Its answer. */
static int ask(const struct lh_tree_entry *e)
{
    rig_add_entry(rig, e);
    return rig_ask(rig) == 0 ? rig->answers.v[0] : -1;
}

static void make(const struct lh_tree_entry *e)
{
    uint32_t index = rig->next;

    if (ask(e) != LH_WANTED_NEW || rig_file(rig, index, 1) != LH_CLAIM_OK || rig_commit(rig) != 0)
        bail("cannot make a file: %s", rig->err.text);
}

static mode_t mode_of(const char *path)
{
    return rig_stat(path).st_mode & 07777;
}

static void open_rig(uint32_t keep)
{
    if (rig_open(rig, LH_OFFER_KEEP_SAME, keep) != 0)
        bail("%s", rig->err.text);
}

static uint64_t not_kept(void)
{
    struct lh_rtree_stats stats;

    lh_rtree_stats(rig->tree, &stats);
    return stats.not_kept;
}

static void close_rig(void)
{
    is_u64(not_kept(), 0, "all was kept");
    rig_close(rig);
    scratch_clear();
}

/* ---- the tests ---- */

static void test_modes(void)
{
    static const mode_t modes[] = {0, 0111, 0200, 0400, 0044, 0640};
    const size_t n = sizeof(modes) / sizeof(modes[0]);
    struct lh_tree_entry e;

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES);
    for (size_t i = 0; i < n * n; i++) {
        e = file("f", modes[i / n]);
        make(&e);
        n_set = n_wrong = 0;
        allowed[0] = modes[i / n];
        allowed[1] = e.mode = (uint16_t)modes[i % n];
        is_i64(ask(&e), i / n == i % n ? LH_WANTED_KEPT : LH_WANTED_MADE, "%o, to be %o",
               (unsigned)modes[i / n], (unsigned)modes[i % n]);
        is_u64(mode_of("f"), modes[i % n], "it is that, after %u changes", n_set);
        is_u64(n_wrong, 0, "others may never do what they may neither before nor after");
        if (unlink(rig_path("f")) != 0)
            bail("cannot remove it");
    }
    close_rig();
}

/* A big one has come with its mode, by which it may not be opened: nothing is left to be set. */
static void test_there(void)
{
    struct lh_tree_entry e;

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES);
    e = file("f", 0);
    make(&e);
    e.kind = LH_KIND_THERE;
    n_set = 0;
    is_i64(ask(&e), LH_WANTED_KEPT, "one that came by itself");
    is_u64(n_set, 0, "its mode is not touched");
    e.mode = 01000;
    is_i64(ask(&e), LH_WANTED_KEPT, "with a sticky bit");
    is_u64(mode_of("f"), 01000, "it gets that");
    e.mtime = rig_mtime(1);
    is_i64(ask(&e), LH_WANTED_FAILED, "one that is another by now");
    is_u64(mode_of("f"), 01000, "stays as it is");
    close_rig();
}

/* ---- extended attributes ---- */

static const uint8_t two[] = "\x06\0user.a\3\0one\x06\0user.b\3\0two";
/* What its owner may is read, and what others may is nothing. */
static const uint8_t acl_first[] = "\x17\0system.posix_acl_access\x1c\0"
                                   "\2\0\0\0\1\0\4\0\xff\xff\xff\xff"
                                   "\4\0\0\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff"
                                   "\x06\0user.a\3\0one";

/* The names of its attributes of users, each with a blank behind it. */
static const char *names_of(const char *path)
{
    static char names[256];
    char list[4096];
    ssize_t n = llistxattr(rig_path(path), list, sizeof(list));

    names[0] = '\0';
    for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
        if (strncmp(list + at, "user.", 5) == 0 && strlen(names) + 64 < sizeof(names))
            sprintf(names + strlen(names), "%.60s ", list + at);
    return names;
}

static struct lh_tree_entry with(const char *path, mode_t mode, const uint8_t *xattrs, size_t len)
{
    struct lh_tree_entry e = file(path, mode);

    e.xattrs = xattrs;
    e.xattrs_len = len;
    return e;
}

/* Kernels and file systems may have none. */
static bool have_xattrs(void)
{
    bool have;

    scratch_write("x", "", 0);
    have = setxattr(scratch_path("x"), "user.a", "", 0, 0) == 0;
    scratch_clear();
    return have;
}

static void test_xattrs(void)
{
    static const mode_t modes[] = {0, 0111, 0200, 0444, 0640};
    struct lh_tree_entry e;

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_XATTRS);
        n_set = n_wrong = 0;
        allowed[0] = allowed[1] = modes[i];
        e = with("f", modes[i], two, sizeof(two) - 1);
        make(&e);
        is_str(names_of("f"), "user.a user.b ", "new, of mode %o", (unsigned)modes[i]);
        is_i64(ask(&e), LH_WANTED_MADE, "they are set again");
        is_u64(mode_of("f"), modes[i], "its mode is that, after %u changes", n_set);
        is_u64(n_wrong, 0, "others may never do more");
        close_rig();
    }
}

static void test_xattrs_of_parts(void)
{
    struct lh_tree_entry e;
    uint32_t index;

    open_rig(LH_KEEP_MODE | LH_KEEP_XATTRS);
    e = with("f", 0444, two, sizeof(two) - 1);
    e.size = 3000;
    index = rig->next;
    is_i64(ask(&e), LH_WANTED_NEW, "one of several parts");
    rig_part(rig, index, 1000, 2000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a part");
    rig_part(rig, index, 0, 1000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the rest");
    is_i64(rig_commit(rig), 0, "committed");
    is_str(names_of("f"), "user.a user.b ", "it has them");
    is_u64(mode_of("f"), 0444, "and its mode");
    close_rig();
}

/* The mode that it has is not ours to set: it has it again. */
static void test_xattrs_without_modes(void)
{
    static const mode_t modes[] = {0, 0111, 0200, 0444};
    struct lh_tree_entry e;

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        open_rig(LH_KEEP_TIMES | LH_KEEP_XATTRS);
        e = file("f", 0600);
        make(&e);
        if (chmod(rig_path("f"), modes[i]) != 0)
            bail("cannot change its mode");
        e = with("f", 0600, two, sizeof(two) - 1);
        is_i64(ask(&e), LH_WANTED_MADE, "one of mode %o gets some", (unsigned)modes[i]);
        is_str(names_of("f"), "user.a user.b ", "it has them");
        is_u64(mode_of("f"), modes[i], "and the mode that it had");
        close_rig();
    }
}

/* Its ACL takes the right to write from us when it is set: what comes behind it is set as well. */
static void test_xattrs_behind_acl(void)
{
    const size_t len = sizeof(acl_first) - 1;
    struct lh_tree_entry e;

    for (unsigned i = 0; i < 2; i++) {
        uint32_t modes = i == 0 ? LH_KEEP_MODE : 0;

        open_rig(modes | LH_KEEP_TIMES | LH_KEEP_XATTRS | LH_KEEP_ACL);
        e = with("f", 0400, acl_first, len);
        make(&e);
        is_str(names_of("f"), "user.a ", "new, modes are %s", i == 0 ? "kept" : "not kept");
        e.path = (const uint8_t *)"g";
        e.xattrs_len = 0;
        make(&e);
        if (chmod(rig_path("g"), 0) != 0)
            bail("cannot change its mode");
        e.xattrs_len = len;
        is_i64(ask(&e), LH_WANTED_MADE, "one that is there, and may not be opened");
        is_str(names_of("g"), "user.a ", "has it");
        is_u64(mode_of("g"), 0400, "its mode is what its ACL says");
        close_rig();
    }
}

static bool shut(const char *path)
{
    /* Whom it names may do nothing, for its mask. */
    static const uint8_t acl[] = "\2\0\0\0\1\0\6\0\xff\xff\xff\xff"
                                 "\2\0\6\0\1\0\0\0\4\0\0\0\xff\xff\xff\xff"
                                 "\x10\0\0\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

    return setxattr(path, "system.posix_acl_access", acl, sizeof(acl) - 1, 0) == 0;
}

/* Whom its ACL names may do nothing, for its mask; nor may they for a moment when it goes. */
static void test_acl_goes_first(void)
{
    struct lh_tree_entry e;

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_ACL);
    e = file("f", 0600);
    make(&e);
    if (!shut(rig_path("f"))) {
        skip("no ACLs here");
    } else {
        n_masks = 0;
        e.mode = 0660;
        is_i64(ask(&e), LH_WANTED_MADE, "one with an ACL, to be of a group");
        is_u64(mode_of("f"), 0660, "it has its mode");
        ok(getxattr(rig_path("f"), "system.posix_acl_access", NULL, 0) < 0, "and no ACL");
        is_u64(n_masks, 0, "which gave nobody any rights on the way");
        is_i64(ask(&e), LH_WANTED_KEPT, "again");
    }
    close_rig();
}

/* It stays, and with it what its mask says: that is not made more. */
static void test_acl_that_stays(void)
{
    struct lh_tree_entry e;

    for (unsigned i = 0; i < 2; i++) {
        open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_ACL);
        e = file("f", 0660);
        if (i == 0) {
            make(&e);
        } else {
            e.kind = LH_KIND_FIFO;
            e.size = 0;
            is_i64(ask(&e), LH_WANTED_MADE, "a pipe");
        }
        if (!shut(rig_path("f"))) {
            skip("no ACLs here");
        } else {
            no_removal = EPERM;
            is_i64(ask(&e), LH_WANTED_MADE, "its ACL may not be removed");
            no_removal = 0;
            is_u64(not_kept(), 1, "that is counted");
            is_u64(mode_of("f"), 0600, "whom it names may do no more than before");
        }
        rig_close(rig);
        scratch_clear();
    }
}

/* What the source has no more goes; what is new has nothing that could, and is not asked. */
static void test_xattrs_that_go(void)
{
    const uint8_t *b = two + 13;
    const size_t b_len = sizeof(two) - 1 - 13;
    struct lh_tree_entry e;

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_XATTRS);
    n_listed = 0;
    e = with("f", 0444, two, sizeof(two) - 1);
    make(&e);
    is_u64(n_listed, 0, "those of a new file are not listed");
    e = with("f", 0444, b, b_len);
    is_i64(ask(&e), LH_WANTED_MADE, "one less");
    is_str(names_of("f"), "user.b ", "is one less");
    e = with("f", 0, NULL, 0);
    is_i64(ask(&e), LH_WANTED_MADE, "none, and it may not be opened");
    is_str(names_of("f"), "", "none is left");
    is_u64(mode_of("f"), 0, "it has its mode");
    is_i64(ask(&e), LH_WANTED_KEPT, "again: there is nothing to do");
    close_rig();

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_ACL);
    e = file("f", 0600);
    make(&e);
    if (setxattr(rig_path("f"), "user.a", "", 0, 0) != 0)
        bail("cannot set an attribute");
    is_i64(ask(&e), LH_WANTED_KEPT, "where they are not kept");
    e = with("f", 0400, acl_first, sizeof(acl_first) - 1);
    is_i64(ask(&e), LH_WANTED_MADE, "nor when it gets an ACL");
    is_str(names_of("f"), "user.a ", "they stay");
    close_rig();
}

/* More than one look at them takes. */
static void test_many_xattrs_go(void)
{
    struct lh_tree_entry e;
    char name[200];
    unsigned n = 0;

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_XATTRS);
    e = file("f", 0600);
    make(&e);
    while (n < 12 && snprintf(name, sizeof(name), "user.%0150u", n) > 0 &&
           setxattr(rig_path("f"), name, "", 0, 0) == 0)
        n++;
    is_i64(ask(&e), LH_WANTED_MADE, "%u attributes with long names", n);
    is_str(names_of("f"), "", "none is left");
    is_i64(ask(&e), LH_WANTED_KEPT, "again");
    close_rig();
}

/* As many, and none of them of users: there is nothing to do. */
static void test_many_of_others(void)
{
    struct lh_tree_entry e;
    char name[200];
    unsigned n = 0;

    open_rig(LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_XATTRS);
    e = file("f", 0600);
    make(&e);
    if (getuid() == 0 && seteuid(0) != 0)
        bail("cannot be root");
    while (n < 12 && snprintf(name, sizeof(name), "security.%0150u", n) > 0 &&
           setxattr(rig_path("f"), name, "", 0, 0) == 0)
        n++;
    if (getuid() == 0 && seteuid(SCRATCH_NOBODY) != 0)
        bail("cannot be somebody else");
    if (n < 8)
        skip("no such attributes here");
    else
        is_i64(ask(&e), LH_WANTED_KEPT, "%u attributes of the system with long names", n);
    close_rig();
}

static void test_xattrs_of_directories_go(void)
{
    struct lh_tree_entry e;

    for (unsigned i = 0; i < 2; i++) {
        uint32_t modes = i == 0 ? LH_KEEP_MODE : 0;

        open_rig(modes | LH_KEEP_TIMES | LH_KEEP_XATTRS);
        e = with("d", 0555, NULL, 0);
        e.kind = LH_KIND_DIR;
        e.size = 0;
        is_i64(ask(&e), LH_WANTED_MADE, "a directory");
        e.xattrs = two;
        e.xattrs_len = sizeof(two) - 1;
        rig_add_entry(rig, &e);
        is_i64(rig_attrs(rig), 0, "with two");
        is_str(names_of("d"), "user.a user.b ", "it has them");
        if (chmod(rig_path("d"), 0555) != 0)
            bail("cannot change its mode");
        e.xattrs_len = 0;
        rig_add_entry(rig, &e);
        is_i64(rig_attrs(rig), 0, "with none");
        is_str(names_of("d"), "", "it has none");
        is_u64(mode_of("d"), 0555, "and its mode");
        close_rig();
    }
}

static void test_all(void)
{
    test_modes();
    test_there();
    if (have_xattrs()) {
        test_xattrs();
        test_xattrs_of_parts();
        test_xattrs_without_modes();
        test_xattrs_behind_acl();
        test_acl_goes_first();
        test_acl_that_stays();
        test_xattrs_that_go();
        test_many_xattrs_go();
        test_many_of_others();
        test_xattrs_of_directories_go();
    } else {
        skip("no extended attributes here");
    }
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    if (scratch_as_nobody()) {
        test_all();
    } else {
        skip("who is not root cannot get at the scratch directory");
    }
    free(rig);
    scratch_as_before();
    return done_testing();
}
