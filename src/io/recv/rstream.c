/* A data connection at the receiver: header, payload, verify, claim, write.
 *
 * Thread: its stream loop, but for adopt and the two notes at the end (main loop).
 *
 * Happy path: adopt -> header -> take a buffer -> payload (and, with the same recvmsg, the next
 * header) -> XXH3-128 equal? -> into its store -> next. Nothing is sent back on a stream: durable
 * runs are acknowledged, and damaged blocks asked for again, on the control connection. A block
 * that is taken already is read and thrown away. Failures: a broken header, an unknown transfer, a
 * wrong epoch or a fenced sink close the stream; a write that fails is told to the target. With the
 * pool used up the stream waits, unread. */
#include "core/sched.h"
#include "io/recv/recv.h"
#include "util/mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define TURN_BYTES (2u * 1024 * 1024) /* read by one stream before the others of the loop */
#define LITTLE_BYTES 2500u /* less than two segments: the kernel would wait with its ACK */
#define POOL_RETRY_MS 5
#define DISCARD_BYTES (64u * 1024)
#define DAMAGED_MAX 64 /* blocks: then the stream is no good, or means no good */

/* What each stream loop keeps. */
struct rloop {
    struct lh_serve *serve;
    struct lh_loop *loop;
    struct rstream *streams;
    uv_timer_t retry; /* runs while somebody waits for a buffer */
    bool retrying;
    uint64_t retry_us; /* since when */
    bool ready;
    uint8_t discard[DISCARD_BYTES];
};

struct rstream {
    struct rstream *next;
    struct rloop *on;
    struct lh_serve *serve;
    struct lh_rshared *shared;
    struct lh_loop *loop;
    struct lh_msg msg; /* adopt, then ended */
    uv_poll_t poll;
    int fd;
    uint16_t number;
    bool polling;
    bool closing;
    bool waiting; /* for a buffer */
    uint8_t header[LH_FRAME_HEADER_SIZE];
    size_t header_have;
    bool in_payload;
    struct lh_frame frame;
    size_t payload_have;
    unsigned n_damaged;
    struct lh_target *target; /* with a reference while its block is under way; NULL: discard */
    struct lh_pool_buf *buf;
};

/* Something that the main loop must hear. */
struct note {
    struct lh_msg msg;
    struct lh_target *target; /* with a reference */
    uint32_t file;
    uint64_t block;
    struct lh_err err; /* status 0: the block arrived damaged */
};

static void on_readable(uv_poll_t *poll, int status, int events);

/* ---- main loop ---- */

static void on_note(struct lh_msg *msg)
{
    struct note *note = LH_CONTAINER_OF(msg, struct note, msg);
    struct lh_target *t = note->target;

    if (note->err.status != 0) {
        lh_target_fail(t, &note->err);
    } else if (t->session != NULL) {
        uint8_t payload[64];
        struct lh_block_run run = {.first = note->block, .count = 1};

        lh_log(&t->serve->log, LH_LOG_WARN, "block peer=%s target=%s block=%llu damaged=yes",
               t->session->peer, t->store->shown, (unsigned long long)note->block);
        lh_rsession_send(t->session, LH_FRAME_AGAIN, 0, t, payload,
                         lh_block_runs_encode(&run, 1, payload));
    }
    lh_target_unref(t);
    free(note);
}

static void on_ended(struct lh_msg *msg)
{
    struct rstream *st = LH_CONTAINER_OF(msg, struct rstream, msg);

    struct lh_serve *serve = st->serve;

    if (st->shared->session != NULL)
        st->shared->session->n_streams--;
    lh_rshared_unref(st->shared);
    free(st);
    serve->n_streams--;
    lh_serve_maybe_stop(serve);
}

/* ---- stream loop ---- */

/* Passes the block's reference on. */
static void tell_main(struct rstream *st, const struct lh_err *err)
{
    struct note *note = calloc(1, sizeof(*note));

    LH_INVARIANT(note != NULL); /* a damaged block that nobody hears of would never come again */
    note->target = st->target;
    note->file = st->frame.file;
    note->block = st->frame.offset / st->target->store->block_bytes;
    if (err != NULL)
        note->err = *err;
    st->target = NULL;
    lh_mbox_post(&st->serve->mbox, &note->msg, on_note);
}

