/* What rtree*.c share; nobody else includes this. */
#ifndef LH_IO_RTREE_IMPL_H
#define LH_IO_RTREE_IMPL_H

#include "core/idmap.h"
#include "core/ledger.h"
#include "io/disk/disk.h"
#include "io/disk/staging.h"
#include "io/rtree/rtree.h"
#include "io/rtree/rtree_dirs.h"

#include <dirent.h>
#include <longhaul/longhaul.h>
#include <pthread.h>
#include <sys/types.h>

#define LH_RTREE_BUCKETS 131072u
#define LH_RTREE_BYTES_MAX (16u * 1024 * 1024) /* of files in the table */
/* Of what all trees share each has so much from its beginning to its end: */
#define LH_RTREE_TABLE_BYTES ((size_t)(LH_TREE_SPAN + LH_RTREE_BUCKETS) * sizeof(void *))
#define LH_RTREE_ENTRIES_OWN (512u * 1024)
#define LH_RTREE_RUNS_OWN (1024u * 1024)
#define LH_RTREE_BEGUN_MAX 4096     /* files of more than a part, not whole yet */
#define LH_RTREE_RUNS_MAX 256       /* of the parts of one file */
#define LH_RTREE_COMMIT_FILES 16384 /* so many are not left waiting for the clock, */
#define LH_RTREE_COMMIT_LEAST 1024  /* nor so many where a sync takes no time */
#define LH_RTREE_SHOWN_SIZE 320

enum lh_rfile_state {
    LH_RFILE_WANTED,   /* nothing of it has come */
    LH_RFILE_CREATING, /* its staging file is being made */
    LH_RFILE_STAGED,   /* parts are being written */
    LH_RFILE_WHOLE     /* waits for a commit, or is in one */
};

/* How a file that was made without a name gets one. */
enum lh_unnamed {
    LH_UNNAMED_NOT, /* none is made: a sync comes before the name, or this cannot be done here */
    LH_UNNAMED_FD,
    LH_UNNAMED_PROC /* by /proc: only who may read everything may link a descriptor */
};

/* A file whose contents are wanted; all under the tree's lock but what never changes. */
struct lh_rfile {
    struct lh_rfile *next;  /* among those that are whole */
    struct lh_rfile *chain; /* of its bucket */
    struct lh_runs *parts;  /* bytes taken, when they do not come in one part */
    uint64_t size;
    uint64_t written;
    uint64_t ino; /* of the staging file */
    struct lh_time mtime;
    uint64_t hash; /* of the path */
    uint32_t index;
    uint32_t uid;
    uint32_t gid;
    int fd; /* dressed and kept open for its sync, else -1 */
    uint16_t mode;
    uint16_t path_len;
    uint16_t xattrs_len;
    uint16_t n_writers;
    uint8_t state;  /* enum lh_rfile_state */
    bool foreign;   /* with fd: only a sync of its own reaches it */
    bool was_there; /* something of its name, when it was asked for */
    bool dressed;   /* all parts are in, and its attributes are set */
    bool dropped;   /* failed or void: goes with its last writer */
    bool named;     /* it has its name already */
    char path[];    /* NUL-terminated; xattrs behind it */
};

struct lh_rtree {
    struct lh_store store; /* first */
    pthread_mutex_t lock;
    pthread_cond_t created;  /* a staging file, or not */
    pthread_cond_t quiet;    /* fenced, and the last write has ended */
    struct lh_ledger ledger; /* of packs */
    struct lh_err why;       /* status != 0: failed, for this reason */
    struct lh_rfile **ring;  /* by index, LH_TREE_SPAN */
    struct lh_rfile **buckets;
    struct lh_quota *memory;   /* NULL: no bound */
    struct lh_account entries; /* bytes of files in the table */
    struct lh_account runs;    /* and of which of their parts have come */
    uint32_t n_files;          /* in the table */
    uint32_t n_begun;          /* STAGED or CREATING */
    uint32_t n_partial;        /* not WHOLE */
    uint32_t told;             /* indexes below it have been told of */
    bool waited_for;           /* the sender told of all that it has */
    struct lh_rfile *whole;
    struct lh_rfile **whole_end;
    uint32_t n_whole;
    uint32_t n_open;       /* of those, with a descriptor */
    bool loose;            /* some were closed unsynced: sync the file system */
    uint32_t commit_files; /* so many whole ones make a commit due */
    struct lh_runs made;
    struct lh_runs settled; /* not yet taken */
    struct lh_rtree_trouble *troubles;
    struct lh_rtree_stats stats;
    struct lh_idmap owners; /* of the jobs that take entries, one at a time */
    uint32_t n_owners_told;

