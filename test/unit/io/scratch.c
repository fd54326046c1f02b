#include "scratch.h"

#include "core/sched.h"
#include "test/lib/tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];
static pid_t owner; /* forked children leave it alone */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    if (ftw->level > 0)
        remove(path);
    return 0;
}

void scratch_clear(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void clean(void)
{
    if (getpid() != owner)
        return;
    scratch_clear();
    rmdir(dir);
}

const char *scratch_dir(void)
{
    const char *tmp = getenv("TMPDIR");

    if (dir[0] != '\0')
        return dir;
    snprintf(dir, sizeof(dir), "%s/longhaul-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL)
        bail("cannot make a directory in %s", dir);
    owner = getpid();
    atexit(clean);
    return dir;
}

const char *scratch_path(const char *name)
{
    static _Thread_local char paths[8][1024];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", scratch_dir(), name);
    return path;
}

void scratch_write(const char *name, const void *data, size_t len)
{
    FILE *f = fopen(scratch_path(name), "wb");

    if (f == NULL || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        bail("cannot write %s", name);
}

uint8_t *scratch_read(const char *name, size_t *len)
{
    FILE *f = fopen(scratch_path(name), "rb");
    struct stat st;
    uint8_t *data;

    if (f == NULL)
        return NULL;
    if (fstat(fileno(f), &st) != 0 || (data = malloc((size_t)st.st_size + 1)) == NULL)
        bail("cannot read %s", name);
    *len = fread(data, 1, (size_t)st.st_size, f);
    fclose(f);
    return data;
}

bool scratch_exists(const char *name)
{
    return access(scratch_path(name), F_OK) == 0;
}

size_t scratch_count(bool hidden)
{
    DIR *d = opendir(scratch_dir());
    const struct dirent *e;
    size_t n = 0;

    if (d == NULL)
        bail("cannot read the test's directory");
    while ((e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            (e->d_name[0] == '.') == hidden)
            n++;
    }
    closedir(d);
    return n;
}

void scratch_fill(uint8_t *out, size_t len, uint64_t offset, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t x = (offset + i) * 0x9e3779b97f4a7c15ull + seed * 0x2545f4914f6cdd1dull + 1;

        out[i] = (uint8_t)(x >> 56 ^ x >> 32);
    }
}

void scratch_source_init(struct scratch_source *src, struct lh_place *root, const char *name,
                         uint64_t size, uint32_t seed)
{
    *src = (struct scratch_source){
        .how = {.root = root,
                .path = (const uint8_t *)name,
                .path_len = strlen(name),
                .hash = LH_HASH_XXH3_128,
                .block_bytes = SCRATCH_BLOCK,
                .source = {.dev = 7,
                           .ino = 11,
                           .size = size,
                           .mtime = {.sec = 1600000000 + seed, .nsec = 123456789},
                           .ctime = {.sec = 1600000000 + seed, .nsec = 987654321}},
                .mode = 0640,
                .asker = {.id = {1, 2, 3}},
                .max_pending = 4096},
        .data = malloc(size + 1),
        .n_blocks = lh_blocks_of(size, SCRATCH_BLOCK),
    };
    if (src->data == NULL)
        bail("out of memory");
    scratch_fill(src->data, size, 0, seed);
}

void scratch_source_free(struct scratch_source *src)
{
    free(src->data);
    src->data = NULL;
}

uint32_t scratch_block_len(const struct scratch_source *src, uint64_t block)
{
    return lh_block_length(src->how.source.size, SCRATCH_BLOCK, block);
}

int scratch_send(struct lh_sink *sink, const struct scratch_source *src, uint64_t epoch,
                 uint64_t block, struct lh_err *err)
{
    const uint8_t *at = src->data + block * SCRATCH_BLOCK;
    uint32_t len = scratch_block_len(src, block);
    struct lh_hash hash;
    bool soon = false;

    lh_hash_bytes(at, len, &hash);
    return lh_sink_write(sink, epoch, block * SCRATCH_BLOCK, at, len, &hash, &soon, err);
}

int scratch_commit(struct lh_sink *sink, struct lh_runs *acked, struct lh_err *err)
{
    struct lh_runs mine;
    int r = lh_sink_commit_begin(sink, err);

    if (r <= 0)
        return r;
    lh_runs_init(&mine, LH_RUNS_MAX);
    r = lh_sink_commit_end(sink, acked != NULL ? acked : &mine, err);
    lh_runs_free(&mine);
    return r;
}

int scratch_finish(struct lh_sink *sink, const struct scratch_source *src, struct lh_hash *digest,
                   struct lh_err *err)
{
    struct lh_finish finish = {.identity = src->how.source, .mode = src->how.mode};

    return lh_sink_finish(sink, &finish, digest, err);
}

int scratch_complete(struct lh_sink *sink, const struct scratch_source *src, uint64_t epoch,
                     struct lh_err *err)
{
    struct lh_hash digest;
    int r;

    for (uint64_t block = 0; block < src->n_blocks; block++) {
        r = scratch_send(sink, src, epoch, block, err);
        if (r != LH_CLAIM_OK && r != LH_CLAIM_DUPLICATE)
            return r;
    }
    r = scratch_commit(sink, NULL, err);
    return r != 0 ? r : scratch_finish(sink, src, &digest, err);
}

bool scratch_same(const char *name, const struct scratch_source *src)
{
    size_t len;
    uint8_t *have = scratch_read(name, &len);
    bool same = have != NULL && len == src->how.source.size && memcmp(have, src->data, len) == 0;

    free(have);
    return same;
}

struct lh_hash scratch_digest(const struct scratch_source *src)
{
    struct lh_hash *list = calloc(src->n_blocks + 1, sizeof(*list));
    struct lh_hash digest;

    if (list == NULL)
        bail("out of memory");
    for (uint64_t b = 0; b < src->n_blocks; b++)
        lh_hash_bytes(src->data + b * SCRATCH_BLOCK, scratch_block_len(src, b), &list[b]);
    lh_hash_bytes(list, src->n_blocks * LH_HASH_SIZE, &digest);
    free(list);
    return digest;
}

bool scratch_as_nobody(void)
{
    if (geteuid() == 0 && (chown(scratch_dir(), SCRATCH_NOBODY, SCRATCH_NOBODY) != 0 ||
                           setegid(SCRATCH_NOBODY) != 0 || seteuid(SCRATCH_NOBODY) != 0))
        bail("cannot be somebody else");
    return faccessat(AT_FDCWD, scratch_dir(), W_OK, AT_EACCESS) == 0;
}

void scratch_as_before(void)
{
    if (getuid() == 0 && (seteuid(0) != 0 || setegid(0) != 0))
        bail("cannot be root again");
}
