/* The last blocks, sent a second time; when and why is told in tail.h. */
#include "core/tail.h"

#include "proto/frame.h"
#include "util/mutant.h"

#include <string.h>

const char *lh_tail_why_text(enum lh_tail_why why)
{
    return why == LH_TAIL_SLOW    ? "it is slow"
           : why == LH_TAIL_HELD  ? "its far end hardly reads, and the receiver's disk is free"
           : why == LH_TAIL_HANGS ? "it hangs, and the receiver waits for nothing"
                                  : "nothing";
}

/* ---- what TCP says ---- */

/* Whole frames that TCP has brought leave the way. True when any did. */
static bool pass(const struct lh_sched *s, struct lh_sched_stream *st, uint64_t brought_bytes)
{
    uint64_t before = st->passed_bytes;

    while (st->n_way > 0) {
        struct lh_run *run = &st->way[0];
        uint64_t frame =
            LH_FRAME_HEADER_SIZE + lh_block_length(s->size, s->block_bytes, run->first);

        if (st->passed_bytes + frame > brought_bytes)
            break;
        st->passed_bytes += frame;
        if (++run->first == run->end)
            memmove(run, run + 1, --st->n_way * sizeof(*run));
    }
    return st->passed_bytes != before;
}

static uint64_t way_blocks(const struct lh_sched_stream *st)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < st->n_way; i++)
        n += st->way[i].end - st->way[i].first;
    return n;
}

/* Packs of a tree may hold less than the grid says. */
static uint64_t holds_bytes(const struct lh_sched *s)
{
    return s->holds_bytes > 0 ? s->holds_bytes : s->block_bytes;
}

/* At the stream's rate; for ever when it has none. */
static uint64_t takes_ms(const struct lh_sched *s, const struct lh_sched_stream *st,
                         uint64_t blocks)
{
    if (blocks == 0)
        return 0;
    return st->rate_Bps > 0 ? blocks * holds_bytes(s) * 1000 / st->rate_Bps : UINT32_MAX;
}

void lh_tail_seen(struct lh_sched *s, unsigned stream, const struct lh_sched_seen *seen,
                  uint64_t now_ms)
{
    struct lh_sched_stream *st = &s->streams[stream];
    bool moved = pass(s, st, seen->brought_bytes) || seen->brought_bytes > st->seen.brought_bytes ||
                 (seen->queued_bytes == 0 && st->n_way > 0);

    if (moved || st->moved_ms == 0)
        st->moved_ms = now_ms;
    st->seen = *seen;
    st->rate_Bps = seen->rate_Bps;
    if (!seen->held || seen->queued_bytes == 0 || takes_ms(s, st, way_blocks(st)) < LH_TAIL_HANG_MS)
        st->late_ms = 0;
    else if (st->late_ms == 0)
        st->late_ms = now_ms;
}

/* ---- what is sent again ---- */

/* The last blocks of `within` that the stream still answers for, at most `most` in a row. */
static bool last_granted(const struct lh_sched_stream *st, const struct lh_run *within,
                         uint64_t most, struct lh_run *run)
{
    const struct lh_runs *granted = &st->granted;
    size_t i = lh_runs_find(granted, within->end - 1);

    if (i == granted->n || granted->v[i].first >= within->end) {
        if (i == 0 || granted->v[i - 1].end <= within->first)
            return false;
        i--;
    }
    *run = granted->v[i];
    if (run->end > within->end)
        run->end = within->end;
    if (run->first < within->first)
        run->first = within->first;
    if (run->end - run->first > most)
        run->first = run->end - most;
    return true;
}

/* The same of all that is on its way; *upto: blocks that the stream brings until it is through with
 * them. */
static bool last_on_way(const struct lh_sched_stream *st, uint64_t most, struct lh_run *run,
                        uint64_t *upto)
{
    uint64_t before = way_blocks(st);

    for (unsigned i = st->n_way; i-- > 0;) {
        before -= st->way[i].end - st->way[i].first;
        if (last_granted(st, &st->way[i], most, run)) {
            *upto = before + run->end - st->way[i].first;
            return true;
        }
    }
    return false;
}

static bool on_way(const struct lh_sched_stream *st, const struct lh_run *run)
{
    for (unsigned i = 0; i < st->n_way; i++)
        if (st->way[i].first < run->end && run->first < st->way[i].end)
            return true;
    return false;
}

static bool said_since(const struct lh_tail_far *far, uint64_t since_ms)
{
    if (lh_mutant("blame-stream"))
        return true;
    return far->heard_ms >= since_ms + LH_TAIL_NEWS_MS;
}

/* For so long nothing has moved, and since then the receiver has said that it waits for nothing. */
static bool hangs(const struct lh_sched_stream *st, const struct lh_tail_far *far, uint64_t now_ms,
                  uint64_t for_ms)
{
    return st->live && st->granted.n > 0 && st->moved_ms != 0 && now_ms - st->moved_ms >= for_ms &&
           said_since(far, st->moved_ms) && far->disk_wait_ms == 0 && far->undurable_bytes == 0;
}

