/* A table of hashes in a file, open addressing; contract in known.h.
 *
 * Happy path: the place that the hash says -> free: it is written there -> done. Taken by another:
 * the next one. Half full: all go into a table of four times the size. Failures: of the file; what
 * was seen is lost then, and the walk with it. */
#include "io/disk/known.h"

#include "io/disk/disk.h"
#include "io/disk/spill.h"
#include "proto/hash.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_PLACES 1024u /* 16 KiB */
#define AHEAD 4096u        /* places read at once while the table grows */
#define PROBE 4u           /* places read at once to find one */

void lh_known_init(struct lh_known *s)
{
    *s = (struct lh_known){.fd = -1};
}

void lh_known_free(struct lh_known *s)
{
    if (s->fd >= 0)
        close(s->fd);
    lh_known_init(s);
}

static bool is_free(const struct lh_hash *h)
{
    static const struct lh_hash none;

    return memcmp(h, &none, sizeof(none)) == 0;
}

/* Read n places from `place` on. */
static int get(int fd, uint64_t place, struct lh_hash *out, size_t n, struct lh_err *err)
{
    size_t got = 0;
    int e = lh_disk_read(fd, out, n * sizeof(*out), place * sizeof(*out), &got);

    if (e == 0 && got < n * sizeof(*out))
        e = EIO;
    if (e != 0)
        return lh_err_sys(err, LH_E_INTERNAL, e, "cannot read a temporary file ($TMPDIR)");
    return 0;
}

static int put(int fd, uint64_t place, const struct lh_hash *h, struct lh_err *err)
{
    int e = lh_disk_write(fd, h, sizeof(*h), place * sizeof(*h));

    if (e != 0)
        return lh_err_sys(err, LH_E_INTERNAL, e, "cannot write to a temporary file ($TMPDIR)");
    return 0;
}

/* Where it is, or the free place where it is to be. Returns 1, 0, or as lh_known. */
static int find(const struct lh_known *s, const struct lh_hash *h, uint64_t *place,
                struct lh_err *err)
{
    struct lh_hash there[PROBE];
    uint64_t first;

    memcpy(&first, h, sizeof(first));
    /* The number of places is a multiple of PROBE. */
    for (first = first % s->n_places / PROBE * PROBE;; first = (first + PROBE) % s->n_places) {
        int r = get(s->fd, first, there, PROBE, err);

        for (unsigned i = 0; r == 0 && i < PROBE; i++) {
            *place = first + i;
            if (is_free(&there[i]))
                return 0;
            if (memcmp(&there[i], h, sizeof(*h)) == 0)
                return 1;
        }
        if (r != 0)
            return r;
    }
}

static int add(struct lh_known *s, const struct lh_hash *h, struct lh_err *err)
{
    uint64_t place;
    int r = find(s, h, &place, err);

    if (r == 0)
        r = put(s->fd, place, h, err);
    s->n += r == 0;
    return r;
}

/* All that are in `from`. */
static int add_all(struct lh_known *s, const struct lh_known *from, struct lh_err *err)
{
    struct lh_hash *some = malloc(AHEAD * sizeof(*some));
    int r = some != NULL ? 0 : lh_err_set(err, LH_E_NOMEM, "out of memory");

    for (uint64_t at = 0; at < from->n_places && r >= 0; at += AHEAD) {
        uint64_t left = from->n_places - at;
        size_t n = left < AHEAD ? (size_t)left : AHEAD;

        r = get(from->fd, at, some, n, err);
        for (size_t i = 0; i < n && r >= 0; i++)
            r = is_free(&some[i]) ? 0 : add(s, &some[i], err);
    }
    free(some);
    return r < 0 ? r : 0;
}

static int grow(struct lh_known *s, struct lh_err *err)
{
    struct lh_known larger = {.fd = -1,
                              .n_places = s->n_places > 0 ? s->n_places * 4 : FIRST_PLACES};
    int r = lh_spill_file(&larger.fd, err);

    if (r == 0 && ftruncate(larger.fd, (off_t)(larger.n_places * sizeof(struct lh_hash))) != 0)
        r = lh_err_sys(err, LH_E_INTERNAL, errno, "cannot write to a temporary file ($TMPDIR)");
    if (r == 0)
        r = add_all(&larger, s, err);
    if (r != 0) {
        lh_known_free(&larger);
        return r;
    }
    lh_known_free(s);
    *s = larger;
    return 0;
}

int lh_known(struct lh_known *s, const void *name, size_t len, struct lh_err *err)
{
    struct lh_hash h;
    int r = s->n * 2 >= s->n_places ? grow(s, err) : 0;

    lh_hash_bytes(name, len, &h);
    return r != 0 ? r : add(s, &h, err);
}
