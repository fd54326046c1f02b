/* Where a Redis is: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB] or
 * unix://[[USER]:PASSWORD@]/PATH/TO.SOCK[?db=DB]. Pure; any thread. */
#ifndef LH_QUEUE_REDIS_URL_H
#define LH_QUEUE_REDIS_URL_H

#include "util/address.h"
#include "util/err.h"

#include <stdint.h>

#define LH_REDIS_PORT 6379
#define LH_REDIS_URL_TEXT 320 /* bytes of lh_redis_url_text(), with the NUL */

/* Holds no memory of its own: copy it as it is. */
struct lh_redis_url {
    char path[108];          /* a Unix socket's; "" for TCP */
    char host[LH_HOST_SIZE]; /* a name, IPv4 or IPv6 address, without brackets; "" for a socket */
    uint16_t port;
    uint32_t db;
    char user[128];     /* of the ACL; "" is the default user */
    char password[512]; /* "" is none */
};

/* %XX is decoded in user, password and path. TLS (rediss://) is refused in words. No sentence ever
 * holds what may be a password.
 * Returns 0, or -LH_E_INVAL with a sentence that says what is wrong; *url is written on success. */
int lh_redis_url_parse(struct lh_redis_url *url, const char *text, struct lh_err *err);

/* The address for people, without user and password; writes it to `out` and returns that. */
char *lh_redis_url_text(const struct lh_redis_url *url, char out[LH_REDIS_URL_TEXT]);

#endif
