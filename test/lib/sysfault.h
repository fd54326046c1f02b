/* System calls that fail, stop short or end the process when they are told to, and can be watched.
 *
 * The program is linked with the options of lh_sysfault_options() in test/unit/io/CMakeLists.txt. A
 * test arms a fault before an operation and counts n up from 0 until the operation passes without
 * meeting it: so each of its calls has failed once. One thread only. */
#ifndef LH_TEST_SYSFAULT_H
#define LH_TEST_SYSFAULT_H

#include <stdbool.h>
#include <stddef.h>

enum lh_sys {
    LH_SYS_OPEN,      /* openat, openat2 */
    LH_SYS_STAT,      /* statx */
    LH_SYS_LOCK,      /* fcntl: locks only */
    LH_SYS_MKDIR,     /* mkdirat */
    LH_SYS_READ,      /* pread */
    LH_SYS_WRITE,     /* pwrite */
    LH_SYS_TRUNCATE,  /* ftruncate */
    LH_SYS_ALLOCATE,  /* fallocate */
    LH_SYS_SYNC_DATA, /* fdatasync */
    LH_SYS_SYNC,      /* fsync */
    LH_SYS_SYNC_FS,   /* syncfs */
    LH_SYS_CHMOD,     /* fchmod */
    LH_SYS_UTIMES,    /* futimens */
    LH_SYS_RENAME,    /* renameat, renameat2 */
    LH_SYS_UNLINK,    /* unlinkat */
    LH_SYS_LINK,      /* linkat, symlinkat, mknodat */
    LH_SYS_RANDOM,    /* getrandom */
    LH_SYS_N
};

#define LH_SYS_ALL (~0u)
#define LH_SYS_BIT(call) (1u << (call))
/* All but those that only look: where a failure is one of the disk. */
#define LH_SYS_CHANGES                                                                             \
    (LH_SYS_BIT(LH_SYS_MKDIR) | LH_SYS_BIT(LH_SYS_WRITE) | LH_SYS_BIT(LH_SYS_TRUNCATE) |           \
     LH_SYS_BIT(LH_SYS_ALLOCATE) | LH_SYS_BIT(LH_SYS_SYNC_DATA) | LH_SYS_BIT(LH_SYS_SYNC) |        \
     LH_SYS_BIT(LH_SYS_CHMOD) | LH_SYS_BIT(LH_SYS_UTIMES) | LH_SYS_BIT(LH_SYS_RENAME) |            \
     LH_SYS_BIT(LH_SYS_UNLINK) | LH_SYS_BIT(LH_SYS_SYNC_FS) | LH_SYS_BIT(LH_SYS_LINK))

/* The n-th call from now (0: the next) of those in `mask` fails with `error` instead of being made;
 * those after it work. */
void lh_sysfault_arm(unsigned mask, unsigned n, int error);

/* The same, and all those after it fail as well: a disk that stays full. */
void lh_sysfault_arm_for_good(unsigned mask, unsigned n, int error);

/* The n-th call from now ends the process, before it is made, with this exit code. */
#define LH_SYSFAULT_KILLED 99
void lh_sysfault_kill_at(unsigned mask, unsigned n);

/* No more faults. Returns whether the armed one was met. */
bool lh_sysfault_disarm(void);

/* Reads and writes take at most so many bytes at once; 0: no limit. */
void lh_sysfault_limit(size_t bytes);

/* Called around each call; from inside, calls are neither counted nor watched. after: only when it
 * has succeeded. fd: what it was made on, a directory for those that take a name. NULL: nobody. */
typedef void (*lh_sysfault_watch)(enum lh_sys call, int fd);
void lh_sysfault_watch_with(lh_sysfault_watch before, lh_sysfault_watch after);

/* Write down each call that changes something as " call:kind", kind being part, journal, dir or
 * file by the name of what it was made on. log: of `size` bytes, emptied; NULL: stop. */
void lh_sysfault_log(char *log, size_t size);

#endif
