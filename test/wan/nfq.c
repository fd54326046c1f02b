/* NFQUEUE for the WAN emulator: netlink messages, built and taken apart by hand.
 *
 * A queue is used by one thread. The kernel handles a verdict within send(2): the packet has been
 * through the receiving host's TCP, or is in the other queue, when it returns. That work is charged
 * to the thread. Failures go to the caller with errno. */
#include "nfq.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    HEAD_LEN = NLMSG_LENGTH(sizeof(struct nfgenmsg)),
    ATTRIBUTES_MAX = 256,     /* of a message, without the packet */
    WAITING_MAX = 1 << 20,    /* packets in a queue */
    SOCKET_BYTES = 256 << 20, /* of messages that we have not read */
};

struct lh_nfq {
    int fd;
    uint16_t number;
    size_t room; /* for a message */
    struct mmsghdr messages[LH_NFQ_BATCH];
    struct iovec parts[LH_NFQ_BATCH];
    uint8_t *bytes;
};

struct message {
    union {
        struct nlmsghdr head;
        uint8_t bytes[ATTRIBUTES_MAX];
    };
};

static void begin(const struct lh_nfq *q, struct message *m, unsigned type)
{
    memset(m, 0, sizeof(*m));
    m->head.nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
    m->head.nlmsg_flags = NLM_F_REQUEST;
    m->head.nlmsg_len = HEAD_LEN;
    struct nfgenmsg group = {.version = NFNETLINK_V0, .res_id = htons(q->number)};
    memcpy(NLMSG_DATA(&m->head), &group, sizeof(group));
}

static void attribute(struct message *m, uint16_t type, const void *value, size_t n)
{
    struct nlattr attr = {.nla_len = (uint16_t)(sizeof(struct nlattr) + n), .nla_type = type};
    uint8_t *at = m->bytes + m->head.nlmsg_len;
    memcpy(at, &attr, sizeof(attr));
    memcpy(at + sizeof(struct nlattr), value, n);
    m->head.nlmsg_len += (uint32_t)NLA_ALIGN(attr.nla_len);
}

static void attribute32(struct message *m, uint16_t type, uint32_t value)
{
    value = htonl(value);
    attribute(m, type, &value, sizeof(value));
}

/* Sends it, and `tail` after it. */
static bool put(struct lh_nfq *q, struct message *m, const void *tail, size_t n_tail)
{
    struct iovec parts[2] = {{m, m->head.nlmsg_len}, {(void *)(uintptr_t)tail, n_tail}};
    m->head.nlmsg_len += (uint32_t)n_tail;
    struct msghdr all = {.msg_iov = parts, .msg_iovlen = n_tail ? 2 : 1};
    return sendmsg(q->fd, &all, 0) >= 0;
}

static bool configure(struct lh_nfq *q, uint32_t n_copied, bool keep_super)
{
    struct message m;
    struct nfqnl_msg_config_cmd bind = {.command = NFQNL_CFG_CMD_BIND};
    struct nfqnl_msg_config_params copy = {.copy_range = htonl(n_copied),
                                           .copy_mode = NFQNL_COPY_PACKET};
    begin(q, &m, NFQNL_MSG_CONFIG);
    m.head.nlmsg_flags |= NLM_F_ACK;
    attribute(&m, NFQA_CFG_CMD, &bind, sizeof(bind));
    attribute(&m, NFQA_CFG_PARAMS, &copy, sizeof(copy));
    attribute32(&m, NFQA_CFG_QUEUE_MAXLEN, WAITING_MAX);
    attribute32(&m, NFQA_CFG_FLAGS, keep_super ? NFQA_CFG_F_GSO : 0);
    attribute32(&m, NFQA_CFG_MASK, NFQA_CFG_F_GSO);
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        uint8_t rest[ATTRIBUTES_MAX];
    } answer;
    if (!put(q, &m, NULL, 0) || recv(q->fd, &answer, sizeof(answer), 0) < 0)
        return false;
    errno = -answer.error.error;
    return !errno;
}

struct lh_nfq *lh_nfq_open(uint16_t number, uint32_t n_copied, bool keep_super)
{
    struct lh_nfq *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->number = number;
    q->room = NLMSG_ALIGN(n_copied + ATTRIBUTES_MAX);
    q->bytes = malloc(LH_NFQ_BATCH * q->room);
    q->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    int size = SOCKET_BYTES;
    if (q->bytes && q->fd >= 0 && !bind(q->fd, (struct sockaddr *)&any, sizeof(any)) &&
        !setsockopt(q->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) &&
        configure(q, n_copied, keep_super)) {
        for (int i = 0; i < LH_NFQ_BATCH; i++) {
            q->parts[i] = (struct iovec){q->bytes + (size_t)i * q->room, q->room};
            q->messages[i].msg_hdr = (struct msghdr){.msg_iov = &q->parts[i], .msg_iovlen = 1};
        }
        return q;
    }
    int error = errno;
    if (q->fd >= 0)
        close(q->fd);
    free(q->bytes);
    free(q);
    errno = error;
    return NULL;
}

