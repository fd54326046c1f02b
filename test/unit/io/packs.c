/* The packs of a tree: what is in them, files that fail or change, numbers, references. */
#include "io/source/packs.h"

#include "proto/tree.h"
#include "scratch.h"
#include "test/lib/fault.h"
#include "test/lib/tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRID (64u * 1024)

struct seen {
    unsigned n_failed;
    uint32_t index;
    int status;
    bool refuse; /* open fails */
};

static int open_item(void *user, const struct lh_item *item, int *fd, struct lh_err *err)
{
    struct seen *seen = user;

    *fd = open(scratch_path(item->path), O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || seen->refuse)
        return lh_err_set(err, LH_E_SOURCE, "no such file");
    return 0;
}

static void item_failed(void *user, struct lh_item *item, const struct lh_err *err)
{
    struct seen *seen = user;

    seen->n_failed++;
    seen->index = item->index;
    seen->status = err->status;
}

static struct lh_packs *fresh(struct seen *seen)
{
    struct lh_packs_how how = {.open = open_item, .failed = item_failed, .user = seen};

    memset(seen, 0, sizeof(*seen));
    return lh_packs_new(&how);
}

/* A file of these contents, as an item. */
static struct lh_item *make_with(const char *name, const uint8_t *data, size_t size, uint32_t index)
{
    struct lh_walk_entry e = {.kind = LH_KIND_FILE, .path = name, .path_len = strlen(name)};
    struct lh_item *item;
    struct stat st;

    scratch_write(name, data, size);
    if (stat(scratch_path(name), &st) != 0)
        bail("cannot look at %s", name);
    e.link = "";
    e.identity = (struct lh_identity){.dev = st.st_dev,
                                      .ino = st.st_ino,
                                      .size = size,
                                      .mtime = {st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec},
                                      .ctime = {st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec}};
    item = lh_item_new(&e);
    item->index = index;
    return item;
}

/* A file of made-up contents. */
static struct lh_item *make(const char *name, size_t size, uint32_t index)
{
    uint8_t *data = malloc(size + 1);
    struct lh_item *item;

    scratch_fill(data, size, 0, index);
    item = make_with(name, data, size, index);
    free(data);
    return item;
}

static bool holds(const uint8_t *at, uint32_t length, uint64_t offset, uint32_t seed)
{
    uint8_t *want = malloc(length + 1);
    bool same;

    scratch_fill(want, length, offset, seed);
    same = memcmp(at, want, length) == 0;
    free(want);
    return same;
}

/* A file with data at two places, of so many bytes. */
static struct lh_item *make_sparse(const char *name, off_t size, off_t a, off_t b, uint32_t index)
{
    struct lh_item *item = make(name, 0, index);
    int fd = open(scratch_path(name), O_WRONLY | O_CLOEXEC);
    struct stat st;

    if (ftruncate(fd, size) != 0 || pwrite(fd, "x", 1, a) != 1 || pwrite(fd, "y", 1, b) != 1 ||
        fstat(fd, &st) != 0)
        bail("cannot make %s", name);
    close(fd);
    item->identity.size = (uint64_t)size;
    item->identity.mtime = (struct lh_time){st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec};
    item->identity.ctime = (struct lh_time){st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec};
    return item;
}

static void is_part(const uint8_t *out, size_t i, uint64_t offset, uint32_t length, uint8_t flags)
{
    struct lh_part p = lh_pack_get(out, i);

    ok(p.offset == offset && p.length == length && p.flags == flags,
       "part %zu: %u bytes at %llu, flags %u", i, p.length, (unsigned long long)p.offset, p.flags);
}

