#ifndef LH_WAN_PACKET_H
#define LH_WAN_PACKET_H
/* Packets as a TUN device with IFF_VNET_HDR gives them: a virtio header, then IP. A super-packet
 * (TSO) is many segments under one header; pieces of it are given headers of their own, the way a
 * network card does it. Nothing here allocates or calls the kernel. */
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LH_VNET_LEN = (int)sizeof(struct virtio_net_hdr),
    LH_HEAD_MAX = 144,    /* virtio, IP and TCP headers of a piece */
    LH_ETHERNET_LEN = 14, /* counted for every segment, as on the wire of a veth pair */
    LH_RESET_LEN = LH_VNET_LEN + 40 + 20,
};

struct lh_packet {
    uint8_t *bytes; /* virtio header, then the packet */
    uint32_t n_bytes;
    uint32_t head_len; /* virtio, IP and TCP or UDP headers; n_bytes when it is neither */
    uint32_t l4_at;    /* where TCP or UDP begins; 0 when it is neither */
    uint32_t gso_size; /* payload of each segment but the last */
    uint32_t n_segments;
    uint8_t ip_version; /* 4, 6, or 0: something else */
    uint8_t proto;      /* IPPROTO_TCP, IPPROTO_UDP, or 0 */
};

/* Understands `bytes`. What it cannot take apart is one segment that goes through as it is. */
void lh_packet_parse(struct lh_packet *packet, uint8_t *bytes, size_t n_bytes);

/* Bytes on the wire (with Ethernet's header) of one segment. */
uint32_t lh_packet_wire_bytes(const struct lh_packet *packet, uint32_t segment);

/* Segments [first, first + n) as a packet of their own: `head` gets its headers, whose length is
 * returned; the payload stays where it is, *body_at of *n_body bytes in packet->bytes. */
uint32_t lh_packet_piece(const struct lh_packet *packet, uint32_t first, uint32_t n,
                         uint8_t head[LH_HEAD_MAX], uint32_t *body_at, uint32_t *n_body);

/* Flips one bit of a segment's payload and mends the checksum, so that only the reader can tell.
 * False when there is no payload. `random` picks the bit. */
bool lh_packet_corrupt_payload(struct lh_packet *packet, uint32_t segment, uint64_t random);

/* The same for TCP's sequence numbers, flags and window, in the header of a piece or whole packet
 * of which l4_at is known. */
void lh_packet_corrupt_header(uint8_t *head, uint32_t l4_at, uint64_t random);

/* The RST that the far end would answer `packet` with. Its length, or 0: not TCP, or itself an RST.
 */
uint32_t lh_packet_reset(const struct lh_packet *packet, uint8_t reset[LH_RESET_LEN]);

#endif
