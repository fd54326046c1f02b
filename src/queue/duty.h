/* What a worker does next: how many tasks it takes and when, which one it starts, when it reports,
 * what an answer of the queue means for a task that runs, and what is kept while Redis is away.
 *
 * Pure: it does nothing itself. The caller tells it what happened (lh_duty_up, lh_duty_taken,
 * lh_duty_ended …), then asks lh_duty_next until that says LH_DUTY_NOTHING, does each step, and
 * comes back at lh_duty_wake_ms or when something happens. Time is an argument, in ms of any
 * clock that never goes back; chance comes of the seed. No function calls the caller; none fails.
 *
 * Owner: the caller, of the duty and of each task, from lh_duty_taken until LH_DUTY_DROP.
 * Thread: one.
 *
 * A task:  waiting ─START─▶ moving ─delivered/ended─▶ held ─FINISH─▶ told ─answer─▶ DROP
 *             │                │ asked to stop           ▲  ▲            │
 *             │                └─▶ stopping ─ended───────┘  └─ lost line ┘
 *             └── no place: put back (deferred) ─▶ held */
#ifndef LH_QUEUE_DUTY_H
#define LH_QUEUE_DUTY_H

#include "queue/task.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_DUTY_JOBS_MAX 64
#define LH_DUTY_TASKS_MAX 256  /* with those that wait and those that Redis has to hear of */
#define LH_DUTY_TAKE_MAX 64    /* in one take */
#define LH_DUTY_WAIT_MS 10000u /* longest wait for a new task */
#define LH_DUTY_STOP_MS 5000u  /* so long Redis is waited for at the end */

struct lh_duty_options {
    unsigned jobs;          /* sends at once; 1 to LH_DUTY_JOBS_MAX */
    unsigned jobs_per_host; /* to one receiver; 0: as jobs */
    uint64_t claim_ms;      /* claim time of the queue; at least 1000 */
    uint64_t seed;          /* of the jitter */
};

enum lh_duty_state {
    LH_DUTY_WAITING,  /* taken; its receiver has enough to do, or all slots are taken */
    LH_DUTY_MOVING,   /* it is being sent */
    LH_DUTY_STOPPING, /* its send was cancelled and has not ended */
    LH_DUTY_HELD,     /* over; Redis has to hear of the outcome */
    LH_DUTY_TOLD,     /* Redis was told; no answer yet */
    LH_DUTY_LEAVING,  /* settled; its send has still to end */
    LH_DUTY_OVER      /* to be dropped */
};

/* Why a send was cancelled by the worker itself. */
enum lh_duty_asked {
    LH_ASKED_NOTHING,
    LH_ASKED_LOST,      /* somebody else has the task */
    LH_ASKED_PAUSED,    /* somebody wants it paused */
    LH_ASKED_CANCELLED, /* or cancelled */
    LH_ASKED_STOPPED    /* the worker ends */
};

/* How Redis stands to a task when it is dropped. */
enum lh_duty_end {
    LH_END_SETTLED, /* it knows the outcome */
    LH_END_LOST,    /* somebody else has the task */
    LH_END_GONE,    /* it has forgotten the task */
    LH_END_UNTOLD   /* it was not reached until the worker ended */
};

/* The duty's part of a task, inside the caller's. */
struct lh_duty_task {
    /* Set by the caller before lh_duty_taken. */
    const char
        *host; /* text that is equal for tasks to the same receiver; NULL: none, ends at once */
    uint64_t failures; /* attempts that failed before this one */
    uint64_t retries;  /* that the task allows; LH_TASK_FOREVER */
    int status;        /* 0, or -LH_E_INVAL: cannot be started; becomes a dead letter */

    /* To be read by the caller. */
    enum lh_duty_state state;
    enum lh_task_outcome outcome; /* from LH_DUTY_HELD on, unless it is lost or gone */
    enum lh_duty_end end;         /* with LH_DUTY_DROP */
    uint64_t due_ms;              /* retry, deferred: due again so long after */

    /* The duty's own. */
    enum lh_duty_asked asked;
    bool sending;      /* the caller has a send of it */
    bool delivered;    /* that waits for LH_DUTY_CONFIRM */
    bool orphan;       /* Redis has forgotten it */
    bool told_before;  /* Redis was told, and nobody knows whether it heard */
    bool cancel;       /* a step is to be made: cancel the send */
    bool confirm;      /* confirm it */
    bool forget;       /* and the receiver may forget */
    uint64_t since_ms; /* waiting since */
    size_t report_at;  /* place in the report that is under way, plus one; 0 none */
    struct lh_duty_task *next;
    struct lh_duty_task *prev;
};

struct lh_duty_list {
    struct lh_duty_task *first;
    struct lh_duty_task *last;
    unsigned n;
};

/* One command of a kind that is under way at Redis. */
struct lh_duty_call {
    bool pending;
    uint64_t asked_ms;
    uint64_t not_before_ms; /* after a refusal */
};

