/* A tree at the receiver: what becomes of entries, in real directories. (Packs: rtree_pack.c.) */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static bool is_link(const char *path, const char *text)
{
    char have[512];
    ssize_t n = readlink(rig_path(path), have, sizeof(have) - 1);

    if (n < 0)
        return false;
    have[n] = '\0';
    return strcmp(have, text) == 0;
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

/* Until all of it is settled. Returns the index of "d/file". */
static uint32_t small_tree(void)
{
    uint32_t dir, file, empty, deep, link, fifo;

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
    is_u64(rig_stat("d/file").st_mode & 07777, 0640, "mode");
    ok(rig_times_are("d/file", file) && rig_times_are("empty", empty) &&
           rig_times_are("d/link", link) && rig_times_are("fifo", fifo),
       "times");
    ok(is_link("d/link", "../../somewhere else"), "the link says what it said");
    ok(S_ISFIFO(rig_stat("fifo").st_mode), "a FIFO");
    return file;
}

static void fails_for(const char *words, const char *name)
{
    is_i64(rig_ask(rig), 0, "%s", name);
    is_u64(rig->answers.v[0], LH_WANTED_FAILED, "fails");
    ok(strstr(rig_trouble(rig->answers.troubles, rig->next - 1), words) != NULL, "in words");
}

/* Other names of "d/file". */
static void hard_links(uint32_t file)
{
    uint32_t hard;

    rig_add_link(rig, LH_KIND_HARDLINK, "hard", "d/file");
    fails_for("what it is another name of", "a hard link of a file with another time");
    rig_add_link(rig, LH_KIND_HARDLINK, "hard", "d/not");
    fails_for("what it is another name of", "a hard link of a file that never came");
    hard = add_hard(rig, "hard", "d/file", file);
    is_i64(rig_ask(rig), 0, "a hard link");
    is_u64(rig->answers.v[0], LH_WANTED_MADE, "is made");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_settled(rig, hard), "and settled");
    is_u64(rig_stat("d/file").st_nlink, 2, "it is the same file");
}

/* The same again costs nothing. */
static void all_is_kept(uint32_t file)
{
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
}

static void test_small_tree(void)
{
    uint32_t file;

    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    file = small_tree();
    hard_links(file);
    rig_add(rig, LH_KIND_DIR, "d", 0);
    is_i64(rig_attrs(rig), 0, "attributes of the directory");
    ok(rig_times_are("d", rig->next - 1) && (rig_stat("d").st_mode & 07777) == 0755, "are set");
    is_i64(lh_rtree_finish(rig->tree, &rig->err), 0, "finish");
    rig_close(rig);
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES);
    all_is_kept(file);
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
    ok(rig_times_are("same", 0), "with the time that it should have");
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
    is_u64(rig_stat("f").st_mode & 07777, 0640, "it has another mode");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_settled(rig, 0), "and that is settled");
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
    ok(S_ISDIR(rig_stat("link").st_mode), "is one now");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "link/x", 10), LH_WANTED_NEW, "and takes files");
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "file", 0), LH_WANTED_MADE, "a directory over a file");
    is_i64(rig_ask_one(rig, LH_KIND_FILE, "link2", 10), LH_WANTED_CHANGED, "a file over a link");
    is_i64(rig_file(rig, rig->next - 1, 10), LH_CLAIM_OK, "its contents");
    is_i64(rig_commit(rig), 0, "committed");
    ok(rig_holds("link2", rig->next - 1, 10), "the link is gone, what it led to is untouched");
    is_u64(rig_stat("outside").st_nlink, 2, "outside is empty");
    close_rig();

    make_old("f", 10, 50);
    open_rig(LH_OFFER_KEEP_ANY, 0);
    is_i64(rig_ask_one(rig, LH_KIND_DIR, "f", 0), LH_WANTED_FAILED, "skip: nothing is removed");
    ok(S_ISREG(rig_stat("f").st_mode), "for a directory");
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
    ok(rig_settled(rig, 0) && !rig_settled(rig, 2), "it is not settled, the others are");
    ok(strstr(rig_trouble(rig->troubles, 2), "meanwhile") != NULL, "told: %s",
       rig_trouble(rig->troubles, 2));
    is_u64(rig_stat("b").st_size, 14, "what is there stays");
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
    ok(!rig_settled(rig, 3) && strstr(rig_trouble(rig->troubles, 3), "another name") != NULL,
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
    st = rig_stat("f");
    is_u64(rig_stat("g").st_mode & 07777, 0444, "its mode");
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
    test_collisions();
    test_fresh();
    test_fresh_ones_of_many();
    test_dry();
    test_attributes();
    free(rig);
    return done_testing();
}
