/* Trees by the public interface, both sides on one loop: what is sent arrives, a rerun keeps it,
 * callbacks keep their contract, it can be stopped at any moment, and a line that is torn does no
 * harm. */
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <longhaul/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define KIB 1024ull

struct planting {
    struct rig *rig;
    struct lh_tree *tree;
    enum moment cancel;
    unsigned cancel_at; /* entries; 0: never */
    unsigned unlink_at; /* entries: then these files of the source go; 0: never */
    unsigned unlink_first, unlink_end;
    unsigned n_start, n_progress, n_entries, n_done, n_violations;
    unsigned n_what[LH_TREE_FAILED + 1];
    int status;
    int failed_status;
    char failed_path[300];
    char failed_text[600];
    char text[600];
    struct lh_tree_stats stats;
};

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
    cancel_if(p, p->cancel == IN_PROGRESS);
}

static const char *name_of(unsigned i)
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
            unlink(rig_source(p->rig, name_of(i)));
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

static void options(struct rig *rig, struct lh_tree_options *o, uint16_t port)
{
    static char source[512];

    lh_tree_options_init(o);
    snprintf(source, sizeof(source), "%s/", rig_source(rig, "t"));
    sources[0] = source;
    o->sources = sources;
    o->n_sources = 1;
    rig_send_options(&o->send, NULL, port, "copy");
}

static int plant_with(struct rig *rig, struct planting *p, const struct lh_tree_options *o)
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

static void plant(struct rig *rig, struct planting *p, uint16_t port)
{
    struct lh_tree_options o;

    options(rig, &o, port);
    if (plant_with(rig, p, &o) != 0)
        bail("a tree does not start");
    rig_until(rig, &p->n_done, 1);
}

/* ---- trees ---- */

static void set_times(const char *path, long s)
{
    struct timespec times[2] = {{.tv_sec = s}, {.tv_sec = s, .tv_nsec = 123456789}};

    if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) != 0)
        bail("utimensat %s", path);
}

static void add_dir(struct rig *rig, const char *name)
{
    if (mkdir(rig_source(rig, name), 0755) != 0)
        bail("mkdir %s", name);
}

/* n files in seven directories, of sizes around what a pack is. */
static void grow(struct rig *rig, unsigned n)
{
    static const uint64_t sizes[] = {0,          1,     100,       4 * KIB,       BLOCK - 21,
                                     BLOCK - 20, BLOCK, BLOCK + 1, 3 * BLOCK + 7, 5};
    char name[64];

    add_dir(rig, "t");
    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "t/d%u", i);
        add_dir(rig, name);
    }
    add_dir(rig, "t/d1/empty");
    for (unsigned i = 0; i < n; i++)
        rig_make(rig, name_of(i), sizes[i % 10], i);
    if (symlink("../d1/f1", rig_source(rig, "t/d2/link")) != 0 ||
        symlink("nowhere", rig_source(rig, "t/dangling")) != 0 ||
        chmod(rig_source(rig, "t/d3"), 0750) != 0 || chmod(rig_source(rig, "t/d0/f0"), 0600) != 0)
        bail("links and modes");
    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "t/d%u", i);
        set_times(rig_source(rig, name), 1000000000 + (long)i);
    }
    set_times(rig_source(rig, "t/d1/empty"), 900000000);
    set_times(rig_source(rig, "t"), 800000000);
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

/* Differences between two entries and what is in them; each is told. */
static unsigned differences(const char *a, const char *b, bool times)
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
            n += differences(p, q, times);
        }
        closedir(dir);
    }
    return n;
}

/* A big file's CONFIRM can be lost with the line; then its done record stays for some days. */
static bool records_may_stay;

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
        if (records_may_stay && strncmp(e->d_name, ".longhaul-", 10) == 0 &&
            strstr(e->d_name, ".journal") != NULL)
            continue;
        snprintf(p, sizeof(p), "%s/%s", path, e->d_name);
        n += 1 + (e->d_type == DT_DIR ? names_below(p) : 0);
    }
    closedir(dir);
    return n;
}

static void is_there(struct rig *rig, const char *what)
{
    is_u64(differences(rig_source(rig, "t"), rig_target(rig, "copy"), true), 0,
           "%s: the same, times too", what);
    is_u64(names_below(rig_target(rig, "copy")), names_below(rig_source(rig, "t")),
           "%s: and nothing else is there", what);
}

