/* System calls of the program under test, behind the linker's --wrap: those on the disks in memory
 * (paths that begin with /sim/, descriptors from there) are answered by them, the rest is the
 * kernel's. The program is linked with lh_tree_calls_options() of test/sim/CMakeLists.txt. */
#ifndef LH_SIM_TREE_CALLS_H
#define LH_SIM_TREE_CALLS_H

#include "test/sim/tree_fs.h"

#define CALLS_SOURCE "/sim/source" /* where the disks are */
#define CALLS_DEST "/sim/dest"

struct calls {
    struct fs_disk *source;
    struct fs_disk *dest;
    bool is_root;    /* geteuid() */
    bool old_kernel; /* one whose syncfs(2) reports no errors */
    unsigned n_open;
    const uint64_t *now_us;
    struct lh_rng *short_writes; /* NULL: none is */
};

extern struct calls calls;

/* All descriptors are closed: of a process that is gone. */
void calls_close_all(const struct fs_disk *disk);

#endif
