/* A task of the queue: the fields of its entry, checked. docs/queue.md is the contract.
 *
 * Pure: no clock, no socket; any thread. Fields come from anybody who can XADD, so every one of
 * them is held to a bound, and what is wrong is said with the field's name. */
#ifndef LH_QUEUE_TASK_H
#define LH_QUEUE_TASK_H

#include "util/err.h"
#include "util/url.h"

#include <longhaul/longhaul.h>
#include <longhaul/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_TASK_VERSION 1
#define LH_TASK_ID_SIZE 65            /* [A-Za-z0-9._-]{1,64} and the NUL */
#define LH_TASK_SOURCE_MAX 4095       /* bytes: PATH_MAX without its NUL */
#define LH_TASK_DESTINATION_MAX 16384 /* bytes: 4096 written as %XX, and the host */
#define LH_TASK_FILTER_MAX 32768      /* bytes */
#define LH_TASK_RETRIES 10            /* when the task does not say */
#define LH_TASK_RETRIES_MAX 1000000
#define LH_TASK_FOREVER UINT64_MAX       /* retries=forever */
#define LH_TASK_RATE_MIN UINT64_C(64000) /* limit-rate, bits per second, as on the command line */
#define LH_TASK_RATE_MAX UINT64_C(100000000000000)

enum lh_priority { LH_PRIORITY_HIGH, LH_PRIORITY_NORMAL, LH_PRIORITY_LOW, LH_N_PRIORITIES };

enum lh_task_state {
    LH_TASK_QUEUED,    /* waits in the stream of its priority */
    LH_TASK_ACTIVE,    /* a worker has it */
    LH_TASK_DELAYED,   /* failed and will be tried again, or was put back */
    LH_TASK_PAUSED,    /* until somebody resumes it */
    LH_TASK_DONE,      /* whole at the receiver, under its name */
    LH_TASK_DEAD,      /* failed for good: a dead letter */
    LH_TASK_CANCELLED, /* somebody did not want it any more */
    LH_N_TASK_STATES
};

/* How a worker ends a claim. */
enum lh_task_outcome {
    LH_OUTCOME_DONE,
    LH_OUTCOME_RETRY,     /* failed; due again later */
    LH_OUTCOME_DEAD,      /* failed for good */
    LH_OUTCOME_PAUSED,    /* as it was asked to */
    LH_OUTCOME_CANCELLED, /* as it was asked to */
    LH_OUTCOME_DEFERRED,  /* put back, through no fault of the task: not counted as an attempt */
    LH_N_OUTCOMES
};

/* One field of an entry: bytes without a NUL behind them. */
struct lh_field {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};

/* What a task asks for. Zero where the engine's default is meant, as in lh_send_options. */
struct lh_task {
    char *source;      /* owned: path at the worker */
    char *destination; /* owned: as it was written, lh://… */
    struct lh_url url; /* owned: the same taken apart */
    uint64_t retries;  /* failed attempts before it is given up; LH_TASK_FOREVER */
    uint32_t streams;
    uint32_t max_streams;
    uint64_t limit_bps;
    enum lh_send_share share;
    uint32_t block_bytes;
    enum lh_existing existing;
    bool no_clobber;
    bool insecure;
    bool sparse;
    bool tree;    /* has fields that only a tree has a use for, or a source that ends in '/' */
    char *filter; /* owned: lines, taken apart */
    struct lh_tree_rule *rules; /* owned: n_rules, into `filter` */
    size_t n_rules;
    enum lh_links links;
    unsigned preserve; /* enum lh_preserve, devices apart */
    bool numeric_ids;
    bool devices;
    bool checksum;
    bool one_file_system;
    bool stop_on_error;
    bool remove;
    uint64_t max_removed;
};

/* Check the fields of an entry. Fields that are not known are ignored; a known one that stands
 * there twice is an error. `task` may be there and is checked (see lh_task_id_valid). Returns 0
 * (lh_task_free it), -LH_E_INVAL with a sentence that names the field, or -LH_E_NOMEM. */
int lh_task_parse(struct lh_task *task, const struct lh_field *fields, size_t n,
                  struct lh_err *err);
void lh_task_free(struct lh_task *task);

/* [A-Za-z0-9._-]{1,64}: ids of tasks, names of queues and of workers. */
bool lh_task_id_valid(const char *text, size_t len);

/* "high", "queued", "done" …; static. The parsers return the number or -1. */
const char *lh_priority_name(enum lh_priority priority);
int lh_priority_parse(const char *text, size_t len);
const char *lh_task_state_name(enum lh_task_state state);
int lh_task_state_parse(const char *text, size_t len);
const char *lh_task_outcome_name(enum lh_task_outcome outcome);
const char *lh_task_existing_name(enum lh_existing existing);
const char *lh_task_links_name(enum lh_links links);

/* One word of enum lh_preserve, 0: no such word. */
unsigned lh_task_preserve_parse(const char *text, size_t len);
/* "mode,times,owner" from enum lh_preserve, "none" from 0; devices are not among them. Returns out.
 */
#define LH_TASK_PRESERVE_SIZE 64
char *lh_task_preserve_text(char out[LH_TASK_PRESERVE_SIZE], unsigned preserve);

#endif
