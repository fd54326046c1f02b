/* Packs of one tree from several threads at once, beside commits and entries that are voided; into
 * directories that nobody may write to, too. */
#include "rtree_rig.h"
#include "scratch.h"
#include "test/lib/rng.h"
#include "test/lib/tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534
#define N_DIRS 100u /* more than are kept open */
#define N_FILES 300u
#define N_THREADS 4u
#define PART_BYTES 7000u
#define PACK_PARTS 8u
#define PARTS_MAX 8192u

/* A part of whichever file; what all of them are in, shuffled, is cut into packs. */
static struct lh_part parts[PARTS_MAX];
static uint32_t n_parts;
static uint32_t n_packs;
static struct rig *rig;
static atomic_uint next_pack;
static atomic_uint n_wrong;

static uint32_t size_of(uint32_t file)
{
    return file % 7 == 0 ? 0 : file % 5 == 0 ? file * 300 : file * 20;
}

/* Every 11th changes while it is read: its last part is void. */
static bool is_void(uint32_t file)
{
    return file % 11 == 10;
}

static void cut_files(struct lh_rng *rng)
{
    for (uint32_t f = 0; f < N_FILES; f++) {
        uint32_t size = size_of(f);
        uint32_t at = 0;

        do {
            uint32_t n = size - at < PART_BYTES ? size - at : PART_BYTES;
            bool last = at + n == size;

            if (n_parts == PARTS_MAX)
                bail("the test is too small");
            parts[n_parts++] = (struct lh_part){.entry = f,
                                                .offset = last && is_void(f) ? 0 : at,
                                                .length = last && is_void(f) ? 0 : n,
                                                .flags = last && is_void(f) ? LH_PART_VOID : 0};
            at += n;
        } while (at < size);
    }
    for (uint32_t i = n_parts - 1; i > 0; i--) {
        uint32_t k = (uint32_t)lh_rng_below(rng, i + 1);
        struct lh_part p = parts[i];

        parts[i] = parts[k];
        parts[k] = p;
    }
    n_packs = (n_parts + PACK_PARTS - 1) / PACK_PARTS;
}

static void write_pack(uint32_t pack, uint8_t *payload)
{
    uint32_t first = pack * PACK_PARTS;
    uint32_t n = n_parts - first < PACK_PARTS ? n_parts - first : PACK_PARTS;
    size_t len = lh_pack_encode(parts + first, n, payload);
    struct lh_hash hash;
    struct lh_err err = {0};
    bool soon;
    int r;

    for (uint32_t i = first; i < first + n; i++) {
        scratch_fill(payload + len, parts[i].length, parts[i].offset, parts[i].entry);
        len += parts[i].length;
    }
    lh_hash_bytes(payload, len, &hash);
    r = rig->store->ops->write(rig->store, RIG_EPOCH, (uint64_t)pack * RIG_GRID, payload,
                               (uint32_t)len, &hash, &soon, &err);
    if (r != LH_CLAIM_OK) {
        diag("pack %u: %d %s", pack, r, err.text);
        atomic_fetch_add(&n_wrong, 1);
    }
}

static void *writer(void *arg)
{
    uint8_t *payload = malloc(RIG_GRID);
    uint32_t pack;

    while (payload != NULL && (pack = atomic_fetch_add(&next_pack, 1)) < n_packs)
        write_pack(pack, payload);
    free(payload);
    return NULL;
}

static const mode_t shut_modes[] = {0555, 0500, 0444, 0311, 0};

/* Directories that their owner may not write to, or not even open. */
static void make_shut(void)
{
    mkdir(scratch_path("t"), 0755);
    for (unsigned i = 0; i < N_DIRS; i++) {
        char name[32];

        snprintf(name, sizeof(name), "d%u", i);
        if (mkdir(rig_path(name), 0755) != 0 || chmod(rig_path(name), shut_modes[i % 5]) != 0)
            bail("cannot make %s", name);
    }
}

