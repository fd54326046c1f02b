/* Commands as bytes (RESP 2), the list of those in flight, and the codes of errors. What a login is
 * answered is not quoted where it may hold the password. */
#include "queue/redis_cmd.h"

#include "util/address.h"
#include "util/err.h"
#include "util/text.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_SIZE 24 /* of "*N\r\n" or "$N\r\n", at most */

static uint8_t *put(uint8_t *to, const void *data, size_t len)
{
    if (len > 0)
        memcpy(to, data, len);
    return to + len;
}

static uint8_t *put_head(uint8_t *to, char kind, size_t n)
{
    return to + snprintf((char *)to, HEAD_SIZE, "%c%zu\r\n", kind, n);
}

static size_t room_for(size_t len)
{
    return HEAD_SIZE + len + 2;
}

static uint8_t *put_string(uint8_t *to, const void *data, size_t len)
{
    return put(put(put_head(to, '$', len), data, len), "\r\n", 2);
}

struct lh_redis_cmd *lh_redis_cmd_new(const struct lh_redis_arg *argv, size_t n)
{
    struct lh_redis_cmd *c;
    uint8_t *to;
    size_t room = 0;

    for (size_t i = 0; i < n; i++)
        room += room_for(argv[i].len);
    c = calloc(1, sizeof(*c) + room);
    if (c == NULL)
        return NULL;
    to = c->args;
    for (size_t i = 0; i < n; i++)
        to = put_string(to, argv[i].data, argv[i].len);
    c->n_args = n;
    c->len = (size_t)(to - c->args);
    return c;
}

struct lh_redis_cmd *lh_redis_cmd_new_script(const struct lh_script *script,
                                             const struct lh_redis_arg *argv, size_t n,
                                             const char *key)
{
    struct lh_redis_cmd *c;
    uint8_t *to;
    size_t room = room_for(1) + room_for(strlen(key));

    for (size_t i = 0; i < n; i++)
        room += room_for(argv[i].len);
    c = calloc(1, sizeof(*c) + room);
    if (c == NULL)
        return NULL;
    to = put_string(put_string(c->args, "1", 1), key, strlen(key));
    for (size_t i = 0; i < n; i++)
        to = put_string(to, argv[i].data, argv[i].len);
    c->script = script;
    c->n_args = n + 2;
    c->len = (size_t)(to - c->args);
    return c;
}

void lh_redis_cmd_free(struct lh_redis_cmd *c)
{
    free(c);
}

int lh_redis_cmd_encode(const struct lh_redis_cmd *c, struct lh_buf *out)
{
    const struct lh_script *s = c->script;
    const char *name = c->in_full ? "EVAL" : "EVALSHA";
    size_t room = HEAD_SIZE + c->len;
    uint8_t *base;
    uint8_t *to;

    if (s != NULL)
        room += room_for(strlen(name)) + room_for(c->in_full ? s->len : strlen(s->sha1));
    if (room > out->max - lh_buf_len(out))
        return -LH_E_LIMIT;
    base = lh_buf_reserve(out, room);
    if (base == NULL)
        return -LH_E_NOMEM;
    to = put_head(base, '*', c->n_args + (s != NULL ? 2 : 0));
    if (s != NULL) {
        to = put_string(to, name, strlen(name));
        to =
            c->in_full ? put_string(to, s->text, s->len) : put_string(to, s->sha1, strlen(s->sha1));
    }
    to = put(to, c->args, c->len);
    lh_buf_added(out, (size_t)(to - base));
    return 0;
}

void lh_redis_cmds_push(struct lh_redis_cmds *cmds, struct lh_redis_cmd *c, uint64_t now_ms,
                        uint64_t command_ms)
{
    cmds->bytes += c->len;
    cmds->wait_ms += c->wait_ms;
    c->due_ms = now_ms + command_ms + cmds->wait_ms;
    c->next = NULL;
    if (cmds->first == NULL)
        cmds->first = c;
    else
        cmds->last->next = c;
    cmds->last = c;
    cmds->n++;
}

struct lh_redis_cmd *lh_redis_cmds_pop(struct lh_redis_cmds *cmds)
{
    struct lh_redis_cmd *c = cmds->first;

    if (c == NULL)
        return NULL;
    cmds->first = c->next;
    cmds->bytes -= c->len;
    cmds->wait_ms -= c->wait_ms;
    cmds->n--;
    return c;
}

uint64_t lh_redis_cmds_due_ms(const struct lh_redis_cmds *cmds)
{
    return cmds->first == NULL ? UINT64_MAX : cmds->first->due_ms;
}