/* ---- tests ---- */

static void test_whole(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, again = {0};
    struct stat st;

    rig_open(&rig);
    grow(&rig, 300);
    rig_serve(&rig, &r, 0);
    plant(&rig, &p, r.port);
    is_i64(p.status, 0, "a tree is sent: %s %s %s", p.text, p.failed_path, p.failed_text);
    is_there(&rig, "sent");
    is_u64(p.stats.files_total, 300, "so many files");
    is_u64(p.stats.files_sent, 300, "all sent");
    is_u64(p.stats.dirs, 8, "and directories");
    is_u64(p.stats.links, 2, "and links");
    is_u64(p.n_what[LH_TREE_SENT], 300, "each is told of");
    is_u64(p.n_what[LH_TREE_MADE] + p.n_what[LH_TREE_KEPT], 10, "so is what was made");
    is_u64(p.stats.send.bytes_durable, p.stats.send.bytes_total, "all bytes are durable");
    ok(lstat(rig_target(&rig, "copy/d2/link"), &st) == 0 && S_ISLNK(st.st_mode), "a link is one");

    plant(&rig, &again, r.port);
    is_i64(again.status, 0, "and again: %s", again.text);
    is_u64(again.stats.files_kept, 300, "all is there");
    is_u64(again.stats.files_sent, 0, "nothing is sent");
    is_u64(again.stats.send.bytes_sent, 0, "not a byte");
    is_there(&rig, "again");
    rig_serve_stop(&r);
    rig_close(&rig, "whole");
}

/* What has changed since goes, and nothing else. */
static void test_changed(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, again = {0};

    rig_open(&rig);
    grow(&rig, 100);
    rig_serve(&rig, &r, 0);
    plant(&rig, &p, r.port);
    rig_make(&rig, name_of(3), 5000, 99);
    rig_make(&rig, name_of(5), BLOCK, 98);
    rig_make(&rig, "t/new", 10, 97);
    unlink(rig_source(&rig, "t/dangling"));
    symlink("elsewhere", rig_source(&rig, "t/dangling"));
    plant(&rig, &again, r.port);
    is_i64(again.status, 0, "sent again: %s", again.text);
    is_u64(again.stats.files_sent, 3, "what changed and what is new");
    is_u64(again.stats.files_kept, 98, "the rest stays");
    is_there(&rig, "changed");
    rig_serve_stop(&r);
    rig_close(&rig, "changed");
}

static void test_big(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, again = {0};

    rig_open(&rig);
    grow(&rig, 50);
    rig_make(&rig, "t/d1/big", 33 * MIB + 5, 1);
    rig_make(&rig, "t/d2/bigger", 40 * MIB, 2);
    rig_make(&rig, "t/third", 32 * MIB, 3);
    rig_make(&rig, "t/d3/nearly", 32 * MIB - 1, 4);
    set_times(rig_source(&rig, "t/d1"), 1000000001);
    rig_serve(&rig, &r, 0);
    plant(&rig, &p, r.port);
    is_i64(p.status, 0, "big ones among small ones: %s %s %s", p.text, p.failed_path,
           p.failed_text);
    is_u64(p.stats.files_sent, 54, "all sent");
    is_u64(p.stats.send.bytes_durable, p.stats.send.bytes_total, "all bytes durable");
    is_there(&rig, "big");
    is_u64(r.n_received, 4, "three were transfers of their own, beside the tree");
    plant(&rig, &again, r.port);
    is_u64(again.stats.files_kept, 54, "all are kept");
    rig_serve_stop(&r);
    rig_close(&rig, "big");
}

