/* Sockets: addresses, options with what the kernel really gave, TCP_INFO. */
#ifndef LH_IO_SOCK_H
#define LH_IO_SOCK_H

#include "util/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define LH_ADDR_TEXT 64 /* "[ffff:…]:65535" and the NUL */

struct lh_addr {
    struct sockaddr_storage sa;
    socklen_t len;
};

bool lh_addr_is_loopback(const struct lh_addr *addr);
uint16_t lh_addr_port(const struct lh_addr *addr);
char *lh_addr_text(const struct lh_addr *addr, char out[LH_ADDR_TEXT]);

/* "HOST:PORT", "[::1]:7410", ":7410", "HOST", "::1" taken apart. host: at least 256 bytes; empty
 * when none is given. port: `default_port` when none is given. Returns 0 or -LH_E_ADDRESS. */
int lh_addr_split(const char *text, uint16_t default_port, char host[256], uint16_t *port,
                  struct lh_err *err);

/* A numeric address. Returns 0 or -LH_E_ADDRESS (it is a name, perhaps). */
int lh_addr_numeric(const char *host, uint16_t port, struct lh_addr *addr);

/* What every connection gets: non-blocking, TCP_NODELAY, keep-alives that find a vanished peer in
 * 30 s. No failure matters. */
void lh_sock_common(int fd);

/* Whether this congestion control may be used (tcp(7), TCP_CONGESTION): 0, or errno; `fallback`
 * gets what there is otherwise. */
int lh_sock_congestion(const char *name, char fallback[16]);

/* What is asked of a stream, and (given) what the kernel made of it. */
struct lh_stream_options {
    const char *congestion;
    uint64_t sndbuf_bytes; /* as lh_pace_sndbuf says; 0: autotuning */
    uint32_t lowat_bytes;
};

struct lh_stream_given {
    char congestion[16];
    int sndbuf_bytes;
    int lowat_bytes;
};

/* Before connect, so that the window scale fits. Reads everything back into `given`. */
void lh_sock_stream(int fd, const struct lh_stream_options *opts, struct lh_stream_given *given);

/* What has been read is acknowledged at once (tcp(7), TCP_QUICKACK). An ACK that waits for another
 * segment, up to 40 ms, looks to the sender of a slow stream like a queue on the path. */
void lh_sock_ack_now(int fd);

/* TCP_NOTSENT_LOWAT. */
void lh_sock_lowat(int fd, uint32_t bytes);

/* Use this congestion control, where the kernel lets us. */
void lh_sock_use_congestion(int fd, const char *congestion);

/* Let the connection's congestion control begin anew, with what is under way left as it is: by
 * another one and back. Where that is refused nothing changes. */
void lh_sock_begin_anew(int fd, const char *congestion);

/* SO_MAX_PACING_RATE, bytes a second, socket(7); 0: no limit. The kernel paces by itself where no
 * fq does. */
void lh_sock_pace(int fd, uint64_t max_Bps);

struct lh_tcp_state {
    uint64_t bytes_acked;
    uint32_t delivered;         /* segments that arrived, in order or not; wraps */
    uint32_t mss_bytes;         /* of what is sent */
    uint64_t bytes_resent;      /* tcpi_bytes_retrans */
    uint64_t retransmits;       /* segments, tcpi_total_retrans */
    uint64_t busy_us;           /* since the connection began: something to send, */
    uint64_t rwnd_limited_us;   /* held up by the peer's window, */
    uint64_t sndbuf_limited_us; /* by the send buffer; linux/tcp.h, Documentation/networking */
    uint32_t rtt_us;
    uint32_t min_rtt_us;
    uint32_t last_ack_ms; /* since the last acknowledgement came */
    uint32_t unacked;     /* segments in flight */
    uint32_t notsent_bytes;
    uint64_t queued_bytes; /* handed over and not acknowledged: SIOCOUTQ, tcp(7) */
};

/* False when the kernel does not say. */
bool lh_sock_state(int fd, struct lh_tcp_state *state);

/* net.core.wmem_max and the third of net.ipv4.tcp_wmem, from /proc; 0 when unreadable. */
void lh_sock_limits(uint64_t *wmem_max, uint64_t *tcp_wmem_max);

/* Uniform 32 bits, and random bytes for tokens: getrandom(2). */
uint32_t lh_random32(void);
void lh_random_bytes(void *out, size_t len);

#endif