    /* The commit at hand: the committer's. */
    struct lh_rfile *batch;
    uint32_t batch_made;
    struct lh_runs batch_runs;
    struct lh_batch packs;
    uint64_t sync_us; /* spent on its syncs */

    /* Set by open. */
    int root_fd; /* -1: a dry run, and there is none */
    uint64_t dev;
    struct lh_time
        opened; /* of files that were changed since then this transfer may be the reason */
    uint16_t flags;
    uint32_t keep;
    unsigned allow; /* enum lh_allow */
    unsigned umask;
    bool is_root;
    _Atomic(enum lh_unnamed) unnamed; /* until the kernel refuses it once */
    uint32_t uid;                     /* of what is made; so is gid in a directory of that group */
    uint32_t gid;
    uint8_t salt[LH_HASH_SIZE];
    char shown[LH_RTREE_SHOWN_SIZE];
    struct lh_tree_dirs dirs;
};

/* What lies at an entry's path. */
struct lh_rspot {
    struct lh_tree_dir *dir; /* with a reference; NULL: a dry run, and it is missing */
    const char *name;
    bool there;
    struct lh_disk_stat st;
};

static inline bool lh_rtree_dry(const struct lh_rtree *t)
{
    return t->flags & LH_OFFER_DRY_RUN;
}

void lh_rtree_give_memory(struct lh_rtree *t);

/* An errno that is the disk's, not an entry's. */
bool lh_rtree_fatal(int sys_errno);

/* The tree fails; keeps the first reason. Returns -status of that. */
int lh_rtree_fail(struct lh_rtree *t, const struct lh_err *why, struct lh_err *err);
int lh_rtree_fail_sys(struct lh_rtree *t, int sys_errno, const char *what, struct lh_err *err);
/* The same, where it was an entry at which it showed: it is named. */
int lh_rtree_fail_at(struct lh_rtree *t, int sys_errno, const char *what, const char *path,
                     size_t path_len, struct lh_err *err);

/* 0, or the failure that there was before. */
int lh_rtree_check(struct lh_rtree *t, struct lh_err *err);

