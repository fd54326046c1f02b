/* Takes packets apart for the WAN emulator: segments of super-packets, bits to flip, resets.
 *
 * Runs on the two direction threads, on memory that they own. Happy path: parse, then either the
 * packet goes through untouched, or lh_packet_piece makes headers for a run of its segments. What
 * cannot be understood is never an error: it is one opaque segment. */
#include "packet.h"

#include <netinet/in.h>
#include <string.h>

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16, TCP_CWR = 128 };

static uint16_t load16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void store16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)load16(p) << 16 | load16(p + 2);
}

static void store32(uint8_t *p, uint32_t value)
{
    store16(p, value >> 16);
    store16(p + 2, value & 0xffff);
}

static uint32_t sum_words(const uint8_t *p, size_t n, uint32_t sum)
{
    for (; n > 1; p += 2, n -= 2)
        sum += load16(p);
    return n ? sum + ((uint32_t)p[0] << 8) : sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* Sum of the pseudo header: addresses, protocol, length. `ip` is the packet's IP header. */
static uint32_t pseudo_sum(const uint8_t *ip, uint8_t version, uint8_t proto, uint32_t l4_len)
{
    const uint8_t *addresses = ip + (version == 4 ? 12 : 8);
    return sum_words(addresses, version == 4 ? 8 : 32, proto + l4_len);
}

void lh_packet_parse(struct lh_packet *packet, uint8_t *bytes, size_t n_bytes)
{
    *packet = (struct lh_packet){.bytes = bytes,
                                 .n_bytes = (uint32_t)n_bytes,
                                 .head_len = (uint32_t)n_bytes,
                                 .n_segments = 1};
    struct virtio_net_hdr vnet;
    memcpy(&vnet, bytes, sizeof(vnet));
    const uint8_t *ip = bytes + LH_VNET_LEN;
    uint32_t ip_len = (uint32_t)n_bytes - LH_VNET_LEN, l3_len;
    uint8_t proto;
    if (ip_len >= 20 && ip[0] >> 4 == 4) {
        l3_len = (ip[0] & 15U) * 4;
        proto = ip[9];
        if (load16(ip + 6) & 0x1fff)
            return; /* a later fragment has no TCP header */
        packet->ip_version = 4;
    } else if (ip_len >= 40 && ip[0] >> 4 == 6) {
        l3_len = 40; /* extension headers: another protocol, one segment */
        proto = ip[6];
        packet->ip_version = 6;
    } else {
        return;
    }
    uint32_t l4_at = LH_VNET_LEN + l3_len, l4_len;
    if (proto == IPPROTO_TCP && l3_len + 20 <= ip_len)
        l4_len = (bytes[l4_at + 12] >> 4) * 4U;
    else if (proto == IPPROTO_UDP && l3_len + 8 <= ip_len)
        l4_len = 8;
    else
        return;
    if (l4_len < 8 || l4_at + l4_len > n_bytes)
        return;
    packet->proto = proto;
    packet->l4_at = l4_at;
    packet->head_len = l4_at + l4_len;
    uint32_t payload = packet->n_bytes - packet->head_len;
    bool is_super = vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE && vnet.gso_size;
    if (is_super && proto == IPPROTO_TCP && payload && packet->head_len <= LH_HEAD_MAX) {
        packet->gso_size = vnet.gso_size;
        packet->n_segments = (payload + vnet.gso_size - 1) / vnet.gso_size;
    }
}

/* Where a segment's payload begins, and how long it is. */
static uint32_t payload_of(const struct lh_packet *packet, uint32_t first, uint32_t n, uint32_t *at)
{
    uint32_t all = packet->n_bytes - packet->head_len;
    uint32_t begin = first * packet->gso_size, end = (first + n) * packet->gso_size;
    if (first + n == packet->n_segments)
        end = all;
    *at = packet->head_len + begin;
    return end - begin;
}

uint32_t lh_packet_wire_bytes(const struct lh_packet *packet, uint32_t segment)
{
    uint32_t at;
    return packet->head_len - LH_VNET_LEN + payload_of(packet, segment, 1, &at) + LH_ETHERNET_LEN;
}

uint32_t lh_packet_piece(const struct lh_packet *packet, uint32_t first, uint32_t n,
                         uint8_t head[LH_HEAD_MAX], uint32_t *body_at, uint32_t *n_body)
{
    *n_body = payload_of(packet, first, n, body_at);
    memcpy(head, packet->bytes, packet->head_len);
    struct virtio_net_hdr vnet;
    memcpy(&vnet, head, sizeof(vnet));
    if (n == 1) {
        vnet.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        vnet.gso_size = 0;
    }
    memcpy(head, &vnet, sizeof(vnet));
    uint8_t *ip = head + LH_VNET_LEN, *tcp = head + packet->l4_at;
    uint32_t ip_len = packet->head_len - LH_VNET_LEN + *n_body;
    if (packet->ip_version == 4) {
        store16(ip + 2, ip_len);
        store16(ip + 4, load16(ip + 4) + first);
        store16(ip + 10, 0);
        store16(ip + 10, (uint16_t)~fold(sum_words(ip, (ip[0] & 15U) * 4, 0)));
    } else {
        store16(ip + 4, ip_len - 40);
    }
    store32(tcp + 4, load32(tcp + 4) + first * packet->gso_size);
    if (first)
        tcp[13] &= (uint8_t)~TCP_CWR;
    if (first + n < packet->n_segments)
        tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    /* Left for the receiving kernel to complete: the field holds the pseudo header's sum. */
    store16(tcp + 16, fold(pseudo_sum(ip, packet->ip_version, packet->proto,
                                      packet->head_len - packet->l4_at + *n_body)));
    return packet->head_len;
}

/* Flips bit `bit` of `l4`, and makes its checksum right again (RFC 1624). */
static void flip(uint8_t *l4, uint32_t check_at, uint64_t bit, bool mend)
{
    uint8_t *word = l4 + bit / 16 * 2;
    uint16_t before = load16(word), after = (uint16_t)(before ^ 1U << bit % 16);
    store16(word, after);
    if (!mend)
        return;
    uint32_t sum = (uint16_t)~load16(l4 + check_at);
    store16(l4 + check_at, (uint16_t)~fold(sum + (uint16_t)~before + after));
}

bool lh_packet_corrupt_payload(struct lh_packet *packet, uint32_t segment, uint64_t random)
{
    uint32_t at, n = packet->proto ? payload_of(packet, segment, 1, &at) : 0;
    if (n < 2)
        return false;
    struct virtio_net_hdr vnet;
    memcpy(&vnet, packet->bytes, sizeof(vnet));
    /* Words are counted from the header on; an odd last byte is left alone. A sum that is still to
     * be completed needs no mending. */
    uint32_t check_at = packet->proto == IPPROTO_TCP ? 16 : 6;
    bool mend = !(vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
    if (mend && packet->proto == IPPROTO_UDP && !load16(packet->bytes + packet->l4_at + check_at))
        mend = false;
    uint64_t first_word = (at - packet->l4_at + 1) / 2, end_word = (at - packet->l4_at + n) / 2;
    if (first_word == end_word)
        return false;
    uint64_t bit = first_word * 16 + random % ((end_word - first_word) * 16);
    flip(packet->bytes + packet->l4_at, check_at, bit, mend);
    return true;
}

void lh_packet_corrupt_header(uint8_t *head, uint32_t l4_at, uint64_t random)
{
    struct virtio_net_hdr vnet;
    memcpy(&vnet, head, sizeof(vnet));
    bool mend = !(vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
    flip(head + l4_at, 16, 32 + random % 96, mend); /* bytes 4 to 15 */
}

uint32_t lh_packet_reset(const struct lh_packet *packet, uint8_t reset[LH_RESET_LEN])
{
    if (packet->proto != IPPROTO_TCP)
        return 0;
    const uint8_t *ip = packet->bytes + LH_VNET_LEN, *tcp = packet->bytes + packet->l4_at;
    if (tcp[13] & TCP_RST)
        return 0;
    bool is_v4 = packet->ip_version == 4;
    uint32_t l3_len = is_v4 ? 20 : 40, len = LH_VNET_LEN + l3_len + 20;
    memset(reset, 0, len);
    uint8_t *out = reset + LH_VNET_LEN, *rst = out + l3_len;
    if (is_v4) {
        out[0] = 0x45;
        store16(out + 2, 40);
        out[8] = 64;
        out[9] = IPPROTO_TCP;
        memcpy(out + 12, ip + 16, 4);
        memcpy(out + 16, ip + 12, 4);
        store16(out + 10, (uint16_t)~fold(sum_words(out, 20, 0)));
    } else {
        out[0] = 0x60;
        store16(out + 4, 20);
        out[6] = IPPROTO_TCP;
        out[7] = 64;
        memcpy(out + 8, ip + 24, 16);
        memcpy(out + 24, ip + 8, 16);
    }
    memcpy(rst, tcp + 2, 2);
    memcpy(rst + 2, tcp, 2);
    uint32_t payload = packet->n_bytes - packet->head_len;
    /* The sequence number that its receiver expects next is the one it acknowledged. */
    if (tcp[13] & TCP_ACK)
        memcpy(rst + 4, tcp + 8, 4);
    uint32_t n_flags = !!(tcp[13] & TCP_SYN) + !!(tcp[13] & TCP_FIN);
    store32(rst + 8, load32(tcp + 4) + payload + n_flags);
    rst[12] = 0x50;
    rst[13] = TCP_RST | TCP_ACK;
    uint32_t sum = pseudo_sum(out, packet->ip_version, IPPROTO_TCP, 20);
    store16(rst + 16, (uint16_t)~fold(sum_words(rst, 20, sum)));
    return len;
}
