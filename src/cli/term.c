/* Writing to standard error, see term.h. A failed write is let go: there is nowhere to report it.
 */
#include "cli/term.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_SIZE (80u * 1024) /* a line about the longest path, escaped */
#define CLEAR_LINE "\r\033[K"

void lh_term_init(struct lh_term *term, FILE *out)
{
    pthread_mutex_init(&term->lock, NULL);
    term->out = out;
    term->bar_shown = false;
    term->terse = false;
}

void lh_term_close(struct lh_term *term)
{
    lh_term_clear_bar(term);
    pthread_mutex_destroy(&term->lock);
}

/* Control characters, C1 in UTF-8 included, become '?'. */
static void defuse(char *line)
{
    unsigned char *at = (unsigned char *)line;

    for (; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
        else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
    }
}

static void clear_bar(struct lh_term *term)
{
    if (term->bar_shown)
        fputs(CLEAR_LINE, term->out);
    term->bar_shown = false;
}

void lh_term_line(struct lh_term *term, const char *fmt, ...)
{
    char line[LINE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    defuse(line);
    pthread_mutex_lock(&term->lock);
    clear_bar(term);
    fprintf(term->out, "longhaul: %s\n", line);
    fflush(term->out);
    pthread_mutex_unlock(&term->lock);
}

void lh_term_bar(struct lh_term *term, const char *line)
{
    if (!lh_term_takes_more(term->out))
        return;
    pthread_mutex_lock(&term->lock);
    fprintf(term->out, "\r%s\033[K", line);
    fflush(term->out);
    term->bar_shown = true;
    pthread_mutex_unlock(&term->lock);
}

void lh_term_clear_bar(struct lh_term *term)
{
    pthread_mutex_lock(&term->lock);
    clear_bar(term);
    fflush(term->out);
    pthread_mutex_unlock(&term->lock);
}

void lh_term_log(void *arg, enum lh_log_level level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    lh_term_line(arg, "%s: %s", names[level <= LH_LOG_DEBUG ? level : LH_LOG_DEBUG], line);
}

bool lh_term_is_terminal(FILE *out)
{
    const char *kind = getenv("TERM");

    return isatty(fileno(out)) == 1 && kind != NULL && strcmp(kind, "dumb") != 0;
}

unsigned lh_term_width(FILE *out)
{
    struct winsize size;

    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

unsigned lh_term_rows(FILE *out)
{
    struct winsize size;

    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_row > 0)
        return size.ws_row;
    return 24;
}

bool lh_term_takes_more(FILE *out)
{
    struct pollfd poll_fd = {.fd = fileno(out), .events = POLLOUT};

    /* Regular files are always writable; what poll() cannot say is left to the write. */
    return poll_fd.fd < 0 || poll(&poll_fd, 1, 0) != 0;
}
