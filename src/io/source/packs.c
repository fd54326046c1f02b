/* See packs.h. The table is a ring of packs by number, from the lowest that is needed; its lock is
 * held for look-ups only. A pack goes with the last reference: the table's, or that of a thread
 * that makes it. */
#include "io/source/packs.h"

#include "io/disk/disk.h"
#include "proto/tree.h"
#include "util/buf.h"
#include "util/mutant.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAP 256u
#define HOLE_LEAST 64u   /* bytes; two rows are 34 */
#define HOLE_BYTES 4096u /* a page of the receiver's file system, most likely */

struct pack {
    unsigned refs; /* under the lock */
    unsigned n;
    uint32_t bytes;      /* on the wire; under the lock */
    uint64_t hole_bytes; /* once it was made; under the lock */
    struct lh_packs_part parts[];
};

struct lh_packs {
    struct lh_packs_how how;
    pthread_mutex_t lock;
    struct pack **ring; /* cap of them: pack k is at k % cap; NULL: needed no more */
    uint64_t base;
    uint64_t end;
    uint64_t cap;        /* a power of two */
    uint64_t hole_bytes; /* of those that have arrived */
    uint64_t n_needed;   /* in the ring, */
    uint64_t bytes;      /* and what they hold */
};

struct lh_packs *lh_packs_new(const struct lh_packs_how *how)
{
    struct lh_packs *packs = calloc(1, sizeof(*packs));

    if (packs == NULL)
        return NULL;
    packs->ring = calloc(FIRST_CAP, sizeof(struct pack *));
    if (packs->ring == NULL) {
        free(packs);
        return NULL;
    }
    packs->how = *how;
    packs->cap = FIRST_CAP;
    pthread_mutex_init(&packs->lock, NULL);
    return packs;
}

void lh_packs_free(struct lh_packs *packs)
{
    if (packs == NULL)
        return;
    lh_packs_clear(packs);
    pthread_mutex_destroy(&packs->lock);
    free(packs->ring);
    free(packs);
}

/* ---- the table ---- */

static int make_room(struct lh_packs *packs)
{
    struct pack **ring;

    if (packs->end - packs->base < packs->cap)
        return 0;
    ring = calloc(2 * packs->cap, sizeof(*ring));
    if (ring == NULL)
        return -LH_E_NOMEM;
    for (uint64_t k = packs->base; k < packs->end; k++)
        ring[k % (2 * packs->cap)] = packs->ring[k % packs->cap];
    free(packs->ring);
    packs->ring = ring;
    packs->cap *= 2;
    return 0;
}

int lh_packs_add(struct lh_packs *packs, const struct lh_packs_part *parts, unsigned n)
{
    struct pack *pack = malloc(sizeof(*pack) + n * sizeof(*parts));
    int r;

    LH_REQUIRE(n > 0 && n <= LH_PACKS_PARTS);
    if (pack == NULL)
        return -LH_E_NOMEM;
    pack->refs = 1;
    pack->n = n;
    pack->hole_bytes = 0;
    pack->bytes = LH_PACK_HEAD + n * LH_PART_SIZE;
    for (unsigned i = 0; i < n; i++)
        pack->bytes += parts[i].length;
    memcpy(pack->parts, parts, n * sizeof(*parts));
    pthread_mutex_lock(&packs->lock);
    r = make_room(packs);
    if (r == 0) {
        packs->ring[packs->end++ % packs->cap] = pack;
        packs->n_needed++;
        packs->bytes += pack->bytes;
    }
    pthread_mutex_unlock(&packs->lock);
    if (r != 0) {
        free(pack);
        return r;
    }
    for (unsigned i = 0; i < n; i++)
        atomic_fetch_add_explicit(&parts[i].item->refs, 1, memory_order_relaxed);
    return 0;
}

/* NULL: it is needed no more. The caller holds the lock. */
static struct pack *find(const struct lh_packs *packs, uint64_t number)
{
    return number >= packs->base && number < packs->end ? packs->ring[number % packs->cap] : NULL;
}

static struct pack *take(struct lh_packs *packs, uint64_t number)
{
    struct pack *pack;

    pthread_mutex_lock(&packs->lock);
    pack = find(packs, number);
    if (pack != NULL)
        pack->refs++;
    pthread_mutex_unlock(&packs->lock);
    return pack;
}

