/* See tree_fs.h. */
#include "test/sim/tree_fs.h"

#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE 4096u

static void *grown(void *v, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap > 0 ? 2 * *cap : 8;
    v = realloc(v, *cap * size);
    if (v == NULL)
        bail("out of memory");
    return v;
}

/* ---- nodes ---- */

struct timespec fs_now(struct fs_disk *disk)
{
    disk->tick++;
    return (struct timespec){.tv_sec = 1700000000 + (time_t)disk->tick, .tv_nsec = 123456789};
}

void fs_touch(struct fs_node *node, bool mtime)
{
    node->ctime = fs_now(node->disk);
    if (mtime)
        node->seen.mtime = node->ctime;
}

struct fs_node *fs_new(struct fs_disk *disk, uint32_t mode)
{
    struct fs_node *node = calloc(1, sizeof(*node));

    if (node == NULL)
        bail("out of memory");
    node->disk = disk;
    node->ino = disk->next_ino++;
    node->seen.mode = mode;
    fs_touch(node, true);
    node->platter = node->seen;
    node->next = disk->all;
    disk->all = node;
    return node;
}

void fs_init(struct fs_disk *disk, unsigned dev)
{
    *disk = (struct fs_disk){.dev = dev, .next_ino = 100};
    disk->root = fs_new(disk, S_IFDIR | 0755);
}

static void let_go(struct fs_blob *blob)
{
    if (blob != NULL && --blob->refs == 0)
        free(blob);
}

void fs_free(struct fs_disk *disk)
{
    while (disk->all != NULL) {
        struct fs_node *node = disk->all;

        disk->all = node->next;
        let_go(node->data);
        let_go(node->data_platter);
        free(node->names.v);
        free(node->names_platter.v);
        free(node->changes);
        free(node->link);
        free(node);
    }
}

/* ---- names ---- */

static struct fs_entry *entry_of(const struct fs_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->v[i].name, name) == 0)
            return &names->v[i];
    return NULL;
}

static void set_name(struct fs_names *names, const char *name, struct fs_node *node)
{
    struct fs_entry *e = entry_of(names, name);

    if (e == NULL) {
        names->v = grown(names->v, names->n, &names->cap, sizeof(*names->v));
        e = &names->v[names->n++];
        snprintf(e->name, sizeof(e->name), "%s", name);
    }
    e->node = node;
}

static void drop_name(struct fs_names *names, const char *name)
{
    struct fs_entry *e = entry_of(names, name);

    if (e != NULL)
        *e = names->v[--names->n];
}

static void apply(struct fs_names *names, const struct fs_change *c)
{
    if (c->gone[0] != '\0')
        drop_name(names, c->gone);
    if (c->name[0] != '\0')
        set_name(names, c->name, c->node);
}

static void change(struct fs_node *dir, const char *gone, const char *name, struct fs_node *node)
{
    struct fs_change *c;

    dir->changes = grown(dir->changes, dir->n_changes, &dir->cap_changes, sizeof(*c));
    c = &dir->changes[dir->n_changes++];
    snprintf(c->gone, sizeof(c->gone), "%s", gone);
    snprintf(c->name, sizeof(c->name), "%s", name);
    c->node = node;
    apply(&dir->names, c);
    fs_touch(dir, true);
    if (name[0] != '\0' && dir->disk->named != NULL)
        dir->disk->named(dir, name, node);
}

struct fs_node *fs_find(const struct fs_node *dir, const char *name)
{
    struct fs_entry *e = entry_of(&dir->names, name);

    return e != NULL ? e->node : NULL;
}

static struct fs_node *walk(const struct fs_disk *disk, const char *path, bool platter)
{
    struct fs_node *node = disk->root;
    char name[FS_NAME_MAX + 1];

    while (*path != '\0' && node != NULL) {
        size_t len = strcspn(path, "/");
        struct fs_entry *e;

        snprintf(name, sizeof(name), "%.*s", (int)len, path);
        e = entry_of(platter ? &node->names_platter : &node->names, name);
        node = e != NULL ? e->node : NULL;
        path += len + (path[len] == '/');
    }
    return node;
}

struct fs_node *fs_at(const struct fs_disk *disk, const char *path)
{
    return walk(disk, path, false);
}

struct fs_node *fs_at_platter(const struct fs_disk *disk, const char *path)
{
    return walk(disk, path, true);
}

char *fs_path(const struct fs_node *dir, const char *name, char *out)
{
    char above[FS_PATH_MAX];

    if (dir->parent == NULL)
        snprintf(out, FS_PATH_MAX, "%s", name);
    else
        snprintf(out, FS_PATH_MAX, "%.*s/%.*s", FS_PATH_MAX - FS_NAME_MAX - 2,
                 fs_path(dir->parent, dir->name, above), FS_NAME_MAX, name);
    return out;
}

void fs_name(struct fs_node *dir, const char *name, struct fs_node *node)
{
    node->n_links++;
    if (S_ISDIR(node->seen.mode)) {
        node->parent = dir;
        snprintf(node->name, sizeof(node->name), "%s", name);
    }
    change(dir, "", name, node);
    node->ctime = fs_now(dir->disk);
}

void fs_unname(struct fs_node *dir, const char *name)
{
    struct fs_node *node = fs_find(dir, name);

    node->n_links--;
    node->ctime = fs_now(dir->disk);
    change(dir, name, "", NULL);
}