void lh_redis_cmds_lose(struct lh_redis_cmds *cmds)
{
    struct lh_redis_cmd *c;

    while ((c = lh_redis_cmds_pop(cmds)) != NULL) {
        if (c->role == LH_REDIS_USER)
            c->fn(c->arg, NULL);
        lh_redis_cmd_free(c);
    }
}

/* The error begins with the code. */
static bool has_code(const redisReply *error, const char *code)
{
    size_t len = strlen(code);

    return strncmp(error->str, code, len) == 0 &&
           (error->str[len] == ' ' || error->str[len] == '\0');
}

bool lh_redis_error_is(const struct redisReply *reply, const char *code)
{
    static const char in_script[] = "ERR Error running script";
    size_t len = strlen(code);

    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return false;
    if (strncmp(reply->str, in_script, sizeof(in_script) - 1) != 0)
        return has_code(reply, code);
    /* "… (call to f_DIGEST): @user_script:1: @user_script: 1: -OOM command not allowed …" */
    for (const char *at = strchr(reply->str, '@'); at != NULL; at = strstr(at + 1, ": ")) {
        const char *word = at + 2 + (at[0] == ':' && at[2] == '-');

        if (at[0] == ':' && strncmp(word, code, len) == 0 && word[len] == ' ')
            return true;
    }
    return false;
}

bool lh_redis_cmd_away(const struct redisReply *error)
{
    static const char *const codes[] = {"LOADING",     "READONLY", "MASTERDOWN",
                                        "CLUSTERDOWN", "TRYAGAIN", "ASK"};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (lh_redis_error_is(error, codes[i]))
            return true;
    return false;
}

/* "MOVED SLOT HOST:PORT", an IPv6 address without brackets. */
bool lh_redis_cmd_moved(const struct redisReply *error, char host[LH_HOST_SIZE], uint16_t *port)
{
    char text[LH_HOST_SIZE + 16];
    const char *to;
    const char *colon;
    int len;

    if (!has_code(error, "MOVED") || strchr(error->str, ' ') == NULL)
        return false;
    to = strrchr(error->str, ' ') + 1;
    colon = strrchr(to, ':');
    if (colon == NULL || colon - to >= LH_HOST_SIZE || strlen(colon) > sizeof(":65535") - 1)
        return false;
    len = (int)(colon - to);
    if (len == 0)
        snprintf(text, sizeof(text), "x%s", colon);
    else if (memchr(to, ':', (size_t)len) == NULL)
        snprintf(text, sizeof(text), "%s", to);
    else
        snprintf(text, sizeof(text), "[%.*s]%s", len, to, colon);
    if (lh_address_parse(text, strlen(text), host, port) != NULL)
        return false;
    if (len == 0)
        host[0] = '\0';
    return true;
}

char *lh_redis_cmd_words(const struct redisReply *error, char out[LH_REDIS_WORDS])
{
    return lh_text_escape(out, LH_REDIS_WORDS, error->str, error->len);
}

bool lh_redis_cmd_refused(enum lh_redis_role role, const struct redisReply *reply,
                          const char *where, struct lh_err *err)
{
    int status = LH_E_REFUSED;
    char words[LH_REDIS_WORDS];

    if (reply->type == REDIS_REPLY_STATUS)
        return false;
    if (reply->type != REDIS_REPLY_ERROR) { /* such as our own echo: a connect can meet itself */
        lh_err_set(err, LH_E_PROTOCOL, "what answers at %s is not a Redis", where);
        return true;
    }
    if (role == LH_REDIS_PING && lh_redis_error_is(reply, "NOPERM"))
        return false; /* it may do other things */
    lh_redis_cmd_words(reply, words);
    if (lh_redis_cmd_away(reply))
        lh_err_set(err, LH_E_NETWORK, "Redis at %s cannot serve now: %s", where, words);
    else if (strstr(reply->str, "max number of clients") != NULL)
        lh_err_set(err, LH_E_NETWORK, "Redis at %s takes no more clients (its maxclients)", where);
    else if (lh_redis_error_is(reply, "DENIED"))
        lh_err_set(err, status,
                   "Redis at %s is in protected mode: without a password set it "
                   "serves its own host alone",
                   where);
    else if (lh_redis_error_is(reply, "NOAUTH"))
        lh_err_set(err, status,
                   "Redis at %s wants a password: redis://USER:PASSWORD@HOST, or "
                   "redis://:PASSWORD@HOST",
                   where);
    else if (role == LH_REDIS_AUTH)
        lh_err_set(err, status, "Redis at %s does not accept the user or password (%.*s)", where,
                   (int)strcspn(words, " "), words);
    else
        lh_err_set(err, status, "Redis at %s refuses %s: %s", where,
                   role == LH_REDIS_SELECT ? "the database" : "service", words);
    return true;
}
