/* The directories of a tree that is received, by their paths.
 *
 * A path is resolved from the tree's root, or from the directory before its last name, by
 * openat2(2) with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS (io/disk/deep.h):
 * no symbolic link at the destination is followed, also while somebody swaps a directory for one.
 * The last few descriptors are kept, so that a file costs no such call.
 *
 * Threads: any, its own lock, never held over a system call; rtree_opened.c has another one.
 * Failures are errnos. */
#ifndef LH_IO_RTREE_DIRS_H
#define LH_IO_RTREE_DIRS_H

#include "proto/transfer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_TREE_DIRS_KEPT 64
#define LH_TREE_DIRS_LONG 8      /* of these, and of those to be synced, with a path of 4 KiB */
#define LH_TREE_DIRS_FRESH 16384 /* a power of two; 128 KiB */
#define LH_TREE_FOREIGN_KNOWN 16 /* file systems; of more each look at one syncs it */
#define LH_TREE_SYNC_FEW 32      /* so many are synced one by one; more: the whole file system is */

struct lh_disk_stat;

struct lh_tree_dir {
    int fd;
    uint64_t dev;
    uint32_t gid;
    bool foreign;      /* of another file system than the root */
    bool acl;          /* has a default ACL: modes of what is made in it are not as asked for */
    bool fresh;        /* made for this tree: nothing is in it but what we put there */
    atomic_uint folds; /* rtree_fold.c's */
    bool led_to;       /* rtree_ask.c's: the names that lead to it are on the disk */
    /* rtree_opened.c's own, under its lock */
    struct lh_tree_dir *next_opened;
    uint64_t ino;
    bool opened;       /* up, by us; */
    bool lasts;        /* until ATTRS, or until the end if it is kept so long; */
    uint32_t mode;     /* before that it had this one */
    atomic_bool as_is; /* its mode is not ours: it is opened up when somebody works in it */
    /* the rest is rtree_dirs.c's own */
    bool dirty;
    bool kept;
    unsigned refs;
    uint64_t used;
    uint64_t hash;
    uint64_t mark; /* of this very directory */
    size_t path_len;
    char path[];
};

struct lh_tree_dirs {
    int root_fd; /* the caller's */
    /* An open file of its own: what could not be written is reported once to each, and that of
     * root_fd is the committer's. */
    int know_fd;
    uint64_t dev;
    bool each; /* syncfs(2) reports no errors here: never trust it alone */
    /* The caller's, before anything is opened: those of ours that lack rights of their owner are
     * given them while we work in them (rtree_opened.c). */
    bool open_up;
    atomic_bool any_opened; /* some had lacked them, ever */
    bool ended;
    pthread_mutex_t mode_lock; /* never taken under the other one */
    struct lh_tree_dir *opened;
    struct lh_tree_dir *root; /* with a reference, when it was opened up */
    pthread_mutex_t lock;
    uint64_t clock;
    struct lh_tree_dir *kept[LH_TREE_DIRS_KEPT];
    uint64_t fresh[LH_TREE_DIRS_FRESH]; /* of those that are kept no more: fresh_mark, or 0 */
    unsigned n_dirty;
    struct lh_tree_dir *dirty[LH_TREE_SYNC_FEW]; /* with a reference */
    bool many;                                   /* more than fit: sync the file system */
    bool known; /* of what was there before we came all is on the disk */
    unsigned n_foreign;
    uint64_t foreign[LH_TREE_FOREIGN_KNOWN]; /* the same of other file systems than the root's */
};

/* What is wrong with the path of an entry, or NULL. */
const char *lh_tree_path_wrong(const uint8_t *path, size_t len);

/* Bytes of the path's directory: 0 is the root. The name begins behind it and a slash. */
size_t lh_tree_dir_len(const char *path, size_t len);

void lh_tree_dirs_init(struct lh_tree_dirs *d);
void lh_tree_dirs_free(struct lh_tree_dirs *d);

/* The root, open, before anything is written; the caller's until `free`. 0 or an errno. */
int lh_tree_dirs_root(struct lh_tree_dirs *d, int root_fd, uint64_t dev);

/* The directory at path[0..len), with a reference. make: with what is missing of it. 0 or an errno:
 * ELOOP, ENOTDIR: something of another kind is in the way. */
int lh_tree_dir_get(struct lh_tree_dirs *d, const char *path, size_t len, bool make,
                    struct lh_tree_dir **dir);
/* The same only to see what is in it: it is not opened up unless it cannot be read otherwise. */
int lh_tree_dir_look(struct lh_tree_dirs *d, const char *path, size_t len,
                     struct lh_tree_dir **dir);
