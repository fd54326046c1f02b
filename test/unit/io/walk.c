/* The walk of a tree's sources: what it yields and in which order, what it leaves out, what fails.
 */
#include "io/walk.h"

#include "proto/transfer.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_ENTRIES 64

/* What a walk gave, in its order. */
static struct {
    size_t n;
    char line[MAX_ENTRIES][600]; /* "KIND path[ -> link]", "! path: words" */
    size_t n_dirs;
    char dir[MAX_ENTRIES][300];
    struct lh_walk_numbers numbers;
    int end; /* what next returned at last */
} got;

static struct lh_walk *walk;
static struct lh_tree_options opts;
static const char *sources[4];
static unsigned n_nothings;

/* What comes next; how often there was nothing for a while is counted. */
static int next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    int r;

    while ((r = lh_walk_next(w, e, err)) == LH_WALK_NOTHING)
        n_nothings++;
    return r;
}

static void begin(const char *first, ...)
{
    va_list args;

    opts = (struct lh_tree_options){.sources = sources};
    va_start(args, first);
    for (const char *s = first; s != NULL; s = va_arg(args, const char *)) {
        char *path = NULL;

        free((char *)(uintptr_t)sources[opts.n_sources]);
        if (asprintf(&path, "%s/%s", scratch_dir(), s) < 0)
            bail("no memory");
        sources[opts.n_sources++] = path;
    }
    va_end(args);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void note(const struct lh_walk_entry *e, const char *words)
{
    static const char kinds[] = " fdlpcbsh";

    if (got.n == MAX_ENTRIES)
        bail("more entries than expected");
    snprintf(got.line[got.n++], sizeof(got.line[0]), "%c %s%s%s",
             words != NULL ? '!' : kinds[e->kind], e->path,
             words != NULL     ? ": "
             : e->link_len > 0 ? " -> "
                               : "",
             words != NULL ? words : e->link);
}

static int run(void)
{
    struct lh_walk_entry e;
    struct lh_err err = {0};
    int r;

    memset(&got, 0, sizeof(got));
    lh_walk_close(walk);
    walk = NULL;
    r = lh_walk_open(&opts, &walk, &err);
    if (r != 0) {
        ok(err.text[0] != '\0', "  says: %s", err.text);
        return r;
    }
    while ((r = next(walk, &e, &err)) == LH_WALK_ENTRY || r == LH_WALK_FAILED) {
        if (strlen(e.path) != e.path_len || (r == LH_WALK_ENTRY && strlen(e.link) != e.link_len))
            ok(false, "lengths are right");
        note(&e, r == LH_WALK_FAILED ? err.text : NULL);
    }
    got.end = r;
    lh_walk_dirs_start(walk);
    while (lh_walk_dirs_next(walk, &e, &err) == LH_WALK_ENTRY)
        snprintf(got.dir[got.n_dirs++], sizeof(got.dir[0]), "%s", e.path);
    lh_walk_numbers(walk, &got.numbers);
    return 0;
}

static bool has_line(const char *line)
{
    for (size_t i = 0; i < got.n; i++) {
        if (strcmp(got.line[i], line) == 0)
            return true;
    }
    return false;
}

/* Entries in any order, names separated by '|'. */
static void yields(const char *want, const char *what)
{
    static char have[MAX_ENTRIES * 600];
    static char sorted[MAX_ENTRIES][600];
    size_t used = 0;

    if (!is_i64(run(), 0, "%s: opens", what))
        return;
    memcpy(sorted, got.line, sizeof(sorted));
    qsort(sorted, got.n, sizeof(sorted[0]), compare);
    have[0] = '\0';
    for (size_t i = 0; i < got.n; i++)
        used +=
            (size_t)snprintf(have + used, sizeof(have) - used, "%s%s", i > 0 ? "|" : "", sorted[i]);
    is_str(have, want, "%s", what);
    is_i64(got.end, LH_WALK_END, "  and ends");
}

static void file(const char *name)
{
    scratch_write(name, "x", 1);
}

static void dir(const char *name)
{
    if (mkdir(scratch_path(name), 0755) != 0)
        bail("cannot make %s", name);
}

static void make_tree(void)
{
    scratch_clear();
    dir("t");
    dir("t/a");
    dir("t/a/b");
    dir("t/empty");
    file("t/x");
    file("t/a/y");
    file("t/a/b/z");
}

static void test_slashes(void)
{
    make_tree();
    begin("t/", NULL);
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "\"t/\": what is in it");
    is_str(got.dir[got.n_dirs - 1], "", "its own attributes come last");
    is_u64(got.n_dirs, 4, "and those of each directory before");
    begin("t", NULL);
    yields("d t|d t/a|d t/a/b|d t/empty|f t/a/b/z|f t/a/y|f t/x", "\"t\": itself");
    is_str(got.dir[got.n_dirs - 1], "t", "its own attributes come last");
    begin("t/.", NULL);
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "\"t/.\": what is in it");
    begin("t/a/..", NULL);
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "\"..\": what is in it");
    begin("t/a//", NULL);
    yields("d b|f b/z|f y", "two slashes are one");
    begin("t/x", "t/a", "t/a/b/", NULL);
    yields("d a|d a/b|f a/b/z|f a/y|f x|f z", "several, a file among them");
    begin("t/x", NULL);
    yields("f x", "a file");
}

