/* Numbers and names as people read and write them. */
#ifndef LH_UTIL_TEXT_H
#define LH_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "1.5 GiB", "312 B": base 1024. Writes at most `size` bytes with the NUL and returns `out`. */
char *lh_text_bytes(char *out, size_t size, uint64_t bytes);

/* "2:03" or "1:02:03" from seconds; "--:--" for UINT64_MAX (unknown). */
char *lh_text_duration(char *out, size_t size, uint64_t seconds);

/* In all of these digits may be followed by a point and up to six more, where there is a unit of
 * which that can be a part: "1.5G", not "1.5". What is less than the smallest unit is dropped. */

/* A size in bytes: digits and an optional K, M, G or T (base 1024, also as KiB …).
 * Returns 0 or -LH_E_INVAL; *bytes is written only on success. */
int lh_text_parse_size(const char *text, uint64_t *bytes);

/* A time: digits with an optional ms, s (default), m, h or d. Milliseconds out. */
int lh_text_parse_duration(const char *text, uint64_t *ms);

/* A rate in bits per second: digits and an optional k, M, G or T (base 1000, also as kbit, Mbit/s,
 * Mbps …). Returns 0 or -LH_E_INVAL; *bps is written only on success. */
int lh_text_parse_rate(const char *text, uint64_t *bps);

/* A name of any bytes, made safe to show: bytes that are not printable ASCII or valid UTF-8 become
 * \xNN, a backslash is doubled. Cut with "..." when it does not fit. Returns `out`. */
char *lh_text_escape(char *out, size_t size, const void *name, size_t len);

/* n bytes as 2n hexadecimal digits and a NUL. */
void lh_text_hex(char *out, const void *bytes, size_t n);

/* One line of a file of patterns: "+ PATTERN" includes, "- PATTERN" and "PATTERN" exclude. Returns
 * the pattern within it, or NULL when it is empty or a remark (# or ;). */
const char *lh_text_rule(const char *line, bool *include);

#endif
