/* What the files of the walk share; its face is walk.h. */
#ifndef LH_IO_WALK_IMPL_H
#define LH_IO_WALK_IMPL_H

#include "core/filter.h"
#include "io/disk/disk.h"
#include "io/disk/known.h"
#include "io/disk/sorter.h"
#include "io/disk/spill.h"
#include "io/source/walk.h"
#include "proto/transfer.h"

#include <stdatomic.h>

#define LH_WALK_PATH_MAX LH_ENTRY_PATH_MAX
#define LH_WALK_TOO_LONG "its path is longer than 16383 bytes"
#define LH_WALK_NAME_MAX 255
#define LH_WALK_SHOWN 320

_Static_assert(LH_WALK_PATH_MAX == LH_TREE_PATH_MAX - 1 && LH_WALK_PATH_MAX == LH_FILTER_PATH_MAX &&
                   LH_WALK_PATH_MAX == 16383,
               "an entry's path is as long on the wire, in rules and in words");

/* One of what was named. Immutable after open. */
struct lh_walk_source {
    const char *arg;
    char *name; /* owned: what it is called below the destination; "" when only what is in it
                   goes there */
    size_t name_len;
    bool is_dir;
    bool follow;   /* it may be a symbolic link to one */
    bool namesake; /* another source has its name */
    int fd;        /* of a directory, of the first ones alone; -1 */
    int sys_errno; /* it cannot be looked at or opened */
    struct lh_disk_stat st;
};

struct lh_walk_ancestor {
    uint64_t dev;
    uint64_t ino;
};

/* Names that were given in a list. */
struct lh_walk_list {
    int fd;      /* -1: there is no list */
    bool opened; /* and it is ours to close */
    bool looked; /* what names end with */
    char separator;
    bool cut; /* the name at hand is longer than any: this is its end */
    bool ended;
    char *bytes;
    size_t at;
    size_t end;
    char item[LH_TREE_PATH_MAX]; /* that is being yielded */
    size_t item_len;             /* 0: none */
    size_t told;                 /* bytes of it that are directories which were yielded */
    char last[LH_TREE_PATH_MAX]; /* that was yielded before it */
    struct lh_known known;       /* names that were taken: each is once */
};

/* Files with several names. */
struct lh_walk_linked {
    enum { LH_LINKED_ADDING, LH_LINKED_FIRSTS, LH_LINKED_OTHERS, LH_LINKED_OVER } phase;
    struct lh_spill entries;
    struct lh_sorter keys;
    struct lh_sort_key group; /* first of the file at hand */
    bool in_group;
    bool has_first; /* `first` is its path */
    char first[LH_TREE_PATH_MAX];
    size_t first_len;
    uint8_t *record;
};

struct lh_walk {
    const struct lh_tree_options *opts;
    struct lh_filter filter;
    struct lh_walk_source *sources;
    size_t n_sources;
    struct lh_walk_source **by_name; /* all of them, sorted; those of one name in order */
    size_t next_source;
    uint32_t source; /* that is being walked */
    struct lh_walk_numbers numbers;
    atomic_bool no_noatime; /* the kernel has refused O_NOATIME once */

    /* The directory that is being read. */
    int dir_fd;     /* -1: none */
    size_t dir_len; /* of its path, which `path` begins with */
    uint32_t depth;
    bool dir_empty;
    bool dir_shared;      /* what is in it may be in an earlier source, too */
    struct lh_known seen; /* what lies at the top of sources that are namesakes */
    char *names;          /* what getdents64(2) gave */
    size_t names_at;
    size_t names_end;
    struct lh_walk_ancestor *ancestors; /* of depth 0 to `depth` */
    size_t n_ancestors;                 /* room for */

    struct lh_spill todo; /* directories that are to be read: depth, shared, path */
    struct lh_spill dirs; /* entries for dirs_next */
    struct lh_spill_reader dirs_reader;
    struct lh_walk_list list;
    struct lh_walk_linked linked;

