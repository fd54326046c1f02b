/* A tree being received in the scratch directory, without a network: what a sender would say. */
#ifndef LH_TEST_RTREE_RIG_H
#define LH_TEST_RTREE_RIG_H

#include "io/rtree/rtree.h"
#include "proto/frame.h"

#include <sys/stat.h>

#define RIG_GRID (64u * 1024)
#define RIG_EPOCH 1
#define RIG_ALL (LH_KEEP_MODE | LH_KEEP_TIMES | LH_KEEP_OWNER | LH_KEEP_XATTRS | LH_KEEP_ACL)

struct rig {
    struct lh_place *root;
    struct lh_rtree *tree;
    struct lh_store *store;
    struct lh_err err;
    uint64_t pack; /* number of the next */
    uint8_t files[LH_CONTROL_MAX];
    struct lh_files_writer writer;
    uint32_t next; /* index of the next entry */
    struct lh_rtree_answers answers;
    struct lh_rtree_trouble *troubles; /* of the last commit, attrs or remove */
    struct lh_runs settled;
    struct lh_runs acked;
    bool soon; /* the last pack made a commit due */
    uint8_t payload[RIG_GRID];
    struct lh_part parts[64];
    uint32_t n_parts;
    uint8_t contents[RIG_GRID];
    size_t n_contents;
};

/* The tree's root is scratch_path("t"). All is permitted. Returns what open does. */
int rig_open(struct rig *r, uint16_t flags, uint32_t keep);
int rig_open_allowing(struct rig *r, uint16_t flags, uint32_t keep, unsigned allow);
/* What trees that are opened from now on share; NULL at first: there is no bound. */
extern struct lh_quota *rig_memory;
/* Trees that are opened from now on are as in memory, whatever the file system, or as not. */
extern bool rig_in_memory;
/* Fence, close. */
void rig_close(struct rig *r);

/* An entry of the frame that is being made; path relative to the tree. Its index. Time and mode are
 * made from the index: rig_mtime, rig_mode. */
uint32_t rig_add(struct rig *r, uint8_t kind, const char *path, uint64_t size);
uint32_t rig_add_link(struct rig *r, uint8_t kind, const char *path, const char *link);
uint32_t rig_add_entry(struct rig *r, const struct lh_tree_entry *e);
struct lh_tree_entry rig_entry(const struct rig *r, uint8_t kind, const char *path, uint64_t size);
struct lh_time rig_mtime(uint32_t index);

/* Ask of the frame and begin a new one. The answers stand in r->answers; what was made may be
 * settled. */
int rig_ask(struct rig *r);
/* One entry by itself: its answer, or what rig_ask returned when that is not 0. */
int rig_ask_one(struct rig *r, uint8_t kind, const char *path, uint64_t size);
/* The text of its trouble in a list, or "". */
const char *rig_trouble(const struct lh_rtree_trouble *list, uint32_t entry);

/* A part of the pack that is being made; contents are scratch_fill(…, offset, seed = index). */
void rig_part(struct rig *r, uint32_t entry, uint64_t offset, uint32_t length);
void rig_void(struct rig *r, uint32_t entry);
void rig_hole(struct rig *r, uint32_t entry, uint64_t offset, uint32_t length);
/* Write the pack and begin a new one. */
int rig_pack(struct rig *r);
/* A file in one part, in a pack of its own. */
int rig_file(struct rig *r, uint32_t entry, uint32_t size);

/* Both halves; r->settled, r->acked, r->troubles. Returns as they do; 0 also when there is nothing.
 */
int rig_commit(struct rig *r);

bool rig_settled(const struct rig *r, uint32_t index);

/* Whether scratch "t/…" holds what rig_part made of entry `index`. */
bool rig_holds(const char *path, uint32_t index, size_t size);

/* OWNERS with one name. */
int rig_owner(struct rig *r, uint8_t kind, uint32_t id, const char *name);

/* ATTRS and REMOVE of the frame that is being made. */
int rig_attrs(struct rig *r);
int rig_remove(struct rig *r, struct lh_runs *gone);

/* "t/PATH" in the scratch directory. */
const char *rig_path(const char *path);
/* lstat(2) of "t/…"; all zero, and told, when there is none. */
struct stat rig_stat(const char *path);
/* Whether its mtime is that of entry `index`. */
bool rig_times_are(const char *path, uint32_t index);
/* Hidden files below t, at any depth. */
size_t rig_hidden(void);
/* Entries below t, at any depth, hidden or not. */
size_t rig_count(void);

#endif
