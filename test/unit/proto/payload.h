/* Read any payload by its type and write it again: what golden vectors and fuzzing both ask for. */
#ifndef LH_TEST_PROTO_PAYLOAD_H
#define LH_TEST_PROTO_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_OUT_SIZE (96 * 1024) /* at least this much room in `out` */

/* Decode a frame's payload and encode what was decoded. Returns 0 with *out_len, the decoder's
 * refusal (`*why` is then set), or PAYLOAD_RAW for types that have no decoder of their own (BLOCK,
 * CONFIRM and BYE). */
#define PAYLOAD_RAW 1
int payload_again(uint16_t type, const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                  const char **why);

/* The same for a pack, which is the BLOCK of a tree; the contents are copied. */
int pack_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len, const char **why);

/* The same for a record's payload (PAYLOAD_RAW: DONE). */
int record_again(uint16_t type, const uint8_t *in, size_t len, uint8_t *out, size_t *out_len);

#endif
