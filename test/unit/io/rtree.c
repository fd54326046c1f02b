/* A tree at the receiver: what becomes of entries, packs and commits, in real directories. */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

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

static struct stat stat_of(const char *path)
{
    struct stat st = {0};

    if (lstat(rig_path(path), &st) != 0)
        diag("no %s", path);
    return st;
}

static bool is_link(const char *path, const char *text)
{
    char have[512];
    ssize_t n = readlink(rig_path(path), have, sizeof(have) - 1);

    if (n < 0)
        return false;
    have[n] = '\0';
    return strcmp(have, text) == 0;
}

static bool times_are(const char *path, uint32_t index)
{
    struct stat st = stat_of(path);

    return st.st_mtim.tv_sec == rig_mtime(index).sec && st.st_mtim.tv_nsec == rig_mtime(index).nsec;
}

static bool settled(uint32_t index)
{
    return lh_runs_has(&rig->settled, index);
}

/* Another name of entry `of`, whose time it has. */
static uint32_t add_hard(struct rig *r, const char *path, const char *link, uint32_t of)
{
    struct lh_tree_entry e = rig_entry(r, LH_KIND_HARDLINK, path, 0);

    e.mtime = rig_mtime(of);
    e.link = (const uint8_t *)link;
    e.link_len = strlen(link);
    return rig_add_entry(r, &e);
}

/* ---- the way of a small tree ---- */

static void test_small_tree(void)
{
    uint32_t dir, file, empty, deep, link, fifo, hard;

    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    dir = rig_add(rig, LH_KIND_DIR, "d", 0);
    file = rig_add(rig, LH_KIND_FILE, "d/file", 5000);
    empty = rig_add(rig, LH_KIND_FILE, "empty", 0);
    deep = rig_add(rig, LH_KIND_FILE, "not/told/of/deep", 10);
    link = rig_add_link(rig, LH_KIND_SYMLINK, "d/link", "../../somewhere else");
    fifo = rig_add(rig, LH_KIND_FIFO, "fifo", 0);
    is_i64(rig_ask(rig), 0, "asked");
    is_u64(rig->answers.n, 6, "all are answered");
    is_u64(rig->answers.v[dir], LH_WANTED_MADE, "a directory is made");
    is_u64(rig->answers.v[file], LH_WANTED_NEW, "a file is wanted");
    is_u64(rig->answers.v[empty], LH_WANTED_NEW, "an empty one too");
    is_u64(rig->answers.v[deep], LH_WANTED_NEW, "one whose parents are missing");
    is_u64(rig->answers.v[link], LH_WANTED_MADE, "a link is made");
    is_u64(rig->answers.v[fifo], LH_WANTED_MADE, "a FIFO is made");
    rig_part(rig, file, 0, 5000);
    rig_part(rig, empty, 0, 0);
    ok(!scratch_exists("t/d/file"), "nothing is visible yet");
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a pack");
    ok(!rig->soon, "one file is missing: no hurry");
    is_i64(rig_file(rig, deep, 10), LH_CLAIM_OK, "another pack");
    ok(rig->soon, "all are whole: a commit is due");
    is_u64(rig_hidden(), 3, "in staging files");
    ok(!scratch_exists("t/d/file"), "nothing is visible yet");
    is_i64(rig_commit(rig), 0, "committed");
    is_u64(rig->settled.blocks, 6, "all is settled");
    is_u64(rig->acked.blocks, 2, "packs are acknowledged");
    is_u64(rig_hidden(), 0, "no staging file is left");
    ok(rig_holds("d/file", file, 5000) && rig_holds("empty", empty, 0) &&
           rig_holds("not/told/of/deep", deep, 10),
       "contents");
    is_u64(stat_of("d/file").st_mode & 07777, 0640, "mode");
    ok(times_are("d/file", file) && times_are("empty", empty) && times_are("d/link", link) &&
           times_are("fifo", fifo),
       "times");
    ok(is_link("d/link", "../../somewhere else"), "the link says what it said");
    ok(S_ISFIFO(stat_of("fifo").st_mode), "a FIFO");

    rig_add_link(rig, LH_KIND_HARDLINK, "hard", "d/file");
    is_i64(rig_ask(rig), 0, "a hard link of a file with another time");
    is_u64(rig->answers.v[0], LH_WANTED_FAILED, "which must be another file: %s",
           rig_trouble(rig->answers.troubles, rig->next - 1));
    hard = add_hard(rig, "hard", "d/file", file);
    is_i64(rig_ask(rig), 0, "a hard link");
    is_u64(rig->answers.v[0], LH_WANTED_MADE, "is made");
    is_i64(rig_commit(rig), 0, "committed");
    ok(settled(hard), "and settled");
    is_u64(stat_of("d/file").st_nlink, 2, "it is the same file");

    rig_add(rig, LH_KIND_DIR, "d", 0);
    is_i64(rig_attrs(rig), 0, "attributes of the directory");
    ok(times_are("d", rig->next - 1) && (stat_of("d").st_mode & 07777) == 0755, "are set");
    is_i64(lh_rtree_finish(rig->tree, &rig->err), 0, "finish");
    rig_close(rig);

    /* The same again costs nothing. */
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    rig_add(rig, LH_KIND_DIR, "d", 0);
    rig_add(rig, LH_KIND_FILE, "d/file", 5000);
    rig_add(rig, LH_KIND_FILE, "empty", 0);
    rig_add(rig, LH_KIND_FILE, "not/told/of/deep", 10);
    rig_add_link(rig, LH_KIND_SYMLINK, "d/link", "../../somewhere else");
    rig_add(rig, LH_KIND_FIFO, "fifo", 0);
    add_hard(rig, "hard", "d/file", file);
    is_i64(rig_ask(rig), 0, "asked again");
    for (uint32_t i = 0; i < 7; i++)
        is_u64(rig->answers.v[i], LH_WANTED_KEPT, "entry %u is kept", i);
    close_rig();
}

