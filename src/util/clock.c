#include "util/clock.h"

#include <time.h>

uint64_t lh_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t lh_now_ms(void)
{
    return lh_now_us() / 1000;
}