/* Whether it is the one at path[0..len). */
bool lh_tree_dir_is(const struct lh_tree_dir *dir, const char *path, size_t len);
/* For many paths in a row, most of them in the directory of the one before: *dir is that, or NULL,
 * and it is put back when another is needed. NULL after a failure. */
int lh_tree_dir_turn(struct lh_tree_dirs *d, const char *path, size_t len, bool make,
                     struct lh_tree_dir **dir);
/* Like get, of one that was made just now in the directory `in`. Failures are left to who needs it
 * next. */
void lh_tree_dir_made(struct lh_tree_dirs *d, const struct lh_tree_dir *in, const char *path,
                      size_t len);
void lh_tree_dir_put(struct lh_tree_dirs *d, struct lh_tree_dir *dir);

/* Directories were removed or replaced: look again from now on. */
void lh_tree_dirs_forget(struct lh_tree_dirs *d);

/* Of those with a path that long only a few are remembered: the paths are the memory. */
static inline bool lh_tree_dir_is_long(const struct lh_tree_dir *dir)
{
    return dir->path_len >= LH_PATH_MAX;
}

/* For rtree_opened.c: returns a descriptor or -errno. */
int lh_tree_open_beneath(int from_fd, const char *path);

/* ---- rtree_opened.c ---- */

/* It has its mode from ATTRS: that stays. */
void lh_tree_dir_dressed(struct lh_tree_dirs *d, struct lh_tree_dir *dir);
/* Others, who do not come by here, put something into it, or pass it on their way (passed): opened
 * up it stays that, until ATTRS give it its mode, or the end comes. One of which no descriptor is
 * kept until then is forgotten, and so are all when the session is lost: only ATTRS, perhaps of a
 * later session, give these a mode. */
void lh_tree_dir_lasts(struct lh_tree_dirs *d, struct lh_tree_dir *dir, bool passed);
/* Behind the last change: modes are given back, and all is synced as lh_tree_dirs_sync does. */
int lh_tree_dirs_end(struct lh_tree_dirs *d);

/* Whether what failed with this errno is to be tried again: another receiver had opened it up, and
 * gave its mode back while we worked in it. */
bool lh_tree_dir_again(struct lh_tree_dirs *d, struct lh_tree_dir *dir, int e);

/* For rtree_dirs.c. Somebody works in it (returns whether it got rights that it lacked); it was
 * opened, in_fd being what it is in, and that was not allowed (returns a descriptor or -errno); it
 * is closed. */
bool lh_tree_dir_open_up(struct lh_tree_dirs *d, struct lh_tree_dir *dir);
int lh_tree_dir_open_shut(struct lh_tree_dirs *d, int in_fd, const char *name,
                          struct lh_tree_dir *dir);
void lh_tree_dir_give_back(struct lh_tree_dirs *d, struct lh_tree_dir *dir);
/* Somebody opened it just now, to work in it, and looked at it: mostly there is nothing to do. */
void lh_tree_dir_came(struct lh_tree_dirs *d, struct lh_tree_dir *dir,
                      const struct lh_disk_stat *st);
/* The root, which is in use from the beginning to the end. */
void lh_tree_dirs_open_root(struct lh_tree_dirs *d);
void lh_tree_dirs_let_root(struct lh_tree_dirs *d);

/* ---- rtree_sync.c ---- */

/* An entry of it was changed: it is to be synced. Blocking, rarely. */
int lh_tree_dir_touch(struct lh_tree_dirs *d, struct lh_tree_dir *dir);

/* What was done before must be on the disk when `sync` has returned, whatever it was. */
void lh_tree_dirs_touch_all(struct lh_tree_dirs *d);

/* Sync all that was touched before. Blocking. An error is final. */
int lh_tree_dirs_sync(struct lh_tree_dirs *d);

/* What was there before we came, a killed receiver may have made a moment ago: see that it is on
 * the disk. Blocking, once. An error is final. */
int lh_tree_dirs_know(struct lh_tree_dirs *d);
/* The same for what is in a directory of another file system than the root's; nothing to do for
 * others. Before anything is said of what is there, or put there. */
int lh_tree_dir_know(struct lh_tree_dirs *d, const struct lh_tree_dir *dir);

/* Something in it got other attributes: on the disk with the next sync, or now where that does not
 * reach. Blocking then. */
int lh_tree_dir_changed(struct lh_tree_dirs *d, const struct lh_tree_dir *dir);

#endif
