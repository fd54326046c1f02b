/* Tasks as people see them: lines, bars, the map, and names that anybody may have put there. */
#include "cli/task_view.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
#define NOW 10000000

static char *printed;
static size_t printed_len;

static FILE *begin(void)
{
    FILE *out;

    free(printed);
    printed = NULL;
    out = open_memstream(&printed, &printed_len);
    if (out == NULL)
        bail("open_memstream failed");
    return out;
}

static const char *task_text(const struct lh_task_info *task, unsigned width)
{
    FILE *out = begin();

    lh_view_task(out, task, NOW, width);
    fclose(out);
    return printed;
}

static const char *line_text(const struct lh_task_info *task)
{
    FILE *out = begin();

    lh_view_task_line(out, task, NOW);
    fclose(out);
    return printed;
}

static const char *detail_text(const struct lh_task_detail *detail, unsigned width)
{
    FILE *out = begin();

    lh_view_detail(out, detail, width);
    fclose(out);
    return printed;
}

static struct lh_task_info a_task(enum lh_task_state state)
{
    return (struct lh_task_info){.id = "n1-0",
                                 .state = state,
                                 .want = "",
                                 .priority = LH_PRIORITY_NORMAL,
                                 .source = "/a",
                                 .destination = "lh://b/c",
                                 .worker = "w1",
                                 .workers = "w1",
                                 .error = "",
                                 .error_status = "",
                                 .digest = "",
                                 .map = "",
                                 .inflight = ""};
}

static void test_words(void)
{
    char out[LH_VIEW_COUNT_SIZE];

    is_str(lh_view_count(out, 0), "0", "count: 0");
    is_str(lh_view_count(out, 999), "999", "count: 999");
    is_str(lh_view_count(out, 9993), "9 993", "count: 9 993");
    is_str(lh_view_count(out, 123456789), "123 456 789", "count: 123 456 789");
    is_str(lh_view_count(out, UINT64_MAX), "18 446 744 073 709 551 615", "count: the largest");
    is_str(lh_view_age(out, 1000, 13999), "0:12", "age: whole seconds");
    is_str(lh_view_age(out, 13999, 1000), "0:00", "age: clocks that disagree");
    is_str(lh_view_age(out, 0, 3723000), "1:02:03", "age: hours");
    is_str(lh_view_age(out, 0, UINT64_C(9) * 86400000), "9 d", "age: days");
}

static void test_states(void)
{
    struct lh_task_info task = a_task(LH_TASK_QUEUED);

    is_str(task_text(&task, 80), "queued    n1-0  /a -> lh://b/c\n", "queued: nothing to add");
    is_str(line_text(&task), "queued n1-0 /a -> lh://b/c\n", "queued, as a line");
    task.state = LH_TASK_ACTIVE;
    is_str(task_text(&task, 80), "active    n1-0  /a -> lh://b/c  (w1)\n          starting\n",
           "active, before its size is known");
    task.total = 4 * GIB;
    task.bytes = 2 * GIB;
    task.rate_bps = 903000000;
    task.streams = 8;
    is_str(task_text(&task, 89),
           "active    n1-0  /a -> lh://b/c  (w1)\n"
           "          [========>        ]   50%  2.0 GiB of 4.0 GiB  107.6 MiB/s  ETA 0:20  "
           "8 streams\n",
           "active: a bar");
    is_str(line_text(&task),
           "active n1-0 /a -> lh://b/c  (w1): 50%, 2.0 GiB of 4.0 GiB, 107.6 MiB/s, ETA 0:20, "
           "8 streams\n",
           "active, as a line");
    task.want = "paused";
    is_str(task_text(&task, 50),
           "active    n1-0  /a -> lh://b/c  (w1)\n          to be paused:  50%  107.6 MiB/s\n",
           "active, and asked to pause; narrow");
    task.want = "";
    task.state = LH_TASK_PAUSED;
    is_str(line_text(&task), "paused n1-0 /a -> lh://b/c: 50%, 2.0 GiB of 4.0 GiB are safe\n",
           "paused");
    task.state = LH_TASK_DELAYED;
    task.due_ms = NOW + 11001;
    task.failures = 2;
    task.error_status = "NETWORK";
    task.error = "the connection was lost";
    is_str(line_text(&task),
           "delayed n1-0 /a -> lh://b/c: again in 0:12 after 2 failures; 50%, 2.0 GiB of 4.0 GiB "
           "are safe; NETWORK: the connection was lost\n",
           "delayed");
    task.due_ms = NOW - 1;
    task.bytes = 0;
    task.failures = 1;
    is_str(line_text(&task),
           "delayed n1-0 /a -> lh://b/c: due after 1 failure; NETWORK: the connection was lost\n",
           "delayed, and due");
}

