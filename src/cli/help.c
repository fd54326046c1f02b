/* --help and the manual page: the same texts, laid out twice. */
#include "cli/help.h"

#include <string.h>

#define WIDTH 79
#define OPTION_COLUMN 24

static const char units[] =
    "Sizes are in bytes, or with K, M, G or T (1024, 1024^2, ...): 64M, 1.5G. Times are in "
    "seconds, or with ms, s, m, h or d.";

static const char environment[] =
    "Options can also come from the environment: LONGHAUL_STREAMS=16 is --streams 16, and "
    "LONGHAUL_NO_CLOBBER=yes is --no-clobber. The command line wins.";

/* Of a command that has a queue and no streams. */
static const char environment_of_queue[] =
    "Options can also come from the environment: LONGHAUL_REDIS=redis://queue is --redis "
    "redis://queue. The command line wins.";

static const char about[] =
    "longhaul splits a file into ranges and sends them over several TCP connections at once; "
    "the receiver verifies every block, writes it where it belongs and records what is safely "
    "on its disk. Of a tree small files travel many in one block. Whatever interrupts a "
    "transfer, the same command goes on where it stopped.";

/* What a program reads. */
static const char output[] =
    "What was asked for goes to standard output, words for people to standard error. With "
    "--json, send writes the events start (once a session), progress (about twice a second) and "
    "at last done or error, each with: event, transfer, bytes_total, bytes_durable, bytes_sent, "
    "bytes_skipped, bytes_holes, streams, rate_bps (bits per second), duration_s, retransmits, "
    "zero_copy_bytes, fallback_bytes, zero_copy_count, fallback_count, verification_failures, "
    "bytes_repeated, reconnects, restarted, kept (what was there stays, see --existing; then "
    "digest is empty), limit, limit_reason, digest. "
    "limit is one of: too short to tell, rate limit, source disk, sender cpu, send buffer, "
    "network, receiver window, receiver cpu, receiver disk; empty while nothing was sent. "
    "start adds source and destination; error adds status, exit_code and message. "
    "Of trees these have besides: walking, files_total, files_sent, files_kept, dirs, links, "
    "others, failed, skipped_special and removed; and there are entry events: for each entry "
    "that failed, with --dry-run or --verbose for every one, with what (send, make, keep, "
    "remove or failed), path and bytes, and of a failure status and message (no path where only "
    "the message says which: attributes of directories, and why nothing is removed). "
    "The commands of a queue write objects of these events: submitted (task, source, "
    "destination, priority), task (all that is known of one; times in ms since 1970 by Redis's "
    "clock, which is now_ms; with status TASK also workers, that had it, and map and in_flight, "
    "the byte ranges FIRST-END that are durable and on their way), queue (how many tasks are in "
    "which state), worker (one each), control (verb, effect: ok, asked, already, refused or "
    "unknown, and state), requeued and dropped (tasks: how many). "
    "worker writes up and down (message) of the connection to Redis, and of a task taken, "
    "progress, and done, retry, dead, paused, cancelled, deferred (put back) or lost (to "
    "another worker): with task, source, destination, priority, claim, attempt, reaped (taken "
    "from a worker that fell silent), what send writes, and in the end acknowledged (the queue "
    "knows it), status, message and due_ms (again in). "
    "submit --wait and status --watch write a task again when it has changed. "
    "Names that are not UTF-8 come with a second member, NAME_hex, that has their bytes.";

static const char signals[] =
    "The first SIGINT or SIGTERM stops a transfer so that the same command resumes it, and "
    "makes serve commit what it has and leave with exit status 0. The second one ends the "
    "program at once, which loses nothing but time. What follows a queue (submit --wait, status "
    "--watch) ends, and the tasks go on.";

