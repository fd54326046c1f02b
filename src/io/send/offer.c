/* One transfer in a session, from OFFER to CONFIRM.
 *
 * Thread: main loop; reading the source is the prep threads'.
 *
 * Happy path: OFFER -> ACCEPT, LEDGER … last -> the mover moves -> source checked -> FINISH -> DONE
 * -> delivered -> CONFIRM, at once or when the caller says so -> end. A small file's contents and
 * FINISH go right behind OFFER. Failures: what is not understood loses the session; a source that
 * changed begins again (send_source.c); a done record that may be of other contents is checked by
 * digest.
 */
#include "io/send/sender.h"
#include "util/mutant.h"
#include "util/text.h"

#include <string.h>

#define DIGEST_BLOCKS 256u /* a job */

/* ---- the offer ---- */

static void send_finish(struct lh_send *s)
{
    struct lh_finish finish = {.identity = s->source.identity, .mode = s->source.mode};
    uint8_t payload[256];

    lh_session_send(s, LH_FRAME_FINISH, 0, payload, lh_finish_encode(&finish, payload));
}

/* A small file rides with its offer. */
static void send_small(struct lh_send *s)
{
    uint32_t size = (uint32_t)s->source.identity.size;
    struct lh_frame head = {.type = LH_FRAME_BLOCK, .transfer = s->transfer, .raw_length = size};

    if (s->small_zeros) {
        head.flags = LH_FRAME_ZEROS;
        lh_ctl_send_hashed(&s->session->ctl, &head, NULL, 0, &s->small_hash);
        s->stats.bytes_holes = size;
    } else if (size > 0) {
        lh_ctl_send_hashed(&s->session->ctl, &head, s->small, size, &s->small_hash);
        s->stats.bytes_sent += size;
        s->stats.fallback_bytes += size;
        s->stats.fallback_count++;
    }
    send_finish(s);
}

/* A tree's root; what is in it follows. */
static void describe_tree(const struct lh_lane *lane, struct lh_offer *m)
{
    m->flags = LH_OFFER_MORE_FILES | lane->flags;
    m->keep = lane->keep;
    m->file =
        (struct lh_file_entry){.kind = LH_KIND_DIR, .mode = lane->mode, .identity = lane->identity};
}

/* What of a file that is there already may make the offer needless. */
static uint16_t keep_flags(const struct lh_send *s)
{
    if (s->opts.no_clobber)
        return LH_OFFER_NO_CLOBBER;
    switch (s->opts.existing) {
    case LH_EXISTING_DIFFERENT:
        /* Sent once, and then rewritten: the same size and time tell nothing any more. */
        return s->drop_there ? 0 : LH_OFFER_KEEP_SAME;
    case LH_EXISTING_SKIP:
        return LH_OFFER_KEEP_ANY;
    case LH_EXISTING_NEWER:
        return LH_OFFER_KEEP_NEWER;
    default:
        return 0;
    }
}

_Static_assert(LH_DESTINATION_MAX == LH_OFFER_PATH_MAX, "what may be asked for can be said");

