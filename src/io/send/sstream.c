/* A data connection at the sender: connect, JOIN, then block after block.
 *
 * Thread: its stream loop, but for start (main loop). What goes between the two is in
 * sstream_mail.c. Owner: the mover, in a slot of its send, until the `down` note.
 *
 * Happy path: delay -> connect -> JOIN, once the token is there -> ask for a range -> the range's
 * blocks are made ready a few ahead of the socket (ahead.h) -> writable: they go (sstream_write.c)
 * -> ask for the next range before the queue runs dry.
 * Failures: refused, reset, silent, closed by the receiver: one `down` note, the last; the mover
 * gives the stream's blocks to others. A source that cannot be read or got shorter is told as such.
 *
 * Level-triggered: WRITABLE is armed exactly while something is ready to go. */
#include "core/pace.h"
#include "io/send/sstream_impl.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLE_MS 250

/* ---- the end ---- */

static void maybe_down(struct lh_sstream *st)
{
    if (!st->closing || st->down_sent || st->n_handles > 0 || lh_ahead_hashing(st->ahead))
        return;
    st->down_sent = true;
    lh_ahead_free(st->ahead); /* with its buffers, before anybody hears that it is over */
    lh_contents_end(&st->contents);
    lh_sstream_tell(st, LH_SSTREAM_DOWN);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct lh_sstream *st = handle->data;

    st->n_handles--;
    maybe_down(st);
}

void lh_sstream_end(struct lh_sstream *st)
{
    if (st->closing)
        return;
    st->closing = true;
    if (st->connecting)
        lh_connect_cancel(&st->connect);
    if (st->fd >= 0) {
        uv_poll_stop(&st->poll);
        uv_close((uv_handle_t *)&st->poll, on_handle_closed);
        close(st->fd);
        st->fd = -1;
    }
    uv_close((uv_handle_t *)&st->timer, on_handle_closed);
}

void lh_sstream_end_errno(struct lh_sstream *st, int sys_errno)
{
    lh_err_sys(&st->err, LH_E_NETWORK, sys_errno, "stream %u", st->how.number);
    lh_sstream_end(st);
}

/* ---- what is to be sent ---- */

static void on_hashed(void *user, const struct lh_err *err)
{
    struct lh_sstream *st = user;

    if (err->status != 0 && !st->closing) {
        st->err = *err;
        lh_sstream_end(st);
    }
    if (st->closing)
        maybe_down(st);
    else
        lh_sstream_pump(st);
}

/* Of packs there are few at first: with one each all streams can begin. */
static uint64_t low_bytes(const struct lh_sstream *st)
{
    if (st->how.from->packs != NULL && st->meter.rate_Bps == 0)
        return 1;
    return lh_pace_low(st->meter.rate_Bps);
}

static void ask_for_more(struct lh_sstream *st)
{
    if (st->asked || lh_ahead_bytes(st->ahead) >= low_bytes(st) || lh_ahead_full(st->ahead))
        return;
    st->asked = true;
    lh_sstream_tell(st, LH_SSTREAM_WANTS);
}

/* ---- the socket ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

void lh_sstream_arm(struct lh_sstream *st)
{
    int want;

    if (st->fd < 0)
        return;
    want = UV_READABLE | (lh_sstream_more_to_write(st) ? UV_WRITABLE : 0);
    if (want == st->armed)
        return;
    st->armed = want;
    uv_poll_start(&st->poll, want, on_poll);
}

/* Count the time since the last turn, and see what the stream spends its time on from here. */
static void count_time(struct lh_sstream *st)
{
    struct lh_sstream_counters *c = st->how.counters;
    uint64_t now_us = lh_now_us();
    enum lh_sstream_spending was = st->spending;
    enum lh_sstream_spending now = lh_sstream_more_to_write(st)    ? LH_SSTREAM_SENDING
                                   : lh_ahead_bytes(st->ahead) > 0 ? LH_SSTREAM_STARVED
                                                                   : LH_SSTREAM_IDLE;

    if (was == LH_SSTREAM_STARVED || was == LH_SSTREAM_SENDING)
        atomic_fetch_add_explicit(was == LH_SSTREAM_STARVED ? &c->starved_us : &c->sending_us,
                                  now_us - st->spending_us, memory_order_relaxed);
    if (now != LH_SSTREAM_IDLE || was != LH_SSTREAM_IDLE)
        atomic_store_explicit(&c->idle_since_us, now == LH_SSTREAM_IDLE ? now_us : 0,
                              memory_order_relaxed);
    st->spending = now;
    st->spending_us = now_us;
}

void lh_sstream_pump(struct lh_sstream *st)
{
    lh_ahead_prepare(st->ahead, st->meter.rate_Bps);
    ask_for_more(st);
    lh_sstream_arm(st);
    count_time(st);
}

/* Nothing is due from the receiver but an ERROR before it closes, which only a log wants to know.
 */