static void test_order(void)
{
    make_tree();
    begin("t/", NULL);
    (void)run();
    for (size_t i = 0; i < got.n; i++) {
        char parent[600];
        char *slash;

        snprintf(parent, sizeof(parent), "d %s", got.line[i] + 2);
        slash = strrchr(parent, '/');
        if (slash == NULL)
            continue;
        *slash = '\0';
        for (size_t k = 0; k < got.n && strcmp(got.line[k], parent) != 0; k++)
            ok(k < i, "%s is before %s", parent, got.line[i]);
    }
    ok(got.n_dirs == 4 && strcmp(got.dir[0], "a/b") == 0, "at the end a/b is before a");
}

static void test_missing(void)
{
    make_tree();
    begin("nothing", NULL);
    is_i64(run(), -LH_E_SOURCE, "a source that is not there");
    begin("nothing", "t/a", NULL);
    is_i64(run(), 0, "one of two that is not there");
    is_u64(got.numbers.n_failed, 1, "fails as an entry");
    ok(strncmp(got.line[0], "! nothing: ", 11) == 0, "by name: %s", got.line[0]);
    ok(has_line("f a/b/z"), "the other one comes");
    begin("t/x/", NULL);
    is_i64(run(), -LH_E_SOURCE, "a file with a slash behind");
    begin(NULL);
    is_i64(run(), -LH_E_INVAL, "no source at all");
}

static void test_links(void)
{
    make_tree();
    (void)!symlink("../x", scratch_path("t/a/up"));
    (void)!symlink("nowhere", scratch_path("t/dead"));
    (void)!symlink("a", scratch_path("t/l"));
    begin("t/", NULL);
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x|l a/up -> ../x|l dead -> nowhere|l l -> a",
           "links are kept");
    begin("t/l", NULL);
    yields("l l -> a", "one that was named too");
    begin("t/l/", NULL);
    yields("d b|f b/z|f y|l up -> ../x", "with a slash it is followed");
    begin("t/", NULL);
    opts.links = LH_LINKS_SKIP;
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "links are left out");
    is_u64(got.numbers.n_links, 3, "and counted");
    (void)!unlink(scratch_path("t/dead"));
    begin("t/", NULL);
    opts.links = LH_LINKS_FOLLOW;
    yields("d a|d a/b|d empty|d l|d l/b|f a/b/z|f a/up|f a/y|f l/b/z|f l/up|f l/y|f x",
           "links are followed");
    begin("t/l", NULL);
    opts.links = LH_LINKS_FOLLOW;
    yields("d l|d l/b|f l/b/z|f l/up|f l/y", "one that was named too");
}

static void test_loops(void)
{
    make_tree();
    (void)!symlink("../..", scratch_path("t/a/b/up"));
    (void)!symlink("self", scratch_path("t/self"));
    (void)!symlink("nowhere", scratch_path("t/dead"));
    begin("t/", NULL);
    opts.links = LH_LINKS_FOLLOW;
    is_i64(run(), 0, "a tree with circles opens");
    is_i64(got.end, LH_WALK_END, "and ends");
    is_u64(got.numbers.n_failed, 3, "three links fail");
    for (size_t i = 0; i < got.n; i++) {
        if (got.line[i][0] == '!')
            ok(strstr(got.line[i], "leads") != NULL, "in words: %s", got.line[i]);
    }
    is_u64(got.n, 9, "the others come");
}

