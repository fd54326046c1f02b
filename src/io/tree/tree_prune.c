/* --delete: what the destination has and the source has not.
 *
 * Thread: main loop; the jobs are the prep threads', one at a time.
 *
 * Happy path: each directory of the source is listed at the destination -> names that no source has
 * and no rule excludes are doomed, and what is in doomed directories with them -> they are counted
 * -> removed, what is in a directory before it. Nothing is removed before all is known.
 * Failures: what a source has cannot be told, a directory cannot be read at the destination, or
 * there are more than may be removed: nothing is removed, in words. A directory in which something
 * is excluded stays, and so does what may be what was sent, where the destination takes names that
 * differ in case for one. */
#include "io/tree/tree_impl.h"
#include "util/text.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAY_MAX (1024u * 1024)  /* directories, about */
#define NAMES_MAX (1024u * 1024) /* bytes that wait to be judged; then no more is read */

/* ---- on a prep thread ---- */

static char *join(const char *dir, size_t dir_len, const uint8_t *name, size_t name_len)
{
    char *path = malloc(dir_len + name_len + 2);

    if (path == NULL)
        return NULL;
    memcpy(path, dir, dir_len);
    if (dir_len > 0)
        path[dir_len++] = '/';
    memcpy(path + dir_len, name, name_len);
    path[dir_len + name_len] = '\0';
    return path;
}

/* An entry that is doomed: kind, the place of the directory it is in, path. A directory among those
 * that are to be listed: its place, path. */
#define KIND_SIZE 1
#define PLACE_SIZE sizeof(uint64_t)

static int doom(struct lh_tree_prune *p, bool is_dir, uint64_t in, const char *path)
{
    uint8_t record[KIND_SIZE + PLACE_SIZE + LH_TREE_PATH_MAX];
    size_t len = strlen(path);
    uint64_t at;
    int r;

    if (len >= LH_TREE_PATH_MAX)
        return lh_err_set(&p->err, LH_E_PATH, "a path at the destination is too long");
    record[0] = is_dir ? LH_KIND_DIR : LH_KIND_FILE;
    memcpy(record + KIND_SIZE, &in, PLACE_SIZE);
    memcpy(record + KIND_SIZE + PLACE_SIZE, path, len + 1);
    r = lh_spill_append(&p->doomed, record, KIND_SIZE + PLACE_SIZE + len, &at, &p->err);
    if (r == 0 && is_dir) {
        memcpy(record + KIND_SIZE, &at, PLACE_SIZE);
        r = lh_spill_append(&p->todo, record + KIND_SIZE, PLACE_SIZE + len + 1, NULL, &p->err);
    }
    p->n_doomed++;
    return r;
}

/* Something in a directory is excluded: it stays, and so do those that it is in. */
static int stay(struct lh_tree_prune *p, uint64_t at)
{
    uint8_t *record = NULL;
    size_t len;
    int r = 0;

    while (r == 0 && at != LH_TREE_NOT_DOOMED && !lh_runs_has(&p->stay, at)) {
        if (record == NULL && (record = malloc(LH_SPILL_RECORD_MAX)) == NULL)
            return lh_err_set(&p->err, LH_E_NOMEM, "out of memory");
        if (lh_runs_add(&p->stay, at, at + 1) != 0)
            r = lh_err_set(&p->err, LH_E_NOMEM,
                           "something is excluded in too many directories that would go");
        else
            r = lh_spill_get(&p->doomed, at, record, &len, &p->err);
        if (r == 0) {
            memcpy(&at, record + KIND_SIZE, PLACE_SIZE);
            p->n_doomed--;
            p->n_stay++;
        }
    }
    free(record);
    return r;
}

