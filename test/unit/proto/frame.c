/* The header: round trips, every refusal, and every damage. */
#include "proto/frame.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <string.h>

static struct lh_frame block(void)
{
    struct lh_frame f = {
        .type = LH_FRAME_BLOCK,
        .length = 262144,
        .transfer = 0x01020304,
        .file = 0x05060708,
        .raw_length = 262144,
        .offset = 0x1122334455660000,
        .epoch = 0xfedcba9876543210,
    };

    memset(f.hash.bytes, 0x5a, sizeof(f.hash.bytes));
    return f;
}

static int pass(const struct lh_frame *f, struct lh_frame *got, const char **why)
{
    uint8_t bytes[LH_FRAME_HEADER_SIZE];

    lh_frame_encode(f, bytes);
    return lh_frame_decode(bytes, got, why);
}

static bool passes(const struct lh_frame *f)
{
    struct lh_frame got;
    const char *why = NULL;

    return pass(f, &got, &why) == 0 && got.type == f->type && got.flags == f->flags &&
           got.length == f->length && got.transfer == f->transfer && got.file == f->file &&
           got.raw_length == f->raw_length && got.offset == f->offset && got.epoch == f->epoch &&
           memcmp(got.hash.bytes, f->hash.bytes, LH_HASH_SIZE) == 0;
}

static void refused(const struct lh_frame *f, const char *want, const char *what)
{
    struct lh_frame got;
    struct lh_frame before;
    const char *why = NULL;

    memset(&got, 0x77, sizeof(got));
    memcpy(&before, &got, sizeof(got));
    is_i64(pass(f, &got, &why), -LH_E_PROTOCOL, "%s: refused", what);
    is_str(why, want, "%s: says why", what);
    ok(memcmp(&got, &before, sizeof(got)) == 0, "%s: nothing is written", what);
}

static void limits(void)
{
    struct lh_frame f = block();

    ok(passes(&f), "a block is read back");
    f.length = f.raw_length = LH_BLOCK_MAX;
    ok(passes(&f), "the longest block");
    f.length = f.raw_length = LH_BLOCK_MAX + 1;
    refused(&f, "a frame longer than allowed", "a longer block");
    f.length = f.raw_length = 0;
    refused(&f, "a block without contents", "an empty block");
    f = block();
    f.raw_length++;
    refused(&f, "a block whose two lengths differ", "a compressed block");
    f = block();
    f.offset = (uint64_t)INT64_MAX - f.raw_length;
    ok(passes(&f), "a block at the very end of what a file can be");
    f.offset++;
    refused(&f, "a block beyond the end of any file", "a block one byte behind that");
    f.offset = UINT64_MAX;
    refused(&f, "a block beyond the end of any file", "a block whose end overflows");
    f = block();
    f.type = 0;
    refused(&f, "a frame of unknown type", "type 0");
    f.type = LH_FRAME_TYPE_MAX;
    refused(&f, "a frame of unknown type", "the first unknown type");
    f = block();
    f.flags = 4;
    refused(&f, "a frame with unknown flags", "an unknown flag");
    f.flags = 0x8000 | LH_FRAME_LAST;
    refused(&f, "a frame with unknown flags", "an unknown flag beside a known one");
}

/* Blocks of zeros have a length, and no payload. */
static void zeros(void)
{
    struct lh_frame f = block();

    f.flags = LH_FRAME_ZEROS;
    refused(&f, "a block of zeros with contents", "zeros with a payload");
    f.length = 1;
    refused(&f, "a block of zeros with contents", "zeros with a byte of payload");
    f.length = 0;
    ok(passes(&f), "a block of zeros is read back");
    f.raw_length = 1;
    ok(passes(&f), "the shortest");
    f.raw_length = LH_BLOCK_MAX;
    ok(passes(&f), "the longest");
    f.raw_length = LH_BLOCK_MAX + 1;
    refused(&f, "a block of zeros of a length that no block has", "a longer one");
    f.raw_length = 0;
    refused(&f, "a block of zeros of a length that no block has", "none");
    f = block();
    f.flags = LH_FRAME_ZEROS;
    f.length = 0;
    f.offset = (uint64_t)INT64_MAX - f.raw_length + 1;
    refused(&f, "a block beyond the end of any file", "zeros beyond every end");
    f = block();
    f.flags = LH_FRAME_ZEROS | 4;
    f.length = 0;
    refused(&f, "a frame with unknown flags", "zeros and an unknown flag");
}

