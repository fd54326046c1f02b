/* Sorts keys in runs and merges the runs; contract in sorter.h.
 *
 * Memory: RUN_KEYS × 24 bytes, and while merging FAN_IN × AHEAD × 24. So 16 million keys take one
 * pass over the file besides the writing of the runs; more take one more. */
#include "io/disk/sorter.h"

#include "io/disk/disk.h"
#include "io/disk/spill.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUN_KEYS (128u * 1024)
#define FIRST_KEYS 1024
#define FAN_IN 128
#define AHEAD 512 /* keys read at once of each run that is merged */

struct input {
    struct lh_sort_key *keys; /* AHEAD of them */
    size_t i;
    size_t n;
    uint64_t next; /* in the file, behind keys[n - 1] */
    uint64_t end;
};

void lh_sorter_init(struct lh_sorter *s)
{
    *s = (struct lh_sorter){.fd = -1};
}

void lh_sorter_free(struct lh_sorter *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->keys);
    free(s->runs);
    lh_sorter_init(s);
}

static int compare(const void *a, const void *b)
{
    const struct lh_sort_key *x = a;
    const struct lh_sort_key *y = b;

    if (x->dev != y->dev)
        return x->dev < y->dev ? -1 : 1;
    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int write_keys(int fd, const struct lh_sort_key *keys, size_t n, uint64_t at,
                      struct lh_err *err)
{
    int e = lh_disk_write(fd, keys, n * sizeof(*keys), at * sizeof(*keys));

    if (e != 0)
        return lh_err_sys(err, LH_E_INTERNAL, e, "cannot write to a temporary file ($TMPDIR)");
    return 0;
}

static int read_keys(int fd, struct lh_sort_key *keys, size_t n, uint64_t at, struct lh_err *err)
{
    size_t got;
    int e = lh_disk_read(fd, keys, n * sizeof(*keys), at * sizeof(*keys), &got);

    if (e == 0 && got < n * sizeof(*keys))
        e = EIO;
    if (e != 0)
        return lh_err_sys(err, LH_E_INTERNAL, e, "cannot read a temporary file ($TMPDIR)");
    return 0;
}

/* Sort what is in memory and write it as a run. */
static int write_run(struct lh_sorter *s, struct lh_err *err)
{
    uint64_t *runs = realloc(s->runs, (s->n_runs + 2) * sizeof(*runs));
    uint64_t at;
    int r;

    if (runs == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    s->runs = runs;
    if (s->n_runs == 0)
        runs[0] = 0;
    at = runs[s->n_runs];
    r = s->fd < 0 ? lh_spill_file(&s->fd, err) : 0;
    qsort(s->keys, s->n, sizeof(*s->keys), compare);
    if (r == 0)
        r = write_keys(s->fd, s->keys, s->n, at, err);
    if (r != 0)
        return r;
    runs[++s->n_runs] = at + s->n;
    s->n = 0;
    return 0;
}

int lh_sorter_add(struct lh_sorter *s, const struct lh_sort_key *key, struct lh_err *err)
{
    if (s->n == s->cap && s->cap == RUN_KEYS) {
        int r = write_run(s, err);

        if (r != 0)
            return r;
    } else if (s->n == s->cap) {
        size_t cap = s->cap > 0 ? s->cap * 2 : FIRST_KEYS;
        struct lh_sort_key *keys = realloc(s->keys, cap * sizeof(*keys));

        if (keys == NULL)
            return lh_err_set(err, LH_E_NOMEM, "out of memory");
        s->keys = keys;
        s->cap = cap;
    }
    s->keys[s->n++] = *key;
    return 0;
}

/* Read ahead; then i < n, unless the input has ended. */
static int refill(int fd, struct input *in, struct lh_err *err)
{
    uint64_t left = in->end - in->next;
    int r;

    in->i = 0;
    in->n = left < AHEAD ? (size_t)left : AHEAD;
    r = in->n > 0 ? read_keys(fd, in->keys, in->n, in->next, err) : 0;
    in->next += in->n;
    return r;
}

/* heap[at] may be greater than those below it: put it where it belongs. */
static void sink(struct input **heap, size_t n, size_t at)
{
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++) {
            if (compare(&heap[child]->keys[heap[child]->i], &heap[least]->keys[heap[least]->i]) < 0)
                least = child;
        }
        if (least == at)
            return;
        struct input *moved = heap[at];

        heap[at] = heap[least];
        heap[least] = moved;
        at = least;
    }
}

