/* The sender's schedule of one file; its states are drawn in sched.h.
 *
 * Thread: main loop. missing, durable and the streams' granted sets are disjoint and together the
 * file. A grant takes the head of the first missing run, so its cost follows the number of streams
 * and of holes, not the size of the file. Whatever can fail for want of memory is undone or, where
 * the header says so, ends the session: the next one starts from the receiver's ledger. */
#include "core/sched.h"

#include "proto/frame.h"
#include "util/err.h"
#include "util/mutant.h"

#include <string.h>

int lh_sched_init(struct lh_sched *s, uint64_t size, uint32_t block_bytes, uint64_t window)
{
    LH_REQUIRE(block_bytes > 0);
    *s = (struct lh_sched){.size = size,
                           .block_bytes = block_bytes,
                           .n_blocks = lh_blocks_of(size, block_bytes),
                           .window = window};
    lh_runs_init(&s->missing, LH_RUNS_MAX);
    lh_runs_init(&s->durable, LH_RUNS_MAX);
    for (unsigned i = 0; i < LH_SCHED_MAX_STREAMS; i++)
        lh_runs_init(&s->streams[i].granted, LH_RUNS_MAX);
    return lh_runs_add(&s->missing, 0, s->n_blocks);
}

void lh_sched_free(struct lh_sched *s)
{
    lh_runs_free(&s->missing);
    lh_runs_free(&s->durable);
    for (unsigned i = 0; i < LH_SCHED_MAX_STREAMS; i++)
        lh_runs_free(&s->streams[i].granted);
}

int lh_sched_grow(struct lh_sched *s, uint64_t n_blocks)
{
    int rc;

    LH_REQUIRE(s->size == s->n_blocks * s->block_bytes);
    rc = lh_runs_add(&s->missing, s->n_blocks, s->n_blocks + n_blocks);
    if (rc < 0)
        return rc;
    s->n_blocks += n_blocks;
    s->size += n_blocks * s->block_bytes;
    return 0;
}

static bool in_file(const struct lh_sched *s, uint64_t first, uint64_t end)
{
    return first <= end && end <= s->n_blocks;
}

/* Blocks that `from` has and `to` has not: all of them change sides, or none. */
static int move(struct lh_runs *from, struct lh_runs *to, uint64_t first, uint64_t end)
{
    int rc = lh_runs_add(to, first, end);

    if (rc < 0)
        return rc;
    rc = lh_runs_sub(from, first, end);
    if (rc < 0)
        LH_INVARIANT(lh_runs_sub(to, first, end) == 0); /* as it was: that fitted */
    return rc;
}

/* The part of `set` that lies within [first, end), to `to`. */
static int move_within(struct lh_runs *set, struct lh_runs *to, uint64_t first, uint64_t end)
{
    for (;;) {
        size_t i = lh_runs_find(set, first);
        struct lh_run run;
        int rc;

        if (i == set->n || set->v[i].first >= end)
            return 0;
        run = set->v[i];
        if (run.first < first)
            run.first = first;
        if (run.end > end)
            run.end = end;
        rc = move(set, to, run.first, run.end);
        if (rc < 0)
            return rc;
    }
}

int lh_sched_restore(struct lh_sched *s, uint64_t first, uint64_t end)
{
    int rc;

    if (!in_file(s, first, end))
        return -LH_E_PROTOCOL;
    rc = lh_runs_add(&s->durable, first, end);
    if (rc < 0)
        return rc;
    return lh_runs_sub(&s->missing, first, end);
}

void lh_sched_stream_up(struct lh_sched *s, unsigned stream)
{
    struct lh_sched_stream *st = &s->streams[stream];

    LH_REQUIRE(stream < LH_SCHED_MAX_STREAMS && !st->live);
    st->live = true;
    st->rate_Bps = 0;
    st->n_way = 0;
    st->passed_bytes = 0;
    st->seen = (struct lh_sched_seen){0};
    st->moved_ms = st->late_ms = 0;
}

void lh_sched_stream_rate(struct lh_sched *s, unsigned stream, uint64_t rate_Bps)
{
    LH_REQUIRE(stream < LH_SCHED_MAX_STREAMS);
    s->streams[stream].rate_Bps = rate_Bps;
}

static int put_back(struct lh_sched *s, struct lh_sched_stream *st, uint64_t first, uint64_t end)
{
    uint64_t before = st->granted.blocks;
    int rc = move_within(&st->granted, &s->missing, first, end);

    s->granted_blocks -= before - st->granted.blocks;
    return rc;
}

int lh_sched_stream_down(struct lh_sched *s, unsigned stream)
{
    LH_REQUIRE(stream < LH_SCHED_MAX_STREAMS);
    s->streams[stream].live = false;
    return put_back(s, &s->streams[stream], 0, s->n_blocks);
}

static unsigned n_live(const struct lh_sched *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LH_SCHED_MAX_STREAMS; i++)
        n += s->streams[i].live;
    return n;
}

/* Blocks that the next range of a stream should have, at least 1. */
static uint64_t range_blocks(const struct lh_sched *s, const struct lh_sched_stream *st)
{
    uint64_t most = LH_RANGE_FIRST_BYTES;
    uint64_t left = s->missing.blocks * s->block_bytes;
    uint64_t live = n_live(s);
    uint64_t share = left / (2 * live);

    if (st->rate_Bps > 0) {
        most = LH_RANGE_MAX_BYTES;
        if (st->rate_Bps < LH_RANGE_MAX_BYTES * 1000 / LH_RANGE_MAX_MS)
            most = st->rate_Bps * LH_RANGE_MAX_MS / 1000;
    }
    if (share < LH_RANGE_FLOOR_BYTES && left >= live * LH_RANGE_FLOOR_BYTES)
        share = LH_RANGE_FLOOR_BYTES;
    if (most > share)
        most = share;
    return most < s->block_bytes ? 1 : most / s->block_bytes;
}

