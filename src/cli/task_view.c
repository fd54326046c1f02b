/* See task_view.h. A task with contents on the way gets the bar that `send` draws; the others get
 * words that say what they wait for. */
#include "cli/task_view.h"

#include "cli/progress.h"
#include "util/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NO_TERMINAL 79
#define LINE_INDENT 10
#define DETAIL_INDENT 14
#define MAP_ROWS 4
#define CELL_MIN_BYTES (UINT64_C(256) << 10) /* a block: what is granted is never smaller */
#define N_RECORDS 5

char *lh_view_count(char out[LH_VIEW_COUNT_SIZE], uint64_t n)
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n);
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[used++] = ' ';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

char *lh_view_age(char out[LH_VIEW_AGE_SIZE], uint64_t earlier_ms, uint64_t later_ms)
{
    uint64_t seconds = later_ms > earlier_ms ? (later_ms - earlier_ms) / 1000 : 0;

    if (seconds >= 2 * 86400)
        snprintf(out, LH_VIEW_AGE_SIZE, "%" PRIu64 " d", seconds / 86400);
    else
        lh_text_duration(out, LH_VIEW_AGE_SIZE, seconds);
    return out;
}

static void put_name(FILE *out, const char *name)
{
    char shown[4096];

    fputs(lh_text_escape(shown, sizeof(shown), name, strlen(name)), out);
}

static struct lh_send_stats stats_of(const struct lh_task_info *task)
{
    return (struct lh_send_stats){.bytes_total = task->total,
                                  .bytes_durable = task->bytes,
                                  .rate_bps = task->rate_bps,
                                  .streams = (uint32_t)task->streams};
}

/* "NETWORK: the connection was lost" */
static void put_error(FILE *out, const struct lh_task_info *task)
{
    if (task->error_status[0] != '\0') {
        put_name(out, task->error_status);
        if (task->error[0] != '\0')
            fputs(": ", out);
    }
    put_name(out, task->error);
}

static bool has_error(const struct lh_task_info *task)
{
    return task->error[0] != '\0' || task->error_status[0] != '\0';
}

/* "50%, 2.0 GiB of 4.0 GiB"; nothing where nothing is known. */
static bool put_safe(FILE *out, const struct lh_task_info *task)
{
    struct lh_send_stats stats = stats_of(task);
    char a[24];
    char b[24];

    if (task->bytes == 0 || task->total == 0)
        return false;
    fprintf(out, "%u%%, %s of %s are safe", lh_progress_percent(&stats),
            lh_text_bytes(a, sizeof(a), task->bytes), lh_text_bytes(b, sizeof(b), task->total));
    return true;
}

static void put_done(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    char size[24];
    char took[24];
    char rate[24];
    char age[LH_VIEW_AGE_SIZE];

    fprintf(out, "%s", lh_text_bytes(size, sizeof(size), task->total));
    /* How long an attempt took is known of the last one only. */
    if (task->attempts > 1) {
        fprintf(out, " in %" PRIu64 " attempts", task->attempts);
    } else if (task->active_ms > 0) {
        snprintf(took, sizeof(took), "%" PRIu64 ".%" PRIu64 " s", task->active_ms / 1000,
                 task->active_ms / 100 % 10);
        if (task->active_ms >= 60000)
            lh_text_duration(took, sizeof(took), task->active_ms / 1000);
        lh_text_bytes(rate, sizeof(rate),
                      (uint64_t)((double)task->total * 1000.0 / (double)task->active_ms));
        fprintf(out, " in %s, %s/s", took, rate);
    }
    if (task->ended_ms > 0)
        fprintf(out, ", %s ago", lh_view_age(age, task->ended_ms, now_ms));
}

static void put_delayed(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    char age[LH_VIEW_AGE_SIZE];

    if (task->due_ms > now_ms)
        fprintf(out, "again in %s", lh_view_age(age, now_ms, task->due_ms + 999));
    else
        fputs("due", out);
    if (task->failures > 0)
        fprintf(out, " after %" PRIu64 " failure%s", task->failures,
                task->failures == 1 ? "" : "s");
    if (task->bytes > 0 && task->total > 0) {
        fputs("; ", out);
        put_safe(out, task);
    }
    if (has_error(task)) {
        fputs("; ", out);
        put_error(out, task);
    }
}

