/* A tree whose system calls and allocations fail in turn. (The order of syncs, and syncs that fail:
 * rtree_sync.c.)
 *
 * Whatever fails: what was settled is there and right, nothing half-made is under a name, each
 * entry is answered for unless the tree failed as a whole, and the next attempt ends well. */
#include "rtree_rig.h"

#include "io/rtree/rtree_impl.h"
#include "scratch.h"
#include "test/lib/fault.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_ENTRIES 7
#define BIG 70000u /* two parts */

static const struct {
    uint8_t kind;
    const char *path;
    uint32_t size;
} entries[N_ENTRIES] = {
    {LH_KIND_DIR, "d", 0},       {LH_KIND_FILE, "d/a", 5000}, {LH_KIND_FILE, "d/empty", 0},
    {LH_KIND_FILE, "big", BIG},  {LH_KIND_FIFO, "d/fifo", 0}, {LH_KIND_SYMLINK, "link", 0},
    {LH_KIND_FILE, "new/f", 10},
};

static struct rig *rig;
static uint64_t not_kept;     /* attributes, in this attempt */
static bool said[N_ENTRIES];  /* kept, settled or failed */
static bool sound[N_ENTRIES]; /* kept or settled */

static void note_troubles(const struct lh_rtree_trouble *list)
{
    for (; list != NULL; list = list->next)
        if (list->entry < N_ENTRIES)
            said[list->entry] = true;
}

static int commit(struct lh_err *err)
{
    int r = rig_commit(rig);

    if (r < 0)
        *err = rig->err;
    note_troubles(rig->troubles);
    for (uint32_t i = 0; i < N_ENTRIES; i++)
        if (lh_runs_has(&rig->settled, i))
            said[i] = sound[i] = true;
    return r;
}

static int send_wanted(struct lh_err *err)
{
    int r = 0;

    for (uint32_t i = 0; i < rig->answers.n && r == 0; i++) {
        uint8_t answer = rig->answers.v[i];

        if (answer == LH_WANTED_KEPT)
            said[i] = sound[i] = true;
        if (answer != LH_WANTED_NEW && answer != LH_WANTED_CHANGED)
            continue;
        if (entries[i].size < BIG) {
            r = rig_file(rig, i, entries[i].size);
        } else {
            rig_part(rig, i, 0, 40000);
            r = rig_pack(rig);
            if (r == 0)
                r = commit(err);
            rig_part(rig, i, 40000, BIG - 40000);
            if (r == 0)
                r = rig_pack(rig);
        }
    }
    if (r < 0 && err->status == 0)
        *err = rig->err;
    return r;
}

/* All of it. 0 or what failed. */
static int transfer(struct lh_err *err)
{
    struct lh_rtree_stats stats;
    int r = rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);

    not_kept = 0;

    memset(said, 0, sizeof(said));
    memset(sound, 0, sizeof(sound));
    if (r != 0) {
        *err = rig->err;
        return r;
    }
    for (uint32_t i = 0; i < N_ENTRIES; i++)
        if (entries[i].kind == LH_KIND_SYMLINK)
            rig_add_link(rig, LH_KIND_SYMLINK, entries[i].path, "d/a");
        else
            rig_add(rig, entries[i].kind, entries[i].path, entries[i].size);
    r = rig_ask(rig);
    note_troubles(rig->answers.troubles);
    if (r == 0)
        r = send_wanted(err);
    if (r == 0)
        r = commit(err);
    rig_add(rig, LH_KIND_DIR, "d", 0);
    if (r == 0)
        r = rig_attrs(rig);
    if (r == 0)
        r = lh_rtree_finish(rig->tree, &rig->err);
    if (r != 0 && err->status == 0)
        *err = rig->err;
    lh_rtree_stats(rig->tree, &stats);
    not_kept = stats.not_kept;
    rig_close(rig);
    return r;
}

static bool right(uint32_t i)
{
    struct stat st;

    if (lstat(rig_path(entries[i].path), &st) != 0)
        return false;
    switch (entries[i].kind) {
    case LH_KIND_DIR:
        return S_ISDIR(st.st_mode);
    case LH_KIND_FIFO:
        return S_ISFIFO(st.st_mode);
    case LH_KIND_SYMLINK:
        return S_ISLNK(st.st_mode);
    default:
        return (not_kept > 0 || st.st_mtim.tv_sec == rig_mtime(i).sec) &&
               rig_holds(entries[i].path, i, entries[i].size);
    }
}

