/* Standard error: lines for people, and the one line that is redrawn beneath them.
 *
 * Lines may come from any thread (the engine's log); each is written in one piece. Control
 * characters in them are made harmless: names and messages come from the other side, too. */
#ifndef LH_CLI_TERM_H
#define LH_CLI_TERM_H

#include <longhaul/log.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

struct lh_term {
    pthread_mutex_t lock;
    FILE *out;
    bool bar_shown;
    bool terse; /* --quiet: no hints. Set before other threads run */
};

void lh_term_init(struct lh_term *term, FILE *out);
void lh_term_close(struct lh_term *term);

/* "longhaul: LINE". A shown bar makes room and comes back with the next lh_term_bar. */
void lh_term_line(struct lh_term *term, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Draw `line` over the last one. Left out when the terminal takes no more at present (Ctrl-S):
 * a terminal that stands still must not hold up the transfer. */
void lh_term_bar(struct lh_term *term, const char *line);
void lh_term_clear_bar(struct lh_term *term);

/* lh_log_fn; arg is the struct lh_term. */
void lh_term_log(void *arg, enum lh_log_level level, const char *line);

/* Whether a bar can be shown there. */
bool lh_term_is_terminal(FILE *out);
unsigned lh_term_width(FILE *out); /* columns; 80 when unknown */
unsigned lh_term_rows(FILE *out);  /* 24 when unknown */

/* Whether a short write would go through without waiting. */
bool lh_term_takes_more(FILE *out);

#endif
