#include "util/address.h"

#include <arpa/inet.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static const char *parse_port(const char *text, size_t len, uint16_t *port)
{
    unsigned long value = 0;

    if (len == 0)
        return "the port after ':' is missing";
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return "the port is not a number";
        if (value < 100000)
            value = value * 10 + (unsigned long)(text[i] - '0');
    }
    if (value < 1 || value > 65535)
        return "the port is not between 1 and 65535";
    *port = (uint16_t)value;
    return NULL;
}

static const char *take_host(const char *text, size_t len, char host[LH_HOST_SIZE])
{
    if (len >= LH_HOST_SIZE)
        return "the host name is too long";
    memcpy(host, text, len);
    host[len] = '\0';
    return NULL;
}

/* "[ADDRESS]" or "[ADDRESS%ZONE]", and what follows up to `len`. */
static const char *parse_bracketed(const char *text, size_t len, char host[LH_HOST_SIZE],
                                   uint16_t *port)
{
    const char *close = memchr(text, ']', len);
    char address[INET6_ADDRSTRLEN];
    struct in6_addr binary;
    const char *wrong;
    size_t n;

    if (close == NULL)
        return "the ']' after the IPv6 address is missing";
    wrong = take_host(text + 1, (size_t)(close - text - 1), host);
    if (wrong != NULL)
        return wrong;
    n = strcspn(host, "%");
    if (n < sizeof(address)) {
        memcpy(address, host, n);
        address[n] = '\0';
    }
    if (n >= sizeof(address) || inet_pton(AF_INET6, address, &binary) != 1)
        return "what is in brackets is not an IPv6 address";
    if (host[n] == '%') {
        /* RFC 6874 writes the zone's percent sign as %25; the bare one is common. */
        if (strncmp(host + n, "%25", 3) == 0)
            memmove(host + n + 1, host + n + 3, strlen(host + n + 3) + 1);
        if (host[n + 1] == '\0')
            return "the zone after '%' is missing";
        for (const char *at = host + n + 1; *at != '\0'; at++)
            if (*at <= ' ' || *at > '~' || *at == '%')
                return "the zone after '%' has a character that no interface has";
    }
    len -= (size_t)(close + 1 - text);
    if (len == 0)
        return NULL;
    if (close[1] != ':')
        return "only a port may follow ']'";
    return parse_port(close + 2, len - 1, port);
}

static const char *parse_named(const char *text, size_t len, char host[LH_HOST_SIZE],
                               uint16_t *port)
{
    const char *colon = memchr(text, ':', len);
    size_t host_len = colon != NULL ? (size_t)(colon - text) : len;
    const char *wrong;

    if (colon != NULL && memchr(colon + 1, ':', len - host_len - 1) != NULL)
        return "an IPv6 address goes in brackets, as in [::1]";
    if (host_len == 0)
        return "the host is missing";
    wrong = take_host(text, host_len, host);
    if (wrong != NULL)
        return wrong;
    if (strspn(host, LETTERS DIGITS "-._") != host_len)
        return "the host name has a character that no host name has";
    return colon == NULL ? NULL : parse_port(colon + 1, len - host_len - 1, port);
}

const char *lh_address_parse(const char *text, size_t len, char host[LH_HOST_SIZE], uint16_t *port)
{
    if (len > 0 && text[0] == '[')
        return parse_bracketed(text, len, host, port);
    return parse_named(text, len, host, port);
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

const char *lh_address_decode(const char *text, size_t len, char *out, size_t *out_len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        int high;
        int low;

        if (text[i] != '%') {
            out[n++] = text[i];
            continue;
        }
        high = len - i > 2 ? hex_value(text[i + 1]) : -1;
        low = high < 0 ? -1 : hex_value(text[i + 2]);
        if (low < 0)
            return "two hexadecimal digits must follow '%'; a '%' itself is written %25";
        if (high == 0 && low == 0)
            return "the byte 0 (%00) is not allowed";
        out[n++] = (char)(high * 16 + low);
        i += 2;
    }
    *out_len = n;
    return NULL;
}