static void test_hard_links(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0};
    struct stat a, b, c;

    rig_open(&rig);
    grow(&rig, 40);
    if (link(rig_source(&rig, name_of(8)), rig_source(&rig, "t/other")) != 0 ||
        link(rig_source(&rig, name_of(8)), rig_source(&rig, "t/d1/third")) != 0)
        bail("link");
    rig_serve(&rig, &r, 0);
    options(&rig, &o, r.port);
    o.preserve |= LH_PRESERVE_HARDLINKS;
    plant_with(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "with hard links: %s %s %s", p.text, p.failed_path, p.failed_text);
    is_u64(p.stats.files_sent, 40, "contents go once");
    is_u64(p.stats.links, 4, "two links of each sort");
    ok(stat(rig_target(&rig, "copy/other"), &a) == 0 &&
           stat(rig_target(&rig, "copy/d1/third"), &b) == 0 &&
           stat(rig_target(&rig, "copy/d1/f8"), &c) == 0 && a.st_ino == b.st_ino &&
           b.st_ino == c.st_ino,
       "three names of one file");
    rig_serve_stop(&r);
    rig_close(&rig, "hard links");
}

/* Files that go while others are on their way fail by name; the others arrive. */
static void test_vanishing(void)
{
    struct rig rig;
    struct receiving r;
    struct relay *line;
    struct planting p = {.unlink_at = 3, .unlink_first = 1900, .unlink_end = 2000};

    rig_open(&rig);
    grow(&rig, 2000);
    rig_serve(&rig, &r, 0);
    line = relay_start(r.port, 16 * MIB);
    plant(&rig, &p, relay_port(line));
    is_i64(p.status, -LH_E_PARTIAL, "some have vanished: %s", p.text);
    is_u64(p.stats.failed, p.n_what[LH_TREE_FAILED], "as many as were told of");
    ok(p.stats.failed > 0 && p.stats.failed <= 100, "%u of 100", (unsigned)p.stats.failed);
    is_i64(p.failed_status, -LH_E_SOURCE, "%s: %s", p.failed_path, p.failed_text);
    is_u64(p.stats.files_sent + p.stats.failed, 2000, "all others arrived");
    relay_stop(line);
    rig_serve_stop(&r);
    is_u64(differences(rig_source(&rig, "t"), rig_target(&rig, "copy"), false), 0, "whole");
    rig_close(&rig, "vanishing");
}

static void cancel_in(enum moment moment, unsigned at, const char *what)
{
    struct rig rig;
    struct receiving r;
    struct relay *line;
    struct planting p = {.cancel = moment, .cancel_at = at}, again = {0};

    rig_open(&rig);
    grow(&rig, 500);
    rig_make(&rig, "t/d1/big", 33 * MIB, 1);
    rig_serve(&rig, &r, 0);
    line = relay_start(r.port, 64 * MIB);
    if (moment == NEVER && at == 0) {
        struct lh_tree_options o;

        options(&rig, &o, relay_port(line));
        plant_with(&rig, &p, &o);
        lh_tree_cancel(p.tree);
        rig_until(&rig, &p.n_done, 1);
    } else {
        plant(&rig, &p, relay_port(line));
    }
    is_i64(p.status, -LH_E_CANCELLED, "cancelled %s", what);
    relay_stop(line);
    plant(&rig, &again, r.port);
    is_i64(again.status, 0, "%s: the same again ends well: %s %s", what, again.text,
           again.failed_text);
    ok(again.stats.files_kept >= p.stats.files_sent, "%s: what was settled is kept (%llu of %llu)",
       what, (unsigned long long)again.stats.files_kept, (unsigned long long)p.stats.files_sent);
    is_there(&rig, what);
    rig_serve_stop(&r);
    rig_close(&rig, what);
}

static void test_cancel(void)
{
    cancel_in(NEVER, 0, "at once");
    cancel_in(IN_START, 0, "in start");
    cancel_in(IN_PROGRESS, 0, "in progress");
    cancel_in(NEVER, 1, "at the first entry");
    cancel_in(NEVER, 300, "at an entry");
}

static struct relay *torn;
static unsigned n_tears;

static void on_tear(uv_timer_t *timer)
{
    const struct planting *p = timer->data;

    if (p->n_start == 0) /* before it has ever said hello it may be refused */
        return;
    if (n_tears-- > 0)
        relay_reset(torn);
    else
        uv_timer_stop(timer);
}

