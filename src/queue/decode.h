/* Replies of the scripts as structs. Strict: a reply of the wrong shape is -LH_E_PROTOCOL with a
 * sentence, never a crash, and nothing in it is believed beyond its bounds.
 *
 * Pure: reads hiredis's struct and links with nothing of it. Strings point into the reply. */
#ifndef LH_QUEUE_DECODE_H
#define LH_QUEUE_DECODE_H

#include "queue/queue.h"
#include "util/err.h"

struct redisReply;

/* Each returns 0, -LH_E_PROTOCOL or -LH_E_NOMEM; on success what it allocated is the caller's. */

/* hex "": the queue has never had a worker. */
int lh_decode_hello(const struct redisReply *reply, char hex[33], uint64_t *now_ms,
                    struct lh_err *err);

/* incarnation: of the queue, as the claims get it. *now_ms: Redis's clock. Free with
 * lh_taking_free. */
int lh_decode_take(const struct redisReply *reply, const uint8_t incarnation[16],
                   struct lh_taking *out, uint64_t *now_ms, struct lh_err *err);
void lh_taking_free(struct lh_taking *taking);

/* What a blocking XREADGROUP was given: the priority of each stream by its name's end. An empty
 * reply is 0 entries. At most `max`. */
struct lh_delivered {
    enum lh_priority priority;
    char entry[48];
};
int lh_decode_wait(const struct redisReply *reply, struct lh_delivered *out, size_t max,
                   size_t *n_out, struct lh_err *err);

/* Exactly `n` answers. */
int lh_decode_answers(const struct redisReply *reply, enum lh_queue_answer *out, size_t n,
                      struct lh_err *err);

/* id "": there is one already. */
int lh_decode_submit(const struct redisReply *reply, char id[LH_TASK_ID_SIZE], struct lh_err *err);

int lh_decode_control(const struct redisReply *reply, enum lh_queue_effect *effect,
                      enum lh_task_state *state, struct lh_err *err);

/* *found false: there is no such task. Free with lh_detail_free. */
int lh_decode_get(const struct redisReply *reply, const char *id, struct lh_task_detail *out,
                  bool *found, struct lh_err *err);
void lh_detail_free(struct lh_task_detail *detail);

/* Free out->tasks with free(). */
int lh_decode_list(const struct redisReply *reply, struct lh_task_list *out, struct lh_err *err);

/* Free out->workers with free(). */
int lh_decode_overview(const struct redisReply *reply, struct lh_queue_overview *out,
                       struct lh_err *err);

/* Health as words "name=value", as the queue keeps it; lh_health_read knows no more than these
 * and ignores others. Returns the length. */
#define LH_HEALTH_TEXT 512
size_t lh_health_write(char text[LH_HEALTH_TEXT], const struct lh_health *health,
                       uint64_t claim_ms);
int lh_health_read(const char *text, size_t len, struct lh_worker_info *out);

#endif
