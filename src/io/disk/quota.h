/* One bound over what many take, and the account of each.
 *
 * An account begins with bytes that are its own; more it takes out of the common bound in steps,
 * and gives back. So who has little is never held up by those who have much.
 *
 * Threads: a quota any, an account its owner's, under the owner's lock. */
#ifndef LH_IO_QUOTA_H
#define LH_IO_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define LH_QUOTA_STEP (64u * 1024)

struct lh_quota {
    atomic_size_t used; /* bytes */
    size_t max;
};

void lh_quota_init(struct lh_quota *q, size_t max);
bool lh_quota_take(struct lh_quota *q, size_t bytes); /* false: there are not so many left */
void lh_quota_give(struct lh_quota *q, size_t bytes);

struct lh_account {
    struct lh_quota *quota; /* NULL: no bound */
    size_t bytes;           /* in use */
    size_t own;
    size_t granted; /* own, and taken out of the quota */
};

/* own: somebody has taken them for it, and gives them back. */
void lh_account_init(struct lh_account *a, struct lh_quota *q, size_t own);
/* Whether there is room for so many more; then they may be added. */
bool lh_account_room(struct lh_account *a, size_t bytes);
void lh_account_add(struct lh_account *a, size_t bytes);
void lh_account_sub(struct lh_account *a, size_t bytes);
/* All but its own goes back. */
void lh_account_end(struct lh_account *a);

#endif
