/* See item.h. */
#include "io/source/item.h"

#include <stdlib.h>
#include <string.h>

struct lh_item *lh_item_new(const struct lh_walk_entry *e)
{
    size_t size = sizeof(struct lh_item) + e->path_len + e->link_len + e->xattrs_len + 2;
    struct lh_item *item = malloc(size);
    char *at;

    if (item == NULL)
        return NULL;
    memset(item, 0, sizeof(*item));
    atomic_init(&item->refs, 1);
    item->kind = e->kind;
    item->mode = e->mode;
    item->uid = e->uid;
    item->gid = e->gid;
    item->source = e->source;
    item->identity = e->identity;
    item->rdev = e->rdev;
    item->path_len = (uint16_t)e->path_len;
    item->link_len = (uint16_t)e->link_len;
    item->xattrs_len = (uint16_t)e->xattrs_len;
    memcpy(item->path, e->path, e->path_len);
    at = item->path + e->path_len;
    *at++ = '\0';
    if (e->link_len > 0)
        memcpy(at, e->link, e->link_len);
    at += e->link_len;
    *at++ = '\0';
    if (e->xattrs_len > 0)
        memcpy(at, e->xattrs, e->xattrs_len);
    return item;
}

void lh_item_drop(struct lh_item *item)
{
    if (atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1)
        free(item);
}