void lh_offer_send(struct lh_send *s)
{
    bool extents = s->has_holes && (s->session->features & LH_FEATURE_EXTENTS) != 0;
    struct lh_offer m = {
        .prev_epoch = s->prev_epoch,
        .claim = s->opts.claim,
        .hash = LH_HASH_XXH3_128,
        .block_bytes = s->opts.block_bytes,
        .flags =
            (uint16_t)(keep_flags(s) | (s->drop_there ? LH_OFFER_RESTART : 0) |
                       (s->small != NULL ? LH_OFFER_INLINE : 0) |
                       (s->opts.sparse ? LH_OFFER_SPARSE : 0) | (extents ? LH_OFFER_EXTENTS : 0)),
        .n_files = 1,
        .path = s->dest,
        .path_len = s->dest_len,
        .file = {.kind = LH_KIND_FILE, .mode = s->source.mode, .identity = s->source.identity}};
    uint8_t payload[LH_OFFER_MAX];

    lh_ctl_cork(&s->session->ctl);
    memcpy(m.holder, s->holder, sizeof(m.holder));
    if (!lh_mutant("claim-unsaid"))
        memcpy(m.incarnation, s->opts.incarnation, sizeof(m.incarnation));
    if (s->lane != NULL) {
        describe_tree(s->lane, &m);
        /* What a tree is made of may be megabytes: losses must not hold them up. */
        lh_sock_use_congestion(s->session->ctl.fd, s->congestion);
    }
    s->transfer = ++s->session->transfer;
    s->epoch = 0;
    s->told_bytes = 0;
    s->finish_said = false;
    lh_session_send(s, LH_FRAME_OFFER, 0, payload, lh_offer_encode(&m, payload));
    if (s->small != NULL)
        send_small(s);
    if (extents) /* where it has data: holes are neither sent nor given space */
        lh_session_send_runs(s, LH_FRAME_EXTENTS, LH_FRAME_LAST, &s->extents);
    if (s->lane != NULL)
        s->lane->offered(s->lane);
    lh_ctl_uncork(&s->session->ctl);
}

/* ---- the answer ---- */

/* No ledger comes: packs of another session are no use in this one. */
static void take_lane(struct lh_send *s)
{
    lh_send_report_start(s);
    if (s->phase == LH_PHASE_OFFERED) /* else it was cancelled from in there */
        lh_mover_start(s);
    if (s->phase == LH_PHASE_MOVING)
        s->lane->taken(s->lane);
}

/* NULL, or what an ACCEPT says that was not asked for. */
static const char *unasked(const struct lh_send *s, uint16_t flags)
{
    if (s->lane != NULL && (flags & (LH_ACCEPT_RESUMED | LH_ACCEPT_COMPARE | LH_ACCEPT_DONE)))
        return "the receiver speaks of a tree as of a file";
    if ((flags & LH_ACCEPT_KEPT) && (keep_flags(s) & ~LH_OFFER_NO_CLOBBER) == 0)
        return "the receiver keeps what it was to replace";
    return NULL;
}

