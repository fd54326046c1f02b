#include "cli/options.h"

#include "cli/help.h"
#include "fake_engine.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 16

static struct lh_args args;
static struct lh_err err;

/* Parse words that stand in one string, separated by spaces. */
static int parse(enum lh_command command, const char *line)
{
    static char copy[512];
    char *words[MAX_WORDS];
    int n = 0;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL && n < MAX_WORDS; word = strtok(NULL, " "))
        words[n++] = word;
    lh_args_free(&args);
    memset(&args, 0, sizeof(args));
    err.text[0] = '\0';
    return lh_args_parse(&args, command, n, words, &err);
}

static void refused(enum lh_command command, const char *line, const char *words)
{
    is_i64(parse(command, line), -LH_E_INVAL, "%s %s is refused", lh_commands[command].name, line);
    if (!ok(strstr(err.text, words) != NULL, "%s: says \"%s\"", line, words))
        diag("%s", err.text);
}

static void test_send_values(void)
{
    is_i64(parse(LH_CMD_SEND, "a lh://b/"), 0, "operands alone");
    is_u64(args.send.max_streams, 0, "how many at most depends on the host");
    is_u64(args.send.streams, 0, "how many streams is found out");
    is_u64(args.send.zero_copy_min, UINT64_MAX, "the engine's marker for its default stays");
    is_str(args.operands[0], "a", "the file");
    is_str(args.operands[1], "lh://b/", "the address");

    is_i64(parse(LH_CMD_SEND, "a --streams 16 --zero-copy=off lh://b/ --block-size 64K "
                              "--give-up-after 2m --stagger=10ms -vv --no-clobber --json"),
           0, "options before, between and behind operands");
    is_u64(args.send.streams, 16, "--streams 16");
    is_u64(args.send.zero_copy, LH_ZERO_COPY_OFF, "--zero-copy=off");
    is_u64(args.send.block_bytes, 65536, "--block-size 64K");
    is_u64(args.send.give_up_ms, 120000, "--give-up-after 2m");
    is_u64(args.send.stagger_ms, 10, "--stagger=10ms");
    is_u64(args.verbosity, 2, "-vv");
    ok(args.send.no_clobber && args.json && !args.quiet && !args.send.insecure, "flags");
    is_u64(args.n_operands, 2, "two operands");

    is_i64(parse(LH_CMD_SEND, "a lh://b/ --limit-rate 250Mbit --max-streams=32"), 0, "how fast");
    is_u64(args.send.limit_bps, 250000000, "--limit-rate 250Mbit: bits per second");
    is_u64(args.send.max_streams, 32, "--max-streams=32");
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --existing newer"), 0, "--existing");
    is_u64(args.send.existing, LH_EXISTING_NEWER, "newer");
    refused(LH_CMD_SEND, "a lh://b/ --existing keep", "different|skip|replace|newer");
    refused(LH_CMD_SEND, "a lh://b/ --streams 9 --max-streams 4",
            "--streams 9 and --max-streams 4 contradict each other");
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --streams 4 --max-streams 4"), 0, "as many as allowed");
    refused(LH_CMD_SEND, "a lh://b/ --limit-rate 10MB", "a rate (bits per second, or with k, M, G");
    refused(LH_CMD_SEND, "a lh://b/ --limit-rate 63k", "64k to 100T, or 0");
    refused(LH_CMD_SEND, "a lh://b/ --streams 1.5", "a whole number");
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --limit-rate 1.5G"), 0, "a fraction");
    is_u64(args.send.limit_bps, 1500000000, "--limit-rate 1.5G");
    setenv("LONGHAUL_LIMIT_RATE", "1M", 1);
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --limit-rate 0"), 0, "0 undoes LONGHAUL_LIMIT_RATE");
    is_u64(args.send.limit_bps, 0, "no limit");
    unsetenv("LONGHAUL_LIMIT_RATE");

    is_i64(parse(LH_CMD_SEND, "--json=no --quiet=yes --verbose=1 -- --a --b"), 0, "--");
    is_str(args.operands[0], "--a", "after -- everything is an operand");
    is_str(args.operands[1], "--b", "after -- everything is an operand");
    ok(!args.json && args.quiet && args.verbosity == 1, "flags with values");

    is_i64(parse(LH_CMD_SEND, "--help"), 0, "--help needs no operands");
    ok(args.help, "--help");
    is_i64(parse(LH_CMD_SEND, "-h"), 0, "-h");
    ok(args.help, "-h");
}

