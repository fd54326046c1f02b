/* Trees by the public interface, both sides on one loop: what is sent arrives, a rerun keeps it,
 * what the source has not is removed. (What goes wrong: tree_trouble.c.) */
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/tree_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_whole(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, again = {0};
    struct stat st;

    rig_open(&rig);
    tree_grow(&rig, 300);
    rig_serve(&rig, &r, 0);
    tree_send(&rig, &p, r.port);
    is_i64(p.status, 0, "a tree is sent: %s %s %s", p.text, p.failed_path, p.failed_text);
    tree_is_there(&rig, "sent");
    is_u64(p.stats.files_total, 300, "so many files");
    is_u64(p.stats.files_sent, 300, "all sent");
    is_u64(p.stats.dirs, 8, "and directories");
    is_u64(p.stats.links, 2, "and links");
    is_u64(p.n_what[LH_TREE_SENT], 300, "each is told of");
    is_u64(p.n_what[LH_TREE_MADE] + p.n_what[LH_TREE_KEPT], 10, "so is what was made");
    is_u64(p.stats.send.bytes_durable, p.stats.send.bytes_total, "all bytes are durable");
    ok(lstat(rig_target(&rig, "copy/d2/link"), &st) == 0 && S_ISLNK(st.st_mode), "a link is one");

    tree_send(&rig, &again, r.port);
    is_i64(again.status, 0, "and again: %s", again.text);
    is_u64(again.stats.files_kept, 300, "all is there");
    is_u64(again.stats.files_sent, 0, "nothing is sent");
    is_u64(again.stats.send.bytes_sent, 0, "not a byte");
    tree_is_there(&rig, "again");
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
    tree_grow(&rig, 100);
    rig_serve(&rig, &r, 0);
    tree_send(&rig, &p, r.port);
    rig_make(&rig, tree_file(3), 5000, 99);
    rig_make(&rig, tree_file(5), BLOCK, 98);
    rig_make(&rig, "t/new", 10, 97);
    unlink(rig_source(&rig, "t/dangling"));
    symlink("elsewhere", rig_source(&rig, "t/dangling"));
    tree_send(&rig, &again, r.port);
    is_i64(again.status, 0, "sent again: %s", again.text);
    is_u64(again.stats.files_sent, 3, "what changed and what is new");
    is_u64(again.stats.files_kept, 98, "the rest stays");
    tree_is_there(&rig, "changed");
    rig_serve_stop(&r);
    rig_close(&rig, "changed");
}