static void on_accept(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    uint64_t size = s->source.identity.size;
    struct lh_accept accept;
    const char *why = NULL;

    if (lh_accept_decode(payload, frame->length, &accept, &why) != 0 ||
        (why = unasked(s, accept.flags)) != NULL) {
        lh_session_lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    s->epoch = accept.epoch;
    s->accepted = true;
    s->busy_since_ms = 0;
    s->drop_there = false;
    s->accept_flags = accept.flags;
    s->stats.kept = accept.flags & LH_ACCEPT_KEPT;
    lh_text_hex(s->stats.transfer, accept.transfer_id, sizeof(accept.transfer_id));
    if (accept.flags & LH_ACCEPT_DROPPED)
        lh_log(&s->log, LH_LOG_WARN,
               "%s had a part of another version of this file: it is dropped, all is sent anew",
               s->opts.host);
    if (accept.flags & LH_ACCEPT_DONE) {
        if (!s->started)
            s->stats.bytes_skipped = size;
        s->phase = LH_PHASE_FINISHING;
        lh_mover_stop_streams(s);
        lh_send_report_start(s);
        return;
    }
    if (s->small != NULL) {
        s->phase = LH_PHASE_FINISHING;
        lh_send_report_start(s);
        return;
    }
    if (s->lane != NULL)
        size = 0; /* it grows */
    lh_mover_reset(s);
    if (lh_sched_init(&s->sched, size, s->opts.block_bytes, accept.window) != 0) {
        lh_send_end(s, LH_E_NOMEM, "out of memory");
        return;
    }
    s->sched_ready = true;
    if (s->lane != NULL)
        take_lane(s);
}

/* What is durable at the start was sent in an earlier run, or is a hole. */
static void count_skipped(struct lh_send *s)
{
    uint64_t durable = lh_sched_bytes(&s->sched, &s->sched.durable);
    uint64_t holes = s->source.identity.size;
    struct lh_runs data;

    lh_runs_init(&data, s->extents.max);
    for (size_t i = 0; s->has_holes && i < s->extents.n; i++)
        if (lh_runs_add(&data, s->extents.v[i].first / s->opts.block_bytes,
                        lh_blocks_of(s->extents.v[i].end, s->opts.block_bytes)) != 0)
            break; /* out of memory: only this count suffers */
    holes = s->has_holes ? holes - lh_sched_bytes(&s->sched, &data) : 0;
    s->hole_bytes = holes < durable ? holes : durable;
    s->stats.bytes_skipped = durable - s->hole_bytes;
    lh_runs_free(&data);
}

static void on_ledger(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    lh_mover_frame(s, frame, payload);
    if (s->phase != LH_PHASE_OFFERED || !(frame->flags & LH_FRAME_LAST))
        return;
    if (!s->started)
        count_skipped(s);
    lh_send_report_start(s);
    if (s->phase == LH_PHASE_OFFERED) /* else it was cancelled from in there */
        lh_mover_start(s);
}

/* ---- the end of a transfer ---- */

static void checked(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    s->source_busy = false;
    if (s->phase == LH_PHASE_CHECKING) {
        if (s->source_err.status == LH_E_SOURCE_CHANGED) {
            lh_send_restart(s, s->source_err.text);
        } else if (s->source_err.status != 0) {
            lh_send_end(s, s->source_err.status, "%s", s->source_err.text);
        } else {
            s->phase = LH_PHASE_FINISHING;
            send_finish(s);
        }
    }
    lh_session_maybe_quiet(s);
    lh_send_maybe_end(s);
}

/* A check after a damaged block may be under way: then its end calls the mover again. */
void lh_offer_finish(struct lh_send *s)
{
    if (s->source_busy)
        return;
    if (s->lane != NULL) { /* its contents may still be on their way */
        s->finish_said = true;
        send_finish(s);
        return;
    }
    lh_limits_report(s);
    s->phase = LH_PHASE_CHECKING;
    lh_send_check_source(s, checked);
}

static void confirm(struct lh_send *s, bool forget)
{
    if ((forget || lh_mutant("confirm-unasked")) && lh_session_alive(s)) {
        lh_session_send(s, LH_FRAME_CONFIRM, 0, NULL, 0);
        s->keep_session = s->engine->keeps && !(s->lane != NULL && s->lane->alone);
    }
    lh_send_end(s, 0, "%s", "");
}

static void deliver(struct lh_send *s)
{
    if (!s->stats.kept)
        lh_digest_text(&s->digest, s->opts.block_bytes, s->stats.digest);
    if (s->opts.hold_confirm)
        s->phase = LH_PHASE_HELD;
    lh_send_report_delivered(s);
    if (!s->opts.hold_confirm)
        confirm(s, true);
}

void lh_send_confirm(struct lh_send *s, bool forget)
{
    if (s->phase == LH_PHASE_HELD)
        confirm(s, forget);
}

void lh_offer_done(struct lh_send *s)
{
    lh_limits_report(s);
    s->phase = LH_PHASE_FINISHING;
    deliver(s);
}

/* Done in an earlier run, or by another host, and size and mtime agree: do the contents? A slice a
 * job, so that other sends get their turn. */
static void digest_run(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);
    uint64_t n = lh_blocks_of(s->source.identity.size, s->opts.block_bytes) - s->digest_at;
    struct lh_pool_buf *buf = lh_pool_get(&s->engine->pool, s->opts.block_bytes);

    memset(&s->source_err, 0, sizeof(s->source_err));
    if (s->own_digest == NULL)
        s->own_digest = lh_digest_new();
    if (n > DIGEST_BLOCKS)
        n = DIGEST_BLOCKS;
    if (buf == NULL || s->own_digest == NULL)
        lh_err_set(&s->source_err, LH_E_NOMEM, "out of memory");
    else
        lh_source_digest_part(&s->source, s->opts.block_bytes, s->digest_at, n, &s->stop_reading,
                              buf->base, s->own_digest, &s->source_err);
    if (buf != NULL)
        lh_pool_put(&s->engine->pool, buf);
    s->digest_at += n;
}

