/* The journal's records as bytes.
 *
 * Thread: any. Happy path: encode a payload behind the header's place, seal it, append; open record
 * after record on recovery. Failures: a record that is cut short is told apart from one that is
 * none, though recovery truncates at either.
 *
 * The check comes first in the record, so that it covers all that is behind it, padding included,
 * in one run of bytes. */
#include "proto/journal.h"

#include "proto/cursor.h"
#include "proto/frame.h"
#include "util/err.h"

#include <string.h>

#define NAME_MAX_BYTES 255
#define CHECK_SIZE 8
#define PAYLOAD_MAX (LH_RECORD_MAX - LH_RECORD_HEADER_SIZE)

static uint32_t whole_length(uint32_t payload_bytes)
{
    return LH_RECORD_HEADER_SIZE + ((payload_bytes + 7u) & ~7u);
}

uint64_t lh_journal_seed(const uint8_t uuid[16])
{
    return lh_check64(uuid, 16, 0);
}

size_t lh_record_seal(uint8_t *out, uint16_t type, uint32_t file, uint64_t seq, uint32_t length,
                      uint64_t seed)
{
    struct lh_writer w;
    uint32_t whole;

    LH_REQUIRE(length <= PAYLOAD_MAX && (type == LH_RECORD_HEAD) == (seq == 0));
    whole = whole_length(length);
    memset(out + LH_RECORD_HEADER_SIZE + length, 0, whole - LH_RECORD_HEADER_SIZE - length);
    lh_writer_init(&w, out + CHECK_SIZE, LH_RECORD_HEADER_SIZE - CHECK_SIZE);
    lh_put_u32(&w, LH_RECORD_MAGIC);
    lh_put_u16(&w, type);
    lh_put_u16(&w, 0);
    lh_put_u32(&w, length);
    lh_put_u32(&w, file);
    lh_put_u64(&w, seq);
    LH_INVARIANT(!w.failed && w.at == w.end);
    lh_writer_init(&w, out, CHECK_SIZE);
    lh_put_u64(&w, lh_check64(out + CHECK_SIZE, whole - CHECK_SIZE, seed));
    return whole;
}

static bool all_zero(const uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (at[i] != 0)
            return false;
    }
    return true;
}

int lh_record_open(const uint8_t *in, size_t len, uint64_t expect_seq, uint64_t seed,
                   struct lh_record *rec, const uint8_t **payload)
{
    struct lh_record got;
    struct lh_reader r;
    uint64_t check;
    uint32_t magic;
    uint16_t zero;
    uint32_t whole;

    if (len < LH_RECORD_HEADER_SIZE)
        return 0;
    lh_reader_init(&r, in, LH_RECORD_HEADER_SIZE);
    check = lh_get_u64(&r);
    magic = lh_get_u32(&r);
    got.type = lh_get_u16(&r);
    zero = lh_get_u16(&r);
    got.length = lh_get_u32(&r);
    got.file = lh_get_u32(&r);
    got.seq = lh_get_u64(&r);
    if (magic != LH_RECORD_MAGIC || zero != 0 || got.length > PAYLOAD_MAX)
        return -LH_E_CORRUPT;
    if (got.type < LH_RECORD_HEAD || got.type > LH_RECORD_DONE || got.seq != expect_seq ||
        (got.type == LH_RECORD_HEAD) != (got.seq == 0))
        return -LH_E_CORRUPT;
    whole = whole_length(got.length);
    if (len < whole)
        return 0;
    if (check != lh_check64(in + CHECK_SIZE, whole - CHECK_SIZE, seed))
        return -LH_E_CORRUPT;
    if (!all_zero(in + LH_RECORD_HEADER_SIZE + got.length,
                  whole - LH_RECORD_HEADER_SIZE - got.length))
        return -LH_E_CORRUPT;
    *rec = got;
    *payload = in + LH_RECORD_HEADER_SIZE;
    return (int)whole;
}

