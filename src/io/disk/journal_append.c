/* Records on their way to the journal: sealed, written one behind the other, synced.
 *
 * Owner: the sink. After an error the journal is dead: nothing is appended any more. */
#include "io/disk/journal_impl.h"

#include "core/sched.h"
#include "util/mutant.h"

#include <stdlib.h>
#include <string.h>

#define APPEND_BYTES (128u * 1024) /* more than the longest record; a commit is mostly less */
#define BLOCKS_FIXED 12            /* payload of a BLOCKS record before its hashes */
#define LONE_BLOCK_BYTES (LH_RECORD_HEADER_SIZE + 40) /* more than a record of one hash takes */

/* Records on their way to the disk: sealed one behind the other, written when it is full. */
struct appender {
    struct lh_journal *j;
    uint8_t *buf;
    size_t size;
    size_t used;
    uint64_t at; /* where `buf` goes in the file */
    uint64_t seq;
    int sys_errno; /* the first error */
};

static bool appender_start(struct appender *a, struct lh_journal *j, size_t size)
{
    LH_REQUIRE(!j->dead);
    *a = (struct appender){
        .j = j, .buf = malloc(size), .size = size, .at = j->state.end, .seq = j->state.next_seq};
    return a->buf != NULL;
}

static void appender_flush(struct appender *a)
{
    if (a->sys_errno == 0)
        a->sys_errno = lh_disk_write(a->j->fd, a->buf, a->used, a->at);
    a->at += a->used;
    a->used = 0;
}

/* Room for the payload of the next record, at most `len` bytes. */
static uint8_t *appender_room(struct appender *a, size_t len)
{
    size_t most = LH_RECORD_HEADER_SIZE + len + 8;

    LH_REQUIRE(most <= a->size);
    if (a->size - a->used < most)
        appender_flush(a);
    return a->buf + a->used + LH_RECORD_HEADER_SIZE;
}

static void appender_seal(struct appender *a, uint16_t type, size_t len)
{
    uint64_t seed = type == LH_RECORD_HEAD ? 0 : a->j->seed;

    a->used += lh_record_seal(a->buf + a->used, type, 0, a->seq++, (uint32_t)len, seed);
}

/* Write what is left and sync. After an error the tail is anybody's guess: also what a failed sync
 * has left in the page cache, which would read back as if it were on the disk. So it is cut off, as
 * well as that can be done, and the journal is dead. */
static int appender_end(struct appender *a, struct lh_err *err)
{
    struct lh_journal *j = a->j;

    appender_flush(a);
    free(a->buf);
    if (a->sys_errno == 0 && !lh_mutant("drop-journal-sync"))
        a->sys_errno = lh_disk_sync_data(j->fd);
    if (a->sys_errno != 0) {
        j->dead = true;
        (void)lh_journal_cut(j, j->state.end);
        return lh_err_sys(err, lh_status_of_write_errno(a->sys_errno), a->sys_errno,
                          "cannot write the journal of %s", j->shown);
    }
    j->state.end = a->at;
    j->state.next_seq = a->seq;
    return 0;
}

static int no_memory(struct lh_journal *j, struct lh_err *err)
{
    j->dead = true;
    return lh_err_set(err, LH_E_NOMEM, "out of memory while writing the journal of %s", j->shown);
}

int lh_journal_begin(struct lh_journal *j, const struct lh_journal_head *head,
                     const struct lh_journal_epoch *epoch, struct lh_err *err)
{
    struct appender a;
    size_t len;
    int r;

    LH_REQUIRE(j->state.end == 0 && head->name_len < sizeof(j->state.name));
    if (!appender_start(&a, j, 1024))
        return no_memory(j, err);
    j->seed = lh_journal_seed(head->uuid);
    len = lh_journal_head_encode(head, appender_room(&a, 512));
    appender_seal(&a, LH_RECORD_HEAD, len);
    len = lh_journal_epoch_encode(epoch, appender_room(&a, 256));
    appender_seal(&a, LH_RECORD_EPOCH, len);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    memcpy(j->state.name, head->name, head->name_len);
    j->state.name[head->name_len] = '\0';
    j->state.head = *head;
    j->state.head.name = (const uint8_t *)j->state.name;
    j->state.n_blocks = lh_blocks_of(head->source.size, head->block_bytes);
    j->state.epoch = *epoch;
    j->state.valid = true;
    return 0;
}

