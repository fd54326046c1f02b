/* The frame header as bytes.
 *
 * Thread: any. Happy path: 64 bytes in, a struct out. Failures: anything that is not exactly a
 * header this version may send is refused with a sentence, before a byte of payload is waited for:
 * what comes in behind a good header is bounded by its length. */
#include "proto/frame.h"

#include "proto/cursor.h"
#include "util/err.h"

#define CHECK_AT 56 /* the check is the last field and covers all before it */

static const char *const names[LH_FRAME_TYPE_MAX] = {
    [LH_FRAME_HELLO] = "HELLO",
    [LH_FRAME_WELCOME] = "WELCOME",
    [LH_FRAME_JOIN] = "JOIN",
    [LH_FRAME_OFFER] = "OFFER",
    [LH_FRAME_FILES] = "FILES",
    [LH_FRAME_EXTENTS] = "EXTENTS",
    [LH_FRAME_ACCEPT] = "ACCEPT",
    [LH_FRAME_LEDGER] = "LEDGER",
    [LH_FRAME_BLOCK] = "BLOCK",
    [LH_FRAME_ACK] = "ACK",
    [LH_FRAME_AGAIN] = "AGAIN",
    [LH_FRAME_HASHES_WANTED] = "HASHES_WANTED",
    [LH_FRAME_HASHES] = "HASHES",
    [LH_FRAME_RETRACT] = "RETRACT",
    [LH_FRAME_RETRACTED] = "RETRACTED",
    [LH_FRAME_FINISH] = "FINISH",
    [LH_FRAME_DONE] = "DONE",
    [LH_FRAME_CONFIRM] = "CONFIRM",
    [LH_FRAME_HEARTBEAT] = "HEARTBEAT",
    [LH_FRAME_ERROR] = "ERROR",
    [LH_FRAME_BYE] = "BYE",
    [LH_FRAME_STATS] = "STATS",
    [LH_FRAME_WANTED] = "WANTED",
    [LH_FRAME_SETTLED] = "SETTLED",
    [LH_FRAME_FAILED] = "FAILED",
    [LH_FRAME_ATTRS] = "ATTRS",
    [LH_FRAME_LIST] = "LIST",
    [LH_FRAME_NAMES] = "NAMES",
    [LH_FRAME_REMOVE] = "REMOVE",
    [LH_FRAME_REMOVED] = "REMOVED",
    [LH_FRAME_OWNERS] = "OWNERS",
};

bool lh_grid_allowed(uint32_t block_bytes)
{
    return block_bytes >= LH_BLOCK_MIN && block_bytes <= LH_BLOCK_MAX &&
           (block_bytes & (block_bytes - 1)) == 0;
}

const char *lh_frame_name(uint16_t type)
{
    return type < LH_FRAME_TYPE_MAX && names[type] != NULL ? names[type] : "?";
}

void lh_frame_encode(const struct lh_frame *f, uint8_t out[LH_FRAME_HEADER_SIZE])
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_FRAME_HEADER_SIZE);
    lh_put_u32(&w, LH_FRAME_MAGIC);
    lh_put_u16(&w, f->type);
    lh_put_u16(&w, f->flags);
    lh_put_u32(&w, f->length);
    lh_put_u32(&w, f->transfer);
    lh_put_u32(&w, f->file);
    lh_put_u32(&w, f->raw_length);
    lh_put_u64(&w, f->offset);
    lh_put_u64(&w, f->epoch);
    lh_put_bytes(&w, f->hash.bytes, LH_HASH_SIZE);
    lh_put_u64(&w, lh_check64(out, CHECK_AT, 0));
    LH_INVARIANT(!w.failed && w.at == w.end);
}

static uint32_t max_length(uint16_t type)
{
    switch (type) {
    case LH_FRAME_BLOCK:
        return LH_BLOCK_MAX;
    case LH_FRAME_HELLO:
    case LH_FRAME_WELCOME:
    case LH_FRAME_JOIN:
        return LH_HELLO_MAX;
    default:
        return LH_CONTROL_MAX;
    }
}

/* NULL, or what is wrong with the lengths of a BLOCK. */
static const char *wrong_lengths(const struct lh_frame *f)
{
    if (f->flags & LH_FRAME_ZEROS) {
        if (f->length != 0)
            return "a block of zeros with contents";
        if (f->raw_length == 0 || f->raw_length > LH_BLOCK_MAX)
            return "a block of zeros of a length that no block has";
        return NULL;
    }
    if (f->length == 0)
        return "a block without contents";
    if (f->raw_length != f->length) /* compression will have a flag of its own */
        return "a block whose two lengths differ";
    return NULL;
}

/* NULL, or what is wrong with a header whose check is right. */
static const char *refusal(const struct lh_frame *f)
{
    unsigned known = LH_FRAME_LAST | (f->type == LH_FRAME_BLOCK ? LH_FRAME_ZEROS : 0);
    const char *wrong;

    if (f->type == 0 || f->type >= LH_FRAME_TYPE_MAX)
        return "a frame of unknown type";
    if ((f->flags & ~known) != 0)
        return "a frame with unknown flags";
    if (f->length > max_length(f->type))
        return "a frame longer than allowed";
    if (f->type != LH_FRAME_BLOCK) {
        if (f->raw_length != 0 || f->offset != 0)
            return "an offset or a raw length in a frame without contents";
        return NULL;
    }
    wrong = wrong_lengths(f);
    if (wrong != NULL)
        return wrong;
    if (f->offset > (uint64_t)INT64_MAX - f->raw_length)
        return "a block beyond the end of any file";
    return NULL;
}

int lh_frame_decode(const uint8_t in[LH_FRAME_HEADER_SIZE], struct lh_frame *f, const char **why)
{
    struct lh_frame got;
    struct lh_reader r;
    const char *bad;

    lh_reader_init(&r, in, LH_FRAME_HEADER_SIZE);
    if (lh_get_u32(&r) != LH_FRAME_MAGIC) {
        *why = "this is not longhaul's protocol";
        return -LH_E_PROTOCOL;
    }
    got.type = lh_get_u16(&r);
    got.flags = lh_get_u16(&r);
    got.length = lh_get_u32(&r);
    got.transfer = lh_get_u32(&r);
    got.file = lh_get_u32(&r);
    got.raw_length = lh_get_u32(&r);
    got.offset = lh_get_u64(&r);
    got.epoch = lh_get_u64(&r);
    lh_get_bytes(&r, got.hash.bytes, LH_HASH_SIZE);
    if (lh_get_u64(&r) != lh_check64(in, CHECK_AT, 0)) {
        *why = "a damaged frame header";
        return -LH_E_PROTOCOL;
    }
    bad = refusal(&got);
    if (bad != NULL) {
        *why = bad;
        return -LH_E_PROTOCOL;
    }
    *f = got;
    return 0;
}