void fs_rename(struct fs_node *dir, const char *from, const char *name)
{
    struct fs_node *node = fs_find(dir, from);
    struct fs_node *over = fs_find(dir, name);

    if (over != NULL)
        over->n_links--;
    node->ctime = fs_now(dir->disk);
    change(dir, from, name, node);
}

/* ---- contents ---- */

uint64_t fs_size(const struct fs_node *node)
{
    if (node->big > 0)
        return node->big;
    if (node->link != NULL)
        return strlen(node->link);
    return node->data != NULL ? node->data->len : 0;
}

size_t fs_read(const struct fs_node *node, void *out, size_t len, uint64_t at)
{
    size_t have = node->data != NULL ? node->data->len : 0;

    if (at >= have)
        return 0;
    if (len > have - at)
        len = have - (size_t)at;
    memcpy(out, node->data->bytes + at, len);
    return len;
}

/* One of our own, of that length; what is new is zeros. */
static struct fs_blob *own(struct fs_blob *old, size_t len)
{
    size_t have = old != NULL ? old->len : 0;
    struct fs_blob *blob;

    if (old != NULL && old->refs == 1 && len == have)
        return old;
    blob = malloc(sizeof(*blob) + len);
    if (blob == NULL)
        bail("out of memory");
    blob->refs = 1;
    blob->len = len;
    if (have > 0)
        memcpy(blob->bytes, old->bytes, len < have ? len : have);
    if (len > have)
        memset(blob->bytes + have, 0, len - have);
    let_go(old);
    return blob;
}

void fs_write(struct fs_node *node, const void *in, size_t len, uint64_t at)
{
    size_t have = node->data != NULL ? node->data->len : 0;
    size_t end = (size_t)at + len;

    node->data = own(node->data, end > have ? end : have);
    if (len > 0)
        memcpy(node->data->bytes + at, in, len);
    fs_touch(node, true);
    if (node->disk->written != NULL)
        node->disk->written(node);
}

void fs_truncate(struct fs_node *node, size_t len)
{
    node->data = own(node->data, len);
    fs_touch(node, true);
    if (node->disk->written != NULL)
        node->disk->written(node);
}

/* ---- the platter ---- */

void fs_sync(struct fs_node *node)
{
    node->platter = node->seen;
    if (node->data != node->data_platter) {
        let_go(node->data_platter);
        node->data_platter = node->data;
        if (node->data != NULL)
            node->data->refs++;
    }
    for (size_t i = 0; i < node->n_changes; i++)
        apply(&node->names_platter, &node->changes[i]);
    node->n_changes = 0;
    for (size_t i = 0; i < node->names.n; i++) {
        struct fs_node *in = node->names.v[i].node;

        if (!S_ISREG(in->seen.mode) && !S_ISDIR(in->seen.mode))
            in->platter = in->seen;
    }
}

void fs_sync_all(struct fs_disk *disk)
{
    for (struct fs_node *node = disk->all; node != NULL; node = node->next)
        fs_sync(node);
}

bool fs_is_synced(const struct fs_node *node)
{
    const struct fs_meta *a = &node->seen;
    const struct fs_meta *b = &node->platter;

    return node->data == node->data_platter && a->mode == b->mode && a->uid == b->uid &&
           a->gid == b->gid && a->mtime.tv_sec == b->mtime.tv_sec &&
           a->mtime.tv_nsec == b->mtime.tv_nsec;
}

/* Any of its pages may have made it, and its length with them. */
static void tear(struct fs_node *node, struct lh_rng *rng)
{
    struct fs_blob *old = node->data_platter;
    size_t len;

    if (node->data == old || lh_rng_one_in(rng, 3))
        return;
    if (node->data == NULL || lh_rng_one_in(rng, 3)) {
        fs_sync(node);
        return;
    }
    len = node->data->len;
    old = own(old, len);
    for (size_t at = 0; at < len; at += PAGE)
        if (lh_rng_one_in(rng, 2))
            memcpy(old->bytes + at, node->data->bytes + at, len - at < PAGE ? len - at : PAGE);
    node->data_platter = old;
    node->platter = node->seen;
}

static void come_back(struct fs_node *node)
{
    struct fs_names *names = &node->names;
    const struct fs_names *platter = &node->names_platter;

    node->n_changes = 0;
    node->seen = node->platter;
    let_go(node->data);
    node->data = node->data_platter;
    if (node->data != NULL)
        node->data->refs++;
    names->n = 0;
    for (size_t i = 0; i < platter->n; i++) {
        names->v = grown(names->v, names->n, &names->cap, sizeof(*names->v));
        names->v[names->n++] = platter->v[i];
    }
}

void fs_power_cut(struct fs_disk *disk, struct lh_rng *rng)
{
    for (struct fs_node *node = disk->all; node != NULL; node = node->next) {
        size_t n = node->n_changes > 0 ? lh_rng_below(rng, node->n_changes + 1) : 0;

        if (node->n_changes > 0 && lh_rng_one_in(rng, 3))
            n = 0;
        for (size_t i = 0; i < n; i++)
            apply(&node->names_platter, &node->changes[i]);
        if (S_ISREG(node->seen.mode))
            tear(node, rng);
        else if (lh_rng_one_in(rng, 2))
            node->platter = node->seen;
        come_back(node);
    }
    for (struct fs_node *node = disk->all; node != NULL; node = node->next)
        node->n_links = 0;
    for (struct fs_node *node = disk->all; node != NULL; node = node->next)
        for (size_t i = 0; i < node->names.n; i++)
            node->names.v[i].node->n_links++;
}
