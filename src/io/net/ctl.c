#include "io/net/ctl.h"

#include "io/net/sock.h"
#include "proto/transfer.h"
#include "util/clock.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RUNS_A_FRAME 250 /* a sender may not send more: WIRE.md */
#define OUT_MAX (16u * 1024 * 1024)
#define KEEP_CAP (128u * 1024) /* a larger input buffer goes back when it is empty */
#define FRAMES_PER_TURN 64     /* so that one connection does not starve the loop */

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(struct lh_ctl *ctl)
{
    int want = (ctl->paused && !ctl->draining ? UV_DISCONNECT : UV_READABLE) |
               (lh_buf_len(&ctl->out) > 0 ? UV_WRITABLE : 0);

    if (ctl->closing || ctl->dead || want == ctl->armed)
        return;
    ctl->armed = want;
    uv_poll_start(&ctl->poll, want, on_poll);
}

static void die(struct lh_ctl *ctl)
{
    if (ctl->dead || ctl->closing)
        return;
    ctl->dead = true;
    uv_poll_stop(&ctl->poll);
    ctl->on_closed(ctl, &ctl->err);
}

static void die_errno(struct lh_ctl *ctl, int sys_errno)
{
    lh_err_sys(&ctl->err, LH_E_NETWORK, sys_errno, "the control connection was lost");
    die(ctl);
}

static void die_protocol(struct lh_ctl *ctl, const char *why)
{
    lh_err_set(&ctl->err, LH_E_PROTOCOL, "the other side broke the protocol: %s", why);
    die(ctl);
}

static void flush(struct lh_ctl *ctl)
{
    while (lh_buf_len(&ctl->out) > 0) {
        ssize_t n = send(ctl->fd, lh_buf_data(&ctl->out), lh_buf_len(&ctl->out), MSG_NOSIGNAL);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN && !ctl->draining) /* then the end of reading tells */
                die_errno(ctl, errno);
            return;
        }
        lh_buf_consume(&ctl->out, (size_t)n);
    }
    if (ctl->draining)
        shutdown(ctl->fd, SHUT_WR);
    else if (ctl->on_room != NULL)
        ctl->on_room(ctl);
}

/* What goes into the socket at once costs no turn of the loop, and no two changes of what is polled
 * for. Errors are left to the poll: nothing may end inside a call. */
