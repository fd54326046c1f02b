#include "test/loop/rig.h"

#include "test/lib/rng.h"
#include "test/lib/tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GUARD_MS 60000
#define LINGER_MS 60000 /* for the kernel to forget a thread that was joined */

static _Thread_local bool
    in_call; /* a function of the library is on the stack: no callback may come */

/* ---- the process ---- */

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned n = 0;

    if (dir == NULL)
        bail("%s: %s", path, strerror(errno));
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

unsigned rig_threads(void)
{
    return count_entries("/proc/self/task");
}

unsigned rig_fds(void)
{
    return count_entries("/proc/self/fd");
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    uv_freeaddrinfo(list);
}

/* libuv's pool and its signal pipe come with first use and stay: that is libuv's way. */
static void warm_up(void)
{
    static bool warm;
    uv_getaddrinfo_t request;
    uv_loop_t loop;

    if (warm)
        return;
    warm = true;
    uv_loop_init(&loop);
    uv_getaddrinfo(&loop, &request, on_resolved, "127.0.0.1", "1", NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

/* ---- files ---- */

static const char *join(const char *dir, const char *name)
{
    static char paths[8][512];
    static unsigned at;
    char *path = paths[at++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

const char *rig_source(struct rig *rig, const char *name)
{
    return join(rig->dir, name);
}

const char *rig_target(struct rig *rig, const char *name)
{
    return join(rig->root, name);
}

void rig_make(struct rig *rig, const char *name, uint64_t size, uint64_t seed)
{
    FILE *f = fopen(rig_source(rig, name), "w");
    struct lh_rng rng = {seed};
    uint64_t buf[512];

    if (f == NULL)
        bail("%s: %s", name, strerror(errno));
    while (size > 0) {
        size_t n = size < sizeof(buf) ? (size_t)size : sizeof(buf);

        for (size_t i = 0; i < sizeof(buf) / sizeof(buf[0]); i++)
            buf[i] = lh_rng_next(&rng);
        if (fwrite(buf, 1, n, f) != n)
            bail("%s: %s", name, strerror(errno));
        size -= n;
    }
    if (fclose(f) != 0)
        bail("%s: %s", name, strerror(errno));
}

bool rig_same(struct rig *rig, const char *source, const char *target)
{
    FILE *a = fopen(rig_source(rig, source), "r");
    FILE *b = fopen(rig_target(rig, target), "r");
    bool same = a != NULL && b != NULL;
    char x[16384], y[16384];

    while (same) {
        size_t n = fread(x, 1, sizeof(x), a);
        size_t m = fread(y, 1, sizeof(y), b);

        same = n == m && memcmp(x, y, n) == 0;
        if (n == 0)
            break;
    }
    if (a != NULL)
        fclose(a);
    if (b != NULL)
        fclose(b);
    return same;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

/* ---- the loop ---- */

static void on_guard(uv_timer_t *timer)
{
    bail("nothing came of it in %d s", GUARD_MS / 1000);
}

static void on_pause_over(uv_timer_t *timer)
{
    bool *over = timer->data;

    *over = true;
}

void rig_until(struct rig *rig, const unsigned *count, unsigned n)
{
    uv_timer_t guard;

    uv_timer_init(&rig->loop, &guard);
    uv_timer_start(&guard, on_guard, GUARD_MS, 0);
    while (*count < n)
        uv_run(&rig->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
}

void rig_for(struct rig *rig, uint64_t ms)
{
    uv_timer_t timer;
    bool over = false;

    uv_update_time(&rig->loop);
    uv_timer_init(&rig->loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_pause_over, ms, 0);
    while (!over)
        uv_run(&rig->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
}

void rig_drain(struct rig *rig)
{
    uv_timer_t guard;

    uv_update_time(&rig->loop);
    uv_timer_init(&rig->loop, &guard);
    uv_timer_start(&guard, on_guard, GUARD_MS, 0);
    uv_unref((uv_handle_t *)&guard);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
}

void rig_open(struct rig *rig)
{
    const char *tmp = getenv("TMPDIR");

    warm_up();
    memset(rig, 0, sizeof(*rig));
    snprintf(rig->dir, sizeof(rig->dir), "%s/longhaul-loop.XXXXXX",
             tmp != NULL && strlen(tmp) < 32 ? tmp : "/tmp");
    if (mkdtemp(rig->dir) == NULL)
        bail("mkdtemp: %s", strerror(errno));
    snprintf(rig->root, sizeof(rig->root), "%s/root", rig->dir);
    mkdir(rig->root, 0700);
    rig->threads = rig_threads();
    rig->fds = rig_fds();
    uv_loop_init(&rig->loop);
}

void rig_close(struct rig *rig, const char *what)
{
    struct timespec ms = {.tv_nsec = 1000000};

    rig_drain(rig);
    is_i64(uv_loop_close(&rig->loop), 0, "%s: every handle is closed", what);
    for (int i = 0; i < LINGER_MS && rig_threads() > rig->threads; i++)
        nanosleep(&ms, NULL);
    is_u64(rig_threads(), rig->threads, "%s: no thread is left", what);
    is_u64(rig_fds(), rig->fds, "%s: no descriptor is left", what);
    is_u64(rig->n_violations, 0, "%s: the callbacks kept their contract", what);
    nftw(rig->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- callbacks ---- */

static void must(struct rig *rig, bool kept, const char *what)
{
    if (kept)
        return;
    rig->n_violations++;
    diag("contract: %s", what);
}

static void called(struct sending *s)
{
    uv_thread_t self = uv_thread_self();

    must(s->rig, !in_call, "a callback from inside a call");
    must(s->rig, s->n_done == 0, "a callback after done");
    must(s->rig, uv_thread_equal(&self, &s->thread), "a callback on another thread");
}

static void cancel_if(struct sending *s, bool now)
{
    if (now) {
        in_call = true;
        lh_send_cancel(s->send);
        in_call = false;
    }
}

static void on_start(void *arg, const struct lh_send_stats *stats)
{
    struct sending *s = arg;

    called(s);
    must(s->rig, s->n_delivered == 0, "start after delivered");
    must(s->rig, stats->transfer[0] != '\0', "start without the transfer's id");
    s->n_start++;
    s->stats = *stats;
    cancel_if(s, s->cancel == IN_START);
}

/* What is durable is told twice, as a number and as ranges. While there is no connection the ranges
 * may know more. */
static void check_ranges(struct sending *s, const struct lh_send_stats *stats)
{
    struct lh_range v[256];
    uint64_t behind = 0, sum = 0;

    for (int which = LH_RANGES_DURABLE; which <= LH_RANGES_IN_FLIGHT; which++) {
        size_t n = lh_send_ranges(s->send, (enum lh_ranges)which, NULL, 0);

        must(s->rig, n <= 256 && lh_send_ranges(s->send, (enum lh_ranges)which, v, 256) == n,
             "ranges are counted as they are filled in");
        behind = 0;
        for (size_t i = 0; i < n && i < 256; i++) {
            must(s->rig, v[i].length > 0 && (i == 0 || v[i].offset > behind),
                 "ranges rise and do not touch");
            behind = v[i].offset + v[i].length;
            if (which == LH_RANGES_DURABLE)
                sum += v[i].length;
        }
        must(s->rig, behind <= stats->bytes_total, "no range reaches beyond the file");
    }
    must(s->rig, sum >= stats->bytes_durable && sum <= stats->bytes_total,
         "as many bytes in ranges as are durable");
}

static void on_progress(void *arg, const struct lh_send_stats *stats)
{
    struct sending *s = arg;

    called(s);
    must(s->rig, s->n_start > 0, "progress before start");
    must(s->rig, stats->bytes_durable <= stats->bytes_total, "more durable than there is");
    check_ranges(s, stats);
    s->n_progress++;
    s->stats = *stats;
    cancel_if(s, s->cancel == IN_PROGRESS || (s->cancel == AT_DURABLE && stats->bytes_durable > 0));
}

static void on_delivered(void *arg, const struct lh_send_stats *stats)
{
    struct sending *s = arg;

    called(s);
    must(s->rig, s->n_start > 0, "delivered before start");
    must(s->rig, s->n_delivered == 0, "delivered twice");
    must(s->rig, stats->bytes_durable == stats->bytes_total, "delivered, but not all durable");
    must(s->rig, (stats->digest[0] == '\0') == stats->kept,
         "delivered without a digest, or with one of what was there");
    check_ranges(s, stats);
    s->n_delivered++;
    cancel_if(s, s->cancel == IN_DELIVERED);
    if (s->when_there != NULL)
        s->when_there(s);
}

static void on_done(void *arg, int status, const char *text, const struct lh_send_stats *stats)
{
    struct sending *s = arg;

    called(s);
    must(s->rig, (status == 0) == (s->n_delivered == 1), "delivered goes with status 0");
    must(s->rig, (status == 0) == (text[0] == '\0'), "a text goes with an error");
    must(s->rig, status <= 0 && status > -LH_E_MAX, "a status that is none");
    s->n_done++;
    s->status = status;
    snprintf(s->text, sizeof(s->text), "%s", text);
    s->stats = *stats;
    if (s->then != NULL)
        s->then(s);
}

static void on_received(void *arg, const char *path, uint64_t bytes, const char *digest)
{
    struct receiving *r = arg;

    must(r->rig, !in_call && r->n_closed == 0, "received from inside a call or after closed");
    must(r->rig, strncmp(digest, "xxh3-128/", 9) == 0 || strstr(digest, " files") != NULL,
         "received with a digest, or a tree");
    r->n_received++;
    if (r->close_in_received) {
        in_call = true;
        lh_serve_close(r->serve);
        in_call = false;
    }
}

static void on_closed(void *arg)
{
    struct receiving *r = arg;
    uv_thread_t self = uv_thread_self();

    must(r->rig, !in_call && r->n_closed == 0, "closed from inside a call or twice");
    must(r->rig, uv_thread_equal(&self, &r->thread), "closed on another thread");
    r->n_closed++;
}

/* ---- calls ---- */

void rig_serve_options(struct rig *rig, struct lh_serve_options *opts)
{
    lh_serve_options_init(opts);
    opts->root = rig->root;
    opts->listen = "127.0.0.1:0";
    opts->loops = 2;
    opts->commit_ms = 50;
}

int rig_serve_with(struct rig *rig, struct receiving *r, const struct lh_serve_options *opts)
{
    struct lh_serve_callbacks cbs = {.received = on_received, .closed = on_closed, .arg = r};
    char text[512];
    int status;

    memset(r, 0, sizeof(*r));
    r->rig = rig;
    r->thread = uv_thread_self();
    in_call = true;
    status = lh_serve_start(&rig->loop, opts, &cbs, &r->serve, text, sizeof(text));
    in_call = false;
    if (status == 0)
        r->port = lh_serve_port(r->serve);
    else
        diag("serve: %s", text);
    return status;
}

int rig_serve(struct rig *rig, struct receiving *r, uint16_t port)
{
    struct lh_serve_options opts;
    char listen[32];

    rig_serve_options(rig, &opts);
    snprintf(listen, sizeof(listen), "127.0.0.1:%u", port);
    opts.listen = listen;
    return rig_serve_with(rig, r, &opts);
}

void rig_serve_stop(struct receiving *r)
{
    in_call = true;
    lh_serve_close(r->serve);
    in_call = false;
    rig_until(r->rig, &r->n_closed, 1);
}

void rig_send_options(struct lh_send_options *opts, const char *source, uint16_t port,
                      const char *target)
{
    lh_send_options_init(opts);
    opts->source = source;
    opts->host = "127.0.0.1";
    opts->port = port;
    opts->path = target;
    opts->path_len = strlen(target);
    opts->streams = 4;
    opts->loops = 2;
    opts->block_bytes = BLOCK;
    opts->congestion = "cubic"; /* what every host has */
    opts->stagger_ms = 2;
    opts->progress_ms = 1;
    opts->existing = LH_EXISTING_REPLACE; /* many send the same thing twice, and mean it */
}

int rig_send_with(struct rig *rig, struct sending *s, const struct lh_send_options *opts)
{
    struct lh_send_callbacks cbs = {.start = on_start,
                                    .progress = on_progress,
                                    .delivered = on_delivered,
                                    .done = on_done,
                                    .arg = s};
    enum moment cancel = s->cancel;
    int status;

    memset(s, 0, sizeof(*s));
    s->cancel = cancel;
    s->rig = rig;
    s->thread = uv_thread_self();
    in_call = true;
    status = lh_send_start(&rig->loop, opts, &cbs, &s->send);
    in_call = false;
    return status;
}

int rig_send(struct rig *rig, struct sending *s, uint16_t port, const char *name)
{
    struct lh_send_options opts;

    rig_send_options(&opts, rig_source(rig, name), port, name);
    return rig_send_with(rig, s, &opts);
}