static void let_go(struct lh_packs *packs, struct pack *pack)
{
    unsigned refs;

    pthread_mutex_lock(&packs->lock);
    refs = --pack->refs;
    pthread_mutex_unlock(&packs->lock);
    if (refs > 0)
        return;
    for (unsigned i = 0; i < pack->n; i++)
        lh_item_drop(pack->parts[i].item);
    free(pack);
}

static void drop(struct lh_packs *packs, uint64_t first, uint64_t end, bool arrived)
{
    for (uint64_t k = first; k < end; k++) {
        struct pack *pack;

        pthread_mutex_lock(&packs->lock);
        pack = find(packs, k);
        if (pack != NULL) {
            packs->ring[k % packs->cap] = NULL;
            packs->n_needed--;
            packs->bytes -= pack->bytes;
            packs->hole_bytes += arrived ? pack->hole_bytes : 0;
        }
        while (packs->base < packs->end && packs->ring[packs->base % packs->cap] == NULL)
            packs->base++;
        pthread_mutex_unlock(&packs->lock);
        if (pack != NULL)
            let_go(packs, pack);
    }
}

void lh_packs_drop(struct lh_packs *packs, uint64_t first, uint64_t end)
{
    drop(packs, first, end, true);
}

uint64_t lh_packs_bytes(struct lh_packs *packs, uint64_t first, uint64_t end)
{
    uint64_t bytes = 0;

    pthread_mutex_lock(&packs->lock);
    for (uint64_t k = first; k < end; k++) {
        const struct pack *pack = find(packs, k);

        bytes += pack != NULL ? pack->bytes : 0;
    }
    pthread_mutex_unlock(&packs->lock);
    return bytes;
}

uint32_t lh_packs_mean(struct lh_packs *packs)
{
    uint64_t bytes;

    pthread_mutex_lock(&packs->lock);
    bytes = packs->n_needed > 0 ? packs->bytes / packs->n_needed : 0;
    pthread_mutex_unlock(&packs->lock);
    return (uint32_t)bytes;
}

uint64_t lh_packs_holes(struct lh_packs *packs)
{
    uint64_t bytes;

    pthread_mutex_lock(&packs->lock);
    bytes = packs->hole_bytes;
    pthread_mutex_unlock(&packs->lock);
    return bytes;
}

void lh_packs_clear(struct lh_packs *packs)
{
    drop(packs, packs->base, packs->end, false);
    packs->base = packs->end = 0;
}

/* ---- making ---- */

static int is_another(struct lh_err *err)
{
    return lh_err_set(err, LH_E_SOURCE_CHANGED, "it changed while it was being sent");
}

/* Contents of one part. The file is looked at once they are read: what changes later is another
 * version, which nobody has asked for. */
static int read_part(struct lh_packs *packs, const struct lh_packs_part *part, uint8_t *out,
                     bool *sparse, struct lh_err *err)
{
    struct lh_identity now;
    struct lh_disk_stat st;
    size_t got = 0;
    int e, fd;
    int r = packs->how.open(packs->how.user, part->item, &fd, err);

    if (r != 0)
        return r;
    e = lh_disk_read(fd, out, part->length, part->offset, &got);
    if (e == 0)
        e = lh_disk_stat(fd, "", &st);
    close(fd);
    if (e != 0)
        return lh_err_sys(err, LH_E_SOURCE, e, "it cannot be read");
    now = (struct lh_identity){
        .dev = st.dev, .ino = st.ino, .size = st.size, .mtime = st.mtime, .ctime = st.ctime};
    *sparse = st.room < st.size;
    if (got < part->length || !lh_identity_same(&part->item->identity, &now))
        return lh_mutant("skip-identity") ? 0 : is_another(err);
    return 0;
}

/* A pack that is being made: contents lie behind the room for the rows that are sure to come. */
struct making {
    uint8_t *out;
    uint32_t head;  /* bytes before contents */
    uint32_t bytes; /* of contents */
    uint32_t n;
    uint64_t hole_bytes;
    struct lh_part rows[LH_PACK_PARTS];
};

