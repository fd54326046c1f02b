/* What sstream*.c share; nobody else includes this. All on the stream's loop, but for what says
 * otherwise. */
#ifndef LH_IO_SSTREAM_IMPL_H
#define LH_IO_SSTREAM_IMPL_H

#include "io/send/sender.h"

/* What a stream's time goes into. */
enum lh_sstream_spending {
    LH_SSTREAM_NOT_YET, /* it is not connected */
    LH_SSTREAM_IDLE,
    LH_SSTREAM_STARVED,
    LH_SSTREAM_SENDING
};

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
    enum lh_sstream_spending spending;
    uint64_t spending_us; /* since when, or counted until */
    bool stop_asked;      /* the main loop's, and apart from what the stream's loop reads */
};

/* sstream.c: everything one step on: hashed chunks in, new chunks out, the socket armed, more asked
 * for. */
void lh_sstream_pump(struct lh_sstream *st);
/* Arm the socket for what there is to do. */
void lh_sstream_arm(struct lh_sstream *st);
/* Close everything, and then tell `down`. st->err says why. A second time it does nothing. */
void lh_sstream_end(struct lh_sstream *st);
void lh_sstream_end_errno(struct lh_sstream *st, int sys_errno);

/* sstream_write.c: a frame is begun, or a block is ready. Hand some to the socket; that may end the
 * stream. */
bool lh_sstream_more_to_write(const struct lh_sstream *st);
void lh_sstream_write_turn(struct lh_sstream *st);
/* Make JOIN the frame at hand, once it is both connected and let in; nothing until then. */
void lh_sstream_say_join(struct lh_sstream *st);

/* sstream_mail.c: a note to the main loop: connected; wants a range; over, the last note. */
enum lh_sstream_note { LH_SSTREAM_UP, LH_SSTREAM_WANTS, LH_SSTREAM_DOWN };
void lh_sstream_tell(struct lh_sstream *st, enum lh_sstream_note kind);

#endif
