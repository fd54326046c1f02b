/* The journal on the made-up disk, by the program's own codec.
 *
 * Append and sync are one step but for the records of a commit, whose sync takes time. */
#include "test/sim/world.h"

#include "util/mutant.h"

#include <string.h>

#define LOG_CHUNK 64

/* ---- reading ---- */

static bool take(const struct sim_world *w, struct sim_journal *j, const struct lh_record *rec,
                 const uint8_t *in)
{
    uint64_t first;
    const uint8_t *hashes;
    uint32_t n;
    struct lh_block_run run;

    if (j->done || rec->file != 0 || (!j->valid && rec->type > LH_RECORD_EPOCH))
        return false;
    switch (rec->type) {
    case LH_RECORD_HEAD:
        return lh_journal_head_decode(in, rec->length, &j->head) == 0;
    case LH_RECORD_EPOCH:
        j->valid = lh_journal_epoch_decode(in, rec->length, &j->epoch) == 0;
        return j->valid;
    case LH_RECORD_BLOCKS:
        if (lh_journal_blocks_decode(in, rec->length, &first, &hashes, &n) != 0 ||
            first + n > w->n_blocks)
            return false;
        for (uint32_t i = 0; i < n; i++) {
            memcpy(&j->hash[first + i], hashes + (size_t)i * LH_HASH_SIZE, LH_HASH_SIZE);
            j->durable |= sim_bit(first + i);
        }
        j->finished = false;
        return true;
    case LH_RECORD_DROP:
        if (lh_journal_drop_decode(in, rec->length, &run) != 0 ||
            run.first + run.count > w->n_blocks)
            return false;
        for (uint64_t i = 0; i < run.count; i++)
            j->durable &= ~sim_bit(run.first + i);
        j->finished = false;
        return true;
    case LH_RECORD_FINISH:
        j->finished = lh_journal_finish_decode(in, rec->length, &j->finish) == 0;
        return j->finished && j->durable == sim_all(w);
    default:
        j->done = rec->type == LH_RECORD_DONE && j->finished;
        return j->done;
    }
}

void sim_journal_scan(const struct sim_world *w, const uint8_t *base, size_t len,
                      struct sim_journal *j)
{
    memset(j, 0, sizeof(*j));
    for (;;) {
        uint64_t seed = j->next_seq == 0 ? 0 : lh_journal_seed(j->head.uuid);
        struct lh_record rec;
        const uint8_t *payload;
        int n = lh_record_open(base + j->end, len - j->end, j->next_seq, seed, &rec, &payload);

        if (n <= 0 || !take(w, j, &rec, payload))
            break;
        j->end += (size_t)n;
        j->next_seq++;
    }
    j->torn = j->end < len;
}

/* ---- writing ---- */

static int sync_log(struct sim_world *w)
{
    return lh_mutant("drop-journal-sync") ? 0 : sim_sync(&w->disk, w->sink.log);
}

/* Seal the record whose payload lies behind the header's place in `buf`, and write it. */
static int write_record(struct sim_world *w, uint8_t *buf, uint16_t type, size_t len)
{
    struct sim_sink *k = &w->sink;
    uint64_t seed = type == LH_RECORD_HEAD ? 0 : lh_journal_seed(k->journal.head.uuid);
    size_t whole = lh_record_seal(buf, type, 0, k->log_seq, (uint32_t)len, seed);

    if (sim_write(&w->disk, k->log, k->log_end, buf, whole) < 0)
        return -1;
    k->log_end += whole;
    k->log_seq++;
    return 0;
}

void sim_journal_cut_back(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;

    if (sim_truncate(&w->disk, k->log, k->journal.end) == 0)
        sim_sync(&w->disk, k->log);
}

/* Sync what was written; what the journal says has then to be read again by who wants to know. */
static int seal_all(struct sim_world *w, int rc)
{
    struct sim_sink *k = &w->sink;

    if (rc == 0)
        rc = sync_log(w);
    if (rc == 0) {
        k->journal.end = k->log_end;
        k->journal.next_seq = k->log_seq;
        return 0;
    }
    sim_journal_cut_back(w);
    return -1;
}

