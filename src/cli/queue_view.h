/* A queue as people see it. Pure: everything from what is given; any thread. */
#ifndef LH_CLI_QUEUE_VIEW_H
#define LH_CLI_QUEUE_VIEW_H

#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* "2 active, 1 delayed, 9 998 queued (1 high, 9 997 normal), 1 dead; 3 workers" without newline. */
void lh_view_counts(FILE *out, const struct lh_queue_overview *view);

/* Everything: what waits in each priority, what is delayed, paused and dead, what was done lately,
 * and a row for each worker. */
void lh_view_queue(FILE *out, const struct lh_queue_overview *view);

/* Not heard of for longer than its claim time: others take its tasks. */
bool lh_view_silent(const struct lh_worker_info *worker, uint64_t now_ms);

/* How many of them are. */
size_t lh_view_n_silent(const struct lh_queue_overview *view);

#endif
