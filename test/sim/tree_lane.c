/* The sender's lane: what io/lane.c, session, offer, mover and streams do for a tree, on a network
 * that is made up. The schedule and the packs are the program's.
 *
 * Happy path: dial -> OFFER, and what is told with it -> ACCEPT -> streams ask for packs, make them
 * and send them -> FINISH -> DONE -> CONFIRM -> done. Lost: all of it anew after a pause. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum phase { RESTING, DIALING, OFFERED, MOVING, ENDED };

struct stream {
    bool up;
    unsigned gen;       /* of what is on its way to it */
    uint64_t next, end; /* packs it was granted and has not made */
};

struct lane {
    struct lh_lane *owner;
    struct lh_send_callbacks cbs;
    struct lh_sched sched;
    bool sched_ready;
    enum phase phase;
    unsigned dials; /* events of older ones are stale */
    struct tw_session *s;
    uint32_t transfer;
    uint64_t epoch;
    uint64_t told_bytes;
    bool finish_said;
    bool room_due;
    uint8_t holder[LH_HOLDER_SIZE];
    struct stream streams[TW_STREAMS];
    int status;
    char text[600];
};

static struct lane *lane; /* of the run at hand */

static void dial(void *arg);

static bool alive(void)
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
    if (!is_stale(arg) && alive() && lane->phase == OFFERED)
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
    return lane->phase == MOVING && alive();
}

/* It may once all has left. */
static void on_room(void *arg)
{
    if (lane != NULL)
        lane->room_due = false;
    if (is_stale(arg) || !alive())
        return;
    lane->owner->room(lane->owner);
}

bool lh_lane_may_tell(const struct lh_send *send)
{
    bool may;

    (void)send;
    if (lane->phase < OFFERED || lane->phase > MOVING || !alive())
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
    if (!alive())
        return;
    lane->s->sender_paused = paused;
    if (!paused)
        tw_session_go_on(lane->s);
}

