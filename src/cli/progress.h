/* How a transfer is shown to people. Pure: everything from the numbers given; any thread. */
#ifndef LH_CLI_PROGRESS_H
#define LH_CLI_PROGRESS_H

#include <longhaul/longhaul.h>
#include <longhaul/tree.h>
#include <stddef.h>
#include <stdint.h>

#define LH_PROGRESS_MAX_WIDTH 250 /* columns; also fits a line into any buffer used here */
#define LH_PROGRESS_TEXT_SIZE 512
#define LH_PROGRESS_REPORT_S 30.0 /* between two lines where there is no terminal to draw on */

/* Seconds until everything is durable at the present rate; UINT64_MAX when nothing moves. */
uint64_t lh_progress_eta_s(const struct lh_send_stats *stats);

/* 0 to 100, rounded down: 100 means that everything is durable. */
unsigned lh_progress_percent(const struct lh_send_stats *stats);

/* The line that is redrawn: at most `width` columns, without newline; what matters least is left
 * out first where they are few. Returns out. */
char *lh_progress_bar(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats,
                      unsigned width);

/* Where it stands, as one full sentence, for a log. Returns out. */
char *lh_progress_report(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats);

/* "4.0 GiB in 38.4 s, 107.7 MiB/s (903 Mbit/s)", when it is done. Returns out. */
char *lh_progress_summary(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats);

/* What else is worth knowing at the end: skipped, sent again, retransmits, damage; "" when there is
 * nothing. Returns out. */
char *lh_progress_remarks(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_send_stats *stats);

/* The same of a tree. While the walk goes on totals have a '+' behind them, and there is no bar. */
char *lh_progress_tree_bar(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats,
                           unsigned width);
char *lh_progress_tree_report(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats);

/* "1200 files, 4.0 GiB in 38.4 s, 107.7 MiB/s (903 Mbit/s), 31 files/s": what was sent. */
char *lh_progress_tree_summary(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats);

/* What else there was: kept, directories, links, left out, removed, and as of a file. */
char *lh_progress_tree_remarks(char out[LH_PROGRESS_TEXT_SIZE], const struct lh_tree_stats *stats);

/* "903 Mbit/s", base 1000. Returns out. */
char *lh_progress_rate(char *out, size_t size, uint64_t rate_bps);

#endif