/* Every type but BLOCK: payloads up to its limit, none of them an offset. */
static void control_frames(void)
{
    for (uint16_t type = 1; type < LH_FRAME_TYPE_MAX; type++) {
        bool opens = type == LH_FRAME_HELLO || type == LH_FRAME_WELCOME || type == LH_FRAME_JOIN;
        struct lh_frame f = {.type = type, .flags = LH_FRAME_LAST, .transfer = LH_NO_TRANSFER};
        char name[64] = "";

        if (type == LH_FRAME_BLOCK)
            continue;
        strncat(name, lh_frame_name(type), sizeof(name) - 1);
        ok(passes(&f), "%s without payload", name);
        f.length = opens ? LH_HELLO_MAX : LH_CONTROL_MAX;
        ok(passes(&f), "%s with the longest payload", name);
        f.length++;
        refused(&f, "a frame longer than allowed", name);
        f.length = 0;
        f.offset = 1;
        refused(&f, "an offset or a raw length in a frame without contents", name);
        f.offset = 0;
        f.raw_length = 1;
        refused(&f, "an offset or a raw length in a frame without contents", name);
        f.raw_length = 0;
        f.flags = LH_FRAME_ZEROS;
        refused(&f, "a frame with unknown flags", name);
    }
}

static void damage(void)
{
    struct lh_frame f = block();
    struct lh_frame got;
    uint8_t bytes[LH_FRAME_HEADER_SIZE];
    unsigned passed = 0;
    unsigned told = 0;

    lh_frame_encode(&f, bytes);
    for (unsigned bit = 0; bit < 8 * LH_FRAME_HEADER_SIZE; bit++) {
        const char *why = NULL;

        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (lh_frame_decode(bytes, &got, &why) != -LH_E_PROTOCOL)
            passed++;
        if (why != NULL)
            told++;
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    is_u64(passed, 0, "none of 512 flipped bits passes");
    is_u64(told, 512, "and each is told");

    memset(bytes, 0, sizeof(bytes));
    ok(lh_frame_decode(bytes, &got, &(const char *){NULL}) != 0, "zeros are no header");
    memcpy(bytes, "GET / HTTP/1.1\r\n", 16);
    {
        const char *why = NULL;

        is_i64(lh_frame_decode(bytes, &got, &why), -LH_E_PROTOCOL, "another protocol is refused");
        is_str(why, "this is not longhaul's protocol", "in its own words");
    }
}

static void names(void)
{
    is_str(lh_frame_name(LH_FRAME_BLOCK), "BLOCK", "a name");
    is_str(lh_frame_name(LH_FRAME_BYE), "BYE", "the last name");
    is_str(lh_frame_name(0), "?", "no type");
    is_str(lh_frame_name(LH_FRAME_TYPE_MAX), "?", "the first unknown type");
    is_str(lh_frame_name(0xffff), "?", "far out");
    for (uint16_t type = 1; type < LH_FRAME_TYPE_MAX; type++)
        ok(strcmp(lh_frame_name(type), "?") != 0, "type %u has a name", type);
}

static void grids(void)
{
    ok(lh_grid_allowed(LH_BLOCK_MIN) && lh_grid_allowed(LH_BLOCK_DEFAULT) &&
           lh_grid_allowed(LH_BLOCK_MAX),
       "grids within the limits");
    ok(!lh_grid_allowed(0) && !lh_grid_allowed(LH_BLOCK_MIN / 2) &&
           !lh_grid_allowed(LH_BLOCK_MAX * 2) && !lh_grid_allowed(LH_BLOCK_DEFAULT + 1) &&
           !lh_grid_allowed(LH_BLOCK_MIN * 3),
       "others");
}

int main(void)
{
    limits();
    zeros();
    control_frames();
    damage();
    names();
    grids();
    return done_testing();
}
