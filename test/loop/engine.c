/* Sends that share an engine: one session for many that follow one another, several for those at
 * the same time, and what becomes of a session that nobody uses. Sessions are counted as
 * connections that a relay takes: a small file needs no stream. */
#include "test/lib/rng.h"
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/rig.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024 * 1024ull)
#define N 8

struct fleet {
    struct rig rig;
    struct receiving r;
    struct relay *line;
    struct lh_engine *engine;
    unsigned n_closed;
};

static void on_closed(void *arg)
{
    struct fleet *f = arg;

    f->n_closed++;
}

static void open_fleet(struct fleet *f, const struct lh_engine_options *opts)
{
    struct lh_engine_options defaults;

    memset(f, 0, sizeof(*f));
    lh_engine_options_init(&defaults);
    rig_open(&f->rig);
    rig_serve(&f->rig, &f->r, 0);
    f->line = relay_start(f->r.port, 0);
    is_i64(lh_engine_start(&f->rig.loop, opts != NULL ? opts : &defaults, &f->engine), 0,
           "an engine starts");
}

static void close_fleet(struct fleet *f, const char *what)
{
    lh_engine_close(f->engine, on_closed, f);
    is_u64(f->n_closed, 0, "%s: closed does not fire from inside close", what);
    rig_until(&f->rig, &f->n_closed, 1);
    rig_serve_stop(&f->r);
    relay_stop(f->line);
    rig_close(&f->rig, what);
}

static int begin_with(struct fleet *f, struct sending *s, struct lh_send_options *opts)
{
    opts->engine = f->engine;
    return rig_send_with(&f->rig, s, opts);
}

static int begin(struct fleet *f, struct sending *s, const char *name)
{
    struct lh_send_options opts;

    rig_send_options(&opts, rig_source(&f->rig, name), relay_port(f->line), name);
    return begin_with(f, s, &opts);
}

/* One file of that size, sent and looked at; false when anything is wrong. */
static bool send_one(struct fleet *f, const char *name, uint64_t size)
{
    struct sending s = {0};

    rig_make(&f->rig, name, size, size);
    if (begin(f, &s, name) != 0)
        return false;
    rig_until(&f->rig, &s.n_done, 1);
    if (s.status != 0)
        diag("%s: %s", name, s.text);
    return s.status == 0 && s.stats.reconnects == 0 && rig_same(&f->rig, name, name);
}

static void is_taken(struct fleet *f, unsigned n, const char *what)
{
    is_u64(relay_n_taken(f->line), n, "%s: %u connections so far", what, n);
}

/* ---- one after another ---- */

static void test_one_session(void)
{
    struct fleet f;
    unsigned n_good = 0;
    char name[16];

    open_fleet(&f, NULL);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        n_good += send_one(&f, name, i * 601);
    }
    is_u64(n_good, 100, "100 small files, one after another");
    is_taken(&f, 1, "in one session");
    ok(send_one(&f, "big", 5 * MIB + 3), "a big one in the same session");
    is_taken(&f, 1 + 4, "its streams");
    ok(send_one(&f, "s0", 17), "a small one that replaces another");
    ok(send_one(&f, "big", 3 * MIB), "another big one, of the same name");
    is_taken(&f, 1 + 4 + 4, "its streams");
    is_u64(f.r.n_received, 103, "each was received once");
    close_fleet(&f, "one session");
}

/* The next begins inside done of the one before. */
static struct fleet *chain_fleet;
static struct sending chain[20];

static void start_next(struct sending *s)
{
    struct sending *next = s + 1;

    if (next == chain + 20)
        return;
    begin(chain_fleet, next, next - chain == 10 ? "g" : "f");
    next->then = start_next;
}

static void test_chain(void)
{
    struct fleet f;
    unsigned n_good = 0;

    open_fleet(&f, NULL);
    rig_make(&f.rig, "f", 4096, 1);
    rig_make(&f.rig, "g", 4 * BLOCK + 1, 2);
    chain_fleet = &f;
    memset(chain, 0, sizeof(chain));
    begin(&f, &chain[0], "f");
    chain[0].then = start_next;
    rig_until(&f.rig, &chain[19].n_done, 1);
    for (int i = 0; i < 20; i++)
        n_good += chain[i].status == 0;
    is_u64(n_good, 20, "20 sends, each begun inside done of the one before");
    is_taken(&f, 1 + 4, "in one session, with the streams of one");
    close_fleet(&f, "chain");
}

/* ---- at the same time ---- */

