/* What the source has, what becomes of it meanwhile, and what the destination has from before. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"
#include "util/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIRS_MAX 400

/* ---- contents ---- */

static uint64_t mixed(uint64_t salt, uint64_t word)
{
    struct lh_rng r = {.state = salt * 0x2545f4914f6cdd1du + word * 0x9e3779b97f4a7c15u};

    return lh_rng_next(&r);
}

void tw_contents(uint64_t salt, bool sparse, uint64_t at, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint64_t word = mixed(salt, (at + i) / 8);
        size_t from = (size_t)(at + i) % 8;
        size_t n = 8 - from < len - i ? 8 - from : len - i;

        if (sparse && mixed(salt, ~((at + i) / 4096)) % 3 != 0)
            word = 0;
        memcpy(out + i, (uint8_t *)&word + from, n);
        i += n;
    }
}

bool tw_contents_are(const struct fs_blob *blob, const struct tw_version *v)
{
    uint64_t size = v->size < LH_TREE_BIG ? v->size : sizeof(v->salt);
    uint8_t *want = malloc(size + 1);
    bool same;

    if (want == NULL)
        bail("out of memory");
    if (v->size >= LH_TREE_BIG)
        memcpy(want, &v->salt, sizeof(v->salt));
    else
        tw_contents(v->salt, v->sparse, 0, want, size);
    same = (blob != NULL ? blob->len : 0) == size &&
           (size == 0 || memcmp(blob->bytes, want, size) == 0);
    free(want);
    return same;
}

static void fill(struct fs_node *node, const struct tw_version *v)
{
    uint64_t size = v->size < LH_TREE_BIG ? v->size : sizeof(v->salt);
    uint8_t *bytes = malloc(size + 1);

    if (bytes == NULL)
        bail("out of memory");
    if (v->size >= LH_TREE_BIG)
        memcpy(bytes, &v->salt, sizeof(v->salt));
    else
        tw_contents(v->salt, v->sparse, 0, bytes, size);
    node->big = v->size >= LH_TREE_BIG ? v->size : 0;
    node->sparse = v->sparse && v->salt % 2 == 0; /* else it is of zeros all the same */
    fs_truncate(node, 0);
    fs_write(node, bytes, size, 0);
    free(bytes);
}

/* ---- versions ---- */

static struct tw_version **bucket(const char *path)
{
    return &tw.versions[lh_check64(path, strlen(path), 0) % TW_BUCKETS];
}

struct tw_version *tw_versions_of(const char *path)
{
    struct tw_version *v = *bucket(path);

    while (v != NULL && strcmp(v->path, path) != 0)
        v = v->next;
    return v;
}

/* The newest of a path comes first. */
const struct tw_version *tw_now_at(const char *path)
{
    for (const struct tw_version *v = tw_versions_of(path); v != NULL; v = v->next)
        if (strcmp(v->path, path) == 0 && v->node != NULL)
            return v;
    return NULL;
}

static struct tw_version *add_version(const char *path, const struct tw_version *like)
{
    struct tw_version *v = malloc(sizeof(*v) + strlen(path) + 1);

    if (tw.n_versions == tw.cap_versions) {
        tw.cap_versions = tw.cap_versions > 0 ? 2 * tw.cap_versions : 64;
        tw.list = realloc(tw.list, tw.cap_versions * sizeof(struct tw_version *));
    }
    if (v == NULL || tw.list == NULL)
        bail("out of memory");
    *v = *like;
    memcpy(v->path, path, strlen(path) + 1);
    v->next = *bucket(path);
    *bucket(path) = v;
    tw.list[tw.n_versions++] = v;
    return v;
}

static void set_attributes(struct fs_node *node, struct tw_version *v)
{
    node->seen.mode = (node->seen.mode & S_IFMT) | v->mode;
    node->seen.uid = node->seen.gid = 1000 + (uint32_t)tw_below(3);
    node->seen.mtime = v->mtime;
    fs_touch(node, false);
    v->ctime = node->ctime;
    v->node = node;
}

