/* Patterns: a table, and the real rsync asked the same on a tree on disk. */
#include "core/filter.h"

#include "test/lib/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_RULES 6
#define RANDOM_ROUNDS 150

/* The tree: parents first, a '/' behind a directory. */
static const char *const tree[] = {
    "a/",      "a/b/",       "a/b/c",     "a/b/x.o",   "a/b/foo/", "a/b/foo/bar", "a/foo",
    "a/x.o",   "b/",         "b/a/",      "b/a/b/",    "b/a/b/c",  "b/c",         "foo/",
    "foo/a/",  "foo/a/x.o",  "foo/bar",   "foo/bar.o", "x.o",      "x",           "xx",
    "a[b]",    "a*b",        "a\\b",      "-x",        "Z9",       "core",        "d/",
    "d/core/", "d/core/y",   "d/core.x/", "d/e/",      "d/e/f/",   "d/e/f/g",     "d/e/f/core",
    "e\xff/",  "e\xff/\xfe", "sp ace",    "sp ace2",
};
#define N_TREE (sizeof(tree) / sizeof(tree[0]))

struct test_case {
    const char *rules[MAX_RULES]; /* "+PATTERN" or "-PATTERN" */
    const char *left_out; /* those of the tree that are, with what is in them, a space behind each;
                             NULL: only rsync knows */
};

static const struct test_case cases[] = {
    {{"-*.o"}, "a/b/x.o a/x.o foo/a/x.o foo/bar.o x.o "},
    {{"-/x.o"}, "x.o "},
    {{"-foo"}, "a/b/foo/ a/b/foo/bar a/foo foo/ foo/a/ foo/a/x.o foo/bar foo/bar.o "},
    {{"-foo/"}, "a/b/foo/ a/b/foo/bar foo/ foo/a/ foo/a/x.o foo/bar foo/bar.o "},
    {{"-/foo/"}, "foo/ foo/a/ foo/a/x.o foo/bar foo/bar.o "},
    {{"-a/b"}, "a/b/ a/b/c a/b/x.o a/b/foo/ a/b/foo/bar b/a/b/ b/a/b/c "},
    {{"-/a/b"}, "a/b/ a/b/c a/b/x.o a/b/foo/ a/b/foo/bar "},
    {{"-a/*"}, "a/b/ a/b/c a/b/x.o a/b/foo/ a/b/foo/bar a/foo a/x.o b/a/b/ b/a/b/c foo/a/x.o "},
    {{"-/a/*/c"}, "a/b/c "},
    {{"-/a/**c"}, "a/b/c "},
    {{"-b/**"}, "a/b/c a/b/x.o a/b/foo/ a/b/foo/bar b/a/ b/a/b/ b/a/b/c b/c "},
    {{"-**/core"}, "core d/core/ d/core/y d/e/f/core "},
    {{"-d/***"}, "d/ d/core/ d/core/y d/core.x/ d/e/ d/e/f/ d/e/f/g d/e/f/core "},
    {{"+foo/", "+*.o", "-*"}, NULL},
    {{"+*/", "+*.o", "-*"}, NULL},
    {{"+/foo/", "+/foo/bar", "-/foo/*", "-/*"}, NULL},
    {{"+/d/***", "-*"}, NULL},
    {{"-?"}, NULL},
    {{"-a[[]b]"}, "a[b] "},
    {{"-a\\[b]"}, "a[b] "},
    {{"-a\\*b"}, "a*b "},
    {{"-a\\b"}, "a\\b "},
    {{"-a\\\\b"}, ""},
    {{"-a\\\\?"}, "a\\b "},
    {{"-[[:upper:]][[:digit:]]"}, "Z9 "},
    {{"-[!a-z]*"}, "-x Z9 e\xff/\xfe "},
    {{"-[a-"}, ""},
    {{"-e?/*"}, "e\xff/\xfe "},
    {{"-sp ace"}, "sp ace "},
    {{"-/"}, ""},
    {{"-f/g"}, "d/e/f/g "},
    {{"-e/**/g"}, NULL},
    {{"-**"}, NULL},
    {{"-*"}, NULL},
    {{"-[]x]"}, "x "},
    {{"-*x*"}, NULL},
    {{"-a*/*o*/bar"}, NULL},
    {{"-***"}, NULL},
    {{"-foo/b*r"}, "a/b/foo/bar foo/bar "},
};
#define N_CASES (sizeof(cases) / sizeof(cases[0]))

static char root[] = "/tmp/lh-filter-XXXXXX";

