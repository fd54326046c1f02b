/* Big files of a tree: sends of their own, of which only the end is played. The receiver's half
 * makes durable what it makes, and the directory that the file is in: what leads there is the
 * tree's. */
#include "test/sim/tree_world.h"

#include "io/send/sender.h"
#include "test/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct big {
    struct lh_send_callbacks cbs;
    struct lh_identity identity;
    bool cancelled;
    char path[FS_PATH_MAX]; /* below the tree */
};

static void end(struct big *b, int status, const char *text)
{
    b->cbs.done(b->cbs.arg, status, text, &(struct lh_send_stats){0});
    free(b);
}

static bool is_same(const struct fs_node *node, const struct lh_identity *i)
{
    return node != NULL && node->big == i->size && node->ino == i->ino &&
           node->seen.mtime.tv_sec == i->mtime.sec && node->ctime.tv_sec == i->ctime.sec;
}

/* 0, or why not. */
static int deliver(const struct fs_node *from, const char *path)
{
    struct fs_node *dir = fs_at(&tw.dest, "tree");
    struct fs_node *node;
    char whole[FS_PATH_MAX + sizeof("tree/")];
    char name[FS_NAME_MAX + 1];

    snprintf(whole, sizeof(whole), "tree/%s", path);
    for (; strchr(path, '/') != NULL; path += strcspn(path, "/") + 1) {
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(path, "/"), path);
        if (dir != NULL && fs_find(dir, name) == NULL) {
            fs_name(dir, name, fs_new(&tw.dest, S_IFDIR | 0755));
            fs_sync(dir);
        }
        dir = dir != NULL ? fs_find(dir, name) : NULL;
        if (dir != NULL && !S_ISDIR(dir->seen.mode))
            dir = NULL;
    }
    if (dir == NULL || (fs_find(dir, path) != NULL && S_ISDIR(fs_find(dir, path)->seen.mode)))
        return -LH_E_DEST_KIND;
    node = fs_new(&tw.dest, from->seen.mode);
    node->big = from->big;
    fs_write(node, from->data->bytes, from->data->len, 0);
    node->seen.mtime = from->seen.mtime;
    fs_sync(node);
    fs_name(dir, path, node);
    fs_sync(dir);
    if (fs_at_platter(&tw.dest, whole) != node)
        tw_broken("%s is done, and a power cut now takes it", whole);
    tw.stats->n_bigs++;
    return 0;
}

static void on_big(void *arg)
{
    struct big *b = arg;
    const struct fs_node *from = fs_at(&tw.source, b->path);
    int r;

    if (b->cancelled || tw.abandoned) {
        end(b, -LH_E_CANCELLED, "cancelled");
        return;
    }
    if (tw.serve == NULL || tw.dead || (!tw_is_calm() && tw_one_in(3))) {
        end(b, -LH_E_NETWORK, "the network");
        return;
    }
    if (!is_same(from, &b->identity)) {
        end(b, -LH_E_SOURCE_CHANGED, "it is another file by now");
        return;
    }
    r = deliver(from, b->path);
    end(b, r, r != 0 ? "something is in its way" : "");
}

int lh_send_begin(uv_loop_t *loop, const struct lh_send_options *opts, struct lh_lane *lane,
                  const struct lh_identity *identity, const struct lh_send_callbacks *cbs,
                  struct lh_send **send)
{
    struct big *b = calloc(1, sizeof(*b));

    (void)loop;
    if (b == NULL || lane != NULL)
        bail("a big file");
    b->cbs = *cbs;
    b->identity = *identity;
    snprintf(b->path, sizeof(b->path), "%s", (const char *)opts->path + strlen("tree/"));
    *send = (struct lh_send *)b;
    tw_at(TW_SENDER, 1 + tw_below(tw_one_in(2) ? 5000 : 2000000), on_big, b);
    return 0;
}

const struct lh_identity *lh_send_identity(const struct lh_send *send)
{
    return &((const struct big *)send)->identity;
}

void lh_send_cancel(struct lh_send *send)
{
    ((struct big *)send)->cancelled = true;
}

void lh_send_options_init(struct lh_send_options *opts)
{
    memset(opts, 0, sizeof(*opts));
}