/* All names of a file share its ctime, which a new name changes. */
static void see_links(const struct fs_node *node)
{
    for (size_t i = 0; i < tw.n_versions; i++)
        if (tw.list[i]->node == node)
            tw.list[i]->ctime = node->ctime;
}

/* ---- making ---- */

static uint64_t some_size(void)
{
    /* A pack of one part has room for whole pages alone. */
    uint64_t most = (TW_GRID - LH_PACK_HEAD - LH_PART_SIZE) / 4096 * 4096;

    switch (tw_below(20)) {
    case 0:
    case 1:
        return 0;
    case 2:
        return most - 1 + tw_below(3);
    case 3:
        return TW_GRID - LH_PACK_HEAD - LH_PART_SIZE - 1 + tw_below(3);
    case 4:
        return 1 + tw_below(4 * TW_GRID);
    case 5:
    case 6:
        return 1 + tw_below(60000);
    default:
        return 1 + tw_below(2000);
    }
}

static struct timespec some_time(void)
{
    return (struct timespec){.tv_sec = 1400000000 + (time_t)tw_below(200000000),
                             .tv_nsec = (long)(1 + 2 * tw_below(499999999))};
}

static uint32_t some_mode(bool dir)
{
    static const uint32_t modes[] = {0644, 0600, 0755, 0444, 0664, 0640};
    static const uint32_t dir_modes[] = {0755, 0700, 0555, 0750, 0775};

    return dir ? dir_modes[tw_below(5)] : modes[tw_below(6)];
}

static struct tw_version some_file(void)
{
    struct tw_version v = {.kind = LH_KIND_FILE,
                           .mode = some_mode(false),
                           .mtime = some_time(),
                           .size = some_size(),
                           .salt = ++tw.next_salt};

    v.sparse = v.size > 8192 && tw_one_in(4);
    return v;
}

static void put(struct fs_node *dir, const char *name, struct fs_node *node, struct tw_version like)
{
    char path[FS_PATH_MAX];
    struct tw_version *v;

    fs_name(dir, name, node);
    v = add_version(fs_path(dir, name, path), &like);
    set_attributes(node, v);
    see_links(node);
}

static void put_file(struct fs_node *dir, const char *name, struct tw_version like)
{
    struct fs_node *node = fs_new(&tw.source, S_IFREG);

    fill(node, &like);
    put(dir, name, node, like);
}

static void put_link(struct fs_node *dir, const char *name)
{
    struct tw_version v = {.kind = LH_KIND_SYMLINK, .mode = 0777, .mtime = some_time()};
    struct fs_node *node = fs_new(&tw.source, S_IFLNK | 0777);
    char text[40];

    snprintf(text, sizeof(text), "../to/%u", (unsigned)tw_below(1000));
    node->link = strdup(text);
    v.link = strdup(text);
    put(dir, name, node, v);
}

static struct fs_node *put_dir(struct fs_node *dir, const char *name)
{
    struct tw_version v = {.kind = LH_KIND_DIR, .mode = some_mode(true), .mtime = some_time()};
    struct fs_node *node = fs_new(&tw.source, S_IFDIR);

    put(dir, name, node, v);
    return node;
}

/* Another name of a file that is there. */
static void put_hard_link(struct fs_node *dir, const char *name)
{
    struct tw_version *of = tw.list[tw_below(tw.n_versions)];
    struct tw_version like;

    if (of->kind != LH_KIND_FILE || of->node == NULL || of->size >= LH_TREE_BIG)
        return;
    like = *of;
    like.settled = false;
    put(dir, name, of->node, like);
}

static const char *new_name(char prefix, char out[FS_NAME_MAX + 1])
{
    snprintf(out, FS_NAME_MAX + 1, "%c%u", prefix, tw.n_names++);
    return out;
}

