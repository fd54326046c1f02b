/* A data connection at the sender: connect, JOIN, then block after block.
 *
 * Thread: its stream loop, but for start, join, range, stop and the notes' ends (main loop).
 *
 * Happy path: delay -> connect -> JOIN, once the token is there -> ask for a range -> the range's
 * blocks are made ready a few ahead of the socket (ahead.h) -> writable: header with MSG_MORE, then
 * contents (contents.h), at most a quantum a turn -> ask for the next range before the queue runs
 * dry.
 * Failures: refused, reset, silent, closed by the receiver: one `down` note, the last; the mover
 * gives the stream's blocks to others. A source that cannot be read or got shorter is told as such.
 *
 * Level-triggered: WRITABLE is armed exactly while something is ready to go. */
#include "core/pace.h"
#include "io/sender.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_BYTES (1024u * 1024) /* handed to one socket before the others of the loop */
#define SAMPLE_MS 250

enum spending { NOT_YET, IDLE, STARVED, SENDING };

struct lh_sstream {
    struct lh_sstream_start how;
    struct lh_msg start_msg;
    struct lh_msg join_msg;
    struct lh_msg stop_msg;
    struct lh_msg free_msg;
    uv_timer_t timer;
    struct lh_stream_options opts;
    struct lh_connect connect;
    bool connecting;
    uv_poll_t poll;
    int fd; /* -1: not connected */
    int armed;
    bool may_join; /* the token is there */
    bool closing;
    bool down_sent;
    unsigned n_handles;
    uint8_t token[LH_TOKEN_SIZE];
    uint32_t transfer;
    uint64_t epoch;
    struct lh_err err;
    bool asked;
    struct lh_ahead *ahead;                    /* what is to be sent */
    uint8_t header[LH_FRAME_HEADER_SIZE + 64]; /* JOIN's payload too */
    size_t header_len;
    size_t header_sent;
    bool in_block;         /* contents of the block at hand are to follow its header */
    bool in_zeros;         /* the block at hand is a header alone */
    uint32_t block_bytes;  /* of the block at hand as the schedule counts it, */
    uint32_t block_length; /* and of its contents */
    struct lh_contents contents;
    struct lh_meter meter;
    enum spending spending;
    uint64_t spending_us; /* since when, or counted until */
    bool stop_asked;      /* the main loop's, and apart from what the stream's loop reads */
};

/* ---- notes to the main loop ---- */

enum note_kind { NOTE_UP, NOTE_WANTS, NOTE_DOWN };

struct note {
    struct lh_msg msg;
    enum note_kind kind;
    struct lh_sstream *st;
};

static void on_free(struct lh_msg *msg)
{
    struct lh_sstream *st = LH_CONTAINER_OF(msg, struct lh_sstream, free_msg);

    free(st);
}

/* Ranges, a token and a stop may still be on their way to the loop: the memory goes behind them,
 * there. */
static void on_down(struct lh_sstream *st)
{
    struct lh_send *s = st->how.send;
    unsigned number = st->how.number;
    struct lh_err err = st->err;

    lh_mbox_post(&st->how.loop->mbox, &st->free_msg, on_free);
    lh_mover_down(s, number, &err);
}

static void on_note(struct lh_msg *msg)
{
    struct note *note = LH_CONTAINER_OF(msg, struct note, msg);
    struct lh_sstream *st = note->st;
    struct lh_send *s = st->how.send;

    switch (note->kind) {
    case NOTE_UP:
        lh_mover_up(s, st->how.number, &st->connect.given);
        break;
    case NOTE_WANTS:
        lh_mover_wants(s, st->how.number);
        break;
    case NOTE_DOWN:
        on_down(st);
        break;
    }
    free(note);
}

static void tell(struct lh_sstream *st, enum note_kind kind)
{
    struct note *note = calloc(1, sizeof(*note));

    LH_INVARIANT(note != NULL);
    note->kind = kind;
    note->st = st;
    lh_mbox_post(&st->how.send->engine->mbox, &note->msg, on_note);
}

/* ---- the end ---- */

