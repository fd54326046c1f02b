/* The big files of a tree: each is a transfer of its own, on the tree's engine, two at once.
 *
 * Thread: main loop.
 *
 * Happy path: add -> a place is free -> sent like any file, with its journal, so that it resumes
 * -> it is there -> back into the table, when there are attributes that OFFER does not carry: those
 * are told as an entry's. Failures: of one file, told as that entry's; the others go on. One whose
 * session does not come up is tried again, at the next progress of the lane: the receiver is there,
 * or it is the lane's to say that it is not.
 *
 * Below a rate limit, and in the background, a big file has the path for itself: it waits until
 * nothing small is under way, and nothing small is told of meanwhile.
 *
 * Where the number of streams is asked for or bounded it is that of the tree: there is one big file
 * at a time, and while there is one the lane keeps half of the streams; one when there is nothing
 * left for it. Those that it gives up are closed before the big file has them. They do not come
 * back at once: the next big file may be found soon. */
#include "io/send/sender.h"
#include "io/tree/tree_impl.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 20 /* of a session that does not come up */
#define PART_TICKS 6 /* of progress: 3 s by default */

unsigned lh_tree_big_running(const struct lh_tree *t)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LH_TREE_BIGS_AT_ONCE; i++)
        n += t->big[i].send != NULL;
    return n;
}

/* Streams of the whole tree at most; 0: nobody said so. */
static unsigned bound_of(const struct lh_tree *t)
{
    unsigned streams = t->opts.send.streams;
    unsigned most = t->big_max_streams;

    return streams > 0 && (most == 0 || streams < most) ? streams : most;
}

bool lh_tree_in_turns(const struct lh_tree *t)
{
    return t->opts.send.limit_bps > 0 || t->opts.send.share == LH_SHARE_BACKGROUND ||
           bound_of(t) == 1;
}

/* What the lane has not. */
static unsigned big_part(const struct lh_tree *t)
{
    unsigned bound = bound_of(t);

    return bound > t->lane_part ? bound - t->lane_part : bound;
}

static unsigned lane_part(struct lh_tree *t, unsigned bound)
{
    bool bigs = t->n_bigs > 0 || lh_tree_big_running(t) > 0;

    if (bigs)
        t->part_ticks = PART_TICKS;
    /* Not what was told: below a limit nothing is while a big file is under way. */
    if (bigs && t->walk_over && !t->walk_busy && t->n_contents == 0)
        t->lane_rests = true;
    if (t->lane_rests)
        return 1;
    return t->part_ticks > 0 && bound > 1 ? bound / 2 : bound;
}

/* The bound is divided. False: the lane has not given up yet what it is to. */
static bool part_streams(struct lh_tree *t)
{
    unsigned bound = bound_of(t);

    if (bound == 0)
        return true;
    t->lane_part = lane_part(t, bound);
    lh_lane_part(t->send, t->lane_part);
    if (!lh_lane_within_part(t->send))
        return false;
    for (unsigned i = 0; i < LH_TREE_BIGS_AT_ONCE; i++)
        if (t->big[i].send != NULL)
            lh_lane_part(t->big[i].send, big_part(t));
    return true;
}

bool lh_tree_big_left(const struct lh_tree *t)
{
    return t->n_bigs > 0 || t->sent_bigs != NULL || lh_tree_big_running(t) > 0;
}

/* Where a file of the sources lies: "a/b" gives "b/…" its names, "a/b/" what is below it, and so
 * does "a/b" with a list. */
static char *source_of(const struct lh_tree *t, const struct lh_item *item)
{
    const char *arg = t->opts.sources[item->source];
    const char *slash = strrchr(arg, '/');
    const char *last = slash != NULL ? slash + 1 : arg;
    bool contents = strcmp(last, ".") == 0 || strcmp(last, "..") == 0 ||
                    (t->opts.files_from != NULL && last[0] != '\0');
    size_t len = contents ? strlen(arg) : (size_t)(last - arg);
    char *out = malloc(len + item->path_len + 2);

    if (out != NULL)
        sprintf(out, "%.*s%s%s", (int)len, arg, contents ? "/" : "", item->path);
    return out;
}

static char *dest_of(const struct lh_tree *t, const struct lh_item *item)
{
    const struct lh_send_options *o = &t->opts.send;
    char *out = malloc(o->path_len + item->path_len + 2);

    if (out != NULL && strcmp(o->path, ".") == 0)
        strcpy(out, item->path);
    else if (out != NULL)
        sprintf(out, "%s/%s", (const char *)o->path, item->path);
    return out;
}

static void on_progress(void *arg, const struct lh_send_stats *stats)
{
    struct lh_tree_big *big = arg;

    big->stats = *stats;
}

static bool owner_follows(const struct lh_tree *t)
{
    return (t->lane.keep & (LH_KEEP_OWNER | LH_KEEP_XATTRS | LH_KEEP_ACL)) != 0;
}

