/* The table of a tree's entries: told of in their order, dropped when they are settled.
 *
 * Thread: main loop.
 *
 * Happy path: put -> told of in FILES -> WANTED: kept, made, or its contents are wanted -> SETTLED
 * -> taken out. Failures: FAILED, or a part that was voided, takes an entry out too. After a lost
 * session all that are still in are told of again, with the indexes they have.
 *
 * Hard links come last in a walk and wait for all others: what they are names of must be there. */
#include "io/tree/tree_impl.h"

#include <stdio.h>
#include <string.h>

/* Entries a frame: few, because a frame is looked at when all of it has come, and TCP begins
 * slowly.
 */
#define TOLD_AT_ONCE 128u

static struct lh_item **slot(const struct lh_tree *t, uint32_t index)
{
    return &t->ring[index % LH_TREE_SPAN];
}

bool lh_tree_table_room(const struct lh_tree *t, uint32_t n)
{
    return t->next - t->base + n <= LH_TREE_SPAN && t->path_bytes < LH_TREE_PATHS_MAX;
}

static size_t bytes_of(const struct lh_item *item)
{
    return (size_t)item->path_len + item->link_len + item->xattrs_len;
}

/* Hard links wait for it. They do not for one that is there, and comes behind them. */
static bool waited_for(const struct lh_item *item)
{
    return item->kind != LH_KIND_HARDLINK && !item->there;
}

void lh_tree_table_put(struct lh_tree *t, struct lh_item *item)
{
    if (t->next == LH_TREE_NO_ENTRY) {
        lh_item_drop(item);
        lh_tree_end(t, LH_E_LIMIT, "more than 4294967295 entries");
        return;
    }
    item->index = t->next++;
    item->state = LH_ITEM_ASKED;
    *slot(t, item->index) = item;
    t->n_items++;
    t->n_asked++;
    t->n_contents += waited_for(item);
    t->path_bytes += bytes_of(item);
}

static void raise_base(struct lh_tree *t)
{
    while (t->base != t->next && *slot(t, t->base) == NULL)
        t->base++;
    if (t->told < t->base)
        t->told = t->base;
}

void lh_tree_table_take(struct lh_tree *t, struct lh_item *item)
{
    *slot(t, item->index) = NULL;
    t->n_items--;
    t->n_asked -= item->state == LH_ITEM_ASKED;
    t->n_contents -= waited_for(item);
    t->path_bytes -= bytes_of(item);
    if (item->there)
        t->bytes_there -= item->identity.size;
    raise_base(t);
}

void lh_tree_table_skip(struct lh_tree *t, uint32_t n)
{
    t->next += n;
    t->told = t->next;
    raise_base(t);
}

struct lh_item *lh_tree_table_get(const struct lh_tree *t, uint32_t index)
{
    if (index < t->base || index >= t->next)
        return NULL;
    return *slot(t, index);
}

/* ---- telling ---- */

void lh_tree_entry_of(const struct lh_item *item, struct lh_tree_entry *e)
{
    bool device = item->kind == LH_KIND_CHAR || item->kind == LH_KIND_BLOCK;

    *e = (struct lh_tree_entry){.kind = item->kind,
                                .mode = item->mode,
                                .uid = item->uid,
                                .gid = item->gid,
                                .mtime = item->identity.mtime,
                                .path = (const uint8_t *)item->path,
                                .path_len = item->path_len,
                                .link = (const uint8_t *)lh_item_link(item),
                                .link_len = item->link_len,
                                .has_hash = item->has_hash,
                                .hash = item->hash,
                                .xattrs = lh_item_xattrs(item),
                                .xattrs_len = item->xattrs_len};
    if (item->there) {
        e->kind = LH_KIND_THERE;
        e->has_hash = false;
    }
    if (item->kind == LH_KIND_FILE)
        e->size = item->identity.size;
    else if (device)
        e->size = item->rdev;
}

/* Contents of others are still on their way, and this is another name of one of them. */
static bool must_wait(const struct lh_tree *t, const struct lh_item *item)
{
    return item->kind == LH_KIND_HARDLINK &&
           (t->n_contents > 0 || t->n_bigs > 0 || lh_tree_big_running(t) > 0);
}

