/* HOST[:PORT] and %XX, as addresses on the command line have them. Pure; any thread. */
#ifndef LH_UTIL_ADDRESS_H
#define LH_UTIL_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

#define LH_HOST_SIZE 256

/* A name, an IPv4 address, or an IPv6 address in brackets (with a zone: [fe80::1%eth0], also %25);
 * and a port, or none, which leaves *port as it is. The host comes without brackets. Returns NULL,
 * or words (static) for what is wrong; they quote nothing. */
const char *lh_address_parse(const char *text, size_t len, char host[LH_HOST_SIZE], uint16_t *port);

/* Decode the %XX in `text` to `out`, which has room for `len` bytes; *out_len says how many it
 * became. Any byte but 0 may come out. Returns NULL, or words (static) for what is wrong. */
const char *lh_address_decode(const char *text, size_t len, char *out, size_t *out_len);

#endif
