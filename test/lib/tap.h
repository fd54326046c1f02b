/* A small producer of the Test Anything Protocol
 * (https://testanything.org/tap-version-13-specification.html).
 *
 * A test program calls checks, then `return done_testing();`. The plan comes last, so a program
 * that exits early has none and fails. Thread-safe. */
#ifndef LH_TEST_TAP_H
#define LH_TEST_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns whether it passed, so that a test can stop where going on makes no sense. */
#define ok(cond, ...) tap_ok((cond), __FILE__, __LINE__, __VA_ARGS__)
#define is_u64(have, want, ...)                                                                    \
    tap_is_u64((uint64_t)(have), (uint64_t)(want), __FILE__, __LINE__, __VA_ARGS__)
#define is_i64(have, want, ...)                                                                    \
    tap_is_i64((int64_t)(have), (int64_t)(want), __FILE__, __LINE__, __VA_ARGS__)
#define is_str(have, want, ...) tap_is_str((have), (want), __FILE__, __LINE__, __VA_ARGS__)
#define is_mem(have, want, len, ...)                                                               \
    tap_is_mem((have), (want), (len), __FILE__, __LINE__, __VA_ARGS__)

bool tap_ok(bool passed, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool tap_is_u64(uint64_t have, uint64_t want, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool tap_is_i64(int64_t have, int64_t want, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
bool tap_is_str(const char *have, const char *want, const char *file, int line, const char *fmt,
                ...) __attribute__((format(printf, 5, 6)));
bool tap_is_mem(const void *have, const void *want, size_t len, const char *file, int line,
                const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* A check that could not be made here, with the reason; counts as passed. */
void skip(const char *reason, ...) __attribute__((format(printf, 1, 2)));

/* The whole program cannot run here: prints "1..0 # SKIP reason" and exits 0. Before any check. */
_Noreturn void skip_all(const char *reason, ...) __attribute__((format(printf, 1, 2)));

/* Give up on everything. */
_Noreturn void bail(const char *reason, ...) __attribute__((format(printf, 1, 2)));

/* A remark for the reader of the log. */
void diag(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Print the plan. Returns the exit code: 0, or 1 when a check failed or none was made. */
int done_testing(void);

#endif