static void test_tree_values(void)
{
    is_i64(parse(LH_CMD_SEND, "a b lh://c/ --exclude x --include y --exclude-from z --delete -nx"),
           0, "a tree");
    is_u64(args.n_operands, 3, "two sources and the address");
    ok(args.n_rules == 3 && args.rules[0].kind == LH_RULE_EXCLUDE &&
           args.rules[1].kind == LH_RULE_INCLUDE && args.rules[2].kind == LH_RULE_EXCLUDE_FROM,
       "rules in their order");
    is_str(args.rules[2].text, "z", "with their words");
    ok(args.tree.remove && args.tree.dry_run && args.tree.one_file_system, "--delete -nx");
    is_u64(args.tree.preserve, LH_PRESERVE_MODE | LH_PRESERVE_TIMES | LH_PRESERVE_OWNER,
           "what is usually preserved");
    is_i64(parse(LH_CMD_SEND, "a lh://c/ --preserve acl,mode --max-delete 0"), 0, "a set");
    is_u64(args.tree.preserve, LH_PRESERVE_MODE | LH_PRESERVE_ACL, "of two");
    is_u64(args.tree.max_removed, 0, "--max-delete 0");
    is_i64(parse(LH_CMD_SEND, "a lh://c/ --preserve none"), 0, "an empty set");
    is_u64(args.tree.preserve, 0, "is empty");
}

static void test_other_values(void)
{
    is_i64(parse(LH_CMD_DIGEST, "-"), 0, "- is an operand");
    is_i64(parse(LH_CMD_DIGEST, "x --block-size 1M"), 0, "digest has a grid of its own");
    is_u64(args.digest_block_bytes, 1 << 20, "--block-size 1M");
    is_u64(args.send.block_bytes, 0, "and leaves the sender's alone");

    is_i64(parse(LH_CMD_SERVE, "--root /x --partial-ttl 7d --commit-bytes 1G --listen [::1]:0"), 0,
           "serve");
    is_str(args.serve.root, "/x", "--root");
    is_str(args.serve.listen, "[::1]:0", "--listen");
    is_u64(args.serve.partial_ttl_ms, 7 * 86400000ull, "--partial-ttl 7d");
    is_u64(args.serve.commit_bytes, 1ull << 30, "--commit-bytes 1G");

    is_i64(parse(LH_CMD_PARTIALS, "--remove a --remove=b --older-than 1h"), 0, "partials");
    is_u64(args.n_remove, 2, "--remove twice");
    is_str(args.remove[0], "a", "the first");
    is_str(args.remove[1], "b", "the second");
    is_str(args.partials_root, ".", "the root is here by default");
    is_u64(args.older_than_ms, 3600000, "--older-than 1h");

    is_i64(parse(LH_CMD_SUBMIT, "--redis redis://r a lh://b/ lh://c/ lh://d/ --retries forever "
                                "--priority low --limit-rate 500M --wait"),
           0, "submit");
    is_u64(args.n_operands, 4, "a file and three destinations");
    is_str(args.operands[3], "lh://d/", "the last of them");
    is_str(args.retries, "forever", "--retries forever");
    is_u64(args.priority, 2, "--priority low");
    is_u64(args.send.limit_bps, 500000000, "what a task carries");
    ok(args.wait && args.queue == NULL, "--wait; the queue that is meant when none is named");
    is_i64(parse(LH_CMD_STATUS, "--redis redis://r"), 0, "status");
    is_u64(args.priority, 1, "normal is the usual priority");
}