/* ---- policies ---- */

static void make_old(const char *path, size_t len, uint32_t index)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {rig_mtime(index).sec, rig_mtime(index).nsec}};
    char name[256];
    char data[64];

    memset(data, 'x', sizeof(data));
    mkdir(scratch_path("t"), 0755);
    snprintf(name, sizeof(name), "t/%s", path);
    scratch_write(name, data, len);
    utimensat(AT_FDCWD, scratch_path(name), times, 0);
}

static void test_policies(void)
{
    static const struct {
        const char *what;
        uint16_t flags;
        int same, newer, older, other_size;
    } rows[] = {
        {"replace", 0, LH_WANTED_CHANGED, LH_WANTED_CHANGED, LH_WANTED_CHANGED, LH_WANTED_CHANGED},
        {"different", LH_OFFER_KEEP_SAME, LH_WANTED_KEPT, LH_WANTED_CHANGED, LH_WANTED_CHANGED,
         LH_WANTED_CHANGED},
        {"newer", LH_OFFER_KEEP_NEWER, LH_WANTED_KEPT, LH_WANTED_KEPT, LH_WANTED_CHANGED,
         LH_WANTED_KEPT},
        {"skip", LH_OFFER_KEEP_ANY, LH_WANTED_KEPT, LH_WANTED_KEPT, LH_WANTED_KEPT, LH_WANTED_KEPT},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_old("same", 10, 0);
        make_old("newer", 10, 50);
        make_old("older", 10, 1);
        make_old("other", 11, 3);
        open_rig(rows[i].flags, LH_KEEP_TIMES);
        rig_add(rig, LH_KIND_FILE, "same", 10);
        rig_add(rig, LH_KIND_FILE, "newer", 10);
        rig_add(rig, LH_KIND_FILE, "older", 10);
        rig_add(rig, LH_KIND_FILE, "other", 10);
        rig_ask(rig);
        is_i64(rig->answers.v[0], rows[i].same, "%s: the same", rows[i].what);
        is_i64(rig->answers.v[1], rows[i].newer, "%s: a newer one is there", rows[i].what);
        is_i64(rig->answers.v[2], rows[i].older, "%s: an older one is there", rows[i].what);
        is_i64(rig->answers.v[3], rows[i].other_size, "%s: of another size", rows[i].what);
        close_rig();
    }
}

