/* Tasks of a queue in a real Redis: who gets them, who keeps them, how they end. */
#include "test/lib/tap.h"
#include "test/loop/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct redis_server server;

static void empty(void)
{
    redis_server_ask(&server, "FLUSHALL");
}

/* One task from being put in to its end. */
static void test_one(void)
{
    struct desk w;
    struct desk c;
    struct lh_taken t;

    desk_open(&w, &server, "w1");
    desk_open(&c, &server, NULL);
    is_i64(desk_submit(&c, LH_PRIORITY_NORMAL, "one"), 0, "a task is put in: %s", c.text);
    is_str(c.id, "one", "under the id it brings");
    is_i64(desk_state(&c, "one"), LH_TASK_QUEUED, "it is queued");
    is_u64(c.n_fields, 5, "its fields are there");
    is_i64(desk_submit(&c, LH_PRIORITY_HIGH, "one"), -LH_E_EXISTS, "not twice: %s", c.text);
    is_i64(desk_take(&w, 4, true), 0, "a worker takes: %s", w.text);
    is_u64(w.n, 1, "the one there is");
    t = w.taken[0];
    is_str(t.claim.id, "one", "its id");
    is_str(w.source[0], "one", "its source");
    ok(t.claim.number > 0 && !t.reaped, "its claim");
    is_u64(t.attempts, 1, "the first attempt");
    is_i64(desk_state(&c, "one"), LH_TASK_ACTIVE, "it is active");
    is_str(c.worker_name, "w1", "at its worker");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_OK, "a report without a record");
    is_i64(desk_report(&w, &t.claim, "0-10"), LH_QUEUE_OK, "and with one");
    desk_get(&c, "one");
    is_str(c.map, "0-10", "the map is kept");
    is_u64(c.info.bytes, 10, "what is durable");
    is_u64(c.info.total, 100, "of how much");
    is_u64(c.info.rate_bps, 8000, "how fast");
    is_u64(c.n_records, 1, "one record");
    is_i64(desk_overview(&c), 0, "the overview: %s", c.text);
    is_u64(c.overview.active, 1, "one is active");
    is_u64(c.overview.n_workers, 1, "one worker");
    is_str(c.workers_info[0].name, "w1", "by its name");
    is_str(c.workers_info[0].health.host, "a_host", "on its host");
    is_u64(c.workers_info[0].claim_ms, DESK_CLAIM_MS, "with its claim time");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "it ends");
    is_i64(desk_state(&c, "one"), LH_TASK_DONE, "it is done");
    is_u64(c.info.bytes, 100, "all of it");
    is_u64(redis_server_ask(&server, "XLEN " DESK_KEY "tasks:normal"), 0, "its entry is gone");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DEAD, 0), LH_QUEUE_LOST, "ended twice: lost");
    is_i64(desk_state(&c, "one"), LH_TASK_DONE, "and nothing was changed");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_LOST, "a late report: lost");
    is_i64(desk_leave(&w), 0, "the worker leaves");
    desk_overview(&c);
    is_u64(c.overview.n_workers, 0, "and is listed no more");
    is_u64(c.overview.recent_tasks, 1, "one task done of late");
    is_u64(c.overview.recent_bytes, 100, "of so many bytes");
    desk_close(&w);
    desk_close(&c);
}

int main(void)
{
    redis_server_start(&server, NULL);
    test_one();
    empty();
    redis_server_stop(&server);
    return done_testing();
}