static void test_holes(void)
{
    struct seen seen;
    struct lh_packs *packs = fresh(&seen);
    struct lh_item *a = make_sparse("s", 30000, 5000, 20480, 3), *b = make("d", 100, 4);
    struct lh_packs_part parts[] = {{a, 0, 28700}, {b, 0, 100}, {a, 28700, 1300}};
    uint8_t *out = malloc(GRID);
    const uint8_t *at = out + LH_PACK_HEAD + 6 * LH_PART_SIZE;
    const char *why = "";
    uint32_t len;

    is_u64(lh_packs_mean(packs), 0, "no packs");
    is_i64(lh_packs_add(packs, parts, 3), 0, "a pack with a sparse file");
    is_i64(lh_packs_add(packs, parts + 1, 1), 0, "and a small one");
    is_u64(lh_packs_bytes(packs, 0, 9), 2 * LH_PACK_HEAD + 4 * LH_PART_SIZE + 30200,
           "so much they will be if nothing is a hole");
    len = lh_packs_make(packs, 0, out);
    is_u64(lh_packs_bytes(packs, 0, 1), len, "it is what it was made to be");
    is_u64(lh_packs_mean(packs), (len + LH_PACK_HEAD + LH_PART_SIZE + 100) / 2, "on average");
    lh_packs_drop(packs, 1, 2);
    is_u64(lh_packs_bytes(packs, 0, 9), len, "what has arrived does not count");
    is_u64(lh_packs_mean(packs), len, "nor on average");
    is_i64(lh_pack_count(out, len, &why), 7, "holes are parts of their own: %s", why);
    at += LH_PART_SIZE;
    is_part(out, 0, 0, 4096, LH_PART_HOLE);
    is_part(out, 1, 4096, 4096, 0);
    is_part(out, 2, 8192, 12288, LH_PART_HOLE);
    is_part(out, 3, 20480, 4096, 0);
    is_part(out, 4, 24576, 4124, LH_PART_HOLE);
    is_part(out, 5, 0, 100, 0);
    is_part(out, 6, 28700, 1300, LH_PART_HOLE);
    is_u64(len, LH_PACK_HEAD + 7 * LH_PART_SIZE + 8192 + 100, "contents are of data only");
    ok(at[0] == 0 && at[904] == 'x' && at[4096] == 'y' && at[4097] == 0, "which is in its place");
    ok(holds(at + 8192, 100, 0, 4), "and so is the next file's");
    lh_packs_free(packs);
    lh_item_drop(a);
    lh_item_drop(b);
    free(out);
}

/* The same file without holes: its zeros are found when that is asked for, and only then. */
static void test_zeros(void)
{
    struct seen seen;
    struct lh_packs_how how = {
        .open = open_item, .failed = item_failed, .user = &seen, .sparse = true};
    struct lh_packs *plain = fresh(&seen), *sparse = lh_packs_new(&how);
    uint8_t *data = calloc(1, 30000), *out = malloc(GRID);
    struct lh_item *a, *b = make("d", 100, 4);
    struct lh_packs_part parts[] = {{NULL, 0, 30000}, {b, 0, 100}};
    const char *why = "";

    data[5000] = 'x';
    data[20480] = 'y';
    a = make_with("dense", data, 30000, 3);
    parts[0].item = a;
    is_i64(lh_packs_add(plain, parts, 2), 0, "a pack with a file that has no holes");
    is_u64(lh_packs_make(plain, 0, out), LH_PACK_HEAD + 2 * LH_PART_SIZE + 30100, "has all of it");
    lh_packs_drop(plain, 0, 1);
    is_u64(lh_packs_holes(plain), 0, "and no holes");
    is_i64(lh_packs_add(sparse, parts, 2), 0, "the same, sparse");
    is_u64(lh_packs_make(sparse, 0, out), LH_PACK_HEAD + 6 * LH_PART_SIZE + 8192 + 100,
           "has pages with data, and what is small");
    is_i64(lh_pack_count(out, LH_PACK_HEAD + 6 * LH_PART_SIZE + 8292, &why), 6, "is one: %s", why);
    is_part(out, 0, 0, 4096, LH_PART_HOLE);
    is_part(out, 1, 4096, 4096, 0);
    is_part(out, 2, 8192, 12288, LH_PART_HOLE);
    is_part(out, 3, 20480, 4096, 0);
    is_part(out, 4, 24576, 5424, LH_PART_HOLE);
    is_part(out, 5, 0, 100, 0);
    ok(holds(out + LH_PACK_HEAD + 6 * LH_PART_SIZE + 8192, 100, 0, 4), "the other file is whole");
    lh_packs_make(sparse, 0, out);
    is_u64(lh_packs_holes(sparse), 0, "its holes count");
    lh_packs_drop(sparse, 0, 1);
    is_u64(lh_packs_holes(sparse), 4096 + 12288 + 5424, "when it has arrived, once");
    lh_packs_add(sparse, parts, 1);
    lh_packs_make(sparse, 1, out);
    lh_packs_clear(sparse);
    is_u64(lh_packs_holes(sparse), 4096 + 12288 + 5424, "not when it is given up");
    lh_packs_free(plain);
    lh_packs_free(sparse);
    lh_item_drop(a);
    lh_item_drop(b);
    free(data);
    free(out);
    scratch_clear();
}

