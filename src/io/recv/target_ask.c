/* What a sender asks of a target that is open, besides blocks: hashes of what is durable, and to
 * take blocks back whose contents differ.
 *
 * Thread: main loop; the work is done on the committer, by jobs of their own: several may wait.
 *
 * Happy path: HASHES_WANTED -> read them in block order -> HASHES. RETRACT -> DROP record, synced
 * -> RETRACTED; flagged last: what was compared is remembered. Failures: the target's; more
 * questions at once than a sender ever has end the session. */
#include "io/recv/recv.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SIDE_JOBS_MAX 4 /* a sender asks one at a time */

struct side_job {
    struct lh_job job;
    struct lh_target *target; /* with a reference */
    struct lh_err err;
    uint64_t first;
    uint32_t n;
    struct lh_hash *hashes;
    uint8_t *payload; /* LH_CONTROL_MAX bytes */
    struct lh_runs runs;
    bool last;
};

/* No answer would leave the sender waiting. */
static void out_of_memory(struct lh_target *t)
{
    lh_rsession_end(t->session, LH_WIRE_INTERNAL, "the receiver is out of memory");
}

static struct side_job *side_job_new(struct lh_target *t)
{
    struct side_job *s;

    if (t->state != LH_TARGET_OPEN || t->done)
        return NULL;
    if (t->n_side_jobs >= SIDE_JOBS_MAX) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, "more questions than answers are waited for");
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        out_of_memory(t);
        return NULL;
    }
    s->target = t;
    t->n_side_jobs++;
    lh_runs_init(&s->runs, LH_RUNS_MAX);
    atomic_fetch_add(&t->refs, 1);
    return s;
}

static void side_job_free(struct side_job *s)
{
    s->target->n_side_jobs--;
    lh_target_unref(s->target);
    lh_runs_free(&s->runs);
    free(s->hashes);
    free(s->payload);
    free(s);
}

static void hashes_run(struct lh_job *job)
{
    struct side_job *s = LH_CONTAINER_OF(job, struct side_job, job);

    lh_sink_hashes(s->target->sink, s->first, s->n, s->hashes, &s->err);
}

static void on_hashes(struct lh_job *job)
{
    struct side_job *s = LH_CONTAINER_OF(job, struct side_job, job);
    struct lh_target *t = s->target;

    if (s->err.status != 0) {
        lh_target_fail(t, &s->err);
    } else if (t->session != NULL) {
        lh_rsession_send(t->session, LH_FRAME_HASHES, 0, t, s->payload,
                         lh_hashes_encode(s->first, s->hashes, s->n, s->payload));
    }
    side_job_free(s);
}

void lh_target_hashes(struct lh_target *t, const struct lh_hashes_wanted *wanted)
{
    struct side_job *s = side_job_new(t);

    if (s == NULL)
        return;
    s->first = wanted->first;
    s->n = wanted->count;
    s->hashes = calloc(wanted->count, sizeof(*s->hashes));
    s->payload = malloc(LH_CONTROL_MAX);
    if (s->hashes == NULL || s->payload == NULL) {
        side_job_free(s);
        out_of_memory(t);
        return;
    }
    lh_committer_submit(t->committer, &s->job, hashes_run, on_hashes, &t->serve->mbox);
}

static void retract_run(struct lh_job *job)
{
    struct side_job *s = LH_CONTAINER_OF(job, struct side_job, job);

    for (size_t i = 0; i < s->runs.n; i++)
        if (lh_sink_retract(s->target->sink, s->runs.v[i].first, s->runs.v[i].end, &s->err) != 0)
            return;
    if (s->last)
        lh_sink_compared(s->target->sink, &s->err);
}

static void on_retracted(struct lh_job *job)
{
    struct side_job *s = LH_CONTAINER_OF(job, struct side_job, job);
    struct lh_target *t = s->target;

    if (s->err.status != 0)
        lh_target_fail(t, &s->err);
    else if (t->session != NULL)
        lh_rsession_send_runs(t->session, LH_FRAME_RETRACTED, s->last ? LH_FRAME_LAST : 0, t,
                              &s->runs);
    side_job_free(s);
}

void lh_target_retract(struct lh_target *t, const struct lh_block_run *runs, size_t n, bool last)
{
    struct side_job *s = side_job_new(t);

    if (s == NULL)
        return;
    s->last = last;
    for (size_t i = 0; i < n; i++)
        if (lh_runs_add(&s->runs, runs[i].first, runs[i].first + runs[i].count) != 0) {
            side_job_free(s);
            out_of_memory(t);
            return;
        }
    lh_committer_submit(t->committer, &s->job, retract_run, on_retracted, &t->serve->mbox);
}