static void test_ended(void)
{
    struct lh_task_info task = a_task(LH_TASK_DONE);

    task.total = task.bytes = 4 * GIB;
    task.attempts = 1;
    task.active_ms = 38400;
    task.ended_ms = NOW - 63000;
    is_str(line_text(&task),
           "done n1-0 /a -> lh://b/c  (w1): 4.0 GiB in 38.4 s, 106.6 MiB/s, 1:03 ago\n", "done");
    task.active_ms = 3723000;
    is_str(line_text(&task),
           "done n1-0 /a -> lh://b/c  (w1): 4.0 GiB in 1:02:03, 1.0 MiB/s, 1:03 ago\n",
           "done, a long one");
    task.attempts = 3;
    is_str(line_text(&task), "done n1-0 /a -> lh://b/c  (w1): 4.0 GiB in 3 attempts, 1:03 ago\n",
           "done in several attempts, whose time is not known");
    task.state = LH_TASK_DEAD;
    task.error_status = "SOURCE";
    task.error = "there is no /a\033[31m";
    is_str(line_text(&task),
           "dead n1-0 /a -> lh://b/c: after 3 attempts, 1:03 ago; SOURCE: there is no "
           "/a\\x1b[31m\n",
           "dead: the reason, made harmless");
    task.state = LH_TASK_CANCELLED;
    task.error = task.error_status = "";
    task.attempts = 1;
    task.source = "/a\nb\xff";
    is_str(line_text(&task),
           "cancelled n1-0 /a\\x0ab\\xff -> lh://b/c: after 1 attempt, 1:03 ago\n",
           "cancelled: the names, made harmless");
    task.attempts = 0;
    is_str(line_text(&task), "cancelled n1-0 /a\\x0ab\\xff -> lh://b/c: 1:03 ago\n",
           "before anybody took it");
}

static const char *map_text(size_t n_cells, uint64_t total, const char *durable,
                            const char *in_flight)
{
    static char cells[128];
    struct lh_range safe[16];
    struct lh_range flight[16];
    int n_safe = lh_map_read(durable, strlen(durable), safe, 16);
    int n_flight = lh_map_read(in_flight, strlen(in_flight), flight, 16);

    if (n_safe < 0 || n_flight < 0)
        bail("the test's own map is wrong");
    return lh_view_map(cells, n_cells, total, (struct lh_view_ranges){safe, (size_t)n_safe},
                       (struct lh_view_ranges){flight, (size_t)n_flight});
}

static void test_map(void)
{
    is_str(map_text(4, 400, "", ""), "....", "map: nothing");
    is_str(map_text(4, 400, "0-400", ""), "####", "map: everything");
    is_str(map_text(4, 400, "0-100,150-200", "200-250"), "#+>.", "map: each of the signs");
    is_str(map_text(4, 400, "0-50", "40-60"), ">...", "map: in flight wins over partly safe");
    is_str(map_text(4, 400, "0-399", ""), "###+", "map: one byte is missing");
    is_str(map_text(4, 400, "399-400", "0-1"), ">..+", "map: one byte of each");
    is_str(map_text(3, 10, "0-3,6-10", ""), "#.#", "map: cells of unlike size");
    is_str(map_text(2, UINT64_MAX, "0-9223372036854775807",
                    "18446744073709551614-18446744073709551615"),
           "#>", "map: the largest file");
    is_str(map_text(5, 3, "0-2", ""), ".#.#.", "map: more cells than bytes: some are of none");
    is_str(map_text(0, 400, "0-400", ""), "", "map: no cells");
}

