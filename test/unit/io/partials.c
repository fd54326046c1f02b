/* Left-overs: found, told, removed; never one that is held. */
#include "io/disk/partials.h"

#include "io/disk/staging.h"
#include "scratch.h"
#include "test/lib/sysfault.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <longhaul/longhaul.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lh_place *root;
static struct lh_err err;

struct seen {
    size_t n;
    char paths[16][400];
    struct lh_partial what[16];
    bool remove;
};

static int see(void *arg, const struct lh_partial *partial)
{
    struct seen *s = arg;

    if (s->n < 16) {
        snprintf(s->paths[s->n], sizeof(s->paths[0]), "%s", partial->path);
        s->what[s->n] = *partial;
    }
    s->n++;
    return s->remove;
}

static const struct lh_partial *find(const struct seen *s, const char *path)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->paths[i], path) == 0)
            return &s->what[i];
    }
    return NULL;
}

static uint64_t list(struct seen *s, bool rm)
{
    uint64_t n_removed = 99;
    char text[512] = "?";

    memset(s, 0, sizeof(*s));
    s->remove = rm;
    is_i64(lh_partials_each(scratch_dir(), see, s, &n_removed, text, sizeof(text)), 0, "listed");
    is_str(text, "", "nothing to say");
    return n_removed;
}

/* n blocks durable; done: finished. Returns the open sink. */
static struct lh_sink *make(const char *path, uint64_t n, bool done)
{
    struct scratch_source src;
    struct lh_sink_opened opened;
    struct lh_sink *sink;

    scratch_source_init(&src, root, path, 3 * SCRATCH_BLOCK + 9, 1);
    if (lh_sink_open(&src.how, &sink, &opened, &err) != 0)
        bail("%s", err.text);
    for (uint64_t b = 0; b < n; b++)
        scratch_send(sink, &src, opened.epoch, src.n_blocks - 1 - b, &err);
    scratch_commit(sink, NULL, &err);
    if (done && scratch_complete(sink, &src, opened.epoch, &err) != 0)
        bail("%s", err.text);
    scratch_source_free(&src);
    return sink;
}

static void age(const char *path, time_t seconds)
{
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};

    if (utimensat(AT_FDCWD, scratch_path(path), times, 0) != 0)
        bail("cannot age %s", path);
}

/* One of every kind. Returns the one that is held. */
static struct lh_sink *one_of_each(void)
{
    struct lh_hidden h;
    char name[128];

    scratch_clear();
    lh_sink_close(make("some", 2, false));
    lh_sink_close(make("deep/er/none", 0, false));
    lh_sink_close(make("finished", 0, true));
    lh_sink_close(make("broken", 1, false));
    lh_hidden_of("broken", &h);
    scratch_write(h.journal, "xx", 2);
    lh_sink_close(make("dir/orphan", 1, false));
    lh_hidden_of("orphan", &h);
    snprintf(name, sizeof(name), "dir/%s", h.journal);
    unlink(scratch_path(name));
    scratch_write("plain", "x", 1);
    scratch_write(".longhaul-notes", "x", 1);
    if (symlink("deep", scratch_path("link")) != 0 || symlink(".", scratch_path("self")) != 0)
        bail("cannot make links");
    return make("held", 3, false);
}

static void test_list(void)
{
    struct lh_sink *held = one_of_each();
    const struct lh_partial *p;
    struct lh_hidden h;
    struct seen s;
    char name[128];

    is_u64(list(&s, false), 0, "none removed");
    is_u64(s.n, 6, "each once, links not followed");
    p = find(&s, "some");
    ok(p != NULL && p->bytes_total == 3 * SCRATCH_BLOCK + 9 &&
           p->bytes_durable == SCRATCH_BLOCK + 9 && !p->held && !p->done && !p->damaged,
       "a partial, its short block counted as it is");
    ok(p != NULL && p->touched_s > time(NULL) - 60 && p->touched_s <= time(NULL), "touched");
    p = find(&s, "deep/er/none");
    ok(p != NULL && p->bytes_durable == 0 && !p->damaged, "one in a directory");
    p = find(&s, "finished");
    ok(p != NULL && p->done && p->bytes_durable == p->bytes_total, "a done record");
    p = find(&s, "held");
    ok(p != NULL && p->held && !p->done, "one that is held");
    lh_hidden_of("broken", &h);
    p = find(&s, h.journal);
    ok(p != NULL && p->damaged && !p->done, "a damaged journal");
    lh_hidden_of("orphan", &h);
    snprintf(name, sizeof(name), "dir/%s", h.part);
    p = find(&s, name);
    ok(p != NULL && p->damaged && p->bytes_total == 3 * SCRATCH_BLOCK + 9,
       "a staging file without journal");
    lh_sink_close(held);
}

