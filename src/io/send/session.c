/* The sender's session: dialled or taken from those that are parked, and again when it is lost.
 *
 * Thread: main loop.
 *
 * Happy path: dial -> HELLO, OFFER -> WELCOME; or take one where all of that has been said -> OFFER
 * -> the transfer (offer.c) -> it is parked, or BYE. Two round trips from connect to done for a
 * small file, one in a session that was parked. Failures: until the first WELCOME every failure
 * ends the send. After it, a lost connection closes the session's parts, waits with jittered
 * backoff and dials again, for ever or until --give-up-after. A parked session that turns out to be
 * dead is no failure: it is dialled at once, as if there had been none. What the receiver refuses
 * in words ends the send with those words; but one that has taken this transfer before, and is busy
 * when it is offered again, is dialled again like one that was lost. A fenced sender ends. */
#include "core/pace.h"
#include "io/send/sender.h"
#include "util/mutant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEARTBEAT_MS 4000
#define BUSY_RETRY_MS 1000
#define HOLDER_SILENT_MS 5000 /* a holder that missed a heartbeat is worth waiting for */
#define PROTOCOL_ERRORS_MAX 5 /* in a row: no bit flips, the other side is broken */

void lh_session_send(struct lh_send *s, uint16_t type, uint16_t flags, const void *payload,
                     size_t length)
{
    struct lh_frame head = {
        .type = type, .flags = flags, .transfer = s->transfer, .epoch = s->epoch};

    lh_ctl_send(&s->session->ctl, &head, payload, (uint32_t)length);
}

void lh_session_send_runs(struct lh_send *s, uint16_t type, uint16_t last_flags,
                          const struct lh_runs *runs)
{
    struct lh_frame head = {
        .type = type, .flags = last_flags, .transfer = s->transfer, .epoch = s->epoch};

    lh_ctl_send_runs(&s->session->ctl, &head, runs);
}

/* ---- lost, and taken up again ---- */

static void on_retry(uv_timer_t *timer)
{
    struct lh_send *s = timer->data;

    if (s->phase == LH_PHASE_LOST)
        lh_session_dial(s);
    else if (s->phase == LH_PHASE_OFFERED)
        lh_offer_send(s);
}

void lh_session_maybe_quiet(struct lh_send *s)
{
    uint64_t pause_ms = 0;

    if (s->phase != LH_PHASE_LOST || s->n_alive > 0 || s->session != NULL || s->dialing ||
        s->source_busy || s->compare.hashing || uv_is_active((uv_handle_t *)&s->retry))
        return;
    lh_mover_reset(s);
    if (!s->untried)
        pause_ms = lh_pace_backoff(s->attempt++, lh_random32());
    uv_timer_start(&s->retry, on_retry, pause_ms, 0);
}

void lh_session_lost(struct lh_send *s, const struct lh_err *err)
{
    if (s->phase == LH_PHASE_LOST || s->phase == LH_PHASE_ENDING)
        return;
    if (s->phase == LH_PHASE_HELD) { /* it is there: nothing needs a session any more */
        lh_ctl_close(&s->session->ctl);
        return;
    }
    if (err->status == LH_E_PROTOCOL)
        s->n_protocol_errors++;
    if (!s->untried && (!s->said_hello || s->n_protocol_errors > PROTOCOL_ERRORS_MAX)) {
        lh_send_end(s, err->status, "%s: %s", s->opts.host, err->text);
        return;
    }
    if (s->untried) {
        lh_log(&s->log, LH_LOG_INFO, "%s: an idle session was dead: %s", s->opts.host, err->text);
    } else if (!s->reopen) {
        lh_log(&s->log, LH_LOG_WARN, "%s: %s; dialling again, what is durable is kept",
               s->opts.host, err->text);
        s->stats.reconnects++;
    }
    if (s->epoch > 0 && !(s->accept_flags & LH_ACCEPT_DONE)) /* that one was another's */
        s->prev_epoch = s->epoch;
    s->epoch = 0;
    s->phase = LH_PHASE_LOST;
    uv_timer_stop(&s->retry);
    lh_mover_stop_streams(s);
    s->dial_anew = true;
    if (s->session != NULL)
        lh_ctl_close(&s->session->ctl);
    lh_session_maybe_quiet(s);
}