static const char *inspect(int r)
{
    struct stat st;

    for (uint32_t i = 0; i < N_ENTRIES; i++) {
        if (sound[i] && !right(i))
            return "what was settled is not there";
        if (lstat(rig_path(entries[i].path), &st) == 0 && !right(i))
            return "something half-made is under its name";
        if (r == 0 && !said[i]) {
            diag("entry %u", i);
            return "an entry was not answered for";
        }
    }
    return NULL;
}

static void one_round(const char *what, unsigned n, int r, bool cleanly)
{
    const char *wrong = inspect(r);
    struct lh_err err = {0};

    if (wrong == NULL && cleanly && rig_hidden() > 0)
        wrong = "a staging file is left";
    if (wrong == NULL && transfer(&err) != 0)
        wrong = err.text[0] != '\0' ? err.text : "the next attempt fails";
    for (uint32_t i = 0; i < N_ENTRIES && wrong == NULL; i++)
        if (!right(i) || !sound[i])
            wrong = "the next attempt does not end with all of it";
    if (wrong == NULL && rig_hidden() > 0)
        wrong = "the next attempt leaves a staging file";
    if (wrong != NULL)
        ok(false, "%s %u: %s", what, n, wrong);
    scratch_clear();
}

static void each_call(int error, bool for_good, const char *what)
{
    bool met = true;
    unsigned n;

    for (n = 0; met && n < 1000; n++) {
        struct lh_err err = {0};
        int r;

        if (for_good)
            lh_sysfault_arm_for_good(LH_SYS_CHANGES, n, error);
        else
            lh_sysfault_arm(LH_SYS_ALL, n, error);
        r = transfer(&err);
        met = lh_sysfault_disarm();
        if (r != 0 && err.status != -r)
            ok(false, "%s %u: no sentence for %d, but one for %d", what, n, r, err.status);
        one_round(what, n, r, false);
    }
    ok(n > 20 && !met, "%s: each of %u calls has failed", what, n - 1);
}

static void each_allocation(void)
{
    bool met = true;
    unsigned n;

    for (n = 0; met && n < 1000; n++) {
        struct lh_err err = {0};
        int r;

        lh_fault_arm(n);
        r = transfer(&err);
        met = lh_fault_disarm();
        if (r != 0 && r != -LH_E_NOMEM)
            ok(false, "allocation %u: %d %s", n, r, err.text);
        one_round("allocation", n, r, true);
    }
    ok(n > 10 && !met, "each of %u allocations has failed", n - 1);
}

static void each_fault(void)
{
    each_call(EIO, false, "EIO at call");
    each_call(ENOSPC, false, "ENOSPC at call");
    each_call(EACCES, false, "EACCES at call");
    each_call(EIO, true, "a disk that fails from call");
    each_call(EINTR, false, "interrupted at call");
    lh_sysfault_limit(1000);
    each_call(EIO, false, "with short writes, EIO at call");
    lh_sysfault_limit(0);
    each_allocation();
}

/* ---- one failure, and what must come of it ---- */

static void disarm_at_look(enum lh_sys call, int fd)
{
    (void)fd;
    if (call == LH_SYS_STAT)
        lh_sysfault_disarm();
}

/* No RENAME_NOREPLACE; with 2 no hard links either. */
static void lack(int what)
{
    if (what == 1)
        lh_sysfault_arm(LH_SYS_BIT(LH_SYS_RENAME), 0, EINVAL);
    if (what < 2)
        return;
    lh_sysfault_arm_for_good(LH_SYS_BIT(LH_SYS_RENAME) | LH_SYS_BIT(LH_SYS_LINK), 0, ENOSYS);
    lh_sysfault_watch_with(disarm_at_look, NULL);
}

