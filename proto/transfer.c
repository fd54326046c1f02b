/* Payloads of a transfer.
 *
 * Thread: any. Happy path: struct to bytes, bytes to struct, field by field as WIRE.md's tables
 * say. Failures: decoders refuse what is cut short or breaks a limit; what a later version appends
 * behind the known fields is not looked at. Whether a path is allowed, or a run lies within the
 * file, is for those who know the root and the file. */
#include "proto/transfer.h"

#include "proto/cursor.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "proto/tree.h"
#include "util/err.h"

#include <string.h>

#define RUN_SIZE 16
#define KEEP_FLAGS                                                                                 \
    (LH_OFFER_NO_CLOBBER | LH_OFFER_KEEP_SAME | LH_OFFER_KEEP_NEWER | LH_OFFER_KEEP_ANY)
#define TREE_FLAGS (LH_OFFER_CHECKSUM | LH_OFFER_DRY_RUN) /* have a meaning for trees only */
/* for a file only */
#define FILE_FLAGS (LH_OFFER_INLINE | LH_OFFER_RESTART | LH_OFFER_SPARSE | LH_OFFER_EXTENTS)
#define OFFER_FLAGS (KEEP_FLAGS | TREE_FLAGS | FILE_FLAGS | LH_OFFER_MORE_FILES)
#define TREE_KEEP (LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_OWNER | LH_KEEP_XATTRS | LH_KEEP_ACL)
#define ACCEPT_FLAGS                                                                               \
    (LH_ACCEPT_RESUMED | LH_ACCEPT_COMPARE | LH_ACCEPT_DROPPED | LH_ACCEPT_DONE | LH_ACCEPT_KEPT)

/* An entry: u16 length of what follows, so that entries in a list can grow too. */
static void put_entry(struct lh_writer *w, const struct lh_file_entry *e)
{
    lh_put_u16(w, (uint16_t)(1 + 3 * 4 + LH_IDENTITY_SIZE + 2 + e->path_len));
    lh_put_u8(w, e->kind);
    lh_put_u32(w, e->mode);
    lh_put_u32(w, e->uid);
    lh_put_u32(w, e->gid);
    lh_put_identity(w, &e->identity);
    lh_put_path(w, e->path, e->path_len);
}

/* NULL, or what is wrong. */
static const char *get_entry(struct lh_reader *r, struct lh_file_entry *e)
{
    size_t len = lh_get_u16(r);
    const uint8_t *at = lh_get_view(r, len);
    struct lh_reader in;

    if (at == NULL)
        return "a file's entry is cut short";
    lh_reader_init(&in, at, len);
    e->kind = lh_get_u8(&in);
    e->mode = lh_get_u32(&in);
    e->uid = lh_get_u32(&in);
    e->gid = lh_get_u32(&in);
    lh_get_identity(&in, &e->identity);
    lh_get_path(&in, &e->path, &e->path_len);
    if (in.failed)
        return "a file's entry is cut short or has an impossible size or time";
    if (e->kind != LH_KIND_FILE && e->kind != LH_KIND_DIR)
        return "OFFER is of neither a file nor a directory";
    if (e->mode > 07777)
        return "a file's mode has more than permission bits";
    if (!lh_path_allowed(e->path, e->path_len, LH_PATH_MAX))
        return "a file's path is too long or has a NUL in it";
    return NULL;
}

/* Of an offer's path, by its flags. */
static size_t path_max(uint16_t flags)
{
    return flags & LH_OFFER_MORE_FILES ? LH_PATH_MAX : LH_OFFER_PATH_MAX;
}

