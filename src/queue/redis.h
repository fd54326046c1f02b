/* A connection to a Redis that comes back by itself.
 *
 * Everything is of one thread, the loop's. Nothing is called from inside a call of these functions:
 * callbacks come from the loop. Each of them may call any function here, lh_redis_close included.
 *
 * The way: resolve the name, try its addresses one after the other, log in, choose the database,
 * `up`; commands and replies in order; when the connection is lost every command in flight gets
 * NULL, then `down`, then the next attempt after a pause of 0.1 to 5 s, jittered, and so on until
 * lh_redis_close.
 *
 * Given up and dialled again: a connection that breaks, ends or talks anything but RESP; a reply
 * that has not come in time; and one that says that this Redis cannot serve now (LOADING, READONLY,
 * MASTERDOWN, CLUSTERDOWN, TRYAGAIN, ASK) or that another must be asked (MOVED: that one is dialled
 * next). The command that was answered so gets NULL like the others. Any other error reply is the
 * caller's: see lh_redis_error_is. */
#ifndef LH_QUEUE_REDIS_H
#define LH_QUEUE_REDIS_H

#include "queue/redis_url.h"
#include "queue/script.h"
#include "util/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct redisReply; /* hiredis/hiredis.h */

struct lh_redis;

struct lh_redis_options {
    const struct lh_redis_url *url; /* copied */
    struct lh_log log;
    uint64_t connect_ms;  /* for each address, from connect to ready; 0: 5000 */
    uint64_t command_ms;  /* a reply within; 0: 5000 */
    size_t max_in_flight; /* commands without a reply; 0: 1024 */

    /* Commands are taken from now on. May be NULL. */
    void (*up)(void *arg);

    /* The connection was lost, or an attempt to connect failed, with a sentence without secrets
     * that dies when the call returns. status: LH_E_RESOLVE, LH_E_CONNECT, LH_E_TIMEOUT,
     * LH_E_NETWORK (broken, or cannot serve now), LH_E_REFUSED (password, user or database are not
     * accepted), LH_E_PROTOCOL, LH_E_NOMEM. It is tried again, whatever the status; 0: at once,
     * where a cluster says that the keys are, which is no failure. May be NULL. */
    void (*down)(void *arg, int status, const char *why);

    void *arg; /* of up and down */
};

/* Returns 0 or -LH_E_NOMEM. Nothing is resolved or connected yet when this returns. */
int lh_redis_start(uv_loop_t *loop, const struct lh_redis_options *opts, struct lh_redis **out);

/* Commands are taken. */
bool lh_redis_up(const struct lh_redis *redis);

struct lh_redis_arg {
    const void *data; /* any bytes */
    size_t len;
};

/* reply: dies when the call returns; NULL: the connection was lost or closed, and nobody knows
 * whether the command was carried out. */
typedef void (*lh_redis_fn)(void *arg, const struct redisReply *reply);

/* Send a command; its arguments are copied. wait_ms is how long it may block in Redis (BLOCK),
 * besides the time for a reply; what is sent behind it waits as well. `fn` is called exactly once,
 * later, if this returns 0; else never: -LH_E_NETWORK (not up), -LH_E_LIMIT (max_in_flight, or 16
 * MiB of arguments, are in flight), -LH_E_NOMEM. */
int lh_redis_command(struct lh_redis *redis, const struct lh_redis_arg *argv, size_t n,
                     uint64_t wait_ms, lh_redis_fn fn, void *arg);

/* Run a script with KEYS[1] = key and ARGV = argv, by its digest; in full where Redis does not know
 * it, and then behind whatever was sent meanwhile. The rest as lh_redis_command. */
int lh_redis_script(struct lh_redis *redis, const struct lh_script *script,
                    const struct lh_redis_arg *argv, size_t n, const char *key, lh_redis_fn fn,
                    void *arg);

/* Whether a reply (NULL: no) is an error of that code, such as "OOM", also one that a command met
 * inside a script: Redis before 7 hides that in the sentence. */
bool lh_redis_error_is(const struct redisReply *reply, const char *code);

/* Commands in flight get NULL, then `closed` is called and the memory freed. No up and no down from
 * now on. A look-up of the name that has begun ends first. `closed` may be NULL. */
void lh_redis_close(struct lh_redis *redis, void (*closed)(void *arg), void *arg);

#endif