static void test_detail(void)
{
    struct lh_field fields[] = {{"v", 1, "1", 1},
                                {"source", 6, "/a", 2},
                                {"retries", 7, "forever", 7},
                                {"limit-rate", 10, "500M", 4}};
    struct lh_record_info records[] = {
        {.at_ms = NOW - 5000, .claim = 7, .worker = "w2", .map = "", .bytes = GIB, .total = GIB},
        {.at_ms = NOW - 65000, .claim = 6, .worker = "w1", .map = "", .bytes = GIB / 2}};
    struct lh_task_detail detail = {.now_ms = NOW,
                                    .task = a_task(LH_TASK_ACTIVE),
                                    .fields = fields,
                                    .n_fields = 4,
                                    .records = records,
                                    .n_records = 2};
    struct lh_task_info *task = &detail.task;

    task->total = 8 << 20;
    task->bytes = 4 << 20;
    task->rate_bps = 8 << 20;
    task->streams = 2;
    task->map = "0-4194304";
    task->inflight = "4194304-5242880";
    task->attempts = 2;
    task->failures = 1;
    task->worker = "w2";
    task->workers = "w1,w2";
    task->claim = 7;
    task->heard_ms = NOW - 2000;
    task->submitted_ms = NOW - 300000;
    task->taken_ms = NOW - 60000;
    task->error_status = "NETWORK";
    task->error = "lost";
    is_str(detail_text(&detail, 79),
           "task n1-0: active, priority normal\n"
           "  source      /a\n"
           "  destination lh://b/c\n"
           "  asked for   retries=forever, limit-rate=500M\n"
           "  progress    [========>       ]   50%  4.0 MiB of 8.0 MiB  1.0 MiB/s  ETA 0:04\n"
           "  streams     2\n"
           "  map         ################>>>>............\n"
           "              # safe, + partly, > in flight, . missing; each sign is 256.0 KiB\n"
           "  attempts    2, 1 failed\n"
           "  worker      w2, heard of 0:02 ago, claim 7\n"
           "  workers     w1,w2\n"
           "  submitted   5:00 ago\n"
           "  taken       1:00 ago\n"
           "  records     0:05 ago: 1.0 GiB, by w2\n"
           "              1:05 ago: 512.0 MiB, by w1\n"
           "  last error  NETWORK: lost\n",
           "one task in detail");
    detail_text(&detail, 30);
    ok(strstr(printed, "map         ################\n              >>>>............\n") != NULL,
       "a narrow terminal: the map in rows");
    task->map = task->inflight = "";
    detail_text(&detail, 79);
    ok(strstr(printed, "  map ") == NULL && strstr(printed, "4.0 MiB of 8.0 MiB") != NULL,
       "a tree has no map");
    task->inflight = "4194304-5242880";
    task->map = "not a map";
    detail_text(&detail, 79);
    ok(strstr(printed, "map         ................>>>>............\n") != NULL,
       "a map that cannot be read is none");
    *task = a_task(LH_TASK_QUEUED);
    detail.n_records = detail.n_fields = 0;
    is_str(detail_text(&detail, 0),
           "task n1-0: queued, priority normal\n"
           "  source      /a\n"
           "  destination lh://b/c\n"
           "  attempts    0\n"
           "  worker      w1\n",
           "nothing is known yet");
}

int main(void)
{
    test_words();
    test_states();
    test_ended();
    test_map();
    test_detail();
    free(printed);
    return done_testing();
}
