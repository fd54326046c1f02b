/* A tree at the receiver: lists of its directories, and removal of what is in them. */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
    test_lists();
    free(rig);
    return done_testing();
}
