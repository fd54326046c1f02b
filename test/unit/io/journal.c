/* The journal as a file: what it remembers, and what it makes of damage. */
#include "io/disk/journal.h"

#include "scratch.h"
#include "test/lib/rng.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_BLOCKS 9000

static int dirfd_of_test;
static struct lh_hidden hidden;

static struct lh_journal_head a_head(void)
{
    return (struct lh_journal_head){
        .uuid = {42, 1},
        .transfer_id = {7},
        .hash = LH_HASH_XXH3_128,
        .block_bytes = SCRATCH_BLOCK,
        .source = {.size = (uint64_t)N_BLOCKS * SCRATCH_BLOCK - 5, .mtime = {.sec = 5, .nsec = 6}},
        .staging_ino = 77,
        .staging_btime = {.sec = 8, .nsec = 9},
        .name = (const uint8_t *)"target",
        .name_len = 6};
}

static struct lh_hash hash_of(uint64_t block)
{
    struct lh_hash h;

    lh_hash_bytes(&block, sizeof(block), &h);
    return h;
}

static struct lh_journal *open_it(bool create)
{
    struct lh_journal *j = NULL;
    struct lh_err err = {0};

    if (lh_journal_open(dirfd_of_test, &hidden, "target", create, &j, &err) != 0 || j == NULL)
        return NULL;
    if (lh_journal_recover(j, &err) != 0)
        bail("%s", err.text);
    return j;
}

static int add_blocks(struct lh_journal *j, uint64_t first, uint64_t step, size_t n,
                      struct lh_err *err)
{
    struct lh_batch batch = {.v = calloc(n, sizeof(*batch.v)), .n = n, .cap = n};
    int r;

    for (size_t i = 0; i < n; i++)
        batch.v[i] = (struct lh_block_hash){first + i * step, hash_of(first + i * step)};
    r = lh_journal_append_blocks(j, &batch, err);
    lh_batch_free(&batch);
    return r;
}

static struct lh_journal *begin(void)
{
    struct lh_journal_head head = a_head();
    struct lh_journal_epoch epoch = {.epoch = 1, .holder = {1}, .compared = 1};
    struct lh_err err = {0};
    struct lh_journal *j;

    scratch_clear();
    j = open_it(true);
    if (j == NULL || lh_journal_begin(j, &head, &epoch, &err) != 0)
        bail("%s", err.text);
    return j;
}

static void test_remembers(void)
{
    struct lh_journal_epoch epoch = {
        .epoch = 2, .holder = {9}, .incarnation = {3}, .claim = 4, .compared = 0};
    struct lh_journal_finish finish = {.mode = 0644, .mtime = {.sec = 1, .nsec = 2}};
    struct lh_journal *j = begin();
    struct lh_journal_state *st;
    struct lh_err err = {0};

    is_i64(add_blocks(j, 10, 1, 5, &err), 0, "a run");
    is_i64(add_blocks(j, 100, 2, 300, &err), 0, "lone blocks");
    is_i64(add_blocks(j, 1000, 1, 8000, &err), 0, "more than a record holds");
    is_i64(lh_journal_append_drop(j, 2000, 2010, &err), 0, "some taken back");
    is_i64(lh_journal_append_epoch(j, &epoch, &err), 0, "another holder");
    lh_journal_close(j);
    j = open_it(false);
    st = lh_journal_state(j);
    ok(st->valid && !st->torn && !st->done && !st->finished, "it reads back");
    is_str(st->name, "target", "name");
    is_u64(st->n_blocks, N_BLOCKS, "blocks of the file");
    is_u64(st->head.staging_ino, 77, "staging file");
    ok(memcmp(&st->head.source,
              &(struct lh_identity){.size = st->head.source.size, .mtime = {.sec = 5, .nsec = 6}},
              8) == 0,
       "source");
    ok(st->epoch.epoch == 2 && st->epoch.holder[0] == 9 && st->epoch.incarnation[0] == 3 &&
           st->epoch.claim == 4 && !st->epoch.compared,
       "the last holder");
    is_u64(st->durable.blocks, 5 + 300 + 8000 - 10, "durable blocks");
    ok(lh_runs_covers(&st->durable, 10, 15) && lh_runs_has(&st->durable, 102) &&
           !lh_runs_has(&st->durable, 103) && lh_runs_covers(&st->durable, 1000, 2000) &&
           !lh_runs_has(&st->durable, 2009) && lh_runs_covers(&st->durable, 2010, 9000),
       "and which");
    is_i64(add_blocks(j, 0, 1, 9000, &err), 0, "all of them");
    is_i64(lh_journal_append_finish(j, &finish, &err), 0, "finish");
    lh_journal_close(j);
    j = open_it(false);
    ok(lh_journal_state(j)->finished && !lh_journal_state(j)->done, "finished");
    is_i64(lh_journal_append_drop(j, 1, 2, &err), 0, "a block is taken back");
    is_i64(add_blocks(j, 1, 1, 1, &err), 0, "and written");
    lh_journal_close(j);
    j = open_it(false);
    ok(!lh_journal_state(j)->finished, "then it is not finished any more");
    lh_journal_append_finish(j, &finish, &err);
    is_i64(lh_journal_append_done(j, &err), 0, "done");
    lh_journal_close(j);
    j = open_it(false);
    ok(lh_journal_state(j)->done && lh_journal_state(j)->finish.mode == 0644, "done");
    lh_journal_close(j);
}

