/* Several lines that are drawn over the last ones, on a terminal; cut to its size. */
#ifndef LH_CLI_FRAME_H
#define LH_CLI_FRAME_H

#include <stddef.h>
#include <stdio.h>

struct lh_frame {
    FILE *out;
    unsigned n_lines; /* of the last one, still to be seen */
};

/* How many bytes of `line` fit into so many columns: whole characters, one column each. Pure. */
size_t lh_frame_fit(const char *line, size_t len, unsigned columns);

/* Lines of `text`, each cut to `columns` (0: not cut), without drawing over anything. */
void lh_frame_print(FILE *out, const char *text, unsigned columns);

/* Draw `text` over what was drawn before: at most rows - 1 lines, the last of them saying how many
 * do not fit. Left out when the terminal takes no more at present (Ctrl-S). */
void lh_frame_draw(struct lh_frame *frame, const char *text, unsigned columns, unsigned rows);

#endif
