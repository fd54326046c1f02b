/* Holes of a sparse source: made durable without a byte on the wire.
 *
 * Thread: the committer of its file system, between commits.
 *
 * Happy path: blocks that are no data and not durable -> punched where there may be something from
 * before -> pending, with the hash of zeros -> committed like any others, some thousand a turn.
 * Failures: a hole that cannot be punched comes as data. */
#include "io/disk/sink_impl.h"

#include "core/sched.h"

#define HOLES_A_TURN 4096u /* blocks, in one commit */

static uint32_t length_of(const struct lh_sink *s, uint64_t block)
{
    return lh_block_length(s->source.size, s->block_bytes, block);
}

/* Blocks that nobody has had, in a staging file that reads as zeros there. */
static int pend_zeros(struct lh_sink *s, uint64_t first, uint64_t end)
{
    struct lh_hash full, last;
    int r = 0;

    lh_hash_zeros(s->block_bytes, &full);
    lh_hash_zeros(length_of(s, s->n_blocks - 1), &last);
    pthread_mutex_lock(&s->lock);
    for (uint64_t block = first; block < end && r == 0; block++) {
        if (lh_ledger_claim(&s->ledger, s->ledger.epoch, block) != LH_CLAIM_OK)
            r = -LH_E_NOMEM; /* nothing else is under way that it could clash with */
        else
            r = lh_ledger_wrote(&s->ledger, block, block + 1 == s->n_blocks ? &last : &full);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

/* The holes among [first, end): those not durable yet become pending. */
static int take_holes(struct lh_sink *s, uint64_t first, uint64_t end)
{
    uint64_t from, to;
    int r = 0;

    while (r == 0 && first < end && lh_runs_gap(&s->ledger.taken, first, end, &from, &to)) {
        uint64_t bytes = (to - from - 1) * s->block_bytes + length_of(s, to - 1);

        if (s->new_made || lh_staging_punch(s->fd, from * s->block_bytes, bytes) == 0)
            r = pend_zeros(s, from, to);
        first = to;
    }
    return r;
}

int lh_sink_holes(struct lh_sink *s, struct lh_err *err)
{
    struct lh_runs acked;
    uint64_t turn = s->ledger.max_pending < HOLES_A_TURN ? s->ledger.max_pending : HOLES_A_TURN;
    uint64_t n = 0, first, end;
    int r = 0;

    if (!s->has_holes || s->done)
        return 0;
    while (r == 0 && n < turn && lh_runs_gap(&s->data, s->hole_at, s->n_blocks, &first, &end)) {
        if (end - first > turn - n)
            end = first + turn - n;
        r = take_holes(s, first, end);
        s->hole_at = end;
        n += end - first;
    }
    if (r != 0)
        return lh_err_set(err, -r, "%s: %s", s->shown, lh_status_text(r));
    if (n == 0)
        return 0;
    lh_runs_init(&acked, LH_RUNS_MAX);
    r = lh_sink_commit_begin(s, err);
    if (r > 0)
        r = lh_sink_commit_end(s, &acked, err);
    lh_runs_free(&acked);
    return r < 0 ? r : 1;
}