static void test_specials(void)
{
    make_tree();
    if (mkfifo(scratch_path("t/p"), 0600) != 0)
        bail("no FIFO");
    begin("t/", NULL);
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "a FIFO is left out");
    is_u64(got.numbers.n_specials, 1, "and counted");
    begin("t/", NULL);
    opts.preserve = LH_PRESERVE_DEVICES;
    yields("d a|d a/b|d empty|f a/b/z|f a/y|f x|p p", "or comes, when asked for");
}

static void test_hardlinks(void)
{
    make_tree();
    (void)!link(scratch_path("t/x"), scratch_path("t/a/x2"));
    (void)!link(scratch_path("t/x"), scratch_path("t/empty/x3"));
    (void)!link(scratch_path("t/a/y"), scratch_path("outside"));
    begin("t/", NULL);
    yields("d a|d a/b|d empty|f a/b/z|f a/x2|f a/y|f empty/x3|f x", "not asked for: files");
    begin("t/", NULL);
    opts.preserve = LH_PRESERVE_HARDLINKS;
    is_i64(run(), 0, "asked for");
    is_u64(got.n, 8, "all come");
    ok(has_line("f a/b/z") && has_line("f a/y"), "those with one name in the tree as files");
    ok(got.line[6][0] == 'h' && got.line[7][0] == 'h', "two as links, at the end: %s, %s",
       got.line[6], got.line[7]);
    for (size_t i = 6; i < 8; i++) {
        char first[600];

        snprintf(first, sizeof(first), "f %s", strstr(got.line[i], " -> ") + 4);
        ok(has_line(first), "to a file that came: %s", first);
    }
}

static void test_filters(void)
{
    struct lh_tree_rule rules[2] = {{false, "b/"}, {false, "/x"}};

    make_tree();
    dir("t/a/b/b");
    begin("t/", NULL);
    opts.rules = rules;
    opts.n_rules = 2;
    yields("d a|d empty|f a/y", "what is excluded does not come");
    is_u64(got.numbers.n_excluded, 2, "and what is in it is not even looked at");
    is_i64(lh_walk_has(walk, "a/b", true, NULL), LH_WALK_EXCLUDED, "b is excluded");
    is_i64(lh_walk_has(walk, "a/b/z", false, NULL), LH_WALK_EXCLUDED, "and so is what is in it");
    is_i64(lh_walk_has(walk, "b", true, NULL), LH_WALK_EXCLUDED, "one the source has not, too");
    is_i64(lh_walk_has(walk, "b", false, NULL), LH_WALK_ABSENT, "but not a file of that name");
    is_i64(lh_walk_has(walk, "a/y", false, NULL), LH_WALK_THERE, "what is there is there");
    is_i64(lh_walk_has(walk, "a/y/z", false, NULL), LH_WALK_ABSENT, "nothing is in a file");
    begin("t", NULL);
    opts.rules = rules;
    opts.n_rules = 2;
    yields("d t|d t/a|d t/empty|f t/a/y|f t/x", "a '/' is the destination, not the source");
    is_i64(lh_walk_has(walk, "t/a/y", false, NULL), LH_WALK_THERE, "has: below the name");
    is_i64(lh_walk_has(walk, "t", true, NULL), LH_WALK_THERE, "has: the source itself");
    is_i64(lh_walk_has(walk, "a", true, NULL), LH_WALK_ABSENT, "has: not beside it");
    rules[0].pattern = "t";
    yields("", "a source that is excluded");
}

static void test_empty(void)
{
    make_tree();
    begin("t/", NULL);
    (void)run();
    ok(!got.numbers.empty_root, "an empty directory in the tree is no empty source");
    begin("t/empty/", NULL);
    yields("", "an empty source");
    ok(got.numbers.empty_root, "is one");
    begin("t/a", "t/empty", NULL);
    (void)run();
    ok(got.numbers.empty_root, "also one of two");
}