/* More ranges than fit: the first are counted as brought, so that they are not sent twice. */
static void push_way(const struct lh_sched *s, struct lh_sched_stream *st, uint64_t first,
                     uint64_t end)
{
    if (st->n_way == 0)
        st->moved_ms = 0; /* that it brought nothing until now says nothing */
    if (st->n_way > 0 && st->way[st->n_way - 1].end == first) {
        st->way[st->n_way - 1].end = end;
        return;
    }
    if (st->n_way == LH_SCHED_WAY_MAX) {
        for (uint64_t b = st->way[0].first; b < st->way[0].end; b++)
            st->passed_bytes += LH_FRAME_HEADER_SIZE + lh_block_length(s->size, s->block_bytes, b);
        memmove(st->way, st->way + 1, --st->n_way * sizeof(st->way[0]));
    }
    st->way[st->n_way++] = (struct lh_run){first, end};
}

int lh_sched_take_over(struct lh_sched *s, unsigned from, unsigned to, uint64_t first, uint64_t end)
{
    int rc;

    LH_REQUIRE(from != to && s->streams[to].live);
    LH_REQUIRE(lh_runs_covers(&s->streams[from].granted, first, end));
    rc = move(&s->streams[from].granted, &s->streams[to].granted, first, end);
    if (rc == 0)
        push_way(s, &s->streams[to], first, end);
    return rc;
}

bool lh_sched_grant(struct lh_sched *s, unsigned stream, uint64_t *first, uint64_t *end)
{
    struct lh_sched_stream *st = &s->streams[stream];
    uint64_t floor_blocks = LH_RANGE_FLOOR_BYTES / s->block_bytes;
    uint64_t window = s->window / s->block_bytes;
    uint64_t room = window > s->granted_blocks ? window - s->granted_blocks : 0;
    struct lh_run run;
    uint64_t want;

    LH_REQUIRE(stream < LH_SCHED_MAX_STREAMS && st->live);
    if (s->missing.n == 0)
        return false;
    if (lh_mutant("stop-and-wait") && st->granted.n > 0)
        return false;
    run = s->missing.v[0];
    want = range_blocks(s, st);
    if (run.end - run.first < want)
        want = run.end - run.first;
    if (s->granted_blocks == 0 && room == 0)
        room = 1; /* the window is smaller than a block */
    /* A sliver of a window is not worth a range of its own: the next acknowledgement brings more.
     */
    if (room < want && room < floor_blocks && s->granted_blocks > 0)
        return false;
    if (room < want)
        want = room;
    if (want == 0)
        return false;
    run.end = run.first + want;
    if (move(&s->missing, &st->granted, run.first, run.end) < 0)
        return false;
    s->granted_blocks += want;
    push_way(s, st, run.first, run.end);
    if (s->reached < run.end)
        s->reached = run.end;
    *first = run.first;
    *end = run.end;
    return true;
}

int lh_sched_ack(struct lh_sched *s, uint64_t first, uint64_t end)
{
    uint64_t from = first > s->reached ? first : s->reached;
    int rc;

    if (!in_file(s, first, end))
        return -LH_E_PROTOCOL;
    if (from < end && !lh_runs_covers(&s->durable, from, end))
        return -LH_E_PROTOCOL;
    rc = lh_runs_add(&s->durable, first, end);
    if (rc == 0)
        rc = lh_runs_sub(&s->missing, first, end);
    for (unsigned i = 0; rc == 0 && i < LH_SCHED_MAX_STREAMS; i++) {
        struct lh_runs *granted = &s->streams[i].granted;
        uint64_t before = granted->blocks;

        rc = lh_runs_sub(granted, first, end);
        s->granted_blocks -= before - granted->blocks;
    }
    return rc;
}

int lh_sched_again(struct lh_sched *s, uint64_t first, uint64_t end)
{
    int rc = in_file(s, first, end) ? 0 : -LH_E_PROTOCOL;

    for (unsigned i = 0; rc == 0 && i < LH_SCHED_MAX_STREAMS; i++)
        rc = put_back(s, &s->streams[i], first, end);
    return rc;
}

int lh_sched_retracted(struct lh_sched *s, uint64_t first, uint64_t end)
{
    if (!in_file(s, first, end))
        return -LH_E_PROTOCOL;
    return move_within(&s->durable, &s->missing, first, end);
}

uint64_t lh_sched_bytes(const struct lh_sched *s, const struct lh_runs *r)
{
    uint64_t bytes = r->blocks * s->block_bytes;

    if (s->n_blocks > 0 && lh_runs_has(r, s->n_blocks - 1))
        bytes -= s->block_bytes - lh_block_length(s->size, s->block_bytes, s->n_blocks - 1);
    return bytes;
}

bool lh_sched_in_flight(const struct lh_sched *s, uint64_t from, uint64_t *first, uint64_t *end)
{
    uint64_t at, until;

    while (lh_runs_gap(&s->missing, from, s->n_blocks, &at, &until)) {
        if (lh_runs_gap(&s->durable, at, until, first, end))
            return true;
        from = until;
    }
    return false;
}
