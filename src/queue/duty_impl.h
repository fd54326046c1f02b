/* What the parts of the duty share: duty.c hears what happened, duty_step.c says what is to be
 * done, duty_task.c keeps the tasks. Every task is on exactly one list, which its state names. */
#ifndef LH_QUEUE_DUTY_IMPL_H
#define LH_QUEUE_DUTY_IMPL_H

#include "queue/duty.h"

#define LH_DUTY_WAIT_MIN_MS 20u

void lh_duty_append(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_state state);
void lh_duty_unlink(struct lh_duty *duty, struct lh_duty_task *task);
void lh_duty_move(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_state state);

/* Tasks on all lists. */
size_t lh_duty_total(const struct lh_duty *duty);

/* Uniform over 32 bits. */
uint32_t lh_duty_chance(struct lh_duty *duty);

/* It is over, and the queue has to hear of it. */
void lh_duty_hold(struct lh_duty *duty, struct lh_duty_task *task, enum lh_task_outcome outcome,
                  uint64_t due_ms);

/* A step about its send is to be made: what is task->cancel or task->confirm. */
void lh_duty_ask_send(struct lh_duty *duty, struct lh_duty_task *task, bool *what);

/* That step was made, or is of no use any more. */
void lh_duty_acted(struct lh_duty *duty, struct lh_duty_task *task);

/* Let a delivered send go. Its session is free for the next task then. */
void lh_duty_let_go(struct lh_duty *duty, struct lh_duty_task *task, bool forget);

/* Nothing more is to be told about it. */
void lh_duty_settle(struct lh_duty *duty, struct lh_duty_task *task, enum lh_duty_end end,
                    bool forget);

#endif