static void list(const void *bytes, size_t len)
{
    static char path[1024];

    scratch_write("list", bytes, len);
    begin("t", NULL);
    snprintf(path, sizeof(path), "%s/list", scratch_dir());
    opts.files_from = path;
}

static void test_list(void)
{
    static const char lines[] = "a/b/z\n\n# no\n;no\n/x\n./a//y\nempty/\n.\nx\nx";
    static const char nuls[] = "a/b/z\0#a\0x";
    static const char bad[] = "../x\nno/way\nl/b\nx\n";
    static char longest[70000];
    struct lh_tree_rule rule = {false, "b"};

    make_tree();
    file("t/#a");
    (void)!symlink("a", scratch_path("t/l"));
    list(lines, sizeof(lines) - 1);
    yields("d a|d a|d a/b|d empty|f a/b/z|f a/y|f x|f x", "a list of lines");
    list(nuls, sizeof(nuls) - 1);
    yields("d a|d a/b|f #a|f a/b/z|f x", "a list with NULs");
    list(bad, sizeof(bad) - 1);
    is_i64(run(), 0, "a list with names that are no good");
    is_u64(got.numbers.n_failed, 3, "they fail");
    ok(strstr(got.line[0], "\"..\"") != NULL, "%s", got.line[0]);
    ok(strstr(got.line[1], "not there") != NULL, "%s", got.line[1]);
    ok(strstr(got.line[2], "link") != NULL, "%s", got.line[2]);
    is_str(got.line[3], "f x", "the next one comes");
    list(lines, sizeof(lines) - 1);
    opts.rules = &rule;
    opts.n_rules = 1;
    yields("d a|d empty|f a/y|f x|f x", "rules hold for lists too");
    list("", 0);
    yields("", "an empty list");
    memset(longest, 'n', sizeof(longest));
    memcpy(longest + sizeof(longest) - 3, "\nx\n", 3);
    list(longest, sizeof(longest));
    is_i64(run(), 0, "a line that is longer than anything");
    is_u64(got.numbers.n_failed, 1, "fails");
    is_str(got.line[1], "f x", "and the one behind it comes");
    opts.files_from = "/nowhere/list";
    is_i64(run(), -LH_E_SOURCE, "a list that is not there");
    list(lines, sizeof(lines) - 1);
    opts.n_sources = 2;
    free((char *)(uintptr_t)sources[1]);
    sources[1] = strdup(sources[0]);
    is_i64(run(), -LH_E_INVAL, "a list and two sources");
}

/* A chain of directories, longer than any path may be. */
static void test_deep(void)
{
    enum { LEVELS = 3000 };
    static char path[LH_TREE_PATH_MAX];
    char remove[300];
    int fd;
    int deepest = 0;

    make_tree();
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
    begin("t/empty/", NULL);
    struct lh_walk_entry e;
    struct lh_identity now;
    struct lh_err err;
    int n_failed = 0;
    int r;

    lh_walk_close(walk);
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    while ((r = next(walk, &e, &err)) != LH_WALK_END) {
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
    lh_walk_dirs_start(walk);
    r = lh_walk_dirs_next(walk, &e, &err);
    ok(r == 1 && e.path_len == 2730 * 6 - 1, "and at the end the deepest is first");
    is_u64(strlen(path), 2000 * 6 + 1, "a file in the deep");
    is_i64(lh_walk_open_file(walk, 0, path, &fd, &now, &err), 0, "is opened");
    close(fd);
    is_i64(lh_walk_has(walk, path, false, &err), LH_WALK_THERE, "and told to be there");
    path[2000 * 6] = 'g';
    is_i64(lh_walk_has(walk, path, false, &err), LH_WALK_ABSENT, "another is not");
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
    dir("t");
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "t/%0200d", i);
        dir(name);
        if (i % 10 == 0) {
            snprintf(name, sizeof(name), "t/%0200d/f", i);
            file(name);
        }
    }
    begin("t/", NULL);
    lh_walk_close(walk);
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    while ((r = next(walk, &e, &err)) == LH_WALK_ENTRY) {
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
    lh_walk_dirs_start(walk);
    while (lh_walk_dirs_next(walk, &e, &err) == LH_WALK_ENTRY)
        n_again++;
    is_u64(n_again, N + 1, "directories come again, and the root");
    is_u64(n_nothings, 0, "there always was something");
    lh_walk_close(walk);
    opts.rules = &all;
    opts.n_rules = 1;
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    is_i64(next(walk, &e, &err), LH_WALK_END, "with all of it excluded nothing comes");
    ok(n_nothings > 0, "and one is asked whether to go on (%u times)", n_nothings);
    n_nothings = 0;
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
        dir(name);
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", scratch_dir(), name);
        names[i] = paths[i];
        strcat(name, "/f");
        file(name);
    }
    opts = (struct lh_tree_options){.sources = names, .n_sources = N};
    lh_walk_close(walk);
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    while (next(walk, &e, &err) != LH_WALK_END) {
        n_files += e.kind == LH_KIND_FILE;
        n_others += e.kind != LH_KIND_FILE;
    }
    is_u64(n_files, N, "3000 sources: their files");
    is_u64(n_others, N, "and they themselves");
    is_i64(lh_walk_open_file(walk, N - 1, "s2999/f", &fd, &now, &err), 0,
           "a file of the last opens");
    close(fd);
    is_i64(lh_walk_has(walk, "s2999/f", false, &err), LH_WALK_THERE, "and is there");
    is_i64(lh_walk_has(walk, "s2999/g", false, &err), LH_WALK_ABSENT, "another is not");
    lh_walk_close(walk);
    walk = NULL;
    scratch_clear();
}

