/* A walk of sources in the scratch directory, and what it gave. */
#ifndef LH_TEST_WALK_RIG_H
#define LH_TEST_WALK_RIG_H

#include "io/source/walk.h"

#define RIG_ENTRIES 64

struct rig {
    struct lh_tree_options opts;
    struct lh_walk *walk; /* NULL: none */
    unsigned n_nothings;  /* how often there was nothing for a while */
    /* Of rig_run, in the walk's order. */
    size_t n;
    char line[RIG_ENTRIES][600]; /* "KIND path[ -> link]", "! path: words" */
    size_t n_dirs;
    char dir[RIG_ENTRIES][300];
    struct lh_walk_numbers numbers;
    int end; /* what next returned at last */
};

extern struct rig rig;

/* A directory "t" with a few directories and files, and nothing else. */
void rig_make_tree(void);
/* A file of one byte, a directory. */
void rig_file(const char *name);
void rig_dir(const char *name);

/* Options without anything but sources: names in the scratch directory, the last is NULL. */
void rig_begin(const char *first, ...);
/* A new walk with the options as they are; the test ends when that fails. */
void rig_open(void);
/* What comes next, as lh_walk_next; "nothing for a while" is only counted. */
int rig_next(struct lh_walk_entry *e, struct lh_err *err);
/* A new walk to its end. Returns what open does. */
int rig_run(void);
bool rig_has_line(const char *line);
/* Run; these lines must come, separated by '|', sorted; "! path" without the words. */
void rig_yields(const char *want, const char *what);
/* The walk and the options. */
void rig_end(void);

#endif
