/* Events in the order of the made-up clock, and what becomes one: messages, jobs, timers, the end
 * of an engine. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

/* ---- events: a heap ---- */

static bool before(const struct tw_event *a, const struct tw_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void sift_up(size_t i)
{
    while (i > 0 && before(&tw.heap[i], &tw.heap[(i - 1) / 2])) {
        struct tw_event e = tw.heap[i];

        tw.heap[i] = tw.heap[(i - 1) / 2];
        tw.heap[(i - 1) / 2] = e;
        i = (i - 1) / 2;
    }
}

static void sift_down(size_t i)
{
    for (;;) {
        size_t least = i;
        struct tw_event e = tw.heap[i];

        for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < tw.n_heap; k++)
            if (before(&tw.heap[k], &tw.heap[least]))
                least = k;
        if (least == i)
            return;
        tw.heap[i] = tw.heap[least];
        tw.heap[least] = e;
        i = least;
    }
}

void tw_at(enum tw_owner owner, uint64_t delay_us, void (*fn)(void *arg), void *arg)
{
    if (tw.n_heap == tw.cap_heap) {
        tw.cap_heap = tw.cap_heap > 0 ? 2 * tw.cap_heap : 256;
        tw.heap = realloc(tw.heap, tw.cap_heap * sizeof(*tw.heap));
        if (tw.heap == NULL)
            bail("out of memory");
    }
    tw.heap[tw.n_heap++] = (struct tw_event){
        .at = tw.now + delay_us, .order = tw.order++, .owner = owner, .fn = fn, .arg = arg};
    sift_up(tw.n_heap - 1);
}

static struct tw_event take(size_t i)
{
    struct tw_event e = tw.heap[i];

    tw.heap[i] = tw.heap[--tw.n_heap];
    if (i < tw.n_heap) {
        sift_up(i);
        sift_down(i);
    }
    return e;
}

struct tw_event tw_next(void)
{
    return take(0);
}

void tw_drain(enum tw_owner owner)
{
    for (;;) {
        size_t first = tw.n_heap;
        struct tw_event e;

        for (size_t i = 0; i < tw.n_heap; i++)
            if (tw.heap[i].owner == owner &&
                (first == tw.n_heap || before(&tw.heap[i], &tw.heap[first])))
                first = i;
        if (first == tw.n_heap)
            return;
        e = take(first);
        e.fn(e.arg);
    }
}

/* ---- what the program asks of threads, mailboxes, timers ---- */

uint64_t lh_now_us(void)
{
    return tw.now + 1000000;
}

uint64_t lh_now_ms(void)
{
    return lh_now_us() / 1000;
}

static enum tw_owner owner_of(const struct lh_mbox *mbox)
{
    return tw.serve != NULL && mbox == &tw.serve->mbox ? TW_RECEIVER : TW_SENDER;
}

static void run_msg(void *arg)
{
    struct lh_msg *msg = arg;

    msg->fn(msg);
}

void lh_mbox_post(struct lh_mbox *mbox, struct lh_msg *msg, void (*fn)(struct lh_msg *msg))
{
    msg->fn = fn;
    tw_at(owner_of(mbox), 1, run_msg, msg); /* in their order */
}

static void job_done(struct lh_msg *msg)
{
    struct lh_job *job = LH_CONTAINER_OF(msg, struct lh_job, msg);

    job->done(job);
}

static void run_job(void *arg)
{
    struct lh_job *job = arg;

    job->run(job);
    lh_mbox_post(job->reply, &job->msg, job_done);
}

void lh_worker_submit(struct lh_worker *w, struct lh_job *job, void (*run)(struct lh_job *job),
                      void (*done)(struct lh_job *job), struct lh_mbox *reply)
{
    (void)w;
    job->run = run;
    job->done = done;
    job->reply = reply;
    tw_at(owner_of(reply), 1 + tw_below(tw_one_in(10) ? 200000 : 500), run_job, job);
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    (void)loop;
    memset(timer, 0, sizeof(*timer));
    return 0;
}

/* The one timer of a tree, which runs once. */
static void run_timer(void *arg)
{
    uv_timer_t *timer = arg;

    timer->flags = 0;
    timer->timer_cb(timer);
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
    (void)repeat;
    timer->timer_cb = cb;
    timer->flags = 1;
    tw_at(TW_SENDER, 1 + timeout * 1000, run_timer, timer);
    return 0;
}

int uv_is_active(const uv_handle_t *handle)
{
    return handle->flags != 0;
}

static void run_close(void *arg)
{
    uv_handle_t *handle = arg;

    handle->close_cb(handle);
}

void uv_close(uv_handle_t *handle, uv_close_cb cb)
{
    handle->close_cb = cb;
    tw_at(TW_SENDER, 1, run_close, handle);
}

/* ---- the engine of a send ---- */

void lh_engine_options_init(struct lh_engine_options *opts)
{
    memset(opts, 0, sizeof(*opts));
}

int lh_engine_start(uv_loop_t *loop, const struct lh_engine_options *opts,
                    struct lh_engine **engine)
{
    (void)opts;
    *engine = calloc(1, sizeof(**engine));
    if (*engine == NULL)
        bail("out of memory");
    (*engine)->loop = loop;
    return 0;
}

void lh_engine_join(struct lh_engine *engine)
{
    engine->n_sends++;
}

static void engine_closed(void *arg)
{
    struct lh_engine *engine = arg;

    if (engine->n_sends != 0)
        bail("an engine is closed that a send has not left");
    engine->closed(engine->closed_arg);
    free(engine);
}

void lh_engine_close(struct lh_engine *engine, void (*closed)(void *arg), void *arg)
{
    engine->closed = closed;
    engine->closed_arg = arg;
    tw_at(TW_SENDER, 1, engine_closed, engine);
}

void lh_engine_leave(struct lh_engine *engine)
{
    engine->n_sends--;
}
