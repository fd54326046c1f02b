#include "io/net/worker.h"

#include "util/err.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int lh_thread_start(pthread_t *thread, const char *name, void *(*main)(void *), void *arg)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(thread, NULL, main, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return -LH_E_NOMEM;
    pthread_setname_np(*thread, name);
    return 0;
}

uint64_t lh_thread_busy_us(int tid)
{
    uint64_t ran_ns = 0, waited_ns = 0;
    struct timespec ts = {0};
    char text[96] = "";
    int fd;

    if (tid <= 0)
        return 0;
    snprintf(text, sizeof(text), "/proc/self/task/%d/schedstat", tid);
    fd = open(text, O_RDONLY | O_CLOEXEC);
    memset(text, 0, sizeof(text));
    if (fd >= 0) {
        if (read(fd, text, sizeof(text) - 1) > 0)
            sscanf(text, "%" SCNu64 " %" SCNu64, &ran_ns, &waited_ns);
        close(fd);
    }
    if (ran_ns > 0)
        return (ran_ns + waited_ns) / 1000;
    /* As pthread_getcpuclockid(3) makes it, which wants a pthread_t. */
    clock_gettime((clockid_t)(~(unsigned)tid << 3 | 6u), &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t lh_worker_busy_us(struct lh_worker *w)
{
    uint64_t sum_us = 0;

    for (unsigned i = 0; i < w->n_threads; i++)
        sum_us += lh_thread_busy_us(atomic_load(&w->tids[i]));
    return sum_us;
}

static void job_done(struct lh_msg *msg)
{
    struct lh_job *job = LH_CONTAINER_OF(msg, struct lh_job, msg);

    job->done(job);
}

static void *worker_main(void *arg)
{
    struct lh_worker *w = arg;

    atomic_store(&w->tids[atomic_fetch_add(&w->n_tids, 1)], gettid());
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct lh_job *job = w->head;

        if (job == NULL) {
            if (w->stop)
                break;
            pthread_cond_wait(&w->wake, &w->lock);
            continue;
        }
        w->head = job->next;
        if (w->head == NULL)
            w->tail = NULL;
        pthread_mutex_unlock(&w->lock);
        job->run(job);
        lh_mbox_post(job->reply, &job->msg, job_done);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

int lh_worker_start(struct lh_worker *w, unsigned n_threads, const char *name)
{
    memset(w, 0, sizeof(*w));
    LH_REQUIRE(n_threads >= 1 && n_threads <= LH_WORKER_MAX);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    for (; w->n_threads < n_threads; w->n_threads++) {
        int r = lh_thread_start(&w->threads[w->n_threads], name, worker_main, w);

        if (r != 0) {
            lh_worker_stop(w);
            return r;
        }
    }
    return 0;
}

void lh_worker_submit(struct lh_worker *w, struct lh_job *job, void (*run)(struct lh_job *job),
                      void (*done)(struct lh_job *job), struct lh_mbox *reply)
{
    job->run = run;
    job->done = done;
    job->reply = reply;
    job->next = NULL;
    pthread_mutex_lock(&w->lock);
    if (w->tail != NULL)
        w->tail->next = job;
    else
        w->head = job;
    w->tail = job;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

void lh_worker_stop(struct lh_worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
}
