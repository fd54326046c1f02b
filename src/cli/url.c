/* Taking lh:// addresses apart: scheme, host, port, path, in this order; the first thing that is
 * wrong is reported with the part it is in, and for the path with its place. */
#include "cli/url.h"

#include "util/text.h"

#include <arpa/inet.h>
#include <longhaul/longhaul.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char scheme[] = "lh://";

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

struct parser {
    const char *text; /* the whole address */
    struct lh_err *err;
};

/* "SENTENCE, in 'ADDRESS'" */
static int refuse(const struct parser *p, const char *sentence)
{
    char shown[256];

    lh_text_escape(shown, sizeof(shown), p->text, strlen(p->text));
    return lh_err_set(p->err, LH_E_INVAL, "%s, in '%s'", sentence, shown);
}

static int parse_port(const struct parser *p, const char *text, size_t len, uint16_t *port)
{
    unsigned long value = 0;

    if (len == 0)
        return refuse(p, "the port after ':' is missing");
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return refuse(p, "the port is not a number");
        if (value < 100000)
            value = value * 10 + (unsigned long)(text[i] - '0');
    }
    if (value < 1 || value > 65535)
        return refuse(p, "the port is not between 1 and 65535");
    *port = (uint16_t)value;
    return 0;
}

static int take_host(const struct parser *p, const char *text, size_t len,
                     char host[LH_URL_HOST_SIZE])
{
    if (len >= LH_URL_HOST_SIZE)
        return refuse(p, "the host name is too long");
    memcpy(host, text, len);
    host[len] = '\0';
    return 0;
}

/* "[ADDRESS]" or "[ADDRESS%ZONE]", and what follows up to `len`. */
static int parse_bracketed(const struct parser *p, const char *text, size_t len, struct lh_url *url)
{
    const char *close = memchr(text, ']', len);
    char address[INET6_ADDRSTRLEN];
    struct in6_addr binary;
    size_t n;
    int ret;

    if (close == NULL)
        return refuse(p, "the ']' after the IPv6 address is missing");
    ret = take_host(p, text + 1, (size_t)(close - text - 1), url->host);
    if (ret != 0)
        return ret;
    n = strcspn(url->host, "%");
    if (n < sizeof(address)) {
        memcpy(address, url->host, n);
        address[n] = '\0';
    }
    if (n >= sizeof(address) || inet_pton(AF_INET6, address, &binary) != 1)
        return refuse(p, "what is in brackets is not an IPv6 address");
    if (url->host[n] == '%') {
        /* RFC 6874 writes the zone's percent sign as %25; the bare one is common. */
        if (strncmp(url->host + n, "%25", 3) == 0)
            memmove(url->host + n + 1, url->host + n + 3, strlen(url->host + n + 3) + 1);
        if (url->host[n + 1] == '\0')
            return refuse(p, "the zone after '%' is missing");
    }
    len -= (size_t)(close + 1 - text);
    if (len == 0)
        return 0;
    if (close[1] != ':')
        return refuse(p, "only a port may follow ']'");
    return parse_port(p, close + 2, len - 1, &url->port);
}

static int parse_named(const struct parser *p, const char *text, size_t len, struct lh_url *url)
{
    const char *colon = memchr(text, ':', len);
    size_t host_len = colon != NULL ? (size_t)(colon - text) : len;
    int ret;

    if (colon != NULL && memchr(colon + 1, ':', len - host_len - 1) != NULL)
        return refuse(p, "an IPv6 address goes in brackets, as in lh://[::1]/name");
    if (host_len == 0)
        return refuse(p, "the host is missing");
    ret = take_host(p, text, host_len, url->host);
    if (ret != 0)
        return ret;
    if (strspn(url->host, LETTERS DIGITS "-._") != host_len)
        return refuse(p, "the host name has a character that no host name has");
    return colon == NULL ? 0 : parse_port(p, colon + 1, len - host_len - 1, &url->port);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Decode %XX into `out`, which has room for as many bytes as `text` has. */
static int decode(const struct parser *p, const char *text, char *out, size_t *out_len)
{
    size_t n = 0;

    for (const char *at = text; *at != '\0'; at++) {
        int high;
        int low;

        if (*at == '?')
            return refuse(p, "there are no '?' queries; a '?' in a name is written %3F");
        if (*at == '#')
            return refuse(p, "there are no '#' fragments; a '#' in a name is written %23");
        if (*at != '%') {
            out[n++] = *at;
            continue;
        }
        high = hex_value(at[1]);
        low = high < 0 ? -1 : hex_value(at[2]);
        if (low < 0)
            return refuse(p, "two hexadecimal digits must follow '%'; "
                             "a '%' in a name is written %25");
        if (high == 0 && low == 0)
            return refuse(p, "a name cannot contain the byte 0 (%00)");
        out[n++] = (char)(high * 16 + low);
        at += 2;
    }
    *out_len = n;
    return 0;
}

int lh_url_parse(struct lh_url *url, const char *text, struct lh_err *err)
{
    struct parser p = {text, err};
    struct lh_url parsed = {.port = LH_DEFAULT_PORT};
    const char *authority = text + sizeof(scheme) - 1;
    size_t len;
    int ret;

    if (strncasecmp(text, scheme, sizeof(scheme) - 1) != 0)
        return refuse(&p, "the destination must be lh://HOST[:PORT]/PATH");
    len = strcspn(authority, "/?#");
    if (memchr(authority, '@', len) != NULL)
        return refuse(&p, "there are no users: leave out what stands before '@'");
    if (authority[0] == '[')
        ret = parse_bracketed(&p, authority, len, &parsed);
    else
        ret = parse_named(&p, authority, len, &parsed);
    if (ret != 0)
        return ret;
    if (authority[len] != '/')
        return refuse(&p, "the path is missing: lh://HOST/ keeps the file's name");

    parsed.path = malloc(strlen(authority + len) + sizeof("./"));
    if (parsed.path == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    ret = decode(&p, authority + len + 1, parsed.path, &parsed.path_len);
    if (ret != 0) {
        free(parsed.path);
        return ret;
    }
    if (parsed.path_len > LH_URL_PATH_MAX) {
        free(parsed.path);
        return refuse(&p, "the path is longer than 4096 bytes");
    }
    if (parsed.path_len == 0) {
        memcpy(parsed.path, "./", 2);
        parsed.path_len = 2;
    }
    *url = parsed;
    return 0;
}

void lh_url_free(struct lh_url *url)
{
    free(url->path);
    url->path = NULL;
}