size_t lh_journal_head_encode(const struct lh_journal_head *m, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(m->name_len >= 1 && m->name_len <= NAME_MAX_BYTES);
    lh_writer_init(&w, out, PAYLOAD_MAX);
    lh_put_bytes(&w, m->uuid, sizeof(m->uuid));
    lh_put_bytes(&w, m->transfer_id, sizeof(m->transfer_id));
    lh_put_u16(&w, m->hash);
    lh_put_u32(&w, m->block_bytes);
    lh_put_identity(&w, &m->source);
    lh_put_u64(&w, m->staging_ino);
    lh_put_time(&w, &m->staging_btime);
    lh_put_u16(&w, (uint16_t)m->name_len);
    lh_put_bytes(&w, m->name, m->name_len);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

static bool name_allowed(const uint8_t *name, size_t len)
{
    return len >= 1 && len <= NAME_MAX_BYTES && memchr(name, 0, len) == NULL &&
           memchr(name, '/', len) == NULL;
}

int lh_journal_head_decode(const uint8_t *in, size_t len, struct lh_journal_head *m)
{
    struct lh_journal_head got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    lh_get_bytes(&r, got.uuid, sizeof(got.uuid));
    lh_get_bytes(&r, got.transfer_id, sizeof(got.transfer_id));
    got.hash = lh_get_u16(&r);
    got.block_bytes = lh_get_u32(&r);
    lh_get_identity(&r, &got.source);
    got.staging_ino = lh_get_u64(&r);
    lh_get_time(&r, &got.staging_btime);
    got.name_len = lh_get_u16(&r);
    got.name = lh_get_view(&r, got.name_len);
    if (r.failed || got.hash != LH_HASH_XXH3_128 || !lh_grid_allowed(got.block_bytes) ||
        !name_allowed(got.name, got.name_len))
        return -LH_E_CORRUPT;
    *m = got;
    return 0;
}

size_t lh_journal_epoch_encode(const struct lh_journal_epoch *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, PAYLOAD_MAX);
    lh_put_u64(&w, m->epoch);
    lh_put_bytes(&w, m->holder, sizeof(m->holder));
    lh_put_bytes(&w, m->incarnation, sizeof(m->incarnation));
    lh_put_u64(&w, m->claim);
    lh_put_identity(&w, &m->source);
    lh_put_u8(&w, m->compared);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_journal_epoch_decode(const uint8_t *in, size_t len, struct lh_journal_epoch *m)
{
    struct lh_journal_epoch got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.epoch = lh_get_u64(&r);
    lh_get_bytes(&r, got.holder, sizeof(got.holder));
    lh_get_bytes(&r, got.incarnation, sizeof(got.incarnation));
    got.claim = lh_get_u64(&r);
    lh_get_identity(&r, &got.source);
    got.compared = lh_get_u8(&r);
    if (r.failed || got.epoch == 0 || got.compared > 1)
        return -LH_E_CORRUPT;
    *m = got;
    return 0;
}

size_t lh_journal_finish_encode(const struct lh_journal_finish *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, PAYLOAD_MAX);
    lh_put_bytes(&w, m->digest.bytes, LH_HASH_SIZE);
    lh_put_u32(&w, m->mode);
    lh_put_time(&w, &m->mtime);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_journal_finish_decode(const uint8_t *in, size_t len, struct lh_journal_finish *m)
{
    struct lh_journal_finish got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    lh_get_bytes(&r, got.digest.bytes, LH_HASH_SIZE);
    got.mode = lh_get_u32(&r);
    lh_get_time(&r, &got.mtime);
    if (r.failed || got.mode > 07777)
        return -LH_E_CORRUPT;
    *m = got;
    return 0;
}

size_t lh_journal_blocks_encode(uint64_t first, const struct lh_hash *hashes, uint32_t n,
                                uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(n >= 1 && n <= LH_RECORD_HASHES_MAX);
    lh_writer_init(&w, out, PAYLOAD_MAX);
    lh_put_u64(&w, first);
    lh_put_u32(&w, n);
    lh_put_bytes(&w, hashes, (size_t)n * LH_HASH_SIZE);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_journal_blocks_decode(const uint8_t *in, size_t len, uint64_t *first, const uint8_t **hashes,
                             uint32_t *n)
{
    struct lh_reader r;
    uint64_t got_first;
    uint32_t got_n;
    const uint8_t *view;

    lh_reader_init(&r, in, len);
    got_first = lh_get_u64(&r);
    got_n = lh_get_u32(&r);
    if (r.failed || got_n > LH_RECORD_HASHES_MAX || !lh_block_run_allowed(got_first, got_n))
        return -LH_E_CORRUPT;
    view = lh_get_view(&r, (size_t)got_n * LH_HASH_SIZE);
    if (view == NULL)
        return -LH_E_CORRUPT;
    *first = got_first;
    *hashes = view;
    *n = got_n;
    return 0;
}

size_t lh_journal_drop_encode(const struct lh_block_run *run, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, PAYLOAD_MAX);
    lh_put_u64(&w, run->first);
    lh_put_u64(&w, run->count);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_journal_drop_decode(const uint8_t *in, size_t len, struct lh_block_run *run)
{
    struct lh_block_run got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.first = lh_get_u64(&r);
    got.count = lh_get_u64(&r);
    if (r.failed || !lh_block_run_allowed(got.first, got.count))
        return -LH_E_CORRUPT;
    *run = got;
    return 0;
}
