/* The streams of a lane: packs that the schedule grants, made by the program, on their way to the
 * receiver. They are late, get damaged and come twice; a stream that is lost comes up again. */
#include "test/sim/tree_lane.h"

#include "test/lib/tap.h"

#include <stdlib.h>

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

    if (i < 0 || lane->phase != MOVING || !lane_alive())
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

void lane_streams_start(void)
{
    for (unsigned i = 0; i < tw.plan.n_streams; i++)
        stream_later(i, on_up, 1 + tw_below(i == 0 ? 100 : 50000));
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
