/* See seen.h: an array sorted by id. It grows with the tasks that are shown, some hundreds a look;
 * when it is full it begins anew. */
#include "cli/seen.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TASKS 16384

struct lh_seen_task {
    char id[LH_TASK_ID_SIZE];
    enum lh_task_state state;
    bool wanted;
    uint64_t bytes;
    uint64_t attempts;
};

void lh_seen_init(struct lh_seen *seen)
{
    *seen = (struct lh_seen){0};
}

void lh_seen_free(struct lh_seen *seen)
{
    free(seen->v);
    lh_seen_init(seen);
}

/* Where the id is, or would be. */
static size_t find(const struct lh_seen *seen, const char *id)
{
    size_t low = 0;
    size_t high = seen->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(seen->v[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool make_room(struct lh_seen *seen)
{
    size_t cap = seen->cap == 0 ? 64 : seen->cap * 2;
    struct lh_seen_task *grown;

    if (seen->n < seen->cap)
        return true;
    if (seen->cap >= MAX_TASKS) {
        seen->n = 0; /* the next look says everything once more */
        return true;
    }
    grown = realloc(seen->v, cap * sizeof(*grown));
    if (grown == NULL)
        return false;
    seen->v = grown;
    seen->cap = cap;
    return true;
}

bool lh_seen_changed(struct lh_seen *seen, const struct lh_task_info *task)
{
    struct lh_seen_task now = {.state = task->state,
                               .wanted = task->want[0] != '\0',
                               .bytes = task->bytes,
                               .attempts = task->attempts};
    size_t at = find(seen, task->id);

    memcpy(now.id, task->id, sizeof(now.id));
    if (at < seen->n && strcmp(seen->v[at].id, now.id) == 0) {
        struct lh_seen_task *then = &seen->v[at];
        bool same = then->state == now.state && then->wanted == now.wanted &&
                    then->bytes == now.bytes && then->attempts == now.attempts;

        *then = now;
        return !same;
    }
    if (!make_room(seen))
        return true;
    at = find(seen, task->id);
    memmove(&seen->v[at + 1], &seen->v[at], (seen->n - at) * sizeof(*seen->v));
    seen->v[at] = now;
    seen->n++;
    return true;
}
