/* See tree_rig.h. */
#include "test/loop/tree_rig.h"

#include "test/lib/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool in_call;

static void must(struct planting *p, bool kept, const char *what)
{
    if (kept)
        return;
    p->rig->n_violations++;
    diag("contract: %s", what);
}

static void called(struct planting *p)
{
    must(p, !in_call, "a callback from inside a call");
    must(p, p->n_done == 0, "a callback after done");
}

static void cancel_if(struct planting *p, bool now)
{
    if (!now)
        return;
    in_call = true;
    lh_tree_cancel(p->tree);
    lh_tree_cancel(p->tree);
    in_call = false;
}

static void on_start(void *arg, const struct lh_tree_stats *stats)
{
    struct planting *p = arg;

    called(p);
    must(p, p->n_start++ == 0, "start comes once");
    must(p, stats->send.transfer[0] != '\0', "start without the transfer's id");
    cancel_if(p, p->cancel == IN_START);
}

static void on_progress(void *arg, const struct lh_tree_stats *stats)
{
    struct planting *p = arg;

    called(p);
    must(p, p->n_start > 0, "progress before start");
    must(p, stats->send.bytes_durable <= stats->send.bytes_total, "more durable than there is");
    p->n_progress++;
    if (stats->send.streams > p->most_streams)
        p->most_streams = stats->send.streams;
    cancel_if(p, p->cancel == IN_PROGRESS);
}

const char *tree_file(unsigned i)
{
    static char name[32];

    snprintf(name, sizeof(name), "t/d%u/f%u", i % 7, i);
    return name;
}

static void on_entry(void *arg, enum lh_tree_what what, const char *path, uint64_t bytes,
                     int status, const char *text)
{
    struct planting *p = arg;

    called(p);
    p->n_entries++;
    p->n_what[what]++;
    must(p, (what == LH_TREE_FAILED) == (status != 0), "a status goes with what failed");
    must(p, (what == LH_TREE_FAILED) == (text[0] != '\0'), "and a text");
    if (what == LH_TREE_FAILED) {
        p->failed_status = status;
        snprintf(p->failed_path, sizeof(p->failed_path), "%s", path);
        snprintf(p->failed_text, sizeof(p->failed_text), "%s", text);
    }
    if (p->n_entries == p->unlink_at)
        for (unsigned i = p->unlink_first; i < p->unlink_end; i++)
            unlink(rig_source(p->rig, tree_file(i)));
    cancel_if(p, p->n_entries == p->cancel_at);
}

static void on_done(void *arg, int status, const char *text, const struct lh_tree_stats *stats)
{
    struct planting *p = arg;

    called(p);
    must(p, (status == 0) == (text[0] == '\0'), "a text goes with an error");
    p->n_done++;
    p->status = status;
    p->stats = *stats;
    snprintf(p->text, sizeof(p->text), "%s", text);
}

static const char *sources[1];

void tree_options(struct rig *rig, struct lh_tree_options *o, uint16_t port)
{
    static char source[512];

    lh_tree_options_init(o);
    snprintf(source, sizeof(source), "%s/", rig_source(rig, "t"));
    sources[0] = source;
    o->sources = sources;
    o->n_sources = 1;
    rig_send_options(&o->send, NULL, port, "copy");
}

int tree_start(struct rig *rig, struct planting *p, const struct lh_tree_options *o)
{
    struct lh_tree_callbacks cbs = {
        .start = on_start, .progress = on_progress, .entry = on_entry, .done = on_done, .arg = p};
    int r;

    p->rig = rig;
    in_call = true;
    r = lh_tree_start(&rig->loop, o, &cbs, &p->tree);
    in_call = false;
    return r;
}

void tree_send(struct rig *rig, struct planting *p, uint16_t port)
{
    struct lh_tree_options o;

    tree_options(rig, &o, port);
    if (tree_start(rig, p, &o) != 0)
        bail("a tree does not start");
    rig_until(rig, &p->n_done, 1);
}

/* ---- trees ---- */

void tree_set_times(const char *path, long s)
{
    struct timespec times[2] = {{.tv_sec = s}, {.tv_sec = s, .tv_nsec = 123456789}};

    if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0)
        bail("utimensat %s", path);
}

void tree_add_dir(struct rig *rig, const char *name)
{
    if (mkdir(rig_source(rig, name), 0755) != 0)
        bail("mkdir %s", name);
}

