/* Numbers and names as people read and write them.
 *
 * Thread: any; nothing is kept. Parsers refuse what they do not know rather than guess: a size that
 * is misread by a factor of 1024 fills somebody's disk. */
#include "util/text.h"

#include "util/err.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

char *lh_text_bytes(char *out, size_t size, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t scale = 1;
    uint64_t tenths;

    while (bytes / scale >= 1024) {
        scale *= 1024;
        unit++;
    }
    if (unit == 0) {
        snprintf(out, size, "%" PRIu64 " B", bytes);
        return out;
    }
    /* Whole part and tenth apart: bytes * 10 could overflow. */
    tenths = bytes / scale * 10 + (bytes % scale) / (scale / 1024) * 10 / 1024;
    snprintf(out, size, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10, units[unit]);
    return out;
}

char *lh_text_duration(char *out, size_t size, uint64_t seconds)
{
    uint64_t hours = seconds / 3600;
    uint64_t minutes = seconds / 60 % 60;

    if (seconds == UINT64_MAX)
        snprintf(out, size, "--:--");
    else if (hours > 0)
        snprintf(out, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, hours, minutes, seconds % 60);
    else
        snprintf(out, size, "%" PRIu64 ":%02" PRIu64, minutes, seconds % 60);
    return out;
}

/* Digits into *value; returns what follows them, or NULL when there are none or too many. */
static const char *parse_digits(const char *text, uint64_t *value)
{
    uint64_t v = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return NULL;
        v = v * 10 + digit;
    }
    if (at == text)
        return NULL;
    *value = v;
    return at;
}

#define DECIMALS_MAX 6 /* with them no factor in here overflows */

/* ".25" into *part of *whole (25 of 100), where there is a point; returns what follows, or NULL. */
static const char *parse_decimals(const char *text, uint64_t *part, uint64_t *whole)
{
    const char *rest;

    *part = 0;
    *whole = 1;
    if (text[0] != '.')
        return text;
    rest = parse_digits(text + 1, part);
    if (rest == NULL || rest - text > 1 + DECIMALS_MAX)
        return NULL;
    for (const char *at = text + 1; at < rest; at++)
        *whole *= 10;
    return rest;
}

struct suffix {
    const char *text;
    uint64_t factor;
};

static int scale_by(const struct suffix *table, size_t n, const char *text, bool fold,
                    uint64_t *out)
{
    uint64_t value, part, whole;
    const char *rest = parse_digits(text, &value);

    if (rest != NULL)
        rest = parse_decimals(rest, &part, &whole);
    if (rest == NULL)
        return -LH_E_INVAL;
    for (size_t i = 0; i < n; i++) {
        int differs = fold ? strcasecmp(rest, table[i].text) : strcmp(rest, table[i].text);
        uint64_t factor = table[i].factor;

        if (differs != 0)
            continue;
        part = part * factor / whole;
        if (value > (UINT64_MAX - part) / factor || (whole > 1 && factor == 1))
            return -LH_E_INVAL;
        *out = value * factor + part;
        return 0;
    }
    return -LH_E_INVAL;
}

int lh_text_parse_size(const char *text, uint64_t *bytes)
{
    static const struct suffix table[] = {
        {"", 1},           {"B", 1},
        {"K", 1ull << 10}, {"KiB", 1ull << 10},
        {"M", 1ull << 20}, {"MiB", 1ull << 20},
        {"G", 1ull << 30}, {"GiB", 1ull << 30},
        {"T", 1ull << 40}, {"TiB", 1ull << 40},
    };

    return scale_by(table, sizeof(table) / sizeof(table[0]), text, true, bytes);
}

int lh_text_parse_duration(const char *text, uint64_t *ms)
{
    /* Not folded: "M" could be months to somebody. */
    static const struct suffix table[] = {
        {"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600000u}, {"d", 24 * 3600000u},
    };

    return scale_by(table, sizeof(table) / sizeof(table[0]), text, false, ms);
}

int lh_text_parse_rate(const char *text, uint64_t *bps)
{
    static const char *const units[] = {"bit/s", "bps", "bit"}; /* not folded: B is a byte */
    static const struct suffix table[] = {
        {"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {"T", 1000000000000},
    };
    char number[32];
    size_t len = strlen(text);

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t n = strlen(units[i]);

        if (len > n && strcmp(text + len - n, units[i]) == 0) {
            len -= n;
            break;
        }
    }
    if (len >= sizeof(number))
        return -LH_E_INVAL;
    memcpy(number, text, len);
    number[len] = '\0';
    return scale_by(table, sizeof(table) / sizeof(table[0]), number, true, bps);
}

/* Length of the UTF-8 character at `s`, or 0 when it is none that may be shown: malformed,
 * overlong, a surrogate, beyond U+10FFFF, or a C1 control. */
static size_t utf8_length(const uint8_t *s, size_t len)
{
    uint32_t code;
    size_t n = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 ? 3 : 2;

    if (s[0] < 0xc2 || s[0] > 0xf4 || len < n)
        return 0;
    code = s[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    if ((n == 3 && code < 0x800) || (n == 4 && code < 0x10000) || code > 0x10ffff)
        return 0;
    if ((code >= 0xd800 && code <= 0xdfff) || code < 0xa0)
        return 0;
    return n;
}

char *lh_text_escape(char *out, size_t size, const void *name, size_t len)
{
    const uint8_t *in = name;
    size_t used = 0;
    size_t cut = 0; /* the last place from where "..." still fits */

    if (size == 0)
        return out;
    for (size_t i = 0; i < len;) {
        char piece[8];
        size_t take = 1;
        size_t n;

        if (in[i] == '\\') {
            n = 2;
            memcpy(piece, "\\\\", n);
        } else if (in[i] >= 0x20 && in[i] < 0x7f) {
            n = 1;
            piece[0] = (char)in[i];
        } else if (in[i] >= 0x80 && (take = utf8_length(in + i, len - i)) > 0) {
            n = take;
            memcpy(piece, in + i, n);
        } else {
            take = 1;
            n = (size_t)snprintf(piece, sizeof(piece), "\\x%02x", in[i]);
        }
        if (used + 3 < size)
            cut = used;
        if (used + n >= size) {
            if (size > 3)
                memcpy(out + cut, "...", 3);
            out[size > 3 ? cut + 3 : cut] = '\0';
            return out;
        }
        memcpy(out + used, piece, n);
        used += n;
        i += take;
    }
    out[used] = '\0';
    return out;
}

void lh_text_hex(char *out, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = bytes;

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * n] = '\0';
}

const char *lh_text_rule(const char *line, bool *include)
{
    bool sign = (line[0] == '+' || line[0] == '-') && line[1] == ' ';

    if (line[0] == '\0' || line[0] == '#' || line[0] == ';')
        return NULL;
    *include = sign && line[0] == '+';
    line += sign ? 2 : 0;
    return line[0] != '\0' ? line : NULL;
}