/* Put a trouble at the head of `list`. Returns 0 or -LH_E_NOMEM. */
int lh_rtree_trouble(struct lh_rtree_trouble **list, uint32_t entry, int status, const char *path,
                     size_t path_len, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* The contents of a file cannot be had under its name: it is told of, and goes with its last
 * writer. The caller holds the lock. 0 or -LH_E_NOMEM. */
int lh_rtree_drop(struct lh_rtree *t, struct lh_rfile *f, int sys_errno, const char *what);

/* The hidden name that a target's contents land in. */
void lh_rtree_part_of(const struct lh_rtree *t, const char *name, char part[LH_HIDDEN_SIZE]);

/* ---- rtree_table.c ---- */

int lh_rtree_table_init(struct lh_rtree *t);
void lh_rtree_table_free(struct lh_rtree *t);
/* Bytes that an entry takes there. */
size_t lh_rtree_bytes_of(const struct lh_tree_entry *e);
/* The caller holds the lock. */
struct lh_rfile *lh_rtree_find_path(const struct lh_rtree *t, const char *path, size_t len);
struct lh_rfile *lh_rtree_find(const struct lh_rtree *t, uint32_t index);
/* Takes no lock: builds one from an entry. NULL: out of memory. */
struct lh_rfile *lh_rfile_new(const struct lh_tree_entry *e, uint32_t index, bool was_there);
void lh_rfile_free(struct lh_rfile *f);
void lh_rtree_table_add(struct lh_rtree *t, struct lh_rfile *f);
/* Out of the table; the memory is the caller's. */
void lh_rtree_table_remove(struct lh_rtree *t, struct lh_rfile *f);

/* ---- rtree_dress.c: attributes ---- */

struct lh_rdress {
    uint16_t mode;
    uint32_t uid;
    uint32_t gid;
    struct lh_time mtime;
    const uint8_t *xattrs;
    size_t xattrs_len;
    bool mode_set;  /* it was made with its mode */
    bool owner_set; /* it was made by its owner */
    bool bare;      /* it was made just now: it has no attributes of users */
    bool lifted;    /* it has rights of its owner for the moment; without them its mode */
    mode_t was;     /* was this */
};

/* What an entry says of it; no mode where modes are not kept. */
struct lh_rdress lh_rdress_of(const struct lh_rtree *t, const struct lh_tree_entry *e);
/* So much could not be set, or is not supported: to be told at the end. Any thread, not under the
 * lock. */
void lh_rtree_count_not_kept(struct lh_rtree *t, uint64_t n);

/* Of an open file or directory. Returns 0 or an errno of the disk; what may not be set, or is not
 * supported, is counted in *not_kept. */
int lh_rtree_dress(const struct lh_rtree *t, int fd, const struct lh_rdress *d, uint64_t *not_kept);
/* Opened to be dressed, without following anything: to write where it cannot be read, and one of
 * our own that its mode lets us do neither with is given the right to, which `dress` of d takes
 * away again. It was looked at before: to open a device can have effects of its own. Returns a
 * descriptor or -errno. */
int lh_rtree_open_there(const struct lh_tree_dir *dir, const char *name, struct lh_rdress *d);
/* Whether it is a regular file of that size and mtime. */
bool lh_rtree_is_that(const struct lh_disk_stat *st, uint64_t size, const struct lh_time *mtime);
/* The file `name` in `dir`, which was looked at; synced. EINVAL: it is not that any more. */
int lh_rtree_dress_there(const struct lh_rtree *t, const struct lh_tree_dir *dir, const char *name,
                         uint64_t size, const struct lh_rdress *d, uint64_t *not_kept);
/* Of something that cannot be opened: a link, a FIFO, a device; no extended attributes. */
int lh_rtree_dress_at(const struct lh_rtree *t, int dirfd, const char *name, bool link,
                      const struct lh_rdress *d, uint64_t *not_kept);
/* Of an entry's mode, the bits that are kept: set-id bits belong to an owner, and go with it. */
mode_t lh_rtree_mode_mask(const struct lh_rtree *t);
/* Whether what is there has an ACL that goes, as the source has none. */
bool lh_rtree_acl_too_many(const struct lh_rtree *t, int dirfd, const char *name);
/* Whether it has extended attributes of users, of which the source has none, and they go. */
bool lh_rtree_xattrs_too_many(const struct lh_rtree *t, int dirfd, const char *name);
/* The mode that a file is made with, and whether no chmod is needed then. */
mode_t lh_rtree_mode(const struct lh_rtree *t, uint16_t mode, bool acl, bool *exact);

/* ---- rtree_fold.c: names that are one at the destination ---- */

#define LH_RTREE_TWICE                                                                             \
    "another name in this transfer is the same here, or somebody else made it meanwhile"

void lh_rtree_note_time(struct lh_rtree *t);
/* Whether names that differ in case are one in a directory, as the names in it tell. Reads it, and
 * goes back to its beginning. */
bool lh_rtree_folds(DIR *dir);
/* What is there is to be replaced: whether it came meanwhile, where names may be one. */
bool lh_rtree_made_meanwhile(const struct lh_rtree *t, struct lh_tree_dir *dir, const char *name,
                             const struct lh_disk_stat *st);

/* ---- rtree_permit.c: what a sender may ask for ---- */

/* What is not permitted is taken out of an entry, and counted when that is asked for. */
void lh_rtree_permit(struct lh_rtree *t, struct lh_tree_entry *e, bool count);
bool lh_rtree_device_permitted(const struct lh_rtree *t);
/* An extended attribute that only root may set, and that means something to the system. */
bool lh_rtree_is_security(const char *name, size_t len);

/* ---- rtree_owner.c ---- */

/* Owners are kept, and may be set. */
bool lh_rtree_owner_kept(const struct lh_rtree *t);
/* An entry's owner as this host numbers it. */
void lh_rtree_own(const struct lh_rtree *t, struct lh_tree_entry *e);

/* ---- rtree_make.c: what needs no contents ---- */

/* Why an entry that is no directory fails, here and where files are asked for. */
#define LH_RTREE_IN_THE_WAY "a directory is there, which is not replaced: move it away"

/* Make a directory, link or special file; enum lh_wanted, FAILED with a trouble added, or -LH_E_*
 * when the tree is of no more use. */
int lh_rtree_make(struct lh_rtree *t, const struct lh_tree_entry *e, uint32_t index,
                  const struct lh_rspot *at, struct lh_rtree_trouble **troubles,
                  struct lh_err *err);

/* ---- rtree_write.c ---- */

int lh_rtree_write(struct lh_store *store, uint64_t epoch, uint64_t offset, const void *data,
                   uint32_t len, const struct lh_hash *hash, bool *commit_soon, struct lh_err *err);
bool lh_rtree_wants(struct lh_store *store, uint64_t epoch, uint64_t offset);
uint64_t lh_rtree_pending_bytes(struct lh_store *store);
void lh_rtree_fence(struct lh_store *store);
/* A commit is due at once: enough waits for it, or the sender does. The caller holds the lock. */
bool lh_rtree_soon(const struct lh_rtree *t);

/* ---- rtree_part.c: staging files ---- */

/* Of its path, behind the directory. */
const char *lh_rfile_name(const struct lh_rfile *f);
/* "": one without a name. Returns a descriptor or -errno. */
int lh_rtree_part_make(const struct lh_rtree *t, const struct lh_tree_dir *dir, const char *part,
                       mode_t mode);
/* The very file that was made. Returns a descriptor or -errno. */
int lh_rtree_part_open(const struct lh_tree_dir *dir, const char *part, uint64_t ino);
/* One that was not renamed leaves nothing; its descriptor is closed. */
void lh_rtree_part_remove(struct lh_rtree *t, const struct lh_rfile *f);

/* ---- rtree_unnamed.c: files that have no name until they are whole ---- */

/* What is there no sync makes safer. */
bool lh_rtree_in_memory(int fd);
/* What the file system of that directory can do. */
enum lh_unnamed lh_rtree_unnamed_how(int dirfd);
/* Of a file that comes in one part. */
bool lh_rtree_is_unnamed(const struct lh_rtree *t, const struct lh_rfile *f,
                         const struct lh_tree_dir *dir);
/* A descriptor or -errno. */
int lh_rtree_unnamed_make(const struct lh_rtree *t, const struct lh_tree_dir *dir, mode_t mode);
/* 0 or an errno; one that was voided gets none. EEXIST: something has that name by now; it stays.
 * t->unnamed is LH_UNNAMED_NOT then: it may be linked by nobody like us, and is to be written anew
 * under a hidden name. */
int lh_rtree_unnamed_name(struct lh_rtree *t, const struct lh_tree_dir *dir, int fd,
                          struct lh_rfile *f);

/* ---- rtree_commit.c ---- */

int lh_rtree_commit_begin(struct lh_store *store, struct lh_err *err);
int lh_rtree_commit_end(struct lh_store *store, struct lh_runs *acked, struct lh_err *err);
void lh_rtree_close(struct lh_store *store);

#endif
