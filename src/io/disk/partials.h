/* What was left half done below a root; the listing is lh_partials_each in longhaul/longhaul.h. */
#ifndef LH_IO_PARTIALS_H
#define LH_IO_PARTIALS_H

#include "io/disk/staging.h"
#include "util/err.h"

#include <stdint.h>

/* Remove what nobody has touched for ttl_ms, done records too; never what is held. Blocking.
 * n_removed may be NULL. Returns 0 or -LH_E_DEST, -LH_E_NOMEM. */
int lh_partials_expire(const char *root, uint64_t ttl_ms, uint64_t *n_removed, struct lh_err *err);

/* Remove what is half received of one target, and its done record. Blocking. Returns 0 (there is
 * nothing, too), -LH_E_BUSY when somebody holds it, -LH_E_DEST*, -LH_E_NOMEM. */
int lh_partials_remove(int dirfd, const struct lh_hidden *h, struct lh_err *err);

#endif
