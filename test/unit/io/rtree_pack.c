/* A tree at the receiver: packs, parts of files among them, and the commits of what they brought.
 */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct rig *rig; /* large */

static void open_rig(uint16_t flags, uint32_t keep)
{
    if (rig_open(rig, flags, keep) != 0)
        bail("%s", rig->err.text);
}

static void close_rig(void)
{
    rig_close(rig);
    scratch_clear();
}

/* ---- parts ---- */

static void test_parts(void)
{
    uint32_t big, other;

    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    big = rig_add(rig, LH_KIND_FILE, "big", 100000);
    other = rig_add(rig, LH_KIND_FILE, "other", 10);
    rig_ask(rig);
    rig_part(rig, big, 60000, 40000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the end first");
    is_i64(rig_commit(rig), 0, "committed");
    is_u64(rig->settled.blocks, 0, "half a file is not settled");
    is_u64(rig->acked.blocks, 1, "though its pack is done");
    rig_part(rig, other, 0, 10);
    rig_part(rig, big, 0, 30000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the beginning");
    rig_part(rig, big, 30000, 30000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the middle");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_settled(rig, big) && rig_settled(rig, other), "both are settled");
    ok(rig_holds("big", big, 100000), "it is right");
    is_u64(rig_stat("big").st_mode & 07777, 0640, "mode");
    ok(rig_times_are("big", big), "time");
    close_rig();
}

/* Whether bytes [from, to) of a file are zeros. */
static bool zeros(const char *path, size_t from, size_t to)
{
    char name[300];
    uint8_t *data;
    size_t n;
    bool same;

    snprintf(name, sizeof(name), "t/%s", path);
    data = scratch_read(name, &n);
    same = data != NULL && n >= to;
    for (size_t i = from; same && i < to; i++)
        same = data[i] == 0;
    free(data);
    return same;
}

static void test_holes(void)
{
    uint32_t all, some, whole;

    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    all = rig_add(rig, LH_KIND_FILE, "all", 100000);
    some = rig_add(rig, LH_KIND_FILE, "some", 150000);
    whole = rig_add(rig, LH_KIND_FILE, "whole", 4096);
    rig_ask(rig);
    rig_hole(rig, all, 0, 100000);
    rig_part(rig, whole, 0, 4096);
    rig_hole(rig, some, 110000, 40000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "holes and contents in one pack");
    rig_part(rig, some, 100000, 10000);
    rig_hole(rig, some, 0, 100000);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the hole behind what is written");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_settled(rig, all) && rig_settled(rig, some) && rig_settled(rig, whole),
       "all are settled");
    ok(rig_holds("whole", whole, 4096), "contents are not shifted by holes before them");
    is_u64(rig_stat("all").st_size, 100000, "a file that is one hole has its size");
    is_u64(rig_stat("all").st_blocks, 0, "and takes no room");
    is_u64(rig_stat("some").st_size, 150000, "so has one with a hole at its end");
    ok(rig_stat("some").st_blocks * 512 <= 16384, "and it takes the room of its data");
    ok(zeros("some", 0, 100000) && !zeros("some", 100000, 110000) && zeros("some", 110000, 150000),
       "the data are between the holes");
    close_rig();
}

static void test_void(void)
{
    uint32_t whole, half;

    open_rig(LH_OFFER_KEEP_SAME, 0);
    whole = rig_add(rig, LH_KIND_FILE, "a", 10);
    half = rig_add(rig, LH_KIND_FILE, "b", 20);
    rig_ask(rig);
    rig_part(rig, half, 0, 10);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "half a file");
    rig_void(rig, whole);
    rig_void(rig, half);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "the sources have changed");
    is_u64(rig_count(), 0, "nothing is left of it");
    rig_part(rig, half, 10, 10);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "what still comes");
    is_u64(rig_count(), 0, "is thrown away");
    is_i64(rig_commit(rig), 0, "committed");
    is_u64(rig->settled.blocks, 0, "neither is settled");
    ok(rig->troubles == NULL, "and nobody is told");
    close_rig();
}

