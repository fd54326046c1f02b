/* Hashes against published and independent values, digests, and their names. */
#include "proto/hash.h"
#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h> /* without the dispatch: the same values by another way */

/* Fail the n-th allocation from now; negative: none. */
static int fail_in = -1;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
XXH3_state_t *__real_XXH3_createState(void);
XXH3_state_t *__wrap_XXH3_createState(void);

static bool fails_now(void)
{
    return fail_in >= 0 && fail_in-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

XXH3_state_t *__wrap_XXH3_createState(void)
{
    return fails_now() ? NULL : __real_XXH3_createState();
}

static void is_hash(const struct lh_hash *have, const char *want, const char *what)
{
    char text[2 * LH_HASH_SIZE + 1];

    for (size_t i = 0; i < LH_HASH_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", have->bytes[i]);
    is_str(text, want, "%s", what);
}

static void hashes(void)
{
    struct lh_hash hash;

    lh_hash_bytes(NULL, 0, &hash);
    is_hash(&hash, "99aa06d3014798d86001c324468d497f", "XXH3-128 of nothing");
    lh_hash_bytes("abc", 3, &hash);
    is_hash(&hash, "06b05ab6733a618578af5f94892f3950", "XXH3-128 of abc");
    is_u64(lh_check64("abc", 3, 0), 0x78af5f94892f3950, "XXH3-64 of abc");
    ok(lh_check64("abc", 3, 0) != lh_check64("abc", 3, 1), "the seed counts");
}

/* Every length around the library's own thresholds (16, 128, 240, 1024) and one of blocks: the fast
 * way must give what the plain one gives. */
static void dispatch_agrees(void)
{
    static uint8_t data[300 * 1024];
    unsigned wrong = 0;
    unsigned n = 0;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
    for (size_t len = 0; len <= sizeof(data); len += len < 2200 ? 1 : 29789, n++) {
        XXH128_canonical_t want;
        struct lh_hash have;

        lh_hash_bytes(data, len, &have);
        XXH128_canonicalFromHash(&want, XXH3_128bits(data, len));
        if (memcmp(have.bytes, want.digest, LH_HASH_SIZE) != 0 ||
            lh_check64(data, len, 42) != XXH3_64bits_withSeed(data, len, 42))
            wrong++;
    }
    is_u64(wrong, 0, "the library's dispatch and its plain functions agree over %u lengths", n);
}

static void zeros(void)
{
    static const uint8_t none[LH_HASH_ZEROS_MAX];
    static const size_t lengths[] = {0,       1,           16,      241,     4096,
                                     4097,    12289,       1 << 15, 1 << 16, 1 << 17,
                                     1 << 18, 3 * 1 << 17, 1 << 19, 1 << 20};
    struct lh_hash have, want;

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        lh_hash_zeros(lengths[i], &have);
        lh_hash_bytes(none, lengths[i], &want);
        is_mem(&have, &want, sizeof(want), "the hash of %zu zeros", lengths[i]);
    }
    lh_hash_zeros((1 << 18) - 1, &have);
    lh_hash_bytes(none, (1 << 18) - 1, &want);
    is_mem(&have, &want, sizeof(want), "of nearly a block");
    lh_hash_zeros(LH_HASH_ZEROS_MAX, &have);
    is_hash(&have, "b6ef17a3448492b6918780b90550bf34", "of as many as there may be");
}

static void digests(void)
{
    struct lh_hash list[1000];
    struct lh_hash whole;
    struct lh_hash have;
    struct lh_digest *d = lh_digest_new();

    if (d == NULL)
        bail("out of memory");
    lh_digest_end(d, &have);
    is_hash(&have, "99aa06d3014798d86001c324468d497f", "an empty file has the hash of nothing");
    for (size_t i = 0; i < 1000; i++)
        lh_hash_bytes(&i, sizeof(i), &list[i]);
    lh_hash_bytes(list, sizeof(list), &whole);
    lh_digest_add(d, list, 0);
    for (size_t at = 0, step = 1; at < 1000; at += step, step = step * 2 + 1) {
        if (step > 1000 - at)
            step = 1000 - at;
        lh_digest_add(d, list + at, step);
        lh_digest_end(d, &have); /* looking at it between does no harm */
    }
    is_mem(have.bytes, whole.bytes, LH_HASH_SIZE, "a digest is the hash of the list, in any steps");
    lh_digest_free(d);
    lh_digest_free(NULL);
}

static void names(void)
{
    char text[LH_DIGEST_TEXT_SIZE];
    struct lh_hash hash;

    lh_hash_bytes("abc", 3, &hash);
    lh_digest_text(&hash, 256 * 1024, text);
    is_str(text, "xxh3-128/256k:06b05ab6733a618578af5f94892f3950", "hash and grid in the name");
    lh_digest_text(&hash, 1024, text);
    is_str(text, "xxh3-128/1k:06b05ab6733a618578af5f94892f3950", "the smallest grid");
    lh_digest_text(&hash, 1u << 31, text);
    is_str(text, "xxh3-128/2097152k:06b05ab6733a618578af5f94892f3950", "the largest fits");
}

static void no_memory(void)
{
    int n = 0;
    struct lh_digest *d;

    do {
        fail_in = n++;
        d = lh_digest_new();
    } while (d == NULL && n < 10);
    fail_in = -1;
    ok(d != NULL, "a digest is made once memory suffices");
    is_u64(n, 3, "and fails cleanly at either of its two allocations");
    lh_digest_free(d);
}

int main(void)
{
    hashes();
    dispatch_agrees();
    zeros();
    digests();
    names();
    no_memory();
    return done_testing();
}
