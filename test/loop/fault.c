/* Starting fails for want of memory, threads or descriptors: at each place once, and every time
 * it is an error without a callback, or a done with an error, and nothing is left behind.
 *
 * What libuv allocates is in it, except what it grows with realloc: there it aborts by itself. */
#include "test/lib/fault.h"
#include "test/lib/tap.h"
#include "test/loop/rig.h"

#include <errno.h>
#include <longhaul/tree.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TRIES_MAX 200

/* ---- what can fail ---- */

void *__real_realloc(void *p, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
char *__wrap_strdup(const char *s);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);

char *__wrap_strdup(const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = malloc(size);

    return copy != NULL ? memcpy(copy, s, size) : NULL;
}

static bool threads_fail;
static bool thread_failed;
static unsigned threads_left;

/* Only the thread that runs the test starts threads. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    if (threads_fail && threads_left-- == 0) {
        threads_fail = false;
        thread_failed = true;
        return EAGAIN;
    }
    return __real_pthread_create(thread, attr, run, arg);
}

struct fault {
    const char *name;
    void (*arm)(unsigned n);
    bool (*disarm)(void); /* whether it was met, or may have been */
};

static void arm_thread(unsigned n)
{
    threads_fail = true;
    thread_failed = false;
    threads_left = n;
}

static bool disarm_thread(void)
{
    threads_fail = false;
    return thread_failed;
}

static struct rlimit fd_limit;
static unsigned fds_allowed;

/* n more descriptors may be opened. */
static void arm_fd(unsigned n)
{
    struct rlimit tight;
    int next = dup(0); /* the lowest free one */

    close(next);
    getrlimit(RLIMIT_NOFILE, &fd_limit);
    tight = fd_limit;
    tight.rlim_cur = (rlim_t)next + n;
    fds_allowed = n;
    setrlimit(RLIMIT_NOFILE, &tight);
}

/* The limit cannot tell: it is over when many are allowed. */
static bool disarm_fd(void)
{
    setrlimit(RLIMIT_NOFILE, &fd_limit);
    return fds_allowed < 40;
}

static const struct fault faults[] = {
    {"memory", lh_fault_arm, lh_fault_disarm},
    {"threads", arm_thread, disarm_thread},
    {"descriptors", arm_fd, disarm_fd},
};

/* ---- through each start ---- */

struct tally {
    unsigned n_refused; /* start returned an error */
    unsigned n_failed;  /* done came with an error */
    unsigned n_bad;     /* another status than the fault's, or something was left behind */
};

/* uv_loop_init forgets its epoll descriptor when a later step fails (seen in libuv 1.44). Of ours
 * only one loop is alive here; pipes and eventfds of a loop that we forgot would still be seen. */
static void close_what_libuv_forgot(struct rig *rig)
{
    for (int fd = 3; fd < 256; fd++) {
        char path[64], what[64] = "";

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (readlink(path, what, sizeof(what) - 1) > 0 &&
            strcmp(what, "anon_inode:[eventpoll]") == 0 && fd != uv_backend_fd(&rig->loop))
            close(fd);
    }
}

/* Nothing may be left: the loop runs dry, threads and descriptors are what they were. */
static bool left_over(struct rig *rig, unsigned fds)
{
    rig_drain(rig);
    for (int i = 0; i < 60000 && rig_threads() > rig->threads; i++)
        usleep(1000);
    close_what_libuv_forgot(rig);
    if (rig_threads() == rig->threads && rig_fds() == fds && !uv_loop_alive(&rig->loop))
        return false;
    diag("threads %u of %u, descriptors %u of %u", rig_threads(), rig->threads, rig_fds(), fds);
    return true;
}

static bool status_fits(int status)
{
    return status == -LH_E_NOMEM || status == -LH_E_DEST || status == -LH_E_LISTEN ||
           status == -LH_E_ADDRESS || status == -LH_E_SOURCE;
}

static void through_serve(struct rig *rig, const struct fault *fault)
{
    struct lh_serve_callbacks cbs = {0};
    struct lh_serve_options opts;
    struct tally tally = {0};
    unsigned fds = rig_fds();
    unsigned n = 0;
    bool met = true;
    int status = 0;

    rig_serve_options(rig, &opts);
    opts.listen = ":0";
    for (; n < TRIES_MAX && met; n++) {
        struct lh_serve *serve = NULL;
        char text[512] = "";

        fault->arm(n);
        status = lh_serve_start(&rig->loop, &opts, &cbs, &serve, text, sizeof(text));
        met = fault->disarm();
        if (status == 0) {
            lh_serve_close(serve);
        } else {
            tally.n_refused++;
            tally.n_bad += serve != NULL || text[0] == '\0' || !status_fits(status);
        }
        tally.n_bad += left_over(rig, fds);
    }
    is_i64(status, 0, "%s: a receiver starts when there is enough", fault->name);
    ok(!met && tally.n_refused > 2, "%s: a receiver was refused %u times in %u tries", fault->name,
       tally.n_refused, n);
    is_u64(tally.n_bad, 0, "%s: each time with a fitting status, and nothing left", fault->name);
}

