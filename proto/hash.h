/* Hashes of contents and checks of headers: XXH3 (libxxhash, https://xxhash.com). */
#ifndef LH_PROTO_HASH_H
#define LH_PROTO_HASH_H

#include <stddef.h>
#include <stdint.h>

#define LH_HASH_SIZE 16
#define LH_DIGEST_TEXT_SIZE 64

/* By name on the wire, in the journal and in digests. */
enum lh_hash_id { LH_HASH_XXH3_128 = 1 };

/* XXH3-128 in its canonical (big-endian) form. */
struct lh_hash {
    uint8_t bytes[LH_HASH_SIZE];
};

void lh_hash_bytes(const void *data, size_t len, struct lh_hash *out);

/* The same of so many zeros, at most LH_HASH_ZEROS_MAX. Of a whole block of any grid it is known;
 * other lengths are hashed. */
#define LH_HASH_ZEROS_MAX (1024u * 1024)
void lh_hash_zeros(size_t len, struct lh_hash *out);

/* XXH3-64, for headers and records. */
uint64_t lh_check64(const void *data, size_t len, uint64_t seed);

/* Digest of a file: XXH3-128 over the list of its blocks' hashes, in order. An empty file has an
 * empty list. Of bytes that do not come in one piece: the same as lh_hash_bytes of all. */
struct lh_digest; /* opaque; holds XXH3 streaming state, about 600 bytes */

struct lh_digest *lh_digest_new(void); /* NULL: out of memory */
void lh_digest_add(struct lh_digest *d, const struct lh_hash *hashes, size_t n);
void lh_digest_bytes(struct lh_digest *d, const void *data, size_t len);
void lh_digest_end(const struct lh_digest *d, struct lh_hash *out);
void lh_digest_free(struct lh_digest *d); /* NULL is fine */

/* "xxh3-128/256k:<32 hex digits>"; a grid of 1 MiB is "1024k". block_bytes: a power of two, at
 * least 1 KiB. */
void lh_digest_text(const struct lh_hash *digest, uint32_t block_bytes,
                    char out[LH_DIGEST_TEXT_SIZE]);

#endif