static void test_hashes(void)
{
    struct lh_journal *j = begin();
    struct lh_hash *list = calloc(N_BLOCKS, sizeof(*list));
    struct lh_hash got[10];
    struct lh_hash digest;
    struct lh_hash want;
    struct lh_err err = {0};

    for (uint64_t b = 0; b < N_BLOCKS; b++)
        list[b] = hash_of(b);
    lh_hash_bytes(list, N_BLOCKS * sizeof(*list), &want);
    add_blocks(j, 4000, 1, 5000, &err);
    is_i64(lh_journal_hashes(j, 8990, 10, got, &err), 0, "the last ten");
    is_mem(got, &list[8990], sizeof(got), "are right");
    is_i64(lh_journal_digest(j, &digest, &err), -LH_E_CORRUPT, "no digest of a part");
    add_blocks(j, 1, 2, 2000, &err);
    add_blocks(j, 0, 2, 2000, &err);
    is_i64(lh_journal_hashes(j, 3, 10, got, &err), 0, "hashes added after the index was made");
    is_mem(got, &list[3], sizeof(got), "are in it");
    is_i64(lh_journal_digest(j, &digest, &err), 0, "digest");
    is_mem(&digest, &want, sizeof(want), "is that of the list in block order");
    lh_journal_close(j);
    j = open_it(false);
    is_i64(lh_journal_digest(j, &digest, &err), 0, "digest of a reopened one");
    is_mem(&digest, &want, sizeof(want), "is the same");
    is_u64(scratch_count(true), 1, "the index has no name");
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_OPEN), 0, EOPNOTSUPP);
    is_i64(lh_journal_digest(j, &digest, &err), 0, "without O_TMPFILE");
    ok(lh_sysfault_disarm() && memcmp(&digest, &want, sizeof(want)) == 0, "the same");
    is_u64(scratch_count(true), 1, "and no name is left");
    lh_journal_close(j);
    free(list);
}

static void test_lock(void)
{
    struct lh_journal *j = begin();
    struct lh_journal *second = NULL;
    struct lh_err err = {0};
    int fd = open(scratch_path(hidden.journal), O_RDONLY | O_CLOEXEC);

    is_i64(lh_journal_open(dirfd_of_test, &hidden, "the/target", false, &second, &err), -LH_E_BUSY,
           "held");
    ok(strstr(err.text, "the/target") != NULL, "named: %s", err.text);
    ok(lh_journal_held(fd), "seen to be held");
    lh_journal_close(j);
    ok(!lh_journal_held(fd), "and not any more");
    close(fd);
    scratch_clear();
    second = (struct lh_journal *)(void *)&err;
    is_i64(lh_journal_open(dirfd_of_test, &hidden, "x", false, &second, &err), 0, "none there");
    ok(second == NULL, "says so");
    ok(symlink("elsewhere", scratch_path(hidden.journal)) == 0 &&
           lh_journal_open(dirfd_of_test, &hidden, "x", true, &second, &err) < 0,
       "a link is not followed");
    scratch_clear();
    mkfifo(scratch_path(hidden.journal), 0600);
    ok(lh_journal_open(dirfd_of_test, &hidden, "x", true, &second, &err) < 0, "nor a FIFO opened");
}

