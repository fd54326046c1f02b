/* Payloads that open, keep and end a session.
 *
 * Thread: any. Happy path: struct to bytes, bytes to struct, field by field as WIRE.md's tables
 * say. Failures: decoders refuse what is cut short or breaks a limit; what a later version appends
 * behind the known fields is not looked at. */
#include "proto/session.h"

#include "proto/cursor.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "util/err.h"

#include <longhaul/status.h>

static bool heartbeat_allowed(uint32_t heartbeat_ms)
{
    return heartbeat_ms > 0 && heartbeat_ms <= LH_HEARTBEAT_MAX_MS;
}

size_t lh_hello_encode(const struct lh_hello *m, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(m->agent_len <= LH_AGENT_MAX);
    lh_writer_init(&w, out, LH_HELLO_MAX);
    lh_put_u16(&w, m->version_min);
    lh_put_u16(&w, m->version_max);
    lh_put_u8(&w, m->role);
    lh_put_u64(&w, m->features);
    lh_put_u64(&w, m->required);
    lh_put_u32(&w, m->heartbeat_ms);
    lh_put_u16(&w, m->streams);
    lh_put_text(&w, m->agent, m->agent_len);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_hello_decode(const uint8_t *in, size_t len, struct lh_hello *m, const char **why)
{
    struct lh_hello got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.version_min = lh_get_u16(&r);
    got.version_max = lh_get_u16(&r);
    got.role = lh_get_u8(&r);
    got.features = lh_get_u64(&r);
    got.required = lh_get_u64(&r);
    got.heartbeat_ms = lh_get_u32(&r);
    got.streams = lh_get_u16(&r);
    lh_get_text(&r, &got.agent, &got.agent_len, LH_AGENT_MAX);
    if (r.failed)
        return lh_wire_refuse(why, "HELLO is cut short or its agent is too long");
    if (got.version_min == 0 || got.version_min > got.version_max)
        return lh_wire_refuse(why, "HELLO has an impossible range of versions");
    if (got.role != LH_ROLE_SEND && got.role != LH_ROLE_RECEIVE)
        return lh_wire_refuse(why, "HELLO has an unknown role");
    if ((got.required & ~got.features) != 0)
        return lh_wire_refuse(why, "HELLO requires a feature that it does not offer");
    if (!heartbeat_allowed(got.heartbeat_ms))
        return lh_wire_refuse(why, "HELLO has a heartbeat out of range");
    *m = got;
    return 0;
}

size_t lh_welcome_encode(const struct lh_welcome *m, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(m->agent_len <= LH_AGENT_MAX);
    lh_writer_init(&w, out, LH_HELLO_MAX);
    lh_put_u16(&w, m->version);
    lh_put_u64(&w, m->features);
    lh_put_bytes(&w, m->token, sizeof(m->token));
    lh_put_u32(&w, m->heartbeat_ms);
    lh_put_u16(&w, m->max_streams);
    lh_put_u32(&w, m->max_block);
    lh_put_u64(&w, m->window);
    lh_put_bytes(&w, m->receiver, sizeof(m->receiver));
    lh_put_text(&w, m->agent, m->agent_len);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_welcome_decode(const uint8_t *in, size_t len, struct lh_welcome *m, const char **why)
{
    struct lh_welcome got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.version = lh_get_u16(&r);
    got.features = lh_get_u64(&r);
    lh_get_bytes(&r, got.token, sizeof(got.token));
    got.heartbeat_ms = lh_get_u32(&r);
    got.max_streams = lh_get_u16(&r);
    got.max_block = lh_get_u32(&r);
    got.window = lh_get_u64(&r);
    lh_get_bytes(&r, got.receiver, sizeof(got.receiver));
    lh_get_text(&r, &got.agent, &got.agent_len, LH_AGENT_MAX);
    if (r.failed)
        return lh_wire_refuse(why, "WELCOME is cut short or its agent is too long");
    if (got.version == 0)
        return lh_wire_refuse(why, "WELCOME has no version");
    if (!heartbeat_allowed(got.heartbeat_ms))
        return lh_wire_refuse(why, "WELCOME has a heartbeat out of range");
    if (got.max_streams == 0)
        return lh_wire_refuse(why, "WELCOME allows no streams");
    if (got.max_block < LH_BLOCK_MIN)
        return lh_wire_refuse(why, "WELCOME allows no block of a size there is");
    if (got.window == 0)
        return lh_wire_refuse(why, "WELCOME has an empty window");
    *m = got;
    return 0;
}

size_t lh_join_encode(const struct lh_join *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_HELLO_MAX);
    lh_put_bytes(&w, m->token, sizeof(m->token));
    lh_put_u16(&w, m->stream);
    lh_put_u32(&w, m->generation);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_join_decode(const uint8_t *in, size_t len, struct lh_join *m, const char **why)
{
    struct lh_join got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    lh_get_bytes(&r, got.token, sizeof(got.token));
    got.stream = lh_get_u16(&r);
    got.generation = lh_get_u32(&r);
    if (r.failed)
        return lh_wire_refuse(why, "JOIN is cut short");
    *m = got;
    return 0;
}

size_t lh_heartbeat_encode(const struct lh_heartbeat *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u64(&w, m->count);
    lh_put_u32(&w, m->disk_wait_ms);
    lh_put_u32(&w, m->commit_ms);
    lh_put_u64(&w, m->undurable);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_heartbeat_decode(const uint8_t *in, size_t len, struct lh_heartbeat *m, const char **why)
{
    struct lh_heartbeat got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.count = lh_get_u64(&r);
    got.disk_wait_ms = lh_get_u32(&r);
    got.commit_ms = lh_get_u32(&r);
    got.undurable = lh_get_u64(&r);
    if (r.failed)
        return lh_wire_refuse(why, "HEARTBEAT is cut short");
    *m = got;
    return 0;
}

size_t lh_stats_encode(const struct lh_stats *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u32(&w, m->span_ms);
    lh_put_u16(&w, m->busy);
    lh_put_u16(&w, m->write);
    lh_put_u16(&w, m->pool);
    lh_put_u16(&w, m->sync);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_stats_decode(const uint8_t *in, size_t len, struct lh_stats *m, const char **why)
{
    struct lh_stats got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.span_ms = lh_get_u32(&r);
    got.busy = lh_get_u16(&r);
    got.write = lh_get_u16(&r);
    got.pool = lh_get_u16(&r);
    got.sync = lh_get_u16(&r);
    if (r.failed)
        return lh_wire_refuse(why, "STATS is cut short");
    if (got.span_ms == 0 || got.busy > LH_PERMILLE || got.write > LH_PERMILLE ||
        got.pool > LH_PERMILLE || got.sync > LH_PERMILLE)
        return lh_wire_refuse(why, "STATS has a share above the whole, or of nothing");
    *m = got;
    return 0;
}

size_t lh_error_encode(const struct lh_error_frame *m, uint8_t *out)
{
    /* Sentences are made elsewhere and may be longer. */
    size_t text_len = lh_text_cut(m->text, m->text_len, LH_ERROR_TEXT_MAX);
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u16(&w, m->code);
    lh_put_u32(&w, m->silent_ms);
    lh_put_text(&w, m->text, text_len);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_error_decode(const uint8_t *in, size_t len, struct lh_error_frame *m, const char **why)
{
    struct lh_error_frame got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.code = lh_get_u16(&r);
    got.silent_ms = lh_get_u32(&r);
    lh_get_text(&r, &got.text, &got.text_len, LH_ERROR_TEXT_MAX);
    if (r.failed)
        return lh_wire_refuse(why, "ERROR is cut short or its text is too long");
    if (got.code == LH_WIRE_OK)
        return lh_wire_refuse(why, "ERROR without an error");
    *m = got;
    return 0;
}

/* The first row that matches counts, in either direction. */
static const struct {
    uint16_t code;
    int status;
} codes[] = {
    {LH_WIRE_OK, LH_OK},
    {LH_WIRE_PROTOCOL, LH_E_PROTOCOL},
    {LH_WIRE_BAD_VERSION, LH_E_VERSION},
    {LH_WIRE_REFUSED, LH_E_REFUSED},
    {LH_WIRE_PATH, LH_E_PATH},
    {LH_WIRE_EXISTS, LH_E_EXISTS},
    {LH_WIRE_BUSY, LH_E_BUSY},
    {LH_WIRE_FENCED, LH_E_FENCED},
    {LH_WIRE_DEST, LH_E_DEST},
    {LH_WIRE_DEST_SPACE, LH_E_DEST_SPACE},
    {LH_WIRE_DEST_READONLY, LH_E_DEST_READONLY},
    {LH_WIRE_DEST_KIND, LH_E_DEST_KIND},
    {LH_WIRE_VERIFY, LH_E_VERIFY},
    {LH_WIRE_INTERNAL, LH_E_INTERNAL},
    {LH_WIRE_STOPPING, LH_E_NETWORK}, /* the sender dials again, as after a lost connection */
    {LH_WIRE_SOURCE_CHANGED, LH_E_SOURCE_CHANGED},
    {LH_WIRE_DEST, LH_E_CORRUPT},       /* a journal is a matter of the destination */
    {LH_WIRE_STOPPING, LH_E_CANCELLED}, /* the receiver was told to end */
};

int lh_status_of_wire(uint16_t code)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].code == code)
            return codes[i].status;
    }
    return LH_E_INTERNAL;
}

uint16_t lh_wire_of_status(int status)
{
    int positive = status < 0 ? -status : status;

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].status == positive)
            return codes[i].code;
    }
    return LH_WIRE_INTERNAL;
}
