/* Which entries of a tree are left out: rules in order, the first whose pattern matches decides;
 * what none matches is included.
 *
 * Patterns are rsync's. One that begins with '/' is matched against the whole path (relative to the
 * destination), one with a '/' inside against as many of its last names as it has itself, any other
 * against the last name. A '/' at the end: directories only. '*' is any run of bytes without '/',
 * '**' any run at all (and a pattern with it may begin behind any '/'), '?' a byte but '/', [a-z]
 * [!a-z] [[:digit:]] a byte of a set, '\' takes the next byte as it is; where there is none of
 * '*', '?' and '[', '\' is a byte like others. "dir/" with three stars behind is dir and all that
 * is in it.
 *
 * Pure. Immutable once the rules are added: any thread may ask. */
#ifndef LH_CORE_FILTER_H
#define LH_CORE_FILTER_H

#include "util/err.h"

#include <stdbool.h>
#include <stddef.h>

#define LH_FILTER_PATTERN_MAX 4096 /* bytes */
#define LH_FILTER_PATH_MAX 16383   /* bytes */

struct lh_filter_rule; /* one pattern, taken apart */

struct lh_filter {
    struct lh_filter_rule *rules;
    size_t n;
    size_t cap;
};

void lh_filter_init(struct lh_filter *f);
void lh_filter_free(struct lh_filter *f);

/* Append a rule; the pattern is copied. Returns 0, -LH_E_INVAL with a sentence (empty, too long),
 * or -LH_E_NOMEM. */
int lh_filter_add(struct lh_filter *f, bool include, const char *pattern, struct lh_err *err);

/* Whether the rules exclude this very path: `len` bytes, at most LH_FILTER_PATH_MAX, without '/' at
 * either end. */
bool lh_filter_excludes(const struct lh_filter *f, const char *path, size_t len, bool is_dir);

/* The same, or one of the directories that it is in. */
bool lh_filter_excludes_deep(const struct lh_filter *f, const char *path, size_t len, bool is_dir);

#endif