static const struct {
    enum lh_exit code;
    const char *words;
} exits[] = {
    {LH_EXIT_OK, "Done: everything is whole, verified and safely on the receiver's disk."},
    {LH_EXIT_INTERNAL, "Out of memory, standard output failed, or a bug."},
    {LH_EXIT_USAGE, "The command line is wrong, or the address cannot be listened on."},
    {LH_EXIT_SOURCE, "The file to send: missing, unreadable, not a regular file, or it keeps "
                     "changing."},
    {LH_EXIT_DEST, "The place to write: missing, read-only, full or failing."},
    {LH_EXIT_NETWORK, "No receiver or no Redis there, or the network was given up."},
    {LH_EXIT_REFUSED,
     "The receiver said no: busy, taken over by another sender, path not allowed, "
     "or the destination exists (--no-clobber). Of a queue: not possible in the state "
     "that the task is in."},
    {LH_EXIT_VERIFY, "Contents could not be verified."},
    {LH_EXIT_PARTIAL, "Of a tree some entries were not moved, each is named; all others were."},
    {LH_EXIT_INTERRUPTED, "Interrupted (Ctrl-C, SIGTERM, or the reader of --json went away). The "
                          "same command goes on."},
};

/* Words of `text` wrapped between `indent` and WIDTH; the first line is at `column` already. */
static void wrap(FILE *out, const char *text, size_t indent, size_t column)
{
    bool first = true;

    while (*text != '\0') {
        size_t len = strcspn(text, " ");

        if (!first && column + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (!first) {
            putc(' ', out);
            column++;
        }
        fwrite(text, 1, len, out);
        column += len;
        first = false;
        text += len;
        text += strspn(text, " ");
    }
    putc('\n', out);
}

/* Call `each` for every paragraph of `text`. */
static void paragraphs(FILE *out, const char *text, void (*each)(FILE *out, const char *paragraph))
{
    char paragraph[1024];

    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        size_t len = end != NULL ? (size_t)(end - text) : strlen(text);

        LH_REQUIRE(len < sizeof(paragraph));
        memcpy(paragraph, text, len);
        paragraph[len] = '\0';
        each(out, paragraph);
        text += len;
        text += strspn(text, "\n");
    }
}

static void plain_paragraph(FILE *out, const char *paragraph)
{
    putc('\n', out);
    wrap(out, paragraph, 0, 0);
}

/* "HELP (RANGE; default: DEF)" */
static void describe(char *out, size_t size, const struct lh_option *option)
{
    char range[LH_OPTION_RANGE_SIZE];
    const char *def = option->def != NULL ? option->def : "";

    lh_option_range(range, option);
    snprintf(out, size, "%s%s%s%s%s%s%s", option->help, *range || *def ? " (" : "", range,
             *range && *def ? "; " : "", *def ? "default: " : "", def, *range || *def ? ")" : "");
}

/* "-v, --verbose" or "--streams N" */
static void option_title(char *out, size_t size, const struct lh_option *option)
{
    char letter[8] = "";

    if (option->letter != 0)
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    snprintf(out, size, "%s--%s%s%s", letter, option->name, option->arg != NULL ? " " : "",
             option->arg != NULL ? option->arg : "");
}

/* Whether an option of the command has such an argument. */
static bool takes(enum lh_command command, const char *arg)
{
    for (size_t i = 0; i < lh_n_options; i++) {
        const struct lh_option *option = &lh_options[i];

        if ((option->commands & (1u << command)) != 0 && option->arg != NULL &&
            strcmp(option->arg, arg) == 0)
            return true;
    }
    return false;
}

void lh_help_overview(FILE *out)
{
    fprintf(out, "longhaul %s: move big files and trees over long, fat, lossy networks\n\nUsage:\n",
            LH_VERSION);
    for (int i = 0; i < LH_N_COMMANDS; i++) {
        fprintf(out, "  longhaul %s%s%s\n      %s\n", lh_commands[i].name,
                lh_commands[i].operands[0] != '\0' ? " " : "", lh_commands[i].operands,
                lh_commands[i].summary);
    }
    fprintf(out, "  longhaul --version\n\n`longhaul help COMMAND` explains a command and its "
                 "options; `man longhaul` has everything.\n");
}