void tree_grow(struct rig *rig, unsigned n)
{
    static const uint64_t sizes[] = {0,          1,     100,       4 * KIB,       BLOCK - 21,
                                     BLOCK - 20, BLOCK, BLOCK + 1, 3 * BLOCK + 7, 5};
    char name[64];

    tree_add_dir(rig, "t");
    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "t/d%u", i);
        tree_add_dir(rig, name);
    }
    tree_add_dir(rig, "t/d1/empty");
    for (unsigned i = 0; i < n; i++)
        rig_make(rig, tree_file(i), sizes[i % 10], i);
    if (symlink("../d1/f1", rig_source(rig, "t/d2/link")) != 0 ||
        symlink("nowhere", rig_source(rig, "t/dangling")) != 0 ||
        chmod(rig_source(rig, "t/d3"), 0750) != 0 || chmod(rig_source(rig, "t/d0/f0"), 0600) != 0)
        bail("links and modes");
    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "t/d%u", i);
        tree_set_times(rig_source(rig, name), 1000000000 + (long)i);
    }
    tree_set_times(rig_source(rig, "t/d1/empty"), 900000000);
    tree_set_times(rig_source(rig, "t"), 800000000);
}

static bool same_bytes(const char *a, const char *b)
{
    FILE *f = fopen(a, "r"), *g = fopen(b, "r");
    bool same = f != NULL && g != NULL;
    char x[8192], y[8192];
    size_t n = 1;

    while (same && n > 0) {
        n = fread(x, 1, sizeof(x), f);
        same = fread(y, 1, sizeof(y), g) == n && memcmp(x, y, n) == 0;
    }
    if (f != NULL)
        fclose(f);
    if (g != NULL)
        fclose(g);
    return same;
}

static bool same_link(const char *a, const char *b)
{
    char x[512] = "", y[512] = "-";

    return readlink(a, x, sizeof(x) - 1) > 0 && readlink(b, y, sizeof(y) - 1) > 0 &&
           strcmp(x, y) == 0;
}

unsigned tree_differences(const char *a, const char *b, bool times)
{
    struct stat x, y;
    unsigned n = 0;

    if (lstat(a, &x) != 0 || lstat(b, &y) != 0 || x.st_mode != y.st_mode) {
        diag("%s: missing or another mode", b);
        return 1;
    }
    if (times && !S_ISLNK(x.st_mode) && memcmp(&x.st_mtim, &y.st_mtim, sizeof(x.st_mtim)) != 0) {
        diag("%s: mtime %lld.%09ld, not %lld.%09ld", b, (long long)y.st_mtim.tv_sec,
             y.st_mtim.tv_nsec, (long long)x.st_mtim.tv_sec, x.st_mtim.tv_nsec);
        n++;
    }
    if (S_ISREG(x.st_mode) && !same_bytes(a, b)) {
        diag("%s: other contents", b);
        n++;
    }
    if (S_ISLNK(x.st_mode) && !same_link(a, b)) {
        diag("%s: another link", b);
        n++;
    }
    if (S_ISDIR(x.st_mode)) {
        DIR *dir = opendir(a);
        struct dirent *e;

        while ((e = readdir(dir)) != NULL) {
            char p[1024], q[1024];

            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            snprintf(p, sizeof(p), "%s/%s", a, e->d_name);
            snprintf(q, sizeof(q), "%s/%s", b, e->d_name);
            n += tree_differences(p, q, times);
        }
        closedir(dir);
    }
    return n;
}

bool tree_records_may_stay;

static unsigned names_below(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    unsigned n = 0;

    if (dir == NULL)
        return 0;
    while ((e = readdir(dir)) != NULL) {
        char p[1024];

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (tree_records_may_stay && strncmp(e->d_name, ".longhaul-", 10) == 0 &&
            strstr(e->d_name, ".journal") != NULL)
            continue;
        snprintf(p, sizeof(p), "%s/%s", path, e->d_name);
        n += 1 + (e->d_type == DT_DIR ? names_below(p) : 0);
    }
    closedir(dir);
    return n;
}

void tree_is_there(struct rig *rig, const char *what)
{
    is_u64(tree_differences(rig_source(rig, "t"), rig_target(rig, "copy"), true), 0,
           "%s: the same, times too", what);
    is_u64(names_below(rig_target(rig, "copy")), names_below(rig_source(rig, "t")),
           "%s: and nothing else is there", what);
}
