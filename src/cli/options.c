/* Parsing of the command line and the environment by the table in option_table.c.
 *
 * Happy path: engine defaults -> environment -> argv, later ones winning -> operands counted.
 * Failures: a sentence that names the option or the variable, the value, and what it may be. */
#include "cli/options.h"

#include "util/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_SIZE 128

_Static_assert(LH_ZERO_COPY_AUTO == 0 && LH_ZERO_COPY_ON == 1 && LH_ZERO_COPY_OFF == 2,
               "the table's choices of --zero-copy are in this order");
_Static_assert(LH_SHARE_FULL == 0 && LH_SHARE_BACKGROUND == 1, "and those of --share");
_Static_assert(LH_LINKS_KEEP == 0 && LH_LINKS_FOLLOW == 1 && LH_LINKS_SKIP == 2, "of --links");
_Static_assert(LH_PRESERVE_MODE == 1 && LH_PRESERVE_TIMES == 2 && LH_PRESERVE_OWNER == 4 &&
                   LH_PRESERVE_XATTRS == 8 && LH_PRESERVE_ACL == 16 && LH_PRESERVE_HARDLINKS == 32,
               "and the words of --preserve");
_Static_assert(LH_EXISTING_DIFFERENT == 0 && LH_EXISTING_SKIP == 1 && LH_EXISTING_REPLACE == 2 &&
                   LH_EXISTING_NEWER == 3,
               "and those of --existing");

static char *shown(char out[SHOWN_SIZE], const char *text)
{
    return lh_text_escape(out, SHOWN_SIZE, text, strlen(text));
}

int lh_command_find(const char *name)
{
    for (int i = 0; i < LH_N_COMMANDS; i++) {
        if (strcmp(lh_commands[i].name, name) == 0)
            return i;
    }
    return -1;
}

char *lh_option_env(char out[LH_OPTION_ENV_SIZE], const struct lh_option *option)
{
    snprintf(out, LH_OPTION_ENV_SIZE, "LONGHAUL_%s", option->name);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    return out;
}

struct unit {
    uint64_t unit;
    const char *suffix;
};