static void test_torn(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0};
    uv_timer_t timer;

    rig_open(&rig);
    grow(&rig, 3000);
    rig_make(&rig, "t/d1/big", 33 * MIB, 1);
    set_times(rig_source(&rig, "t/d1"), 1000000001);
    rig_serve(&rig, &r, 0);
    torn = relay_start(r.port, 64 * MIB);
    n_tears = 4;
    uv_timer_init(&rig.loop, &timer);
    timer.data = &p;
    uv_timer_start(&timer, on_tear, 100, 400);
    plant(&rig, &p, relay_port(torn));
    uv_close((uv_handle_t *)&timer, NULL);
    is_i64(p.status, 0, "a line that is torn: %s %s %s", p.text, p.failed_path, p.failed_text);
    ok(relay_n_reset(torn) > 0 && p.stats.send.reconnects > 0, "it was (%u sessions anew)",
       p.stats.send.reconnects);
    is_u64(p.stats.files_sent + p.stats.files_kept, 3001, "all are there, each counted once");
    records_may_stay = true;
    is_there(&rig, "torn");
    records_may_stay = false;
    relay_stop(torn);
    rig_serve_stop(&r);
    rig_close(&rig, "torn");
}

/* The line is torn while it is listed and removed what the source has not. */
static void test_torn_remove(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, q = {0};
    uv_timer_t timer;
    char name[64];

    rig_open(&rig);
    grow(&rig, 50);
    rig_serve(&rig, &r, 0);
    plant(&rig, &p, r.port);
    for (unsigned d = 0; d < 40; d++) {
        snprintf(name, sizeof(name), "copy/d%u/extra%u", d % 7, d);
        mkdir(rig_target(&rig, name), 0700);
        for (unsigned i = 0; i < 100; i++) {
            snprintf(name, sizeof(name), "root/copy/d%u/extra%u/f%u", d % 7, d, i);
            rig_make(&rig, name, 1, i);
        }
    }
    torn = relay_start(r.port, 256 * KIB);
    n_tears = 3;
    uv_timer_init(&rig.loop, &timer);
    timer.data = &q;
    uv_timer_start(&timer, on_tear, 100, 250);
    options(&rig, &o, relay_port(torn));
    o.remove = true;
    plant_with(&rig, &q, &o);
    rig_until(&rig, &q.n_done, 1);
    uv_close((uv_handle_t *)&timer, NULL);
    is_i64(q.status, 0, "torn while it removes: %s %s %s", q.text, q.failed_path, q.failed_text);
    ok(relay_n_reset(torn) > 0, "it was (%u sessions anew)", q.stats.send.reconnects);
    is_u64(q.stats.removed, 4040, "all is removed, each counted once");
    is_there(&rig, "torn remove");
    relay_stop(torn);
    rig_serve_stop(&r);
    rig_close(&rig, "torn remove");
}

/* Into the receiver's root; a directory by its name; a file beside it. */
static void test_places(void)
{
    const char *several[2];
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, q = {0};

    rig_open(&rig);
    grow(&rig, 30);
    rig_make(&rig, "single", 33 * MIB, 5);
    rig_serve(&rig, &r, 0);
    options(&rig, &o, r.port);
    several[0] = rig_source(&rig, "t");
    several[1] = rig_source(&rig, "single");
    o.sources = several;
    o.n_sources = 2;
    o.send.path = "/";
    o.send.path_len = 0;
    plant_with(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "into the root: %s %s", p.text, p.failed_text);
    is_u64(differences(rig_source(&rig, "t"), rig_target(&rig, "t"), true), 0, "by its name");
    ok(rig_same(&rig, "single", "single"), "with a file beside it");
    o.send.path = "a/b//";
    o.send.path_len = 5;
    plant_with(&rig, &q, &o);
    rig_until(&rig, &q.n_done, 1);
    is_i64(q.status, 0, "below directories that were not there: %s %s", q.text, q.failed_text);
    is_u64(differences(rig_source(&rig, "t"), rig_target(&rig, "a/b/t"), true), 0, "the same");
    ok(rig_same(&rig, "single", "a/b/single"), "and the file");
    rig_serve_stop(&r);
    rig_close(&rig, "places");
}