static void maybe_down(struct lh_sstream *st)
{
    if (!st->closing || st->down_sent || st->n_handles > 0 || lh_ahead_hashing(st->ahead))
        return;
    st->down_sent = true;
    lh_ahead_free(st->ahead); /* with its buffers, before anybody hears that it is over */
    lh_contents_end(&st->contents);
    tell(st, NOTE_DOWN);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct lh_sstream *st = handle->data;

    st->n_handles--;
    maybe_down(st);
}

static void end_stream(struct lh_sstream *st)
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

static void end_errno(struct lh_sstream *st, int sys_errno)
{
    lh_err_sys(&st->err, LH_E_NETWORK, sys_errno, "stream %u", st->how.number);
    end_stream(st);
}

/* ---- what is to be sent ---- */

static void pump(struct lh_sstream *st);

static void on_hashed(void *user, const struct lh_err *err)
{
    struct lh_sstream *st = user;

    if (err->status != 0 && !st->closing) {
        st->err = *err;
        end_stream(st);
    }
    if (st->closing)
        maybe_down(st);
    else
        pump(st);
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
    tell(st, NOTE_WANTS);
}

/* ---- the socket ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static bool more_to_write(const struct lh_sstream *st)
{
    return st->header_sent < st->header_len || st->in_block || lh_ahead_ready(st->ahead);
}

static void arm(struct lh_sstream *st)
{
    int want;

    if (st->fd < 0)
        return;
    want = UV_READABLE | (more_to_write(st) ? UV_WRITABLE : 0);
    if (want == st->armed)
        return;
    st->armed = want;
    uv_poll_start(&st->poll, want, on_poll);
}

static uint32_t grid_length(const struct lh_sstream *st, uint64_t block)
{
    return lh_block_length(st->how.from->size, st->how.from->blocks.block_bytes, block);
}

/* The first block that is ready, not dropped, and has something to send. False: none is. */
static bool next_block(struct lh_sstream *st, struct lh_ahead_block *b)
{
    while (lh_ahead_next(st->ahead, b)) {
        if (!b->dropped && b->length > 0)
            return true;
        if (b->buf != NULL)
            lh_pool_put(st->how.from->blocks.pool, b->buf);
        lh_meter_skip(&st->meter, LH_FRAME_HEADER_SIZE + grid_length(st, b->block));
    }
    return false;
}

static void begin_block(struct lh_sstream *st, const struct lh_ahead_block *b)
{
    struct lh_frame frame = {.type = LH_FRAME_BLOCK,
                             .flags = b->zeros ? LH_FRAME_ZEROS : 0,
                             .length = b->zeros ? 0 : b->length,
                             .transfer = st->transfer,
                             .raw_length = b->length,
                             .offset = b->block * st->how.from->blocks.block_bytes,
                             .epoch = st->epoch,
                             .hash = b->hash};

    lh_frame_encode(&frame, st->header);
    st->header_len = LH_FRAME_HEADER_SIZE;
    st->header_sent = 0;
    lh_contents_begin(&st->contents, b);
    st->block_bytes = grid_length(st, b->block);
    st->block_length = frame.length;
    st->in_block = !b->zeros;
    st->in_zeros = b->zeros;
}

/* All of the block at hand is in the socket. What is shorter than the schedule takes it for, a pack
 * or zeros, counts as left out. */
static void end_block(struct lh_sstream *st)
{
    st->in_block = st->in_zeros = false;
    if (st->block_length < st->block_bytes)
        lh_meter_skip(&st->meter, st->block_bytes - st->block_length);
}

static void count_sent(struct lh_sstream *st, size_t n)
{
    struct lh_sstream_counters *c = st->how.counters;
    bool by_copy = st->contents.sent_by_copy;

    st->meter.written_bytes += n;
    atomic_fetch_add_explicit(&c->bytes_sent, n, memory_order_relaxed);
    atomic_fetch_add_explicit(by_copy ? &c->fallback_bytes : &c->zero_copy_bytes, n,
                              memory_order_relaxed);
    if (st->contents.left > 0)
        return;
    atomic_fetch_add_explicit(by_copy ? &c->fallback_count : &c->zero_copy_count, 1,
                              memory_order_relaxed);
    end_block(st);
}

/* The header at hand, of a block or JOIN, or some of it. False: the socket is full, or the stream
 * ended. */