static void test_refusals(void)
{
    refused(LH_CMD_SEND, "--frobnicate a lh://b/", "unknown option --frobnicate");
    refused(LH_CMD_SEND, "-y a lh://b/", "unknown option '-y'");
    refused(LH_CMD_SEND, "-vy a lh://b/", "unknown option '-vy'");
    refused(LH_CMD_SEND, "--listen x a lh://b/", "send has no option --listen; serve has");
    refused(LH_CMD_SEND, "--stream 1 a lh://b/", "unknown option --stream");
    refused(LH_CMD_SEND, "a lh://b/ --streams", "--streams needs a value");
    refused(LH_CMD_SEND, "a lh://b/ --streams 0", "1 to 128");
    refused(LH_CMD_SEND, "a lh://b/ --streams 129", "1 to 128");
    refused(LH_CMD_SEND, "a lh://b/ --streams 8K", "not a whole number");
    refused(LH_CMD_SEND, "a lh://b/ --streams=", "not a whole number");
    refused(LH_CMD_SEND, "a lh://b/ --streams -1", "not a whole number");
    refused(LH_CMD_SEND, "a lh://b/ --block-size 96K", "power of two");
    refused(LH_CMD_SEND, "a lh://b/ --block-size 2M", "64K to 1M");
    refused(LH_CMD_SEND, "a lh://b/ --sndbuf 4G", "at most");
    refused(LH_CMD_SEND, "a lh://b/ --zero-copy maybe", "auto|on|off");
    refused(LH_CMD_SEND, "a lh://b/ --zero-copy au", "auto|on|off");
    refused(LH_CMD_SEND, "a lh://b/ --give-up-after 5y", "not a time");
    refused(LH_CMD_SEND, "a lh://b/ --json=perhaps", "neither yes nor no");
    refused(LH_CMD_SEND, "a lh://b/ --congestion=", "empty");
    refused(LH_CMD_SEND, "a", "too few");
    refused(LH_CMD_SEND, "a lh://b/ --preserve mode,", "'' is not one of mode,times,owner");
    refused(LH_CMD_SEND, "a lh://b/ --preserve mode|times", "is not one of mode,times,owner");
    refused(LH_CMD_SEND, "a lh://b/ --links maybe", "keep|follow|skip");
    refused(LH_CMD_SEND, "a lh://b/ --exclude=", "empty");
    refused(LH_CMD_SEND, "a lh://b/ --delete --files-from x", "exclude each other");
    refused(LH_CMD_DIGEST, "a b", "'b' is one argument too many");
    refused(LH_CMD_SERVE, "", "--root");
    refused(LH_CMD_SERVE, "--root x y", "too many");
    refused(LH_CMD_DIGEST, "", "too few");
    refused(LH_CMD_PARTIALS, "--remove a --remove-all", "exclude");
    refused(LH_CMD_SUBMIT, "a lh://b/", "submit needs --redis redis://HOST");
    refused(LH_CMD_SUBMIT, "--redis redis://r a", "too few");
    refused(LH_CMD_STATUS, "--redis redis://r a b", "'b' is one argument too many");
    refused(LH_CMD_RETRY, "--redis redis://r", "too few");
    refused(LH_CMD_QUEUE, "--redis redis://r dead --requeue all --drop all", "exclude");
    refused(LH_CMD_QUEUE, "--redis redis://r --drop all", "longhaul queue dead --drop");
    refused(LH_CMD_SEND, "a lh://b/ --redis redis://r", "send has no option --redis");
}

static const struct lh_option *option_named(const char *name)
{
    size_t i = 0;

    while (strcmp(lh_options[i].name, name) != 0)
        i++;
    return &lh_options[i];
}

