/* Paths beneath a root: what is allowed, what is made, what is refused. */
#include "io/disk/place.h"

#include "io/disk/deep.h"
#include "proto/transfer.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lh_place *root;

/* Status of a path, and of the directory and name when it is taken. */
static int dir_of(const void *path, size_t len, char *where, char name[256])
{
    struct lh_err err = {0};
    int fd;
    int r = lh_place_dir(root, path, len, &fd, name, &err);

    if (r != 0) {
        ok(err.status == -r && err.text[0] != '\0', "  says: %s", err.text);
        return r;
    }
    if (where != NULL) {
        char link[64];
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, where, 1023);
        where[n > 0 ? n : 0] = '\0';
    }
    close(fd);
    return 0;
}

static int status_of(const char *path)
{
    char name[256];

    return dir_of(path, strlen(path), NULL, name);
}

static void is_at(const char *path, const char *want_dir, const char *want_name)
{
    char where[1024];
    char name[256];

    if (!is_i64(dir_of(path, strlen(path), where, name), 0, "\"%s\" is taken", path))
        return;
    is_str(where, want_dir[0] != '\0' ? scratch_path(want_dir) : scratch_dir(), "  its directory");
    is_str(name, want_name, "  its name");
}

static void test_allowed(void)
{
    char longest[256];

    is_at("a", "", "a");
    is_at("./a", "", "a");
    is_at("x/y/z", "x/y", "z");
    is_at("x//y///z", "x/y", "z");
    is_at("x/./y/z", "x/y", "z");
    is_at("new\nline \xff", "", "new\nline \xff");
    is_at("..a", "", "..a");
    memset(longest, 'n', 255);
    longest[255] = '\0';
    is_at(longest, "", longest);
}

static void test_refused(void)
{
    static char buf[LH_OFFER_PATH_MAX + 1];
    char name[256];

    is_i64(status_of(""), -LH_E_PATH, "empty");
    is_i64(status_of("/etc/passwd"), -LH_E_PATH, "absolute");
    is_i64(status_of(".."), -LH_E_PATH, "..");
    is_i64(status_of("../a"), -LH_E_PATH, "../a");
    is_i64(status_of("x/../a"), -LH_E_PATH, "x/../a");
    is_i64(status_of("x/.."), -LH_E_PATH, "x/..");
    is_i64(status_of("x/"), -LH_E_PATH, "a slash at the end");
    is_i64(status_of("x/."), -LH_E_PATH, "a dot at the end");
    is_i64(status_of("."), -LH_E_PATH, "a dot alone");
    is_i64(dir_of("a\0b", 3, NULL, name), -LH_E_PATH, "a NUL byte");
    memset(buf, 'n', 256);
    buf[256] = '\0';
    is_i64(status_of(buf), -LH_E_PATH, "a name of 256 bytes");
    for (size_t i = 0; i < LH_OFFER_PATH_MAX; i++)
        buf[i] = i % 2 == 0 ? 'd' : '/';
    buf[LH_OFFER_PATH_MAX] = '\0';
    buf[LH_OFFER_PATH_MAX - 1] = 'x';
    is_i64(status_of(buf), -LH_E_PATH, "20480 bytes");
    scratch_write("file", "x", 1);
    is_i64(status_of("file/a"), -LH_E_DEST_KIND, "a file as a directory");
}

static void test_links(void)
{
    scratch_clear();
    mkdir(scratch_path("real"), 0755);
    mkdir(scratch_path("sub"), 0755);
    ok(symlink("real", scratch_path("inside")) == 0 &&
           symlink("../real", scratch_path("sub/up")) == 0 &&
           symlink("/etc", scratch_path("absolute")) == 0 &&
           symlink("../..", scratch_path("sub/out")) == 0 &&
           symlink("nowhere", scratch_path("dangling")) == 0 &&
           symlink("loop", scratch_path("loop")) == 0,
       "links are laid");
    is_at("inside/a", "real", "a");
    is_at("inside/new/a", "real/new", "a");
    is_at("sub/up/a", "real", "a");
    is_at("sub/up/deep/er/a", "real/deep/er", "a");
    is_i64(status_of("absolute/a"), -LH_E_PATH, "an absolute link");
    is_i64(status_of("sub/out/a"), -LH_E_PATH, "a link that leads out");
    is_i64(status_of("sub/out/new/a"), -LH_E_PATH, "a link that leads out, something missing");
    is_i64(status_of("dangling/a"), -LH_E_DEST_KIND, "a link to nowhere");
    is_i64(status_of("loop/a"), -LH_E_PATH, "a link to itself");
}

