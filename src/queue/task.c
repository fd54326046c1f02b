/* Checking the fields of an entry: one table says which there are and what each may hold.
 *
 * Happy path: every field is looked up in the table, read into the task, and marked as seen; then
 * what must be there is asked for. Failures: the first thing that is wrong, by the field's name. */
#include "queue/task.h"

#include "util/text.h"

#include <stdlib.h>
#include <string.h>

#define VALUE_SIZE 64 /* of numbers and words, with the NUL */

struct reader {
    struct lh_task *task;
    const char *name; /* of the field at hand */
    struct lh_err *err;
};

static int refuse(const struct reader *r, const char *value, size_t len, const char *wants)
{
    char shown[96];

    lh_text_escape(shown, sizeof(shown), value, len);
    return lh_err_set(r->err, LH_E_INVAL, "the field '%s' is '%s'; it must be %s", r->name, shown,
                      wants);
}

/* Bytes as a string of at most `max`, without a NUL inside. */
static int take_text(const struct reader *r, const struct lh_field *f, size_t max, char **out)
{
    char *text;

    if (f->value_len == 0)
        return lh_err_set(r->err, LH_E_INVAL, "the field '%s' is empty", r->name);
    if (f->value_len > max)
        return lh_err_set(r->err, LH_E_INVAL, "the field '%s' is longer than %zu bytes", r->name,
                          max);
    if (memchr(f->value, '\0', f->value_len) != NULL)
        return lh_err_set(r->err, LH_E_INVAL, "the field '%s' has a byte 0 in it", r->name);
    text = malloc(f->value_len + 1);
    if (text == NULL)
        return lh_err_set(r->err, LH_E_NOMEM, "out of memory");
    memcpy(text, f->value, f->value_len);
    text[f->value_len] = '\0';
    *out = text;
    return 0;
}

/* A short value as a string; false when it is too long or has a NUL. */
static bool short_text(const struct lh_field *f, char out[VALUE_SIZE])
{
    if (f->value_len >= VALUE_SIZE || memchr(f->value, '\0', f->value_len) != NULL)
        return false;
    memcpy(out, f->value, f->value_len);
    out[f->value_len] = '\0';
    return true;
}

static bool take_number(const struct lh_field *f, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (f->value_len == 0 || f->value_len > 19)
        return false;
    for (size_t i = 0; i < f->value_len; i++) {
        if (f->value[i] < '0' || f->value[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(f->value[i] - '0');
    }
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

static bool is(const struct lh_field *f, const char *word)
{
    return f->value_len == strlen(word) && memcmp(f->value, word, f->value_len) == 0;
}

static int read_v(const struct reader *r, const struct lh_field *f)
{
    return is(f, "1") ? 0 : refuse(r, f->value, f->value_len, "1, the only version there is");
}

static int read_task(const struct reader *r, const struct lh_field *f)
{
    if (lh_task_id_valid(f->value, f->value_len))
        return 0;
    return refuse(r, f->value, f->value_len,
                  "1 to 64 letters, digits, dots, dashes or underscores");
}

static int read_source(const struct reader *r, const struct lh_field *f)
{
    return take_text(r, f, LH_TASK_SOURCE_MAX, &r->task->source);
}

static int read_destination(const struct reader *r, const struct lh_field *f)
{
    struct lh_err why;
    int ret = take_text(r, f, LH_TASK_DESTINATION_MAX, &r->task->destination);

    if (ret != 0)
        return ret;
    ret = lh_url_parse(&r->task->url, r->task->destination, &why);
    if (ret != 0)
        return lh_err_set(r->err, why.status, "the field 'destination': %.400s", why.text);
    return 0;
}

static int read_retries(const struct reader *r, const struct lh_field *f)
{
    if (is(f, "forever")) {
        r->task->retries = LH_TASK_FOREVER;
        return 0;
    }
    if (take_number(f, 0, LH_TASK_RETRIES_MAX, &r->task->retries))
        return 0;
    return refuse(r, f->value, f->value_len, "a number from 0 to 1000000, or forever");
}

static int read_n_streams(const struct reader *r, const struct lh_field *f, uint32_t *out)
{
    uint64_t v;

    if (!take_number(f, 1, LH_MAX_STREAMS, &v))
        return refuse(r, f->value, f->value_len, "a number from 1 to 64");
    *out = (uint32_t)v;
    return 0;
}

static int read_streams(const struct reader *r, const struct lh_field *f)
{
    return read_n_streams(r, f, &r->task->streams);
}

static int read_max_streams(const struct reader *r, const struct lh_field *f)
{
    return read_n_streams(r, f, &r->task->max_streams);
}

static int read_limit_rate(const struct reader *r, const struct lh_field *f)
{
    char text[VALUE_SIZE];
    uint64_t bps;

    if (!short_text(f, text) || lh_text_parse_rate(text, &bps) != 0 || bps < LH_TASK_RATE_MIN ||
        bps > LH_TASK_RATE_MAX)
        return refuse(r, f->value, f->value_len, "a rate from 64k to 100T, in bits per second");
    r->task->limit_bps = bps;
    return 0;
}

static int read_share(const struct reader *r, const struct lh_field *f)
{
    if (!is(f, "full") && !is(f, "background"))
        return refuse(r, f->value, f->value_len, "full or background");
    r->task->share = is(f, "full") ? LH_SHARE_FULL : LH_SHARE_BACKGROUND;
    return 0;
}

static int read_block_size(const struct reader *r, const struct lh_field *f)
{
    char text[VALUE_SIZE];
    uint64_t bytes;

    if (!short_text(f, text) || lh_text_parse_size(text, &bytes) != 0 || bytes < 64 * 1024 ||
        bytes > 1024 * 1024 || (bytes & (bytes - 1)) != 0)
        return refuse(r, f->value, f->value_len, "a power of two from 64K to 1M");
    r->task->block_bytes = (uint32_t)bytes;
    return 0;
}

static int read_existing(const struct reader *r, const struct lh_field *f)
{
    for (enum lh_existing e = LH_EXISTING_DIFFERENT; e <= LH_EXISTING_NEWER; e++) {
        if (is(f, lh_task_existing_name(e))) {
            r->task->existing = e;
            return 0;
        }
    }
    return refuse(r, f->value, f->value_len, "different, skip, replace or newer");
}

static int read_flag(const struct reader *r, const struct lh_field *f, bool *out)
{
    if (!is(f, "0") && !is(f, "1"))
        return refuse(r, f->value, f->value_len, "0 or 1");
    *out = is(f, "1");
    return 0;
}

static int read_no_clobber(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->no_clobber);
}

static int read_insecure(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->insecure);
}

static int read_sparse(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->sparse);
}

