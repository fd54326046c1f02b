/* The sender's lane: what io/tree/lane.c, session, offer and mover do for a tree, on a network that
 * is made up. The schedule and the packs are the program's; streams: tree_stream.c.
 *
 * Happy path: dial -> OFFER, and what is told with it -> ACCEPT -> streams ask for packs, make them
 * and send them -> FINISH -> DONE -> CONFIRM -> done. Lost: all of it anew after a pause. */
#include "test/sim/tree_lane.h"

#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lane *lane;

static void dial(void *arg);

bool lane_alive(void)
{
    return lane->s != NULL && !lane->s->sender_left;
}

/* ---- telling ---- */

static void say(uint16_t type, uint16_t flags, const void *payload, size_t length)
{
    struct lh_frame head = {.type = type,
                            .flags = flags,
                            .transfer = lane->transfer,
                            .epoch = lane->epoch,
                            .length = (uint32_t)length};

    tw_trace("  session %u: sender says %s, %zu bytes", lane->s->id, lh_frame_name(type), length);
    if (type == LH_FRAME_FILES)
        tw_check_told(payload, length);
    if (!tw.abandoned)
        tw_session_say(lane->s, &lane->s->up, &head, payload);
}

/* ---- lost, and again ---- */

static void drop_session(void)
{
    if (lane->s != NULL)
        lane->s->sender_left = true;
    lane->s = NULL;
    if (lane->sched_ready)
        lh_sched_free(&lane->sched);
    lane->sched_ready = false;
    for (unsigned i = 0; i < TW_STREAMS; i++) {
        lane->streams[i].up = false;
        lane->streams[i].gen++;
    }
}

static void later(void (*fn)(void *arg), uint64_t delay_us)
{
    tw_at(TW_SENDER, delay_us, fn, (void *)(uintptr_t)lane->dials);
}

static bool is_stale(void *arg)
{
    return lane == NULL || (uintptr_t)arg != lane->dials;
}

static void redial(uint64_t delay_us)
{
    lane->phase = RESTING;
    lane->dials = ++tw.n_dials;
    later(dial, delay_us);
}

void tw_lane_lost(struct tw_session *s)
{
    if (lane == NULL || lane->s != s || lane->phase == ENDED)
        return;
    tw_trace("session %u is lost", s->id);
    tw.stats->n_sessions_lost++;
    tw_session_cut(s, false);
    drop_session();
    redial(1000 + tw_below(300000));
}

void tw_lane_cut(bool silently)
{
    if (lane == NULL || lane->s == NULL)
        return;
    tw_trace("session %u is cut%s", lane->s->id, silently ? " silently" : "");
    tw_session_cut(lane->s, silently);
}

static void on_ended(void *arg)
{
    struct lane *old = lane;

    if (is_stale(arg))
        return;
    lane = NULL;
    old->cbs.done(old->cbs.arg, old->status, old->text, &(struct lh_send_stats){0});
    free(old);
}

void lh_lane_end(struct lh_send *send, int status, const char *text)
{
    (void)send;
    if (lane->phase == ENDED)
        return;
    lane->status = -status;
    snprintf(lane->text, sizeof(lane->text), "%s", text);
    if (lane->s != NULL && tw.abandoned)
        tw_session_cut(lane->s, false);
    else if (lane->s != NULL)
        tw_session_end(lane->s, &lane->s->up);
    drop_session();
    lane->phase = ENDED;
    lane->dials = ++tw.n_dials;
    later(on_ended, 1 + tw_below(1000));
}

void lh_lane_broken(struct lh_send *send, const char *why)
{
    (void)send;
    tw_broken("the sender says that the receiver broke the protocol: %s", why);
    tw_lane_lost(lane->s);
}

void tw_lane_kill(void)
{
    if (tw.tree == NULL || tw.abandoned)
        return;
    tw_trace("the sender is killed");
    tw.stats->n_sender_kills += !tw.over;
    tw.abandoned = true;
    lh_tree_cancel(tw.tree);
}

