/* Which bytes of a file: ranges as the queue keeps them, "0-268435456,536870912-805306368".
 *
 * FIRST-END in bytes, END exclusive, ascending, apart from each other; "" is nothing. What does not
 * fit is left out, smallest first, so a map may lag behind the truth and never leads it. Pure. */
#ifndef LH_QUEUE_MAP_H
#define LH_QUEUE_MAP_H

#include <longhaul/longhaul.h>
#include <stddef.h>
#include <stdint.h>

#define LH_MAP_TEXT_MAX 16384    /* bytes of the map of a task, without a NUL */
#define LH_MAP_INFLIGHT_MAX 4096 /* of what is in flight */
#define LH_MAP_RANGES_MAX 8192   /* a text of LH_MAP_TEXT_MAX has fewer */

/* Write ranges as text of at most size - 1 bytes and a NUL; size at least 1. `ranges` is sorted in
 * place, and what touches or overlaps is merged. Empty ranges, and such as end beyond 2^64 - 1, are
 * left out. Then the smallest are left out until the rest fits. Returns the length of the text;
 * *n_out (may be NULL): ranges in it. O(n log n). */
size_t lh_map_write(char *text, size_t size, struct lh_range *ranges, size_t n, size_t *n_out);

/* Read a text. Strict: ascending, apart, nothing but digits, '-' and ','.
 * Returns how many ranges, at most `max` of them in `out`, or -LH_E_INVAL, -LH_E_LIMIT (more). */
int lh_map_read(const char *text, size_t len, struct lh_range *out, size_t max);

/* Sum of the lengths. */
uint64_t lh_map_bytes(const struct lh_range *ranges, size_t n);

#endif