static void test_checksum(void)
{
    struct lh_tree_entry e;
    char data[10];

    memset(data, 'x', sizeof(data));
    make_old("same", 10, 77);
    make_old("other", 10, 1);
    open_rig(LH_OFFER_KEEP_SAME | LH_OFFER_CHECKSUM, LH_KEEP_TIMES);
    e = rig_entry(rig, LH_KIND_FILE, "same", 10);
    e.has_hash = true;
    lh_hash_bytes(data, sizeof(data), &e.hash);
    rig_add_entry(rig, &e);
    e = rig_entry(rig, LH_KIND_FILE, "other", 10);
    e.has_hash = true;
    lh_hash_bytes(data, 9, &e.hash);
    rig_add_entry(rig, &e);
    rig_ask(rig);
    is_u64(rig->answers.v[0], LH_WANTED_MADE, "the same contents are kept");
    ok(times_are("same", 0), "with the time that it should have");
    is_u64(rig->answers.v[1], LH_WANTED_CHANGED, "others are not, though size and time agree");
    close_rig();
}

/* What is kept for being the same gets the mode of the source. */
static void test_kept_mode(void)
{
    make_old("f", 10, 0);
    chmod(rig_path("f"), 0600);
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "f", 10), LH_WANTED_MADE, "no contents are wanted");
    is_u64(stat_of("f").st_mode & 07777, 0640, "it has another mode");
    is_i64(rig_commit(rig), 0, "committed");
    ok(settled(0), "and that is settled");
    close_rig();
}

/* ---- what is in the way ---- */

static void test_in_the_way(void)
{
    mkdir(scratch_path("t"), 0755);
    mkdir(rig_path("dir"), 0755);
    mkdir(rig_path("outside"), 0755);
    make_old("file", 10, 50);
    if (symlink("outside", rig_path("link")) != 0 || symlink("outside", rig_path("link2")) != 0)
        bail("symlink");
    open_rig(LH_OFFER_KEEP_SAME, 0);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "dir", 10), LH_WANTED_FAILED, "a file over a directory");
    ok(strstr(rig_trouble(rig->answers.troubles, 0), "directory") != NULL, "told: %s",
       rig_trouble(rig->answers.troubles, 0));
    is_i64(rig_ask_one(rig, LH_KIND_FIFO, "dir", 0), LH_WANTED_FAILED, "a FIFO over a directory");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "file/x", 10), LH_WANTED_FAILED, "a file as directory");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "link/x", 10), LH_WANTED_FAILED,
           "a link as directory is not followed");
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "link/x", 0), LH_WANTED_FAILED, "nor for a directory");
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "link", 0), LH_WANTED_MADE, "a directory over a link");
    ok(S_ISDIR(stat_of("link").st_mode), "is one now");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "link/x", 10), LH_WANTED_NEW, "and takes files");
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "file", 0), LH_WANTED_MADE, "a directory over a file");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "link2", 10), LH_WANTED_CHANGED, "a file over a link");
    is_i64(rig_file(rig, rig->next - 1, 10), LH_CLAIM_OK, "its contents");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_holds("link2", rig->next - 1, 10), "the link is gone, what it led to is untouched");
    is_u64(stat_of("outside").st_nlink, 2, "outside is empty");
    close_rig();

    make_old("f", 10, 50);
    open_rig(LH_OFFER_KEEP_ANY, 0);
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "f", 0), LH_WANTED_FAILED, "skip: nothing is removed");
    ok(S_ISREG(stat_of("f").st_mode), "for a directory");
    is_i64(rig_ask_one(rig, LH_KIND_FIFO, "f", 0), LH_WANTED_KEPT, "nor for a FIFO");
    close_rig();

    make_old("l", 10, 50);
    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_add_link(rig, LH_KIND_SYMLINK, "l", "x");
    is_i64(rig_ask(rig), 0, "a link over a file");
    is_u64(rig->answers.v[0], LH_WANTED_MADE, "is made");
    ok(is_link("l", "x"), "and is one");
    rig_add_link(rig, LH_KIND_SYMLINK, "l", "y");
    rig_ask(rig);
    ok(is_link("l", "y"), "a link over another");
    is_u64(rig_hidden(), 0, "nothing hidden is left");
    close_rig();
}

/* ---- paths ---- */

