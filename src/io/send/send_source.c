/* The source of a send: opened, looked at once more, opened anew when it has changed.
 *
 * Thread: main loop; the jobs are the prep threads', one at a time (source_busy).
 *
 * Happy path: open -> a small file is read and hashed, of a large one the holes are found -> the
 * session is dialled. Before FINISH: the same file, and as it was. A lane has no source: it is
 * dialled at once.
 * Failures: one that cannot be opened ends the send; one that has changed is sent from the
 * beginning, once. */
#include "io/send/sender.h"

#include <stdlib.h>
#include <string.h>

#define RESTARTS_MAX 1

static void find_holes(struct lh_send *s)
{
    uint64_t size = s->source.identity.size;

    lh_runs_clear(&s->extents);
    s->has_holes = lh_source_extents(&s->source, &s->extents, &s->source_err) == 0 &&
                   !lh_runs_covers(&s->extents, 0, size);
}

/* What a path leads to may be another file than the one that was meant. */
static int check_meant(struct lh_send *s)
{
    const struct lh_identity *now = &s->source.identity;

    if (s->must_be[1] == 0 || (now->dev == s->must_be[0] && now->ino == s->must_be[1]))
        return 0;
    lh_source_close(&s->source);
    return lh_err_set(&s->source_err, LH_E_SOURCE_CHANGED, "it was replaced by another file");
}

/* Its contents go right behind the offer. */
static void read_small(struct lh_send *s)
{
    uint64_t size = s->source.identity.size;

    s->small = malloc(size > 0 ? size : 1);
    if (s->small == NULL) {
        lh_err_set(&s->source_err, LH_E_NOMEM, "out of memory");
        return;
    }
    if (size == 0 ||
        lh_source_hash_blocks(&s->source, s->small, s->opts.block_bytes, 0, 1, &s->small_hash,
                              s->opts.sparse ? &s->small_zeros : NULL, &s->source_err) == 0)
        lh_source_check(&s->source, &s->source_err);
}

static void open_run(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    memset(&s->source_err, 0, sizeof(s->source_err));
    if (s->source_open)
        lh_source_close(&s->source);
    s->source_open = s->has_holes = s->small_zeros = false;
    lh_zeros_clear(&s->zeros);
    free(s->small);
    s->small = NULL;
    if (s->lane != NULL)
        return;
    if (lh_source_open(s->source_path, &s->source, &s->source_err) != 0 || check_meant(s) != 0)
        return;
    s->source_open = true;
    if (s->source.identity.size > s->opts.block_bytes)
        find_holes(s);
    else
        read_small(s);
}

static void set_contents(struct lh_send *s)
{
    uint64_t size = s->source.identity.size;

    if (s->lane != NULL) {
        s->from =
            lh_contents_of_packs(s->lane->packs, s->lane->pool, s->opts.block_bytes, s->lane->most);
        return;
    }
    s->from = lh_contents_of_file(&s->source, &s->engine->pool, s->opts.block_bytes);
    s->from.zeros = s->opts.sparse ? &s->zeros : NULL;
    s->from.zero_copy_must = s->opts.zero_copy == LH_ZERO_COPY_ON;
    s->from.zero_copy = s->from.zero_copy_must ||
                        (s->opts.zero_copy == LH_ZERO_COPY_AUTO && size >= s->opts.zero_copy_min);
}

static void on_opened(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    s->source_busy = false;
    if (s->phase != LH_PHASE_OPENING) {
        lh_send_maybe_end(s);
        return;
    }
    if (s->source_err.status == LH_E_SOURCE_CHANGED)
        lh_send_restart(s, s->source_err.text);
    else if (s->source_err.status != 0)
        lh_send_end(s, s->source_err.status, "%s", s->source_err.text);
    else {
        s->stats.bytes_total = s->source.identity.size;
        set_contents(s);
        lh_session_dial(s);
    }
}

void lh_send_reopen(struct lh_send *s)
{
    s->reopen = false;
    s->phase = LH_PHASE_OPENING;
    lh_runs_clear(&s->known);
    s->source_busy = true;
    lh_worker_submit(&s->engine->prep, &s->source_job, open_run, on_opened, &s->engine->mbox);
}

static void check_run(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    memset(&s->source_err, 0, sizeof(s->source_err));
    lh_source_check(&s->source, &s->source_err);
}

void lh_send_check_source(struct lh_send *s, void (*done)(struct lh_job *job))
{
    s->source_busy = true;
    lh_worker_submit(&s->engine->prep, &s->source_job, check_run, done, &s->engine->mbox);
}

void lh_send_restart(struct lh_send *s, const char *what)
{
    struct lh_err err;

    if (s->phase == LH_PHASE_ENDING)
        return;
    if (s->n_restarts >= RESTARTS_MAX) {
        lh_send_end(s, LH_E_SOURCE_CHANGED,
                    "%s; it has changed twice now: send it when it is at rest", what);
        return;
    }
    s->n_restarts++;
    s->stats.restarted = true;
    s->reopen = s->drop_there = true;
    s->started = false;
    s->stats.bytes_skipped = s->stats.bytes_holes = s->hole_bytes = 0;
    s->stats.bytes_durable = 0;
    lh_log(&s->log, LH_LOG_WARN, "%s: sending it from the beginning, once", what);
    if (s->phase == LH_PHASE_OPENING) {
        lh_send_reopen(s);
        return;
    }
    lh_err_set(&err, LH_E_NETWORK, "the session is closed to begin again");
    lh_session_lost(s, &err);
}
