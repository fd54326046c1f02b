/* The program around the commands: which command, --help, --version, errors and their hints. */
#include "cli/cmd.h"
#include "cli/help.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum lh_log_level lh_cmd_log_level(const struct lh_args *args)
{
    if (args->verbosity > 0)
        return args->verbosity > 1 ? LH_LOG_DEBUG : LH_LOG_INFO;
    return args->quiet ? LH_LOG_ERROR : LH_LOG_WARN;
}

/* What to do about it, for those where the sentence alone may leave somebody at a loss. */
static const char *hint_for(int status)
{
    switch (status < 0 ? -status : status) {
    case LH_E_SOURCE_CHANGED:
        return "send a file that nobody is writing, or a snapshot of it";
    case LH_E_DEST_SPACE:
        return "make room at the receiver (`longhaul partials` shows what is left half done), then "
               "run the same command again";
    case LH_E_BUSY:
        return "another sender is at it; when it is gone, the same command goes on";
    case LH_E_FENCED:
        return "the other sender goes on with it; nothing is to be done here";
    case LH_E_EXISTS:
        return "leave out --no-clobber to replace it";
    case LH_E_RESOLVE:
        return "check the spelling, or give the address itself";
    case LH_E_CONNECT:
        return "is `longhaul serve` running there, on that port, and is the way open?";
    case LH_E_TIMEOUT:
    case LH_E_NETWORK:
        return "when the network is back, the same command goes on";
    case LH_E_PARTIAL:
        return "the same command tries those again, and sends nothing that is there";
    case LH_E_LISTEN:
        return "--listen takes another address or port";
    case LH_E_VERSION:
        return "install the same version on both sides";
    default:
        return NULL;
    }
}

int lh_cmd_fail(struct lh_term *term, int status, const char *sentence)
{
    const char *hint = hint_for(status);

    lh_term_line(term, "error: %s", sentence[0] != '\0' ? sentence : lh_status_text(status));
    if (hint != NULL && !term->terse)
        lh_term_line(term, "hint: %s", hint);
    return (int)lh_status_exit(status);
}

int lh_cmd_flush(struct lh_term *term)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    if (errno == EPIPE)
        return LH_EXIT_INTERRUPTED;
    lh_term_line(term, "error: cannot write to standard output: %s", strerror(errno));
    return LH_EXIT_INTERNAL;
}

int lh_cmd_help(const struct lh_args *args, struct lh_term *term)
{
    int command;

    if (args->man) {
        lh_help_man(stdout);
    } else if (args->n_operands == 0) {
        lh_help_overview(stdout);
    } else {
        command = lh_command_find(args->operands[0]);
        if (command < 0) {
            char shown[128];

            lh_text_escape(shown, sizeof(shown), args->operands[0], strlen(args->operands[0]));
            lh_term_line(term, "error: there is no command '%s'", shown);
            lh_term_line(term, "hint: see `longhaul help`");
            return LH_EXIT_USAGE;
        }
        lh_help_command(stdout, (enum lh_command)command);
    }
    return lh_cmd_flush(term);
}

static int run_command(int argc, char **argv, const lh_command_fn commands[LH_N_COMMANDS],
                       struct lh_term *term)
{
    struct lh_args args;
    struct lh_err err;
    int command = lh_command_find(argv[1]);
    int code;
    int ret;

    if (command < 0) {
        char shown[128];

        lh_text_escape(shown, sizeof(shown), argv[1], strlen(argv[1]));
        lh_term_line(term, "error: there is no command '%s'", shown);
        lh_term_line(term, "hint: see `longhaul help`");
        return LH_EXIT_USAGE;
    }
    ret = lh_args_parse(&args, (enum lh_command)command, argc - 2, argv + 2, &err);
    if (ret != 0) {
        code = lh_cmd_fail(term, ret, err.text);
        if (code == LH_EXIT_USAGE)
            lh_term_line(term, "hint: see `longhaul %s --help`", argv[1]);
        return code;
    }
    term->terse = args.quiet;
    if (args.help) {
        lh_help_command(stdout, args.command);
        code = lh_cmd_flush(term);
    } else {
        code = commands[command](&args, term);
    }
    lh_args_free(&args);
    return code;
}

int lh_cli_run(int argc, char **argv, const lh_command_fn commands[LH_N_COMMANDS])
{
    struct lh_term term;
    int code = 0;

    lh_term_init(&term, stderr);
    if (argc < 2) {
        lh_help_overview(stderr);
        code = LH_EXIT_USAGE;
    } else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("longhaul %s\n", lh_version());
        code = lh_cmd_flush(&term);
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        lh_help_overview(stdout);
        code = lh_cmd_flush(&term);
    } else {
        code = run_command(argc, argv, commands, &term);
    }
    lh_term_close(&term);
    return code;
}