/* ---- of a tree ---- */

static int read_filter(const struct reader *r, const struct lh_field *f)
{
    struct lh_task *task = r->task;
    size_t n_lines = 1;
    char *next;
    int ret = take_text(r, f, LH_TASK_FILTER_MAX, &task->filter);

    if (ret != 0)
        return ret;
    for (const char *p = task->filter; (p = strchr(p, '\n')) != NULL; p++)
        n_lines++;
    task->rules = calloc(n_lines, sizeof(*task->rules));
    if (task->rules == NULL)
        return lh_err_set(r->err, LH_E_NOMEM, "out of memory");
    for (char *line = task->filter; line != NULL; line = next) {
        struct lh_tree_rule *rule = &task->rules[task->n_rules];

        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        rule->pattern = lh_text_rule(line, &rule->include);
        if (rule->pattern != NULL && strlen(rule->pattern) > LH_TASK_SOURCE_MAX)
            return lh_err_set(r->err, LH_E_INVAL,
                              "the field '%s' has a pattern of more than %d bytes", r->name,
                              LH_TASK_SOURCE_MAX);
        task->n_rules += rule->pattern != NULL;
    }
    return 0;
}

static int read_links(const struct reader *r, const struct lh_field *f)
{
    for (enum lh_links l = LH_LINKS_KEEP; l <= LH_LINKS_SKIP; l++) {
        if (is(f, lh_task_links_name(l))) {
            r->task->links = l;
            return 0;
        }
    }
    return refuse(r, f->value, f->value_len, "keep, follow or skip");
}

static int read_preserve(const struct reader *r, const struct lh_field *f)
{
    const char *word = f->value;
    const char *end = f->value + f->value_len;
    unsigned bits = 0;

    while (!is(f, "none")) {
        const char *comma = memchr(word, ',', (size_t)(end - word));
        unsigned bit = lh_task_preserve_parse(word, (size_t)((comma != NULL ? comma : end) - word));

        if (bit == 0)
            return refuse(r, f->value, f->value_len,
                          "none, or some of mode,times,owner,xattrs,acl,hardlinks");
        bits |= bit;
        if (comma == NULL)
            break;
        word = comma + 1;
    }
    r->task->preserve = bits;
    return 0;
}

