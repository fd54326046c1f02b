/* Whole reads, writes and syncs: what the kernel may do in pieces or interrupt.
 *
 * Blocking: I/O threads, and pwrite on stream loops. Each returns 0 or an errno, so that the caller
 * can say what it was doing to which file. */
#ifndef LH_IO_DISK_H
#define LH_IO_DISK_H

#include "proto/identity.h"

#include <stddef.h>
#include <stdint.h>

struct lh_disk_stat {
    uint64_t dev;
    uint64_t ino;
    uint64_t size;
    uint64_t room; /* bytes that its contents take on the disk; less than size: it has holes */
    uint32_t mode; /* kind and permission bits */
    uint32_t uid;
    uint32_t gid;
    uint32_t n_links;
    uint64_t rdev; /* of a device: its number */
    struct lh_time mtime;
    struct lh_time ctime;
    struct lh_time btime; /* 0 where the file system has none */
};

/* Write all of it. An error may leave a part written. */
int lh_disk_write(int fd, const void *data, size_t len, uint64_t offset);

/* Read up to `len` bytes; *n is short only at the end of the file. */
int lh_disk_read(int fd, void *out, size_t len, uint64_t offset, size_t *n);

/* fdatasync, fsync. An error is final: what was written since the last good sync may be gone, and a
 * second call would say otherwise. */
int lh_disk_sync_data(int fd);
int lh_disk_sync(int fd);

/* Make the entries of a directory durable. */
int lh_disk_sync_dir(int dirfd);

/* All that was written to the file system of `fd` before. */
int lh_disk_sync_fs(int fd);

/* Rename in a directory, replacing nothing: EEXIST when there is something of that name. After
 * another error it may be there under both names. */
int lh_disk_rename_new(int dirfd, const char *from, const char *to);

/* What `name` in a directory is, without following a link; with "" what `dirfd` itself is. */
int lh_disk_stat(int dirfd, const char *name, struct lh_disk_stat *out);

/* What kind of file a mode is of: enum lh_file_kind, never HARDLINK. */
uint8_t lh_disk_kind(uint32_t mode);

/* The same, links followed. */
int lh_disk_stat_target(int dirfd, const char *name, struct lh_disk_stat *out);

#endif
