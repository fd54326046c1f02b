/* The public interface, both sides on one loop of this program: what is sent arrives, every
 * callback keeps the contract (rig.c checks that for each), everything can be stopped at any
 * moment, and nothing is left behind. */
#include "test/lib/rng.h"
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024ull * 1024)

static void test_sizes(void)
{
    static const uint64_t sizes[] = {0,         1,         BLOCK - 1,        BLOCK,
                                     BLOCK + 1, 2 * BLOCK, 5 * MIB + 12345u, 24 * MIB};
    struct rig rig;
    struct receiving r;
    struct sending s = {0};
    char name[32], digest[64], text[512];

    rig_open(&rig);
    is_i64(rig_serve(&rig, &r, 0), 0, "a receiver starts");
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(name, sizeof(name), "f%u", i);
        rig_make(&rig, name, sizes[i], i);
        is_i64(rig_send(&rig, &s, r.port, name), 0, "%s: a send starts", name);
        is_u64(s.n_start + s.n_progress + s.n_delivered + s.n_done, 0, "%s: nothing fires", name);
        rig_until(&rig, &s.n_done, 1);
        is_i64(s.status, 0, "%s: sent %llu bytes: %s", name, (unsigned long long)sizes[i], s.text);
        ok(rig_same(&rig, name, name), "%s: identical", name);
        is_u64(s.stats.bytes_durable, sizes[i], "%s: all of it durable", name);
        is_u64(s.stats.bytes_sent, sizes[i], "%s: every byte sent once", name);
        is_u64(r.n_received, i + 1, "%s: the receiver has told of it", name);
        lh_digest_file(rig_target(&rig, name), BLOCK, digest, text, sizeof(text));
        is_str(s.stats.digest, digest, "%s: the digest is that of the file", name);
    }
    rig_serve_stop(&r);
    rig_close(&rig, "sizes");
}

static void test_serve_close(void)
{
    struct rig rig;
    struct receiving r;
    struct sending s = {0};
    struct relay *line;

    rig_open(&rig);
    for (int i = 0; i < 5; i++) {
        rig_serve(&rig, &r, 0);
        lh_serve_close(r.serve);
        is_u64(r.n_closed, 0, "closed does not fire from inside the call");
        if (i % 2 == 1)
            lh_serve_close(r.serve);
        rig_until(&rig, &r.n_closed, 1);
    }
    rig_drain(&rig);
    is_u64(r.n_closed, 1, "closed at once, and twice: it fires once");

    rig_make(&rig, "f", 16 * MIB, 1);
    rig_serve(&rig, &r, 0);
    line = relay_start(r.port, 8 * MIB);
    rig_send(&rig, &s, relay_port(line), "f");
    rig_until(&rig, &s.n_progress, 1);
    lh_serve_close(r.serve);
    lh_serve_close(r.serve);
    rig_until(&rig, &r.n_closed, 1);
    is_u64(s.n_done, 0, "a receiver closed in the middle does not end the send");
    lh_send_cancel(s.send);
    rig_until(&rig, &s.n_done, 1);
    is_i64(s.status, -LH_E_CANCELLED, "which can be cancelled while it redials");
    ok(access(rig_target(&rig, "f"), F_OK) != 0, "nothing half-made is visible");
    relay_stop(line);
    rig_close(&rig, "serve close");
}

static struct sending chain[3];
static uint16_t chain_port;

static void start_next(struct sending *s)
{
    struct sending *next = s + 1;

    if (next == chain + 3)
        return;
    if (rig_send(s->rig, next, chain_port, "f") != 0)
        bail("a send from inside done does not start");
    next->then = start_next;
}

static void test_from_inside(void)
{
    struct rig rig;
    struct receiving r;
    struct sending s = {0};

    rig_open(&rig);
    rig_make(&rig, "f", 3 * MIB, 3);
    rig_serve(&rig, &r, 0);
    chain_port = r.port;
    rig_send(&rig, &chain[0], r.port, "f");
    chain[0].then = start_next;
    rig_until(&rig, &chain[2].n_done, 1);
    ok(chain[0].status == 0 && chain[1].status == 0 && chain[2].status == 0,
       "a send can be started from inside done of another");
    ok(rig_same(&rig, "f", "f"), "and again: identical");
    r.close_in_received = true;
    rig_make(&rig, "g", 3 * MIB, 4);
    rig_send(&rig, &s, r.port, "g");
    rig_until(&rig, &r.n_closed, 1);
    ok(rig_same(&rig, "g", "g"), "a receiver can be closed from inside received");
    if (s.n_done == 0)
        lh_send_cancel(s.send);
    rig_until(&rig, &s.n_done, 1);
    rig_close(&rig, "from inside");
}