static void test_paths(void)
{
    static const char *const refused[] = {
        "..",
        "../x",
        "a/../../x",
        "/etc/x",
        "a/./b",
        "./a",
        "a//b",
        "a/",
        "/",
        ".longhaul-00000000000000000000000000000000.part",
        ".",
        "a/.",
        "d/.longhaul-x/y",
    };
    char name[300];

    open_rig(LH_OFFER_KEEP_SAME, 0);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        is_i64(rig_ask_one(rig, LH_KIND_FILE, refused[i], 1), LH_WANTED_FAILED, "\"%s\" is refused",
               refused[i]);
        rig_add_link(rig, LH_KIND_HARDLINK, "h", refused[i]);
        rig_ask(rig);
        is_i64(rig->answers.v[0], LH_WANTED_FAILED, "as what a hard link leads to");
    }
    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    is_i64(rig_ask_one(rig, LH_KIND_FILE, name, 1), LH_WANTED_FAILED, "a name of 256 bytes");
    name[255] = '\0';
    is_i64(rig_ask_one(rig, LH_KIND_FILE, name, 1), LH_WANTED_NEW, "one of 255 is fine");
    is_i64(rig_file(rig, rig->next - 1, 1), LH_CLAIM_OK, "its contents");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "\xff\xfe\n\t %", 1), LH_WANTED_NEW, "any bytes");
    is_i64(rig_file(rig, rig->next - 1, 1), LH_CLAIM_OK, "its contents");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_holds(name, rig->next - 2, 1) && rig_holds("\xff\xfe\n\t %", rig->next - 1, 1),
       "both are there");
    is_u64(rig_count(), 2, "and nothing else");
    close_rig();
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
    ok(settled(big) && settled(other), "both are settled");
    ok(rig_holds("big", big, 100000), "it is right");
    is_u64(stat_of("big").st_mode & 07777, 0640, "mode");
    ok(times_are("big", big), "time");
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
    ok(settled(all) && settled(some) && settled(whole), "all are settled");
    ok(rig_holds("whole", whole, 4096), "contents are not shifted by holes before them");
    is_u64(stat_of("all").st_size, 100000, "a file that is one hole has its size");
    is_u64(stat_of("all").st_blocks, 0, "and takes no room");
    is_u64(stat_of("some").st_size, 150000, "so has one with a hole at its end");
    ok(stat_of("some").st_blocks * 512 <= 16384, "and it takes the room of its data");
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

/* ---- names that collide ---- */

static void test_collisions(void)
{
    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_add(rig, LH_KIND_FILE, "a", 10);
    rig_add(rig, LH_KIND_FILE, "a", 10);
    rig_ask(rig);
    is_u64(rig->answers.v[0], LH_WANTED_NEW, "a name");
    is_u64(rig->answers.v[1], LH_WANTED_FAILED, "the same once more");
    ok(strstr(rig_trouble(rig->answers.troubles, 1), "twice") != NULL, "told: %s",
       rig_trouble(rig->answers.troubles, 1));
    rig_ask_one(rig, LH_KIND_FILE, "b", 10);
    rig_part(rig, 0, 0, 10);
    rig_part(rig, 2, 0, 10);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "contents");
    scratch_write("t/b", "someone else's", 14);
    is_i64(rig_commit(rig), 0, "somebody made it meanwhile");
    ok(settled(0) && !settled(2), "it is not settled, the others are");
    ok(strstr(rig_trouble(rig->troubles, 2), "meanwhile") != NULL, "told: %s",
       rig_trouble(rig->troubles, 2));
    is_u64(stat_of("b").st_size, 14, "what is there stays");
    is_u64(rig_hidden(), 0, "nothing hidden is left");
    close_rig();
}

/* Nothing is looked for in a directory that was made just now; what is there all the same is not
 * replaced. */
static void test_fresh(void)
{
    open_rig(LH_OFFER_KEEP_SAME, 0);
    rig_add(rig, LH_KIND_DIR, "d", 0);
    rig_add(rig, LH_KIND_FILE, "d/e/f", 10);
    rig_add(rig, LH_KIND_DIR, "d/e", 0);
    is_i64(rig_ask(rig), 0, "asked");
    is_u64(rig->answers.v[2], LH_WANTED_KEPT, "a directory that was made for a file in it");
    is_i64(rig_file(rig, 1, 10), LH_CLAIM_OK, "the file");
    is_i64(rig_commit(rig), 0, "committed");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d/e/f", 11), LH_WANTED_NEW, "the same name, later");
    is_i64(rig_file(rig, 3, 11), LH_CLAIM_OK, "its contents");
    is_i64(rig_commit(rig), 0, "committed");
    ok(!settled(3) && strstr(rig_trouble(rig->troubles, 3), "another name") != NULL,
       "does not replace it: %s", rig_trouble(rig->troubles, 3));
    ok(rig_holds("d/e/f", 1, 10), "what came first stays");
    rig_add_link(rig, LH_KIND_SYMLINK, "d/e/f", "x");
    is_i64(rig_ask(rig), 0, "asked");
    is_u64(rig->answers.v[0], LH_WANTED_FAILED, "nor does a link");
    close_rig();
}

