/* A worker's duty, its clock, and the step at hand: what the tests of it share. */
#ifndef LH_TEST_DUTY_RIG_H
#define LH_TEST_DUTY_RIG_H

#include "queue/duty.h"

#define CLAIM_MS 15000u

extern struct lh_duty duty;
extern struct lh_duty_step step; /* the last that rig_next gave */
extern uint64_t now_ms;

/* A new worker, which Redis has not answered yet. */
void rig_begin(unsigned jobs, unsigned per_host);
enum lh_duty_do rig_next(void);
/* A task as it comes from the queue, with three retries. */
void rig_task(struct lh_duty_task *task, const char *host);

#endif
