/* Files with several names (LH_PRESERVE_HARDLINKS): set aside while the tree is walked, then sorted
 * by file; the first name of each goes as the file, the others after all of these as its links.
 *
 * Thread: as the walk. Memory: a block of keys (sorter.h), whatever their number. A file whose
 * other names are outside of the tree comes as a file, late. */
#include "io/source/walk_impl.h"

#include <stdlib.h>
#include <string.h>

int lh_walk_links_add(struct lh_walk *w, const struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_sort_key key = {.dev = e->identity.dev, .ino = e->identity.ino};
    int r = lh_walk_keep(&w->linked.entries, e, &key.at, err);

    return r != 0 ? r : lh_sorter_add(&w->linked.keys, &key, err);
}

static int get(struct lh_walk *w, uint64_t at, struct lh_walk_entry *e, struct lh_err *err)
{
    size_t len;
    int r = lh_spill_get(&w->linked.entries, at, w->linked.record, &len, err);

    if (r != 0)
        return r;
    lh_walk_kept(w->linked.record, e);
    return 0;
}

static int begin(struct lh_walk *w, struct lh_err *err)
{
    struct lh_walk_linked *l = &w->linked;

    if (lh_spill_empty(&l->entries)) {
        l->phase = LH_LINKED_OVER;
        return 0;
    }
    l->record = malloc(LH_SPILL_RECORD_MAX);
    if (l->record == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    l->phase = LH_LINKED_FIRSTS;
    return lh_sorter_finish(&l->keys, err);
}

/* The next key and whether it is the first of its file. Returns as lh_sorter_next. */
static int next_key(struct lh_walk_linked *l, struct lh_sort_key *key, bool *is_first,
                    struct lh_err *err)
{
    int r = lh_sorter_next(&l->keys, key, err);

    if (r != 1) {
        l->in_group = false;
        return r;
    }
    *is_first = !l->in_group || key->dev != l->group.dev || key->ino != l->group.ino;
    if (*is_first) {
        l->group = *key;
        l->has_first = false;
    }
    l->in_group = true;
    return 1;
}

static int next_first(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_walk_linked *l = &w->linked;
    struct lh_sort_key key;
    bool is_first;
    int r = next_key(l, &key, &is_first, err);

    if (r == 1 && !is_first)
        return LH_WALK_NOTHING;
    if (r == 1) {
        r = get(w, key.at, e, err);
        return r == 0 ? LH_WALK_ENTRY : r;
    }
    if (r == 0) {
        l->phase = LH_LINKED_OTHERS;
        lh_sorter_rewind(&l->keys);
        return LH_WALK_NOTHING;
    }
    return r;
}

static int next_other(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    struct lh_walk_linked *l = &w->linked;
    struct lh_sort_key key;
    bool is_first;
    int r = next_key(l, &key, &is_first, err);

    if (r == 0)
        l->phase = LH_LINKED_OVER;
    if (r <= 0 || is_first)
        return r < 0 ? r : LH_WALK_NOTHING;
    if (!l->has_first) {
        r = get(w, l->group.at, e, err);
        if (r != 0)
            return r;
        memcpy(l->first, e->path, e->path_len + 1);
        l->first_len = e->path_len;
        l->has_first = true;
    }
    r = get(w, key.at, e, err);
    if (r != 0)
        return r;
    e->kind = LH_KIND_HARDLINK;
    e->link = l->first;
    e->link_len = l->first_len;
    e->xattrs = NULL;
    e->xattrs_len = 0;
    return LH_WALK_ENTRY;
}

int lh_walk_links_next(struct lh_walk *w, struct lh_walk_entry *e, struct lh_err *err)
{
    int r;

    switch (w->linked.phase) {
    case LH_LINKED_ADDING:
        r = begin(w, err);
        return r == 0 ? LH_WALK_NOTHING : r;
    case LH_LINKED_FIRSTS:
        return next_first(w, e, err);
    case LH_LINKED_OTHERS:
        return next_other(w, e, err);
    default:
        return LH_WALK_END;
    }
}
