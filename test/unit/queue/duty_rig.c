/* See duty_rig.h. */
#include "duty_rig.h"

#include <string.h>

struct lh_duty duty;
struct lh_duty_step step;
uint64_t now_ms;

void rig_begin(unsigned jobs, unsigned per_host)
{
    struct lh_duty_options opts = {
        .jobs = jobs, .jobs_per_host = per_host, .claim_ms = CLAIM_MS, .seed = 7};

    now_ms = 1000000;
    lh_duty_init(&duty, &opts, now_ms);
}

enum lh_duty_do rig_next(void)
{
    lh_duty_next(&duty, now_ms, &step);
    return step.what;
}

void rig_task(struct lh_duty_task *task, const char *host)
{
    memset(task, 0, sizeof(*task));
    task->host = host;
    task->retries = 3;
}