/* What somebody else makes of a name that was free stays, whatever the file system can do. */
static void test_somebody_faster(void)
{
    for (int lacks = 0; lacks < 3; lacks++) {
        size_t len = 0;
        uint8_t *data;

        rig_open(rig, LH_OFFER_KEEP_SAME, 0);
        for (uint32_t i = 0; i < 2; i++) {
            is_i64(rig_ask_one(rig, LH_KIND_FILE, i == 0 ? "f" : "g", 10), LH_WANTED_NEW, "new");
            rig_file(rig, i, 10);
            if (i == 0)
                scratch_write("t/f", "mine", 4);
            lack(lacks);
            is_i64(rig_commit(rig), 0, "a commit: %s", rig->err.text);
            ok(lh_sysfault_disarm() || lacks == 0, "without what the file system lacks");
            lh_sysfault_watch_with(NULL, NULL);
            is_u64(rig->settled.blocks, i, "%s", i == 0 ? "not settled" : "settled");
            ok((rig->troubles != NULL) == (i == 0), "a trouble when somebody was faster");
        }
        data = scratch_read("t/f", &len);
        ok(len == 4 && memcmp(data, "mine", 4) == 0, "that file is untouched");
        free(data);
        ok(rig_holds("g", 1, 10), "the other is there");
        is_u64(rig_hidden(), 0, "and no staging file is left");
        rig_close(rig);
        scratch_clear();
    }
}

/* A descriptor that is short is taken from a directory that is only kept. */
static void test_descriptors(void)
{
    if (rig_open(rig, LH_OFFER_KEEP_SAME, 0) != 0)
        bail("%s", rig->err.text);
    rig_ask_one(rig, LH_KIND_FILE, "d/f", 10);
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_OPEN), 0, EMFILE);
    is_i64(rig_file(rig, 0, 10), LH_CLAIM_OK, "a file, with too many open");
    ok(lh_sysfault_disarm(), "at first");
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_OPEN), 0, EMFILE);
    is_i64(rig_commit(rig), 0, "its commit");
    ok(lh_sysfault_disarm(), "which opens its directory again");
    is_u64(rig->settled.blocks, 1, "settled");
    rig_close(rig);
    scratch_clear();
}

/* ---- somebody who swaps a directory for a link, and back ---- */

static atomic_bool stop;
static atomic_uint n_swaps;

/* Not counted: sysfault is for one thread. */
int __real_renameat2(int fd, const char *a, int to, const char *b, unsigned flags);

static void *swapper(void *arg)
{
    char dir[512], link[512];

    snprintf(dir, sizeof(dir), "%s", rig_path("d"));
    snprintf(link, sizeof(link), "%s", rig_path("l"));
    while (!stop) {
        if (__real_renameat2(AT_FDCWD, dir, AT_FDCWD, link, RENAME_EXCHANGE) != 0)
            bail("%s and %s are not swapped: %s", dir, link, strerror(errno));
        n_swaps++;
    }
    return NULL;
}

static void test_swapped(void)
{
    pthread_t thread;
    char name[64];
    uint32_t from = 0;

    mkdir(scratch_path("outside"), 0755);
    mkdir(scratch_path("t"), 0755);
    mkdir(rig_path("d"), 0755);
    if (symlink("../outside", rig_path("l")) != 0)
        bail("symlink");
    if (rig_open(rig, LH_OFFER_KEEP_SAME, 0) != 0)
        bail("%s", rig->err.text);
    stop = false;
    pthread_create(&thread, NULL, swapper, NULL);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof(name), "d/f%d-%d", round, i);
            rig_add(rig, LH_KIND_FILE, name, 10);
        }
        lh_tree_dirs_forget(&rig->tree->dirs);
        rig_ask(rig);
        for (uint32_t i = 0; i < rig->answers.n; i++)
            if (rig->answers.v[i] == LH_WANTED_NEW) {
                lh_tree_dirs_forget(&rig->tree->dirs);
                rig_file(rig, from + i, 10);
            }
        from += 3;
        lh_tree_dirs_forget(&rig->tree->dirs);
        if (rig_commit(rig) < 0)
            break;
    }
    while (n_swaps < 2)
        usleep(1000);
    stop = true;
    pthread_join(thread, NULL);
    ok(rig->err.status == 0, "the tree goes on through %u swaps: %s", atomic_load(&n_swaps),
       rig->err.text);
    rig_close(rig);
    ok(rmdir(scratch_path("outside")) == 0, "nothing was ever put outside");
    scratch_clear();
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    test_somebody_faster();
    test_descriptors();
    test_swapped();
    each_fault();
    rig_in_memory = true;
    each_fault();
    free(rig);
    return done_testing();
}
