/* Tasks of a queue as people see them. Pure: everything from what is given; any thread.
 *
 * Names and errors come from anybody: they are made safe to show. Lines are not cut here; a width
 * of 0 is that of no terminal, and what is drawn then is 79 columns wide. */
#ifndef LH_CLI_TASK_VIEW_H
#define LH_CLI_TASK_VIEW_H

#include "queue/queue.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A number with its thousands apart: "9 993". Returns out. */
#define LH_VIEW_COUNT_SIZE 32
char *lh_view_count(char out[LH_VIEW_COUNT_SIZE], uint64_t n);

/* How long ago (or until) by two times in ms: "0:12", "1:02:03", "9 d". Returns out. */
#define LH_VIEW_AGE_SIZE 32
char *lh_view_age(char out[LH_VIEW_AGE_SIZE], uint64_t earlier_ms, uint64_t later_ms);

/* A line that says which task, and beneath it, indented, a bar or how it stands, where there is
 * anything to say. */
void lh_view_task(FILE *out, const struct lh_task_info *task, uint64_t now_ms, unsigned width);

/* The same in one line, for a log. */
void lh_view_task_line(FILE *out, const struct lh_task_info *task, uint64_t now_ms);

/* Everything that is known of one task, with the map of its file. */
void lh_view_detail(FILE *out, const struct lh_task_detail *detail, unsigned width);

/* Draw `n_cells` signs for a file of `total` bytes: '#' durable, '+' partly, '>' in flight, '.'
 * neither. Ranges are ascending and apart. Writes n_cells bytes and a NUL to out; returns out. */
struct lh_view_ranges {
    const struct lh_range *v;
    size_t n;
};
char *lh_view_map(char *out, size_t n_cells, uint64_t total, struct lh_view_ranges durable,
                  struct lh_view_ranges in_flight);

#endif
