/* What a target of a tree has besides that of a file: entries, lists, removal, what is settled.
 *
 * Thread: main loop; its jobs run on an opener (FILES, LIST, OWNERS) and on the committer (ATTRS,
 * REMOVE).
 *
 * Happy path: frames queue up, also before the tree is open -> one job after the other answers them
 * in order: WANTED, NAMES, REMOVED, each behind the FAILED of its own -> commits bring SETTLED.
 * ATTRS wait until no contents are to come, FINISH until the queue is empty as well.
 *
 * Failures: of an entry: FAILED. Of the tree: the target's. A sender that is faster than the disk
 * is not read for a while. */
#include "io/recv/recv.h"
#include "util/mutant.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 64 /* frames; then the control connection is not read */
#define QUEUE_LOW 16
#define NAMES_OUT_MAX (4u * 1024 * 1024) /* bytes on their way out; then a list waits */

/* A frame that waits for its answer. */
struct asked {
    struct asked *next;
    struct lh_target *target; /* while a job is at it */
    uint16_t type;
    bool last;
    bool counted;  /* in what all trees share */
    uint32_t skip; /* entries that are answered already */
    uint32_t length;
    uint8_t payload[];
};

struct lh_target_tree {
    struct lh_rtree *rtree;
    struct lh_quota *memory;
    struct asked *head;
    struct asked **end;
    unsigned n_queued;
    bool paused;
    bool busy;    /* a job is at the head of the queue */
    bool starved; /* the head waits for a commit */
    unsigned n_commits;
    unsigned n_commits_before; /* the job at hand */
    bool slow;                 /* the head is a list that nobody reads */
    struct lh_job job;
    int result;
    struct lh_err err;
    struct lh_rtree_answers answers;
    struct lh_rtree_trouble *troubles;
    struct lh_runs gone;
    struct lh_rtree_list *list;
    uint8_t *names;
    size_t names_len;
    bool names_last;
};

static void pump(struct lh_target *t);

bool lh_target_tree_new(struct lh_target *t)
{
    t->tree = calloc(1, sizeof(*t->tree));
    if (t->tree == NULL)
        return false;
    t->tree->end = &t->tree->head;
    t->tree->memory = &t->serve->tree_memory;
    lh_runs_init(&t->tree->gone, LH_RUNS_MAX);
    return true;
}

static void pop(struct lh_target_tree *tree)
{
    struct asked *a = tree->head;

    if (a->counted)
        lh_quota_give(tree->memory, sizeof(*a) + a->length);
    tree->head = a->next;
    if (tree->head == NULL)
        tree->end = &tree->head;
    tree->n_queued--;
    free(a);
}

/* rtree itself is the store's to close. */
void lh_target_tree_free(struct lh_target *t)
{
    if (t->tree == NULL)
        return;
    while (t->tree->head != NULL)
        pop(t->tree);
    lh_rtree_list_close(t->tree->list);
    lh_runs_free(&t->tree->gone);
    free(t->tree->names);
    free(t->tree);
}

void lh_target_tree_open(struct lh_target *t)
{
    struct lh_rtree_open how = {
        .root = t->serve->root,
        .path = t->path,
        .path_len = t->offer.path_len,
        .flags = t->offer.flags,
        .keep = t->offer.keep,
        .allow = t->serve->opts.allow,
        .block_bytes = t->offer.block_bytes,
        .epoch = 1,
        .memory = &t->serve->tree_memory,
        .max_pending = (size_t)(2 * LH_WINDOW_BYTES / t->offer.block_bytes),
    };

    if (lh_rtree_open(&how, &t->tree->rtree, &t->opened.dev, &t->err) != 0)
        return;
    t->opened.epoch = how.epoch;
    memcpy(t->opened.transfer_id, &t->key, sizeof(t->opened.transfer_id));
    t->store = lh_rtree_store(t->tree->rtree);
}

/* ---- telling ---- */

static void send_failed(struct lh_target *t, uint32_t entry, int status, const char *text)
{
    struct lh_tree_failed failed = {
        .entry = entry, .code = lh_wire_of_status(status), .text = text, .text_len = strlen(text)};
    uint8_t payload[LH_ERROR_TEXT_MAX + 64];

    if (failed.text_len > LH_ERROR_TEXT_MAX)
        failed.text_len = LH_ERROR_TEXT_MAX;
    lh_rsession_send(t->session, LH_FRAME_FAILED, 0, t, payload,
                     lh_tree_failed_encode(&failed, payload));
}

