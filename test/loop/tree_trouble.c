/* Trees by the public interface when something goes wrong: files vanish, the line is torn, the
 * caller cancels at any moment, the first error is to end it. */
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/tree_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Files that go while others are on their way fail by name; the others arrive. */
static void test_vanishing(void)
{
    struct rig rig;
    struct receiving r;
    struct relay *line;
    struct planting p = {.unlink_at = 3, .unlink_first = 1900, .unlink_end = 2000};

    rig_open(&rig);
    tree_grow(&rig, 2000);
    rig_serve(&rig, &r, 0);
    line = relay_start(r.port, 16 * MIB);
    tree_send(&rig, &p, relay_port(line));
    is_i64(p.status, -LH_E_PARTIAL, "some have vanished: %s", p.text);
    is_u64(p.stats.failed, p.n_what[LH_TREE_FAILED], "as many as were told of");
    ok(p.stats.failed > 0 && p.stats.failed <= 100, "%u of 100", (unsigned)p.stats.failed);
    is_i64(p.failed_status, -LH_E_SOURCE, "%s: %s", p.failed_path, p.failed_text);
    is_u64(p.stats.files_sent + p.stats.failed, 2000, "all others arrived");
    relay_stop(line);
    rig_serve_stop(&r);
    is_u64(tree_differences(rig_source(&rig, "t"), rig_target(&rig, "copy"), false), 0, "whole");
    rig_close(&rig, "vanishing");
}

static void cancel_in(enum moment moment, unsigned at, const char *what)
{
    struct rig rig;
    struct receiving r;
    struct relay *line;
    struct planting p = {.cancel = moment, .cancel_at = at}, again = {0};

    rig_open(&rig);
    tree_grow(&rig, 500);
    rig_make(&rig, "t/d1/big", 33 * MIB, 1);
    rig_serve(&rig, &r, 0);
    line = relay_start(r.port, 64 * MIB);
    if (moment == NEVER && at == 0) {
        struct lh_tree_options o;

        tree_options(&rig, &o, relay_port(line));
        tree_start(&rig, &p, &o);
        lh_tree_cancel(p.tree);
        rig_until(&rig, &p.n_done, 1);
    } else {
        tree_send(&rig, &p, relay_port(line));
    }
    is_i64(p.status, -LH_E_CANCELLED, "cancelled %s", what);
    relay_stop(line);
    tree_send(&rig, &again, r.port);
    is_i64(again.status, 0, "%s: the same again ends well: %s %s", what, again.text,
           again.failed_text);
    ok(again.stats.files_kept >= p.stats.files_sent, "%s: what was settled is kept (%llu of %llu)",
       what, (unsigned long long)again.stats.files_kept, (unsigned long long)p.stats.files_sent);
    tree_is_there(&rig, what);
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
    tree_grow(&rig, 3000);
    rig_make(&rig, "t/d1/big", 33 * MIB, 1);
    tree_set_times(rig_source(&rig, "t/d1"), 1000000001);
    rig_serve(&rig, &r, 0);
    torn = relay_start(r.port, 64 * MIB);
    n_tears = 4;
    uv_timer_init(&rig.loop, &timer);
    timer.data = &p;
    uv_timer_start(&timer, on_tear, 100, 400);
    tree_send(&rig, &p, relay_port(torn));
    uv_close((uv_handle_t *)&timer, NULL);
    is_i64(p.status, 0, "a line that is torn: %s %s %s", p.text, p.failed_path, p.failed_text);
    ok(relay_n_reset(torn) > 0 && p.stats.send.reconnects > 0, "it was (%u sessions anew)",
       p.stats.send.reconnects);
    is_u64(p.stats.files_sent + p.stats.files_kept, 3001, "all are there, each counted once");
    tree_records_may_stay = true;
    tree_is_there(&rig, "torn");
    tree_records_may_stay = false;
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
    tree_grow(&rig, 50);
    rig_serve(&rig, &r, 0);
    tree_send(&rig, &p, r.port);
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
    tree_options(&rig, &o, relay_port(torn));
    o.remove = true;
    tree_start(&rig, &q, &o);
    rig_until(&rig, &q.n_done, 1);
    uv_close((uv_handle_t *)&timer, NULL);
    is_i64(q.status, 0, "torn while it removes: %s %s %s", q.text, q.failed_path, q.failed_text);
    ok(relay_n_reset(torn) > 0, "it was (%u sessions anew)", q.stats.send.reconnects);
    is_u64(q.stats.removed, 4040, "all is removed, each counted once");
    tree_is_there(&rig, "torn remove");
    relay_stop(torn);
    rig_serve_stop(&r);
    rig_close(&rig, "torn remove");
}

static void test_stop_on_error(void)
{
    const char *several[2];
    struct lh_tree_options o;
    struct rig rig;
    struct receiving r;
    struct planting p = {0};

    rig_open(&rig);
    tree_grow(&rig, 10);
    rig_serve(&rig, &r, 0);
    tree_options(&rig, &o, r.port);
    several[0] = rig_source(&rig, "absent");
    several[1] = rig_source(&rig, "t");
    o.sources = several;
    o.n_sources = 2;
    o.stop_on_error = true;
    tree_start(&rig, &p, &o);
    rig_until(&rig, &p.n_done, 1);
    is_i64(p.status, -LH_E_PARTIAL, "the first error ends it: %s", p.text);
    is_u64(p.stats.failed, 1, "one has failed: %s", p.failed_path);
    is_u64(p.stats.files_sent, 0, "nothing was sent");
    rig_serve_stop(&r);
    rig_close(&rig, "stop on error");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {{"vanishing", test_vanishing},
                 {"cancel", test_cancel},
                 {"torn", test_torn},
                 {"torn-remove", test_torn_remove},
                 {"stop", test_stop_on_error}};

    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        if (argc < 2 || strcmp(argv[1], tests[i].name) == 0)
            tests[i].run();
    return done_testing();
}
