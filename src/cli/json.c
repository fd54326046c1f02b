/* A small writer of JSON (RFC 8259): strings are always valid UTF-8 and never hold a raw control
 * character; numbers are written in the C locale, which the program never leaves. */
#include "cli/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Length of the UTF-8 sequence at `at`, 0 when there is none (overlong forms, surrogates and
 * values beyond U+10FFFF are none). */
static size_t utf8_len(const unsigned char *at, size_t left)
{
    size_t n = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (n == 0 || at[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return n;
}

/* Returns whether everything was UTF-8. */
static bool write_string(FILE *out, const void *text, size_t len)
{
    const unsigned char *at = text;
    bool whole = true;

    putc('"', out);
    while (len > 0) {
        size_t n = utf8_len(at, len);

        if (n == 0) {
            fputs("\\ufffd", out);
            whole = false;
            n = 1;
        } else if (at[0] == '"' || at[0] == '\\') {
            fprintf(out, "\\%c", at[0]);
        } else if (at[0] < 0x20 || at[0] == 0x7f) {
            fprintf(out, "\\u%04x", (unsigned)at[0]);
        } else {
            fwrite(at, 1, n, out);
        }
        at += n;
        len -= n;
    }
    putc('"', out);
    return whole;
}

static void write_key(struct lh_json *json, const char *key)
{
    fprintf(json->out, "%s\"%s\":", json->n_members++ == 0 ? "{" : ",", key);
}

void lh_json_begin(struct lh_json *json, FILE *out)
{
    json->out = out;
    json->n_members = 0;
}

void lh_json_u64(struct lh_json *json, const char *key, uint64_t value)
{
    write_key(json, key);
    fprintf(json->out, "%" PRIu64, value);
}

void lh_json_i64(struct lh_json *json, const char *key, int64_t value)
{
    write_key(json, key);
    fprintf(json->out, "%" PRId64, value);
}

void lh_json_bool(struct lh_json *json, const char *key, bool value)
{
    write_key(json, key);
    fputs(value ? "true" : "false", json->out);
}

void lh_json_seconds(struct lh_json *json, const char *key, double value)
{
    write_key(json, key);
    fprintf(json->out, "%.3f", isfinite(value) ? value : 0.0);
}

void lh_json_text(struct lh_json *json, const char *key, const char *text)
{
    write_key(json, key);
    write_string(json->out, text, strlen(text));
}

void lh_json_name(struct lh_json *json, const char *key, const void *name, size_t len)
{
    const unsigned char *bytes = name;

    write_key(json, key);
    if (write_string(json->out, name, len))
        return;
    fprintf(json->out, ",\"%s_hex\":\"", key);
    for (size_t i = 0; i < len; i++)
        fprintf(json->out, "%02x", (unsigned)bytes[i]);
    putc('"', json->out);
}

void lh_json_stats(struct lh_json *json, const char *event, const struct lh_send_stats *stats)
{
    lh_json_text(json, "event", event);
    lh_json_text(json, "transfer", stats->transfer);
    lh_json_u64(json, "bytes_total", stats->bytes_total);
    lh_json_u64(json, "bytes_durable", stats->bytes_durable);
    lh_json_u64(json, "bytes_sent", stats->bytes_sent);
    lh_json_u64(json, "bytes_skipped", stats->bytes_skipped);
    lh_json_u64(json, "bytes_holes", stats->bytes_holes);
    lh_json_u64(json, "streams", stats->streams);
    lh_json_u64(json, "rate_bps", stats->rate_bps);
    lh_json_seconds(json, "duration_s", stats->duration_s);
    lh_json_u64(json, "retransmits", stats->retransmits);
    lh_json_u64(json, "zero_copy_bytes", stats->zero_copy_bytes);
    lh_json_u64(json, "fallback_bytes", stats->fallback_bytes);
    lh_json_u64(json, "zero_copy_count", stats->zero_copy_count);
    lh_json_u64(json, "fallback_count", stats->fallback_count);
    lh_json_u64(json, "verification_failures", stats->verification_failures);
    lh_json_u64(json, "bytes_repeated", stats->bytes_repeated);
    lh_json_u64(json, "reconnects", stats->reconnects);
    lh_json_bool(json, "restarted", stats->restarted);
    lh_json_bool(json, "kept", stats->kept);
    lh_json_text(json, "limit", stats->limit);
    lh_json_text(json, "limit_reason", stats->limit_reason);
    lh_json_text(json, "digest", stats->digest);
}

void lh_json_tree(struct lh_json *json, const char *event, const struct lh_tree_stats *stats)
{
    lh_json_stats(json, event, &stats->send);
    lh_json_bool(json, "walking", stats->walking);
    lh_json_u64(json, "files_total", stats->files_total);
    lh_json_u64(json, "files_sent", stats->files_sent);
    lh_json_u64(json, "files_kept", stats->files_kept);
    lh_json_u64(json, "dirs", stats->dirs);
    lh_json_u64(json, "links", stats->links);
    lh_json_u64(json, "others", stats->others);
    lh_json_u64(json, "failed", stats->failed);
    lh_json_u64(json, "skipped_special", stats->skipped_special);
    lh_json_u64(json, "removed", stats->removed);
}

void lh_json_end_later(struct lh_json *json)
{
    fputs(json->n_members == 0 ? "{}\n" : "}\n", json->out);
}

int lh_json_end(struct lh_json *json)
{
    lh_json_end_later(json);
    if (fflush(json->out) == 0 && !ferror(json->out))
        return 0;
    return errno == EPIPE ? -LH_E_CANCELLED : -LH_E_INTERNAL;
}

void lh_json_outcome(struct lh_json *json, int status, const char *text)
{
    if (status == 0)
        return;
    lh_json_text(json, "status", lh_status_name(status));
    lh_json_u64(json, "exit_code", (uint64_t)lh_status_exit(status));
    lh_json_text(json, "message", text[0] != '\0' ? text : lh_status_text(status));
}