/* How long until the holder would be through with `run`, and why another may have it. */
static enum lh_tail_why late(const struct lh_sched *s, const struct lh_sched_stream *st,
                             const struct lh_tail_far *far, uint64_t most, uint64_t now_ms,
                             struct lh_run *run, uint64_t *left_ms)
{
    const struct lh_run all = {0, s->n_blocks};
    uint64_t stuck_ms = now_ms - st->moved_ms;
    uint64_t upto;

    if (!st->live || st->granted.n == 0 || st->moved_ms == 0)
        return LH_TAIL_NOTHING;
    if (hangs(st, far, now_ms, LH_TAIL_HANG_MS)) {
        *left_ms = UINT64_MAX;
        return last_granted(st, &all, most, run) ? LH_TAIL_HANGS : LH_TAIL_NOTHING;
    }
    if (st->seen.queued_bytes == 0 || !last_on_way(st, most, run, &upto))
        return LH_TAIL_NOTHING; /* the source's turn, or a commit's */
    *left_ms = st->rate_Bps > 0 ? takes_ms(s, st, upto) : stuck_ms;
    if (*left_ms < stuck_ms)
        *left_ms = stuck_ms;
    if (!st->seen.held)
        return LH_TAIL_SLOW;
    return st->late_ms != 0 && now_ms - st->late_ms >= LH_TAIL_HANG_MS &&
                   said_since(far, st->late_ms) && far->disk_wait_ms < LH_TAIL_FREE_MS
               ? LH_TAIL_HELD
               : LH_TAIL_NOTHING;
}

/* Blocks that a stream may take at once. */
static uint64_t step_blocks(const struct lh_sched *s, const struct lh_sched_stream *st)
{
    uint64_t bytes = st->rate_Bps < LH_RANGE_FLOOR_BYTES * 1000 / LH_TAIL_STEP_MS
                         ? st->rate_Bps * LH_TAIL_STEP_MS / 1000
                         : LH_RANGE_FLOOR_BYTES;

    return bytes < holds_bytes(s) ? 1 : bytes / holds_bytes(s);
}

/* A stream that is no better off than those it would help is no help. One whose rate is not known
 * yet may try. */
static bool can_help(const struct lh_sched_stream *st, uint64_t now_ms)
{
    return st->live && (st->rate_Bps > 0 || st->n_way == 0) && st->late_ms == 0 &&
           (st->granted.n == 0 || now_ms - st->moved_ms < LH_TAIL_HANG_MS);
}

static uint64_t helper_ms(const struct lh_sched *s, const struct lh_sched_stream *st,
                          uint64_t blocks)
{
    if (st->rate_Bps == 0)
        return LH_TAIL_TRY_MS;
    return takes_ms(s, st, way_blocks(st) + blocks) + st->seen.rtt_ms;
}

enum lh_tail_why lh_tail_take(struct lh_sched *s, unsigned stream, const struct lh_tail_far *far,
                              uint64_t now_ms, bool more, unsigned *from, uint64_t *first,
                              uint64_t *end)
{
    const struct lh_sched_stream *to = &s->streams[stream];
    uint64_t margin_ms = more ? LH_TAIL_MORE_MS : LH_TAIL_MARGIN_MS;
    enum lh_tail_why best = LH_TAIL_NOTHING;
    struct lh_run take = {0, 0};
    uint64_t most_ms = 0;

    if (!lh_sched_nothing_to_grant(s) || !can_help(to, now_ms) || (more && to->n_way > 0) ||
        lh_mutant("send-once"))
        return LH_TAIL_NOTHING;
    for (unsigned i = 0; i < LH_SCHED_MAX_STREAMS; i++) {
        uint64_t left_ms = 0;
        struct lh_run run;
        enum lh_tail_why why =
            i == stream ? LH_TAIL_NOTHING
                        : late(s, &s->streams[i], far, step_blocks(s, to), now_ms, &run, &left_ms);
        uint64_t needs_ms;

        if (why == LH_TAIL_NOTHING || left_ms <= most_ms || on_way(to, &run))
            continue;
        needs_ms = helper_ms(s, to, run.end - run.first);
        if (left_ms <= 2 * needs_ms + margin_ms)
            continue;
        best = why;
        most_ms = left_ms;
        *from = i;
        take = run;
    }
    if (best == LH_TAIL_NOTHING || lh_sched_take_over(s, *from, stream, take.first, take.end) != 0)
        return LH_TAIL_NOTHING;
    *first = take.first;
    *end = take.end;
    return best;
}

bool lh_tail_hopeless(const struct lh_sched *s, unsigned stream, const struct lh_tail_far *far,
                      uint64_t now_ms)
{
    return hangs(&s->streams[stream], far, now_ms, LH_TAIL_HOPELESS_MS);
}
