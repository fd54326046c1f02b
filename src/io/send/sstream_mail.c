/* What goes between a stream and the main loop: its notes to the mover; the token, ranges and the
 * stop that it is told.
 *
 * Thread: lh_sstream_join, _range, _drop, _stop and the ends of the notes run on the main loop, the
 * rest on the stream's. Each way is a mailbox: what is posted first comes first.
 *
 * Happy path: up, and the token as soon as there is one -> wants -> a range -> wants ... -> stop ->
 * down. The memory goes behind whatever was still on its way to the stream.
 * Failures: a stream that is closing drops what it is told; its `down` is due. */
#include "io/send/sstream_impl.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- notes to the main loop ---- */

struct note {
    struct lh_msg msg;
    enum lh_sstream_note kind;
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
    case LH_SSTREAM_UP:
        lh_mover_up(s, st->how.number, &st->connect.given);
        break;
    case LH_SSTREAM_WANTS:
        lh_mover_wants(s, st->how.number);
        break;
    case LH_SSTREAM_DOWN:
        on_down(st);
        break;
    }
    free(note);
}

void lh_sstream_tell(struct lh_sstream *st, enum lh_sstream_note kind)
{
    struct note *note = calloc(1, sizeof(*note));

    LH_INVARIANT(note != NULL);
    note->kind = kind;
    note->st = st;
    lh_mbox_post(&st->how.send->engine->mbox, &note->msg, on_note);
}

/* ---- from the main loop ---- */

static void on_join(struct lh_msg *msg)
{
    struct lh_sstream *st = LH_CONTAINER_OF(msg, struct lh_sstream, join_msg);

    st->may_join = true;
    lh_sstream_say_join(st);
    lh_sstream_arm(st);
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
        lh_sstream_pump(st);
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
    lh_sstream_end(LH_CONTAINER_OF(msg, struct lh_sstream, stop_msg));
}

void lh_sstream_stop(struct lh_sstream *st)
{
    if (st->stop_asked) /* its message may still be on its way */
        return;
    st->stop_asked = true;
    lh_mbox_post(&st->how.loop->mbox, &st->stop_msg, on_stop);
}
