/* What is in the sources of a tree, entry after entry.
 *
 * Happy path: open -> next until LH_WALK_END -> dirs_start, dirs_next until LH_WALK_END: every
 * directory once more, those within before the one they are in -> close.
 *
 * Order: a directory comes before what is in it. With LH_PRESERVE_HARDLINKS files that have several
 * names come last: the first name of each as a FILE, and after all of these the others as HARDLINK.
 *
 * Memory does not grow with the tree: directories that are still to be read, the attributes of
 * those that were yielded, hard links, and which names of a list have come are in unlinked files in
 * $TMPDIR (io/disk/spill.h, io/disk/known.h).
 *
 * Threads: open, next, dirs_* and close by one thread at a time; lh_walk_open_file, lh_walk_has and
 * lh_walk_root by any, also several at once, between open and close. Blocking: I/O threads. */
#ifndef LH_IO_WALK_H
#define LH_IO_WALK_H

#include "proto/identity.h"
#include "util/err.h"

#include <longhaul/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Path, link and xattrs of an entry fit into one frame of FILES; what does not fails by name. */
#define LH_WALK_XATTRS_MAX 40960

struct lh_walk;

struct lh_walk_entry {
    uint8_t kind;  /* enum lh_file_kind */
    uint16_t mode; /* permission bits, 07777 */
    uint32_t uid;
    uint32_t gid;
    struct lh_identity identity; /* of a link that is followed: of what it leads to */
    uint64_t rdev;               /* of a device: its number */
    uint32_t source;             /* place among the sources */
    const char *path;            /* relative to the destination, bytes, with a NUL behind; "" is the
                                    destination itself (dirs_next and root alone) */
    size_t path_len;             /* at most LH_TREE_PATH_MAX - 1 (proto/transfer.h) */
    const char *link; /* of SYMLINK its text, of HARDLINK the path of the first name; else "" */
    size_t link_len;
    const uint8_t *xattrs; /* as in FILES (proto/tree.h), no longer than LH_WALK_XATTRS_MAX */
    size_t xattrs_len;
};

enum lh_walk_step {
    LH_WALK_END = 0,
    LH_WALK_ENTRY = 1,  /* *e is one; its pointers hold until the next call with this walk */
    LH_WALK_FAILED = 2, /* source and path of *e are set, err says why it is left out (of a
                           directory also: why not all that is in it comes; of one of several
                           sources: an earlier one has its place). Counted; goes on */
    LH_WALK_NOTHING = 3 /* nothing to yield for a while, as when all is excluded: again, unless it
                           has become pointless */
};

struct lh_walk_numbers {
    uint64_t n_failed;
    uint64_t n_specials; /* FIFOs, sockets, devices left out: no LH_PRESERVE_DEVICES */
    uint64_t n_links;    /* symbolic links left out: LH_LINKS_SKIP */
    uint64_t n_half;     /* left out: a receiver's own files of what it has half received */
    uint64_t n_excluded; /* by a rule; what is in an excluded directory is not counted */
    bool empty_root;     /* a source is a directory with nothing in it (what a rule excludes is
                            something): --delete is not to act */
};

/* Of opts it looks at sources, files_from, rules, links, preserve and one_file_system; they, and
 * what they point to, outlive the walk. Each source is looked at: one of several that is not there
 * fails later, as an entry.
 * Returns 0, or with a sentence: -LH_E_SOURCE (nothing of what was named is there; two sources with
 * files_from, or one that is no directory: -LH_E_INVAL; the list cannot be read), -LH_E_NOMEM,
 * -LH_E_INTERNAL ($TMPDIR cannot be written to). */
int lh_walk_open(const struct lh_tree_options *opts, struct lh_walk **walk, struct lh_err *err);

/* Returns enum lh_walk_step, or, the walk being over: -LH_E_NOMEM, -LH_E_INTERNAL ($TMPDIR is full
 * or failed), -LH_E_SOURCE (files_from cannot be read, or is of lines and holds a NUL). */
int lh_walk_next(struct lh_walk *walk, struct lh_walk_entry *e, struct lh_err *err);

/* Whether it would wait for whoever writes the list of files_from. */
bool lh_walk_waits(const struct lh_walk *walk);

/* After the end: all directories that were yielded, and the root ("") where a source is "DIR/",
 * with attributes as they were found, in the opposite order. May be started several times. With two
 * sources that have a directory in common it comes twice; what the first one said comes last.
 * dirs_next returns LH_WALK_ENTRY, LH_WALK_END, -LH_E_NOMEM or -LH_E_INTERNAL. */
void lh_walk_dirs_start(struct lh_walk *walk);
int lh_walk_dirs_next(struct lh_walk *walk, struct lh_walk_entry *e, struct lh_err *err);

void lh_walk_numbers(const struct lh_walk *walk, struct lh_walk_numbers *out);

/* The first source that is "DIR/", whose contents go right into the destination: its attributes,
 * with the path "". False: there is none, the destination is just a directory. */
bool lh_walk_root(const struct lh_walk *walk, struct lh_walk_entry *e);

/* Open a FILE that was yielded, by its source and path. No symbolic link is followed below the
 * source (but with LH_LINKS_FOLLOW), nothing blocks on a FIFO. *now: what the open file is; the
 * caller compares. (NULL: not wanted, nor whether it is a regular file; one stat less.) Returns 0
 * with *fd, which the caller closes, or, with a sentence: -LH_E_SOURCE (not there, no permission,
 * …), -LH_E_SOURCE_KIND (no regular file any more). */
int lh_walk_open_file(struct lh_walk *walk, uint32_t source, const char *path, int *fd,
                      struct lh_identity *now, struct lh_err *err);

enum lh_walk_has {
    LH_WALK_ABSENT = 0,  /* no source has it, and no rule excludes it: --delete may remove it */
    LH_WALK_THERE = 1,   /* a source has it, sent or left out */
    LH_WALK_EXCLUDED = 2 /* a rule excludes it, or the directory it is in */
};

/* For --delete: has any source something that belongs at `path` (relative to the destination,
 * bytes, NUL behind)? is_dir: whether the receiver's is a directory, for patterns that end in '/'.
 * Asks the file system. Returns enum lh_walk_has, or -LH_E_SOURCE when it cannot be told. */
int lh_walk_has(struct lh_walk *walk, const char *path, bool is_dir, struct lh_err *err);

/* Whether what is in the directory `e`, of dirs_next, was left out: another file system is mounted
 * there, and one_file_system. */
bool lh_walk_dir_is_elsewhere(const struct lh_walk *walk, const struct lh_walk_entry *e);

/* Whether an earlier source has the directory `e`, of dirs_next, too. Asks the file system. */
bool lh_walk_dir_is_shared(const struct lh_walk *walk, const struct lh_walk_entry *e);

void lh_walk_close(struct lh_walk *walk); /* NULL does no harm */

#endif