/* One frame of those that come next. False: there is none to tell of now. */
static bool tell_some(struct lh_tree *t)
{
    struct lh_files_writer w;
    struct lh_tree_entry e;
    struct lh_item *item;

    while (t->told != t->next && *slot(t, t->told) == NULL)
        t->told++;
    lh_files_begin(&w, t->frame, t->told);
    while (w.n < TOLD_AT_ONCE && t->told != t->next && (item = *slot(t, t->told)) != NULL &&
           !must_wait(t, item)) {
        lh_tree_entry_of(item, &e);
        if (!lh_files_add(&w, &e))
            break;
        t->told++;
    }
    if (w.n == 0)
        return false;
    t->said_last = false;
    lh_lane_tell(t->send, t->stage == LH_TREE_REMOVING ? LH_FRAME_REMOVE : LH_FRAME_FILES, 0,
                 t->frame, lh_files_end(&w));
    return true;
}

/* The receiver need not wait for more before it commits: an empty list, the last. */
static void say_last(struct lh_tree *t)
{
    struct lh_files_writer w;
    bool waits = t->told != t->next; /* a link, for all others */

    if (t->said_last || t->stage != LH_TREE_MOVING || !lh_lane_may_tell(t->send) ||
        !(t->walk_over || waits))
        return;
    lh_files_begin(&w, t->frame, t->told);
    lh_lane_tell(t->send, LH_FRAME_FILES, LH_FRAME_LAST, t->frame, lh_files_end(&w));
    t->said_last = true;
}

void lh_tree_tell(struct lh_tree *t)
{
    bool removing = t->stage == LH_TREE_REMOVING;
    bool more = true;

    if (t->send == NULL || (t->stage != LH_TREE_MOVING && !removing) ||
        (removing && !lh_lane_taken(t->send)) ||
        (lh_tree_in_turns(t) && lh_tree_big_running(t) > 0))
        return;
    while (more && lh_lane_may_tell(t->send))
        more = lh_tree_owners_tell(t) || tell_some(t);
    if (!more)
        say_last(t);
}

void lh_tree_told_anew(struct lh_tree *t)
{
    for (uint32_t i = t->base; i != t->next; i++)
        if (*slot(t, i) != NULL)
            (*slot(t, i))->state = LH_ITEM_ASKED;
    t->n_asked = t->n_items;
    t->told = t->base;
    lh_tree_owners_anew(t);
    t->said_last = false;
}

/* ---- answers ---- */

static void answered(struct lh_tree *t, struct lh_item *item, enum lh_item_state state)
{
    item->state = (uint8_t)state;
    t->n_asked--;
}

static void over(struct lh_tree *t, struct lh_item *item, enum lh_tree_what what)
{
    lh_tree_table_take(t, item);
    lh_tree_became(t, what, item);
    lh_item_drop(item);
}

static void contents_wanted(struct lh_tree *t, struct lh_item *item)
{
    if (t->opts.dry_run) {
        over(t, item, LH_TREE_SENT);
        return;
    }
    if (item->identity.size >= LH_TREE_BIG) {
        lh_tree_table_take(t, item);
        item->state = 0; /* tries that have failed */
        lh_tree_big_add(t, item);
        return;
    }
    answered(t, item, LH_ITEM_PACKED);
    lh_tree_pack(t, item);
}

static const char *answer(struct lh_tree *t, struct lh_item *item, uint8_t what)
{
    switch (what) {
    case LH_WANTED_KEPT:
        over(t, item, item->there ? LH_TREE_SENT : LH_TREE_KEPT);
        return NULL;
    case LH_WANTED_NEW:
    case LH_WANTED_CHANGED:
        if (item->kind != LH_KIND_FILE || item->there)
            return "contents are wanted of what is no file";
        contents_wanted(t, item);
        return NULL;
    case LH_WANTED_MADE:
        answered(t, item, LH_ITEM_MADE);
        if (t->opts.dry_run)
            over(t, item, LH_TREE_MADE);
        return NULL;
    default: /* FAILED came before it, and took the entry out */
        return "an entry failed, and it was not said why";
    }
}

