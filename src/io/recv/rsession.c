/* A sender's control connection at the receiver.
 *
 * Thread: main loop.
 *
 * Happy path: accept -> HELLO -> WELCOME with a token -> OFFER … (target.c) -> CONFIRM -> BYE. A
 * first frame that is JOIN instead makes the connection a stream of the session whose token it
 * carries. Failures: garbage, a wrong version, silence end the connection with an ERROR where the
 * peer can read one; a session's end lets its targets go and ends its streams. */
#include "io/recv/recv.h"
#include "util/text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOODBYE_MS 2000 /* for the last words to get out */

/* ---- sending ---- */

void lh_rsession_send(struct lh_rsession *session, uint16_t type, uint16_t flags,
                      const struct lh_target *t, const void *payload, size_t length)
{
    struct lh_frame head = {.type = type,
                            .flags = flags,
                            .transfer = t != NULL ? t->transfer : LH_NO_TRANSFER,
                            .epoch = t != NULL ? t->opened.epoch : 0};

    lh_ctl_send(&session->ctl, &head, payload, (uint32_t)length);
}

void lh_rsession_send_runs(struct lh_rsession *session, uint16_t type, uint16_t last_flags,
                           const struct lh_target *t, const struct lh_runs *runs)
{
    struct lh_frame head = {
        .type = type, .flags = last_flags, .transfer = t->transfer, .epoch = t->opened.epoch};

    lh_ctl_send_runs(&session->ctl, &head, runs);
}

void lh_rsession_error(struct lh_rsession *session, uint32_t transfer, uint16_t code,
                       uint32_t silent_ms, const char *text)
{
    struct lh_error_frame error = {
        .code = code, .silent_ms = silent_ms, .text = text, .text_len = strlen(text)};
    struct lh_frame head = {.type = LH_FRAME_ERROR, .transfer = transfer};
    uint8_t payload[LH_ERROR_TEXT_MAX + 64];

    if (error.text_len > LH_ERROR_TEXT_MAX)
        error.text_len = LH_ERROR_TEXT_MAX;
    lh_ctl_send(&session->ctl, &head, payload, (uint32_t)lh_error_encode(&error, payload));
}

/* ---- the end ---- */

static void on_freed(struct lh_ctl *ctl)
{
    struct lh_rsession *session = LH_CONTAINER_OF(ctl, struct lh_rsession, ctl);
    struct lh_serve *serve = session->serve;
    struct lh_rsession **at = &serve->sessions;

    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    serve->n_sessions--;
    free(session);
    lh_serve_maybe_stop(serve);
}

/* Targets first, then streams: a block that is under way holds its target until its stream ends. */
static void let_everything_go(struct lh_rsession *session)
{
    struct lh_rshared *shared = session->shared;

    for (struct lh_target *t = session->serve->targets; t != NULL; t = t->next)
        if (t->session == session)
            lh_target_let_go(t);
    if (shared == NULL)
        return;
    pthread_mutex_lock(&shared->lock);
    shared->closed = true;
    pthread_mutex_unlock(&shared->lock);
    shared->session = NULL;
    lh_rstream_end_all(session->serve, shared);
    session->shared = NULL;
    lh_rshared_unref(shared);
}

void lh_rsession_end(struct lh_rsession *session, uint16_t code, const char *text)
{
    if (session->ended_ms != 0)
        return;
    session->ended_ms = lh_now_ms();
    lh_log(&session->serve->log, code == LH_WIRE_OK ? LH_LOG_DEBUG : LH_LOG_INFO,
           "session peer=%s end=\"%s\"", session->peer, text);
    let_everything_go(session);
    if (code == LH_WIRE_OK) {
        lh_ctl_close(&session->ctl);
    } else {
        lh_rsession_error(session, LH_NO_TRANSFER, code, 0, text);
        lh_ctl_drain(&session->ctl);
    }
}

static void on_closed(struct lh_ctl *ctl, const struct lh_err *err)
{
    struct lh_rsession *session = LH_CONTAINER_OF(ctl, struct lh_rsession, ctl);

    lh_rsession_end(session, LH_WIRE_OK, err->text);
    lh_ctl_close(ctl);
}

/* ---- the first frame ---- */

static struct lh_rsession *find_token(struct lh_serve *serve, const uint8_t *token)
{
    struct lh_rsession *s = serve->sessions;

    while (s != NULL &&
           (s->shared == NULL || s->ended_ms != 0 || memcmp(s->token, token, LH_TOKEN_SIZE) != 0))
        s = s->next;
    return s;
}