struct lh_duty {
    struct lh_duty_options opts;
    uint64_t rng;
    bool up;
    bool stopping;
    uint64_t stop_ms;
    /* How long Redis has been there without a break. */
    uint64_t contact_ms;
    uint64_t heard_ms;
    uint64_t report_ms;  /* next report */
    bool hungry;         /* a take may find something; else wait */
    uint64_t soonest_ms; /* a task may be had then that could not be now; 0 not known */
    struct lh_duty_call take;
    struct lh_duty_call wait;
    uint64_t wait_ms; /* of the wait that is under way */
    struct lh_duty_call report;
    struct lh_duty_call finish;
    struct lh_duty_list waiting;
    struct lh_duty_list running; /* moving, stopping */
    struct lh_duty_list held;
    struct lh_duty_list told;
    struct lh_duty_list leaving;
    struct lh_duty_list over;
    unsigned n_acts; /* tasks with a send to be cancelled or confirmed */
    bool stuck;      /* none of those that wait can be started now */
    size_t asked_n;  /* of the last take */
    bool looked;     /* it looked for tasks of silent workers, too */
    struct lh_duty_task *reported[LH_DUTY_TASKS_MAX];
    size_t n_reported;
    struct lh_duty_task *telling[LH_DUTY_TASKS_MAX];
    size_t n_telling;
};

enum lh_duty_do {
    LH_DUTY_NOTHING,
    LH_DUTY_START,   /* begin to send `task`; then lh_duty_ended comes for it */
    LH_DUTY_CANCEL,  /* cancel the send of `task`; lh_duty_ended or lh_duty_delivered comes still */
    LH_DUTY_CONFIRM, /* let the delivered send of `task` go; `forget`: the receiver may forget it */
    LH_DUTY_FINISH,  /* tell the outcomes of `tasks`; then lh_duty_finished */
    LH_DUTY_TAKE,    /* take `n` tasks, `reap`; then lh_duty_taken for each and lh_duty_took */
    LH_DUTY_WAIT,    /* wait `ms` for a task; then lh_duty_taken for each and lh_duty_waited */
    LH_DUTY_REPORT,  /* tell where `tasks` stand (n may be 0); then lh_duty_reported */
    LH_DUTY_DROP     /* nothing more will be done about `task`; see its `end` */
};

struct lh_duty_step {
    enum lh_duty_do what;
    struct lh_duty_task *task;
    struct lh_duty_task *const *tasks; /* valid until the answer; NULL in a report: dropped since */
    size_t n;
    bool reap;
    bool forget;
    uint64_t ms;
};

/* The queue's word about one task; the same as enum lh_queue_answer. */
enum lh_duty_answer {
    LH_DUTY_SAID_OK,
    LH_DUTY_SAID_LOST,
    LH_DUTY_SAID_GONE,
    LH_DUTY_SAID_PAUSED,
    LH_DUTY_SAID_CANCELLED
};

void lh_duty_init(struct lh_duty *duty, const struct lh_duty_options *opts, uint64_t now_ms);

/* What is to be done now; LH_DUTY_NOTHING: nothing until lh_duty_wake_ms or the next event. */
void lh_duty_next(struct lh_duty *duty, uint64_t now_ms, struct lh_duty_step *step);

/* When to ask lh_duty_next again if nothing happens; UINT64_MAX: never. */
uint64_t lh_duty_wake_ms(const struct lh_duty *duty, uint64_t now_ms);

/* The queue is there (said hello), or is not any more: commands under way are answered with
 * -LH_E_NETWORK, before or after. */
void lh_duty_up(struct lh_duty *duty, uint64_t now_ms);
void lh_duty_down(struct lh_duty *duty, uint64_t now_ms);

/* The queue's clock has jumped ahead, as the answer that comes next has shown. */
void lh_duty_jumped(struct lh_duty *duty, uint64_t now_ms);

/* A task came, by a take or a wait. */
void lh_duty_taken(struct lh_duty *duty, struct lh_duty_task *task, uint64_t now_ms);

/* A take or a wait is over, its tasks were told before. status: 0 or -LH_E_*; n: how many came;
 * soonest_ms: see lh_taking. */
void lh_duty_took(struct lh_duty *duty, int status, size_t n, uint64_t soonest_ms, uint64_t now_ms);
void lh_duty_waited(struct lh_duty *duty, int status, size_t n, uint64_t soonest_ms,
                    uint64_t now_ms);

/* A report is answered: answers[i] is about step.tasks[i]. NULL unless status is 0. */
void lh_duty_reported(struct lh_duty *duty, int status, const enum lh_duty_answer *answers,
                      uint64_t now_ms);

/* The outcomes of a LH_DUTY_FINISH are answered, as above. Otherwise they are told again. */
void lh_duty_finished(struct lh_duty *duty, int status, const enum lh_duty_answer *answers,
                      uint64_t now_ms);

/* The file is whole at the receiver, under its name; the send waits for LH_DUTY_CONFIRM. */
void lh_duty_delivered(struct lh_duty *duty, struct lh_duty_task *task, uint64_t now_ms);

/* The send has ended, or could not be started: 0 after lh_duty_delivered, else -LH_E_*. */
void lh_duty_ended(struct lh_duty *duty, struct lh_duty_task *task, int status, uint64_t now_ms);

/* Take nothing more, put back everything at once. End a wait before that: it would be given what is
 * put back. */
void lh_duty_stop(struct lh_duty *duty, uint64_t now_ms);

/* After lh_duty_stop: everything is over, or Redis was waited for long enough. */
bool lh_duty_stopped(const struct lh_duty *duty, uint64_t now_ms);

/* Sends that run. */
unsigned lh_duty_active(const struct lh_duty *duty);

#endif