static bool again(struct lh_tree *t, struct lh_item *item, int status)
{
    if (status != -LH_E_NETWORK && status != -LH_E_CONNECT && status != -LH_E_TIMEOUT)
        return false;
    if (item->state++ >= TRIES_MAX)
        return false;
    lh_tree_big_add(t, item);
    t->bigs_pause = true;
    return true;
}

/* What was sent may be a later version than the walk saw. */
static void now_is(struct lh_tree *t, struct lh_item *item, const struct lh_send *send)
{
    t->bytes_found -= item->identity.size;
    item->identity = *lh_send_identity(send);
    t->bytes_found += item->identity.size;
}

static void on_done(void *arg, int status, const char *text, const struct lh_send_stats *stats)
{
    struct lh_tree_big *big = arg;
    struct lh_tree *t = big->tree;
    struct lh_item *item = big->item;

    if (status == 0)
        now_is(t, item, big->send);
    big->send = NULL;
    memset(&big->stats, 0, sizeof(big->stats));
    lh_tree_big_ended(t, stats);
    if (t->stage == LH_TREE_ENDING) {
        lh_item_drop(item);
        lh_tree_maybe_end(t);
        return;
    }
    if (again(t, item, status)) {
        item = NULL;
    } else if (status != 0) {
        lh_tree_failed(t, item->path, item->identity.size, -status, text);
    } else if (owner_follows(t)) {
        item->there = true;
        t->bytes_there += item->identity.size;
        item->next = t->sent_bigs;
        t->sent_bigs = item;
        item = NULL;
    } else {
        lh_tree_became(t, LH_TREE_SENT, item);
    }
    if (item != NULL)
        lh_item_drop(item);
    lh_tree_step(t);
}

static void start_one(struct lh_tree *t, struct lh_tree_big *big, struct lh_item *item)
{
    struct lh_send_callbacks cbs = {.progress = on_progress, .done = on_done, .arg = big};
    struct lh_send_options o = t->opts.send;
    char *source = source_of(t, item);
    char *dest = dest_of(t, item);
    int r = -LH_E_NOMEM;

    o.engine = t->engine;
    o.max_streams = t->big_max_streams;
    o.source = source;
    o.path = dest;
    o.no_clobber = o.hold_confirm = false;
    o.existing = LH_EXISTING_REPLACE; /* WANTED has decided */
    big->tree = t;
    big->item = item;
    if (source != NULL && dest != NULL) {
        o.path_len = strlen(dest);
        /* By its path, in which a directory may be a link by now: no other goes in its place. */
        r = lh_send_begin(t->loop, &o, NULL, &item->identity, &cbs, &big->send);
    }
    free(source);
    free(dest);
    if (r == 0) {
        lh_lane_part(big->send, big_part(t));
        return;
    }
    big->send = NULL;
    lh_tree_failed(t, item->path, item->identity.size, -r, lh_status_text(r));
    lh_item_drop(item);
}

void lh_tree_big_start(struct lh_tree *t)
{
    bool turns = lh_tree_in_turns(t);
    bool one = turns || bound_of(t) > 0;

    if (t->bigs_pause || !lh_lane_taken(t->send) || !part_streams(t))
        return;
    for (unsigned i = 0; i < LH_TREE_BIGS_AT_ONCE; i++) {
        struct lh_item *item = t->bigs;

        if (item == NULL || t->stage != LH_TREE_MOVING || t->big[i].send != NULL ||
            (turns && t->told != t->base) || (one && lh_tree_big_running(t) > 0))
            continue;
        t->bigs = item->next;
        if (t->bigs == NULL)
            t->bigs_end = &t->bigs;
        item->next = NULL;
        t->n_bigs--;
        start_one(t, &t->big[i], item);
    }
}

void lh_tree_big_add(struct lh_tree *t, struct lh_item *item)
{
    item->next = NULL;
    *t->bigs_end = item;
    t->bigs_end = &item->next;
    t->n_bigs++;
}

void lh_tree_big_back(struct lh_tree *t)
{
    while (t->sent_bigs != NULL && lh_tree_table_room(t, 1)) {
        struct lh_item *item = t->sent_bigs;

        t->sent_bigs = item->next;
        item->next = NULL;
        lh_tree_table_put(t, item);
    }
}

void lh_tree_big_stop(struct lh_tree *t)
{
    for (unsigned i = 0; i < LH_TREE_BIGS_AT_ONCE; i++)
        if (t->big[i].send != NULL)
            lh_send_cancel(t->big[i].send);
}

static void free_list(struct lh_item *item)
{
    while (item != NULL) {
        struct lh_item *next = item->next;

        lh_item_drop(item);
        item = next;
    }
}

void lh_tree_big_free(struct lh_tree *t)
{
    free_list(t->bigs);
    free_list(t->sent_bigs);
    t->bigs = t->sent_bigs = NULL;
}
