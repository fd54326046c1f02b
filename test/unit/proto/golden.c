/* The wire and the journal against vectors written down from their tables by golden.py.
 *
 * Each frame and record stands here once more as a struct: encoding it gives exactly the vector,
 * and encoding what was decoded from the vector gives the vector again. As the encoder is right
 * (first check) and keeps every field, the decoder then is too. Every vector is also cut at each
 * length (refused) and grown at its end (read as before). */
#include "golden.h"
#include "payload.h"
#include "proto/frame.h"
#include "proto/journal.h"
#include "proto/owners.h"
#include "proto/session.h"
#include "proto/transfer.h"
#include "proto/tree.h"
#include "test/lib/tap.h"

#include <longhaul/status.h>
#include <stdlib.h>
#include <string.h>

static const struct lh_identity source = {
    .dev = 0x0801,
    .ino = 0x1122334455667788,
    .size = 5368709121,
    .mtime = {1700000000, 123456789},
    .ctime = {-2, 999999999},
};
static const char contents[] = "contents of a block\n";

static void count_up(uint8_t *out, uint8_t start)
{
    for (unsigned i = 0; i < 16; i++)
        out[i] = (uint8_t)(start + i);
}

/* A copy of exactly `len` bytes on the heap, so that a sanitizer sees any read behind it. */
static uint8_t *exactly(const void *data, size_t len)
{
    uint8_t *copy = malloc(len);

    if (copy == NULL && len > 0)
        bail("out of memory");
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

static uint8_t out[PAYLOAD_OUT_SIZE];
static uint8_t again[PAYLOAD_OUT_SIZE];

/* Every shorter payload is refused; a longer one reads the same. Raw ones are not asked. */
static void check_cuts(const char *name, uint16_t type, const uint8_t *payload, size_t len)
{
    const char *why = NULL;
    size_t n = 0;
    size_t refused = 0;
    uint8_t *longer;

    if (payload_again(type, payload, len, again, &n, &why) == PAYLOAD_RAW)
        return;
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = exactly(payload, cut);

        why = NULL;
        if (payload_again(type, copy, cut, again, &n, &why) == -LH_E_PROTOCOL && why != NULL)
            refused++;
        free(copy);
    }
    is_u64(refused, len, "%s: refused with a reason at each of %zu shorter lengths", name, len);
    longer = malloc(len + 9);
    if (longer == NULL)
        bail("out of memory");
    memcpy(longer, payload, len);
    memset(longer + len, 0xa5, 9);
    ok(payload_again(type, longer, len + 9, again, &n, &why) == 0 && n == len &&
           memcmp(again, payload, len) == 0,
       "%s: bytes appended by a later version are ignored", name);
    free(longer);
}

/* `out` holds the payload that our encoder made, `f` what the header says besides. */
static void check_frame(struct lh_frame f, size_t len, const uint8_t *want, size_t want_len)
{
    const char *name = lh_frame_name(f.type);
    uint8_t header[LH_FRAME_HEADER_SIZE];
    const uint8_t *payload = want + LH_FRAME_HEADER_SIZE;
    const char *why = NULL;
    struct lh_frame got;
    size_t n = 0;
    int rc;

    f.length = (uint32_t)len;
    if (f.flags & LH_FRAME_ZEROS)
        lh_hash_zeros(f.raw_length, &f.hash);
    else
        lh_hash_bytes(out, len, &f.hash);
    lh_frame_encode(&f, header);
    is_mem(header, want, sizeof(header), "%s: header as in the table", name);
    is_u64(LH_FRAME_HEADER_SIZE + len, want_len, "%s: length as in the table", name);
    if (LH_FRAME_HEADER_SIZE + len != want_len)
        return;
    is_mem(out, payload, len, "%s: payload as in the table", name);
    ok(lh_frame_decode(want, &got, &why) == 0 && got.type == f.type && got.flags == f.flags &&
           got.length == f.length && got.transfer == f.transfer && got.file == f.file &&
           got.raw_length == f.raw_length && got.offset == f.offset && got.epoch == f.epoch &&
           memcmp(got.hash.bytes, f.hash.bytes, LH_HASH_SIZE) == 0,
       "%s: header is read back", name);
    rc = payload_again(f.type, payload, len, again, &n, &why);
    ok(rc == PAYLOAD_RAW || (rc == 0 && n == len && memcmp(again, payload, len) == 0),
       "%s: payload is read back", name);
    check_cuts(name, f.type, payload, len);
}

