/* Frames of a transfer: limits and refusals. (Bytes: golden.c.) */
#include "proto/transfer.h"
#include "proto/frame.h"
#include "proto/tree.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <string.h>

static uint8_t out[LH_CONTROL_MAX];
static uint8_t long_path[LH_OFFER_PATH_MAX + 1];

static struct lh_offer good_offer(void)
{
    struct lh_offer m = {
        .hash = LH_HASH_XXH3_128,
        .block_bytes = LH_BLOCK_DEFAULT,
        .n_files = 1,
        .path = (const uint8_t *)"a/b",
        .path_len = 3,
        .file = {.kind = LH_KIND_FILE, .mode = 0644, .identity = {1, 2, 3, {4, 5}, {6, 7}}},
    };
    return m;
}

static int offer_read(size_t len)
{
    struct lh_offer got;
    const char *why = NULL;
    int rc;

    memset(&got, 0x77, sizeof(got));
    rc = lh_offer_decode(out, len, &got, &why);
    if (rc != 0 && (why == NULL || got.hash != 0x7777))
        return 1; /* a refusal must say why and write nothing */
    return rc;
}

static int offer_pass(const struct lh_offer *m)
{
    return offer_read(lh_offer_encode(m, out));
}

static void offer_fields(void)
{
    struct lh_offer m = good_offer();
    struct lh_offer got;
    const char *why = NULL;

    memset(m.holder, 1, sizeof(m.holder));
    memset(m.incarnation, 2, sizeof(m.incarnation));
    m.prev_epoch = 3;
    m.claim = 4;
    m.flags = LH_OFFER_INLINE | LH_OFFER_EXTENTS;
    m.n_files = 5;
    m.file.uid = 6;
    m.file.gid = 7;
    m.file.path = (const uint8_t *)"c";
    m.file.path_len = 1;
    is_i64(lh_offer_decode(out, lh_offer_encode(&m, out), &got, &why), 0, "OFFER is read");
    ok(memcmp(got.holder, m.holder, 16) == 0 && memcmp(got.incarnation, m.incarnation, 16) == 0 &&
           got.prev_epoch == 3 && got.claim == 4 && got.hash == LH_HASH_XXH3_128 &&
           got.block_bytes == LH_BLOCK_DEFAULT && got.flags == m.flags && got.n_files == 5 &&
           got.path_len == 3 && memcmp(got.path, "a/b", 3) == 0,
       "OFFER is read back");
    ok(got.file.kind == LH_KIND_FILE && got.file.mode == 0644 && got.file.uid == 6 &&
           got.file.gid == 7 && lh_identity_same(&got.file.identity, &m.file.identity) &&
           got.file.path_len == 1 && got.file.path[0] == 'c',
       "and its file");
}

static void offer_limits(void)
{
    struct lh_offer m = good_offer();

    m.path = long_path;
    m.path_len = LH_OFFER_PATH_MAX;
    m.file.path = long_path;
    m.file.path_len = LH_PATH_MAX;
    m.file.mode = 07777;
    m.file.identity.size = INT64_MAX;
    m.block_bytes = LH_BLOCK_MAX;
    m.flags = LH_OFFER_NO_CLOBBER | LH_OFFER_INLINE | LH_OFFER_RESTART | LH_OFFER_EXTENTS;
    ok(lh_offer_encode(&m, out) <= LH_OFFER_MAX, "the longest offer keeps its promise");
    is_i64(offer_pass(&m), 0, "and is read");
    m.flags = LH_OFFER_MORE_FILES;
    m.file.kind = LH_KIND_DIR;
    m.path_len = LH_PATH_MAX;
    ok(lh_offer_encode(&m, out) <= LH_OFFER_MAX, "the longest tree's does too");
    is_i64(offer_pass(&m), 0, "and is read");

    m = good_offer();
    m.hash = 2;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: unknown hash");
    m = good_offer();
    m.block_bytes = LH_BLOCK_MAX * 2;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: grid too wide");
    m.block_bytes = LH_BLOCK_MIN / 2;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: grid too narrow");
    m.block_bytes = LH_BLOCK_DEFAULT - 4096;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: grid is no power of two");
    m.block_bytes = 0;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: no grid");
    m = good_offer();
    m.flags = LH_OFFER_SPARSE * 2;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: unknown flag");
    m.flags = 16; /* KEEP_OWNER once, now in `keep` */
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: the flag that is no longer one");
    m.flags = 0x8000;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: the last bit");
    m = good_offer();
    m.n_files = 0;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: no files");
    m = good_offer();
    m.path_len = 0;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: no path");
    m.path = (const uint8_t *)"a\0b";
    m.path_len = 3;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: NUL in the path");
}

