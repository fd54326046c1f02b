/* A queue as people see it, and lines that are drawn over each other. */
#include "cli/queue_view.h"

#include "cli/frame.h"
#include "cli/seen.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

#define NOW 10000000

static char *text_of(void (*print)(FILE *out, const struct lh_queue_overview *view),
                     const struct lh_queue_overview *view)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        bail("open_memstream failed");
    print(out, view);
    fclose(out);
    return text;
}

static void counts_are(const struct lh_queue_overview *view, const char *want, const char *name)
{
    char *text = text_of(lh_view_counts, view);

    is_str(text, want, "%s", name);
    free(text);
}

static void test_counts(void)
{
    struct lh_worker_info workers[] = {{.heard_ms = NOW, .claim_ms = 15000},
                                       {.heard_ms = NOW - 60000, .claim_ms = 15000}};
    struct lh_queue_overview view = {.now_ms = NOW, .workers = workers};

    counts_are(&view, "0 active, 0 queued; 0 workers", "an empty queue");
    view.n_workers = 1;
    view.queued[LH_PRIORITY_NORMAL] = 9998;
    counts_are(&view, "0 active, 9 998 queued; 1 worker", "all of one priority");
    view.queued[LH_PRIORITY_HIGH] = 2;
    view.active = 3;
    view.delayed = 1;
    view.paused = 4;
    view.dead = 5;
    counts_are(&view,
               "3 active, 1 delayed, 4 paused, 10 000 queued (2 high, 9 998 normal), 5 dead; "
               "1 worker",
               "everything");
    view = (struct lh_queue_overview){.now_ms = NOW, .workers = workers, .n_workers = 2};
    counts_are(&view, "0 active, 0 queued; 2 workers, 1 of them silent", "one that is gone");
    view.workers = &workers[1];
    view.n_workers = 1;
    counts_are(&view, "0 active, 0 queued; 1 worker, silent", "and no other");
}

static void test_queue(void)
{
    struct lh_worker_info workers[] = {{.name = "w1",
                                        .heard_ms = NOW - 4000,
                                        .claim_ms = 15000,
                                        .health = {.host = "alpha",
                                                   .pid = 4242,
                                                   .jobs = 4,
                                                   .active = 2,
                                                   .done = 17,
                                                   .failed = 1,
                                                   .rate_bps = 1903000000}},
                                       {.name = "worker-two",
                                        .heard_ms = NOW - 15001,
                                        .claim_ms = 15000,
                                        .health = {.host = "be\tta", .pid = 42, .jobs = 4}}};
    struct lh_queue_overview view = {.now_ms = NOW,
                                     .queued = {0, 12, 0},
                                     .oldest_ms = {0, 65000, 0},
                                     .active = 2,
                                     .dead = 1,
                                     .recent_ms = 60000,
                                     .recent_tasks = 30,
                                     .recent_bytes = UINT64_C(60) << 20,
                                     .workers = workers,
                                     .n_workers = 2};
    char *text = text_of(lh_view_queue, &view);

    is_str(text,
           "  high             0\n"
           "  normal          12  waiting, the first of them for 1:05\n"
           "  low              0\n"
           "  active           2\n"
           "  delayed          0\n"
           "  paused           0\n"
           "  dead             1  see: longhaul queue dead\n"
           "  done            30  in the last 1:00: 60.0 MiB, 0.5 tasks/s, 1.0 MiB/s\n"
           "\n"
           "  WORKER      HOST       PID     TASKS     DONE  FAILED         RATE  HEARD OF\n"
           "  w1          alpha     4242    2 of 4       17       1  226.8 MiB/s  0:04 ago\n"
           "  worker-two  be\\x09ta       42    0 of 4        0       0        0 B/s  0:15 ago, "
           "silent\n",
           "the whole queue");
    free(text);
    ok(!lh_view_silent(&workers[0], NOW) && lh_view_silent(&workers[1], NOW),
       "silent: longer than the claim time");
    ok(!lh_view_silent(&workers[0], 0), "clocks that disagree make nobody silent");
    view.n_workers = 0;
    view.recent_tasks = 0;
    text = text_of(lh_view_queue, &view);
    ok(strstr(text, "no worker: start one with `longhaul worker`") != NULL &&
           strstr(text, "done             0  in the last minute\n") != NULL,
       "no worker, nothing done");
    free(text);
}

static char *drawn(struct lh_frame *frame, const char *text, unsigned columns, unsigned rows)
{
    char *out = NULL;
    size_t len = 0;

    frame->out = open_memstream(&out, &len);
    if (frame->out == NULL)
        bail("open_memstream failed");
    lh_frame_draw(frame, text, columns, rows);
    fclose(frame->out);
    return out;
}

static void draws(struct lh_frame *frame, const char *text, unsigned columns, unsigned rows,
                  const char *want, const char *name)
{
    char *have = drawn(frame, text, columns, rows);

    is_str(have, want, "%s", name);
    free(have);
}

static void test_frame(void)
{
    struct lh_frame frame = {.out = NULL};

    is_u64(lh_frame_fit("abc", 3, 2), 2, "fit: cut");
    is_u64(lh_frame_fit("abc", 3, 9), 3, "fit: all of it");
    is_u64(lh_frame_fit("\xc3\xa4\xe2\x82\xac!", 6, 2), 5, "fit: characters stay whole");
    draws(&frame, "one\ntwo\n", 80, 24, "one\033[K\ntwo\033[K\n\033[J", "the first frame");
    is_u64(frame.n_lines, 2, "two lines are to be seen");
    draws(&frame, "three\n", 80, 24, "\033[2A\rthree\033[K\n\033[J", "over the last one");
    draws(&frame, "123456789\n", 8, 24, "\033[1A\r12345...\033[K\n\033[J",
          "a line that is too long");
    draws(&frame, "1\n2\n3\n4\n", 80, 4, "\033[1A\r1\033[K\n2\033[K\n(2 more lines)\033[K\n\033[J",
          "more lines than the terminal has");
    is_u64(frame.n_lines, 3, "three lines are to be seen");
}

static void test_seen(void)
{
    struct lh_task_info task = {.id = "b", .state = LH_TASK_QUEUED, .want = ""};
    struct lh_seen seen;
    unsigned n_changed = 0;

    lh_seen_init(&seen);
    ok(lh_seen_changed(&seen, &task), "a new task");
    ok(!lh_seen_changed(&seen, &task), "the same again");
    task.state = LH_TASK_ACTIVE;
    ok(lh_seen_changed(&seen, &task), "another state");
    task.bytes = 1;
    ok(lh_seen_changed(&seen, &task), "progress");
    task.rate_bps = 1;
    ok(!lh_seen_changed(&seen, &task), "another rate is nothing new");
    task.want = "paused";
    ok(lh_seen_changed(&seen, &task), "asked to pause");
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 1000; i++) {
            snprintf(task.id, sizeof(task.id), "n%u", i * 7919 % 1000);
            n_changed += lh_seen_changed(&seen, &task) ? 1 : 0;
        }
    }
    is_u64(n_changed, 1000, "each of a thousand is new once");
    lh_seen_free(&seen);
}

int main(void)
{
    test_counts();
    test_queue();
    test_frame();
    test_seen();
    return done_testing();
}