static void on_join(struct lh_rsession *conn, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_rsession *session;
    struct lh_join join;
    const char *why = NULL;

    if (lh_join_decode(payload, frame->length, &join, &why) != 0) {
        lh_rsession_end(conn, LH_WIRE_PROTOCOL, why);
        return;
    }
    session = find_token(conn->serve, join.token);
    if (session == NULL || session->n_streams >= LH_MAX_STREAMS) {
        lh_rsession_end(conn, LH_WIRE_REFUSED,
                        session == NULL ? "no session has this token" : "too many streams");
        return;
    }
    conn->ended_ms = lh_now_ms();
    lh_rstream_adopt(conn->serve, session, lh_ctl_release(&conn->ctl), join.stream);
}

/* Often enough for a short holder timeout. */
static uint32_t heartbeat_ms(const struct lh_serve *serve)
{
    uint64_t third = serve->opts.holder_timeout_ms / 3;

    return third < LH_HEARTBEAT_MS ? (uint32_t)third : LH_HEARTBEAT_MS;
}

static void on_hello(struct lh_rsession *session, const struct lh_frame *frame,
                     const uint8_t *payload)
{
    struct lh_welcome welcome = {.version = LH_PROTOCOL_VERSION,
                                 .features = LH_FEATURE_INSECURE | LH_FEATURE_TREES |
                                             LH_FEATURE_EXTENTS | LH_FEATURE_STATS,
                                 .heartbeat_ms = heartbeat_ms(session->serve),
                                 .max_streams = LH_MAX_STREAMS,
                                 .max_block = LH_BLOCK_MAX,
                                 .window = LH_WINDOW_BYTES,
                                 .agent = "longhaul " LH_VERSION,
                                 .agent_len = sizeof("longhaul " LH_VERSION) - 1};
    struct lh_hello hello;
    const char *why = NULL;
    uint8_t out[LH_HELLO_MAX];

    if (lh_hello_decode(payload, frame->length, &hello, &why) != 0) {
        lh_rsession_end(session, LH_WIRE_PROTOCOL, why);
        return;
    }
    if (hello.version_min > LH_PROTOCOL_VERSION || hello.version_max < LH_PROTOCOL_VERSION) {
        lh_rsession_end(session, LH_WIRE_BAD_VERSION,
                        "this receiver speaks protocol version 1 only");
        return;
    }
    if (hello.role != LH_ROLE_SEND || (hello.required & ~welcome.features) != 0) {
        lh_rsession_end(session, LH_WIRE_REFUSED,
                        "this receiver cannot do what the sender requires: is it of an older "
                        "version?");
        return;
    }
    session->shared = calloc(1, sizeof(*session->shared));
    if (session->shared == NULL) {
        lh_rsession_end(session, LH_WIRE_INTERNAL, "the receiver is out of memory");
        return;
    }
    atomic_store(&session->shared->refs, 1);
    pthread_mutex_init(&session->shared->lock, NULL);
    session->shared->session = session;
    welcome.features &= hello.features;
    session->stats.wanted = (welcome.features & LH_FEATURE_STATS) != 0;
    lh_random_bytes(session->token, sizeof(session->token));
    memcpy(welcome.token, session->token, sizeof(welcome.token));
    memcpy(welcome.receiver, session->serve->id, sizeof(welcome.receiver));
    session->ctl.max_payload = LH_BLOCK_MAX;
    lh_log(&session->serve->log, LH_LOG_INFO, "session peer=%s agent=\"%.*s\"", session->peer,
           (int)hello.agent_len, hello.agent);
    lh_rsession_send(session, LH_FRAME_WELCOME, 0, NULL, out, lh_welcome_encode(&welcome, out));
}

/* ---- frames of transfers ---- */

static bool offer_allowed(const struct lh_offer *offer)
{
    uint16_t of_file = LH_OFFER_INLINE | LH_OFFER_EXTENTS | LH_OFFER_NO_CLOBBER;
    bool tree = offer->flags & LH_OFFER_MORE_FILES;

    if (offer->n_files != 1 || offer->file.path_len != 0 || (tree && (offer->flags & of_file) != 0))
        return false;
    return offer->file.kind == (tree ? LH_KIND_DIR : LH_KIND_FILE);
}

static unsigned n_trees(const struct lh_rsession *session)
{
    unsigned n = 0;

    for (const struct lh_target *t = session->serve->targets; t != NULL; t = t->next)
        n += t->session == session && t->tree != NULL;
    return n;
}