/* Contents lie at the end of what is made: keep them, or note zeros and let them go. */
static void add_row(struct making *m, const struct lh_item *item, uint64_t offset, uint32_t length,
                    bool hole)
{
    struct lh_part *last = m->n > 0 ? &m->rows[m->n - 1] : NULL;

    m->bytes += hole ? 0 : length;
    m->hole_bytes += hole ? length : 0;
    if (last != NULL && last->entry == item->index && last->offset + last->length == offset &&
        last->flags == (hole ? LH_PART_HOLE : 0)) {
        last->length += length;
        return;
    }
    m->rows[m->n++] = (struct lh_part){
        .entry = item->index, .length = length, .offset = offset, .flags = hole ? LH_PART_HOLE : 0};
}

/* Whether what lies at `offset` goes on with the hole that was noted last. */
static bool in_hole(const struct making *m, const struct lh_packs_part *part, uint64_t offset)
{
    const struct lh_part *last = m->n > 0 ? &m->rows[m->n - 1] : NULL;

    return last != NULL && last->entry == part->item->index && last->flags == LH_PART_HOLE &&
           last->offset + last->length == offset;
}

/* Pages of zeros become holes, and so do the ends of pages at either end of a part, unless the two
 * rows more that this can take are longer. */
static void add_sparse(struct making *m, const struct lh_packs_part *part)
{
    const uint8_t *in = m->out + m->head + m->bytes;
    uint32_t at = 0;

    while (at < part->length) {
        uint64_t offset = part->offset + at;
        uint32_t step = HOLE_BYTES - (uint32_t)(offset % HOLE_BYTES);
        bool room = m->n + (part->length - at) / HOLE_BYTES + 2 < LH_PACK_PARTS;
        bool hole;

        if (step > part->length - at)
            step = part->length - at;
        hole = (step >= HOLE_LEAST || step == part->length || in_hole(m, part, offset)) && room &&
               lh_buf_is_zeros(in + at, step);
        if (!hole && in + at != m->out + m->head + m->bytes)
            memmove(m->out + m->head + m->bytes, in + at, step);
        add_row(m, part->item, offset, step, hole);
        at += step;
    }
}

static void make_part(struct lh_packs *packs, const struct lh_packs_part *part, struct making *m)
{
    struct lh_item *item = part->item;
    struct lh_err err = {0};
    bool sparse = false;

    if (!atomic_load(&item->spoilt)) {
        if (read_part(packs, part, m->out + m->head + m->bytes, &sparse, &err) == 0) {
            if ((sparse || packs->how.sparse) && part->length > 0)
                add_sparse(m, part);
            else
                add_row(m, item, part->offset, part->length, false);
            return;
        }
        if (!atomic_exchange(&item->spoilt, true))
            packs->how.failed(packs->how.user, item, &err);
    }
    m->rows[m->n++] = (struct lh_part){.entry = item->index, .flags = LH_PART_VOID};
}

static void note_made(struct lh_packs *packs, uint64_t number, struct pack *pack,
                      const struct making *m)
{
    uint32_t bytes = LH_PACK_HEAD + m->n * LH_PART_SIZE + m->bytes;

    pthread_mutex_lock(&packs->lock);
    pack->hole_bytes = m->hole_bytes;
    if (find(packs, number) == pack)
        packs->bytes = packs->bytes - pack->bytes + bytes;
    pack->bytes = bytes;
    pthread_mutex_unlock(&packs->lock);
}

uint32_t lh_packs_make(struct lh_packs *packs, uint64_t number, uint8_t *out)
{
    struct pack *pack = take(packs, number);
    struct making m; /* not zeroed: the rows are many */
    size_t head;

    if (pack == NULL)
        return 0;
    m.out = out;
    m.head = LH_PACK_HEAD + pack->n * LH_PART_SIZE;
    m.bytes = m.n = 0;
    m.hole_bytes = 0;
    for (unsigned i = 0; i < pack->n; i++)
        make_part(packs, &pack->parts[i], &m);
    head = LH_PACK_HEAD + m.n * LH_PART_SIZE;
    if (head != m.head)
        memmove(out + head, out + m.head, m.bytes);
    lh_pack_encode(m.rows, m.n, out);
    note_made(packs, number, pack, &m);
    let_go(packs, pack);
    return (uint32_t)head + m.bytes;
}