static void put_some(struct fs_node *dir, struct fs_node **dirs, unsigned *n_dirs)
{
    struct tw_version v = {.kind = LH_KIND_FIFO, .mode = 0644, .mtime = some_time()};
    char name[FS_NAME_MAX + 1];

    switch (tw_below(20)) {
    case 0:
    case 1:
    case 2:
        if (*n_dirs < DIRS_MAX)
            dirs[(*n_dirs)++] = put_dir(dir, new_name('d', name));
        break;
    case 3:
    case 4:
        put_link(dir, new_name('l', name));
        break;
    case 5:
        put_hard_link(dir, new_name('h', name));
        break;
    case 6:
        put(dir, new_name('p', name), fs_new(&tw.source, S_IFIFO), v);
        break;
    default:
        put_file(dir, new_name('f', name), some_file());
    }
}

/* What is made in a directory changes its time. */
static void set_dir_times(void)
{
    for (size_t i = 0; i < tw.n_versions; i++) {
        struct tw_version *v = tw.list[i];

        if (v->kind == LH_KIND_DIR && v->node != NULL)
            v->node->seen.mtime = v->mtime;
    }
}

void tw_make_source(void)
{
    struct fs_node *dirs[DIRS_MAX] = {tw.source.root};
    struct tw_version root = {.kind = LH_KIND_DIR, .mode = 0750, .mtime = some_time()};
    size_t n = tw.plan.wide ? 1500 + tw_below(8000) : 1 + tw_below(tw_one_in(4) ? 150 : 30);
    unsigned n_dirs = 1;
    struct tw_version big;

    set_attributes(tw.source.root, add_version("", &root));
    put_file(tw.source.root, "first", some_file()); /* an empty one is not to be deleted from */
    for (size_t i = 0; i < n; i++) {
        struct tw_version small = some_file();
        char name[FS_NAME_MAX + 1];

        small.size %= 50;
        small.sparse = false;
        if (tw.plan.wide && !tw_one_in(16))
            put_file(dirs[tw_below(n_dirs)], new_name('f', name), small);
        else
            put_some(dirs[tw_below(n_dirs)], dirs, &n_dirs);
    }
    big = some_file();
    big.size = LH_TREE_BIG + tw_below(10);
    big.sparse = false;
    for (uint64_t i = tw.plan.checksum || !tw_one_in(8) ? 0 : 1 + tw_below(4); i > 0; i--) {
        char name[FS_NAME_MAX + 1];

        big.salt = ++tw.next_salt;
        put_file(dirs[tw_below(n_dirs)], new_name('b', name), big);
    }
    set_dir_times();
    tw.stats->n_entries += tw.n_versions;
    tw.stats->n_wide += tw.plan.wide;
}

/* ---- what the destination has from before ---- */

static struct fs_node *dest_dir(const char *path)
{
    struct fs_node *dir = fs_at(&tw.dest, "tree");
    char name[FS_NAME_MAX + 1];

    while (strchr(path, '/') != NULL) {
        size_t len = strcspn(path, "/");
        struct fs_node *next;

        snprintf(name, sizeof(name), "%.*s", (int)len, path);
        next = fs_find(dir, name);
        if (next != NULL && !S_ISDIR(next->seen.mode))
            return NULL;
        if (next == NULL) {
            next = fs_new(&tw.dest, S_IFDIR | 0755);
            fs_name(dir, name, next);
        }
        dir = next;
        path += len + 1;
    }
    return dir;
}

/* False: something is in its way. */
static bool put_there(const char *path, const struct tw_version *v)
{
    const char *name = strrchr(path, '/');
    struct fs_node *dir = dest_dir(path);
    struct fs_node *node;

    name = name != NULL ? name + 1 : path;
    if (dir == NULL || fs_find(dir, name) != NULL)
        return false;
    node = fs_new(&tw.dest, v->kind == LH_KIND_SYMLINK ? S_IFLNK | 0777 : S_IFREG | v->mode);
    if (v->kind == LH_KIND_SYMLINK)
        node->link = strdup(v->link != NULL ? v->link : "old");
    else
        fill(node, v);
    if (v->kind == LH_KIND_FILE && tw_one_in(3)) /* attributes alone are to be set */
        node->seen.mode = S_IFREG | some_mode(false);
    node->seen.mtime = v->mtime;
    node->shown = true;
    fs_name(dir, name, node);
    fs_sync(node);
    return true;
}