static int judge(struct lh_tree *t, const struct lh_tree_names *names, uint8_t state, uint8_t kind,
                 const uint8_t *name, size_t name_len)
{
    struct lh_tree_prune *p = &t->prune;
    char *path = join(names->dir, names->dir_len, name, name_len);
    int r;

    if (path == NULL)
        return lh_err_set(&p->err, LH_E_NOMEM, "out of memory");
    r = lh_walk_has(t->walk, path, kind == LH_KIND_DIR, &p->err);
    if (r == LH_WALK_EXCLUDED)
        r = stay(p, names->doomed);
    else if (r == LH_WALK_THERE)
        r = 0;
    else if (r == LH_WALK_ABSENT && state == LH_NAMES_FOLD && names->doomed == LH_TREE_NOT_DOOMED) {
        /* What names that differ in case lead to may have been sent. */
        if (p->n_folded++ == 0) {
            p->folded = path;
            path = NULL;
        }
    } else if (r == LH_WALK_ABSENT)
        r = doom(p, kind == LH_KIND_DIR, names->doomed, path);
    free(path);
    return r;
}

static int judge_all(struct lh_tree *t, const struct lh_tree_names *names)
{
    struct lh_tree_prune *p = &t->prune;
    struct lh_names_reader reader;
    const char *why = NULL;
    const uint8_t *name;
    size_t name_len;
    uint8_t kind;
    int r = 0;

    if (lh_names_decode(names->payload, names->len, &reader, &why) != 0)
        return 0; /* it was checked when it came */
    if (reader.state == LH_NAMES_UNREAD) {
        char shown[300];

        lh_text_escape(shown, sizeof(shown), names->dir, names->dir_len);
        return lh_err_set(&p->err, LH_E_DEST, "%s cannot be read at the receiver",
                          names->dir_len > 0 ? shown : "the destination");
    }
    while (r == 0 && lh_names_next(&reader, &kind, &name, &name_len))
        r = judge(t, names, reader.state, kind, name, name_len);
    return r;
}

/* The next directory to be listed: 1 with *list, 0 when there is none, or -LH_E_*. */
static int next_dir(struct lh_tree *t, struct lh_tree_list *list)
{
    struct lh_tree_prune *p = &t->prune;
    struct lh_walk_entry e;
    const void *record = NULL;
    const char *path = NULL;
    size_t len;
    int r;

    list->doomed = LH_TREE_NOT_DOOMED;
    if (!lh_spill_empty(&p->todo)) {
        r = lh_spill_pop(&p->todo, &record, &len, &p->err);
        if (r != 0)
            return r;
        memcpy(&list->doomed, record, PLACE_SIZE);
        path = (const char *)record + PLACE_SIZE;
    } else if (!p->dirs_over) {
        /* What several sources have is listed for the first of them; what nobody looked into is not
         * judged. */
        do
            r = lh_walk_dirs_next(t->walk, &e, &p->err);
        while (r == LH_WALK_ENTRY &&
               (lh_walk_dir_is_shared(t->walk, &e) || lh_walk_dir_is_elsewhere(t->walk, &e)));
        p->dirs_over = r == LH_WALK_END;
        if (r < 0)
            return r;
        if (r == LH_WALK_ENTRY)
            path = e.path;
    }
    if (path == NULL)
        return 0;
    list->dir = strdup(path);
    return list->dir != NULL ? 1 : lh_err_set(&p->err, LH_E_NOMEM, "out of memory");
}

static void list_run(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, prune.job);
    struct lh_tree_prune *p = &t->prune;
    int r = 0;

    if (!p->begun)
        lh_walk_dirs_start(t->walk);
    p->begun = true;
    for (struct lh_tree_names *n = p->at_work; n != NULL && r == 0; n = n->next)
        r = judge_all(t, n);
    p->n_dirs = 0;
    while (r >= 0 && p->n_dirs < p->n_room) {
        r = next_dir(t, &p->dirs[p->n_dirs]);
        if (r <= 0)
            break;
        p->n_dirs++;
    }
    p->over = p->dirs_over && lh_spill_empty(&p->todo);
}

/* What is doomed, the last first. */
static void remove_run(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, prune.job);
    struct lh_tree_prune *p = &t->prune;

    if (!p->reading)
        lh_spill_reader_init(&p->reader, &p->doomed);
    p->reading = true;
    lh_tree_batch_init(&t->batch);
    while (!lh_tree_batch_full(&t->batch)) {
        struct lh_walk_entry e = {.link = ""};
        const void *record;
        size_t len;
        int r = lh_spill_read(&p->reader, &record, &len, &t->batch.err);

        t->batch.over = r <= 0;
        if (r <= 0)
            break;
        if (lh_runs_has(&p->stay, p->reader.at))
            continue;
        e.kind = *(const uint8_t *)record;
        e.path = (const char *)record + KIND_SIZE + PLACE_SIZE;
        e.path_len = len - KIND_SIZE - PLACE_SIZE;
        if (lh_tree_batch_add(&t->batch, &e) == NULL)
            break;
    }
}

