/* Frames of a transfer: OFFER ACCEPT LEDGER ACK AGAIN HASHES_WANTED HASHES RETRACT RETRACTED FINISH
 * DONE CONFIRM. (BLOCK's payload is contents, CONFIRM and BYE have none; EXTENTS is a list of runs
 * in bytes, else like those of blocks. Trees have more: proto/tree.h.)
 *
 * Conventions of encoders and decoders: proto/session.h. */
#ifndef LH_PROTO_TRANSFER_H
#define LH_PROTO_TRANSFER_H

#include "proto/hash.h"
#include "proto/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_PATH_MAX 4096 /* bytes; what one system call takes, with its NUL */
/* With its NUL: an entry of a tree has a path of one byte less at most, relative to the tree's
 * root. With all that may come with it, it fits into one frame. */
#define LH_TREE_PATH_MAX 16384
/* Of a file's destination: a big file of a tree goes where the tree and its own path lead. */
#define LH_OFFER_PATH_MAX (LH_PATH_MAX + LH_TREE_PATH_MAX)
#define LH_HOLDER_SIZE 16
#define LH_RUNS_PER_FRAME 4000
#define LH_HASHES_PER_FRAME 4000

enum lh_offer_flag {
    LH_OFFER_NO_CLOBBER = 1,   /* refuse when the destination exists */
    LH_OFFER_INLINE = 2,       /* the contents and FINISH follow on this connection at once */
    LH_OFFER_RESTART = 4,      /* the source changed: what was begun is of no use */
    LH_OFFER_MORE_FILES = 8,   /* a tree: FILES frames follow (feature TREES) */
    LH_OFFER_EXTENTS = 32,     /* EXTENTS frames follow (feature EXTENTS) */
    LH_OFFER_KEEP_SAME = 64,   /* what is there with the same size and mtime stays */
    LH_OFFER_KEEP_NEWER = 128, /* what is there and no older stays */
    LH_OFFER_KEEP_ANY = 256,   /* what is there stays */
    LH_OFFER_CHECKSUM = 512,   /* trees: the same means the same contents; entries have a hash */
    LH_OFFER_DRY_RUN = 1024,   /* trees: answer what would be done, and do nothing */
    LH_OFFER_SPARSE = 2048     /* BLOCKs of zeros become holes: space is taken for data alone */
};

enum lh_file_kind {
    LH_KIND_FILE = 1,
    LH_KIND_DIR = 2,
    LH_KIND_SYMLINK = 3,
    LH_KIND_FIFO = 4,
    LH_KIND_CHAR = 5,  /* character device */
    LH_KIND_BLOCK = 6, /* block device */
    LH_KIND_SOCKET = 7,
    LH_KIND_HARDLINK = 8, /* another name of an entry before it */
    LH_KIND_THERE = 9     /* a FILE that came by itself, whose attributes are still to be set */
};

struct lh_file_entry {
    uint8_t kind;  /* enum lh_file_kind: FILE, or a tree's root: DIR */
    uint32_t mode; /* permission bits, 07777 */
    uint32_t uid;
    uint32_t gid;
    struct lh_identity identity; /* of the source */
    const uint8_t *path; /* relative to the offer's path; empty when that is the file itself */
    size_t path_len;
};

/* OFFER: a transfer of a list of files; the first is in it. */
struct lh_offer {
    uint8_t
        holder[LH_HOLDER_SIZE]; /* random, one a run of the sender: it finds its own dead session */
    uint64_t prev_epoch;        /* that this holder had before it was cut off; 0: none */
    uint8_t incarnation[16];    /* of the queue; zero without one */
    uint64_t claim;             /* the queue's counter of claims; 0 without one */
    uint16_t hash;              /* enum lh_hash_id */
    uint32_t block_bytes;       /* grid */
    uint16_t flags;             /* enum lh_offer_flag */
    uint32_t n_files;           /* of the whole transfer; 1 */
    const uint8_t *path;        /* destination below the root, no NUL; 1..LH_OFFER_PATH_MAX bytes,
                                   of a tree ..LH_PATH_MAX */
    size_t path_len;
    struct lh_file_entry file; /* file 0; of a tree its root, kind DIR */
    uint32_t keep;             /* MORE_FILES only: enum lh_tree_keep of proto/tree.h */
};

