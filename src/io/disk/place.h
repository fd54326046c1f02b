/* Where targets live: the root directory, and paths confined beneath it.
 *
 * Everything is relative to the root's descriptor and resolved with openat2(2) RESOLVE_BENEATH |
 * RESOLVE_NO_MAGICLINKS: symbolic links within the root are followed, one that leads out is
 * refused, also while somebody swaps a directory for a link. Blocking: I/O threads (and start-up)
 * only. */
#ifndef LH_IO_PLACE_H
#define LH_IO_PLACE_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Directories that a target may lie in: each is opened by the whole of its path. */
#define LH_PLACE_DEPTH_MAX 1024

struct lh_place; /* a root; immutable after open, shared by all threads */

/* Returns 0, -LH_E_DEST, -LH_E_NOMEM with a sentence. */
int lh_place_open(const char *root, struct lh_place **place, struct lh_err *err);
void lh_place_close(struct lh_place *place);
int lh_place_fd(const struct lh_place *place); /* O_PATH is not enough: a readable directory fd */

/* Open the directory of a target and split off its name. Missing directories are made (0777 less
 * umask) and their parents synced. `name` gets the last component, NUL-terminated (at most 255).
 * Returns 0 with *dirfd (the caller closes), or:
 * -LH_E_PATH: empty, absolute, "..", too long or too deep, a trailing '/', NUL, or leads out of the
 * root; -LH_E_DEST_KIND: a component is no directory; -LH_E_DEST*: mkdir or open failed. "a//b" and
 * "./a" are taken as "a/b" and "a". */
int lh_place_dir(const struct lh_place *place, const uint8_t *path, size_t path_len, int *dirfd,
                 char name[256], struct lh_err *err);

/* Open the directory that a tree goes to; `path` as above, but it may be "." and end in a slash.
 * make: with what is missing of it; else *fd is -1 when it is not there. */
int lh_place_tree(const struct lh_place *place, const uint8_t *path, size_t path_len, bool make,
                  int *fd, struct lh_err *err);

#endif
