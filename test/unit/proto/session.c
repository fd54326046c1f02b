/* Frames that open, keep and end a session: limits and refusals. (Bytes: golden.c.) */
#include "proto/session.h"
#include "proto/frame.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <string.h>

static uint8_t out[LH_CONTROL_MAX];

static const struct lh_hello good_hello = {
    .version_min = 1,
    .version_max = 1,
    .role = LH_ROLE_SEND,
    .features = LH_FEATURE_INSECURE | LH_FEATURE_TREES,
    .required = LH_FEATURE_INSECURE,
    .heartbeat_ms = 2000,
    .streams = 8,
    .agent = "a/1",
    .agent_len = 3,
};

static int hello_pass(const struct lh_hello *m, struct lh_hello *got)
{
    const char *why = NULL;
    int rc;

    memset(got, 0x77, sizeof(*got));
    rc = lh_hello_decode(out, lh_hello_encode(m, out), got, &why);
    if (rc != 0 && (why == NULL || got->version_min != 0x7777))
        return 1; /* a refusal must say why and write nothing */
    return rc;
}

static void hello(void)
{
    static const char longest[LH_AGENT_MAX] = "0123456789";
    struct lh_hello m = good_hello;
    struct lh_hello got;

    ok(hello_pass(&m, &got) == 0 && got.version_min == 1 && got.version_max == 1 &&
           got.role == LH_ROLE_SEND && got.features == m.features && got.required == m.required &&
           got.heartbeat_ms == 2000 && got.streams == 8 && got.agent_len == 3 &&
           memcmp(got.agent, "a/1", 3) == 0,
       "HELLO is read back");
    m.version_max = UINT16_MAX;
    m.role = LH_ROLE_RECEIVE;
    m.features = UINT64_MAX;
    m.heartbeat_ms = LH_HEARTBEAT_MAX_MS;
    m.streams = 0;
    m.agent = longest;
    m.agent_len = sizeof(longest);
    ok(hello_pass(&m, &got) == 0 && got.agent_len == sizeof(longest),
       "HELLO of a later version, at its limits");
    m.agent = NULL;
    m.agent_len = 0;
    ok(hello_pass(&m, &got) == 0 && got.agent_len == 0, "HELLO without an agent");
    m.version_min = 0;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: version 0");
    m = good_hello;
    m.version_min = 2;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: no version between");
    m = good_hello;
    m.role = 0;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: no role");
    m.role = 3;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: unknown role");
    m = good_hello;
    m.required = LH_FEATURE_TLS;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: requires what it does not offer");
    m = good_hello;
    m.heartbeat_ms = 0;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: no heartbeat");
    m.heartbeat_ms = LH_HEARTBEAT_MAX_MS + 1;
    is_i64(hello_pass(&m, &got), -LH_E_PROTOCOL, "HELLO: too slow a heartbeat");
}

static int stats_pass(struct lh_stats m)
{
    struct lh_stats got = {0};
    const char *why = NULL;
    int rc = lh_stats_decode(out, lh_stats_encode(&m, out), &got, &why);

    if (rc != 0 && (why == NULL || got.span_ms != 0))
        return 1; /* a refusal must say why and write nothing */
    return rc;
}

static void stats(void)
{
    is_i64(stats_pass((struct lh_stats){UINT32_MAX, 1000, 1000, 1000, 1000}), 0,
           "STATS at its limits");
    is_i64(stats_pass((struct lh_stats){.span_ms = 0}), -LH_E_PROTOCOL, "STATS of no time");
    is_i64(stats_pass((struct lh_stats){.span_ms = 1, .busy = 1001}), -LH_E_PROTOCOL,
           "STATS: busy for more than all of it");
    is_i64(stats_pass((struct lh_stats){.span_ms = 1, .write = 1001}), -LH_E_PROTOCOL,
           "STATS: write");
    is_i64(stats_pass((struct lh_stats){.span_ms = 1, .pool = 1001}), -LH_E_PROTOCOL,
           "STATS: pool");
    is_i64(stats_pass((struct lh_stats){.span_ms = 1, .sync = 1001}), -LH_E_PROTOCOL,
           "STATS: sync");
}

/* A text longer than its limit cannot be encoded: forge its length. */
static void forged_texts(void)
{
    struct lh_error_frame error = {LH_WIRE_DEST, 0, "x", 1};
    const char *why = NULL;
    struct lh_hello h;
    struct lh_error_frame e;

    memset(out, 'x', sizeof(out));
    lh_hello_encode(&good_hello, out);
    out[27] = LH_AGENT_MAX + 1;
    is_i64(lh_hello_decode(out, LH_HELLO_MAX, &h, &why), -LH_E_PROTOCOL, "HELLO: long agent");
    lh_error_encode(&error, out);
    out[6] = (uint8_t)LH_ERROR_TEXT_MAX;
    out[7] = LH_ERROR_TEXT_MAX >> 8;
    is_i64(lh_error_decode(out, LH_CONTROL_MAX, &e, &why), 0, "ERROR: longest text");
    out[6]++;
    is_i64(lh_error_decode(out, LH_CONTROL_MAX, &e, &why), -LH_E_PROTOCOL, "ERROR: longer text");
}