void lh_session_lost_for(struct lh_send *s, int status, const char *why)
{
    struct lh_err err;

    lh_err_set(&err, status, "%s", why);
    lh_session_lost(s, &err);
}

bool lh_session_alive(const struct lh_send *s)
{
    return s->session != NULL && !s->session->ctl.dead && !s->session->ctl.closing;
}

/* ---- hello ---- */

static void say_hello(struct lh_send *s)
{
    struct lh_hello hello = {.version_min = LH_PROTOCOL_VERSION,
                             .version_max = LH_PROTOCOL_VERSION,
                             .role = LH_ROLE_SEND,
                             .features = LH_FEATURE_INSECURE | LH_FEATURE_EXTENTS |
                                         LH_FEATURE_STATS | LH_FEATURE_TREES,
                             .required = LH_FEATURE_INSECURE,
                             .heartbeat_ms = HEARTBEAT_MS,
                             .streams = (uint16_t)s->opts.streams,
                             .agent = "longhaul " LH_VERSION,
                             .agent_len = sizeof("longhaul " LH_VERSION) - 1};
    struct lh_frame head = {.type = LH_FRAME_HELLO, .transfer = LH_NO_TRANSFER};
    uint8_t payload[LH_HELLO_MAX];

    if (s->lane != NULL)
        hello.required |= LH_FEATURE_TREES;
    s->phase = LH_PHASE_HELLO;
    s->transfer = 0;
    lh_ctl_send(&s->session->ctl, &head, payload, (uint32_t)lh_hello_encode(&hello, payload));
}

/* An offer that needs no feature need not wait for WELCOME: that saves a round trip. */
static bool offers_with_hello(const struct lh_send *s)
{
    return !s->has_holes;
}

