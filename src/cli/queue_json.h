/* Objects of --json about a queue, one a line on standard output. Main thread only. */
#ifndef LH_CLI_QUEUE_JSON_H
#define LH_CLI_QUEUE_JSON_H

#include "queue/queue.h"

/* {"event":"task",…}. detail: with the maps, which lists do not have. */
int lh_queue_json_task(const struct lh_task_info *task, uint64_t now_ms, bool detail);

/* {"event":"queue",…}, the numbers alone. */
int lh_queue_json_counts(const struct lh_queue_overview *view);

/* {"event":"worker",…} */
int lh_queue_json_worker(const struct lh_worker_info *worker, uint64_t now_ms);

/* All of them return what lh_json_end returns. */

#endif
