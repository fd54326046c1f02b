/* A tree at the receiver: what a commit syncs, in which order, and what is not settled when that
 * fails. */
#include "rtree_rig.h"

#include "io/rtree/rtree_impl.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct rig *rig;

static unsigned count_of(const char *log, const char *word)
{
    unsigned n = 0;

    for (const char *at = strstr(log, word); at != NULL; at = strstr(at + 1, word))
        n++;
    return n;
}

static void test_order(void)
{
    static char log[64 * 1024];
    char name[64];
    const char *renamed;

    if (rig_open(rig, LH_OFFER_KEEP_SAME, 0) != 0)
        bail("%s", rig->err.text);
    rig_ask_one(rig, LH_KIND_FILE, "f", 10);
    rig_file(rig, 0, 10);
    lh_sysfault_log(log, sizeof(log));
    is_i64(rig_commit(rig), 0, "a commit of one file");
    lh_sysfault_log(NULL, 0);
    is_str(log, " sync:part rename:dir sync:dir", "contents, name, directory");

    rig_ask_one(rig, LH_KIND_FIFO, "fifo", 0);
    lh_sysfault_log(log, sizeof(log));
    is_i64(rig_commit(rig), 0, "a commit of what has no contents");
    lh_sysfault_log(NULL, 0);
    is_str(log, " sync:dir", "its directory");

    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "many%u/f", i);
        rig_add(rig, LH_KIND_FILE, name, 10);
    }
    rig_ask(rig);
    for (uint32_t i = 2; i < 52; i++)
        rig_file(rig, i, 10);
    lh_sysfault_log(log, sizeof(log));
    is_i64(rig_commit(rig), 0, "a commit of many files in many directories");
    lh_sysfault_log(NULL, 0);
    is_u64(count_of(log, "rename:dir"), 50, "all are renamed");
    is_u64(count_of(log, "syncfs:dir"), 2, "the file system is synced twice");
    renamed = strstr(log, "rename");
    ok(renamed != NULL && strstr(log, "syncfs") < renamed, "before the first rename");
    while (renamed != NULL && strstr(renamed + 1, "rename") != NULL)
        renamed = strstr(renamed + 1, "rename");
    ok(renamed != NULL && strstr(renamed, "syncfs") != NULL, "and behind the last");
    is_u64(rig->settled.blocks, 50, "all are settled");
    rig_close(rig);
    scratch_clear();
}

/* Nothing of a commit whose sync fails is settled, and nothing more is taken. */
static void test_failed_sync(void)
{
    static const enum lh_sys calls[] = {LH_SYS_SYNC, LH_SYS_SYNC_FS};
    char name[64];

    for (int many = 0; many < 2; many++) {
        for (unsigned nth = 0; nth < 2; nth++) {
            if (rig_open(rig, LH_OFFER_KEEP_SAME, 0) != 0)
                bail("%s", rig->err.text);
            for (unsigned i = 0; i < (many ? 40u : 1u); i++) {
                snprintf(name, sizeof(name), "d%u/f", i);
                rig_add(rig, LH_KIND_FILE, name, 10);
            }
            rig_ask(rig);
            for (uint32_t i = 0; i < (many ? 40u : 1u); i++)
                rig_file(rig, i, 10);
            lh_sysfault_arm(LH_SYS_BIT(calls[many]), nth, EIO);
            is_i64(rig_commit(rig), -LH_E_DEST, "sync %u of %s fails: %s", nth,
                   many ? "many" : "one", rig->err.text);
            lh_sysfault_disarm();
            is_u64(rig->settled.blocks, 0, "nothing is settled");
            is_u64(rig->acked.blocks, 0, "or acknowledged");
            is_i64(rig_commit(rig), -LH_E_DEST, "no more commits");
            is_i64(rig_ask(rig), -LH_E_DEST, "no more entries");
            is_i64(lh_rtree_finish(rig->tree, &rig->err), -LH_E_DEST, "no finish");
            rig_close(rig);
            is_u64(rig_hidden(), 0, "no staging file is left");
            scratch_clear();
        }
    }
}

static int synced_fds[2];
static unsigned n_synced;

static void note_syncfs(enum lh_sys call, int fd)
{
    if (call == LH_SYS_SYNC_FS && n_synced++ < 2)
        synced_fds[n_synced - 1] = fd;
}

/* An open file is told once of what could not be written: who sees to what was there must not take
 * that from the committer. */
