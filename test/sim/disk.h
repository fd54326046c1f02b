/* A made-up disk: what programs see, and what a power cut would leave.
 *
 * Every file has two images: `seen` (the page cache) and `platter`. Writes go to the first, a sync
 * carries what was written before it began to the second. A power cut takes any subset of what is
 * not synced, chunk by chunk, so that records tear; so do lengths, times and directory entries. A
 * failed sync carries over some chunks, forgets that the others ever needed it, and leaves all of
 * them to be seen: as Linux does.
 *
 * One thread. Every operation is a crash point: once the disk is `stopped`, nothing has effects any
 * more and every operation fails, until the caller has unwound and revives it. */
#ifndef LH_SIM_DISK_H
#define LH_SIM_DISK_H

#include "test/lib/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sim_name { SIM_PART, SIM_JOURNAL, SIM_TARGET, SIM_NAMES };

struct sim_file {
    uint64_t ino;
    uint64_t btime; /* inode numbers come back, birth times do not */
    size_t chunk;   /* bytes that reach the platter together */
    size_t cap;
    size_t len[2];    /* seen, platter */
    int64_t mtime[2]; /* seen, platter */
    uint8_t *image[2];
    uint8_t *flags; /* of each chunk: SIM_DIRTY, SIM_SYNCING */
    bool meta_dirty;
    bool meta_syncing;
};

enum { SIM_SEEN, SIM_PLATTER };
enum { SIM_DIRTY = 1, SIM_SYNCING = 2 };

/* One change of the directory: up to two entries at once (a rename). */
struct sim_dir_op {
    unsigned n;
    enum sim_name name[2];
    struct sim_file *file[2];
};

#define SIM_DIR_OPS 64
#define SIM_FILES 512

struct sim_disk {
    struct lh_rng *rng;
    struct sim_file *dir[2][SIM_NAMES]; /* seen, platter */
    struct sim_dir_op ops[SIM_DIR_OPS]; /* not synced */
    unsigned n_ops;
    struct sim_file *files[SIM_FILES];
    unsigned n_files;
    bool dir_ordered;   /* changes of the directory reach the platter in order */
    unsigned fail_sync; /* one sync in so many fails; 0: none */
    unsigned stop_in;   /* operations until it stops; 0: it does not */
    bool stopped;
    uint64_t n_changes; /* counts what happened to the platter */
    uint64_t n_failed_syncs;
    uint8_t stale[256]; /* of an erased journal: what unwritten parts of a file may hold */
};

void sim_disk_init(struct sim_disk *d, struct lh_rng *rng);
void sim_disk_free(struct sim_disk *d);

/* All return 0, or -1: the disk has stopped or a sync has failed. Create returns NULL. */
struct sim_file *sim_create(struct sim_disk *d, enum sim_name name, size_t chunk);
int sim_write(struct sim_disk *d, struct sim_file *f, size_t off, const void *data, size_t len);
int sim_truncate(struct sim_disk *d, struct sim_file *f, size_t len);
int sim_set_mtime(struct sim_disk *d, struct sim_file *f, int64_t mtime);
int sim_unlink(struct sim_disk *d, enum sim_name name);
int sim_rename(struct sim_disk *d, enum sim_name from, enum sim_name to);
int sim_dir_sync(struct sim_disk *d);

/* A sync that takes time: what is written between the two belongs to the next one. */
int sim_sync_start(struct sim_disk *d, struct sim_file *f);
int sim_sync_end(struct sim_disk *d, struct sim_file *f);
int sim_sync(struct sim_disk *d, struct sim_file *f);

/* Forget what is seen but needs no writing (posix_fadvise DONTNEED): the platter is read again. */
int sim_drop_cache(struct sim_disk *d, struct sim_file *f);

void sim_power_cut(struct sim_disk *d);

/* The program was killed: a sync that was under way may yet do its work, or not. */
void sim_disk_abandon(struct sim_disk *d);

#endif
