/* What was last shown of each task, so that a log gets a line only for what has changed. */
#ifndef LH_CLI_SEEN_H
#define LH_CLI_SEEN_H

#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>

struct lh_seen {
    struct lh_seen_task *v; /* by id */
    size_t n;
    size_t cap;
};

void lh_seen_init(struct lh_seen *seen);
void lh_seen_free(struct lh_seen *seen);

/* Whether the task is not as it was at the last call with it; remembers it. True without memory. */
bool lh_seen_changed(struct lh_seen *seen, const struct lh_task_info *task);

#endif
