/* The sender's control connection: dial, HELLO, OFFER, until DONE; and again when it is lost.
 *
 * Thread: main loop.
 *
 * Happy path: dial -> HELLO, OFFER -> WELCOME, ACCEPT, LEDGER … last -> the mover moves -> source
 * checked -> FINISH -> DONE -> CONFIRM, BYE -> end. A small file's contents and FINISH go right
 * behind OFFER: two round trips from connect to done. Failures: until the first WELCOME
 * every failure ends the send. After it, a lost connection closes the session's parts, waits with
 * jittered backoff and dials again, for ever or until --give-up-after. What the receiver refuses in
 * words ends the send with those words. A fenced sender ends. */
#include "core/pace.h"
#include "io/sender.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEARTBEAT_MS 4000
#define BUSY_RETRY_MS 1000
#define HOLDER_SILENT_MS 5000 /* a holder that missed a heartbeat is worth waiting for */
#define PROTOCOL_ERRORS_MAX 5 /* in a row: no bit flips, the other side is broken */

static void send_offer(struct lh_send *s);

void lh_session_send(struct lh_send *s, uint16_t type, uint16_t flags, const void *payload,
                     size_t length)
{
    struct lh_frame head = {
        .type = type, .flags = flags, .transfer = s->transfer, .epoch = s->epoch};

    lh_ctl_send(&s->ctl, &head, payload, (uint32_t)length);
}

void lh_session_send_runs(struct lh_send *s, uint16_t type, uint16_t last_flags,
                          const struct lh_runs *runs)
{
    struct lh_frame head = {
        .type = type, .flags = last_flags, .transfer = s->transfer, .epoch = s->epoch};

    lh_ctl_send_runs(&s->ctl, &head, runs);
}

/* ---- lost, and taken up again ---- */

static void on_retry(uv_timer_t *timer)
{
    struct lh_send *s = timer->data;

    if (s->phase == LH_PHASE_LOST)
        lh_session_dial(s);
    else if (s->phase == LH_PHASE_OFFERED)
        send_offer(s);
}

void lh_session_maybe_quiet(struct lh_send *s)
{
    if (s->phase != LH_PHASE_LOST || s->n_alive > 0 || s->ctl_open || s->dialing ||
        s->source_busy || s->compare.hashing || uv_is_active((uv_handle_t *)&s->retry))
        return;
    lh_mover_reset(s);
    uv_timer_start(&s->retry, on_retry, lh_pace_backoff(s->attempt++, lh_random32()), 0);
}

void lh_session_lost(struct lh_send *s, const struct lh_err *err)
{
    if (s->phase == LH_PHASE_LOST || s->phase == LH_PHASE_ENDING)
        return;
    if (s->phase == LH_PHASE_HELD) { /* it is there: nothing needs a session any more */
        lh_ctl_close(&s->ctl);
        return;
    }
    if (err->status == LH_E_PROTOCOL)
        s->n_protocol_errors++;
    if (!s->said_hello || s->n_protocol_errors > PROTOCOL_ERRORS_MAX) {
        lh_send_end(s, err->status, "%s: %s", s->opts.host, err->text);
        return;
    }
    if (!s->reopen) {
        lh_log(&s->log, LH_LOG_WARN, "%s: %s; dialling again, what is durable is kept",
               s->opts.host, err->text);
        s->stats.reconnects++;
    }
    s->prev_epoch = s->epoch > 0 ? s->epoch : s->prev_epoch;
    s->epoch = 0;
    s->phase = LH_PHASE_LOST;
    uv_timer_stop(&s->retry);
    lh_mover_stop_streams(s);
    if (s->ctl_open)
        lh_ctl_close(&s->ctl);
    lh_session_maybe_quiet(s);
}

static void lost_for(struct lh_send *s, int status, const char *why)
{
    struct lh_err err;

    lh_err_set(&err, status, "%s", why);
    lh_session_lost(s, &err);
}

