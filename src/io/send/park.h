/* Sessions as a sender has them, and those that nobody uses at the moment.
 *
 * A session is a control connection on which HELLO and WELCOME have been said, and what is known by
 * them. It belongs to one send, which carries one transfer over it; when that has ended well the
 * session is parked, and the next send to the same place takes it: its offer leaves at once.
 *
 * Happy path: new -> the send's -> put -> heartbeats -> taken -> … -> kept for too long, or one too
 * many: BYE, closed. Failures: a parked session that breaks, falls silent or is ended by the
 * receiver is forgotten without a word; one that is dead and was not known to be shows that to the
 * send that has taken it (session.c). */
#ifndef LH_IO_PARK_H
#define LH_IO_PARK_H

#include "io/net/ctl.h"
#include "io/net/sock.h"
#include "proto/session.h"
#include "util/log.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define LH_SILENCE_MS 15000 /* without a frame: the session is dead */
#define LH_GOODBYE_MS 2000  /* for the receiver to see that we leave */

struct lh_park;
struct lh_send;

struct lh_session {
    struct lh_session *next; /* the park's */
    struct lh_send *send;    /* whose it is; NULL: the park's */
    struct lh_park *park;
    char host[256]; /* as it was dialled */
    uint16_t port;
    bool insecure;
    struct lh_addr peer; /* what that came to: streams go there too */
    struct lh_ctl ctl;
    uint8_t token[LH_TOKEN_SIZE];
    uint64_t features; /* that both sides have; 0 before WELCOME */
    uint32_t heartbeat_ms;
    uint32_t max_block;
    uint16_t max_streams;
    uint32_t transfer; /* the last number that was offered; 0: none yet */
    uint64_t heartbeats;
    uint64_t since_ms; /* parked, or leaving */
    bool leaving;      /* BYE is said */
};

struct lh_park {
    struct lh_session *first; /* parked last; among them those that are leaving */
    unsigned n_parked;
    unsigned max;
    uint64_t keep_ms;
    bool closing;
    const struct lh_log *log;
    uv_loop_t *loop;
    uv_timer_t tick; /* runs while there is a session */
    bool timer_open;
    void (*closed)(struct lh_park *park);
};

/* Thread of all of it: the main loop. */
void lh_park_init(struct lh_park *park, uv_loop_t *loop, const struct lh_log *log, unsigned max,
                  uint64_t keep_ms);

/* The session that was used last to that place and has these features, now the caller's: it sets
 * send and the ctl's callbacks, whose `freed` frees the session. NULL: there is none that is alive
 * for all one knows. */
struct lh_session *lh_park_take(struct lh_park *park, const char *host, uint16_t port,
                                bool insecure, uint32_t block_bytes, uint64_t features);

/* The park's from here on. No transfer may be open on it, no stream of it be up. */
void lh_park_put(struct lh_park *park, struct lh_session *session);

/* Say BYE to all; closed fires once, later, when none is left. Nothing is put or taken any more. */
void lh_park_close(struct lh_park *park, void (*closed)(struct lh_park *park));

/* Of a session, whosever it is. */
void lh_session_beat(struct lh_session *session, uint64_t now_ms); /* if one is due */
void lh_session_bye(struct lh_session *session); /* then drain; the owner bounds how long */

#endif
