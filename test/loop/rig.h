/* What the tests of this room share: a program that uses the library, with a loop of its own, a
 * scratch directory, and notes of every callback.
 *
 * The contract of include/longhaul/longhaul.h is checked in here, for every send and every receiver
 * that any test starts: no callback from inside a call, done once and last, start before progress,
 * delivered before a done with status 0 and not before any other, callbacks on the loop's thread.
 */
#ifndef LH_TEST_RIG_H
#define LH_TEST_RIG_H

#include <longhaul/longhaul.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define BLOCK (64u * 1024) /* the smallest grid, so that a small file has many */

struct rig {
    uv_loop_t loop;
    char dir[64];          /* sources */
    char root[80];         /* the receiver's root, below dir */
    unsigned n_violations; /* of the contract */
    unsigned threads, fds; /* before anything was started */
};

/* One receiver; zero it before use. */
struct receiving {
    struct rig *rig;
    struct lh_serve *serve;
    uint16_t port;
    bool close_in_received; /* from inside that callback; set it after rig_serve */
    unsigned n_received, n_closed;
    uv_thread_t thread;
};

enum moment { NEVER, IN_START, IN_PROGRESS, IN_DELIVERED, AT_DURABLE };

/* One send; zero it before use. */
struct sending {
    struct rig *rig;
    struct lh_send *send;
    enum moment
        cancel; /* cancel from inside that callback; AT_DURABLE: progress with durable > 0 */
    void (*then)(struct sending *s);       /* called from inside done; set it after rig_send */
    void (*when_there)(struct sending *s); /* the same for delivered */
    unsigned n_start, n_progress, n_delivered, n_done;
    int status;
    char text[600];
    struct lh_send_stats stats;
    uv_thread_t thread;
};

void rig_open(struct rig *rig);
/* Checks that nothing is left: handles, threads, descriptors; and that the contract was kept. */
void rig_close(struct rig *rig, const char *what);

/* "DIR/name" and "ROOT/name"; valid until 8 calls later. */
const char *rig_source(struct rig *rig, const char *name);
const char *rig_target(struct rig *rig, const char *name);

/* A source of made-up contents. */
void rig_make(struct rig *rig, const char *name, uint64_t size, uint64_t seed);

/* Whether the source and the target are identical. */
bool rig_same(struct rig *rig, const char *source, const char *target);

/* Receiver with short commits on `port` (0: any) of 127.0.0.1. */
void rig_serve_options(struct rig *rig, struct lh_serve_options *opts);
int rig_serve_with(struct rig *rig, struct receiving *r, const struct lh_serve_options *opts);
int rig_serve(struct rig *rig, struct receiving *r, uint16_t port);
void rig_serve_stop(struct receiving *r);

/* Sender with small blocks. */
void rig_send_options(struct lh_send_options *opts, const char *source, uint16_t port,
                      const char *target);
int rig_send_with(struct rig *rig, struct sending *s, const struct lh_send_options *opts);
/* The same with those options, of `name` to the same name. */
int rig_send(struct rig *rig, struct sending *s, uint16_t port, const char *name);

/* Run the loop until *count >= n. Gives up on everything after a minute. */
void rig_until(struct rig *rig, const unsigned *count, unsigned n);
/* Run the loop for so long. */
void rig_for(struct rig *rig, uint64_t ms);
/* Run the loop until nothing is left on it. */
void rig_drain(struct rig *rig);

unsigned rig_threads(void);
unsigned rig_fds(void);

#endif
