/* Who holds a transfer: two small tables of decisions, told in hold.h. */
#include "core/hold.h"

#include <string.h>

static bool same_id(const struct lh_holder *a, const struct lh_holder *b)
{
    return memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

/* It was given out by a queue, which gives it out anew when it is fenced for nothing. */
static bool of_queue(const struct lh_holder *h)
{
    static const uint8_t none[LH_HOLD_ID_SIZE];

    return memcmp(h->incarnation, none, sizeof(none)) != 0;
}

/* Both were sent by the same life of the same queue, so that their claims can be compared. */
static bool same_queue(const struct lh_holder *a, const struct lh_holder *b)
{
    return of_queue(a) && memcmp(a->incarnation, b->incarnation, sizeof(a->incarnation)) == 0;
}

enum lh_hold_answer lh_hold_offer(const struct lh_holder *holder, const struct lh_holder *asker,
                                  bool same_version, uint64_t silent_ms, uint64_t timeout_ms)
{
    if (same_id(holder, asker))
        return LH_HOLD_TAKE_OVER;
    if (same_queue(holder, asker) && !same_version && silent_ms < timeout_ms)
        return LH_HOLD_BUSY;
    if (same_queue(holder, asker))
        return asker->claim > holder->claim ? LH_HOLD_TAKE_OVER : LH_HOLD_FENCED;
    /* It held the transfer before and another does now: it must not win it back by waiting. */
    if (asker->epoch != 0)
        return LH_HOLD_FENCED;
    return silent_ms >= timeout_ms ? LH_HOLD_TAKE_OVER : LH_HOLD_BUSY;
}

enum lh_hold_answer lh_hold_reopen(const struct lh_holder *last, const struct lh_holder *asker)
{
    if (last == NULL)
        return of_queue(asker) && asker->epoch != 0 ? LH_HOLD_FENCED : LH_HOLD_GRANT;
    if (same_id(last, asker))
        return LH_HOLD_GRANT;
    if (same_queue(last, asker) && asker->claim != last->claim)
        return asker->claim > last->claim ? LH_HOLD_GRANT : LH_HOLD_FENCED;
    /* Its epoch was synced before it heard of it, so another id in the journal came later. */
    return asker->epoch != 0 ? LH_HOLD_FENCED : LH_HOLD_GRANT;
}
