/* What a worker of a queue asks of the engine: claims that fence, a done record that stays until
 * the queue has recorded the end, where in its file a transfer stands. */
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1024 * 1024ull)

/* ---- the done record ---- */

static void send_held(struct rig *rig, struct sending *s, uint16_t port, const char *name)
{
    struct lh_send_options opts;

    rig_send_options(&opts, rig_source(rig, name), port, name);
    opts.hold_confirm = true;
    is_i64(rig_send_with(rig, s, &opts), 0, "%s: a send that waits to be confirmed", name);
}

/* Sent, and held for longer than any message takes. */
static void send_and_wait(struct rig *rig, struct sending *s, uint16_t port, const char *name)
{
    send_held(rig, s, port, name);
    rig_until(rig, &s->n_delivered, 1);
    rig_for(rig, 100);
    is_u64(s->n_done, 0, "%s: delivered, and not done until it is told", name);
}

/* Whether the receiver has kept its record: the same send again is answered from it. */
static void same_again(struct rig *rig, struct receiving *r, const char *name, bool kept)
{
    unsigned n_before = r->n_received;
    struct sending s = {0};

    rig_send(rig, &s, r->port, name);
    rig_until(rig, &s.n_done, 1);
    is_i64(s.status, 0, "%s: the same send again ends well: %s", name, s.text);
    if (kept) {
        is_u64(r->n_received, n_before, "%s: the record was kept: it is not received again", name);
        if (s.stats.bytes_total > BLOCK) /* else its contents ride with the offer */
            is_u64(s.stats.bytes_sent, 0, "%s: and nothing is sent", name);
    } else {
        is_u64(r->n_received, n_before + 1, "%s: the record was forgotten: it is received anew",
               name);
    }
}

static void keep(struct sending *s)
{
    lh_send_confirm(s->send, false);
}

static void forget(struct sending *s)
{
    lh_send_confirm(s->send, true);
    lh_send_confirm(s->send, false); /* does nothing */
}

static void test_hold(void)
{
    static const struct {
        const char *name;
        uint64_t size;
    } files[] = {{"small", 1000}, {"big", 3 * MIB + 17}};
    struct receiving r;
    struct rig rig;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    for (int i = 0; i < 2; i++) {
        const char *name = files[i].name;
        struct sending s = {0};

        rig_make(&rig, name, files[i].size, (uint64_t)i);
        send_and_wait(&rig, &s, r.port, name);
        lh_send_confirm(s.send, true);
        is_u64(s.n_done, 0, "%s: done does not fire from inside the call", name);
        rig_until(&rig, &s.n_done, 1);
        is_i64(s.status, 0, "%s: done", name);
        same_again(&rig, &r, name, false);

        send_and_wait(&rig, &s, r.port, name);
        lh_send_confirm(s.send, false);
        rig_until(&rig, &s.n_done, 1);
        is_i64(s.status, 0, "%s: done, and the receiver is to remember", name);
        same_again(&rig, &r, name, true);

        send_and_wait(&rig, &s, r.port, name);
        lh_send_cancel(s.send);
        rig_until(&rig, &s.n_done, 1);
        is_i64(s.status, 0, "%s: too late to cancel", name);
        same_again(&rig, &r, name, true);

        send_held(&rig, &s, r.port, name);
        s.when_there = forget;
        rig_until(&rig, &s.n_done, 1);
        same_again(&rig, &r, name, false);
        send_held(&rig, &s, r.port, name);
        s.when_there = keep;
        rig_until(&rig, &s.n_done, 1);
        is_i64(s.status, 0, "%s: confirmed from inside delivered", name);
        same_again(&rig, &r, name, true);
    }
    rig_serve_stop(&r);
    rig_close(&rig, "hold");
}

/* One byte of it becomes another; its size and mtime stay. */
static void rewrite(struct rig *rig, const char *name, off_t at)
{
    const char *path = rig_source(rig, name);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
    int fd = open(path, O_RDWR);
    struct stat st;
    uint8_t byte = 0;

    fstat(fd, &st);
    times[1] = st.st_mtim;
    ok(pread(fd, &byte, 1, at) == 1, "a byte of %s is read", name);
    byte ^= 1;
    ok(pwrite(fd, &byte, 1, at) == 1 && futimens(fd, times) == 0, "and changed");
    close(fd);
}