/* Each makes the tree fail and leaves nothing. */
static void test_protocol(void)
{
    for (int i = 0; i < 8; i++) {
        uint32_t a, b;

        open_rig(LH_OFFER_KEEP_SAME, 0);
        a = rig_add(rig, LH_KIND_FILE, "a", 10);
        b = rig_add(rig, LH_KIND_FILE, "b", 20);
        rig_ask(rig);
        rig_part(rig, a, 0, 10);
        rig_part(rig, b, 0, 10);
        is_i64(rig_pack(rig), LH_CLAIM_OK, "a good pack");
        if (i == 0)
            rig_part(rig, 7, 0, 10); /* never told of */
        else if (i == 1)
            rig_part(rig, a, 0, 10); /* whole */
        else if (i == 2)
            rig_part(rig, b, 0, 10); /* came already */
        else if (i == 3)
            rig_part(rig, b, 5, 10); /* some of it did */
        else if (i == 4)
            rig_part(rig, b, 15, 10); /* beyond its end */
        else if (i == 5)
            rig_part(rig, b, 10, 0); /* nothing */
        else if (i == 6)
            rig_part(rig, b, 0, 20); /* all of it, after a part */
        if (i < 7)
            is_i64(rig_pack(rig), -LH_E_PROTOCOL, "bad part %d: %s", i, rig->err.text);
        else {
            rig->next = 1;
            lh_files_begin(&rig->writer, rig->files, 1);
            rig_add(rig, LH_KIND_FILE, "c", 1);
            is_i64(rig_ask(rig), -LH_E_PROTOCOL, "an index used twice: %s", rig->err.text);
        }
        if (i < 7)
            is_i64(rig_commit(rig), -LH_E_PROTOCOL, "it has failed");
        rig_close(rig);
        is_u64(rig_count(), 0, "nothing is left");
        scratch_clear();
    }
}

static void test_claims(void)
{
    struct lh_hash hash = {0};
    bool soon;
    uint8_t junk[100] = {0xff, 0xff, 0xff, 0xff};

    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_ask_one(rig, LH_KIND_FILE, "a", 10);
    is_i64(rig_file(rig, 0, 10), LH_CLAIM_OK, "a pack");
    rig->pack = 0;
    ok(!rig->store->ops->wants(rig->store, RIG_EPOCH, 0), "it is not wanted again");
    rig_part(rig, 0, 0, 10);
    is_i64(rig_pack(rig), LH_CLAIM_DUPLICATE, "nor taken");
    is_i64(rig->store->ops->write(rig->store, RIG_EPOCH + 1, 5 * RIG_GRID, rig->payload, 31, &hash,
                                  &soon, &rig->err),
           LH_CLAIM_FENCED, "another epoch");
    is_i64(rig->store->ops->write(rig->store, RIG_EPOCH, 5 * RIG_GRID, junk, sizeof(junk), &hash,
                                  &soon, &rig->err),
           -LH_E_PROTOCOL, "garbage: %s", rig->err.text);
    close_rig();
}

/* ---- room ---- */

/* Where an older entry still is, a newer one waits. */
static void test_no_place(void)
{
    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_ask_one(rig, LH_KIND_FILE, "a", 10);
    rig_ask_one(rig, LH_KIND_FILE, "b", 10);
    rig->next = LH_TREE_SPAN - 1;
    lh_files_begin(&rig->writer, rig->files, rig->next);
    for (const char *name = "c\0d\0e\0"; *name != '\0'; name += 2)
        rig_add(rig, LH_KIND_FILE, name, 10);
    is_i64(rig_ask(rig), 1, "no place for the second of three");
    is_u64(rig->answers.n, 1, "the first is answered");
    rig_void(rig, 0);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "what was in its place is voided");
    rig->next = LH_TREE_SPAN;
    lh_files_begin(&rig->writer, rig->files, rig->next);
    rig_add(rig, LH_KIND_FILE, "d", 10);
    rig_add(rig, LH_KIND_FILE, "e", 10);
    is_i64(rig_ask(rig), 1, "now there is one, but not for the third");
    is_u64(rig->answers.n, 1, "the second is answered");
    rig_file(rig, 1, 10);
    rig_commit(rig);
    rig_ask_one(rig, LH_KIND_FILE, "e", 10);
    is_u64(rig->answers.n, 1, "settled: the third too");
    rig_file(rig, LH_TREE_SPAN, 10);
    rig_commit(rig);
    ok(rig_holds("d", LH_TREE_SPAN, 10) && rig_holds("b", 1, 10), "each is where it belongs");
    rig_close(rig);
    scratch_clear();
}

/* Tell of empty files with long names, until there is no room for another one. How many were
 * answered. */
static uint32_t tell_until_full(uint32_t most)
{
    uint32_t known = 0;
    int result = 0;

    while (result == 0 && known < most) {
        uint32_t first = rig->next;
        char name[200];

        for (uint32_t i = 0; i < 100; i++) {
            snprintf(name, sizeof(name), "%0150u", first + i);
            rig_add(rig, LH_KIND_FILE, name, 0);
        }
        result = rig_ask(rig);
        known += rig->answers.n;
        rig->next = first + rig->answers.n;
        lh_files_begin(&rig->writer, rig->files, rig->next);
    }
    return known;
}