static void through_engine(struct rig *rig, const struct fault *fault, unsigned fds)
{
    struct lh_engine_options opts;
    struct tally tally = {0};
    unsigned n = 0;
    bool met = true;
    int status = 0;

    lh_engine_options_init(&opts);
    opts.loops = 2;
    for (; n < TRIES_MAX && met; n++) {
        struct lh_engine *engine = NULL;

        fault->arm(n);
        status = lh_engine_start(&rig->loop, &opts, &engine);
        met = fault->disarm();
        if (status == 0) {
            lh_engine_close(engine, NULL, NULL);
        } else {
            tally.n_refused++;
            tally.n_bad += engine != NULL || status != -LH_E_NOMEM;
        }
        tally.n_bad += left_over(rig, fds);
    }
    is_i64(status, 0, "%s: an engine starts when there is enough", fault->name);
    ok(!met && tally.n_refused > 2, "%s: an engine was refused %u times in %u tries", fault->name,
       tally.n_refused, n);
    is_u64(tally.n_bad, 0, "%s: each time with a fitting status, and nothing left", fault->name);
}

static void through_send(struct rig *rig, const struct fault *fault, uint16_t port, unsigned fds)
{
    struct lh_send_options opts;
    struct tally tally = {0};
    unsigned n = 0;
    bool met = true;
    int status = 0;

    rig_send_options(&opts, rig_source(rig, "f"), port, "f");
    for (; n < TRIES_MAX && met; n++) {
        struct sending s = {0};

        fault->arm(n);
        status = rig_send_with(rig, &s, &opts);
        met = fault->disarm();
        if (status == 0) {
            rig_until(rig, &s.n_done, 1);
            status = s.status;
            tally.n_failed += status != 0;
            tally.n_bad += status != 0 && status != -LH_E_CONNECT && !status_fits(status);
        } else {
            tally.n_refused++;
            tally.n_bad += s.send != NULL || !status_fits(status);
        }
        tally.n_bad += left_over(rig, fds);
    }
    is_i64(status, -LH_E_CONNECT, "%s: a send starts when there is enough", fault->name);
    ok(!met && tally.n_refused > 2, "%s: a send was refused %u times in %u tries", fault->name,
       tally.n_refused, n);
    is_u64(tally.n_bad, 0, "%s: each time with a fitting status, and nothing left", fault->name);
}

static unsigned n_done;
static int done_status;

static void on_tree_done(void *arg, int status, const char *text, const struct lh_tree_stats *stats)
{
    n_done++;
    done_status = status;
}

static void through_tree(struct rig *rig, const struct fault *fault, uint16_t port, unsigned fds)
{
    static const struct lh_tree_rule rule = {.pattern = "*.o"};
    const char *source = rig_source(rig, "f");
    struct lh_tree_callbacks cbs = {.done = on_tree_done};
    struct lh_tree_options opts;
    struct tally tally = {0};
    struct lh_tree *tree;
    unsigned n = 0;
    bool met = true;
    int status = 0;

    lh_tree_options_init(&opts);
    rig_send_options(&opts.send, NULL, port, "copy");
    opts.sources = &source;
    opts.n_sources = 1;
    opts.rules = &rule;
    opts.n_rules = 1;
    for (; n < TRIES_MAX && met; n++) {
        n_done = 0;
        fault->arm(n);
        status = lh_tree_start(&rig->loop, &opts, &cbs, &tree);
        met = fault->disarm();
        if (status == 0) {
            rig_until(rig, &n_done, 1);
            status = done_status;
            tally.n_failed += status != 0;
            tally.n_bad += status != -LH_E_CONNECT && !status_fits(status);
        } else {
            tally.n_refused++;
            tally.n_bad += !status_fits(status);
        }
        tally.n_bad += left_over(rig, fds);
    }
    is_i64(status, -LH_E_CONNECT, "%s: a tree starts when there is enough", fault->name);
    ok(!met && tally.n_refused > 2, "%s: a tree was refused %u times in %u tries", fault->name,
       tally.n_refused, n);
    is_u64(tally.n_bad, 0, "%s: each time with a fitting status, and nothing left", fault->name);
}

int main(void)
{
    struct rig rig;
    struct receiving r;
    unsigned fds;

    uv_replace_allocator(malloc, __real_realloc, calloc, free);
    rig_open(&rig);
    rig_make(&rig, "f", 3 * BLOCK, 1);
    rig_serve(&rig, &r, 0);
    rig_serve_stop(&r); /* nobody listens on that port: sends end when they have started */
    rig_drain(&rig);
    fds = rig_fds();
    for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        through_serve(&rig, &faults[i]);
        through_engine(&rig, &faults[i], fds);
        through_send(&rig, &faults[i], r.port, fds);
        through_tree(&rig, &faults[i], r.port, fds);
    }
    rig_close(&rig, "faults");
    return done_testing();
}
