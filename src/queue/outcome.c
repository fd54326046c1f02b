/* What becomes of a task when its attempt has ended; the rule is told in outcome.h. */
#include "queue/outcome.h"

#define BACKOFF_FIRST_MS 1000u
#define BACKOFF_MAX_MS 300000u

bool lh_outcome_worth(int status)
{
    switch (status < 0 ? -status : status) {
    case LH_E_INVAL:
    case LH_E_ADDRESS:
    case LH_E_LISTEN:
    case LH_E_SOURCE:
    case LH_E_SOURCE_KIND:
    case LH_E_SOURCE_DIR:
    case LH_E_DEST_READONLY:
    case LH_E_DEST_KIND:
    case LH_E_PATH:
    case LH_E_EXISTS:
    case LH_E_REFUSED:
    case LH_E_VERSION:
        return false;
    default:
        return true;
    }
}

enum lh_task_outcome lh_outcome_of(int status, uint64_t failures, uint64_t retries)
{
    if (!lh_outcome_worth(status))
        return LH_OUTCOME_DEAD;
    return retries == LH_TASK_FOREVER || failures <= retries ? LH_OUTCOME_RETRY : LH_OUTCOME_DEAD;
}

uint64_t lh_outcome_backoff_ms(uint64_t failures, uint32_t random)
{
    uint64_t pause_ms = BACKOFF_FIRST_MS;

    while (failures-- > 1 && pause_ms < BACKOFF_MAX_MS)
        pause_ms *= 2;
    if (pause_ms > BACKOFF_MAX_MS)
        pause_ms = BACKOFF_MAX_MS;
    return pause_ms / 2 + ((pause_ms / 2 + 1) * random >> 32);
}