static void test_own_open_file(void)
{
    rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_TIMES);
    rig_ask_one(rig, LH_KIND_FILE, "f", 10);
    rig_file(rig, 0, 10);
    is_i64(rig_commit(rig), 0, "a file is there");
    rig_close(rig);

    rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_TIMES);
    n_synced = 0;
    lh_sysfault_watch_with(NULL, note_syncfs);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "f", 10), LH_WANTED_KEPT, "it is kept");
    lh_tree_dirs_touch_all(&rig->tree->dirs);
    is_i64(lh_rtree_finish(rig->tree, &rig->err), 0, "and the tree ends");
    lh_sysfault_watch_with(NULL, NULL);
    is_u64(n_synced, 2, "each synced the file system");
    if (n_synced == 2) {
        fcntl(synced_fds[0], F_SETFL, O_NONBLOCK);
        ok((fcntl(synced_fds[1], F_GETFL) & O_NONBLOCK) == 0, "by an open file of its own");
    }
    rig_close(rig);
    scratch_clear();
}

/* No sync of the root's file system reaches what is in another. */
static void test_foreign(void)
{
    static char log[1024];

    for (int attempt = 0; attempt < 3; attempt++) {
        bool first = attempt == 0;
        int same = attempt == 2 ? LH_WANTED_MADE : LH_WANTED_KEPT;

        if (rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES) != 0)
            bail("%s", rig->err.text);
        rig->tree->dirs.dev++; /* so all are of another */
        if (attempt == 2) {
            chmod(rig_path("f"), 0400);
            chmod(rig_path("fifo"), 0400);
        }
        lh_sysfault_log(log, sizeof(log));
        is_i64(rig_ask_one(rig, LH_KIND_FILE, "f", 10), first ? LH_WANTED_NEW : same, "a file");
        lh_sysfault_log(NULL, 0);
        is_str(log,
               first          ? " syncfs:dir"
               : attempt == 1 ? " syncfs:dir syncfs:dir"
                              : " syncfs:dir chmod:file utimes:file sync:file",
               "its file system, then what is said of it");
        if (first)
            rig_file(rig, 0, 10);
        lh_sysfault_log(log, sizeof(log));
        is_i64(rig_ask_one(rig, LH_KIND_FIFO, "fifo", 0), first ? LH_WANTED_MADE : same, "a FIFO");
        lh_sysfault_log(NULL, 0);
        is_str(log, first ? " link:dir" : attempt == 1 ? "" : " syncfs:dir", "it is known by now");
        is_i64(rig_commit(rig), 0, "a commit");
        rig_close(rig);
    }
    scratch_clear();
}

static void fail_tree(enum lh_sys call, int fd)
{
    (void)fd;
    if (call == LH_SYS_SYNC || call == LH_SYS_SYNC_FS)
        lh_rtree_fail_sys(rig->tree, EIO, "sync what was there", NULL);
}

/* An opener meets the disk's failure while a commit runs. */
static void test_failed_meanwhile(void)
{
    struct stat st;

    for (int late = 0; late < 2; late++) {
        rig_open(rig, LH_OFFER_KEEP_SAME, 0);
        rig_ask_one(rig, LH_KIND_FILE, "f", 10);
        rig_file(rig, 0, 10);
        is_i64(rig->store->ops->commit_begin(rig->store, &rig->err), 1, "contents are synced");
        if (late)
            lh_sysfault_watch_with(NULL, fail_tree);
        else
            fail_tree(LH_SYS_SYNC, -1);
        is_i64(rig->store->ops->commit_end(rig->store, &rig->acked, &rig->err), -LH_E_DEST,
               "the commit fails: %s", rig->err.text);
        lh_sysfault_watch_with(NULL, NULL);
        lh_rtree_take(rig->tree, &rig->settled, &rig->troubles);
        is_u64(rig->settled.blocks, 0, "nothing is settled");
        is_u64(rig->acked.blocks, 0, "or acknowledged");
        is_i64(lstat(rig_path("f"), &st), late ? 0 : -1, "renamed only when it was so before");
        rig_close(rig);
        is_u64(rig_hidden(), 0, "no staging file is left");
        scratch_clear();
    }
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    test_order();
    test_failed_sync();
    test_own_open_file();
    test_foreign();
    test_failed_meanwhile();
    free(rig);
    return done_testing();
}
