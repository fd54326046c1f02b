/* I/O threads of the engine's own: what can block for long on a disk runs here, in the order asked.
 *
 * libuv's pool is not used: it is process-wide and small, and a library must not resize it. */
#ifndef LH_IO_WORKER_H
#define LH_IO_WORKER_H

#include "io/net/mbox.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LH_WORKER_MAX 8

/* Embedded in what it works on. run: on an I/O thread. done: afterwards, on the loop of `reply`. */
struct lh_job {
    struct lh_msg msg;
    struct lh_job *next;
    void (*run)(struct lh_job *job);
    void (*done)(struct lh_job *job);
    struct lh_mbox *reply;
};

struct lh_worker {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct lh_job *head;
    struct lh_job *tail;
    bool stop;
    unsigned n_threads;
    pthread_t threads[LH_WORKER_MAX];
    atomic_int tids[LH_WORKER_MAX]; /* in any order; 0: not running yet */
    atomic_uint n_tids;
};

/* Start a thread with every signal blocked, so that signals (SIGPIPE of a sendfile too) stay the
 * program's business. `name`: at most 15 bytes. Returns 0 or -LH_E_NOMEM. */
int lh_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg);

/* How long thread `tid` of this process ran or waited for a core since it began, in microseconds:
 * /proc/self/task/TID/schedstat (Documentation/scheduler/sched-stats.rst); where the kernel keeps
 * none, how long it ran. Any thread. */
uint64_t lh_thread_busy_us(int tid);

/* Returns 0 or -LH_E_NOMEM. */
int lh_worker_start(struct lh_worker *w, unsigned n_threads, const char *name);

/* Any thread. done always fires. */
void lh_worker_submit(struct lh_worker *w, struct lh_job *job, void (*run)(struct lh_job *job),
                      void (*done)(struct lh_job *job), struct lh_mbox *reply);

/* lh_thread_busy_us of all its threads together. */
uint64_t lh_worker_busy_us(struct lh_worker *w);

/* Runs what is queued, then joins: call it when nothing is, so that it does not block. */
void lh_worker_stop(struct lh_worker *w);

#endif
