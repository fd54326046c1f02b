/* Clock, chance, threads and mailboxes, troubles, and the runs of the command; see tree_world.h. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EVENTS_MAX 3000000u
#define RUNS_MAX 60
#define LATE_US 900000000ull /* behind the calm: by then all has ended */

struct tw tw;

/* ---- chance ---- */

uint64_t tw_below(uint64_t n)
{
    return lh_rng_below(&tw.rng, n);
}

bool tw_one_in(uint64_t n)
{
    return lh_rng_one_in(&tw.rng, n);
}

uint64_t tw_latency(void)
{
    return 50 + tw_below(tw.plan.latency_us);
}

bool tw_is_calm(void)
{
    return tw.now >= tw.plan.calm_at;
}

/* ---- words ---- */

void tw_broken(const char *fmt, ...)
{
    va_list ap;

    if (tw.broken)
        return;
    tw.broken = true;
    va_start(ap, fmt);
    vsnprintf(tw.why, sizeof(tw.why), fmt, ap);
    va_end(ap);
    tw_trace("BROKEN: %s", tw.why);
}

void tw_trace(const char *fmt, ...)
{
    char line[700];
    va_list ap;

    if (!tw.trace)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    diag("%10.6f %s", (double)tw.now / 1e6, line);
}

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

/* ---- runs of the command ---- */

static void begin_run(void *arg);

static void on_entry(void *arg, enum lh_tree_what what, const char *path, uint64_t bytes,
                     int status, const char *text)
{
    (void)arg;
    (void)bytes;
    (void)status;
    if (!tw.abandoned)
        tw_check_entry(what, path, text);
}

/* The last one must do it; what was in its way is over. */
static void on_done(void *arg, int status, const char *text, const struct lh_tree_stats *stats)
{
    (void)arg;
    tw_trace("run %u ends: status %d %s (failed %llu)", tw.run, status, text,
             (unsigned long long)stats->failed);
    tw.tree = NULL;
    tw.stats->n_partial += status == -LH_E_PARTIAL;
    tw.stats->n_removed += stats->removed;
    if (status == 0 && !tw.abandoned && tw.run_calm && !tw.edited) {
        tw.ended = true;
        tw.stats->n_done++;
        return;
    }
    if (tw.run_calm && ++tw.n_calm > 2)
        tw_broken("nothing is in its way any more, and yet: status %d, %s", status, text);
    else if (tw.run >= RUNS_MAX)
        tw_broken("%d runs, and none that was left in peace", RUNS_MAX);
    else if (status == -LH_E_INTERNAL || status == -LH_E_PROTOCOL || status == -LH_E_NOMEM ||
             status == -LH_E_LIMIT)
        tw_broken("a run ended with status %d, %s", status, text);
    tw_at(TW_WORLD, 1000 + tw_below(2000000), begin_run, NULL);
}

static void begin_run(void *arg)
{
    static const char *const sources[] = {CALLS_SOURCE "/"};
    struct lh_tree_callbacks cbs = {.entry = on_entry, .done = on_done};
    struct lh_tree_options o;
    int r;

    (void)arg;
    if (tw.over)
        return;
    lh_tree_options_init(&o);
    o.send.host = "sim";
    o.send.path = (const uint8_t *)"tree";
    o.send.path_len = 4;
    o.send.block_bytes = TW_GRID;
    o.send.streams = tw.plan.n_streams;
    o.sources = sources;
    o.n_sources = 1;
    o.existing = tw.plan.existing;
    o.preserve = tw.plan.preserve;
    o.checksum = tw.plan.checksum;
    o.remove = tw.plan.remove;
    o.numeric_ids = true; /* names are the host's */
    o.send.sparse = tw.plan.sparse;
    tw.abandoned = tw.edited = false;
    tw.run_calm = tw_is_calm();
    tw.run++;
    tw.stats->n_runs++;
    tw_trace("run %u begins%s", tw.run, tw.run_calm ? ", all is calm" : "");
    tw_check_run_begins();
    r = lh_tree_start((uv_loop_t *)&tw, &o, &cbs, &tw.tree);
    if (r != 0)
        bail("lh_tree_start: %d", r);
}

/* ---- troubles ---- */

static void trouble(void *arg)
{
    (void)arg;
    if (tw_is_calm() || tw.over)
        return;
    switch (tw_below(12)) {
    case 0:
    case 1:
    case 2:
        tw_lane_cut(tw_one_in(3));
        break;
    case 3:
    case 4:
        tw_lane_stream_lost();
        break;
    case 5:
    case 6:
    case 7:
        tw_receiver_kill(false);
        break;
    case 8:
    case 9:
        tw_receiver_kill(true);
        break;
    case 10:
        if (tw_one_in(2))
            tw_lane_kill();
        break;
    default:
        tw_edit_source();
    }
    tw_at(TW_WORLD, 1 + tw_below(2 * tw.plan.trouble_us), trouble, NULL);
}

/* One call in so many fails; what the disk says then may be of it all or of one file. */
static int enter_dest(struct fs_disk *disk, enum fs_call call, const struct fs_node *node)
{
    static const int errnos[] = {EACCES, EPERM, EACCES, ENOSPC, EIO, EMFILE, EROFS};

    (void)disk;
    (void)node;
    if (tw.kill_in > 0 && !tw_is_calm() && --tw.kill_in == 0) {
        tw.dead = true;
        tw.stats->n_kills_inside++;
    }
    if (tw.dead)
        return EIO;
    if (tw.plan.fault_one_in == 0 || tw_is_calm() || !tw_one_in(tw.plan.fault_one_in))
        return 0;
    tw.stats->n_faults++;
    if (call == FS_SYNCS)
        return EIO;
    if (call == FS_DRESSES) /* what may not be set is only counted */
        return tw_one_in(2) ? ENOSPC : EROFS;
    return errnos[tw_below(sizeof(errnos) / sizeof(errnos[0]))];
}

