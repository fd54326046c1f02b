/* Hidden files beside a target: their names, and the staging file itself.
 *
 * `.longhaul-<32 hex digits>.part`, `.journal` and `.index`; the digits are the XXH3-128 of the
 * target's name, so that names of 255 bytes work. The index lives only between its making and its
 * unlinking, a moment later. */
#ifndef LH_IO_STAGING_H
#define LH_IO_STAGING_H

#include "io/disk/disk.h"
#include "util/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LH_HIDDEN_PREFIX ".longhaul-"
#define LH_HIDDEN_SIZE 64 /* bytes of a hidden name with its NUL; they are 50 at most */

struct lh_hidden {
    char part[LH_HIDDEN_SIZE];
    char journal[LH_HIDDEN_SIZE];
    char index[LH_HIDDEN_SIZE];
};

void lh_hidden_of(const char *target, struct lh_hidden *h);

/* Of any bytes that tell a target from others, the name of a staging file alone. */
void lh_hidden_part_of(const void *what, size_t len, char part[LH_HIDDEN_SIZE]);

/* Whether a directory entry is one of them; then `h` gets the names of all three. */
bool lh_hidden_parse(const char *entry, struct lh_hidden *h);

/* A name that no target may have. */
bool lh_hidden_reserved(const char *name);

/* Unlink staging file, index and journal, in this order: a journal without its staging file is told
 * for what it is, a staging file without journal cannot be bound to anything. Returns 0 or the
 * first errno; what is not there is no error. The caller holds the journal's lock. */
int lh_hidden_remove(int dirfd, const struct lh_hidden *h);

/* Make the staging file, its size set; refused when the file system has less than `space` bytes
 * free (holes take none). `shown` names the target in errors. On failure nothing is left. 0 with
 * *fd, or -LH_E_DEST*. */
int lh_staging_create(int dirfd, const char *part, uint64_t size, uint64_t space, const char *shown,
                      int *fd, struct lh_err *err);

/* Take space for a part of it, with less and less asked of the file system. Never posix_fallocate:
 * where the file system cannot, it writes zeroes itself. Returns 0 (also where none can be taken)
 * or an errno. length > 0. */
int lh_staging_allocate(int fd, uint64_t offset, uint64_t length);

/* Make a part of it read as zeros again, whatever was written there. 0 or an errno. */
int lh_staging_punch(int fd, uint64_t offset, uint64_t length);

/* Open one that `st` (from lh_disk_stat) has described; refuses any other file of that name. */
int lh_staging_open(int dirfd, const char *part, const struct lh_disk_stat *st, const char *shown,
                    int *fd, struct lh_err *err);

#endif