size_t lh_offer_encode(const struct lh_offer *m, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(m->path_len <= path_max(m->flags) && m->file.path_len <= LH_PATH_MAX);
    lh_writer_init(&w, out, LH_OFFER_MAX);
    lh_put_bytes(&w, m->holder, sizeof(m->holder));
    lh_put_u64(&w, m->prev_epoch);
    lh_put_bytes(&w, m->incarnation, sizeof(m->incarnation));
    lh_put_u64(&w, m->claim);
    lh_put_u16(&w, m->hash);
    lh_put_u32(&w, m->block_bytes);
    lh_put_u16(&w, m->flags);
    lh_put_u32(&w, m->n_files);
    lh_put_path(&w, m->path, m->path_len);
    put_entry(&w, &m->file);
    if (m->flags & LH_OFFER_MORE_FILES)
        lh_put_u32(&w, m->keep);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

/* NULL, or what is wrong with an offer that could be read. */
static const char *offer_refusal(const struct lh_offer *m)
{
    if (m->hash != LH_HASH_XXH3_128)
        return "OFFER names an unknown hash";
    if (!lh_grid_allowed(m->block_bytes))
        return "OFFER has a block size that is not allowed";
    if ((m->flags & ~OFFER_FLAGS) != 0)
        return "OFFER has unknown flags";
    if (m->n_files == 0)
        return "OFFER has no files";
    if (m->path_len == 0 || !lh_path_allowed(m->path, m->path_len, path_max(m->flags)))
        return "OFFER's path is empty, too long or has a NUL in it";
    return NULL;
}

/* What is wrong with flags and entry together. */
static const char *offer_conflict(const struct lh_offer *m)
{
    const unsigned keep = m->flags & KEEP_FLAGS;
    const bool tree = m->flags & LH_OFFER_MORE_FILES;

    if ((keep & (keep - 1)) != 0)
        return "OFFER has flags that exclude each other";
    if ((m->flags & (tree ? FILE_FLAGS : TREE_FLAGS)) != 0)
        return "OFFER has flags that its kind does not have";
    if (m->file.kind != (tree ? LH_KIND_DIR : LH_KIND_FILE))
        return "OFFER's entry is not of the kind that its flags say";
    if ((m->keep & ~(uint32_t)TREE_KEEP) != 0)
        return "OFFER asks to keep what is unknown";
    return NULL;
}

int lh_offer_decode(const uint8_t *in, size_t len, struct lh_offer *m, const char **why)
{
    struct lh_offer got;
    struct lh_reader r;
    const char *bad;

    lh_reader_init(&r, in, len);
    lh_get_bytes(&r, got.holder, sizeof(got.holder));
    got.prev_epoch = lh_get_u64(&r);
    lh_get_bytes(&r, got.incarnation, sizeof(got.incarnation));
    got.claim = lh_get_u64(&r);
    got.hash = lh_get_u16(&r);
    got.block_bytes = lh_get_u32(&r);
    got.flags = lh_get_u16(&r);
    got.n_files = lh_get_u32(&r);
    lh_get_path(&r, &got.path, &got.path_len);
    if (r.failed)
        return lh_wire_refuse(why, "OFFER is cut short");
    bad = offer_refusal(&got);
    if (bad == NULL)
        bad = get_entry(&r, &got.file);
    got.keep = 0;
    if (bad == NULL && (got.flags & LH_OFFER_MORE_FILES)) {
        got.keep = lh_get_u32(&r);
        if (r.failed)
            bad = "OFFER is cut short";
    }
    if (bad == NULL)
        bad = offer_conflict(&got);
    if (bad != NULL)
        return lh_wire_refuse(why, bad);
    *m = got;
    return 0;
}

size_t lh_accept_encode(const struct lh_accept *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u64(&w, m->epoch);
    lh_put_u16(&w, m->flags);
    lh_put_u64(&w, m->window);
    lh_put_bytes(&w, m->transfer_id, sizeof(m->transfer_id));
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_accept_decode(const uint8_t *in, size_t len, struct lh_accept *m, const char **why)
{
    struct lh_accept got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.epoch = lh_get_u64(&r);
    got.flags = lh_get_u16(&r);
    got.window = lh_get_u64(&r);
    lh_get_bytes(&r, got.transfer_id, sizeof(got.transfer_id));
    if (r.failed)
        return lh_wire_refuse(why, "ACCEPT is cut short");
    if ((got.flags & ~ACCEPT_FLAGS) != 0)
        return lh_wire_refuse(why, "ACCEPT has unknown flags");
    if ((got.flags & LH_ACCEPT_KEPT) != 0 &&
        (got.flags & ACCEPT_FLAGS) != (LH_ACCEPT_DONE | LH_ACCEPT_KEPT))
        return lh_wire_refuse(why, "ACCEPT keeps what is there and says something else besides");
    if ((got.flags & LH_ACCEPT_DONE) == 0 && (got.epoch == 0 || got.window == 0))
        return lh_wire_refuse(why, "ACCEPT has no epoch or no window");
    *m = got;
    return 0;
}

size_t lh_block_runs_encode(const struct lh_block_run *runs, size_t n, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(n <= LH_RUNS_PER_FRAME);
    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u32(&w, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        lh_put_u64(&w, runs[i].first);
        lh_put_u64(&w, runs[i].count);
    }
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

bool lh_block_run_allowed(uint64_t first, uint64_t count)
{
    return count > 0 && first <= UINT64_MAX - count;
}

int lh_block_runs_count(const uint8_t *in, size_t len, const char **why)
{
    struct lh_reader r;
    uint32_t n;

    lh_reader_init(&r, in, len);
    n = lh_get_u32(&r);
    if (r.failed || n > LH_RUNS_PER_FRAME || lh_reader_left(&r) / RUN_SIZE < n)
        return lh_wire_refuse(why, "a list of block runs is cut short or too long");
    for (uint32_t i = 0; i < n; i++) {
        uint64_t first = lh_get_u64(&r);
        uint64_t count = lh_get_u64(&r);

        if (!lh_block_run_allowed(first, count))
            return lh_wire_refuse(why, "a block run is empty or overflows");
    }
    return (int)n;
}

struct lh_block_run lh_block_runs_get(const uint8_t *in, size_t index)
{
    struct lh_block_run run;
    struct lh_reader r;

    lh_reader_init(&r, in + 4 + index * RUN_SIZE, RUN_SIZE);
    run.first = lh_get_u64(&r);
    run.count = lh_get_u64(&r);
    return run;
}

size_t lh_hashes_wanted_encode(const struct lh_hashes_wanted *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u64(&w, m->first);
    lh_put_u32(&w, m->count);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_hashes_wanted_decode(const uint8_t *in, size_t len, struct lh_hashes_wanted *m,
                            const char **why)
{
    struct lh_hashes_wanted got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    got.first = lh_get_u64(&r);
    got.count = lh_get_u32(&r);
    if (r.failed)
        return lh_wire_refuse(why, "HASHES_WANTED is cut short");
    if (got.count > LH_HASHES_PER_FRAME || !lh_block_run_allowed(got.first, got.count))
        return lh_wire_refuse(why, "HASHES_WANTED asks for none, for too many, or beyond any file");
    *m = got;
    return 0;
}

size_t lh_hashes_encode(uint64_t first, const struct lh_hash *hashes, uint32_t n, uint8_t *out)
{
    struct lh_writer w;

    LH_REQUIRE(n >= 1 && n <= LH_HASHES_PER_FRAME);
    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_u64(&w, first);
    lh_put_u32(&w, n);
    lh_put_bytes(&w, hashes, (size_t)n * LH_HASH_SIZE);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_hashes_decode(const uint8_t *in, size_t len, uint64_t *first, const uint8_t **hashes,
                     uint32_t *n, const char **why)
{
    struct lh_reader r;
    uint64_t got_first;
    uint32_t got_n;
    const uint8_t *view;

    lh_reader_init(&r, in, len);
    got_first = lh_get_u64(&r);
    got_n = lh_get_u32(&r);
    if (r.failed)
        return lh_wire_refuse(why, "HASHES is cut short");
    if (got_n > LH_HASHES_PER_FRAME || !lh_block_run_allowed(got_first, got_n))
        return lh_wire_refuse(why, "HASHES has none, too many, or lies beyond any file");
    view = lh_get_view(&r, (size_t)got_n * LH_HASH_SIZE);
    if (view == NULL)
        return lh_wire_refuse(why, "HASHES is cut short");
    *first = got_first;
    *hashes = view;
    *n = got_n;
    return 0;
}

size_t lh_finish_encode(const struct lh_finish *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_identity(&w, &m->identity);
    lh_put_u32(&w, m->mode);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_finish_decode(const uint8_t *in, size_t len, struct lh_finish *m, const char **why)
{
    struct lh_finish got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    lh_get_identity(&r, &got.identity);
    got.mode = lh_get_u32(&r);
    if (r.failed)
        return lh_wire_refuse(why, "FINISH is cut short or has an impossible size or time");
    if (got.mode > 07777)
        return lh_wire_refuse(why, "FINISH's mode has more than permission bits");
    *m = got;
    return 0;
}

size_t lh_done_encode(const struct lh_done *m, uint8_t *out)
{
    struct lh_writer w;

    lh_writer_init(&w, out, LH_CONTROL_MAX);
    lh_put_bytes(&w, m->digest.bytes, LH_HASH_SIZE);
    lh_put_u64(&w, m->bytes);
    LH_INVARIANT(!w.failed);
    return (size_t)(w.at - out);
}

int lh_done_decode(const uint8_t *in, size_t len, struct lh_done *m, const char **why)
{
    struct lh_done got;
    struct lh_reader r;

    lh_reader_init(&r, in, len);
    lh_get_bytes(&r, got.digest.bytes, LH_HASH_SIZE);
    got.bytes = lh_get_u64(&r);
    if (r.failed)
        return lh_wire_refuse(why, "DONE is cut short");
    *m = got;
    return 0;
}
