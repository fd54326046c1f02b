/* Who holds a transfer: the receiver's answer to an offer for a target that is held, or was.
 *
 * Pure: time is an argument. */
#ifndef LH_CORE_HOLD_H
#define LH_CORE_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#define LH_HOLD_ID_SIZE 16

/* Who asks, or who holds. */
struct lh_holder {
    uint8_t id[LH_HOLD_ID_SIZE];          /* random, one a run of the sender */
    uint8_t incarnation[LH_HOLD_ID_SIZE]; /* of the queue; zero without one */
    uint64_t claim;                       /* counter of the queue's claims; 0 without one */
    uint64_t epoch;                       /* asks: that it had before, 0 none. holds: that it has */
};

enum lh_hold_answer {
    LH_HOLD_GRANT,     /* nobody holds it: open it, at the journal's epoch + 1 */
    LH_HOLD_TAKE_OVER, /* fence the holder, wait until all is quiet, commit, then open as above */
    LH_HOLD_BUSY,      /* a live holder has it */
    LH_HOLD_FENCED     /* the asker was overtaken: it must not come back */
};

/* An offer for a target that this receiver has open.
 * same_version: of the source, as lh_identity_same_version says.
 * silent_ms: since the last frame from the holder's session (UINT64_MAX: its connection is gone).
 *
 * The same holder again (it was cut off): take over. A newer claim of the same queue: take over at
 * once; the same claim of another worker, or an older one: fenced. But not from a live holder that
 * sends another version: these are two tasks with one destination, and each would throw away what
 * the other has sent, for ever; busy. Another incarnation, or no queue on either side: take over
 * when the holder has been silent for timeout_ms, else busy. */
enum lh_hold_answer lh_hold_offer(const struct lh_holder *holder, const struct lh_holder *asker,
                                  bool same_version, uint64_t silent_ms, uint64_t timeout_ms);

/* An offer for a target that nobody has open, whose journal's last epoch record is `last` (NULL: no
 * journal: then one that held it before is fenced if a queue gave it the work: somebody else has
 * finished it meanwhile, and the record of that is gone). Between two claims of the same queue the
 * newer is granted and the older fenced. Else fenced when the asker held it before and somebody
 * else did since; else granted. */
enum lh_hold_answer lh_hold_reopen(const struct lh_holder *last, const struct lh_holder *asker);

#endif
