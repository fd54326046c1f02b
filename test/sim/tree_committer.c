/* Committers of the receiver: one thread each, as io/recv/commit.c has it, played turn by turn: a
 * job, or one half of a commit. Between the halves other things happen. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"

#include <stdlib.h>

struct committer {
    struct lh_committer c; /* first */
    bool committing;       /* between its halves */
    bool awake;            /* a turn is due */
    uint64_t turn;         /* number of the turn that counts */
};

struct turn {
    struct committer *c;
    uint64_t number;
};

struct outcome {
    struct lh_msg msg;
    struct lh_commit_entry *entry;
    struct lh_runs acked;
    struct lh_err err;
};

static void deliver(struct lh_msg *msg)
{
    struct outcome *o = LH_CONTAINER_OF(msg, struct outcome, msg);

    o->entry->committed(o->entry, &o->acked, &o->err);
    lh_runs_free(&o->acked);
    free(o);
}

static struct outcome *outcome_of(struct lh_commit_entry *entry)
{
    struct outcome *o = calloc(1, sizeof(*o));

    if (o == NULL)
        bail("out of memory");
    o->entry = entry;
    lh_runs_init(&o->acked, LH_RUNS_MAX);
    return o;
}

static void tell(struct outcome *o)
{
    if (o->err.status != 0)
        o->entry->failed = true;
    lh_mbox_post(o->entry->reply, &o->msg, deliver);
}

static void begin(struct lh_commit_entry *entry)
{
    struct lh_err err = {0};
    int r = entry->store->ops->commit_begin(entry->store, &err);

    entry->begun = r > 0;
    if (r < 0) {
        struct outcome *o = outcome_of(entry);

        o->err = err;
        tell(o);
    }
}

static int end(struct lh_commit_entry *entry, struct lh_err *err)
{
    struct outcome *o = outcome_of(entry);
    int r;

    entry->begun = false;
    r = entry->store->ops->commit_end(entry->store, &o->acked, &o->err);
    if (err != NULL && r != 0)
        *err = o->err;
    tell(o);
    return r;
}

int lh_committer_commit_now(struct lh_commit_entry *entry, struct lh_err *err)
{
    int r;

    if (entry->failed)
        return lh_err_set(err, LH_E_DEST, "an earlier write failed");
    r = entry->store->ops->commit_begin(entry->store, err);
    return r > 0 ? end(entry, err) : r;
}

static void wake(struct committer *c, uint64_t delay_us);

static void job_done(struct lh_msg *msg)
{
    struct lh_job *job = LH_CONTAINER_OF(msg, struct lh_job, msg);

    job->done(job);
}

static void run_job(struct lh_committer *c)
{
    struct lh_job *job = c->job_head;

    c->job_head = job->next;
    if (c->job_head == NULL)
        c->job_tail = NULL;
    job->run(job);
    lh_mbox_post(job->reply, &job->msg, job_done);
}

static void commit_half(struct committer *c)
{
    if (!c->committing) {
        c->c.due_ms = 0;
        c->c.soon = false;
    }
    for (struct lh_commit_entry *e = c->c.entries; e != NULL; e = e->next) {
        if (c->committing && e->begun)
            end(e, NULL);
        else if (!c->committing && !e->failed)
            begin(e);
    }
    c->committing = !c->committing;
}

static void on_turn(void *arg)
{
    struct turn t = *(struct turn *)arg;
    struct committer *c = t.c;
    bool due = c->c.due_ms != 0 && (c->c.soon || lh_now_ms() >= c->c.due_ms);

    free(arg);
    if (t.number != c->turn)
        return;
    c->awake = false;
    if (c->committing || (due && (c->c.job_head == NULL || tw_one_in(2))))
        commit_half(c);
    else if (c->c.job_head != NULL)
        run_job(&c->c);
    if (c->committing || c->c.job_head != NULL || c->c.soon)
        wake(c, 1 + tw_below(c->committing && tw_one_in(4) ? 100000 : 1000));
    else if (c->c.due_ms != 0 && !tw.dead)
        wake(c, c->c.due_ms > lh_now_ms() ? (c->c.due_ms - lh_now_ms()) * 1000 : 1);
}

static void wake(struct committer *c, uint64_t delay_us)
{
    struct turn *t = malloc(sizeof(*t));

    if (t == NULL)
        bail("out of memory");
    *t = (struct turn){c, ++c->turn};
    c->awake = true;
    tw_at(TW_RECEIVER, delay_us, on_turn, t);
}

struct lh_committer *lh_committer_start(uint64_t dev, uint64_t commit_ms, uint64_t commit_bytes)
{
    struct committer *c = calloc(1, sizeof(*c));

    if (c == NULL)
        bail("out of memory");
    c->c.dev = dev;
    c->c.commit_ms = commit_ms;
    c->c.commit_bytes = commit_bytes;
    return &c->c;
}

void lh_committer_wrote(struct lh_committer *lc, uint32_t bytes, bool soon)
{
    struct committer *c = (struct committer *)lc;

    (void)bytes;
    if (lc->due_ms == 0)
        lc->due_ms = lh_now_ms() + lc->commit_ms;
    lc->soon = lc->soon || soon;
    if (!c->committing && (soon || !c->awake))
        wake(c, soon ? 1 + tw_below(300) : (lc->due_ms - lh_now_ms()) * 1000 + 1);
}

void lh_committer_submit(struct lh_committer *lc, struct lh_job *job,
                         void (*run)(struct lh_job *job), void (*done)(struct lh_job *job),
                         struct lh_mbox *reply)
{
    struct committer *c = (struct committer *)lc;

    job->run = run;
    job->done = done;
    job->reply = reply;
    job->next = NULL;
    if (lc->job_tail != NULL)
        lc->job_tail->next = job;
    else
        lc->job_head = job;
    lc->job_tail = job;
    if (!c->committing)
        wake(c, 1 + tw_below(1000));
}

void lh_committer_attach(struct lh_committer *c, struct lh_commit_entry *entry)
{
    entry->committer = c;
    entry->begun = entry->failed = false;
    entry->next = c->entries;
    c->entries = entry;
}

void lh_committer_detach(struct lh_committer *c, struct lh_commit_entry *entry)
{
    struct lh_commit_entry **at = &c->entries;

    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
}
