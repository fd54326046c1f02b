/* Rules of a tree from the command line and from files; contract in rules.h. */
#include "cli/rules.h"

#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_SIZE 320
#define LINE_SIZE 4100 /* "+ ", a pattern of any allowed length, NUL */

void lh_rules_free(struct lh_rules *rules)
{
    for (size_t i = 0; i < rules->n; i++)
        free((void *)(uintptr_t)rules->v[i].pattern);
    free(rules->v);
    *rules = (struct lh_rules){0};
}

static int add(struct lh_rules *rules, bool include, const char *pattern, struct lh_err *err)
{
    char *copy = strdup(pattern);

    if (copy != NULL && rules->n == rules->cap) {
        size_t cap = rules->cap > 0 ? rules->cap * 2 : 16;
        struct lh_tree_rule *v = realloc(rules->v, cap * sizeof(*v));

        if (v != NULL) {
            rules->v = v;
            rules->cap = cap;
        }
    }
    if (copy == NULL || rules->n == rules->cap) {
        free(copy);
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    }
    rules->v[rules->n++] = (struct lh_tree_rule){include, copy};
    return 0;
}

/* The next line without its end. Returns 1, 0 at the end, or -LH_E_INVAL. */
static int read_line(FILE *file, const char *shown, char out[LINE_SIZE], struct lh_err *err)
{
    size_t n = 0;
    int c;

    while ((c = getc(file)) != EOF && c != '\n') {
        if (c == '\0')
            return lh_err_set(err, LH_E_INVAL, "--exclude-from: %s holds a NUL byte", shown);
        if (n + 1 == LINE_SIZE)
            return lh_err_set(err, LH_E_INVAL,
                              "--exclude-from: %s has a line of more than %d bytes", shown,
                              LINE_SIZE - 1);
        out[n++] = (char)c;
    }
    out[n] = '\0';
    if (c == EOF && ferror(file))
        return lh_err_sys(err, LH_E_INVAL, errno, "--exclude-from: cannot read %s", shown);
    return c != EOF || n > 0;
}

static int add_file(struct lh_rules *rules, const char *name, struct lh_err *err)
{
    bool is_stdin = strcmp(name, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(name, "re");
    char shown[SHOWN_SIZE];
    char line[LINE_SIZE];
    const char *pattern;
    bool include;
    int r;

    lh_text_escape(shown, sizeof(shown), name, strlen(name));
    if (file == NULL)
        return lh_err_sys(err, LH_E_INVAL, errno, "--exclude-from: cannot open %s", shown);
    while ((r = read_line(file, shown, line, err)) > 0) {
        pattern = lh_text_rule(line, &include);
        r = pattern != NULL ? add(rules, include, pattern, err) : 0;
        if (r != 0)
            break;
    }
    if (!is_stdin)
        fclose(file);
    return r;
}

int lh_rules_load(struct lh_rules *rules, const struct lh_args *args, struct lh_err *err)
{
    int r = 0;

    *rules = (struct lh_rules){0};
    for (size_t i = 0; i < args->n_rules && r == 0; i++) {
        const struct lh_rule_word *word = &args->rules[i];

        if (word->kind == LH_RULE_EXCLUDE_FROM)
            r = add_file(rules, word->text, err);
        else
            r = add(rules, word->kind == LH_RULE_INCLUDE, word->text, err);
    }
    if (r != 0)
        lh_rules_free(rules);
    return r;
}
