/* Users' and groups' numbers, each with another one.
 *
 * Pure. Its memory follows how many were put; how many that may be, its owner sees to. */
#ifndef LH_CORE_IDMAP_H
#define LH_CORE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lh_idmap_slot {
    uint32_t id;
    uint32_t to;
    uint8_t kind; /* 0: free */
};

struct lh_idmap {
    struct lh_idmap_slot *slots;
    size_t size; /* a power of two, or 0 */
    size_t n;
};

void lh_idmap_init(struct lh_idmap *m);
void lh_idmap_free(struct lh_idmap *m);

/* NULL: it is not in. kind: anything but 0. */
const uint32_t *lh_idmap_get(const struct lh_idmap *m, uint8_t kind, uint32_t id);
/* One that is in gets another number. Returns 0 or -LH_E_NOMEM. */
int lh_idmap_put(struct lh_idmap *m, uint8_t kind, uint32_t id, uint32_t to);

#endif