static bool send_header(struct lh_sstream *st)
{
    ssize_t n = send(st->fd, st->header + st->header_sent, st->header_len - st->header_sent,
                     MSG_NOSIGNAL | (st->in_block ? MSG_MORE : 0));

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            end_errno(st, errno);
        return false;
    }
    st->header_sent += (size_t)n;
    if (st->in_block || st->in_zeros)
        st->meter.written_bytes += (size_t)n;
    if (st->in_zeros && st->header_sent == st->header_len)
        end_block(st);
    return true;
}

/* Some contents of the block at hand. Bytes, 0: the socket is full, -1: the stream ended. */
static ssize_t send_contents(struct lh_sstream *st)
{
    ssize_t n = lh_contents_send(&st->contents, st->fd, st->how.number, &st->err);

    if (n > 0)
        count_sent(st, (size_t)n);
    else if (n < 0)
        end_stream(st);
    return n;
}

static void write_turn(struct lh_sstream *st)
{
    size_t turn = 0;

    while (turn < TURN_BYTES) {
        ssize_t n;

        if (st->header_sent == st->header_len && !st->in_block) {
            struct lh_ahead_block b;

            if (!next_block(st, &b))
                return;
            begin_block(st, &b);
        }
        if (st->header_sent < st->header_len) {
            if (!send_header(st))
                return;
            continue;
        }
        n = send_contents(st);
        if (n <= 0)
            return;
        turn += (size_t)n;
    }
}

/* Count the time since the last turn, and see what the stream spends its time on from here. */
static void count_time(struct lh_sstream *st)
{
    struct lh_sstream_counters *c = st->how.counters;
    uint64_t now_us = lh_now_us();
    enum spending now = more_to_write(st)               ? SENDING
                        : lh_ahead_bytes(st->ahead) > 0 ? STARVED
                                                        : IDLE;

    if (st->spending == STARVED || st->spending == SENDING)
        atomic_fetch_add_explicit(st->spending == STARVED ? &c->starved_us : &c->sending_us,
                                  now_us - st->spending_us, memory_order_relaxed);
    if (now != IDLE || st->spending != IDLE)
        atomic_store_explicit(&c->idle_since_us, now == IDLE ? now_us : 0, memory_order_relaxed);
    st->spending = now;
    st->spending_us = now_us;
}

/* Move everything one step on: hashed chunks in, new chunks out, sockets armed, more asked for. */
static void pump(struct lh_sstream *st)
{
    lh_ahead_prepare(st->ahead, st->meter.rate_Bps);
    ask_for_more(st);
    arm(st);
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
            end_errno(st, errno);
        return;
    }
    if (n >= LH_FRAME_HEADER_SIZE && lh_frame_decode(in, &frame, &why) == 0 &&
        frame.type == LH_FRAME_ERROR && (size_t)n >= LH_FRAME_HEADER_SIZE + frame.length &&
        lh_error_decode(in + LH_FRAME_HEADER_SIZE, frame.length, &error, &why) == 0)
        lh_err_set(&st->err, LH_E_NETWORK, "stream %u: %.*s", st->how.number, (int)error.text_len,
                   error.text);
    else
        lh_err_set(&st->err, LH_E_NETWORK, "stream %u: closed by the receiver", st->how.number);
    end_stream(st);
}

/* Once it is both connected and let in. */
static void say_join(struct lh_sstream *st)
{
    struct lh_join join = {.stream = (uint16_t)st->how.number, .generation = st->how.generation};
    struct lh_frame frame = {.type = LH_FRAME_JOIN, .transfer = LH_NO_TRANSFER};

    if (st->fd < 0 || !st->may_join)
        return;
    memcpy(join.token, st->token, sizeof(join.token));
    frame.length = (uint32_t)lh_join_encode(&join, st->header + LH_FRAME_HEADER_SIZE);
    lh_hash_bytes(st->header + LH_FRAME_HEADER_SIZE, frame.length, &frame.hash);
    lh_frame_encode(&frame, st->header);
    st->header_len = LH_FRAME_HEADER_SIZE + frame.length;
    st->header_sent = 0;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct lh_sstream *st = poll->data;

    if (status < 0) { /* libuv hides the socket's own error */
        int sys_errno = 0;
        socklen_t len = sizeof(sys_errno);

        getsockopt(st->fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len);
        end_errno(st, sys_errno != 0 ? sys_errno : ECONNRESET);
        return;
    }
    if (events & UV_WRITABLE)
        write_turn(st);
    if ((events & UV_READABLE) && !st->closing)
        read_turn(st);
    if (!st->closing)
        pump(st);
}