/* While one waits for the lock, the holder unlinks the journal: the wrong file must not be used. */
static void unlink_under(enum lh_sys call, int fd)
{
    if (call == LH_SYS_LOCK) {
        lh_sysfault_watch_with(NULL, NULL);
        unlink(scratch_path(hidden.journal));
    }
}

static void test_unlinked_under(void)
{
    struct lh_journal *j = begin();
    struct stat st;

    lh_journal_close(j);
    lh_sysfault_watch_with(unlink_under, NULL);
    ok(open_it(false) == NULL, "unlinked between open and lock: there is none");
    lh_journal_close(begin());
    lh_sysfault_watch_with(unlink_under, NULL);
    j = open_it(true);
    ok(j != NULL && stat(scratch_path(hidden.journal), &st) == 0 && st.st_size == 0,
       "or a new one is made, with its name");
    lh_journal_close(j);
}

/* A journal with a few of every record, and how many bytes and durable blocks at each record's end.
 */
static size_t sample(uint8_t **bytes, size_t ends[16], uint64_t durable[16], size_t *n)
{
    struct lh_journal_finish finish = {.mode = 0600};
    struct lh_journal *j = begin();
    struct lh_err err = {0};
    size_t len;

    *n = 0;
    for (int step = 0; step < 7; step++) {
        switch (step) {
        case 1:
            add_blocks(j, 5, 1, 3, &err);
            break;
        case 2:
            add_blocks(j, 20, 1, 1, &err);
            break;
        case 3:
            lh_journal_append_drop(j, 6, 7, &err);
            break;
        case 4:
            add_blocks(j, 0, 1, 4096, &err);
            break;
        case 5:
            add_blocks(j, 4096, 1, N_BLOCKS - 4096 - 4096, &err);
            add_blocks(j, N_BLOCKS - 4096, 1, 4096, &err);
            break;
        case 6:
            lh_journal_append_finish(j, &finish, &err);
            break;
        }
        ends[*n] = lh_journal_state(j)->end;
        durable[(*n)++] = 0;
    }
    lh_journal_close(j);
    *bytes = scratch_read(hidden.journal, &len);
    return len;
}

/* Whether what a damaged journal says is a prefix of what it said. */
static void test_cut_anywhere(void)
{
    size_t ends[16];
    uint64_t durable[16];
    size_t n;
    uint8_t *bytes;
    size_t len = sample(&bytes, ends, durable, &n);
    size_t wrong = 0;
    size_t cuts = 0;

    is_u64(ends[n - 1], len, "the sample is whole");
    /* Every byte of the small records; within the long ones, every 977th. */
    for (size_t at = 0; at <= len; at += at < ends[3] + 64 || at > len - 100 ? 1 : 977, cuts++) {
        struct lh_journal_state *st;
        struct lh_journal *j;
        struct stat file;

        scratch_write(hidden.journal, bytes, at);
        j = open_it(false);
        st = lh_journal_state(j);
        stat(scratch_path(hidden.journal), &file);
        wrong += st->valid != (at >= ends[0]);
        wrong += (uint64_t)file.st_size != st->end || st->end > at;
        for (size_t i = 0; i < n; i++)
            wrong += at >= ends[i] && st->end < ends[i];
        wrong += st->finished != (at == len);
        if (at >= ends[1] && at < ends[2])
            wrong += st->durable.blocks != 3;
        if (at >= ends[3] && at < ends[4])
            wrong += st->durable.blocks != 3 || lh_runs_has(&st->durable, 6);
        lh_journal_close(j);
    }
    is_u64(wrong, 0, "cut at %zu places, it always says what the whole records say", cuts);
    free(bytes);
}

