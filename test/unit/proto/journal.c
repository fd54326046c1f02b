/* The journal's records: limits, refusals, damage, and the walk that recovery makes. (Bytes:
 * golden.c.) */
#include "proto/journal.h"
#include "proto/frame.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t uuid[16] = {1, 2, 3, 4};
static const uint8_t other_uuid[16] = {1, 2, 3, 5};
static uint8_t out[LH_RECORD_MAX];

static struct lh_journal_head good_head(void)
{
    struct lh_journal_head m = {
        .hash = LH_HASH_XXH3_128,
        .block_bytes = LH_BLOCK_DEFAULT,
        .source = {1, 2, 3, {4, 5}, {6, 7}},
        .name = (const uint8_t *)"name",
        .name_len = 4,
    };
    memcpy(m.uuid, uuid, sizeof(uuid));
    return m;
}

/* A journal of a head, an epoch, `n` BLOCKS and a DONE. Returns its length. */
static size_t make_journal(uint8_t *at, const uint8_t id[16], unsigned n)
{
    struct lh_journal_head head = good_head();
    struct lh_journal_epoch epoch = {.epoch = 1, .compared = 1};
    struct lh_hash hashes[3];
    uint64_t seed = lh_journal_seed(id);
    uint64_t seq = 0;
    size_t len;

    memcpy(head.uuid, id, 16);
    memset(hashes, 0xc3, sizeof(hashes));
    len = lh_record_seal(at, LH_RECORD_HEAD, 0, seq++,
                         (uint32_t)lh_journal_head_encode(&head, at + LH_RECORD_HEADER_SIZE), 0);
    len += lh_record_seal(
        at + len, LH_RECORD_EPOCH, 0, seq++,
        (uint32_t)lh_journal_epoch_encode(&epoch, at + len + LH_RECORD_HEADER_SIZE), seed);
    for (unsigned i = 0; i < n; i++)
        len += lh_record_seal(
            at + len, LH_RECORD_BLOCKS, i, seq++,
            (uint32_t)lh_journal_blocks_encode(3 * i, hashes, 3, at + len + LH_RECORD_HEADER_SIZE),
            seed);
    return len + lh_record_seal(at + len, LH_RECORD_DONE, 0, seq, 0, seed);
}

/* Walk as recovery does. Returns the bytes of good records, with their number. */
static size_t walk(const uint8_t *at, size_t len, unsigned *n_records)
{
    struct lh_record rec;
    const uint8_t *payload;
    uint64_t seed = 0;
    size_t good = 0;
    int got;

    for (*n_records = 0;; (*n_records)++) {
        got = lh_record_open(at + good, len - good, *n_records, seed, &rec, &payload);
        if (got <= 0)
            return good;
        if (rec.type == LH_RECORD_HEAD) {
            struct lh_journal_head head;

            if (lh_journal_head_decode(payload, rec.length, &head) != 0)
                return good;
            seed = lh_journal_seed(head.uuid);
        }
        good += (size_t)got;
    }
}

static void walks(void)
{
    static uint8_t journal[4096];
    size_t len = make_journal(journal, uuid, 4);
    unsigned n;
    unsigned wrong = 0;
    size_t last = 0;

    is_u64(walk(journal, len, &n), len, "a journal is read to its end");
    is_u64(n, 7, "all its records");
    is_u64(len % 8, 0, "records keep to multiples of 8");

    /* Torn at any byte, what is whole before it is kept and nothing else. */
    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *copy = malloc(cut);
        size_t good;

        if (copy == NULL && cut > 0)
            bail("out of memory");
        if (cut > 0)
            memcpy(copy, journal, cut);
        good = walk(copy, cut, &n);
        if (good > cut || good < last || (good == cut) != (cut == 0 || good != last))
            wrong++;
        last = good;
        free(copy);
    }
    is_u64(wrong, 0, "torn at each of %zu bytes: the whole records before it are kept", len);
    memset(journal + len, 0, 512);
    is_u64(walk(journal, len + 512, &n), len, "zeros behind it are no records");
    memset(journal + len, 0xff, 512);
    is_u64(walk(journal, len + 512, &n), len, "nor is garbage");
}