static int open_status(const char *path)
{
    struct lh_identity now;
    struct lh_err err;
    int fd;
    int r = lh_walk_open_file(walk, 0, path, &fd, &now, &err);

    if (r == 0)
        close(fd);
    else
        diag("%s", err.text);
    return r;
}

static void test_open(void)
{
    struct lh_identity now;
    struct lh_err err;
    struct stat st;
    int fd;

    make_tree();
    begin("t", NULL);
    (void)run();
    is_i64(lh_walk_open_file(walk, 0, "t/a/y", &fd, &now, &err), 0, "a file opens");
    fstat(fd, &st);
    ok(st.st_ino == now.ino && st.st_dev == now.dev && st.st_size == 1, "and is told what it is");
    close(fd);
    is_i64(open_status("t/a/none"), -LH_E_SOURCE, "one that is gone");
    is_i64(open_status("t/a"), -LH_E_SOURCE_KIND, "a directory");
    (void)!unlink(scratch_path("t/a/y"));
    (void)!symlink("../x", scratch_path("t/a/y"));
    is_i64(open_status("t/a/y"), -LH_E_SOURCE, "one that became a link");
    (void)!unlink(scratch_path("t/a/y"));
    (void)!mkfifo(scratch_path("t/a/y"), 0600);
    is_i64(open_status("t/a/y"), -LH_E_SOURCE_KIND, "one that became a FIFO does not block");
    (void)!rename(scratch_path("t/a"), scratch_path("t/moved"));
    (void)!symlink("moved", scratch_path("t/a"));
    is_i64(open_status("t/a/b/z"), -LH_E_SOURCE, "one whose directory became a link");
    is_i64(open_status("t/../t/x"), -LH_E_SOURCE, "nothing leads out");
    begin("t/x", NULL);
    (void)run();
    is_i64(open_status("x"), 0, "a source that is a file opens");
    (void)!unlink(scratch_path("t/x"));
    (void)!symlink("moved/b/z", scratch_path("t/x"));
    is_i64(open_status("x"), -LH_E_SOURCE, "unless it became a link");
    begin("t", NULL);
    opts.links = LH_LINKS_FOLLOW;
    (void)run();
    is_i64(open_status("t/a/b/z"), 0, "links that are followed are");
}

