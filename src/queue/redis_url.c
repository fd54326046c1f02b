/* Taking addresses of a Redis apart: scheme, user and password, host and port or path, database.
 *
 * What is quoted may hold a password, even in a place where none belongs ("redis://:pa/ss@host"),
 * so nothing is quoted. */
#include "queue/redis_url.h"

#include "util/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int refuse(struct lh_err *err, const char *sentence)
{
    return lh_err_set(err, LH_E_INVAL, "%s", sentence);
}

/* Decode to a string of at most `size` bytes with the NUL. */
static int decode(const char *text, size_t len, char *out, size_t size, struct lh_err *err)
{
    char whole[1024];
    const char *wrong;
    size_t n;

    if (len > sizeof(whole))
        return refuse(err, "the address of Redis is too long");
    wrong = lh_address_decode(text, len, whole, &n);
    if (wrong != NULL)
        return refuse(err, wrong);
    if (n >= size)
        return refuse(err, "user, password or socket path of the address are too long");
    memcpy(out, whole, n);
    out[n] = '\0';
    return 0;
}

/* USER:PASSWORD, `len` bytes. */
static int parse_login(struct lh_redis_url *url, const char *text, size_t len, struct lh_err *err)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len;
    int ret;

    if (colon == NULL)
        return refuse(err, "before '@' belongs USER:PASSWORD, or :PASSWORD without a user");
    user_len = (size_t)(colon - text);
    ret = decode(text, user_len, url->user, sizeof(url->user), err);
    if (ret != 0)
        return ret;
    return decode(colon + 1, len - user_len - 1, url->password, sizeof(url->password), err);
}

/* To the end of the address. */
static int parse_db(struct lh_redis_url *url, const char *text, struct lh_err *err)
{
    uint64_t value = 0;

    for (const char *at = text; *at != '\0'; at++) {
        if (*at < '0' || *at > '9')
            return refuse(err, "the number of the database is not a number");
        value = value * 10 + (uint64_t)(*at - '0');
        if (value > INT32_MAX)
            return refuse(err, "the number of the database is too large");
    }
    url->db = (uint32_t)value;
    return 0;
}

/* HOST[:PORT][/DB] */
static int parse_tcp(struct lh_redis_url *url, const char *text, struct lh_err *err)
{
    size_t len = strcspn(text, "/?#");
    const char *wrong;

    url->port = LH_REDIS_PORT;
    wrong = lh_address_parse(text, len, url->host, &url->port);
    if (wrong != NULL)
        return refuse(err, wrong);
    if (text[len] == '\0')
        return 0;
    if (text[len] != '/')
        return refuse(err, "only /DB may follow the host of a Redis");
    return parse_db(url, text + len + 1, err);
}

/* /PATH[?db=DB] */
static int parse_unix(struct lh_redis_url *url, const char *text, struct lh_err *err)
{
    size_t len = strcspn(text, "?");
    int ret;

    if (text[0] != '/')
        return refuse(err, "the path of the socket must be absolute: unix:///PATH/TO.SOCK");
    ret = decode(text, len, url->path, sizeof(url->path), err);
    if (ret != 0 || text[len] == '\0')
        return ret;
    if (strncmp(text + len, "?db=", 4) != 0 || text[len + 4] == '\0')
        return refuse(err, "only ?db=DB may follow the path of the socket");
    return parse_db(url, text + len + 4, err);
}

int lh_redis_url_parse(struct lh_redis_url *url, const char *text, struct lh_err *err)
{
    static const char tcp[] = "redis://";
    static const char socket[] = "unix://";
    struct lh_redis_url parsed = {.db = 0};
    bool is_tcp = strncasecmp(text, tcp, sizeof(tcp) - 1) == 0;
    const char *rest;
    size_t len;
    int ret;

    if (strncasecmp(text, "rediss://", 9) == 0)
        return refuse(err, "TLS to Redis is not built in: use redis:// on a trusted network or "
                           "through a tunnel, such as stunnel's");
    if (!is_tcp && strncasecmp(text, socket, sizeof(socket) - 1) != 0)
        return refuse(err, "the address of Redis must be redis://[USER:PASSWORD@]HOST[:PORT][/DB] "
                           "or unix:///PATH/TO.SOCK[?db=DB]");
    rest = text + (is_tcp ? sizeof(tcp) : sizeof(socket)) - 1;
    len = strcspn(rest, "/?#");
    if (strchr(rest + len, '@') != NULL && (is_tcp || memchr(rest, ':', len) != NULL) &&
        memchr(rest, '@', len) == NULL)
        return refuse(err, "'/', '?' and '#' in a user or password are written %2F, %3F and %23");
    for (const char *at = rest + len; at > rest; at--) {
        if (at[-1] != '@')
            continue;
        ret = parse_login(&parsed, rest, (size_t)(at - 1 - rest), err);
        if (ret != 0)
            return ret;
        rest = at;
        break;
    }
    ret = is_tcp ? parse_tcp(&parsed, rest, err) : parse_unix(&parsed, rest, err);
    if (ret == 0)
        *url = parsed;
    return ret;
}

char *lh_redis_url_text(const struct lh_redis_url *url, char out[LH_REDIS_URL_TEXT])
{
    bool bare = strchr(url->host, ':') == NULL;
    char path[LH_REDIS_URL_TEXT - 32];
    int n;

    lh_text_escape(path, sizeof(path), url->path, strlen(url->path));
    if (url->path[0] != '\0')
        n = snprintf(out, LH_REDIS_URL_TEXT, "unix://%s", path);
    else
        n = snprintf(out, LH_REDIS_URL_TEXT, bare ? "redis://%s:%u" : "redis://[%s]:%u", url->host,
                     url->port);
    if (url->db != 0)
        snprintf(out + n, LH_REDIS_URL_TEXT - (size_t)n, url->path[0] != '\0' ? "?db=%u" : "/%u",
                 url->db);
    return out;
}