/* ---- offering ---- */

static void offer(void)
{
    struct lh_offer m = {
        .prev_epoch = lane->epoch,
        .hash = LH_HASH_XXH3_128,
        .block_bytes = TW_GRID,
        .flags = LH_OFFER_MORE_FILES | lane->owner->flags,
        .n_files = 1,
        .path = (const uint8_t *)"tree",
        .path_len = 4,
        .file = {.kind = LH_KIND_DIR, .mode = lane->owner->mode, .identity = lane->owner->identity},
        .keep = lane->owner->keep};
    uint8_t payload[LH_OFFER_MAX];

    memcpy(m.holder, lane->holder, sizeof(m.holder));
    lane->phase = OFFERED;
    lane->transfer++;
    lane->epoch = 0;
    lane->told_bytes = 0;
    lane->finish_said = false;
    say(LH_FRAME_OFFER, 0, payload, lh_offer_encode(&m, payload));
    lane->owner->offered(lane->owner);
}

static void offer_again(void *arg)
{
    if (!is_stale(arg) && lane_alive() && lane->phase == OFFERED)
        offer();
}

static void connected(void *arg)
{
    struct tw_session *s;

    if (is_stale(arg))
        return;
    s = tw_session_new();
    if (tw.abandoned || !tw_receiver_accept(s)) {
        redial(5000 + tw_below(500000));
        return;
    }
    lane->s = s;
    lane->transfer = 0;
    offer();
}

static void dial(void *arg)
{
    if (is_stale(arg))
        return;
    lane->phase = DIALING;
    later(connected, 2 * tw_latency());
}

static void on_progress(void *arg)
{
    if (lane != arg || lane->phase == ENDED)
        return;
    lane->cbs.progress(lane->cbs.arg, &(struct lh_send_stats){0});
    tw_at(TW_SENDER, 200000, on_progress, arg);
}

int lh_lane_start(uv_loop_t *loop, const struct lh_send_options *opts, struct lh_lane *owner,
                  const struct lh_send_callbacks *cbs, struct lh_send **send)
{
    (void)loop;
    (void)opts;
    lane = calloc(1, sizeof(*lane));
    if (lane == NULL)
        bail("out of memory");
    lane->owner = owner;
    lane->cbs = *cbs;
    memcpy(lane->holder, &tw.run, sizeof(tw.run));
    *send = (struct lh_send *)lane;
    tw_at(TW_SENDER, 200000, on_progress, lane);
    redial(1);
    return 0;
}

void lh_lane_part(struct lh_send *send, unsigned streams)
{
}

bool lh_lane_within_part(const struct lh_send *send)
{
    return true;
}

bool lh_lane_taken(const struct lh_send *send)
{
    (void)send;
    return lane->phase == MOVING && lane_alive();
}

/* It may once all has left. */
static void on_room(void *arg)
{
    if (lane != NULL)
        lane->room_due = false;
    if (is_stale(arg) || !lane_alive())
        return;
    lane->owner->room(lane->owner);
}

bool lh_lane_may_tell(const struct lh_send *send)
{
    bool may;

    (void)send;
    if (lane->phase < OFFERED || lane->phase > MOVING || !lane_alive())
        return false;
    if (lane->phase != MOVING)
        return lane->told_bytes < tw.plan.early_max;
    may = lane->s->up.bytes < tw.plan.unsent_max;
    if (!may && !lane->room_due) {
        lane->room_due = true;
        tw.stats->n_held++;
        later(on_room, 1 + tw_below(2000));
    }
    return may;
}

void lh_lane_pause(struct lh_send *send, bool paused)
{
    (void)send;
    if (!lane_alive())
        return;
    lane->s->sender_paused = paused;
    if (!paused)
        tw_session_go_on(lane->s);
}

void lh_lane_tell(struct lh_send *send, uint16_t type, uint16_t flags, const void *payload,
                  size_t length)
{
    (void)send;
    if (!lane_alive())
        return;
    lane->told_bytes += length;
    say(type, flags, payload, length);
}

