#include "io/net/loops.h"

#include "io/net/worker.h"
#include "util/err.h"

#include <stdlib.h>
#include <unistd.h>

static void on_stopped(struct lh_msg *msg)
{
    struct lh_loop *loop = LH_CONTAINER_OF(msg, struct lh_loop, stopped_msg);
    struct lh_loops *set = loop->set;

    pthread_join(loop->thread, NULL);
    if (--set->n_running > 0)
        return;
    free(set->v);
    set->v = NULL;
    set->stopped(set);
}

static void *loop_main(void *arg)
{
    struct lh_loop *loop = arg;

    atomic_store(&loop->tid, gettid());
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    LH_INVARIANT(uv_loop_close(&loop->uv) == 0);
    if (!loop->set->failed)
        lh_mbox_post(loop->set->main, &loop->stopped_msg, on_stopped);
    return NULL;
}

static void on_stop(struct lh_msg *msg)
{
    struct lh_loop *loop = LH_CONTAINER_OF(msg, struct lh_loop, stop_msg);

    lh_mbox_close(&loop->mbox, NULL);
}

void lh_loops_stop(struct lh_loops *set, void (*stopped)(struct lh_loops *set))
{
    set->stopped = stopped;
    for (unsigned i = 0; i < set->n; i++)
        lh_mbox_post(&set->v[i].mbox, &set->v[i].stop_msg, on_stop);
}

/* Only for a start that failed half-way: nobody is told. The mailboxes order `failed` before. */
static void stop_and_join(struct lh_loops *set, unsigned n)
{
    set->failed = true;
    for (unsigned i = 0; i < n; i++)
        lh_mbox_post(&set->v[i].mbox, &set->v[i].stop_msg, on_stop);
    for (unsigned i = 0; i < n; i++)
        pthread_join(set->v[i].thread, NULL);
}

static int start_one(struct lh_loops *set, struct lh_loop *loop)
{
    loop->set = set;
    if (uv_loop_init(&loop->uv) != 0)
        return -LH_E_NOMEM;
    if (lh_mbox_init(&loop->mbox, &loop->uv) == 0) {
        if (lh_thread_start(&loop->thread, "lh-stream", loop_main, loop) == 0)
            return 0;
        lh_mbox_close(&loop->mbox, NULL);
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    }
    LH_INVARIANT(uv_loop_close(&loop->uv) == 0);
    return -LH_E_NOMEM;
}

int lh_loops_start(struct lh_loops *set, unsigned n, struct lh_mbox *main)
{
    if (n == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        n = cores < 1 ? 1 : cores > 4 ? 4 : (unsigned)cores;
    }
    if (n > LH_MAX_LOOPS)
        n = LH_MAX_LOOPS;
    set->v = calloc(n, sizeof(*set->v));
    if (set->v == NULL)
        return -LH_E_NOMEM;
    set->n = n;
    set->n_running = n;
    set->main = main;
    set->failed = false;
    for (unsigned i = 0; i < n; i++)
        if (start_one(set, &set->v[i]) != 0) {
            stop_and_join(set, i);
            free(set->v);
            set->v = NULL;
            return -LH_E_NOMEM;
        }
    return 0;
}