static void words(char out[512], const char *const *rules)
{
    size_t used = 0;

    out[0] = '\0';
    for (int i = 0; i < MAX_RULES && rules[i] != NULL; i++)
        used += (size_t)snprintf(out + used, 512 - used, "%s%s", i > 0 ? "  " : "", rules[i]);
}

static void ours(const char *const *rules, bool out[N_TREE])
{
    struct lh_filter f;

    lh_filter_init(&f);
    for (int i = 0; i < MAX_RULES && rules[i] != NULL; i++)
        if (lh_filter_add(&f, rules[i][0] == '+', rules[i] + 1, NULL) != 0)
            bail("a rule is not taken");
    for (size_t i = 0; i < N_TREE; i++) {
        size_t len = strlen(tree[i]);
        bool is_dir = tree[i][len - 1] == '/';

        out[i] = lh_filter_excludes_deep(&f, tree[i], len - is_dir, is_dir);
    }
    lh_filter_free(&f);
}

static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = list; (at = strstr(at, name)) != NULL; at++) {
        if ((at == list || at[-1] == ' ' || at[-1] == '\n') && (at[len] == ' ' || at[len] == '\n'))
            return true;
    }
    return false;
}

static void test_table(void)
{
    bool out[N_TREE];
    char said[512];

    for (size_t c = 0; c < N_CASES; c++) {
        if (cases[c].left_out == NULL)
            continue;
        words(said, cases[c].rules);
        ours(cases[c].rules, out);
        for (size_t i = 0; i < N_TREE; i++) {
            /* Names with a space in them would need another list. */
            bool want = strncmp(tree[i], "sp ", 3) == 0
                            ? strncmp(cases[c].left_out, tree[i], strlen(tree[i])) == 0 &&
                                  cases[c].left_out[strlen(tree[i])] == ' '
                            : listed(cases[c].left_out, tree[i]);

            if (out[i] != want)
                ok(false, "%s: %s is %s", said, tree[i], want ? "left out" : "sent");
        }
        ok(true, "%s", said);
    }
}

static void make_tree(void)
{
    char path[256];

    if (mkdtemp(root) == NULL)
        bail("cannot make a directory");
    snprintf(path, sizeof(path), "%s/to", root);
    if (mkdir(path, 0700) != 0)
        bail("cannot make %s", path);
    snprintf(path, sizeof(path), "%s/from", root);
    if (mkdir(path, 0700) != 0)
        bail("cannot make %s", path);
    for (size_t i = 0; i < N_TREE; i++) {
        size_t len = strlen(tree[i]);
        int fd;

        snprintf(path, sizeof(path), "%s/from/%s", root, tree[i]);
        if (tree[i][len - 1] == '/') {
            if (mkdir(path, 0700) != 0)
                bail("cannot make %s", path);
        } else {
            fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            if (fd < 0)
                bail("cannot make %s", path);
            close(fd);
        }
    }
}