static struct lh_rtree_trouble *reversed(struct lh_rtree_trouble *list)
{
    struct lh_rtree_trouble *out = NULL;

    while (list != NULL) {
        struct lh_rtree_trouble *next = list->next;

        list->next = out;
        out = list;
        list = next;
    }
    return out;
}

/* Takes the list, in which the last is the first. */
static void send_troubles(struct lh_target *t, struct lh_rtree_trouble *list)
{
    list = reversed(list);
    for (const struct lh_rtree_trouble *one = list; one != NULL; one = one->next) {
        lh_log(&t->serve->log, LH_LOG_DEBUG, "entry failed tree=%s error=\"%s\"", t->store->shown,
               one->text);
        if (t->session != NULL)
            send_failed(t, one->entry, one->status, one->text);
    }
    lh_rtree_troubles_free(list);
}

void lh_target_tree_committed(struct lh_target *t)
{
    struct lh_rtree_trouble *troubles;
    struct lh_runs settled;

    lh_runs_init(&settled, LH_RUNS_MAX);
    lh_rtree_take(t->tree->rtree, &settled, &troubles);
    send_troubles(t, troubles);
    if (settled.n > 0 && t->session != NULL)
        lh_rsession_send_runs(t->session, LH_FRAME_SETTLED, 0, t, &settled);
    lh_runs_free(&settled);
    t->tree->starved = false;
    t->tree->n_commits++;
    pump(t);
}

/* ---- answers ---- */

static void send_wanted(struct lh_target *t, bool last)
{
    struct lh_target_tree *tree = t->tree;
    uint8_t *payload = malloc(tree->answers.n + 8);
    int due;

    send_troubles(t, tree->answers.troubles);
    tree->answers.troubles = NULL;
    if (payload != NULL && t->session != NULL && tree->answers.n > 0)
        lh_rsession_send(
            t->session, LH_FRAME_WANTED, 0, t, payload,
            lh_wanted_encode(tree->answers.first, tree->answers.v, tree->answers.n, payload));
    if (payload == NULL)
        lh_err_set(&tree->err, LH_E_NOMEM, "out of memory");
    free(payload);
    due = lh_rtree_asked(tree->rtree, &tree->answers, last);
    if (due > 0)
        lh_committer_wrote(t->committer, 1, due > 1);
}

/* The job at the head is done. Whether the head is answered. */
static bool answer(struct lh_target *t, struct asked *a)
{
    struct lh_target_tree *tree = t->tree;

    switch (a->type) {
    case LH_FRAME_FILES:
        /* A commit since then has made room, and no other may come. */
        tree->starved = tree->result > 0 && tree->n_commits == tree->n_commits_before;
        a->skip += tree->answers.n;
        send_wanted(t, a->last && tree->result == 0);
        lh_rtree_answers_free(&tree->answers);
        memset(&tree->answers, 0, sizeof(tree->answers));
        return tree->result <= 0;
    case LH_FRAME_LIST:
        if (tree->err.status == 0 && t->session != NULL)
            lh_rsession_send(t->session, LH_FRAME_NAMES, tree->names_last ? LH_FRAME_LAST : 0, t,
                             tree->names, tree->names_len);
        return tree->names_last || tree->err.status != 0;
    case LH_FRAME_REMOVE:
        send_troubles(t, tree->troubles);
        if (tree->err.status == 0 && t->session != NULL)
            lh_rsession_send_runs(t->session, LH_FRAME_REMOVED, 0, t, &tree->gone);
        lh_runs_clear(&tree->gone);
        break;
    default:
        send_troubles(t, tree->troubles);
    }
    tree->troubles = NULL;
    return true;
}

static void on_answered(struct lh_job *job)
{
    struct lh_target_tree *tree = LH_CONTAINER_OF(job, struct lh_target_tree, job);
    struct asked *a = tree->head;
    struct lh_target *t = a->target;

    tree->busy = false;
    if (t->session != NULL)
        lh_ctl_cork(&t->session->ctl);
    if (answer(t, a))
        pop(tree);
    if (t->session != NULL)
        lh_ctl_uncork(&t->session->ctl);
    if (tree->err.status != 0)
        lh_target_fail(t, &tree->err);
    if (tree->paused && tree->n_queued <= QUEUE_LOW && t->session != NULL) {
        tree->paused = false;
        lh_ctl_pause(&t->session->ctl, false);
    }
    pump(t);
    lh_target_maybe_finish(t);
    lh_target_unref(t);
}

