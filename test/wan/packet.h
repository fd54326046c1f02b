#ifndef LH_WAN_PACKET_H
#define LH_WAN_PACKET_H
/* Packets from their IP header on. A super-packet (TSO) is many segments under one header. Nothing
 * here allocates or calls the kernel. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LH_ETHERNET_LEN = 14, /* counted for every segment, as on the wire of a veth pair */
    LH_RESET_LEN = 40 + 20,
    LH_RESET_HOPS = 253, /* left to a reset of ours, to know it by */
};

struct lh_packet {
    uint8_t *bytes; /* at least the headers */
    uint32_t n_bytes;
    uint32_t head_len; /* IP and TCP or UDP headers; n_bytes when it is neither */
    uint32_t l4_at;    /* where TCP or UDP begins; 0 when it is neither */
    uint32_t gso_size; /* payload of each segment but the last; 0 when there is but one */
    uint32_t n_segments;
    uint8_t ip_version; /* 4, 6, or 0: something else */
    uint8_t proto;      /* IPPROTO_TCP, IPPROTO_UDP, or 0 */
};

/* Understands a packet of `n_bytes`, of which `n_have` are at `bytes`. What it cannot take apart is
 * one segment that goes through as it is. Segments of super-packets are as long as `mtu` allows:
 * nobody tells. */
void lh_packet_parse(struct lh_packet *packet, uint8_t *bytes, uint32_t n_have, uint32_t n_bytes,
                     bool is_super, uint32_t mtu);

/* Bytes on the wire (with Ethernet's header) of one segment. */
uint32_t lh_packet_wire_bytes(const struct lh_packet *packet, uint32_t segment);

/* Flips one bit of the payload of a packet that is there whole and mends the checksum, so that only
 * the reader can tell. False when there is no payload. `random` picks the bit. */
bool lh_packet_corrupt_payload(struct lh_packet *packet, uint64_t random);

/* The same for TCP's sequence numbers, flags and window. */
void lh_packet_corrupt_header(struct lh_packet *packet, uint64_t random);

/* The RST that the far end would answer `packet` with. Its length, or 0: not TCP, or itself an RST.
 */
uint32_t lh_packet_reset(const struct lh_packet *packet, uint8_t reset[LH_RESET_LEN]);

/* Did lh_packet_reset make it? */
bool lh_packet_is_our_reset(const struct lh_packet *packet);

#endif
