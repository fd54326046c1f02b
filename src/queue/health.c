/* The health of a worker as words "name=value" with blanks between, and back. */
#include "queue/decode.h"
#include "queue/decode_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A word of its own: no blanks, nothing that does not show. */
static void word(char *out, size_t size, const char *text)
{
    size_t i = 0;

    for (; text[i] != '\0' && i + 1 < size; i++)
        out[i] = text[i] > ' ' && text[i] < 0x7f ? text[i] : '_';
    out[i] = '\0';
}

size_t lh_health_write(char text[LH_HEALTH_TEXT], const struct lh_health *h, uint64_t claim_ms)
{
    char host[sizeof(h->host)];
    char version[sizeof(h->version)];
    int n;

    word(host, sizeof(host), h->host);
    word(version, sizeof(version), h->version);
    n = snprintf(text, LH_HEALTH_TEXT,
                 "host=%s pid=%" PRIu64 " version=%s jobs=%" PRIu64 " active=%" PRIu64
                 " done=%" PRIu64 " failed=%" PRIu64 " bytes=%" PRIu64 " rate_bps=%" PRIu64
                 " uptime_ms=%" PRIu64 " claim_ms=%" PRIu64,
                 host, h->pid, version, h->jobs, h->active, h->done, h->failed, h->bytes,
                 h->rate_bps, h->uptime_ms, claim_ms);
    return (size_t)n; /* the longest there can be fits */
}

static bool read_word(struct lh_worker_info *w, const char *name, size_t name_len,
                      const char *value, size_t len)
{
    struct lh_health *h = &w->health;
    const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {{"at", &w->heard_ms},         {"pid", &h->pid},
                   {"jobs", &h->jobs},           {"active", &h->active},
                   {"done", &h->done},           {"failed", &h->failed},
                   {"bytes", &h->bytes},         {"rate_bps", &h->rate_bps},
                   {"uptime_ms", &h->uptime_ms}, {"claim_ms", &w->claim_ms}};
    char *text = NULL;
    size_t size = 0;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strlen(numbers[i].name) == name_len && memcmp(numbers[i].name, name, name_len) == 0)
            return lh_decode_u64_text(value, len, numbers[i].to);
    }
    if (name_len == 4 && memcmp(name, "host", 4) == 0) {
        text = h->host;
        size = sizeof(h->host);
    } else if (name_len == 7 && memcmp(name, "version", 7) == 0) {
        text = h->version;
        size = sizeof(h->version);
    }
    if (text == NULL)
        return true; /* of a later version */
    if (len >= size)
        return false;
    memcpy(text, value, len);
    text[len] = '\0';
    return true;
}

int lh_health_read(const char *text, size_t len, struct lh_worker_info *out)
{
    struct lh_worker_info w = *out;

    memset(&w.health, 0, sizeof(w.health));
    w.heard_ms = 0;
    w.claim_ms = 0;
    for (size_t at = 0; at < len;) {
        const char *blank = memchr(text + at, ' ', len - at);
        size_t end = blank != NULL ? (size_t)(blank - text) : len;
        const char *equals = memchr(text + at, '=', end - at);

        if (equals == NULL)
            return -LH_E_PROTOCOL;
        if (!read_word(&w, text + at, (size_t)(equals - text) - at, equals + 1,
                       end - (size_t)(equals + 1 - text)))
            return -LH_E_PROTOCOL;
        at = end + 1;
    }
    *out = w;
    return 0;
}
