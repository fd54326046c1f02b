/* Takes packets apart for the WAN emulator: segments of super-packets, bits to flip, resets.
 *
 * Runs on the two direction threads, on memory that they own. What cannot be understood is never an
 * error: it is one opaque segment. */
#include "packet.h"

#include <netinet/in.h>
#include <string.h>

enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

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

void lh_packet_parse(struct lh_packet *packet, uint8_t *bytes, uint32_t n_have, uint32_t n_bytes,
                     bool is_super, uint32_t mtu)
{
    *packet = (struct lh_packet){
        .bytes = bytes, .n_bytes = n_bytes, .head_len = n_bytes, .n_segments = 1};
    uint32_t l4_at, l4_len;
    uint8_t proto;
    if (n_have >= 20 && bytes[0] >> 4 == 4) {
        l4_at = (bytes[0] & 15U) * 4;
        proto = bytes[9];
        if (load16(bytes + 6) & 0x1fff)
            return; /* a later fragment has no TCP header */
        packet->ip_version = 4;
    } else if (n_have >= 40 && bytes[0] >> 4 == 6) {
        l4_at = 40; /* extension headers: another protocol, one segment */
        proto = bytes[6];
        packet->ip_version = 6;
    } else {
        return;
    }
    if (proto == IPPROTO_TCP && l4_at + 20 <= n_have)
        l4_len = (bytes[l4_at + 12] >> 4) * 4U;
    else if (proto == IPPROTO_UDP && l4_at + 8 <= n_have)
        l4_len = 8;
    else
        return;
    if (l4_len < 8 || l4_at + l4_len > n_have)
        return;
    packet->proto = proto;
    packet->l4_at = l4_at;
    packet->head_len = l4_at + l4_len;
    uint32_t payload = n_bytes - packet->head_len;
    if (is_super && payload && packet->head_len < mtu) {
        packet->gso_size = mtu - packet->head_len;
        packet->n_segments = (payload + packet->gso_size - 1) / packet->gso_size;
    }
}

uint32_t lh_packet_wire_bytes(const struct lh_packet *packet, uint32_t segment)
{
    uint32_t payload = packet->n_bytes - packet->head_len, before = segment * packet->gso_size;
    payload = segment + 1 == packet->n_segments ? payload - before : packet->gso_size;
    return packet->head_len + payload + LH_ETHERNET_LEN;
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

bool lh_packet_corrupt_payload(struct lh_packet *packet, uint64_t random)
{
    if (!packet->proto)
        return false;
    /* Words are counted from the header on; an odd last byte is left alone. */
    uint64_t first_word = (packet->head_len - packet->l4_at + 1) / 2,
             end_word = (packet->n_bytes - packet->l4_at) / 2;
    if (first_word >= end_word)
        return false;
    uint32_t check_at = packet->proto == IPPROTO_TCP ? 16 : 6;
    bool has_sum = packet->proto == IPPROTO_TCP || load16(packet->bytes + packet->l4_at + check_at);
    uint64_t bit = first_word * 16 + random % ((end_word - first_word) * 16);
    flip(packet->bytes + packet->l4_at, check_at, bit, has_sum);
    return true;
}

void lh_packet_corrupt_header(struct lh_packet *packet, uint64_t random)
{
    flip(packet->bytes + packet->l4_at, 16, 32 + random % 96, true); /* bytes 4 to 15 */
}

bool lh_packet_is_our_reset(const struct lh_packet *packet)
{
    return packet->proto == IPPROTO_TCP && packet->bytes[packet->l4_at + 13] & TCP_RST &&
           packet->bytes[packet->ip_version == 4 ? 8 : 7] == LH_RESET_HOPS;
}

uint32_t lh_packet_reset(const struct lh_packet *packet, uint8_t reset[LH_RESET_LEN])
{
    if (packet->proto != IPPROTO_TCP)
        return 0;
    const uint8_t *ip = packet->bytes, *tcp = packet->bytes + packet->l4_at;
    if (tcp[13] & TCP_RST)
        return 0;
    bool is_v4 = packet->ip_version == 4;
    uint32_t l3_len = is_v4 ? 20 : 40, len = l3_len + 20;
    memset(reset, 0, len);
    uint8_t *out = reset, *rst = out + l3_len;
    if (is_v4) {
        out[0] = 0x45;
        store16(out + 2, 40);
        out[8] = LH_RESET_HOPS;
        out[9] = IPPROTO_TCP;
        memcpy(out + 12, ip + 16, 4);
        memcpy(out + 16, ip + 12, 4);
        store16(out + 10, (uint16_t)~fold(sum_words(out, 20, 0)));
    } else {
        out[0] = 0x60;
        store16(out + 4, 20);
        out[6] = IPPROTO_TCP;
        out[7] = LH_RESET_HOPS;
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