static void send_empty(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        rig_part(rig, i, 0, 0);
        if ((rig->n_parts == 60 || i + 1 == n) && rig_pack(rig) != LH_CLAIM_OK)
            bail("%s", rig->err.text);
    }
}

/* Nothing is left of the memory that all trees share. */
static void test_memory(void)
{
    struct lh_quota memory;
    struct rig *second = calloc(1, sizeof(*second));
    uint32_t known;

    if (second == NULL)
        bail("out of memory");
    lh_quota_init(&memory, 6u << 20);
    rig_memory = &memory;
    open_rig(LH_OFFER_KEEP_SAME, 0);
    ok(memory.used > 2u << 20, "a tree takes what it needs at least");
    is_i64(rig_open(second, 0, 0), -LH_E_BUSY, "there is not enough for a second: %s",
           second->err.text);
    while (lh_quota_take(&memory, 1024)) /* others take the rest */
        ;
    known = tell_until_full(20000);
    ok(known > 1000 && known < 4000, "%u are taken", known);
    send_empty(known);
    is_i64(rig_commit(rig), 0, "committed");
    is_u64(rig->settled.blocks, known, "they are settled");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "next", 0), LH_WANTED_NEW, "then there is room");
    lh_quota_give(&memory, 1u << 20);
    known = tell_until_full(20000);
    ok(known > 4000, "with what others give back there is more: %u", known);
    rig_close(rig);
    ok(memory.used < 2u << 20, "at the end all goes back");
    is_i64(rig_open(second, 0, 0), 0, "and there is enough for another tree");
    rig_close(second);
    rig_memory = NULL;
    free(second);
    scratch_clear();
}

/* ---- commits ---- */

static void add_dir(unsigned n)
{
    char name[16];

    snprintf(name, sizeof(name), "d%02u", n);
    rig_add(rig, LH_KIND_DIR, name, 0);
}

/* Before it is known what a sync costs, a commit is due after 1024 files. */
static void test_commit_due(void)
{
    char name[24];
    unsigned n_soon = 0;

    open_rig(LH_OFFER_KEEP_SAME, 0);
    for (uint32_t i = 0; i < 1024; i++) {
        snprintf(name, sizeof(name), "d%02u/f%u", (unsigned)i / 64, (unsigned)i);
        if (i % 64 == 0)
            add_dir(i / 64);
        rig_add(rig, LH_KIND_FILE, name, 3);
    }
    is_i64(rig_ask(rig), 0, "asked of 1024 files");
    for (uint32_t i = 0; i < 1040; i++) {
        if (i % 65 == 0)
            continue; /* the directory */
        rig_part(rig, i, 0, 3);
        if (i % 65 == 64) {
            is_i64(rig_pack(rig), LH_CLAIM_OK, "64 of them are whole");
            n_soon += rig->soon;
        }
    }
    ok(n_soon == 1 && rig->soon, "a commit is due with the last of them");
    is_i64(rig_commit(rig), 0, "committed");
    is_u64(rig->settled.blocks, 1040, "all are settled");
    is_u64(rig_hidden(), 0, "and under their names");
    ok(rig_holds("d15/f1023", 1039, 3), "with their contents");
    close_rig();
}

static void test_leftovers(void)
{
    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_add(rig, LH_KIND_FILE, "whole", 10);
    rig_add(rig, LH_KIND_FILE, "half", 20);
    rig_ask(rig);
    rig_part(rig, 0, 0, 10);
    rig_part(rig, 1, 0, 10);
    rig_pack(rig);
    is_u64(rig_hidden(), 2, "two staging files");
    rig_close(rig);
    is_u64(rig_count(), 0, "close removes both");
    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_ask_one(rig, LH_KIND_FILE, "f", 20);
    rig_part(rig, 0, 0, 10);
    rig_pack(rig);
    is_u64(rig_hidden(), 1, "a staging file");
    /* As a killed process leaves it; the same root and name find it again. */
    {
        struct rig *second = calloc(1, sizeof(*second));

        if (second == NULL || rig_open(second, LH_OFFER_KEEP_SAME, 0) != 0)
            bail("a second one");
        rig_ask_one(second, LH_KIND_FILE, "f", 10);
        is_i64(rig_file(second, 0, 10), LH_CLAIM_OK, "takes the place of what was left");
        is_u64(rig_hidden(), 1, "there is one");
        is_i64(rig_commit(second), 0, "committed");
        ok(rig_holds("f", 0, 10), "and right");
        rig_close(second);
        free(second);
    }
    close_rig();
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    test_parts();
    test_holes();
    test_void();
    test_protocol();
    test_claims();
    test_no_place();
    test_memory();
    test_commit_due();
    test_leftovers();
    free(rig);
    return done_testing();
}
