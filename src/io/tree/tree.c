/* Sending a tree: start, cancel, numbers, one stage after the other, the end.
 *
 * Thread: main loop.
 *
 * Happy path: start -> the walk is opened (a prep thread) -> the lane begins: a session to the
 * receiver with streams -> entries are told of, contents go in packs and in sends of big files ->
 * what is to be removed is, once all is settled -> attributes and FINISH, which the receiver holds
 * until contents are settled -> DONE -> every part is closed, `done` fires, memory goes. Failures:
 * of an entry: told, counted, and the rest goes on. A lost session: the lane dials again, and all
 * that is not settled is told of again. What the receiver refuses, a walk or a disk there that
 * fails, and cancel end it; what is settled stays. */
#include "io/tree/tree_impl.h"

#include "util/clock.h"
#include "util/text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_MAX 270 /* bytes of a sentence behind a name; the reason is at its end */

static void on_progress(void *arg, const struct lh_send_stats *stats)
{
    struct lh_tree *t = arg;

    t->lane_stats = *stats;
    lh_tree_refresh(t);
    t->stats.send.rate_bps = lh_tree_recent_rate(t);
    if (t->cbs.progress != NULL)
        t->cbs.progress(t->cbs.arg, &t->stats);
    t->bigs_pause = false;
    t->part_ticks -= t->part_ticks > 0;
    lh_tree_step(t);
}

/* ---- what became of entries ---- */

void lh_tree_became(struct lh_tree *t, enum lh_tree_what what, const struct lh_item *item)
{
    struct lh_tree_stats *st = &t->stats;
    bool file = item->kind == LH_KIND_FILE;
    uint64_t bytes = file ? item->identity.size : 0;

    if (what == LH_TREE_REMOVED) {
        st->removed++;
        bytes = 0;
    } else if (file) {
        st->files_sent += what == LH_TREE_SENT;
        st->files_kept += what == LH_TREE_KEPT;
        t->bytes_settled += what == LH_TREE_SENT ? bytes : 0;
        t->bytes_kept += what == LH_TREE_KEPT ? bytes : 0;
    } else {
        st->dirs += item->kind == LH_KIND_DIR;
        st->links += item->kind == LH_KIND_SYMLINK || item->kind == LH_KIND_HARDLINK;
        st->others += item->kind >= LH_KIND_FIFO && item->kind <= LH_KIND_SOCKET;
    }
    if (t->cbs.entry != NULL)
        t->cbs.entry(t->cbs.arg, what, item->path, bytes, 0, "");
}

/* Whether a sentence has the name in it: "cannot open d/NAME: …". */
static bool names(const char *text, const char *shown)
{
    size_t len = strlen(shown);

    for (const char *at = strstr(text, shown); at != NULL; at = strstr(at + 1, shown))
        if ((at == text || at[-1] == '/' || at[-1] == ' ') && (at[len] == ':' || at[len] == '\0'))
            return true;
    return false;
}

void lh_tree_failed(struct lh_tree *t, const char *path, uint64_t bytes, int status,
                    const char *text)
{
    char shown[320];
    char named[sizeof(t->text)];
    size_t len = strlen(text);
    const char *end = len > REASON_MAX ? text + len - REASON_MAX : text;

    t->stats.failed++;
    lh_text_escape(shown, sizeof(shown), path, strlen(path));
    if (path[0] != '\0' && text[0] != '\0' && !names(text, shown)) {
        while (((unsigned char)*end & 0xc0) == 0x80) /* not within a character */
            end++;
        snprintf(named, sizeof(named), "%s: %s%s", shown, end > text ? "..." : "", end);
        text = named;
    }
    if (t->cbs.entry != NULL)
        t->cbs.entry(t->cbs.arg, LH_TREE_FAILED, path, bytes, -status, text);
    if (t->opts.stop_on_error)
        lh_tree_end(t, LH_E_PARTIAL, text);
}

/* ---- the end ---- */

static void free_tree(struct lh_tree *t)
{
    lh_tree_prune_free(t);
    lh_tree_big_free(t);
    lh_tree_owners_free(&t->owners);
    if (t->attrs_dir != NULL)
        lh_item_drop(t->attrs_dir);
    if (t->pool_open)
        lh_pool_free(&t->pool);
    lh_tree_free_options(t);
    free(t->ring);
    free(t->frame);
    free(t->attrs);
    free(t);
}

