/* What must hold, looked at while it happens; the platter is looked at as if the power went now.
 *
 * - A name that people see has a file that is whole and on the platter, and nobody writes to it.
 * - What is said to be settled is on the platter under its name, as it was found at the source.
 * - What is over is not told of again in its run, nothing becomes two things, and what was settled
 *   in any run is not asked for again while the source has the same.
 * - When DONE is said all of the source is there and on the platter, times of directories too, and
 *   with --delete nothing else; without it what was there besides is untouched.
 * - Limits of memory hold. */
#include "test/sim/tree_world.h"

#include "io/rtree/rtree_impl.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define IS_HIDDEN(name) (strncmp(name, LH_HIDDEN_PREFIX, strlen(LH_HIDDEN_PREFIX)) == 0)

/* Paths that something became of in this run; open addressing. */
static struct {
    char **v;
    size_t cap;
    size_t n;
} over;

static size_t place_of(const char *path)
{
    size_t i = lh_check64(path, strlen(path), 0) & (over.cap - 1);

    while (over.v[i] != NULL && strcmp(over.v[i], path) != 0)
        i = (i + 1) & (over.cap - 1);
    return i;
}

static bool is_over(const char *path)
{
    return over.v[place_of(path)] != NULL;
}

static void note_over(const char *path)
{
    if (over.n++ > over.cap / 2)
        bail("too many paths");
    over.v[place_of(path)] = strdup(path);
}

static void forget_over(void)
{
    for (size_t i = 0; i < over.cap && over.n > 0; i++)
        if (over.v[i] != NULL) {
            free(over.v[i]);
            over.v[i] = NULL;
        }
    over.n = 0;
}

/* ---- names ---- */

/* "tree/a/b" below the root of the disk; NULL: it is not in the tree. */
static const char *in_tree(const char *path)
{
    return strncmp(path, "tree/", 5) == 0 ? path + 5 : NULL;
}

static bool is_some_version(const char *path, const struct fs_blob *data)
{
    for (const struct tw_version *v = tw_versions_of(path); v != NULL; v = v->next)
        if (strcmp(v->path, path) == 0 && v->kind == LH_KIND_FILE && tw_contents_are(data, v))
            return true;
    return false;
}

static void on_named(const struct fs_node *dir, const char *name, const struct fs_node *node)
{
    char path[FS_PATH_MAX];

    fs_path(dir, name, path);
    if (tw.trace)
        tw_trace("    disk: %s is made", path);
    if (IS_HIDDEN(name) || !S_ISREG(node->seen.mode))
        return;
    ((struct fs_node *)node)->shown = true;
    if (node->data != node->data_platter)
        tw_broken("%s is made visible before its contents are on the disk", path);
    if (in_tree(path) == NULL || !is_some_version(in_tree(path), node->data))
        tw_broken("%s is made visible with contents that no source had", path);
}

static void on_written(const struct fs_node *node)
{
    if (node->shown)
        tw_broken("a file is written to that has its name already");
}

void tw_check_init(void)
{
    over.cap = tw.plan.wide ? 65536 : 2048;
    over.v = calloc(over.cap, sizeof(*over.v));
    if (over.v == NULL)
        bail("out of memory");
    over.n = 0;
}

void tw_check_free(void)
{
    forget_over();
    free(over.v);
}

void tw_check_run_begins(void)
{
    forget_over();
    tw.dest.named = on_named;
    tw.dest.written = on_written;
}

/* ---- one entry against the disk ---- */

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static uint32_t format_of(uint8_t kind)
{
    switch (kind) {
    case LH_KIND_DIR:
        return S_IFDIR;
    case LH_KIND_SYMLINK:
        return S_IFLNK;
    case LH_KIND_FIFO:
        return S_IFIFO;
    default:
        return S_IFREG;
    }
}

static const char ITS_MODE[] = "its mode is another";

/* NULL, or how it differs. A directory gets its attributes last. */
static const char *differs(const struct tw_version *v, bool platter, bool dir_too)
{
    char path[FS_PATH_MAX + 8] = "tree/";
    const struct fs_node *node;
    const struct fs_meta *m;

    strncat(path, v->path, FS_PATH_MAX);
    if (v->path[0] == '\0')
        path[4] = '\0';
    node = platter ? fs_at_platter(&tw.dest, path) : fs_at(&tw.dest, path);
    if (node == NULL)
        return "it is not there";
    m = platter ? &node->platter : &node->seen;
    if ((m->mode & S_IFMT) != format_of(v->kind))
        return "it is of another kind";
    if (v->kind == LH_KIND_SYMLINK && strcmp(node->link, v->link) != 0)
        return "it leads elsewhere";
    if (v->kind == LH_KIND_FILE && !tw_contents_are(platter ? node->data_platter : node->data, v))
        return "its contents are others";
    if (v->kind == LH_KIND_DIR && !dir_too)
        return NULL;
    if (!same_time(&m->mtime, &v->mtime))
        return "its time is another";
    if (v->kind != LH_KIND_SYMLINK && (m->mode & 0777) != v->mode)
        return ITS_MODE;
    return NULL;
}

