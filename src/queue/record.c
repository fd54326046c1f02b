/* When what has become durable is recorded; the rule is told in record.h. */
#include "queue/record.h"

void lh_record_begin(struct lh_record *record, uint64_t now_ms, uint64_t bytes)
{
    record->at_ms = now_ms;
    record->bytes = bytes;
    record->made = false;
}

bool lh_record_due(const struct lh_record *record, uint64_t now_ms, uint64_t bytes)
{
    uint64_t passed_ms = now_ms - record->at_ms;

    if (bytes < record->bytes)
        return true;
    if (passed_ms < LH_RECORD_MIN_MS)
        return false;
    if (!record->made)
        return true;
    if (bytes - record->bytes >= LH_RECORD_BYTES)
        return true;
    return bytes > record->bytes && passed_ms >= LH_RECORD_MAX_MS;
}

void lh_record_made(struct lh_record *record, uint64_t now_ms, uint64_t bytes)
{
    record->at_ms = now_ms;
    record->bytes = bytes;
    record->made = true;
}
