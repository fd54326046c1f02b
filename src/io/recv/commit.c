#include "io/recv/commit.h"

#include "util/clock.h"
#include "util/err.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What one commit of one sink came to, on its way to the owner. */
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

static struct outcome *outcome_new(struct lh_commit_entry *entry)
{
    struct outcome *o = calloc(1, sizeof(*o));

    /* Without it what was made durable could not be told, and the sender would wait for ever. */
    LH_INVARIANT(o != NULL);
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
        struct outcome *o = outcome_new(entry);

        o->err = err;
        tell(o);
    }
}

static void end(struct lh_commit_entry *entry)
{
    struct outcome *o = outcome_new(entry);

    entry->begun = false;
    entry->store->ops->commit_end(entry->store, &o->acked, &o->err);
    tell(o);
}

int lh_committer_commit_now(struct lh_commit_entry *entry, struct lh_err *err)
{
    struct outcome *o;
    int r;

    if (entry->failed)
        return lh_err_set(err, LH_E_DEST, "an earlier write failed");
    r = entry->store->ops->commit_begin(entry->store, err);
    if (r <= 0)
        return r;
    o = outcome_new(entry);
    r = entry->store->ops->commit_end(entry->store, &o->acked, &o->err);
    if (r != 0)
        *err = o->err;
    tell(o);
    return r;
}

static void commit(struct lh_committer *c)
{
    uint64_t start = lh_now_ms();

    atomic_store(&c->stats.busy_since_ms, start > 0 ? start : 1);
    for (struct lh_commit_entry *e = c->entries; e != NULL; e = e->next)
        if (!e->failed)
            begin(e);
    for (struct lh_commit_entry *e = c->entries; e != NULL; e = e->next)
        if (e->begun)
            end(e);
    atomic_store(&c->stats.last_ms, (uint_fast32_t)(lh_now_ms() - start));
    atomic_fetch_add(&c->stats.all_ms, lh_now_ms() - start);
    atomic_store(&c->stats.busy_since_ms, 0);
}

static void wait_until(struct lh_committer *c, uint64_t due_ms)
{
    struct timespec at = {.tv_sec = (time_t)(due_ms / 1000),
                          .tv_nsec = (long)(due_ms % 1000) * 1000000};

    if (due_ms == 0)
        pthread_cond_wait(&c->wake, &c->lock);
    else
        pthread_cond_timedwait(&c->wake, &c->lock, &at);
}

static void job_done(struct lh_msg *msg)
{
    struct lh_job *job = LH_CONTAINER_OF(msg, struct lh_job, msg);

    job->done(job);
}

/* The caller holds the lock; it is let go while the job runs. */
static void run_job(struct lh_committer *c)
{
    struct lh_job *job = c->job_head;

    c->job_head = job->next;
    if (c->job_head == NULL)
        c->job_tail = NULL;
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->stats.busy_since_ms, lh_now_ms());
    job->run(job);
    atomic_store(&c->stats.busy_since_ms, 0);
    lh_mbox_post(job->reply, &job->msg, job_done);
    pthread_mutex_lock(&c->lock);
}

static bool commit_due(const struct lh_committer *c)
{
    return c->due_ms != 0 &&
           (c->soon || lh_now_ms() >= c->due_ms || atomic_load(&c->written) >= c->commit_bytes);
}

static void *committer_main(void *arg)
{
    struct lh_committer *c = arg;

    pthread_mutex_lock(&c->lock);
    for (;;) {
        bool due = commit_due(c);

        if (due) {
            /* Before the snapshot: a write that comes after it sets them again. */
            c->due_ms = 0;
            c->soon = false;
            atomic_store(&c->written, 0);
            pthread_mutex_unlock(&c->lock);
            commit(c);
            pthread_mutex_lock(&c->lock);
        }
        /* On a slow disk the next commit is due when one ends: jobs get their turn in between. */
        if (c->job_head != NULL)
            run_job(c);
        else if (!due && c->stop)
            break;
        else if (!due)
            wait_until(c, c->due_ms);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct lh_committer *lh_committer_start(uint64_t dev, uint64_t commit_ms, uint64_t commit_bytes)
{
    struct lh_committer *c = calloc(1, sizeof(*c));
    pthread_condattr_t attr;

    if (c == NULL)
        return NULL;
    c->dev = dev;
    c->commit_ms = commit_ms;
    c->commit_bytes = commit_bytes;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &attr);
    pthread_condattr_destroy(&attr);
    if (lh_thread_start(&c->thread, "lh-commit", committer_main, c) != 0) {
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return NULL;
    }
    return c;
}

void lh_committer_stop(struct lh_committer *c)
{
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    c->due_ms = 0;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    LH_INVARIANT(c->entries == NULL && c->job_head == NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void lh_committer_wrote(struct lh_committer *c, uint32_t bytes, bool soon)
{
    uint64_t before = atomic_fetch_add(&c->written, bytes);
    bool full = before < c->commit_bytes && before + bytes >= c->commit_bytes;

    /* Only the first write since the last commit, and what makes it due, need the lock. */
    if (before != 0 && !full && !soon)
        return;
    pthread_mutex_lock(&c->lock);
    if (c->due_ms == 0)
        c->due_ms = lh_now_ms() + c->commit_ms;
    c->soon = c->soon || soon;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void lh_committer_submit(struct lh_committer *c, struct lh_job *job,
                         void (*run)(struct lh_job *job), void (*done)(struct lh_job *job),
                         struct lh_mbox *reply)
{
    job->run = run;
    job->done = done;
    job->reply = reply;
    job->next = NULL;
    pthread_mutex_lock(&c->lock);
    if (c->job_tail != NULL)
        c->job_tail->next = job;
    else
        c->job_head = job;
    c->job_tail = job;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
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

    while (*at != NULL && *at != entry)
        at = &(*at)->next;
    LH_INVARIANT(*at == entry);
    *at = entry->next;
}
