/* The last of a tree: attributes that are set when nothing more is written, and FINISH.
 *
 * Thread: main loop; the job is a prep thread's.
 *
 * Happy path: nothing more is to be told of -> every directory, those within before the one they
 * are in: whatever is made in a directory changes its mtime -> FINISH -> DONE. Contents of small
 * files may still be on their way: the receiver sees to it that they go first. Nothing is answered
 * but what fails. Failures: a lost session: all of it again. */
#include "io/tree/tree_impl.h"

#include <stddef.h>
#include <string.h>

/* ---- on a prep thread: a frame ---- */

/* False: no room. */
static bool add(struct lh_files_writer *w, const struct lh_item *item)
{
    struct lh_tree_entry e;

    lh_tree_entry_of(item, &e);
    return lh_files_add(w, &e);
}

/* The next directory of the walk. NULL: there is none, or the walk failed. */
static struct lh_item *next_dir(struct lh_tree *t)
{
    struct lh_walk_entry e;
    struct lh_item *item = NULL;
    int r = lh_walk_dirs_next(t->walk, &e, &t->attrs_err);

    if (r == LH_WALK_ENTRY) {
        item = lh_item_new(&e);
        if (item == NULL || lh_tree_owners_note(&t->owners, e.uid, e.gid) != 0)
            lh_err_set(&t->attrs_err, LH_E_NOMEM, "out of memory");
    }
    return item;
}

static void attrs_run(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, attrs_job);
    struct lh_files_writer w;
    bool room = true;

    memset(&t->attrs_err, 0, sizeof(t->attrs_err));
    if (!t->attrs_begun)
        lh_walk_dirs_start(t->walk);
    lh_files_begin(&w, t->attrs, t->next);
    while (room) {
        if (t->attrs_dir == NULL && (t->attrs_dir = next_dir(t)) == NULL)
            break;
        room = add(&w, t->attrs_dir);
        if (!room)
            break;
        lh_item_drop(t->attrs_dir);
        t->attrs_dir = NULL;
    }
    t->attrs_over = room;
    t->attrs_n = w.n;
    t->attrs_len = lh_files_end(&w);
}

/* ---- main loop ---- */

static void finish(struct lh_tree *t)
{
    t->stage = LH_TREE_FINISHING;
    lh_lane_finish(t->send);
}

static void tell(struct lh_tree *t)
{
    lh_lane_tell(t->send, LH_FRAME_ATTRS, 0, t->attrs, t->attrs_len);
    lh_tree_table_skip(t, t->attrs_n);
    t->attrs_n = 0;
}

static void on_attrs(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, attrs_job);

    t->attrs_busy = false;
    t->attrs_begun = true;
    if (lh_tree_owners_take(t) != 0)
        lh_err_set(&t->attrs_err, LH_E_NOMEM, "out of memory");
    if (t->stage == LH_TREE_ENDING) {
        lh_tree_maybe_end(t);
        return;
    }
    if (t->attrs_err.status != 0)
        lh_tree_end(t, t->attrs_err.status, t->attrs_err.text);
    else if (t->attrs_anew && t->stage == LH_TREE_DRESSING)
        lh_tree_dress_start(t);
    else
        lh_tree_step(t);
}

static void submit(struct lh_tree *t)
{
    t->attrs_busy = true;
    lh_worker_submit(&t->engine->prep, &t->attrs_job, attrs_run, on_attrs, &t->engine->mbox);
}

void lh_tree_dress_start(struct lh_tree *t)
{
    t->stage = LH_TREE_DRESSING;
    t->attrs_anew = t->attrs_busy; /* then when that has ended */
    if (t->attrs_busy)
        return;
    if (t->attrs_dir != NULL)
        lh_item_drop(t->attrs_dir);
    t->attrs_dir = NULL;
    t->attrs_begun = false;
    t->attrs_over = t->opts.dry_run || t->lane.keep == 0;
    t->attrs_n = 0;
    t->attrs_from = t->next;
    lh_tree_dress_step(t);
}

/* A file that could not be read may still be on its way to be counted. */
static void conclude(struct lh_tree *t)
{
    if (!t->done_heard || atomic_load(&t->n_notes) > 0)
        return;
    t->done_heard = false;
    if (t->n_items > 0)
        lh_lane_broken(t->send, "the receiver is done, and has not settled all");
    else
        lh_lane_done(t->send);
}

void lh_tree_dress_step(struct lh_tree *t)
{
    if (t->stage == LH_TREE_FINISHING)
        conclude(t);
    if (t->stage != LH_TREE_DRESSING || t->attrs_busy || !lh_lane_taken(t->send))
        return;
    while (t->attrs_n > 0) { /* names before whose they are */
        if (!lh_lane_may_tell(t->send) || !lh_tree_table_room(t, t->attrs_n))
            return;
        if (!lh_tree_owners_tell(t))
            tell(t);
    }
    if (t->attrs_over)
        finish(t);
    else
        submit(t);
}