static void test_big(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, again = {0};

    rig_open(&rig);
    tree_grow(&rig, 50);
    rig_make(&rig, "t/d1/big", 33 * MIB + 5, 1);
    rig_make(&rig, "t/d2/bigger", 40 * MIB, 2);
    rig_make(&rig, "t/third", 32 * MIB, 3);
    rig_make(&rig, "t/d3/nearly", 32 * MIB - 1, 4);
    tree_set_times(rig_source(&rig, "t/d1"), 1000000001);
    rig_serve(&rig, &r, 0);
    tree_send(&rig, &p, r.port);
    is_i64(p.status, 0, "big ones among small ones: %s %s %s", p.text, p.failed_path,
           p.failed_text);
    is_u64(p.stats.files_sent, 54, "all sent");
    is_u64(p.stats.send.bytes_durable, p.stats.send.bytes_total, "all bytes durable");
    tree_is_there(&rig, "big");
    is_u64(r.n_received, 4, "three were transfers of their own, beside the tree");
    tree_send(&rig, &again, r.port);
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
    tree_grow(&rig, 40);
    if (link(rig_source(&rig, tree_file(8)), rig_source(&rig, "t/other")) != 0 ||
        link(rig_source(&rig, tree_file(8)), rig_source(&rig, "t/d1/third")) != 0)
        bail("link");
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    o.preserve |= LH_PRESERVE_HARDLINKS;
    tree_start(&rig, &p, &o);
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

/* Into the receiver's root; a directory by its name; a file beside it. */
static void test_places(void)
{
    const char *several[2];
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, q = {0};

    rig_open(&rig);
    tree_grow(&rig, 30);
    rig_make(&rig, "single", 33 * MIB, 5);
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    several[0] = rig_source(&rig, "t");
    several[1] = rig_source(&rig, "single");
    o.sources = several;
    o.n_sources = 2;
    o.send.path = "/";
    o.send.path_len = 0;
    tree_start(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "into the root: %s %s", p.text, p.failed_text);
    is_u64(tree_differences(rig_source(&rig, "t"), rig_target(&rig, "t"), true), 0, "by its name");
    ok(rig_same(&rig, "single", "single"), "with a file beside it");
    o.send.path = "a/b//";
    o.send.path_len = 5;
    tree_start(&rig, &q, &o);
    rig_until(&rig, &q.n_done, 1);
    is_i64(q.status, 0, "below directories that were not there: %s %s", q.text, q.failed_text);
    is_u64(tree_differences(rig_source(&rig, "t"), rig_target(&rig, "a/b/t"), true), 0, "the same");
    ok(rig_same(&rig, "single", "a/b/single"), "and the file");
    rig_serve_stop(&r);
    rig_close(&rig, "places");
}

/* Of a number of streams that was given, big files and small ones each have a part. */
static void bounded(uint32_t streams, uint32_t max_streams, unsigned most, const char *what)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0};
    struct relay *narrow;

    rig_open(&rig);
    tree_grow(&rig, 60);
    rig_make(&rig, "t/d1/big", 32 * MIB, 1);
    rig_make(&rig, "t/d2/bigger", 33 * MIB, 2);
    tree_set_times(rig_source(&rig, "t/d1"), 1000000001);
    tree_set_times(rig_source(&rig, "t/d2"), 1000000002);
    rig_serve(&rig, &r, 0);
    narrow = relay_start(r.port, 60 * MIB); /* it lasts, so that they are to be seen */
    tree_options(&rig, &o, relay_port(narrow));
    o.send.streams = streams;
    o.send.max_streams = max_streams;
    tree_start(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "%s: %s %s", what, p.text, p.failed_text);
    ok(p.most_streams <= most, "%s: there were %u at most", what, p.most_streams);
    tree_is_there(&rig, what);
    relay_stop(narrow);
    rig_serve_stop(&r);
    rig_close(&rig, what);
}

static void test_bounded(void)
{
    bounded(8, 0, 8, "8 streams");
    bounded(0, 3, 3, "3 streams at most");
    bounded(40, 0, 40, "40 streams");
    bounded(0, 1, 2, "one stream, and the idle one of small files");
}

/* What the log says of the streams of a tree with 8, and when. */
struct parts {
    struct planting tree;
    unsigned big_has_some; /* a big file is under way */
    unsigned sent_at_rest; /* files, when the small ones' part became one stream */
    unsigned whole_again;  /* it became all of them again, */
    unsigned whole_at;     /* after so many callbacks */
};

static void on_part(void *arg, enum lh_log_level level, const char *text)
{
    struct parts *p = arg;

    (void)level;
    if (strstr(text, "streams n=4 why=\"not 8: the rest") != NULL)
        p->big_has_some = 1;
    if (strstr(text, "its part of the tree's is 1\"") != NULL)
        p->sent_at_rest = p->tree.n_what[LH_TREE_SENT];
    if (strstr(text, "more: its part of the tree's is 8\"") != NULL) {
        p->whole_at = p->tree.n_progress;
        p->whole_again = 1;
    }
}

static void list_some(int fifo, const char *names)
{
    if (write(fifo, names, strlen(names)) != (ssize_t)strlen(names))
        bail("a list of files");
}

/* Below a limit nothing small is told of while a big file is under way: it is not over with, and
 * the big files do not get its streams. The list says so late that it is so. */
