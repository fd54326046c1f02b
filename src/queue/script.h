/* A Lua script for Redis, as built in.
 *
 * Each src/queue/lua/NAME.lua becomes `extern const struct lh_script lh_script_NAME`, declared in
 * the generated header "scripts.h", with the contents of lua/common.lua in front of it. Constant;
 * any thread. */
#ifndef LH_QUEUE_SCRIPT_H
#define LH_QUEUE_SCRIPT_H

#include <stddef.h>

struct lh_script {
    const char *name;
    const char *sha1; /* of the text: 40 hexadecimal digits */
    const char *text;
    size_t len; /* bytes of the text */
};

#endif
