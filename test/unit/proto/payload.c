/* One case a type: decode, and encode what came out. Thread: any. Failures: the decoders'. */
#include "payload.h"

#include "proto/frame.h"
#include "proto/journal.h"
#include "proto/session.h"
#include "proto/transfer.h"

#include <string.h>

static int runs_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                      const char **why)
{
    static struct lh_block_run runs[LH_RUNS_PER_FRAME];
    int n = lh_block_runs_count(in, len, why);

    if (n < 0)
        return n;
    for (int i = 0; i < n; i++)
        runs[i] = lh_block_runs_get(in, (size_t)i);
    *out_len = lh_block_runs_encode(runs, (size_t)n, out);
    return 0;
}

static int hashes_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                        const char **why)
{
    static struct lh_hash list[LH_HASHES_PER_FRAME];
    const uint8_t *view;
    uint64_t first;
    uint32_t n;
    int rc = lh_hashes_decode(in, len, &first, &view, &n, why);

    if (rc != 0)
        return rc;
    memcpy(list, view, (size_t)n * LH_HASH_SIZE);
    *out_len = lh_hashes_encode(first, list, n, out);
    return 0;
}

/* The plain ones differ in their names alone. */
#define AGAIN(name)                                                                                \
    do {                                                                                           \
        struct lh_##name m;                                                                        \
        int rc = lh_##name##_decode(in, len, &m, why);                                             \
        if (rc == 0)                                                                               \
            *out_len = lh_##name##_encode(&m, out);                                                \
        return rc;                                                                                 \
    } while (0)

int payload_again(uint16_t type, const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                  const char **why)
{
    switch (type) {
    case LH_FRAME_HELLO:
        AGAIN(hello);
    case LH_FRAME_WELCOME:
        AGAIN(welcome);
    case LH_FRAME_JOIN:
        AGAIN(join);
    case LH_FRAME_OFFER:
        AGAIN(offer);
    case LH_FRAME_ACCEPT:
        AGAIN(accept);
    case LH_FRAME_LEDGER:
    case LH_FRAME_ACK:
    case LH_FRAME_AGAIN:
    case LH_FRAME_RETRACT:
    case LH_FRAME_RETRACTED:
    case LH_FRAME_EXTENTS: /* bytes in place of blocks, in the same form */
        return runs_again(in, len, out, out_len, why);
    case LH_FRAME_HASHES_WANTED:
        AGAIN(hashes_wanted);
    case LH_FRAME_HASHES:
        return hashes_again(in, len, out, out_len, why);
    case LH_FRAME_FINISH:
        AGAIN(finish);
    case LH_FRAME_DONE:
        AGAIN(done);
    case LH_FRAME_HEARTBEAT:
        AGAIN(heartbeat);
    case LH_FRAME_STATS:
        AGAIN(stats);
    case LH_FRAME_ERROR: {
        struct lh_error_frame m;
        int rc = lh_error_decode(in, len, &m, why);

        if (rc == 0)
            *out_len = lh_error_encode(&m, out);
        return rc;
    }
    default:
        return PAYLOAD_RAW;
    }
}

#define RECORD_AGAIN(name)                                                                         \
    do {                                                                                           \
        struct lh_journal_##name m;                                                                \
        int rc = lh_journal_##name##_decode(in, len, &m);                                          \
        if (rc == 0)                                                                               \
            *out_len = lh_journal_##name##_encode(&m, out);                                        \
        return rc;                                                                                 \
    } while (0)

static int blocks_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
    static struct lh_hash list[LH_RECORD_HASHES_MAX];
    const uint8_t *view;
    uint64_t first;
    uint32_t n;
    int rc = lh_journal_blocks_decode(in, len, &first, &view, &n);

    if (rc != 0)
        return rc;
    memcpy(list, view, (size_t)n * LH_HASH_SIZE);
    *out_len = lh_journal_blocks_encode(first, list, n, out);
    return 0;
}

static int drop_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
    struct lh_block_run run;
    int rc = lh_journal_drop_decode(in, len, &run);

    if (rc == 0)
        *out_len = lh_journal_drop_encode(&run, out);
    return rc;
}

int record_again(uint16_t type, const uint8_t *in, size_t len, uint8_t *out, size_t *out_len)
{
    switch (type) {
    case LH_RECORD_HEAD:
        RECORD_AGAIN(head);
    case LH_RECORD_EPOCH:
        RECORD_AGAIN(epoch);
    case LH_RECORD_BLOCKS:
        return blocks_again(in, len, out, out_len);
    case LH_RECORD_DROP:
        return drop_again(in, len, out, out_len);
    case LH_RECORD_FINISH:
        RECORD_AGAIN(finish);
    default:
        return PAYLOAD_RAW;
    }
}