void lh_help_command(FILE *out, enum lh_command command)
{
    const struct lh_command_text *text = &lh_commands[command];
    const char *group = NULL;
    char title[96];
    char words[1024];

    fprintf(out, "Usage: longhaul %s [OPTION]...%s%s\n", text->name,
            text->operands[0] != '\0' ? " " : "", text->operands);
    fprintf(out, "%s\n", text->summary);
    paragraphs(out, text->details, plain_paragraph);
    for (size_t i = 0; i < lh_n_options; i++) {
        const char *of = lh_options[i].group != NULL ? lh_options[i].group : "Options";
        size_t column;

        if ((lh_options[i].commands & (1u << command)) == 0)
            continue;
        if (group == NULL || strcmp(of, group) != 0)
            fprintf(out, "\n%s:\n", of);
        group = of;
        option_title(title, sizeof(title), &lh_options[i]);
        describe(words, sizeof(words), &lh_options[i]);
        column = (size_t)fprintf(out, "  %s", title);
        if (column + 2 > OPTION_COLUMN)
            fprintf(out, "\n%*s", OPTION_COLUMN, "");
        else
            fprintf(out, "%*s", (int)(OPTION_COLUMN - column), "");
        wrap(out, words, OPTION_COLUMN, OPTION_COLUMN);
    }
    if (takes(command, "SIZE") || takes(command, "TIME"))
        plain_paragraph(out, units);
    if (command != LH_CMD_HELP)
        plain_paragraph(out, takes(command, "URL") && !takes(command, "SIZE") ? environment_of_queue
                                                                              : environment);
    fprintf(out, "\nExample:\n  %s\n", text->example);
}

/* Text in which nothing is a request or an escape to roff, and every '-' is a real one. */
static void roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            putc(*text, out);
    }
}

static void roff_paragraph(FILE *out, const char *paragraph)
{
    fprintf(out, ".PP\n");
    roff(out, paragraph);
    putc('\n', out);
}

static void man_command(FILE *out, enum lh_command command)
{
    const struct lh_command_text *text = &lh_commands[command];
    char title[96];
    char words[1024];
    char env[LH_OPTION_ENV_SIZE];

    fprintf(out, ".SS longhaul %s [OPTION]...%s%s\n", text->name,
            text->operands[0] != '\0' ? " " : "", text->operands);
    roff(out, text->summary);
    putc('\n', out);
    paragraphs(out, text->details, roff_paragraph);
    for (size_t i = 0; i < lh_n_options; i++) {
        if ((lh_options[i].commands & (1u << command)) == 0)
            continue;
        option_title(title, sizeof(title), &lh_options[i]);
        describe(words, sizeof(words), &lh_options[i]);
        fprintf(out, ".TP\n\\fB");
        roff(out, title);
        fprintf(out, "\\fR\n");
        roff(out, words);
        if (!lh_options[i].argv_only)
            fprintf(out, "\nEnvironment: %s.", lh_option_env(env, &lh_options[i]));
        putc('\n', out);
    }
    fprintf(out, ".PP\nExample:\n.PP\n.RS\n.nf\n");
    roff(out, text->example);
    fprintf(out, "\n.fi\n.RE\n");
}

static void man_section(FILE *out, const char *title, const char *text)
{
    fprintf(out, ".SH %s\n", title);
    roff(out, text);
    putc('\n', out);
}

static void man_synopsis(FILE *out)
{
    fprintf(out, ".SH SYNOPSIS\n");
    for (int i = 0; i < LH_N_COMMANDS; i++) {
        fprintf(out, "%s\\fBlonghaul %s\\fR [\\fIOPTION\\fR]...", i > 0 ? ".br\n" : "",
                lh_commands[i].name);
        fprintf(out, "%s%s\n", lh_commands[i].operands[0] != '\0' ? " " : "",
                lh_commands[i].operands);
    }
}

static void man_exits(FILE *out)
{
    fprintf(out, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
        fprintf(out, ".TP\n%d\n", exits[i].code);
        roff(out, exits[i].words);
        putc('\n', out);
    }
}

void lh_help_man(FILE *out)
{
    fprintf(out,
            ".TH LONGHAUL 1 \"\" \"longhaul %s\" \"User Commands\"\n"
            ".SH NAME\nlonghaul \\- move big files and trees over long, fat, lossy networks\n",
            LH_VERSION);
    man_synopsis(out);
    man_section(out, "DESCRIPTION", about);
    roff_paragraph(out, units);
    fprintf(out, ".SH COMMANDS\n");
    for (int i = 0; i < LH_N_COMMANDS; i++)
        man_command(out, (enum lh_command)i);
    man_section(out, "OUTPUT", output);
    man_section(out, "SIGNALS", signals);
    man_section(out, "ENVIRONMENT", environment);
    man_exits(out);
}
