#include "queue/redis_url.h"

#include "test/lib/tap.h"

#include <string.h>

static struct lh_redis_url parse(const char *text)
{
    struct lh_redis_url url = {.port = 1};
    struct lh_err err = {.text = ""};

    if (!is_i64(lh_redis_url_parse(&url, text, &err), 0, "%s is taken", text))
        diag("%s", err.text);
    return url;
}

static void tcp(const char *text, const char *host, unsigned port, unsigned db, const char *shown)
{
    struct lh_redis_url url = parse(text);
    char out[LH_REDIS_URL_TEXT];

    is_str(url.host, host, "%s: host", text);
    is_str(url.path, "", "%s: no socket", text);
    is_u64(url.port, port, "%s: port", text);
    is_u64(url.db, db, "%s: database", text);
    is_str(lh_redis_url_text(&url, out), shown, "%s: as shown", text);
}

static void unix_socket(const char *text, const char *path, unsigned db, const char *shown)
{
    struct lh_redis_url url = parse(text);
    char out[LH_REDIS_URL_TEXT];

    is_str(url.host, "", "%s: no host", text);
    is_str(url.path, path, "%s: path", text);
    is_u64(url.db, db, "%s: database", text);
    is_str(lh_redis_url_text(&url, out), shown, "%s: as shown", text);
}

static void login(const char *text, const char *user, const char *password)
{
    struct lh_redis_url url = parse(text);
    char out[LH_REDIS_URL_TEXT];

    is_str(url.user, user, "%s: user", text);
    is_str(url.password, password, "%s: password", text);
    lh_redis_url_text(&url, out);
    ok(strchr(out, '@') == NULL && strstr(out, "secret") == NULL, "%s: not shown", text);
}

static void bad(const char *text, const char *words)
{
    struct lh_redis_url url = {.port = 1};
    struct lh_err err = {.text = ""};

    is_i64(lh_redis_url_parse(&url, text, &err), -LH_E_INVAL, "%.80s is refused", text);
    if (!ok(strstr(err.text, words) != NULL, "%.80s: says \"%s\"", text, words))
        diag("%s", err.text);
    ok(strstr(err.text, "secret") == NULL, "%.80s: does not tell the password", text);
    ok(url.port == 1 && url.host[0] == '\0', "%.80s: nothing is written", text);
}

static void addresses(void)
{
    tcp("redis://host", "host", 6379, 0, "redis://host:6379");
    tcp("redis://host/", "host", 6379, 0, "redis://host:6379");
    tcp("REDIS://Host.example.org:1/15", "Host.example.org", 1, 15,
        "redis://Host.example.org:1/15");
    tcp("redis://10.0.0.1:65535/0", "10.0.0.1", 65535, 0, "redis://10.0.0.1:65535");
    tcp("redis://[::1]", "::1", 6379, 0, "redis://[::1]:6379");
    tcp("redis://[fe80::1%25eth0]:7/3", "fe80::1%eth0", 7, 3, "redis://[fe80::1%eth0]:7/3");
    tcp("redis://u:p@host:7/2147483647", "host", 7, 2147483647, "redis://host:7/2147483647");
    unix_socket("unix:///run/redis.sock", "/run/redis.sock", 0, "unix:///run/redis.sock");
    unix_socket("unix:///a%20b/r?db=7", "/a b/r", 7, "unix:///a b/r?db=7");
    unix_socket("unix:///a%0ab", "/a\nb", 0, "unix:///a\\x0ab");
    unix_socket("unix://u:p@/p@th", "/p@th", 0, "unix:///p@th");
    unix_socket("unix:///p:a@th", "/p:a@th", 0, "unix:///p:a@th");
}

static void logins(void)
{
    login("redis://:secret@host", "", "secret");
    login("redis://me:secret@host", "me", "secret");
    login("redis://me:@host", "me", "");
    login("redis://:@host", "", "");
    login("redis://m%65:s%3a%2F%40%25secret@host", "me", "s:/@%secret");
    login("redis://me:sec:secret@host", "me", "sec:secret");
    login("redis://me:s@secret@host", "me", "s@secret");
    login("redis://me:\xc3\xbc"
          "secret@host",
          "me",
          "\xc3\xbc"
          "secret");
    login("unix://me:secret@/x", "me", "secret");
}

static void refused(void)
{
    bad("", "must be redis://");
    bad("host:6379", "must be redis://");
    bad("redis:/host", "must be redis://");
    bad("http://host", "must be redis://");
    bad("rediss://:secret@host", "TLS to Redis is not built in");
    bad("redis://", "host is missing");
    bad("redis:///0", "host is missing");
    bad("redis://:6379", "host is missing");
    bad("redis://u:secret@", "host is missing");
    bad("redis://secret@host", "USER:PASSWORD");
    bad("redis://@host", "USER:PASSWORD");
    bad("redis://:sec/ret@host", "%2F");
    bad("redis://:secret/@host", "%2F");
    bad("redis://:secret#x@host", "%23");
    bad("unix://u:secret/x@/sock", "%2F");
    bad("redis://:secret%2@host", "two hexadecimal digits");
    bad("redis://:secret%@host", "two hexadecimal digits");
    bad("redis://:secret%00@host", "byte 0");
    bad("redis://:secret%zz@host", "two hexadecimal digits");
    bad("redis://host:", "port after ':' is missing");
    bad("redis://host:0", "between 1 and 65535");
    bad("redis://host:65536", "between 1 and 65535");
    bad("redis://host:secret", "not a number");
    bad("redis://::1", "in brackets");
    bad("redis://[::1", "']'");
    bad("redis://[fe80::1%]", "zone after '%' is missing");
    bad("redis://[fe80::1%25]", "zone after '%' is missing");
    bad("redis://[fe80::1%a\tb]", "no interface has");
    bad("redis://[fe80::1%a\x7f]", "no interface has");
    bad("redis://[fe80::1%a%b]", "no interface has");
    bad("redis://[host]", "not an IPv6 address");
    bad("redis://ho st", "no host name has");
    bad("redis://host/one", "not a number");
    bad("redis://host/-1", "not a number");
    bad("redis://host/1/", "not a number");
    bad("redis://host/2147483648", "too large");
    bad("redis://host/99999999999999999999999", "too large");
    bad("redis://host?db=1", "only /DB");
    bad("redis://host#x", "only /DB");
    bad("unix://relative/path", "absolute");
    bad("unix://", "absolute");
    bad("unix:///x?db=", "only ?db=DB");
    bad("unix:///x?db=1&x=2", "not a number");
    bad("unix:///x?timeout=1", "only ?db=DB");
}

/* The longest that is taken, and one more. */
static void bounds(void)
{
    static const struct {
        const char *before;
        size_t max;
        const char *after;
    } cases[] = {{"redis://", 255, ""},
                 {"redis://:", 511, "@h"},
                 {"redis://", 127, ":@h"},
                 {"unix:///", 106, "?db=1"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[2000];
        size_t len = strlen(cases[i].before);

        for (size_t more = 0; more < 2; more++) {
            strcpy(text, cases[i].before);
            memset(text + len, 'a', cases[i].max + more);
            strcpy(text + len + cases[i].max + more, cases[i].after);
            if (more == 0)
                parse(text);
            else
                bad(text, "too long");
        }
        memset(text + len, 'a', 1500);
        strcpy(text + len + 1500, cases[i].after);
        bad(text, "too long");
    }
}

int main(void)
{
    addresses();
    logins();
    refused();
    bounds();
    return done_testing();
}