static int read_numeric_ids(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->numeric_ids);
}

static int read_devices(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->devices);
}

static int read_checksum(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->checksum);
}

static int read_one_file_system(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->one_file_system);
}

static int read_stop_on_error(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->stop_on_error);
}

static int read_delete(const struct reader *r, const struct lh_field *f)
{
    return read_flag(r, f, &r->task->remove);
}

static int read_max_delete(const struct reader *r, const struct lh_field *f)
{
    if (take_number(f, 0, INT64_MAX, &r->task->max_removed))
        return 0;
    return refuse(r, f->value, f->value_len, "a number");
}

static const struct {
    const char *name;
    int (*read)(const struct reader *r, const struct lh_field *f);
    enum { ALLOWED, NEEDED, OF_TREE } which; /* OF_TREE: only a tree has a use for it */
} table[] = {
    {"v", read_v, NEEDED},
    {"source", read_source, NEEDED},
    {"destination", read_destination, NEEDED},
    {"task", read_task, ALLOWED},
    {"retries", read_retries, ALLOWED},
    {"streams", read_streams, ALLOWED},
    {"max-streams", read_max_streams, ALLOWED},
    {"limit-rate", read_limit_rate, ALLOWED},
    {"share", read_share, ALLOWED},
    {"block-size", read_block_size, ALLOWED},
    {"existing", read_existing, ALLOWED},
    {"no-clobber", read_no_clobber, ALLOWED},
    {"insecure", read_insecure, ALLOWED},
    {"sparse", read_sparse, ALLOWED},
    {"filter", read_filter, OF_TREE},
    {"links", read_links, OF_TREE},
    {"preserve", read_preserve, OF_TREE},
    {"numeric-ids", read_numeric_ids, OF_TREE},
    {"devices", read_devices, OF_TREE},
    {"checksum", read_checksum, OF_TREE},
    {"one-file-system", read_one_file_system, OF_TREE},
    {"stop-on-error", read_stop_on_error, OF_TREE},
    {"delete", read_delete, OF_TREE},
    {"max-delete", read_max_delete, OF_TREE},
};
#define N_TABLE (sizeof(table) / sizeof(table[0]))

static size_t find(const struct lh_field *f)
{
    size_t i = 0;

    while (i < N_TABLE && (strlen(table[i].name) != f->name_len ||
                           memcmp(table[i].name, f->name, f->name_len) != 0))
        i++;
    return i;
}

static int read_all(struct reader *r, const struct lh_field *fields, size_t n)
{
    bool seen[N_TABLE] = {false};

    for (size_t i = 0; i < n; i++) {
        size_t at = find(&fields[i]);
        int ret;

        if (at == N_TABLE)
            continue;
        r->name = table[at].name;
        if (seen[at])
            return lh_err_set(r->err, LH_E_INVAL, "the field '%s' is there twice", r->name);
        seen[at] = true;
        r->task->tree = r->task->tree || table[at].which == OF_TREE;
        ret = table[at].read(r, &fields[i]);
        if (ret != 0)
            return ret;
    }
    for (size_t i = 0; i < N_TABLE; i++) {
        if (table[i].which == NEEDED && !seen[i])
            return lh_err_set(r->err, LH_E_INVAL, "the field '%s' is missing", table[i].name);
    }
    return 0;
}

int lh_task_parse(struct lh_task *task, const struct lh_field *fields, size_t n, struct lh_err *err)
{
    struct lh_task parsed = {.retries = LH_TASK_RETRIES,
                             .preserve = LH_PRESERVE_MODE | LH_PRESERVE_TIMES | LH_PRESERVE_OWNER,
                             .max_removed = UINT64_MAX};
    struct reader r = {.task = &parsed, .err = err};
    int ret = read_all(&r, fields, n);

    if (ret == 0) {
        parsed.tree = parsed.tree || parsed.source[strlen(parsed.source) - 1] == '/';
        if (parsed.tree && parsed.no_clobber)
            ret = lh_err_set(err, LH_E_INVAL,
                             "the field 'no-clobber' is for a single file; of a tree existing=skip "
                             "keeps what is there");
    }
    if (ret != 0) {
        lh_task_free(&parsed);
        return ret;
    }
    *task = parsed;
    return 0;
}

void lh_task_free(struct lh_task *task)
{
    free(task->source);
    free(task->destination);
    free(task->filter);
    free(task->rules);
    lh_url_free(&task->url);
    task->source = NULL;
    task->destination = NULL;
    task->filter = NULL;
    task->rules = NULL;
}