static void drop_block(struct rstream *st)
{
    if (st->buf != NULL)
        lh_pool_put(&st->serve->pool, st->buf);
    st->buf = NULL;
    if (st->target != NULL)
        lh_target_unref(st->target);
    st->target = NULL;
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct rstream *st = LH_CONTAINER_OF((uv_poll_t *)handle, struct rstream, poll);

    lh_mbox_post(&st->serve->mbox, &st->msg, on_ended);
}

static void end_stream(struct rstream *st, const char *why)
{
    struct rstream **at = &st->on->streams;

    if (st->closing)
        return;
    st->closing = true;
    lh_log(&st->serve->log, LH_LOG_DEBUG, "stream number=%u end=\"%s\"", st->number, why);
    while (*at != st)
        at = &(*at)->next;
    *at = st->next;
    drop_block(st);
    uv_poll_stop(&st->poll);
    uv_close((uv_handle_t *)&st->poll, on_poll_closed);
    close(st->fd);
}

static void on_retry(uv_timer_t *timer)
{
    struct rloop *on = timer->data;
    struct rstream *next;

    uv_timer_stop(timer);
    on->retrying = false;
    atomic_fetch_add(&on->loop->pool_wait_us, lh_now_us() - on->retry_us);
    for (struct rstream *st = on->streams; st != NULL; st = next) {
        next = st->next;
        if (st->waiting) {
            st->waiting = false;
            uv_poll_start(&st->poll, UV_READABLE, on_readable);
        }
    }
}

/* No buffer: stop reading, so that TCP holds the sender back, and ask again soon. */
static void wait_for_buffer(struct rstream *st)
{
    st->waiting = true;
    uv_poll_stop(&st->poll);
    if (!st->on->retrying) {
        st->on->retrying = true;
        st->on->retry_us = lh_now_us();
        uv_timer_start(&st->on->retry, on_retry, POOL_RETRY_MS, 0);
    }
}

/* NULL, or what is wrong with a block of zeros. They cost their sender a header and us a hash: of
 * what is no block of the file not even that. */
static const char *wrong_zeros(const struct lh_target *t, const struct lh_frame *f)
{
    uint64_t size = t->offer.file.identity.size;
    uint32_t grid = t->store->block_bytes;

    if (!(t->offer.flags & LH_OFFER_SPARSE))
        return "a block of zeros that was not announced";
    if (f->offset % grid != 0 || f->offset >= size ||
        f->raw_length != lh_block_length(size, grid, f->offset / grid))
        return "zeros outside the file or off the grid";
    return NULL;
}

/* A whole header has come: what is to become of its payload? False: the stream has ended. */
static bool take_header(struct rstream *st)
{
    const char *why = NULL;
    struct lh_store *store;
    enum lh_lookup found;

    if (lh_frame_decode(st->header, &st->frame, &why) != 0) {
        end_stream(st, why);
        return false;
    }
    if (st->frame.type != LH_FRAME_BLOCK) {
        end_stream(st, "only BLOCK frames travel on streams");
        return false;
    }
    if (st->frame.file != 0) {
        end_stream(st, "a transfer has one file");
        return false;
    }
    found = lh_rshared_lookup(st->shared, st->frame.transfer, &st->target);
    if (found == LH_LOOKUP_UNKNOWN || found == LH_LOOKUP_CLOSED) {
        end_stream(st, found == LH_LOOKUP_CLOSED ? "the session is over" : "unknown transfer");
        return false;
    }
    st->header_have = 0;
    st->payload_have = 0;
    st->in_payload = true;
    if (st->target == NULL)
        return true;
    if ((st->frame.epoch != st->target->opened.epoch && !lh_mutant("ignore-epoch")) ||
        st->frame.raw_length > st->target->store->block_bytes) {
        end_stream(st, "epoch or length does not fit the transfer");
        return false;
    }
    if ((st->frame.flags & LH_FRAME_ZEROS) && (why = wrong_zeros(st->target, &st->frame)) != NULL) {
        end_stream(st, why);
        return false;
    }
    store = st->target->store;
    if (!store->ops->wants(store, st->frame.epoch, st->frame.offset)) {
        lh_target_unref(st->target);
        st->target = NULL;
    }
    return true;
}

