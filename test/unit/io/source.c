/* The file that is sent: what is refused, what counts as changed. */
#include "io/source/source.h"

#include "core/sched.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void refused(const char *path, int status, const char *word)
{
    struct lh_source src;
    struct lh_err err = {0};

    is_i64(lh_source_open(path, &src, &err), -status, "%s", word);
    ok(strstr(err.text, word) != NULL, "says so: %s", err.text);
}

static void test_kinds(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    mkfifo(scratch_path("fifo"), 0600);
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", scratch_path("sock"));
    bind(s, (struct sockaddr *)&addr, sizeof(addr));
    refused(scratch_path("absent"), LH_E_SOURCE, "no such file");
    refused(scratch_dir(), LH_E_SOURCE_DIR, "a directory");
    refused(scratch_path("fifo"), LH_E_SOURCE_KIND, "a FIFO");
    refused(scratch_path("sock"), LH_E_SOURCE_KIND, "a socket");
    refused("/dev/null", LH_E_SOURCE_KIND, "a device");
    refused("", LH_E_SOURCE, "no such file");
    close(s);
    scratch_write("secret", "x", 1);
    chmod(scratch_path("secret"), 0);
    if (geteuid() != 0)
        refused(scratch_path("secret"), LH_E_SOURCE, "no permission");
    else if (seteuid(65534) == 0) {
        chmod(scratch_path("secret"), 0);
        refused(scratch_path("secret"), LH_E_SOURCE, "no permission");
        if (seteuid(0) != 0)
            bail("cannot be root again");
    } else
        skip("to be somebody else needs root, all of it");
}

static void test_open(void)
{
    struct lh_source src;
    struct lh_err err = {0};
    struct stat st;

    scratch_write("f", "hello", 5);
    chmod(scratch_path("f"), 04755);
    stat(scratch_path("f"), &st);
    ok(symlink("f", scratch_path("link")) == 0, "a link");
    is_i64(lh_source_open(scratch_path("link"), &src, &err), 0, "opened through a link");
    ok(src.identity.size == 5 && src.identity.ino == st.st_ino && src.identity.dev == st.st_dev,
       "size, inode, device");
    ok(src.identity.mtime.sec == st.st_mtim.tv_sec &&
           src.identity.mtime.nsec == (uint32_t)st.st_mtim.tv_nsec &&
           src.identity.ctime.nsec == (uint32_t)st.st_ctim.tv_nsec,
       "times to the nanosecond");
    is_u64(src.mode, 04755, "mode");
    is_i64(lh_source_check(&src, &err), 0, "unchanged");
    lh_source_close(&src);
}

static void changed(const char *what, const char *word, void (*change)(void))
{
    struct lh_source src;
    struct lh_err err = {0};

    scratch_clear();
    scratch_write("f", "hello", 5);
    if (lh_source_open(scratch_path("f"), &src, &err) != 0)
        bail("%s", err.text);
    is_i64(lh_source_check(&src, &err), 0, "%s: not yet", what);
    usleep(20000); /* the kernel's clock for times is a coarse one */
    change();
    is_i64(lh_source_check(&src, &err), -LH_E_SOURCE_CHANGED, "%s: changed", what);
    ok(strstr(err.text, word) != NULL, "  %s", err.text);
    lh_source_close(&src);
}

static void grow(void)
{
    scratch_write("f", "hello!", 6);
}

static void shrink(void)
{
    if (truncate(scratch_path("f"), 3) != 0)
        bail("truncate");
}

static void rewrite(void)
{
    scratch_write("f", "HELLO", 5);
}

static void rewrite_with_mtime_put_back(void)
{
    struct stat st;
    struct timespec times[2];

    stat(scratch_path("f"), &st);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    scratch_write("f", "HELLO", 5);
    utimensat(AT_FDCWD, scratch_path("f"), times, 0);
}

static void replace(void)
{
    struct stat st;
    struct timespec times[2];

    stat(scratch_path("f"), &st);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    scratch_write("g", "hello", 5);
    utimensat(AT_FDCWD, scratch_path("g"), times, 0);
    rename(scratch_path("g"), scratch_path("f"));
}

static void move_away(void)
{
    rename(scratch_path("f"), scratch_path("g"));
}

static void test_check_faults(void)
{
    struct lh_source src;
    struct lh_err err = {0};

    scratch_clear();
    scratch_write("f", "hello", 5);
    lh_source_open(scratch_path("f"), &src, &err);
    for (unsigned n = 0; n < 2; n++) {
        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_STAT), n, EIO);
        is_i64(lh_source_check(&src, &err), -LH_E_SOURCE, "look %u fails", n);
        lh_sysfault_disarm();
    }
    lh_source_close(&src);
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_STAT), 0, EIO);
    is_i64(lh_source_open(scratch_path("f"), &src, &err), -LH_E_SOURCE, "open cannot look");
    lh_sysfault_disarm();
}