#define CHECK(vector, len, ...)                                                                    \
    check_frame((struct lh_frame){__VA_ARGS__}, (len), golden_frame_##vector,                      \
                sizeof(golden_frame_##vector))
#define OF_TRANSFER .transfer = 3, .epoch = 7

static void session_frames(void)
{
    static const char agent[] = "longhaul/0.1.0";
    static const char text[] = "held by another sender \xe2\x80\x93 try later";
    struct lh_hello hello = {1, 2, LH_ROLE_SEND, 7, 1, 2000, 8, agent, sizeof(agent) - 1};
    struct lh_welcome welcome = {
        .version = 1,
        .features = LH_FEATURE_INSECURE,
        .heartbeat_ms = 1500,
        .max_streams = 64,
        .max_block = 1048576,
        .window = 0x20000000,
        .agent = agent,
        .agent_len = sizeof(agent) - 1,
    };
    struct lh_join join = {.stream = 5, .generation = 2};
    struct lh_heartbeat beat = {77, 20001, 350, 0x0fedcba9};
    struct lh_stats stats = {1004, 950, 20, 1, 1000};
    struct lh_error_frame error = {LH_WIRE_BUSY, 4200, text, sizeof(text) - 1};

    count_up(welcome.token, 0x10);
    count_up(welcome.receiver, 0x20);
    count_up(join.token, 0x10);
    CHECK(hello, lh_hello_encode(&hello, out), .type = LH_FRAME_HELLO, .transfer = LH_NO_TRANSFER);
    CHECK(welcome, lh_welcome_encode(&welcome, out), .type = LH_FRAME_WELCOME,
          .transfer = LH_NO_TRANSFER);
    CHECK(join, lh_join_encode(&join, out), .type = LH_FRAME_JOIN, .transfer = LH_NO_TRANSFER);
    CHECK(heartbeat, lh_heartbeat_encode(&beat, out), .type = LH_FRAME_HEARTBEAT,
          .transfer = LH_NO_TRANSFER);
    CHECK(error, lh_error_encode(&error, out), .type = LH_FRAME_ERROR, .transfer = 3);
    CHECK(bye, 0, .type = LH_FRAME_BYE, .transfer = LH_NO_TRANSFER);
    CHECK(stats, lh_stats_encode(&stats, out), .type = LH_FRAME_STATS, .transfer = LH_NO_TRANSFER);
}

static size_t run_list(size_t n, const struct lh_block_run *runs)
{
    return lh_block_runs_encode(runs, n, out);
}

static void opening_frames(void)
{
    static const uint8_t path[] = "in/big \xff\nfile";
    struct lh_offer offer = {
        .prev_epoch = 6,
        .claim = 0x0102030405060708,
        .hash = LH_HASH_XXH3_128,
        .block_bytes = 262144,
        .flags = LH_OFFER_NO_CLOBBER,
        .n_files = 1,
        .path = path,
        .path_len = sizeof(path) - 1,
        .file = {LH_KIND_FILE, 0640, 1000, 100, source, NULL, 0},
    };
    struct lh_accept accept = {7, LH_ACCEPT_RESUMED | LH_ACCEPT_COMPARE, 0x10000000, {0}};
    struct lh_block_run extents[] = {{0, 4096}, {1 << 30, 262145}};
    struct lh_block_run ledger[] = {{0, 100}, {200, 1}};

    count_up(offer.holder, 0x40);
    count_up(offer.incarnation, 0x50);
    count_up(accept.transfer_id, 0x60);
    CHECK(offer, lh_offer_encode(&offer, out), .type = LH_FRAME_OFFER, .transfer = 3);
    CHECK(accept, lh_accept_encode(&accept, out), .type = LH_FRAME_ACCEPT, OF_TRANSFER);
    CHECK(extents, run_list(2, extents), .type = LH_FRAME_EXTENTS, .flags = LH_FRAME_LAST,
          .transfer = 3, .file = 1);
    CHECK(ledger, run_list(2, ledger), .type = LH_FRAME_LEDGER, .flags = LH_FRAME_LAST,
          OF_TRANSFER);
}

static void moving_frames(void)
{
    struct lh_block_run ack[] = {{100, 100}, {201, 0x123456789}};
    struct lh_block_run one[] = {{17, 1}};
    struct lh_block_run back[] = {{4097, 2}};
    struct lh_hashes_wanted wanted = {4096, 4000};
    struct lh_hash list[3];

    lh_hash_bytes("one", 3, &list[0]);
    lh_hash_bytes("two", 3, &list[1]);
    lh_hash_bytes(contents, sizeof(contents) - 1, &list[2]);
    memcpy(out, contents, sizeof(contents) - 1);
    CHECK(block, sizeof(contents) - 1, .type = LH_FRAME_BLOCK, .raw_length = sizeof(contents) - 1,
          .offset = 5368709120, OF_TRANSFER);
    CHECK(zeros, 0, .type = LH_FRAME_BLOCK, .flags = LH_FRAME_ZEROS, .raw_length = 262144,
          .offset = 5ull * 262144, OF_TRANSFER);
    CHECK(ack, run_list(2, ack), .type = LH_FRAME_ACK, OF_TRANSFER);
    CHECK(again, run_list(1, one), .type = LH_FRAME_AGAIN, OF_TRANSFER);
    CHECK(hashes_wanted, lh_hashes_wanted_encode(&wanted, out), .type = LH_FRAME_HASHES_WANTED,
          OF_TRANSFER);
    CHECK(hashes, lh_hashes_encode(4096, list, 3, out), .type = LH_FRAME_HASHES, OF_TRANSFER);
    CHECK(retract, run_list(1, back), .type = LH_FRAME_RETRACT, OF_TRANSFER);
    CHECK(retracted, run_list(1, back), .type = LH_FRAME_RETRACTED, OF_TRANSFER);
}

static void closing_frames(void)
{
    struct lh_finish finish = {source, 0640};
    struct lh_done done = {.bytes = 5368709121};

    lh_hash_bytes("digest", 6, &done.digest);
    CHECK(finish, lh_finish_encode(&finish, out), .type = LH_FRAME_FINISH, OF_TRANSFER);
    CHECK(done, lh_done_encode(&done, out), .type = LH_FRAME_DONE, OF_TRANSFER);
    CHECK(confirm, 0, .type = LH_FRAME_CONFIRM, OF_TRANSFER);
}

#define OF_TREE .transfer = 3, .epoch = 1

/* Entries of FILES, ATTRS or REMOVE into `out`. */
static size_t entry_list(uint32_t first, const struct lh_tree_entry *list, size_t n)
{
    struct lh_files_writer w;

    lh_files_begin(&w, out, first);
    for (size_t i = 0; i < n; i++)
        lh_files_add(&w, &list[i]);
    return lh_files_end(&w);
}

static struct lh_tree_entry entry(uint8_t kind, uint16_t mode, uint64_t size, struct lh_time mtime,
                                  const char *path, const char *link)
{
    return (struct lh_tree_entry){
        .kind = kind,
        .mode = mode,
        .size = size,
        .mtime = mtime,
        .path = (const uint8_t *)path,
        .path_len = strlen(path),
        .link = (const uint8_t *)link,
        .link_len = strlen(link),
    };
}

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static void telling_frames(void)
{
    uint8_t xattrs[64];
    size_t used = 0;
    struct lh_offer offer = {
        .prev_epoch = 6,
        .claim = 0x0102030405060708,
        .hash = LH_HASH_XXH3_128,
        .block_bytes = 262144,
        .flags = LH_OFFER_MORE_FILES | LH_OFFER_KEEP_SAME | LH_OFFER_CHECKSUM | LH_OFFER_DRY_RUN,
        .n_files = 1,
        .path = (const uint8_t *)"in/tree",
        .path_len = 7,
        .file = {LH_KIND_DIR, 02755, 1000, 100, source, NULL, 0},
        .keep = LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_ACL,
    };
    struct lh_tree_entry files[] = {
        entry(LH_KIND_FILE, 0640, 5, (struct lh_time){1700000000, 123456789}, "a/\xff\n", ""),
        entry(LH_KIND_SYMLINK, 0777, 3, (struct lh_time){-2, 999999999}, "link", "a/b"),
        entry(LH_KIND_BLOCK, 0660, 0x0801, (struct lh_time){0, 0}, "dev/sda1", ""),
        entry(LH_KIND_HARDLINK, 0640, 5, (struct lh_time){1700000000, 1}, "second", "a/\xff\n"),
    };
    struct lh_tree_entry attrs[] = {
        entry(LH_KIND_DIR, 0755, 4096, (struct lh_time){1700000000, 123456789}, "a", ""),
        entry(LH_KIND_DIR, 02755, 4096, (struct lh_time){1700000001, 0}, "", ""),
    };

    files[0].uid = files[3].uid = 1000;
    files[0].gid = files[3].gid = 100;
    files[2].gid = 6;
    files[0].xattrs = xattrs;
    files[0].has_hash = true;
    lh_xattrs_add(xattrs, sizeof(xattrs), &used,
                  &(struct lh_xattr){BYTES("user.a"), BYTES("\0\xff")});
    lh_xattrs_add(xattrs, sizeof(xattrs), &used, &(struct lh_xattr){BYTES("user.b"), NULL, 0});
    files[0].xattrs_len = used;
    lh_hash_bytes("first", 5, &files[0].hash);
    count_up(offer.holder, 0x40);
    count_up(offer.incarnation, 0x50);
    CHECK(offer_tree, lh_offer_encode(&offer, out), .type = LH_FRAME_OFFER, .transfer = 3);
    CHECK(files, entry_list(70000, files, 4), .type = LH_FRAME_FILES, .flags = LH_FRAME_LAST,
          .transfer = 3);
    CHECK(attrs, entry_list(80000, attrs, 2), .type = LH_FRAME_ATTRS, OF_TREE);
}

static void owners_frame(void)
{
    static const struct lh_owner list[] = {
        {LH_OWNER_USER, 1000, BYTES("alice")},
        {LH_OWNER_GROUP, 1000, BYTES("\xffx")},
        {LH_OWNER_USER, UINT32_MAX, BYTES("a b")},
    };
    struct lh_owners_writer w;

    lh_owners_begin(&w, out);
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        lh_owners_add(&w, &list[i]);
    CHECK(owners, lh_owners_end(&w), .type = LH_FRAME_OWNERS, OF_TREE);
}

static void answering_frames(void)
{
    static const uint8_t answers[] = {LH_WANTED_NEW, LH_WANTED_MADE, LH_WANTED_FAILED,
                                      LH_WANTED_KEPT, LH_WANTED_CHANGED};
    static const char text[] = "a directory is in the way of \xe2\x80\x9c"
                               "a/b\xe2\x80\x9d";
    struct lh_tree_failed failed = {70002, LH_WIRE_DEST_KIND, text, sizeof(text) - 1};
    struct lh_block_run settled[] = {{0, 70000}, {70001, 1}};

    CHECK(wanted, lh_wanted_encode(70000, answers, 5, out), .type = LH_FRAME_WANTED, OF_TREE);
    CHECK(settled, run_list(2, settled), .type = LH_FRAME_SETTLED, OF_TREE);
    CHECK(failed, lh_tree_failed_encode(&failed, out), .type = LH_FRAME_FAILED, OF_TREE);
}

static void removing_frames(void)
{
    struct lh_tree_entry remove[] = {
        entry(LH_KIND_FILE, 0, 0, (struct lh_time){0, 0}, "old/link", ""),
        entry(LH_KIND_DIR, 0, 0, (struct lh_time){0, 0}, "old", ""),
    };
    struct lh_block_run removed[] = {{80002, 2}};
    struct lh_names_writer w;

    CHECK(list,
          lh_list_encode(17,
                         BYTES("a/\xff"
                               "b"),
                         out),
          .type = LH_FRAME_LIST, OF_TREE);
    lh_names_begin(&w, out, 17);
    lh_names_add(&w, LH_KIND_FILE, BYTES("\xff\n"));
    lh_names_add(&w, LH_KIND_DIR, BYTES("..."));
    lh_names_add(&w, LH_KIND_SOCKET, BYTES("s"));
    CHECK(names, lh_names_end(&w, LH_NAMES_FOLD), .type = LH_FRAME_NAMES, .flags = LH_FRAME_LAST,
          OF_TREE);
    CHECK(remove, entry_list(80002, remove, 2), .type = LH_FRAME_REMOVE, OF_TREE);
    CHECK(removed, run_list(1, removed), .type = LH_FRAME_REMOVED, OF_TREE);
}

static void pack_frame(void)
{
    const uint8_t *payload = golden_frame_pack + LH_FRAME_HEADER_SIZE;
    const size_t payload_len = sizeof(golden_frame_pack) - LH_FRAME_HEADER_SIZE;
    const struct lh_part parts[] = {
        {70000, 5, 0, 0},
        {70001, 0, 0, 0},
        {70002, 0, 0, LH_PART_VOID},
        {69999, 196464, 65536, LH_PART_HOLE},
        {69999, sizeof(contents) - 1, 262000, 0},
    };
    const char *why = NULL;
    size_t n = 0;
    size_t len = lh_pack_encode(parts, 5, out);

    memcpy(out + len, "first", 5);
    memcpy(out + len + 5, contents, sizeof(contents) - 1);
    len += 5 + sizeof(contents) - 1;
    CHECK(pack, len, .type = LH_FRAME_BLOCK, .raw_length = (uint32_t)len, .offset = 5 * 262144,
          OF_TREE);
    ok(pack_again(payload, payload_len, again, &n, &why) == 0 && n == payload_len &&
           memcmp(again, payload, n) == 0,
       "pack: parts are read back");
}

static void check_record(const char *name, uint16_t type, uint64_t seq, uint64_t seed, size_t len,
                         const uint8_t *want, size_t want_len)
{
    static uint8_t sealed[LH_RECORD_MAX];
    const uint8_t *payload;
    struct lh_record rec;
    size_t refused = 0;
    size_t n = 0;
    size_t whole;
    int rc;

    memset(sealed, 0xff, sizeof(sealed)); /* padding must be written, not found */
    memcpy(sealed + LH_RECORD_HEADER_SIZE, out, len);
    whole = lh_record_seal(sealed, type, 0, seq, (uint32_t)len, seed);
    is_u64(whole, want_len, "record %s: length as in the table", name);
    is_mem(sealed, want, whole < want_len ? whole : want_len, "record %s: as in the table", name);
    rc = lh_record_open(want, want_len, seq, seed, &rec, &payload);
    if (!ok(rc == (int)want_len && rec.type == type && rec.length == len && rec.file == 0 &&
                rec.seq == seq,
            "record %s: is opened", name))
        return;
    rc = record_again(type, payload, rec.length, again, &n);
    ok(rc == PAYLOAD_RAW || (rc == 0 && n == len && memcmp(again, payload, len) == 0),
       "record %s: payload is read back", name);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = exactly(payload, cut);

        if (record_again(type, copy, cut, again, &n) == -LH_E_CORRUPT)
            refused++;
        free(copy);
    }
    is_u64(refused, len, "record %s: payload is refused at each of %zu shorter lengths", name, len);
}

#define RECORD(vector, type, seq, len)                                                             \
    check_record(#vector, (type), (seq), (seq) == 0 ? 0 : seed, (len), golden_record_##vector,     \
                 sizeof(golden_record_##vector))

static void records(void)
{
    static const uint8_t name[] = "big \xff\nfile";
    struct lh_journal_head head = {
        .hash = LH_HASH_XXH3_128,
        .block_bytes = 262144,
        .source = source,
        .staging_ino = 0x8877665544332211,
        .staging_btime = {1700000001, 5},
        .name = name,
        .name_len = sizeof(name) - 1,
    };
    struct lh_journal_epoch epoch = {
        .epoch = 7, .claim = 0x0102030405060708, .source = source, .compared = 1};
    struct lh_journal_finish finish = {.mode = 0640, .mtime = {1700000000, 123456789}};
    struct lh_block_run drop = {4097, 2};
    struct lh_hash list[3];
    uint64_t seed;

    count_up(head.uuid, 0x80);
    count_up(head.transfer_id, 0x60);
    count_up(epoch.holder, 0x40);
    count_up(epoch.incarnation, 0x50);
    lh_hash_bytes("digest", 6, &finish.digest);
    lh_hash_bytes("one", 3, &list[0]);
    lh_hash_bytes("two", 3, &list[1]);
    lh_hash_bytes(contents, sizeof(contents) - 1, &list[2]);
    seed = lh_journal_seed(head.uuid);
    RECORD(head, LH_RECORD_HEAD, 0, lh_journal_head_encode(&head, out));
    RECORD(epoch, LH_RECORD_EPOCH, 1, lh_journal_epoch_encode(&epoch, out));
    RECORD(blocks, LH_RECORD_BLOCKS, 2, lh_journal_blocks_encode(4096, list, 3, out));
    RECORD(drop, LH_RECORD_DROP, 3, lh_journal_drop_encode(&drop, out));
    RECORD(finish, LH_RECORD_FINISH, 4, lh_journal_finish_encode(&finish, out));
    RECORD(done, LH_RECORD_DONE, 5, 0);
}

int main(void)
{
    session_frames();
    opening_frames();
    moving_frames();
    closing_frames();
    telling_frames();
    owners_frame();
    answering_frames();
    removing_frames();
    pack_frame();
    records();
    return done_testing();
}