static void tell_done(void *arg)
{
    struct lh_tree *t = arg;

    lh_tree_refresh(t);
    t->stats.send.rate_bps = 0;
    if (t->stats.send.duration_s > 0)
        t->stats.send.rate_bps =
            (uint64_t)((double)t->bytes_settled * 8 / t->stats.send.duration_s);
    t->cbs.done(t->cbs.arg, -t->status, t->text, &t->stats);
    free_tree(t);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct lh_tree *t = handle->data;
    struct lh_engine *engine = t->engine;

    if (t->opts.send.engine == NULL)
        lh_engine_close(engine, tell_done, t);
    else
        tell_done(t);
    lh_engine_leave(engine);
}

/* On a prep thread: what is left of the walk, and of what was told. */
static void close_run(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, walk_job);

    lh_packs_free(t->lane.packs);
    for (uint32_t i = t->base; t->ring != NULL && i != t->next; i++)
        if (t->ring[i % LH_TREE_SPAN] != NULL)
            lh_item_drop(t->ring[i % LH_TREE_SPAN]);
    lh_walk_close(t->walk);
}

static void on_closed(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, walk_job);

    uv_close((uv_handle_t *)&t->end_timer, on_timer_closed);
}

void lh_tree_maybe_end(struct lh_tree *t)
{
    if (t->stage != LH_TREE_ENDING || t->closing || t->walk_busy || t->prune.busy ||
        t->attrs_busy || t->send != NULL || lh_tree_big_running(t) > 0 ||
        atomic_load(&t->n_notes) > 0 || uv_is_active((uv_handle_t *)&t->end_timer))
        return;
    t->closing = true;
    lh_worker_submit(&t->engine->prep, &t->walk_job, close_run, on_closed, &t->engine->mbox);
}

static void on_end_timer(uv_timer_t *timer)
{
    lh_tree_maybe_end(timer->data);
}

void lh_tree_end(struct lh_tree *t, int status, const char *text)
{
    if (t->stage == LH_TREE_ENDING)
        return;
    t->stage = LH_TREE_ENDING;
    atomic_store(&t->ending, true);
    t->status = status;
    snprintf(t->text, sizeof(t->text), "%s", text);
    if (t->send != NULL) {
        lh_lane_pause(t->send, false);
        lh_lane_end(t->send, status, text);
    }
    lh_tree_big_stop(t);
    /* A caller may still be on its way out of a callback of ours: the rest is for later turns. */
    uv_timer_start(&t->end_timer, on_end_timer, 0, 0);
}

void lh_tree_cancel(struct lh_tree *t)
{
    lh_tree_end(t, LH_E_CANCELLED, "interrupted; the same command resumes");
}

/* ---- the lane ---- */

/* What became of all, in a sentence. */
static void some_failed(const struct lh_tree *t, char *text, size_t size)
{
    unsigned long long n = t->stats.failed - t->prune.given_up;

    if (n == 0)
        snprintf(text, size, "all that was to be sent is there, but nothing was removed");
    else
        snprintf(text, size, "%llu could not be moved%s; all others are there", n,
                 t->prune.given_up ? ", and nothing was removed" : "");
}

static void on_lane_done(void *arg, int status, const char *text, const struct lh_send_stats *stats)
{
    struct lh_tree *t = arg;
    char some[120];

    t->lane_stats = *stats;
    t->send = NULL;
    if (status == 0 && t->stats.failed > 0) {
        status = -LH_E_PARTIAL;
        some_failed(t, some, sizeof(some));
        text = some;
    }
    lh_tree_end(t, -status, text);
    lh_tree_maybe_end(t);
}

static void on_lane_start(void *arg, const struct lh_send_stats *stats)
{
    struct lh_tree *t = arg;

    t->lane_stats = *stats;
}

static struct lh_tree *of_lane(struct lh_lane *lane)
{
    return LH_CONTAINER_OF(lane, struct lh_tree, lane);
}

static void on_offered(struct lh_lane *lane)
{
    struct lh_tree *t = of_lane(lane);

    t->done_heard = false;
    if ((t->stage == LH_TREE_DRESSING || t->stage == LH_TREE_FINISHING) && t->n_items > 0)
        t->stage = LH_TREE_MOVING; /* what was said behind contents is said behind them again */
    lh_packs_clear(lane->packs);
    lh_tree_pack_reset(t);
    lh_tree_told_anew(t);
    lh_tree_tell(t);
}