/* How many have not got their modes back. They are opened, to be looked into. */
static unsigned open_shut(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < N_DIRS; i++) {
        struct stat st = {0};
        char name[32];

        snprintf(name, sizeof(name), "d%u", i);
        wrong += stat(rig_path(name), &st) != 0 || (st.st_mode & 07777) != shut_modes[i % 5];
        chmod(rig_path(name), 0755);
    }
    return wrong;
}

/* Every file whole and settled, or void and not there: how many are not. */
static unsigned look_at_files(const struct lh_runs *settled)
{
    unsigned wrong = 0;
    char name[32];

    for (uint32_t f = 0; f < N_FILES; f++) {
        snprintf(name, sizeof(name), "d%u/f%u", f % N_DIRS, f);
        wrong += lh_runs_has(settled, f) == is_void(f);
        wrong += rig_holds(name, f, size_of(f)) == is_void(f);
    }
    return wrong;
}

static void one_round(uint64_t seed, bool shut)
{
    pthread_t threads[N_THREADS];
    struct lh_rng rng;
    struct lh_runs settled;
    unsigned wrong = 0;
    char name[32];

    rng.state = seed;
    n_parts = 0;
    cut_files(&rng);
    atomic_store(&next_pack, 0);
    if (shut)
        make_shut();
    if (rig_open(rig, LH_OFFER_KEEP_SAME, LH_KEEP_MODE | LH_KEEP_TIMES) != 0)
        bail("%s", rig->err.text);
    for (uint32_t f = 0; f < N_FILES; f++) {
        snprintf(name, sizeof(name), "d%u/f%u", f % N_DIRS, f);
        rig_add(rig, LH_KIND_FILE, name, size_of(f));
    }
    if (rig_ask(rig) != 0)
        bail("%s", rig->err.text);
    lh_runs_init(&settled, LH_RUNS_MAX);
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_create(&threads[i], NULL, writer, NULL);
    for (bool over = false; !over;) {
        over = atomic_load(&next_pack) >= n_packs + N_THREADS;
        if (rig_commit(rig) < 0) {
            ok(false, "a commit: %s", rig->err.text);
            break;
        }
        for (size_t i = 0; i < rig->settled.n; i++)
            lh_runs_add(&settled, rig->settled.v[i].first, rig->settled.v[i].end);
        wrong += rig->troubles != NULL;
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    rig_commit(rig);
    for (size_t i = 0; i < rig->settled.n; i++)
        lh_runs_add(&settled, rig->settled.v[i].first, rig->settled.v[i].end);
    rig_close(rig);
    if (shut)
        is_u64(open_shut(), 0, "the directories have their modes again");
    wrong += look_at_files(&settled);
    is_u64(wrong, 0, "seed %u: whole, or void and not there", (unsigned)seed);
    is_u64(atomic_load(&n_wrong), 0, "every pack is taken");
    is_u64(rig_hidden(), 0, "no staging file is left");
    lh_runs_free(&settled);
    scratch_clear();
}

/* Root may write everywhere. False: nor may nobody write here. */
static bool become_nobody(void)
{
    if (geteuid() != 0)
        return true;
    return chown(scratch_dir(), NOBODY, NOBODY) == 0 && setegid(NOBODY) == 0 &&
           seteuid(NOBODY) == 0 && mkdir(scratch_path("probe"), 0755) == 0;
}

int main(void)
{
    rig = calloc(1, sizeof(*rig));
    if (rig == NULL)
        bail("out of memory");
    for (uint64_t seed = 1; seed <= 10; seed++) {
        rig_in_memory = seed % 2 == 0;
        one_round(seed, false);
    }
    if (!become_nobody())
        skip("nobody may not write to the scratch directory");
    else
        for (uint64_t seed = 11; seed <= 20; seed++) {
            rig_in_memory = seed % 2 == 0;
            one_round(seed, true);
        }
    if (getuid() == 0 && (seteuid(0) != 0 || setegid(0) != 0))
        bail("cannot be root again");
    free(rig);
    return done_testing();
}