void lh_lane_finish(struct lh_send *send)
{
    struct lh_finish finish = {0};
    uint8_t payload[256];

    (void)send;
    lane->finish_said = true;
    say(LH_FRAME_FINISH, 0, payload, lh_finish_encode(&finish, payload));
}

/* ---- what comes ---- */

static void on_accept(const struct tw_frame *f)
{
    struct lh_accept accept;
    const char *why = NULL;

    if (lh_accept_decode(f->payload, f->head.length, &accept, &why) != 0 || accept.flags != 0) {
        tw_broken("ACCEPT: %s", why != NULL ? why : "flags");
        return;
    }
    lane->epoch = accept.epoch;
    if (lh_sched_init(&lane->sched, 0, TW_GRID, accept.window) != 0)
        bail("out of memory");
    lane->sched_ready = true;
    lane->phase = MOVING;
    lane_streams_start();
    lane->owner->taken(lane->owner);
}

static void on_error(const struct tw_frame *f)
{
    struct lh_error_frame error;
    char text[LH_ERROR_TEXT_MAX + 1];
    const char *why = NULL;

    if (lh_error_decode(f->payload, f->head.length, &error, &why) != 0) {
        tw_broken("ERROR: %s", why);
        return;
    }
    if (f->head.transfer != LH_NO_TRANSFER && f->head.transfer != lane->transfer)
        return;
    snprintf(text, sizeof(text), "%.*s", (int)error.text_len, error.text);
    if (error.code == LH_WIRE_BUSY) /* of a run that was killed: it waits until it may have it */
        later(offer_again, 1000000);
    else
        lh_lane_end(NULL, lh_status_of_wire(error.code), text);
}

static void on_runs(const struct tw_frame *f)
{
    const char *why = NULL;
    int n = lh_block_runs_count(f->payload, f->head.length, &why);

    for (int i = 0; i < n; i++) {
        struct lh_block_run run = lh_block_runs_get(f->payload, (size_t)i);
        int r;

        if (f->head.type == LH_FRAME_ACK)
            r = lh_sched_ack(&lane->sched, run.first, run.first + run.count);
        else
            r = lh_sched_again(&lane->sched, run.first, run.first + run.count);
        if (r != 0) {
            tw_broken("%s of what was not sent", lh_frame_name(f->head.type));
            return;
        }
        if (f->head.type == LH_FRAME_ACK)
            lh_packs_drop(lane->owner->packs, run.first, run.first + run.count);
    }
    if (n < 0)
        tw_broken("%s: %s", lh_frame_name(f->head.type), why);
    lh_lane_feed(NULL);
}

void lh_lane_done(struct lh_send *send)
{
    (void)send;
    say(LH_FRAME_CONFIRM, 0, NULL, 0);
    lh_lane_end(NULL, 0, "");
}

void tw_lane_heard(struct tw_session *s, const struct tw_frame *f)
{
    if (lane == NULL || lane->s != s || tw.abandoned)
        return;
    if (f->head.type == LH_FRAME_ERROR)
        on_error(f);
    else if (f->head.transfer < lane->transfer)
        return;
    else if (f->head.type == LH_FRAME_ACCEPT && lane->phase == OFFERED)
        on_accept(f);
    else if (f->head.type == LH_FRAME_DONE && lane->phase == MOVING && lane->finish_said)
        lane->owner->frame(lane->owner, &f->head, f->payload);
    else if (f->head.type == LH_FRAME_ACK || f->head.type == LH_FRAME_AGAIN) {
        if (lane->phase == MOVING)
            on_runs(f);
    } else if (lane->phase >= MOVING && f->head.type >= LH_FRAME_WANTED)
        lane->owner->frame(lane->owner, &f->head, f->payload);
    else
        tw_broken("%s when it was not due", lh_frame_name(f->head.type));
}