/* ---- jobs ---- */

static void files_run(struct lh_job *job)
{
    struct lh_target_tree *tree = LH_CONTAINER_OF(job, struct lh_target_tree, job);
    const struct asked *a = tree->head;

    tree->result =
        lh_rtree_ask(tree->rtree, a->payload, a->length, a->skip, &tree->answers, &tree->err);
}

static void owners_run(struct lh_job *job)
{
    struct lh_target_tree *tree = LH_CONTAINER_OF(job, struct lh_target_tree, job);
    const struct asked *a = tree->head;

    lh_rtree_owners(tree->rtree, a->payload, a->length, &tree->err);
}

static void attrs_run(struct lh_job *job)
{
    struct lh_target_tree *tree = LH_CONTAINER_OF(job, struct lh_target_tree, job);
    const struct asked *a = tree->head;

    lh_rtree_attrs(tree->rtree, a->payload, a->length, &tree->troubles, &tree->err);
}

static void remove_run(struct lh_job *job)
{
    struct lh_target_tree *tree = LH_CONTAINER_OF(job, struct lh_target_tree, job);
    const struct asked *a = tree->head;

    lh_rtree_remove(tree->rtree, a->payload, a->length, &tree->gone, &tree->troubles, &tree->err);
}

/* A frame of a list, which is opened for the first one and closed behind the last. */
static void list_run(struct lh_job *job)
{
    struct lh_target_tree *tree = LH_CONTAINER_OF(job, struct lh_target_tree, job);
    const struct asked *a = tree->head;
    const char *why = NULL;
    const uint8_t *path;
    size_t path_len;
    uint32_t tag;

    if (tree->names == NULL && (tree->names = malloc(LH_CONTROL_MAX)) == NULL) {
        lh_err_set(&tree->err, LH_E_NOMEM, "out of memory");
        return;
    }
    if (tree->list == NULL) {
        if (lh_list_decode(a->payload, a->length, &tag, &path, &path_len, &why) != 0) {
            lh_err_set(&tree->err, LH_E_PROTOCOL, "%s", why);
            return;
        }
        if (lh_rtree_list_open(tree->rtree, tag, path, path_len, &tree->list, &tree->err) != 0)
            return;
    }
    tree->names_len = lh_rtree_list_next(tree->list, tree->names, &tree->names_last);
    if (tree->names_last) {
        lh_rtree_list_close(tree->list);
        tree->list = NULL;
    }
}

/* What is set last waits for all contents: a rename changes its directory. */
static bool too_early(const struct lh_target_tree *tree, const struct asked *a)
{
    return a->type == LH_FRAME_ATTRS && lh_rtree_awaits(tree->rtree) && !lh_mutant("dirs-early");
}

/* Begin with the head of the queue. */
static void pump(struct lh_target *t)
{
    struct lh_target_tree *tree = t->tree;
    struct asked *a = tree->head;

    if (tree->busy || tree->starved || a == NULL || t->state != LH_TARGET_OPEN ||
        t->session == NULL || too_early(tree, a))
        return;
    tree->slow = a->type == LH_FRAME_LIST && lh_buf_len(&t->session->ctl.out) > NAMES_OUT_MAX;
    if (tree->slow)
        return;
    tree->busy = true;
    tree->n_commits_before = tree->n_commits;
    a->target = t;
    memset(&tree->err, 0, sizeof(tree->err));
    atomic_fetch_add(&t->refs, 1);
    if (a->type == LH_FRAME_ATTRS || a->type == LH_FRAME_REMOVE)
        lh_committer_submit(t->committer, &tree->job,
                            a->type == LH_FRAME_ATTRS ? attrs_run : remove_run, on_answered,
                            &t->serve->mbox);
    else
        lh_worker_submit(&t->serve->opener, &tree->job,
                         a->type == LH_FRAME_FILES  ? files_run
                         : a->type == LH_FRAME_LIST ? list_run
                                                    : owners_run,
                         on_answered, &t->serve->mbox);
}

/* ---- what comes ---- */

