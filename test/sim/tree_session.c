/* The network between both ends: control connections, in order, delayed, cut. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

struct tw_session *tw_session_new(void)
{
    struct tw_session *s = calloc(1, sizeof(*s));

    if (s == NULL)
        bail("out of memory");
    s->id = ++tw.n_sessions;
    s->up.tail = &s->up.head;
    s->down.tail = &s->down.head;
    s->next = tw.sessions;
    tw.sessions = s;
    return s;
}

static void pop(struct tw_way *way)
{
    struct tw_frame *f = way->head;

    way->head = f->next;
    if (way->head == NULL)
        way->tail = &way->head;
    way->bytes -= f->head.length;
    free(f);
}

static void empty(struct tw_way *way)
{
    while (way->head != NULL)
        pop(way);
}

/* Whether its end takes something now. */
static bool listens(const struct tw_session *s, const struct tw_way *way)
{
    if (way == &s->up)
        return s->r == NULL || !s->r->ctl.paused;
    return !s->sender_paused;
}

static void deliver(struct tw_session *s, struct tw_way *way)
{
    while (way->head != NULL && way->head->at <= tw.now && listens(s, way)) {
        struct tw_frame *f = way->head;

        way->head = f->next;
        if (way->head == NULL)
            way->tail = &way->head;
        way->bytes -= f->head.length;
        if (way == &s->up && f->end)
            tw_receiver_lost(s);
        else if (way == &s->up)
            tw_receiver_heard(s, f);
        else if (f->end)
            tw_lane_lost(s);
        else
            tw_lane_heard(s, f);
        free(f);
    }
}

static void on_up(void *arg)
{
    struct tw_session *s = arg;

    deliver(s, &s->up);
}

static void on_down(void *arg)
{
    struct tw_session *s = arg;

    deliver(s, &s->down);
}

void tw_session_go_on(struct tw_session *s)
{
    tw_at(TW_WORLD, 1, on_up, s);
    tw_at(TW_WORLD, 1, on_down, s);
}

static void push(struct tw_session *s, struct tw_way *way, const struct lh_frame *head,
                 const void *payload, bool end)
{
    struct tw_frame *f = malloc(sizeof(*f) + head->length);
    uint64_t at = tw.now + tw_latency();

    if (f == NULL)
        bail("out of memory");
    way->at = at > way->at ? at : way->at;
    *f = (struct tw_frame){.at = way->at, .end = end, .head = *head};
    if (payload != NULL)
        memcpy(f->payload, payload, head->length);
    *way->tail = f;
    way->tail = &f->next;
    way->bytes += head->length;
    tw_at(TW_WORLD, way->at - tw.now, way == &s->up ? on_up : on_down, s);
}

void tw_session_say(struct tw_session *s, struct tw_way *way, const struct lh_frame *head,
                    const void *payload)
{
    if (!s->cut)
        push(s, way, head, payload, false);
}

void tw_session_end(struct tw_session *s, struct tw_way *way)
{
    if (!s->cut)
        push(s, way, &(struct lh_frame){0}, NULL, true);
}

static void on_sender_sees(void *arg)
{
    tw_lane_lost(arg);
}

static void on_receiver_sees(void *arg)
{
    tw_receiver_lost(arg);
}

void tw_session_cut(struct tw_session *s, bool silently)
{
    if (s->cut)
        return;
    s->cut = true;
    empty(&s->up);
    empty(&s->down);
    tw_at(TW_WORLD, tw_below(silently ? 2000000 : 5000), on_sender_sees, s);
    tw_at(TW_WORLD, silently ? TW_HOLDER_TIMEOUT_MS * 1000 : tw_below(5000), on_receiver_sees, s);
}

void tw_sessions_free(void)
{
    while (tw.sessions != NULL) {
        struct tw_session *s = tw.sessions;

        tw.sessions = s->next;
        empty(&s->up);
        empty(&s->down);
        free(s);
    }
}
