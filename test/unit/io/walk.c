/* The walk of a tree's sources: what it yields and in which order, what it leaves out, what fails.
 */
#include "proto/transfer.h"
#include "scratch.h"
#include "test/lib/tap.h"
#include "walk_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_slashes(void)
{
    rig_make_tree();
    rig_begin("t/", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "\"t/\": what is in it");
    is_str(rig.dir[rig.n_dirs - 1], "", "its own attributes come last");
    is_u64(rig.n_dirs, 4, "and those of each directory before");
    rig_begin("t", NULL);
    rig_yields("d t|d t/a|d t/a/b|d t/empty|f t/a/b/z|f t/a/y|f t/x", "\"t\": itself");
    is_str(rig.dir[rig.n_dirs - 1], "t", "its own attributes come last");
    rig_begin("t/.", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "\"t/.\": what is in it");
    rig_begin("t/a/..", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "\"..\": what is in it");
    rig_begin("t/a//", NULL);
    rig_yields("d b|f b/z|f y", "two slashes are one");
    rig_begin("t/x", "t/a", "t/a/b/", NULL);
    rig_yields("d a|d a/b|f a/b/z|f a/y|f x|f z", "several, a file among them");
    rig_begin("t/x", NULL);
    rig_yields("f x", "a file");
}

static void test_order(void)
{
    rig_make_tree();
    rig_begin("t/", NULL);
    (void)rig_run();
    for (size_t i = 0; i < rig.n; i++) {
        char parent[600];
        char *slash;

        snprintf(parent, sizeof(parent), "d %s", rig.line[i] + 2);
        slash = strrchr(parent, '/');
        if (slash == NULL)
            continue;
        *slash = '\0';
        for (size_t k = 0; k < rig.n && strcmp(rig.line[k], parent) != 0; k++)
            ok(k < i, "%s is before %s", parent, rig.line[i]);
    }
    ok(rig.n_dirs == 4 && strcmp(rig.dir[0], "a/b") == 0, "at the end a/b is before a");
}

static void test_missing(void)
{
    rig_make_tree();
    rig_begin("nothing", NULL);
    is_i64(rig_run(), -LH_E_SOURCE, "a source that is not there");
    rig_begin("nothing", "t/a", NULL);
    is_i64(rig_run(), 0, "one of two that is not there");
    is_u64(rig.numbers.n_failed, 1, "fails as an entry");
    ok(strncmp(rig.line[0], "! nothing: ", 11) == 0, "by name: %s", rig.line[0]);
    ok(rig_has_line("f a/b/z"), "the other one comes");
    rig_begin("t/x/", NULL);
    is_i64(rig_run(), -LH_E_SOURCE, "a file with a slash behind");
    rig_begin(NULL);
    is_i64(rig_run(), -LH_E_INVAL, "no source at all");
}

static void test_links(void)
{
    rig_make_tree();
    (void)!symlink("../x", scratch_path("t/a/up"));
    (void)!symlink("nowhere", scratch_path("t/dead"));
    (void)!symlink("a", scratch_path("t/l"));
    rig_begin("t/", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x|l a/up -> ../x|l dead -> nowhere|l l -> a",
               "links are kept");
    rig_begin("t/l", NULL);
    rig_yields("l l -> a", "one that was named too");
    rig_begin("t/l/", NULL);
    rig_yields("d b|f b/z|f y|l up -> ../x", "with a slash it is followed");
    rig_begin("t/", NULL);
    rig.opts.links = LH_LINKS_SKIP;
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "links are left out");
    is_u64(rig.numbers.n_links, 3, "and counted");
    (void)!unlink(scratch_path("t/dead"));
    rig_begin("t/", NULL);
    rig.opts.links = LH_LINKS_FOLLOW;
    rig_yields("d a|d a/b|d empty|d l|d l/b|f a/b/z|f a/up|f a/y|f l/b/z|f l/up|f l/y|f x",
               "links are followed");
    rig_begin("t/l", NULL);
    rig.opts.links = LH_LINKS_FOLLOW;
    rig_yields("d l|d l/b|f l/b/z|f l/up|f l/y", "one that was named too");
}