static void test_hash(void)
{
    size_t size = 5 * SCRATCH_BLOCK / 2;
    uint8_t *data = malloc(size);
    uint8_t *buffer = malloc(SCRATCH_BLOCK);
    struct lh_hash got[3];
    struct lh_hash want[3];
    bool zeros[3] = {true, false, true};
    struct lh_source src, other;
    struct lh_err err = {0};

    scratch_fill(data, size, 0, 1);
    scratch_write("f", data, size);
    for (int i = 0; i < 3; i++)
        lh_hash_bytes(data + (size_t)i * SCRATCH_BLOCK, i < 2 ? SCRATCH_BLOCK : SCRATCH_BLOCK / 2,
                      &want[i]);
    lh_source_open(scratch_path("f"), &src, &err);
    is_i64(lh_source_hash_blocks(&src, buffer, SCRATCH_BLOCK, 0, 3, got, NULL, &err), 0, "hashed");
    is_mem(got, want, sizeof(want), "the last block is short");
    memset(data + SCRATCH_BLOCK, 0, SCRATCH_BLOCK);
    scratch_write("z", data, size);
    lh_source_open(scratch_path("z"), &other, &err);
    lh_source_hash_blocks(&other, buffer, SCRATCH_BLOCK, 0, 3, got, zeros, &err);
    lh_source_close(&other);
    ok(!zeros[0] && zeros[1] && !zeros[2], "and which are nothing but zeros");
    lh_sysfault_limit(1000);
    memset(got, 0, sizeof(got));
    is_i64(lh_source_hash_blocks(&src, buffer, SCRATCH_BLOCK, 1, 2, got, NULL, &err), 0,
           "short reads");
    lh_sysfault_limit(0);
    is_mem(got, want + 1, 2 * sizeof(want[0]), "make no difference");
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_READ), 1, EIO);
    is_i64(lh_source_hash_blocks(&src, buffer, SCRATCH_BLOCK, 0, 3, got, NULL, &err), -LH_E_SOURCE,
           "a read error");
    lh_sysfault_disarm();
    shrink();
    is_i64(lh_source_hash_blocks(&src, buffer, SCRATCH_BLOCK, 0, 3, got, NULL, &err),
           -LH_E_SOURCE_CHANGED, "it became shorter");
    lh_source_close(&src);
    free(data);
    free(buffer);
}

static void test_extents(void)
{
    struct lh_err err = {0};
    struct lh_runs runs;
    struct lh_source src;
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s", scratch_path("holes"));
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || ftruncate(fd, 8 << 20) != 0 || pwrite(fd, "x", 1, 2 << 20) != 1 ||
        pwrite(fd, "y", 1, (5 << 20) + 7) != 1)
        bail("cannot make a sparse file");
    close(fd);
    if (lh_source_open(path, &src, &err) != 0)
        bail("%s", err.text);
    lh_runs_init(&runs, LH_RUNS_MAX);
    is_i64(lh_source_extents(&src, &runs, &err), 0, "extents of a sparse file");
    ok(lh_runs_has(&runs, 2 << 20) && lh_runs_has(&runs, (5 << 20) + 7), "what is data is data");
    if (runs.n == 1 && runs.blocks == 8 << 20)
        skip("cannot tell holes here");
    else
        ok(!lh_runs_has(&runs, 0) && !lh_runs_has(&runs, 4 << 20) &&
               !lh_runs_has(&runs, (8 << 20) - 1),
           "holes before, between and behind are none");
    lh_runs_free(&runs);
    lh_runs_init(&runs, 1);
    is_i64(lh_source_extents(&src, &runs, &err), 0, "more of them than fit");
    ok(runs.n == 1 && runs.v[0].first <= 2 << 20 && runs.v[0].end == 8 << 20,
       "the last one reaches to the end");
    lh_runs_free(&runs);
    lh_source_close(&src);
}

int main(void)
{
    scratch_dir();
    test_kinds();
    scratch_clear();
    test_open();
    changed("grown", "size from 5 to 6", grow);
    changed("truncated", "size from 5 to 3", shrink);
    changed("rewritten", "mtime", rewrite);
    changed("rewritten, mtime put back", "ctime", rewrite_with_mtime_put_back);
    changed("replaced by one that looks the same", "another file", replace);
    changed("moved away", "gone", move_away);
    test_check_faults();
    test_hash();
    test_extents();
    return done_testing();
}
