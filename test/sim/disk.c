/* The made-up disk; what it promises is told in disk.h. */
#include "test/sim/disk.h"

#include "util/err.h"

#include <stdlib.h>
#include <string.h>

void sim_disk_init(struct sim_disk *d, struct lh_rng *rng)
{
    memset(d, 0, sizeof(*d));
    d->rng = rng;
}

void sim_disk_free(struct sim_disk *d)
{
    for (unsigned i = 0; i < d->n_files; i++) {
        free(d->files[i]->image[SIM_SEEN]);
        free(d->files[i]->image[SIM_PLATTER]);
        free(d->files[i]->flags);
        free(d->files[i]);
    }
    d->n_files = 0;
}

/* Every operation passes here first. */
static bool stopped(struct sim_disk *d)
{
    if (d->stop_in > 0 && --d->stop_in == 0)
        d->stopped = true;
    if (!d->stopped)
        d->n_changes++;
    return d->stopped;
}

static void *grown(void *p, size_t old, size_t size)
{
    uint8_t *bigger = realloc(p, size);

    LH_REQUIRE(bigger != NULL);
    memset(bigger + old, 0, size - old);
    return bigger;
}

static void make_room(struct sim_file *f, size_t len)
{
    size_t cap = f->cap ? f->cap : 1024;

    while (cap < len)
        cap *= 2;
    if (cap == f->cap)
        return;
    f->image[SIM_SEEN] = grown(f->image[SIM_SEEN], f->cap, cap);
    f->image[SIM_PLATTER] = grown(f->image[SIM_PLATTER], f->cap, cap);
    f->flags = grown(f->flags, f->cap / f->chunk, cap / f->chunk);
    f->cap = cap;
}

static void dir_change(struct sim_disk *d, struct sim_dir_op op)
{
    LH_REQUIRE(d->n_ops < SIM_DIR_OPS);
    for (unsigned i = 0; i < op.n; i++)
        d->dir[SIM_SEEN][op.name[i]] = op.file[i];
    d->ops[d->n_ops++] = op;
}

struct sim_file *sim_create(struct sim_disk *d, enum sim_name name, size_t chunk)
{
    struct sim_file *f;

    if (stopped(d))
        return NULL;
    LH_REQUIRE(d->n_files < SIM_FILES);
    f = calloc(1, sizeof(*f));
    LH_REQUIRE(f != NULL);
    f->ino = 11 + lh_rng_below(d->rng, 2);
    f->btime = d->n_files + 1;
    f->chunk = chunk;
    make_room(f, 1);
    d->files[d->n_files++] = f;
    dir_change(d, (struct sim_dir_op){1, {name, 0}, {f, NULL}});
    return f;
}

static void mark(struct sim_file *f, size_t from, size_t to)
{
    for (size_t c = from / f->chunk; c * f->chunk < to; c++)
        f->flags[c] |= SIM_DIRTY;
}

int sim_write(struct sim_disk *d, struct sim_file *f, size_t off, const void *data, size_t len)
{
    if (stopped(d))
        return -1;
    make_room(f, off + len);
    memcpy(f->image[SIM_SEEN] + off, data, len);
    mark(f, off, off + len);
    if (off + len > f->len[SIM_SEEN]) {
        f->len[SIM_SEEN] = off + len;
        f->meta_dirty = true;
    }
    return 0;
}

int sim_truncate(struct sim_disk *d, struct sim_file *f, size_t len)
{
    size_t old = f->len[SIM_SEEN];

    if (stopped(d))
        return -1;
    make_room(f, len);
    if (len < old) {
        if (old - len >= sizeof(d->stale))
            memcpy(d->stale, f->image[SIM_SEEN] + len, sizeof(d->stale));
        memset(f->image[SIM_SEEN] + len, 0, old - len);
        mark(f, len, old);
    }
    f->len[SIM_SEEN] = len;
    f->meta_dirty = true;
    return 0;
}

int sim_set_mtime(struct sim_disk *d, struct sim_file *f, int64_t mtime)
{
    if (stopped(d))
        return -1;
    f->mtime[SIM_SEEN] = mtime;
    f->meta_dirty = true;
    return 0;
}

int sim_unlink(struct sim_disk *d, enum sim_name name)
{
    if (stopped(d))
        return -1;
    dir_change(d, (struct sim_dir_op){1, {name, 0}, {NULL, NULL}});
    return 0;
}

int sim_rename(struct sim_disk *d, enum sim_name from, enum sim_name to)
{
    struct sim_file *f = d->dir[SIM_SEEN][from];

    if (stopped(d))
        return -1;
    dir_change(d, (struct sim_dir_op){2, {from, to}, {NULL, f}});
    return 0;
}

static void dir_to_platter(struct sim_disk *d, const struct sim_dir_op *op)
{
    for (unsigned i = 0; i < op->n; i++)
        d->dir[SIM_PLATTER][op->name[i]] = op->file[i];
}

