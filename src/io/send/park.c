/* See park.h. */
#include "io/send/park.h"

#include "util/clock.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 250
#define FRESH_MS                                                                                   \
    6000 /* heard of so lately: it missed no heartbeat of a receiver as it is today                \
          */

/* ---- of a session ---- */

void lh_session_beat(struct lh_session *session, uint64_t now_ms)
{
    struct lh_frame head = {.type = LH_FRAME_HEARTBEAT, .transfer = LH_NO_TRANSFER};
    struct lh_heartbeat beat = {0};
    uint8_t payload[64];

    if (now_ms - session->ctl.sent_ms < session->heartbeat_ms / 2)
        return;
    beat.count = ++session->heartbeats;
    lh_ctl_send(&session->ctl, &head, payload, (uint32_t)lh_heartbeat_encode(&beat, payload));
}

void lh_session_bye(struct lh_session *session)
{
    struct lh_frame bye = {.type = LH_FRAME_BYE, .transfer = LH_NO_TRANSFER};

    lh_ctl_send(&session->ctl, &bye, NULL, 0);
    if (session->ctl.dead)
        lh_ctl_close(&session->ctl);
    else
        lh_ctl_drain(&session->ctl);
}

/* ---- the end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct lh_park *park = LH_CONTAINER_OF((uv_timer_t *)handle, struct lh_park, tick);

    park->closed(park);
}

static void maybe_closed(struct lh_park *park)
{
    if (park->first != NULL)
        return;
    uv_timer_stop(&park->tick);
    if (park->closing && park->timer_open) {
        park->timer_open = false;
        uv_close((uv_handle_t *)&park->tick, on_timer_closed);
    }
}

static void unlink_it(struct lh_session *session)
{
    struct lh_session **at = &session->park->first;

    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    session->park->n_parked -= !session->leaving;
}

static void on_freed(struct lh_ctl *ctl)
{
    struct lh_session *session = LH_CONTAINER_OF(ctl, struct lh_session, ctl);
    struct lh_park *park = session->park;

    unlink_it(session);
    free(session);
    maybe_closed(park);
}

/* Nothing is said to it any more, and nobody takes it. */
static void close_it(struct lh_session *session)
{
    session->park->n_parked -= !session->leaving;
    session->leaving = true;
    lh_ctl_close(&session->ctl);
}

static void on_closed(struct lh_ctl *ctl, const struct lh_err *err)
{
    struct lh_session *session = LH_CONTAINER_OF(ctl, struct lh_session, ctl);

    if (!session->leaving)
        lh_log(session->park->log, LH_LOG_DEBUG, "idle session host=%s end=\"%s\"", session->host,
               err->text);
    close_it(session);
}

/* Heartbeats, and what was still under way of transfers that have ended. */
static void on_frame(struct lh_ctl *ctl, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_session *session = LH_CONTAINER_OF(ctl, struct lh_session, ctl);

    if (frame->type == LH_FRAME_ERROR && frame->transfer == LH_NO_TRANSFER)
        close_it(session);
}

static void leave(struct lh_session *session)
{
    session->park->n_parked -= !session->leaving;
    session->leaving = true;
    session->since_ms = lh_now_ms();
    lh_session_bye(session);
}

/* ---- time ---- */

static void look_after(struct lh_session *session, uint64_t now_ms)
{
    struct lh_park *park = session->park;

    if (session->leaving) {
        if (now_ms - session->since_ms > LH_GOODBYE_MS)
            lh_ctl_close(&session->ctl);
    } else if (now_ms - session->ctl.heard_ms > LH_SILENCE_MS) {
        close_it(session);
    } else if (now_ms - session->since_ms >= park->keep_ms) {
        leave(session);
    } else {
        lh_session_beat(session, now_ms);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct lh_park *park = LH_CONTAINER_OF(timer, struct lh_park, tick);
    uint64_t now_ms = lh_now_ms();

    for (struct lh_session *s = park->first; s != NULL; s = s->next)
        look_after(s, now_ms);
}

/* ---- put and take ---- */

void lh_park_init(struct lh_park *park, uv_loop_t *loop, const struct lh_log *log, unsigned max,
                  uint64_t keep_ms)
{
    memset(park, 0, sizeof(*park));
    park->loop = loop;
    park->log = log;
    park->max = max;
    park->keep_ms = keep_ms;
    uv_timer_init(loop, &park->tick);
    park->timer_open = true;
}

/* The one that has not been used for longest makes way. */
static void make_room(struct lh_park *park)
{
    struct lh_session *oldest = NULL;

    for (struct lh_session *s = park->first; s != NULL; s = s->next)
        if (!s->leaving)
            oldest = s;
    if (park->n_parked > park->max && oldest != NULL)
        leave(oldest);
}

void lh_park_put(struct lh_park *park, struct lh_session *session)
{
    session->park = park;
    session->send = NULL;
    session->leaving = false;
    session->since_ms = lh_now_ms();
    session->ctl.on_frame = on_frame;
    session->ctl.on_closed = on_closed;
    session->ctl.on_room = NULL;
    session->ctl.freed = on_freed;
    if (park->first == NULL)
        uv_timer_start(&park->tick, on_tick, TICK_MS, TICK_MS);
    session->next = park->first;
    park->first = session;
    park->n_parked++;
    make_room(park);
}

static bool fits(const struct lh_session *s, const char *host, uint16_t port, bool insecure,
                 uint32_t block_bytes, uint64_t features)
{
    return !s->leaving && !s->ctl.dead && s->port == port && s->insecure == insecure &&
           s->max_block >= block_bytes && (s->features & features) == features &&
           lh_now_ms() - s->ctl.heard_ms < FRESH_MS && strcmp(s->host, host) == 0;
}

struct lh_session *lh_park_take(struct lh_park *park, const char *host, uint16_t port,
                                bool insecure, uint32_t block_bytes, uint64_t features)
{
    struct lh_session *s = park->first;

    while (s != NULL && !fits(s, host, port, insecure, block_bytes, features))
        s = s->next;
    if (s == NULL)
        return NULL;
    unlink_it(s);
    maybe_closed(park);
    return s;
}

void lh_park_close(struct lh_park *park, void (*closed)(struct lh_park *park))
{
    park->closed = closed;
    park->closing = true;
    for (struct lh_session *s = park->first; s != NULL; s = s->next)
        if (!s->leaving)
            leave(s);
    maybe_closed(park);
}