static const char *on_wanted(struct lh_tree *t, const struct lh_frame *frame,
                             const uint8_t *payload)
{
    const uint8_t *answers;
    const char *why = NULL;
    uint32_t first, n;

    if (lh_wanted_decode(payload, frame->length, &first, &answers, &n, &why) != 0)
        return why;
    if (first + n > t->told || first + n < first || t->stage == LH_TREE_REMOVING)
        return "WANTED of an entry that it was not told of";
    for (uint32_t i = 0; i < n && why == NULL && t->stage != LH_TREE_ENDING; i++) {
        struct lh_item *item = lh_tree_table_get(t, first + i);

        if (item != NULL && item->state == LH_ITEM_ASKED)
            why = answer(t, item, answers[i]);
    }
    return why;
}

/* A run of entries that are settled, or removed. */
static void settle(struct lh_tree *t, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end && t->stage != LH_TREE_ENDING; i++) {
        struct lh_item *item = lh_tree_table_get(t, (uint32_t)i);

        if (item == NULL)
            continue;
        if (t->stage == LH_TREE_REMOVING)
            over(t, item, LH_TREE_REMOVED);
        else if (item->state == LH_ITEM_PACKED)
            over(t, item, LH_TREE_SENT);
        else if (item->state == LH_ITEM_MADE) /* a file was there, and got its attributes */
            over(t, item, item->kind == LH_KIND_FILE ? LH_TREE_KEPT : LH_TREE_MADE);
    }
}

static const char *on_settled(struct lh_tree *t, const struct lh_frame *frame,
                              const uint8_t *payload)
{
    const char *why = NULL;
    int n = lh_block_runs_count(payload, frame->length, &why);

    for (int i = 0; i < n; i++) {
        struct lh_block_run run = lh_block_runs_get(payload, (size_t)i);

        if (run.first + run.count > t->told)
            return "an entry is settled that it was not told of";
        settle(t, run.first > t->base ? run.first : t->base, run.first + run.count);
    }
    return n < 0 ? why : NULL;
}

static const char *on_failed(struct lh_tree *t, const struct lh_frame *frame,
                             const uint8_t *payload)
{
    struct lh_tree_failed m;
    struct lh_item *item;
    const char *why = NULL;
    char text[LH_ERROR_TEXT_MAX + 1];
    int status;

    if (lh_tree_failed_decode(payload, frame->length, &m, &why) != 0)
        return why;
    snprintf(text, sizeof(text), "%.*s", (int)m.text_len, m.text);
    if (m.entry == LH_TREE_NO_ENTRY) { /* something that could not be kept, of however many */
        lh_log(&t->log, LH_LOG_WARN, "%s", text);
        return NULL;
    }
    item = lh_tree_table_get(t, m.entry);
    status = lh_status_of_wire(m.code);
    if (item == NULL) {
        if (m.entry >= t->attrs_from &&
            (t->stage == LH_TREE_DRESSING || t->stage == LH_TREE_FINISHING))
            lh_tree_failed(t, "", 0, status, text);
        return NULL;
    }
    lh_tree_table_take(t, item);
    lh_tree_failed(t, item->path, item->identity.size, status, text);
    lh_item_drop(item);
    return NULL;
}

void lh_tree_frame(struct lh_tree *t, const struct lh_frame *frame, const uint8_t *payload)
{
    const char *why = NULL;

    switch (frame->type) {
    case LH_FRAME_WANTED:
        why = on_wanted(t, frame, payload);
        break;
    case LH_FRAME_SETTLED:
    case LH_FRAME_REMOVED:
        why = on_settled(t, frame, payload);
        break;
    case LH_FRAME_FAILED:
        why = on_failed(t, frame, payload);
        break;
    case LH_FRAME_DONE:
        t->done_heard = true;
        break;
    default:
        why = lh_tree_prune_names(t, frame, payload);
        break;
    }
    if (t->stage == LH_TREE_ENDING)
        return;
    if (why != NULL)
        lh_lane_broken(t->send, why);
    else
        lh_tree_step(t);
}