/* ---- time ---- */

static void sample(struct lh_sstream *st)
{
    uint64_t silent_ms;

    if (!lh_meter_sample(&st->meter, &silent_ms) || silent_ms <= LH_SILENCE_MS)
        return;
    lh_err_set(&st->err, LH_E_NETWORK, "stream %u: nothing acknowledged for %u s", st->how.number,
               LH_SILENCE_MS / 1000);
    end_stream(st);
}

static void on_sample(uv_timer_t *timer)
{
    struct lh_sstream *st = timer->data;

    sample(st);
    if (!st->closing)
        pump(st);
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
        end_errno(st, sys_errno);
        return;
    }
    if (uv_poll_init(&st->how.loop->uv, &st->poll, fd) != 0) {
        close(fd);
        end_errno(st, ENOMEM);
        return;
    }
    st->fd = fd;
    st->poll.data = st;
    st->n_handles++;
    say_join(st);
    lh_meter_start(&st->meter, fd, st->opts.lowat_bytes, &st->how.counters->meter);
    if (strncmp(st->connect.given.congestion, "bbr", 3) == 0)
        lh_meter_anew(&st->meter, st->how.send->congestion, lh_pace_apart(st->how.number));
    uv_timer_start(&st->timer, on_sample, SAMPLE_MS, SAMPLE_MS);
    tell(st, NOTE_UP);
    pump(st);
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

/* ---- from the main loop ---- */

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

static void on_join(struct lh_msg *msg)
{
    struct lh_sstream *st = LH_CONTAINER_OF(msg, struct lh_sstream, join_msg);

    st->may_join = true;
    say_join(st);
    arm(st);
}

void lh_sstream_join(struct lh_sstream *st, const uint8_t token[LH_TOKEN_SIZE])
{
    memcpy(st->token, token, LH_TOKEN_SIZE);
    lh_mbox_post(&st->how.loop->mbox, &st->join_msg, on_join);
}

struct range_msg {
    struct lh_msg msg;
    struct lh_sstream *st;
    uint32_t transfer;
    uint64_t epoch;
    struct lh_run range;
    bool drop;
};

static void on_range(struct lh_msg *msg)
{
    struct range_msg *r = LH_CONTAINER_OF(msg, struct range_msg, msg);
    struct lh_sstream *st = r->st;

    if (st->closing) {
        /* the main loop will hear */
    } else if (r->drop) {
        lh_ahead_drop(st->ahead, r->range.first, r->range.end);
    } else {
        st->asked = false;
        st->transfer = r->transfer;
        st->epoch = r->epoch;
        lh_ahead_add(st->ahead, r->range.first, r->range.end);
        pump(st);
    }
    free(r);
}

static void post_range(struct lh_sstream *st, struct range_msg what)
{
    struct range_msg *r = malloc(sizeof(*r));

    LH_INVARIANT(r != NULL);
    *r = what;
    r->st = st;
    lh_mbox_post(&st->how.loop->mbox, &r->msg, on_range);
}

void lh_sstream_range(struct lh_sstream *st, uint32_t transfer, uint64_t epoch, uint64_t first,
                      uint64_t end)
{
    post_range(st, (struct range_msg){.transfer = transfer, .epoch = epoch, .range = {first, end}});
}

void lh_sstream_drop(struct lh_sstream *st, uint64_t first, uint64_t end)
{
    post_range(st, (struct range_msg){.drop = true, .range = {first, end}});
}

static void on_stop(struct lh_msg *msg)
{
    end_stream(LH_CONTAINER_OF(msg, struct lh_sstream, stop_msg));
}

void lh_sstream_stop(struct lh_sstream *st)
{
    if (st->stop_asked) /* its message may still be on its way */
        return;
    st->stop_asked = true;
    lh_mbox_post(&st->how.loop->mbox, &st->stop_msg, on_stop);
}
