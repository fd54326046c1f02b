/* See packs.h. The table is a ring of packs by number, from the lowest that is needed; its lock is
 * held for look-ups only. A pack goes with the last reference: the table's, or that of a thread
 * that makes it. */
#include "io/packs.h"

#include "io/disk.h"
#include "proto/tree.h"
#include "util/mutant.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_CAP 256u

struct pack {
    unsigned refs; /* under the lock */
    unsigned n;
    struct lh_packs_part parts[];
};

struct lh_packs {
    struct lh_packs_how how;
    pthread_mutex_t lock;
    struct pack **ring; /* cap of them: pack k is at k % cap; NULL: needed no more */
    uint64_t base;
    uint64_t end;
    uint64_t cap; /* a power of two */
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
    memcpy(pack->parts, parts, n * sizeof(*parts));
    pthread_mutex_lock(&packs->lock);
    r = make_room(packs);
    if (r == 0)
        packs->ring[packs->end++ % packs->cap] = pack;
    pthread_mutex_unlock(&packs->lock);
    if (r != 0) {
        free(pack);
        return r;
    }
    for (unsigned i = 0; i < n; i++)
        atomic_fetch_add_explicit(&parts[i].item->refs, 1, memory_order_relaxed);
    return 0;
}

static struct pack *take(struct lh_packs *packs, uint64_t number)
{
    struct pack *pack = NULL;

    pthread_mutex_lock(&packs->lock);
    if (number >= packs->base && number < packs->end)
        pack = packs->ring[number % packs->cap];
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

void lh_packs_drop(struct lh_packs *packs, uint64_t first, uint64_t end)
{
    for (uint64_t k = first; k < end; k++) {
        struct pack *pack = NULL;

        pthread_mutex_lock(&packs->lock);
        if (k >= packs->base && k < packs->end) {
            pack = packs->ring[k % packs->cap];
            packs->ring[k % packs->cap] = NULL;
        }
        while (packs->base < packs->end && packs->ring[packs->base % packs->cap] == NULL)
            packs->base++;
        pthread_mutex_unlock(&packs->lock);
        if (pack != NULL)
            let_go(packs, pack);
    }
}

void lh_packs_clear(struct lh_packs *packs)
{
    lh_packs_drop(packs, packs->base, packs->end);
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
                     struct lh_err *err)
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
    if (got < part->length || !lh_identity_same(&part->item->identity, &now))
        return lh_mutant("skip-identity") ? 0 : is_another(err);
    return 0;
}

/* Returns the bytes of its contents. */
static uint32_t make_part(struct lh_packs *packs, const struct lh_packs_part *part,
                          struct lh_part *row, uint8_t *out)
{
    struct lh_item *item = part->item;
    struct lh_err err = {0};

    *row = (struct lh_part){.entry = item->index, .length = part->length, .offset = part->offset};
    if (!atomic_load(&item->spoilt)) {
        if (read_part(packs, part, out, &err) == 0)
            return part->length;
        if (!atomic_exchange(&item->spoilt, true))
            packs->how.failed(packs->how.user, item, &err);
    }
    row->length = 0;
    row->offset = 0;
    row->flags = LH_PART_VOID;
    return 0;
}

uint32_t lh_packs_make(struct lh_packs *packs, uint64_t number, uint8_t *out)
{
    struct pack *pack = take(packs, number);
    struct lh_part rows[LH_PACKS_PARTS];
    uint32_t used;

    if (pack == NULL)
        return 0;
    used = LH_PACK_HEAD + pack->n * LH_PART_SIZE;
    for (unsigned i = 0; i < pack->n; i++)
        used += make_part(packs, &pack->parts[i], &rows[i], out + used);
    lh_pack_encode(rows, pack->n, out);
    let_go(packs, pack);
    return used;
}
