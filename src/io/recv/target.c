/* One transfer's file or tree at the receiver, from OFFER to close.
 *
 * Thread: main loop; its jobs run on the opener and on the committer of its file system.
 *
 * Happy path: offer, open, ACCEPT (target_open.c) -> blocks come in on streams, ACKs go out as
 * commits make them durable -> FINISH -> (committer) commit, finish -> DONE -> CONFIRM -> close. A
 * small file's contents and FINISH come right behind its OFFER and wait here until it is open; then
 * finish writes them first. What a tree has besides is in target_tree.c.
 *
 * Letting go is one way for all: off the session's table, so that no new block finds it; wait until
 * no block and no job holds a reference; then (committer) fence, commit, close. A takeover is that,
 * and an open after it: the new holder starts from the journal like after a crash. */
#include "core/sched.h"
#include "io/recv/recv.h"

#include <stdlib.h>
#include <string.h>

/* ---- references ---- */

static struct lh_target **link_to(struct lh_target *t)
{
    struct lh_target **at = &t->serve->targets;

    while (*at != t)
        at = &(*at)->next;
    return at;
}

/* Nobody refers to it any more: forget it, and let those go on who waited for its file. */
static void destroy(struct lh_target *t)
{
    struct lh_serve *serve = t->serve;

    *link_to(t) = t->next;
    lh_target_tree_free(t);
    lh_runs_free(&t->durable);
    lh_runs_free(&t->data);
    free(t->inline_data);
    free(t->path);
    free(t);
    for (t = serve->targets; t != NULL; t = t->next)
        if (t->state == LH_TARGET_WAITING)
            lh_target_start(t);
    lh_serve_maybe_stop(serve);
}

static void on_close_done(struct lh_job *job)
{
    destroy(LH_CONTAINER_OF(job, struct lh_target, job));
}

static void close_run(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);
    struct lh_err err;

    t->store->ops->fence(t->store);
    if (t->entry.committer != NULL) {
        if (!t->done && !t->entry.failed)
            lh_committer_commit_now(&t->entry, &err);
        lh_committer_detach(t->committer, &t->entry);
    }
    if (t->confirmed && t->sink != NULL)
        lh_sink_forget(t->sink);
    t->store->ops->close(t->store);
}

static void on_idle(struct lh_msg *msg)
{
    struct lh_target *t = LH_CONTAINER_OF(msg, struct lh_target, idle_msg);

    LH_INVARIANT(t->state == LH_TARGET_CLOSING);
    if (t->store == NULL)
        destroy(t);
    else if (t->committer != NULL)
        lh_committer_submit(t->committer, &t->job, close_run, on_close_done, &t->serve->mbox);
    else
        lh_worker_submit(&t->serve->opener, &t->job, close_run, on_close_done, &t->serve->mbox);
}

void lh_target_unref(struct lh_target *t)
{
    if (atomic_fetch_sub(&t->refs, 1) == 1)
        lh_mbox_post(&t->serve->mbox, &t->idle_msg, on_idle);
}

void lh_target_let_go(struct lh_target *t)
{
    struct lh_rsession *session = t->session;

    if (t->state == LH_TARGET_CLOSING)
        return;
    t->state = LH_TARGET_CLOSING;
    t->session = NULL;
    if (session != NULL)
        lh_rshared_remove(session->shared, t);
    if (t->tree != NULL)
        lh_target_tree_let_go(t, session);
    lh_target_unref(t); /* the one that the target has of itself until here */
}

void lh_target_refuse(struct lh_target *t, uint16_t code, uint32_t silent_ms, const char *text)
{
    if (t->session != NULL) {
        lh_log(&t->serve->log, LH_LOG_WARN, "transfer peer=%s error=\"%s\"", t->session->peer,
               text);
        lh_rsession_error(t->session, t->transfer, code, silent_ms, text);
    }
    lh_target_let_go(t);
}

void lh_target_fail(struct lh_target *t, const struct lh_err *err)
{
    if (t->state != LH_TARGET_CLOSING)
        lh_target_refuse(t, lh_wire_of_status(err->status), 0, err->text);
}

struct lh_target *lh_target_find(struct lh_rsession *session, uint32_t transfer)
{
    struct lh_target *t = session->serve->targets;

    while (t != NULL && (t->session != session || t->transfer != transfer))
        t = t->next;
    return t;
}

unsigned lh_target_count(const struct lh_rsession *session)
{
    unsigned n = 0;

    for (const struct lh_target *t = session->serve->targets; t != NULL; t = t->next)
        n += t->session == session;
    return n;
}

/* ---- commits ---- */

void lh_target_committed(struct lh_commit_entry *entry, const struct lh_runs *acked,
                         const struct lh_err *err)
{
    struct lh_target *t = LH_CONTAINER_OF(entry, struct lh_target, entry);

    /* What rides with its offer is answered by DONE. */
    if (acked->n > 0 && t->session != NULL && !(t->offer.flags & LH_OFFER_INLINE)) {
        lh_rstats_send(t->session);
        lh_rsession_send_runs(t->session, LH_FRAME_ACK, 0, t, acked);
    }
    if (t->tree != NULL && t->session != NULL) /* else it may be closed by now */
        lh_target_tree_committed(t);
    if (err->status != 0)
        lh_target_fail(t, err);
    else if (t->tree != NULL)
        lh_target_maybe_finish(t);
}

/* ---- finish ---- */

