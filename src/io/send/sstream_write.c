/* A stream's frames on their way into its socket: JOIN, then block after block.
 *
 * Thread: the stream's loop.
 *
 * Happy path: say JOIN -> writable: header with MSG_MORE, then contents (contents.h), at most a
 * quantum a turn -> the next block that is ready (ahead.h). Counted as it goes.
 * Failures: a broken connection, a source that cannot be read or got shorter: the stream ends. */
#include "io/send/sstream_impl.h"

#include <errno.h>
#include <string.h>

#define TURN_BYTES (1024u * 1024) /* handed to one socket before the others of the loop */

bool lh_sstream_more_to_write(const struct lh_sstream *st)
{
    return st->header_sent < st->header_len || st->in_block || lh_ahead_ready(st->ahead);
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
            lh_sstream_end_errno(st, errno);
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
        lh_sstream_end(st);
    return n;
}

void lh_sstream_write_turn(struct lh_sstream *st)
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

void lh_sstream_say_join(struct lh_sstream *st)
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