static void offer_entry(void)
{
    struct lh_offer m = good_offer();

    m.file.kind = 0;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: no kind");
    for (uint8_t kind = LH_KIND_DIR; kind <= LH_KIND_HARDLINK + 1; kind++) {
        m.file.kind = kind;
        is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: no plain file, but kind %d", kind);
    }
    m = good_offer();
    m.file.mode = 010644;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: more than permission bits");
    m = good_offer();
    m.file.identity.mtime.nsec = 1000000000;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: impossible time");
    m = good_offer();
    m.file.identity.size = (uint64_t)INT64_MAX + 1;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: impossible size");
    m = good_offer();
    m.file.path = (const uint8_t *)"\0";
    m.file.path_len = 1;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER: NUL in the file's path");
}

static struct lh_offer good_tree(void)
{
    struct lh_offer m = good_offer();

    m.flags = LH_OFFER_MORE_FILES | LH_OFFER_KEEP_SAME;
    m.file.kind = LH_KIND_DIR;
    m.keep = LH_KEEP_MODE | LH_KEEP_ACL;
    return m;
}

static void offer_tree(void)
{
    struct lh_offer m = good_tree();
    struct lh_offer got = {0};
    const char *why = NULL;
    size_t len = lh_offer_encode(&m, out);

    ok(lh_offer_decode(out, len, &got, &why) == 0 && got.flags == m.flags &&
           got.file.kind == LH_KIND_DIR && got.keep == (LH_KEEP_MODE | LH_KEEP_ACL),
       "OFFER of a tree is read back");
    is_i64(offer_read(len - 1), -LH_E_PROTOCOL, "OFFER of a tree: cut within what it keeps");
    memset(out + len, 0xee, 16);
    is_i64(offer_read(len + 16), 0, "OFFER of a tree that has grown");
    m.keep = 31;
    is_i64(offer_pass(&m), 0, "OFFER of a tree: all that can be kept");
    m.keep = 32;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER of a tree: keeps what is unknown");
    m.keep = 1u << 31;
    is_i64(offer_pass(&m), -LH_E_PROTOCOL, "OFFER of a tree: keeps the last bit");
    m = good_tree();
    m.flags |= LH_OFFER_CHECKSUM | LH_OFFER_DRY_RUN;
    is_i64(offer_pass(&m), 0, "OFFER of a tree: by contents, as a dry run");
    for (uint8_t kind = LH_KIND_FILE; kind <= LH_KIND_HARDLINK; kind++) {
        m.file.kind = kind;
        is_i64(offer_pass(&m), kind == LH_KIND_DIR ? 0 : -LH_E_PROTOCOL,
               "OFFER of a tree: root of kind %d", kind);
    }
    m = good_offer();
    m.keep = LH_KEEP_MODE;
    ok(lh_offer_decode(out, lh_offer_encode(&m, out), &got, &why) == 0 && got.keep == 0,
       "OFFER of a file has no list of what is kept");
}

