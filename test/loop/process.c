/* A library is a guest: what belongs to the process stays as it was, before, during and after.
 *
 * Signal dispositions and masks, umask, working directory, environment, locale, limits, standard
 * streams; the engine's threads take no signals; its descriptors do not leak into children; and a
 * program that leaves SIGPIPE at its default survives peers that reset every connection. */
#include "test/lib/tap.h"
#include "test/loop/relay.h"
#include "test/loop/rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define N_TASKS 64
#define N_FDS 1024

/* ---- what belongs to the process ---- */

struct state {
    struct sigaction signals[65];
    sigset_t mask; /* of this thread */
    struct rlimit limits[RLIMIT_NLIMITS];
    char cwd[512];
    char umask[64];
    char locale[256];
    char environment[16384];
    char name[32]; /* of this thread */
    int flags[3];  /* of standard input, output, error */
};

static void read_line(const char *path, const char *key, char *out, size_t size)
{
    FILE *f = fopen(path, "r");
    char line[256];

    out[0] = '\0';
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            snprintf(out, size, "%.*s", (int)size - 1, line + strlen(key));
    if (f != NULL)
        fclose(f);
}

static void look(struct state *s)
{
    extern char **environ;
    size_t at = 0;

    memset(s, 0, sizeof(*s));
    for (int i = 1; i < 65; i++)
        sigaction(i, NULL, &s->signals[i]);
    pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
    for (int i = 0; i < RLIMIT_NLIMITS; i++)
        getrlimit(i, &s->limits[i]);
    if (getcwd(s->cwd, sizeof(s->cwd)) == NULL)
        bail("getcwd");
    read_line("/proc/thread-self/status", "Umask:", s->umask, sizeof(s->umask));
    snprintf(s->locale, sizeof(s->locale), "%s", setlocale(LC_ALL, NULL));
    for (char **e = environ; *e != NULL && at < sizeof(s->environment); e++)
        at += (size_t)snprintf(s->environment + at, sizeof(s->environment) - at, "%s\n", *e);
    pthread_getname_np(pthread_self(), s->name, sizeof(s->name));
    for (int i = 0; i < 3; i++)
        s->flags[i] = fcntl(i, F_GETFL);
}

static bool same_signals(const struct state *a, const struct state *b)
{
    for (int i = 1; i < 65; i++)
        if (a->signals[i].sa_handler != b->signals[i].sa_handler ||
            a->signals[i].sa_flags != b->signals[i].sa_flags)
            return false;
    return true;
}

static bool same_mask(const struct state *a, const struct state *b)
{
    for (int i = 1; i < 65; i++)
        if (sigismember(&a->mask, i) != sigismember(&b->mask, i))
            return false;
    return true;
}

static void compare(const struct state *was, const char *when)
{
    struct state now;

    look(&now);
    ok(same_signals(was, &now), "%s: signal dispositions are as they were", when);
    ok(now.signals[SIGPIPE].sa_handler == SIG_DFL, "%s: SIGPIPE is at its default", when);
    ok(same_mask(was, &now), "%s: this thread's signal mask is as it was", when);
    ok(memcmp(was->limits, now.limits, sizeof(now.limits)) == 0, "%s: limits", when);
    is_str(now.cwd, was->cwd, "%s: working directory", when);
    is_str(now.umask, was->umask, "%s: umask", when);
    is_str(now.locale, was->locale, "%s: locale", when);
    is_str(now.environment, was->environment, "%s: environment", when);
    is_str(now.name, was->name, "%s: this thread's name", when);
    is_mem(now.flags, was->flags, sizeof(now.flags), "%s: standard streams' flags", when);
}

/* ---- threads and descriptors ---- */

static unsigned list(const char *path, int *out, unsigned max)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned n = 0;

    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && n < max)
            out[n++] = atoi(entry->d_name);
    closedir(dir);
    return n;
}

static bool among(int x, const int *v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (v[i] == x)
            return true;
    return false;
}

/* All that can be blocked: not KILL and STOP, not glibc's own 32 and 33. */
static uint64_t blockable(void)
{
    uint64_t all = UINT64_MAX;

    return all & ~(1ull << (SIGKILL - 1)) & ~(1ull << (SIGSTOP - 1)) & ~(1ull << 31) &
           ~(1ull << 32);
}

static void check_threads(const int *before, unsigned n_before)
{
    int tasks[N_TASKS];
    unsigned n = list("/proc/self/task", tasks, N_TASKS);
    unsigned n_engine = 0;

    for (unsigned i = 0; i < n; i++) {
        char path[64], name[32], mask[32];

        if (among(tasks[i], before, n_before))
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%d/status", tasks[i]);
        read_line(path, "Name:\t", name, sizeof(name));
        read_line(path, "SigBlk:\t", mask, sizeof(mask));
        if (mask[0] == '\0')
            continue; /* it has ended meanwhile */
        name[strcspn(name, "\n")] = '\0';
        n_engine++;
        ok((strtoull(mask, NULL, 16) & blockable()) == blockable(),
           "thread %s blocks all signals: %.16s", name, mask);
    }
    ok(n_engine >= 6, "the engine has threads of its own: %u", n_engine);
}

