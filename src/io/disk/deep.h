/* Paths that are longer than one system call takes.
 *
 * The kernel takes a path of at most 4095 bytes. A longer one is gone along in pieces, each from
 * the directory that the one before it led to, so that where a path may lead holds for each piece:
 * with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS for the whole of it. With RESOLVE_BENEATH alone a
 * link that leads up over the beginning of its piece is refused too (EXDEV).
 *
 * Any thread. Blocking: I/O threads. */
#ifndef LH_IO_DEEP_H
#define LH_IO_DEEP_H

#include "io/disk/disk.h"

#include <stdbool.h>
#include <stdint.h>

/* Open `path` ("": that directory itself, when dirfd is one) relative to `dirfd`, as openat2(2)
 * does with `flags` and `resolve`; without `resolve` as openat(2). Nothing is made. Returns a
 * descriptor or -errno. */
int lh_deep_open(int dirfd, const char *path, int flags, uint64_t resolve);

/* What `path`, relative to `dirfd`, is; follow: links on its end too. Returns 0 or an errno. */
int lh_deep_stat(int dirfd, const char *path, bool follow, struct lh_disk_stat *out);

#endif
