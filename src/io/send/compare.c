/* Comparing what is durable at the receiver with the file at hand, while the rest is sent.
 *
 * Needed when size and mtime say "the same version" but device, inode or ctime differ: another
 * host's copy, another mount, or contents rewritten with the mtime put back.
 *
 * Thread: main loop; reading and hashing on a prep thread.
 *
 * Happy path: for each run that was durable at the start: HASHES_WANTED -> HASHES -> hash our
 * blocks, a few at a time so that streams get their turn -> RETRACT what differs -> RETRACTED ->
 * the mover sends it anew. At the end an empty RETRACT flagged last tells the receiver to remember
 * it. */
#include "io/send/sender.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define STEP_BLOCKS 64u

void lh_compare_reset(struct lh_send *s)
{
    lh_runs_free(&s->compare.todo);
    lh_runs_free(&s->compare.differ);
    free(s->compare.theirs);
    memset(&s->compare, 0, sizeof(s->compare));
    lh_runs_init(&s->compare.todo, LH_RUNS_MAX);
    lh_runs_init(&s->compare.differ, LH_RUNS_MAX);
}

bool lh_compare_settled(const struct lh_send *s)
{
    return s->compare.begun && !s->compare.wanted;
}

void lh_compare_start(struct lh_send *s)
{
    s->compare.begun = true;
    if (!(s->accept_flags & LH_ACCEPT_COMPARE) || s->sched.durable.n == 0)
        return;
    s->compare.wanted = true;
    for (size_t i = 0; i < s->sched.durable.n; i++)
        if (lh_runs_add(&s->compare.todo, s->sched.durable.v[i].first, s->sched.durable.v[i].end) !=
            0) {
            lh_send_end(s, LH_E_NOMEM, "out of memory");
            return;
        }
    lh_log(&s->log, LH_LOG_INFO, "compare blocks=%llu", (unsigned long long)s->compare.todo.blocks);
    lh_compare_step(s);
}

/* What was found to differ so far goes out; last: the comparison is over. */
static void send_retract(struct lh_send *s, bool last)
{
    s->compare.waiting = true;
    lh_session_send_runs(s, LH_FRAME_RETRACT, last ? LH_FRAME_LAST : 0, &s->compare.differ);
    s->compare.n_differ += s->compare.differ.blocks;
    lh_runs_clear(&s->compare.differ);
}

void lh_compare_step(struct lh_send *s)
{
    struct lh_hashes_wanted wanted;
    uint8_t payload[64];
    struct lh_run *run;

    if (!s->compare.wanted || s->compare.waiting || s->phase != LH_PHASE_MOVING)
        return;
    if (s->compare.todo.n == 0) {
        send_retract(s, true);
        return;
    }
    run = &s->compare.todo.v[0];
    wanted.first = run->first;
    wanted.count = run->end - run->first < LH_HASHES_PER_FRAME ? (uint32_t)(run->end - run->first)
                                                               : LH_HASHES_PER_FRAME;
    s->compare.waiting = true;
    lh_session_send(s, LH_FRAME_HASHES_WANTED, 0, payload,
                    lh_hashes_wanted_encode(&wanted, payload));
}

/* ---- hashing our side ---- */

static void submit(struct lh_send *s);

static uint32_t step_length(const struct lh_compare *c)
{
    return c->n - c->at < STEP_BLOCKS ? c->n - c->at : STEP_BLOCKS;
}

static void hash_run(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, compare.job);
    struct lh_pool_buf *buf = lh_pool_get(&s->engine->pool, s->opts.block_bytes);

    if (buf == NULL) {
        lh_err_set(&s->compare.err, LH_E_NOMEM, "out of memory");
        return;
    }
    lh_source_hash_blocks(&s->source, buf->base, s->opts.block_bytes,
                          s->compare.first + s->compare.at, step_length(&s->compare),
                          s->compare.ours, NULL, &s->compare.err);
    lh_pool_put(&s->engine->pool, buf);
}

static void on_hashed(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, compare.job);
    struct lh_compare *c = &s->compare;
    uint32_t n = step_length(c);

    c->hashing = false;
    if (s->phase != LH_PHASE_MOVING) {
        lh_session_maybe_quiet(s);
        lh_send_maybe_end(s);
        return;
    }
    if (c->err.status == LH_E_SOURCE_CHANGED) {
        lh_send_restart(s, c->err.text);
        return;
    }
    if (c->err.status != 0) {
        lh_send_end(s, c->err.status, "%s", c->err.text);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t block = c->first + c->at + i;

        if (memcmp(&c->ours[i], &c->theirs[c->at + i], sizeof(c->ours[i])) != 0 &&
            lh_runs_add(&c->differ, block, block + 1) != 0) {
            lh_send_end(s, LH_E_NOMEM, "out of memory");
            return;
        }
    }
    c->at += n;
    if (c->differ.n > 0) /* the rest of this chunk goes on when it is RETRACTED */
        send_retract(s, false);
    else
        submit(s);
}

/* The next step of the chunk at hand, or the next chunk. */
static void submit(struct lh_send *s)
{
    struct lh_compare *c = &s->compare;

    if (c->theirs != NULL && c->at < c->n) {
        c->waiting = true;
        c->hashing = true;
        memset(&c->err, 0, sizeof(c->err));
        lh_worker_submit(&s->engine->prep, &c->job, hash_run, on_hashed, &s->engine->mbox);
        return;
    }
    free(c->theirs);
    c->theirs = NULL;
    c->waiting = false;
    lh_compare_step(s);
}

void lh_compare_hashes(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_compare *c = &s->compare;
    struct lh_err err = {0};
    const uint8_t *hashes;
    const char *why = "HASHES that were not asked for";

    if (!c->wanted || c->theirs != NULL || c->todo.n == 0 ||
        lh_hashes_decode(payload, frame->length, &c->first, &hashes, &c->n, &why) != 0 ||
        c->first != c->todo.v[0].first || c->n > c->todo.v[0].end - c->first) {
        lh_err_set(&err, LH_E_PROTOCOL, "%s", why);
        lh_session_lost(s, &err);
        return;
    }
    c->theirs = malloc(c->n * sizeof(*c->theirs));
    if (c->theirs == NULL || lh_runs_sub(&c->todo, c->first, c->first + c->n) != 0) {
        lh_send_end(s, LH_E_NOMEM, "out of memory");
        return;
    }
    memcpy(c->theirs, hashes, c->n * sizeof(*c->theirs));
    c->at = 0;
    submit(s);
}

void lh_compare_retracted(struct lh_send *s, bool last)
{
    if (!s->compare.wanted)
        return;
    if (s->compare.hashing) {
        struct lh_err err;

        lh_err_set(&err, LH_E_PROTOCOL, "RETRACTED that was not asked for");
        lh_session_lost(s, &err);
        return;
    }
    if (!last) {
        submit(s);
        return;
    }
    s->compare.wanted = false;
    s->compare.waiting = false;
    lh_log(&s->log, s->compare.n_differ > 0 ? LH_LOG_WARN : LH_LOG_INFO,
           "%llu blocks of an earlier run differ from the source now and are sent again",
           (unsigned long long)s->compare.n_differ);
}
