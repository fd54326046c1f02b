/* One socket to a Redis: bytes out, replies in. Told in redis_conn.c; used by redis.c alone. */
#ifndef LH_QUEUE_REDIS_CONN_H
#define LH_QUEUE_REDIS_CONN_H

#include "util/buf.h"

#include <sys/socket.h>
#include <uv.h>

struct redisReply;

struct lh_redis_conn;

/* All come from the loop, none after lh_redis_conn_close but `closed`. */
struct lh_redis_conn_events {
    void (*connected)(void *arg);
    void (*reply)(void *arg, const struct redisReply *reply); /* dies when the call returns */
    /* Once: it is of no use any more and is to be closed. Status LH_E_CONNECT, LH_E_NETWORK,
     * LH_E_PROTOCOL or LH_E_NOMEM, and words that die when the call returns. */
    void (*lost)(void *arg, int status, const char *words);
    void (*closed)(void *arg); /* the last one; the memory is gone */
};

/* Connect to an address, or with addr NULL to the Unix socket at `path`. Returns 0, or -LH_E_NOMEM
 * and then none of the events ever comes. */
int lh_redis_conn_open(uv_loop_t *loop, const struct sockaddr *addr, const char *path,
                       const struct lh_redis_conn_events *events, void *arg,
                       struct lh_redis_conn **out);

/* Where to put what is to be sent, once it is connected; then say so. All of one turn of the loop
 * goes out together, at its end. */
struct lh_buf *lh_redis_conn_out(struct lh_redis_conn *conn);
void lh_redis_conn_send(struct lh_redis_conn *conn);

void lh_redis_conn_close(struct lh_redis_conn *conn);

#endif