/* A whole payload has come. False: the stream has ended. */
static bool take_payload(struct rstream *st)
{
    struct lh_err err = {0};
    struct lh_store *store;
    struct lh_hash hash;
    uint64_t start_us;
    bool soon = false;
    int r;

    st->in_payload = false;
    if (st->target == NULL)
        return true;
    if (st->frame.flags & LH_FRAME_ZEROS)
        lh_hash_zeros(st->frame.raw_length, &hash);
    else
        lh_hash_bytes(st->buf->base, st->frame.length, &hash);
    if (memcmp(&hash, &st->frame.hash, sizeof(hash)) != 0 && !lh_mutant("skip-verify")) {
        tell_main(st, NULL);
        drop_block(st);
        if (++st->n_damaged < DAMAGED_MAX)
            return true;
        end_stream(st, "too many damaged blocks");
        return false;
    }
    start_us = lh_now_us();
    atomic_store(&st->loop->writing_since_ms, start_us / 1000);
    store = st->target->store;
    r = store->ops->write(store, st->frame.epoch, st->frame.offset,
                          st->buf != NULL ? st->buf->base : NULL, st->frame.raw_length, &hash,
                          &soon, &err);
    atomic_store(&st->loop->writing_since_ms, 0);
    atomic_fetch_add(&st->loop->writing_us, lh_now_us() - start_us);
    if (r == LH_CLAIM_OK)
        lh_committer_wrote(st->target->committer, st->frame.raw_length, soon);
    else if (r < 0)
        tell_main(st, &err);
    drop_block(st);
    if (r == LH_CLAIM_OK || r == LH_CLAIM_DUPLICATE || r < 0)
        return true;
    end_stream(st, r == LH_CLAIM_FENCED   ? "fenced"
                   : r == LH_CLAIM_BOUNDS ? "a block outside the file or off the grid"
                   : r == LH_CLAIM_FULL   ? "more than the window is under way"
                                          : "out of memory");
    return false;
}

/* Read once. Returns bytes, 0 when there is nothing now, -1 when the stream ended or waits. */
static ssize_t read_once(struct rstream *st)
{
    struct iovec iov[2];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1};
    size_t body = 0;
    ssize_t n;

    if (st->in_payload) {
        body = st->frame.length - st->payload_have;
        if (st->target != NULL) {
            if (st->buf == NULL) {
                st->buf = lh_pool_get(&st->serve->pool, st->frame.length);
                if (st->buf == NULL) {
                    wait_for_buffer(st);
                    return -1;
                }
            }
            iov[0].iov_base = st->buf->base + st->payload_have;
        } else {
            iov[0].iov_base = st->on->discard;
            if (body > DISCARD_BYTES)
                body = DISCARD_BYTES;
        }
        iov[0].iov_len = body;
    }
    /* The next header rides along with the end of this payload. */
    iov[st->in_payload].iov_base = st->header + st->header_have;
    iov[st->in_payload].iov_len = LH_FRAME_HEADER_SIZE - st->header_have;
    if (st->in_payload && st->payload_have + body == st->frame.length)
        msg.msg_iovlen = 2;
    do
        n = recvmsg(st->fd, &msg, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) {
        end_stream(st, n == 0 ? "closed by the sender" : strerror(errno));
        return -1;
    }
    if (st->in_payload) {
        size_t of_body = (size_t)n < body ? (size_t)n : body;

        st->payload_have += of_body;
        st->header_have = (size_t)n - of_body;
    } else {
        st->header_have += (size_t)n;
    }
    return n;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct rstream *st = LH_CONTAINER_OF(poll, struct rstream, poll);
    size_t turn = 0;

    if (status < 0) {
        end_stream(st, "socket error");
        return;
    }
    while (turn < TURN_BYTES) {
        ssize_t n = read_once(st);

        if (n == 0 && turn > 0 && turn < LITTLE_BYTES)
            lh_sock_ack_now(st->fd);
        if (n <= 0)
            return;
        turn += (size_t)n;
        if (st->in_payload && st->payload_have == st->frame.length && !take_payload(st))
            return;
        if (!st->in_payload && st->header_have == LH_FRAME_HEADER_SIZE && !take_header(st))
            return;
        if (st->in_payload && st->frame.length == 0) { /* zeros: work as for any block */
            turn += st->frame.raw_length;
            if (!take_payload(st))
                return;
        }
    }
}