static void test_flipped_anywhere(void)
{
    size_t ends[16];
    uint64_t durable[16];
    size_t n;
    uint8_t *bytes;
    size_t len = sample(&bytes, ends, durable, &n);
    struct lh_rng rng = {.state = 20260101};
    size_t wrong = 0;

    for (int round = 0; round < 1500; round++) {
        /* Half of them in the small records at the front. */
        size_t at = lh_rng_below(&rng, round % 2 == 0 ? ends[3] : len);
        uint8_t bit = (uint8_t)(1u << lh_rng_below(&rng, 8));
        struct lh_journal *j;
        const struct lh_journal_state *st;
        size_t i = 0;

        bytes[at] ^= bit;
        scratch_write(hidden.journal, bytes, len);
        bytes[at] ^= bit;
        j = open_it(false);
        st = lh_journal_state(j);
        /* Nothing at or behind the flipped byte is believed, everything before its record is. */
        wrong += st->end > at;
        while (i < n && ends[i] <= at)
            i++;
        wrong += i > 0 && st->end < ends[i - 1];
        wrong += st->valid != (at >= ends[0]);
        lh_journal_close(j);
    }
    is_u64(wrong, 0, "1500 flipped bits: nothing behind one is believed");
    free(bytes);
}

/* Records that pass their check and say what cannot be. */
static void test_impossible(void)
{
    struct lh_journal_epoch lower = {.epoch = 1, .compared = 1};
    struct lh_journal_epoch higher = {.epoch = 5, .compared = 1};
    struct lh_journal_finish finish = {.mode = 0600};
    struct lh_err err = {0};
    struct lh_journal *j = begin();
    uint64_t end = lh_journal_state(j)->end;

    add_blocks(j, N_BLOCKS, 1, 1, &err);
    lh_journal_close(j);
    j = open_it(false);
    is_u64(lh_journal_state(j)->end, end, "a block outside the file is cut off");
    lh_journal_append_drop(j, N_BLOCKS - 1, N_BLOCKS + 1, &err);
    lh_journal_close(j);
    j = open_it(false);
    is_u64(lh_journal_state(j)->end, end, "a drop outside the file is cut off");
    lh_journal_append_finish(j, &finish, &err);
    lh_journal_close(j);
    j = open_it(false);
    ok(lh_journal_state(j)->end == end && !lh_journal_state(j)->finished,
       "a finish of what is not whole is cut off");
    lh_journal_append_epoch(j, &higher, &err);
    end = lh_journal_state(j)->end;
    lh_journal_append_epoch(j, &lower, &err);
    lh_journal_close(j);
    j = open_it(false);
    ok(lh_journal_state(j)->end == end && lh_journal_state(j)->epoch.epoch == 5,
       "an older epoch is cut off");
    add_blocks(j, 0, 1, N_BLOCKS, &err);
    lh_journal_append_finish(j, &finish, &err);
    lh_journal_append_done(j, &err);
    end = lh_journal_state(j)->end;
    lh_journal_append_drop(j, 0, 1, &err);
    lh_journal_close(j);
    j = open_it(false);
    ok(lh_journal_state(j)->end == end && lh_journal_state(j)->done,
       "what follows DONE is cut off");
    lh_journal_close(j);
}

/* A tail of another journal, or of this one's earlier life in the same file, does not pass. */
static void test_foreign_tail(void)
{
    struct lh_journal_head head = a_head();
    struct lh_journal_epoch epoch = {.epoch = 1, .compared = 1};
    struct lh_err err = {0};
    struct lh_journal *j = begin();
    uint64_t end = lh_journal_state(j)->end;
    uint8_t *old;
    uint8_t *new;
    size_t old_len;
    size_t new_len;

    add_blocks(j, 3, 1, 4, &err);
    lh_journal_close(j);
    old = scratch_read(hidden.journal, &old_len);
    j = open_it(false);
    head.uuid[5] = 99;
    is_i64(lh_journal_reset(j, &err), 0, "emptied");
    is_i64(lh_journal_begin(j, &head, &epoch, &err), 0, "begun anew");
    lh_journal_close(j);
    new = scratch_read(hidden.journal, &new_len);
    ok(new_len == end && old_len > end, "the head has the same length");
    memcpy(old, new, new_len);
    scratch_write(hidden.journal, old, old_len);
    j = open_it(false);
    ok(lh_journal_state(j)->valid && lh_journal_state(j)->durable.blocks == 0,
       "an earlier life's blocks are not believed");
    lh_journal_close(j);
    free(old);
    free(new);
}

