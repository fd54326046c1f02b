/* core/hold: every row of the two tables. */
#include "core/hold.h"

#include "test/lib/tap.h"

#include <string.h>

#define TIMEOUT_MS 15000

static struct lh_holder who(uint8_t id, uint8_t queue, uint64_t claim, uint64_t epoch)
{
    struct lh_holder h = {.claim = claim, .epoch = epoch};

    memset(h.id, id, sizeof(h.id));
    memset(h.incarnation, queue, sizeof(h.incarnation));
    return h;
}

static const char *const words[] = {"grant", "take over", "busy", "fenced"};

static void offer(struct lh_holder holder, struct lh_holder asker, uint64_t silent_ms,
                  enum lh_hold_answer want, const char *what)
{
    is_str(words[lh_hold_offer(&holder, &asker, true, silent_ms, TIMEOUT_MS)], words[want], "%s",
           what);
}

static void offer_other(struct lh_holder holder, struct lh_holder asker, uint64_t silent_ms,
                        enum lh_hold_answer want, const char *what)
{
    is_str(words[lh_hold_offer(&holder, &asker, false, silent_ms, TIMEOUT_MS)], words[want],
           "another version; %s", what);
}

static void reopen(struct lh_holder last, struct lh_holder asker, enum lh_hold_answer want,
                   const char *what)
{
    is_str(words[lh_hold_reopen(&last, &asker)], words[want], "nobody has it; %s", what);
}

static void test_offer(void)
{
    struct lh_holder a = who(1, 0, 0, 3);

    offer(a, who(1, 0, 0, 3), 0, LH_HOLD_TAKE_OVER, "the same holder again takes over at once");
    offer(a, who(1, 0, 0, 0), 0, LH_HOLD_TAKE_OVER, "also when it never heard its epoch");
    offer(who(1, 9, 5, 3), who(1, 9, 4, 3), 0, LH_HOLD_TAKE_OVER, "the id outweighs the claim");
    offer(a, who(2, 0, 0, 0), 0, LH_HOLD_BUSY, "a live holder: busy");
    offer(a, who(2, 0, 0, 0), TIMEOUT_MS - 1, LH_HOLD_BUSY, "not quite silent enough: busy");
    offer(a, who(2, 0, 0, 0), TIMEOUT_MS, LH_HOLD_TAKE_OVER, "silent for the timeout: take over");
    offer(a, who(2, 0, 0, 0), UINT64_MAX, LH_HOLD_TAKE_OVER, "its connection is gone: take over");
    offer(a, who(2, 0, 0, 2), UINT64_MAX, LH_HOLD_FENCED,
          "overtaken: fenced, however long it waits");
    offer(who(1, 9, 5, 3), who(2, 9, 6, 0), 0, LH_HOLD_TAKE_OVER,
          "a newer claim takes over at once");
    offer(who(1, 9, 5, 3), who(2, 9, 5, 0), UINT64_MAX, LH_HOLD_FENCED, "the same claim is fenced");
    offer(who(1, 9, 5, 3), who(2, 9, 4, 0), UINT64_MAX, LH_HOLD_FENCED, "an older claim is fenced");
    offer(who(1, 9, 5, 3), who(2, 8, 6, 0), 0, LH_HOLD_BUSY,
          "another queue's claim does not count");
    offer(who(1, 9, 5, 3), who(2, 8, 4, 0), TIMEOUT_MS, LH_HOLD_TAKE_OVER,
          "another queue after the timeout");
    offer(who(1, 9, 5, 3), who(2, 0, 0, 0), 0, LH_HOLD_BUSY, "no queue against a queue: busy");
    offer(who(1, 0, 0, 3), who(2, 9, 5, 0), 0, LH_HOLD_BUSY, "a queue against none: busy");
    offer(who(1, 0, 0, 3), who(2, 0, 7, 0), 0, LH_HOLD_BUSY, "claims without a queue mean nothing");
}

static void test_offer_other_version(void)
{
    offer_other(who(1, 9, 5, 3), who(1, 9, 5, 3), 0, LH_HOLD_TAKE_OVER, "the same holder again");
    offer_other(who(1, 9, 5, 3), who(2, 9, 6, 0), TIMEOUT_MS - 1, LH_HOLD_BUSY,
                "a newer claim waits for a live holder");
    offer_other(who(1, 9, 5, 3), who(2, 9, 4, 0), TIMEOUT_MS - 1, LH_HOLD_BUSY,
                "so does an older one");
    offer_other(who(1, 9, 5, 3), who(2, 9, 6, 0), TIMEOUT_MS, LH_HOLD_TAKE_OVER,
                "a newer claim after the timeout");
    offer_other(who(1, 9, 5, 3), who(2, 9, 4, 0), TIMEOUT_MS, LH_HOLD_FENCED, "never an older one");
    offer_other(who(1, 0, 0, 3), who(2, 0, 0, 2), 0, LH_HOLD_FENCED,
                "without a queue it does not matter");
}

static void test_reopen(void)
{
    struct lh_holder none = who(1, 0, 0, 0);

    is_str(words[lh_hold_reopen(NULL, &none)], words[LH_HOLD_GRANT], "no journal: granted");
    none.epoch = 3;
    is_str(words[lh_hold_reopen(NULL, &none)], words[LH_HOLD_GRANT],
           "no journal, and it held it before: granted");
    none = who(1, 9, 5, 0);
    is_str(words[lh_hold_reopen(NULL, &none)], words[LH_HOLD_GRANT], "no journal, a queue's claim");
    none.epoch = 3;
    is_str(words[lh_hold_reopen(NULL, &none)], words[LH_HOLD_FENCED],
           "no journal, and that claim held it before: it was finished by another");
    reopen(who(1, 0, 0, 3), who(1, 0, 0, 3), LH_HOLD_GRANT, "its last holder comes back");
    reopen(who(1, 0, 0, 3), who(2, 0, 0, 0), LH_HOLD_GRANT, "a new one comes");
    reopen(who(1, 0, 0, 3), who(2, 0, 0, 2), LH_HOLD_FENCED, "one that was overtaken is fenced");
    reopen(who(1, 0, 0, 1), who(2, 0, 0, 4), LH_HOLD_FENCED,
           "also when the journal began anew since");
    reopen(who(1, 9, 5, 3), who(2, 9, 4, 0), LH_HOLD_FENCED, "an older claim is fenced");
    reopen(who(1, 9, 5, 3), who(2, 9, 5, 0), LH_HOLD_GRANT, "the same claim may go on");
    reopen(who(1, 9, 5, 3), who(2, 9, 6, 0), LH_HOLD_GRANT, "so may a newer one");
    reopen(who(1, 9, 5, 3), who(2, 9, 6, 2), LH_HOLD_GRANT, "even if it was overtaken before");
    reopen(who(1, 9, 5, 3), who(2, 9, 5, 2), LH_HOLD_FENCED, "not so the same claim");
    reopen(who(1, 9, 5, 3), who(2, 8, 4, 0), LH_HOLD_GRANT, "another queue's claim does not count");
    reopen(who(1, 0, 5, 3), who(2, 0, 4, 0), LH_HOLD_GRANT, "claims without a queue mean nothing");
}

int main(void)
{
    test_offer();
    test_offer_other_version();
    test_reopen();
    return done_testing();
}