    /* The entry at hand. */
    char path[LH_TREE_PATH_MAX + LH_WALK_NAME_MAX + 1];
    size_t path_len;
    bool entry_shared; /* of a directory: dir_shared, when it is read */
    char link[LH_PATH_MAX];
    uint8_t *xattrs; /* LH_WALK_XATTRS_MAX bytes, when they are read at all */
    size_t xattrs_len;
};

/* ---- walk.c ---- */

/* path, which is relative to the destination, as the source knows it: "" is the source itself. */
const char *lh_walk_rel(const struct lh_walk_source *src, const char *path);

/* A descriptor of a source that is a directory, for lh_walk_let_go. Returns it or -errno. */
int lh_walk_hold(const struct lh_walk_source *src);
void lh_walk_let_go(const struct lh_walk_source *src, int fd);

/* "SOURCE/rel", safe to show. Returns out. */
char *lh_walk_show(const struct lh_walk *w, uint32_t source, const char *path,
                   char out[LH_WALK_SHOWN]);

/* The entry at w->path fails. `what`: "read", "look at". Returns LH_WALK_FAILED. */
int lh_walk_fail(struct lh_walk *w, struct lh_walk_entry *e, int sys_errno, const char *what,
                 struct lh_err *err);
/* The same in words; they come behind the name. */
int lh_walk_fail_words(struct lh_walk *w, struct lh_walk_entry *e, const char *words,
                       struct lh_err *err);

/* An entry as a record, kept in `s`. */
int lh_walk_keep(struct lh_spill *s, const struct lh_walk_entry *e, uint64_t *at,
                 struct lh_err *err);
void lh_walk_kept(const void *record, struct lh_walk_entry *e);

/* ---- walk_scan.c ---- */

/* Look at `name` in dirfd, which is the entry at w->path. descend: a directory is to be read later.
 * Returns enum lh_walk_step, -LH_E_NOMEM or -LH_E_INTERNAL. */
int lh_walk_take(struct lh_walk *w, int dirfd, const char *name, bool descend,
                 struct lh_walk_entry *e, struct lh_err *err);

/* Open a directory of a source; rel as lh_walk_rel. Returns a descriptor or -errno. */
int lh_walk_open_dir(const struct lh_walk *w, const struct lh_walk_source *src, const char *rel);

/* Begin with the last of w->todo. */
int lh_walk_enter(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err);
/* The next name of the directory that is being read. Both return as lh_walk_take. */
int lh_walk_scan(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err);

/* ---- walk_clash.c ---- */

/* Once the sources have their names. Returns 0 or -LH_E_NOMEM. */
int lh_walk_sort_sources(struct lh_walk *w, struct lh_err *err);

/* Whether entries of that kind are left out, and counted. */
bool lh_walk_leaves_out(const struct lh_walk *w, uint8_t kind);

/* The entry at w->path: has an earlier source its place? Returns LH_WALK_ENTRY (no; then
 * w->entry_shared is set), LH_WALK_NOTHING (it is the very same), LH_WALK_FAILED, -LH_E_NOMEM or
 * -LH_E_INTERNAL. */
int lh_walk_clash(struct lh_walk *w, const struct lh_disk_stat *st, struct lh_walk_entry *e,
                  struct lh_err *err);

/* ---- walk_xattr.c ---- */

/* Read those that opts ask for into w->xattrs. Returns 0, an errno, or E2BIG. */
int lh_walk_read_xattrs(struct lh_walk *w, int dirfd, const char *name);

/* ---- walk_list.c ---- */

int lh_walk_list_open(struct lh_walk *w, struct lh_err *err);
void lh_walk_list_close(struct lh_walk *w);
/* Returns as lh_walk_take, and LH_WALK_END; -LH_E_SOURCE when the list cannot be read. */
int lh_walk_list_next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err);

/* ---- walk_links.c ---- */

int lh_walk_links_add(struct lh_walk *w, const struct lh_walk_entry *e, struct lh_err *err);
/* After everything else. Returns LH_WALK_ENTRY, LH_WALK_END, -LH_E_NOMEM or -LH_E_INTERNAL. */
int lh_walk_links_next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err);

#endif
