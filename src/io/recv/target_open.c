/* A transfer at the receiver from its OFFER until it is accepted: who may have the file, what is
 * there already, and the space that it takes.
 *
 * Thread: main loop; its jobs run on the opener and on the committer of its file system.
 *
 * Happy path: offer -> key of the path -> extents, if there are any -> nobody else has that file
 * -> open, recover -> attach, holes -> ACCEPT and LEDGER; space is taken while blocks come in.
 * Failures: what the path or the disk refuses ends it (lh_target_fail); a rival is waited for,
 * overtaken or bowed to, as core/hold.h has it. */
#include "core/sched.h"
#include "io/recv/recv.h"

#include <stdlib.h>
#include <string.h>

static void attach_run(struct lh_job *job);

/* ---- preallocation: on the opener, a slice a job, while blocks come in already ---- */

static void allocate_run(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, allocate_job);

    t->allocate_more = lh_sink_preallocate(t->sink, &t->allocate_err);
}

static void on_allocated(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, allocate_job);

    if (t->allocate_more < 0)
        lh_target_fail(t, &t->allocate_err);
    if (t->allocate_more > 0 && t->state == LH_TARGET_OPEN && !t->have_finish) {
        lh_worker_submit(&t->serve->opener, &t->allocate_job, allocate_run, on_allocated,
                         &t->serve->mbox);
        return;
    }
    t->allocating = false;
    lh_target_maybe_finish(t);
    lh_target_unref(t);
}

static void start_allocating(struct lh_target *t)
{
    if (t->opened.done)
        return;
    t->allocating = true;
    atomic_fetch_add(&t->refs, 1);
    lh_worker_submit(&t->serve->opener, &t->allocate_job, allocate_run, on_allocated,
                     &t->serve->mbox);
}

/* ---- open ---- */

static void on_attached(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);
    struct lh_accept accept = {.epoch = t->opened.epoch,
                               .flags = (uint16_t)((t->opened.resumed ? LH_ACCEPT_RESUMED : 0) |
                                                   (t->opened.compare ? LH_ACCEPT_COMPARE : 0) |
                                                   (t->opened.dropped ? LH_ACCEPT_DROPPED : 0) |
                                                   (t->opened.done ? LH_ACCEPT_DONE : 0) |
                                                   (t->opened.kept ? LH_ACCEPT_KEPT : 0)),
                               .window = LH_WINDOW_BYTES};
    uint8_t payload[128];

    if (t->err.status != 0)
        lh_target_fail(t, &t->err);
    if (t->session == NULL || t->state == LH_TARGET_CLOSING) {
        lh_target_unref(t);
        return;
    }
    if (t->more_holes > 0) {
        lh_committer_submit(t->committer, job, attach_run, on_attached, &t->serve->mbox);
        return;
    }
    t->state = LH_TARGET_OPEN;
    t->holder.epoch = t->opened.epoch;
    memcpy(accept.transfer_id, t->opened.transfer_id, sizeof(accept.transfer_id));
    lh_rshared_add(t->session->shared, t);
    lh_rsession_send(t->session, LH_FRAME_ACCEPT, 0, t, payload,
                     lh_accept_encode(&accept, payload));
    if (t->tree != NULL) {
        lh_rstats_begin(t->session);
        lh_target_tree_opened(t);
        lh_target_unref(t);
        return;
    }
    if (!(t->offer.flags & LH_OFFER_INLINE))
        start_allocating(t);
    if (t->opened.done) {
        t->digest = t->opened.digest;
        lh_target_send_done(t);
    } else if (t->have_finish) {
        lh_target_maybe_finish(t);
    } else if (!(t->offer.flags & LH_OFFER_INLINE)) {
        lh_rsession_send_runs(t->session, LH_FRAME_LEDGER, LH_FRAME_LAST, t, &t->durable);
        lh_rstats_begin(t->session);
    }
    lh_target_unref(t);
}

/* On the committer, which the sink belongs to from here on. Holes are made durable a few thousand
 * at a time, so that others are committed in between. */