/* The version that an item was made of: of the time when the walk came by. */
static struct tw_version *version_of(const struct lh_item *item)
{
    for (struct tw_version *v = tw_versions_of(item->path); v != NULL; v = v->next) {
        if (strcmp(v->path, item->path) != 0 || v->was)
            continue;
        if (item->kind == LH_KIND_DIR && v->kind == LH_KIND_DIR)
            return v;
        if (v->mtime.tv_sec == item->identity.mtime.sec &&
            v->mtime.tv_nsec == item->identity.mtime.nsec)
            return v;
    }
    tw_broken("%s: never had that", item->path);
    return NULL;
}

/* ---- what the receiver says ---- */

/* Of the run at hand, or NULL. */
static struct lh_item *item_of(uint64_t index)
{
    return tw.tree == NULL || tw.abandoned ? NULL : lh_tree_table_get(tw.tree, (uint32_t)index);
}

static void settled(uint64_t index)
{
    const struct lh_item *item = item_of(index);
    struct tw_version *v = item != NULL ? version_of(item) : NULL;
    const char *why = v != NULL ? differs(v, true, false) : NULL;

    /* Another name of a file that could not be sent, and that was there with another mode. */
    if (why == ITS_MODE && item->kind == LH_KIND_HARDLINK && tw.tree->stats.failed > 0)
        why = NULL;
    if (why != NULL)
        tw_broken("%s is said to be settled, and after a power cut now: %s", v->path, why);
    if (v != NULL)
        v->settled = true;
    tw.stats->n_settled++;
}

static void on_settled(const struct lh_frame *head, const uint8_t *payload)
{
    const char *why = NULL;
    int n = lh_block_runs_count(payload, head->length, &why);

    for (int i = 0; i < n; i++) {
        struct lh_block_run run = lh_block_runs_get(payload, (size_t)i);

        for (uint64_t k = 0; k < run.count; k++)
            settled(run.first + k);
    }
}

/* Over with by WANTED alone. */
static void kept(const struct tw_version *v)
{
    const char *why = differs(v, true, false);

    tw.stats->n_kept++;
    if (why != NULL && tw.plan.fault_one_in == 0) /* else what could not be set is only counted */
        tw_broken("%s is said to be there, and after a power cut now: %s", v->path, why);
}

static void on_wanted(const struct lh_frame *head, const uint8_t *payload)
{
    const uint8_t *answers;
    const char *why = NULL;
    uint32_t first, n;

    if (lh_wanted_decode(payload, head->length, &first, &answers, &n, &why) != 0) {
        tw_broken("WANTED: %s", why);
        return;
    }
    for (uint32_t i = 0; i < n && tw.plan.existing == LH_EXISTING_DIFFERENT; i++) {
        const struct lh_item *item = item_of(first + i);
        const struct tw_version *v = item != NULL ? version_of(item) : NULL;

        if (v != NULL && answers[i] == LH_WANTED_KEPT)
            kept(v);
        /* What cannot be looked at is taken for another. Which name of a file is its first may
         * change. */
        if (v != NULL && v->settled && v->node != NULL && v->node->n_links == 1 &&
            tw.plan.fault_one_in == 0 && answers[i] != LH_WANTED_KEPT &&
            answers[i] != LH_WANTED_FAILED)
            tw_broken("%s was settled, and is asked for again", v->path);
    }
}

/* Those that share a file at the source share one. */
static void check_links(void)
{
    char path[FS_PATH_MAX + 8];

    for (size_t i = 0; i < tw.n_versions; i++) {
        const struct tw_version *v = tw.list[i];
        struct fs_node *node;

        if (v->node == NULL || v->kind != LH_KIND_FILE || v->node->n_links < 2)
            continue;
        snprintf(path, sizeof(path), "tree/%s", v->path);
        node = fs_at(&tw.dest, path);
        if (node != NULL && node->n_links != v->node->n_links)
            tw_broken("%s has %u names, and its source %u", v->path, node->n_links,
                      v->node->n_links);
        tw.stats->n_links++;
    }
}

static void check_all(const char *when)
{
    for (size_t i = 0; i < tw.n_versions && !tw.broken; i++) {
        const struct tw_version *v = tw.list[i];
        const char *why;

        if (v->node == NULL ||
            (v->kind == LH_KIND_FIFO && !(tw.plan.preserve & LH_PRESERVE_DEVICES)))
            continue;
        why = differs(v, false, true);
        if (why != NULL)
            tw_broken("%s, and %s: %s", when, v->path[0] != '\0' ? v->path : "the root", why);
        why = differs(v, true, true);
        if (why != NULL)
            tw_broken("%s, and %s after a power cut now: %s", when,
                      v->path[0] != '\0' ? v->path : "the root", why);
    }
    if ((tw.plan.preserve & LH_PRESERVE_HARDLINKS) && tw.plan.remove)
        check_links();
}

