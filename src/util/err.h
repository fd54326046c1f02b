/* An error with its context: which status, which errno, and a sentence for people. */
#ifndef LH_UTIL_ERR_H
#define LH_UTIL_ERR_H

#include <longhaul/status.h>

/* The sentence says what happened, to which file or host, and what to do about it. */
struct lh_err {
    int status;    /* LH_E_*, 0 when there is none */
    int sys_errno; /* errno that caused it, or 0 */
    char text[512];
};

/* Fill `err` (may be NULL) and return -status, so that callers can `return lh_err_set(...)`. */
int lh_err_set(struct lh_err *err, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a failed system call: ": strerror" is appended to the sentence. */
int lh_err_sys(struct lh_err *err, int status, int sys_errno, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Status for an errno met while writing the destination: space, read-only, or plain failure. */
int lh_status_of_write_errno(int sys_errno);

/* For callers' mistakes and impossible states, never for data from wire, disk or argv.
 * Stays on in Release: a mover that has lost its bearings must stop before it acknowledges. */
#define LH_REQUIRE(cond) ((cond) ? (void)0 : lh_require_failed(#cond, __FILE__, __LINE__))
#define LH_INVARIANT(cond) LH_REQUIRE(cond)
_Noreturn void lh_require_failed(const char *cond, const char *file, int line);

#define LH_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
