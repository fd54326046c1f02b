#include "test/lib/tap.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_checks;
static unsigned n_failed;
static bool finished;

static void check_plan(void)
{
    if (!finished) {
        printf("# the program ended before done_testing()\n");
        fflush(stdout);
        _Exit(1);
    }
}

/* One line of result. The caller holds the lock. */
__attribute__((format(printf, 4, 0))) static void result(bool passed, const char *file, int line,
                                                         const char *fmt, va_list ap)
{
    if (n_checks++ == 0)
        atexit(check_plan);
    if (!passed)
        n_failed++;
    printf("%sok %u - ", passed ? "" : "not ", n_checks);
    vprintf(fmt, ap);
    printf("\n");
    if (!passed)
        printf("#   failed at %s:%d\n", file, line);
    fflush(stdout);
}

bool tap_ok(bool passed, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&lock);
    va_start(ap, fmt);
    result(passed, file, line, fmt, ap);
    va_end(ap);
    pthread_mutex_unlock(&lock);
    return passed;
}

bool tap_is_u64(uint64_t have, uint64_t want, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&lock);
    va_start(ap, fmt);
    result(have == want, file, line, fmt, ap);
    va_end(ap);
    if (have != want)
        printf("#   have %" PRIu64 "\n#   want %" PRIu64 "\n", have, want);
    pthread_mutex_unlock(&lock);
    return have == want;
}

bool tap_is_i64(int64_t have, int64_t want, const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&lock);
    va_start(ap, fmt);
    result(have == want, file, line, fmt, ap);
    va_end(ap);
    if (have != want)
        printf("#   have %" PRId64 "\n#   want %" PRId64 "\n", have, want);
    pthread_mutex_unlock(&lock);
    return have == want;
}

bool tap_is_str(const char *have, const char *want, const char *file, int line, const char *fmt,
                ...)
{
    bool same = have == want || (have != NULL && want != NULL && strcmp(have, want) == 0);
    va_list ap;

    pthread_mutex_lock(&lock);
    va_start(ap, fmt);
    result(same, file, line, fmt, ap);
    va_end(ap);
    if (!same)
        printf("#   have %s\n#   want %s\n", have ? have : "(null)", want ? want : "(null)");
    pthread_mutex_unlock(&lock);
    return same;
}

bool tap_is_mem(const void *have, const void *want, size_t len, const char *file, int line,
                const char *fmt, ...)
{
    const uint8_t *h = have;
    const uint8_t *w = want;
    size_t at = 0;
    va_list ap;

    while (at < len && h[at] == w[at])
        at++;
    pthread_mutex_lock(&lock);
    va_start(ap, fmt);
    result(at == len, file, line, fmt, ap);
    va_end(ap);
    if (at < len)
        printf("#   byte %zu of %zu: have %02x, want %02x\n", at, len, h[at], w[at]);
    pthread_mutex_unlock(&lock);
    return at == len;
}

void skip(const char *reason, ...)
{
    va_list ap;

    pthread_mutex_lock(&lock);
    if (n_checks++ == 0)
        atexit(check_plan);
    printf("ok %u # SKIP ", n_checks);
    va_start(ap, reason);
    vprintf(reason, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    pthread_mutex_unlock(&lock);
}

void skip_all(const char *reason, ...)
{
    va_list ap;

    finished = true;
    printf("1..0 # SKIP ");
    va_start(ap, reason);
    vprintf(reason, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    exit(0);
}

void bail(const char *reason, ...)
{
    va_list ap;

    finished = true;
    printf("Bail out! ");
    va_start(ap, reason);
    vprintf(reason, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    exit(255);
}

void diag(const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&lock);
    printf("# ");
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    pthread_mutex_unlock(&lock);
}

int done_testing(void)
{
    finished = true;
    printf("1..%u\n", n_checks);
    fflush(stdout);
    return n_failed == 0 && n_checks > 0 ? 0 : 1;
}
