/* Paths that are longer than a system call takes: opened in pieces, with the same confinement. */
#include "io/disk/deep.h"

#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
#define PLAIN (BENEATH | RESOLVE_NO_SYMLINKS)
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#define LEVELS 70
#define NAME_BYTES 200

static int root;
static char path[LEVELS * (NAME_BYTES + 1) + 8192]; /* of the deepest directory */

static int make_below(int dir, const char *name)
{
    int next;

    if (mkdirat(dir, name, 0755) != 0)
        bail("cannot make a level: %s", strerror(errno));
    next = openat(dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (next < 0)
        bail("cannot open a level: %s", strerror(errno));
    if (dir != root)
        close(dir);
    return next;
}

static void touch(int dir, const char *name)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        bail("cannot make %s", name);
    close(fd);
}

/* LEVELS directories of long names, and in the deepest a file and links. */
static void make_chain(void)
{
    char name[NAME_BYTES + 1];
    size_t len = 0;
    int dir = root;

    memset(name, 'n', NAME_BYTES);
    name[NAME_BYTES] = '\0';
    for (int i = 0; i < LEVELS; i++) {
        dir = make_below(dir, name);
        len += (size_t)snprintf(path + len, sizeof(path) - len, "%s%s", len > 0 ? "/" : "", name);
        if (i == LEVELS - 2) {
            touch(dir, "beside");
            if (symlinkat(name, dir, "link") != 0 || symlinkat("/", dir, "out") != 0)
                bail("cannot make links");
        }
    }
    touch(dir, "file");
    if (symlinkat("../beside", dir, "up") != 0)
        bail("cannot make a link");
    close(dir);
}

/* The path of `name`, `up` levels above the deepest directory. */
static const char *at(unsigned up, const char *name)
{
    static char full[sizeof(path) + 300];
    size_t len = strlen(path) - up * (NAME_BYTES + 1);

    snprintf(full, sizeof(full), "%.*s/%s", (int)len, path, name);
    return full;
}

static int try_open(const char *name, int flags, uint64_t resolve)
{
    int before = dup(root);
    int after;
    int fd;

    close(before);
    fd = lh_deep_open(root, name, flags, resolve);
    if (fd >= 0)
        close(fd);
    after = dup(root);
    close(after);
    ok(before == after, "  no descriptor is left");
    return fd < 0 ? fd : 0;
}

static void test_open(void)
{
    ok(strlen(path) > 3 * 4096u, "a path of %zu bytes", strlen(path));
    is_i64(open(at(0, "file"), O_RDONLY), -1, "is none that a system call takes");
    is_i64(try_open(at(0, "file"), O_RDONLY, PLAIN), 0, "a file is opened at its end");
    is_i64(try_open(at(0, "file"), O_RDONLY, 0), 0, "with openat(2) as well");
    is_i64(try_open(path, DIR_FLAGS, PLAIN), 0, "a directory");
    is_i64(try_open("", DIR_FLAGS, PLAIN), 0, "nothing is where it begins");
    is_i64(try_open(at(0, "not there"), O_RDONLY, PLAIN), -ENOENT, "what is not there");
    is_i64(try_open(at(0, "file/x"), O_RDONLY, PLAIN), -ENOTDIR, "below a file");
    is_i64(try_open(at(0, "file"), DIR_FLAGS, PLAIN), -ENOTDIR, "a file as a directory");
}

static void test_confined(void)
{
    is_i64(try_open(at(0, "up"), O_RDONLY, PLAIN), -ELOOP, "a link at the end");
    is_i64(try_open(at(1, "link/file"), O_RDONLY, PLAIN), -ELOOP, "a link on the way");
    is_i64(try_open(at(1, "link/file"), O_RDONLY, BENEATH), 0, "which leads on, where links may");
    is_i64(try_open(at(1, "out/etc"), O_RDONLY, BENEATH), -EXDEV, "but not out");
    is_i64(try_open(at(0, "../beside"), O_RDONLY, BENEATH), 0, "\"..\" within a piece");
}

/* Every length around the end of a piece, and slashes where it is cut. */
static void test_edges(void)
{
    static char text[9000];
    unsigned wrong = 0;

    for (size_t slashes = 3500; slashes <= 4500; slashes++) {
        int fd;

        memset(text, '/', sizeof(text));
        memcpy(text, path, NAME_BYTES);
        snprintf(text + NAME_BYTES + slashes, sizeof(text) - NAME_BYTES - slashes, "%.*s",
                 NAME_BYTES, path);
        fd = lh_deep_open(root, text, DIR_FLAGS, PLAIN);
        wrong += fd < 0;
        if (fd >= 0)
            close(fd);
    }
    is_u64(wrong, 0, "a path may be cut between slashes");
    memset(text, '/', sizeof(text));
    memcpy(text, path, NAME_BYTES);
    text[8000] = '\0';
    is_i64(try_open(text, DIR_FLAGS, PLAIN), 0, "and end in them");
    memset(text, 'x', 5000);
    text[5000] = '\0';
    is_i64(try_open(text, O_RDONLY, PLAIN), -ENAMETOOLONG, "a name that is longer than a piece");
    is_i64(try_open(at(0, text), O_RDONLY, PLAIN), -ENAMETOOLONG, "also behind others");
}

static void test_stat(void)
{
    struct lh_disk_stat st = {0};

    ok(lh_deep_stat(root, at(0, "file"), false, &st) == 0 && S_ISREG(st.mode), "a file is told");
    ok(lh_deep_stat(root, at(0, "up"), false, &st) == 0 && S_ISLNK(st.mode), "a link is one");
    ok(lh_deep_stat(root, at(0, "up"), true, &st) == 0 && S_ISREG(st.mode), "or what it leads to");
    ok(lh_deep_stat(root, path, false, &st) == 0 && S_ISDIR(st.mode), "a directory is told");
    is_i64(lh_deep_stat(root, at(0, "nothing"), false, &st), ENOENT, "what is not there is not");
    ok(lh_deep_stat(root, "", false, &st) == 0 && S_ISDIR(st.mode), "nothing is where it begins");
}

/* Each call fails once, and nothing stays open. */
static void test_faults(void)
{
    bool met = true;
    unsigned n;

    for (n = 0; met && n < 50; n++) {
        int r;

        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_OPEN), n, EIO);
        r = lh_deep_open(root, at(0, "file"), O_RDONLY, PLAIN);
        met = lh_sysfault_disarm();
        if (met)
            is_i64(r, -EIO, "piece %u fails", n);
        else if (r >= 0)
            close(r);
    }
    is_u64(n - 1, 4, "there are four");
    is_i64(try_open(at(0, "file"), O_RDONLY, PLAIN), 0, "and all is as before");
}

int main(void)
{
    char remove[400];

    root = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_chain();
    test_open();
    test_confined();
    test_edges();
    test_stat();
    test_faults();
    close(root);
    snprintf(remove, sizeof(remove), "rm -rf %s/n*", scratch_dir()); /* too deep for nftw(3) */
    if (system(remove) != 0)
        bail("cannot remove what is deep");
    return done_testing();
}
