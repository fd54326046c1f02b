/* Reading and writing little-endian fields within a bounded run of bytes.
 *
 * A cursor that has run over its end stays failed: encode or decode a whole struct, then ask once.
 */
#ifndef LH_PROTO_CURSOR_H
#define LH_PROTO_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lh_writer {
    uint8_t *at;
    uint8_t *end;
    bool failed;
};

struct lh_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

void lh_writer_init(struct lh_writer *w, void *base, size_t size);
void lh_put_u8(struct lh_writer *w, uint8_t v);
void lh_put_u16(struct lh_writer *w, uint16_t v);
void lh_put_u32(struct lh_writer *w, uint32_t v);
void lh_put_u64(struct lh_writer *w, uint64_t v);
void lh_put_varint(struct lh_writer *w,
                   uint64_t v); /* 1 to 10 bytes, 7 bits each, low ones first */
void lh_put_bytes(struct lh_writer *w, const void *data, size_t len);

void lh_reader_init(struct lh_reader *r, const void *base, size_t size);
uint8_t lh_get_u8(struct lh_reader *r);
uint16_t lh_get_u16(struct lh_reader *r);
uint32_t lh_get_u32(struct lh_reader *r);
uint64_t lh_get_u64(struct lh_reader *r);
/* The reader fails when it is above `max`. */
uint64_t lh_get_varint(struct lh_reader *r, uint64_t max);
void lh_get_bytes(struct lh_reader *r, void *out, size_t len);

/* A pointer to `len` bytes within the run, or NULL (then the reader has failed). */
const uint8_t *lh_get_view(struct lh_reader *r, size_t len);

static inline size_t lh_reader_left(const struct lh_reader *r)
{
    return (size_t)(r->end - r->at);
}

#endif
