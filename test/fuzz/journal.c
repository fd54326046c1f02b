/* Fuzz target: a journal as recovery walks it.
 *
 * The input is a journal's file. It is walked as it is; then once more with each record's check and
 * number made right as the walk comes to it, for no fuzzer guesses those, so that the decoders
 * behind see what it makes up. Promises: a record lies within the input, its length is a multiple
 * of 8; a payload that is accepted encodes again to the bytes that were read. */
#include "proto/journal.h"
#include "payload.h"
#include "target.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SIZE (1024 * 1024)

static uint8_t out[PAYLOAD_OUT_SIZE];

static void put64(uint8_t *at, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

/* Make number, magic and check of the record at `at` right, if it lies within `len`. */
static void mend(uint8_t *at, size_t len, uint64_t seq, uint64_t seed)
{
    size_t whole;

    if (len < LH_RECORD_HEADER_SIZE)
        return;
    memcpy(at + 8, "LHJ1", 4);
    at[18] = at[19] = 0; /* payloads below 64 KiB: longer ones only waste the fuzzer's time */
    put64(at + 24, seq);
    whole = LH_RECORD_HEADER_SIZE + (((size_t)at[16] + 256u * at[17] + 7) & ~(size_t)7);
    if (len >= whole)
        put64(at, lh_check64(at + 8, whole - 8, seed));
}

/* False when the walk ends here. */
static bool record(const struct lh_record *rec, const uint8_t *payload, uint64_t *seed)
{
    struct lh_journal_head head;
    size_t out_len = 0;
    int rc = record_again(rec->type, payload, rec->length, out, &out_len);

    if (rc == PAYLOAD_RAW)
        return true;
    if (rc != 0) {
        LH_REQUIRE(rc == -LH_E_CORRUPT);
        return false;
    }
    LH_REQUIRE(out_len <= rec->length && memcmp(out, payload, out_len) == 0);
    if (rec->type == LH_RECORD_HEAD) {
        LH_REQUIRE(lh_journal_head_decode(payload, rec->length, &head) == 0);
        LH_REQUIRE(head.name_len >= 1 && head.name_len <= 255);
        *seed = lh_journal_seed(head.uuid);
    }
    return true;
}

static void walk(uint8_t *data, size_t size, bool mended)
{
    uint64_t seed = 0;
    uint64_t seq = 0;

    for (size_t at = 0;;) {
        struct lh_record rec;
        const uint8_t *payload;
        int whole;

        if (mended)
            mend(data + at, size - at, seq, seed);
        whole = lh_record_open(data + at, size - at, seq, seed, &rec, &payload);
        if (whole <= 0) {
            LH_REQUIRE(whole == 0 || whole == -LH_E_CORRUPT);
            return;
        }
        LH_REQUIRE(whole % 8 == 0 && (size_t)whole <= size - at && rec.seq == seq);
        LH_REQUIRE(payload + rec.length <= data + at + whole);
        if (!record(&rec, payload, &seed))
            return;
        at += (size_t)whole;
        seq++;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0 || size > MAX_SIZE)
        return 0;
    copy = malloc(size); /* exactly: a sanitizer sees any read behind it */
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    walk(copy, size, false);
    walk(copy, size, true);
    free(copy);
    return 0;
}
