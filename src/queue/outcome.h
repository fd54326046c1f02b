/* What becomes of a task when its attempt has ended. Pure: chance is an argument; any thread. */
#ifndef LH_QUEUE_OUTCOME_H
#define LH_QUEUE_OUTCOME_H

#include "queue/task.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether a failure with that status (either sign) may be another one's turn to mend, or mends by
 * itself: network, receiver away, space, a busy target. Not: no such source, a path that is not
 * allowed, refused, malformed. */
bool lh_outcome_worth(int status);

/* Outcome of an attempt that failed with `status` (either sign, not 0) where `failures` attempts
 * have failed by now, this one included, and the task allows `retries` more after the first:
 * LH_OUTCOME_RETRY or LH_OUTCOME_DEAD. */
enum lh_task_outcome lh_outcome_of(int status, uint64_t failures, uint64_t retries);

/* Pause before the next attempt, ms, after `failures` (from 1): doubling from 1 s to 5 min, the
 * upper half of it jittered; random: uniform over 32 bits. */
uint64_t lh_outcome_backoff_ms(uint64_t failures, uint32_t random);

#endif