static void test_faults(void)
{
    unsigned long refused = 0;
    bool met = true;
    unsigned n;
    size_t wrong = 0;

    for (n = 0; met && n < 100; n++) {
        struct lh_journal *j = begin();
        struct lh_err err = {0};
        uint64_t end;
        int r;

        add_blocks(j, 1, 1, 2, &err);
        end = lh_journal_state(j)->end;
        lh_sysfault_limit(37); /* so that a record takes many writes */
        lh_sysfault_arm(LH_SYS_CHANGES, n, n % 2 == 0 ? EIO : ENOSPC);
        r = add_blocks(j, 10, 1, 50, &err);
        met = lh_sysfault_disarm();
        lh_sysfault_limit(0);
        wrong += met != (r != 0);
        wrong += met && err.status != (n % 2 == 0 ? LH_E_DEST : LH_E_DEST_SPACE);
        refused += r != 0;
        lh_journal_close(j);
        j = open_it(false);
        wrong += lh_journal_state(j)->durable.blocks != (r == 0 ? 52 : 2);
        /* Cut back at once, not only when opened again: see appender_end. */
        wrong += r != 0 && lh_journal_state(j)->end != end;
        lh_journal_close(j);
    }
    ok(refused > 20 && !met, "each of %lu writes and syncs has failed once", refused);
    is_u64(wrong, 0, "a failed append leaves nothing behind");
}

/* The disk that cannot be read is no reason to cut anything off. */
static void test_read_error(void)
{
    struct lh_journal *j = begin();
    struct lh_err err = {0};
    size_t before;
    size_t after;

    add_blocks(j, 1, 1, 2, &err);
    lh_journal_close(j);
    free(scratch_read(hidden.journal, &before));
    lh_journal_open(dirfd_of_test, &hidden, "target", false, &j, &err);
    lh_sysfault_arm(LH_SYS_BIT(LH_SYS_READ), 0, EIO);
    is_i64(lh_journal_recover(j, &err), -LH_E_DEST, "a read error");
    lh_sysfault_disarm();
    lh_journal_close(j);
    free(scratch_read(hidden.journal, &after));
    is_u64(after, before, "changes nothing");
}

/* More lone blocks than the append buffer holds at once. */
static void test_long_commit(void)
{
    struct lh_journal *j = begin();
    struct lh_err err = {0};
    char *log = malloc(4096);

    lh_sysfault_log(log, 4096);
    is_i64(add_blocks(j, 0, 2, 4000, &err), 0, "4000 lone blocks in one commit");
    lh_sysfault_log(NULL, 0);
    is_str(log, " write:journal write:journal syncdata:journal", "a few writes, one sync");
    lh_sysfault_log(log, 4096);
    add_blocks(j, 1, 1, 1024, &err);
    lh_sysfault_log(NULL, 0);
    is_str(log, " write:journal syncdata:journal", "an ordinary commit is one write, one sync");
    lh_journal_close(j);
    j = open_it(false);
    is_u64(lh_journal_state(j)->durable.blocks, 4000 + 512, "all are there");
    lh_journal_close(j);
    free(log);
}

int main(void)
{
    lh_hidden_of("target", &hidden);
    dirfd_of_test = open(scratch_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    test_remembers();
    test_hashes();
    test_lock();
    test_unlinked_under();
    test_cut_anywhere();
    test_flipped_anywhere();
    test_impossible();
    test_foreign_tail();
    test_faults();
    test_read_error();
    test_long_commit();
    close(dirfd_of_test);
    return done_testing();
}
