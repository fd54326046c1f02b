/* Hidden names, and the ladder of preallocation. */
#include "io/disk/staging.h"

#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static int dirfd_of_test;

static void test_names(void)
{
    char longest[256];
    struct lh_hidden a;
    struct lh_hidden b;

    lh_hidden_of("a", &a);
    lh_hidden_of("b", &b);
    ok(strcmp(a.part, b.part) != 0, "names tell targets apart");
    ok(strncmp(a.part, ".longhaul-", 10) == 0 && strlen(a.part) == 10 + 32 + 5, "%s", a.part);
    /* XXH3-128 of "a", seed 0, canonical. */
    is_str(a.part, ".longhaul-a96faf705af16834e6c632b61e964e1f.part", "the hash of the name");
    memset(longest, 'n', 255);
    longest[255] = '\0';
    lh_hidden_of(longest, &b);
    ok(strlen(b.journal) < 60, "a name of 255 bytes");
    ok(lh_hidden_parse(a.part, &b) && strcmp(b.journal, a.journal) == 0, "part is found again");
    ok(lh_hidden_parse(a.journal, &b) && strcmp(b.index, a.index) == 0, "journal is found again");
    ok(lh_hidden_parse(a.index, &b) && strcmp(b.part, a.part) == 0, "index is found again");
    ok(!lh_hidden_parse(".longhaul-a96faf705af16834e6c632b61e964e1.part", &b), "31 digits");
    ok(!lh_hidden_parse(".longhaul-a96faf705af16834e6c632b61e964e1f.parts", &b), "another suffix");
    ok(!lh_hidden_parse(".longhaul-A96FAF705AF16834E6C632B61E964E1F.part", &b), "capitals");
    ok(!lh_hidden_parse("a", &b) && !lh_hidden_reserved("a"), "a plain name");
    ok(lh_hidden_reserved(".longhaul-x"), "any name of that beginning is reserved");
}

static int create(uint64_t size, struct lh_err *err)
{
    int fd = -1;
    int r = lh_staging_create(dirfd_of_test, "s.part", size, size, "target", &fd, err);

    if (r == 0)
        close(fd);
    return r;
}

/* Make it and take space for all of it: 0, an errno, or -LH_E_* of the making. */
static int take(uint64_t size)
{
    struct lh_err err;
    int fd = -1;
    int r = lh_staging_create(dirfd_of_test, "s.part", size, size, "target", &fd, &err);

    if (r == 0) {
        r = lh_staging_allocate(fd, 0, size);
        close(fd);
    }
    return r;
}

static uint64_t size_of(const char *name)
{
    struct stat st;

    return stat(scratch_path(name), &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

static void test_ladder(void)
{
    static const int refusals[] = {EOPNOTSUPP, ENOSYS, EINVAL};
    struct lh_err err = {0};
    char log[512];

    scratch_clear();
    is_i64(create(100000, &err), 0, "made");
    is_u64(size_of("s.part"), 100000, "with its size");
    ok(create(1, &err) == -LH_E_DEST, "not over one that is there");
    for (size_t i = 0; i < 3; i++) {
        scratch_clear();
        lh_sysfault_log(log, sizeof(log));
        lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, refusals[i]);
        is_i64(take(100000), 0, "a file system that cannot: %s", strerror(refusals[i]));
        ok(lh_sysfault_disarm(), "it was asked");
        is_u64(size_of("s.part"), 100000, "the size is right all the same");
        is_str(log, " truncate:part", "nothing was written instead");
        lh_sysfault_log(NULL, 0);
        scratch_clear();
        lh_sysfault_log(log, sizeof(log));
        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, refusals[i]);
        is_i64(take(100000), 0, "a file system that keeps the size: %s", strerror(refusals[i]));
        lh_sysfault_disarm();
        is_str(log, " truncate:part allocate:part", "the second rung holds");
        lh_sysfault_log(NULL, 0);
    }
    scratch_clear();
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, EINTR);
    is_i64(take(100000), 0, "interrupted");
    lh_sysfault_disarm();
    scratch_clear();
    is_i64(create(0, &err), 0, "an empty one");
}

static void test_full(void)
{
    static const int errors[] = {ENOSPC, EDQUOT, EFBIG};
    struct lh_err err = {0};

    for (size_t i = 0; i < 3; i++) {
        scratch_clear();
        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_ALLOCATE), 0, errors[i]);
        is_i64(take(100000), errors[i], "%s", strerror(errors[i]));
        lh_sysfault_disarm();
    }
    scratch_clear();
    is_i64(create(UINT64_MAX, &err), -LH_E_DEST_SPACE, "larger than any file");
    is_u64(scratch_count(false), 0, "nothing is left");
    scratch_clear();
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_OPEN), 0, EROFS);
    is_i64(create(1, &err), -LH_E_DEST_READONLY, "read-only");
    lh_sysfault_disarm();
}

static void test_real_full(void)
{
    struct lh_err err = {0};
    int keep = dirfd_of_test;

    scratch_clear();
    if (mkdir(scratch_path("small"), 0755) != 0 ||
        mount("none", scratch_path("small"), "tmpfs", 0, "size=1m") != 0) {
        skip("a small file system needs root: %s", strerror(errno));
        return;
    }
    dirfd_of_test = open(scratch_path("small"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    is_i64(create(2 << 20, &err), -LH_E_DEST_SPACE, "a full tmpfs");
    ok(strstr(err.text, "2.0 MiB") != NULL && strstr(err.text, "1.0 MiB are free") != NULL &&
           strstr(err.text, "target") != NULL,
       "%s", err.text);
    ok(!scratch_exists("small/s.part"), "nothing is left");
    is_i64(create(1 << 19, &err), 0, "what fits still fits");
    close(dirfd_of_test);
    dirfd_of_test = keep;
    umount2(scratch_path("small"), MNT_DETACH);
}

static void test_open(void)
{
    struct lh_disk_stat st;
    struct lh_disk_stat other;
    struct lh_err err = {0};
    struct stat now;
    int fd;

    scratch_clear();
    create(1000, &err);
    chmod(scratch_path("s.part"), 0444);
    lh_disk_stat(dirfd_of_test, "s.part", &st);
    is_i64(lh_staging_open(dirfd_of_test, "s.part", &st, "target", &fd, &err), 0, "opened again");
    ok(fstat(fd, &now) == 0 && (now.st_mode & 0777) == 0600, "and writable again");
    close(fd);
    scratch_write("o", "x", 1);
    rename(scratch_path("s.part"), scratch_path("old"));
    rename(scratch_path("o"), scratch_path("s.part"));
    is_i64(lh_staging_open(dirfd_of_test, "s.part", &st, "target", &fd, &err), -LH_E_DEST,
           "another file of that name is refused");
    unlink(scratch_path("s.part"));
    ok(symlink("old", scratch_path("s.part")) == 0, "a link");
    lh_disk_stat(dirfd_of_test, "s.part", &other);
    ok(other.ino != st.ino, "is looked at itself");
    ok(lh_staging_open(dirfd_of_test, "s.part", &st, "target", &fd, &err) < 0, "and refused");
}

int main(void)
{
    dirfd_of_test = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    test_names();
    test_ladder();
    test_full();
    test_real_full();
    test_open();
    close(dirfd_of_test);
    return done_testing();
}