enum lh_accept_flag {
    LH_ACCEPT_RESUMED = 1, /* a ledger was found for this version; LEDGER frames follow */
    LH_ACCEPT_COMPARE = 2, /* dev, ino or ctime differ: compare with HASHES before FINISH; with
                              DONE: a sender that has the source compares the digest */
    LH_ACCEPT_DROPPED = 4, /* what lay there was of another version and is gone */
    LH_ACCEPT_DONE = 8,    /* nothing to send: DONE follows */
    LH_ACCEPT_KEPT = 16    /* with DONE: what was there stays, as a KEEP flag of OFFER has it; DONE
                              has no digest */
};

/* ACCEPT: the answer to OFFER when it is taken; a refusal is ERROR with that transfer's number. */
struct lh_accept {
    uint64_t epoch;
    uint16_t flags;  /* enum lh_accept_flag */
    uint64_t window; /* bytes that may be sent and not yet acknowledged */
    uint8_t transfer_id[16];
};

/* A run of blocks of the frame's file: LEDGER, ACK, AGAIN, RETRACT, RETRACTED carry lists of them.
 */
struct lh_block_run {
    uint64_t first;
    uint64_t count; /* > 0 */
};

/* Whether a run is one that may be sent: not empty, its end no overflow. Whether it lies within the
 * file is for the caller. */
bool lh_block_run_allowed(uint64_t first, uint64_t count);

/* HASHES_WANTED. */
struct lh_hashes_wanted {
    uint64_t first;
    uint32_t count; /* 1..LH_HASHES_PER_FRAME */
};

/* FINISH: every block is acknowledged and the source was checked once more. */
struct lh_finish {
    struct lh_identity identity; /* as it was at that check */
    uint32_t mode;
};

struct lh_done {
    struct lh_hash digest;
    uint64_t bytes;
};

#define LH_OFFER_MAX (LH_OFFER_PATH_MAX + LH_PATH_MAX + 256)
/* At most LH_OFFER_MAX bytes. */
size_t lh_offer_encode(const struct lh_offer *m, uint8_t *out);

/* Refuses: an unknown hash, a grid that is no power of two within the limits, an empty or over-long
 * path, a NUL in it, nsec out of range, a size over INT64_MAX, an unknown kind, mode bits beyond
 * 07777, unknown flags, flags that exclude each other (NO_CLOBBER and the KEEP_*) or that trees or
 * single files do not have, an entry other than FILE (with MORE_FILES: than DIR), unknown bits in
 * `keep`, n_files of 0. (".." and absolute paths are a matter of the receiver's root, not of the
 * wire.) `keep` is 0 where it does not travel. */
int lh_offer_decode(const uint8_t *in, size_t len, struct lh_offer *m, const char **why);
size_t lh_accept_encode(const struct lh_accept *m, uint8_t *out);
int lh_accept_decode(const uint8_t *in, size_t len, struct lh_accept *m, const char **why);

/* n: at most LH_RUNS_PER_FRAME. */
size_t lh_block_runs_encode(const struct lh_block_run *runs, size_t n, uint8_t *out);

/* Number of runs in a payload, or -LH_E_PROTOCOL. Then get each by index. A decoder refuses empty
 * runs and runs whose end overflows; whether they lie within the file is for the caller. */
int lh_block_runs_count(const uint8_t *in, size_t len, const char **why);
struct lh_block_run lh_block_runs_get(const uint8_t *in, size_t index);

size_t lh_hashes_wanted_encode(const struct lh_hashes_wanted *m, uint8_t *out);
int lh_hashes_wanted_decode(const uint8_t *in, size_t len, struct lh_hashes_wanted *m,
                            const char **why);

/* HASHES: first block, then a hash for each of count blocks. n: 1..LH_HASHES_PER_FRAME.
 * On decode *hashes is a view of n hashes within `in`. */
size_t lh_hashes_encode(uint64_t first, const struct lh_hash *hashes, uint32_t n, uint8_t *out);
int lh_hashes_decode(const uint8_t *in, size_t len, uint64_t *first, const uint8_t **hashes,
                     uint32_t *n, const char **why);

size_t lh_finish_encode(const struct lh_finish *m, uint8_t *out);
int lh_finish_decode(const uint8_t *in, size_t len, struct lh_finish *m, const char **why);
size_t lh_done_encode(const struct lh_done *m, uint8_t *out);
int lh_done_decode(const uint8_t *in, size_t len, struct lh_done *m, const char **why);

#endif