static void attach_run(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);

    if (t->entry.committer == NULL) {
        t->entry.store = t->store;
        t->entry.reply = &t->serve->mbox;
        t->entry.committed = lh_target_committed;
        lh_committer_attach(t->committer, &t->entry);
    }
    if (t->tree != NULL)
        return;
    t->more_holes = lh_sink_holes(t->sink, &t->err);
    if (t->more_holes == 0 && lh_sink_durable(t->sink, &t->durable) != 0)
        lh_err_set(&t->err, LH_E_NOMEM, "out of memory");
}

static struct lh_committer *committer_for(struct lh_serve *serve, uint64_t dev)
{
    struct lh_committer *c = serve->committers;

    while (c != NULL && c->dev != dev)
        c = c->next;
    if (c == NULL) {
        c = lh_committer_start(dev, serve->opts.commit_ms, serve->opts.commit_bytes);
        if (c != NULL) {
            c->next = serve->committers;
            serve->committers = c;
        }
    }
    return c;
}

static void open_run(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);
    struct lh_sink_open how = {
        .root = t->serve->root,
        .path = t->path,
        .path_len = t->offer.path_len,
        .no_clobber = t->offer.flags & LH_OFFER_NO_CLOBBER,
        .keep = t->offer.flags & (LH_OFFER_KEEP_SAME | LH_OFFER_KEEP_NEWER | LH_OFFER_KEEP_ANY),
        .restart = t->offer.flags & LH_OFFER_RESTART,
        .hash = t->offer.hash,
        .block_bytes = t->offer.block_bytes,
        .source = t->offer.file.identity,
        .mode = t->offer.file.mode,
        .asker = t->holder,
        .max_pending = (size_t)(2 * LH_WINDOW_BYTES / t->offer.block_bytes),
        .data = t->offer.flags & LH_OFFER_EXTENTS ? &t->data : NULL,
        .sparse = t->offer.flags & LH_OFFER_SPARSE,
    };

    if (t->tree != NULL)
        lh_target_tree_open(t);
    else if (lh_sink_open(&how, &t->sink, &t->opened, &t->err) == 0)
        t->store = lh_sink_store(t->sink);
}

static void on_opened(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);

    if (t->store != NULL)
        t->committer = committer_for(t->serve, t->opened.dev);
    if (t->err.status == 0 && t->committer == NULL)
        lh_err_set(&t->err, LH_E_NOMEM, "out of memory or threads");
    if (t->err.status != 0 || t->session == NULL) {
        lh_target_fail(t, &t->err);
        lh_target_unref(t);
        return;
    }
    lh_committer_submit(t->committer, &t->job, attach_run, on_attached, &t->serve->mbox);
}

/* ---- who holds it ---- */

/* Another target of the same file that goes before this one: whoever has it, or else the oldest of
 * those that wait for it. */
static struct lh_target *rival_of(const struct lh_target *t)
{
    struct lh_target *rival = NULL;
    bool older = false; /* the list grows at its head: those behind t are */

    for (struct lh_target *o = t->serve->targets; o != NULL; o = o->next) {
        if (o == t)
            older = true;
        else if (o->state == LH_TARGET_KEY || memcmp(&o->key, &t->key, sizeof(o->key)) != 0)
            continue;
        else if (o->state != LH_TARGET_WAITING)
            return o;
        else if (older)
            rival = o;
    }
    return rival;
}

