/* The commands. Each runs to its end on the main thread and returns the program's exit code. */
#ifndef LH_CLI_CMD_H
#define LH_CLI_CMD_H

#include "cli/options.h"
#include "cli/term.h"
#include "util/url.h"

int lh_cmd_send(const struct lh_args *args, struct lh_term *term);
/* Of lh_cmd_send: whether what is to be sent is a tree, and sending it. */
bool lh_cmd_is_tree(const struct lh_args *args);
int lh_cmd_tree(const struct lh_args *args, struct lh_term *term);
/* What the command line says of a send, of a file or of a tree. bar: progress is drawn. The url
 * must outlive the options. */
struct lh_send_options lh_cmd_send_options(const struct lh_args *args, const struct lh_url *url,
                                           bool bar, struct lh_term *term);
int lh_cmd_serve(const struct lh_args *args, struct lh_term *term);
int lh_cmd_digest(const struct lh_args *args, struct lh_term *term);
int lh_cmd_partials(const struct lh_args *args, struct lh_term *term);
int lh_cmd_worker(const struct lh_args *args, struct lh_term *term);
int lh_cmd_submit(const struct lh_args *args, struct lh_term *term);
int lh_cmd_status(const struct lh_args *args, struct lh_term *term);
int lh_cmd_pause(const struct lh_args *args, struct lh_term *term);
int lh_cmd_resume(const struct lh_args *args, struct lh_term *term);
int lh_cmd_cancel(const struct lh_args *args, struct lh_term *term);
int lh_cmd_retry(const struct lh_args *args, struct lh_term *term);
int lh_cmd_queue(const struct lh_args *args, struct lh_term *term);
int lh_cmd_help(const struct lh_args *args, struct lh_term *term);

typedef int (*lh_command_fn)(const struct lh_args *args, struct lh_term *term);

/* Parse argv and run what it asks for, by `commands`: the program names them, so that it is linked
 * with those it has. Expects SIGPIPE to be ignored. Returns the exit code. */
int lh_cli_run(int argc, char **argv, const lh_command_fn commands[LH_N_COMMANDS]);

/* The engine's log level for -q and -v. */
enum lh_log_level lh_cmd_log_level(const struct lh_args *args);

/* "error: SENTENCE", and what to do about it where that is known. Returns the exit code. */
int lh_cmd_fail(struct lh_term *term, int status, const char *sentence);

/* Flush standard output: 0, or the exit code after saying why not. */
int lh_cmd_flush(struct lh_term *term);

#endif
