/* The table of files whose contents are wanted: by index, and by path.
 *
 * Thread: any, under the tree's lock. Happy path: added when asked for, found by each part's index,
 * removed when it is settled or dropped. By path it is found when a second entry has the same one.
 * Failures: none but memory; how much of that all take is bounded by who adds. */
#include "io/rtree/rtree_impl.h"

#include <stdlib.h>
#include <string.h>

int lh_rtree_table_init(struct lh_rtree *t)
{
    t->ring = calloc(LH_TREE_SPAN, sizeof(struct lh_rfile *));
    t->buckets = calloc(LH_RTREE_BUCKETS, sizeof(struct lh_rfile *));
    return t->ring != NULL && t->buckets != NULL ? 0 : -LH_E_NOMEM;
}

void lh_rtree_table_free(struct lh_rtree *t)
{
    for (uint32_t i = 0; t->ring != NULL && i < LH_TREE_SPAN; i++)
        lh_rfile_free(t->ring[i]);
    free(t->ring);
    free(t->buckets);
}

static struct lh_rfile **bucket_of(const struct lh_rtree *t, uint64_t hash)
{
    return &t->buckets[hash % LH_RTREE_BUCKETS];
}

struct lh_rfile *lh_rtree_find_path(const struct lh_rtree *t, const char *path, size_t len)
{
    uint64_t hash = lh_check64(path, len, 0);
    struct lh_rfile *f = *bucket_of(t, hash);

    while (f != NULL && (f->hash != hash || f->path_len != len || memcmp(f->path, path, len) != 0))
        f = f->chain;
    return f;
}

struct lh_rfile *lh_rtree_find(const struct lh_rtree *t, uint32_t index)
{
    struct lh_rfile *f = t->ring[index % LH_TREE_SPAN];

    return f != NULL && f->index == index ? f : NULL;
}

static size_t bytes_of(const struct lh_rfile *f)
{
    return sizeof(*f) + f->path_len + 1 + f->xattrs_len;
}

size_t lh_rtree_bytes_of(const struct lh_tree_entry *e)
{
    return sizeof(struct lh_rfile) + e->path_len + 1 + e->xattrs_len;
}

struct lh_rfile *lh_rfile_new(const struct lh_tree_entry *e, uint32_t index, bool was_there)
{
    struct lh_rfile *f = malloc(sizeof(*f) + e->path_len + 1 + e->xattrs_len);

    if (f == NULL)
        return NULL;
    *f = (struct lh_rfile){.size = e->size,
                           .mtime = e->mtime,
                           .hash = lh_check64(e->path, e->path_len, 0),
                           .index = index,
                           .uid = e->uid,
                           .gid = e->gid,
                           .fd = -1,
                           .mode = e->mode,
                           .path_len = (uint16_t)e->path_len,
                           .xattrs_len = (uint16_t)e->xattrs_len,
                           .was_there = was_there};
    memcpy(f->path, e->path, e->path_len);
    f->path[e->path_len] = '\0';
    if (e->xattrs_len > 0)
        memcpy(f->path + e->path_len + 1, e->xattrs, e->xattrs_len);
    return f;
}

void lh_rfile_free(struct lh_rfile *f)
{
    if (f != NULL && f->parts != NULL) {
        lh_runs_free(f->parts);
        free(f->parts);
    }
    free(f);
}

void lh_rtree_table_add(struct lh_rtree *t, struct lh_rfile *f)
{
    struct lh_rfile **bucket = bucket_of(t, f->hash);

    LH_INVARIANT(t->ring[f->index % LH_TREE_SPAN] == NULL);
    t->ring[f->index % LH_TREE_SPAN] = f;
    f->chain = *bucket;
    *bucket = f;
    t->n_files++;
    t->n_partial++;
    lh_account_add(&t->entries, bytes_of(f));
}

void lh_rtree_table_remove(struct lh_rtree *t, struct lh_rfile *f)
{
    struct lh_rfile **at = bucket_of(t, f->hash);

    while (*at != f)
        at = &(*at)->chain;
    *at = f->chain;
    t->ring[f->index % LH_TREE_SPAN] = NULL;
    t->n_files--;
    t->n_partial -= f->state != LH_RFILE_WHOLE;
    t->n_begun -= f->parts != NULL && f->state != LH_RFILE_WHOLE;
    lh_account_sub(&t->entries, bytes_of(f));
    if (f->parts != NULL)
        lh_account_sub(&t->runs, f->parts->cap * sizeof(struct lh_run));
}
