/* Owners of a tree's entries by name, at the receiver: against a data base of users that the test
 * makes up. */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <grp.h>
#include <longhaul/longhaul.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static struct rig *rig; /* large */

/* ---- the data base ---- */

static unsigned n_asked;
static size_t room_needed; /* bytes that an answer takes */

/* An errno, or 0 with *id, which is -1 when there is none of that name. */
static int look_up(const char *name, size_t size, int64_t *id)
{
    static const struct {
        const char *name;
        int64_t id;
    } known[] = {{"alice", 7001}, {"same", 1002}, {"toor", 0}};

    n_asked++;
    *id = -1;
    if (size < room_needed)
        return ERANGE;
    if (strcmp(name, "down") == 0)
        return EIO;
    if (strcmp(name, "gone") == 0)
        return ENOENT;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(name, known[i].name) == 0)
            *id = known[i].id;
    return 0;
}

int __wrap_getpwnam_r(const char *name, struct passwd *pw, char *buf, size_t size,
                      struct passwd **out);
int __wrap_getpwnam_r(const char *name, struct passwd *pw, char *buf, size_t size,
                      struct passwd **out)
{
    int64_t id;
    int e = look_up(name, size, &id);

    pw->pw_uid = (uid_t)id;
    *out = e == 0 && id >= 0 ? pw : NULL;
    return e;
}

/* Groups have numbers of their own. */
int __wrap_getgrnam_r(const char *name, struct group *gr, char *buf, size_t size,
                      struct group **out);
int __wrap_getgrnam_r(const char *name, struct group *gr, char *buf, size_t size,
                      struct group **out)
{
    int64_t id;
    int e = look_up(name, size, &id);

    gr->gr_gid = (gid_t)(id > 0 ? id + 1000 : id);
    *out = e == 0 && id >= 0 ? gr : NULL;
    return e;
}

/* ---- the tests ---- */

static void open_rig(uint16_t flags, uint32_t keep)
{
    if (rig_open(rig, flags, keep) != 0)
        bail("%s", rig->err.text);
}

static uint64_t not_asked(void)
{
    struct lh_rtree_stats stats;

    lh_rtree_stats(rig->tree, &stats);
    return stats.not_asked;
}

static void add(uint8_t kind, const char *path, uint32_t uid, uint32_t gid)
{
    struct lh_tree_entry e = rig_entry(rig, kind, path, 0);

    e.uid = uid;
    e.gid = gid;
    if (kind == LH_KIND_SYMLINK) {
        e.link = (const uint8_t *)"nowhere";
        e.link_len = 7;
    }
    rig_add_entry(rig, &e);
}

static void owned(const char *path, uint32_t uid, uint32_t gid)
{
    struct stat st = {0};

    if (lstat(rig_path(path), &st) != 0)
        diag("no %s", path);
    ok(st.st_uid == uid && st.st_gid == gid, "%s: %u:%u, of %u:%u", path, st.st_uid, st.st_gid, uid,
       gid);
}