static void on_welcome(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_session *session = s->session;
    struct lh_welcome welcome;
    const char *why = NULL;

    if (lh_welcome_decode(payload, frame->length, &welcome, &why) != 0) {
        lh_session_lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    if (welcome.version != LH_PROTOCOL_VERSION) {
        lh_send_end(s, LH_E_VERSION, "%s speaks protocol version %u, this program version %u",
                    s->opts.host, welcome.version, LH_PROTOCOL_VERSION);
        return;
    }
    s->said_hello = true;
    memcpy(session->token, welcome.token, sizeof(session->token));
    session->features = welcome.features;
    session->heartbeat_ms =
        welcome.heartbeat_ms < HEARTBEAT_MS ? welcome.heartbeat_ms : HEARTBEAT_MS;
    session->max_streams = welcome.max_streams > 0 ? welcome.max_streams : 1;
    session->max_block = welcome.max_block;
    session->ctl.max_payload = LH_CONTROL_MAX;
    if (welcome.max_block < s->opts.block_bytes) {
        lh_send_end(s, LH_E_REFUSED, "%s takes blocks of at most %u bytes: use --block-size",
                    s->opts.host, welcome.max_block);
        return;
    }
    lh_log(&s->log, LH_LOG_INFO, "session agent=\"%.*s\"", (int)welcome.agent_len, welcome.agent);
    s->phase = LH_PHASE_OFFERED;
    if (!offers_with_hello(s))
        lh_offer_send(s);
    lh_mover_join(s);
}

/* ---- frames of the session ---- */

/* Its place was lost with the session, and is another's for now: no memory for one tree more, or
 * the files are still open elsewhere. */
static void busy_again(struct lh_send *s, const struct lh_error_frame *error)
{
    struct lh_err err;

    if (s->busy_since_ms == 0)
        s->busy_since_ms = lh_now_ms();
    lh_err_set(&err, LH_E_BUSY, "busy where it went on before: %.*s", (int)error->text_len,
               error->text);
    lh_session_lost(s, &err);
}

static void on_error(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_error_frame error;
    const char *why = NULL;
    int status;

    if (lh_error_decode(payload, frame->length, &error, &why) != 0) {
        lh_session_lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    if (frame->transfer != LH_NO_TRANSFER && frame->transfer != s->transfer)
        return;
    status = lh_status_of_wire(error.code);
    if (frame->transfer == LH_NO_TRANSFER && s->untried)
        lh_session_lost_for(s, LH_E_NETWORK, "the receiver ended it");
    else if (error.code == LH_WIRE_BUSY && error.silent_ms >= HOLDER_SILENT_MS) {
        if (!s->told_busy)
            lh_log(
                &s->log, LH_LOG_WARN,
                "%s: another sender held this destination and has fallen silent: waiting until it "
                "may be taken over",
                s->opts.host);
        s->told_busy = true;
        uv_timer_start(&s->retry, on_retry, BUSY_RETRY_MS, 0);
    } else if (error.code == LH_WIRE_BUSY && s->accepted) {
        busy_again(s, &error);
    } else if (error.code == LH_WIRE_STOPPING || error.code == LH_WIRE_PROTOCOL) {
        char text[LH_ERROR_TEXT_MAX + 1];

        snprintf(text, sizeof(text), "%.*s", (int)error.text_len, error.text);
        lh_session_lost_for(s, error.code == LH_WIRE_PROTOCOL ? LH_E_PROTOCOL : LH_E_NETWORK, text);
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
        lh_session_lost_for(s, LH_E_PROTOCOL, why);
    else if (s->phase >= LH_PHASE_MOVING) /* else it is of the transfer before */
        lh_limits_heard(s, &stats);
}

static void on_heartbeat(struct lh_send *s, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_heartbeat beat;
    const char *why = NULL;

    if (lh_heartbeat_decode(payload, frame->length, &beat, &why) != 0) {
        lh_session_lost_for(s, LH_E_PROTOCOL, why);
        return;
    }
    s->far.heard_ms = lh_now_ms();
    s->far.disk_wait_ms = beat.disk_wait_ms;
    s->far.undurable_bytes = beat.undurable;
}

/* ---- frames ---- */

static void on_frame(struct lh_ctl *ctl, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_session *session = LH_CONTAINER_OF(ctl, struct lh_session, ctl);
    struct lh_send *s = session->send;

    s->contact_ms = lh_now_ms();
    if (s->phase == LH_PHASE_ENDING)
        return;
    if (s->untried && frame->transfer == s->transfer) {
        s->untried = false;
        s->said_hello = true;
    }
    if (frame->type == LH_FRAME_HEARTBEAT)
        on_heartbeat(s, frame, payload);
    else if (frame->type == LH_FRAME_STATS && (session->features & LH_FEATURE_STATS) != 0)
        on_stats(s, frame, payload);
    else if (s->phase == LH_PHASE_HELD && frame->type == LH_FRAME_ERROR)
        lh_session_lost_for(s, LH_E_NETWORK, "the receiver ended the session");
    else if (frame->type == LH_FRAME_ERROR)
        on_error(s, frame, payload);
    else if (frame->type == LH_FRAME_WELCOME && s->phase == LH_PHASE_HELLO)
        on_welcome(s, frame, payload);
    else if (frame->transfer >= s->transfer && s->phase != LH_PHASE_HELD)
        lh_offer_frame(s, frame, payload);
}

static void on_room(struct lh_ctl *ctl)
{
    struct lh_send *s = LH_CONTAINER_OF(ctl, struct lh_session, ctl)->send;

    if (s->lane != NULL && s->phase != LH_PHASE_ENDING)
        s->lane->room(s->lane);
}

static void on_closed(struct lh_ctl *ctl, const struct lh_err *err)
{
    struct lh_session *session = LH_CONTAINER_OF(ctl, struct lh_session, ctl);

    if (session->send->phase != LH_PHASE_ENDING) {
        lh_session_lost(session->send, err);
        return;
    }
    session->send->keep_session = false;
    lh_ctl_close(ctl);
}

static void on_freed(struct lh_ctl *ctl)
{
    struct lh_session *session = LH_CONTAINER_OF(ctl, struct lh_session, ctl);
    struct lh_send *s = session->send;

    free(session);
    s->session = NULL;
    lh_session_maybe_quiet(s);
    lh_send_maybe_end(s);
}

/* ---- dial, or take ---- */

static void adopt(struct lh_send *s, struct lh_session *session)
{
    session->send = s;
    session->ctl.on_frame = on_frame;
    session->ctl.on_room = on_room;
    session->ctl.on_closed = on_closed;
    session->ctl.freed = on_freed;
    s->session = session;
}

static struct lh_session *new_session(const struct lh_send *s, int fd)
{
    struct lh_session *session = calloc(1, sizeof(*session));

    if (session == NULL || lh_ctl_start(&session->ctl, s->loop, fd) != 0) {
        free(session);
        return NULL;
    }
    snprintf(session->host, sizeof(session->host), "%s", s->opts.host);
    session->port = s->opts.port;
    session->insecure = s->opts.insecure;
    session->peer = s->dial.connect.addr;
    return session;
}

static void on_dialed(struct lh_dial *dial, int fd)
{
    struct lh_send *s = LH_CONTAINER_OF(dial, struct lh_send, dial);
    struct lh_session *session;

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
    session = new_session(s, fd);
    if (session == NULL) {
        close(fd);
        lh_send_end(s, LH_E_NOMEM, "out of memory");
        return;
    }
    adopt(s, session);
    lh_ctl_cork(&session->ctl);
    say_hello(s);
    if (offers_with_hello(s))
        lh_offer_send(s);
    lh_ctl_uncork(&session->ctl);
    lh_mover_dial(s);
}

/* All has been said on it but the offer. */
static bool take_parked(struct lh_send *s)
{
    struct lh_session *session = NULL;
    uint64_t features = s->lane != NULL ? LH_FEATURE_TREES : 0;

    if (!s->dial_anew && !lh_mutant("session-anew"))
        session = lh_park_take(&s->engine->park, s->opts.host, s->opts.port, s->opts.insecure,
                               s->opts.block_bytes, features);
    if (session == NULL)
        return false;
    adopt(s, session);
    s->untried = true;
    s->phase = LH_PHASE_OFFERED;
    lh_offer_send(s);
    lh_mover_dial(s);
    return true;
}

void lh_session_dial(struct lh_send *s)
{
    if (s->reopen) { /* the source changed: its end dials */
        lh_send_reopen(s);
        return;
    }
    if (take_parked(s))
        return;
    s->phase = LH_PHASE_DIALING;
    s->untried = false;
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

/* False: it has ended. */
static bool give_up_late(struct lh_send *s, uint64_t now_ms)
{
    unsigned long long give_up_ms = s->opts.give_up_ms;

    if (give_up_ms == 0 || !s->said_hello || s->phase == LH_PHASE_HELD)
        return true;
    if (now_ms - s->contact_ms > give_up_ms)
        lh_send_end(s, LH_E_TIMEOUT,
                    "%s: given up after %llu s without contact; the same command resumes",
                    s->opts.host, give_up_ms / 1000);
    else if (s->busy_since_ms != 0 && now_ms - s->busy_since_ms > give_up_ms)
        lh_send_end(s, LH_E_BUSY, "%s: busy for %llu s, given up; the same command resumes",
                    s->opts.host, give_up_ms / 1000);
    return s->phase != LH_PHASE_ENDING;
}

void lh_session_tick(struct lh_send *s, uint64_t now_ms)
{
    if (!give_up_late(s, now_ms))
        return;
    if (!lh_session_alive(s) || s->phase < LH_PHASE_HELLO || s->phase > LH_PHASE_HELD)
        return;
    if (!s->session->ctl.paused && now_ms - s->session->ctl.heard_ms > LH_SILENCE_MS)
        lh_session_lost_for(s, s->phase == LH_PHASE_HELLO ? LH_E_TIMEOUT : LH_E_NETWORK,
                            "the receiver has been silent for 15 s");
    else if (s->phase > LH_PHASE_HELLO)
        lh_session_beat(s->session, now_ms);
}
