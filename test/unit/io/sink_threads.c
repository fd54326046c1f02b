/* Four streams write interleaved and duplicate blocks while a committer commits: made for
 * ThreadSanitizer, and right without it. */
#include "io/disk/sink.h"

#include "scratch.h"
#include "test/lib/tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define N_BLOCKS 400
#define N_THREADS 4

static struct scratch_source src;
static struct lh_sink *sink;
static struct lh_sink_opened opened;
static atomic_uint n_ok;
static atomic_uint n_duplicate;
static atomic_uint n_fenced;
static atomic_uint n_other;
static atomic_bool stop;

/* Each sends every block, starting elsewhere: of four copies one must win. */
static void *stream_main(void *arg)
{
    uint64_t start = (uint64_t)(uintptr_t)arg * N_BLOCKS / N_THREADS / 2;

    for (uint64_t i = 0; i < N_BLOCKS; i++) {
        uint64_t block = (start + i) % N_BLOCKS;
        struct lh_err err;
        int r = scratch_send(sink, &src, opened.epoch, block, &err);

        if (r == LH_CLAIM_FULL) {
            usleep(200);
            i--;
            continue;
        }
        atomic_fetch_add(r == LH_CLAIM_OK          ? &n_ok
                         : r == LH_CLAIM_DUPLICATE ? &n_duplicate
                         : r == LH_CLAIM_FENCED    ? &n_fenced
                                                   : &n_other,
                         1);
        lh_sink_wants(sink, opened.epoch, block * SCRATCH_BLOCK);
    }
    return NULL;
}

static void *commit_main(void *arg)
{
    struct lh_runs *acked = arg;

    while (!atomic_load(&stop)) {
        struct lh_err err;
        uint64_t before = acked->blocks;

        if (scratch_commit(sink, acked, &err) < 0)
            bail("%s", err.text);
        if (acked->blocks == before)
            usleep(500);
    }
    return NULL;
}

static void run(struct lh_runs *acked, bool fence)
{
    pthread_t streams[N_THREADS];
    pthread_t committer;

    atomic_store(&n_ok, 0);
    atomic_store(&n_duplicate, 0);
    atomic_store(&n_fenced, 0);
    atomic_store(&stop, false);
    pthread_create(&committer, NULL, commit_main, acked);
    for (uintptr_t i = 0; i < N_THREADS; i++)
        pthread_create(&streams[i], NULL, stream_main, (void *)i);
    if (fence) {
        while (atomic_load(&n_ok) < N_BLOCKS / 4)
            usleep(100);
        lh_sink_fence(sink);
        diag("fenced after %u blocks", atomic_load(&n_ok));
    }
    for (size_t i = 0; i < N_THREADS; i++)
        pthread_join(streams[i], NULL);
    atomic_store(&stop, true);
    pthread_join(committer, NULL);
}

int main(void)
{
    struct lh_place *root;
    struct lh_runs acked;
    struct lh_runs durable;
    struct lh_hash digest;
    struct lh_hash want;
    struct lh_err err = {0};

    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    lh_runs_init(&acked, LH_RUNS_MAX);
    lh_runs_init(&durable, LH_RUNS_MAX);
    scratch_source_init(&src, root, "t", N_BLOCKS * SCRATCH_BLOCK - 77, 1);
    src.how.max_pending = 64;
    is_i64(lh_sink_open(&src.how, &sink, &opened, &err), 0, "opened");

    run(&acked, true);
    ok(atomic_load(&n_fenced) > 0 && atomic_load(&n_other) == 0, "fenced in the middle");
    ok(scratch_commit(sink, &acked, &err) >= 0, "what was written is committed");
    is_u64(acked.blocks, atomic_load(&n_ok), "each block that was taken is acknowledged once");
    lh_sink_close(sink);

    is_i64(lh_sink_open(&src.how, &sink, &opened, &err), 0, "taken up by the next holder");
    lh_sink_durable(sink, &durable);
    ok(durable.blocks == acked.blocks, "with all that was acknowledged");
    run(&acked, false);
    ok(scratch_commit(sink, &acked, &err) >= 0, "the rest is committed");
    is_u64(atomic_load(&n_ok), N_BLOCKS - durable.blocks, "each missing block was taken once");
    is_u64(atomic_load(&n_other), 0, "nothing else happened");
    is_u64(acked.blocks, N_BLOCKS, "all are acknowledged");
    is_i64(scratch_finish(sink, &src, &digest, &err), 0, "finished");
    want = scratch_digest(&src);
    is_mem(&digest, &want, sizeof(want), "its digest");
    ok(scratch_same("t", &src), "its contents");
    lh_sink_close(sink);

    scratch_source_free(&src);
    lh_runs_free(&acked);
    lh_runs_free(&durable);
    lh_place_close(root);
    return done_testing();
}
