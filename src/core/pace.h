/* Numbers for sockets and for coming back: buffer sizes, low-water marks, stagger, backoff.
 *
 * Pure: randomness is an argument, uniform over 32 bits. */
#ifndef LH_CORE_PACE_H
#define LH_CORE_PACE_H

#include <stdint.h>

/* A value with up to ±10 % jitter: `value` × (0.9 … 1.1). */
uint64_t lh_pace_jitter(uint64_t value, uint32_t random);

/* SO_SNDBUF to ask for, bytes (before the kernel doubles it), or 0: leave it to autotuning.
 * wanted: the user's figure, or 0 for none; bdp: bandwidth-delay product of the whole path, bytes,
 * 0 unknown; wmem_max: net.core.wmem_max; tcp_wmem_max: third of net.ipv4.tcp_wmem. Setting it
 * freezes autotuning, so it is set only where what the kernel grants (twice what is asked for,
 * clamped to wmem_max before the doubling) exceeds what autotuning could reach. */
uint64_t lh_pace_sndbuf(uint64_t wanted, uint64_t bdp, unsigned streams, uint64_t wmem_max,
                        uint64_t tcp_wmem_max, uint32_t random);

/* TCP_NOTSENT_LOWAT, bytes: about 8 ms of the stream's rate, 128 KiB to 4 MiB, jittered; at the low
 * end while the rate is unknown (0). */
uint32_t lh_pace_lowat(uint64_t rate_Bps, uint32_t random);

/* A stream asks for more when it has no more than so many bytes that are not in its socket: 100 ms
 * of its rate; 250 ms of a rate so low that it makes less than 2 MiB, which it is otherwise, and
 * while the rate is unknown (0). What a slow stream has, others have to wait for at the end. At
 * least 1. */
uint64_t lh_pace_low(uint64_t rate_Bps);

/* Bytes that a stream has hashed ahead of its socket, at most: a second of its rate; no bound while
 * it is unknown (0). */
uint64_t lh_pace_ahead(uint64_t rate_Bps);

/* When a stream starts: uniform over [0, stagger_ms]. */
uint64_t lh_pace_stagger(uint64_t stagger_ms, uint32_t random);

/* When a stream's connect that has had no answer is tried a second time, ms: three round trips of
 * the control connection (rtt_us; 0: not known), 200 to 1000. */
uint64_t lh_pace_again(uint32_t rtt_us);

/* When a stream's BBR begins anew, ms after the stream is up. BBR drains its queue every 10 s to
 * see the least round trip (ProbeRTT), for 200 ms; streams that began together do it together, and
 * the path lies idle. Begun anew at moments that lie well apart within those 10 s, they do it one
 * by one. After the start-up, before the first time; spread by the golden ratio, so for any number.
 */
uint64_t lh_pace_apart(unsigned stream);

/* Pause before the n-th redial in a row (n from 0), ms: exponential from 100 ms to 5 s, the upper
 * half of it jittered. */
uint64_t lh_pace_backoff(unsigned attempt, uint32_t random);

#endif