void lh_target_tree_frame(struct lh_target *t, const struct lh_frame *frame, const uint8_t *payload)
{
    struct lh_target_tree *tree = t->tree;
    struct asked *a;

    if (frame->type != LH_FRAME_FILES && frame->type != LH_FRAME_LIST &&
        frame->type != LH_FRAME_ATTRS && frame->type != LH_FRAME_REMOVE &&
        frame->type != LH_FRAME_OWNERS) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, "a frame that no tree has");
        return;
    }
    if (t->have_finish || t->done) {
        lh_rsession_end(t->session, LH_WIRE_PROTOCOL, "entries behind FINISH");
        return;
    }
    a = malloc(sizeof(*a) + frame->length);
    if (a == NULL) {
        lh_rsession_end(t->session, LH_WIRE_INTERNAL, "the receiver is out of memory");
        return;
    }
    *a = (struct asked){
        .type = frame->type, .last = frame->flags & LH_FRAME_LAST, .length = frame->length};
    memcpy(a->payload, payload, frame->length);
    *tree->end = a;
    tree->end = &a->next;
    a->counted = lh_quota_take(tree->memory, sizeof(*a) + frame->length);
    tree->n_queued++;
    if (tree->n_queued >= QUEUE_MAX ||
        (!a->counted && tree->n_queued > 1)) { /* again: another tree of the session may read on */
        tree->paused = true;
        lh_ctl_pause(&t->session->ctl, true);
    }
    pump(t);
}

void lh_target_tree_opened(struct lh_target *t)
{
    pump(t);
    lh_target_maybe_finish(t);
}

bool lh_target_tree_idle(const struct lh_target *t)
{
    return t->tree->head == NULL && !lh_rtree_awaits(t->tree->rtree);
}

void lh_target_tree_tick(struct lh_target *t)
{
    if (t->tree->slow)
        pump(t);
}

/* Others in this session are to be heard again. */
void lh_target_tree_let_go(struct lh_target *t, struct lh_rsession *session)
{
    if (t->tree->paused && session != NULL)
        lh_ctl_pause(&session->ctl, false);
    t->tree->paused = false;
}

/* ---- the end ---- */

int lh_target_tree_finish(struct lh_target *t, struct lh_err *err)
{
    return lh_rtree_finish(t->tree->rtree, err);
}

/* What could not be kept is said once. words: behind the number. */
static void say_not_kept(struct lh_target *t, uint64_t n, const char *words)
{
    char text[200];

    if (n == 0)
        return;
    snprintf(text, sizeof(text), "%llu %s", (unsigned long long)n, words);
    lh_log(&t->serve->log, LH_LOG_WARN, "tree=%s error=\"%s\"", t->store->shown, text);
    if (t->session != NULL)
        send_failed(t, LH_TREE_NO_ENTRY, LH_E_DEST, text);
}

void lh_target_tree_send_done(struct lh_target *t)
{
    struct lh_rtree_stats stats;
    struct lh_done done = {0};
    uint8_t payload[64];
    char text[64];

    lh_rtree_stats(t->tree->rtree, &stats);
    done.bytes = stats.bytes;
    say_not_kept(t, stats.not_kept,
                 "owners, modes or extended attributes could not be set at the receiver");
    say_not_kept(t, stats.n_owners,
                 "entries belong to the receiver's own user: it permits no owners (--allow owner)");
    say_not_kept(
        t, stats.n_set_id,
        "files have no set-user-id or set-group-id bits: the receiver does not permit them "
        "(--allow set-id)");
    say_not_kept(t, stats.n_security,
                 "extended attributes security.* or trusted.* were left out: the receiver does not "
                 "permit them (--allow security)");
    say_not_kept(t, stats.not_asked,
                 "names of owners could not be looked up at the receiver: numbers were kept");
    lh_log(&t->serve->log, LH_LOG_INFO,
           "done tree=%s files=%llu bytes=%llu made=%llu kept=%llu failed=%llu removed=%llu",
           t->store->shown, (unsigned long long)stats.files, (unsigned long long)stats.bytes,
           (unsigned long long)stats.made, (unsigned long long)stats.kept,
           (unsigned long long)stats.failed, (unsigned long long)stats.removed);
    if (t->session != NULL)
        lh_rsession_send(t->session, LH_FRAME_DONE, 0, t, payload, lh_done_encode(&done, payload));
    snprintf(text, sizeof(text), "%llu file%s", (unsigned long long)stats.files,
             stats.files == 1 ? "" : "s");
    if (t->serve->cbs.received != NULL && !(t->offer.flags & LH_OFFER_DRY_RUN))
        t->serve->cbs.received(t->serve->cbs.arg, t->store->shown, stats.bytes, text);
}