static int run(const char *const *argv, char *out, size_t size)
{
    int fds[2];
    int status = -1;
    size_t used = 0;
    ssize_t n = 0;
    pid_t pid;

    if (pipe(fds) != 0)
        bail("no pipe");
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        execvp(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
    close(fds[1]);
    while (used + 1 < size && (n = read(fds[0], out + used, size - 1 - used)) > 0)
        used += (size_t)n;
    out[used] = '\0';
    close(fds[0]);
    waitpid(pid, &status, 0);
    return status;
}

/* What rsync would send, a name a line. */
static int rsync(const char *const *rules, char *out, size_t size)
{
    char from[64];
    char to[64];
    char options[MAX_RULES][128];
    const char *argv[MAX_RULES + 9] = {"rsync", "-r", "-n", "-8", "--out-format=%n"};
    int n = 5;

    for (int i = 0; i < MAX_RULES && rules[i] != NULL; i++) {
        snprintf(options[i], sizeof(options[i]), "--%s=%s",
                 rules[i][0] == '+' ? "include" : "exclude", rules[i] + 1);
        argv[n++] = options[i];
    }
    snprintf(from, sizeof(from), "%s/from/", root);
    snprintf(to, sizeof(to), "%s/to/", root);
    argv[n++] = from;
    argv[n++] = to;
    argv[n] = NULL;
    return run(argv, out, size);
}

/* Lines of rsync's answer hold names with spaces; so this looks for whole lines. */
static bool has_line(const char *lines, const char *name)
{
    size_t len = strlen(name);

    for (const char *at = lines; (at = strstr(at, name)) != NULL; at++) {
        if ((at == lines || at[-1] == '\n') && at[len] == '\n')
            return true;
    }
    return false;
}

static bool same_as_rsync(const char *const *rules, const char *said)
{
    bool out[N_TREE];
    char lines[4096];
    bool same = true;

    if (rsync(rules, lines, sizeof(lines)) != 0)
        return ok(false, "rsync runs with %s", said);
    ours(rules, out);
    for (size_t i = 0; i < N_TREE; i++) {
        if (out[i] == has_line(lines, tree[i])) {
            diag("%s: rsync %s %s", said, out[i] ? "sends" : "leaves out", tree[i]);
            same = false;
        }
    }
    return same;
}

static void random_rules(unsigned *seed, char text[MAX_RULES][32], const char **rules)
{
    static const char *const parts[] = {"*", "**",   "?",     "/", "a",    "b", "foo",
                                        "x", "/",    "[a-f]", "o", "core", ".", "***",
                                        "d", "[!a]", "/",     "*", "\\"};
    int n = 1 + rand_r(seed) % 4;

    for (int i = 0; i < MAX_RULES; i++)
        rules[i] = NULL;
    for (int i = 0; i < n; i++) {
        size_t used = (size_t)snprintf(text[i], 32, "%c", rand_r(seed) % 3 == 0 ? '+' : '-');
        int len = 1 + rand_r(seed) % 5;

        for (int k = 0; k < len; k++)
            used +=
                (size_t)snprintf(text[i] + used, 32 - used, "%s",
                                 parts[(size_t)rand_r(seed) % (sizeof(parts) / sizeof(*parts))]);
        rules[i] = text[i];
    }
}

static void test_rsync(void)
{
    static const char *const none[MAX_RULES] = {NULL};
    const char *remove[] = {"rm", "-rf", root, NULL};
    char lines[4096];
    char said[512];
    char text[MAX_RULES][32];
    const char *rules[MAX_RULES];
    unsigned seed = 20261121;

    make_tree();
    if (rsync(none, lines, sizeof(lines)) != 0) {
        skip("rsync is not here to compare with");
    } else {
        for (size_t i = 0; i < N_CASES; i++) {
            words(said, cases[i].rules);
            ok(same_as_rsync(cases[i].rules, said), "as rsync: %s", said);
        }
        for (int i = 0; i < RANDOM_ROUNDS; i++) {
            random_rules(&seed, text, rules);
            words(said, rules);
            ok(same_as_rsync(rules, said), "as rsync: %s", said);
        }
    }
    (void)run(remove, lines, sizeof(lines));
}

static void test_refused(void)
{
    static char longest[LH_FILTER_PATTERN_MAX + 2];
    struct lh_filter f;
    struct lh_err err = {0};

    lh_filter_init(&f);
    ok(!lh_filter_excludes(&f, "a", 1, false), "without rules nothing is excluded");
    is_i64(lh_filter_add(&f, true, "", &err), -LH_E_INVAL, "an empty pattern is refused");
    ok(err.text[0] != '\0', "in words: %s", err.text);
    memset(longest, 'a', sizeof(longest) - 1);
    is_i64(lh_filter_add(&f, true, longest, &err), -LH_E_INVAL, "a pattern too long is refused");
    longest[LH_FILTER_PATTERN_MAX] = '\0';
    is_i64(lh_filter_add(&f, false, longest, &err), 0, "the longest is not");
    ok(!lh_filter_excludes(&f, longest, LH_FILTER_PATTERN_MAX - 1, false),
       "and matches no shorter name");
    lh_filter_free(&f);
}

/* A pattern of many stars must not take time without end. */
static void test_hostile(void)
{
    static char path[LH_FILTER_PATH_MAX + 1];
    char pattern[512];
    size_t used = 0;
    struct lh_filter f;

    lh_filter_init(&f);
    memset(path, 'a', LH_FILTER_PATH_MAX);
    for (int i = 0; i < 100; i++)
        used += (size_t)snprintf(pattern + used, sizeof(pattern) - used, "%s", "*a**");
    pattern[used++] = 'b';
    pattern[used] = '\0';
    ok(lh_filter_add(&f, false, pattern, NULL) == 0, "a pattern with 200 stars is taken");
    ok(!lh_filter_excludes(&f, path, LH_FILTER_PATH_MAX, false), "and compared, in the end");
    path[LH_FILTER_PATH_MAX - 1] = 'b';
    ok(lh_filter_excludes(&f, path, LH_FILTER_PATH_MAX, false), "and found");
    lh_filter_free(&f);
}

int main(void)
{
    test_table();
    test_refused();
    test_hostile();
    test_rsync();
    return done_testing();
}