/* What a cancelled send has left is taken up by the same call, and the contents are right. */
static void finish_it(struct rig *rig, const struct receiving *r, const char *what, bool skips)
{
    struct sending s = {0};

    rig_send(rig, &s, r->port, "f");
    rig_until(rig, &s.n_done, 1);
    is_i64(s.status, 0, "%s: the same send again ends well: %s", what, s.text);
    ok(rig_same(rig, "f", "f"), "%s: identical", what);
    if (skips)
        ok(s.stats.bytes_skipped > 0 &&
               s.stats.bytes_sent <= s.stats.bytes_total - s.stats.bytes_skipped,
           "%s: it sends only what was missing", what);
}

static void cancel_in(struct rig *rig, struct receiving *r, enum moment moment, const char *what)
{
    struct relay *line = relay_start(r->port, 24 * MIB);
    struct sending s = {.cancel = moment};

    unlink(rig_target(rig, "f"));
    rig_make(rig, "f", 12 * MIB, (uint64_t)moment);
    rig_send(rig, &s, relay_port(line), "f");
    rig_until(rig, &s.n_done, 1);
    if (moment == IN_DELIVERED) {
        is_i64(s.status, 0, "%s: too late, it is delivered", what);
    } else {
        is_i64(s.status, -LH_E_CANCELLED, "%s: ends as cancelled: %s", what, s.text);
    }
    relay_stop(line);
    finish_it(rig, r, what, moment == AT_DURABLE);
}

/* A small file rides with its offer: another way through the same states. */
static void cancel_small(struct rig *rig, const struct receiving *r, struct lh_rng *rng)
{
    struct sending s = {0};
    unsigned n_cancelled = 0;
    bool good = true;

    for (uint64_t i = 0; i < 40; i++) {
        rig_make(rig, "s", 1 + i * 997, i);
        rig_send(rig, &s, r->port, "s");
        rig_for(rig, lh_rng_below(rng, 25));
        if (s.n_done == 0)
            lh_send_cancel(s.send);
        rig_until(rig, &s.n_done, 1);
        good = good && (s.status == -LH_E_CANCELLED || (s.status == 0 && rig_same(rig, "s", "s")));
        n_cancelled += s.status != 0;
    }
    ok(good, "40 small sends, %u of them cancelled at random: each cancelled or whole",
       n_cancelled);
}

static void test_cancel(void)
{
    struct lh_rng rng = {42};
    struct rig rig;
    struct receiving r;
    struct sending s = {0};

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    rig_make(&rig, "f", 12 * MIB, 7);
    for (int twice = 0; twice < 2; twice++) {
        rig_send(&rig, &s, r.port, "f");
        lh_send_cancel(s.send);
        is_u64(s.n_done, 0, "done does not fire from inside cancel");
        if (twice)
            lh_send_cancel(s.send);
        rig_until(&rig, &s.n_done, 1);
        is_i64(s.status, -LH_E_CANCELLED, "cancelled at once%s", twice ? ", twice" : "");
    }
    cancel_in(&rig, &r, IN_START, "cancel inside start");
    cancel_in(&rig, &r, IN_PROGRESS, "cancel inside progress");
    cancel_in(&rig, &r, AT_DURABLE, "cancel with something durable");
    cancel_in(&rig, &r, IN_DELIVERED, "cancel inside delivered");

    unlink(rig_target(&rig, "f"));
    rig_make(&rig, "f", 12 * MIB, 8);
    for (int i = 0; i < 25; i++) {
        uint64_t ms = lh_rng_below(&rng, 60);

        rig_send(&rig, &s, r.port, "f");
        rig_for(&rig, ms);
        if (s.n_done == 0)
            lh_send_cancel(s.send);
        rig_until(&rig, &s.n_done, 1);
        if (s.status == 0) { /* it was faster: the next one has a new file to send */
            ok(rig_same(&rig, "f", "f"), "not cancelled within %d ms: identical", (int)ms);
            rig_make(&rig, "f", 12 * MIB, 100 + (uint64_t)i);
        } else {
            is_i64(s.status, -LH_E_CANCELLED, "cancelled after %d ms: %s", (int)ms, s.text);
        }
    }
    finish_it(&rig, &r, "after cancels at random", false);
    cancel_small(&rig, &r, &rng);
    rig_serve_stop(&r);
    rig_close(&rig, "cancel");
}