static unsigned send_many(struct fleet *f, uint64_t size)
{
    struct sending s[N] = {0};
    unsigned n_good = 0;
    char name[N][8];

    for (unsigned i = 0; i < N; i++) {
        snprintf(name[i], sizeof(name[i]), "m%u", i);
        rig_make(&f->rig, name[i], size + i, i);
        begin(f, &s[i], name[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        rig_until(&f->rig, &s[i].n_done, 1);
        n_good += s[i].status == 0 && rig_same(&f->rig, name[i], name[i]);
    }
    return n_good;
}

static void test_many(void)
{
    struct lh_engine_options opts;
    struct fleet f;

    open_fleet(&f, NULL);
    is_u64(send_many(&f, 1000), N, "8 at once");
    is_taken(&f, N, "a session each");
    is_u64(send_many(&f, 2000), N, "8 more at once");
    is_taken(&f, N, "the same sessions");
    is_u64(send_many(&f, 2 * MIB), N, "8 big ones at once, through the same threads");
    close_fleet(&f, "many");

    lh_engine_options_init(&opts);
    opts.max_idle = 3;
    opts.loops = 1;
    open_fleet(&f, &opts);
    is_u64(send_many(&f, 1000), N, "8 at once, 3 sessions to be kept");
    is_u64(send_many(&f, 2000), N, "8 more");
    is_taken(&f, N + N - 3, "3 were kept");
    close_fleet(&f, "many, few kept");
}

/* ---- idle sessions ---- */

static void test_kept(void)
{
    struct lh_engine_options opts;
    struct lh_serve_options serve;
    struct fleet f;

    lh_engine_options_init(&opts);
    opts.keep_ms = 100;
    open_fleet(&f, &opts);
    ok(send_one(&f, "a", 1000), "a send");
    rig_for(&f.rig, 800);
    ok(send_one(&f, "b", 1000), "another, later than a session is kept");
    is_taken(&f, 2, "in another session");
    close_fleet(&f, "kept for too long");

    open_fleet(&f, NULL);
    rig_serve_stop(&f.r);
    rig_serve_options(&f.rig, &serve);
    serve.holder_timeout_ms = 2000;
    rig_serve_with(&f.rig, &f.r, &serve);
    relay_set_target(f.line, f.r.port);
    ok(send_one(&f, "a", 1000), "a send to a receiver that does not wait for long");
    rig_for(&f.rig, 5000);
    ok(send_one(&f, "b", 1000), "another, much later");
    is_taken(&f, 1, "in the same session: heartbeats kept it");
    close_fleet(&f, "heartbeats");
}

static void test_died(void)
{
    struct sending s = {0};
    struct fleet f;
    uint16_t port;

    open_fleet(&f, NULL);
    ok(send_one(&f, "a", 1000), "a send");
    relay_reset(f.line);
    rig_for(&f.rig, 100);
    ok(send_one(&f, "b", 1000), "its session died meanwhile: another send");
    is_taken(&f, 2, "dials");

    /* Its source is open, and so the session taken, before anybody looks at the socket. */
    rig_make(&f.rig, "c", 3 * MIB, 3);
    begin(&f, &s, "c");
    usleep(50000);
    relay_reset(f.line);
    while (relay_n_reset(f.line) < 2)
        usleep(1000);
    usleep(50000);
    rig_until(&f.rig, &s.n_done, 1);
    is_i64(s.status, 0, "a session that is found dead when it is taken: %s", s.text);
    is_u64(s.stats.reconnects, 0, "was never lost");
    ok(rig_same(&f.rig, "c", "c"), "identical");

    port = f.r.port;
    rig_serve_stop(&f.r);
    is_i64(rig_serve(&f.rig, &f.r, port), 0, "the receiver is started again");
    ok(send_one(&f, "d", 1000), "the next send finds it");
    rig_serve_stop(&f.r);
    rig_make(&f.rig, "e", 1000, 3);
    begin(&f, &s, "e");
    rig_until(&f.rig, &s.n_done, 1);
    ok(s.status == -LH_E_CONNECT || s.status == -LH_E_NETWORK,
       "nobody is there any more: the send ends, as without an idle session: %s", s.text);
    rig_serve(&f.rig, &f.r, port);
    close_fleet(&f, "died");
}

/* ---- how sends end ---- */

static void test_ends(void)
{
    struct sending s = {0};
    struct lh_send_options opts;
    struct fleet f;

    open_fleet(&f, NULL);
    ok(send_one(&f, "a", 1000), "a send");
    rig_send_options(&opts, rig_source(&f.rig, "a"), relay_port(f.line), "a");
    opts.no_clobber = true;
    begin_with(&f, &s, &opts);
    rig_until(&f.rig, &s.n_done, 1);
    is_i64(s.status, -LH_E_EXISTS, "one that is refused: %s", s.text);
    ok(send_one(&f, "b", 1000), "the next is not");

    rig_send_options(&opts, rig_source(&f.rig, "b"), relay_port(f.line), "b");
    opts.hold_confirm = true;
    begin_with(&f, &s, &opts);
    rig_until(&f.rig, &s.n_delivered, 1);
    lh_send_confirm(s.send, false);
    rig_until(&f.rig, &s.n_done, 1);
    is_i64(s.status, 0, "one whose record is kept");
    is_u64(f.r.n_received, 3, "is received");
    begin_with(&f, &s, &opts);
    s.when_there = NULL;
    rig_until(&f.rig, &s.n_delivered, 1);
    is_u64(f.r.n_received, 3, "and not again");
    lh_send_confirm(s.send, true);
    rig_until(&f.rig, &s.n_done, 1);
    ok(send_one(&f, "b", 1001), "and then sent as another version");
    close_fleet(&f, "ends");
}

/* What is there stays, small or large, and the session goes on as if it had been sent. */
static void test_existing(void)
{
    static const uint64_t sizes[] = {0, 1000, 5 * MIB + 3};
    struct lh_send_options opts;
    struct fleet f;
    char name[16];

    open_fleet(&f, NULL);
    for (unsigned i = 0; i < 3; i++) {
        struct sending s = {.cancel = IN_DELIVERED};

        snprintf(name, sizeof(name), "e%u", i);
        ok(send_one(&f, name, sizes[i]), "%llu bytes", (unsigned long long)sizes[i]);
        rig_send_options(&opts, rig_source(&f.rig, name), relay_port(f.line), name);
        opts.existing = LH_EXISTING_DIFFERENT;
        begin_with(&f, &s, &opts);
        rig_until(&f.rig, &s.n_done, 1);
        ok(s.status == 0 && s.stats.kept, "the same again stays: too late to cancel: %s", s.text);
        is_u64(s.stats.bytes_skipped, sizes[i], "all of it counts as skipped");
        ok(s.stats.zero_copy_bytes == 0 && s.stats.bytes_sent <= 1000, "no more than what rides");
        opts.hold_confirm = true;
        memset(&s, 0, sizeof(s));
        begin_with(&f, &s, &opts);
        rig_until(&f.rig, &s.n_delivered, 1);
        lh_send_confirm(s.send, true);
        rig_until(&f.rig, &s.n_done, 1);
        ok(s.status == 0 && s.stats.kept, "and is confirmed later");
        is_u64(f.r.n_received, i + 1, "the receiver has told of it once");
        ok(send_one(&f, name, sizes[i] + 1), "another size is sent");
        f.r.n_received--;
    }
    close_fleet(&f, "existing");
}

/* Cancelled at any moment, in sessions that others have used and will use. */
static void test_cancel(void)
{
    struct lh_rng rng = {43};
    struct fleet f;
    bool good = true;
    unsigned n_cancelled = 0;

    open_fleet(&f, NULL);
    for (uint64_t i = 0; i < 60; i++) {
        struct sending s = {0};
        const char *name = i % 3 == 0 ? "big" : "small";

        rig_make(&f.rig, name, i % 3 == 0 ? 6 * MIB : 1 + i * 997, i);
        begin(&f, &s, name);
        rig_for(&f.rig, lh_rng_below(&rng, i % 3 == 0 ? 40 : 4));
        if (s.n_done == 0)
            lh_send_cancel(s.send);
        rig_until(&f.rig, &s.n_done, 1);
        good = good &&
               (s.status == -LH_E_CANCELLED || (s.status == 0 && rig_same(&f.rig, name, name)));
        n_cancelled += s.status != 0;
        good = good && send_one(&f, "between", 100 + i);
    }
    ok(good, "60 sends, %u of them cancelled at random, and one between each: cancelled or whole",
       n_cancelled);
    close_fleet(&f, "cancel");
}

static void test_close(void)
{
    struct sending s[2] = {0}, late = {0};
    struct fleet f;

    open_fleet(&f, NULL);
    rig_make(&f.rig, "f", 6 * MIB, 1);
    rig_make(&f.rig, "g", 1000, 1);
    relay_set_pace(f.line, 16 * MIB);
    begin(&f, &s[0], "f");
    begin(&f, &s[1], "g");
    rig_until(&f.rig, &s[0].n_start, 1);
    lh_engine_close(f.engine, on_closed, &f);
    is_i64(begin(&f, &late, "g"), -LH_E_INVAL, "no send begins with an engine that is closing");
    rig_until(&f.rig, &f.n_closed, 1);
    is_u64(s[0].n_done + s[1].n_done, 2, "closed fires when all sends have ended");
    ok(s[0].status == 0 && s[1].status == 0, "and they ended well");
    rig_serve_stop(&f.r);
    relay_stop(f.line);
    rig_close(&f.rig, "close");

    open_fleet(&f, NULL);
    close_fleet(&f, "close without a send");
}

static void test_refused(void)
{
    struct lh_engine_options opts;
    struct lh_engine *never = NULL;
    struct rig rig;

    rig_open(&rig);
    lh_engine_options_init(&opts);
    opts.loops = LH_MAX_LOOPS + 1;
    is_i64(lh_engine_start(&rig.loop, &opts, &never), -LH_E_INVAL, "too many loops are refused");
    ok(never == NULL, "and there is no engine");
    rig_close(&rig, "refused");
}

int main(void)
{
    test_one_session();
    test_chain();
    test_many();
    test_kept();
    test_died();
    test_ends();
    test_existing();
    test_cancel();
    test_close();
    test_refused();
    return done_testing();
}