/* The record is of a file whose ctime was another: its contents are compared, in several jobs. */
static void test_doubtful_record(void)
{
    const uint64_t size = 40 * MIB + 5; /* 641 blocks */
    struct receiving r;
    struct sending s = {0};
    struct rig rig;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    rig_make(&rig, "f", size, 9);
    send_held(&rig, &s, r.port, "f");
    s.when_there = keep;
    rig_until(&rig, &s.n_done, 1);
    chmod(rig_source(&rig, "f"), 0640);
    send_held(&rig, &s, r.port, "f");
    s.when_there = keep;
    rig_until(&rig, &s.n_done, 1);
    is_i64(s.status, 0, "another ctime, the same contents: %s", s.text);
    is_u64(s.stats.bytes_sent, 0, "nothing is sent");
    is_u64(r.n_received, 1, "nor received");
    rewrite(&rig, "f", (off_t)size - 1);
    rig_send(&rig, &s, r.port, "f");
    rig_until(&rig, &s.n_done, 1);
    ok(s.status == 0 && s.stats.restarted, "the last byte is another: it is sent anew: %s", s.text);
    ok(rig_same(&rig, "f", "f"), "identical");
    rig_serve_stop(&r);
    rig_close(&rig, "a doubtful record");
}

/* The receiver goes while a send waits: it is there all the same. */
static void test_hold_without_session(void)
{
    struct receiving r;
    struct sending s = {0};
    struct rig rig;
    uint16_t port;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    port = r.port;
    rig_make(&rig, "f", 3 * MIB, 4);
    send_and_wait(&rig, &s, port, "f");
    rig_serve_stop(&r);
    rig_for(&rig, 100);
    is_u64(s.n_done, 0, "the receiver is gone: it still waits to be told");
    is_i64(rig_serve(&rig, &r, port), 0, "another receiver on that port");
    lh_send_confirm(s.send, true);
    rig_until(&rig, &s.n_done, 1);
    is_i64(s.status, 0, "done, though nobody heard of it: %s", s.text);
    is_u64(s.stats.reconnects, 0, "and nothing was dialled for that");
    same_again(&rig, &r, "f", true);
    rig_serve_stop(&r);
    rig_close(&rig, "hold without a session");
}

/* ---- claims ---- */

static void send_claim(struct rig *rig, struct sending *s, uint16_t port, uint8_t queue,
                       uint64_t claim)
{
    struct lh_send_options opts;

    rig_send_options(&opts, rig_source(rig, "f"), port, "f");
    memset(opts.incarnation, queue, sizeof(opts.incarnation));
    opts.claim = claim;
    is_i64(rig_send_with(rig, s, &opts), 0, "claim %d of queue %d starts", (int)claim, queue);
}

static void is_fenced(struct rig *rig, struct sending *s, const char *what)
{
    rig_until(rig, &s->n_done, 1);
    is_i64(s->status, -LH_E_FENCED, "%s: %s", what, s->text);
}

static void until_some_is_durable(struct rig *rig, struct sending *s)
{
    do
        rig_until(rig, &s->n_progress, s->n_progress + 1);
    while (s->stats.bytes_durable == 0 && s->n_done == 0);
}

static void test_claims(void)
{
    struct sending first = {0}, second = {0}, late = {0}, other = {0};
    struct receiving r;
    struct relay *line, *slow;
    struct rig rig;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    rig_make(&rig, "f", 24 * MIB, 5);
    line = relay_start(r.port, 8 * MIB);
    slow = relay_start(r.port, MIB); /* lasts until all others have been answered */
    send_claim(&rig, &first, relay_port(line), 7, 5);
    until_some_is_durable(&rig, &first);
    relay_set_pace(line, MIB); /* it does, too */
    send_claim(&rig, &second, relay_port(slow), 7, 6);
    while (second.n_start == 0 && second.n_done == 0)
        rig_for(&rig, 10);
    is_fenced(&rig, &first, "the older claim is fenced");
    ok(second.stats.bytes_skipped > 0, "the newer one takes over at once, from what is durable");
    send_claim(&rig, &late, r.port, 7, 5);
    is_fenced(&rig, &late, "an older claim cannot come back");
    send_claim(&rig, &late, r.port, 7, 6);
    is_fenced(&rig, &late, "nor can another worker with the same claim");
    send_claim(&rig, &other, r.port, 8, 1);
    rig_until(&rig, &other.n_done, 1);
    is_i64(other.status, -LH_E_BUSY, "a claim of another queue waits its turn: %s", other.text);
    relay_set_pace(slow, 0);
    rig_until(&rig, &second.n_done, 1);
    is_i64(second.status, 0, "the newer one ends well: %s", second.text);
    ok(rig_same(&rig, "f", "f"), "identical");
    relay_stop(line);
    relay_stop(slow);
    rig_serve_stop(&r);
    rig_close(&rig, "claims");
}

