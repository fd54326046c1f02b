/* lh_digest_file against the definition, spelled out. */
#include <longhaul/longhaul.h>

#include "proto/hash.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* XXH3-128 over the list of the blocks' XXH3-128, as text. */
static void by_definition(const uint8_t *data, size_t size, size_t block, const char *grid,
                          char out[64])
{
    struct lh_hash list[64];
    struct lh_hash digest;
    size_t n = 0;

    for (size_t at = 0; at < size; at += block, n++)
        lh_hash_bytes(data + at, size - at < block ? size - at : block, &list[n]);
    lh_hash_bytes(list, n * sizeof(list[0]), &digest);
    snprintf(out, 64, "xxh3-128/%s:", grid);
    for (size_t i = 0; i < LH_HASH_SIZE; i++)
        snprintf(out + strlen(out), 3, "%02x", digest.bytes[i]);
}

static void test_sizes(void)
{
    static const size_t sizes[] = {0, 1, 262143, 262144, 262145, 1 << 20, (1 << 20) + 7};
    uint8_t *data = malloc(2 << 20);

    scratch_fill(data, 2 << 20, 0, 3);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char have[64] = "";
        char want[64];
        char text[512] = "?";

        scratch_write("f", data, sizes[i]);
        by_definition(data, sizes[i], 256 * 1024, "256k", want);
        is_i64(lh_digest_file(scratch_path("f"), 0, have, text, sizeof(text)), 0, "%zu bytes",
               sizes[i]);
        is_str(have, want, "by the definition");
        is_str(text, "", "nothing to say");
        by_definition(data, sizes[i], 64 * 1024, "64k", want);
        lh_digest_file(scratch_path("f"), 64 * 1024, have, NULL, 0);
        is_str(have, want, "on another grid");
    }
    free(data);
}

static void scribble(enum lh_sys call, int fd)
{
    if (call == LH_SYS_READ) {
        lh_sysfault_watch_with(NULL, NULL);
        usleep(20000);
        scratch_write("f", "other", 5);
    }
}

static void test_errors(void)
{
    char out[64] = "untouched";
    char text[512];

    is_i64(lh_digest_file(scratch_path("absent"), 0, out, text, sizeof(text)), -LH_E_SOURCE,
           "no such file");
    ok(strstr(text, "no such file") != NULL, "%s", text);
    is_i64(lh_digest_file(scratch_dir(), 0, out, text, sizeof(text)), -LH_E_SOURCE_DIR,
           "a directory");
    scratch_write("f", "hello", 5);
    is_i64(lh_digest_file(scratch_path("f"), 100000, out, text, sizeof(text)), -LH_E_INVAL,
           "a grid that is no power of two");
    is_i64(lh_digest_file(scratch_path("f"), 2 << 20, out, text, sizeof(text)), -LH_E_INVAL,
           "a grid that is too wide");
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_READ), 0, EIO);
    is_i64(lh_digest_file(scratch_path("f"), 0, out, text, sizeof(text)), -LH_E_SOURCE,
           "a read error");
    lh_sysfault_disarm();
    lh_sysfault_watch_with(NULL, scribble);
    is_i64(lh_digest_file(scratch_path("f"), 0, out, text, sizeof(text)), -LH_E_SOURCE_CHANGED,
           "it changes while it is read");
    lh_sysfault_watch_with(NULL, NULL);
    is_str(out, "untouched", "no digest comes out of an error");
}

int main(void)
{
    scratch_dir();
    test_sizes();
    test_errors();
    return done_testing();
}
