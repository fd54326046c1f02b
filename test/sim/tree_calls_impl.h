/* What tree_calls*.c share; nobody else includes this. */
#ifndef LH_SIM_TREE_CALLS_IMPL_H
#define LH_SIM_TREE_CALLS_IMPL_H

#include "test/sim/tree_calls.h"

/* Whether it is a descriptor of ours; and what it is open on. */
bool calls_is_ours(int fd);
struct fs_node *calls_node(int fd);

/* Sets errno; -1. */
int calls_fail(int e);
/* The disk, or the fault that is being tried, does not let it happen: errno is set. */
bool calls_refused(struct fs_node *node, enum fs_call call);

/* The node at a path of one name or more; links on the way are an error. NULL: errno says why; the
 * last name may be missing when dir and name are wanted. */
struct fs_node *calls_resolve(struct fs_node *from, const char *path, struct fs_node **dir,
                              char name[FS_NAME_MAX + 1]);

#endif
