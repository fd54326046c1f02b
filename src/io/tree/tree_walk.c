/* The sources of a tree, walked a batch of entries at a time; what they give goes into the table.
 *
 * Thread: main loop; the jobs are the prep threads', one at a time.
 *
 * Happy path: open -> a batch -> into the table -> the next, while there is room -> over. Failures:
 * what cannot be read is told of, and the rest goes on; a walk that fails itself ends the tree. */
#include "io/disk/disk.h"
#include "io/tree/tree_impl.h"
#include "util/clock.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASH_BYTES (64ull * 1024 * 1024) /* of a batch with --checksum, about */
#define READ_BYTES (256u * 1024)

/* ---- batches ---- */

void lh_tree_batch_init(struct lh_tree_batch *b)
{
    memset(b, 0, sizeof(*b));
    b->end = &b->first;
    b->troubles_end = &b->troubles;
}

void lh_tree_batch_free(struct lh_tree_batch *b)
{
    while (b->first != NULL) {
        struct lh_item *item = b->first;

        b->first = item->next;
        lh_item_drop(item);
    }
    while (b->troubles != NULL) {
        struct lh_tree_trouble *trouble = b->troubles;

        b->troubles = trouble->next;
        free(trouble);
    }
}

static void out_of_memory(struct lh_tree_batch *b)
{
    lh_err_set(&b->err, LH_E_NOMEM, "out of memory");
}

static void add_trouble(struct lh_tree_batch *b, const char *path, size_t path_len,
                        const struct lh_err *err)
{
    struct lh_tree_trouble *trouble = malloc(sizeof(*trouble) + path_len + 1);

    if (trouble == NULL) {
        out_of_memory(b);
        return;
    }
    trouble->next = NULL;
    trouble->status = err->status;
    memcpy(trouble->text, err->text, sizeof(trouble->text));
    memcpy(trouble->path, path, path_len);
    trouble->path[path_len] = '\0';
    *b->troubles_end = trouble;
    b->troubles_end = &trouble->next;
    b->bytes += sizeof(*trouble) + path_len; /* they may be all that there is */
}

/* ---- on a prep thread ---- */

static void open_run(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, walk_job);

    lh_tree_batch_init(&t->batch);
    (void)lh_walk_open(&t->opts, &t->walk, &t->batch.err);
}

/* Of all contents, for --checksum. That the file is the same afterwards is looked at when its
 * contents are sent. */
static int hash_file(struct lh_tree *t, struct lh_item *item, uint8_t *buffer,
                     struct lh_digest *digest, struct lh_err *err)
{
    uint64_t size = item->identity.size;
    uint64_t at = 0;
    size_t got = 1;
    int fd;
    int e = 0;
    int r = lh_walk_open_file(t->walk, item->source, item->path, &fd, NULL, err);

    if (r != 0)
        return r;
    /* Whatever is there now, it may have no end. */
    while (e == 0 && got > 0 && at <= size && !atomic_load(&t->ending)) {
        e = lh_disk_read(fd, buffer, READ_BYTES, at, &got);
        if (e == 0)
            lh_digest_bytes(digest, buffer, got);
        at += got;
    }
    close(fd);
    if (e != 0)
        return lh_err_sys(err, LH_E_SOURCE, e, "it cannot be read");
    lh_digest_end(digest, &item->hash);
    item->has_hash = true;
    return 0;
}

static int hash_item(struct lh_tree *t, struct lh_item *item, struct lh_err *err)
{
    struct lh_digest *digest = lh_digest_new();
    uint8_t *buffer = malloc(READ_BYTES);
    int r;

    if (digest == NULL || buffer == NULL)
        r = lh_err_set(err, LH_E_NOMEM, "out of memory");
    else
        r = hash_file(t, item, buffer, digest, err);
    free(buffer);
    lh_digest_free(digest);
    return r;
}

struct lh_item *lh_tree_batch_add(struct lh_tree_batch *b, const struct lh_walk_entry *e)
{
    struct lh_item *item = lh_item_new(e);

    if (item == NULL) {
        out_of_memory(b);
        return NULL;
    }
    *b->end = item;
    b->end = &item->next;
    b->n++;
    b->bytes += (size_t)item->path_len + item->link_len + item->xattrs_len;
    return item;
}

bool lh_tree_batch_full(const struct lh_tree_batch *b)
{
    return b->n >= LH_TREE_BATCH || b->bytes >= LH_TREE_BATCH_BYTES;
}