static void on_offer(struct lh_rsession *session, const struct lh_frame *frame,
                     const uint8_t *payload)
{
    struct lh_offer offer;
    const char *why = NULL;
    char path[512];

    if (frame->transfer == LH_NO_TRANSFER || frame->transfer < session->shared->offered) {
        lh_rsession_end(session, LH_WIRE_PROTOCOL, "a transfer number was used twice");
        return;
    }
    if (lh_offer_decode(payload, frame->length, &offer, &why) != 0) {
        lh_rsession_end(session, LH_WIRE_PROTOCOL, why);
        return;
    }
    pthread_mutex_lock(&session->shared->lock);
    session->shared->offered = frame->transfer + 1;
    pthread_mutex_unlock(&session->shared->lock);
    lh_log(&session->serve->log, LH_LOG_INFO, "offer peer=%s path=\"%s\" bytes=%llu", session->peer,
           lh_text_escape(path, sizeof(path), offer.path, offer.path_len),
           (unsigned long long)offer.file.identity.size);
    if (session->serve->closing)
        lh_rsession_error(session, frame->transfer, LH_WIRE_STOPPING, 0,
                          "the receiver is shutting down");
    else if (!offer_allowed(&offer))
        lh_rsession_error(session, frame->transfer, LH_WIRE_REFUSED, 0,
                          "this receiver takes one plain file or one tree a transfer");
    else if (lh_target_count(session) >= LH_SESSION_TRANSFERS)
        lh_rsession_error(session, frame->transfer, LH_WIRE_REFUSED, 0,
                          "too many transfers in one session");
    else if (offer.file.kind == LH_KIND_DIR && n_trees(session) >= LH_SESSION_TREES)
        lh_rsession_error(session, frame->transfer, LH_WIRE_REFUSED, 0,
                          "too many trees in one session");
    else
        lh_target_offer(session, frame->transfer, &offer);
}

/* RETRACT and EXTENTS carry lists of runs. */
static void on_runs(struct lh_target *t, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_block_run runs[LH_RUNS_PER_FRAME / 16];
    const char *why = "too many runs";
    int n = lh_block_runs_count(payload, frame->length, &why);

    if (n < 0 || (size_t)n > sizeof(runs) / sizeof(runs[0])) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, why);
        return;
    }
    for (int i = 0; i < n; i++)
        runs[i] = lh_block_runs_get(payload, (size_t)i);
    if (frame->type == LH_FRAME_RETRACT)
        lh_target_retract(t, runs, (size_t)n, frame->flags & LH_FRAME_LAST);
    else
        lh_target_extents(t, runs, (size_t)n, frame->flags & LH_FRAME_LAST);
}

static void on_transfer_frame(struct lh_rsession *session, struct lh_target *t,
                              const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_hashes_wanted wanted;
    struct lh_finish finish;
    const char *why = NULL;

    if (t->tree != NULL && frame->type != LH_FRAME_FINISH && frame->type != LH_FRAME_CONFIRM) {
        lh_target_tree_frame(t, frame, payload);
        return;
    }
    switch (frame->type) {
    case LH_FRAME_BLOCK:
        lh_target_inline(t, frame, payload);
        break;
    case LH_FRAME_HASHES_WANTED:
        if (lh_hashes_wanted_decode(payload, frame->length, &wanted, &why) != 0)
            lh_rsession_end(session, LH_WIRE_PROTOCOL, why);
        else
            lh_target_hashes(t, &wanted);
        break;
    case LH_FRAME_RETRACT:
    case LH_FRAME_EXTENTS:
        on_runs(t, frame, payload);
        break;
    case LH_FRAME_FINISH:
        if (lh_finish_decode(payload, frame->length, &finish, &why) != 0)
            lh_rsession_end(session, LH_WIRE_PROTOCOL, why);
        else
            lh_target_finish(t, &finish);
        break;
    case LH_FRAME_CONFIRM:
        lh_target_confirm(t);
        break;
    default:
        lh_rsession_end(session, LH_WIRE_PROTOCOL, "a frame that a sender does not send");
    }
}

static void on_frame(struct lh_ctl *ctl, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_rsession *session = LH_CONTAINER_OF(ctl, struct lh_rsession, ctl);
    struct lh_target *t;

    if (session->ended_ms != 0)
        return;
    if (session->shared == NULL) {
        if (frame->type == LH_FRAME_HELLO)
            on_hello(session, frame, payload);
        else if (frame->type == LH_FRAME_JOIN)
            on_join(session, frame, payload);
        else
            lh_rsession_end(session, LH_WIRE_PROTOCOL, "the first frame must be HELLO or JOIN");
        return;
    }
    switch (frame->type) {
    case LH_FRAME_HEARTBEAT:
        return;
    case LH_FRAME_BYE:
        lh_rsession_end(session, LH_WIRE_OK, "the sender said goodbye");
        return;
    case LH_FRAME_OFFER:
        on_offer(session, frame, payload);
        return;
    default:
        break;
    }
    t = lh_target_find(session, frame->transfer);
    if (t != NULL)
        on_transfer_frame(session, t, frame, payload);
    else if (frame->transfer >= session->shared->offered)
        lh_rsession_end(session, LH_WIRE_PROTOCOL, "a frame of a transfer that was never offered");
}