static void test_many(void)
{
    struct rig rig;
    struct receiving r;
    struct sending s[8] = {0};
    struct sending second = {0};
    struct relay *line;
    char name[8][8];
    unsigned n_good = 0;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name[i], sizeof(name[i]), "m%u", i);
        rig_make(&rig, name[i], i * 700001u, i);
    }
    for (unsigned i = 0; i < 8; i++)
        rig_send(&rig, &s[i], r.port, name[i]);
    for (unsigned i = 0; i < 8; i++)
        rig_until(&rig, &s[i].n_done, 1);
    for (unsigned i = 0; i < 8; i++)
        n_good += s[i].status == 0 && rig_same(&rig, name[i], name[i]);
    is_u64(n_good, 8, "eight at once: all arrive, identical");
    is_u64(r.n_received, 8, "the receiver has told of each");

    rig_make(&rig, "f", 12 * MIB, 9);
    line = relay_start(r.port, 16 * MIB);
    rig_send(&rig, &s[0], relay_port(line), "f");
    rig_until(&rig, &s[0].n_progress, 1);
    relay_set_pace(line, 256 * 1024); /* it lasts until the other has been answered */
    rig_send(&rig, &second, r.port, "f");
    rig_until(&rig, &second.n_done, 1);
    is_i64(second.status, -LH_E_BUSY, "a second send to one target hears busy: %s", second.text);
    relay_set_pace(line, 0);
    rig_until(&rig, &s[0].n_done, 1);
    is_i64(s[0].status, 0, "the first one goes on: %s", s[0].text);
    ok(rig_same(&rig, "f", "f"), "and its contents are identical");
    relay_stop(line);
    rig_serve_stop(&r);
    rig_close(&rig, "many");
}

/* The receiver goes and another comes on its port: the send takes it up there. */
static void test_restart(void)
{
    struct rig rig;
    struct receiving r;
    struct sending s = {0};
    struct relay *line;
    uint16_t port;

    rig_open(&rig);
    rig_make(&rig, "f", 12 * MIB, 5);
    rig_serve(&rig, &r, 0);
    port = r.port;
    line = relay_start(port, 8 * MIB);
    rig_send(&rig, &s, relay_port(line), "f");
    do
        rig_until(&rig, &s.n_progress, s.n_progress + 1);
    while (s.stats.bytes_durable == 0 && s.n_done == 0);
    rig_serve_stop(&r);
    relay_set_pace(line, 0);
    is_i64(rig_serve(&rig, &r, port), 0, "another receiver starts on the same port");
    rig_until(&rig, &s.n_done, 1);
    is_i64(s.status, 0, "the send goes on with it and ends well: %s", s.text);
    ok(s.n_start >= 2 && s.stats.reconnects >= 1, "in another session");
    ok(rig_same(&rig, "f", "f"), "identical");
    relay_stop(line);
    rig_serve_stop(&r);
    rig_close(&rig, "restart");
}

/* ---- two loops in two threads ---- */

struct host {
    struct rig *rig; /* paths only */
    struct rig own;  /* its loop and its violations */
    struct receiving r;
    uv_async_t stop;
    uv_sem_t ready;
};

static void on_stop(uv_async_t *async)
{
    struct host *h = async->data;

    lh_serve_close(h->r.serve);
    uv_close((uv_handle_t *)async, NULL);
}

static void host_main(void *arg)
{
    struct host *h = arg;

    uv_loop_init(&h->own.loop);
    uv_async_init(&h->own.loop, &h->stop, on_stop);
    h->stop.data = h;
    ok(rig_serve(&h->own, &h->r, 0) == 0, "two threads: a receiver starts");
    uv_sem_post(&h->ready);
    rig_drain(&h->own);
    is_i64(uv_loop_close(&h->own.loop), 0, "two threads: its loop is empty at the end");
    is_u64(h->r.n_closed, 1, "two threads: closed fired");
}

static void test_two_threads(void)
{
    struct rig rig;
    struct host h = {0};
    struct sending s[4] = {0};
    uv_thread_t thread;
    char name[8];

    rig_open(&rig);
    h.rig = &rig;
    memcpy(h.own.root, rig.root, sizeof(rig.root));
    uv_sem_init(&h.ready, 0);
    uv_thread_create(&thread, host_main, &h);
    uv_sem_wait(&h.ready);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        rig_make(&rig, name, (i + 1) * 3 * MIB + i, i);
        rig_send(&rig, &s[i], h.r.port, name);
    }
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "t%u", i);
        rig_until(&rig, &s[i].n_done, 1);
        is_i64(s[i].status, 0, "two threads: sent: %s", s[i].text);
        ok(rig_same(&rig, name, name), "two threads: identical");
    }
    uv_async_send(&h.stop);
    uv_thread_join(&thread);
    uv_sem_destroy(&h.ready);
    is_u64(h.own.n_violations, 0, "two threads: the receiver's callbacks kept their contract");
    rig_close(&rig, "two threads");
}

int main(void)
{
    test_sizes();
    test_serve_close();
    test_from_inside();
    test_cancel();
    test_many();
    test_restart();
    test_two_threads();
    return done_testing();
}
