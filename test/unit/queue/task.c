/* Fields of an entry: what is taken, what each bound refuses and in which words. */
#include "queue/task.h"
#include "test/lib/tap.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 32

/* "name=value" strings, ended by NULL. */
static int parse(struct lh_task *task, const char *const *pairs, struct lh_err *err)
{
    struct lh_field fields[MAX_FIELDS];
    size_t n = 0;

    for (; pairs[n] != NULL; n++) {
        const char *equals = strchr(pairs[n], '=');

        fields[n].name = pairs[n];
        fields[n].name_len = (size_t)(equals - pairs[n]);
        fields[n].value = equals + 1;
        fields[n].value_len = strlen(equals + 1);
    }
    return lh_task_parse(task, fields, n, err);
}

static void least(void)
{
    static const char *const pairs[] = {"v=1", "source=/data/a b", "destination=lh://h:99/x%20y",
                                        NULL};
    struct lh_task task;
    struct lh_err err;

    if (!ok(parse(&task, pairs, &err) == 0, "three fields are a task"))
        return;
    is_str(task.source, "/data/a b", "source");
    is_str(task.destination, "lh://h:99/x%20y", "destination as it was written");
    is_str(task.url.host, "h", "its host");
    is_u64(task.url.port, 99, "its port");
    is_mem(task.url.path, "x y", 3, "its path");
    is_u64(task.retries, LH_TASK_RETRIES, "retries unless told");
    is_u64(task.streams + task.max_streams + task.limit_bps + task.block_bytes, 0,
           "the engine's defaults");
    is_u64(task.existing, LH_EXISTING_DIFFERENT, "what is the same stays");
    ok(!task.no_clobber && !task.insecure && !task.sparse && task.share == LH_SHARE_FULL,
       "no flags");
    lh_task_free(&task);
}

static void most(void)
{
    static const char *const pairs[] = {"source=s",
                                        "destination=lh://[::1]/",
                                        "retries=forever",
                                        "streams=3",
                                        "max-streams=64",
                                        "limit-rate=500M",
                                        "share=background",
                                        "block-size=1M",
                                        "existing=newer",
                                        "no-clobber=1",
                                        "insecure=1",
                                        "sparse=1",
                                        "task=A-z.0_9",
                                        "ours=something else",
                                        "=",
                                        "v=1",
                                        NULL};
    struct lh_task task;
    struct lh_err err;

    if (!ok(parse(&task, pairs, &err) == 0, "every field, and some that are not known"))
        return;
    ok(task.retries == LH_TASK_FOREVER, "for ever");
    is_u64(task.streams, 3, "streams");
    is_u64(task.max_streams, 64, "max-streams");
    is_u64(task.limit_bps, 500000000, "limit-rate");
    is_u64(task.block_bytes, 1048576, "block-size");
    is_u64(task.existing, LH_EXISTING_NEWER, "existing");
    ok(task.no_clobber && task.insecure && task.sparse && task.share == LH_SHARE_BACKGROUND,
       "flags");
    lh_task_free(&task);
}

static void tree(void)
{
    static const char *const pairs[] = {"v=1",
                                        "source=/data",
                                        "destination=lh://h/x",
                                        "filter=# remark\n*.o\n+ keep\n\n- a b/",
                                        "links=follow",
                                        "preserve=times,hardlinks",
                                        "numeric-ids=1",
                                        "devices=1",
                                        "checksum=1",
                                        "one-file-system=1",
                                        "stop-on-error=1",
                                        "delete=1",
                                        "max-delete=7",
                                        NULL};
    static const char *const slash[] = {"v=1", "source=/data/", "destination=lh://h/x", NULL};
    static const char *const plain[] = {"v=1", "source=/data", "destination=lh://h/x", NULL};
    static const char *const none[] = {"v=1", "source=/data", "destination=lh://h/x",
                                       "preserve=none", NULL};
    struct lh_task task;
    struct lh_err err;
    char text[LH_TASK_PRESERVE_SIZE];

    if (!ok(parse(&task, pairs, &err) == 0, "every field of a tree"))
        return;
    ok(task.tree, "it is one");
    is_u64(task.n_rules, 3, "three rules");
    ok(!task.rules[0].include && task.rules[1].include && !task.rules[2].include, "their kinds");
    is_str(task.rules[0].pattern, "*.o", "the first");
    is_str(task.rules[1].pattern, "keep", "the second");
    is_str(task.rules[2].pattern, "a b/", "the last, without an end of line");
    is_u64(task.links, LH_LINKS_FOLLOW, "links");
    is_u64(task.preserve, LH_PRESERVE_TIMES | LH_PRESERVE_HARDLINKS, "preserve");
    is_str(lh_task_preserve_text(text, task.preserve), "times,hardlinks", "and its words");
    ok(task.numeric_ids && task.devices && task.checksum && task.one_file_system &&
           task.stop_on_error && task.remove,
       "flags");
    is_u64(task.max_removed, 7, "max-delete");
    lh_task_free(&task);
    ok(parse(&task, slash, &err) == 0 && task.tree, "a slash behind the source makes a tree");
    is_u64(task.preserve, LH_PRESERVE_MODE | LH_PRESERVE_TIMES | LH_PRESERVE_OWNER,
           "what is kept unless told");
    ok(task.max_removed == UINT64_MAX && task.n_rules == 0, "no bound, no rules");
    lh_task_free(&task);
    ok(parse(&task, plain, &err) == 0 && !task.tree, "without one nobody knows yet");
    lh_task_free(&task);
    ok(parse(&task, none, &err) == 0 && task.preserve == 0, "preserve=none");
    is_str(lh_task_preserve_text(text, 0), "none", "and its word");
    lh_task_free(&task);
}