static void read_turn(struct lh_sstream *st)
{
    uint8_t in[LH_FRAME_HEADER_SIZE + 512];
    struct lh_error_frame error;
    struct lh_frame frame;
    const char *why;
    ssize_t n = recv(st->fd, in, sizeof(in), 0);

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            lh_sstream_end_errno(st, errno);
        return;
    }
    if (n >= LH_FRAME_HEADER_SIZE && lh_frame_decode(in, &frame, &why) == 0 &&
        frame.type == LH_FRAME_ERROR && (size_t)n >= LH_FRAME_HEADER_SIZE + frame.length &&
        lh_error_decode(in + LH_FRAME_HEADER_SIZE, frame.length, &error, &why) == 0)
        lh_err_set(&st->err, LH_E_NETWORK, "stream %u: %.*s", st->how.number, (int)error.text_len,
                   error.text);
    else
        lh_err_set(&st->err, LH_E_NETWORK, "stream %u: closed by the receiver", st->how.number);
    lh_sstream_end(st);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct lh_sstream *st = poll->data;

    if (status < 0) { /* libuv hides the socket's own error */
        int sys_errno = 0;
        socklen_t len = sizeof(sys_errno);

        getsockopt(st->fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len);
        lh_sstream_end_errno(st, sys_errno != 0 ? sys_errno : ECONNRESET);
        return;
    }
    if (events & UV_WRITABLE)
        lh_sstream_write_turn(st);
    if ((events & UV_READABLE) && !st->closing)
        read_turn(st);
    if (!st->closing)
        lh_sstream_pump(st);
}

/* ---- the connection ---- */

static void sample(struct lh_sstream *st)
{
    uint64_t silent_ms;

    if (!lh_meter_sample(&st->meter, &silent_ms) || silent_ms <= LH_SILENCE_MS)
        return;
    lh_err_set(&st->err, LH_E_NETWORK, "stream %u: nothing acknowledged for %u s", st->how.number,
               LH_SILENCE_MS / 1000);
    lh_sstream_end(st);
}

static void on_sample(uv_timer_t *timer)
{
    struct lh_sstream *st = timer->data;

    sample(st);
    if (!st->closing)
        lh_sstream_pump(st);
}

static void on_connect(struct lh_connect *connect, int fd, int sys_errno)
{
    struct lh_sstream *st = LH_CONTAINER_OF(connect, struct lh_sstream, connect);

    st->connecting = false;
    st->n_handles--;
    if (st->closing) {
        maybe_down(st);
        return;
    }
    if (fd < 0) {
        lh_sstream_end_errno(st, sys_errno);
        return;
    }
    if (uv_poll_init(&st->how.loop->uv, &st->poll, fd) != 0) {
        close(fd);
        lh_sstream_end_errno(st, ENOMEM);
        return;
    }
    st->fd = fd;
    st->poll.data = st;
    st->n_handles++;
    lh_sstream_say_join(st);
    lh_meter_start(&st->meter, fd, st->opts.lowat_bytes, &st->how.counters->meter);
    if (strncmp(st->connect.given.congestion, "bbr", 3) == 0)
        lh_meter_anew(&st->meter, st->how.send->congestion, lh_pace_apart(st->how.number));
    uv_timer_start(&st->timer, on_sample, SAMPLE_MS, SAMPLE_MS);
    lh_sstream_tell(st, LH_SSTREAM_UP);
    lh_sstream_pump(st);
}

static void on_delayed(uv_timer_t *timer)
{
    struct lh_sstream *st = timer->data;

    st->opts = (struct lh_stream_options){.congestion = st->how.send->congestion,
                                          .sndbuf_bytes = st->how.sndbuf_bytes,
                                          .lowat_bytes = lh_pace_lowat(0, lh_random32())};
    st->connect.addr = st->how.addr;
    st->connect.opts = &st->opts;
    st->connect.again_ms = st->how.again_ms;
    st->connect.limit_ms = LH_CONNECT_MS;
    st->connect.done = on_connect;
    st->connecting = true;
    st->n_handles++;
    lh_connect_start(&st->connect, &st->how.loop->uv);
}

/* ---- the beginning ---- */

static void on_start(struct lh_msg *msg)
{
    struct lh_sstream *st = LH_CONTAINER_OF(msg, struct lh_sstream, start_msg);

    uv_update_time(&st->how.loop->uv);
    uv_timer_init(&st->how.loop->uv, &st->timer);
    st->timer.data = st;
    st->n_handles = 1;
    uv_timer_start(&st->timer, on_delayed, st->how.delay_ms, 0);
}

static struct lh_ahead *new_ahead(struct lh_sstream *st)
{
    struct lh_send *s = st->how.send;
    struct lh_ahead_how how = {.blocks = &st->how.from->blocks,
                               .prep = &s->engine->prep,
                               .hashing_us = &s->engine->hashing_us,
                               .reply = &st->how.loop->mbox,
                               .done = on_hashed,
                               .user = st};

    return lh_ahead_new(&how);
}

struct lh_sstream *lh_sstream_start(const struct lh_sstream_start *how)
{
    struct lh_sstream *st = calloc(1, sizeof(*st));

    if (st == NULL)
        return NULL;
    st->how = *how;
    st->fd = -1;
    st->contents.from = how->from;
    st->ahead = new_ahead(st);
    if (st->ahead == NULL) {
        free(st);
        return NULL;
    }
    lh_mbox_post(&how->loop->mbox, &st->start_msg, on_start);
    return st;
}
