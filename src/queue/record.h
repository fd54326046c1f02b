/* When what has become durable of a task is recorded in the queue. Pure: time is an argument. */
#ifndef LH_QUEUE_RECORD_H
#define LH_QUEUE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#define LH_RECORD_BYTES (256ull * 1024 * 1024)
#define LH_RECORD_MIN_MS 5000u
#define LH_RECORD_MAX_MS 60000u

/* The last record of one attempt. Zero it, then lh_record_begin. */
struct lh_record {
    uint64_t at_ms;
    uint64_t bytes; /* durable, as recorded */
    bool made;      /* one was made in this attempt */
};

/* The attempt begins at now_ms, with `bytes` recorded by earlier ones. */
void lh_record_begin(struct lh_record *record, uint64_t now_ms, uint64_t bytes);

/* Whether a record is due: 256 MiB more and 5 s have passed since the last, whichever is later, and
 * anything new after 60 s at the latest. The first one of an attempt is due after 5 s, so that the
 * size of a slow one is known; less than was recorded (the receiver lost its file, the source
 * changed) is due at once. */
bool lh_record_due(const struct lh_record *record, uint64_t now_ms, uint64_t bytes);

/* Redis has taken a record made at now_ms. */
void lh_record_made(struct lh_record *record, uint64_t now_ms, uint64_t bytes);

#endif
