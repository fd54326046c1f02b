/* A receiver that is killed, or whose power is cut, before each of its system calls in turn.
 *
 * The child runs a transfer and dies; what it had acknowledged stands in shared memory. A power cut
 * is the same with a disk that has forgotten: every file goes back to what it was at its last sync,
 * as the child had set aside by then, and one that was never synced is empty. (What directories
 * forget is for the tests on a real disk image.) Then the transfer is taken up again. */
#include "io/disk/sink.h"

#include "io/disk/staging.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_BLOCKS 4
#define N_FILES 64
#define FILE_BYTES (N_BLOCKS * SCRATCH_BLOCK)

/* What survives the child. */
struct shared {
    bool acked[N_BLOCKS];
    bool finished;
    size_t n_files;
    struct {
        ino_t ino;
        size_t len;
        struct timespec mtime;
        uint8_t data[FILE_BYTES];
    } synced[N_FILES];
};

static struct lh_place *root;
static struct lh_hidden hidden;
static struct scratch_source src;
static struct shared *shared;

static void set_aside(enum lh_sys call, int fd)
{
    struct stat st;
    size_t i;

    if ((call != LH_SYS_SYNC_DATA && call != LH_SYS_SYNC) || fstat(fd, &st) != 0 ||
        !S_ISREG(st.st_mode))
        return;
    for (i = 0; i < shared->n_files && shared->synced[i].ino != st.st_ino; i++)
        ;
    if (i == N_FILES || (size_t)st.st_size > FILE_BYTES)
        bail("the test is too small");
    if (i == shared->n_files)
        shared->n_files++;
    shared->synced[i].ino = st.st_ino;
    shared->synced[i].mtime = st.st_mtim;
    shared->synced[i].len = (size_t)pread(fd, shared->synced[i].data, FILE_BYTES, 0);
}

static void forget(const char *name)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
    struct stat st;
    int fd;

    chmod(scratch_path(name), 0600);
    fd = open(scratch_path(name), O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || ftruncate(fd, 0) != 0)
        bail("cannot forget %s", name);
    for (size_t i = 0; i < shared->n_files; i++) {
        if (shared->synced[i].ino != st.st_ino)
            continue;
        if (pwrite(fd, shared->synced[i].data, shared->synced[i].len, 0) !=
            (ssize_t)shared->synced[i].len)
            bail("cannot put %s back", name);
        times[1] = shared->synced[i].mtime;
    }
    futimens(fd, times);
    close(fd);
}

static void cut_power(void)
{
    DIR *d = opendir(scratch_dir());
    const struct dirent *e;

    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            forget(e->d_name);
    }
    closedir(d);
}

/* Commit, and tell the world what is acknowledged. */
static int commit(struct lh_sink *sink, struct lh_err *err)
{
    struct lh_runs acked;
    int r;

    lh_runs_init(&acked, LH_RUNS_MAX);
    r = scratch_commit(sink, &acked, err);
    for (uint64_t b = 0; b < N_BLOCKS; b++) {
        if (lh_runs_has(&acked, b))
            shared->acked[b] = true;
    }
    lh_runs_free(&acked);
    return r;
}

static struct lh_sink *late_sink;
static uint64_t late_epoch;

/* A block comes in when the first sync of data has all but ended: too late for it. */
static void after_call(enum lh_sys call, int fd)
{
    struct lh_err err;
    struct lh_sink *sink = late_sink;

    set_aside(call, fd);
    if (call != LH_SYS_SYNC_DATA || sink == NULL)
        return;
    late_sink = NULL;
    scratch_send(sink, &src, late_epoch, 2, &err);
}

