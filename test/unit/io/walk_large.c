/* Walks of what is large: deeper than a path may be, wide, more sources than descriptors. */
#include "proto/transfer.h"
#include "scratch.h"
#include "test/lib/tap.h"
#include "walk_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A chain of directories, longer than any path may be. */
static void test_deep(void)
{
    enum { LEVELS = 3000 };
    static char path[LH_TREE_PATH_MAX];
    char remove[300];
    int fd;
    int deepest = 0;

    rig_make_tree();
    fd = open(scratch_path("t/empty"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < LEVELS; i++) {
        int next;

        if (mkdirat(fd, "level", 0755) != 0)
            bail("cannot make level %d", i);
        if (i == 2000)
            close(openat(fd, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        next = openat(fd, "level", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    close(fd);
    rig_begin("t/empty/", NULL);
    struct lh_walk_entry e;
    struct lh_identity now;
    struct lh_err err;
    int n_failed = 0;
    int r;

    rig_open();
    while ((r = rig_next(&e, &err)) != LH_WALK_END) {
        if (r == LH_WALK_FAILED) {
            n_failed++;
            ok(strstr(err.text, "16383") != NULL, "a path that is too long fails: %s", err.text);
            is_u64(e.path_len, 16383, "  its name is cut");
        } else if (e.kind == LH_KIND_FILE) {
            memcpy(path, e.path, e.path_len + 1);
        } else {
            deepest++;
        }
    }
    is_i64(n_failed, 1, "once");
    is_i64(deepest, 2730, "as far as 16383 bytes reach all come");
    lh_walk_dirs_start(rig.walk);
    r = lh_walk_dirs_next(rig.walk, &e, &err);
    ok(r == 1 && e.path_len == 2730 * 6 - 1, "and at the end the deepest is first");
    is_u64(strlen(path), 2000 * 6 + 1, "a file in the deep");
    is_i64(lh_walk_open_file(rig.walk, 0, path, &fd, &now, &err), 0, "is opened");
    close(fd);
    is_i64(lh_walk_has(rig.walk, path, false, &err), LH_WALK_THERE, "and told to be there");
    path[2000 * 6] = 'g';
    is_i64(lh_walk_has(rig.walk, path, false, &err), LH_WALK_ABSENT, "another is not");
    /* What is too long for the walk is too long for nftw(3) as well. */
    snprintf(remove, sizeof(remove), "rm -rf %s/t", scratch_dir());
    if (system(remove) != 0)
        bail("cannot remove what is deep");
}

static void test_many(void)
{
    enum { N = 12000 };
    static bool seen[N];
    struct lh_tree_rule all = {.pattern = "*"};
    char name[400];
    struct lh_walk_entry e;
    struct lh_err err;
    size_t n_dirs = 0;
    size_t n_files = 0;
    size_t n_again = 0;
    int r;

    scratch_clear();
    rig_dir("t");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "t/%0200d", i);
        rig_dir(name);
        if (i % 10 == 0) {
            snprintf(name, sizeof(name), "t/%0200d/f", i);
            rig_file(name);
        }
    }
    rig_begin("t/", NULL);
    rig_open();
    while ((r = rig_next(&e, &err)) == LH_WALK_ENTRY) {
        int i = atoi(e.path);

        if (e.kind == LH_KIND_FILE)
            n_files++;
        else if (!seen[i])
            n_dirs++;
        seen[i] = true;
    }
    is_i64(r, LH_WALK_END, "a wide tree ends");
    is_u64(n_dirs, N, "all its directories came, once");
    is_u64(n_files, N / 10, "and files");
    lh_walk_dirs_start(rig.walk);
    while (lh_walk_dirs_next(rig.walk, &e, &err) == LH_WALK_ENTRY)
        n_again++;
    is_u64(n_again, N + 1, "directories come again, and the root");
    is_u64(rig.n_nothings, 0, "there always was something");
    rig.opts.rules = &all;
    rig.opts.n_rules = 1;
    rig_open();
    is_i64(rig_next(&e, &err), LH_WALK_END, "with all of it excluded nothing comes");
    ok(rig.n_nothings > 0, "and one is asked whether to go on (%u times)", rig.n_nothings);
    rig.n_nothings = 0;
    scratch_clear();
}

/* More sources than descriptors may be open. */
static void test_many_sources(void)
{
    enum { N = 3000 };
    static const char *names[N];
    static char paths[N][128];
    struct lh_walk_entry e;
    struct lh_identity now;
    struct lh_err err;
    size_t n_files = 0;
    size_t n_others = 0;
    int fd;

    scratch_clear();
    for (int i = 0; i < N; i++) {
        char name[32];

        snprintf(name, sizeof(name), "s%d", i);
        rig_dir(name);
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", scratch_dir(), name);
        names[i] = paths[i];
        strcat(name, "/f");
        rig_file(name);
    }
    rig.opts = (struct lh_tree_options){.sources = names, .n_sources = N};
    rig_open();
    while (rig_next(&e, &err) != LH_WALK_END) {
        n_files += e.kind == LH_KIND_FILE;
        n_others += e.kind != LH_KIND_FILE;
    }
    is_u64(n_files, N, "3000 sources: their files");
    is_u64(n_others, N, "and they themselves");
    is_i64(lh_walk_open_file(rig.walk, N - 1, "s2999/f", &fd, &now, &err), 0,
           "a file of the last opens");
    close(fd);
    is_i64(lh_walk_has(rig.walk, "s2999/f", false, &err), LH_WALK_THERE, "and is there");
    is_i64(lh_walk_has(rig.walk, "s2999/g", false, &err), LH_WALK_ABSENT, "another is not");
    lh_walk_close(rig.walk);
    rig.walk = NULL;
    scratch_clear();
}

int __real_lh_deep_open(int root, const char *rel, int flags, uint64_t resolve);
int __wrap_lh_deep_open(int root, const char *rel, int flags, uint64_t resolve);

static unsigned n_deep_opens;

int __wrap_lh_deep_open(int root, const char *rel, int flags, uint64_t resolve)
{
    n_deep_opens++;
    return __real_lh_deep_open(root, rel, flags, resolve);
}

/* Sources that all go right into the destination: what only one has is not looked for in others. */
static void test_one_name(void)
{
    enum { N = 60, OWN = 20 };
    static const char *names[N];
    static char paths[N][128];
    struct lh_walk_entry e;
    struct lh_err err;
    size_t n_came = 0;
    size_t n_failed = 0;
    int r;

    scratch_clear();
    for (int i = 0; i < N; i++) {
        char name[64];

        snprintf(name, sizeof(name), "s%d", i);
        rig_dir(name);
        snprintf(paths[i], sizeof(paths[i]), "%s/%s/", scratch_dir(), name);
        names[i] = paths[i];
        for (int k = 0; k < OWN; k++) {
            snprintf(name, sizeof(name), "s%d/%d-%d", i, i, k);
            rig_file(name);
        }
        snprintf(name, sizeof(name), "s%d/common", i);
        rig_file(name);
    }
    rig.opts = (struct lh_tree_options){.sources = names, .n_sources = N};
    rig_open();
    n_deep_opens = 0;
    while ((r = rig_next(&e, &err)) != LH_WALK_END) {
        n_came += r == LH_WALK_ENTRY;
        n_failed += r == LH_WALK_FAILED;
    }
    is_u64(n_came, N * OWN + 1, "60 sources of one name: what each has alone, and one of many");
    is_u64(n_failed, N - 1, "the others of that name fail");
    ok(n_deep_opens <= 2 * N, "they are looked for, nothing else is (%u times)", n_deep_opens);
    rig_open();
    (void)setenv("TMPDIR", "/nowhere", 1);
    while ((r = rig_next(&e, &err)) == LH_WALK_ENTRY)
        continue;
    (void)unsetenv("TMPDIR");
    is_i64(r, -LH_E_INTERNAL, "without a place for temporary files the walk ends: %s", err.text);
    lh_walk_close(rig.walk);
    rig.walk = NULL;
    scratch_clear();
}

int main(void)
{
    test_deep();
    test_many();
    test_many_sources();
    test_one_name();
    rig_end();
    return done_testing();
}