/* Merge n inputs, none of them empty, to `to` from key `at` on. */
static int merge(int from, int to, struct input **heap, size_t n, uint64_t at,
                 struct lh_sort_key *out, struct lh_err *err)
{
    size_t used = 0;
    int r = 0;

    for (size_t i = n; i-- > 0;)
        sink(heap, n, i);
    while (n > 0 && r == 0) {
        struct input *least = heap[0];

        out[used++] = least->keys[least->i++];
        if (least->i == least->n)
            r = refill(from, least, err);
        if (least->i == least->n)
            heap[0] = heap[--n];
        sink(heap, n, 0);
        if (r == 0 && (used == AHEAD || n == 0)) {
            r = write_keys(to, out, used, at, err);
            at += used;
            used = 0;
        }
    }
    return r;
}

/* One pass: each FAN_IN runs become one, in another file. */
static int merge_pass(struct lh_sorter *s, struct lh_sort_key *buffers, struct lh_err *err)
{
    struct input inputs[FAN_IN];
    struct input *heap[FAN_IN];
    size_t n_after = 0;
    int to;
    int r = lh_spill_file(&to, err);

    if (r != 0)
        return r;
    for (size_t first = 0; first < s->n_runs && r == 0; first += FAN_IN) {
        size_t n = s->n_runs - first < FAN_IN ? s->n_runs - first : FAN_IN;
        uint64_t start = s->runs[first];

        for (size_t i = 0; i < n && r == 0; i++) {
            inputs[i] = (struct input){.keys = buffers + i * AHEAD,
                                       .next = s->runs[first + i],
                                       .end = s->runs[first + i + 1]};
            heap[i] = &inputs[i];
            r = refill(s->fd, &inputs[i], err);
        }
        if (r == 0)
            r = merge(s->fd, to, heap, n, start, buffers + FAN_IN * AHEAD, err);
        s->runs[n_after++] = start; /* the number of runs only shrinks: read already */
    }
    s->runs[n_after] = s->runs[s->n_runs];
    s->n_runs = n_after;
    close(s->fd);
    s->fd = to;
    return r;
}

int lh_sorter_finish(struct lh_sorter *s, struct lh_err *err)
{
    struct lh_sort_key *buffers;
    int r;

    if (s->n_runs == 0) {
        if (s->n > 0)
            qsort(s->keys, s->n, sizeof(*s->keys), compare);
        return 0;
    }
    r = s->n > 0 ? write_run(s, err) : 0;
    if (r != 0)
        return r;
    buffers = malloc((FAN_IN + 1) * AHEAD * sizeof(*buffers));
    if (buffers == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    while (s->n_runs > 1 && r == 0)
        r = merge_pass(s, buffers, err);
    free(buffers);
    lh_sorter_rewind(s);
    return r;
}

void lh_sorter_rewind(struct lh_sorter *s)
{
    s->next = 0;
    if (s->fd >= 0) {
        s->first = 0;
        s->n = 0;
    }
}

int lh_sorter_next(struct lh_sorter *s, struct lh_sort_key *key, struct lh_err *err)
{
    if (s->next == s->first + s->n && s->fd >= 0) {
        uint64_t left = s->runs[1] - s->next;
        int r;

        s->first = s->next;
        s->n = left < AHEAD ? (size_t)left : AHEAD;
        r = s->n > 0 ? read_keys(s->fd, s->keys, s->n, s->first, err) : 0;
        if (r != 0)
            return r;
    }
    if (s->next == s->first + s->n)
        return 0;
    *key = s->keys[s->next++ - s->first];
    return 1;
}