static void start_append(struct sim_world *w)
{
    w->sink.log_end = w->sink.journal.end;
    w->sink.log_seq = w->sink.journal.next_seq;
}

int sim_journal_begin(struct sim_world *w, const struct lh_journal_epoch *epoch)
{
    struct sim_sink *k = &w->sink;
    struct lh_journal_head head = {.hash = LH_HASH_XXH3_128,
                                   .block_bytes = w->grid,
                                   .source = k->source,
                                   .staging_ino = k->data->ino,
                                   .staging_btime = {.sec = (int64_t)k->data->btime},
                                   .name = (const uint8_t *)"target",
                                   .name_len = 6};
    uint8_t buf[1024];
    int rc;

    for (unsigned i = 0; i < 16; i++)
        head.uuid[i] = (uint8_t)lh_rng_next(&w->rng);
    k->journal.head = head;
    start_append(w);
    rc = write_record(w, buf, LH_RECORD_HEAD,
                      lh_journal_head_encode(&head, buf + LH_RECORD_HEADER_SIZE));
    if (rc == 0)
        rc = write_record(w, buf, LH_RECORD_EPOCH,
                          lh_journal_epoch_encode(epoch, buf + LH_RECORD_HEADER_SIZE));
    rc = seal_all(w, rc);
    if (rc == 0)
        k->journal.epoch = *epoch;
    return rc;
}

int sim_journal_epoch(struct sim_world *w, const struct lh_journal_epoch *epoch)
{
    uint8_t buf[512];
    int rc;

    start_append(w);
    rc = seal_all(w, write_record(w, buf, LH_RECORD_EPOCH,
                                  lh_journal_epoch_encode(epoch, buf + LH_RECORD_HEADER_SIZE)));
    if (rc == 0)
        w->sink.journal.epoch = *epoch;
    return rc;
}

int sim_journal_drop(struct sim_world *w, uint64_t first, uint64_t end)
{
    struct lh_block_run run = {first, end - first};
    uint8_t buf[256];

    start_append(w);
    return seal_all(w, write_record(w, buf, LH_RECORD_DROP,
                                    lh_journal_drop_encode(&run, buf + LH_RECORD_HEADER_SIZE)));
}

int sim_journal_finish(struct sim_world *w, const struct lh_journal_finish *finish)
{
    uint8_t buf[256];

    start_append(w);
    return seal_all(w, write_record(w, buf, LH_RECORD_FINISH,
                                    lh_journal_finish_encode(finish, buf + LH_RECORD_HEADER_SIZE)));
}

int sim_journal_done(struct sim_world *w)
{
    uint8_t buf[256];

    start_append(w);
    return seal_all(w, write_record(w, buf, LH_RECORD_DONE, 0));
}

int sim_journal_blocks_write(struct sim_world *w)
{
    static uint8_t buf[LH_RECORD_HEADER_SIZE + 16 + SIM_BLOCKS * 4 * LH_HASH_SIZE];
    const struct lh_batch *b = &w->sink.batch;

    start_append(w);
    for (size_t at = 0; at < b->n;) {
        struct lh_hash hashes[SIM_BLOCKS];
        uint64_t first = b->v[at].block;
        uint32_t n = 0;

        while (at < b->n && n < SIM_BLOCKS && b->v[at].block == first + n)
            hashes[n++] = b->v[at++].hash;
        if (write_record(w, buf, LH_RECORD_BLOCKS,
                         lh_journal_blocks_encode(first, hashes, n, buf + LH_RECORD_HEADER_SIZE)) <
            0)
            return -1;
    }
    return 0;
}

int sim_journal_reset(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;

    if (k->log->len[SIM_SEEN] > 0 &&
        (sim_truncate(&w->disk, k->log, 0) < 0 || sim_sync(&w->disk, k->log) < 0))
        return -1;
    memset(&k->journal, 0, sizeof(k->journal));
    return 0;
}