static void test_rests(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct parts p = {0};
    char name[64];
    int fifo;

    rig_open(&rig);
    tree_grow(&rig, 60);
    rig_make(&rig, "t/d1/big", 32 * MIB, 1);
    rig_make(&rig, "t/d2/bigger", 33 * MIB, 2);
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    o.files_from = rig_source(&rig, "list");
    if (mkfifo(o.files_from, 0600) != 0 || (fifo = open(o.files_from, O_RDWR | O_CLOEXEC)) < 0)
        bail("a FIFO");
    o.send.streams = 8;
    o.send.limit_bps = 200000000;
    o.send.log = on_part;
    o.send.log_arg = &p;
    o.send.log_level = LH_LOG_INFO;
    list_some(fifo, "d1/big\nd2/bigger\n");
    tree_start(&rig, &p.tree, &o);
    rig_until(&rig, &p.big_has_some, 1);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "%s\n", tree_file(i) + strlen("t/"));
        list_some(fifo, name);
    }
    close(fifo);
    rig_until(&rig, &p.tree.n_done, 1);
    is_i64(p.tree.status, 0, "small files behind a big one: %s %s", p.tree.text,
           p.tree.failed_text);
    is_u64(p.tree.n_what[LH_TREE_SENT], 62, "all are sent");
    ok(p.sent_at_rest >= 60, "the lane had its streams until the small ones were: %u",
       p.sent_at_rest);
    rig_serve_stop(&r);
    rig_close(&rig, "rests");
}

/* Between two big files the small ones do not begin streams that they would give up at once. */
static void test_part_is_kept(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct parts p = {0};
    unsigned sent_at;
    int fifo;

    rig_open(&rig);
    tree_add_dir(&rig, "t");
    rig_make(&rig, "t/big", 32 * MIB, 1);
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    o.files_from = rig_source(&rig, "list");
    if (mkfifo(o.files_from, 0600) != 0 || (fifo = open(o.files_from, O_RDWR | O_CLOEXEC)) < 0)
        bail("a FIFO");
    o.send.streams = 8;
    o.send.progress_ms = 20;
    o.send.log = on_part;
    o.send.log_arg = &p;
    o.send.log_level = LH_LOG_INFO;
    list_some(fifo, "big\n");
    tree_start(&rig, &p.tree, &o);
    rig_until(&rig, &r.n_received, 1);
    sent_at = p.tree.n_progress;
    rig_until(&rig, &p.whole_again, 1);
    ok(p.whole_at >= sent_at + 2, "the lane has all streams again, and not at once: %u, %u",
       sent_at, p.whole_at);
    close(fifo);
    rig_until(&rig, &p.tree.n_done, 1);
    is_i64(p.tree.status, 0, "and it ends well: %s %s", p.tree.text, p.tree.failed_text);
    rig_serve_stop(&r);
    rig_close(&rig, "part");
}

/* Below a limit big files and small ones take turns. */
static void test_limited(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    tree_grow(&rig, 60);
    rig_make(&rig, "t/d1/big", 32 * MIB, 1);
    rig_make(&rig, "t/d2/bigger", 33 * MIB, 2);
    if (link(rig_source(&rig, "t/d2/bigger"), rig_source(&rig, "t/link")) != 0)
        bail("link");
    tree_set_times(rig_source(&rig, "t/d1"), 1000000001);
    tree_set_times(rig_source(&rig, "t/d2"), 1000000002);
    tree_set_times(rig_source(&rig, "t"), 800000000);
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    o.send.limit_bps = 150000000;
    o.preserve |= LH_PRESERVE_HARDLINKS;
    tree_start(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "below a limit: %s %s", p.text, p.failed_text);
    is_u64(p.stats.files_sent, 62, "all are sent");
    /* Two at once, each at the limit, would take half as long. */
    ok(p.stats.send.duration_s > 65.0 * MIB * 8 / 150e6 * 0.95, "no faster than allowed: %.2f s",
       p.stats.send.duration_s);
    tree_is_there(&rig, "limited");
    rig_serve_stop(&r);
    rig_close(&rig, "limited");
}

