/* The frame header: the same 64 bytes before everything on control connections and streams.
 *
 * Byte tables and rules: proto/WIRE.md. Pure: no descriptor, clock or allocation. */
#ifndef LH_PROTO_FRAME_H
#define LH_PROTO_FRAME_H

#include "proto/hash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_FRAME_MAGIC 0x3146484cu /* "LHF1" as bytes on the wire */
#define LH_FRAME_HEADER_SIZE 64
#define LH_CONTROL_MAX (64u * 1024) /* payload bytes of any frame but BLOCK */
#define LH_HELLO_MAX 1024u          /* payload bytes of the first frame of a connection */
#define LH_BLOCK_MIN (64u * 1024)
#define LH_BLOCK_DEFAULT (256u * 1024)
#define LH_BLOCK_MAX (1024u * 1024)
#define LH_NO_TRANSFER 0xffffffffu

enum lh_frame_type {
    LH_FRAME_HELLO = 1,
    LH_FRAME_WELCOME = 2,
    LH_FRAME_JOIN = 3,
    LH_FRAME_OFFER = 4,
    LH_FRAME_FILES = 5,
    LH_FRAME_EXTENTS = 6,
    LH_FRAME_ACCEPT = 7,
    LH_FRAME_LEDGER = 8,
    LH_FRAME_BLOCK = 9,
    LH_FRAME_ACK = 10,
    LH_FRAME_AGAIN = 11,
    LH_FRAME_HASHES_WANTED = 12,
    LH_FRAME_HASHES = 13,
    LH_FRAME_RETRACT = 14,
    LH_FRAME_RETRACTED = 15,
    LH_FRAME_FINISH = 16,
    LH_FRAME_DONE = 17,
    LH_FRAME_CONFIRM = 18,
    LH_FRAME_HEARTBEAT = 19,
    LH_FRAME_ERROR = 20,
    LH_FRAME_BYE = 21,
    LH_FRAME_STATS = 22,
    LH_FRAME_WANTED = 23,
    LH_FRAME_SETTLED = 24,
    LH_FRAME_FAILED = 25,
    LH_FRAME_ATTRS = 26,
    LH_FRAME_LIST = 27,
    LH_FRAME_NAMES = 28,
    LH_FRAME_REMOVE = 29,
    LH_FRAME_REMOVED = 30,
    LH_FRAME_OWNERS = 31,
    LH_FRAME_TYPE_MAX
};

enum lh_frame_flag {
    LH_FRAME_LAST = 1, /* last frame of a list (FILES, EXTENTS, LEDGER, NAMES) */
    LH_FRAME_ZEROS = 2 /* BLOCK: raw_length zeros, and no payload */
};

struct lh_frame {
    uint16_t type;
    uint16_t flags;
    uint32_t length;     /* payload bytes that follow */
    uint32_t transfer;   /* chosen by the sender within the session; LH_NO_TRANSFER: none */
    uint32_t file;       /* index within the transfer */
    uint32_t raw_length; /* BLOCK: bytes of contents, of zeros too; else 0 */
    uint64_t offset;     /* BLOCK: bytes from the start of the file; else 0 */
    uint64_t epoch;      /* as ACCEPT gave it; 0 before */
    struct lh_hash hash; /* of the contents (BLOCK) or of the payload */
};

/* Encode with the check over it. */
void lh_frame_encode(const struct lh_frame *f, uint8_t out[LH_FRAME_HEADER_SIZE]);

/* Decode and check: magic, check, type, length against the limits above (the payload of BLOCK
 * against LH_BLOCK_MAX), flags that are known, BLOCK's raw_length never 0 and equal to its length,
 * or with ZEROS a length of 0, its end below 2^63, offset and raw_length 0 in all others. Returns 0
 * or -LH_E_PROTOCOL with *why a static sentence (never NULL then). `f` is written only on success.
 */
int lh_frame_decode(const uint8_t in[LH_FRAME_HEADER_SIZE], struct lh_frame *f, const char **why);

/* Whether a grid is one that may be offered: a power of two from LH_BLOCK_MIN to LH_BLOCK_MAX. */
bool lh_grid_allowed(uint32_t block_bytes);

/* "BLOCK", …; "?" for an unknown type. */
const char *lh_frame_name(uint16_t type);

#endif
