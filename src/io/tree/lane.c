/* See lane.h. What a lane does otherwise than a file stands where the file's way is: send.c
 * and its parts, session.c, offer.c, mover.c. */
#include "io/tree/lane.h"

#include "io/send/sender.h"
#include "proto/tree.h"

#define UNSENT_MAX (1024u * 1024) /* on the control connection */
#define EARLY_MAX (256u * 1024)   /* before ACCEPT: it may be refused */

int lh_lane_start(uv_loop_t *loop, const struct lh_send_options *opts, struct lh_lane *lane,
                  const struct lh_send_callbacks *cbs, struct lh_send **send)
{
    struct lh_send_options o = *opts;

    o.source = "";
    o.hold_confirm = o.no_clobber = false;
    return lh_send_begin(loop, &o, lane, NULL, cbs, send);
}

bool lh_lane_taken(const struct lh_send *s)
{
    return s->phase == LH_PHASE_MOVING && lh_session_alive(s);
}

bool lh_lane_may_tell(const struct lh_send *s)
{
    if (s->phase < LH_PHASE_HELLO || s->phase > LH_PHASE_MOVING || !lh_session_alive(s) ||
        s->transfer == 0)
        return false;
    if (s->phase != LH_PHASE_MOVING)
        return s->told_bytes < EARLY_MAX;
    return lh_buf_len(&s->session->ctl.out) < UNSENT_MAX;
}

void lh_lane_pause(struct lh_send *s, bool paused)
{
    if (lh_session_alive(s) && s->session->ctl.paused != paused)
        lh_ctl_pause(&s->session->ctl, paused);
}

void lh_lane_tell(struct lh_send *s, uint16_t type, uint16_t flags, const void *payload,
                  size_t length)
{
    s->told_bytes += length;
    lh_session_send(s, type, flags, payload, length);
}

void lh_lane_grow(struct lh_send *s, uint64_t n_packs)
{
    if (s->sched_ready && lh_sched_grow(&s->sched, n_packs) != 0)
        lh_send_end(s, LH_E_NOMEM, "out of memory");
}

bool lh_lane_brief(const struct lh_send *s)
{
    return s->tune.brief;
}

void lh_lane_part(struct lh_send *s, unsigned streams)
{
    lh_mover_part(s, streams);
}

bool lh_lane_within_part(const struct lh_send *s)
{
    return lh_mover_within_part(s);
}

void lh_lane_feed(struct lh_send *s)
{
    lh_mover_feed(s);
}

void lh_lane_finish(struct lh_send *s)
{
    lh_offer_finish(s);
}

void lh_lane_done(struct lh_send *s)
{
    lh_offer_done(s);
}

void lh_lane_broken(struct lh_send *s, const char *why)
{
    lh_session_lost_for(s, LH_E_PROTOCOL, why);
}

void lh_lane_end(struct lh_send *s, int status, const char *text)
{
    lh_send_end(s, status, "%s", text);
}
