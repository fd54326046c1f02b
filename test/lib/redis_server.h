/* A redis-server of the test's own, on a Unix socket in a directory of its own; it dies with the
 * test. Links with hiredis. */
#ifndef LH_TEST_REDIS_SERVER_H
#define LH_TEST_REDIS_SERVER_H

#include <sys/types.h>

struct redis_server {
    char dir[64];
    char path[80]; /* the socket */
    char url[100]; /* unix://… */
    pid_t pid;     /* 0: it does not run */
    const char *const *options;
};

/* Make the directory and start it; options: more of redis-server's, ended by NULL, or NULL. It
 * answers when this returns. */
void redis_server_start(struct redis_server *s, const char *const *options);

/* kill -9; what it had on disk stays. */
void redis_server_kill(struct redis_server *s);

/* Start it again where it was. */
void redis_server_again(struct redis_server *s);

/* One command, as hiredis formats it. Returns the reply as a number: an integer, a string of
 * digits, an array's first integer, 1 for a status; -1 for an error or nil. Blocks. */
long long redis_server_ask(const struct redis_server *s, const char *format, ...);

/* Kill it and remove the directory. */
void redis_server_stop(struct redis_server *s);

#endif
