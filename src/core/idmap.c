/* A table with open addressing; told in idmap.h.
 *
 * Thread: the owner's. Happy path: found within a few steps, because a quarter of it stays free.
 * Failures: out of memory when it grows: then it is as it was. */
#include "core/idmap.h"

#include "proto/hash.h"

#include <longhaul/status.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 64

void lh_idmap_init(struct lh_idmap *m)
{
    memset(m, 0, sizeof(*m));
}

void lh_idmap_free(struct lh_idmap *m)
{
    free(m->slots);
    lh_idmap_init(m);
}

/* Where it is, or where it would be. There is a free place. */
static struct lh_idmap_slot *place(const struct lh_idmap *m, uint8_t kind, uint32_t id)
{
    size_t at = (size_t)lh_check64(&id, sizeof(id), kind) & (m->size - 1);

    while (m->slots[at].kind != 0 && (m->slots[at].kind != kind || m->slots[at].id != id))
        at = (at + 1) & (m->size - 1);
    return &m->slots[at];
}

const uint32_t *lh_idmap_get(const struct lh_idmap *m, uint8_t kind, uint32_t id)
{
    const struct lh_idmap_slot *slot;

    if (m->n == 0)
        return NULL;
    slot = place(m, kind, id);
    return slot->kind != 0 ? &slot->to : NULL;
}

static int grow(struct lh_idmap *m)
{
    struct lh_idmap more = {.size = m->size > 0 ? m->size * 2 : SIZE_FIRST, .n = m->n};

    more.slots = calloc(more.size, sizeof(*more.slots));
    if (more.slots == NULL)
        return -LH_E_NOMEM;
    for (size_t i = 0; i < m->size; i++)
        if (m->slots[i].kind != 0)
            *place(&more, m->slots[i].kind, m->slots[i].id) = m->slots[i];
    free(m->slots);
    *m = more;
    return 0;
}

int lh_idmap_put(struct lh_idmap *m, uint8_t kind, uint32_t id, uint32_t to)
{
    struct lh_idmap_slot *slot;

    if (m->n >= m->size / 4 * 3 && grow(m) != 0)
        return -LH_E_NOMEM;
    slot = place(m, kind, id);
    m->n += slot->kind == 0;
    *slot = (struct lh_idmap_slot){.id = id, .to = to, .kind = kind};
    return 0;
}