static void on_taken(struct lh_lane *lane)
{
    struct lh_tree *t = of_lane(lane);

    if (!t->started && t->cbs.start != NULL) {
        lh_tree_refresh(t);
        t->cbs.start(t->cbs.arg, &t->stats);
    }
    t->started = true;
    if (t->stage == LH_TREE_LISTING)
        lh_tree_prune_anew(t);
    else if (t->stage == LH_TREE_DRESSING || t->stage == LH_TREE_FINISHING)
        lh_tree_dress_start(t);
    lh_tree_step(t);
}

static void on_frame(struct lh_lane *lane, const struct lh_frame *frame, const uint8_t *payload)
{
    lh_tree_frame(of_lane(lane), frame, payload);
}

static void on_room(struct lh_lane *lane)
{
    lh_tree_step(of_lane(lane));
}

static bool on_hungry(struct lh_lane *lane)
{
    return lh_tree_flush(of_lane(lane));
}

static bool is_searching(const struct lh_lane *lane)
{
    const struct lh_tree *t = LH_CONTAINER_OF(lane, const struct lh_tree, lane);

    return t->walk_busy && t->stage == LH_TREE_MOVING && t->n_asked == 0;
}

static bool may_have_more(const struct lh_lane *lane)
{
    const struct lh_tree *t = LH_CONTAINER_OF(lane, const struct lh_tree, lane);

    return t->stage == LH_TREE_MOVING && (t->walk_busy || t->n_asked > t->next - t->told);
}

static uint16_t offer_flags(const struct lh_tree_options *o)
{
    static const uint16_t keep[] = {[LH_EXISTING_DIFFERENT] = LH_OFFER_KEEP_SAME,
                                    [LH_EXISTING_SKIP] = LH_OFFER_KEEP_ANY,
                                    [LH_EXISTING_REPLACE] = 0,
                                    [LH_EXISTING_NEWER] = LH_OFFER_KEEP_NEWER};

    return (uint16_t)(keep[o->existing] | (o->checksum ? LH_OFFER_CHECKSUM : 0) |
                      (o->dry_run ? LH_OFFER_DRY_RUN : 0));
}

static uint32_t keep_bits(unsigned preserve)
{
    return (preserve & LH_PRESERVE_MODE ? LH_KEEP_MODE : 0) |
           (preserve & LH_PRESERVE_TIMES ? LH_KEEP_TIMES : 0) |
           (preserve & LH_PRESERVE_OWNER ? LH_KEEP_OWNER : 0) |
           (preserve & LH_PRESERVE_XATTRS ? LH_KEEP_XATTRS : 0) |
           (preserve & LH_PRESERVE_ACL ? LH_KEEP_ACL : 0);
}

/* So many packs may be in memory for each stream that all streams keep within the bound. */
static void share_packs(struct lh_tree *t)
{
    const struct lh_send_options *s = &t->opts.send;
    unsigned streams = s->streams > 0 ? s->streams : t->lane.max_streams;
    uint64_t each = LH_TREE_PACKS_BYTES / s->block_bytes / streams;

    t->lane.most = each < 3 ? 2 : each > 17 ? 16 : (unsigned)each - 1;
    lh_pool_init(&t->pool, (t->lane.most + 1) * (size_t)streams * s->block_bytes);
    t->pool_open = true;
    t->lane.pool = &t->pool;
}

static int begin_lane(struct lh_tree *t)
{
    struct lh_send_callbacks cbs = {
        .start = on_lane_start, .progress = on_progress, .done = on_lane_done, .arg = t};
    struct lh_packs_how how = lh_tree_packs;
    struct lh_send_options o = t->opts.send;
    struct lh_walk_entry root;

    how.user = t;
    how.sparse = t->opts.send.sparse;
    o.engine = t->engine;
    t->lane.packs = lh_packs_new(&how);
    if (t->lane.packs == NULL)
        return -LH_E_NOMEM;
    share_packs(t);
    t->lane.flags = offer_flags(&t->opts);
    t->lane.keep = keep_bits(t->opts.preserve);
    t->lane.alone = t->opts.send.engine == NULL;
    t->lane.mode = 0755;
    if (lh_walk_root(t->walk, &root)) {
        t->lane.mode = root.mode;
        t->lane.identity = root.identity;
    }
    t->lane.offered = on_offered;
    t->lane.taken = on_taken;
    t->lane.frame = on_frame;
    t->lane.room = on_room;
    t->lane.hungry = on_hungry;
    t->lane.searching = is_searching;
    t->lane.more = may_have_more;
    return lh_lane_start(t->loop, &o, &t->lane, &cbs, &t->send);
}

