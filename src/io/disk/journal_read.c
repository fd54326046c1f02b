/* What a journal says: its records in order, up to the first that is no good.
 *
 * Thread: an I/O thread. Owner: nobody; it changes nothing and locks nothing. Believing what is
 * read is the caller's business: see lh_journal_recover. */
#include "io/disk/journal.h"

#include "core/sched.h"

#include <stdlib.h>
#include <string.h>

#define SCAN_BYTES (2 * LH_RECORD_MAX)

void lh_journal_state_init(struct lh_journal_state *st)
{
    memset(st, 0, sizeof(*st));
    lh_runs_init(&st->durable, LH_RUNS_MAX);
}

void lh_journal_state_free(struct lh_journal_state *st)
{
    lh_runs_free(&st->durable);
}

static int take_head(struct lh_journal_state *st, const uint8_t *in, size_t len)
{
    struct lh_journal_head head;

    if (lh_journal_head_decode(in, len, &head) != 0 || head.source.size > INT64_MAX)
        return -LH_E_CORRUPT;
    memcpy(st->name, head.name, head.name_len);
    st->name[head.name_len] = '\0';
    head.name = (const uint8_t *)st->name;
    st->head = head;
    st->n_blocks = lh_blocks_of(head.source.size, head.block_bytes);
    return 0;
}

static int take_epoch(struct lh_journal_state *st, const uint8_t *in, size_t len)
{
    struct lh_journal_epoch epoch;

    if (lh_journal_epoch_decode(in, len, &epoch) != 0 || epoch.epoch < st->epoch.epoch)
        return -LH_E_CORRUPT;
    st->epoch = epoch;
    st->valid = true;
    return 0;
}

/* index_fd: -1, or where the hashes go. */
static int take_blocks(struct lh_journal_state *st, const uint8_t *in, size_t len, int index_fd)
{
    uint64_t first;
    const uint8_t *hashes;
    uint32_t n;
    int r;

    if (lh_journal_blocks_decode(in, len, &first, &hashes, &n) != 0 || first + n > st->n_blocks)
        return -LH_E_CORRUPT;
    if (index_fd >= 0) {
        int e = lh_disk_write(index_fd, hashes, (size_t)n * LH_HASH_SIZE, first * LH_HASH_SIZE);

        if (e != 0)
            return -lh_status_of_write_errno(e);
    }
    r = lh_runs_add(&st->durable, first, first + n);
    if (r == 0)
        st->finished = false;
    return r;
}

static int take_drop(struct lh_journal_state *st, const uint8_t *in, size_t len)
{
    struct lh_block_run run;
    int r;

    if (lh_journal_drop_decode(in, len, &run) != 0 || run.first + run.count > st->n_blocks)
        return -LH_E_CORRUPT;
    r = lh_runs_sub(&st->durable, run.first, run.first + run.count);
    if (r == 0)
        st->finished = false;
    return r;
}

static int take_finish(struct lh_journal_state *st, const uint8_t *in, size_t len)
{
    struct lh_journal_finish finish;

    if (lh_journal_finish_decode(in, len, &finish) != 0 || st->durable.blocks != st->n_blocks)
        return -LH_E_CORRUPT;
    st->finish = finish;
    st->finished = true;
    return 0;
}

/* Let a record say its part. -LH_E_CORRUPT: it is one that no writer of ours writes here. */
static int take(struct lh_journal_state *st, const struct lh_record *rec, const uint8_t *in,
                int index_fd)
{
    if (rec->file != 0 || st->done)
        return -LH_E_CORRUPT;
    if (rec->type == LH_RECORD_HEAD)
        return take_head(st, in, rec->length);
    if (rec->type == LH_RECORD_EPOCH)
        return take_epoch(st, in, rec->length);
    if (!st->valid)
        return -LH_E_CORRUPT;
    switch (rec->type) {
    case LH_RECORD_BLOCKS:
        return take_blocks(st, in, rec->length, index_fd);
    case LH_RECORD_DROP:
        return take_drop(st, in, rec->length);
    case LH_RECORD_FINISH:
        return take_finish(st, in, rec->length);
    case LH_RECORD_DONE:
        st->done = st->finished;
        return st->done ? 0 : -LH_E_CORRUPT;
    default:
        return -LH_E_CORRUPT;
    }
}

/* Take the records in `buf`. Returns the bytes taken; *stop: what comes next is no good record. */
static int take_all(struct lh_journal_state *st, const uint8_t *buf, size_t len, int index_fd,
                    size_t *taken, bool *stop)
{
    size_t at = 0;

    *stop = false;
    for (;;) {
        struct lh_record rec;
        const uint8_t *payload;
        uint64_t seed = st->next_seq == 0 ? 0 : lh_journal_seed(st->head.uuid);
        int n = lh_record_open(buf + at, len - at, st->next_seq, seed, &rec, &payload);
        int r;

        if (n <= 0) {
            *stop = n < 0;
            break;
        }
        r = take(st, &rec, payload, index_fd);
        /* More holes than any ledger of ours can have had is damage too. */
        if (r == -LH_E_CORRUPT || r == -LH_E_LIMIT) {
            *stop = true;
            break;
        }
        if (r != 0)
            return r;
        at += (size_t)n;
        st->next_seq++;
    }
    *taken = at;
    return 0;
}

int lh_journal_read(int fd, int index_fd, struct lh_journal_state *st, struct lh_err *err)
{
    uint8_t *buf = malloc(SCAN_BYTES);
    bool stop = false;
    int r = 0;

    if (buf == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    while (!stop) {
        size_t len;
        size_t taken;
        int e = lh_disk_read(fd, buf, SCAN_BYTES, st->end, &len);

        if (e != 0) {
            r = lh_err_sys(err, LH_E_DEST, e, "cannot read a journal");
            break;
        }
        r = take_all(st, buf, len, index_fd, &taken, &stop);
        if (r != 0) {
            lh_err_set(err, -r, "cannot take in a journal: %s", lh_status_text(r));
            break;
        }
        st->end += taken;
        st->torn = taken < len;
        if (taken == 0)
            break;
    }
    free(buf);
    return r;
}

int lh_journal_scan(int fd, struct lh_journal_state *st, struct lh_err *err)
{
    return lh_journal_read(fd, -1, st, err);
}