/* A limit as one would type it: "64K", "15s". */
static void limit_text(char out[24], enum lh_option_kind kind, uint64_t value)
{
    static const struct unit numbers[] = {{1, ""}};
    static const struct unit sizes[] = {{UINT64_C(1) << 40, "T"},
                                        {UINT64_C(1) << 30, "G"},
                                        {1 << 20, "M"},
                                        {1 << 10, "K"},
                                        {1, ""}};
    static const struct unit times[] = {
        {86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    static const struct unit rates[] = {
        {UINT64_C(1000000000000), "T"}, {1000000000, "G"}, {1000000, "M"}, {1000, "k"}, {1, ""}};
    const struct unit *u = kind == LH_OPTION_NUMBER ? numbers
                           : kind == LH_OPTION_TIME ? times
                           : kind == LH_OPTION_RATE ? rates
                                                    : sizes;

    while (value % u->unit != 0)
        u++;
    snprintf(out, 24, "%" PRIu64 "%s", value / u->unit, u->suffix);
}

char *lh_option_range(char out[LH_OPTION_RANGE_SIZE], const struct lh_option *option)
{
    char min[24];
    char max[24];

    out[0] = '\0';
    if (option->kind < LH_OPTION_NUMBER || option->kind > LH_OPTION_RATE || option->min == 0)
        return out;
    limit_text(min, option->kind, option->min);
    limit_text(max, option->kind, option->max);
    snprintf(out, LH_OPTION_RANGE_SIZE, "%s to %s%s%s", min, max,
             option->kind == LH_OPTION_POWER ? ", a power of two" : "",
             option->or_zero ? ", or 0" : "");
    return out;
}

/* Returns the place of a word among "a|b|c" or "a,b,c", or -1. */
static int word_find(const char *choices, const char *text, size_t len)
{
    for (int i = 0;; i++) {
        size_t n = strcspn(choices, "|,");

        if (n == len && memcmp(choices, text, n) == 0)
            return i;
        if (choices[n] == '\0')
            return -1;
        choices += n + 1;
    }
}

static int choice_find(const char *choices, const char *text)
{
    return word_find(choices, text, strlen(text));
}

static void store(struct lh_args *args, const struct lh_option *option, uint64_t value)
{
    void *to = (char *)args + option->offset;

    if (option->width == sizeof(uint32_t)) {
        uint32_t narrow = (uint32_t)value;

        memcpy(to, &narrow, sizeof(narrow));
    } else {
        LH_REQUIRE(option->width == sizeof(value));
        memcpy(to, &value, sizeof(value));
    }
}

static int set_flag(struct lh_args *args, const struct lh_option *option, const char *where,
                    const char *text, struct lh_err *err)
{
    static const char *const words[] = {"no|false|off|0", "yes|true|on|1"};
    char quoted[SHOWN_SIZE];

    for (int i = 0; i < 2; i++) {
        if (choice_find(words[i], text) >= 0) {
            *(bool *)((char *)args + option->offset) = i == 1;
            return 0;
        }
    }
    return lh_err_set(err, LH_E_INVAL, "%s: '%s' is neither yes nor no", where,
                      shown(quoted, text));
}

/* Words with commas between them, or "none". */
static int set_set(struct lh_args *args, const struct lh_option *option, const char *where,
                   const char *text, struct lh_err *err)
{
    char quoted[SHOWN_SIZE];
    uint64_t bits = 0;

    for (const char *at = text; strcmp(text, "none") != 0;) {
        size_t len = strcspn(at, ",");
        int place = word_find(option->arg, at, len);

        if (place < 0)
            return lh_err_set(err, LH_E_INVAL, "%s: '%s' is not one of %s, or none", where,
                              lh_text_escape(quoted, sizeof(quoted), at, len), option->arg);
        bits |= UINT64_C(1) << place;
        if (at[len] == '\0')
            break;
        at += len + 1;
    }
    store(args, option, bits);
    return 0;
}

static int set_number(struct lh_args *args, const struct lh_option *option, const char *where,
                      const char *text, struct lh_err *err)
{
    static const char *const kinds[] = {
        [LH_OPTION_TALLY] = "a whole number",
        [LH_OPTION_NUMBER] = "a whole number",
        [LH_OPTION_SIZE] = "a size (bytes, or with K, M, G or T: 64M, 1.5G)",
        [LH_OPTION_POWER] = "a size (bytes, or with K, M, G or T: 64M)",
        [LH_OPTION_TIME] = "a time (seconds, or with ms, s, m, h or d: 30s)",
        [LH_OPTION_RATE] = "a rate (bits per second, or with k, M, G or T: 500M, 1.5G)",
    };
    char quoted[SHOWN_SIZE];
    char range[LH_OPTION_RANGE_SIZE];
    uint64_t value;
    int ret;

    if (option->kind == LH_OPTION_TIME) {
        ret = lh_text_parse_duration(text, &value);
    } else if (option->kind == LH_OPTION_RATE) {
        ret = lh_text_parse_rate(text, &value);
    } else {
        ret = lh_text_parse_size(text, &value);
        if (option->kind != LH_OPTION_SIZE && option->kind != LH_OPTION_POWER &&
            text[strspn(text, "0123456789")] != '\0')
            ret = -LH_E_INVAL;
    }
    if (ret != 0)
        return lh_err_set(err, LH_E_INVAL, "%s: '%s' is not %s", where, shown(quoted, text),
                          kinds[option->kind]);
    if ((value < option->min && !(value == 0 && option->or_zero)) || value > option->max ||
        (option->kind == LH_OPTION_POWER && (value & (value - 1)) != 0)) {
        lh_option_range(range, option);
        if (range[0] == '\0') {
            char max[24];

            limit_text(max, option->kind, option->max);
            snprintf(range, sizeof(range), "at most %s", max);
        }
        return lh_err_set(err, LH_E_INVAL, "%s: '%s' is out of range (%s)", where,
                          shown(quoted, text), range);
    }
    store(args, option, value);
    return 0;
}

/* One value from argv or the environment; `where` names the option or the variable. */
static int set_value(struct lh_args *args, const struct lh_option *option, const char *where,
                     const char *text, struct lh_err *err)
{
    char quoted[SHOWN_SIZE];
    int place;

    switch (option->kind) {
    case LH_OPTION_FLAG:
        return set_flag(args, option, where, text, err);
    case LH_OPTION_TEXT:
    case LH_OPTION_LIST:
    case LH_OPTION_RULE:
        if (text[0] == '\0')
            return lh_err_set(err, LH_E_INVAL, "%s: the value is empty", where);
        if (option->kind == LH_OPTION_LIST)
            args->remove[args->n_remove++] = text;
        else if (option->kind == LH_OPTION_RULE)
            args->rules[args->n_rules++] =
                (struct lh_rule_word){(enum lh_rule_kind)option->min, text};
        else
            *(const char **)(void *)((char *)args + option->offset) = text;
        return 0;
    case LH_OPTION_CHOICE:
        place = choice_find(option->arg, text);
        if (place < 0)
            return lh_err_set(err, LH_E_INVAL, "%s: '%s' is not one of %s", where,
                              shown(quoted, text), option->arg);
        store(args, option, (uint64_t)place);
        return 0;
    case LH_OPTION_SET:
        return set_set(args, option, where, text, err);
    default:
        return set_number(args, option, where, text, err);
    }
}

static const struct lh_option *option_find(unsigned commands, const char *name, size_t len)
{
    for (size_t i = 0; i < lh_n_options; i++) {
        const struct lh_option *option = &lh_options[i];

        if ((option->commands & commands) != 0 && strlen(option->name) == len &&
            memcmp(option->name, name, len) == 0)
            return option;
    }
    return NULL;
}

static int unknown_option(enum lh_command command, const char *name, size_t len, struct lh_err *err)
{
    char quoted[SHOWN_SIZE];
    const struct lh_option *elsewhere = option_find(~0u, name, len);

    lh_text_escape(quoted, sizeof(quoted), name, len);
    for (int i = 0; elsewhere != NULL && i < LH_N_COMMANDS; i++) {
        if ((elsewhere->commands & (1u << i)) != 0)
            return lh_err_set(err, LH_E_INVAL, "%s has no option --%s; %s has",
                              lh_commands[command].name, quoted, lh_commands[i].name);
    }
    return lh_err_set(err, LH_E_INVAL, "unknown option --%s", quoted);
}

static void tally(struct lh_args *args, const struct lh_option *option)
{
    uint32_t *count = (uint32_t *)(void *)((char *)args + option->offset);

    if (*count < option->max)
        ++*count;
}

/* "--name", "--name=value" or "--name value". *used counts the words taken. */
static int parse_long(struct lh_args *args, const char *word, const char *next, int *used,
                      struct lh_err *err)
{
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const struct lh_option *option = option_find(1u << args->command, name, len);
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    char where[SHOWN_SIZE];

    *used = 1;
    if (option == NULL)
        return unknown_option(args->command, name, len, err);
    snprintf(where, sizeof(where), "--%s", option->name);
    if (value == NULL && option->kind == LH_OPTION_TALLY) {
        tally(args, option);
        return 0;
    }
    if (value == NULL && option->kind == LH_OPTION_FLAG)
        value = "yes";
    if (value == NULL) {
        if (next == NULL)
            return lh_err_set(err, LH_E_INVAL, "%s needs a value: %s %s", where, where,
                              option->arg);
        value = next;
        *used = 2;
    }
    return set_value(args, option, where, value, err);
}

/* "-v", "-vv", "-qv": letters are of flags and tallies only. */
static int parse_letters(struct lh_args *args, const char *word, struct lh_err *err)
{
    for (const char *p = word + 1; *p != '\0'; p++) {
        const struct lh_option *found = NULL;
        char quoted[SHOWN_SIZE];

        for (size_t i = 0; i < lh_n_options && found == NULL; i++) {
            if (lh_options[i].letter == *p && (lh_options[i].commands & (1u << args->command)) != 0)
                found = &lh_options[i];
        }
        if (found == NULL)
            return lh_err_set(err, LH_E_INVAL, "unknown option '%s'", shown(quoted, word));
        if (found->kind == LH_OPTION_TALLY)
            tally(args, found);
        else
            *(bool *)((char *)args + found->offset) = true;
    }
    return 0;
}

static int parse_environment(struct lh_args *args, struct lh_err *err)
{
    for (size_t i = 0; i < lh_n_options; i++) {
        const struct lh_option *option = &lh_options[i];
        char name[LH_OPTION_ENV_SIZE];
        const char *value;
        int ret;

        if (option->argv_only || (option->commands & (1u << args->command)) == 0)
            continue;
        value = getenv(lh_option_env(name, option));
        if (value == NULL || value[0] == '\0')
            continue;
        ret = set_value(args, option, name, value, err);
        if (ret != 0)
            return ret;
    }
    return 0;
}

static int parse_words(struct lh_args *args, int argc, char **argv, struct lh_err *err)
{
    const struct lh_command_text *command = &lh_commands[args->command];
    bool only_operands = false;
    char quoted[SHOWN_SIZE];
    int used;
    int ret;

    for (int i = 0; i < argc; i += used) {
        const char *word = argv[i];

        used = 1;
        if (only_operands || word[0] != '-' || word[1] == '\0') {
            if (args->n_operands == command->max_operands)
                return lh_err_set(err, LH_E_INVAL, "'%s' is one argument too many",
                                  shown(quoted, word));
            args->operands[args->n_operands++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (word[1] == '-')
            ret = parse_long(args, word, i + 1 < argc ? argv[i + 1] : NULL, &used, err);
        else
            ret = parse_letters(args, word, err);
        if (ret != 0)
            return ret;
    }
    return 0;
}

static unsigned n_from_stdin(const struct lh_args *args)
{
    unsigned n = args->tree.files_from != NULL && strcmp(args->tree.files_from, "-") == 0;

    for (size_t i = 0; i < args->n_rules; i++)
        n += args->rules[i].kind == LH_RULE_EXCLUDE_FROM && strcmp(args->rules[i].text, "-") == 0;
    return n;
}

static int check(const struct lh_args *args, struct lh_err *err)
{
    if (args->help)
        return 0;
    if (args->n_operands < lh_commands[args->command].min_operands)
        return lh_err_set(err, LH_E_INVAL, "too few arguments: longhaul %s %s",
                          lh_commands[args->command].name, lh_commands[args->command].operands);
    if (args->command == LH_CMD_SERVE && args->serve.root == NULL)
        return lh_err_set(err, LH_E_INVAL, "serve needs --root DIR: where to write what arrives");
    if (args->redis == NULL && option_find(1u << args->command, "redis", 5) != NULL)
        return lh_err_set(err, LH_E_INVAL,
                          "%s needs --redis redis://HOST, or LONGHAUL_REDIS in the environment: "
                          "where the queue is",
                          lh_commands[args->command].name);
    if (args->requeue != NULL && args->drop != NULL)
        return lh_err_set(err, LH_E_INVAL, "--requeue and --drop exclude each other");
    if (args->command == LH_CMD_QUEUE && args->n_operands == 0 &&
        (args->requeue != NULL || args->drop != NULL))
        return lh_err_set(err, LH_E_INVAL, "--%s is for dead letters: longhaul queue dead --%s",
                          args->requeue != NULL ? "requeue" : "drop",
                          args->requeue != NULL ? "requeue" : "drop");
    if (args->tree.remove && args->tree.files_from != NULL)
        return lh_err_set(err, LH_E_INVAL,
                          "--delete and --files-from exclude each other: what a list does not name "
                          "is not to go");
    if (n_from_stdin(args) > 1)
        return lh_err_set(err, LH_E_INVAL,
                          "standard input can be read only once: let all but one of --files-from "
                          "and --exclude-from name a file");
    if (args->remove_all && args->n_remove > 0)
        return lh_err_set(err, LH_E_INVAL, "--remove and --remove-all exclude each other");
    return 0;
}

/* argv's own numbers of streams must not contradict each other; what is not in argv is as the
 * environment has it. Of two that contradict each other otherwise the engine heeds the bound. */
static int settle_streams(struct lh_send_options *send, uint32_t streams, uint32_t max_streams,
                          struct lh_err *err)
{
    if (send->max_streams > 0 && send->streams > send->max_streams)
        return lh_err_set(err, LH_E_INVAL,
                          "--streams %" PRIu32 " and --max-streams %" PRIu32
                          " contradict each other: no more than --max-streams are ever used",
                          send->streams, send->max_streams);
    if (send->streams == 0)
        send->streams = streams;
    if (send->max_streams == 0)
        send->max_streams = max_streams;
    return 0;
}

int lh_args_parse(struct lh_args *args, enum lh_command command, int argc, char **argv,
                  struct lh_err *err)
{
    uint32_t streams, max_streams;
    struct lh_args parsed = {
        .command = command, .partials_root = ".", .jobs = 4, .claim_ms = 15000, .priority = 1};
    int ret;

    lh_send_options_init(&parsed.send);
    lh_tree_options_init(&parsed.tree);
    lh_serve_options_init(&parsed.serve);
    parsed.operands = calloc((size_t)argc + 1, sizeof(*parsed.operands));
    parsed.remove = calloc((size_t)argc + 1, sizeof(*parsed.remove));
    parsed.rules = calloc((size_t)argc + 1, sizeof(*parsed.rules));
    ret = parsed.operands != NULL && parsed.remove != NULL && parsed.rules != NULL
              ? parse_environment(&parsed, err)
              : lh_err_set(err, LH_E_NOMEM, "out of memory");
    parsed.usual = parsed.tree;
    parsed.usual_devices = parsed.devices;
    streams = parsed.send.streams;
    max_streams = parsed.send.max_streams;
    parsed.send.streams = parsed.send.max_streams = 0;
    if (ret == 0)
        ret = parse_words(&parsed, argc, argv, err);
    if (ret == 0)
        ret = settle_streams(&parsed.send, streams, max_streams, err);
    if (ret == 0)
        ret = check(&parsed, err);
    if (ret != 0) {
        lh_args_free(&parsed);
        return ret;
    }
    *args = parsed;
    return 0;
}

void lh_args_free(struct lh_args *args)
{
    free(args->operands);
    free(args->remove);
    free(args->rules);
    args->operands = NULL;
    args->remove = NULL;
    args->rules = NULL;
}