static void push(struct lh_ctl *ctl)
{
    while (lh_buf_len(&ctl->out) > 0) {
        ssize_t n = send(ctl->fd, lh_buf_data(&ctl->out), lh_buf_len(&ctl->out), MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        lh_buf_consume(&ctl->out, (size_t)n);
    }
    arm(ctl);
}

void lh_ctl_cork(struct lh_ctl *ctl)
{
    ctl->n_corks++;
}

void lh_ctl_uncork(struct lh_ctl *ctl)
{
    if (--ctl->n_corks == 0 && !ctl->closing && !ctl->dead && !ctl->draining)
        push(ctl);
}

/* Our last words are out: wait for the peer's end, so that a reset does not overtake them. */
static void discard(struct lh_ctl *ctl)
{
    uint8_t scratch[4096];

    for (int i = 0; i < FRAMES_PER_TURN; i++) {
        ssize_t n = recv(ctl->fd, scratch, sizeof(scratch), 0);

        if (n > 0 || (n < 0 && errno == EINTR))
            continue;
        if (n == 0 || errno != EAGAIN) {
            memset(&ctl->err, 0, sizeof(ctl->err));
            die(ctl);
        }
        return;
    }
}

/* Of zeros a header is all that has come: whoever is due to take them looks at their hash. */
static bool damaged(const struct lh_ctl *ctl, const struct lh_frame *frame)
{
    struct lh_hash hash;

    if (frame->flags & LH_FRAME_ZEROS)
        return false;
    lh_hash_bytes(lh_buf_data(&ctl->in), frame->length, &hash);
    return memcmp(&hash, &frame->hash, sizeof(hash)) != 0;
}

/* A frame is whole: check its payload and hand it on. */
static void deliver(struct lh_ctl *ctl)
{
    struct lh_frame frame = ctl->frame;

    if (damaged(ctl, &frame)) {
        die_protocol(ctl, "a payload does not match its hash");
        return;
    }
    ctl->have_frame = false;
    ctl->on_frame(ctl, &frame, lh_buf_data(&ctl->in));
    if (ctl->closing) /* then `freed` frees the buffers */
        return;
    lh_buf_consume(&ctl->in, frame.length);
    if (ctl->in.cap > KEEP_CAP)
        lh_buf_free(&ctl->in);
}

/* Take the header or the payload once it is there. False: more bytes are needed, or it is over. */
static bool step(struct lh_ctl *ctl)
{
    const char *why = NULL;

    if (!ctl->have_frame) {
        if (lh_buf_len(&ctl->in) < LH_FRAME_HEADER_SIZE)
            return false;
        if (lh_frame_decode(lh_buf_data(&ctl->in), &ctl->frame, &why) != 0) {
            die_protocol(ctl, why);
            return false;
        }
        if (ctl->frame.length > ctl->max_payload) {
            die_protocol(ctl, "a frame is too long");
            return false;
        }
        lh_buf_consume(&ctl->in, LH_FRAME_HEADER_SIZE);
        ctl->have_frame = true;
    }
    if (lh_buf_len(&ctl->in) < ctl->frame.length)
        return false;
    deliver(ctl);
    return !ctl->closing && !ctl->dead && !ctl->paused;
}

static void on_readable(struct lh_ctl *ctl)
{
    for (int n_frames = 0; n_frames < FRAMES_PER_TURN;) {
        size_t have = lh_buf_len(&ctl->in);
        size_t want = (ctl->have_frame ? ctl->frame.length : LH_FRAME_HEADER_SIZE) - have;
        uint8_t *room = lh_buf_reserve(&ctl->in, want > 0 ? want : 1);
        ssize_t n;

        if (room == NULL) {
            die_errno(ctl, ENOMEM);
            return;
        }
        n = want == 0 ? 0 : recv(ctl->fd, room, want, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                die_errno(ctl, errno);
            return;
        }
        if (n == 0 && want > 0) {
            lh_err_set(&ctl->err, LH_E_NETWORK, "the other side closed the connection");
            die(ctl);
            return;
        }
        ctl->heard_ms = lh_now_ms();
        lh_buf_added(&ctl->in, (size_t)n);
        while (step(ctl))
            n_frames++;
        if (ctl->closing || ctl->dead || ctl->paused)
            return;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct lh_ctl *ctl = LH_CONTAINER_OF(poll, struct lh_ctl, poll);

    if (status < 0) { /* libuv hides the socket's own error */
        int sys_errno = 0;
        socklen_t len = sizeof(sys_errno);

        getsockopt(ctl->fd, SOL_SOCKET, SO_ERROR, &sys_errno, &len);
        ctl->armed = 0;
        die_errno(ctl, sys_errno != 0 ? sys_errno : ECONNRESET);
        return;
    }
    if ((events & UV_DISCONNECT) && ctl->paused && !ctl->draining) {
        lh_err_set(&ctl->err, LH_E_NETWORK, "the other side closed the connection");
        die(ctl);
        return;
    }
    if (events & UV_WRITABLE)
        flush(ctl);
    if ((events & UV_READABLE) && !ctl->closing && !ctl->dead) {
        lh_ctl_cork(ctl);
        if (ctl->draining)
            discard(ctl);
        else
            on_readable(ctl);
        lh_ctl_uncork(ctl);
    }
    arm(ctl);
}

int lh_ctl_start(struct lh_ctl *ctl, uv_loop_t *loop, int fd)
{
    lh_sock_common(fd);
    if (uv_poll_init(loop, &ctl->poll, fd) != 0)
        return -LH_E_NOMEM;
    ctl->fd = fd;
    ctl->armed = 0;
    ctl->closing = ctl->draining = ctl->dead = ctl->have_frame = ctl->paused = false;
    ctl->n_corks = 0;
    ctl->on_room = NULL;
    ctl->max_payload = LH_HELLO_MAX;
    ctl->heard_ms = ctl->sent_ms = lh_now_ms();
    memset(&ctl->err, 0, sizeof(ctl->err));
    lh_buf_init(&ctl->in, LH_BLOCK_MAX + LH_FRAME_HEADER_SIZE);
    lh_buf_init(&ctl->out, OUT_MAX);
    arm(ctl);
    return 0;
}

void lh_ctl_send_hashed(struct lh_ctl *ctl, const struct lh_frame *head, const void *payload,
                        uint32_t length, const struct lh_hash *hash)
{
    uint8_t header[LH_FRAME_HEADER_SIZE];
    struct lh_frame frame = *head;
    bool waiting = lh_buf_len(&ctl->out) > 0;

    if (ctl->closing || ctl->dead)
        return;
    frame.length = length;
    frame.hash = *hash;
    lh_frame_encode(&frame, header);
    if (lh_buf_append(&ctl->out, header, sizeof(header)) != 0 ||
        lh_buf_append(&ctl->out, payload, length) != 0) {
        /* The peer does not read. What is half queued makes the stream unusable: drop it all, and
         * let the loop report the end. */
        lh_buf_free(&ctl->out);
        shutdown(ctl->fd, SHUT_RDWR);
        return;
    }
    ctl->sent_ms = lh_now_ms();
    if (!waiting && ctl->n_corks == 0)
        push(ctl);
}

void lh_ctl_send(struct lh_ctl *ctl, const struct lh_frame *head, const void *payload,
                 uint32_t length)
{
    struct lh_hash hash;

    lh_hash_bytes(payload, length, &hash);
    lh_ctl_send_hashed(ctl, head, payload, length, &hash);
}

void lh_ctl_send_runs(struct lh_ctl *ctl, const struct lh_frame *head, const struct lh_runs *runs)
{
    struct lh_block_run list[RUNS_A_FRAME];
    uint8_t payload[RUNS_A_FRAME * sizeof(list[0]) + 64];
    struct lh_frame frame = *head;
    size_t at = 0;

    lh_ctl_cork(ctl);
    do {
        size_t n = 0;

        for (; n < RUNS_A_FRAME && at < runs->n; n++, at++) {
            list[n].first = runs->v[at].first;
            list[n].count = runs->v[at].end - runs->v[at].first;
        }
        frame.flags = at == runs->n ? head->flags : 0;
        lh_ctl_send(ctl, &frame, payload, (uint32_t)lh_block_runs_encode(list, n, payload));
    } while (at < runs->n);
    lh_ctl_uncork(ctl);
}

void lh_ctl_pause(struct lh_ctl *ctl, bool paused)
{
    ctl->paused = paused;
    ctl->heard_ms = lh_now_ms();
    arm(ctl);
}

void lh_ctl_drain(struct lh_ctl *ctl)
{
    if (ctl->closing || ctl->dead)
        return;
    ctl->draining = true;
    flush(ctl);
    arm(ctl);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct lh_ctl *ctl = LH_CONTAINER_OF((uv_poll_t *)handle, struct lh_ctl, poll);

    lh_buf_free(&ctl->in);
    lh_buf_free(&ctl->out);
    ctl->freed(ctl);
}

int lh_ctl_release(struct lh_ctl *ctl)
{
    int fd = ctl->fd;

    LH_REQUIRE(!ctl->closing);
    ctl->closing = true;
    ctl->fd = -1;
    uv_poll_stop(&ctl->poll);
    uv_close((uv_handle_t *)&ctl->poll, on_poll_closed);
    return fd;
}

void lh_ctl_close(struct lh_ctl *ctl)
{
    if (ctl->closing)
        return;
    /* Last words, as far as the socket takes them at once; and the answer to what came before a
     * frame that broke the protocol, by which a dialler knows that somebody is there. */
    if (lh_buf_len(&ctl->out) > 0)
        (void)!send(ctl->fd, lh_buf_data(&ctl->out), lh_buf_len(&ctl->out), MSG_NOSIGNAL);
    close(lh_ctl_release(ctl));
}
