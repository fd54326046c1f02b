/* Frames of a tree: FILES WANTED SETTLED FAILED ATTRS LIST NAMES REMOVE REMOVED, what OFFER says of
 * one, and packs, which are the BLOCKs of a tree.
 *
 * A tree is a list of entries, each with an index that its sender counts up. FILES tells of
 * entries; WANTED answers each: it is there already, its contents are wanted, it was made. Contents
 * travel in packs on streams: parts of many files in one block. An entry is SETTLED when it is
 * whole, synced and under its name. FILES, ATTRS and REMOVE take their indexes from one sequence,
 * which only goes up within a session, with gaps where one is not needed.
 *
 * Conventions of encoders and decoders: proto/session.h. */
#ifndef LH_PROTO_TREE_H
#define LH_PROTO_TREE_H

#include "proto/hash.h"
#include "proto/identity.h"
#include "proto/transfer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Entries that are told of and not yet settled lie within so many indexes. */
#define LH_TREE_SPAN 131072u
/* Files of this size or more are not put into packs: each is a transfer of its own, with a journal.
 */
#define LH_TREE_BIG (32ull * 1024 * 1024)
#define LH_TREE_NO_ENTRY UINT32_MAX

enum lh_tree_keep { /* what OFFER says of a tree: a bit each, unknown ones are refused */
                    LH_KEEP_MODE = 1,
                    LH_KEEP_TIMES = 2,
                    LH_KEEP_OWNER = 4,  /* uid, gid and set-id bits */
                    LH_KEEP_XATTRS = 8, /* user.*, and where permitted trusted.* and security.* */
                    LH_KEEP_ACL = 16    /* system.posix_acl_access and _default */
};

/* ---- FILES, ATTRS ---- */

struct lh_tree_entry {
    uint8_t kind;  /* enum lh_file_kind */
    uint16_t mode; /* permission bits, 07777 */
    uint32_t uid;
    uint32_t gid;
    uint64_t size; /* bytes, at most INT64_MAX; of a device its number (makedev(3)) */
    struct lh_time mtime;
    const uint8_t *path; /* relative to the tree's root; empty: the root itself (ATTRS, kind DIR) */
    size_t path_len;     /* at most LH_TREE_PATH_MAX - 1; no NUL */
    const uint8_t *link; /* what a symbolic link says, at most LH_PATH_MAX - 1 bytes; of a hard link
                            the path of which it is another name. Else empty */
    size_t link_len;
    bool has_hash; /* of the contents, XXH3-128 of all bytes; with --checksum, files only */
    struct lh_hash hash;
    const uint8_t *xattrs; /* n times (u16 length, name, u16 length, value); empty: none */
    size_t xattrs_len;
};

struct lh_xattr {
    const uint8_t *name; /* 1..255 bytes, no NUL, also none behind it */
    size_t name_len;
    const uint8_t *value;
    size_t value_len;
};

/* Appends one to `out`, which has `size` bytes of which *used are taken. False: no room. */
bool lh_xattrs_add(uint8_t *out, size_t size, size_t *used, const struct lh_xattr *x);
/* The next one of a decoded entry's; false at the end. *at: 0 at first. */
bool lh_xattrs_next(const uint8_t *xattrs, size_t len, size_t *at, struct lh_xattr *x);

/* Of the entry before in a frame: an entry is told by what differs from it. */
struct lh_tree_before {
    uint16_t mode;
    uint32_t uid;
    uint32_t gid;
    int64_t sec;
    size_t path_len;
    uint8_t path[LH_TREE_PATH_MAX];
};

/* A frame of entries is built by begin, add until it is full, end. `out` has LH_CONTROL_MAX bytes.
 */
struct lh_files_writer {
    uint8_t *out;
    size_t used;
    uint32_t first; /* index of the first entry; the last is below LH_TREE_NO_ENTRY */
    uint32_t n;
    struct lh_tree_before before;
};

void lh_files_begin(struct lh_files_writer *w, uint8_t *out, uint32_t first);
/* False: no room in this frame (in an empty one there is always, unless path, link and xattrs
 * together exceed 60 KiB; that is for the caller to see to). */
bool lh_files_add(struct lh_files_writer *w, const struct lh_tree_entry *e);
size_t lh_files_end(struct lh_files_writer *w); /* bytes */

struct lh_files_reader {
    uint32_t first;
    uint32_t n;
    /* the rest is the reader's own */
    uint32_t at;
    const uint8_t *next;
    const uint8_t *end;
    struct lh_tree_before before;
};

/* Checks the whole payload: entries that may be sent only (known kind, path as above and empty for
 * none but a DIR, a link that is not empty for kinds SYMLINK and HARDLINK, mode ≤ 07777, nsec,
 * size, xattrs well formed). ".." and absolute paths are the receiver's to refuse. No more than
 * LH_WANTED_MAX fit. */
int lh_files_decode(const uint8_t *in, size_t len, struct lh_files_reader *r, const char **why);
/* The next entry; false at the end. Views are into `in`; the path is the reader's until the next.
 */
bool lh_files_next(struct lh_files_reader *r, struct lh_tree_entry *e);

/* ---- WANTED ---- */

