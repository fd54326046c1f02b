/* Where to send: lh://HOST[:PORT]/PATH. Pure; any thread. */
#ifndef LH_UTIL_URL_H
#define LH_UTIL_URL_H

#include "util/address.h"
#include "util/err.h"

#include <stddef.h>
#include <stdint.h>

#define LH_URL_PATH_MAX 4096 /* bytes; what the wire takes */

struct lh_url {
    char host[LH_HOST_SIZE]; /* a name, IPv4 or IPv6 address, without brackets */
    uint16_t port;
    char *path; /* owned: bytes without NUL, relative to the receiver's root */
    size_t path_len;
};

/* %XX in the path is decoded, so that any byte but NUL can be named. "lh://host/" is the path "./":
 * the source's name at the root. Whether the path is allowed is for the receiver to say.
 * Returns 0, -LH_E_INVAL with a sentence that says what is wrong and where, or -LH_E_NOMEM. */
int lh_url_parse(struct lh_url *url, const char *text, struct lh_err *err);
void lh_url_free(struct lh_url *url);

#endif
