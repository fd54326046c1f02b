/* The command line: one table of options drives parsing, --help, the man page and the environment.
 *
 * Main thread only. Values land straight in the engine's option structs, which hold the engine's
 * defaults before parsing; strings point into argv and the environment. */
#ifndef LH_CLI_OPTIONS_H
#define LH_CLI_OPTIONS_H

#include "util/err.h"

#include <longhaul/longhaul.h>
#include <longhaul/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum lh_command {
    LH_CMD_SEND,
    LH_CMD_SERVE,
    LH_CMD_DIGEST,
    LH_CMD_PARTIALS,
    LH_CMD_WORKER,
    LH_CMD_SUBMIT,
    LH_CMD_STATUS,
    LH_CMD_PAUSE,
    LH_CMD_RESUME,
    LH_CMD_CANCEL,
    LH_CMD_RETRY,
    LH_CMD_QUEUE,
    LH_CMD_HELP,
    LH_N_COMMANDS
};

/* --include, --exclude and --exclude-from, in the order in which they were given. */
enum lh_rule_kind { LH_RULE_INCLUDE, LH_RULE_EXCLUDE, LH_RULE_EXCLUDE_FROM };

struct lh_rule_word {
    enum lh_rule_kind kind;
    const char *text; /* a pattern, or the name of a file of patterns */
};

struct lh_args {
    enum lh_command command;
    bool help; /* --help was asked for: operands are not checked */
    bool man;
    const char **operands; /* owned: n_operands words of argv */
    size_t n_operands;
    bool json;
    bool quiet;
    uint32_t verbosity;          /* 1: info, 2: debug */
    struct lh_send_options send; /* source, host, port and path are filled in by the command */
    struct lh_tree_options tree; /* all but send, sources, rules and existing, which are the
                                    command's to fill in */
    struct lh_rule_word *rules;  /* owned: n_rules */
    size_t n_rules;
    bool devices;
    struct lh_tree_options usual; /* `tree` as it would be without argv */
    bool usual_devices;
    struct lh_serve_options serve;
    uint32_t digest_block_bytes;
    const char *partials_root;
    const char **remove; /* owned: n_remove targets */
    size_t n_remove;
    bool remove_all;
    uint64_t older_than_ms;
    const char *redis; /* URL; may hold a password: never show it */
    const char *queue; /* NULL: the default one */
    uint32_t jobs;
    uint32_t jobs_per_host;  /* 0: as jobs */
    const char *worker_name; /* NULL: one is made */
    uint64_t claim_ms;
    uint32_t priority; /* place in "high|normal|low" */
    const char *retries;
    bool wait;
    bool watch;
    const char *requeue; /* a task, or "all" */
    const char *drop;
};

enum lh_option_kind {
    LH_OPTION_FLAG,   /* bool */
    LH_OPTION_TALLY,  /* uint32_t, counts how often it is given */
    LH_OPTION_TEXT,   /* const char * */
    LH_OPTION_LIST,   /* appended to args->remove */
    LH_OPTION_RULE,   /* appended to args->rules; `min` is its enum lh_rule_kind */
    LH_OPTION_NUMBER, /* uint32_t or uint64_t, like the next three */
    LH_OPTION_SIZE,   /* bytes */
    LH_OPTION_POWER,  /* bytes, a power of two */
    LH_OPTION_TIME,   /* milliseconds */
    LH_OPTION_RATE,   /* bits per second */
    LH_OPTION_CHOICE, /* an enum whose values are the places in `arg` */
    LH_OPTION_SET     /* unsigned: a bit for each word, by its place in `arg` */
};

struct lh_option {
    const char *name;
    char letter;       /* 0: none */
    unsigned commands; /* bit 1 << enum lh_command */
    enum lh_option_kind kind;
    size_t offset; /* in struct lh_args */
    size_t width;  /* bytes of that member */
    uint64_t min;
    uint64_t max;
    bool or_zero;    /* 0 is taken besides: none */
    const char *arg; /* what the help calls the value; "a|b|c" of a choice, "a,b,c" of a set; NULL
                        for flags */
    const char *def; /* default in words or as it would be typed; NULL: none */
    const char *help;
    const char *group; /* heading in the help; NULL: "Options". Rows of one are neighbours */
    bool argv_only;    /* not read from the environment */
};

struct lh_command_text {
    const char *name;
    const char *operands;
    unsigned min_operands;
    unsigned max_operands;
    const char *summary; /* one line */
    const char *details; /* paragraphs, separated by "\n\n" */
    const char *example;
};

extern const struct lh_option lh_options[];
extern const size_t lh_n_options;
extern const struct lh_command_text lh_commands[LH_N_COMMANDS];

/* The command of that name, or -1. */
int lh_command_find(const char *name);

/* "LONGHAUL_ZERO_COPY" for "zero-copy". Returns out. */
#define LH_OPTION_ENV_SIZE 64
char *lh_option_env(char out[LH_OPTION_ENV_SIZE], const struct lh_option *option);

/* "64K to 1M, a power of two", or "" where any value will do. Returns out. */
#define LH_OPTION_RANGE_SIZE 96
char *lh_option_range(char out[LH_OPTION_RANGE_SIZE], const struct lh_option *option);

/* Parse what follows the command's name: the environment first, then argv[0..argc).
 * Returns 0, -LH_E_INVAL with a sentence, or -LH_E_NOMEM; then nothing is to be freed. */
int lh_args_parse(struct lh_args *args, enum lh_command command, int argc, char **argv,
                  struct lh_err *err);
void lh_args_free(struct lh_args *args);

#endif