static int enter_source(struct fs_disk *disk, enum fs_call call, const struct fs_node *node)
{
    (void)disk;
    (void)call;
    (void)node;
    if (tw.plan.source_fault_one_in == 0 || tw_is_calm() || !tw_one_in(tw.plan.source_fault_one_in))
        return 0;
    tw.stats->n_faults++;
    return tw_one_in(2) ? EACCES : EIO;
}

/* ---- a seed ---- */

static unsigned preserved(void)
{
    unsigned p = LH_PRESERVE_MODE | LH_PRESERVE_TIMES;

    if (tw_one_in(2))
        p |= LH_PRESERVE_OWNER;
    if (!tw_one_in(4))
        p |= LH_PRESERVE_HARDLINKS;
    if (!tw_one_in(4))
        p |= LH_PRESERVE_DEVICES;
    return p;
}

static void make_plan(void)
{
    bool quiet = tw_one_in(6);

    tw.plan = (struct tw_plan){
        .existing = tw_one_in(5) ? LH_EXISTING_REPLACE : LH_EXISTING_DIFFERENT,
        .preserve = preserved(),
        .remove = tw_one_in(3),
        .sparse = tw_one_in(3),
        .wide = tw_one_in(100),
        .tree_memory = tw_one_in(3) ? 4u << 20 : 64u << 20,
        .n_streams = 1 + (unsigned)tw_below(TW_STREAMS),
        .latency_us = tw_one_in(2) ? 2000 : 100000,
        .unsent_max = tw_one_in(3) ? 200 + tw_below(4000) : 1024 * 1024,
        .early_max = tw_one_in(3) ? 1 + tw_below(3000) : 256 * 1024,
        .trouble_us = quiet          ? 0
                      : tw_one_in(3) ? 20000
                      : tw_one_in(2) ? 200000
                                     : 1500000,
    };
    tw.plan.checksum = tw.plan.existing == LH_EXISTING_DIFFERENT && tw_one_in(6);
    tw.plan.calm_at = quiet ? 0 : 1000000 + tw_below(10000000);
    if (!quiet && tw_one_in(3))
        tw.plan.fault_one_in = 20 + (unsigned)tw_below(300);
    if (!quiet && tw_one_in(4))
        tw.plan.source_fault_one_in = 20 + (unsigned)tw_below(300);
    if (tw_one_in(3))
        tw.plan.damage_one_in = 4 + (unsigned)tw_below(30);
    calls.is_root = tw_one_in(2);
    calls.old_kernel = tw_one_in(4);
}

static void make_world(uint64_t seed)
{
    struct tw_stats *stats = tw.stats;
    struct tw_event *heap = tw.heap;
    size_t cap = tw.cap_heap;
    bool trace = tw.trace;
    struct lh_rng first = {.state = seed};

    memset(&tw, 0, sizeof(tw));
    tw.stats = stats;
    tw.heap = heap;
    tw.cap_heap = cap;
    tw.trace = trace;
    tw.rng.state = lh_rng_next(&first); /* the next seed's numbers are not these, shifted */
    make_plan();
    fs_init(&tw.source, 1);
    fs_init(&tw.dest, 2);
    calls.source = &tw.source;
    calls.dest = &tw.dest;
    calls.short_writes = &tw.rng;
    calls.now_us = &tw.now;
    tw_check_init();
    tw_make_source();
    tw_make_dest();
    tw.source.enter = enter_source;
    tw.dest.enter = enter_dest;
}

static void end_world(void)
{
    tw.over = true;
    tw_lane_kill();
    tw_receiver_stop();
    tw_drain(TW_SENDER);
    tw_drain(TW_WORLD);
    tw_drain(TW_SENDER);
    if (!tw.broken && calls.n_open > 0)
        tw_broken("%u descriptors are left open", calls.n_open);
    calls_close_all(&tw.source);
    calls_close_all(&tw.dest);
    tw_sessions_free();
    tw_check_free();
    fs_free(&tw.source);
    fs_free(&tw.dest);
    for (size_t i = 0; i < tw.n_versions; i++) {
        free(tw.list[i]->link);
        free(tw.list[i]);
    }
    free(tw.list);
}

bool tw_run(uint64_t seed)
{
    make_world(seed);
    tw_at(TW_WORLD, tw_below(1000), tw_receiver_start, NULL);
    tw_at(TW_WORLD, 1 + tw_below(2000), begin_run, NULL);
    if (tw.plan.trouble_us > 0)
        tw_at(TW_WORLD, 1 + tw_below(2 * tw.plan.trouble_us), trouble, NULL);
    while (tw.n_heap > 0 && !tw.ended && !tw.broken) {
        struct tw_event e = take(0);

        tw.now = e.at;
        e.fn(e.arg);
        tw_receiver_maybe_dead();
        if (++tw.n_events > EVENTS_MAX)
            tw_broken("it does not come to an end");
        if (tw.now > tw.plan.calm_at + LATE_US)
            tw_broken("nobody is in its way since %llu s, and it has not ended", LATE_US / 1000000);
    }
    tw.stats->n_events += tw.n_events;
    if (!tw.broken && !tw.ended)
        tw_broken("everybody waits for somebody else");
    if (!tw.broken)
        tw_check_end();
    end_world();
    return !tw.broken;
}

void tw_free(void)
{
    free(tw.heap);
    tw.heap = NULL;
    tw.cap_heap = 0;
}
