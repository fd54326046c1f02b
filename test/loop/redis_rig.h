/* A connection to a Redis on a loop of the test's own, and what it has told. */
#ifndef LH_TEST_REDIS_RIG_H
#define LH_TEST_REDIS_RIG_H

#include "queue/redis.h"

#include <hiredis/hiredis.h>

struct client {
    uv_loop_t loop;
    uv_timer_t hang; /* ends what hangs */
    struct lh_redis *redis;
    struct lh_redis_options opts;
    struct lh_redis_url url;
    bool closed;
    unsigned n_up;
    unsigned n_down;
    int status;    /* of the last down */
    char why[600]; /* of the last down */
    char log[8192];
    bool close_on_up; /* close it from inside the callback; client_finish follows */
    bool close_on_down;
};

/* One command and what became of it. */
struct asked {
    struct client *client;
    unsigned n_called;
    bool inside; /* was called from inside the call that sent it */
    bool null;
    int type;
    long long integer;
    char text[600]; /* of a string, status or error; of an array its elements, blanks between */
    unsigned order; /* of the calls to all: from 1 */
    bool close;     /* close the connection from inside the callback; client_finish follows */
};

void client_init(struct client *c, const char *url);
void client_start(struct client *c);
void client_wait(struct client *c, const bool *what);
void client_wait_up(struct client *c, unsigned n);   /* n_up reaches n */
void client_wait_down(struct client *c, unsigned n); /* n_down reaches n */
void client_turn(struct client *c);                  /* one turn of the loop, which may wait */
void client_close(struct client *c);                 /* and client_finish */
void client_finish(struct client *c); /* it was closed: to the end; nothing is left on the loop */

/* The words of a command, blanks between. Returns what lh_redis_command does. */
int client_ask(struct client *c, struct asked *a, uint64_t wait_ms, const char *words);
int client_script(struct client *c, struct asked *a, const struct lh_script *script,
                  const char *key, const char *words);
void client_answered(struct asked *a); /* wait for it */

/* Wait until it is up and ask, again if that is lost: where the time limits are short a busy
 * machine may need more than one try. */
void client_back(struct client *c, struct asked *a, const char *words);

void client_called(void *a, const struct redisReply *reply);

#endif
