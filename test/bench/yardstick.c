/* What the same work costs with nothing around it: the two yardsticks that longhaul is measured by.
 *
 * bare:  N blocking threads, one connection each. The sender's pull ranges of 64 MiB from a shared
 *        counter and sendfile(2) them; the receiver's recv a block, hash it (XXH3-128) and pwrite
 * it into a fallocate()d file. No framing but a small fixed header before each range, no checks,
 * journal, acknowledgements, resume or sync. fair:  the sender also reads (pread through one buffer
 * of a block) and hashes each block right before it is sent, which longhaul has to do.
 *
 * Run the receiver (--listen), then the sender (--connect); each ends after one file and prints one
 * JSON object. `seconds` runs, at the sender, from before its first connect until the receiver has
 * said of every connection that all of it is written (not synced: the yardstick has no sync), and
 * at the receiver from the first accept until then. `check` is the sum of the blocks' hashes; both
 * ends of a fair run must print the same one.
 *
 * Threads: one a connection, and main. Any failure ends the program with a sentence and code 1.
 * Both ends must be of the same byte order: this is a bench, not a protocol. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#define RANGE_BYTES (UINT64_C(64) << 20)
#define MAX_STREAMS 256
#define MAGIC UINT32_C(0x5241594c)

/* Before each range; the first of a connection has length 0 and opens the file, another of length 0
 * says that no more follows. */
struct header {
    uint32_t magic;
    uint32_t n_streams;
    uint64_t size;   /* of the file */
    uint64_t offset; /* of the range */
    uint64_t length; /* of the range */
};

/* Set by main before any thread starts; only `next` changes afterwards. */
static struct {
    bool listen;
    bool fair;
    char *host;
    char *port;
    const char *cc;
    const char *file;
    uint32_t n_streams;
    uint32_t block_bytes;
    int fd;
    uint64_t size;
    double fallocate_s;    /* the receiver's, before any byte flows */
    _Atomic uint64_t next; /* first byte that no sender thread has taken */
} run = {.cc = "bbr", .n_streams = 8, .block_bytes = 256 * 1024, .fd = -1};

struct stream {
    pthread_t thread;
    int sock;
    uint64_t n_bytes;
    uint64_t check;
};

static struct stream streams[MAX_STREAMS];

