/* The connection that comes back by itself: when to dial where, who waits for which reply.
 *
 * One thread, the loop's; owner: whoever started it. Happy path: PAUSED (no pause at first) →
 * RESOLVING → CONNECTING → LOGGING_IN → UP. Whatever goes wrong on the way tries the next address
 * and, when there is none, is a `down` and a pause; so is what goes wrong when it is up.
 *
 * Nothing that is said or logged may hold a password: replies to AUTH are never quoted, for some
 * servers repeat its arguments. */
#include "queue/redis.h"

#include "core/pace.h"
#include "queue/redis_cmd.h"
#include "queue/redis_conn.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MS 5000
#define DEFAULT_MAX_IN_FLIGHT 1024
#define MAX_IN_FLIGHT_BYTES (16 << 20) /* of arguments; the last one may exceed it */
#define MAX_MOVED 5                    /* redirections in a row that are followed at once */

enum state { PAUSED, RESOLVING, CONNECTING, LOGGING_IN, UP, CLOSING };

struct lh_redis {
    uv_loop_t *loop;
    struct lh_redis_options opts;
    struct lh_redis_url url;
    enum state state;
    uv_timer_t timer; /* the pause, or the time limit of what is being waited for */
    bool overdue;     /* the limit is over; what lies in the socket is read before it counts */
    bool timer_closed;
    uv_getaddrinfo_t resolve;
    bool resolving;
    struct addrinfo *list; /* addresses */
    struct addrinfo *next; /* the next one to try */
    struct lh_redis_conn *conn;
    unsigned n_conns; /* not closed yet */
    struct lh_redis_cmds in_flight;
    unsigned attempt; /* failed ones since the last that was of use */
    unsigned n_moved;
    char moved_host[LH_HOST_SIZE]; /* where to dial next time; "" is the url's */
    uint16_t moved_port;
    struct lh_redis_url at;                        /* what is dialled */
    char where[LH_REDIS_URL_TEXT];                 /* the same for people */
    struct lh_err err;                             /* of the last attempt */
    char told[sizeof(((struct lh_err *)0)->text)]; /* what has been logged */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void dial(struct lh_redis *r);
static void lost(struct lh_redis *r);

static void on_pause_over(uv_timer_t *timer)
{
    dial(timer->data);
}

static void forget_addresses(struct lh_redis *r)
{
    if (r->list != NULL)
        uv_freeaddrinfo(r->list);
    r->list = r->next = NULL;
}

static void maybe_closed(struct lh_redis *r)
{
    if (r->state != CLOSING || !r->timer_closed || r->resolving || r->n_conns > 0)
        return;
    lh_redis_cmds_lose(&r->in_flight);
    forget_addresses(r);
    if (r->closed != NULL)
        r->closed(r->closed_arg);
    free(r);
}

/* The attempt, or the connection that was up, is over; r->err says why. */
static void went_down(struct lh_redis *r)
{
    bool news = strcmp(r->told, r->err.text) != 0;
    bool moves = r->moved_host[0] != '\0' && ++r->n_moved <= MAX_MOVED;
    uint64_t pause_ms = 0;
    uint32_t random = 0;

    r->state = PAUSED;
    forget_addresses(r);
    lh_redis_cmds_lose(&r->in_flight);
    if (r->state == CLOSING)
        return;
    /* `down` is what people hear of it. */
    lh_log(&r->opts.log, news ? LH_LOG_INFO : LH_LOG_DEBUG, "redis status=%s error=\"%s\"",
           lh_status_name(r->err.status), r->err.text);
    memcpy(r->told, r->err.text, sizeof(r->told));
    if (r->opts.down != NULL)
        r->opts.down(r->opts.arg, moves ? 0 : r->err.status, r->err.text);
    if (r->state == CLOSING)
        return;
    if (!moves) {
        uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
        pause_ms = lh_pace_backoff(r->attempt++, random);
    }
    uv_timer_start(&r->timer, on_pause_over, pause_ms, 0);
}

/* The limit of what is waited for, or the first of several commands. */
static void on_limit(uv_timer_t *timer)
{
    struct lh_redis *r = timer->data;
    uint64_t now_ms = uv_now(r->loop);
    uint64_t due_ms = r->state == UP ? lh_redis_cmds_due_ms(&r->in_flight) : now_ms;

    if (due_ms > now_ms) { /* the command that the timer was for has been answered */
        r->overdue = false;
        if (due_ms != UINT64_MAX)
            uv_timer_start(timer, on_limit, due_ms - now_ms, 0);
        return;
    }
    if (!r->overdue) { /* the process may have slept, with the reply in the socket */
        r->overdue = true;
        uv_timer_start(timer, on_limit, 1, 0); /* one of 0 ms would come before that */
        return;
    }
    lh_err_set(&r->err, LH_E_TIMEOUT, "no answer from Redis at %s within %llu ms", r->where,
               (unsigned long long)(r->state == UP ? r->opts.command_ms : r->opts.connect_ms));
    lost(r);
}

static void start_limit(struct lh_redis *r, uint64_t limit_ms)
{
    r->overdue = false;
    uv_timer_start(&r->timer, on_limit, limit_ms, 0);
}

/* The command has been put into what is sent. */
static void wait_for(struct lh_redis *r, struct lh_redis_cmd *c)
{
    lh_redis_cmds_push(&r->in_flight, c, uv_now(r->loop), r->opts.command_ms);
    lh_redis_conn_send(r->conn);
    if (r->state == UP && r->in_flight.n == 1)
        start_limit(r, c->due_ms - uv_now(r->loop));
}

/* Send a command that is in `c` already, or give its memory back. */
static int send_command(struct lh_redis *r, struct lh_redis_cmd *c)
{
    int ret = lh_redis_cmd_encode(c, lh_redis_conn_out(r->conn));

    if (ret != 0) {
        lh_redis_cmd_free(c);
        return ret;
    }
    wait_for(r, c);
    return 0;
}

static int say(struct lh_redis *r, enum lh_redis_role role, const char *const *words, size_t n)
{
    struct lh_redis_arg argv[3];
    struct lh_redis_cmd *c;

    for (size_t i = 0; i < n; i++)
        argv[i] = (struct lh_redis_arg){words[i], strlen(words[i])};
    c = lh_redis_cmd_new(argv, n);
    if (c == NULL)
        return -LH_E_NOMEM;
    c->role = role;
    return send_command(r, c);
}

/* All at once; their replies come in this order. */
static int log_in(struct lh_redis *r)
{
    const char *user[] = {"AUTH", r->url.user, r->url.password};
    const char *password[] = {"AUTH", r->url.password};
    char db[16];
    const char *select[] = {"SELECT", db};
    const char *ping[] = {"PING"};
    int ret = 0;

    if (r->url.user[0] != '\0')
        ret = say(r, LH_REDIS_AUTH, user, 3);
    else if (r->url.password[0] != '\0')
        ret = say(r, LH_REDIS_AUTH, password, 2);
    snprintf(db, sizeof(db), "%u", r->url.db);
    if (ret == 0 && r->url.db != 0)
        ret = say(r, LH_REDIS_SELECT, select, 2);
    return ret == 0 ? say(r, LH_REDIS_PING, ping, 1) : ret;
}

static void on_connected(void *arg)
{
    struct lh_redis *r = arg;

    r->state = LOGGING_IN;
    if (log_in(r) == 0)
        return;
    lh_err_set(&r->err, LH_E_NOMEM, "out of memory while logging in to Redis at %s", r->where);
    lost(r);
}

static void on_login_reply(struct lh_redis *r, enum lh_redis_role role, const redisReply *reply)
{
    if (lh_redis_cmd_refused(role, reply, r->where, &r->err)) {
        lost(r);
        return;
    }
    if (role != LH_REDIS_PING)
        return;
    r->state = UP;
    r->told[0] = '\0';
    uv_timer_stop(&r->timer);
    lh_log(&r->opts.log, LH_LOG_INFO, "redis up=%s", r->where);
    if (r->opts.up != NULL)
        r->opts.up(r->opts.arg);
}

/* The command is lost like those behind it; r->err says why. */
static void lost_with(struct lh_redis *r, struct lh_redis_cmd *c)
{
    lh_redis_cmds_push(&r->in_flight, c, 0, 0);
    lost(r);
}

/* A script that Redis does not have is sent in full. Returns whether that was the case. */
static bool sent_in_full(struct lh_redis *r, struct lh_redis_cmd *c, const redisReply *reply)
{
    if (c->script == NULL || c->in_full || !lh_redis_error_is(reply, "NOSCRIPT"))
        return false;
    c->in_full = true;
    if (lh_redis_cmd_encode(c, lh_redis_conn_out(r->conn)) == 0) {
        wait_for(r, c);
        return true;
    }
    lh_err_set(&r->err, LH_E_NOMEM, "out of memory for what is sent to Redis at %s", r->where);
    lost_with(r, c);
    return true;
}

/* Redis says that the keys are elsewhere; a host left out is its own. */
static bool moved(struct lh_redis *r, const redisReply *reply)
{
    char host[LH_HOST_SIZE];
    uint16_t port;

    if (!lh_redis_cmd_moved(reply, host, &port))
        return false;
    if (host[0] == '\0')
        memcpy(host, r->at.host, sizeof(host));
    memcpy(r->moved_host, host, sizeof(host));
    r->moved_port = port;
    lh_err_set(&r->err, LH_E_NETWORK, "Redis at %s says that the queue is at %s port %u", r->where,
               host, port);
    return true;
}

/* This Redis is of no use now. Returns whether it is so. */
static bool sent_away(struct lh_redis *r, struct lh_redis_cmd *c, const redisReply *reply)
{
    char words[LH_REDIS_WORDS];

    if (lh_redis_error_is(reply, "NOAUTH"))
        lh_err_set(&r->err, LH_E_REFUSED, "Redis at %s wants a password now", r->where);
    else if (lh_redis_cmd_away(reply))
        lh_err_set(&r->err, LH_E_NETWORK, "Redis at %s cannot serve now: %s", r->where,
                   lh_redis_cmd_words(reply, words));
    else if (!moved(r, reply))
        return false;
    lost_with(r, c);
    return true;
}

static void on_reply(void *arg, const struct redisReply *reply)
{
    struct lh_redis *r = arg;
    struct lh_redis_cmd *c = lh_redis_cmds_pop(&r->in_flight);

    if (c == NULL) {
        lh_err_set(&r->err, LH_E_PROTOCOL, "Redis at %s answers what was not asked", r->where);
        lost(r);
        return;
    }
    if (c->role != LH_REDIS_USER) {
        enum lh_redis_role role = c->role;

        lh_redis_cmd_free(c);
        on_login_reply(r, role, reply);
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR && (sent_in_full(r, c, reply) || sent_away(r, c, reply)))
        return;
    r->attempt = r->n_moved = 0;
    c->fn(c->arg, reply);
    lh_redis_cmd_free(c);
}

static void on_conn_lost(void *arg, int status, const char *words)
{
    struct lh_redis *r = arg;

    if (status == LH_E_CONNECT)
        lh_err_set(&r->err, status, "cannot connect to Redis at %s: %s", r->where, words);
    else if (status == LH_E_PROTOCOL && r->state == LOGGING_IN)
        lh_err_set(&r->err, status, "what answers at %s is not a Redis", r->where);
    else
        lh_err_set(&r->err, status, "the connection to Redis at %s was lost: %s", r->where, words);
    lost(r);
}

static void on_conn_closed(void *arg)
{
    struct lh_redis *r = arg;

    r->n_conns--;
    maybe_closed(r);
}

static const struct lh_redis_conn_events conn_events = {on_connected, on_reply, on_conn_lost,
                                                        on_conn_closed};

/* Returns whether an attempt is under way; if not, r->err says why. */
static bool attempt(struct lh_redis *r, const struct sockaddr *addr, const char *path)
{
    if (lh_redis_conn_open(r->loop, addr, path, &conn_events, r, &r->conn) != 0) {
        lh_err_set(&r->err, LH_E_NOMEM, "out of memory while connecting to Redis at %s", r->where);
        return false;
    }
    r->n_conns++;
    r->state = CONNECTING;
    start_limit(r, r->opts.connect_ms);
    return true;
}

static bool try_next(struct lh_redis *r)
{
    while (r->next != NULL) {
        const struct sockaddr *addr = r->next->ai_addr;

        r->next = r->next->ai_next;
        if (attempt(r, addr, NULL))
            return true;
    }
    return false;
}

/* r->err says why. A Redis that refuses is there, so no other address is tried. */
static void lost(struct lh_redis *r)
{
    uv_timer_stop(&r->timer);
    if (r->conn != NULL)
        lh_redis_conn_close(r->conn);
    r->conn = NULL;
    if (r->state != UP && r->err.status != LH_E_REFUSED) {
        lh_redis_cmds_lose(&r->in_flight); /* of the login, nobody's else */
        if (try_next(r))
            return;
    }
    went_down(r);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lh_redis *r = request->data;

    r->resolving = false;
    r->list = r->next = list;
    if (r->state == CLOSING) {
        maybe_closed(r);
        return;
    }
    if (status != 0)
        lh_err_set(&r->err, status == UV_EAI_MEMORY ? LH_E_NOMEM : LH_E_RESOLVE,
                   "cannot resolve the host name of Redis at %s: %s", r->where,
                   uv_strerror(status));
    if (!try_next(r))
        went_down(r);
}

static void resolve(struct lh_redis *r)
{
    static const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char service[8];
    int ret;

    snprintf(service, sizeof(service), "%u", r->at.port);
    r->resolve.data = r;
    ret = uv_getaddrinfo(r->loop, &r->resolve, on_resolved, r->at.host, service, &hints);
    if (ret == 0) {
        r->state = RESOLVING;
        r->resolving = true;
        return;
    }
    lh_err_set(&r->err, ret == UV_ENOMEM ? LH_E_NOMEM : LH_E_RESOLVE,
               "cannot resolve the host name of Redis at %s: %s", r->where, uv_strerror(ret));
    went_down(r);
}

/* Where MOVED points to, once; else the url's. */
static void dial(struct lh_redis *r)
{
    r->at = r->url;
    if (r->moved_host[0] != '\0') {
        r->at.path[0] = '\0';
        memcpy(r->at.host, r->moved_host, sizeof(r->at.host));
        r->at.port = r->moved_port;
        r->moved_host[0] = '\0';
    }
    lh_redis_url_text(&r->at, r->where);
    if (r->at.path[0] == '\0')
        resolve(r);
    else if (!attempt(r, NULL, r->at.path))
        went_down(r);
}

int lh_redis_start(uv_loop_t *loop, const struct lh_redis_options *opts, struct lh_redis **out)
{
    struct lh_redis *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return -LH_E_NOMEM;
    r->loop = loop;
    r->opts = *opts;
    r->url = *opts->url;
    r->opts.url = &r->url;
    if (r->opts.connect_ms == 0)
        r->opts.connect_ms = DEFAULT_MS;
    if (r->opts.command_ms == 0)
        r->opts.command_ms = DEFAULT_MS;
    if (r->opts.max_in_flight == 0)
        r->opts.max_in_flight = DEFAULT_MAX_IN_FLIGHT;
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, on_pause_over, 0, 0);
    *out = r;
    return 0;
}

