/* Patterns of what is left out; what they mean is in filter.h.
 *
 * Thread: any, there is no state but the rules. A rule is taken apart when it is added, so that a
 * million names are matched without looking for slashes and stars again. Matching keeps two places
 * to go back to, the last '*' and the last '**': an earlier one never needs to take more, because
 * the later one starts as early as it can and reaches as far. So it takes time by length of pattern
 * times length of path, whatever the pattern. */
#include "core/filter.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct lh_filter_rule {
    char *pattern; /* without the '/' at either end that says where and what kind */
    bool include;
    bool anchored;
    bool dirs_only;
    bool wild;        /* has '*', '?' or '[' */
    bool deep;        /* has "**" */
    bool deep_prefix; /* begins with it */
    bool deep_suffix; /* ends with three stars: "/" behind a directory's name is matched too */
    size_t n_slashes; /* in `pattern` */
    size_t len;
};

void lh_filter_init(struct lh_filter *f)
{
    *f = (struct lh_filter){0};
}

void lh_filter_free(struct lh_filter *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->rules[i].pattern);
    free(f->rules);
    lh_filter_init(f);
}

static void take_apart(struct lh_filter_rule *rule, const char *given, size_t len)
{
    const char *stars;

    rule->anchored = given[0] == '/';
    rule->wild = strpbrk(given, "*?[") != NULL;
    stars = strstr(given, "**");
    rule->deep = stars != NULL;
    rule->deep_prefix = stars == given;
    rule->deep_suffix = len >= 3 && memcmp(given + len - 3, "***", 3) == 0;
    if (len > 1 && given[len - 1] == '/') {
        rule->dirs_only = true;
        len--;
    }
    given += rule->anchored;
    len -= rule->anchored;
    memcpy(rule->pattern, given, len);
    rule->pattern[len] = '\0';
    rule->len = len;
    for (size_t i = 0; i < len; i++)
        rule->n_slashes += given[i] == '/';
}