void lh_lane_tell(struct lh_send *send, uint16_t type, uint16_t flags, const void *payload,
                  size_t length)
{
    (void)send;
    if (!alive())
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

/* ---- streams ---- */

/* A pack on its way. */
struct pack {
    struct tw_session *s;
    unsigned stream;
    unsigned gen;
    uint32_t transfer;
    uint64_t epoch;
    uint64_t number;
    uint32_t len;
    struct lh_hash hash;
    uint8_t data[TW_GRID];
};

static void on_arrival(void *arg)
{
    struct pack *p = arg;

    if (!p->s->cut && p->s->stream_gen[p->stream] == p->gen)
        tw_receiver_block(p->s, p->transfer, p->epoch, p->number, p->data, p->len, &p->hash);
    free(p);
}

static void send_pack(unsigned i, uint64_t number)
{
    struct pack *p = malloc(sizeof(*p));
    uint64_t at = tw.now + tw_latency();

    if (p == NULL)
        bail("out of memory");
    p->len = lh_packs_make(lane->owner->packs, number, p->data);
    if (p->len == 0 || tw.abandoned) {
        free(p);
        return;
    }
    if (p->len > TW_GRID)
        tw_broken("a pack of %u bytes", p->len);
    tw_trace("  session %u: stream %u sends pack %llu, %u bytes", lane->s->id, i,
             (unsigned long long)number, p->len);
    p->s = lane->s;
    p->stream = i;
    p->gen = lane->s->stream_gen[i];
    p->transfer = lane->transfer;
    p->epoch = lane->epoch;
    p->number = number;
    lh_hash_bytes(p->data, p->len, &p->hash);
    if (tw.plan.damage_one_in > 0 && !tw_is_calm() && tw_one_in(tw.plan.damage_one_in)) {
        p->data[tw_below(p->len)] ^= (uint8_t)(1u << tw_below(8));
        tw.stats->n_damaged++;
    }
    if (at < lane->s->stream_at[i])
        at = lane->s->stream_at[i];
    lane->s->stream_at[i] = at;
    tw_at(TW_WORLD, at - tw.now, on_arrival, p);
}

static void on_make(void *arg);

/* What a stream's event must know of it. */
struct tick {
    unsigned dials;
    unsigned stream;
    unsigned gen;
};

static void stream_later(unsigned i, void (*fn)(void *arg), uint64_t delay_us)
{
    struct tick *t = malloc(sizeof(*t));

    if (t == NULL)
        bail("out of memory");
    *t = (struct tick){lane->dials, i, lane->streams[i].gen};
    tw_at(TW_SENDER, delay_us, fn, t);
}

/* The stream it was of, or -1. */
static int stream_of(void *arg)
{
    struct tick t = *(struct tick *)arg;

    free(arg);
    if (lane == NULL || lane->dials != t.dials || lane->streams[t.stream].gen != t.gen)
        return -1;
    return (int)t.stream;
}

/* One that is on its way elsewhere, for the last time perhaps: it may be another by now. */
static void send_double(unsigned i)
{
    uint64_t first, end;

    if (!tw_one_in(6) || !lh_sched_in_flight(&lane->sched, 0, &first, &end))
        return;
    tw.stats->n_doubles++;
    send_pack(i, first + tw_below(end - first));
}

static void feed(unsigned i)
{
    struct stream *st = &lane->streams[i];

    if (!st->up || st->next < st->end)
        return;
    if (lh_sched_grant(&lane->sched, i, &st->next, &st->end) ||
        (lane->owner->hungry(lane->owner) && lane->phase == MOVING &&
         lh_sched_grant(&lane->sched, i, &st->next, &st->end)))
        stream_later(i, on_make, 1 + tw_below(3000));
    else
        send_double(i);
}

static void on_make(void *arg)
{
    int i = stream_of(arg);
    struct stream *st;

    if (i < 0 || lane->phase != MOVING || !alive())
        return;
    st = &lane->streams[i];
    send_pack((unsigned)i, st->next++);
    if (st->next < st->end)
        stream_later((unsigned)i, on_make, 1 + tw_below(tw_one_in(20) ? 500000 : 3000));
    else
        feed((unsigned)i);
}

void lh_lane_feed(struct lh_send *send)
{
    (void)send;
    for (unsigned i = 0; i < tw.plan.n_streams && lane->phase == MOVING; i++)
        feed(i);
}

void lh_lane_grow(struct lh_send *send, uint64_t n_packs)
{
    (void)send;
    if (lane->sched_ready && lh_sched_grow(&lane->sched, n_packs) != 0)
        bail("out of memory");
}

bool lh_lane_brief(const struct lh_send *send)
{
    (void)send;
    return true;
}

static void on_up(void *arg)
{
    int i = stream_of(arg);

    if (i < 0 || lane->phase != MOVING)
        return;
    lane->streams[i].up = true;
    lane->streams[i].next = lane->streams[i].end = 0;
    lh_sched_stream_up(&lane->sched, (unsigned)i);
    feed((unsigned)i);
}

void tw_lane_stream_lost(void)
{
    unsigned i = (unsigned)tw_below(tw.plan.n_streams);

    if (lane == NULL || lane->phase != MOVING || !lane->streams[i].up)
        return;
    tw_trace("stream %u is lost", i);
    tw.stats->n_streams_lost++;
    lane->streams[i].up = false;
    lane->streams[i].gen++;
    lane->s->stream_gen[i]++;
    if (lh_sched_stream_down(&lane->sched, i) != 0)
        bail("out of memory");
    stream_later(i, on_up, 1 + tw_below(200000));
    lh_lane_feed(NULL);
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
    for (unsigned i = 0; i < tw.plan.n_streams; i++)
        stream_later(i, on_up, 1 + tw_below(i == 0 ? 100 : 50000));
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
