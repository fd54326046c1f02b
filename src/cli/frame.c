/* See frame.h. The last column stays free: some terminals wrap when it is written. */
#include "cli/frame.h"

#include "cli/term.h"

#include <string.h>

#define CLEAR_TO_END_OF_LINE "\033[K"
#define CLEAR_BELOW "\033[J"

size_t lh_frame_fit(const char *line, size_t len, unsigned columns)
{
    size_t at = 0;

    for (; at < len && columns > 0; columns--) {
        at++;
        while (at < len && ((unsigned char)line[at] & 0xc0) == 0x80)
            at++;
    }
    return at;
}

static void put_line(FILE *out, const char *line, size_t len, unsigned columns, const char *end)
{
    size_t fits = columns == 0 ? len : lh_frame_fit(line, len, columns);

    if (fits < len && columns > 3) {
        fits = lh_frame_fit(line, len, columns - 3);
        fwrite(line, 1, fits, out);
        fputs("...", out);
    } else {
        fwrite(line, 1, fits, out);
    }
    fputs(end, out);
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n' ? 1 : 0;
    return n;
}

void lh_frame_print(FILE *out, const char *text, unsigned columns)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        put_line(out, text, len, columns, "\n");
        text += len + (text[len] == '\n' ? 1 : 0);
    }
}

void lh_frame_draw(struct lh_frame *frame, const char *text, unsigned columns, unsigned rows)
{
    unsigned n_lines = count_lines(text);
    unsigned room = rows > 2 ? rows - 1 : 1;
    unsigned shown = n_lines <= room ? n_lines : room - 1;

    if (!lh_term_takes_more(frame->out))
        return;
    if (frame->n_lines > 0)
        fprintf(frame->out, "\033[%uA\r", frame->n_lines);
    for (unsigned i = 0; i < shown; i++) {
        size_t len = strcspn(text, "\n");

        put_line(frame->out, text, len, columns, CLEAR_TO_END_OF_LINE "\n");
        text += len + 1;
    }
    if (shown < n_lines) {
        fprintf(frame->out, "(%u more lines)" CLEAR_TO_END_OF_LINE "\n", n_lines - shown);
        shown++;
    }
    fputs(CLEAR_BELOW, frame->out);
    fflush(frame->out);
    frame->n_lines = shown;
}