static void put_ended(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    char age[LH_VIEW_AGE_SIZE];

    if (task->attempts > 0)
        fprintf(out, "after %" PRIu64 " attempt%s, ", task->attempts,
                task->attempts == 1 ? "" : "s");
    if (task->ended_ms > 0)
        fprintf(out, "%s ago", lh_view_age(age, task->ended_ms, now_ms));
    if (has_error(task)) {
        fputs("; ", out);
        put_error(out, task);
    }
}

/* How it stands, in words. Returns whether there is anything to say. */
static bool put_remark(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    switch (task->state) {
    case LH_TASK_DONE:
        put_done(out, task, now_ms);
        return true;
    case LH_TASK_DELAYED:
        put_delayed(out, task, now_ms);
        return true;
    case LH_TASK_DEAD:
    case LH_TASK_CANCELLED:
        put_ended(out, task, now_ms);
        return true;
    case LH_TASK_ACTIVE:
        fputs("starting", out);
        return true;
    default:
        return put_safe(out, task);
    }
}

static void put_names(FILE *out, const struct lh_task_info *task)
{
    put_name(out, task->source);
    fputs(" -> ", out);
    put_name(out, task->destination);
    if (task->state == LH_TASK_ACTIVE || task->state == LH_TASK_DONE) {
        fputs("  (", out);
        put_name(out, task->worker);
        fputs(")", out);
    }
}

static bool has_bar(const struct lh_task_info *task)
{
    return task->state == LH_TASK_ACTIVE && task->total > 0;
}

/* A bar of `bar_width` columns at most (0: the same in words), or a remark; "" where there is
 * nothing to say. To be freed; NULL without memory. */
static char *remark_of(const struct lh_task_info *task, uint64_t now_ms, unsigned bar_width)
{
    struct lh_send_stats stats = stats_of(task);
    char line[LH_PROGRESS_TEXT_SIZE];
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL)
        return NULL;
    if (task->state == LH_TASK_ACTIVE && task->want[0] != '\0') {
        fputs("to be ", out);
        put_name(out, task->want);
        fputs(": ", out);
    }
    if (!has_bar(task)) {
        put_remark(out, task, now_ms);
    } else if (bar_width == 0) {
        fputs(lh_progress_report(line, &stats), out);
    } else {
        unsigned used = (unsigned)ftell(out);

        bar_width = bar_width > used ? bar_width - used : 1;
        fputs(lh_progress_bar(line, &stats, bar_width), out);
    }
    fclose(out);
    return text;
}

static unsigned room(unsigned width, unsigned indent)
{
    if (width == 0)
        width = NO_TERMINAL;
    return width > indent ? width - indent : 1;
}

void lh_view_task(FILE *out, const struct lh_task_info *task, uint64_t now_ms, unsigned width)
{
    char *remark = remark_of(task, now_ms, room(width, LINE_INDENT));

    fprintf(out, "%-*s%s  ", LINE_INDENT, lh_task_state_name(task->state), task->id);
    put_names(out, task);
    putc('\n', out);
    if (remark != NULL && remark[0] != '\0')
        fprintf(out, "%*s%s\n", LINE_INDENT, "", remark);
    free(remark);
}

void lh_view_task_line(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    char *remark = remark_of(task, now_ms, 0);

    fprintf(out, "%s %s ", lh_task_state_name(task->state), task->id);
    put_names(out, task);
    if (remark != NULL && remark[0] != '\0')
        fprintf(out, ": %s", remark);
    putc('\n', out);
    free(remark);
}

/* ---- the map ------------------------------------------------------------------------------ */

/* Bytes of [first, end) that are in the ranges; *at is moved to the first that ends behind first.
 */
static uint64_t covered(struct lh_view_ranges ranges, size_t *at, uint64_t first, uint64_t end)
{
    uint64_t sum = 0;

    while (*at < ranges.n && ranges.v[*at].offset + ranges.v[*at].length <= first)
        ++*at;
    for (size_t i = *at; i < ranges.n && ranges.v[i].offset < end; i++) {
        uint64_t from = ranges.v[i].offset > first ? ranges.v[i].offset : first;
        uint64_t to = ranges.v[i].offset + ranges.v[i].length;

        sum += (to < end ? to : end) - from;
    }
    return sum;
}

