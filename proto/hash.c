/* Hashes and checks by libxxhash.
 *
 * Thread: any; a digest belongs to its caller. Happy path: one call a block, one a header.
 * Failures: none but a digest's allocation.
 *
 * On x86-64 the library's run-time dispatch is asked for by name (the header below redirects the
 * calls): a plain call runs at the speed of the SSE2 that the package was compiled for, several
 * times slower where the machine has AVX2 or AVX-512. Its table of functions is filled in by
 * whichever thread comes first; several may do so at once, with the same pointers. */
#include "proto/hash.h"

#include "util/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#endif

_Static_assert(sizeof(XXH128_canonical_t) == LH_HASH_SIZE, "the canonical form is the hash");

static void canonical(XXH128_hash_t hash, struct lh_hash *out)
{
    XXH128_canonical_t form;

    XXH128_canonicalFromHash(&form, hash);
    memcpy(out->bytes, form.digest, LH_HASH_SIZE);
}

void lh_hash_bytes(const void *data, size_t len, struct lh_hash *out)
{
    canonical(XXH3_128bits(data, len), out);
}

/* Of 64 KiB and what is twice as long each time: the blocks of all grids. Whoever sends a header
 * can ask for them, so they cost no more than a look. */
static const struct lh_hash of_zeros[] = {
    {{0xfd, 0x5e, 0xe0, 0x61, 0xc8, 0x43, 0x3a, 0x0f, 0x33, 0xb2, 0x02, 0xd3, 0x02, 0xb6, 0x5c,
      0xaa}},
    {{0x9d, 0x46, 0x14, 0x80, 0x17, 0x9a, 0x33, 0xc4, 0xe7, 0x48, 0x8e, 0x24, 0x0c, 0xc7, 0x8e,
      0xa7}},
    {{0x9a, 0xa2, 0x95, 0xae, 0xad, 0x2a, 0x46, 0x61, 0x2d, 0x64, 0xc0, 0x35, 0xe8, 0x5f, 0xb9,
      0x28}},
    {{0x0d, 0x9f, 0x6a, 0xce, 0xe7, 0x0b, 0xd7, 0x14, 0xfd, 0x44, 0x4a, 0x4e, 0x0c, 0x1d, 0x4c,
      0x46}},
    {{0xb6, 0xef, 0x17, 0xa3, 0x44, 0x84, 0x92, 0xb6, 0x91, 0x87, 0x80, 0xb9, 0x05, 0x50, 0xbf,
      0x34}},
};
#define ZEROS_LEAST (LH_HASH_ZEROS_MAX >> (sizeof(of_zeros) / sizeof(of_zeros[0]) - 1))

void lh_hash_zeros(size_t len, struct lh_hash *out)
{
    static uint8_t zeros[LH_HASH_ZEROS_MAX]; /* not const: so it takes no room in the program */

    LH_REQUIRE(len <= sizeof(zeros));
    for (size_t i = 0; i < sizeof(of_zeros) / sizeof(of_zeros[0]); i++) {
        if (len == ZEROS_LEAST << i) {
            *out = of_zeros[i];
            return;
        }
    }
    lh_hash_bytes(zeros, len, out);
}

uint64_t lh_check64(const void *data, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, len, seed);
}

struct lh_digest {
    XXH3_state_t *state;
};

struct lh_digest *lh_digest_new(void)
{
    struct lh_digest *d = malloc(sizeof(*d));

    if (d == NULL)
        return NULL;
    d->state = XXH3_createState(); /* aligned to its needs */
    if (d->state == NULL) {
        free(d);
        return NULL;
    }
    XXH3_128bits_reset(d->state);
    return d;
}

void lh_digest_add(struct lh_digest *d, const struct lh_hash *hashes, size_t n)
{
    if (n > 0)
        XXH3_128bits_update(d->state, hashes, n * sizeof(*hashes));
}

void lh_digest_bytes(struct lh_digest *d, const void *data, size_t len)
{
    if (len > 0)
        XXH3_128bits_update(d->state, data, len);
}

void lh_digest_end(const struct lh_digest *d, struct lh_hash *out)
{
    canonical(XXH3_128bits_digest(d->state), out);
}

void lh_digest_free(struct lh_digest *d)
{
    if (d == NULL)
        return;
    XXH3_freeState(d->state);
    free(d);
}

void lh_digest_text(const struct lh_hash *digest, uint32_t block_bytes,
                    char out[LH_DIGEST_TEXT_SIZE])
{
    int used;

    LH_REQUIRE(block_bytes >= 1024 && (block_bytes & (block_bytes - 1)) == 0);
    used = snprintf(out, LH_DIGEST_TEXT_SIZE, "xxh3-128/%uk:", (unsigned)(block_bytes / 1024));
    for (size_t i = 0; i < LH_HASH_SIZE; i++)
        used += snprintf(out + used, LH_DIGEST_TEXT_SIZE - (size_t)used, "%02x", digest->bytes[i]);
}
