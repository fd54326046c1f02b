/* --include, --exclude and --exclude-from as the rules of a tree. Main thread only. */
#ifndef LH_CLI_RULES_H
#define LH_CLI_RULES_H

#include "cli/options.h"

struct lh_rules {
    struct lh_tree_rule *v; /* owned, like their patterns */
    size_t n;
    size_t cap;
};

/* In the order in which they were given, those of a file where the file was named. Reads the files.
 * Returns 0, -LH_E_INVAL with a sentence (a file cannot be read, a pattern is empty), or
 * -LH_E_NOMEM; then nothing is to be freed. */
int lh_rules_load(struct lh_rules *rules, const struct lh_args *args, struct lh_err *err);
void lh_rules_free(struct lh_rules *rules);

#endif