char *lh_view_map(char *out, size_t n_cells, uint64_t total, struct lh_view_ranges durable,
                  struct lh_view_ranges in_flight)
{
    uint64_t whole = n_cells > 0 ? total / n_cells : 0;
    uint64_t rest = n_cells > 0 ? total % n_cells : 0;
    size_t durable_at = 0;
    size_t flight_at = 0;

    for (size_t i = 0; i < n_cells; i++) {
        uint64_t first = whole * i + rest * i / n_cells;
        uint64_t end = whole * (i + 1) + rest * (i + 1) / n_cells;
        uint64_t safe = covered(durable, &durable_at, first, end);

        if (safe == end - first && safe > 0)
            out[i] = '#';
        else if (covered(in_flight, &flight_at, first, end) > 0)
            out[i] = '>';
        else
            out[i] = safe > 0 ? '+' : '.';
    }
    out[n_cells] = '\0';
    return out;
}

/* ---- one task in detail ------------------------------------------------------------------- */

static void label(FILE *out, const char *name)
{
    fprintf(out, "  %-*s", DETAIL_INDENT - 2, name);
}

static void put_map(FILE *out, const struct lh_task_info *task, unsigned width)
{
    struct lh_range *durable = malloc(2 * LH_MAP_RANGES_MAX * sizeof(*durable));
    struct lh_range *in_flight = durable + LH_MAP_RANGES_MAX;
    char cells[LH_PROGRESS_MAX_WIDTH * MAP_ROWS + 1];
    uint64_t n_blocks = task->total / CELL_MIN_BYTES + (task->total % CELL_MIN_BYTES != 0);
    unsigned columns = room(width, DETAIL_INDENT);
    size_t n_cells;
    char each[24];
    int n_durable;
    int n_flight;

    if (durable == NULL)
        return;
    n_durable = lh_map_read(task->map, strlen(task->map), durable, LH_MAP_RANGES_MAX);
    n_flight = lh_map_read(task->inflight, strlen(task->inflight), in_flight, LH_MAP_RANGES_MAX);
    if (columns > LH_PROGRESS_MAX_WIDTH)
        columns = LH_PROGRESS_MAX_WIDTH;
    n_cells = n_blocks < columns * MAP_ROWS ? (size_t)n_blocks : columns * MAP_ROWS;
    lh_view_map(cells, n_cells, task->total,
                (struct lh_view_ranges){durable, n_durable > 0 ? (size_t)n_durable : 0},
                (struct lh_view_ranges){in_flight, n_flight > 0 ? (size_t)n_flight : 0});
    free(durable);
    for (size_t at = 0; at < n_cells; at += columns) {
        if (at == 0)
            label(out, "map");
        else
            fprintf(out, "%*s", DETAIL_INDENT, "");
        fprintf(out, "%.*s\n", (int)columns, cells + at);
    }
    fprintf(out, "%*s# safe, + partly, > in flight, . missing; each sign is %s\n", DETAIL_INDENT,
            "", lh_text_bytes(each, sizeof(each), (task->total + n_cells - 1) / n_cells));
}

static void put_attempts(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    char age[LH_VIEW_AGE_SIZE];

    label(out, "attempts");
    fprintf(out, "%" PRIu64, task->attempts);
    if (task->failures > 0)
        fprintf(out, ", %" PRIu64 " failed", task->failures);
    putc('\n', out);
    if (task->worker[0] != '\0') {
        label(out, "worker");
        put_name(out, task->worker);
        if (task->state == LH_TASK_ACTIVE && task->heard_ms > 0)
            fprintf(out, ", heard of %s ago", lh_view_age(age, task->heard_ms, now_ms));
        if (task->claim > 0)
            fprintf(out, ", claim %" PRIu64, task->claim);
        putc('\n', out);
    }
    if (strchr(task->workers, ',') != NULL) {
        label(out, "workers");
        put_name(out, task->workers);
        putc('\n', out);
    }
}

