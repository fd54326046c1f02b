/* One case a type: decode, and encode what came out. Thread: any. Failures: the decoders'. */
#include "payload.h"

#include "proto/frame.h"
#include "proto/journal.h"
#include "proto/owners.h"
#include "proto/session.h"
#include "proto/transfer.h"
#include "proto/tree.h"
#include "util/err.h"

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

static int files_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                       const char **why)
{
    struct lh_files_reader r;
    struct lh_files_writer w;
    struct lh_tree_entry e;
    int rc = lh_files_decode(in, len, &r, why);

    if (rc != 0)
        return rc;
    lh_files_begin(&w, out, r.first);
    while (lh_files_next(&r, &e))
        LH_REQUIRE(lh_files_add(&w, &e));
    *out_len = lh_files_end(&w);
    return 0;
}

static int wanted_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                        const char **why)
{
    const uint8_t *answers;
    uint32_t first;
    uint32_t n;
    int rc = lh_wanted_decode(in, len, &first, &answers, &n, why);

    if (rc == 0)
        *out_len = lh_wanted_encode(first, answers, n, out);
    return rc;
}

static int list_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                      const char **why)
{
    const uint8_t *path;
    size_t path_len;
    uint32_t tag;
    int rc = lh_list_decode(in, len, &tag, &path, &path_len, why);

    if (rc == 0)
        *out_len = lh_list_encode(tag, path, path_len, out);
    return rc;
}

static int names_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                       const char **why)
{
    struct lh_names_reader r;
    struct lh_names_writer w;
    const uint8_t *name;
    size_t name_len;
    uint8_t kind;
    int rc = lh_names_decode(in, len, &r, why);

    if (rc != 0)
        return rc;
    lh_names_begin(&w, out, r.tag);
    while (lh_names_next(&r, &kind, &name, &name_len))
        LH_REQUIRE(lh_names_add(&w, kind, name, name_len));
    *out_len = lh_names_end(&w, r.state);
    return 0;
}

static int owners_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len,
                        const char **why)
{
    struct lh_owners_reader r;
    struct lh_owners_writer w;
    struct lh_owner owner;
    int rc = lh_owners_decode(in, len, &r, why);

    if (rc != 0)
        return rc;
    lh_owners_begin(&w, out);
    while (lh_owners_next(&r, &owner))
        LH_REQUIRE(lh_owners_add(&w, &owner));
    *out_len = lh_owners_end(&w);
    return 0;
}

int pack_again(const uint8_t *in, size_t len, uint8_t *out, size_t *out_len, const char **why)
{
    static struct lh_part parts[LH_PACK_PARTS];
    int n = lh_pack_count(in, len, why);
    size_t head;

    if (n < 0)
        return n;
    for (int i = 0; i < n; i++)
        parts[i] = lh_pack_get(in, (size_t)i);
    head = lh_pack_encode(parts, (uint32_t)n, out);
    memcpy(out + head, in + head, len - head);
    *out_len = len;
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
    case LH_FRAME_SETTLED: /* indexes in place of blocks, in the same form */
    case LH_FRAME_REMOVED:
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
    case LH_FRAME_FILES:
    case LH_FRAME_ATTRS:
    case LH_FRAME_REMOVE:
        return files_again(in, len, out, out_len, why);
    case LH_FRAME_WANTED:
        return wanted_again(in, len, out, out_len, why);
    case LH_FRAME_FAILED:
        AGAIN(tree_failed);
    case LH_FRAME_LIST:
        return list_again(in, len, out, out_len, why);
    case LH_FRAME_NAMES:
        return names_again(in, len, out, out_len, why);
    case LH_FRAME_OWNERS:
        return owners_again(in, len, out, out_len, why);
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