static void add_entry(struct lh_tree *t, const struct lh_walk_entry *e, uint64_t *hashed)
{
    struct lh_tree_batch *b = &t->batch;
    struct lh_item **at = b->end;
    struct lh_item *item = lh_tree_batch_add(b, e);
    struct lh_err err = {0};

    if (item != NULL && lh_tree_owners_note(&t->owners, e->uid, e->gid) != 0)
        out_of_memory(b);
    if (item == NULL || !t->opts.checksum || item->kind != LH_KIND_FILE)
        return;
    *hashed += item->identity.size;
    if (hash_item(t, item, &err) == 0)
        return;
    add_trouble(b, e->path, e->path_len, &err);
    *at = NULL;
    b->end = at;
    b->n--;
    lh_item_drop(item);
}

static void walk_run(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, walk_job);
    struct lh_tree_batch *b = &t->batch;
    struct lh_walk_entry e;
    uint64_t start_us = lh_now_us();
    uint64_t hashed = 0;

    lh_tree_batch_init(b);
    while (!lh_tree_batch_full(b) && hashed < HASH_BYTES && b->err.status == 0 &&
           !atomic_load(&t->ending) && (b->bytes == 0 || !lh_walk_waits(t->walk))) {
        struct lh_err err = {0};
        int r = lh_walk_next(t->walk, &e, &err);

        if (r == LH_WALK_ENTRY) {
            add_entry(t, &e, &hashed);
        } else if (r == LH_WALK_FAILED) {
            add_trouble(b, e.path, e.path_len, &err);
        } else if (r != LH_WALK_NOTHING) {
            b->over = true;
            if (r < 0)
                b->err = err;
            break;
        }
    }
    atomic_fetch_add_explicit(&t->engine->hashing_us, lh_now_us() - start_us, memory_order_relaxed);
}

/* ---- main loop ---- */

static void take_item(struct lh_tree *t, struct lh_item *item)
{
    if (t->stage == LH_TREE_REMOVING && t->opts.dry_run) {
        lh_tree_became(t, LH_TREE_REMOVED, item);
        lh_item_drop(item);
        return;
    }
    if (item->kind == LH_KIND_FILE && t->stage == LH_TREE_MOVING) {
        t->stats.files_total++;
        t->bytes_found += item->identity.size;
    }
    lh_tree_table_put(t, item);
}

static void take(struct lh_tree *t, struct lh_tree_batch *b)
{
    while (b->troubles != NULL) {
        struct lh_tree_trouble *trouble = b->troubles;

        b->troubles = trouble->next;
        lh_tree_failed(t, trouble->path, 0, trouble->status, trouble->text);
        free(trouble);
    }
    while (b->first != NULL && t->stage != LH_TREE_ENDING) {
        struct lh_item *item = b->first;

        b->first = item->next;
        item->next = NULL;
        take_item(t, item);
    }
    lh_tree_batch_free(b);
}

void lh_tree_batch_take(struct lh_tree *t)
{
    struct lh_tree_batch b = t->batch;

    memset(&t->batch, 0, sizeof(t->batch));
    if (t->stage == LH_TREE_ENDING) {
        lh_tree_batch_free(&b);
        lh_tree_maybe_end(t);
        return;
    }
    t->walk_over = b.over;
    take(t, &b);
    if (b.err.status != 0)
        lh_tree_end(t, b.err.status, b.err.text);
    else
        lh_tree_step(t);
}

static void on_batch(struct lh_job *job)
{
    struct lh_tree *t = LH_CONTAINER_OF(job, struct lh_tree, walk_job);

    t->walk_busy = false;
    if (t->batch.over) {
        lh_walk_numbers(t->walk, &t->numbers);
        t->stats.skipped_special = t->numbers.n_specials;
        if (t->numbers.n_half > 0)
            lh_log(&t->log, LH_LOG_WARN, "%llu files of something half received were left out",
                   (unsigned long long)t->numbers.n_half);
    }
    if (lh_tree_owners_take(t) != 0)
        out_of_memory(&t->batch);
    lh_tree_batch_take(t);
}

void lh_tree_walk_more(struct lh_tree *t)
{
    if (t->walk_busy || t->walk_over || t->stage != LH_TREE_MOVING ||
        t->n_bigs >= LH_TREE_BIGS_MAX || !lh_tree_table_room(t, LH_TREE_BATCH))
        return;
    t->walk_busy = true;
    lh_worker_submit(&t->engine->prep, &t->walk_job, walk_run, on_batch, &t->engine->mbox);
}

void lh_tree_walk_open(struct lh_tree *t)
{
    t->walk_busy = true;
    lh_worker_submit(&t->engine->prep, &t->walk_job, open_run, lh_tree_opened, &t->engine->mbox);
}