static void put_times(FILE *out, const struct lh_task_info *task, uint64_t now_ms)
{
    const struct {
        const char *name;
        uint64_t at_ms;
    } times[] = {
        {"submitted", task->submitted_ms}, {"taken", task->taken_ms}, {"ended", task->ended_ms}};
    char age[LH_VIEW_AGE_SIZE];

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        if (times[i].at_ms == 0)
            continue;
        label(out, times[i].name);
        fprintf(out, "%s ago\n", lh_view_age(age, times[i].at_ms, now_ms));
    }
}

/* What the producer asked for besides source and destination. */
static void put_fields(FILE *out, const struct lh_task_detail *detail)
{
    static const char *const shown[] = {"v", "task", "source", "destination"};
    bool first = true;
    char text[1024];

    for (size_t i = 0; i < detail->n_fields; i++) {
        const struct lh_field *field = &detail->fields[i];
        bool skipped = false;

        for (size_t k = 0; k < sizeof(shown) / sizeof(shown[0]); k++)
            skipped |= strlen(shown[k]) == field->name_len &&
                       memcmp(shown[k], field->name, field->name_len) == 0;
        if (skipped)
            continue;
        if (first)
            label(out, "asked for");
        fprintf(out, "%s%s=", first ? "" : ", ",
                lh_text_escape(text, sizeof(text), field->name, field->name_len));
        fputs(lh_text_escape(text, sizeof(text), field->value, field->value_len), out);
        first = false;
    }
    if (!first)
        putc('\n', out);
}

static void put_records(FILE *out, const struct lh_task_detail *detail)
{
    char age[LH_VIEW_AGE_SIZE];
    char bytes[24];

    for (size_t i = 0; i < detail->n_records && i < N_RECORDS; i++) {
        const struct lh_record_info *record = &detail->records[i];

        if (i == 0)
            label(out, "records");
        else
            fprintf(out, "%*s", DETAIL_INDENT, "");
        fprintf(out, "%s ago: %s, by ", lh_view_age(age, record->at_ms, detail->now_ms),
                lh_text_bytes(bytes, sizeof(bytes), record->bytes));
        put_name(out, record->worker);
        putc('\n', out);
    }
}

static void put_state(FILE *out, const struct lh_task_detail *detail, unsigned width)
{
    const struct lh_task_info *task = &detail->task;

    struct lh_send_stats stats = stats_of(task);
    char bar[LH_PROGRESS_TEXT_SIZE];

    if (has_bar(task)) {
        label(out, "progress");
        fprintf(out, "%s\n", lh_progress_bar(bar, &stats, room(width, DETAIL_INDENT)));
        label(out, "streams");
        fprintf(out, "%" PRIu64 "\n", task->streams);
    } else if (task->state != LH_TASK_QUEUED || task->bytes > 0) {
        label(out, "state");
        if (!put_remark(out, task, detail->now_ms))
            fputs("nothing is at the receiver yet", out);
        putc('\n', out);
    }
    /* A tree has bytes and no map. */
    if (task->total > 0 && task->state != LH_TASK_DONE &&
        (task->map[0] != '\0' || task->inflight[0] != '\0' || task->bytes == 0))
        put_map(out, task, width);
}

void lh_view_detail(FILE *out, const struct lh_task_detail *detail, unsigned width)
{
    const struct lh_task_info *task = &detail->task;

    fprintf(out, "task %s: %s", task->id, lh_task_state_name(task->state));
    if (task->state == LH_TASK_ACTIVE && task->want[0] != '\0') {
        fputs(", to be ", out);
        put_name(out, task->want);
    }
    fprintf(out, ", priority %s\n", lh_priority_name(task->priority));
    label(out, "source");
    put_name(out, task->source);
    putc('\n', out);
    label(out, "destination");
    put_name(out, task->destination);
    putc('\n', out);
    put_fields(out, detail);
    put_state(out, detail, width);
    put_attempts(out, task, detail->now_ms);
    put_times(out, task, detail->now_ms);
    put_records(out, detail);
    if (has_error(task)) {
        label(out, "last error");
        put_error(out, task);
        putc('\n', out);
    }
    if (task->digest[0] != '\0') {
        label(out, "digest");
        put_name(out, task->digest);
        putc('\n', out);
    }
}
