/* Numbers for sockets and for coming back; what each is for is told in pace.h. */
#include "core/pace.h"

#include <limits.h>

#define LOWAT_MS 8
#define LOWAT_MIN (128ull * 1024)
#define LOWAT_MAX (4096ull * 1024)
#define AGAIN_MIN_MS 200u
#define AGAIN_MAX_MS 1000u /* then the kernel tries again by itself: RFC 6298, 2.1 */
#define LOW_MS 100
#define LOW_SLOW_MS 250
#define LOW_BYTES (2ull * 1024 * 1024)
#define GOLDEN 2654435769u /* 2^32 times 0.618 */
#define APART_FIRST_MS 2500u
#define APART_SPAN_MS 7000u
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS 5000u

/* Uniform over [0, span): span × random / 2^32, without overflow. */
static uint64_t uniform(uint64_t span, uint32_t random)
{
    return (span >> 32) * random + (((span & UINT32_MAX) * random) >> 32);
}

uint64_t lh_pace_jitter(uint64_t value, uint32_t random)
{
    return value - value / 10 + uniform(value / 5, random);
}

uint64_t lh_pace_sndbuf(uint64_t wanted, uint64_t bdp, unsigned streams, uint64_t wmem_max,
                        uint64_t tcp_wmem_max, uint32_t random)
{
    uint64_t ask = wanted ? wanted : bdp / (streams ? streams : 1);

    if (ask > INT_MAX / 2)
        ask = INT_MAX / 2; /* the option is an int, and the kernel doubles it */
    ask = lh_pace_jitter(ask, random);
    if (ask > wmem_max)
        ask = wmem_max;
    return ask * 2 > tcp_wmem_max ? ask : 0;
}

uint32_t lh_pace_lowat(uint64_t rate_Bps, uint32_t random)
{
    /* Held off the bounds by the jitter, so that streams at a bound differ as well. */
    const uint64_t low = LOWAT_MIN * 10 / 9 + 1;
    const uint64_t high = LOWAT_MAX * 10 / 11;
    uint64_t lowat = rate_Bps / 1000 * LOWAT_MS;

    if (lowat < low)
        lowat = low;
    if (lowat > high)
        lowat = high;
    return (uint32_t)lh_pace_jitter(lowat, random);
}

uint64_t lh_pace_low(uint64_t rate_Bps)
{
    uint64_t slow = rate_Bps / 1000 * LOW_SLOW_MS;
    uint64_t fast = rate_Bps / 1000 * LOW_MS;

    if (rate_Bps == 0 || slow > LOW_BYTES)
        slow = LOW_BYTES;
    return fast > slow ? fast : slow > 0 ? slow : 1;
}

uint64_t lh_pace_ahead(uint64_t rate_Bps)
{
    return rate_Bps > 0 ? rate_Bps : UINT64_MAX;
}

uint64_t lh_pace_stagger(uint64_t stagger_ms, uint32_t random)
{
    return stagger_ms == UINT64_MAX ? uniform(stagger_ms, random) : uniform(stagger_ms + 1, random);
}

uint64_t lh_pace_again(uint32_t rtt_us)
{
    uint64_t wait_ms = 3ull * rtt_us / 1000;

    if (wait_ms > AGAIN_MAX_MS || rtt_us == 0)
        return AGAIN_MAX_MS;
    return wait_ms < AGAIN_MIN_MS ? AGAIN_MIN_MS : wait_ms;
}

uint64_t lh_pace_apart(unsigned stream)
{
    uint32_t place = stream * GOLDEN; /* wraps: the fraction of stream x 0.618 */

    return APART_FIRST_MS + uniform(APART_SPAN_MS, place);
}

uint64_t lh_pace_backoff(unsigned attempt, uint32_t random)
{
    uint64_t pause_ms = BACKOFF_FIRST_MS;

    while (attempt-- > 0 && pause_ms < BACKOFF_MAX_MS)
        pause_ms *= 2;
    if (pause_ms > BACKOFF_MAX_MS)
        pause_ms = BACKOFF_MAX_MS;
    return pause_ms / 2 + uniform(pause_ms / 2 + 1, random);
}