/* Made just now is remembered of more directories than are kept open; but not of one that somebody
 * else has put in the place of it. */
static void test_fresh_ones_of_many(void)
{
    char name[16];

    open_rig(LH_OFFER_KEEP_SAME, 0);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "d%03d", i);
        rig_add(rig, LH_KIND_DIR, name, 0);
    }
    is_i64(rig_ask(rig), 0, "asked");
    scratch_write("t/d000/f", "x", 1);
    scratch_write("t/d199/f", "x", 1);
    is_i64(rename(scratch_path("t/d001"), scratch_path("t/away")), 0, "one of them is moved away");
    is_i64(mkdir(scratch_path("t/d001"), 0755), 0, "and another put in its place");
    scratch_write("t/d001/f", "x", 1);
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d199/f", 9), LH_WANTED_NEW, "the last: not looked at");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d000/f", 9), LH_WANTED_NEW, "the first: neither");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "d001/f", 9), LH_WANTED_CHANGED, "in the other one: is");
    close_rig();
}

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

/* ---- leaving and coming back ---- */

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

/* ---- dry run ---- */

static void test_dry(void)
{
    open_rig(LH_OFFER_KEEP_SAME | LH_OFFER_DRY_RUN, RIG_ALL);
    ok(!scratch_exists("t"), "the root is not made");
    rig_add(rig, LH_KIND_DIR, "d", 0);
    rig_add(rig, LH_KIND_FILE, "d/f", 10);
    rig_add_link(rig, LH_KIND_SYMLINK, "l", "x");
    rig_add_link(rig, LH_KIND_HARDLINK, "h", "d/f");
    is_i64(rig_ask(rig), 0, "asked");
    is_u64(rig->answers.v[0], LH_WANTED_MADE, "a directory would be made");
    is_u64(rig->answers.v[1], LH_WANTED_NEW, "a file would be sent");
    is_u64(rig->answers.v[2], LH_WANTED_MADE, "a link would be made");
    is_u64(rig->answers.v[3], LH_WANTED_MADE, "a hard link too");
    is_i64(rig_commit(rig), 0, "nothing to commit");
    is_u64(rig->settled.blocks, 0, "nothing is settled");
    close_rig();

    make_old("f", 10, 0);
    make_old("x", 10, 99);
    open_rig(LH_OFFER_KEEP_SAME | LH_OFFER_DRY_RUN, RIG_ALL);
    rig_add(rig, LH_KIND_FILE, "f", 10);
    rig_add(rig, LH_KIND_FILE, "x", 10);
    rig_add(rig, LH_KIND_DIR, "f", 10);
    rig_add(rig, LH_KIND_FILE, "f/below", 10);
    rig_ask(rig);
    is_u64(rig->answers.v[0], LH_WANTED_KEPT, "what is there is seen");
    is_u64(rig->answers.v[1], LH_WANTED_CHANGED, "and what differs");
    is_u64(rig->answers.v[2], LH_WANTED_MADE, "and what would be replaced");
    is_u64(rig->answers.v[3], LH_WANTED_NEW, "and what would be put into that");
    is_u64(rig_count(), 2, "nothing changes");
    close_rig();
}

/* ---- attributes ---- */

static void test_attributes(void)
{
    struct lh_tree_entry e;
    static const uint8_t xattrs[] = "\x06\0user.a\x03\0one\x08\0user.two\0\0";
    char value[16];
    struct stat st;

    open_rig(LH_OFFER_KEEP_SAME, RIG_ALL);
    e = rig_entry(rig, LH_KIND_FILE, "f", 1);
    e.mode = 04751;
    e.uid = 12;
    e.gid = 34;
    e.xattrs = xattrs;
    e.xattrs_len = sizeof(xattrs) - 1;
    rig_add_entry(rig, &e);
    e.path = (const uint8_t *)"g";
    e.mode = 0444;
    rig_add_entry(rig, &e);
    is_i64(rig_ask(rig), 0, "asked: %s", rig->err.text);
    is_i64(rig_file(rig, 0, 1), LH_CLAIM_OK, "a file");
    is_i64(rig_file(rig, 1, 1), LH_CLAIM_OK, "one that is not writable");
    is_i64(rig_commit(rig), 0, "committed");
    st = stat_of("f");
    is_u64(stat_of("g").st_mode & 07777, 0444, "its mode");
    if (geteuid() == 0) {
        is_u64(st.st_mode & 07777, 04751, "mode with set-id");
        ok(st.st_uid == 12 && st.st_gid == 34, "owner");
    } else {
        is_u64(st.st_mode & 07777, 0751, "mode without set-id");
        skip("owners need root");
    }
    if (getxattr(rig_path("f"), "user.a", value, sizeof(value)) == 3)
        is_mem(value, "one", 3, "extended attributes");
    else
        skip("no extended attributes here");
    close_rig();
}