static void test_names(void)
{
    open_rig(LH_OFFER_KEEP_SAME, RIG_ALL);
    n_asked = 0;
    is_i64(rig_owner(rig, LH_OWNER_USER, 1001, "alice"), 0, "a user");
    is_i64(rig_owner(rig, LH_OWNER_GROUP, 1001, "alice"), 0, "a group of that name and number");
    is_i64(rig_owner(rig, LH_OWNER_USER, 1002, "same"), 0, "one with the same number here");
    is_i64(rig_owner(rig, LH_OWNER_USER, 1003, "unknown"), 0, "one that is not known here");
    is_i64(rig_owner(rig, LH_OWNER_USER, 1004, "gone"), 0, "nor in the other way of saying so");
    is_i64(rig_owner(rig, LH_OWNER_USER, 1005, "toor"), 0, "one that is root here");
    is_u64(not_asked(), 0, "all were answered");
    is_i64(rig_owner(rig, LH_OWNER_USER, 1006, "down"), 0, "one that cannot be asked for");
    is_u64(not_asked(), 1, "is counted");
    is_u64(n_asked, 7, "each is asked for once");
    is_i64(rig_owner(rig, LH_OWNER_USER, 0, "alice"), 0, "root by another name");
    is_u64(n_asked, 7, "is root");
    add(LH_KIND_FILE, "f", 1001, 1001);
    add(LH_KIND_DIR, "d", 1001, 1002);
    add(LH_KIND_SYMLINK, "l", 1003, 1001);
    add(LH_KIND_FIFO, "p", 1006, 1001);
    add(LH_KIND_FILE, "g", 1004, 0);
    add(LH_KIND_FILE, "h", 0, 1001);
    add(LH_KIND_FILE, "i", 1005, 1003);
    is_i64(rig_ask(rig), 0, "asked: %s", rig->err.text);
    for (uint32_t i = 0; i < 7; i++)
        if (i == 0 || i >= 4)
            rig_part(rig, i, 0, 0);
    is_i64(rig_pack(rig), LH_CLAIM_OK, "a pack");
    is_i64(rig_commit(rig), 0, "committed");
    add(LH_KIND_DIR, "d", 1001, 1002);
    is_i64(rig_attrs(rig), 0, "ATTRS");
    is_u64(n_asked, 7, "nothing is asked for again");
    owned("f", 7001, 8001);
    owned("d", 7001, 1002);
    owned("l", 1003, 8001);
    owned("p", 1006, 8001);
    owned("g", 1004, 0);
    owned("h", 0, 8001);
    owned("i", 0, 1003);
    rig_close(rig);

    /* What is there belongs to whom it should, and is not touched. */
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_OWNER);
    rig_owner(rig, LH_OWNER_USER, 2001, "alice");
    add(LH_KIND_FILE, "f", 2001, 8001);
    add(LH_KIND_FILE, "h", 2001, 8001);
    rig_ask(rig);
    rig_close(rig);
    owned("f", 7001, 8001);
    scratch_clear();
}

static void test_room(void)
{
    open_rig(LH_OFFER_KEEP_SAME, RIG_ALL);
    room_needed = 300000;
    is_i64(rig_owner(rig, LH_OWNER_GROUP, 1001, "alice"), 0, "a group with very many members");
    is_u64(not_asked(), 0, "is found");
    room_needed = 100u << 20;
    is_i64(rig_owner(rig, LH_OWNER_GROUP, 1002, "alice"), 0, "one with too many");
    is_u64(not_asked(), 1, "is counted");
    room_needed = 0;
    rig_close(rig);
    scratch_clear();
}

static void test_not_kept(void)
{
    n_asked = 0;
    open_rig(LH_OFFER_KEEP_SAME, LH_KEEP_MODE);
    is_i64(rig_owner(rig, LH_OWNER_USER, 1001, "alice"), 0, "a name where owners are not kept");
    rig_close(rig);
    open_rig(LH_OFFER_DRY_RUN, RIG_ALL);
    is_i64(rig_owner(rig, LH_OWNER_USER, 1001, "alice"), 0, "and in a dry run");
    rig_close(rig);
    is_u64(n_asked, 0, "nobody is asked");
    scratch_clear();
}

/* ---- what is permitted ---- */

static void ask_all(void)
{
    static const uint8_t xattrs[] = "\x06\0user.a\1\0x\x09\0trusted.a\1\0x\x0a\0security.a\1\0x";
    struct lh_tree_entry e = rig_entry(rig, LH_KIND_FILE, "f", 0);

    e.mode = 06755;
    e.uid = 1001;
    e.gid = 1002;
    e.xattrs = xattrs;
    e.xattrs_len = sizeof(xattrs) - 1;
    rig_add_entry(rig, &e);
    add(LH_KIND_DIR, "d", 1001, 1002);
    e = rig_entry(rig, LH_KIND_CHAR, "null", 0x0103);
    rig_add_entry(rig, &e);
    add(LH_KIND_FIFO, "p", 1001, 1002);
    is_i64(rig_ask(rig), 0, "asked: %s", rig->err.text);
    is_i64(rig_file(rig, 0, 0), LH_CLAIM_OK, "a pack");
    is_i64(rig_commit(rig), 0, "committed");
    e = rig_entry(rig, LH_KIND_DIR, "d", 0);
    e.mode = 02775;
    e.uid = 1001;
    e.gid = 1002;
    rig_add_entry(rig, &e);
    is_i64(rig_attrs(rig), 0, "ATTRS");
}

static mode_t mode_of(const char *path)
{
    struct stat st = {0};

    return lstat(rig_path(path), &st) == 0 ? st.st_mode & 07777 : 0;
}

