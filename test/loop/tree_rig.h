/* Trees that a program sends by include/longhaul/tree.h, with notes of every callback: the rig
 * (rig.h) of these tests.
 *
 * The contract is checked in here for every tree: no callback from inside a call or after done,
 * start once and before progress. */
#ifndef LH_TEST_TREE_RIG_H
#define LH_TEST_TREE_RIG_H

#include "test/loop/rig.h"

#include <longhaul/tree.h>

#define MIB (1024ull * 1024)
#define KIB 1024ull

/* One tree; zero it before use. */
struct planting {
    struct rig *rig;
    struct lh_tree *tree;
    enum moment cancel;
    unsigned cancel_at; /* entries; 0: never */
    unsigned unlink_at; /* entries: then these files of the source go; 0: never */
    unsigned unlink_first, unlink_end;
    unsigned n_start, n_progress, n_entries, n_done, n_violations;
    unsigned most_streams; /* live at once */
    unsigned n_what[LH_TREE_FAILED + 1];
    int status;
    int failed_status;
    char failed_path[300];
    char failed_text[600];
    char text[600];
    struct lh_tree_stats stats;
};

/* ---- the source: "t" ---- */

/* n files, "t/d0/f0", "t/d1/f1" ..., in seven directories, of sizes around what a pack is, and a
 * few links. */
void tree_grow(struct rig *rig, unsigned n);
/* The name of file i; valid until the next call. */
const char *tree_file(unsigned i);
void tree_add_dir(struct rig *rig, const char *name);
/* Modified at so many seconds, and a fraction. */
void tree_set_times(const char *path, long s);

/* ---- sending it to "copy" ---- */

/* Of what is in "t". What they point to is valid until the next call. */
void tree_options(struct rig *rig, struct lh_tree_options *o, uint16_t port);
int tree_start(struct rig *rig, struct planting *p, const struct lh_tree_options *o);
/* With those options, to its end. */
void tree_send(struct rig *rig, struct planting *p, uint16_t port);

/* ---- what came of it ---- */

/* A big file's CONFIRM can be lost with the line; then its done record stays for some days. */
extern bool tree_records_may_stay;
/* Differences between two entries and what is in them; each is told. */
unsigned tree_differences(const char *a, const char *b, bool times);
/* "copy" is the same as "t", and nothing else is in it. */
void tree_is_there(struct rig *rig, const char *what);

#endif