int lh_filter_add(struct lh_filter *f, bool include, const char *pattern, struct lh_err *err)
{
    size_t len = strlen(pattern);
    struct lh_filter_rule rule = {.include = include};

    if (len == 0)
        return lh_err_set(err, LH_E_INVAL, "a pattern is empty");
    if (len > LH_FILTER_PATTERN_MAX)
        return lh_err_set(err, LH_E_INVAL, "a pattern is longer than %d bytes",
                          LH_FILTER_PATTERN_MAX);
    if (f->n == f->cap) {
        size_t cap = f->cap > 0 ? f->cap * 2 : 8;
        struct lh_filter_rule *rules = realloc(f->rules, cap * sizeof(*rules));

        if (rules == NULL)
            return lh_err_set(err, LH_E_NOMEM, "out of memory");
        f->rules = rules;
        f->cap = cap;
    }
    rule.pattern = malloc(len + 1);
    if (rule.pattern == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    take_apart(&rule, pattern, len);
    f->rules[f->n++] = rule;
    return 0;
}

static bool in_class(const char *name, size_t len, unsigned char c)
{
    static const struct {
        const char *name;
        int (*is)(int);
    } classes[] = {
        {"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
        {"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
        {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit},
    };

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        if (strlen(classes[i].name) == len && memcmp(classes[i].name, name, len) == 0)
            return classes[i].is(c) != 0;
    }
    return false;
}

/* One member of a set at p: a byte, a range or a class. Returns what is behind it, NULL when the
 * set has no end. */
static const char *match_member(const char *p, unsigned char c, bool *in)
{
    unsigned char low;
    unsigned char high;

    if (p[0] == '[' && p[1] == ':') {
        const char *end = strchr(p + 2, ']');

        if (end != NULL && end > p + 2 && end[-1] == ':') {
            *in |= in_class(p + 2, (size_t)(end - p - 3), c);
            return end + 1;
        }
    }
    if (*p == '\\')
        p++;
    if (*p == '\0')
        return NULL;
    low = high = (unsigned char)*p++;
    if (p[0] == '-' && p[1] != ']' && p[1] != '\0') {
        p++;
        if (*p == '\\')
            p++;
        if (*p == '\0')
            return NULL;
        high = (unsigned char)*p++;
    }
    *in |= c >= low && c <= high;
    return p;
}

/* The set that begins behind `p`'s '['. Returns what is behind its ']', NULL when it has none. */
static const char *match_set(const char *p, unsigned char c, bool *matched)
{
    bool in = false;
    bool negated = *p == '!' || *p == '^';
    const char *first = p += negated;

    while (*p != ']' || p == first) {
        p = match_member(p, c, &in);
        if (p == NULL)
            return NULL;
    }
    *matched = in != negated && c != '/';
    return p + 1;
}

/* One element of the pattern at p, not a star, against one byte. Returns what is behind the
 * element, NULL when it does not match. */
static const char *match_one(const char *p, unsigned char c)
{
    bool matched;

    switch (*p) {
    case '\0':
        return NULL;
    case '?':
        return c != '/' ? p + 1 : NULL;
    case '[':
        matched = false;
        p = match_set(p + 1, c, &matched);
        return matched ? p : NULL;
    case '\\':
        p += p[1] != '\0';
        return (unsigned char)*p == c ? p + 1 : NULL;
    default:
        return (unsigned char)*p == c ? p + 1 : NULL;
    }
}

static bool match_wild(const char *p, const char *text, const char *end)
{
    const char *star = NULL; /* behind the last '*' */
    const char *star_text = NULL;
    const char *deep = NULL; /* behind the last '**' */
    const char *deep_text = NULL;

    for (;;) {
        if (*p == '*') {
            bool two = p[1] == '*';

            p += strspn(p, "*");
            if (two) {
                deep = p;
                deep_text = text;
                star = NULL;
            } else {
                star = p;
                star_text = text;
            }
            continue;
        }
        if (text == end && *p == '\0')
            return true;
        if (text < end) {
            const char *behind = match_one(p, (unsigned char)*text);

            if (behind != NULL) {
                p = behind;
                text++;
                continue;
            }
        }
        if (star != NULL && star_text < end && *star_text != '/') {
            p = star;
            text = ++star_text;
        } else if (deep != NULL && deep_text < end) {
            p = deep;
            text = ++deep_text;
            star = NULL;
        } else {
            return false;
        }
    }
}

/* Where the last n names of a path begin; NULL when it has fewer. */
static const char *last_names(const char *path, const char *end, size_t n)
{
    const char *at = end;

    while (at > path) {
        if (at[-1] == '/' && --n == 0)
            return at;
        at--;
    }
    return n == 1 ? path : NULL;
}

static bool matches_at(const struct lh_filter_rule *rule, const char *text, const char *end)
{
    if (rule->wild)
        return match_wild(rule->pattern, text, end);
    return (size_t)(end - text) == rule->len && memcmp(text, rule->pattern, rule->len) == 0;
}

static bool matches_somewhere(const struct lh_filter_rule *rule, const char *text, const char *end)
{
    while (!matches_at(rule, text, end)) {
        text = memchr(text, '/', (size_t)(end - text));
        if (text == NULL)
            return false;
        text++;
    }
    return true;
}

static bool matches(const struct lh_filter_rule *rule, const char *path, size_t len, bool is_dir)
{
    char around[LH_FILTER_PATH_MAX + 2];
    const char *from;

    if (rule->dirs_only && !is_dir)
        return false;
    if (rule->deep && (rule->deep_prefix || (rule->deep_suffix && is_dir))) {
        char *end = around;

        if (rule->deep_prefix)
            *end++ = '/';
        memcpy(end, path, len);
        end += len;
        if (rule->deep_suffix && is_dir)
            *end++ = '/';
        path = around;
        len = (size_t)(end - around);
    }
    if (rule->anchored || rule->deep_prefix)
        return matches_at(rule, path, path + len);
    if (rule->deep)
        return matches_somewhere(rule, path, path + len);
    /* Without "**" a pattern has exactly as many names as what it matches. */
    from = last_names(path, path + len, rule->n_slashes + 1);
    return from != NULL && matches_at(rule, from, path + len);
}

bool lh_filter_excludes(const struct lh_filter *f, const char *path, size_t len, bool is_dir)
{
    LH_REQUIRE(len <= LH_FILTER_PATH_MAX);
    for (size_t i = 0; i < f->n; i++) {
        if (matches(&f->rules[i], path, len, is_dir))
            return !f->rules[i].include;
    }
    return false;
}

bool lh_filter_excludes_deep(const struct lh_filter *f, const char *path, size_t len, bool is_dir)
{
    for (size_t i = 1; i < len && f->n > 0; i++) {
        if (path[i] == '/' && lh_filter_excludes(f, path, i, true))
            return true;
    }
    return lh_filter_excludes(f, path, len, is_dir);
}