static void test_remove(void)
{
    struct lh_sink *held = one_of_each();
    struct lh_hidden h;
    struct seen s;

    is_u64(list(&s, true), 5, "all but the one that is held are removed");
    is_u64(list(&s, false), 0, "then");
    ok(s.n == 1 && find(&s, "held") != NULL, "it alone is left");
    lh_hidden_of("held", &h);
    ok(scratch_exists(h.part) && scratch_exists(h.journal), "with both its files");
    lh_hidden_of("some", &h);
    ok(!scratch_exists(h.part) && !scratch_exists(h.journal), "the others' are gone");
    lh_hidden_of("broken", &h);
    ok(!scratch_exists(h.part) && !scratch_exists(h.journal), "the damaged one's too");
    ok(scratch_exists("finished") && scratch_exists("plain") && scratch_exists(".longhaul-notes"),
       "targets and strangers' files are not touched");
    is_u64(scratch_count(true), 3, "nothing else hidden is left");
    lh_sink_close(held);
    is_u64(list(&s, true), 1, "when it is let go it can be removed");
}

static void test_expire(void)
{
    struct lh_sink *held = one_of_each();
    struct lh_hidden h;
    struct seen s;
    uint64_t n = 99;

    is_i64(lh_partials_expire(scratch_dir(), 3600000, &n, &err), 0, "expire");
    is_u64(n, 0, "nothing is old enough");
    lh_hidden_of("some", &h);
    age(h.journal, 7200);
    lh_hidden_of("finished", &h);
    age(h.journal, 7200);
    lh_hidden_of("held", &h);
    age(h.journal, 7200);
    lh_partials_expire(scratch_dir(), 3600000, &n, &err);
    is_u64(n, 2, "two are, and are not held");
    list(&s, false);
    ok(s.n == 4 && find(&s, "held") != NULL && find(&s, "some") == NULL &&
           find(&s, "finished") == NULL,
       "those are gone");
    lh_sink_close(held);
    is_i64(lh_partials_expire(scratch_path("absent"), 1, &n, &err), -LH_E_DEST, "no such root");
    ok(strstr(err.text, "absent") != NULL, "%s", err.text);
}

/* Somebody goes on with it between the look and the lock. */
static void touch_it(enum lh_sys call, int fd)
{
    struct lh_hidden h;

    if (call != LH_SYS_LOCK)
        return;
    lh_sysfault_watch_with(NULL, NULL);
    lh_hidden_of("some", &h);
    age(h.journal, 1);
}

static void test_race(void)
{
    struct lh_hidden h;
    uint64_t n = 99;

    scratch_clear();
    lh_sink_close(make("some", 2, false));
    lh_hidden_of("some", &h);
    age(h.journal, 7200);
    lh_sysfault_watch_with(touch_it, NULL);
    lh_partials_expire(scratch_dir(), 3600000, &n, &err);
    lh_sysfault_watch_with(NULL, NULL);
    ok(n == 0 && scratch_exists(h.part), "one that was touched meanwhile is left alone");
}

static void test_faults(void)
{
    bool met = true;
    bool fine = true;
    unsigned n;

    for (n = 0; met && n < 500; n++) {
        struct lh_sink *held = one_of_each();
        struct seen s = {.remove = true};
        uint64_t n_removed;
        int r;

        lh_sysfault_arm(LH_SYS_ALL, n, EIO);
        r = lh_partials_each(scratch_dir(), see, &s, &n_removed, NULL, 0);
        met = lh_sysfault_disarm();
        fine = fine && r == 0 && scratch_exists("finished");
        memset(&s, 0, sizeof(s));
        s.remove = true;
        lh_partials_each(scratch_dir(), see, &s, &n_removed, NULL, 0);
        memset(&s, 0, sizeof(s));
        lh_partials_each(scratch_dir(), see, &s, &n_removed, NULL, 0);
        fine = fine && s.n == 1 && find(&s, "held") != NULL;
        lh_sink_close(held);
    }
    ok(fine && !met && n > 20, "each of %u calls has failed once, and the next run clears up",
       n - 1);
}

int main(void)
{
    if (lh_place_open(scratch_dir(), &root, &err) != 0)
        bail("%s", err.text);
    test_list();
    test_remove();
    test_expire();
    test_race();
    test_faults();
    lh_place_close(root);
    return done_testing();
}