static void no_clobber(void)
{
    static const char *const pairs[] = {"v=1", "source=/data/", "destination=lh://h/x",
                                        "no-clobber=1", NULL};
    struct lh_task task;
    struct lh_err err;

    is_i64(parse(&task, pairs, &err), -LH_E_INVAL, "no-clobber and a tree");
    ok(strstr(err.text, "existing=skip") != NULL, "says what there is: %s", err.text);
}

static const struct {
    const char *pair;  /* beside the three that must be there, instead of one of its name */
    const char *words; /* in the sentence */
} malformed[] = {
    {"v=2", "'v' is '2'; it must be 1"},
    {"v=", "'v' is ''"},
    {"v=01", "'v' is '01'"},
    {"source=", "'source' is empty"},
    {"destination=", "'destination' is empty"},
    {"destination=http://h/x", "'destination': the destination must be lh://"},
    {"destination=lh://h", "'destination': the path is missing"},
    {"destination=lh://h:0/x", "'destination': the port"},
    {"task=", "'task' is ''"},
    {"task=a/b", "'task' is 'a/b'; it must be 1 to 64 letters"},
    {"task=1234567890123456789012345678901234567890123456789012345678901234x", "'task'"},
    {"retries=-1", "'retries' is '-1'"},
    {"retries=1.5", "'retries'"},
    {"retries=Forever", "'retries'"},
    {"retries=1000001", "'retries'"},
    {"retries=99999999999999999999", "'retries'"},
    {"streams=0", "'streams' is '0'; it must be a number from 1 to 64"},
    {"streams=129", "'streams'"},
    {"streams=4 ", "'streams'"},
    {"max-streams=0", "'max-streams'"},
    {"limit-rate=fast", "'limit-rate' is 'fast'"},
    {"limit-rate=1k", "'limit-rate' is '1k'; it must be a rate from 64k"},
    {"limit-rate=101T", "'limit-rate'"},
    {"limit-rate=", "'limit-rate'"},
    {"share=all", "'share' is 'all'; it must be full or background"},
    {"block-size=100K", "'block-size' is '100K'; it must be a power of two"},
    {"block-size=32K", "'block-size'"},
    {"block-size=2M", "'block-size'"},
    {"existing=keep", "'existing' is 'keep'; it must be different, skip, replace or newer"},
    {"existing=", "'existing' is ''"},
    {"existing=skipped", "'existing'"},
    {"no-clobber=yes", "'no-clobber' is 'yes'; it must be 0 or 1"},
    {"sparse=2", "'sparse' is '2'; it must be 0 or 1"},
    {"insecure=", "'insecure' is ''"},
    {"filter=", "'filter' is empty"},
    {"links=copy", "'links' is 'copy'; it must be keep, follow or skip"},
    {"preserve=", "'preserve' is ''"},
    {"preserve=mode,", "'preserve' is 'mode,'; it must be none, or some of mode,times"},
    {"preserve=mode,devices", "'preserve'"},
    {"devices=yes", "'devices'"},
    {"delete=true", "'delete' is 'true'; it must be 0 or 1"},
    {"max-delete=-1", "'max-delete' is '-1'; it must be a number"},
    {"insecure=\x1b[31m", "'insecure' is '\\x1b[31m'"},
};