/* Below a limit big files and small ones take turns. */
static void test_limited(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    grow(&rig, 60);
    rig_make(&rig, "t/d1/big", 32 * MIB, 1);
    rig_make(&rig, "t/d2/bigger", 33 * MIB, 2);
    if (link(rig_source(&rig, "t/d2/bigger"), rig_source(&rig, "t/link")) != 0)
        bail("link");
    set_times(rig_source(&rig, "t/d1"), 1000000001);
    set_times(rig_source(&rig, "t/d2"), 1000000002);
    set_times(rig_source(&rig, "t"), 800000000);
    rig_serve(&rig, &r, 0);
    options(&rig, &o, r.port);
    o.send.limit_bps = 8000000000ull;
    o.preserve |= LH_PRESERVE_HARDLINKS;
    plant_with(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "below a limit: %s %s", p.text, p.failed_text);
    is_u64(p.stats.files_sent, 62, "all are sent");
    is_there(&rig, "limited");
    rig_serve_stop(&r);
    rig_close(&rig, "limited");
}

static void test_stop_on_error(void)
{
    const char *several[2];
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    grow(&rig, 10);
    rig_serve(&rig, &r, 0);
    options(&rig, &o, r.port);
    several[0] = rig_source(&rig, "absent");
    several[1] = rig_source(&rig, "t");
    o.sources = several;
    o.n_sources = 2;
    o.stop_on_error = true;
    plant_with(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, -LH_E_PARTIAL, "the first error ends it: %s", p.text);
    is_u64(p.stats.failed, 1, "one has failed: %s", p.failed_path);
    is_u64(p.stats.files_sent, 0, "nothing was sent");
    rig_serve_stop(&r);
    rig_close(&rig, "stop on error");
}

static void test_dry_run(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, sent = {0}, again = {0};

    rig_open(&rig);
    grow(&rig, 50);
    rig_serve(&rig, &r, 0);
    options(&rig, &o, r.port);
    o.dry_run = true;
    plant_with(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "a dry run: %s", p.text);
    is_u64(p.n_what[LH_TREE_SENT], 50, "tells of all files");
    ok(access(rig_target(&rig, "copy"), F_OK) != 0, "and does nothing");
    plant(&rig, &sent, r.port);
    rig_make(&rig, name_of(1), 77, 5);
    plant_with(&rig, &again, &o);
    rig_until(&rig, &again.n_done, 1);
    is_u64(again.n_what[LH_TREE_SENT], 1, "only what differs would be sent");
    is_u64(again.n_what[LH_TREE_KEPT], 59, "the rest would stay");
    rig_serve_stop(&r);
    rig_close(&rig, "dry run");
}

/* ---- --delete ---- */

static void litter(struct rig *rig)
{
    mkdir(rig_target(rig, "copy/d1/old"), 0700);
    mkdir(rig_target(rig, "copy/d1/old/deep"), 0700);
    rig_make(rig, "root/copy/d1/old/deep/x", 10, 1);
    rig_make(rig, "root/copy/d1/old/y", 10, 1);
    rig_make(rig, "root/copy/stray", 10, 1);
    rig_make(rig, "root/copy/d2/keep.log", 10, 1);
    symlink("nowhere", rig_target(rig, "copy/d3/lost"));
}

static void prune(struct rig *rig, struct planting *p, uint16_t port, uint64_t max, bool dry)
{
    static const struct lh_tree_rule rules[] = {{false, "*.log"}};
    struct lh_tree_options o;

    memset(p, 0, sizeof(*p));
    options(rig, &o, port);
    o.rules = rules;
    o.n_rules = 1;
    o.remove = true;
    o.max_removed = max;
    o.dry_run = dry;
    if (plant_with(rig, p, &o) != 0)
        bail("a tree does not start");
    rig_until(rig, &p->n_done, 1);
}

static void test_remove(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    grow(&rig, 30);
    rig_serve(&rig, &r, 0);
    plant(&rig, &p, r.port);
    litter(&rig);
    prune(&rig, &p, r.port, 5, false);
    is_i64(p.status, -LH_E_PARTIAL, "six, where five may go: %s", p.text);
    is_u64(p.stats.removed, 0, "then none goes: %s", p.failed_text);
    ok(access(rig_target(&rig, "copy/stray"), F_OK) == 0, "it is there");
    prune(&rig, &p, r.port, 6, true);
    is_u64(p.n_what[LH_TREE_REMOVED], 6, "a dry run tells of six: %s", p.text);
    ok(access(rig_target(&rig, "copy/stray"), F_OK) == 0, "which are there");
    prune(&rig, &p, r.port, 6, false);
    is_i64(p.status, 0, "where six may go: %s %s", p.text, p.failed_text);
    is_u64(p.stats.removed, 6, "they do");
    ok(access(rig_target(&rig, "copy/d2/keep.log"), F_OK) == 0, "but for what is excluded");
    unlink(rig_target(&rig, "copy/d2/keep.log"));
    set_times(rig_target(&rig, "copy/d2"), 1000000002);
    is_there(&rig, "remove");
    rig_serve_stop(&r);
    rig_close(&rig, "remove");
}

