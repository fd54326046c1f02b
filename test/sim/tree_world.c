/* Chance, troubles, the runs of the command, and a seed from its beginning to its end; see
 * tree_world.h. */
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
        struct tw_event e = tw_next();

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
