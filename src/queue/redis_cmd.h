/* Commands for a Redis: their bytes, who waits for the reply, and which replies say that this
 * Redis is of no use. Told in redis_cmd.c; used by redis.c alone. */
#ifndef LH_QUEUE_REDIS_CMD_H
#define LH_QUEUE_REDIS_CMD_H

#include "queue/redis.h"
#include "util/buf.h"
#include "util/err.h"

enum lh_redis_role { LH_REDIS_USER, LH_REDIS_AUTH, LH_REDIS_SELECT, LH_REDIS_PING };

struct lh_redis_cmd {
    struct lh_redis_cmd *next;
    enum lh_redis_role role; /* whose: USER's fn wants the reply, the others are of the login */
    lh_redis_fn fn;
    void *arg;
    uint64_t wait_ms; /* it may block so long */
    uint64_t due_ms;
    const struct lh_script *script; /* NULL: a plain command */
    bool in_full;                   /* the script's text goes, not its digest */
    size_t n_args;
    size_t len;     /* of the encoded arguments; of a script: of those behind text or digest */
    uint8_t args[]; /* encoded */
};

/* In the order in which they were sent. */
struct lh_redis_cmds {
    struct lh_redis_cmd *first;
    struct lh_redis_cmd *last;
    size_t n;
    size_t bytes;     /* of their arguments */
    uint64_t wait_ms; /* the sum of theirs */
};

/* NULL: out of memory. */
struct lh_redis_cmd *lh_redis_cmd_new(const struct lh_redis_arg *argv, size_t n);
struct lh_redis_cmd *lh_redis_cmd_new_script(const struct lh_script *script,
                                             const struct lh_redis_arg *argv, size_t n,
                                             const char *key);
void lh_redis_cmd_free(struct lh_redis_cmd *c);

/* Append its bytes, all or none: 0, -LH_E_LIMIT or -LH_E_NOMEM. */
int lh_redis_cmd_encode(const struct lh_redis_cmd *c, struct lh_buf *out);

/* It was sent now; its reply is due command_ms after whatever blocks before it. */
void lh_redis_cmds_push(struct lh_redis_cmds *cmds, struct lh_redis_cmd *c, uint64_t now_ms,
                        uint64_t command_ms);
struct lh_redis_cmd *lh_redis_cmds_pop(struct lh_redis_cmds *cmds); /* NULL: there is none */
uint64_t lh_redis_cmds_due_ms(const struct lh_redis_cmds *cmds); /* the first; UINT64_MAX: none */

/* All that were in flight get NULL. */
void lh_redis_cmds_lose(struct lh_redis_cmds *cmds);

/* The error says that this Redis cannot serve now. */
bool lh_redis_cmd_away(const struct redisReply *error);

/* The error is MOVED: where to. A host that is left out stays "": the one that said it. */
bool lh_redis_cmd_moved(const struct redisReply *error, char host[LH_HOST_SIZE], uint16_t *port);

#define LH_REDIS_WORDS 160

/* What an error says, safe to show and cut to fit. Writes it to `out` and returns that. */
char *lh_redis_cmd_words(const struct redisReply *error, char out[LH_REDIS_WORDS]);

/* Whether the reply to a command of the login speaks against going on; then *err says why. */
bool lh_redis_cmd_refused(enum lh_redis_role role, const struct redisReply *reply,
                          const char *where, struct lh_err *err);

#endif
