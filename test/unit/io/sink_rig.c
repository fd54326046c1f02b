/* See sink_rig.h. */
#include "sink_rig.h"

#include "test/lib/tap.h"

#include <string.h>
#include <sys/stat.h>

struct lh_place *root;
struct lh_hidden hidden;
struct lh_sink_opened opened;
struct lh_err err;

void rig_start(void)
{
    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    lh_hidden_of("t", &hidden);
}

void rig_end(void)
{
    lh_place_close(root);
}

struct lh_sink *rig_open(const struct scratch_source *src)
{
    struct lh_sink *sink = NULL;

    memset(&err, 0, sizeof(err));
    memset(&opened, 0, sizeof(opened));
    return lh_sink_open(&src->how, &sink, &opened, &err) == 0 ? sink : NULL;
}

void rig_send(struct lh_sink *sink, const struct scratch_source *src, uint64_t first, uint64_t end)
{
    for (uint64_t b = first; b < end; b++) {
        if (scratch_send(sink, src, opened.epoch, b, &err) != LH_CLAIM_OK)
            bail("block %llu: %s", (unsigned long long)b, err.text);
    }
}

void rig_begin(const struct scratch_source *src, uint64_t n)
{
    struct lh_sink *sink;

    scratch_clear();
    sink = rig_open(src);
    if (sink == NULL)
        bail("%s", err.text);
    rig_send(sink, src, 0, n);
    if (scratch_commit(sink, NULL, &err) != 0)
        bail("%s", err.text);
    lh_sink_fence(sink);
    lh_sink_close(sink);
}

void rig_resumes(const struct scratch_source *src, uint64_t n, const char *what)
{
    struct lh_sink *sink = rig_open(src);
    struct lh_runs durable;
    struct stat before, after;

    if (!ok(sink != NULL, "%s: opens%s%s", what, err.text[0] ? ": " : "", err.text))
        return;
    lh_runs_init(&durable, LH_RUNS_MAX);
    lh_sink_durable(sink, &durable);
    is_u64(durable.blocks, n, "  %llu blocks are durable", (unsigned long long)n);
    ok(opened.resumed == (n > 0), "  resumed is said rightly");
    is_i64(scratch_complete(sink, src, opened.epoch, &err), 0, "  completes%s", err.text);
    stat(scratch_dir(), &before);
    lh_sink_forget(sink);
    stat(scratch_dir(), &after);
    ok(memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)) == 0,
       "  and forgets without a trace in the directory's mtime");
    lh_sink_close(sink);
    lh_runs_free(&durable);
    ok(scratch_same("t", src), "  the contents are the source's");
    is_u64(scratch_count(true), 0, "  nothing hidden is left");
}