int lh_nfq_fd(const struct lh_nfq *q)
{
    return q->fd;
}

static uint32_t load32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return ntohl(value);
}

/* A message's attributes. */
static void understand(struct lh_nfq_packet *packet, uint8_t *at, const uint8_t *end)
{
    *packet = (struct lh_nfq_packet){.id = 0};
    struct nlattr attr;
    for (; end - at >= (ptrdiff_t)sizeof(attr); at += (uint32_t)NLA_ALIGN(attr.nla_len)) {
        memcpy(&attr, at, sizeof(attr));
        uint8_t *value = at + sizeof(struct nlattr);
        if (attr.nla_len < sizeof(struct nlattr) || attr.nla_len > end - at)
            return;
        switch (attr.nla_type & NLA_TYPE_MASK) {
        case NFQA_PACKET_HDR:
            packet->id = load32(value);
            break;
        case NFQA_CAP_LEN: /* only there when the packet is longer than what was copied */
            packet->len = load32(value);
            break;
        case NFQA_SKB_INFO:
            packet->is_super = load32(value) & NFQA_SKB_GSO;
            break;
        case NFQA_PAYLOAD:
            packet->bytes = value;
            packet->n_bytes = attr.nla_len - (uint32_t)sizeof(struct nlattr);
            break;
        }
    }
    if (packet->len < packet->n_bytes)
        packet->len = packet->n_bytes;
}

int lh_nfq_read(struct lh_nfq *q, struct lh_nfq_packet packets[LH_NFQ_BATCH], uint64_t *n_errors)
{
    int n = recvmmsg(q->fd, q->messages, LH_NFQ_BATCH, MSG_DONTWAIT, NULL), n_packets = 0;
    if (n < 0 && errno == ENOBUFS) { /* more came than the socket holds, and was dropped */
        ++*n_errors;
        return 0;
    }
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    for (int i = 0; i < n; i++) {
        uint8_t *bytes = q->bytes + (size_t)i * q->room;
        struct nlmsghdr head;
        memcpy(&head, bytes, sizeof(head));
        if (head.nlmsg_type == NLMSG_ERROR)
            ++*n_errors;
        else
            understand(&packets[n_packets++], bytes + HEAD_LEN, bytes + q->messages[i].msg_len);
    }
    return n_packets;
}

static bool say(struct lh_nfq *q, unsigned type, uint32_t id, uint32_t verdict,
                const uint8_t *bytes, uint32_t n_bytes)
{
    struct message m;
    struct nfqnl_msg_verdict_hdr head = {.verdict = htonl(verdict), .id = htonl(id)};
    begin(q, &m, type);
    attribute(&m, NFQA_VERDICT_HDR, &head, sizeof(head));
    if (bytes) {
        struct nlattr attr = {.nla_len = (uint16_t)(sizeof(struct nlattr) + n_bytes),
                              .nla_type = NFQA_PAYLOAD};
        memcpy(m.bytes + m.head.nlmsg_len, &attr, sizeof(attr));
        m.head.nlmsg_len += (uint32_t)sizeof(struct nlattr);
    }
    return put(q, &m, bytes, n_bytes);
}

static uint32_t in_kernel_words(enum lh_nfq_verdict verdict)
{
    return verdict == LH_NFQ_ACCEPT ? NF_ACCEPT : NF_DROP;
}

bool lh_nfq_verdict(struct lh_nfq *q, uint32_t id, enum lh_nfq_verdict verdict,
                    const uint8_t *bytes, uint32_t n_bytes)
{
    return say(q, NFQNL_MSG_VERDICT, id, in_kernel_words(verdict), bytes, n_bytes);
}

bool lh_nfq_verdict_up_to(struct lh_nfq *q, uint32_t id, enum lh_nfq_verdict verdict)
{
    return say(q, NFQNL_MSG_VERDICT_BATCH, id, in_kernel_words(verdict), NULL, 0);
}

bool lh_nfq_move(struct lh_nfq *q, uint32_t id, uint16_t number)
{
    return say(q, NFQNL_MSG_VERDICT, id, (uint32_t)number << 16 | NF_QUEUE, NULL, 0);
}