/* Returns 0, or what failed. */
static int transfer(struct lh_err *err)
{
    struct lh_sink_opened opened;
    struct lh_sink *sink;
    struct lh_hash digest;
    int r = lh_sink_open(&src.how, &sink, &opened, err);

    if (r != 0)
        return r;
    if (!opened.done) {
        for (uint64_t b = 0; r >= 0 && b < N_BLOCKS; b++) {
            r = scratch_send(sink, &src, opened.epoch, b, err);
            if (b == 0) {
                late_sink = sink;
                late_epoch = opened.epoch;
            }
            if (r == LH_CLAIM_OK && b != 2)
                r = commit(sink, err);
        }
        if (r >= 0)
            r = commit(sink, err);
        if (r >= 0)
            r = scratch_finish(sink, &src, &digest, err);
    }
    if (r == 0)
        shared->finished = true;
    lh_sink_forget(sink);
    lh_sink_close(sink);
    late_sink = NULL;
    return r;
}

/* Returns what is wrong after the crash, or NULL. */
static const char *inspect(void)
{
    struct lh_sink_opened opened;
    struct lh_sink *sink;
    struct lh_runs durable;
    struct lh_err err = {0};
    const char *wrong = NULL;
    uint8_t *data;
    size_t len = 0;

    if (scratch_exists("t") && !scratch_same("t", &src))
        return "something half-made is under the target's name";
    if (shared->finished)
        return scratch_exists("t") ? NULL : "finished, and there is no target";
    if (lh_sink_open(&src.how, &sink, &opened, &err) != 0)
        return "it cannot be opened again";
    lh_runs_init(&durable, LH_RUNS_MAX);
    lh_sink_durable(sink, &durable);
    data = scratch_read(opened.done ? "t" : hidden.part, &len);
    for (uint64_t b = 0; b < N_BLOCKS; b++) {
        uint64_t at = b * SCRATCH_BLOCK;

        /* Forgotten after the rename (before the done record was) is sent again: that is allowed.
         */
        if (shared->acked[b] && !lh_runs_has(&durable, b) && !scratch_exists("t"))
            wrong = "something acknowledged is lost";
        if (lh_runs_has(&durable, b) &&
            (data == NULL || len < at + scratch_block_len(&src, b) ||
             memcmp(data + at, src.data + at, scratch_block_len(&src, b)) != 0))
            wrong = "something durable is wrong";
    }
    free(data);
    lh_runs_free(&durable);
    lh_sink_close(sink);
    return wrong;
}

/* Whether the child was killed (it met its call) or came through. */
static bool die_at(unsigned n)
{
    int status = 0;
    pid_t child;

    scratch_clear();
    memset(shared, 0, sizeof(*shared));
    fflush(stdout);
    child = fork();
    if (child == 0) {
        struct lh_err err = {0};

        lh_sysfault_watch_with(NULL, after_call);
        lh_sysfault_kill_at(LH_SYS_ALL, n);
        _exit(transfer(&err) == 0 ? 0 : 1);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        bail("the child did not end as it should");
    if (WEXITSTATUS(status) == 1)
        bail("the transfer failed by itself");
    return WEXITSTATUS(status) == LH_SYSFAULT_KILLED;
}

static void each_call(bool power)
{
    const char *what = power ? "power cut" : "killed";
    bool killed = true;
    unsigned n;

    for (n = 0; killed && n < 1000; n++) {
        struct lh_err err = {0};
        const char *wrong;

        killed = die_at(n);
        if (power)
            cut_power();
        wrong = inspect();
        if (wrong == NULL && transfer(&err) != 0)
            wrong = err.text;
        if (wrong == NULL && !scratch_same("t", &src))
            wrong = "the next run does not end with the target";
        if (wrong == NULL && scratch_count(true) != 0)
            wrong = "something hidden is left";
        if (wrong != NULL)
            ok(false, "%s before call %u: %s", what, n, wrong);
    }
    ok(n > 40 && !killed, "%s before each of %u calls, and taken up again", what, n - 1);
}

int main(void)
{
    struct lh_err err = {0};

    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    lh_hidden_of("t", &hidden);
    scratch_source_init(&src, root, "t", FILE_BYTES - 100, 1);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        bail("no shared memory");
    each_call(false);
    each_call(true);
    scratch_source_free(&src);
    lh_place_close(root);
    return done_testing();
}