/* What is there besides: nothing, or what was there before. */
static void check_rest(const struct fs_node *dir)
{
    char path[FS_PATH_MAX];

    for (size_t i = 0; i < dir->names.n && !tw.broken; i++) {
        const struct fs_entry *e = &dir->names.v[i];
        const char *name = in_tree(fs_path(dir, e->name, path));

        if (S_ISDIR(e->node->seen.mode))
            check_rest(e->node);
        if (name == NULL || IS_HIDDEN(e->name))
            continue;
        if (tw.plan.remove && tw_now_at(name) == NULL)
            tw_broken("%s was to be removed, and is there", name);
        if (S_ISREG(e->node->seen.mode) && !is_some_version(name, e->node->data))
            tw_broken("%s has contents that no source had", name);
    }
}

static void check_limits(const struct lh_rtree *t)
{
    if (atomic_load(&tw.serve->tree_memory.used) > tw.plan.tree_memory ||
        t->entries.bytes > t->entries.granted + LH_QUOTA_STEP || t->n_files > LH_TREE_SPAN ||
        t->n_begun > LH_RTREE_BEGUN_MAX)
        tw_broken("the receiver's table holds more than it may");
}

void tw_check_said(struct tw_session *s, const struct lh_frame *head, const uint8_t *payload)
{
    struct lh_target *t = tw.serve->targets;

    while (t != NULL && (t->store == NULL || t->session == NULL))
        t = t->next;
    if (t != NULL)
        check_limits((const struct lh_rtree *)t->store);
    if (s->sender_left) /* of a run that is over */
        return;
    if (head->type == LH_FRAME_SETTLED)
        on_settled(head, payload);
    else if (head->type == LH_FRAME_WANTED)
        on_wanted(head, payload);
    else if (head->type == LH_FRAME_FAILED)
        s->failed_said = true;
    else if (head->type == LH_FRAME_DONE && tw.tree != NULL && !tw.abandoned && !tw.edited &&
             !s->failed_said && tw.tree->stats.failed == 0)
        check_all("DONE is said");
}

/* ---- what the sender says ---- */

void tw_check_told(const uint8_t *payload, size_t len)
{
    struct lh_files_reader reader;
    struct lh_tree_entry e;
    const char *why = NULL;
    char path[LH_TREE_PATH_MAX];

    if (lh_files_decode(payload, len, &reader, &why) != 0) {
        tw_broken("FILES: %s", why);
        return;
    }
    while (lh_files_next(&reader, &e)) {
        memcpy(path, e.path, e.path_len);
        path[e.path_len] = '\0';
        if (is_over(path))
            tw_broken("%s is over, and told of again", path);
    }
    if (tw.tree != NULL && (tw.tree->next - tw.tree->base > LH_TREE_SPAN ||
                            tw.tree->path_bytes > LH_TREE_PATHS_MAX + 65536))
        tw_broken("the sender's table holds more than it may");
}

void tw_check_entry(enum lh_tree_what what, const char *path, const char *text)
{
    if (what == LH_TREE_FAILED) {
        tw.stats->n_failed++;
        tw_trace("failed: %s", text);
        if (tw.run_calm && !tw.edited)
            tw_broken("nothing is in its way, and yet it failed: %s", text);
        return;
    }
    if (what == LH_TREE_REMOVED) {
        if (tw_now_at(path) != NULL && !tw.edited)
            tw_broken("%s was removed, and the source has it", path);
        return;
    }
    if (is_over(path))
        tw_broken("%s is over twice", path);
    note_over(path);
}

/* ---- after a power cut, and at the end ---- */

static void check_visible(const struct fs_node *dir)
{
    char path[FS_PATH_MAX];

    for (size_t i = 0; i < dir->names.n && !tw.broken; i++) {
        const struct fs_entry *e = &dir->names.v[i];
        const char *name = in_tree(fs_path(dir, e->name, path));

        if (S_ISDIR(e->node->seen.mode))
            check_visible(e->node);
        else if (name != NULL && S_ISREG(e->node->seen.mode) && !IS_HIDDEN(e->name) &&
                 !is_some_version(name, e->node->data))
            tw_broken("after the power cut %s has contents that no source had", name);
    }
}

void tw_check_after_cut(void)
{
    for (struct fs_node *node = tw.dest.all; node != NULL; node = node->next)
        node->shown = false;
    check_visible(tw.dest.root);
}

/* Whatever was there before and that nobody was to touch. */
static void check_strangers(void)
{
    for (size_t i = 0; i < tw.n_versions && tw.dest_synced && !tw.plan.remove; i++) {
        const struct tw_version *v = tw.list[i];
        const char *why = v->was && tw_versions_of(v->path) == v && strstr(v->path, "-more") != NULL
                              ? differs(v, false, true)
                              : NULL;

        if (why != NULL && strcmp(why, "it is not there") == 0)
            tw_broken("%s was there before, and is gone", v->path);
    }
}

void tw_check_end(void)
{
    check_all("all has ended");
    check_rest(tw.dest.root);
    check_strangers();
}