static void test_environment(void)
{
    char name[LH_OPTION_ENV_SIZE];

    setenv("LONGHAUL_STREAMS", "3", 1);
    setenv("LONGHAUL_NO_CLOBBER", "yes", 1);
    setenv("LONGHAUL_ROOT", "/from/env", 1);
    setenv("LONGHAUL_REMOVE_ALL", "yes", 1);
    setenv("LONGHAUL_LOOPS", "", 1);
    is_i64(parse(LH_CMD_SEND, "a lh://b/"), 0, "options from the environment");
    is_u64(args.send.streams, 3, "LONGHAUL_STREAMS");
    ok(args.send.no_clobber, "LONGHAUL_NO_CLOBBER");
    is_u64(args.send.loops, 0, "an empty variable is none");
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --streams 4 --no-clobber=no"), 0, "both");
    is_u64(args.send.streams, 4, "the command line wins");
    ok(!args.send.no_clobber, "also over a flag");
    setenv("LONGHAUL_MAX_STREAMS", "2", 1);
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --streams 4"), 0, "a bound from the environment");
    is_u64(args.send.max_streams, 2, "the engine heeds it");
    is_i64(parse(LH_CMD_SEND, "a lh://b/ --max-streams 2"), 0, "and one for LONGHAUL_STREAMS");
    is_u64(args.send.streams, 3, "which stays");
    unsetenv("LONGHAUL_MAX_STREAMS");
    is_i64(parse(LH_CMD_SERVE, ""), 0, "a needed option may come from there");
    is_str(args.serve.root, "/from/env", "LONGHAUL_ROOT for serve");
    is_i64(parse(LH_CMD_PARTIALS, ""), 0, "and for partials");
    is_str(args.partials_root, "/from/env", "LONGHAUL_ROOT for partials");
    ok(!args.remove_all, "nothing is ever removed because of the environment");
    setenv("LONGHAUL_STREAMS", "many", 1);
    refused(LH_CMD_SEND, "a lh://b/", "LONGHAUL_STREAMS: 'many'");
    is_i64(parse(LH_CMD_DIGEST, "a"), 0, "a variable of another command is not looked at");
    setenv("LONGHAUL_REDIS", "redis://:secret@r", 1);
    setenv("LONGHAUL_QUEUE", "films", 1);
    setenv("LONGHAUL_DROP", "all", 1);
    is_i64(parse(LH_CMD_QUEUE, "dead"), 0, "the queue from the environment");
    is_str(args.redis, "redis://:secret@r", "LONGHAUL_REDIS");
    is_str(args.queue, "films", "LONGHAUL_QUEUE");
    ok(args.drop == NULL, "no task is ever dropped because of the environment");
    unsetenv("LONGHAUL_REDIS");
    unsetenv("LONGHAUL_QUEUE");
    unsetenv("LONGHAUL_DROP");
    unsetenv("LONGHAUL_STREAMS");
    unsetenv("LONGHAUL_NO_CLOBBER");
    unsetenv("LONGHAUL_ROOT");
    unsetenv("LONGHAUL_REMOVE_ALL");
    unsetenv("LONGHAUL_LOOPS");
    is_str(lh_option_env(name, option_named("max-streams")), "LONGHAUL_MAX_STREAMS",
           "name of a variable");
}

/* Every row must be usable: a member of a fitting width, a value name where one is taken. */
static void test_table(void)
{
    for (size_t i = 0; i < lh_n_options; i++) {
        const struct lh_option *option = &lh_options[i];
        bool flag = option->kind == LH_OPTION_FLAG || option->kind == LH_OPTION_TALLY;
        size_t want = option->kind == LH_OPTION_FLAG    ? sizeof(bool)
                      : option->kind == LH_OPTION_TALLY ? 4
                      : option->kind == LH_OPTION_TEXT  ? sizeof(char *)
                      : option->kind == LH_OPTION_LIST  ? 0
                                                        : option->width;

        ok(option->width == want && (option->kind < LH_OPTION_NUMBER || want == 4 || want == 8),
           "--%s: width of the member", option->name);
        ok((option->arg == NULL) == flag, "--%s: has a value exactly when it needs one",
           option->name);
        if (option->kind >= LH_OPTION_NUMBER && option->kind <= LH_OPTION_RATE)
            ok(option->min < option->max && (option->width == 8 || option->max <= UINT32_MAX),
               "--%s: limits fit the member", option->name);
        for (size_t j = i + 1; j < lh_n_options; j++) {
            if ((option->commands & lh_options[j].commands) != 0 &&
                strcmp(option->name, lh_options[j].name) == 0)
                ok(false, "--%s: once a command", option->name);
        }
    }
}

static char *text_of(void (*print)(FILE *out, enum lh_command command), enum lh_command command)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        bail("open_memstream failed");
    print(out, command);
    fclose(out);
    return text;
}

static void print_man(FILE *out, enum lh_command command)
{
    lh_help_man(out);
}

static void print_overview(FILE *out, enum lh_command command)
{
    lh_help_overview(out);
}

/* The section of the manual that is about one command. */
static char *man_section(const char *man, enum lh_command command)
{
    char title[64];
    const char *from;
    const char *to;

    snprintf(title, sizeof(title), ".SS longhaul %s ", lh_commands[command].name);
    from = strstr(man, title);
    if (from == NULL)
        return strdup("");
    to = strstr(from + 1, "\n.S");
    return strndup(from, to != NULL ? (size_t)(to - from) : strlen(from));
}

static void with_roff_dashes(char *out, const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name == '-')
            *out++ = '\\';
        *out++ = *name;
    }
    *out = '\0';
}

