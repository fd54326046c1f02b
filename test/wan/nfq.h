#ifndef LH_WAN_NFQ_H
#define LH_WAN_NFQ_H
/* The kernel's packet queues (NFQUEUE) over netlink: packets wait in the kernel, we see their first
 * bytes and say when they go on. Sources: linux/netfilter/nfnetlink_queue.h, nfnetlink_queue.c. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LH_NFQ_HEADS = 128 /* IP and TCP headers fit */, LH_NFQ_BATCH = 64 };

struct lh_nfq; /* a queue and the memory that its packets are read into; for one thread */

struct lh_nfq_packet {
    uint32_t id;
    uint32_t len; /* of the whole packet, from its IP header on */
    bool is_super;
    uint8_t *bytes; /* what was copied, until the next read */
    uint32_t n_bytes;
};

enum lh_nfq_verdict { LH_NFQ_DROP, LH_NFQ_ACCEPT };

/* Queue `number` of the caller's network namespace. `n_copied`: how much of each packet is shown.
 * `keep_super`: super-packets (TSO) come whole; else the kernel parts them and fills in checksums.
 * NULL with errno set when there is none to be had. It is the caller's until the process ends. */
struct lh_nfq *lh_nfq_open(uint16_t number, uint32_t n_copied, bool keep_super);
int lh_nfq_fd(const struct lh_nfq *q);

/* What has come, up to LH_NFQ_BATCH; 0: nothing. Without waiting. `n_errors` is raised by verdicts
 * that the kernel refused. -1 with errno set when the queue is gone. */
int lh_nfq_read(struct lh_nfq *q, struct lh_nfq_packet packets[LH_NFQ_BATCH], uint64_t *n_errors);

/* The rest return false when the kernel did not take the message (errno).
 *
 * One packet; its contents become `bytes` unless they are NULL. */
bool lh_nfq_verdict(struct lh_nfq *q, uint32_t id, enum lh_nfq_verdict verdict,
                    const uint8_t *bytes, uint32_t n_bytes);
/* All packets that wait in this queue, up to `id`. */
bool lh_nfq_verdict_up_to(struct lh_nfq *q, uint32_t id, enum lh_nfq_verdict verdict);
/* Moves a packet into queue `number`, where it is when this returns. */
bool lh_nfq_move(struct lh_nfq *q, uint32_t id, uint16_t number);

#endif