static void counted(uint64_t owners, uint64_t set_id, uint64_t security)
{
    struct lh_rtree_stats stats;

    lh_rtree_stats(rig->tree, &stats);
    is_u64(stats.n_owners, owners, "owners that are not permitted");
    is_u64(stats.n_set_id, set_id, "files with set-id bits that are not");
    is_u64(stats.n_security, security, "attributes that are not");
}

static bool has(const char *name)
{
    char value[4];

    return getxattr(rig_path("f"), name, value, sizeof(value)) == 1;
}

static void test_permitted(void)
{
    for (unsigned allow = 0; allow < 16; allow++) {
        bool owner = allow & LH_ALLOW_OWNER;
        bool set_id = allow & LH_ALLOW_SET_ID;
        bool devices = allow & LH_ALLOW_DEVICES;
        bool security = allow & LH_ALLOW_SECURITY;

        diag("allow %u", allow);
        if (rig_open_allowing(rig, LH_OFFER_KEEP_SAME, RIG_ALL, allow) != 0)
            bail("%s", rig->err.text);
        ask_all();
        counted(owner ? 0 : 3, set_id ? 0 : 1, security ? 0 : 2);
        owned("f", owner ? 1001 : geteuid(), owner ? 1002 : getegid());
        owned("d", owner ? 1001 : geteuid(), owner ? 1002 : getegid());
        owned("p", owner ? 1001 : geteuid(), owner ? 1002 : getegid());
        is_u64(mode_of("f"), owner && set_id ? 06755 : 0755, "mode of a file");
        is_u64(mode_of("d"), owner ? 02775 : 0775, "mode of a directory");
        is_u64(rig->answers.v[2], devices ? LH_WANTED_MADE : LH_WANTED_FAILED, "a device");
        ok(scratch_exists("t/null") == devices, "is made or not");
        is_u64(rig->answers.v[3], LH_WANTED_MADE, "a FIFO is made");
        ok(has("user.a") && has("trusted.a") == security && has("security.a") == security,
           "extended attributes");
        rig_close(rig);

        /* What is there already is as good, and what is not permitted is told again. */
        if (rig_open_allowing(rig, LH_OFFER_KEEP_SAME, RIG_ALL, allow) != 0)
            bail("%s", rig->err.text);
        rig->next = 0;
        ask_all();
        is_u64(rig->answers.v[0], LH_WANTED_MADE, "kept, with attributes that are set again");
        counted(owner ? 0 : 3, set_id ? 0 : 1, security ? 0 : 2);
        is_u64(mode_of("f"), owner && set_id ? 06755 : 0755, "its mode is as it was");
        rig_close(rig);
        scratch_clear();
    }
}

/* A sender that has no end. */
static void test_bound(void)
{
    uint8_t *payload = malloc(LH_CONTROL_MAX);
    struct lh_owners_writer w;
    uint64_t told = 0;
    int r = 0;

    if (payload == NULL)
        bail("out of memory");
    open_rig(LH_OFFER_KEEP_SAME, RIG_ALL);
    while (r == 0 && told < 3 * LH_OWNERS_MAX) {
        struct lh_owner owner = {LH_OWNER_USER, 10000, (const uint8_t *)"alice", 5};

        lh_owners_begin(&w, payload);
        while (lh_owners_add(&w, &owner))
            owner.id++;
        r = lh_rtree_owners(rig->tree, payload, lh_owners_end(&w), &rig->err);
        told += r == 0 ? w.n : 0;
    }
    is_i64(r, -LH_E_PROTOCOL, "more names than there may be: %s", rig->err.text);
    ok(told <= LH_OWNERS_MAX && told > LH_OWNERS_MAX / 2, "%u were taken", (unsigned)told);
    payload[0] = 1;
    memset(payload + 1, 0, 8);
    is_i64(lh_rtree_owners(rig->tree, payload, 9, &rig->err), -LH_E_PROTOCOL, "nonsense");
    free(payload);
    rig_close(rig);
    scratch_clear();
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    if (geteuid() == 0) {
        test_names();
        test_room();
        test_bound();
        test_permitted();
    } else {
        skip("owners need root");
    }
    test_not_kept();
    free(rig);
    return done_testing();
}
