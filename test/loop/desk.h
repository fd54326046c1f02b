/* A worker or client of a queue on a loop of the test's own. Every call waits for its answer. */
#ifndef LH_TEST_DESK_H
#define LH_TEST_DESK_H

#include "queue/queue.h"
#include "test/lib/redis_server.h"

#define DESK_CLAIM_MS 60000
#define DESK_QUEUE "t"
#define DESK_KEY "longhaul:{t}:"

struct desk {
    const struct redis_server *server;
    const char *worker; /* NULL: a client */
    uv_loop_t loop;
    uv_timer_t hang; /* ends what hangs */
    struct lh_queue *queue;
    unsigned n_up;
    unsigned n_down;
    int down_status;
    char why[600];
    bool closed;

    /* The last answer. */
    bool called;
    int status;
    char text[600];
    struct lh_taken taken[LH_QUEUE_TAKE_MAX]; /* without their tasks, but for `source` */
    char source[LH_QUEUE_TAKE_MAX][64];
    size_t n;
    uint64_t soonest_ms;
    enum lh_queue_answer answers[LH_QUEUE_BATCH_MAX];
    char id[LH_TASK_ID_SIZE];
    enum lh_queue_effect effect;
    enum lh_task_state state;
    bool found;
    struct lh_task_info info; /* its strings are gone but these: */
    char error[600];
    char error_status[32];
    char workers[200];
    char map[100];
    char worker_name[LH_TASK_ID_SIZE];
    size_t n_records;
    size_t n_fields;
    char listed[400]; /* ids, blanks between */
    char next[128];
    struct lh_queue_overview overview; /* without its workers */
    struct lh_worker_info workers_info[8];
};

void desk_open(struct desk *d, const struct redis_server *server, const char *worker);
void desk_start(struct desk *d); /* after desk_close */
void desk_close(struct desk *d);
void desk_until_up(struct desk *d, unsigned n); /* n_up reaches n */
void desk_turn(struct desk *d);

/* Each returns the status. */
int desk_submit(struct desk *d, enum lh_priority priority, const char *id);
int desk_take(struct desk *d, size_t n, bool reap);
int desk_wait(struct desk *d, uint64_t block_ms);
int desk_control(struct desk *d, enum lh_queue_verb verb, const char *id);
int desk_get(struct desk *d, const char *id);
int desk_list(struct desk *d, enum lh_task_state state, const char *after, size_t max);
int desk_overview(struct desk *d);
int desk_leave(struct desk *d);

/* Each returns the answer; without one the test ends. map NULL: no record. */
enum lh_queue_answer desk_report(struct desk *d, const struct lh_claim *claim, const char *map);
enum lh_queue_answer desk_finish(struct desk *d, const struct lh_claim *claim,
                                 enum lh_task_outcome outcome, uint64_t due_ms);

/* Take until there is one. */
void desk_take_one(struct desk *d, bool reap, struct lh_taken *out);

/* State of a task; -1 none. */
int desk_state(struct desk *d, const char *id);

/* Make Redis believe that nobody has been heard of about the task for so long. */
void desk_silence(struct desk *d, const char *id, uint64_t ms);

#endif