/* The claim outlives the receiver: it is in the journal. */
static void test_claims_on_disk(void)
{
    struct sending s = {0};
    struct receiving r;
    struct relay *line;
    struct rig rig;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    rig_make(&rig, "f", 12 * MIB, 6);
    line = relay_start(r.port, 8 * MIB);
    send_claim(&rig, &s, relay_port(line), 7, 6);
    until_some_is_durable(&rig, &s);
    lh_send_cancel(s.send);
    rig_until(&rig, &s.n_done, 1);
    relay_stop(line);
    rig_serve_stop(&r);
    rig_serve(&rig, &r, 0);
    send_claim(&rig, &s, r.port, 7, 5);
    is_fenced(&rig, &s, "another receiver still fences the older claim");
    send_claim(&rig, &s, r.port, 7, 7);
    rig_until(&rig, &s.n_done, 1);
    is_i64(s.status, 0, "and takes the newer: %s", s.text);
    ok(rig_same(&rig, "f", "f"), "identical");
    rig_serve_stop(&r);
    rig_close(&rig, "claims on disk");
}

/* ---- ranges; their form is checked by the rig, at each progress of each test ---- */

static void test_ranges(void)
{
    const uint64_t size = 12 * MIB + 1234;
    struct lh_range v[2] = {{0}};
    struct sending s = {0};
    struct receiving r;
    struct relay *line;
    struct rig rig;
    uint16_t port;
    size_t n;

    rig_open(&rig);
    rig_serve(&rig, &r, 0);
    port = r.port;
    rig_make(&rig, "f", size, 7);
    line = relay_start(port, 8 * MIB);
    rig_send(&rig, &s, relay_port(line), "f");
    is_u64(lh_send_ranges(s.send, LH_RANGES_DURABLE, v, 2), 0, "nothing is durable at the start");
    until_some_is_durable(&rig, &s);
    ok(lh_send_ranges(s.send, LH_RANGES_IN_FLIGHT, NULL, 0) > 0, "some is in flight");
    n = lh_send_ranges(s.send, LH_RANGES_DURABLE, v, 1);
    ok(n > 0 && v[0].length > 0 && v[0].length % BLOCK == 0 && v[1].length == 0,
       "some is durable: the lowest range is told, and no more than there is room for");
    rig_serve_stop(&r);
    rig_for(&rig, 100);
    is_u64(lh_send_ranges(s.send, LH_RANGES_IN_FLIGHT, v, 2), 0, "cut off: nothing is in flight");
    ok(lh_send_ranges(s.send, LH_RANGES_DURABLE, NULL, 0) > 0, "what was durable still is");
    relay_set_pace(line, 0);
    rig_serve(&rig, &r, port);
    rig_until(&rig, &s.n_delivered, 1);
    is_u64(lh_send_ranges(s.send, LH_RANGES_DURABLE, v, 2), 1, "delivered: one range");
    ok(v[0].offset == 0 && v[0].length == size, "all of the file, its last block cut to its size");
    is_u64(lh_send_ranges(s.send, LH_RANGES_IN_FLIGHT, v, 2), 0, "nothing is in flight");
    rig_until(&rig, &s.n_done, 1);
    relay_stop(line);
    rig_serve_stop(&r);
    rig_close(&rig, "ranges");
}

int main(void)
{
    test_hold();
    test_doubtful_record();
    test_hold_without_session();
    test_claims();
    test_claims_on_disk();
    test_ranges();
    return done_testing();
}