void lh_session_leave(struct lh_send *s)
{
    struct lh_frame bye = {.type = LH_FRAME_BYE, .transfer = LH_NO_TRANSFER};

    if (!s->ctl_open)
        return;
    lh_ctl_send(&s->ctl, &bye, NULL, 0);
    if (s->ctl.dead)
        lh_ctl_close(&s->ctl);
    else
        lh_ctl_drain(&s->ctl);
}

/* ---- hello and offer ---- */

static void say_hello(struct lh_send *s)
{
    struct lh_hello hello = {.version_min = LH_PROTOCOL_VERSION,
                             .version_max = LH_PROTOCOL_VERSION,
                             .role = LH_ROLE_SEND,
                             .features =
                                 LH_FEATURE_INSECURE | LH_FEATURE_EXTENTS | LH_FEATURE_STATS,
                             .required = LH_FEATURE_INSECURE,
                             .heartbeat_ms = HEARTBEAT_MS,
                             .streams = (uint16_t)s->opts.streams,
                             .agent = "longhaul " LH_VERSION,
                             .agent_len = sizeof("longhaul " LH_VERSION) - 1};
    struct lh_frame head = {.type = LH_FRAME_HELLO, .transfer = LH_NO_TRANSFER};
    uint8_t payload[LH_HELLO_MAX];

    s->phase = LH_PHASE_HELLO;
    s->transfer = 0;
    lh_ctl_send(&s->ctl, &head, payload, (uint32_t)lh_hello_encode(&hello, payload));
}

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

    if (size > 0) {
        lh_ctl_send_hashed(&s->ctl, &head, s->small, size, &s->small_hash);
        s->stats.bytes_sent += size;
        s->stats.fallback_bytes += size;
        s->stats.fallback_count++;
    }
    send_finish(s);
}

static void send_offer(struct lh_send *s)
{
    bool sparse = s->sparse && (s->features & LH_FEATURE_EXTENTS) != 0;
    struct lh_offer m = {
        .prev_epoch = s->prev_epoch,
        .claim = s->opts.claim,
        .hash = LH_HASH_XXH3_128,
        .block_bytes = s->opts.block_bytes,
        .flags =
            (uint16_t)((s->opts.no_clobber ? LH_OFFER_NO_CLOBBER : 0) |
                       (s->drop_there ? LH_OFFER_RESTART : 0) |
                       (s->small != NULL ? LH_OFFER_INLINE : 0) | (sparse ? LH_OFFER_EXTENTS : 0)),
        .n_files = 1,
        .path = s->dest,
        .path_len = s->dest_len,
        .file = {.kind = LH_KIND_FILE, .mode = s->source.mode, .identity = s->source.identity}};
    uint8_t payload[2 * LH_PATH_MAX + 512];

    memcpy(m.holder, s->holder, sizeof(m.holder));
    memcpy(m.incarnation, s->opts.incarnation, sizeof(m.incarnation));
    s->transfer++;
    s->epoch = 0;
    lh_session_send(s, LH_FRAME_OFFER, 0, payload, lh_offer_encode(&m, payload));
    if (s->small != NULL)
        send_small(s);
    if (sparse) /* where it has data: holes are neither sent nor given space */
        lh_session_send_runs(s, LH_FRAME_EXTENTS, LH_FRAME_LAST, &s->extents);
}

/* An offer that needs no feature need not wait for WELCOME: that saves a round trip. */
static bool offers_with_hello(const struct lh_send *s)
{
    return !s->sparse;
}

