/* Contents of small files, cut into packs in the order in which they are wanted.
 *
 * Thread: main loop; packs are made by prep threads (packs.c), which open files here.
 *
 * A file that fits into a pack lies in one. A larger one is cut into full packs, and its end lies
 * with others. The last pack waits for more to be wanted, but not while a stream has nothing to do.
 */
#include "io/tree/tree_impl.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096u
#define MIDDLE_BYTES (1u << 20) /* above it a file is cut into whole packs at once */

/* ---- filling ---- */

void lh_tree_pack_reset(struct lh_tree *t)
{
    t->n_parts = 0;
    t->part_bytes = LH_PACK_HEAD;
}

bool lh_tree_flush(struct lh_tree *t)
{
    if (t->n_parts == 0 || !lh_lane_taken(t->send))
        return false;
    if (lh_packs_add(t->lane.packs, t->parts, t->n_parts) != 0) {
        lh_tree_end(t, LH_E_NOMEM, "out of memory");
        return false;
    }
    lh_tree_pack_reset(t);
    lh_lane_grow(t->send, 1);
    return t->stage != LH_TREE_ENDING;
}

/* Over a long path small at first: many streams are to have something soon, and at the end of a
 * small tree the others wait for what one has. */
static uint32_t pack_bytes(const struct lh_tree *t)
{
    bool small = t->packed_bytes < LH_TREE_BRIEF_BYTES && lh_lane_brief(t->send);

    return small ? LH_BLOCK_MIN : t->opts.send.block_bytes;
}

/* Bytes of contents that one more part may have. */
static uint32_t room(const struct lh_tree *t)
{
    uint32_t used = t->part_bytes + LH_PART_SIZE;
    uint32_t most = pack_bytes(t);

    return used < most ? most - used : 0;
}

static void add_part(struct lh_tree *t, struct lh_item *item, uint64_t offset, uint32_t length)
{
    t->parts[t->n_parts++] =
        (struct lh_packs_part){.item = item, .offset = offset, .length = length};
    t->part_bytes += LH_PART_SIZE + length;
    t->packed_bytes += length;
    if (t->n_parts == LH_PACKS_PARTS)
        lh_tree_flush(t);
}

void lh_tree_pack(struct lh_tree *t, struct lh_item *item)
{
    uint64_t size = item->identity.size;
    uint64_t offset = 0;
    /* What fills many packs is no small file, and the receiver counts its parts. */
    uint32_t most = (size > MIDDLE_BYTES ? t->opts.send.block_bytes : pack_bytes(t)) -
                    LH_PACK_HEAD - LH_PART_SIZE;

    most -= most % PAGE_BYTES; /* so that a hole is whole pages wherever its file is cut */
    do {
        uint64_t left = size - offset;
        uint32_t length = left < most ? (uint32_t)left : most;

        if (length > room(t) || room(t) == 0)
            lh_tree_flush(t);
        add_part(t, item, offset, length);
        offset += length;
    } while (offset < size && t->stage != LH_TREE_ENDING);
}

/* ---- reading ---- */

static int open_item(void *user, const struct lh_item *item, int *fd, struct lh_err *err)
{
    struct lh_tree *t = user;

    return lh_walk_open_file(t->walk, item->source, item->path, fd, NULL, err);
}

/* From a prep thread to the main loop. */
struct spoilt {
    struct lh_msg msg;
    struct lh_tree *tree;
    struct lh_item *item; /* with a reference */
    int status;
    char text[512];
};

static void on_spoilt(struct lh_msg *msg)
{
    struct spoilt *note = LH_CONTAINER_OF(msg, struct spoilt, msg);
    struct lh_tree *t = note->tree;
    struct lh_item *item = note->item;

    t->n_notes--;
    /* It may be settled by now, if an older copy of the pack had arrived. */
    if (t->stage != LH_TREE_ENDING && lh_tree_table_get(t, item->index) == item) {
        lh_tree_table_take(t, item);
        lh_tree_failed(t, item->path, item->identity.size, note->status, note->text);
        lh_item_drop(item);
    }
    lh_item_drop(item);
    free(note);
    if (t->stage == LH_TREE_ENDING)
        lh_tree_maybe_end(t);
    else
        lh_tree_step(t);
}

static void item_failed(void *user, struct lh_item *item, const struct lh_err *err)
{
    struct lh_tree *t = user;
    struct spoilt *note = malloc(sizeof(*note));

    LH_INVARIANT(note != NULL);
    note->tree = t;
    note->item = item;
    note->status = err->status;
    memcpy(note->text, err->text, sizeof(note->text));
    atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
    t->n_notes++;
    lh_mbox_post(&t->engine->mbox, &note->msg, on_spoilt);
}

const struct lh_packs_how lh_tree_packs = {.open = open_item, .failed = item_failed};