/* The path is known. Open it, or wait for, overtake or bow to whoever has it. */
void lh_target_start(struct lh_target *t)
{
    struct lh_target *rival = rival_of(t);
    uint64_t silent_ms = UINT64_MAX;
    enum lh_hold_answer answer;

    t->state = LH_TARGET_WAITING;
    if (rival == NULL) {
        t->state = LH_TARGET_OPENING;
        atomic_fetch_add(&t->refs, 1);
        lh_worker_submit(&t->serve->opener, &t->job, open_run, on_opened, &t->serve->mbox);
        return;
    }
    if (rival->state == LH_TARGET_CLOSING)
        return; /* its end calls start again */
    if (rival->session != NULL)
        silent_ms = lh_now_ms() - rival->session->ctl.heard_ms;
    answer = lh_hold_offer(
        &rival->holder, &t->holder,
        lh_identity_same_version(&rival->offer.file.identity, &t->offer.file.identity), silent_ms,
        t->serve->opts.holder_timeout_ms);
    if (answer == LH_HOLD_TAKE_OVER || answer == LH_HOLD_GRANT) {
        lh_log(&t->serve->log, LH_LOG_INFO, "takeover peer=%s from=%s", t->session->peer,
               rival->session->peer);
        lh_rsession_end(rival->session, LH_WIRE_FENCED,
                        "another sender has taken this transfer over");
    } else if (answer == LH_HOLD_FENCED) {
        lh_target_refuse(t, LH_WIRE_FENCED, 0, "another sender has taken this transfer over");
    } else if (!rival->done) {
        lh_target_refuse(t, LH_WIRE_BUSY, silent_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)silent_ms,
                         "another sender is sending to this destination now");
    }
}

static void key_run(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);

    if (t->tree == NULL)
        lh_sink_key_of(t->serve->root, t->path, t->offer.path_len, &t->key, &t->err);
    else if (t->offer.flags & LH_OFFER_DRY_RUN) /* changes nothing, and is in nobody's way */
        memcpy(&t->key.name, &t, sizeof(t));
    else
        lh_rtree_key_of(t->serve->root, t->path, t->offer.path_len, &t->key, &t->err);
}

static void on_key(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);

    t->key_known = t->err.status == 0;
    if (t->state == LH_TARGET_KEY) {
        if (t->err.status != 0)
            lh_target_fail(t, &t->err);
        else if (!t->extents_due)
            lh_target_start(t);
    }
    lh_target_unref(t);
}

void lh_target_extents(struct lh_target *t, const struct lh_block_run *runs, size_t n, bool last)
{
    uint64_t block_bytes = t->offer.block_bytes;

    if (!t->extents_due) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, "EXTENTS where none are due");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t end = runs[i].first + runs[i].count;

        if (end > t->offer.file.identity.size ||
            lh_runs_add(&t->data, runs[i].first / block_bytes,
                        lh_blocks_of(end, t->offer.block_bytes)) != 0) {
            lh_target_refuse(t, LH_WIRE_PROTOCOL, 0,
                             "an extent lies outside the file, or there are too many");
            return;
        }
    }
    t->extents_due = !last;
    if (last && t->key_known)
        lh_target_start(t);
}

void lh_target_offer(struct lh_rsession *session, uint32_t transfer, const struct lh_offer *offer)
{
    struct lh_target *t = calloc(1, sizeof(*t));
    uint8_t *path = malloc(offer->path_len);

    if (t == NULL || path == NULL) {
        free(t);
        free(path);
        lh_rsession_error(session, transfer, LH_WIRE_INTERNAL, 0, "the receiver is out of memory");
        return;
    }
    memcpy(path, offer->path, offer->path_len);
    t->serve = session->serve;
    t->session = session;
    t->transfer = transfer;
    t->offer = *offer;
    t->path = path;
    t->offer.path = path;
    memcpy(t->holder.id, offer->holder, sizeof(t->holder.id));
    memcpy(t->holder.incarnation, offer->incarnation, sizeof(t->holder.incarnation));
    t->holder.claim = offer->claim;
    t->holder.epoch = offer->prev_epoch;
    lh_runs_init(&t->durable, LH_RUNS_MAX);
    lh_runs_init(&t->data, LH_RUNS_MAX);
    t->extents_due = offer->flags & LH_OFFER_EXTENTS;
    if ((offer->flags & LH_OFFER_MORE_FILES) && !lh_target_tree_new(t)) {
        free(t);
        free(path);
        lh_rsession_error(session, transfer, LH_WIRE_INTERNAL, 0, "the receiver is out of memory");
        return;
    }
    t->next = t->serve->targets;
    t->serve->targets = t;
    atomic_store(&t->refs, 2); /* its own, and the job's */
    lh_worker_submit(&t->serve->opener, &t->job, key_run, on_key, &t->serve->mbox);
}