/* Another file, the same, another kind, or more than the source has. */
static void put_some_there(const struct tw_version *of)
{
    struct tw_version v = some_file();
    struct tw_version *more;
    char path[FS_PATH_MAX];

    if (tw_one_in(4)) {
        snprintf(path, sizeof(path), "%.400s-more%s", of->path, tw_one_in(3) ? "/and" : "");
        more = add_version(path, &v);
        more->was = put_there(path, more);
    }
    if (of->kind == LH_KIND_FILE && of->size < LH_TREE_BIG && tw_one_in(2)) {
        put_there(of->path, of);
        return;
    }
    v.was = true;
    if (of->kind == LH_KIND_FILE && tw_one_in(2))
        v.size = of->size < LH_TREE_BIG ? of->size : 0;
    v.sparse = false;
    if (tw_one_in(4)) {
        v.kind = LH_KIND_SYMLINK;
        v.link = strdup("old");
    }
    put_there(of->path, add_version(of->path, &v));
}

void tw_make_dest(void)
{
    size_t n = tw.n_versions;
    struct fs_node *root;

    fs_sync_all(&tw.dest);
    if (tw_one_in(2))
        return;
    root = fs_new(&tw.dest, S_IFDIR | 0755);
    fs_name(tw.dest.root, "tree", root);
    for (size_t i = 1; i < n; i++)
        if (tw_one_in(3))
            put_some_there(tw.list[i]);
    tw.dest_synced = tw_one_in(2); /* else it was copied there a moment ago */
    if (tw.dest_synced)
        fs_sync_all(&tw.dest);
}

/* ---- meanwhile ---- */

static void forget(struct tw_version *v)
{
    v->node = NULL;
}

static void new_contents(struct tw_version *v, struct fs_node *dir, const char *name)
{
    struct tw_version like = some_file();

    if (v->node->n_links == 1 && tw_one_in(2)) { /* in place */
        struct fs_node *node = v->node;

        forget(v);
        fill(node, &like);
        set_attributes(node, add_version(v->path, &like));
        return;
    }
    fs_unname(dir, name);
    see_links(v->node);
    forget(v);
    put_file(dir, name, like);
}

static void edit(struct tw_version *v, struct fs_node *dir, const char *name)
{
    char other[FS_NAME_MAX + 1];

    switch (tw_below(5)) {
    case 0:
        fs_unname(dir, name);
        see_links(v->node);
        forget(v);
        break;
    case 1:
        put_file(dir, new_name('n', other), some_file());
        break;
    case 2:
        fs_unname(dir, name);
        see_links(v->node);
        forget(v);
        put_link(dir, name);
        break;
    default:
        new_contents(v, dir, name);
    }
    tw_trace("the source changes: %s", v->path);
}

void tw_edit_source(void)
{
    struct tw_version *v = tw.list[tw_below(tw.n_versions)];
    char dir[FS_PATH_MAX];
    const char *name;
    char *slash;

    if (v->node == NULL || v->kind != LH_KIND_FILE || strcmp(v->path, "first") == 0)
        return;
    snprintf(dir, sizeof(dir), "%s", v->path);
    slash = strrchr(dir, '/');
    name = slash != NULL ? v->path + (slash - dir) + 1 : v->path;
    *(slash != NULL ? slash : dir) = '\0';
    tw.edited = true;
    tw.stats->n_edits++;
    edit(v, fs_at(&tw.source, dir), name);
    set_dir_times();
}