static _Noreturn __attribute__((format(printf, 1, 2))) void die(const char *fmt, ...)
{
    int saved = errno;
    va_list ap;

    fprintf(stderr, "yardstick: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "%s%s\n", saved ? ": " : "", saved ? strerror(saved) : "");
    exit(1);
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void *block_buffer(void)
{
    void *p;

    if (posix_memalign(&p, 4096, run.block_bytes) != 0)
        die("no memory for a buffer");
    return p;
}

static uint64_t hash_block(const void *data, size_t len)
{
    return XXH3_128bits(data, len).low64;
}

static void send_header(int sock, uint64_t offset, uint64_t length, int flags)
{
    struct header h = {.magic = MAGIC,
                       .n_streams = run.n_streams,
                       .size = run.size,
                       .offset = offset,
                       .length = length};

    if (send(sock, &h, sizeof h, flags | MSG_NOSIGNAL) != (ssize_t)sizeof h)
        die("send of a header");
}

static void recv_all(int sock, void *to, size_t len)
{
    char *at = to;

    while (len > 0) {
        ssize_t n = recv(sock, at, len, MSG_WAITALL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = 0;
        if (n <= 0)
            die("%s", n == 0 ? "the other end closed early" : "recv");
        at += n;
        len -= (size_t)n;
    }
}

static void recv_header(int sock, struct header *h)
{
    recv_all(sock, h, sizeof *h);
    errno = 0;
    if (h->magic != MAGIC)
        die("that is not a yardstick at the other end");
}

static void send_span(int sock, uint64_t offset, uint64_t length)
{
    off_t at = (off_t)offset;

    while (length > 0) {
        ssize_t n = sendfile(sock, run.fd, &at, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = 0;
        if (n <= 0)
            die("%s", n == 0 ? "the file got shorter" : "sendfile");
        length -= (uint64_t)n;
    }
}

/* Read and hash one block, so that both ends do the same work per byte. */
static uint64_t read_and_hash(void *buffer, uint64_t offset, uint64_t length)
{
    uint64_t have = 0;

    while (have < length) {
        ssize_t n = pread(run.fd, (char *)buffer + have, length - have, (off_t)(offset + have));

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = 0;
        if (n <= 0)
            die("%s", n == 0 ? "the file got shorter" : "pread");
        have += (uint64_t)n;
    }
    return hash_block(buffer, length);
}

static void send_range(struct stream *s, void *buffer, uint64_t offset, uint64_t length)
{
    send_header(s->sock, offset, length, MSG_MORE);
    if (!run.fair) {
        send_span(s->sock, offset, length);
        return;
    }
    for (uint64_t done = 0; done < length; done += run.block_bytes) {
        uint64_t n = length - done < run.block_bytes ? length - done : run.block_bytes;

        s->check += read_and_hash(buffer, offset + done, n);
        send_span(s->sock, offset + done, n);
    }
}

static void set_socket(int sock)
{
    int one = 1;

    if (setsockopt(sock, IPPROTO_TCP, TCP_CONGESTION, run.cc, (socklen_t)strlen(run.cc)) != 0)
        die("congestion control '%s'", run.cc);
    if (setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("TCP_NODELAY");
}

static struct addrinfo *resolve(int flags)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found;
    int rc = getaddrinfo(run.host, run.port, &hints, &found);

    errno = 0;
    if (rc != 0)
        die("%s: %s", run.host, gai_strerror(rc));
    return found;
}

static void *sender_thread(void *arg)
{
    struct stream *s = arg;
    struct addrinfo *to = resolve(0);
    void *buffer = block_buffer();
    char said;

    s->sock = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->sock < 0)
        die("socket");
    set_socket(s->sock);
    if (connect(s->sock, to->ai_addr, to->ai_addrlen) != 0)
        die("connect");
    freeaddrinfo(to);

    send_header(s->sock, 0, 0, 0);
    for (;;) {
        uint64_t offset = atomic_fetch_add(&run.next, RANGE_BYTES);
        uint64_t length;

        if (offset >= run.size)
            break;
        length = run.size - offset < RANGE_BYTES ? run.size - offset : RANGE_BYTES;
        send_range(s, buffer, offset, length);
        s->n_bytes += length;
    }
    send_header(s->sock, 0, 0, 0);
    recv_all(s->sock, &said, 1); /* all of this connection is written */
    close(s->sock);
    free(buffer);
    return NULL;
}

static void write_block(const void *data, uint64_t offset, uint64_t length)
{
    uint64_t done = 0;

    while (done < length) {
        ssize_t n =
            pwrite(run.fd, (const char *)data + done, length - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            die("pwrite");
        done += (uint64_t)n;
    }
}

static void *receiver_thread(void *arg)
{
    struct stream *s = arg;
    void *buffer = block_buffer();
    struct header h;

    for (recv_header(s->sock, &h); h.length > 0; recv_header(s->sock, &h)) {
        for (uint64_t done = 0; done < h.length; done += run.block_bytes) {
            uint64_t n = h.length - done < run.block_bytes ? h.length - done : run.block_bytes;

            recv_all(s->sock, buffer, n);
            s->check += hash_block(buffer, n);
            write_block(buffer, h.offset + done, n);
        }
        s->n_bytes += h.length;
    }
    if (send(s->sock, "", 1, MSG_NOSIGNAL) != 1)
        die("send of the last byte");
    close(s->sock);
    free(buffer);
    return NULL;
}

static void start(struct stream *s, void *(*body)(void *))
{
    errno = pthread_create(&s->thread, NULL, body, s);
    if (errno != 0)
        die("thread");
}

static void join_all(void)
{
    for (uint32_t i = 0; i < run.n_streams; i++)
        pthread_join(streams[i].thread, NULL);
}

static double run_sender(void)
{
    struct stat st;
    double began;

    run.fd = open(run.file, O_RDONLY | O_CLOEXEC);
    if (run.fd < 0 || fstat(run.fd, &st) != 0)
        die("%s", run.file);
    run.size = (uint64_t)st.st_size;
    began = now_s();
    for (uint32_t i = 0; i < run.n_streams; i++)
        start(&streams[i], sender_thread);
    join_all();
    return now_s() - began;
}

static void open_target(const struct header *h)
{
    double began = now_s();

    errno = 0;
    if (h->n_streams == 0 || h->n_streams > MAX_STREAMS)
        die("%" PRIu32 " streams", h->n_streams);
    run.n_streams = h->n_streams;
    run.size = h->size;
    run.fd = open(run.file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (run.fd < 0)
        die("%s", run.file);
    if (run.size > 0 && fallocate(run.fd, 0, 0, (off_t)run.size) != 0)
        die("fallocate of %s", run.file);
    run.fallocate_s = now_s() - began;
}

static double run_receiver(void)
{
    struct addrinfo *at = resolve(AI_PASSIVE);
    int one = 1;
    int sock = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    double began = 0;

    if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
        die("socket");
    set_socket(sock);
    if (bind(sock, at->ai_addr, at->ai_addrlen) != 0 || listen(sock, MAX_STREAMS) != 0)
        die("listen");
    freeaddrinfo(at);
    fprintf(stderr, "yardstick: listening\n");

    for (uint32_t i = 0; i == 0 || i < run.n_streams; i++) {
        struct header h;

        streams[i].sock = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
        if (streams[i].sock < 0)
            die("accept");
        if (i == 0)
            began = now_s();
        recv_header(streams[i].sock, &h);
        if (i == 0)
            open_target(&h);
        start(&streams[i], receiver_thread);
    }
    join_all();
    close(sock);
    return now_s() - began;
}

static void report(double seconds)
{
    struct rusage ru;
    uint64_t n_bytes = 0;
    uint64_t check = 0;

    for (uint32_t i = 0; i < run.n_streams; i++) {
        n_bytes += streams[i].n_bytes;
        check += streams[i].check;
    }
    getrusage(RUSAGE_SELF, &ru);
    printf("{\"yardstick\":\"%s\",\"role\":\"%s\",\"streams\":%" PRIu32
           ",\"congestion\":\"%s\",\"block_bytes\":%" PRIu32 ",\"bytes\":%" PRIu64
           ",\"seconds\":%.6f,\"fallocate_s\":%.6f,\"user_s\":%.6f,\"sys_s\":%.6f,\"check\":\"%"
           "016" PRIx64 "\"}\n",
           run.fair ? "fair" : "bare", run.listen ? "receive" : "send", run.n_streams, run.cc,
           run.block_bytes, n_bytes, seconds, run.fallocate_s,
           (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6,
           (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6, check);
}

static const char usage[] =
    "usage: yardstick --listen HOST:PORT --file TARGET [--block BYTES] [--cc NAME]\n"
    "       yardstick --connect HOST:PORT --file SOURCE [--fair] [--streams N] [--block BYTES]\n"
    "                 [--cc NAME]\n"
    "--block must be the same at both ends, and divide 64 MiB. Defaults: 8 streams, 262144, bbr.\n";

static _Noreturn void refuse(void)
{
    fputs(usage, stderr);
    exit(2);
}

static void split_address(char *text)
{
    char *colon = strrchr(text, ':');

    if (colon == NULL)
        refuse();
    *colon = '\0';
    run.host = text;
    run.port = colon + 1;
}

static uint32_t number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long v = strtoull(text, &end, 10);

    if (*text == '\0' || *end != '\0' || v == 0 || v > max)
        refuse();
    return (uint32_t)v;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'}, {"connect", required_argument, NULL, 'c'},
        {"file", required_argument, NULL, 'f'},   {"streams", required_argument, NULL, 'n'},
        {"block", required_argument, NULL, 'b'},  {"cc", required_argument, NULL, 'g'},
        {"fair", no_argument, NULL, 'F'},         {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'l':
        case 'c':
            run.listen = c == 'l';
            split_address(optarg);
            break;
        case 'f':
            run.file = optarg;
            break;
        case 'n':
            run.n_streams = number(optarg, MAX_STREAMS);
            break;
        case 'b':
            run.block_bytes = number(optarg, RANGE_BYTES);
            break;
        case 'g':
            run.cc = optarg;
            break;
        case 'F':
            run.fair = true;
            break;
        default:
            refuse();
        }
    }
    if (run.host == NULL || run.file == NULL || optind != argc ||
        RANGE_BYTES % run.block_bytes != 0)
        refuse();
}

int main(int argc, char **argv)
{
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    report(run.listen ? run_receiver() : run_sender());
    return 0;
}