/* ---- lists and removal ---- */

static size_t list_of(const char *path)
{
    uint8_t *out = malloc(LH_CONTROL_MAX);
    struct lh_rtree_list *list;
    bool last = false;
    size_t n = 0;

    if (out == NULL || lh_rtree_list_open(rig->tree, 5, (const uint8_t *)path, strlen(path), &list,
                                          &rig->err) != 0) {
        free(out);
        return SIZE_MAX;
    }
    while (!last) {
        struct lh_names_reader reader;
        const char *why = NULL;
        size_t len = lh_rtree_list_next(list, out, &last);

        if (lh_names_decode(out, len, &reader, &why) != 0)
            bail("%s", why);
        n += reader.n;
    }
    lh_rtree_list_close(list);
    free(out);
    return n;
}

static void test_lists(void)
{
    struct lh_runs gone;
    char name[64];

    open_rig(LH_OFFER_KEEP_SAME, 0);
    for (unsigned i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "t/a name of some length, number %u", i);
        scratch_write(name, "", 0);
    }
    scratch_write("t/.longhaul-00000000000000000000000000000000.part", "", 0);
    is_u64(list_of(""), 3000, "a list in several frames, without what is ours");
    is_u64(list_of("not there"), 0, "of nothing");
    is_u64(list_of("../x"), SIZE_MAX, "of what is outside");
    rig_close(rig);
    scratch_clear();

    open_rig(LH_OFFER_KEEP_SAME, 0);
    mkdir(rig_path("d"), 0755);
    mkdir(rig_path("full"), 0755);
    scratch_write("t/d/.longhaul-00000000000000000000000000000000.part", "", 0);
    scratch_write("t/full/f", "", 0);
    scratch_write("t/f", "", 0);
    if (symlink("full", rig_path("l")) != 0)
        bail("symlink");
    lh_runs_init(&gone, 100);
    rig_add(rig, LH_KIND_FILE, "f", 0);
    rig_add(rig, LH_KIND_DIR, "d", 0);
    rig_add(rig, LH_KIND_DIR, "full", 0);
    rig_add(rig, LH_KIND_FILE, "not there", 0);
    rig_add(rig, LH_KIND_FILE, "l/f", 0);
    rig_add(rig, LH_KIND_FILE, "../x", 0);
    is_i64(rig_remove(rig, &gone), 0, "removal: %s", rig->err.text);
    ok(lh_runs_has(&gone, 0) && !scratch_exists("t/f"), "a file goes");
    ok(lh_runs_has(&gone, 1) && !scratch_exists("t/d"), "a directory, with what was left in it");
    ok(!lh_runs_has(&gone, 2) && strstr(rig_trouble(rig->troubles, 2), "empty") != NULL,
       "one that is not empty stays: %s", rig_trouble(rig->troubles, 2));
    ok(lh_runs_has(&gone, 3), "what is not there is gone");
    ok(!lh_runs_has(&gone, 4) && scratch_exists("t/full/f"), "no link is followed");
    ok(!lh_runs_has(&gone, 5), "nor is the root left");
    close_rig();
    lh_runs_free(&gone);
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    test_small_tree();
    test_policies();
    test_checksum();
    test_kept_mode();
    test_in_the_way();
    test_paths();
    test_parts();
    test_holes();
    test_void();
    test_protocol();
    test_no_place();
    test_memory();
    test_claims();
    test_collisions();
    test_fresh();
    test_fresh_ones_of_many();
    test_commit_due();
    test_leftovers();
    test_dry();
    test_attributes();
    test_lists();
    free(rig);
    return done_testing();
}