/* ---- accept and tick ---- */

void lh_rsession_accept(struct lh_serve *serve, int fd, const struct lh_addr *peer)
{
    struct lh_rsession *session = calloc(1, sizeof(*session));

    if (session == NULL) {
        close(fd);
        return;
    }
    session->serve = serve;
    session->started_ms = lh_now_ms();
    session->ctl.on_frame = on_frame;
    session->ctl.on_closed = on_closed;
    session->ctl.freed = on_freed;
    lh_addr_text(peer, session->peer);
    if (lh_ctl_start(&session->ctl, serve->loop, fd) != 0) {
        close(fd);
        free(session);
        return;
    }
    session->next = serve->sessions;
    serve->sessions = session;
    serve->n_sessions++;
}

/* The longest of what waits for a disk. */
static void note_wait(struct lh_heartbeat *beat, uint64_t since_ms, uint64_t now_ms)
{
    if (since_ms != 0 && now_ms > since_ms && now_ms - since_ms > beat->disk_wait_ms)
        beat->disk_wait_ms = (uint32_t)(now_ms - since_ms);
}

/* By it a sender tells a disk that stalls from a stream that hangs, so it goes out however much
 * else is said. */
static void send_heartbeat(struct lh_rsession *session, uint64_t now_ms)
{
    struct lh_heartbeat beat = {.count = ++session->heartbeats};
    struct lh_serve *serve = session->serve;
    uint8_t payload[64];

    session->beat_ms = now_ms;
    for (struct lh_committer *c = serve->committers; c != NULL; c = c->next) {
        uint32_t last = (uint32_t)atomic_load(&c->stats.last_ms);

        note_wait(&beat, atomic_load(&c->stats.busy_since_ms), now_ms);
        if (last > beat.commit_ms)
            beat.commit_ms = last;
    }
    for (unsigned i = 0; i < serve->loops.n; i++)
        note_wait(&beat, atomic_load(&serve->loops.v[i].writing_since_ms), now_ms);
    for (struct lh_target *t = serve->targets; t != NULL; t = t->next)
        if (t->session == session && t->state == LH_TARGET_OPEN)
            beat.undurable += t->store->ops->pending_bytes(t->store);
    lh_rsession_send(session, LH_FRAME_HEARTBEAT, 0, NULL, payload,
                     lh_heartbeat_encode(&beat, payload));
}

/* It is we who do not listen; that the other side is there its TCP says, by acknowledging our
 * heartbeats. */
static void hear_paused(struct lh_rsession *session, uint64_t now_ms)
{
    struct lh_tcp_state tcp;

    if (lh_sock_state(session->ctl.fd, &tcp) && now_ms > tcp.last_ack_ms &&
        now_ms - tcp.last_ack_ms > session->ctl.heard_ms)
        session->ctl.heard_ms = now_ms - tcp.last_ack_ms;
}

void lh_rsession_tick(struct lh_rsession *session, uint64_t now_ms)
{
    if (session->ctl.paused)
        hear_paused(session, now_ms);
    if (session->ended_ms != 0) {
        if (now_ms - session->ended_ms > GOODBYE_MS)
            lh_ctl_close(&session->ctl);
    } else if (session->shared == NULL) {
        if (now_ms - session->started_ms > LH_HANDSHAKE_MS)
            lh_rsession_end(session, LH_WIRE_OK, "no HELLO in time");
    } else if (now_ms - session->ctl.heard_ms > session->serve->opts.holder_timeout_ms) {
        lh_rsession_end(session, LH_WIRE_OK, "the sender has been silent for too long");
    } else if (now_ms - session->beat_ms >= LH_HEARTBEAT_MS / 2) {
        send_heartbeat(session, now_ms);
    }
    if (session->ended_ms != 0)
        return;
    lh_rstats_tick(session, now_ms);
    for (struct lh_target *t = session->serve->targets; t != NULL; t = t->next)
        if (t->session == session && t->tree != NULL)
            lh_target_tree_tick(t);
}
