/* A send whose contents are packs, not one file: what a tree's small files travel in.
 *
 * Session, redial, streams, tuning and numbers are those of any send. There is no ledger, nothing
 * to compare, no source that is opened, and no number of blocks known before: packs are added while
 * it runs, and its owner says when it is over.
 *
 * Happy path: lh_lane_start -> offered: the owner tells of entries -> taken -> frames come, packs
 * are added, streams send them -> lh_lane_finish, DONE, lh_lane_done -> `done` of the send.
 * Failures: a session that is lost is dialled again, then `offered` fires anew: all that was told
 * and all packs are void.
 *
 * Thread: main loop. */
#ifndef LH_IO_LANE_H
#define LH_IO_LANE_H

#include "io/net/pool.h"
#include "io/source/packs.h"
#include "proto/frame.h"

#include <longhaul/longhaul.h>

/* The owner's; outlives the send. The functions are called from inside the send, and may call it,
 * also to end it. */
struct lh_lane {
    struct lh_packs *packs;
    struct lh_pool *pool;        /* of packs that are made */
    unsigned most;               /* of them in memory for a stream, besides the one at hand */
    uint16_t flags;              /* of OFFER: enum lh_offer_flag */
    uint32_t keep;               /* of OFFER: enum lh_tree_keep */
    struct lh_identity identity; /* of the root's source */
    uint32_t mode;               /* of the root */
    bool alone;                  /* nobody takes its session afterwards */
    unsigned max_streams;        /* to begin with, over a long path */

    void (*offered)(struct lh_lane *lane); /* OFFER is said; what follows leaves with it */
    void (*taken)(struct lh_lane *lane);   /* ACCEPT */
    void (*frame)(struct lh_lane *lane, const struct lh_frame *frame, const uint8_t *payload);
    void (*room)(struct lh_lane *lane);            /* all that was told has left */
    bool (*searching)(const struct lh_lane *lane); /* more may be found, and nothing is waited for
                                                      but that */
    bool (*hungry)(struct lh_lane *lane); /* a stream has nothing to do: whether packs were added */
    bool (*more)(const struct lh_lane *lane); /* there may be more packs soon */
};

/* As lh_send_start. Of opts source, small-file and holder fields are not looked at. */
int lh_lane_start(uv_loop_t *loop, const struct lh_send_options *opts, struct lh_lane *lane,
                  const struct lh_send_callbacks *cbs, struct lh_send **send);

/* Whether the owner may tell something more now; else `room` or `offered` fires when it may. */
bool lh_lane_may_tell(const struct lh_send *send);
/* Whether nothing of the receiver is read for a while. A new session begins with reading. */
void lh_lane_pause(struct lh_send *send, bool paused);
void lh_lane_tell(struct lh_send *send, uint16_t type, uint16_t flags, const void *payload,
                  size_t length);
bool lh_lane_taken(
    const struct lh_send *send); /* ACCEPT came in this session, and it is not lost */

/* So many streams are its part of the tree's, of a lane or of a big file. At once; those beyond go
 * when all is durable that they were given. */
void lh_lane_part(struct lh_send *send, unsigned streams);
/* Whether they are gone. */
bool lh_lane_within_part(const struct lh_send *send);

/* Whether packs are better small: the path is long. Known once it is taken. */
bool lh_lane_brief(const struct lh_send *send);

/* So many packs were added. Streams get them at the next lh_lane_feed. */
void lh_lane_grow(struct lh_send *send, uint64_t n_packs);
void lh_lane_feed(struct lh_send *send);

/* FINISH: nothing more is to be told of; packs may still be on their way. DONE comes to `frame`. */
void lh_lane_finish(struct lh_send *send);
void lh_lane_done(struct lh_send *send);                    /* and is believed */
void lh_lane_broken(struct lh_send *send, const char *why); /* a frame breaks the protocol */
void lh_lane_end(struct lh_send *send, int status, const char *text); /* LH_E_* */

#endif