void lh_target_send_done(struct lh_target *t)
{
    struct lh_done done = {.digest = t->digest,
                           .bytes = t->opened.kept ? t->opened.bytes : t->offer.file.identity.size};
    uint8_t payload[64];
    char text[LH_DIGEST_TEXT_SIZE] = "kept";

    t->done = true;
    if (t->tree != NULL) {
        lh_target_tree_send_done(t);
        return;
    }
    if (!t->opened.kept)
        lh_digest_text(&t->digest, t->offer.block_bytes, text);
    lh_log(&t->serve->log, LH_LOG_INFO, "done target=%s bytes=%llu digest=%s",
           lh_sink_name(t->sink), (unsigned long long)done.bytes, text);
    if (t->session != NULL)
        lh_rsession_send(t->session, LH_FRAME_DONE, 0, t, payload, lh_done_encode(&done, payload));
    if (t->serve->cbs.received != NULL && !t->opened.done)
        t->serve->cbs.received(t->serve->cbs.arg, lh_sink_name(t->sink), done.bytes, text);
}

/* Contents that came behind the offer. What an earlier run left of them may be of other contents.
 */
static int write_inline(struct lh_target *t)
{
    struct lh_hash there;
    bool soon;
    int r;

    if (lh_sink_complete(t->sink)) {
        if (lh_sink_hashes(t->sink, 0, 1, &there, &t->err) != 0)
            return -t->err.status;
        if (memcmp(&there, &t->inline_hash, sizeof(there)) == 0)
            return 0;
        if (lh_sink_retract(t->sink, 0, 1, &t->err) != 0)
            return -t->err.status;
    }
    r = lh_sink_write(t->sink, t->opened.epoch, 0, t->inline_data, t->inline_len, &t->inline_hash,
                      &soon, &t->err);
    if (r > LH_CLAIM_OK)
        return lh_err_set(&t->err, LH_E_PROTOCOL, "contents do not fit the offer");
    return r;
}

static void finish_run(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);

    if (t->inline_len > 0 && write_inline(t) < 0)
        return;
    if (lh_committer_commit_now(&t->entry, &t->err) < 0)
        return;
    if (t->tree != NULL)
        lh_target_tree_finish(t, &t->err);
    else
        lh_sink_finish(t->sink, &t->finish, &t->digest, &t->err);
}

static void on_finish_done(struct lh_job *job)
{
    struct lh_target *t = LH_CONTAINER_OF(job, struct lh_target, job);

    if (t->err.status != 0)
        lh_target_fail(t, &t->err);
    else
        lh_target_send_done(t);
    lh_target_unref(t);
}

/* Once it is open and no space is being taken any more: that changes the file's times. */
void lh_target_maybe_finish(struct lh_target *t)
{
    if (t->state != LH_TARGET_OPEN || !t->have_finish || t->allocating || t->finishing || t->done ||
        (t->tree != NULL && !lh_target_tree_idle(t)))
        return;
    t->finishing = true;
    atomic_fetch_add(&t->refs, 1);
    memset(&t->err, 0, sizeof(t->err));
    lh_committer_submit(t->committer, &t->job, finish_run, on_finish_done, &t->serve->mbox);
}

void lh_target_finish(struct lh_target *t, const struct lh_finish *finish)
{
    if (t->have_finish || t->done || t->state == LH_TARGET_CLOSING)
        return;
    if (t->tree == NULL && !lh_identity_same_version(&finish->identity, &t->offer.file.identity)) {
        lh_target_refuse(t, LH_WIRE_SOURCE_CHANGED, 0,
                         "FINISH names another version than the offer");
        return;
    }
    t->have_finish = true;
    t->finish = *finish;
    lh_target_maybe_finish(t);
}

void lh_target_confirm(struct lh_target *t)
{
    if (!t->done)
        return;
    t->confirmed = true;
    lh_target_let_go(t);
}

/* Zeros have come where contents are due: are they announced, and of that hash? False: the session
 * has ended. */
static bool takes_zeros(struct lh_target *t, const struct lh_frame *frame)
{
    struct lh_hash hash;

    if (!(t->offer.flags & LH_OFFER_SPARSE)) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, "a block of zeros that was not announced");
        return false;
    }
    lh_hash_zeros(frame->raw_length, &hash);
    if (memcmp(&hash, &frame->hash, sizeof(hash)) == 0)
        return true;
    lh_rsession_end(t->session, LH_WIRE_OK, "zeros do not match their hash");
    return false;
}

void lh_target_inline(struct lh_target *t, const struct lh_frame *frame, const uint8_t *payload)
{
    if (t->state == LH_TARGET_CLOSING || t->done)
        return;
    if (t->have_finish || t->inline_len > 0 || frame->offset != 0 ||
        !(t->offer.flags & LH_OFFER_INLINE) || frame->raw_length > t->offer.block_bytes) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, "BLOCK where none is due");
        return;
    }
    if ((frame->flags & LH_FRAME_ZEROS) && !takes_zeros(t, frame))
        return;
    if (frame->length > 0) {
        t->inline_data = malloc(frame->length);
        if (t->inline_data == NULL) {
            lh_target_refuse(t, LH_WIRE_INTERNAL, 0, "the receiver is out of memory");
            return;
        }
        memcpy(t->inline_data, payload, frame->length);
    }
    t->inline_len = frame->raw_length;
    t->inline_hash = frame->hash;
}