static struct rloop *rloop_of(struct lh_serve *serve, struct lh_loop *loop)
{
    struct rloop *on = loop->user;

    if (on == NULL) {
        on = calloc(1, sizeof(*on));
        LH_INVARIANT(on != NULL);
        on->serve = serve;
        on->loop = loop;
        uv_timer_init(&loop->uv, &on->retry);
        on->retry.data = on;
        loop->user = on;
    }
    return on;
}

static void on_adopt(struct lh_msg *msg)
{
    struct rstream *st = LH_CONTAINER_OF(msg, struct rstream, msg);

    st->on = rloop_of(st->serve, st->loop);
    if (uv_poll_init(&st->loop->uv, &st->poll, st->fd) != 0) {
        close(st->fd);
        lh_mbox_post(&st->serve->mbox, &st->msg, on_ended);
        return;
    }
    st->next = st->on->streams;
    st->on->streams = st;
    uv_poll_start(&st->poll, UV_READABLE, on_readable);
}

/* ---- main loop: handing over and ending ---- */

void lh_rstream_adopt(struct lh_serve *serve, struct lh_rsession *session, int fd, uint16_t stream)
{
    struct rstream *st = calloc(1, sizeof(*st));

    if (st == NULL) {
        close(fd);
        return;
    }
    st->serve = serve;
    st->fd = fd;
    st->number = stream;
    st->shared = session->shared;
    st->loop = &serve->loops.v[serve->next_loop++ % serve->loops.n];
    atomic_fetch_add(&st->shared->refs, 1);
    session->n_streams++;
    serve->n_streams++;
    lh_mbox_post(&st->loop->mbox, &st->msg, on_adopt);
}

/* One to each loop; the last to be handled is the end of it. */
struct sweep {
    struct lh_msg msg;
    struct lh_loop *loop;
    struct lh_rshared *shared; /* with a reference; NULL: the loop is about to stop */
};

static void on_sweep(struct lh_msg *msg)
{
    struct sweep *sweep = LH_CONTAINER_OF(msg, struct sweep, msg);
    struct rloop *on = sweep->loop->user;
    struct rstream *next;

    for (struct rstream *st = on != NULL ? on->streams : NULL; st != NULL; st = next) {
        next = st->next;
        if (st->shared == sweep->shared)
            end_stream(st, "the session is over");
    }
    lh_rshared_unref(sweep->shared);
    free(sweep);
}

void lh_rstream_end_all(struct lh_serve *serve, struct lh_rshared *shared)
{
    for (unsigned i = 0; i < serve->loops.n; i++) {
        struct sweep *sweep = calloc(1, sizeof(*sweep));

        LH_INVARIANT(sweep != NULL);
        sweep->loop = &serve->loops.v[i];
        sweep->shared = shared;
        atomic_fetch_add(&shared->refs, 1);
        lh_mbox_post(&sweep->loop->mbox, &sweep->msg, on_sweep);
    }
}

static void on_retry_closed(uv_handle_t *handle)
{
    struct rloop *on = handle->data;

    free(on);
}

static void on_stop_loop(struct lh_msg *msg)
{
    struct sweep *sweep = LH_CONTAINER_OF(msg, struct sweep, msg);
    struct rloop *on = sweep->loop->user;

    if (on != NULL) {
        LH_INVARIANT(on->streams == NULL);
        uv_close((uv_handle_t *)&on->retry, on_retry_closed);
    }
    free(sweep);
}

void lh_rstream_stop_loops(struct lh_serve *serve)
{
    for (unsigned i = 0; i < serve->loops.n; i++) {
        struct sweep *sweep = calloc(1, sizeof(*sweep));

        LH_INVARIANT(sweep != NULL);
        sweep->loop = &serve->loops.v[i];
        lh_mbox_post(&sweep->loop->mbox, &sweep->msg, on_stop_loop);
    }
}
