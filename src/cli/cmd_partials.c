/* longhaul partials: list or remove what was left half done.
 *
 * Happy path: the engine walks the root, each one is judged and remembered, then all are printed in
 * the order of their paths. Failures: a PATH of --remove that is not there, or is held: said for
 * each, and the exit code tells. */
#include "cli/cmd.h"
#include "cli/json.h"
#include "util/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct entry {
    struct lh_partial partial; /* path is owned */
    bool removed;
};

struct listing {
    const struct lh_args *args;
    int64_t now_s;
    struct entry *entries;
    size_t n_entries;
    size_t n_room;
    bool *found; /* for each of args->remove */
    bool out_of_memory;
};

static bool remember(struct listing *list, const struct lh_partial *partial, bool removed)
{
    struct entry *entry;

    if (list->n_entries == list->n_room) {
        size_t n = list->n_room == 0 ? 16 : list->n_room * 2;
        struct entry *grown = realloc(list->entries, n * sizeof(*grown));

        if (grown == NULL)
            return false;
        list->entries = grown;
        list->n_room = n;
    }
    entry = &list->entries[list->n_entries];
    entry->partial = *partial;
    entry->removed = removed;
    entry->partial.path = strdup(partial->path);
    if (entry->partial.path == NULL)
        return false;
    list->n_entries++;
    return true;
}

/* The engine's callback: nonzero removes it. */
static int judge(void *arg, const struct lh_partial *partial)
{
    struct listing *list = arg;
    const struct lh_args *args = list->args;
    int64_t age_s = list->now_s - partial->touched_s;
    bool named = false;
    bool removed;

    for (size_t i = 0; i < args->n_remove; i++) {
        if (strcmp(args->remove[i], partial->path) == 0)
            list->found[i] = named = true;
    }
    if (list->out_of_memory || (args->n_remove > 0 && !named))
        return 0;
    if (args->older_than_ms > 0 && age_s < (int64_t)(args->older_than_ms / 1000))
        return 0;
    removed = (named || (args->remove_all && !partial->done)) && !partial->held;
    /* Nothing is removed that could not be listed afterwards. */
    if (!remember(list, partial, removed)) {
        list->out_of_memory = true;
        return 0;
    }
    return removed;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->partial.path, ((const struct entry *)b)->partial.path);
}

static const char *state_of(const struct lh_partial *partial)
{
    if (partial->held)
        return "held";
    if (partial->damaged)
        return "damaged";
    return partial->done ? "done" : "partial";
}

static void print_json(const struct entry *entry)
{
    const struct lh_partial *partial = &entry->partial;
    struct lh_json json;

    lh_json_begin(&json, stdout);
    lh_json_name(&json, "path", partial->path, strlen(partial->path));
    lh_json_text(&json, "state", state_of(partial));
    lh_json_u64(&json, "bytes_total", partial->bytes_total);
    lh_json_u64(&json, "bytes_durable", partial->bytes_durable);
    lh_json_i64(&json, "touched_s", partial->touched_s);
    lh_json_bool(&json, "removed", entry->removed);
    /* A failed write is found by the flush at the end. */
    (void)lh_json_end(&json);
}

static void print_row(const struct entry *entry, int64_t now_s)
{
    const struct lh_partial *partial = &entry->partial;
    int64_t age_s = now_s > partial->touched_s ? now_s - partial->touched_s : 0;
    char durable[24];
    char total[24];
    char age[24];
    char path[4 * LH_DESTINATION_MAX];

    if (age_s >= 2 * 86400)
        snprintf(age, sizeof(age), "%" PRId64 "d", age_s / 86400);
    else
        lh_text_duration(age, sizeof(age), (uint64_t)age_s);
    printf("%-8s %11s of %11s  %8s ago  %s%s\n", state_of(partial),
           lh_text_bytes(durable, sizeof(durable), partial->bytes_durable),
           lh_text_bytes(total, sizeof(total), partial->bytes_total), age,
           lh_text_escape(path, sizeof(path), partial->path, strlen(partial->path)),
           entry->removed ? "  (removed)" : "");
}

/* What was asked to be removed and was not. Returns the exit code. */
static int complain(const struct listing *list, struct lh_term *term)
{
    const struct lh_args *args = list->args;
    char shown[512];
    int code = 0;

    for (size_t i = 0; i < args->n_remove; i++) {
        if (list->found[i])
            continue;
        lh_text_escape(shown, sizeof(shown), args->remove[i], strlen(args->remove[i]));
        lh_term_line(term, "error: nothing is left half done of '%s'", shown);
        code = LH_EXIT_DEST;
    }
    for (size_t i = 0; i < list->n_entries; i++) {
        const struct lh_partial *partial = &list->entries[i].partial;

        if (!partial->held || (args->n_remove == 0 && !args->remove_all))
            continue;
        lh_text_escape(shown, sizeof(shown), partial->path, strlen(partial->path));
        lh_term_line(term, "error: '%s' is being received now and was not removed", shown);
        code = LH_EXIT_REFUSED;
    }
    return code;
}

static int report(struct listing *list, uint64_t n_removed, struct lh_term *term)
{
    uint64_t n_wanted = 0;
    int code;
    int ret;

    if (list->n_entries > 1)
        qsort(list->entries, list->n_entries, sizeof(*list->entries), by_path);
    for (size_t i = 0; i < list->n_entries; i++) {
        n_wanted += list->entries[i].removed ? 1 : 0;
        if (list->args->json)
            print_json(&list->entries[i]);
        else
            print_row(&list->entries[i], list->now_s);
    }
    ret = lh_cmd_flush(term);
    code = complain(list, term);
    if (n_removed < n_wanted) {
        lh_term_line(term, "error: %" PRIu64 " of them could not be removed", n_wanted - n_removed);
        code = LH_EXIT_DEST;
    }
    return ret != 0 ? ret : code;
}

int lh_cmd_partials(const struct lh_args *args, struct lh_term *term)
{
    struct listing list = {.args = args, .now_s = (int64_t)time(NULL)};
    uint64_t n_removed = 0;
    char text[512] = "";
    int ret;
    int code;

    list.found = calloc(args->n_remove + 1, sizeof(*list.found));
    if (list.found == NULL)
        return lh_cmd_fail(term, -LH_E_NOMEM, "");
    ret = lh_partials_each(args->partials_root, judge, &list, &n_removed, text, sizeof(text));
    code = report(&list, n_removed, term);
    if (ret != 0)
        code = lh_cmd_fail(term, ret, text);
    else if (list.out_of_memory)
        code = lh_cmd_fail(term, -LH_E_NOMEM, "");
    for (size_t i = 0; i < list.n_entries; i++)
        free((char *)(uintptr_t)list.entries[i].partial.path);
    free(list.entries);
    free(list.found);
    return code;
}