static void test_dry_run(void)
{
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0}, sent = {0}, again = {0};

    rig_open(&rig);
    tree_grow(&rig, 50);
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    o.dry_run = true;
    tree_start(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, 0, "a dry run: %s", p.text);
    is_u64(p.n_what[LH_TREE_SENT], 50, "tells of all files");
    ok(access(rig_target(&rig, "copy"), F_OK) != 0, "and does nothing");
    tree_send(&rig, &sent, r.port);
    rig_make(&rig, tree_file(1), 77, 5);
    tree_start(&rig, &again, &o);
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
    tree_options(rig, &o, port);
    o.rules = rules;
    o.n_rules = 1;
    o.remove = true;
    o.max_removed = max;
    o.dry_run = dry;
    if (tree_start(rig, p, &o) != 0)
        bail("a tree does not start");
    rig_until(rig, &p->n_done, 1);
}

static void test_remove(void)
{
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    tree_grow(&rig, 30);
    rig_serve(&rig, &r, 0);
    tree_send(&rig, &p, r.port);
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
    tree_set_times(rig_target(&rig, "copy/d2"), 1000000002);
    tree_is_there(&rig, "remove");
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
    tree_add_dir(&rig, "t");
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
    const char *absent;
    struct rig rig;
    struct planting p = {0}, none = {0};

    rig_open(&rig);
    tree_grow(&rig, 3);
    tree_options(&rig, &o, 1);
    o.n_sources = 0;
    is_i64(tree_start(&rig, &p, &o), -LH_E_INVAL, "no source");
    tree_options(&rig, &o, 1);
    o.send.block_bytes = 12345;
    is_i64(tree_start(&rig, &p, &o), -LH_E_INVAL, "an impossible grid");
    tree_options(&rig, &o, 1);
    o.existing = 77;
    is_i64(tree_start(&rig, &p, &o), -LH_E_INVAL, "no such policy");
    tree_send(&rig, &p, 1);
    is_i64(p.status, -LH_E_CONNECT, "nobody there: %s", p.text);
    is_u64(p.n_start, 0, "it did not start");
    tree_options(&rig, &o, 1);
    absent = rig_source(&rig, "absent");
    o.sources = &absent;
    tree_start(&rig, &none, &o);
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
    tree_grow(&rig, 200);
    rig_serve(&rig, &r, 0);
    lh_engine_options_init(&eopts);
    if (lh_engine_start(&rig.loop, &eopts, &engine) != 0)
        bail("no engine");
    tree_options(&rig, &o, r.port);
    o.send.engine = engine;
    tree_start(&rig, &p, &o);
    o.send.path = "second";
    o.send.path_len = 6;
    tree_start(&rig, &q, &o);
    rig_until(&rig, &p.n_done, 1);
    rig_until(&rig, &q.n_done, 1);
    is_i64(p.status, 0, "one: %s", p.text);
    is_i64(q.status, 0, "and the other: %s", q.text);
    tree_is_there(&rig, "shared");
    is_u64(tree_differences(rig_source(&rig, "t"), rig_target(&rig, "second"), true), 0, "twice");
    lh_engine_close(engine, NULL, NULL);
    rig_serve_stop(&r);
    rig_close(&rig, "shared");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"refusals", test_refusals}, {"whole", test_whole},          {"changed", test_changed},
        {"big", test_big},           {"links", test_hard_links},     {"dry", test_dry_run},
        {"remove", test_remove},     {"empty", test_remove_nothing}, {"places", test_places},
        {"limited", test_limited},   {"shared", test_shared},        {"bounded", test_bounded},
        {"rests", test_rests},       {"part", test_part_is_kept}};

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (argc < 2 || strcmp(argv[1], tests[i].name) == 0)
            tests[i].run();
    return done_testing();
}