static void test_contents(void)
{
    struct seen seen;
    struct lh_packs *packs = fresh(&seen);
    struct lh_item *a = make("a", 1000, 7), *b = make("b", 0, 8), *c = make("c", 100000, 9);
    struct lh_packs_part first[] = {{a, 0, 1000}, {b, 0, 0}, {c, 0, 60000}};
    struct lh_packs_part second[] = {{c, 60000, 40000}};
    uint8_t *out = malloc(GRID);
    const uint8_t *at = out + LH_PACK_HEAD + 3 * LH_PART_SIZE;
    const char *why = "";
    struct lh_part part;
    uint32_t len;

    is_i64(lh_packs_add(packs, first, 3), 0, "a pack of three parts");
    is_i64(lh_packs_add(packs, second, 1), 0, "and the end of the third");
    len = lh_packs_make(packs, 0, out);
    is_u64(len, LH_PACK_HEAD + 3 * LH_PART_SIZE + 61000, "is as long as rows and contents");
    is_i64(lh_pack_count(out, len, &why), 3, "and is one: %s", why);
    part = lh_pack_get(out, 0);
    ok(part.entry == 7 && part.offset == 0 && part.length == 1000, "the first part");
    ok(holds(at, 1000, 0, 7), "with its contents");
    part = lh_pack_get(out, 1);
    ok(part.entry == 8 && part.length == 0 && part.flags == 0, "an empty file has a part");
    ok(holds(at + 1000, 60000, 0, 9), "the third part's contents follow");
    len = lh_packs_make(packs, 1, out);
    part = lh_pack_get(out, 0);
    ok(part.entry == 9 && part.offset == 60000 && part.length == 40000, "the rest of it");
    ok(holds(out + LH_PACK_HEAD + LH_PART_SIZE, 40000, 60000, 9), "with its contents");
    is_u64(lh_packs_make(packs, 1, out), len, "made again it is the same");
    is_u64(lh_packs_make(packs, 2, out), 0, "there is no third");
    is_u64(seen.n_failed, 0, "nothing has failed");
    is_u64(atomic_load(&c->refs), 3, "two packs keep the third file");
    lh_packs_drop(packs, 0, 1);
    is_u64(atomic_load(&c->refs), 2, "one has been let go");
    is_u64(lh_packs_make(packs, 0, out), 0, "and is made no more");
    lh_packs_clear(packs);
    is_u64(atomic_load(&c->refs), 1, "all have");
    is_i64(lh_packs_add(packs, second, 1), 0, "another");
    ok(lh_packs_make(packs, 0, out) > 0, "has number 0 again");
    lh_packs_free(packs);
    lh_item_drop(a);
    lh_item_drop(b);
    lh_item_drop(c);
    free(out);
    scratch_clear();
}

/* Voided once, in all packs, and told once; the others are as they were. */
static void test_spoilt(const char *what, void (*spoil)(struct seen *seen), int status)
{
    struct seen seen;
    struct lh_packs *packs = fresh(&seen);
    struct lh_item *a = make("a", 500, 1), *b = make("b", 3000, 2), *c = make("c", 700, 3);
    struct lh_packs_part first[] = {{a, 0, 500}, {b, 0, 1000}, {c, 0, 700}};
    struct lh_packs_part second[] = {{b, 1000, 2000}};
    uint8_t *out = malloc(GRID);
    const uint8_t *at = out + LH_PACK_HEAD + 3 * LH_PART_SIZE;
    const char *why = "";
    struct lh_part part;
    uint32_t len;

    lh_packs_add(packs, first, 3);
    lh_packs_add(packs, second, 1);
    spoil(&seen);
    len = lh_packs_make(packs, 0, out);
    is_i64(lh_pack_count(out, len, &why), 3, "%s: still a pack: %s", what, why);
    if (seen.refuse) {
        is_u64(seen.n_failed, 3, "%s: all three fail", what);
    } else {
        part = lh_pack_get(out, 1);
        ok(part.flags == LH_PART_VOID && part.length == 0 && part.entry == 2, "%s: void", what);
        ok(holds(at, 500, 0, 1) && holds(at + 500, 700, 0, 3), "%s: the others are there", what);
        is_u64(seen.n_failed, 1, "%s: told", what);
        is_u64(seen.index, 2, "%s: of that one", what);
    }
    is_i64(seen.status, status, "%s: why", what);
    seen.n_failed = 0;
    seen.refuse = false;
    lh_packs_make(packs, 1, out);
    part = lh_pack_get(out, 0);
    is_u64(part.flags, LH_PART_VOID, "%s: void in the next pack too", what);
    is_u64(seen.n_failed, 0, "%s: told once", what);
    lh_packs_free(packs);
    lh_item_drop(a);
    lh_item_drop(b);
    lh_item_drop(c);
    free(out);
    scratch_clear();
}