static void test_xattrs(void)
{
    static const uint8_t want[] = "\x06\0user.a\x03\0one";
    static char big[45000];
    struct lh_walk_entry e;
    struct lh_err err;
    int r;

    make_tree();
    if (setxattr(scratch_path("t/x"), "user.a", "one", 3, 0) != 0) {
        skip("no extended attributes here");
        return;
    }
    begin("t/x", NULL);
    opts.preserve = LH_PRESERVE_XATTRS;
    lh_walk_close(walk);
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    r = next(walk, &e, &err);
    ok(r == LH_WALK_ENTRY && e.xattrs_len == sizeof(want) - 1 &&
           memcmp(e.xattrs, want, e.xattrs_len) == 0,
       "an extended attribute comes");
    (void)setxattr(scratch_path("t/a"), "user.a", "one", 3, 0);
    begin("t/", NULL);
    opts.preserve = LH_PRESERVE_XATTRS | LH_PRESERVE_HARDLINKS;
    (void)!link(scratch_path("t/x"), scratch_path("t/x2"));
    lh_walk_close(walk);
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    while (next(walk, &e, &err) == LH_WALK_ENTRY) {
        bool has = (e.kind == LH_KIND_FILE && e.path[0] == 'x') || strcmp(e.path, "a") == 0;

        ok(e.xattrs_len == (has ? sizeof(want) - 1 : 0) &&
               (!has || memcmp(e.xattrs, want, e.xattrs_len) == 0),
           "%s has %s", e.path, has ? "it" : "none");
    }
    lh_walk_dirs_start(walk);
    while (lh_walk_dirs_next(walk, &e, &err) == LH_WALK_ENTRY)
        ok(e.xattrs_len == (strcmp(e.path, "a") == 0 ? sizeof(want) - 1 : 0), "at the end: \"%s\"",
           e.path);
    if (setxattr(scratch_path("t/a/y"), "user.big", big, sizeof(big), 0) != 0) {
        diag("this file system has no attributes of more than 40 KiB, so none is tried");
        return;
    }
    begin("t/a/y", "t/a/b", NULL);
    opts.preserve = LH_PRESERVE_XATTRS;
    (void)run();
    ok(strstr(got.line[0], "! y: ") != NULL, "too many fail: %s", got.line[0]);
}

static void test_unreadable(void)
{
    make_tree();
    if (geteuid() == 0 && (chmod(scratch_dir(), 0755) != 0 || seteuid(65534) != 0)) {
        skip("cannot be anybody else");
        return;
    }
    begin("t/", NULL);
    if (geteuid() == 65534) {
        (void)seteuid(0);
        (void)chmod(scratch_path("t/a"), 0700);
        (void)seteuid(65534);
    } else {
        (void)chmod(scratch_path("t/a"), 0);
    }
    is_i64(run(), 0, "a tree with a directory that cannot be read");
    is_u64(got.numbers.n_failed, 1, "it fails");
    ok(has_line("d a") && has_line("f x"), "the others come");
    is_i64(lh_walk_has(walk, "a/y", false, NULL), -LH_E_SOURCE, "what is in it cannot be told");
    (void)seteuid(0);
    (void)chmod(scratch_path("t/a"), 0755);
}

static void test_one_file_system(void)
{
    struct stat dev;
    struct stat pts;
    struct lh_walk_entry e;
    struct lh_err err;
    size_t within = 0;
    bool there = false;
    static const char *const source = "/dev/";

    if (stat("/dev", &dev) != 0 || stat("/dev/pts", &pts) != 0 || dev.st_dev == pts.st_dev) {
        skip("no /dev/pts of its own here");
        return;
    }
    opts = (struct lh_tree_options){.sources = &source,
                                    .n_sources = 1,
                                    .one_file_system = true,
                                    .preserve = LH_PRESERVE_DEVICES};
    lh_walk_close(walk);
    if (lh_walk_open(&opts, &walk, &err) != 0)
        bail("%s", err.text);
    while (next(walk, &e, &err) != LH_WALK_END) {
        within += strncmp(e.path, "pts/", 4) == 0;
        there = there || (strcmp(e.path, "pts") == 0 && e.kind == LH_KIND_DIR);
    }
    ok(there, "where another file system is mounted comes a directory");
    is_u64(within, 0, "but not what is in it");
}

int main(void)
{
    test_slashes();
    test_order();
    test_missing();
    test_links();
    test_loops();
    test_specials();
    test_hardlinks();
    test_filters();
    test_empty();
    test_list();
    test_deep();
    test_many();
    test_many_sources();
    test_open();
    test_xattrs();
    test_unreadable();
    test_one_file_system();
    lh_walk_close(walk);
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
        free((char *)(uintptr_t)sources[i]);
    return done_testing();
}