/* ---- main loop: listing ---- */

static void free_names(struct lh_tree_names *names)
{
    while (names != NULL) {
        struct lh_tree_names *next = names->next;

        free(names->dir);
        free(names);
        names = next;
    }
}

static void ask(struct lh_tree *t, struct lh_tree_list *list)
{
    list->tag = t->prune.tag++;
    lh_lane_tell(
        t->send, LH_FRAME_LIST, 0, t->frame,
        lh_list_encode(list->tag, (const uint8_t *)list->dir, strlen(list->dir), t->frame));
}

static void ask_next(struct lh_tree *t)
{
    struct lh_tree_prune *p = &t->prune;
    unsigned k = 0;

    for (unsigned i = 0; i < LH_TREE_LISTS && k < p->n_dirs; i++) {
        if (p->asked[i].dir != NULL)
            continue;
        p->asked[i] = p->dirs[k++];
        p->n_asked++;
        if (lh_lane_taken(t->send)) /* else all are asked anew when it is */
            ask(t, &p->asked[i]);
    }
    p->n_dirs = 0;
}

static void give_up(struct lh_tree *t, int status, const char *text)
{
    t->prune.given_up = true;
    lh_lane_pause(t->send, false);
    lh_tree_failed(t, "", 0, status, text);
    if (t->stage != LH_TREE_ENDING)
        lh_tree_dress_start(t);
}

static void on_listed(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, prune.job);
    struct lh_tree_prune *p = &t->prune;

    p->busy = false;
    free_names(p->at_work);
    p->at_work = NULL;
    if (t->stage == LH_TREE_ENDING) {
        lh_tree_maybe_end(t);
        return;
    }
    if (p->err.status != 0) {
        char text[600];

        snprintf(text, sizeof(text), "nothing is removed: %s", p->err.text);
        give_up(t, p->err.status, text);
        return;
    }
    ask_next(t);
    lh_tree_step(t);
}

static void count_doomed(struct lh_tree *t)
{
    struct lh_tree_prune *p = &t->prune;
    char text[200];

    if (p->n_doomed > t->opts.max_removed) {
        snprintf(text, sizeof(text),
                 "nothing is removed: it would be %llu entries, and at most %llu may be",
                 (unsigned long long)p->n_doomed, (unsigned long long)t->opts.max_removed);
        give_up(t, LH_E_REFUSED, text);
        return;
    }
    if (p->n_folded > 0) {
        snprintf(text, sizeof(text),
                 "%llu entries like this one are not removed: names that differ in case are one "
                 "in its directory, and it may be what was sent",
                 (unsigned long long)p->n_folded);
        lh_tree_failed(t, p->folded, 0, LH_E_REFUSED, text);
    }
    if (p->n_stay > 0)
        lh_log(&t->log, LH_LOG_INFO, "%llu directories stay, as something in them is excluded",
               (unsigned long long)p->n_stay);
    t->stage = LH_TREE_REMOVING;
    t->walk_over = false; /* of this batch by batch */
}

static void list_more(struct lh_tree *t)
{
    struct lh_tree_prune *p = &t->prune;

    if (p->busy)
        return;
    p->n_room = LH_TREE_LISTS - p->n_asked;
    if (p->names == NULL && (p->over || p->n_room == 0)) {
        if (p->over && p->n_asked == 0)
            count_doomed(t);
        return;
    }
    p->at_work = p->names;
    p->names = NULL;
    p->names_end = &p->names;
    p->names_bytes = 0;
    lh_lane_pause(t->send, false);
    p->busy = true;
    lh_worker_submit(&t->engine->prep, &p->job, list_run, on_listed, &t->engine->mbox);
}

