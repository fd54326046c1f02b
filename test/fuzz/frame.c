/* Fuzz target: a frame as it comes off a socket, its header and the payload of every type.
 *
 * The input is a frame. The header is decoded as it is, and once more with its check made right,
 * for no fuzzer guesses that; then the payload by the header's type, and by every other type as
 * well. Promises: a refusal has a reason; what is accepted keeps the limits that callers build on;
 * encoding it again gives the bytes that were read (but for those whose entries may have grown
 * inside: OFFER, and a tree's lists of entries). */
#include "proto/frame.h"
#include "payload.h"
#include "proto/transfer.h"
#include "target.h"
#include "util/err.h"

#include <string.h>

static uint8_t out[PAYLOAD_OUT_SIZE];
static uint8_t twice[PAYLOAD_OUT_SIZE];

static void header(const uint8_t in[LH_FRAME_HEADER_SIZE])
{
    uint8_t again[LH_FRAME_HEADER_SIZE];
    const char *why = NULL;
    struct lh_frame f;

    if (lh_frame_decode(in, &f, &why) != 0) {
        LH_REQUIRE(why != NULL);
        return;
    }
    LH_REQUIRE(f.length <= LH_BLOCK_MAX && f.type > 0 && f.type < LH_FRAME_TYPE_MAX);
    LH_REQUIRE(f.type == LH_FRAME_BLOCK || f.length <= LH_CONTROL_MAX);
    LH_REQUIRE(f.offset + f.raw_length <= INT64_MAX);
    if (f.type == LH_FRAME_BLOCK)
        LH_REQUIRE(f.raw_length > 0 && f.raw_length <= LH_BLOCK_MAX &&
                   f.length == (f.flags & LH_FRAME_ZEROS ? 0 : f.raw_length));
    lh_frame_encode(&f, again);
    LH_REQUIRE(memcmp(again, in, sizeof(again)) == 0);
}

static void offer_limits(const uint8_t *in, size_t len)
{
    const char *why = NULL;
    struct lh_offer m;

    if (lh_offer_decode(in, len, &m, &why) != 0)
        return;
    LH_REQUIRE(m.path_len >= 1 && m.path_len <= LH_OFFER_PATH_MAX &&
               m.file.path_len <= LH_PATH_MAX);
    LH_REQUIRE(memchr(m.path, 0, m.path_len) == NULL && lh_grid_allowed(m.block_bytes));
    LH_REQUIRE(m.file.identity.size <= INT64_MAX && m.n_files > 0 && m.file.mode <= 07777);
}

/* Whether what is within a payload may have grown, so that it comes out shorter. */
static bool grows_inside(uint16_t type)
{
    return type == LH_FRAME_OFFER || type == LH_FRAME_FILES || type == LH_FRAME_ATTRS ||
           type == LH_FRAME_REMOVE;
}

static void payload(uint16_t type, const uint8_t *in, size_t len)
{
    const char *why = NULL;
    size_t out_len = 0;
    size_t twice_len = 0;
    int rc;

    if (len > LH_CONTROL_MAX)
        return;
    rc = payload_again(type, in, len, out, &out_len, &why);
    if (rc == PAYLOAD_RAW)
        return;
    if (rc != 0) {
        LH_REQUIRE(rc == -LH_E_PROTOCOL && why != NULL);
        return;
    }
    LH_REQUIRE(out_len <= len);
    if (type == LH_FRAME_OFFER)
        offer_limits(in, len);
    if (grows_inside(type)) {
        LH_REQUIRE(payload_again(type, out, out_len, twice, &twice_len, &why) == 0);
        LH_REQUIRE(twice_len == out_len && memcmp(twice, out, out_len) == 0);
    } else {
        LH_REQUIRE(memcmp(out, in, out_len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t mended[LH_FRAME_HEADER_SIZE];
    uint64_t check;

    if (size < LH_FRAME_HEADER_SIZE)
        return 0;
    header(data);
    memcpy(mended, data, sizeof(mended));
    memcpy(mended, "LHF1", 4);
    check = lh_check64(mended, 56, 0);
    for (unsigned i = 0; i < 8; i++)
        mended[56 + i] = (uint8_t)(check >> (8 * i));
    header(mended);
    for (uint16_t type = 1; type < LH_FRAME_TYPE_MAX; type++)
        payload(type, data + LH_FRAME_HEADER_SIZE, size - LH_FRAME_HEADER_SIZE);
    return 0;
}