int sim_dir_sync(struct sim_disk *d)
{
    if (stopped(d))
        return -1;
    for (unsigned i = 0; i < d->n_ops; i++)
        dir_to_platter(d, &d->ops[i]);
    d->n_ops = 0;
    return 0;
}

int sim_sync_start(struct sim_disk *d, struct sim_file *f)
{
    if (stopped(d))
        return -1;
    for (size_t c = 0; c < f->cap / f->chunk; c++)
        if (f->flags[c] & SIM_DIRTY)
            f->flags[c] = SIM_SYNCING;
    f->meta_syncing = f->meta_syncing || f->meta_dirty;
    f->meta_dirty = false;
    return 0;
}

static void chunk_to_platter(struct sim_file *f, size_t c)
{
    memcpy(f->image[SIM_PLATTER] + c * f->chunk, f->image[SIM_SEEN] + c * f->chunk, f->chunk);
}

static void meta_to_platter(struct sim_file *f)
{
    f->len[SIM_PLATTER] = f->len[SIM_SEEN];
    f->mtime[SIM_PLATTER] = f->mtime[SIM_SEEN];
}

int sim_sync_end(struct sim_disk *d, struct sim_file *f)
{
    bool fails;

    if (stopped(d))
        return -1;
    fails = d->fail_sync > 0 && lh_rng_one_in(d->rng, d->fail_sync);
    for (size_t c = 0; c < f->cap / f->chunk; c++) {
        if (!(f->flags[c] & SIM_SYNCING))
            continue;
        f->flags[c] &= (uint8_t)~SIM_SYNCING;
        if (!fails || lh_rng_one_in(d->rng, 2))
            chunk_to_platter(f, c);
    }
    /* Pages are forgotten by a failed sync, inodes are not. */
    if (f->meta_syncing && fails && lh_rng_one_in(d->rng, 2))
        f->meta_dirty = true;
    else if (f->meta_syncing)
        meta_to_platter(f);
    f->meta_syncing = false;
    d->n_failed_syncs += fails;
    return fails ? -1 : 0;
}

int sim_sync(struct sim_disk *d, struct sim_file *f)
{
    int rc = sim_sync_start(d, f);

    return rc < 0 ? rc : sim_sync_end(d, f);
}

int sim_drop_cache(struct sim_disk *d, struct sim_file *f)
{
    if (stopped(d))
        return -1;
    for (size_t c = 0; c < f->cap / f->chunk; c++)
        if (f->flags[c] == 0)
            memcpy(f->image[SIM_SEEN] + c * f->chunk, f->image[SIM_PLATTER] + c * f->chunk,
                   f->chunk);
    return 0;
}

static void cut_file(struct sim_disk *d, struct sim_file *f)
{
    bool length = (f->meta_dirty || f->meta_syncing) && lh_rng_one_in(d->rng, 2);
    bool garbage = f->chunk > 4 && lh_rng_one_in(d->rng, 4);
    size_t old_len = f->len[SIM_PLATTER];

    if (length)
        meta_to_platter(f);
    for (size_t c = 0; c < f->cap / f->chunk; c++) {
        size_t at = c * f->chunk;

        if (f->flags[c] && lh_rng_one_in(d->rng, 2))
            chunk_to_platter(f, c);
        else if (f->flags[c] && garbage && at >= old_len && at < f->len[SIM_PLATTER]) {
            /* Allocated, never written: there is what was there before. */
            memcpy(f->image[SIM_PLATTER] + at, d->stale + at % (sizeof(d->stale) - f->chunk),
                   f->chunk);
        }
        f->flags[c] = 0;
    }
    if (f->len[SIM_PLATTER] < f->cap)
        memset(f->image[SIM_PLATTER] + f->len[SIM_PLATTER], 0, f->cap - f->len[SIM_PLATTER]);
    memcpy(f->image[SIM_SEEN], f->image[SIM_PLATTER], f->cap);
    f->len[SIM_SEEN] = f->len[SIM_PLATTER];
    f->mtime[SIM_SEEN] = f->mtime[SIM_PLATTER];
    f->meta_dirty = f->meta_syncing = false;
}

void sim_power_cut(struct sim_disk *d)
{
    unsigned kept = (unsigned)lh_rng_below(d->rng, d->n_ops + 1);

    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->dir_ordered ? i < kept : lh_rng_one_in(d->rng, 2))
            dir_to_platter(d, &d->ops[i]);
    d->n_ops = 0;
    memcpy(d->dir[SIM_SEEN], d->dir[SIM_PLATTER], sizeof(d->dir[SIM_SEEN]));
    for (unsigned i = 0; i < d->n_files; i++)
        cut_file(d, d->files[i]);
    d->n_changes++;
}

void sim_disk_abandon(struct sim_disk *d)
{
    for (unsigned i = 0; i < d->n_files; i++) {
        struct sim_file *f = d->files[i];

        for (size_t c = 0; c < f->cap / f->chunk; c++)
            if (f->flags[c] & SIM_SYNCING)
                f->flags[c] = SIM_DIRTY;
        f->meta_dirty = f->meta_dirty || f->meta_syncing;
        f->meta_syncing = false;
    }
}
