/* How many small files a second: sends that share an engine, to a receiver that runs already.
 *
 *     small [--own] PORT SOURCE FILES PROCESSES AT-ONCE
 *
 * Each process sends its part of FILES times the file SOURCE, to f0, f1 … below the receiver's
 * root, AT-ONCE at a time, over one engine (--own: each send with threads and a session of its
 * own). Prints one JSON object: files and seconds of all processes together, and the CPU that they
 * used, in microseconds a file. The receiver's CPU is to be taken from outside.
 *
 * Threads: those of the engine. Any send that fails ends the program with a sentence and code 1. */
#include <longhaul/longhaul.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct plan {
    uv_loop_t loop;
    struct lh_engine *engine; /* NULL: one of its own for each send */
    const char *source;
    uint16_t port;
    unsigned next, end, n_open;
};

static void begin(struct plan *p);

static void on_done(void *arg, int status, const char *text, const struct lh_send_stats *stats)
{
    struct plan *p = arg;

    if (status != 0) {
        fprintf(stderr, "small: %s\n", text);
        exit(1);
    }
    p->n_open--;
    if (p->next < p->end)
        begin(p);
    else if (p->n_open == 0 && p->engine != NULL)
        lh_engine_close(p->engine, NULL, NULL);
}

static void begin(struct plan *p)
{
    struct lh_send_callbacks cbs = {.done = on_done, .arg = p};
    struct lh_send_options opts;
    struct lh_send *send;
    char path[32];

    snprintf(path, sizeof(path), "f%u", p->next++);
    lh_send_options_init(&opts);
    opts.engine = p->engine;
    opts.source = p->source;
    opts.host = "127.0.0.1";
    opts.port = p->port;
    opts.path = path;
    opts.path_len = strlen(path);
    if (lh_send_start(&p->loop, &opts, &cbs, &send) != 0) {
        fprintf(stderr, "small: a send cannot start\n");
        exit(1);
    }
    p->n_open++;
}

/* One process. */
static void run(struct plan *p, unsigned at_once, bool own)
{
    struct lh_engine_options opts;

    uv_loop_init(&p->loop);
    lh_engine_options_init(&opts);
    opts.loops = 1;
    if (!own && lh_engine_start(&p->loop, &opts, &p->engine) != 0) {
        fprintf(stderr, "small: the engine cannot start\n");
        exit(1);
    }
    for (unsigned i = 0; i < at_once && p->next < p->end; i++)
        begin(p);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    exit(0);
}

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    bool own = argc > 1 && strcmp(argv[1], "--own") == 0;
    char **arg = argv + 1 + own;
    unsigned n_files, n_processes;
    struct rusage used;
    double start_s, took_s, cpu_s;
    bool failed = false;

    if (argc - 1 - own != 5) {
        fprintf(stderr, "usage: small [--own] PORT SOURCE FILES PROCESSES AT-ONCE\n");
        return 2;
    }
    n_files = (unsigned)atoi(arg[2]);
    n_processes = (unsigned)atoi(arg[3]);
    start_s = now_s();
    for (unsigned i = 0; i < n_processes; i++) {
        struct plan plan = {.source = arg[1],
                            .port = (uint16_t)atoi(arg[0]),
                            .next = (unsigned)((uint64_t)n_files * i / n_processes),
                            .end = (unsigned)((uint64_t)n_files * (i + 1) / n_processes)};

        if (fork() == 0)
            run(&plan, (unsigned)atoi(arg[4]), own);
    }
    for (unsigned i = 0; i < n_processes; i++) {
        int status;

        failed = wait(&status) < 0 || status != 0 || failed;
    }
    if (failed)
        return 1;
    took_s = now_s() - start_s;
    getrusage(RUSAGE_CHILDREN, &used);
    cpu_s = seconds(&used.ru_utime) + seconds(&used.ru_stime);
    printf("{\"files\": %u, \"seconds\": %.3f, \"files_per_s\": %.0f, \"sender_us\": %.1f}\n",
           n_files, took_s, n_files / took_s, 1e6 * cpu_s / n_files);
    return 0;
}