static void offer_flags(void)
{
    static const uint16_t exclusive[] = {LH_OFFER_NO_CLOBBER, LH_OFFER_KEEP_SAME,
                                         LH_OFFER_KEEP_NEWER, LH_OFFER_KEEP_ANY};
    static const uint16_t of_files[] = {LH_OFFER_INLINE, LH_OFFER_RESTART, LH_OFFER_EXTENTS,
                                        LH_OFFER_SPARSE};
    static const uint16_t of_trees[] = {LH_OFFER_CHECKSUM, LH_OFFER_DRY_RUN};
    struct lh_offer file = good_offer();
    struct lh_offer tree = good_tree();

    for (size_t a = 0; a < 4; a++) {
        for (size_t b = 0; b < 4; b++) {
            file.flags = exclusive[a] | exclusive[b];
            tree.flags = LH_OFFER_MORE_FILES | file.flags;
            is_i64(offer_pass(&file), a == b ? 0 : -LH_E_PROTOCOL, "OFFER: flags %u and %u",
                   exclusive[a], exclusive[b]);
            is_i64(offer_pass(&tree), a == b ? 0 : -LH_E_PROTOCOL, "OFFER of a tree: %u and %u",
                   exclusive[a], exclusive[b]);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        file.flags = of_files[i];
        tree.flags = LH_OFFER_MORE_FILES | of_files[i];
        is_i64(offer_pass(&file), 0, "OFFER: flag %u", of_files[i]);
        is_i64(offer_pass(&tree), -LH_E_PROTOCOL, "OFFER of a tree: flag %u", of_files[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        file.flags = of_trees[i];
        is_i64(offer_pass(&file), -LH_E_PROTOCOL, "OFFER: flag %u of trees", of_trees[i]);
    }
}

/* Lengths that no encoder writes. */
static void offer_forged(void)
{
    struct lh_offer m = good_offer();
    struct lh_offer got;
    const char *why = NULL;
    size_t len = lh_offer_encode(&m, out);
    const size_t entry_at = 62 + 3;

    /* A later version's entry is longer: what it has more is passed over, what is behind it too. */
    memset(out + len, 0xee, 40);
    out[entry_at] = (uint8_t)(out[entry_at] + 20);
    ok(lh_offer_decode(out, len + 40, &got, &why) == 0 && got.file.path_len == 0 &&
           got.file.mode == 0644,
       "OFFER: an entry that has grown is read as before");
    out[entry_at] = (uint8_t)(out[entry_at] - 21);
    is_i64(offer_read(len + 40), -LH_E_PROTOCOL,
           "OFFER: an entry that is too short for its fields");
    memset(out, 'p', sizeof(out));
    m.path = long_path;
    m.path_len = LH_OFFER_PATH_MAX;
    lh_offer_encode(&m, out);
    out[60] = 1; /* 20481 */
    is_i64(offer_read(LH_CONTROL_MAX), -LH_E_PROTOCOL, "OFFER: path too long");
    out[60] = out[61] = 0xff;
    is_i64(offer_read(LH_CONTROL_MAX), -LH_E_PROTOCOL, "OFFER: path far too long");
    is_i64(offer_read(5000), -LH_E_PROTOCOL, "OFFER: path beyond the end");
}

static void accepts(void)
{
    struct lh_accept m = {9, LH_ACCEPT_RESUMED | LH_ACCEPT_COMPARE | LH_ACCEPT_DROPPED, 10, {11}};
    struct lh_accept got;
    const char *why = NULL;

    ok(lh_accept_decode(out, lh_accept_encode(&m, out), &got, &why) == 0 && got.epoch == 9 &&
           got.flags == m.flags && got.window == 10 && got.transfer_id[0] == 11,
       "ACCEPT is read back");
    m.flags = 32;
    is_i64(lh_accept_decode(out, lh_accept_encode(&m, out), &got, &why), -LH_E_PROTOCOL,
           "ACCEPT: unknown flag");
    for (m.flags = LH_ACCEPT_KEPT; m.flags < 2 * LH_ACCEPT_KEPT; m.flags++)
        is_i64(lh_accept_decode(out, lh_accept_encode(&m, out), &got, &why),
               m.flags == (LH_ACCEPT_KEPT | LH_ACCEPT_DONE) ? 0 : -LH_E_PROTOCOL,
               "ACCEPT: KEPT, in flags %u", m.flags);
    m.flags = 0;
    m.epoch = 0;
    is_i64(lh_accept_decode(out, lh_accept_encode(&m, out), &got, &why), -LH_E_PROTOCOL,
           "ACCEPT: no epoch");
    m.epoch = 1;
    m.window = 0;
    is_i64(lh_accept_decode(out, lh_accept_encode(&m, out), &got, &why), -LH_E_PROTOCOL,
           "ACCEPT: no window");
    m.flags = LH_ACCEPT_DONE;
    m.epoch = 0;
    is_i64(lh_accept_decode(out, lh_accept_encode(&m, out), &got, &why), 0,
           "ACCEPT: neither is needed when all is done");
}

static void run_lists(void)
{
    static struct lh_block_run runs[LH_RUNS_PER_FRAME];
    const char *why = NULL;
    size_t len;
    bool same = true;

    for (size_t i = 0; i < LH_RUNS_PER_FRAME; i++)
        runs[i] = (struct lh_block_run){i * 1000, i + 1};
    len = lh_block_runs_encode(runs, LH_RUNS_PER_FRAME, out);
    ok(len <= LH_CONTROL_MAX, "the longest list fits into a frame");
    is_i64(lh_block_runs_count(out, len, &why), LH_RUNS_PER_FRAME, "and is counted");
    for (size_t i = 0; i < LH_RUNS_PER_FRAME; i++) {
        struct lh_block_run run = lh_block_runs_get(out, i);

        same = same && run.first == runs[i].first && run.count == runs[i].count;
    }
    ok(same, "and read back");
    out[0]++;
    is_i64(lh_block_runs_count(out, LH_CONTROL_MAX, &why), -LH_E_PROTOCOL, "a longer one is not");
    memset(out, 0xff, 4);
    is_i64(lh_block_runs_count(out, LH_CONTROL_MAX, &why), -LH_E_PROTOCOL, "nor a huge one");

    len = lh_block_runs_encode(NULL, 0, out);
    is_i64(lh_block_runs_count(out, len, &why), 0, "an empty list is a list");
    runs[0] = (struct lh_block_run){5, 0};
    why = NULL;
    len = lh_block_runs_encode(runs, 2, out);
    is_i64(lh_block_runs_count(out, len, &why), -LH_E_PROTOCOL, "an empty run is refused");
    is_str(why, "a block run is empty or overflows", "and why");
    runs[0] = (struct lh_block_run){0, 1};
    runs[1] = (struct lh_block_run){UINT64_MAX - 5, 5};
    len = lh_block_runs_encode(runs, 2, out);
    is_i64(lh_block_runs_count(out, len, &why), 2, "the last run there can be");
    runs[1].count++;
    len = lh_block_runs_encode(runs, 2, out);
    is_i64(lh_block_runs_count(out, len, &why), -LH_E_PROTOCOL, "one that overflows is refused");
}

static int wanted_pass(uint64_t first, uint32_t count)
{
    struct lh_hashes_wanted m = {first, count};
    struct lh_hashes_wanted got = {77, 77};
    const char *why = NULL;
    int rc = lh_hashes_wanted_decode(out, lh_hashes_wanted_encode(&m, out), &got, &why);

    if (rc == 0)
        return got.first == first && got.count == count ? 0 : 1;
    return got.first == 77 && why != NULL ? rc : 1;
}

static void hash_lists(void)
{
    static struct lh_hash hashes[LH_HASHES_PER_FRAME];
    const char *why = NULL;
    const uint8_t *view = NULL;
    uint64_t first = 0;
    uint32_t n = 0;
    size_t len;

    is_i64(wanted_pass(7, 1), 0, "one hash is wanted");
    is_i64(wanted_pass(7, LH_HASHES_PER_FRAME), 0, "as many as a frame holds");
    is_i64(wanted_pass(7, LH_HASHES_PER_FRAME + 1), -LH_E_PROTOCOL, "one more");
    is_i64(wanted_pass(7, 0), -LH_E_PROTOCOL, "none");
    is_i64(wanted_pass(UINT64_MAX, 1), -LH_E_PROTOCOL, "beyond the last block");

    for (size_t i = 0; i < LH_HASHES_PER_FRAME; i++)
        memset(hashes[i].bytes, (int)(i % 251), LH_HASH_SIZE);
    len = lh_hashes_encode(123, hashes, LH_HASHES_PER_FRAME, out);
    ok(len <= LH_CONTROL_MAX, "the longest list of hashes fits into a frame");
    ok(lh_hashes_decode(out, len, &first, &view, &n, &why) == 0 && first == 123 &&
           n == LH_HASHES_PER_FRAME && memcmp(view, hashes, sizeof(hashes)) == 0,
       "and is read back");
    is_i64(lh_hashes_decode(out, len - 1, &first, &view, &n, &why), -LH_E_PROTOCOL, "not cut");
    out[8]++;
    is_i64(lh_hashes_decode(out, LH_CONTROL_MAX, &first, &view, &n, &why), -LH_E_PROTOCOL,
           "nor one longer");
    memset(out + 8, 0, 4);
    is_i64(lh_hashes_decode(out, len, &first, &view, &n, &why), -LH_E_PROTOCOL, "nor an empty one");
    lh_hashes_encode(UINT64_MAX - 1, hashes, 2, out);
    is_i64(lh_hashes_decode(out, len, &first, &view, &n, &why), -LH_E_PROTOCOL, "nor an overflow");
    ok(first == 123 && n == LH_HASHES_PER_FRAME, "refusals write nothing");
}

static void ends(void)
{
    struct lh_finish finish = {{1, 2, 3, {4, 5}, {6, 7}}, 0600};
    struct lh_finish got_finish;
    struct lh_done done = {{{1, 2, 3}}, UINT64_MAX};
    struct lh_done got_done;
    const char *why = NULL;

    ok(lh_finish_decode(out, lh_finish_encode(&finish, out), &got_finish, &why) == 0 &&
           got_finish.mode == 0600 && lh_identity_same(&got_finish.identity, &finish.identity),
       "FINISH is read back");
    finish.mode = 07777;
    is_i64(lh_finish_decode(out, lh_finish_encode(&finish, out), &got_finish, &why), 0,
           "FINISH: all permission bits");
    finish.mode = 010000;
    is_i64(lh_finish_decode(out, lh_finish_encode(&finish, out), &got_finish, &why), -LH_E_PROTOCOL,
           "FINISH: more than permission bits");
    finish.mode = 0;
    finish.identity.ctime.nsec = 1000000000;
    is_i64(lh_finish_decode(out, lh_finish_encode(&finish, out), &got_finish, &why), -LH_E_PROTOCOL,
           "FINISH: impossible time");
    ok(lh_done_decode(out, lh_done_encode(&done, out), &got_done, &why) == 0 &&
           got_done.bytes == UINT64_MAX && memcmp(&got_done.digest, &done.digest, 16) == 0,
       "DONE is read back");
}

int main(void)
{
    memset(long_path, 'p', sizeof(long_path));
    offer_fields();
    offer_limits();
    offer_entry();
    offer_tree();
    offer_flags();
    offer_forged();
    accepts();
    run_lists();
    hash_lists();
    ends();
    return done_testing();
}