static void check_fds(const int *before, unsigned n_before)
{
    int fds[N_FDS];
    unsigned n = list("/proc/self/fd", fds, N_FDS);
    unsigned n_engine = 0, n_open = 0;

    for (unsigned i = 0; i < n; i++) {
        int flags = fcntl(fds[i], F_GETFD);

        if (flags < 0 || among(fds[i], before, n_before))
            continue;
        n_engine++;
        if (!(flags & FD_CLOEXEC)) {
            char path[64], what[128] = "";

            snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
            (void)!readlink(path, what, sizeof(what) - 1);
            diag("not closed on exec: %d %s", fds[i], what);
            n_open++;
        }
    }
    ok(n_engine > 10, "descriptors are open in the middle: %u", n_engine);
    is_u64(n_open, 0, "each of them is closed on exec");
}

static pthread_t signalled;
static volatile sig_atomic_t n_signals;

static void on_signal(int number)
{
    signalled = pthread_self();
    n_signals = n_signals + 1;
}

static void test_guest(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    int tasks[N_TASKS], fds[N_FDS];
    unsigned n_tasks, n_fds;
    struct rig rig;
    struct receiving r;
    struct sending s = {0};
    struct relay *line;
    struct state before;
    sigset_t usr1;

    sigaction(SIGUSR2, &action, NULL);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    rig_open(&rig);
    rig_make(&rig, "f", 16 * MIB, 1);
    line = relay_start(0, 12 * MIB);
    n_tasks = list("/proc/self/task", tasks, N_TASKS);
    n_fds = list("/proc/self/fd", fds, N_FDS);
    look(&before);

    rig_serve(&rig, &r, 0);
    compare(&before, "a receiver started");
    relay_set_target(line, r.port);
    rig_send(&rig, &s, relay_port(line), "f");
    compare(&before, "a send started");
    rig_until(&rig, &s.n_progress, 2);
    compare(&before, "in the middle");
    check_threads(tasks, n_tasks);
    check_fds(fds, n_fds);
    kill(getpid(), SIGUSR2);
    ok(n_signals == 1 && pthread_equal(signalled, pthread_self()),
       "a signal of the program's comes to the program");
    rig_until(&rig, &s.n_done, 1);
    is_i64(s.status, 0, "sent: %s", s.text);
    compare(&before, "a send ended");
    rig_serve_stop(&r);
    compare(&before, "all closed");
    relay_stop(line);
    rig_close(&rig, "guest");
    signal(SIGUSR2, SIG_DFL);
}

static void test_resets(enum lh_zero_copy zero_copy, const char *what)
{
    struct lh_send_options opts;
    struct rig rig;
    struct receiving r;
    struct sending s = {0};
    struct relay *line;

    rig_open(&rig);
    rig_make(&rig, "f", 24 * MIB, 2);
    rig_serve(&rig, &r, 0);
    line = relay_start(r.port, 6 * MIB); /* until it was reset often enough */
    rig_send_options(&opts, rig_source(&rig, "f"), relay_port(line), "f");
    opts.zero_copy = zero_copy;
    rig_send_with(&rig, &s, &opts);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t bytes = relay_bytes(line);

        while (relay_bytes(line) < bytes + MIB && s.n_done == 0)
            rig_for(&rig, 5);
        relay_reset(line);
        rig_for(&rig, 20);
    }
    relay_set_pace(line, 0);
    rig_until(&rig, &s.n_done, 1);
    ok(relay_n_reset(line) >= 12, "%s: connections were reset in the middle: %u", what,
       relay_n_reset(line));
    is_i64(s.status, 0, "%s: SIGPIPE did not end the program, nor resets the send: %s", what,
           s.text);
    ok(s.stats.reconnects > 0, "%s: its session was lost and taken up again", what);
    ok(rig_same(&rig, "f", "f"), "%s: identical", what);
    relay_stop(line);
    rig_serve_stop(&r);
    rig_close(&rig, what);
}

int main(void)
{
    signal(SIGPIPE, SIG_DFL);
    setlocale(LC_ALL, "C.UTF-8");
    setenv("UV_THREADPOOL_SIZE", "3", 1);
    test_guest();
    test_resets(LH_ZERO_COPY_ON, "sendfile");
    test_resets(LH_ZERO_COPY_OFF, "read and send");
    return done_testing();
}
