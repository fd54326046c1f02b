/* Lines of JSON on a stream. Main thread only. */
#ifndef LH_CLI_JSON_H
#define LH_CLI_JSON_H

#include <longhaul/longhaul.h>
#include <longhaul/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One object, on one line: begin, members, end. */
struct lh_json {
    FILE *out;
    unsigned n_members;
};

void lh_json_begin(struct lh_json *json, FILE *out);
void lh_json_u64(struct lh_json *json, const char *key, uint64_t value);
void lh_json_i64(struct lh_json *json, const char *key, int64_t value);
void lh_json_bool(struct lh_json *json, const char *key, bool value);
void lh_json_seconds(struct lh_json *json, const char *key, double value);

/* What is not UTF-8 becomes U+FFFD. */
void lh_json_text(struct lh_json *json, const char *key, const char *text);

/* A name of any bytes: as text, and where that loses something also in hexadecimal, under
 * KEY_hex, so that nothing is lost and every reader of JSON can read it. */
void lh_json_name(struct lh_json *json, const char *key, const void *name, size_t len);

/* Every counter of a transfer, and `event`. */
void lh_json_stats(struct lh_json *json, const char *event, const struct lh_send_stats *stats);

/* The same of a tree, and its own counters. */
void lh_json_tree(struct lh_json *json, const char *event, const struct lh_tree_stats *stats);

/* What it ended with, when that is no success: status, exit_code, message. */
void lh_json_outcome(struct lh_json *json, int status, const char *text);

/* Ends the line; a later lh_json_end flushes it and says what failed. */
void lh_json_end_later(struct lh_json *json);

/* Ends the line and flushes it. Returns 0, or -LH_E_CANCELLED when the reader is gone (EPIPE),
 * -LH_E_INTERNAL on another error, with errno. */
int lh_json_end(struct lh_json *json);

#endif
