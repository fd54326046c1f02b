#include "io/net/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

bool lh_addr_is_loopback(const struct lh_addr *addr)
{
    if (addr->sa.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&addr->sa;

        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    } else {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr->sa;

        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            return in6->sin6_addr.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
}

uint16_t lh_addr_port(const struct lh_addr *addr)
{
    /* The port is in the same place for both families. */
    return ntohs(((const struct sockaddr_in *)&addr->sa)->sin_port);
}

char *lh_addr_text(const struct lh_addr *addr, char out[LH_ADDR_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (addr->sa.ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&addr->sa)->sin_addr, host, sizeof(host));
        snprintf(out, LH_ADDR_TEXT, "%s:%u", host, lh_addr_port(addr));
    } else {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&addr->sa)->sin6_addr, host,
                  sizeof(host));
        snprintf(out, LH_ADDR_TEXT, "[%s]:%u", host, lh_addr_port(addr));
    }
    return out;
}

int lh_addr_split(const char *text, uint16_t default_port, char host[256], uint16_t *port,
                  struct lh_err *err)
{
    const char *start = text;
    const char *end;
    const char *number = NULL;
    unsigned long value = default_port;

    if (*text == '[') {
        start = text + 1;
        end = strchr(start, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return lh_err_set(err, LH_E_ADDRESS, "%s: expected [ADDRESS]:PORT", text);
        if (end[1] == ':')
            number = end + 2;
    } else {
        end = strrchr(text, ':');
        if (end == NULL || strchr(text, ':') != end) /* none, or a bare IPv6 address */
            end = text + strlen(text);
        else
            number = end + 1;
    }
    if (number != NULL) {
        char *rest;

        value = strtoul(number, &rest, 10);
        if (*number < '0' || *number > '9' || *rest != '\0' || value > 65535)
            return lh_err_set(err, LH_E_ADDRESS, "%s: the port must be a number up to 65535", text);
    }
    if ((size_t)(end - start) > 255)
        return lh_err_set(err, LH_E_ADDRESS, "%.40s…: the host name is too long", text);
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    *port = (uint16_t)value;
    return 0;
}

int lh_addr_numeric(const char *host, uint16_t port, struct lh_addr *addr)
{
    struct lh_addr a;
    struct sockaddr_in *in = (struct sockaddr_in *)&a.sa;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a.sa;

    memset(&a, 0, sizeof(a));
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        a.len = sizeof(*in);
    } else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        a.len = sizeof(*in6);
    } else {
        return -LH_E_ADDRESS;
    }
    *addr = a;
    return 0;
}

void lh_sock_common(int fd)
{
    int on = 1, idle_s = 15, interval_s = 5, probes = 3;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    /* The control connection may live while the other end of a stream has vanished. */
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

void lh_sock_ack_now(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}

void lh_sock_lowat(int fd, uint32_t bytes)
{
    int value = (int)bytes;

    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value));
}

void lh_sock_use_congestion(int fd, const char *congestion)
{
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion));
}

void lh_sock_begin_anew(int fd, const char *congestion)
{
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0)
        lh_sock_use_congestion(fd, congestion);
}

void lh_sock_pace(int fd, uint64_t max_Bps)
{
    uint64_t value = max_Bps > 0 ? max_Bps : UINT64_MAX;

    setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &value, sizeof(value));
}

int lh_sock_congestion(const char *name, char fallback[16])
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = 16;
    int sys_errno = 0;

    memset(fallback, 0, 16);
    if (fd < 0)
        return errno;
    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, fallback, &len);
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) != 0)
        sys_errno = errno;
    close(fd);
    return sys_errno;
}

void lh_sock_stream(int fd, const struct lh_stream_options *opts, struct lh_stream_given *given)
{
    socklen_t len = sizeof(given->congestion);

    memset(given, 0, sizeof(*given));
    lh_sock_use_congestion(fd, opts->congestion);
    if (opts->sndbuf_bytes > 0) {
        int value = opts->sndbuf_bytes > INT32_MAX / 2 ? INT32_MAX / 2 : (int)opts->sndbuf_bytes;

        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, sizeof(value));
    }
    lh_sock_lowat(fd, opts->lowat_bytes);
    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, given->congestion, &len);
    given->congestion[sizeof(given->congestion) - 1] = '\0';
    len = sizeof(given->sndbuf_bytes);
    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &given->sndbuf_bytes, &len);
    len = sizeof(given->lowat_bytes);
    getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &given->lowat_bytes, &len);
}

bool lh_sock_state(int fd, struct lh_tcp_state *state)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    int queued = 0;

    memset(&info, 0, sizeof(info));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        ioctl(fd, SIOCOUTQ, &queued) != 0)
        return false;
    state->bytes_acked = info.tcpi_bytes_acked;
    state->delivered = info.tcpi_delivered;
    state->mss_bytes = info.tcpi_snd_mss;
    state->bytes_resent = info.tcpi_bytes_retrans;
    state->retransmits = info.tcpi_total_retrans;
    state->busy_us = info.tcpi_busy_time;
    state->rwnd_limited_us = info.tcpi_rwnd_limited;
    state->sndbuf_limited_us = info.tcpi_sndbuf_limited;
    state->rtt_us = info.tcpi_rtt;
    state->min_rtt_us = info.tcpi_min_rtt == UINT32_MAX ? 0 : info.tcpi_min_rtt; /* no sample yet */
    state->last_ack_ms = info.tcpi_last_ack_recv;
    state->unacked = info.tcpi_unacked;
    state->notsent_bytes = info.tcpi_notsent_bytes;
    state->queued_bytes = (uint64_t)queued;
    return true;
}

void lh_sock_limits(uint64_t *wmem_max, uint64_t *tcp_wmem_max)
{
    unsigned long long a = 0, b = 0, c = 0;
    FILE *f = fopen("/proc/sys/net/core/wmem_max", "re");

    *wmem_max = *tcp_wmem_max = 0;
    if (f != NULL) {
        if (fscanf(f, "%llu", &a) == 1)
            *wmem_max = a;
        fclose(f);
    }
    f = fopen("/proc/sys/net/ipv4/tcp_wmem", "re");
    if (f != NULL) {
        if (fscanf(f, "%llu %llu %llu", &a, &b, &c) == 3)
            *tcp_wmem_max = c;
        fclose(f);
    }
}

void lh_random_bytes(void *out, size_t len)
{
    LH_INVARIANT(getrandom(out, len, 0) == (ssize_t)len); /* up to 256 bytes it never falls short */
}

uint32_t lh_random32(void)
{
    uint32_t value;

    lh_random_bytes(&value, sizeof(value));
    return value;
}