void lh_tree_opened(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, walk_job);
    int r;

    t->walk_busy = false;
    if (t->stage == LH_TREE_ENDING) {
        lh_tree_maybe_end(t);
        return;
    }
    if (t->batch.err.status != 0) {
        lh_tree_end(t, t->batch.err.status, t->batch.err.text);
        return;
    }
    r = begin_lane(t);
    if (r != 0) {
        t->send = NULL;
        lh_tree_end(t, -r, lh_status_text(r));
        return;
    }
    t->stage = LH_TREE_MOVING;
    lh_tree_step(t);
}

/* ---- one stage after the other ---- */

/* Nothing is left but contents of small files, on their way, and what the receiver makes of them.
 */
static bool all_answered(const struct lh_tree *t)
{
    return t->walk_over && !t->walk_busy && t->said_last && t->n_asked == 0 && !lh_tree_big_left(t);
}

static void move(struct lh_tree *t)
{
    lh_tree_walk_more(t);
    lh_tree_big_back(t);
    lh_tree_tell(t);
    lh_tree_big_start(t);
    if (!lh_lane_taken(t->send) || t->stage != LH_TREE_MOVING)
        return;
    lh_lane_feed(t->send);
    if (t->stage != LH_TREE_MOVING || !all_answered(t))
        return;
    if (!t->opts.remove)
        lh_tree_dress_start(t);
    else if (t->n_items == 0)
        lh_tree_prune_start(t);
}

void lh_tree_step(struct lh_tree *t)
{
    if (t->send == NULL)
        return;
    if (t->stage == LH_TREE_MOVING)
        move(t);
    if (t->stage == LH_TREE_LISTING || t->stage == LH_TREE_REMOVING)
        lh_tree_prune_step(t);
    if (t->stage == LH_TREE_DRESSING || t->stage == LH_TREE_FINISHING)
        lh_tree_dress_step(t);
}

/* ---- start ---- */

static int start_engine(struct lh_tree *t)
{
    const struct lh_send_options *s = &t->opts.send;
    struct lh_engine_options o;
    int r = 0;

    t->engine = s->engine;
    if (t->engine == NULL) {
        lh_engine_options_init(&o);
        o.loops = s->loops;
        o.log = s->log;
        o.log_arg = s->log_arg;
        o.log_level = s->log_level;
        r = lh_engine_start(t->loop, &o, &t->engine);
    } else if (t->engine->closing || t->engine->loop != t->loop) {
        r = -LH_E_INVAL;
    }
    if (r == 0)
        lh_engine_join(t->engine);
    return r;
}

int lh_tree_start(uv_loop_t *loop, const struct lh_tree_options *opts,
                  const struct lh_tree_callbacks *cbs, struct lh_tree **out)
{
    struct lh_tree *t;
    int r;

    if (cbs->done == NULL)
        return -LH_E_INVAL;
    t = calloc(1, sizeof(*t));
    if (t == NULL)
        return -LH_E_NOMEM;
    t->loop = loop;
    t->cbs = *cbs;
    t->log = (struct lh_log){opts->send.log, opts->send.log_arg, opts->send.log_level};
    t->bigs_end = &t->bigs;
    t->started_ms = lh_now_ms();
    lh_tree_pack_reset(t);
    r = lh_tree_copy_options(t, opts);
    lh_tree_owners_init(&t->owners, (opts->preserve & LH_PRESERVE_OWNER) && !opts->numeric_ids);
    t->ring = calloc(LH_TREE_SPAN, sizeof(struct lh_item *));
    t->frame = malloc(LH_CONTROL_MAX);
    t->attrs = malloc(LH_CONTROL_MAX);
    if (r == 0 && (t->ring == NULL || t->frame == NULL || t->attrs == NULL))
        r = -LH_E_NOMEM;
    if (r == 0)
        r = start_engine(t);
    if (r != 0) {
        free_tree(t);
        return r;
    }
    uv_timer_init(loop, &t->end_timer);
    t->end_timer.data = t;
    lh_tree_walk_open(t);
    *out = t;
    return 0;
}