/* Help and the manual have an option of a command, its default and its variable. */
static void has_option(const char *help, const char *section, enum lh_command command,
                       const struct lh_option *option)
{
    const char *name = lh_commands[command].name;
    char plain[128];
    char roff[256];
    char env[LH_OPTION_ENV_SIZE];

    snprintf(plain, sizeof(plain), "--%s%s%s", option->name, option->arg ? " " : "",
             option->arg ? option->arg : "");
    with_roff_dashes(roff, plain);
    ok(strstr(help, plain) != NULL, "%s --help has %s", name, plain);
    ok(strstr(section, roff) != NULL, "longhaul(1), %s, has %s", name, plain);
    if (option->def != NULL) {
        with_roff_dashes(roff, option->def);
        ok(strstr(section, roff) != NULL, "longhaul(1) has the default of --%s", option->name);
    }
    if (!option->argv_only)
        ok(strstr(section, lh_option_env(env, option)) != NULL, "longhaul(1) has %s", env);
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

static void no_long_lines(const char *help, const char *name)
{
    for (const char *line = help; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t len = end != NULL ? (size_t)(end - line) : strlen(line);

        if (len > 79)
            ok(false, "%s --help: a line of %zu columns", name, len);
        line = end != NULL ? end + 1 : NULL;
    }
}

static void agrees(enum lh_command command, const char *man)
{
    const char *name = lh_commands[command].name;
    char *help = text_of(lh_help_command, command);
    char *section = man_section(man, command);
    size_t n_rows = 0;

    for (size_t i = 0; i < lh_n_options; i++) {
        if ((lh_options[i].commands & (1u << command)) == 0)
            continue;
        n_rows++;
        has_option(help, section, command, &lh_options[i]);
    }
    is_u64(count_of(help, "\n  -"), n_rows, "%s --help has no other options", name);
    is_u64(count_of(section, "\n.TP"), n_rows, "nor has longhaul(1)");
    no_long_lines(help, name);
    free(help);
    free(section);
}

/* Table, --help and the manual name the same options, commands and exit codes. */
static void test_agreement(void)
{
    char *man = text_of(print_man, LH_CMD_HELP);
    char *overview = text_of(print_overview, LH_CMD_HELP);
    static const int codes[] = {0, 1, 2, 3, 4, 5, 6, 7, 130};

    for (int c = 0; c < LH_N_COMMANDS; c++) {
        ok(strstr(overview, lh_commands[c].summary) != NULL, "longhaul help lists %s",
           lh_commands[c].name);
        agrees((enum lh_command)c, man);
    }
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        char row[32];

        snprintf(row, sizeof(row), "\n.TP\n%d\n", codes[i]);
        ok(strstr(man, row) != NULL, "longhaul(1) has exit status %d", codes[i]);
    }
    free(man);
    free(overview);
}

/* The completion asks the program for options, but knows the commands by heart. */
static void test_completion(void)
{
    FILE *file = fopen(LH_SOURCE_DIR "/deploy/completions/longhaul.bash", "r");
    static char text[16384];
    const char *list;

    if (!ok(file != NULL, "the completion for bash is there"))
        return;
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    list = strstr(text, "commands=\"send");
    if (!ok(list != NULL, "it has a list of commands"))
        return;
    *strchr(strchr(list, '"') + 1, '"') = '\0';
    for (int c = 0; c < LH_N_COMMANDS; c++)
        ok(strstr(list, lh_commands[c].name) != NULL, "it knows %s", lh_commands[c].name);
}

/* docs/errors.md names every status with its exit code. */
static void test_errors_page(void)
{
    FILE *page = fopen(LH_SOURCE_DIR "/docs/errors.md", "r");
    static char text[65536];
    size_t len;

    if (!ok(page != NULL, "docs/errors.md is there"))
        return;
    len = fread(text, 1, sizeof(text) - 1, page);
    text[len] = '\0';
    fclose(page);
    for (int i = 1; i < LH_E_MAX; i++) {
        char row[64];

        snprintf(row, sizeof(row), "\n| `%s` | %d |", lh_status_name(i), (int)lh_status_exit(i));
        ok(strstr(text, row) != NULL, "docs/errors.md has %s with exit code %d", lh_status_name(i),
           (int)lh_status_exit(i));
    }
}

int main(void)
{
    test_send_values();
    test_tree_values();
    test_other_values();
    test_refusals();
    test_environment();
    test_table();
    test_agreement();
    test_completion();
    test_errors_page();
    lh_args_free(&args);
    return done_testing();
}