static void test_loops(void)
{
    rig_make_tree();
    (void)!symlink("../..", scratch_path("t/a/b/up"));
    (void)!symlink("self", scratch_path("t/self"));
    (void)!symlink("nowhere", scratch_path("t/dead"));
    rig_begin("t/", NULL);
    rig.opts.links = LH_LINKS_FOLLOW;
    is_i64(rig_run(), 0, "a tree with circles opens");
    is_i64(rig.end, LH_WALK_END, "and ends");
    is_u64(rig.numbers.n_failed, 3, "three links fail");
    for (size_t i = 0; i < rig.n; i++) {
        if (rig.line[i][0] == '!')
            ok(strstr(rig.line[i], "leads") != NULL, "in words: %s", rig.line[i]);
    }
    is_u64(rig.n, 9, "the others come");
}

static void test_specials(void)
{
    rig_make_tree();
    if (mkfifo(scratch_path("t/p"), 0600) != 0)
        bail("no FIFO");
    rig_begin("t/", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "a FIFO is left out");
    is_u64(rig.numbers.n_specials, 1, "and counted");
    rig_begin("t/", NULL);
    rig.opts.preserve = LH_PRESERVE_DEVICES;
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x|p p", "or comes, when asked for");
}

static void test_hardlinks(void)
{
    rig_make_tree();
    (void)!link(scratch_path("t/x"), scratch_path("t/a/x2"));
    (void)!link(scratch_path("t/x"), scratch_path("t/empty/x3"));
    (void)!link(scratch_path("t/a/y"), scratch_path("outside"));
    rig_begin("t/", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/x2|f a/y|f empty/x3|f x", "not asked for: files");
    rig_begin("t/", NULL);
    rig.opts.preserve = LH_PRESERVE_HARDLINKS;
    is_i64(rig_run(), 0, "asked for");
    is_u64(rig.n, 8, "all come");
    ok(rig_has_line("f a/b/z") && rig_has_line("f a/y"),
       "those with one name in the tree as files");
    ok(rig.line[6][0] == 'h' && rig.line[7][0] == 'h', "two as links, at the end: %s, %s",
       rig.line[6], rig.line[7]);
    for (size_t i = 6; i < 8; i++) {
        char first[600];

        snprintf(first, sizeof(first), "f %s", strstr(rig.line[i], " -> ") + 4);
        ok(rig_has_line(first), "to a file that came: %s", first);
    }
}

static void test_filters(void)
{
    struct lh_tree_rule rules[2] = {{false, "b/"}, {false, "/x"}};

    rig_make_tree();
    rig_dir("t/a/b/b");
    rig_begin("t/", NULL);
    rig.opts.rules = rules;
    rig.opts.n_rules = 2;
    rig_yields("d a|d empty|f a/y", "what is excluded does not come");
    is_u64(rig.numbers.n_excluded, 2, "and what is in it is not even looked at");
    is_i64(lh_walk_has(rig.walk, "a/b", true, NULL), LH_WALK_EXCLUDED, "b is excluded");
    is_i64(lh_walk_has(rig.walk, "a/b/z", false, NULL), LH_WALK_EXCLUDED,
           "and so is what is in it");
    is_i64(lh_walk_has(rig.walk, "b", true, NULL), LH_WALK_EXCLUDED, "one the source has not, too");
    is_i64(lh_walk_has(rig.walk, "b", false, NULL), LH_WALK_ABSENT, "but not a file of that name");
    is_i64(lh_walk_has(rig.walk, "a/y", false, NULL), LH_WALK_THERE, "what is there is there");
    is_i64(lh_walk_has(rig.walk, "a/y/z", false, NULL), LH_WALK_ABSENT, "nothing is in a file");
    rig_begin("t", NULL);
    rig.opts.rules = rules;
    rig.opts.n_rules = 2;
    rig_yields("d t|d t/a|d t/empty|f t/a/y|f t/x", "a '/' is the destination, not the source");
    is_i64(lh_walk_has(rig.walk, "t/a/y", false, NULL), LH_WALK_THERE, "has: below the name");
    is_i64(lh_walk_has(rig.walk, "t", true, NULL), LH_WALK_THERE, "has: the source itself");
    is_i64(lh_walk_has(rig.walk, "a", true, NULL), LH_WALK_ABSENT, "has: not beside it");
    rules[0].pattern = "t";
    rig_yields("", "a source that is excluded");
}

static void test_empty(void)
{
    rig_make_tree();
    rig_begin("t/", NULL);
    (void)rig_run();
    ok(!rig.numbers.empty_root, "an empty directory in the tree is no empty source");
    rig_begin("t/empty/", NULL);
    rig_yields("", "an empty source");
    ok(rig.numbers.empty_root, "is one");
    rig_begin("t/a", "t/empty", NULL);
    (void)rig_run();
    ok(rig.numbers.empty_root, "also one of two");
}

/* Two directories that have some names in common. */
static void make_two(void)
{
    rig_make_tree();
    rig_dir("u");
    rig_dir("u/a");
    rig_dir("u/x"); /* in t a file */
    rig_file("u/x/within");
    rig_file("u/empty"); /* in t a directory */
    rig_file("u/a/y");
    rig_file("u/only");
}

static void test_one_name_twice(void)
{
    struct lh_tree_rule rules[2] = {{true, "*/"}, {false, "x"}};

    make_two();
    (void)!symlink("only", scratch_path("u/a/b"));
    rig_begin("t/", "u/", NULL);
    rig_yields("! a/b|! a/y|! empty|! x|d a|d a|d a/b|d empty|f a/b/z|f a/y|f only|f x",
               "what would take the place of another fails, with what is in it");
    is_u64(rig.numbers.n_failed, 4, "all are counted");
    rig_begin("t", "u", NULL);
    rig_yields("d t|d t/a|d t/a/b|d t/empty|d u|d u/a|d u/x|f t/a/b/z|f t/a/y|f t/x|f u/a/y|"
               "f u/empty|f u/only|f u/x/within|l u/a/b -> only",
               "with names of their own there is nothing in common");
    rig_begin("t/x", "t/a/", "u/x", "u/a/y", "u/only", NULL);
    rig_yields("! x|! y|d b|f b/z|f only|f x|f y", "sources that are called the same");
    rig_begin("t/", "u/", NULL);
    rig.opts.rules = rules;
    rig.opts.n_rules = 2;
    rig_yields("! a/b|! a/y|! empty|d a|d a|d a/b|d empty|d x|f a/b/z|f a/y|f only|f x/within",
               "what a rule leaves out has no place");
    rig_begin("t/", "u/", NULL);
    rig.opts.links = LH_LINKS_SKIP;
    rig_yields("! a/y|! empty|! x|d a|d a|d a/b|d empty|f a/b/z|f a/y|f only|f x",
               "a link that is left out takes none");
    rig_begin("u/", "t/", NULL);
    rig.opts.links = LH_LINKS_SKIP;
    rig_yields("! a/y|! empty|! x|d a|d a|d a/b|d x|f a/b/z|f a/y|f empty|f only|f x/within",
               "nor does it hold one");
    for (size_t i = 0; i < rig.n; i++) {
        if (rig.line[i][0] == '!')
            ok(strstr(rig.line[i], "take the place of") != NULL, "in words: %s", rig.line[i]);
    }
}

/* The very same file under the same name is no conflict. */
static void test_the_same_twice(void)
{
    rig_make_tree();
    rig_begin("t/x", "t/", "t/x", NULL);
    rig_yields("d a|d a/b|d empty|f a/b/z|f a/y|f x", "a file that was named twice comes once");
    is_u64(rig.numbers.n_failed, 0, "and fails nowhere");
    rig_begin("t", "t", NULL);
    rig_yields("d t|d t|d t/a|d t/a|d t/a/b|d t/a/b|d t/empty|d t/empty|f t/a/b/z|f t/a/y|f t/x",
               "so do those of a directory");
    (void)!symlink("t", scratch_path("l"));
    rig_begin("t", "l", NULL);
    rig_yields("d t|d t/a|d t/a/b|d t/empty|f t/a/b/z|f t/a/y|f t/x|l l -> t",
               "a link to it has its own name");
}

/* A link of an earlier source leads to nothing that is sent. */
static void test_behind_a_link(void)
{
    make_two();
    rig_dir("v");
    (void)!symlink("../u/a", scratch_path("v/a"));
    rig_file("u/a/w");
    rig_dir("w");
    rig_dir("w/a");
    rig_file("w/a/w");
    rig_begin("t/a", "v/", "w/", NULL);
    rig_yields("! a|d a|d a|d a/b|f a/b/z|f a/w|f a/y", "what is behind a link is not in the way");
}

static void use_list(void)
{
    static char path[1024];

    snprintf(path, sizeof(path), "%s/list", scratch_dir());
    rig.opts.files_from = path;
}

static void list(const void *bytes, size_t len)
{
    scratch_write("list", bytes, len);
    rig_begin("t", NULL);
    use_list();
}

static void test_list(void)
{
    static const char lines[] = "a/b/z\n\n# no\n;no\n/x\n./a//y\nempty/\n.\nx\nx";
    static const char nuls[] = "a/b/z\0#a\0x";
    static const char bad[] = "../x\nno/way\nl/b\nx\n";
    static char longest[70000];
    struct lh_tree_rule rule = {false, "b"};

    rig_make_tree();
    rig_file("t/#a");
    (void)!symlink("a", scratch_path("t/l"));
    list(lines, sizeof(lines) - 1);
    rig_yields("d a|d a|d a/b|d empty|f a/b/z|f a/y|f x", "a list of lines; each name comes once");
    list(nuls, sizeof(nuls) - 1);
    rig_yields("d a|d a/b|f #a|f a/b/z|f x", "a list with NULs");
    list(bad, sizeof(bad) - 1);
    is_i64(rig_run(), 0, "a list with names that are no good");
    is_u64(rig.numbers.n_failed, 3, "they fail");
    ok(strstr(rig.line[0], "\"..\"") != NULL, "%s", rig.line[0]);
    ok(strstr(rig.line[1], "not there") != NULL, "%s", rig.line[1]);
    ok(strstr(rig.line[2], "behind a symbolic link, which is not followed") != NULL, "%s",
       rig.line[2]);
    is_str(rig.line[3], "f x", "the next one comes");
    list(lines, sizeof(lines) - 1);
    rig.opts.rules = &rule;
    rig.opts.n_rules = 1;
    rig_yields("d a|d empty|f a/y|f x", "rules hold for lists too");
    list("", 0);
    rig_yields("", "an empty list");
    memset(longest, 'n', sizeof(longest));
    memcpy(longest + sizeof(longest) - 3, "\nx\n", 3);
    list(longest, sizeof(longest));
    is_i64(rig_run(), 0, "a line that is longer than anything");
    is_u64(rig.numbers.n_failed, 1, "fails");
    is_str(rig.line[1], "f x", "and the one behind it comes");
    rig.opts.files_from = "/nowhere/list";
    is_i64(rig_run(), -LH_E_SOURCE, "a list that is not there");
    rig_begin("t/x", NULL);
    use_list();
    is_i64(rig_run(), -LH_E_INVAL, "a list of what is in a file");
    rig_begin("t", "t", NULL);
    use_list();
    is_i64(rig_run(), -LH_E_INVAL, "a list and two sources");
}

/* A first name with newlines of which only a part has come. */
static void test_list_cut(void)
{
    static const char rest[] = "q\nb\0a/y\nx\n\0";
    struct lh_walk_entry e;
    struct lh_err err;
    int fd;
    int r;

    rig_make_tree();
    rig_file("t/q");
    if (mkfifo(scratch_path("list"), 0600) != 0)
        bail("no FIFO");
    fd = open(scratch_path("list"), O_RDWR | O_CLOEXEC);
    rig_begin("t", NULL);
    use_list();
    rig_open();
    (void)!write(fd, "empty\n", 6);
    r = rig_next(&e, &err);
    ok(r == LH_WALK_ENTRY && strcmp(e.path, "empty") == 0, "a line comes");
    (void)!write(fd, rest, sizeof(rest) - 1);
    r = rig_next(&e, &err);
    is_i64(r, -LH_E_SOURCE, "a NUL behind it ends the walk, before any name that came with it");
    ok(r != -LH_E_SOURCE || strstr(err.text, "NUL") != NULL, "in words: %s",
       r == -LH_E_SOURCE ? err.text : e.path);
    close(fd);
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
    rig.opts = (struct lh_tree_options){.sources = &source,
                                        .n_sources = 1,
                                        .one_file_system = true,
                                        .preserve = LH_PRESERVE_DEVICES};
    rig_open();
    while (rig_next(&e, &err) != LH_WALK_END) {
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
    test_one_name_twice();
    test_the_same_twice();
    test_behind_a_link();
    test_list();
    test_list_cut();
    is_u64(rig.n_nothings, 0, "there always was something");
    test_one_file_system();
    rig_end();
    return done_testing();
}