static void on_welcome(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_welcome welcome;
    const char *why = NULL;

    if (lh_welcome_decode(payload, frame->length, &welcome, &why) != 0) {
        lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    if (welcome.version != LH_PROTOCOL_VERSION) {
        lh_send_end(s, LH_E_VERSION, "%s speaks protocol version %u, this program version %u",
                    s->opts.host, welcome.version, LH_PROTOCOL_VERSION);
        return;
    }
    s->said_hello = true;
    memcpy(s->token, welcome.token, sizeof(s->token));
    s->features = welcome.features;
    s->heartbeat_ms = welcome.heartbeat_ms < HEARTBEAT_MS ? welcome.heartbeat_ms : HEARTBEAT_MS;
    s->max_streams = welcome.max_streams > 0 ? welcome.max_streams : 1;
    s->ctl.max_payload = LH_CONTROL_MAX;
    if (welcome.max_block < s->opts.block_bytes) {
        lh_send_end(s, LH_E_REFUSED, "%s takes blocks of at most %u bytes: use --block-size",
                    s->opts.host, welcome.max_block);
        return;
    }
    lh_log(&s->log, LH_LOG_INFO, "session agent=\"%.*s\"", (int)welcome.agent_len, welcome.agent);
    s->phase = LH_PHASE_OFFERED;
    if (!offers_with_hello(s))
        send_offer(s);
    lh_mover_join(s);
}

/* ---- the answer ---- */

static void on_accept(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    uint64_t size = s->source.identity.size;
    struct lh_accept accept;
    const char *why = NULL;

    if (lh_accept_decode(payload, frame->length, &accept, &why) != 0) {
        lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    s->epoch = accept.epoch;
    s->drop_there = false;
    s->accept_flags = accept.flags;
    for (size_t i = 0; i < sizeof(accept.transfer_id); i++)
        snprintf(s->stats.transfer + 2 * i, 3, "%02x", accept.transfer_id[i]);
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
    lh_mover_reset(s);
    if (lh_sched_init(&s->sched, size, s->opts.block_bytes, accept.window) != 0) {
        lh_send_end(s, LH_E_NOMEM, "out of memory");
        return;
    }
    s->sched_ready = true;
}

/* What is durable at the start was sent in an earlier run, or is a hole. */
static void count_skipped(struct lh_send *s)
{
    uint64_t durable = lh_sched_bytes(&s->sched, &s->sched.durable);
    uint64_t holes = s->source.identity.size;
    struct lh_runs data;

    lh_runs_init(&data, s->extents.max);
    for (size_t i = 0; s->sparse && i < s->extents.n; i++)
        if (lh_runs_add(&data, s->extents.v[i].first / s->opts.block_bytes,
                        lh_blocks_of(s->extents.v[i].end, s->opts.block_bytes)) != 0)
            break; /* out of memory: only this count suffers */
    holes = s->sparse ? holes - lh_sched_bytes(&s->sched, &data) : 0;
    s->stats.bytes_holes = holes < durable ? holes : durable;
    s->stats.bytes_skipped = durable - s->stats.bytes_holes;
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
void lh_session_finish(struct lh_send *s)
{
    if (s->source_busy)
        return;
    lh_limits_report(s);
    s->phase = LH_PHASE_CHECKING;
    lh_send_check_source(s, checked);
}

static void confirm(struct lh_send *s, bool forget)
{
    if (forget && s->ctl_open)
        lh_session_send(s, LH_FRAME_CONFIRM, 0, NULL, 0);
    lh_send_end(s, 0, "%s", "");
}

static void deliver(struct lh_send *s)
{
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

/* Done in an earlier run, or by another host, and size and mtime agree: do the contents? */
static void digest_run(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    memset(&s->source_err, 0, sizeof(s->source_err));
    lh_source_digest(&s->source, s->opts.block_bytes, &s->stop_reading, &s->own_digest,
                     &s->source_err);
}

static void on_digest(struct lh_job *job)
{
    struct lh_send *s = LH_CONTAINER_OF(job, struct lh_send, source_job);

    s->source_busy = false;
    if (s->phase == LH_PHASE_FINISHING) {
        if (s->source_err.status == LH_E_SOURCE_CHANGED)
            lh_send_restart(s, s->source_err.text);
        else if (s->source_err.status != 0)
            lh_send_end(s, s->source_err.status, "%s", s->source_err.text);
        else if (memcmp(&s->own_digest, &s->digest, sizeof(s->digest)) != 0)
            lh_send_restart(s, "the source was rewritten after it had been sent");
        else
            deliver(s);
    }
    lh_session_maybe_quiet(s);
    lh_send_maybe_end(s);
}

static void on_done(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    const uint16_t unsure = LH_ACCEPT_DONE | LH_ACCEPT_COMPARE;
    struct lh_done done;
    const char *why = NULL;

    if (lh_done_decode(payload, frame->length, &done, &why) != 0) {
        lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    s->digest = done.digest;
    if ((s->accept_flags & unsure) != unsure) {
        deliver(s);
    } else if (!s->source_busy) {
        s->source_busy = true;
        lh_worker_submit(&s->prep, &s->source_job, digest_run, on_digest, &s->mbox);
    }
}

static void on_error(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_error_frame error;
    const char *why = NULL;
    int status;

    if (lh_error_decode(payload, frame->length, &error, &why) != 0) {
        lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    if (frame->transfer != LH_NO_TRANSFER && frame->transfer != s->transfer)
        return;
    status = lh_status_of_wire(error.code);
    if (error.code == LH_WIRE_BUSY && error.silent_ms >= HOLDER_SILENT_MS) {
        if (!s->told_busy)
            lh_log(
                &s->log, LH_LOG_WARN,
                "%s: another sender held this destination and has fallen silent: waiting until it "
                "may be taken over",
                s->opts.host);
        s->told_busy = true;
        uv_timer_start(&s->retry, on_retry, BUSY_RETRY_MS, 0);
    } else if (error.code == LH_WIRE_STOPPING || error.code == LH_WIRE_PROTOCOL) {
        char text[LH_ERROR_TEXT_MAX + 1];

        snprintf(text, sizeof(text), "%.*s", (int)error.text_len, error.text);
        lost_for(s, error.code == LH_WIRE_PROTOCOL ? LH_E_PROTOCOL : LH_E_NETWORK, text);
    } else if (error.code == LH_WIRE_SOURCE_CHANGED) {
        lh_send_restart(s, "the receiver saw another version");
    } else {
        lh_send_end(s, status, "%s: %.*s", s->opts.host, (int)error.text_len, error.text);
    }
}

static void on_stats(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_stats stats;
    const char *why = NULL;

    if (lh_stats_decode(payload, frame->length, &stats, &why) != 0)
        lost_for(s, LH_E_PROTOCOL, why);
    else
        lh_limits_heard(s, &stats);
}

static void on_heartbeat(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_heartbeat beat;
    const char *why = NULL;

    if (lh_heartbeat_decode(payload, frame->length, &beat, &why) != 0) {
        lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    s->far.heard_ms = lh_now_ms();
    s->far.disk_wait_ms = beat.disk_wait_ms;
    s->far.undurable_bytes = beat.undurable;
}

/* ---- frames ---- */

static void on_frame(struct lh_ctl *ctl, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_send *s = LH_CONTAINER_OF(ctl, struct lh_send, ctl);
    bool ours = frame->transfer == s->transfer;

    s->contact_ms = lh_now_ms();
    if (s->phase == LH_PHASE_ENDING)
        return;
    if (s->phase == LH_PHASE_HELD) {
        if (frame->type == LH_FRAME_ERROR)
            lost_for(s, LH_E_NETWORK, "the receiver ended the session");
        return;
    }
    if (frame->type == LH_FRAME_ERROR)
        on_error(s, frame, payload);
    else if (frame->type == LH_FRAME_HEARTBEAT)
        on_heartbeat(s, frame, payload);
    else if (frame->type == LH_FRAME_STATS && (s->features & LH_FEATURE_STATS) != 0)
        on_stats(s, frame, payload);
    else if (frame->type == LH_FRAME_WELCOME && s->phase == LH_PHASE_HELLO)
        on_welcome(s, frame, payload);
    else if (frame->type == LH_FRAME_ACCEPT && s->phase == LH_PHASE_OFFERED && ours)
        on_accept(s, frame, payload);
    else if (frame->type == LH_FRAME_LEDGER && s->phase == LH_PHASE_OFFERED && ours &&
             s->sched_ready)
        on_ledger(s, frame, payload);
    else if (frame->type == LH_FRAME_DONE && s->phase == LH_PHASE_FINISHING && ours)
        on_done(s, frame, payload);
    else if ((frame->type == LH_FRAME_ACK || frame->type == LH_FRAME_AGAIN ||
              frame->type == LH_FRAME_RETRACTED) &&
             ours) {
        if (s->phase == LH_PHASE_MOVING)
            lh_mover_frame(s, frame, payload);
    } else if (frame->type == LH_FRAME_HASHES && s->phase == LH_PHASE_MOVING && ours)
        lh_compare_hashes(s, frame, payload);
    else
        lost_for(s, LH_E_PROTOCOL, "the receiver sent a frame that was not due");
}

static void on_closed(struct lh_ctl *ctl, const struct lh_err *err)
{
    struct lh_send *s = LH_CONTAINER_OF(ctl, struct lh_send, ctl);

    if (s->phase == LH_PHASE_ENDING)
        lh_ctl_close(ctl);
    else
        lh_session_lost(s, err);
}

static void on_freed(struct lh_ctl *ctl)
{
    struct lh_send *s = LH_CONTAINER_OF(ctl, struct lh_send, ctl);

    s->ctl_open = false;
    lh_session_maybe_quiet(s);
    lh_send_maybe_end(s);
}

/* ---- dial ---- */

static void on_dialed(struct lh_dial *dial, int fd)
{
    struct lh_send *s = LH_CONTAINER_OF(dial, struct lh_send, dial);

    s->dialing = false;
    if (s->phase != LH_PHASE_DIALING) {
        LH_INVARIANT(fd < 0); /* it was cancelled */
        lh_session_maybe_quiet(s);
        lh_send_maybe_end(s);
        return;
    }
    if (fd < 0) {
        lh_session_lost(s, &dial->err);
        return;
    }
    s->peer = dial->connect.addr;
    s->ctl.on_frame = on_frame;
    s->ctl.on_closed = on_closed;
    s->ctl.freed = on_freed;
    if (lh_ctl_start(&s->ctl, s->loop, fd) != 0) {
        close(fd);
        lh_send_end(s, LH_E_NOMEM, "out of memory");
        return;
    }
    s->ctl_open = true;
    say_hello(s);
    if (offers_with_hello(s))
        send_offer(s);
    lh_mover_dial(s);
}

void lh_session_dial(struct lh_send *s)
{
    if (s->reopen) { /* the source changed: its end dials */
        lh_send_reopen(s);
        return;
    }
    s->phase = LH_PHASE_DIALING;
    s->dialing = true;
    snprintf(s->dial.host, sizeof(s->dial.host), "%s", s->opts.host);
    s->dial.port = s->opts.port;
    s->dial.loopback_only = !s->opts.insecure;
    s->dial.timeout_ms = LH_CONNECT_MS;
    s->dial.log = &s->log;
    s->dial.done = on_dialed;
    if (lh_dial_start(&s->dial, s->loop) != 0) {
        s->dialing = false;
        lh_send_end(s, s->dial.err.status, "%s", s->dial.err.text);
    }
}

static void send_heartbeat(struct lh_send *s)
{
    struct lh_heartbeat beat = {.count = ++s->heartbeats};
    uint8_t payload[64];
    struct lh_frame head = {.type = LH_FRAME_HEARTBEAT, .transfer = LH_NO_TRANSFER};

    lh_ctl_send(&s->ctl, &head, payload, (uint32_t)lh_heartbeat_encode(&beat, payload));
}

void lh_session_tick(struct lh_send *s, uint64_t now_ms)
{
    if (s->opts.give_up_ms > 0 && s->said_hello && s->phase != LH_PHASE_HELD &&
        now_ms - s->contact_ms > s->opts.give_up_ms) {
        lh_send_end(s, LH_E_TIMEOUT,
                    "%s: given up after %llu s without contact; the same command resumes",
                    s->opts.host, (unsigned long long)(s->opts.give_up_ms / 1000));
        return;
    }
    if (!s->ctl_open || s->phase < LH_PHASE_HELLO || s->phase > LH_PHASE_HELD)
        return;
    if (now_ms - s->ctl.heard_ms > LH_SILENCE_MS)
        lost_for(s, s->phase == LH_PHASE_HELLO ? LH_E_TIMEOUT : LH_E_NETWORK,
                 "the receiver has been silent for 15 s");
    else if (s->phase > LH_PHASE_HELLO && now_ms - s->ctl.sent_ms >= s->heartbeat_ms / 2)
        send_heartbeat(s);
}