bool lh_redis_up(const struct lh_redis *r)
{
    return r->state == UP;
}

/* Room for one more command? */
static int check_room(const struct lh_redis *r)
{
    if (r->state != UP)
        return -LH_E_NETWORK;
    if (r->in_flight.n >= r->opts.max_in_flight || r->in_flight.bytes >= MAX_IN_FLIGHT_BYTES)
        return -LH_E_LIMIT;
    return 0;
}

int lh_redis_command(struct lh_redis *r, const struct lh_redis_arg *argv, size_t n,
                     uint64_t wait_ms, lh_redis_fn fn, void *arg)
{
    struct lh_redis_cmd *c;
    int ret = check_room(r);

    if (ret != 0)
        return ret;
    c = lh_redis_cmd_new(argv, n);
    if (c == NULL)
        return -LH_E_NOMEM;
    c->fn = fn;
    c->arg = arg;
    c->wait_ms = wait_ms;
    return send_command(r, c);
}

int lh_redis_script(struct lh_redis *r, const struct lh_script *script,
                    const struct lh_redis_arg *argv, size_t n, const char *key, lh_redis_fn fn,
                    void *arg)
{
    struct lh_redis_cmd *c;
    int ret = check_room(r);

    if (ret != 0)
        return ret;
    c = lh_redis_cmd_new_script(script, argv, n, key);
    if (c == NULL)
        return -LH_E_NOMEM;
    c->fn = fn;
    c->arg = arg;
    return send_command(r, c);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct lh_redis *r = handle->data;

    r->timer_closed = true;
    maybe_closed(r);
}

void lh_redis_close(struct lh_redis *r, void (*closed)(void *arg), void *arg)
{
    LH_REQUIRE(r->state != CLOSING);
    r->state = CLOSING;
    r->closed = closed;
    r->closed_arg = arg;
    if (r->resolving)
        uv_cancel((uv_req_t *)&r->resolve); /* on_resolved comes either way */
    if (r->conn != NULL)
        lh_redis_conn_close(r->conn);
    r->conn = NULL;
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}