static void refuses(void)
{
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        const char *pairs[5] = {"v=1", "source=s", "destination=lh://h/x", malformed[i].pair, NULL};
        struct lh_task task;
        struct lh_err err = {.text = ""};
        size_t name = strcspn(malformed[i].pair, "=") + 1;
        int ret;

        for (size_t j = 0; j < 3; j++) {
            if (strncmp(pairs[j], malformed[i].pair, name) == 0) {
                pairs[j] = malformed[i].pair;
                pairs[3] = NULL;
            }
        }
        ret = parse(&task, pairs, &err);
        ok(ret == -LH_E_INVAL && strstr(err.text, malformed[i].words) != NULL, "%s: %s",
           malformed[i].pair, err.text);
    }
}

static void missing(void)
{
    static const char *const all[] = {"v=1", "source=s", "destination=lh://h/x", "source=t"};
    struct lh_task task;
    struct lh_err err;

    for (size_t i = 0; i < 3; i++) {
        const char *pairs[3];
        size_t n = 0;

        for (size_t j = 0; j < 3; j++) {
            if (j != i)
                pairs[n++] = all[j];
        }
        pairs[n] = NULL;
        ok(parse(&task, pairs, &err) == -LH_E_INVAL && strstr(err.text, "is missing") != NULL,
           "without %s: %s", all[i], err.text);
    }
    {
        const char *const pairs[] = {all[0], all[1], all[2], all[3], NULL};

        ok(parse(&task, pairs, &err) == -LH_E_INVAL && strstr(err.text, "twice") != NULL, "%s",
           err.text);
    }
    ok(lh_task_parse(&task, NULL, 0, &err) == -LH_E_INVAL, "no fields at all: %s", err.text);
}

static void bounds(void)
{
    struct lh_field f[] = {{"v", 1, "1", 1}, {"source", 6, NULL, 0}, {"destination", 11, NULL, 0}};
    static char long_text[LH_TASK_DESTINATION_MAX + 2];
    struct lh_task task;
    struct lh_err err;

    memset(long_text, 'a', sizeof(long_text));
    memcpy(long_text, "lh://h/", 7);
    f[1].value = long_text;
    f[1].value_len = LH_TASK_SOURCE_MAX;
    f[2].value = "lh://h/";
    f[2].value_len = 7;
    if (ok(lh_task_parse(&task, f, 3, &err) == 0, "the longest source"))
        lh_task_free(&task);
    f[1].value_len++;
    ok(lh_task_parse(&task, f, 3, &err) == -LH_E_INVAL, "one byte more: %s", err.text);
    f[1].value = "a\0b";
    f[1].value_len = 3;
    ok(lh_task_parse(&task, f, 3, &err) == -LH_E_INVAL, "a NUL inside: %s", err.text);
    f[1].value_len = 1;
    f[2].value = long_text;
    f[2].value_len = 7 + LH_URL_PATH_MAX;
    if (ok(lh_task_parse(&task, f, 3, &err) == 0, "the longest path"))
        lh_task_free(&task);
    f[2].value_len++;
    ok(lh_task_parse(&task, f, 3, &err) == -LH_E_INVAL, "one byte more: %.60s", err.text);
    f[2].value_len = LH_TASK_DESTINATION_MAX + 1;
    ok(lh_task_parse(&task, f, 3, &err) == -LH_E_INVAL, "beyond any: %.60s", err.text);
}

static void names(void)
{
    for (int i = 0; i < LH_N_TASK_STATES; i++) {
        const char *name = lh_task_state_name((enum lh_task_state)i);

        is_i64(lh_task_state_parse(name, strlen(name)), i, "state %s", name);
    }
    for (int i = 0; i < LH_N_PRIORITIES; i++) {
        const char *name = lh_priority_name((enum lh_priority)i);

        is_i64(lh_priority_parse(name, strlen(name)), i, "priority %s", name);
    }
    is_i64(lh_task_state_parse("queue", 5), -1, "a state that there is not");
    is_i64(lh_priority_parse("", 0), -1, "a priority that there is not");
    is_str(lh_task_outcome_name(LH_OUTCOME_DEFERRED), "deferred", "an outcome");
}

int main(void)
{
    least();
    most();
    tree();
    no_clobber();
    refuses();
    missing();
    bounds();
    names();
    return done_testing();
}
