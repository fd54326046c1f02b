/* A tree whose paths are longer than one system call takes, at the receiver. */
#include "io/rtree/rtree.h"

#include "io/disk/deep.h"
#include "io/rtree/rtree_dirs.h"
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVELS 30
#define NAME_BYTES 200
#define SHORT 20 /* of these are no longer than a system call takes */
#define N 40

static struct rig *rig;
static char chain[LEVELS * (NAME_BYTES + 1)]; /* directories below one another */

/* One more name behind the chain. */
static const char *in_chain(const char *name)
{
    static char path[sizeof(chain) + 400];

    snprintf(path, sizeof(path), "%s/%s", chain, name);
    return path;
}

static int look(const char *name, struct lh_disk_stat *st)
{
    int fd = open(scratch_path("t"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    int e = lh_deep_stat(fd, in_chain(name), false, st);

    close(fd);
    return e;
}

static size_t n_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (dir != NULL && readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static void test_files(void)
{
    size_t before = n_open();
    struct lh_disk_stat st = {0};
    unsigned there = 0;
    char name[32];

    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "d%u/f", i);
        rig_add(rig, LH_KIND_FILE, in_chain(name), 10);
        is_i64(rig_ask(rig), 0, "%s is asked for", name);
        rig_file(rig, i, 10);
    }
    is_i64(rig_commit(rig), 0, "committed");
    is_u64(rig->settled.blocks, N, "all are settled");
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "d%u/f", i);
        there += look(name, &st) == 0 && S_ISREG(st.mode) && st.size == 10;
    }
    is_u64(there, N, "and under their names");
    ok(n_open() <= before + 1 + SHORT + LH_TREE_DIRS_LONG,
       "few directories with long paths are remembered: %zu descriptors more", n_open() - before);
}

static void test_others(void)
{
    struct lh_tree_entry e;
    struct lh_disk_stat st = {0}, other = {0};
    char target[sizeof(chain) + 10];
    uint32_t i;

    strcpy(target, in_chain("d0/f"));
    e = rig_entry(rig, LH_KIND_HARDLINK, in_chain("hard"), 0);
    e.mtime = rig_mtime(0); /* of the file that it is another name of */
    e.link = (const uint8_t *)target;
    e.link_len = strlen(target);
    i = rig_add_entry(rig, &e);
    rig_add_link(rig, LH_KIND_SYMLINK, in_chain("soft"), "d0/f");
    rig_add(rig, LH_KIND_FIFO, in_chain("fifo"), 0);
    rig_add(rig, LH_KIND_DIR, in_chain("dir"), 0);
    is_i64(rig_ask(rig), 0, "links, a FIFO, a directory");
    ok(rig->answers.n == 4 && memchr(rig->answers.v, LH_WANTED_FAILED, 4) == NULL, "are made %s",
       rig_trouble(rig->answers.troubles, i));
    ok(look("hard", &st) == 0 && look("d0/f", &other) == 0 && st.ino == other.ino,
       "a hard link is one");
    ok(look("soft", &st) == 0 && S_ISLNK(st.mode), "a symbolic link is one");
    ok(look("fifo", &st) == 0 && S_ISFIFO(st.mode), "a FIFO is one");
    is_i64(rig_ask_one(rig, LH_KIND_DIR, in_chain("soft/below"), 0), LH_WANTED_FAILED,
           "a link is not followed");
}

static void test_attrs_and_removal(void)
{
    struct lh_runs gone;
    struct lh_disk_stat st = {0};
    struct lh_tree_entry e = rig_entry(rig, LH_KIND_DIR, in_chain("dir"), 0);

    lh_runs_init(&gone, LH_RUNS_MAX);
    e.mode = 0711;
    e.mtime = (struct lh_time){1234567890, 0};
    rig_add_entry(rig, &e);
    is_i64(rig_attrs(rig), 0, "attributes of a directory");
    ok(look("dir", &st) == 0 && (st.mode & 07777) == 0711 && st.mtime.sec == 1234567890, "are set");
    rig_add(rig, LH_KIND_FILE, in_chain("soft"), 0);
    rig_add(rig, LH_KIND_DIR, in_chain("dir"), 0);
    is_i64(rig_remove(rig, &gone), 0, "removal");
    is_u64(gone.blocks, 2, "of two");
    ok(look("soft", &st) != 0 && look("dir", &st) != 0, "they are gone");
    lh_runs_free(&gone);
}

static void test_list(void)
{
    static uint8_t out[LH_CONTROL_MAX];
    struct lh_rtree_list *list;
    struct lh_names_reader names;
    const char *why = NULL;
    bool last;

    is_i64(
        lh_rtree_list_open(rig->tree, 1, (const uint8_t *)chain, strlen(chain), &list, &rig->err),
        0, "a list");
    is_i64(lh_names_decode(out, lh_rtree_list_next(list, out, &last), &names, &why), 0,
           "is of names");
    is_u64(names.n, N + 2, "all that are there");
    lh_rtree_list_close(list);
}

/* What is whole and fills the memory is committed at once, few as it may be. */
static void test_commit_due(void)
{
    static uint8_t xattrs[40000], value[39000];
    size_t used = 0;
    struct lh_xattr x = {.name = (const uint8_t *)"user.x", .name_len = 6, .value_len = 39000};
    uint32_t n = 0;

    x.value = value;
    if (!lh_xattrs_add(xattrs, sizeof(xattrs), &used, &x))
        bail("no room for an attribute");
    /* Else the last one that is waited for makes a commit due. */
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "on its way", 10), LH_WANTED_NEW,
           "another is on its way");
    rig->soon = false;
    while (n < 400 && !rig->soon) {
        struct lh_tree_entry e;
        char name[32];
        uint32_t i;

        snprintf(name, sizeof(name), "x%u", n++);
        e = rig_entry(rig, LH_KIND_FILE, name, 10);
        e.xattrs = xattrs;
        e.xattrs_len = used;
        i = rig_add_entry(rig, &e);
        if (rig_ask(rig) != 0)
            bail("%s", rig->err.text);
        rig_file(rig, i, 10);
    }
    ok(rig->soon && n > 100 && n < 300, "a commit is due after %u files of 39 KiB each", n);
    is_i64(rig_commit(rig), 0, "committed");
}

int main(void)
{
    char remove[400];
    size_t len = 0;

    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    for (int i = 0; i < LEVELS; i++)
        len += (size_t)snprintf(chain + len, sizeof(chain) - len, "%s%0*d", i > 0 ? "/" : "",
                                NAME_BYTES, i);
    if (rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES) != 0)
        bail("%s", rig->err.text);
    test_files();
    test_others();
    test_attrs_and_removal();
    test_list();
    test_commit_due();
    rig_close(rig);
    free(rig);
    snprintf(remove, sizeof(remove), "rm -rf %s/t", scratch_dir()); /* too deep for nftw(3) */
    if (system(remove) != 0)
        bail("cannot remove what is deep");
    return done_testing();
}
