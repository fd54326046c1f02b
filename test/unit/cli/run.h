/* Runs of the command line as a program, with the fake engine: what is written, exit codes. One at
 * a time. */
#ifndef LH_TEST_CLI_RUN_H
#define LH_TEST_CLI_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a run wrote and how it ended. */
struct cli_run {
    char out[65536];
    char err[65536];
    size_t out_len;
    size_t err_len;
    int code; /* exit code, or -signal */
};
extern struct cli_run got;

extern pid_t child;
extern int pipe_bytes; /* of the pipes; 0: as the system makes them */
extern int out_fd;     /* -1: ended */
extern int err_fd;

/* "A=1 B=2 command line": words with '=' before the command go to the environment. In a child. */
void exec_line(const char *line);

void begin(const char *line);
/* Read both until `words` stands in `text` (NULL: until the end). */
bool read_until(const char *text, const char *words);
int finish(void);

/* begin and finish. Returns the exit code, or -signal. */
int run(const char *line);

/* Check that `words` stand in `text`. */
void says(const char *text, const char *words, const char *what);

/* How often they do. */
unsigned count(const char *text, const char *words);

#endif
