/* A control connection: frames both ways over one socket, on the main loop.
 *
 * Happy path: start on a connected descriptor; every frame that arrives whole and passes both
 * checks goes to on_frame; send queues; close. Failures (reset, end of stream, broken frame, output
 * buffer full) end in one on_closed, later, never from inside a call of ours.
 *
 * It never reads past the end of the frame at hand, so a connection whose first frame turns out to
 * be JOIN can be released to a stream loop with nothing lost. */
#ifndef LH_IO_CTL_H
#define LH_IO_CTL_H

#include "core/runs.h"
#include "proto/frame.h"
#include "util/buf.h"
#include "util/err.h"

#include <stdbool.h>
#include <uv.h>

struct lh_ctl {
    int fd;
    uv_poll_t poll;
    int armed; /* events that the poll is started with */
    bool closing;
    bool draining;        /* close once the output is out */
    bool paused;          /* nothing is read */
    bool dead;            /* on_closed has been called or is not wanted */
    unsigned n_corks;     /* what is sent is kept together */
    uint32_t max_payload; /* LH_HELLO_MAX until the owner raises it */
    uint64_t heard_ms;    /* when the last bytes came, lh_now_ms(): a frame may take long */
    uint64_t sent_ms;     /* when the last frame was queued */
    struct lh_frame frame;
    bool have_frame;
    struct lh_buf in;
    struct lh_buf out;
    struct lh_err err; /* why it died */

    /* payload: frame->length bytes, dying with the call, and of the frame's hash; but a block of
     * zeros, which has none, is not looked at. It may close the connection. */
    void (*on_frame)(struct lh_ctl *ctl, const struct lh_frame *frame, const uint8_t *payload);
    /* err->status LH_E_NETWORK or LH_E_PROTOCOL. Call lh_ctl_close from it, or later. */
    void (*on_closed)(struct lh_ctl *ctl, const struct lh_err *err);
    void (*freed)(struct lh_ctl *ctl); /* after lh_ctl_close: memory may go */
    /* What was queued and did not fit into the socket has left. NULL after start: not wanted. */
    void (*on_room)(struct lh_ctl *ctl);
};

/* Takes fd over on success. The on_* are set by the caller before. Returns 0 or -LH_E_NOMEM. */
int lh_ctl_start(struct lh_ctl *ctl, uv_loop_t *loop, int fd);

/* Queue a frame; type, flags, transfer, file, offset, epoch are taken from `head`. A connection
 * that is dead already swallows it: its end is on the way. */
void lh_ctl_send(struct lh_ctl *ctl, const struct lh_frame *head, const void *payload,
                 uint32_t length);

/* The same, with the payload's hash known (BLOCK). */
void lh_ctl_send_hashed(struct lh_ctl *ctl, const struct lh_frame *head, const void *payload,
                        uint32_t length, const struct lh_hash *hash);

/* What is sent in between leaves in one piece, at the last uncork; so does what is sent from inside
 * on_frame. */
void lh_ctl_cork(struct lh_ctl *ctl);
void lh_ctl_uncork(struct lh_ctl *ctl);

/* A list of runs in as many frames as it takes, at least one; head->flags go with the last. */
void lh_ctl_send_runs(struct lh_ctl *ctl, const struct lh_frame *head, const struct lh_runs *runs);

/* Read no more frames, or go on; from inside on_frame too. TCP holds the peer back meanwhile. Its
 * end is noticed; whether it says anything is not: heard_ms is the owner's then. */
void lh_ctl_pause(struct lh_ctl *ctl, bool paused);

/* Say goodbye: send what is queued, shut our side, read and drop until the peer shuts its own; then
 * on_closed fires with status 0. The owner bounds how long, and closes. */
void lh_ctl_drain(struct lh_ctl *ctl);

/* No more callbacks but `freed`. */
void lh_ctl_close(struct lh_ctl *ctl);

/* Like close, but the descriptor stays open and is the caller's now. */
int lh_ctl_release(struct lh_ctl *ctl);

#endif
