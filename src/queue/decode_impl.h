/* Shared by decode.c and decode_info.c. */
#ifndef LH_QUEUE_DECODE_IMPL_H
#define LH_QUEUE_DECODE_IMPL_H

#include "queue/decode.h"

#include <hiredis/hiredis.h>

#define LH_DECODE_FIELDS 64 /* of an entry, as the scripts allow */

/* Returns -LH_E_PROTOCOL. */
int lh_decode_wrong(struct lh_err *err, const char *what);
bool lh_decode_array(const struct redisReply *r, size_t min); /* of at least min elements */
bool lh_decode_text(const struct redisReply *r);
bool lh_decode_texts(const struct redisReply *r); /* an array of nothing else */
bool lh_decode_u64_text(const char *text, size_t len, uint64_t *out);
bool lh_decode_u64(const struct redisReply *r, uint64_t *out); /* an integer, or digits */
bool lh_decode_id(const struct redisReply *r, char id[LH_TASK_ID_SIZE]);

#endif
