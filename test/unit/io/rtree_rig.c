#include "rtree_rig.h"

#include "io/rtree/rtree_impl.h"
#include "scratch.h"
#include "test/lib/tap.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lh_quota *rig_memory;
bool rig_in_memory;

const char *rig_path(const char *path)
{
    char name[900];

    snprintf(name, sizeof(name), "t/%s", path);
    return scratch_path(name);
}

struct lh_time rig_mtime(uint32_t index)
{
    return (struct lh_time){.sec = 1500000000 + index, .nsec = 123456789};
}

int rig_open(struct rig *r, uint16_t flags, uint32_t keep)
{
    return rig_open_allowing(r, flags, keep, ~0u);
}

int rig_open_allowing(struct rig *r, uint16_t flags, uint32_t keep, unsigned allow)
{
    struct lh_rtree_open how = {.path = (const uint8_t *)"t",
                                .path_len = 1,
                                .flags = flags,
                                .keep = keep,
                                .allow = allow,
                                .memory = rig_memory,
                                .block_bytes = RIG_GRID,
                                .epoch = RIG_EPOCH,
                                .max_pending = 1000};
    uint64_t dev;
    int result;

    memset(r, 0, sizeof(*r));
    if (lh_place_open(scratch_dir(), &r->root, &r->err) != 0)
        return -r->err.status;
    lh_runs_init(&r->settled, LH_RUNS_MAX);
    lh_runs_init(&r->acked, LH_RUNS_MAX);
    lh_files_begin(&r->writer, r->files, 0);
    how.root = r->root;
    result = lh_rtree_open(&how, &r->tree, &dev, &r->err);
    if (result != 0) {
        rig_close(r);
        return result;
    }
    r->store = lh_rtree_store(r->tree);
    r->tree->unnamed = rig_in_memory ? lh_rtree_unnamed_how(r->tree->root_fd) : LH_UNNAMED_NOT;
    return 0;
}

void rig_close(struct rig *r)
{
    if (r->tree != NULL) {
        r->store->ops->fence(r->store);
        r->store->ops->close(r->store);
    }
    r->tree = NULL;
    lh_place_close(r->root);
    r->root = NULL;
    lh_runs_free(&r->settled);
    lh_runs_free(&r->acked);
    lh_rtree_answers_free(&r->answers);
    lh_rtree_troubles_free(r->troubles);
    memset(&r->answers, 0, sizeof(r->answers));
    r->troubles = NULL;
}

struct lh_tree_entry rig_entry(const struct rig *r, uint8_t kind, const char *path, uint64_t size)
{
    return (struct lh_tree_entry){.kind = kind,
                                  .mode = kind == LH_KIND_DIR ? 0755 : 0640,
                                  .size = size,
                                  .mtime = rig_mtime(r->next),
                                  .path = (const uint8_t *)path,
                                  .path_len = strlen(path)};
}

uint32_t rig_add_entry(struct rig *r, const struct lh_tree_entry *e)
{
    if (!lh_files_add(&r->writer, e))
        bail("the frame is full");
    return r->next++;
}

uint32_t rig_add(struct rig *r, uint8_t kind, const char *path, uint64_t size)
{
    struct lh_tree_entry e = rig_entry(r, kind, path, size);

    return rig_add_entry(r, &e);
}

uint32_t rig_add_link(struct rig *r, uint8_t kind, const char *path, const char *link)
{
    struct lh_tree_entry e = rig_entry(r, kind, path, 0);

    e.link = (const uint8_t *)link;
    e.link_len = strlen(link);
    return rig_add_entry(r, &e);
}

static size_t end_frame(struct rig *r)
{
    size_t len = lh_files_end(&r->writer);

    memset(&r->err, 0, sizeof(r->err));
    lh_rtree_troubles_free(r->troubles);
    r->troubles = NULL;
    return len;
}

int rig_ask(struct rig *r)
{
    size_t len = end_frame(r);
    int result;

    lh_rtree_answers_free(&r->answers);
    memset(&r->answers, 0, sizeof(r->answers));
    result = lh_rtree_ask(r->tree, r->files, len, 0, &r->answers, &r->err);
    lh_rtree_asked(r->tree, &r->answers, true);
    lh_files_begin(&r->writer, r->files, r->next);
    return result;
}

int rig_ask_one(struct rig *r, uint8_t kind, const char *path, uint64_t size)
{
    int result;

    rig_add(r, kind, path, size);
    result = rig_ask(r);
    return result != 0 ? result : r->answers.v[0];
}

const char *rig_trouble(const struct lh_rtree_trouble *list, uint32_t entry)
{
    while (list != NULL && list->entry != entry)
        list = list->next;
    return list != NULL ? list->text : "";
}

