/* A disk in memory for the simulation of trees: what processes see, and what a power cut would
 * leave (the platter).
 *
 * Contents and attributes reach the platter by a sync of the file, names by one of the directory
 * that they are in, and attributes of links and special files, which nobody can open, with those;
 * nothing by itself. A power cut leaves of each directory as many of its changes
 * as it likes, the first ones first; of a file any mixture of pages. Nodes live as long as the
 * disk. */
#ifndef LH_SIM_TREE_FS_H
#define LH_SIM_TREE_FS_H

#include "test/lib/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define FS_NAME_MAX 63
#define FS_PATH_MAX 512

struct fs_node;

/* Shared by what is seen and the platter until one is written to. */
struct fs_blob {
    unsigned refs;
    size_t len;
    uint8_t bytes[];
};

struct fs_meta {
    uint32_t mode; /* with its kind */
    uint32_t uid;
    uint32_t gid;
    struct timespec mtime;
};

struct fs_entry {
    char name[FS_NAME_MAX + 1];
    struct fs_node *node;
};

struct fs_names {
    struct fs_entry *v;
    size_t n;
    size_t cap;
};

/* Of a directory, at once or not at all: `gone` goes, `name` comes ("" neither). */
struct fs_change {
    char gone[FS_NAME_MAX + 1];
    char name[FS_NAME_MAX + 1];
    struct fs_node *node;
};

struct fs_node {
    struct fs_node *next; /* of the disk's */
    struct fs_disk *disk;
    uint64_t ino;
    struct timespec ctime;
    struct fs_meta seen, platter; /* attributes */
    struct fs_blob *data, *data_platter;
    uint64_t big; /* size of a file of which no more is kept than which version it is, in `data` */
    bool sparse;  /* it takes no room */
    bool shown;   /* the simulation's: it has, or had, a name that people see */
    uint32_t n_links;
    dev_t rdev;
    char *link;
    struct fs_names names, names_platter;
    struct fs_change *changes;
    size_t n_changes;
    size_t cap_changes;
    struct fs_node *parent; /* of a directory */
    char name[FS_NAME_MAX + 1];
};

enum fs_call { FS_LOOKS, FS_CHANGES, FS_DRESSES, FS_SYNCS };

struct fs_disk {
    unsigned dev;
    uint64_t next_ino;
    uint64_t tick; /* its clock: each change has a time of its own */
    struct fs_node *all;
    struct fs_node *root;
    /* Each system call: an errno, or 0. */
    int (*enter)(struct fs_disk *disk, enum fs_call call, const struct fs_node *node);
    /* `node` has that name from now on; NULL when nobody looks. */
    void (*named)(const struct fs_node *dir, const char *name, const struct fs_node *node);
    void (*written)(const struct fs_node *node);
};

void fs_init(struct fs_disk *disk, unsigned dev);
void fs_free(struct fs_disk *disk);

struct timespec fs_now(struct fs_disk *disk);
struct fs_node *fs_new(struct fs_disk *disk, uint32_t mode);
struct fs_node *fs_find(const struct fs_node *dir, const char *name);
/* From the root; "" is the root. No link is followed. */
struct fs_node *fs_at(const struct fs_disk *disk, const char *path);
struct fs_node *fs_at_platter(const struct fs_disk *disk, const char *path);
/* Of a name in a directory. Returns out, of FS_PATH_MAX bytes. */
char *fs_path(const struct fs_node *dir, const char *name, char *out);

void fs_name(struct fs_node *dir, const char *name, struct fs_node *node);
void fs_unname(struct fs_node *dir, const char *name);
void fs_rename(struct fs_node *dir, const char *from, const char *name);

uint64_t fs_size(const struct fs_node *node);
size_t fs_read(const struct fs_node *node, void *out, size_t len, uint64_t at);
void fs_write(struct fs_node *node, const void *in, size_t len, uint64_t at);
void fs_truncate(struct fs_node *node, size_t len);
/* A change of attributes or contents: ctime, and mtime as well. */
void fs_touch(struct fs_node *node, bool mtime);

void fs_sync(struct fs_node *node);
void fs_sync_all(struct fs_disk *disk);
/* Whether all of a file is on the platter. */
bool fs_is_synced(const struct fs_node *node);
void fs_power_cut(struct fs_disk *disk, struct lh_rng *rng);

#endif