static void grow(struct seen *seen)
{
    uint8_t data[4000] = {0};

    scratch_write("b", data, sizeof(data));
}

static void shrink(struct seen *seen)
{
    scratch_write("b", "short", 5);
}

static void touch(struct seen *seen)
{
    if (chmod(scratch_path("b"), 0600) != 0 || chmod(scratch_path("b"), 0644) != 0)
        bail("chmod");
    if (utimensat(AT_FDCWD, scratch_path("b"), NULL, 0) != 0)
        bail("utimensat");
}

static void vanish(struct seen *seen)
{
    unlink(scratch_path("b"));
}

static void refuse(struct seen *seen)
{
    seen->refuse = true;
}

/* Threads that make while packs are added and dropped. */
struct crowd {
    struct lh_packs *packs;
    atomic_bool stop;
    atomic_uint n_made;
};

static void *maker(void *arg)
{
    struct crowd *crowd = arg;
    uint8_t *out = malloc(GRID);

    for (uint64_t k = 0; !atomic_load(&crowd->stop); k = (k + 1) % 3000)
        if (lh_packs_make(crowd->packs, k, out) > 0)
            atomic_fetch_add(&crowd->n_made, 1);
    free(out);
    return NULL;
}

static void test_threads(void)
{
    struct seen seen;
    struct crowd crowd = {.packs = fresh(&seen)};
    struct lh_item *a = make("a", 200, 1);
    struct lh_packs_part part = {a, 0, 200};
    pthread_t threads[3];

    for (unsigned i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, maker, &crowd) != 0)
            bail("no thread");
    for (uint64_t k = 0; k < 3000; k++) {
        if (lh_packs_add(crowd.packs, &part, 1) != 0)
            bail("no memory");
        if (k >= 1000)
            lh_packs_drop(crowd.packs, k - 1000, k - 999);
    }
    while (atomic_load(&crowd.n_made) < 100)
        ;
    lh_packs_drop(crowd.packs, 0, 3000);
    atomic_store(&crowd.stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    is_u64(atomic_load(&a->refs), 1, "threads: every pack is gone");
    is_u64(seen.n_failed, 0, "threads: nothing has failed");
    lh_packs_free(crowd.packs);
    lh_item_drop(a);
    scratch_clear();
}

static void test_no_memory(void)
{
    struct seen seen;
    struct lh_packs *packs = NULL;
    struct lh_item *a = make("a", 10, 1);
    struct lh_packs_part part = {a, 0, 10};
    bool met = true;
    unsigned n = 0;

    while (packs == NULL) {
        lh_fault_arm(n++);
        packs = fresh(&seen);
        met = lh_fault_disarm();
        ok((packs == NULL) == met, "begun only with all its memory");
    }
    met = false;
    for (unsigned k = 0; k < 600 && !met; k++) { /* past the first size of the table */
        lh_fault_arm(1);
        if (lh_packs_add(packs, &part, 1) != 0)
            is_u64(atomic_load(&a->refs), 1 + k, "a pack that was not added keeps nothing");
        met = lh_fault_disarm();
    }
    ok(met, "the table could not grow");
    lh_fault_arm(0);
    is_i64(lh_packs_add(packs, &part, 1), -LH_E_NOMEM, "no memory for a pack");
    lh_fault_disarm();
    is_i64(lh_packs_add(packs, &part, 1), 0, "then there is");
    lh_packs_free(packs);
    is_u64(atomic_load(&a->refs), 1, "all are let go");
    lh_item_drop(a);
    scratch_clear();
}

int main(void)
{
    test_contents();
    test_holes();
    test_zeros();
    test_spoilt("it grew", grow, LH_E_SOURCE_CHANGED);
    test_spoilt("it shrank", shrink, LH_E_SOURCE_CHANGED);
    test_spoilt("it was touched", touch, LH_E_SOURCE_CHANGED);
    test_spoilt("it is gone", vanish, LH_E_SOURCE);
    test_spoilt("none can be opened", refuse, LH_E_SOURCE);
    test_threads();
    test_no_memory();
    return done_testing();
}