void rig_part(struct rig *r, uint32_t entry, uint64_t offset, uint32_t length)
{
    r->parts[r->n_parts++] = (struct lh_part){.entry = entry, .offset = offset, .length = length};
    scratch_fill(r->contents + r->n_contents, length, offset, entry);
    r->n_contents += length;
}

void rig_void(struct rig *r, uint32_t entry)
{
    r->parts[r->n_parts++] = (struct lh_part){.entry = entry, .flags = LH_PART_VOID};
}

void rig_hole(struct rig *r, uint32_t entry, uint64_t offset, uint32_t length)
{
    r->parts[r->n_parts++] =
        (struct lh_part){.entry = entry, .offset = offset, .length = length, .flags = LH_PART_HOLE};
}

int rig_pack(struct rig *r)
{
    size_t head = lh_pack_encode(r->parts, r->n_parts, r->payload);
    struct lh_hash hash;

    memcpy(r->payload + head, r->contents, r->n_contents);
    lh_hash_bytes(r->payload, head + r->n_contents, &hash);
    head += r->n_contents;
    r->n_parts = 0;
    r->n_contents = 0;
    memset(&r->err, 0, sizeof(r->err));
    return r->store->ops->write(r->store, RIG_EPOCH, r->pack++ * RIG_GRID, r->payload,
                                (uint32_t)head, &hash, &r->soon, &r->err);
}

int rig_file(struct rig *r, uint32_t entry, uint32_t size)
{
    rig_part(r, entry, 0, size);
    return rig_pack(r);
}

int rig_commit(struct rig *r)
{
    int result;

    memset(&r->err, 0, sizeof(r->err));
    lh_rtree_troubles_free(r->troubles);
    r->troubles = NULL;
    result = r->store->ops->commit_begin(r->store, &r->err);
    if (result > 0)
        result = r->store->ops->commit_end(r->store, &r->acked, &r->err);
    lh_rtree_take(r->tree, &r->settled, &r->troubles);
    return result;
}

bool rig_holds(const char *path, uint32_t index, size_t size)
{
    char name[900];
    uint8_t *want = malloc(size + 1);
    uint8_t *have;
    size_t len = 0;
    bool same;

    snprintf(name, sizeof(name), "t/%s", path);
    have = scratch_read(name, &len);
    scratch_fill(want, size, 0, index);
    same = have != NULL && len == size && memcmp(have, want, size) == 0;
    free(have);
    free(want);
    return same;
}

int rig_owner(struct rig *r, uint8_t kind, uint32_t id, const char *name)
{
    uint8_t *payload = malloc(LH_CONTROL_MAX);
    struct lh_owners_writer w;
    struct lh_owner owner = {kind, id, (const uint8_t *)name, strlen(name)};
    int result;

    if (payload == NULL)
        bail("out of memory");
    lh_owners_begin(&w, payload);
    lh_owners_add(&w, &owner);
    memset(&r->err, 0, sizeof(r->err));
    result = lh_rtree_owners(r->tree, payload, lh_owners_end(&w), &r->err);
    free(payload);
    return result;
}

int rig_attrs(struct rig *r)
{
    size_t len = end_frame(r);
    int result = lh_rtree_attrs(r->tree, r->files, len, &r->troubles, &r->err);

    lh_files_begin(&r->writer, r->files, r->next);
    return result;
}

int rig_remove(struct rig *r, struct lh_runs *gone)
{
    size_t len = end_frame(r);
    int result = lh_rtree_remove(r->tree, r->files, len, gone, &r->troubles, &r->err);

    lh_files_begin(&r->writer, r->files, r->next);
    return result;
}

static size_t n_hidden;
static size_t n_entries;

static int count_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    n_hidden += lh_hidden_reserved(path + ftw->base);
    n_entries += ftw->level > 0;
    return 0;
}

size_t rig_count(void)
{
    n_hidden = n_entries = 0;
    nftw(scratch_path("t"), count_one, 16, FTW_PHYS);
    return n_entries;
}

size_t rig_hidden(void)
{
    rig_count();
    return n_hidden;
}

struct stat rig_stat(const char *path)
{
    struct stat st = {0};

    if (lstat(rig_path(path), &st) != 0)
        diag("no %s", path);
    return st;
}

bool rig_times_are(const char *path, uint32_t index)
{
    struct stat st = rig_stat(path);

    return st.st_mtim.tv_sec == rig_mtime(index).sec && st.st_mtim.tv_nsec == rig_mtime(index).nsec;
}

bool rig_settled(const struct rig *r, uint32_t index)
{
    return lh_runs_has(&r->settled, index);
}