enum lh_wanted {
    LH_WANTED_KEPT = 0,    /* there already, or the offer says to keep what is there: settled */
    LH_WANTED_NEW = 1,     /* contents are wanted: nothing was there */
    LH_WANTED_CHANGED = 2, /* contents are wanted: something else was there */
    LH_WANTED_MADE = 3,    /* no contents needed: made, or its attributes set; SETTLED follows */
    LH_WANTED_FAILED = 4   /* FAILED told why, before this: it is over with this entry */
};
#define LH_WANTED_MAX 16384 /* entries a frame */

/* out: 8 + n bytes. answers: n of enum lh_wanted. n: 1..LH_WANTED_MAX, also on decode. */
size_t lh_wanted_encode(uint32_t first, const uint8_t *answers, uint32_t n, uint8_t *out);
int lh_wanted_decode(const uint8_t *in, size_t len, uint32_t *first, const uint8_t **answers,
                     uint32_t *n, const char **why);

/* ---- FAILED ---- */

struct lh_tree_failed {
    uint32_t entry;   /* LH_TREE_NO_ENTRY: none in particular; the text names what */
    uint16_t code;    /* enum lh_wire_code */
    const char *text; /* at most LH_ERROR_TEXT_MAX */
    size_t text_len;
};

size_t lh_tree_failed_encode(const struct lh_tree_failed *m, uint8_t *out);
int lh_tree_failed_decode(const uint8_t *in, size_t len, struct lh_tree_failed *m,
                          const char **why);

/* SETTLED and REMOVED are lists of runs, of indexes: lh_block_runs_*. */

/* ---- packs ---- */

enum lh_part_flag {
    LH_PART_VOID = 1, /* the source failed or changed: the entry is not to be, length is 0 */
    LH_PART_HOLE = 2  /* zeros: they take no room, and the pack has no contents of them */
};

struct lh_part {
    uint32_t entry;  /* index */
    uint32_t length; /* bytes; 0 for VOID, and for an empty file's one part */
    uint64_t offset; /* within the entry's file */
    uint8_t flags;   /* enum lh_part_flag */
};

/* Bytes of contents that the pack has of a part. */
static inline uint32_t lh_part_contents(const struct lh_part *part)
{
    return part->flags & LH_PART_HOLE ? 0 : part->length;
}

#define LH_PART_SIZE 17    /* bytes of a part's row */
#define LH_PACK_HEAD 4     /* bytes before the rows: u32 n */
#define LH_PACK_PARTS 4096 /* at most */

/* A pack is u32 n, n rows, then the contents of all parts in their order. Writes head and rows;
 * returns their bytes: LH_PACK_HEAD + n × LH_PART_SIZE. */
size_t lh_pack_encode(const struct lh_part *parts, uint32_t n, uint8_t *out);
/* Number of parts (1..LH_PACK_PARTS), or -LH_E_PROTOCOL: lengths do not add up to the payload,
 * unknown flags, no entry, contents of a void part, an empty part that is not at offset 0, offset +
 * length over INT64_MAX. (Unlike other payloads a pack does not grow at its end.) */
int lh_pack_count(const uint8_t *in, size_t len, const char **why);
/* Part `index`. Its bytes begin where those of the part before it end; for the first that is in +
 * LH_PACK_HEAD + n × LH_PART_SIZE. */
struct lh_part lh_pack_get(const uint8_t *in, size_t index);

/* ---- LIST, NAMES, REMOVE ---- */

/* LIST: u32 tag, path (empty: the root). NAMES answers: u32 tag, u32 n, u8 state, n × (u8 kind,
 * text name), LAST on the last; an empty one when the directory is not there. Kinds: FILE..SOCKET;
 * a name is 1..255 bytes without NUL and '/', neither "." nor "..". */
enum lh_names_state {
    LH_NAMES_PLAIN = 0,
    LH_NAMES_FOLD = 1,  /* names that differ in case are one in this directory */
    LH_NAMES_UNREAD = 2 /* what is in it, or all that is, cannot be told */
};
#define LH_NAMES_HEAD 9
size_t lh_list_encode(uint32_t tag, const uint8_t *path, size_t path_len, uint8_t *out);
int lh_list_decode(const uint8_t *in, size_t len, uint32_t *tag, const uint8_t **path,
                   size_t *path_len, const char **why);

struct lh_names_writer {
    uint8_t *out;
    size_t used;
    uint32_t tag;
    uint32_t n;
};
void lh_names_begin(struct lh_names_writer *w, uint8_t *out, uint32_t tag);
bool lh_names_add(struct lh_names_writer *w, uint8_t kind, const uint8_t *name, size_t name_len);
size_t lh_names_end(struct lh_names_writer *w, enum lh_names_state state);

struct lh_names_reader {
    uint32_t tag;
    uint32_t n;
    uint8_t state; /* LH_NAMES_* */
    uint32_t at;
    const uint8_t *next;
    const uint8_t *end;
};
int lh_names_decode(const uint8_t *in, size_t len, struct lh_names_reader *r, const char **why);
bool lh_names_next(struct lh_names_reader *r, uint8_t *kind, const uint8_t **name,
                   size_t *name_len);

/* REMOVE: a FILES payload whose entries have kind and path alone of use: DIR: rmdir an empty
 * directory (never the root, whose path is empty); FILE: unlink what is no directory, a link or
 * special one too; in the order given. REMOVED: runs of those indexes that are gone, synced; FAILED
 * for the others. */

#endif