/* Longer than a system call takes: made and found, confined all the same. */
static void test_deep(void)
{
    static char path[60 * 201 + 100];
    char remove[400];
    char name[256];
    size_t len = 0;
    int fd, up;

    scratch_clear();
    for (int i = 0; i < 60; i++)
        len += (size_t)snprintf(path + len, sizeof(path) - len, "%0200d/", i);
    strcpy(path + len, "f");
    is_i64(status_of(path), 0, "a path of 12 061 bytes is made");
    is_i64(status_of(path), 0, "and found");
    is_i64(dir_of(path, strlen(path), NULL, name), 0, "and its last name");
    is_str(name, "f", "  is told");
    path[len - 1] = '\0';
    fd = lh_deep_open(lh_place_fd(root), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    ok(fd >= 0 && symlinkat("/", fd, "out") == 0 && symlinkat(".", fd, "here") == 0,
       "links are laid in the deepest");
    strcpy(path + len - 1, "/out/f");
    is_i64(status_of(path), -LH_E_PATH, "one that leads out");
    strcpy(path + len - 1, "/here/f");
    is_i64(status_of(path), 0, "one that does not");
    up = openat(fd, "..", O_PATH | O_CLOEXEC);
    path[len - 1] = '\0';
    ok(unlinkat(fd, "out", 0) == 0 && unlinkat(fd, "here", 0) == 0 &&
           unlinkat(up, path + len - 201, AT_REMOVEDIR) == 0 &&
           symlinkat("/", up, path + len - 201) == 0,
       "the deepest is replaced by a link that leads out");
    strcpy(path + len - 1, "/f");
    is_i64(status_of(path), -LH_E_PATH, "which is not followed");
    close(up);
    close(fd);
    snprintf(remove, sizeof(remove), "rm -rf %s/0*", scratch_dir()); /* too deep for nftw(3) */
    if (system(remove) != 0)
        bail("cannot remove what is deep");
}

static void test_root(void)
{
    struct lh_place *place;
    struct lh_err err = {0};

    is_i64(lh_place_open(scratch_path("absent"), &place, &err), -LH_E_DEST, "no such root");
    ok(strstr(err.text, "absent") != NULL, "it is named: %s", err.text);
    scratch_write("plain", "x", 1);
    is_i64(lh_place_open(scratch_path("plain"), &place, &err), -LH_E_DEST, "a file as root");
    lh_place_close(NULL);
    ok(lh_place_fd(root) >= 0, "the root has a descriptor");
}

/* Each call fails once: the operation fails or gets by, and the next time all is well. */
static void test_faults(void)
{
    unsigned n;
    bool fine = true;
    bool met = true;

    for (n = 0; met && n < 100; n++) {
        char name[256];
        struct lh_err err = {0};
        int fd = -1;
        int r;

        scratch_clear();
        lh_sysfault_arm(LH_SYS_ALL, n, EIO);
        r = lh_place_dir(root, (const uint8_t *)"p/q/f", 5, &fd, name, &err);
        met = lh_sysfault_disarm();
        fine = fine && (r == 0 || r == -LH_E_DEST);
        if (r == 0)
            close(fd);
        fine = fine && status_of("p/q/f") == 0;
    }
    ok(fine && n > 5 && !met, "every call has failed once (%u), and none did harm", n - 1);
}

static void test_syncs(void)
{
    char log[1024];

    scratch_clear();
    lh_sysfault_log(log, sizeof(log));
    status_of("one/two/f");
    lh_sysfault_log(NULL, 0);
    is_str(log, " mkdir:dir sync:dir mkdir:dir sync:dir",
           "the directory in which one is made is synced");
}

/* "a/a/…/f" in so many directories. */
static int deep(unsigned n)
{
    char path[2 * LH_PLACE_DEPTH_MAX + 4];
    char name[256];

    for (unsigned i = 0; i < n; i++)
        memcpy(path + 2 * (size_t)i, "a/", 2);
    path[2 * n] = 'f';
    return dir_of(path, 2 * (size_t)n + 1, NULL, name);
}

static void test_deepest(void)
{
    is_i64(deep(LH_PLACE_DEPTH_MAX), 0, "in 1024 directories, one in the other");
    is_i64(deep(LH_PLACE_DEPTH_MAX + 1), -LH_E_PATH, "and not in one more");
}

int main(void)
{
    struct lh_err err = {0};

    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    test_allowed();
    test_refused();
    test_links();
    test_deep();
    test_root();
    test_faults();
    test_syncs();
    test_deepest();
    lh_place_close(root);
    return done_testing();
}