static void damage(void)
{
    static uint8_t journal[4096];
    size_t len = make_journal(journal, uuid, 2);
    struct lh_record rec;
    const uint8_t *payload;
    uint64_t seed = lh_journal_seed(uuid);
    size_t at = 0;
    uint64_t seq = 0;
    unsigned passed = 0;
    unsigned n_bits = 0;

    while (at < len) {
        int whole =
            lh_record_open(journal + at, len - at, seq, seq == 0 ? 0 : seed, &rec, &payload);

        if (!ok(whole > 0, "record %u is good", (unsigned)seq))
            return;
        for (unsigned bit = 0; bit < 8 * (unsigned)whole; bit++, n_bits++) {
            journal[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (lh_record_open(journal + at, len - at, seq, seq == 0 ? 0 : seed, &rec, &payload) >
                0)
                passed++;
            journal[at + bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        at += (size_t)whole;
        seq++;
    }
    is_u64(passed, 0, "none of %u flipped bits passes, in headers, payloads and padding", n_bits);
}

static void foreign_records(void)
{
    static uint8_t mine[4096];
    static uint8_t theirs[4096];
    size_t len = make_journal(mine, uuid, 2);
    struct lh_record rec;
    const uint8_t *payload;
    unsigned n;

    make_journal(theirs, other_uuid, 2);
    memcpy(mine + len / 2 / 8 * 8, theirs + len / 2 / 8 * 8, len - len / 2 / 8 * 8);
    ok(walk(mine, len, &n) < len, "the rest of an older journal is not taken for one's own");

    len = lh_record_seal(out, LH_RECORD_DONE, 0, 5, 0, 42);
    is_u64(len, LH_RECORD_HEADER_SIZE, "a record without payload is its header");
    is_i64(lh_record_open(out, len, 5, 42, &rec, &payload), 32, "opened with its number and seed");
    is_i64(lh_record_open(out, len, 5, 43, &rec, &payload), -LH_E_CORRUPT, "with another seed");
    is_i64(lh_record_open(out, len, 4, 42, &rec, &payload), -LH_E_CORRUPT, "with another number");
    is_i64(lh_record_open(out, len - 1, 5, 42, &rec, &payload), 0, "cut: says so");
    is_i64(lh_record_open(NULL, 0, 5, 42, &rec, &payload), 0, "nothing is cut too");
}

/* Seal by hand what lh_record_seal would not: the check is right, the rest is not. */
static int forge(size_t at, uint32_t v, size_t size, uint64_t seq, size_t whole)
{
    struct lh_record rec = {.type = 99};
    const uint8_t *payload = NULL;
    struct lh_writer w;
    uint64_t check;
    int rc;

    lh_writer_init(&w, out + at, size);
    if (size == 2)
        lh_put_u16(&w, (uint16_t)v);
    else
        lh_put_u32(&w, v);
    check = lh_check64(out + 8, whole - 8, 0);
    lh_writer_init(&w, out, 8);
    lh_put_u64(&w, check);
    rc = lh_record_open(out, sizeof(out), seq, 0, &rec, &payload);
    return rc < 0 && (rec.type != 99 || payload != NULL) ? 1 : rc;
}

static void forged(void)
{
    struct lh_block_run run = {1, 2};
    struct lh_record rec;
    const uint8_t *payload;
    size_t n;

    n = lh_record_seal(out, LH_RECORD_BLOCKS, 0, 1, LH_RECORD_MAX - LH_RECORD_HEADER_SIZE, 0);
    is_i64(lh_record_open(out, n, 1, 0, &rec, &payload), LH_RECORD_MAX, "the longest record");
    n = lh_journal_drop_encode(&run, out + LH_RECORD_HEADER_SIZE);
    lh_record_seal(out, LH_RECORD_DROP, 0, 1, (uint32_t)n, 0);
    is_i64(forge(12, LH_RECORD_DROP, 2, 1, 48), 48, "a forger can make a good record");
    is_i64(forge(12, 0, 2, 1, 48), -LH_E_CORRUPT, "type 0");
    is_i64(forge(12, LH_RECORD_DONE + 1, 2, 1, 48), -LH_E_CORRUPT, "an unknown type");
    is_i64(forge(12, LH_RECORD_HEAD, 2, 1, 48), -LH_E_CORRUPT, "a head that is not the first");
    lh_record_seal(out, LH_RECORD_DROP, 0, 1, (uint32_t)n, 0);
    is_i64(forge(24, 0, 4, 0, 48), -LH_E_CORRUPT, "a first that is no head");
    lh_record_seal(out, LH_RECORD_DROP, 0, 1, (uint32_t)n, 0);
    is_i64(forge(14, 1, 2, 1, 48), -LH_E_CORRUPT, "reserved bytes that are not 0");
    lh_record_seal(out, LH_RECORD_DROP, 0, 1, (uint32_t)n, 0);
    is_i64(forge(8, 0x324a484c, 4, 1, 48), -LH_E_CORRUPT, "another magic: LHJ2");
    lh_record_seal(out, LH_RECORD_DROP, 0, 1, (uint32_t)n, 0);
    is_i64(forge(16, 15, 4, 1, 48), 48, "padding of 0 is padding");
    out[47] = 1;
    is_i64(forge(16, 15, 4, 1, 48), -LH_E_CORRUPT, "padding that is not 0");
    lh_record_seal(out, LH_RECORD_DROP, 0, 1, (uint32_t)n, 0);
    is_i64(forge(16, LH_RECORD_MAX - LH_RECORD_HEADER_SIZE + 1, 4, 1, 48), -LH_E_CORRUPT,
           "a payload too long to wait for");
    is_i64(forge(16, UINT32_MAX, 4, 1, 48), -LH_E_CORRUPT, "one whose length would wrap around");
}

static int head_pass(const struct lh_journal_head *m)
{
    struct lh_journal_head got;

    return lh_journal_head_decode(out, lh_journal_head_encode(m, out), &got);
}

static void heads(void)
{
    static uint8_t longest[255];
    struct lh_journal_head m = good_head();

    memset(longest, 'n', sizeof(longest));
    is_i64(head_pass(&m), 0, "a head is read");
    m.name = longest;
    m.name_len = sizeof(longest);
    is_i64(head_pass(&m), 0, "with the longest name");
    out[106] = 0;
    out[107] = 1; /* 256 */
    is_i64(lh_journal_head_decode(out, sizeof(out), &m), -LH_E_CORRUPT, "not with a longer one");
    out[107] = 0;
    is_i64(lh_journal_head_decode(out, sizeof(out), &m), -LH_E_CORRUPT, "nor with none");
    m = good_head();
    m.name_len = 1;
    is_i64(head_pass(&m), 0, "the shortest name");
    m.name = (const uint8_t *)"a/b";
    m.name_len = 3;
    is_i64(head_pass(&m), -LH_E_CORRUPT, "nor with a path");
    m.name = (const uint8_t *)"a\0b";
    is_i64(head_pass(&m), -LH_E_CORRUPT, "nor with a NUL");
    m = good_head();
    m.hash = 0;
    is_i64(head_pass(&m), -LH_E_CORRUPT, "unknown hash");
    m = good_head();
    m.block_bytes = 100000;
    is_i64(head_pass(&m), -LH_E_CORRUPT, "no grid");
    m = good_head();
    m.staging_btime.nsec = 1000000000;
    is_i64(head_pass(&m), -LH_E_CORRUPT, "impossible birth");
    m = good_head();
    m.source.mtime.nsec = 1000000000;
    is_i64(head_pass(&m), -LH_E_CORRUPT, "impossible source");
}

static void others(void)
{
    static struct lh_hash hashes[LH_RECORD_HASHES_MAX];
    struct lh_journal_epoch epoch = {.epoch = 0};
    struct lh_journal_epoch got_epoch;
    struct lh_journal_finish finish = {.mode = 07777};
    struct lh_journal_finish got_finish;
    struct lh_block_run run = {3, 0};
    const uint8_t *view = NULL;
    uint64_t first = 0;
    uint32_t n = 0;
    size_t len;

    is_i64(lh_journal_epoch_decode(out, lh_journal_epoch_encode(&epoch, out), &got_epoch),
           -LH_E_CORRUPT, "epoch 0");
    epoch.epoch = 1;
    epoch.compared = 2;
    is_i64(lh_journal_epoch_decode(out, lh_journal_epoch_encode(&epoch, out), &got_epoch),
           -LH_E_CORRUPT, "neither compared nor not");
    is_i64(lh_journal_finish_decode(out, lh_journal_finish_encode(&finish, out), &got_finish), 0,
           "all permission bits");
    finish.mode = 010000;
    is_i64(lh_journal_finish_decode(out, lh_journal_finish_encode(&finish, out), &got_finish),
           -LH_E_CORRUPT, "more than permission bits");
    is_i64(lh_journal_drop_decode(out, lh_journal_drop_encode(&run, out), &run), -LH_E_CORRUPT,
           "an empty drop");
    run = (struct lh_block_run){UINT64_MAX, 1};
    is_i64(lh_journal_drop_decode(out, lh_journal_drop_encode(&run, out), &run), -LH_E_CORRUPT,
           "a drop that overflows");

    memset(hashes, 0x3c, sizeof(hashes));
    len = lh_journal_blocks_encode(9, hashes, LH_RECORD_HASHES_MAX, out + LH_RECORD_HEADER_SIZE);
    ok(lh_record_seal(out, LH_RECORD_BLOCKS, 0, 1, (uint32_t)len, 0) <= LH_RECORD_MAX,
       "the longest BLOCKS is a record");
    ok(lh_journal_blocks_decode(out + LH_RECORD_HEADER_SIZE, len, &first, &view, &n) == 0 &&
           first == 9 && n == LH_RECORD_HASHES_MAX && memcmp(view, hashes, sizeof(hashes)) == 0,
       "and is read back");
    out[LH_RECORD_HEADER_SIZE + 8]++;
    is_i64(lh_journal_blocks_decode(out + LH_RECORD_HEADER_SIZE, len + 16, &first, &view, &n),
           -LH_E_CORRUPT, "one hash too many");
    memset(out + LH_RECORD_HEADER_SIZE + 8, 0, 4);
    is_i64(lh_journal_blocks_decode(out + LH_RECORD_HEADER_SIZE, len, &first, &view, &n),
           -LH_E_CORRUPT, "no hashes");
}

int main(void)
{
    walks();
    damage();
    foreign_records();
    forged();
    heads();
    others();
    return done_testing();
}
