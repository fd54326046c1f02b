/* The journal's records as bytes on disk: append-only, each with a check. Table: proto/JOURNAL.md.
 *
 * Pure: what to do with a file of them is src/io/journal. Conventions as in proto/session.h, but
 * the `in` of the decoders is a record's payload and a refusal is -LH_E_CORRUPT. */
#ifndef LH_PROTO_JOURNAL_H
#define LH_PROTO_JOURNAL_H

#include "proto/hash.h"
#include "proto/identity.h"
#include "proto/transfer.h"

#include <stddef.h>
#include <stdint.h>

#define LH_RECORD_MAGIC 0x314a484cu /* "LHJ1" */
#define LH_RECORD_HEADER_SIZE 32
#define LH_RECORD_MAX (96u * 1024) /* header and payload */
#define LH_RECORD_HASHES_MAX 4096  /* in one BLOCKS record */

enum lh_record_type {
    LH_RECORD_HEAD = 1,   /* what the journal is bound to; always the first */
    LH_RECORD_EPOCH = 2,  /* who holds the transfer from here on */
    LH_RECORD_BLOCKS = 3, /* a run of blocks became durable, with their hashes */
    LH_RECORD_DROP = 4,   /* a run of blocks is taken back */
    LH_RECORD_FINISH = 5, /* all is durable, times and mode are set, the rename comes next */
    LH_RECORD_DONE = 6    /* renamed, and the directory is synced: from here on a done record */
};

struct lh_record {
    uint16_t type;
    uint32_t length; /* payload bytes */
    uint32_t file;   /* index within the transfer */
    uint64_t seq;    /* 0, 1, 2, … */
};

/* The check of every record but the head is seeded by the journal's uuid: a record of another
 * journal, or of an earlier one in the same blocks of the disk, does not pass. */
struct lh_journal_head {
    uint8_t uuid[16];
    uint8_t transfer_id[16];
    uint16_t hash;        /* enum lh_hash_id */
    uint32_t block_bytes; /* grid */
    struct lh_identity source;
    uint64_t staging_ino;
    struct lh_time staging_btime; /* 0 where the file system has none */
    const uint8_t *name;          /* of the target within its directory, 1..255 bytes */
    size_t name_len;
};

struct lh_journal_epoch {
    uint64_t epoch;
    uint8_t holder[LH_HOLDER_SIZE];
    uint8_t incarnation[16];
    uint64_t claim;
    struct lh_identity source; /* as this holder sees it */
    uint8_t compared;          /* 0: its contents were not yet compared with the hashes here */
};

struct lh_journal_finish {
    struct lh_hash digest;
    uint32_t mode;
    struct lh_time mtime;
};

uint64_t lh_journal_seed(const uint8_t uuid[16]);

/* Write header and payload (already at out + LH_RECORD_HEADER_SIZE, `length` bytes) as a record;
 * returns the record's whole length, a multiple of 8 (padded with zero bytes that are not counted
 * in `length` but are checked to be zero). seed: 0 for the head. */
size_t lh_record_seal(uint8_t *out, uint16_t type, uint32_t file, uint64_t seq, uint32_t length,
                      uint64_t seed);

/* Look at the record at `in`. Returns its whole length (> 0) with *rec filled and *payload set;
 * 0 when `len` ends within it; -LH_E_CORRUPT when it is none (also: wrong seq). */
int lh_record_open(const uint8_t *in, size_t len, uint64_t expect_seq, uint64_t seed,
                   struct lh_record *rec, const uint8_t **payload);

size_t lh_journal_head_encode(const struct lh_journal_head *m, uint8_t *out);
int lh_journal_head_decode(const uint8_t *in, size_t len, struct lh_journal_head *m);
size_t lh_journal_epoch_encode(const struct lh_journal_epoch *m, uint8_t *out);
int lh_journal_epoch_decode(const uint8_t *in, size_t len, struct lh_journal_epoch *m);
size_t lh_journal_finish_encode(const struct lh_journal_finish *m, uint8_t *out);
int lh_journal_finish_decode(const uint8_t *in, size_t len, struct lh_journal_finish *m);

/* BLOCKS: first, then n hashes (1..LH_RECORD_HASHES_MAX). *hashes is a view into `in`. */
size_t lh_journal_blocks_encode(uint64_t first, const struct lh_hash *hashes, uint32_t n,
                                uint8_t *out);
int lh_journal_blocks_decode(const uint8_t *in, size_t len, uint64_t *first, const uint8_t **hashes,
                             uint32_t *n);
size_t lh_journal_drop_encode(const struct lh_block_run *run, uint8_t *out);
int lh_journal_drop_decode(const uint8_t *in, size_t len, struct lh_block_run *run);

#endif
