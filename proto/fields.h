/* What payloads have in common: texts, paths, and how a decoder refuses. */
#ifndef LH_PROTO_FIELDS_H
#define LH_PROTO_FIELDS_H

#include "proto/cursor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -LH_E_PROTOCOL, with *why. */
int lh_wire_refuse(const char **why, const char *sentence);

/* A text or path: u16 length, bytes. */
void lh_put_text(struct lh_writer *w, const char *text, size_t len);
void lh_put_path(struct lh_writer *w, const uint8_t *path, size_t len);

/* The reader fails when it is longer than `max`. */
void lh_get_text(struct lh_reader *r, const char **text, size_t *len, size_t max);
/* Any length is read: what is allowed, the caller asks. */
void lh_get_path(struct lh_reader *r, const uint8_t **path, size_t *len);
/* Not longer than `max`, and no NUL. */
bool lh_path_allowed(const uint8_t *path, size_t len, size_t max);

/* A list of what is indexed: first index or tag, number. */
#define LH_LIST_HEAD 8
void lh_put_list_head(uint8_t *out, uint32_t first, uint32_t n);
/* Whether `n` indexes from `first` on are there: the last one is below LH_TREE_NO_ENTRY. */
bool lh_indexes_allowed(uint32_t first, uint32_t n);

/* How much of a sentence goes onto the wire: at most `max` bytes, not cut within a character. */
size_t lh_text_cut(const char *text, size_t len, size_t max);

#endif