/* An empty source is more likely a disk that is not mounted than a wish. */
static void test_remove_nothing(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    add_dir(&rig, "t");
    mkdir(rig_target(&rig, "copy"), 0700);
    rig_make(&rig, "root/copy/precious", 10, 1);
    rig_serve(&rig, &r, 0);
    prune(&rig, &p, r.port, UINT64_MAX, false);
    is_i64(p.status, -LH_E_PARTIAL, "an empty source: %s", p.failed_text);
    ok(access(rig_target(&rig, "copy/precious"), F_OK) == 0, "nothing is removed");
    rig_serve_stop(&r);
    rig_close(&rig, "remove nothing");
}

/* ---- ends ---- */

static void test_refusals(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct planting p = {0}, none = {0};

    rig_open(&rig);
    grow(&rig, 3);
    options(&rig, &o, 1);
    o.n_sources = 0;
    is_i64(plant_with(&rig, &p, &o), -LH_E_INVAL, "no source");
    options(&rig, &o, 1);
    o.send.block_bytes = 12345;
    is_i64(plant_with(&rig, &p, &o), -LH_E_INVAL, "an impossible grid");
    options(&rig, &o, 1);
    o.existing = 77;
    is_i64(plant_with(&rig, &p, &o), -LH_E_INVAL, "no such policy");
    plant(&rig, &p, 1);
    is_i64(p.status, -LH_E_CONNECT, "nobody there: %s", p.text);
    is_u64(p.n_start, 0, "it did not start");
    options(&rig, &o, 1);
    sources[0] = rig_source(&rig, "absent");
    plant_with(&rig, &none, &o);
    rig_until(&rig, &none.n_done, 1);
    is_i64(none.status, -LH_E_SOURCE, "nothing there: %s", none.text);
    rig_close(&rig, "refusals");
}

/* Two at once on an engine that others use too. */
static void test_shared(void)
{
    struct lh_engine_options eopts;
    struct lh_tree_options o;
    struct lh_engine *engine;
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, q = {0};

    rig_open(&rig);
    grow(&rig, 200);
    rig_serve(&rig, &r, 0);
    lh_engine_options_init(&eopts);
    if (lh_engine_start(&rig.loop, &eopts, &engine) != 0)
        bail("no engine");
    options(&rig, &o, r.port);
    o.send.engine = engine;
    plant_with(&rig, &p, &o);
    o.send.path = "second";
    o.send.path_len = 6;
    plant_with(&rig, &q, &o);
    rig_until(&rig, &p.n_done, 1);
    rig_until(&rig, &q.n_done, 1);
    is_i64(p.status, 0, "one: %s", p.text);
    is_i64(q.status, 0, "and the other: %s", q.text);
    is_there(&rig, "shared");
    is_u64(differences(rig_source(&rig, "t"), rig_target(&rig, "second"), true), 0, "twice");
    lh_engine_close(engine, NULL, NULL);
    rig_serve_stop(&r);
    rig_close(&rig, "shared");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"refusals", test_refusals},    {"whole", test_whole},
                 {"changed", test_changed},      {"big", test_big},
                 {"links", test_hard_links},     {"vanishing", test_vanishing},
                 {"cancel", test_cancel},        {"torn", test_torn},
                 {"dry", test_dry_run},          {"remove", test_remove},
                 {"empty", test_remove_nothing}, {"torn-remove", test_torn_remove},
                 {"places", test_places},        {"limited", test_limited},
                 {"stop", test_stop_on_error},   {"shared", test_shared}};

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (argc < 2 || strcmp(argv[1], tests[i].name) == 0)
            tests[i].run();
    return done_testing();
}
