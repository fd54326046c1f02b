/* The clock that everything is timed by. */
#ifndef LH_UTIL_CLOCK_H
#define LH_UTIL_CLOCK_H

#include <stdint.h>

/* Milliseconds, microseconds of CLOCK_MONOTONIC: no clock jump reaches it. Any thread. */
uint64_t lh_now_ms(void);
uint64_t lh_now_us(void);

#endif