const char *lh_tree_prune_names(struct lh_tree *t, const struct lh_frame *frame,
                                const uint8_t *payload)
{
    struct lh_tree_prune *p = &t->prune;
    struct lh_tree_list *list = NULL;
    struct lh_names_reader reader;
    struct lh_tree_names *names;
    const char *why = NULL;

    if (p->given_up) /* others that were asked for are still coming */
        return NULL;
    if (lh_names_decode(payload, frame->length, &reader, &why) != 0)
        return why;
    for (unsigned i = 0; i < LH_TREE_LISTS && list == NULL; i++)
        if (p->asked[i].dir != NULL && p->asked[i].tag == reader.tag)
            list = &p->asked[i];
    if (list == NULL || t->stage != LH_TREE_LISTING)
        return "NAMES of a directory that was not asked for";
    names = malloc(sizeof(*names) + frame->length);
    if (names == NULL || (names->dir = strdup(list->dir)) == NULL) {
        free(names);
        lh_tree_end(t, LH_E_NOMEM, "out of memory");
        return NULL;
    }
    names->next = NULL;
    names->dir_len = strlen(names->dir);
    names->doomed = list->doomed;
    names->len = frame->length;
    memcpy(names->payload, payload, frame->length);
    *p->names_end = names;
    p->names_end = &names->next;
    p->names_bytes += sizeof(*names) + names->dir_len + frame->length;
    if (p->names_bytes >= NAMES_MAX)
        lh_lane_pause(t->send, true);
    if (frame->flags & LH_FRAME_LAST) {
        free(list->dir);
        list->dir = NULL;
        p->n_asked--;
    }
    return NULL;
}

/* ---- main loop: removing ---- */

static void on_removals(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, prune.job);

    t->prune.busy = false;
    lh_tree_batch_take(t);
}

static void remove_more(struct lh_tree *t)
{
    struct lh_tree_prune *p = &t->prune;

    lh_tree_tell(t);
    if (p->busy)
        return;
    if (t->walk_over) {
        if (t->n_items == 0)
            lh_tree_dress_start(t);
        return;
    }
    if (!lh_tree_table_room(t, LH_TREE_BATCH) || t->n_items > 8 * LH_TREE_BATCH)
        return;
    p->busy = true;
    lh_worker_submit(&t->engine->prep, &p->job, remove_run, on_removals, &t->engine->mbox);
}

/* ---- what others see ---- */

static const char *why_not(const struct lh_tree *t)
{
    if (t->numbers.empty_root)
        return "nothing is removed: a source directory is empty";
    if (t->numbers.n_failed > 0)
        return "nothing is removed: not all of the source could be read";
    if (t->stats.failed > 0)
        return "nothing is removed: not everything could be moved";
    return NULL;
}

void lh_tree_prune_start(struct lh_tree *t)
{
    struct lh_tree_prune *p = &t->prune;

    if (why_not(t) != NULL) {
        give_up(t, LH_E_REFUSED, why_not(t));
        return;
    }
    t->stage = LH_TREE_LISTING;
    lh_spill_init(&p->doomed);
    lh_spill_init(&p->todo);
    lh_runs_init(&p->stay, STAY_MAX);
    p->spills = true;
    p->names_end = &p->names;
    list_more(t);
}

void lh_tree_prune_step(struct lh_tree *t)
{
    if (t->stage == LH_TREE_LISTING)
        list_more(t);
    if (t->stage == LH_TREE_REMOVING)
        remove_more(t);
}

void lh_tree_prune_anew(struct lh_tree *t)
{
    for (unsigned i = 0; i < LH_TREE_LISTS; i++)
        if (t->prune.asked[i].dir != NULL)
            ask(t, &t->prune.asked[i]);
}

void lh_tree_prune_free(struct lh_tree *t)
{
    struct lh_tree_prune *p = &t->prune;

    free_names(p->names);
    for (unsigned i = 0; i < LH_TREE_LISTS; i++)
        free(p->asked[i].dir);
    for (unsigned i = 0; i < p->n_dirs; i++)
        free(p->dirs[i].dir);
    free(p->folded);
    if (p->reading)
        lh_spill_reader_free(&p->reader);
    if (p->spills) {
        lh_spill_free(&p->doomed);
        lh_spill_free(&p->todo);
        lh_runs_free(&p->stay);
    }
}
