/* From which size on does sendfile(2) cost less than read(2) and send(2)? (--zero-copy-min)
 *
 * One connection over loopback and one thread that receives and throws away. For each size the
 * sending thread sends spans of it from one file in the page cache, once as longhaul sends a small
 * file by hand (pread into a warm buffer, send) and once by sendfile, in turns. Nothing waits for
 * the receiver but a full socket buffer. Counted is the sending thread's own CPU time: it also
 * takes what the loopback does in its name, the same for both ways.
 *
 * Prints, for each size, the median over the rounds of CPU microseconds a span, with their least
 * and most, and the ratio within each round. A failed call ends the program with a sentence and
 * code 1. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SPAN (4u << 20)
#define FILE_BYTES (16u << 20)
#define N_ROUNDS 15

static char buffer[MAX_SPAN];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "spans: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *throw_away(void *arg)
{
    static char sink[1u << 20];
    int sock = *(int *)arg;

    while (recv(sock, sink, sizeof sink, 0) > 0)
        ;
    return NULL;
}

static double thread_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void send_copied(int sock, int file, off_t at, size_t size)
{
    size_t sent = 0;

    if (pread(file, buffer, size, at) != (ssize_t)size)
        die("pread");
    while (sent < size) {
        ssize_t n = send(sock, buffer + sent, size - sent, MSG_NOSIGNAL);

        if (n <= 0)
            die("send");
        sent += (size_t)n;
    }
}

static void send_from_file(int sock, int file, off_t at, size_t size)
{
    while (size > 0) {
        ssize_t n = sendfile(sock, file, &at, size);

        if (n <= 0)
            die("sendfile");
        size -= (size_t)n;
    }
}

/* CPU microseconds a span. */
static double measure(int sock, int file, size_t size, bool zero_copy)
{
    size_t n_spans = (64u << 20) / size;
    double began;

    if (n_spans > 4096)
        n_spans = 4096;
    began = thread_us();
    for (size_t i = 0; i < n_spans; i++) {
        off_t at = (off_t)(i * size % (FILE_BYTES - size + 1));

        if (zero_copy)
            send_from_file(sock, file, at, size);
        else
            send_copied(sock, file, at, size);
    }
    return (thread_us() - began) / (double)n_spans;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void show(double values[N_ROUNDS])
{
    qsort(values, N_ROUNDS, sizeof values[0], compare);
    printf("  %9.2f (%.2f-%.2f)", values[N_ROUNDS / 2], values[0], values[N_ROUNDS - 1]);
}

static void compare_ways(int sock, int file, size_t size)
{
    double copied[N_ROUNDS];
    double zero_copy[N_ROUNDS];
    double ratio[N_ROUNDS];

    measure(sock, file, size, false);
    measure(sock, file, size, true);
    for (int i = 0; i < N_ROUNDS; i++) {
        copied[i] = measure(sock, file, size, false);
        zero_copy[i] = measure(sock, file, size, true);
        ratio[i] = zero_copy[i] / copied[i];
    }
    printf("%8zu", size);
    show(copied);
    show(zero_copy);
    show(ratio);
    printf("\n");
    fflush(stdout);
}

static int make_file(const char *dir)
{
    int file = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (file < 0)
        die(dir);
    for (size_t i = 0; i < sizeof buffer; i++)
        buffer[i] = (char)(i * 31);
    for (size_t done = 0; done < FILE_BYTES; done += sizeof buffer)
        if (write(file, buffer, sizeof buffer) != (ssize_t)sizeof buffer)
            die("write");
    return file;
}

/* A connected pair over 127.0.0.1. */
static void make_pair(int pair[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&at, len) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&at, &len) != 0)
        die("listen");
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pair[0] < 0 || connect(pair[0], (struct sockaddr *)&at, len) != 0)
        die("connect");
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (pair[1] < 0 || setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0)
        die("accept");
    close(listener);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "/dev/shm";
    int file = make_file(dir);
    int pair[2];
    pthread_t thread;

    make_pair(pair);
    errno = pthread_create(&thread, NULL, throw_away, &pair[1]);
    if (errno != 0)
        die("thread");
    printf("file in %s; CPU microseconds a span, median (least-most) of %d\n", dir, N_ROUNDS);
    printf("   bytes  pread + send            sendfile                sendfile / (pread + send)\n");
    for (size_t size = 1u << 10; size <= MAX_SPAN; size *= 2)
        compare_ways(pair[0], file, size);
    shutdown(pair[0], SHUT_WR);
    pthread_join(thread, NULL);
    return 0;
}
