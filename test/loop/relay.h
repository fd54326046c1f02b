/* A TCP relay on a thread of its own: a narrow line to a receiver, which can be torn at will.
 *
 * Both the control connection and the streams of a sender come through it, because streams are
 * dialled to the address that the control connection reached. Only the bytes that go up, from the
 * sender to the receiver, are paced. */
#ifndef LH_TEST_RELAY_H
#define LH_TEST_RELAY_H

#include <stdint.h>

struct relay;

/* Listen on a free port of 127.0.0.1 and connect each connection on to `target` there.
 * bytes_per_s: all connections together; 0: unlimited. */
struct relay *relay_start(uint16_t target, uint64_t bytes_per_s);

/* Where new connections go from now on; any thread. */
void relay_set_target(struct relay *r, uint16_t target);

uint16_t relay_port(const struct relay *r);

/* From now on; any thread. */
void relay_set_pace(struct relay *r, uint64_t bytes_per_s);

/* Contents and frames that went up so far, in bytes; any thread. */
uint64_t relay_bytes(const struct relay *r);

/* Connections taken so far; any thread. */
unsigned relay_n_taken(const struct relay *r);

/* Reset all connections (RST to both sides), soon; the relay goes on listening. Any thread. */
void relay_reset(struct relay *r);

/* Connections that were reset so far; any thread. */
unsigned relay_n_reset(const struct relay *r);

/* Close everything, join the thread, free. */
void relay_stop(struct relay *r);

#endif