static void digest_more(struct lh_send *s);

static void on_digest(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);
    bool whole = s->digest_at == lh_blocks_of(s->source.identity.size, s->opts.block_bytes);
    struct lh_hash own;

    s->source_busy = false;
    if (s->phase == LH_PHASE_FINISHING && s->source_err.status == 0 && !whole) {
        digest_more(s);
        return;
    }
    if (s->phase == LH_PHASE_FINISHING) {
        if (s->source_err.status == 0)
            lh_digest_end(s->own_digest, &own);
        if (s->source_err.status == LH_E_SOURCE_CHANGED)
            lh_send_restart(s, s->source_err.text);
        else if (s->source_err.status != 0)
            lh_send_end(s, s->source_err.status, "%s", s->source_err.text);
        else if (memcmp(&own, &s->digest, sizeof(own)) != 0)
            lh_send_restart(s, "the source was rewritten after it had been sent");
        else
            deliver(s);
    }
    lh_digest_free(s->own_digest);
    s->own_digest = NULL;
    s->digest_at = 0;
    lh_session_maybe_quiet(s);
    lh_send_maybe_end(s);
}

static void digest_more(struct lh_send *s)
{
    s->source_busy = true;
    lh_worker_submit(&s->engine->prep, &s->source_job, digest_run, on_digest, &s->engine->mbox);
}

static void on_done(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    const uint16_t unsure = LH_ACCEPT_DONE | LH_ACCEPT_COMPARE;
    struct lh_done done;
    const char *why = NULL;

    if (lh_done_decode(payload, frame->length, &done, &why) != 0) {
        lh_session_lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    s->digest = done.digest;
    if (s->lane != NULL) {
        s->lane->frame(s->lane, frame, payload);
    } else if ((s->accept_flags & unsure) != unsure) {
        deliver(s);
    } else if (!s->source_busy) {
        digest_more(s);
    }
}

/* ---- frames ---- */

void lh_offer_frame(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    switch (frame->type) {
    case LH_FRAME_ACCEPT:
        if (s->phase == LH_PHASE_OFFERED) {
            on_accept(s, frame, payload);
            return;
        }
        break;
    case LH_FRAME_LEDGER:
        if (s->phase == LH_PHASE_OFFERED && s->sched_ready && s->lane == NULL) {
            on_ledger(s, frame, payload);
            return;
        }
        break;
    case LH_FRAME_ACK:
    case LH_FRAME_AGAIN:
    case LH_FRAME_RETRACTED:
        if (s->phase == LH_PHASE_MOVING)
            lh_mover_frame(s, frame, payload);
        return;
    case LH_FRAME_HASHES:
        if (s->phase == LH_PHASE_MOVING) {
            lh_compare_hashes(s, frame, payload);
            return;
        }
        break;
    case LH_FRAME_WANTED:
    case LH_FRAME_SETTLED:
    case LH_FRAME_FAILED:
    case LH_FRAME_NAMES:
    case LH_FRAME_REMOVED:
        if (s->lane != NULL && s->phase >= LH_PHASE_MOVING) {
            s->lane->frame(s->lane, frame, payload);
            return;
        }
        break;
    case LH_FRAME_DONE:
        if (s->phase == LH_PHASE_FINISHING || (s->phase == LH_PHASE_MOVING && s->finish_said)) {
            on_done(s, frame, payload);
            return;
        }
        break;
    default:
        break;
    }
    lh_session_lost_for(s, LH_E_PROTOCOL, "the receiver sent a frame that was not due");
}
