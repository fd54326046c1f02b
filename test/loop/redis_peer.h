/* A Redis that misbehaves as it is told, on the client's own loop. */
#ifndef LH_TEST_REDIS_PEER_H
#define LH_TEST_REDIS_PEER_H

#include <stdbool.h>
#include <uv.h>

/* First byte of an answer: what else happens. */
#define END "\x01"   /* after the rest the connection is closed */
#define FLOOD "\x02" /* the rest, and then bytes without an end */

/* The first `times` answers to a kind of command; those after them are as a Redis gives them. */
struct answer {
    const char *text; /* "" is silence */
    unsigned times;
};

struct fake {
    uv_tcp_t listener;
    unsigned port;
    struct answer auth, select, ping, command;
    bool crumbs; /* answer byte by byte */
    unsigned n_conns;
    struct fake_conn *conns;
};

/* On a free port of 127.0.0.1. */
void fake_start(struct fake *f, uv_loop_t *loop);

/* Close every connection that there is. */
void fake_cut(struct fake *f);

/* From now on it does not read what it is sent; or reads on. */
void fake_deaf(struct fake *f, bool deaf);

/* The loop closes it when it runs next. */
void fake_close(struct fake *f);

#endif