static const struct lh_welcome good_welcome = {
    .version = 1,
    .features = 1,
    .heartbeat_ms = 2000,
    .max_streams = 64,
    .max_block = LH_BLOCK_MAX,
    .window = 1,
    .agent = "b",
    .agent_len = 1,
};

static int welcome_pass(const struct lh_welcome *m)
{
    struct lh_welcome got;
    const char *why = NULL;
    int rc;

    memset(&got, 0x77, sizeof(got));
    rc = lh_welcome_decode(out, lh_welcome_encode(m, out), &got, &why);
    if (rc != 0 && (why == NULL || got.version != 0x7777))
        return 1;
    return rc;
}

static void welcome(void)
{
    struct lh_welcome m = good_welcome;

    is_i64(welcome_pass(&m), 0, "WELCOME is read");
    m.max_block = LH_BLOCK_MIN;
    m.heartbeat_ms = 1;
    m.max_streams = 1;
    is_i64(welcome_pass(&m), 0, "WELCOME at its lower limits");
    m.max_block = LH_BLOCK_MIN - 1;
    is_i64(welcome_pass(&m), -LH_E_PROTOCOL, "WELCOME: blocks too small to be any");
    m = good_welcome;
    m.version = 0;
    is_i64(welcome_pass(&m), -LH_E_PROTOCOL, "WELCOME: version 0");
    m = good_welcome;
    m.heartbeat_ms = 0;
    is_i64(welcome_pass(&m), -LH_E_PROTOCOL, "WELCOME: no heartbeat");
    m.heartbeat_ms = LH_HEARTBEAT_MAX_MS + 1;
    is_i64(welcome_pass(&m), -LH_E_PROTOCOL, "WELCOME: too slow a heartbeat");
    m = good_welcome;
    m.max_streams = 0;
    is_i64(welcome_pass(&m), -LH_E_PROTOCOL, "WELCOME: no streams");
    m = good_welcome;
    m.window = 0;
    is_i64(welcome_pass(&m), -LH_E_PROTOCOL, "WELCOME: no window");
}

static void errors(void)
{
    static char text[LH_ERROR_TEXT_MAX + 40];
    struct lh_error_frame m = {LH_WIRE_BUSY, 1234, "busy", 4};
    struct lh_error_frame got;
    const char *why = NULL;

    ok(lh_error_decode(out, lh_error_encode(&m, out), &got, &why) == 0 &&
           got.code == LH_WIRE_BUSY && got.silent_ms == 1234 && got.text_len == 4 &&
           memcmp(got.text, "busy", 4) == 0,
       "ERROR is read back");
    m.code = 60000;
    ok(lh_error_decode(out, lh_error_encode(&m, out), &got, &why) == 0 && got.code == 60000,
       "an unknown code is for the caller");
    m.code = LH_WIRE_OK;
    is_i64(lh_error_decode(out, lh_error_encode(&m, out), &got, &why), -LH_E_PROTOCOL,
           "no error is no ERROR");

    m.code = LH_WIRE_DEST;
    memset(text, 'x', sizeof(text));
    m.text = text;
    m.text_len = sizeof(text);
    ok(lh_error_decode(out, lh_error_encode(&m, out), &got, &why) == 0 &&
           got.text_len == LH_ERROR_TEXT_MAX,
       "a long text is cut");
    memcpy(text + LH_ERROR_TEXT_MAX - 2, "\xc3\xa4\x80", 3);
    m.text_len = LH_ERROR_TEXT_MAX;
    ok(lh_error_decode(out, lh_error_encode(&m, out), &got, &why) == 0 &&
           got.text_len == LH_ERROR_TEXT_MAX,
       "one that just fits is not");
    m.text_len = sizeof(text);
    memcpy(text + LH_ERROR_TEXT_MAX - 2, "\xe2\x80\x93", 3);
    ok(lh_error_decode(out, lh_error_encode(&m, out), &got, &why) == 0 &&
           got.text_len == LH_ERROR_TEXT_MAX - 2,
       "and no cut is within a character");
    memset(text, 0x80, sizeof(text));
    ok(lh_error_decode(out, lh_error_encode(&m, out), &got, &why) == 0 && got.text_len == 0,
       "nothing is left of what is no text");
}

static void codes(void)
{
    for (uint16_t code = 0; code < LH_WIRE_CODE_MAX; code++) {
        int status = lh_status_of_wire(code);

        ok(code == LH_WIRE_INTERNAL || status != LH_E_INTERNAL, "code %u has a status", code);
        is_u64(lh_wire_of_status(status), code, "and %s has that code", lh_status_name(status));
        is_u64(lh_wire_of_status(-status), code, "with either sign");
    }
    is_i64(lh_status_of_wire(LH_WIRE_STOPPING), LH_E_NETWORK, "stopping: dial again");
    is_i64(lh_status_of_wire(LH_WIRE_CODE_MAX), LH_E_INTERNAL, "an unknown code");
    is_u64(lh_wire_of_status(LH_E_NOMEM), LH_WIRE_INTERNAL, "a status without a code");
    is_u64(lh_wire_of_status(LH_E_CORRUPT), LH_WIRE_DEST, "a damaged journal");
    is_u64(lh_wire_of_status(LH_E_CANCELLED), LH_WIRE_STOPPING, "a receiver told to end");
}

int main(void)
{
    hello();
    forged_texts();
    stats();
    welcome();
    errors();
    codes();
    return done_testing();
}