int lh_journal_append_epoch(struct lh_journal *j, const struct lh_journal_epoch *epoch,
                            struct lh_err *err)
{
    struct appender a;
    size_t len;
    int r;

    if (!appender_start(&a, j, 512))
        return no_memory(j, err);
    len = lh_journal_epoch_encode(epoch, appender_room(&a, 256));
    appender_seal(&a, LH_RECORD_EPOCH, len);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    j->state.epoch = *epoch;
    return 0;
}

/* Length of the run of blocks that starts at b->v[at], as far as one record takes it. */
static uint32_t run_at(const struct lh_batch *b, size_t at)
{
    uint32_t n = 1;

    while (n < LH_RECORD_HASHES_MAX && at + n < b->n && b->v[at + n].block == b->v[at].block + n)
        n++;
    return n;
}

int lh_journal_append_blocks(struct lh_journal *j, const struct lh_batch *batch, struct lh_err *err)
{
    size_t most =
        batch->n < APPEND_BYTES / LONE_BLOCK_BYTES ? batch->n * LONE_BLOCK_BYTES : APPEND_BYTES;
    struct appender a;
    struct lh_hash *hashes;
    size_t at = 0;

    if (!appender_start(&a, j, most))
        return no_memory(j, err);
    hashes = malloc((batch->n < LH_RECORD_HASHES_MAX ? batch->n : LH_RECORD_HASHES_MAX) *
                    sizeof(*hashes));
    if (hashes == NULL) {
        free(a.buf);
        return no_memory(j, err);
    }
    while (at < batch->n) {
        uint32_t n = run_at(batch, at);
        uint64_t first = batch->v[at].block;
        uint8_t *room = appender_room(&a, BLOCKS_FIXED + (size_t)n * LH_HASH_SIZE);

        for (uint32_t i = 0; i < n; i++)
            hashes[i] = batch->v[at + i].hash;
        appender_seal(&a, LH_RECORD_BLOCKS, lh_journal_blocks_encode(first, hashes, n, room));
        /* An index that cannot be kept up is given up; it is made anew when it is needed. */
        if (j->index_fd >= 0 &&
            lh_disk_write(j->index_fd, hashes, (size_t)n * LH_HASH_SIZE, first * LH_HASH_SIZE) != 0)
            lh_journal_drop_index(j);
        at += n;
    }
    free(hashes);
    j->state.finished = false;
    return appender_end(&a, err);
}

int lh_journal_append_drop(struct lh_journal *j, uint64_t first, uint64_t end, struct lh_err *err)
{
    struct lh_block_run run = {.first = first, .count = end - first};
    struct appender a;
    size_t len;

    if (!appender_start(&a, j, 256))
        return no_memory(j, err);
    len = lh_journal_drop_encode(&run, appender_room(&a, 64));
    appender_seal(&a, LH_RECORD_DROP, len);
    j->state.finished = false;
    return appender_end(&a, err);
}

int lh_journal_append_finish(struct lh_journal *j, const struct lh_journal_finish *finish,
                             struct lh_err *err)
{
    struct appender a;
    size_t len;
    int r;

    if (!appender_start(&a, j, 256))
        return no_memory(j, err);
    len = lh_journal_finish_encode(finish, appender_room(&a, 64));
    appender_seal(&a, LH_RECORD_FINISH, len);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    j->state.finish = *finish;
    j->state.finished = true;
    return 0;
}

int lh_journal_append_done(struct lh_journal *j, struct lh_err *err)
{
    struct appender a;
    int r;

    LH_REQUIRE(j->state.finished);
    if (!appender_start(&a, j, 256))
        return no_memory(j, err);
    (void)appender_room(&a, 0);
    appender_seal(&a, LH_RECORD_DONE, 0);
    r = appender_end(&a, err);
    if (r != 0)
        return r;
    j->state.done = true;
    return 0;
}
